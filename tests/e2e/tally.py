"""What the clients of the scenes share: a RESP connection, an HTTP request, and a way to fail."""

import http.client
import json
import socket
import sys
import time


def fail(text):
    print("failed:", text)
    sys.exit(1)


def note(text):
    print("note:", text, flush=True)


def check(what, condition):
    if not condition:
        fail(what)


def wait_until(what, condition, patience_s=30.0):
    """Polls; what condition() gave when it was true at last."""
    deadline = time.monotonic() + patience_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            fail(f"not within {patience_s} s: {what}")
        time.sleep(0.005)


class Closed(Exception):
    """The other side has closed, perhaps in the middle of a reply."""


class Error(str):
    """An error reply."""


class Resp:
    """A connection to a RESP door, pipelining as its user likes: send() as often as wanted, then read() as often."""

    def __init__(self, port, timeout=20.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    @staticmethod
    def encode(*words):
        out = [b"*%d\r\n" % len(words)]
        for word in words:
            if not isinstance(word, bytes):
                word = str(word).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(word), word))
        return b"".join(out)

    def send(self, *words):
        self.socket.sendall(self.encode(*words))

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Closed()
        return line[:-2]

    def bulk(self, length):
        data = self.file.read(length + 2)
        if len(data) < length + 2:
            raise Closed()
        return data[:-2]

    def read(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        if kind == b"$" or kind == b"=":
            return None if rest == b"-1" else self.bulk(int(rest))
        if kind == b"*" or kind == b"~":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"%":
            return {self.read(): self.read() for _ in range(int(rest))}
        fail(f"no RESP: {line[:100]!r}")

    def call(self, *words):
        self.send(*words)
        return self.read()

    def close(self):
        self.file.close()
        self.socket.close()


def request(port, method, path, body=None, headers=None, timeout=20.0):
    """Status, headers and body of one HTTP exchange; the body parsed if it is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        data = response.read()
        if "json" in (response.getheader("Content-Type") or ""):
            data = json.loads(data)
        return response.status, response.headers, data
    finally:
        connection.close()


def status_kb(pid, name="VmRSS"):
    """A line of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def digest(port):
    return request(port, "GET", "/v1/cluster?digest=1")[2]["digest"]
