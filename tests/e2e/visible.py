"""Writes on one node and reads on another: how long until it is seen there.

    visible.py WRITER_RESP_PORT READER_RESP_PORT WRITES BOUND_MS

A write a few milliseconds after the one before, and the reader is asked all the time. With a bound of 0 all have to arrive, else the
99th percentile has to be within it, in the best of eight trials: others may use this machine.
"""

import random
import sys
import time

from tally import Resp, check, fail, note

PATIENCE_S = 20.0


def trial(writer, reader, writes, name, chance):
    waiting, took = {}, []
    next_write, written = time.monotonic(), 0
    deadline = next_write + PATIENCE_S + writes * 0.01
    while len(took) < writes:
        now = time.monotonic()
        if now > deadline:
            fail(f"{len(waiting)} of {written} writes are not seen")
        if written < writes and now >= next_write:
            key = f"{name}:{written}"
            waiting[key] = now
            check("the first INCR answers 1", writer.call("INCR", key) == 1)
            written += 1
            next_write = now + chance.uniform(0, 0.010)
        if waiting:
            keys = list(waiting)[:1000]
            values = reader.call("MGET", *keys)
            now = time.monotonic()
            for key, value in zip(keys, values):
                if value is not None:
                    check(f"{key} reads {value!r}", value == b"1")
                    took.append((now - waiting.pop(key)) * 1000)
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


def main():
    writer, reader = Resp(int(sys.argv[1])), Resp(int(sys.argv[2]))
    writes, bound_ms = int(sys.argv[3]), float(sys.argv[4])
    seed = random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    for number in range(8):
        half, most = trial(writer, reader, writes, f"visible:{number}", random.Random(seed + number))
        note(f"{writes} writes seen on the other node: p50 {half:.1f} ms, p99 {most:.1f} ms")
        if bound_ms == 0 or most <= bound_ms:
            return
    fail(f"p99 is above {bound_ms} ms in eight trials")


main()
