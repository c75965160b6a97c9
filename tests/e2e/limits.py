"""Asks one limit for 300 hits through each door that is not curl's, in turns on all nodes, over three seconds of one window.

    limits.py RESP_PORT:HTTP_PORT ...

The limit `api` and the bucket give 100 per 10 s. Of a window no more than 105 are admitted and no fewer than 100; of the bucket
what came back meanwhile too. Windows are aligned to the clock: hits that did not fall into one are asked for again, of others.
"""

import http.client
import sys
import time

from tally import Error, Resp, check, note

ASKED = 300
SECONDS = 3.0


class Doors:
    """Connections to one node."""

    def __init__(self, ports):
        resp_port, http_port = (int(port) for port in ports.split(":"))
        self.resp = Resp(resp_port)
        self.http = http.client.HTTPConnection("127.0.0.1", http_port, timeout=20)

    def forward(self, who):
        self.http.request("GET", f"/check/api?tenant=forward{who}")
        response = self.http.getresponse()
        response.read()
        check(f"/check/api answered {response.status}", response.status in (200, 204, 429))
        return response.status != 429

    def named(self, who):
        reply = self.resp.call("TLY.CHECK", "api", "tenant", f"named{who}")
        check(f"TLY.CHECK answered {reply!r}", isinstance(reply, list) and reply[1] in (b"ok", b"over"))
        return reply[1] == b"ok"

    def throttle(self, who):
        reply = self.resp.call("CL.THROTTLE", f"throttle{who}", 99, 100, 10)
        check(f"CL.THROTTLE answered {reply!r}", not isinstance(reply, Error) and len(reply) == 5 and reply[1] == 100)
        return reply[0] == 0


WAYS = {"GET /check/api": Doors.forward, "TLY.CHECK": Doors.named, "CL.THROTTLE": Doors.throttle}


def window():
    return int(time.time() // 10)


def hits(nodes, who):
    """How many were admitted by each way and in how many seconds; None when a window ended meanwhile."""
    while time.time() % 10 > 5:
        time.sleep(0.05)
    admitted = dict.fromkeys(WAYS, 0)
    first, began = window(), time.monotonic()
    for i in range(ASKED):
        time.sleep(max(0, began + i * SECONDS / ASKED - time.monotonic()))
        for way, ask in WAYS.items():
            admitted[way] += ask(nodes[i % len(nodes)], who)
    return (admitted, time.monotonic() - began) if window() == first else None


def main():
    nodes = [Doors(ports) for ports in sys.argv[1:]]
    got = next(filter(None, (hits(nodes, who) for who in range(5))), None)
    check("300 hits fell into one window in one of five tries", got is not None)
    admitted, took = got
    note(f"admitted in {took:.1f} s: {admitted}")
    for way, count in admitted.items():
        most = 105 + (took * 10 if way == "CL.THROTTLE" else 0)
        check(f"{way}: {count} of {ASKED} admitted, 100 to {most:.0f} expected", 100 <= count <= most)


main()
