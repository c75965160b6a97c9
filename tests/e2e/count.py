"""Counts on several nodes at once, and knows of every key how often it was asked for and how often that was acknowledged.

    count.py [options] RESP_PORT:HTTP_PORT ...

Each node gets its share of --increments by one pipelining connection, spread over --seconds. With --benchmark N, N more come
from redis-benchmark. A connection that breaks is made again until the share is acknowledged or --patience is over; what it had
sent without an answer may have been counted or not. From the last acknowledgement on, within --within seconds every key must
read the same on all nodes, between what was acknowledged and what was sent, and the digests must be equal. USR1 says that it is
enough: each share ends with what has been sent.
"""

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import threading
import time

from tally import Closed, Error, Resp, check, digest, fail, note

# A sanitizer makes everything slower, so that more time is given.
SLOW = bool(os.environ.get("TALLY_SLOW"))
enough = threading.Event()


def key_of(options, i):
    return f"{options.prefix}{i:012d}"


class Counter(threading.Thread):
    """The share of one node."""

    def __init__(self, options, port, number):
        super().__init__()
        self.options = options
        self.port = port
        self.random = random.Random(options.seed * 1000 + number)
        self.left = options.increments // len(options.nodes) + (number < options.increments % len(options.nodes))
        self.share = self.left
        self.sent = collections.Counter()
        self.acked = collections.Counter()
        self.breaks = 0
        self.error = None

    def run(self):
        try:
            self.began = time.monotonic()
            while self.goes_on() and self.error is None:
                self.count_until_it_breaks()
        except Exception as error:
            self.error = repr(error)

    def connect(self):
        deadline = time.monotonic() + self.options.patience
        while True:
            try:
                return Resp(self.port)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def goes_on(self):
        return self.left > 0 and not enough.is_set()

    def pace(self):
        due = self.began + self.options.seconds * (1 - self.left / self.share)
        time.sleep(max(0, due - time.monotonic()))

    def count_until_it_breaks(self):
        resp = self.connect()
        try:
            while self.goes_on():
                self.pace()
                keys = [key_of(self.options, self.random.randrange(self.options.keys))
                        for _ in range(min(self.options.pipeline, self.left))]
                self.sent.update(keys)
                resp.socket.sendall(b"".join(Resp.encode("INCR", key) for key in keys))
                for key in keys:
                    reply = resp.read()
                    if isinstance(reply, Error):
                        self.error = f"{key}: {reply}"
                        return
                    self.acked[key] += 1
                    self.left -= 1
        except (OSError, Closed):
            self.breaks += 1
        finally:
            resp.close()


def start_benchmark(port, count, keys):
    return subprocess.Popen(
        ["redis-benchmark", "-p", str(port), "-n", str(count), "-r", str(keys), "-P", "16", "-c", "10", "-q",
         "incr", "key:__rand_int__"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_all(port, options):
    resp = Resp(port)
    values = resp.call("MGET", *[key_of(options, i) for i in range(options.keys)])
    resp.close()
    check(f"MGET answered {values!r}", isinstance(values, list))
    return [0 if value is None else int(value) for value in values]


def differences(options, workers, benchmarked):
    """What is not as it should be; empty: nothing."""
    readings = [read_all(resp_port, options) for resp_port, _ in options.nodes]
    sums = [sum(reading) for reading in readings]
    if any(reading != readings[0] for reading in readings):
        return f"sums {sums}, keys differ"
    acked = sum((worker.acked for worker in workers), collections.Counter())
    sent = sum((worker.sent for worker in workers), collections.Counter())
    if not acked.total() + benchmarked <= sums[0] <= sent.total() + benchmarked:
        return f"the sum is {sums[0]}; acknowledged {acked.total() + benchmarked}, sent {sent.total() + benchmarked}"
    for i, value in enumerate(readings[0]):
        key = key_of(options, i)
        if benchmarked == 0 and not acked[key] <= value <= sent[key]:
            return f"{key} reads {value}; acknowledged {acked[key]}, sent {sent[key]}"
    digests = [digest(http_port) for _, http_port in options.nodes]
    if any(other != digests[0] for other in digests):
        return f"digests {digests}"
    return ""


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("nodes", nargs="+", type=lambda text: tuple(int(port) for port in text.split(":")))
    parser.add_argument("--increments", type=int, default=40000)
    parser.add_argument("--benchmark", type=int, default=0)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--prefix", default="key:")
    parser.add_argument("--pipeline", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--patience", type=float, default=60 if SLOW else 30)
    parser.add_argument("--within", type=float, default=20 if SLOW else 5)
    parser.add_argument("--hold", action="store_true", help='say "counted", and compare when a line comes in')
    parser.add_argument("--breaks", type=int, default=0, help="how many connections have to break at least; 0: none may")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    return parser.parse_args()


def main():
    options = parse()
    signal.signal(signal.SIGUSR1, lambda *_: enough.set())
    print(f"seed {options.seed}", flush=True)
    workers = [Counter(options, node[0], number) for number, node in enumerate(options.nodes)]
    share = options.benchmark // len(options.nodes)
    benchmarks = [start_benchmark(node[0], share, options.keys) for node in options.nodes if share > 0]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for benchmark in benchmarks:
        text = benchmark.communicate()[0]
        check(f"redis-benchmark: {text}", benchmark.returncode == 0)
    if options.hold:
        print("counted", flush=True)
        sys.stdin.readline()
    ended = time.monotonic()

    for worker in workers:
        check(f"port {worker.port}: {worker.error}", worker.error is None and (worker.left == 0 or enough.is_set()))
    breaks = sum(worker.breaks for worker in workers)
    check(f"{breaks} connections broke, {options.breaks} should have", breaks >= options.breaks and (breaks == 0 or options.breaks > 0))
    while (wrong := differences(options, workers, share * len(benchmarks))) and time.monotonic() < ended + options.within:
        pass
    took = time.monotonic() - ended
    if wrong:
        fail(f"{took:.3f} s after the last acknowledgement: {wrong}")
    sent = sum(worker.sent.total() for worker in workers) + share * len(benchmarks)
    lost = sent - sum(worker.acked.total() for worker in workers) - share * len(benchmarks)
    note(f"{sent} increments sent, {lost} of them unanswered; equal on {len(options.nodes)} nodes {took * 1000:.0f} ms after the last")


main()
