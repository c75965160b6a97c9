"""reload.py files|key TURNS NAME:HTTP:PID-OR-RESP:DIR...: changes limits while they are asked, and looks at every answer."""

import http.client
import json
import os
import signal
import sys
import threading
import time

from tally import Resp, check, fail, note

BASE = 1000000
CHECKS = 20


class Asker(threading.Thread):
    """Asks a node for both limits, over and over; every answer has to be of one revision, and none older than one before."""

    def __init__(self, name, port, limits):
        super().__init__(daemon=True)
        self.name, self.port, self.limits = name, port, limits
        self.revision, self.answers, self.stop, self.wrong = -1, 0, False, None

    def run(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            body = json.dumps([{"limit": self.limits[i % 2]} for i in range(CHECKS)])
            while not self.stop:
                connection.request("POST", "/v1/check", body)
                response = connection.getresponse()
                text = response.read()
                if response.status != 200:
                    raise ValueError(f"status {response.status}: {text[:200]}")
                seen = {verdict.get("limit", -1) for verdict in json.loads(text)["results"]}
                if len(seen) != 1:
                    raise ValueError(f"two revisions in one answer: {seen}")
                revision = seen.pop() - BASE
                if revision < self.revision:
                    raise ValueError(f"revision {revision} after {self.revision}")
                self.revision, self.answers = revision, self.answers + 1
                time.sleep(0.004)
        except Exception as why:  # whatever it is, the main thread says it
            self.wrong = why


def reached(askers, revision):
    deadline = time.monotonic() + 60
    while any(asker.revision < revision for asker in askers):
        for asker in askers:
            if asker.wrong is not None:
                fail(f"{asker.name}: {asker.wrong}")
        if time.monotonic() > deadline:
            fail(f"revision {revision} not within 60 s, but {[asker.revision for asker in askers]}")
        time.sleep(0.001)


def text_of(revision, names=("one", "two")):
    limits = [{"name": name, "rate": f"{BASE + revision}/10s"} for name in names]
    return json.dumps({"limits": limits}, indent=1)


def replace(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def turn_link(directory, revision):
    """As a configmap is changed: a new directory, and the link to it replaced."""
    os.mkdir(f"{directory}/..{revision}")
    replace(f"{directory}/..{revision}/tally.yaml", text_of(revision))
    os.symlink(f"..{revision}", f"{directory}/..tmp")
    os.rename(f"{directory}/..tmp", f"{directory}/..data")


def write_in_place(path, text):
    """Half of it, then the rest: the half alone is no file that anybody wants."""
    with open(path, "w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        file.write(text[len(text) // 2 :])


def change_file(revision, pid, directory):
    path = os.path.realpath(f"{directory}/tally.yaml")
    if revision % 10 == 3:
        turn_link(directory, revision)
    elif revision % 10 == 6:
        write_in_place(path, text_of(revision))
    elif revision % 10 == 9:
        replace(path, text_of(revision))
    else:
        replace(path, text_of(revision))
        os.kill(pid, signal.SIGHUP)


def main():
    what, turns = sys.argv[1], int(sys.argv[2])
    nodes = [argument.split(":") for argument in sys.argv[3:]]
    limits = ("one", "two") if what == "files" else ("three", "four")
    if what == "key":
        turns = turns // 20
        writers = [Resp(int(node[2])) for node in nodes]
        check("the first revision is written", writers[0].call("SET", "config:limits", text_of(0, limits)) == "OK")
        for node in nodes:  # unknown limits are admitted, and have no number
            wait_for_limits(int(node[1]), limits)
    askers = [Asker(node[0], int(node[1]), limits) for node in nodes]
    for asker in askers:
        asker.start()
    for revision in range(1, turns + 1):
        if what == "files":
            for node in nodes:
                change_file(revision, int(node[2]), node[3])
        else:
            writers[revision % len(nodes)].call("SET", "config:limits", text_of(revision, limits))
        reached(askers, revision)
    for asker in askers:
        asker.stop = True
        asker.join()
        check(f"{asker.name} was asked all the while", asker.answers >= turns and asker.wrong is None)
    note(f"{what}: {turns} changes on each of {len(nodes)} nodes, {sum(a.answers for a in askers) * CHECKS} checks")


def wait_for_limits(port, names):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/check", json.dumps([{"limit": name} for name in names]))
        verdicts = json.loads(connection.getresponse().read())["results"]
        connection.close()
        if all(verdict.get("limit", -1) == BASE for verdict in verdicts):
            return
        time.sleep(0.02)
    fail(f"no limits {names} within 60 s")


main()
