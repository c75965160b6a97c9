"""same_folds.py VECTORS FOLDED: whether each history was folded to the dots and the reading that it is known to have.

Of those whose reading depends on a moment or on a window only the order is compared: fold has its own rule for the moment.
"""

import json
import sys

from tally import check, note


def main():
    with open(sys.argv[1]) as vectors, open(sys.argv[2]) as folded:
        expected = [json.loads(line) for line in vectors if line.strip()]
        got = [json.loads(line) for line in folded]
    check(f"{len(got)} of {len(expected)} histories folded", len(got) == len(expected) > 100)
    compared = 0
    for history, fold in zip(expected, got):
        name = history["id"]
        check(f"{name} stands where {fold['id']} does", fold["id"] == name)
        if "at" in history or history["strategy"] == "epoch_sum":
            continue
        compared += 1
        check(f"{name} reads {fold['read']}, not {history['read']}", fold["read"] == history["read"])
        check(f"{name} keeps {fold['dots']}, not {history.get('dots')}", history.get("dots", fold["dots"]) == fold["dots"])
    check("histories were compared", compared > 20)
    note(f"{compared} histories folded as they should be")


main()
