"""hole.py PORT PID CONTROL SECONDS RATE CHECKS: writes at RATE/s and checks beside them, through a tally-link that is clogged for SECONDS.

One process writes, another checks: through a quiet phase, while nothing passes the link, and through a quiet one again, each of
SECONDS. Prints what each phase saw. Nothing may be slower behind the clog than in the slower quiet phase: neither the writes nor, with
CHECKS=timed, the p99 of checks beyond twice that and a millisecond; nor may the node have grown by more than what it may queue.
"""
import multiprocessing
import random
import socket
import sys
import time

from tally import Resp, check, note, status_kb

KEYS = 20000
BATCH = 250
# What a node may keep for a peer that hears nothing, and a little for all else.
CAP_KB = 4096 + 1024


def key_of(i):
    return "hot:%06d" % i


def batches(rng):
    return [b"".join(Resp.encode("INCR", key_of(rng.randrange(KEYS))) for _ in range(BATCH)) for _ in range(100)]


def read_lines(sock, count):
    while count > 0:
        data = sock.recv(65536)
        if not data:
            raise OSError("the node closed")
        count -= data.count(b"\n")


def write_on(port, rate, written, end):
    """One batch after the other, at most at the rate."""
    sock = Resp(port).socket
    prepared = batches(random.Random(1))
    due = time.monotonic()
    for turn in range(1 << 62):
        if end.is_set():
            return
        sock.sendall(prepared[turn % len(prepared)])
        read_lines(sock, BATCH)
        with written.get_lock():
            written.value += BATCH
        due = max(due + BATCH / rate, time.monotonic() - 0.1)
        time.sleep(max(0, due - time.monotonic()))


def p99(numbers):
    return sorted(numbers)[len(numbers) * 99 // 100]


class Phase:
    """Checks as they come for so long, and what was written meanwhile."""

    def __init__(self, name, resp, pid, written, seconds):
        times, first, began = [], written.value, time.monotonic()
        self.rss_kb = 0
        while time.monotonic() < began + seconds:
            asked = time.perf_counter()
            answer = resp.call("CL.THROTTLE", "user:%d" % random.randrange(1000), 1000, 1000, 1)
            times.append(time.perf_counter() - asked)
            check("a check: %r" % answer, isinstance(answer, list) and len(answer) == 5)
            if len(times) % 100 == 0:
                self.rss_kb = max(self.rss_kb, status_kb(pid))
            time.sleep(0.001)
        self.rate = (written.value - first) / (time.monotonic() - began)
        self.p99_ms = p99(times) * 1000
        check("only %d checks in %s" % (len(times), name), len(times) >= 200)
        note("%s: %d writes/s, %d checks, p99 %.2f ms, %d MiB" % (name, self.rate, len(times), self.p99_ms, self.rss_kb // 1024))


def tell(control, command):
    link = socket.socket(socket.AF_UNIX)
    link.connect(control)
    link.sendall(command.encode() + b"\n")
    answer = link.makefile().readline()
    check("the link says %r to %s" % (answer, command), answer == "ok\n")


def main():
    port, pid, control, seconds, rate, how = sys.argv[1:]
    seconds = float(seconds)
    resp = Resp(int(port))
    for i in range(KEYS):  # so that no key is new later
        resp.send("INCR", key_of(i))
    for _ in range(KEYS):
        resp.read()
    written, end = multiprocessing.Value("q", 0), multiprocessing.Event()
    writer = multiprocessing.Process(target=write_on, args=(int(port), float(rate), written, end), daemon=True)
    writer.start()
    Phase("warm", resp, pid, written, min(seconds, 5))
    before = Phase("quiet", resp, pid, written, seconds)
    tell(control, "clog")
    hole = Phase("clogged", resp, pid, written, seconds)
    tell(control, "release")
    after = Phase("quiet again", resp, pid, written, seconds)
    end.set()
    writer.join(20)
    check("the writer ended with %r" % writer.exitcode, writer.exitcode == 0)
    note("written: %d" % written.value)
    grown_kb = hole.rss_kb - before.rss_kb
    check("the node grew by %d kB" % grown_kb, how == "grows" or grown_kb <= CAP_KB)
    if how == "timed":
        worst = max(before.p99_ms, after.p99_ms)
        check("p99 of checks %.2f ms, quiet %.2f ms" % (hole.p99_ms, worst), hole.p99_ms <= 2 * worst + 1)
        check("%d writes/s, quiet %d" % (hole.rate, before.rate), hole.rate >= 0.8 * min(before.rate, after.rate))


if __name__ == "__main__":
    main()
