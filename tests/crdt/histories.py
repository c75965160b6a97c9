#!/usr/bin/env python3
"""Histories with their outcomes, by the rules of LAWS.md and nothing of the core.

    histories.py write SEED COUNT       prints COUNT histories, one a line, as test_vectors and tallyctl fold read them
    histories.py compare FILE FOLDED    fails unless FOLDED, what tallyctl fold made of FILE, says what FILE says

Laws L2, R3, LWW1, LWW3, EM1, EM3, ES1, ES2, ES3, ES5, ES6, ES7, ES11: dots that stand, and what they read as.

Two readings are written: "read", as of "at" (or of no time when there is none), and "fold", by the rule of tallyctl fold: no
deadline has passed; the plain counter if there is one, otherwise the newest epoch of the shortest window. A history with deadlines
of lww has no "fold": the tool's format has none.
"""
import json
import random
import sys

U64, MAX, MIN = 2**64 - 1, 2**63 - 1, -(2**63)
CALENDAR = 2**63
VALUES = ["", "a", "b", "ab", "\0", "\u00e9", "\uffff", "\U0001f600", "a longer value, past any word"]


# ---- the rules ----

def version(dot):
    return (dot["ts"], dot["origin"])


def is_put(dot):
    return dot["op"] == "put"


def lww_rank(dot):
    """LWW1 is a total order, so a dot has a rank in it."""
    payload = (0, b"") if not is_put(dot) else (dot.get("deadline", 0), dot["value"].encode("utf-8"))
    return (version(dot), not is_put(dot), payload)


def max_dominates(p, q):
    older, lower = version(p) < version(q), (p["epoch"], p["count"]) < (q["epoch"], q["count"])
    return not older and not lower


def sum_dominates(p, q):
    if version(p) < version(q) or p["window"] != q["window"]:
        return False
    if p["window"] == 0 and p["epoch"] > q["epoch"]:
        return True
    if p["origin"] != q["origin"] or p["epoch"] < q["epoch"]:
        return False
    if version(p) == version(q) and p["epoch"] == q["epoch"]:
        return (p["count"], p["aux"]) > (q["count"], q["aux"])
    return True


def dominates(strategy, a, b):
    if a == b:
        return False
    if strategy == "lww":
        return lww_rank(a) > lww_rank(b)
    if not is_put(a):
        return version(b) <= version(a)
    if not is_put(b):
        return False
    return max_dominates(a, b) if strategy == "epoch_max" else sum_dominates(a, b)


def words(dot):
    """The order of listing beyond the version: two's complement words as unsigned numbers."""
    names = ("deadline", "window", "epoch", "count", "aux")
    return [dot.get(name, 0) % 2**64 for name in names] + [dot.get("value", "").encode("utf-8")]


def fold(strategy, ops):
    kept = []
    for dot in ops:
        if dot not in kept and not any(dominates(strategy, other, dot) for other in ops):
            kept.append(dot)
    return sorted(kept, key=lambda dot: (version(dot), not is_put(dot), words(dot)))


def clamp(number):
    return max(MIN, min(MAX, number))


def read_window(puts, window, epoch):
    puts = [p for p in puts if p["window"] == window and p["epoch"] <= min(epoch + 1, U64)]
    if not puts:
        return None
    newest = {}
    for p in puts:
        newest[p["origin"]] = max(p["epoch"], newest.get(p["origin"], 0))
    puts = [p for p in puts if p["epoch"] == newest[p["origin"]]]

    def total(name, at):
        return sum(p[name] for p in puts if p["epoch"] == at)

    current = total("count", epoch) + total("aux", epoch + 1)
    previous = total("count", epoch - 1) + total("aux", epoch)
    return [epoch, clamp(current), clamp(previous)]


def read_counter(puts, now):
    puts = [p for p in puts if p["window"] == 0]
    if not puts:
        return None
    top = max(p["epoch"] for p in puts)
    puts = sorted((p for p in puts if p["epoch"] == top), key=version)
    said = [p["aux"] for p in puts if p["aux"] != 0]
    deadline = said[-1] if said else 0
    if 0 < deadline < MAX and deadline <= now:
        return None
    return [top, clamp(sum(p["count"] for p in puts)), 0]


def read(strategy, dots, at):
    puts, now = [dot for dot in dots if is_put(dot)], at.get("now", 0)
    if not puts:
        return None
    if strategy == "lww":
        deadline = puts[0].get("deadline", 0)
        return None if 0 < deadline <= now else puts[0]["value"]
    if strategy == "epoch_max":
        return list(max((p["epoch"], p["count"]) for p in puts))
    if at.get("window", 0) == 0:
        return read_counter(puts, now)
    return read_window(puts, at["window"], at["epoch"])


def fold_read(strategy, dots):
    if strategy != "epoch_sum":
        return read(strategy, dots, {})
    puts = [dot for dot in dots if is_put(dot)]
    if not puts:
        return None
    window = min(p["window"] for p in puts)
    epoch = max(p["epoch"] for p in puts if p["window"] == window)
    value = read(strategy, dots, {"window": window, "epoch": epoch})
    return None if value is None else value[1]


# ---- histories ----

def number(rng, low, high, small):
    """Mostly a few small numbers, so that dots meet; else an end of the range, or anything in it."""
    kind = rng.random()
    if kind < 0.7:
        return max(low, rng.randint(0, small))
    if kind < 0.9:
        return rng.choice([low, low + 1, high - 1, high, max(low, -1)])
    return rng.randint(low, high)


