"""flood.py PORT PID KEYS [FIRST]: counts once in so many distinct keys, more than fit, then again in those that were taken, and reads them all.

Prints one line of "name=number" pairs; ends with an error when a taken key does not read what was counted in it.
"""
import sys

from tally import Resp, fail, status_kb

BATCH = 1000


def key_of(i):
    return b"counter-of-31-bytes%012d" % i


def incr_all(resp, numbers, handle):
    for at in range(0, len(numbers), BATCH):
        batch = numbers[at : at + BATCH]
        resp.socket.sendall(b"".join(b"*2\r\n$4\r\nINCR\r\n$31\r\n" + key_of(i) + b"\r\n" for i in batch))
        for i in batch:
            handle(i, resp.line())


def main():
    port, pid, count = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    start = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    resp = Resp(port)
    taken, refused = [], 0
    before_kb = status_kb(pid)

    def first(i, line):
        nonlocal refused
        if line == b":1":
            taken.append(i)
        elif line.startswith(b"-OOM command not allowed"):
            refused += 1
        else:
            fail(f"INCR of a new key: {line!r}")

    def again(i, line):
        if line != b":2":
            fail(f"INCR of an old key, {i}: {line!r}")

    incr_all(resp, range(start, start + count), first)
    incr_all(resp, taken, again)
    for at in range(0, len(taken), BATCH):
        batch = taken[at : at + BATCH]
        resp.send("MGET", *(key_of(i) for i in batch))
        if resp.line() != b"*%d" % len(batch):
            fail("MGET has another length")
        for i in batch:
            if (resp.line(), resp.line()) != (b"$1", b"2"):
                fail(f"key {i} does not read 2")
    print(
        f"taken={len(taken)} refused={refused} before_kb={before_kb} "
        f"peak_kb={status_kb(pid, 'VmHWM')} now_kb={status_kb(pid)}"
    )


main()
