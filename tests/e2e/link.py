"""tests/e2e/link.py BINARY: that tally-link does to a stream what it says. Every wait is for bytes or for an answer."""
import atexit
import json
import os
import socket
import subprocess
import sys
import time

PATIENCE_S = 20


class Link:
    """A tally-link between what connects here and an echo-less server of ours."""

    def __init__(self, *options):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(PATIENCE_S)
        target = "127.0.0.1:%d" % self.server.getsockname()[1]
        self.path = "control.%d" % self.server.getsockname()[1]
        self.process = subprocess.Popen([sys.argv[1], "-c", self.path, *options, "127.0.0.1:0=" + target],
                                        stdout=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)  # when a claim fails; else it has ended by then
        ready = self.process.stdout.readline()
        assert ready.startswith("ready 127.0.0.1:") and ready.endswith("=" + target + "\n"), ready
        self.port = int(ready.split("=")[0].rsplit(":", 1)[1])
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(PATIENCE_S)
        self.control.connect(self.path)
        self.answers = self.control.makefile("r")

    def tell(self, command):
        self.control.sendall(command.encode() + b"\n")
        return self.answers.readline().rstrip("\n")

    def stats(self):
        return json.loads(self.tell("stats"))

    def connect(self):
        near = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        far, _ = self.server.accept()
        far.settimeout(PATIENCE_S)
        return near, far

    def until(self, holds):
        deadline = time.monotonic() + PATIENCE_S
        while not holds(self.stats()):
            assert time.monotonic() < deadline, self.stats()

    def end(self):
        """Its last line is the statistics."""
        self.process.terminate()
        last = self.process.stdout.read().splitlines()[-1]
        assert self.process.wait(PATIENCE_S) == 0
        assert not os.path.exists(self.path), "the control socket stays"
        return json.loads(last)


def read_all(sock, n=None):
    """n bytes, or all until the end; how it ended: b"..." and "end" or "reset"."""
    got = b""
    while n is None or len(got) < n:
        try:
            more = sock.recv(65536 if n is None else n - len(got))
        except ConnectionResetError:
            return got, "reset"
        if not more:
            return got, "end"
        got += more
    return got, "open"


