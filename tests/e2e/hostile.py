"""Talks nonsense to all three ports of a node, while an honest client goes on counting there.

    hostile.py PID RESP_PORT HTTP_PORT PEERS_PORT SLOW FRAME_FILE...

Every attack ends with an answer that says what is wrong, or with the end of the connection; the honest client gets the right number
every time; and, unless SLOW is 1, the node's memory does not grow.
"""

import random
import resource
import socket
import struct
import sys
import threading
import time

from tally import Error, Resp, check, fail, note, request, status_kb

HALF_S = 10  # how long half a message may take
PATIENCE_S = 20
MIB = 1024 * 1024


class Honest(threading.Thread):
    """Counts, one by one, all the time."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.resp = Resp(port, timeout=PATIENCE_S)
        self.stop = False
        self.count = 0
        self.slowest = 0.0
        self.error = None

    def run(self):
        try:
            while not self.stop:
                began = time.monotonic()
                reply = self.resp.call("INCR", "honest")
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.count += 1
                if reply != self.count:
                    self.error = f"INCR answered {reply!r}, not {self.count}"
                    return
                time.sleep(0.001)
        except Exception as error:
            self.error = repr(error)


class Node:
    def __init__(self, pid, resp, http, peers, slow):
        self.pid, self.resp, self.http, self.peers, self.slow = pid, resp, http, peers, slow
        self.attacks = 0
        self.honest = Honest(resp)

    def rss(self):
        return status_kb(self.pid) * 1024

    def files(self):
        with open(f"/proc/{self.pid}/limits") as limits:
            return next(int(line.split()[3]) for line in limits if line.startswith("Max open files"))

    def check_alive(self, after):
        if self.honest.error:
            fail(f"the honest client, after {after}: {self.honest.error}")
        count = self.honest.count
        deadline = time.monotonic() + PATIENCE_S
        while self.honest.count < count + 2:
            if time.monotonic() > deadline or self.honest.error:
                fail(f"the honest client is not served after {after}: {self.honest.error}")
            time.sleep(0.001)

    def attack(self, port, what, data, answer=None, end_writing=False):
        """Sends it and reads until the end; the end has to come, and before it `answer` if there is one to give."""
        self.attacks += 1
        got = exchange(port, data, end_writing)
        if got is None:
            fail(f"{what}: the connection was not closed in {PATIENCE_S} s")
        if answer is not None and answer not in got:
            fail(f"{what}: expected {answer!r} in the answer, got {got[:200]!r}")


def exchange(port, data, end_writing):
    """What came back until the other side closed; None: it did not."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    got = b""
    try:
        try:
            connection.sendall(data)
            if end_writing:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was closed while we talked
        while chunk := connection.recv(65536):
            got += chunk
    except ConnectionResetError:
        pass
    except TimeoutError:
        return None
    finally:
        connection.close()
    return got


# --- attacks ---------------------------------------------------------------

HTTP = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
RESP = b"*2\r\n$4\r\nINCR\r\n$7\r\nhostile\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
TLS = bytes.fromhex("16030100c8010000c40303") + bytes(range(190))


def resp_attacks():
    big = b"x" * 1000000
    return {
        "a key of a million bytes": (b"*2\r\n$4\r\nINCR\r\n$1000000\r\n" + big + b"\r\n", b"-ERR"),
        "a line of a million bytes": (big, b"-ERR"),
        "HTTP on the RESP port": (HTTP, b"-ERR"),
        "an HTTP POST on the RESP port": (POST, b"-ERR"),
        "HTTP/2 on the RESP port": (HTTP2, b"-ERR"),
        "TLS on the RESP port": (TLS, b"-ERR"),
        "2^31 arguments": (b"*2147483648\r\n", b"-ERR Protocol error"),
        "a billion arguments": (b"*1000000000\r\n", b"-ERR Protocol error"),
        "a length that is none": (b"*2\r\n$x\r\n", b"-ERR Protocol error"),
        "a negative length": (b"*1\r\n$-5\r\n", b"-ERR Protocol error"),
        "a length of 4 GiB": (b"*1\r\n$4294967296\r\n", b"-ERR Protocol error"),
        "no length at all": (b"*1\r\nPING\r\n", b"-ERR Protocol error"),
        "an open quote": (b'ECHO "open\r\n', b"-ERR Protocol error"),
        "arguments that add up": (b"*1000\r\n" + (b"$65000\r\n" + b"x" * 65000 + b"\r\n") * 20, b"-ERR"),
    }


