"""floods.py PORT KIND COUNT: COUNT connections that send frames of one KIND as fast as they can, until each was told to calm down and was closed.

HTTP/2 by hand, for no library sends what these do. Ends with an error when a connection ends in any other way.
"""
import selectors
import socket
import struct
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE_S = 60
GOAWAY, CALM = 7, 11


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def text(value):
    return bytes((len(value),)) + value


def headers():
    path = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
    return b"\x83\x86\x04" + text(path) + b"\x01" + text(b"x") + b"\x0f\x10" + text(b"application/grpc")


# What the i-th time is sent.
def resets(i):
    return frame(1, 4, 2 * i + 1, headers()) + frame(3, 0, 2 * i + 1, struct.pack(">I", 8))


def wrong(i):
    """Calls that the door itself has to reset: a window that is wider than a window may be."""
    return frame(1, 4, 2 * i + 1, headers()) + frame(8, 0, 2 * i + 1, struct.pack(">I", 0x7FFFFFFF))


def calls(i):
    """Calls that never end, more than may be open."""
    return frame(1, 4, 2 * i + 1, headers())


def pings(i):
    return frame(6, 0, 0, b"12345678")


def settings(i):
    return frame(4, 0, 0, struct.pack(">HI", 4, 65535))


def priorities(i):
    return frame(2, 0, 1, struct.pack(">IB", 0, 0))


def windows(i):
    return frame(8, 0, 0, struct.pack(">I", 1))


def pongs(i):
    return frame(6, 1, 0, b"12345678")


def strangers(i):
    """Frames of types that nobody knows."""
    return frame(10 + i % 246, 0, 0, b"abc")


def pieces(i):
    """Headers that go on and on."""
    return frame(1, 0, 1, headers()) if i == 0 else frame(9, 0, 1, b"\x00" + text(b"a") + text(b"b"))


class Flood:
    def __init__(self, port, kind):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setblocking(False)
        self.kind, self.i = kind, 0
        self.out, self.heard = PREFACE + frame(4, 0, 0), b""
        self.goaway, self.is_broken = None, False

    def say(self):
        while len(self.out) < 16384:
            self.out += self.kind(self.i)
            self.i += 1
        try:
            self.out = self.out[self.socket.send(self.out):]
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            self.is_broken = True

    def hear(self):
        """False: the connection is over."""
        try:
            got = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            got = b""
        self.heard += got
        while len(self.heard) >= 9:
            n = int.from_bytes(self.heard[:3], "big")
            if len(self.heard) < 9 + n:
                break
            if self.heard[3] == GOAWAY:
                self.goaway = struct.unpack(">I", self.heard[13:17])[0]
            self.heard = self.heard[9 + n:]
        return got != b""


def main():
    port, name, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    selector = selectors.DefaultSelector()
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    for _ in range(count):
        flood = Flood(port, globals()[name])
        selector.register(flood.socket, both, flood)
    while selector.get_map():
        ready = selector.select(PATIENCE_S)
        if not ready:
            sys.exit(f"{name}: {len(selector.get_map())} connections are neither heard nor ended")
        for key, what in ready:
            flood = key.data
            if what & selectors.EVENT_READ and not flood.hear():
                if flood.goaway != CALM:
                    sys.exit(f"{name}: closed with {flood.goaway} after {flood.i} frames")
                selector.unregister(flood.socket)
                flood.socket.close()
                continue
            # Once it has been told it listens until the end.
            if flood.is_broken or flood.goaway is not None:
                selector.modify(flood.socket, selectors.EVENT_READ, flood)
            elif what & selectors.EVENT_WRITE:
                flood.say()
    print(count)


main()
