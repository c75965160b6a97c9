"""crowd.py RESP_PORT COUNT: opens so many connections, of which the first goes on counting; closes all but it on a line of input.

Says "crowded" when all are open, and "counted N" at the end of the input, when the first had N right answers.
"""

import socket
import sys
import threading

from tally import Resp, check


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    first = Resp(port)
    check("INCR", first.call("INCR", "crowd") == 1)
    crowd = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
    print("crowded", flush=True)
    told, counted = threading.Event(), 1

    def listen():
        sys.stdin.readline()
        for connection in crowd:
            connection.close()
        sys.stdin.read()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    while not told.wait(0.01):
        counted += 1
        check(f"INCR answers {counted}", first.call("INCR", "crowd") == counted)
    print(f"counted {counted}")


main()
