"""resets.py GRPC_PORT HTTP_PORT PID SECONDS: 64 connections open calls and reset them as fast as they can, and come again when they are closed;
beside them one client asks, over gRPC and over HTTP.

Prints one line of "name=number" pairs; ends with an error when an honest call is not answered as it should be.
"""
import errno
import multiprocessing
import selectors
import socket
import struct
import sys
import time

import grpc
from rls_proto import *
from tally import fail, status_kb
from tally import request as http_request

CONNECTIONS = 64
PAIRS = 100  # of HEADERS and RST_STREAM in one write
PATIENCE_S = 60
LIMIT = 1000000  # of the rules
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
GOAWAY = 7


def literal(text):
    return bytes([len(text)]) + text


# :method POST, :scheme http, then literals that no table keeps.
FIELDS = (
    b"\x83\x86\x04"
    + literal(b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
    + b"\x01"
    + literal(b"node")
    + b"\x0f\x10"
    + literal(b"application/grpc")
    + b"\x00"
    + literal(b"te")
    + literal(b"trailers")
)


def frame(kind, flags, stream, body):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


class Resetter:
    """One connection after the other; half a call each, which its reset ends."""

    def __init__(self, flood):
        self.flood = flood
        self.open()

    def open(self):
        self.socket = socket.create_connection(("127.0.0.1", self.flood.port))
        self.socket.setblocking(False)
        self.stream, self.waiting, self.heard = 1, PREFACE, b""
        self.flood.selector.register(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def again(self):
        self.flood.selector.unregister(self.socket)
        self.socket.close()
        self.flood.closed += 1
        self.open()

    def read(self):
        data = self.socket.recv(65536)
        if not data:
            return False
        self.heard = (self.heard + data)[-200:]
        return True

    def write(self):
        if not self.waiting:
            for _ in range(PAIRS):
                self.waiting += frame(1, 4, self.stream, FIELDS) + frame(3, 0, self.stream, struct.pack(">I", 8))
                self.stream += 2
        sent = self.socket.send(self.waiting)
        self.waiting = self.waiting[sent:]
        self.flood.bytes += sent

    def step(self, events):
        try:
            if events & selectors.EVENT_READ and not self.read():
                return self.again()
            if events & selectors.EVENT_WRITE:
                self.write()
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                raise
            self.again()


class Flood:
    """In a process of its own, so that it is slowed by nothing."""

    def __init__(self, port, told):
        self.port, self.told, self.closed, self.bytes = port, told, 0, 0
        self.selector = selectors.DefaultSelector()
        for _ in range(CONNECTIONS):
            Resetter(self)
        while True:
            for key, events in self.selector.select():
                key.data.step(events)
            told[0], told[1] = self.closed, self.bytes


def ask_all(call, http_port, until):
    """Asks in turn until it is over; how long each took, by door."""
    took = {"grpc": [], "http": []}
    while not until(took):
        since = time.monotonic()
        answer = call(request("acme", [("many", "a")]), timeout=PATIENCE_S)
        took["grpc"].append(time.monotonic() - since)
        if answer.overall_code != OK:
            fail(f"a call was answered {answer.overall_code}")
        since = time.monotonic()
        status, _, body = http_request(http_port, "POST", "/v1/check", {"key": "honest", "rate": "1000000/h"})
        took["http"].append(time.monotonic() - since)
        if status != 200:
            fail(f"a check was answered {status}: {body!r}")
    return took


def p99_us(values):
    return int(sorted(values)[len(values) * 99 // 100] * 1e6)


def main():
    grpc_port, http_port, pid, seconds = (int(text) for text in sys.argv[1:5])
    call = caller(grpc.insecure_channel(f"127.0.0.1:{grpc_port}"), SHOULD_RATE_LIMIT, Response)
    quiet = ask_all(call, http_port, lambda took: len(took["http"]) >= 200)
    before_kb = status_kb(pid)
    apart = multiprocessing.get_context("spawn")
    told = apart.Array("Q", 2)  # closed, bytes
    flood = apart.Process(target=Flood, args=(grpc_port, told), daemon=True)
    flood.start()
    end = time.monotonic() + seconds
    # Not before each of them was closed and has come again.
    is_over = lambda took: not flood.is_alive() or (time.monotonic() > end and len(took["http"]) >= 50 and told[0] >= CONNECTIONS)
    beside = ask_all(call, http_port, is_over)
    peak_kb = status_kb(pid, "VmHWM")
    if not flood.is_alive():
        fail("the flood ended")
    flood.terminate()
    flood.join()
    # Half a call is none.
    left = call(request("acme", [("many", "a")]), timeout=PATIENCE_S).statuses[0].limit_remaining
    asked = len(quiet["grpc"]) + len(beside["grpc"]) + 1
    if left != LIMIT - asked:
        fail(f"{asked} calls were made, and {left} of {LIMIT} are left")
    print(
        f"calls={len(beside['grpc'])} closed={told[0]} flood_bytes={told[1]} before_kb={before_kb} peak_kb={peak_kb} "
        f"quiet_grpc_us={p99_us(quiet['grpc'])} beside_grpc_us={p99_us(beside['grpc'])} "
        f"quiet_http_us={p99_us(quiet['http'])} beside_http_us={p99_us(beside['http'])}"
    )


if __name__ == "__main__":
    main()
