"""Clients of a node that is told to stop.

    drain.py answers RESP_PORT PID     counts in a pipeline, sends TERM in the middle, and reads to the end: prints how many
                                       answers there were; they have to be 1, 2, 3 …, the last of them whole
    drain.py idle RESP_PORT PID        waits for the node to close a connection that says nothing, after TERM
    drain.py stuck RESP_PORT           asks for 60 MB and never reads; says "stuck" when the node cannot get rid of more
"""

import os
import signal
import sys
import threading
import time

from tally import Closed, Resp, check, fail

# In all, and on their way at any moment: more than a megabyte would be a flood, whose rest may be cut off.
COMMANDS, WINDOW = 400000, 5000


def answers(port, pid):
    resp = Resp(port)

    room = threading.Semaphore(WINDOW // 100)

    def send():
        try:
            for _ in range(COMMANDS // 100):
                room.acquire()
                resp.socket.sendall(Resp.encode("INCR", "drained") * 100)
        except OSError:
            pass

    threading.Thread(target=send, daemon=True).start()
    count = 0
    try:
        while True:
            reply = resp.read()
            count += 1
            check(f"answer {count} is {reply!r}", reply == count)
            if count % 100 == 0:
                room.release()
            if count == 20000:
                os.kill(pid, signal.SIGTERM)
    except Closed:
        check("the last answer is cut off", resp.file.read() == b"")
    check(f"{count} answers: TERM came after the end", 20000 <= count < COMMANDS)
    print(count)


def idle(port, pid):
    resp = Resp(port)
    check("PING", resp.call("PING") == "PONG")
    os.kill(pid, signal.SIGTERM)
    check("an idle connection is closed without a word", resp.file.read() == b"")


def stuck(port):
    scene = os.getppid()
    resp = Resp(port)
    check("SET", resp.call("SET", "kv:stuck", "x" * 60000) == "OK")
    resp.socket.settimeout(1)
    resp.socket.sendall(Resp.encode("GET", "kv:stuck") * 1000)
    print("stuck", flush=True)
    while os.getppid() == scene:
        time.sleep(1)


def main():
    what, port = sys.argv[1], int(sys.argv[2])
    if what == "answers":
        answers(port, int(sys.argv[3]))
    elif what == "idle":
        idle(port, int(sys.argv[3]))
    elif what == "stuck":
        stuck(port)
    else:
        fail(what)


main()
