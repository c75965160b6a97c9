"""Whether requests allocate: allocations.py RESP_PORT HTTP_PORT FILE; the node counts its allocations in FILE (allocations.c), or nowhere (-).

Each kind of request is said some thousand times to grow what grows, and then again while nothing may be allocated. On a machine that stalls
something may grow later than that, which is once and not for each request: then it is counted again.
"""

import socket
import struct
import sys

# In the warm-up each key counts beyond 127, where a counter needs another byte; the next one is far.
WARM, COUNTED, KEYS, TRIES = 7500, 4000, 50, 3
resp_port, http_port, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
counts = path != "-"
if not counts:
    WARM, COUNTED = 400, 200


def array(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def post(body):
    return b"POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body), body)


def get(target):
    return b"GET %s HTTP/1.1\r\nHost: a\r\nX-Tenant: %s\r\n\r\n" % (target, b"t1")


# Kind: (port, whether answers are HTTP, the request of the i-th key). Keys are over their limits when it counts, or far from them: one that
# comes near its limit is watched from then on, which takes memory once.
KINDS = {
    "INCR": (resp_port, False, lambda i: array(b"INCR", b"a:%d" % i)),
    "GET": (resp_port, False, lambda i: array(b"GET", b"a:%d" % i)),
    "CL.THROTTLE": (resp_port, False, lambda i: array(b"CL.THROTTLE", b"k:%d" % i, b"1000000" if i % 2 else b"3", b"30", b"60")),
    "TLY.CHECK": (resp_port, False, lambda i: array(b"TLY.CHECK", b"small" if i % 2 else b"large", b"tenant", b"%d" % i)),
    "POST /v1/check": (http_port, True, lambda i: post(
        b'{"limit":"%s","key":{"tenant":"t%d"},"hits":1}' % (b"small" if i % 2 else b"large", i))),
    "POST /v1/check with a rate": (http_port, True, lambda i: post(b'{"key":"u%d","rate":"%s/300d"}' % (i, b"1000000" if i % 2 else b"3"))),
    "GET /check": (http_port, True, lambda i: get(b"/check/large?tenant=t%d" % i)),
    "GET /check, refused": (http_port, True, lambda i: get(b"/check/small?tenant=t%d&deny=403" % i)),
}


class Answers:
    """Takes so many answers off a socket, whatever is in them."""

    def __init__(self, sock, is_http):
        self.sock, self.is_http, self.left = sock, is_http, b""

    def more(self):
        got = self.sock.recv(65536)
        assert got, "the node closed the connection after " + repr(self.left[-200:])
        self.left += got

    def line(self, at):
        while (end := self.left.find(b"\r\n", at)) < 0:
            self.more()
        return self.left[at:end], end + 2

    def resp_end(self, at):
        head, at = self.line(at)
        assert head[:1] in (b":", b"$", b"*", b"+"), head
        if head[:1] == b"$" and head != b"$-1":
            at += int(head[1:]) + 2
            while len(self.left) < at:
                self.more()
        for _ in range(int(head[1:]) if head[:1] == b"*" else 0):
            at = self.resp_end(at)
        return at

    def http_end(self, at):
        while (end := self.left.find(b"\r\n\r\n", at)) < 0:
            self.more()
        head = self.left[at:end].lower()
        assert head[:12] in (b"http/1.1 200", b"http/1.1 204", b"http/1.1 429", b"http/1.1 403"), head
        at = end + 4
        if b"\r\ncontent-length: " in head:
            at += int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
        while len(self.left) < at:
            self.more()
        return at

    def take(self, count):
        at = 0
        for _ in range(count):
            at = self.http_end(at) if self.is_http else self.resp_end(at)
        self.left = self.left[at:]


def say(sock, answers, request, count, depth):
    for start in range(0, count, depth):
        sock.sendall(b"".join(request((start + i) % KEYS) for i in range(depth)))
        answers.take(depth)


def allocated():
    if not counts:
        return 0
    with open(path, "rb") as file:
        return struct.unpack("=Q", file.read(8))[0]


failed = []
for kind, (port, is_http, request) in KINDS.items():
    for depth in (1, 20):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = Answers(sock, is_http)
            # All keys at once: what grows with those that are changed and not handed over yet has its size then.
            say(sock, answers, request, WARM // 2, KEYS)
            say(sock, answers, request, WARM // 2, depth)
            counts_seen = []
            while len(counts_seen) < TRIES and 0 not in counts_seen:
                before = allocated()
                say(sock, answers, request, COUNTED, depth)
                counts_seen.append(allocated() - before)
            if 0 not in counts_seen:
                failed.append(f"{kind} at depth {depth}: {counts_seen} allocations in {COUNTED} requests each")
assert not counts or allocated() > 100, "nothing was counted at all"
said = "allocated nothing" if counts else "were answered; what they allocate was not counted"
print("\n".join(failed) if failed else f"note: {2 * len(KINDS) * COUNTED} requests of {len(KINDS)} kinds {said}")
sys.exit(bool(failed))
