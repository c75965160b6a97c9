"""same_folds.py VECTORS FOLDED: whether each history was folded to the dots and the reading that it is known to have."""

import json
import sys

from tally import check, note


def main():
    with open(sys.argv[1]) as vectors, open(sys.argv[2]) as folded:
        expected = [json.loads(line) for line in vectors if line.strip()]
        got = [json.loads(line) for line in folded]
    check(f"{len(got)} of {len(expected)} histories folded", len(got) == len(expected) > 100)
    for history, fold in zip(expected, got):
        name = history["id"]
        check(f"{name} stands where {fold['id']} does", fold["id"] == name)
        check(f"{name} reads {fold['read']}, not {history['read']}", fold["read"] == history["read"])
        check(f"{name} keeps {fold['dots']}, not {history.get('dots')}", history.get("dots", fold["dots"]) == fold["dots"])
    note(f"{len(got)} histories folded as they should be")


main()