def data(n):
    return bytes((i * 7 + i // 251) % 256 for i in range(n))


def send_later(sock, payload):
    """In a child, for it may have to wait; the status is that of sending."""
    child = os.fork()
    if child == 0:
        try:
            sock.settimeout(PATIENCE_S)
            sock.sendall(payload)
            os._exit(0)
        except OSError:
            os._exit(1)
    return child


def bytes_go_through_both_ways():
    link = Link()
    near, far = link.connect()
    payload = data(300000)
    for source, sink in (near, far), (far, near):
        child = send_later(source, payload)
        assert read_all(sink, len(payload)) == (payload, "open")
        assert os.waitpid(child, 0)[1] == 0
    near.shutdown(socket.SHUT_WR)
    assert read_all(far) == (b"", "end")
    far.sendall(b"still")
    far.close()
    assert read_all(near) == (b"still", "end")
    link.until(lambda stats: stats["open"] == 0)
    assert link.end()["up_bytes"] == len(payload)


def a_rate_is_kept():
    """64 kB at 512 kbps take one second, less what the first segment has ahead of the count."""
    link = Link("-r", "512k/4M")
    near, far = link.connect()
    for source, sink, expected_s in (near, far, 1.0), (far, near, 0.128):
        payload = data(64000)
        started = time.monotonic()
        child = send_later(source, payload)
        assert read_all(sink, len(payload)) == (payload, "open")
        took = time.monotonic() - started
        assert os.waitpid(child, 0)[1] == 0
        assert took >= expected_s * 0.97, "%.3f s, less than %.3f s" % (took, expected_s)
        assert took <= expected_s * 1.2 + 1, "%.3f s, more than %.3f s" % (took, expected_s)
    link.end()


def a_delay_is_kept():
    link = Link("-d", "150ms/50ms", "-j", "20ms")
    near, far = link.connect()
    started = time.monotonic()
    near.sendall(b"a")
    assert read_all(far, 1) == (b"a", "open")
    assert 0.15 <= time.monotonic() - started < 1
    started = time.monotonic()
    far.sendall(b"b")
    assert read_all(near, 1) == (b"b", "open")
    assert 0.05 <= time.monotonic() - started < 1
    link.end()


def a_cut_comes_after_so_many_bytes():
    for end, seen in ("rst", "reset"), ("fin", "end"):
        for n in 1, 1448, 1449, 5000:
            link = Link()
            assert link.tell("after up %d %s" % (n, end)) == "ok"
            near, far = link.connect()
            child = send_later(near, data(20000))
            got, how = read_all(far)
            assert how == seen and got == data(20000)[:len(got)], (end, n, len(got), how)
            # What a reset overtakes in the receiver's own buffer is lost; never is there more.
            assert len(got) == n if end == "fin" else len(got) <= n, (end, n, len(got))
            far.close()
            os.waitpid(child, 0)
            assert link.end()["cut"] == 1
    link = Link()
    near, far = link.connect()
    assert link.tell("after down 3 rst") == "ok"
    near.sendall(b"whatever")
    assert read_all(far, 8) == (b"whatever", "open")
    far.sendall(b"abc")
    got, how = read_all(near)
    assert how == "reset" and b"abc".startswith(got)
    assert link.end()["down_bytes"] == 3


def what_is_clogged_goes_on_when_released():
    link = Link("-r", "8M")
    near, far = link.connect()
    assert link.tell("clog up") == "ok"
    payload = data(3000)
    near.sendall(payload)
    link.until(lambda stats: stats["up_held"] == len(payload))
    far.sendall(b"the other way")
    assert read_all(near, 13) == (b"the other way", "open")
    assert link.stats()["up_bytes"] == 0
    assert link.tell("release up") == "ok"
    assert read_all(far, len(payload)) == (payload, "open")
    link.end()


def a_queue_is_bounded():
    link = Link("-r", "8M", "-q", "10k")
    near, far = link.connect()
    assert link.tell("clog") == "ok"
    payload = data(2000000)
    child = send_later(near, payload)
    link.until(lambda stats: stats["up_held"] > 8000)
    # Nothing moves: however often one asks, the queue takes no more.
    assert max(link.stats()["up_held"] for _ in range(200)) <= 10000
    assert os.waitpid(child, os.WNOHANG) == (0, 0), "all was sent into a full queue"
    assert link.tell("release") == "ok"
    assert link.tell("set rate 0") == "ok"
    assert read_all(far, len(payload)) == (payload, "open")
    assert os.waitpid(child, 0)[1] == 0
    link.end()


def all_can_be_cut_at_once():
    link = Link()
    pairs = [link.connect() for _ in range(5)]
    for near, far in pairs:
        near.sendall(b"x")
        assert read_all(far, 1) == (b"x", "open")
    link.process.send_signal(10)  # SIGUSR1
    assert json.loads(link.process.stdout.readline())["open"] == 5
    link.process.send_signal(12)  # SIGUSR2
    for near, far in pairs:
        assert read_all(near) == (b"", "reset")
        assert read_all(far) == (b"", "reset")
    near, far = link.connect()
    near.sendall(b"y")
    assert read_all(far, 1) == (b"y", "open")
    assert link.tell("cut fin") == "ok"
    assert read_all(near) == (b"", "end")
    assert read_all(far) == (b"", "end")
    near.close()
    far.close()
    link.until(lambda stats: stats["open"] == 0)
    assert link.end()["cut"] == 6


def into_a_black_hole_all_falls():
    link = Link()
    near, far = link.connect()
    near.sendall(b"x")
    assert read_all(far, 1) == (b"x", "open")
    assert link.tell("cut blackhole") == "ok"
    near.sendall(b"lost")
    far.sendall(b"lost")
    other_near, other_far = link.connect()
    other_near.sendall(b"y")
    assert read_all(other_far, 1) == (b"y", "open")
    near.setblocking(False)
    far.setblocking(False)
    for end in near, far:
        try:
            raise AssertionError("something came: %r" % end.recv(10))
        except BlockingIOError:
            pass
    stats = link.end()
    assert stats["up_bytes"] == 2 and stats["open"] == 2, stats


def a_closed_door_refuses():
    link = Link()
    assert link.tell("close") == "ok"
    try:
        socket.create_connection(("127.0.0.1", link.port), PATIENCE_S)
        raise AssertionError("it was not refused")
    except ConnectionRefusedError:
        pass
    assert link.tell("open") == "ok"
    near, far = link.connect()
    near.sendall(b"x")
    assert read_all(far, 1) == (b"x", "open")
    # Nobody at the target: the connection is reset, and counted.
    link.server.close()
    try:
        lonely = socket.create_connection(("127.0.0.1", link.port), PATIENCE_S)
        assert read_all(lonely) == (b"", "reset")
    except ConnectionResetError:
        pass  # so soon that connect itself says it
    assert link.end()["failed"] == 1


def a_script_is_followed():
    link = Link("-a", "0s after up 2 fin", "-a", "10s quit")
    near, far = link.connect()
    link.until(lambda stats: stats["accepted"] == 1)
    near.sendall(b"abcd")
    assert read_all(far) == (b"ab", "end")
    link.end()


def a_mistake_is_named():
    link = Link()
    for command, word in ("", "set, cut"), ("cut", "rst|fin|blackhole"), ("set rate fast", "bits per second"), \
            ("clog sideways", "up, down"), ("after up x rst", "after up|down"):
        said = link.tell(command)
        assert said.startswith("error: ") and word in said, said
    try:
        link.control.sendall(b"x" * 100000)
        assert link.control.recv(1) == b"", "a line without end is read for ever"
    except ConnectionError:
        pass
    link.end()
    for options, status in (["-r", "fast", "a:1=b:1"], 2), ([], 2), (["127.0.0.1:0"], 1), (["-x"], 2), \
            (["127.0.0.1:0=nowhere"], 1), (["-a", "soon cut rst", "a:1=b:1"], 2), (["-h"], 0), (["-V"], 0):
        result = subprocess.run([sys.argv[1], *options], capture_output=True, text=True, timeout=PATIENCE_S)
        assert result.returncode == status, (options, result)
        assert result.stdout if status == 0 else "tally-link" in result.stderr, (options, result)


for scene in (bytes_go_through_both_ways, a_rate_is_kept, a_delay_is_kept, a_cut_comes_after_so_many_bytes,
              what_is_clogged_goes_on_when_released, a_queue_is_bounded, all_can_be_cut_at_once,
              into_a_black_hole_all_falls, a_closed_door_refuses, a_script_is_followed, a_mistake_is_named):
    try:
        scene()
    except BaseException:
        print("failed:", scene.__name__, flush=True)
        raise
