"""Reads Prometheus' text format 0.0.4 from standard input and says what is wrong with it; prints "series value" lines."""

import re
import sys

from tally import check

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\}'
SAMPLE = re.compile(rf"^({NAME})({LABELS})? (-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|NaN|[-+]Inf)$")
HEAD = re.compile(rf"^# (HELP|TYPE) ({NAME}) (.+)$")


def family_of(name, told):
    """A histogram is said in three series."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if told.get((base, "TYPE")) == "histogram" else name


def main():
    text = sys.stdin.buffer.read().decode()
    check("it ends with a line's end", text.endswith("\n"))
    told, seen, finished, family = {}, set(), set(), ""
    for line in text.splitlines():
        head, sample = HEAD.match(line), SAMPLE.match(line)
        check(f"neither comment nor sample: {line}", head or sample)
        name = head[2] if head else family_of(sample[1], told)
        if name != family:
            check(f"the lines of {name} do not stand together", name not in finished)
            finished.add(family)
            family = name
        if head:
            check(f"said twice: {line}", (name, head[1]) not in told)
            check(f"no such type: {line}", head[1] == "HELP" or head[3] in ("counter", "gauge", "histogram", "summary"))
            told[name, head[1]] = head[3]
            continue
        check(f"no HELP and TYPE before {line}", (name, "HELP") in told and (name, "TYPE") in told)
        check(f"a counter is called _total: {line}", (told[name, "TYPE"] == "counter") == name.endswith("_total"))
        series = sample[1] + (sample[2] or "")
        check(f"twice: {series}", series not in seen)
        seen.add(series)
        print(series, sample[3])
    check("there is no sample", seen)


main()
