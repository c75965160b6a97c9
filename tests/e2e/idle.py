"""What an idle connection costs: idle.py PID DOOR PORT COUNT BYTES_MAX

Opens COUNT connections to a door, each of which says one thing that is answered, and compares what the process holds in memory (VmRSS) before
and after: at most BYTES_MAX each, 0: it is not looked at.  Then all of them are still answered.
"""

import resource
import socket
import sys

from tally import status_kb

pid, door, port, count, bytes_max = int(sys.argv[1]), sys.argv[2], *(int(word) for word in sys.argv[3:])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ask(connection, question, answer):
    connection.sendall(question)
    got = b""
    while answer not in got:
        piece = connection.recv(4096)
        assert piece, f"closed after {got!r}"
        got += piece


SAID = {
    "resp": (b"INCR idle\r\nPING\r\n", b"+PONG\r\n"),
    "http": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"ok"),
}


def connect():
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(60)
    return connection


# What is held once, whoever comes, is there before the first is counted.
for _ in range(64):
    with connect() as first:
        ask(first, *SAID[door])
before = status_kb(pid) * 1024
idle = []
for _ in range(count):
    idle.append(connect())
    ask(idle[-1], *SAID[door])
each = (status_kb(pid) * 1024 - before) / count
for connection in idle:
    ask(connection, *SAID[door])
if bytes_max > 0:
    print(f"note: {door}: {count} idle connections, {each:.0f} bytes each")
    assert each <= bytes_max, f"{door}: {each:.0f} bytes for each idle connection, {bytes_max} are allowed"
