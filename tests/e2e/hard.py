"""Asks a hard limit on every node at once, as fast as it answers, and counts by windows.

    hard.py LIMIT WINDOW_MS LEAST_WINDOWS HTTP_PORT ...

Each node is asked by two clients. A node that is down is tried again. What was admitted is counted under the window that the
verdict speaks of, which its reset_ms tells. At first and on SIGUSR1 one line says what was admitted so far. On SIGTERM, but not before so many windows were
begun, it ends; no window may have admitted more than the limit.
"""

import collections
import http.client
import json
import signal
import sys
import threading
import time

from tally import check, note

limit, window_ms, least_windows = (int(word) for word in sys.argv[1:4])
ports = [int(word) for word in sys.argv[4:]]
admitted = collections.Counter()
of_node = collections.Counter()
asked = collections.Counter()
lock = threading.Lock()
ended = threading.Event()


def window_of(verdict):
    """The end of the window is a whole number of windows; what is between two is how long the answer took."""
    end_ms = time.time() * 1000 + verdict["reset_ms"]
    return round(end_ms / window_ms) - 1


def ask(connection, port):
    body = json.dumps({"limit": "hard", "key": {"who": "all"}, "hits": 1})
    connection.request("POST", "/v1/check", body)
    response = connection.getresponse()
    verdict = json.loads(response.read())
    check(f"{port} answered {response.status}: {verdict}", response.status in (200, 429))
    check(f"{port} published {verdict['bound']}", verdict["bound"] == 0)
    with lock:
        asked[port] += 1
        if response.status == 200:
            admitted[window_of(verdict)] += 1
            of_node[port] += 1
    # Nobody spins while there is nothing.
    if response.status == 429:
        time.sleep(min(verdict["retry_after_ms"], 50) / 1000)


def client(port):
    connection = None
    while not ended.is_set():
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            ask(connection, port)
        except (OSError, http.client.HTTPException):
            connection = None
            time.sleep(0.02)


def tell(*_):
    with lock:
        total, windows = sum(admitted.values()), len(admitted)
    print(f"admitted {total} in {windows}", flush=True)


def main():
    stop = threading.Event()
    signal.signal(signal.SIGUSR1, tell)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    tell()
    clients = [threading.Thread(target=client, args=(port,)) for port in ports for _ in range(2)]
    for thread in clients:
        thread.start()
    while not stop.wait(0.05) or len(admitted) < least_windows:
        pass
    ended.set()
    for thread in clients:
        thread.join()
    for window in sorted(admitted):
        note(f"window {window}: {admitted[window]} of {limit} admitted")
    note(f"asked {dict(asked)}, admitted by {dict(of_node)}")
    check(f"a window admitted {max(admitted.values())}", max(admitted.values()) <= limit)
    check("every node admitted", all(of_node[port] > 0 for port in ports))


main()
