"""Reads what `tallyctl store dump` wrote of several nodes, DIR/dots of each, and the lives that each had, DIR/lives.

    versions.py LEAST DIR...     at least so many versions have to be there; prints how many there are, of how many lives

No version (ts and origin) stands for two different dots, and those of a life rise as its own node wrote them.
"""

import sys

from tally import check, fail


def main():
    known, said_again, ordered = {}, 0, 0
    for directory in sys.argv[2:]:
        with open(directory + "/lives", "rb") as lives:
            newest = {int(life, 16): 0 for life in lives}
        seen = set()
        for line in open(directory + "/dots", "rb"):
            key, strategy, ts, origin, dot = line.rstrip(b"\n").split(b" ", 4)
            version, says = (int(ts), int(origin)), (key, strategy, dot)
            said_again += version in known
            if known.setdefault(version, says) != says:
                fail(f"{directory}: version {version} is {says}, and elsewhere {known[version]}")
            if version[1] not in newest or version in seen:
                continue
            seen.add(version)
            if version[0] <= newest[version[1]]:
                fail(f"{directory}: version {version} was issued after {newest[version[1]]}")
            newest[version[1]] = version[0]
            ordered += 1
    check(f"only {ordered} versions", ordered >= int(sys.argv[1]))
    check("no version is in two places, so nothing was compared", said_again > 0)
    print(f"{len(known)} versions of {len({origin for _, origin in known})} lives, {ordered} of them in the order of their issue")


main()
