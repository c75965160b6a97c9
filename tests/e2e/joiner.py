"""joiner.py fill PORT KEYS; joiner.py write PORT KEYS RATE PID: counts once in so many keys; or goes on at RATE/s until a line comes in,
and prints how many it was and how large the process was at most, in kB, before the first line (warm) and after it.
"""
import random
import select
import sys
import time

from tally import Resp, check, status_kb

BATCH = 1000


def key_of(i):
    return "counter:%07d" % i


def send(resp, numbers):
    resp.socket.sendall(b"".join(Resp.encode("INCR", key_of(i)) for i in numbers))
    for _ in numbers:
        answer = resp.read()
        check("INCR: %r" % answer, isinstance(answer, int))


def fill(port, keys):
    resp = Resp(port)
    for at in range(0, keys, BATCH):
        send(resp, range(at, min(at + BATCH, keys)))


def write(port, keys, rate, pid):
    resp, rng, written = Resp(port), random.Random(1), 0
    most = []
    due = time.monotonic()
    for _ in range(2):
        most.append(0)
        while True:
            send(resp, [rng.randrange(keys) for _ in range(BATCH // 10)])
            written += BATCH // 10
            most[-1] = max(most[-1], status_kb(pid))
            due = max(due + BATCH / 10 / rate, time.monotonic() - 0.1)
            if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
                sys.stdin.readline()
                break
    print("written=%d warm_kb=%d most_kb=%d" % (written, *most), flush=True)


if sys.argv[1] == "fill":
    fill(int(sys.argv[2]), int(sys.argv[3]))
else:
    write(*(int(word) for word in sys.argv[2:]))