def http_attacks():
    head = b"POST /v1/check HTTP/1.1\r\nHost: x\r\n"
    return {
        "RESP on the HTTP port": (RESP, b"HTTP/1.1 400"),
        "TLS on the HTTP port": (TLS, b"HTTP/1.1 400"),
        "HTTP/2 on the HTTP port": (HTTP2, b"HTTP/1.1 "),
        "a path of 100,000 bytes": (b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 414"),
        "headers of 100,000 bytes": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100000 + b"\r\n\r\n", b"HTTP/1.1 431"),
        "10,000 headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 10000 + b"\r\n", b"HTTP/1.1 431"),
        "a body of 4 GiB": (head + b"Content-Length: 4294967296\r\n\r\n", b"HTTP/1.1 413"),
        "a body of 2^64 bytes": (head + b"Content-Length: 18446744073709551616\r\n\r\n", b"HTTP/1.1 4"),
        "two lengths": (head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"HTTP/1.1 400"),
        "a length and chunks": (head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 400"),
        "a negative length": (head + b"Content-Length: -1\r\n\r\n", b"HTTP/1.1 400"),
        "a chunk of 2^64 bytes": (head + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", b"HTTP/1.1 4"),
        "a chunk that is none": (head + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", b"HTTP/1.1 400"),
        "a space before the colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"HTTP/1.1 400"),
        "HTTP/3.0": (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", b"HTTP/1.1 505"),
        "a million brackets": (head + b"Connection: close\r\nContent-Length: 1000000\r\n\r\n" + b"[" * 1000000, b"HTTP/1.1 400"),
    }


def peers_attacks(frames):
    attacks = {
        "HTTP on the peers port": HTTP,
        "RESP on the peers port": RESP,
        "TLS on the peers port": TLS,
        "a frame of 4 GiB": bytes.fromhex("ffffffff0f01"),
        "zeros": bytes(4096),
        "a greeting twice": frames["hello.hex"] * 2,
        "a greeting of another cluster": frames["hello.hex"],
        "a round before the greeting": frames["round_first.hex"],
    }
    attacks.update({f"the frame {name}": data for name, data in frames.items()})
    return attacks


def read_frames(paths):
    frames = {}
    for path in paths:
        with open(path, "rb") as file:
            data = file.read()
        if path.endswith(".hex"):
            data = bytes.fromhex("".join(line.split("#")[0] for line in data.decode().splitlines()))
        frames[path.rsplit("/", 1)[1]] = data
    return frames


def begin_half_messages(node):
    """Beginnings without an end, left open; each with the port it was sent to."""
    halves = [
        (node.resp, b"*2\r\n$3\r\nGE"), (node.resp, b"INCR no-end"), (node.resp, b"*3\r\n"),
        (node.resp, b"*2\r\n$4\r\nINCR\r\n$500\r\nx"),
        (node.http, b"GET /metr"), (node.http, b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"),
        (node.peers, b"\x05"), (node.peers, b""),
    ]
    opened = []
    for port, data in halves:
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        connection.sendall(data)
        opened.append((port, data, connection))
    return opened


def end_half_messages(node, opened):
    for port, data, connection in opened:
        node.attacks += 1
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            fail(f"half a message was waited for longer than {PATIENCE_S} s: {data!r} on port {port}")
        connection.close()


class Dripper(threading.Thread):
    """Sends a byte now and then, and never comes to the end."""

    def __init__(self, port, data):
        super().__init__(daemon=True)
        self.port, self.data = port, data
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.began = time.monotonic()
        self.lasted = None

    def run(self):
        try:
            for i in range(len(self.data)):
                self.connection.sendall(self.data[i:i + 1])
                time.sleep(0.2)
        except OSError:
            self.lasted = time.monotonic() - self.began
        self.connection.close()


def begin_drips(node):
    endless = b"X: " + b"x" * 200
    drips = [Dripper(node.resp, b"*2\r\n$4\r\nINCR\r\n$500\r\n" + endless), Dripper(node.resp, b"INCR " + endless),
             Dripper(node.http, b"GET / HTTP/1.1\r\nHost: x\r\n" + endless), Dripper(node.peers, b"\xff\xff\x0f" + endless)]
    for drip in drips:
        drip.start()
    return drips


def end_drips(node, drips):
    for drip in drips:
        node.attacks += 1
        drip.join(2 * PATIENCE_S)
        check(f"a request that comes byte by byte to port {drip.port} is waited for {drip.lasted} s: {drip.data[:30]!r}",
              drip.lasted is not None and drip.lasted <= HALF_S + 5)


def readers_of_nothing(node, count):
    """Clients that ask for sixty megabytes each and take nothing."""
    honest = Resp(node.resp)
    check("SET", honest.call("SET", "kv:wanted", "x" * 60000) == "OK")
    before = node.rss()
    crowd = []
    for _ in range(count):
        client = Resp(node.resp)
        client.send("PING")
        check("PING", client.read() == "PONG")
        client.socket.sendall(Resp.encode("GET", "kv:wanted") * 1000)
        crowd.append(client)
        node.attacks += 1
    node.check_alive("clients that read nothing")
    check("others are served", honest.call("DEL", "kv:wanted") == 1)
    each = (node.rss() - before) / count
    note(f"{count} clients that read nothing take {each / 1024:.0f} KiB each")
    check(f"{each:.0f} bytes for a client that reads nothing", node.slow or each <= 2 * MIB)
    for client in crowd:
        client.close()


def talk_garbage(node, chance):
    for port in (node.resp, node.http, node.peers):
        for _ in range(100):
            data = chance.randbytes(chance.choice([1, 10, 100, 1000, 10000]))
            node.attacks += 1
            if exchange(port, data, end_writing=True) is None:
                fail(f"garbage on port {port}, {data[:40].hex()}…: the connection was not closed in {PATIENCE_S} s")
        node.check_alive(f"garbage on port {port}")


def polite_refusals(node):
    """What is too large but well formed is refused, and the session goes on."""
    resp = Resp(node.resp)
    for length in (513, 65535):
        reply = resp.call("INCR", "k" * length)
        check(f"a key of {length} bytes: {reply!r}", isinstance(reply, Error))
    check("a key of 512 bytes", resp.call("INCR", "k" * 512) == 1)
    check("its removal", resp.call("DEL", "k" * 512) == 1)
    reply = resp.call("SET", "kv:big", "x" * 65537)
    check(f"a value of 65537 bytes: {reply!r}", isinstance(reply, Error))
    check("a value of 65536 bytes", resp.call("SET", "kv:big", "x" * 65536) == "OK")
    check("its removal", resp.call("DEL", "kv:big") == 1)
    resp.close()
    status = request(node.http, "POST", "/v1/counters/" + "k" * 513, {"delta": 1})[0]
    check(f"a key of 513 bytes by HTTP: {status}", status == 400)


def reset_flood(node):
    """Connections that ask and are gone before the answer."""
    for _ in range(300):
        for port, data in ((node.resp, Resp.encode("INCR", "flooded")), (node.http, HTTP), (node.peers, b"\x01")):
            connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
            connection.sendall(data)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    node.check_alive("a flood of resets")


def idle_crowd(node, count):
    """Connections that say nothing cost next to nothing and harm nobody."""
    if node.files() < count + 100:
        note(f"the node may have {node.files()} open files only: {count} idle connections were not tried")
        return
    before = node.rss()
    crowd = [socket.create_connection(("127.0.0.1", node.resp), timeout=PATIENCE_S) for _ in range(count)]
    node.check_alive(f"{count} idle connections")
    late = Resp(node.resp)
    check("one that comes after them is served", late.call("PING") == "PONG")
    crowd[0].sendall(b"PING\r\n")
    check("one of them is served", crowd[0].recv(100) == b"+PONG\r\n")
    each = (node.rss() - before) / count
    note(f"{count} idle connections take {each:.0f} bytes each")
    check(f"{each:.0f} bytes for an idle connection", node.slow or each <= 4096)
    for connection in crowd:
        connection.close()


def main():
    pid, resp, http, peers, slow = (int(word) for word in sys.argv[1:6])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seed = random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    frames = read_frames(sys.argv[6:])
    check("there are frames to send", "hello.hex" in frames and len(frames) > 10)

    node = Node(pid, resp, http, peers, slow)
    node.honest.start()
    request(http, "GET", "/metrics")
    node.check_alive("nothing")
    before = node.rss()

    halves, drips = begin_half_messages(node), begin_drips(node)
    for what, (data, answer) in resp_attacks().items():
        node.attack(resp, what, data, answer)
        node.check_alive(what)
    for what, (data, answer) in http_attacks().items():
        node.attack(http, what, data, answer)
        node.check_alive(what)
    for what, data in peers_attacks(frames).items():
        node.attack(peers, what, data, end_writing=True)
        node.check_alive(what)
    polite_refusals(node)
    talk_garbage(node, chance)
    reset_flood(node)
    readers_of_nothing(node, 20)
    idle_crowd(node, min(2000, hard - 200))
    end_half_messages(node, halves)
    end_drips(node, drips)
    node.check_alive("all of it")

    grown = node.rss() - before
    note(f"{node.attacks} attacks; memory grew by {grown / MIB:.1f} MiB; the honest client had {node.honest.count} replies, "
         f"the slowest after {node.honest.slowest * 1000:.0f} ms")
    check(f"memory grew by {grown} bytes", slow or grown <= 16 * MIB)
    check("the honest client waited too long", slow or node.honest.slowest < 1)
    node.honest.stop = True
    node.honest.join(PATIENCE_S)
    check(f"the honest client: {node.honest.error}", node.honest.error is None)


main()