def payload(rng, strategy, deadlines):
    if strategy == "lww":
        value = {"value": rng.choice(VALUES)}
        if deadlines and rng.random() < 0.6:
            value["deadline"] = number(rng, 1, U64, 3) if rng.random() < 0.5 else rng.randint(995, 1005)
        return value
    if strategy == "epoch_max":
        return {"epoch": number(rng, 0, U64, 3), "count": number(rng, MIN, MAX, 7)}
    window = rng.choice([0, 0, 0, 1, 7, 1000, 1000, 31622400000, CALENDAR + 1, CALENDAR + 6])
    return {"window": window, "epoch": number(rng, 0, U64, 3), "count": number(rng, MIN, MAX, 7),
            "aux": number(rng, MIN, MAX, 3) if rng.random() < 0.7 else rng.randint(995, 1005)}


def any_dot(rng, strategy, shape):
    dot = {"op": "put", "ts": number(rng, 1, U64, shape["ts"]), "origin": number(rng, 1, U64, shape["origins"])}
    if rng.random() < shape["removes"]:
        dot["op"] = "remove"
    else:
        dot.update(payload(rng, strategy, shape["deadlines"]))
    return dot


def hostile(rng, strategy, shape):
    ops = []
    for _ in range(rng.randint(1, shape["length"])):
        dot = any_dot(rng, strategy, shape)
        if ops and rng.random() < shape["forged"]:
            dot["ts"], dot["origin"] = version(rng.choice(ops))
        ops.append(rng.choice(ops) if ops and rng.random() < 0.1 else dot)
    return ops


def falling(rng, strategy, shape):
    """Values fall as versions rise: the longest frontiers."""
    ops = []
    for i in range(rng.randint(2, 120)):
        dot = {"op": "put", "ts": 10 + i, "origin": 1 + i % 3}
        if strategy == "epoch_max":
            dot.update({"epoch": 5, "count": 1000 - i - (i % 2) * rng.randint(0, 3)})
        else:
            dot.update(payload(rng, strategy, shape["deadlines"]))
        ops.append(dot)
    for _ in range(rng.randint(0, 2)):
        ops.append({"op": "remove", "ts": rng.randint(5, 135), "origin": rng.randint(1, 4)})
    return ops


def counting(rng, strategy, shape):
    """As honest nodes write: each origin's dots rise, its shard's epoch never falls, what goes back may be REMOVEd."""
    ops, shard = [], {}
    for ts in range(1, rng.randint(2, 40)):
        origin = rng.randint(1, 4)
        if rng.random() < 0.08:
            ops.append({"op": "remove", "ts": ts, "origin": origin})
        elif strategy != "epoch_sum":
            ops.append({"op": "put", "ts": ts, "origin": origin, **payload(rng, strategy, shape["deadlines"])})
        else:
            window = rng.choice([0, 1000])
            now = shard.get((origin, window), {"window": window, "epoch": 1, "count": 0, "aux": 0})
            now = {**now, "epoch": now["epoch"] + rng.choice([0, 0, 1]), "count": now["count"] + rng.randint(-1, 9)}
            shard[origin, window] = now
            ops.append({"op": "put", "ts": ts, "origin": origin, **now})
    rng.shuffle(ops)
    return ops


def moment(rng, strategy, ops):
    if strategy != "epoch_sum":
        return {"now": rng.choice([0, 999, 1000, 1001, U64])}
    shards = [op for op in ops if is_put(op)]
    some = rng.choice(shards) if shards else {"window": 0, "epoch": 0}
    epoch = min(U64, max(0, some["epoch"] + rng.choice([-1, 0, 0, 0, 1, 1, 2])))
    return {"now": rng.choice([0, 999, 1000, 1001]), "window": some["window"], "epoch": epoch}


def history(rng, i):
    strategy = ("epoch_max", "lww", "epoch_sum")[i % 3]
    shape = {"ts": rng.choice([2, 4, 9, 40]), "origins": rng.choice([1, 2, 4]), "removes": rng.choice([0, 0.15, 0.4]),
             "length": rng.choice([3, 6, 12, 30]), "forged": rng.choice([0, 0.2, 0.6]), "deadlines": rng.random() < 0.5}
    make = rng.choices([hostile, counting, falling], [70, 25, 5])[0]
    ops = make(rng, strategy, shape)
    dots, at = fold(strategy, ops), moment(rng, strategy, ops)
    line = {"id": f"{strategy}-{i}", "strategy": strategy, "ops": ops, "at": at, "dots": dots,
            "read": read(strategy, dots, at)}
    if not any("deadline" in op for op in ops):
        line["fold"] = fold_read(strategy, dots)
    return line


# ---- the two commands ----

def write(seed, count):
    for i in range(count):
        print(json.dumps(history(random.Random(f"{seed}/{i}"), i), separators=(",", ":")))


def compare(path, folded):
    compared, wrong = 0, 0
    with open(path, encoding="utf-8") as lines, open(folded, encoding="utf-8") as results:
        lines, results = [json.loads(line) for line in lines], [json.loads(line) for line in results]
    if len(lines) != len(results):
        sys.exit(f"{len(lines)} histories, {len(results)} results")
    for line, result in zip(lines, results):
        if "fold" not in line:
            continue
        compared += 1
        said = (result["id"], result["dots"], result["read"])
        if said != (line["id"], line["dots"], line["fold"]):
            wrong += 1
            print(f"{line['id']}: {json.dumps(line['ops'])}\n  must be {line['dots']} {line['fold']}\n  but is {said[1:]}")
    print(f"{compared} of {len(lines)} histories compared, {wrong} otherwise")
    if wrong or compared * 2 < len(lines):
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"] and len(sys.argv) == 4:
        write(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["compare"] and len(sys.argv) == 4:
        compare(sys.argv[2], sys.argv[3])
    else:
        sys.exit(__doc__)
