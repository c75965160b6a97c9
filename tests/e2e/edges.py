"""edges.py RESP_PORT HTTP_PORT: values and keys at their limits, one below and one above, by every way in; raw epoch_max values."""

import http.client
import json
import struct
import sys

from tally import Error, Resp, check

resp = Resp(int(sys.argv[1]))
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]), timeout=20)


def say(*words):
    resp.send(*words)
    return resp.read()


def ask(method, key, body=None, accept=None):
    path = "/v1/counters/" + "".join(f"%{b:02x}" for b in key)
    connection.request(method, path, body, {"Accept": accept} if accept else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def refused(reply, *words):
    return isinstance(reply, Error) and all(word in reply for word in words)


def problem(answer, status, code, *words):
    if answer[0] != status:
        return False
    found = json.loads(answer[1])
    return found["code"] == code and all(word in found["detail"] for word in words)


def raw_values():
    doors = {
        "RESP": (lambda key, raw: say("TLY.SETRAW", key, raw), lambda key: say("TLY.GETRAW", key)),
        "HTTP": (
            lambda key, raw: ask("PUT", key, raw),
            lambda key: ask("GET", key, accept="application/octet-stream")[1],
        ),
    }
    for door, (put, get) in doors.items():
        for size in (0, 15, 17):
            reply = put(b"em:bad", b"7" * size)
            said = refused(reply, "16 bytes") if door == "RESP" else problem(reply, 400, "bad_raw", "16 bytes")
            check(f"{door}: a raw value of {size} bytes is refused with the reason, got {reply!r}", said)
        check(f"{door}: nothing was written", ask("GET", b"em:bad")[0] == 404)
        for i, (epoch, count) in enumerate([(2**64 - 1, -(2**63)), (0, 0), (42, -1), (2**63, 2**63 - 1)]):
            key, raw = f"em:{door}{i}".encode(), struct.pack(">Qq", epoch, count)
            put(key, raw)
            check(f"{door}: {epoch}:{count} comes back as it went, got {get(key)!r}", get(key) == raw)
            read = json.loads(ask("GET", key)[1])
            check(f"{door}: it reads {epoch}:{count}, got {read}", (read["epoch"], read["count"]) == (epoch, count))
            text = say("GET", key)
            check(f"{door}: as text it is {epoch}:{count}, got {text}", text == f"{epoch}:{count}".encode())
    check("a counter has no raw form", refused(say("TLY.SETRAW", "counter", "x" * 16), "WRONGTYPE"))
    check("… over HTTP", problem(ask("PUT", b"counter", b"x" * 16), 409, "wrong_strategy"))
    check("any bytes under kv:", ask("PUT", b"kv:raw", bytes(range(256)))[0] == 204)
    check("… come back", say("TLY.GETRAW", "kv:raw") == bytes(range(256)))


def keys():
    for size in (511, 512):
        for prefix in (b"", b"kv:"):
            key = prefix.ljust(size, b"k")
            wrote = say("INCR", key) if prefix == b"" else say("SET", key, "x")
            check(f"RESP: a key of {size} bytes, got {wrote!r}", wrote in (1, "OK"))
            check(f"HTTP: a key of {size} bytes", ask("GET", key)[0] == 200)
    long = b"k" * 513
    for words in (("INCR", long), ("SET", b"kv:".ljust(513, b"k"), "x"), ("GET", long), ("DEL", long), ("TLY.SETRAW", long, "x")):
        check(f"RESP: {words[0]} of 513 bytes names the limit", refused(say(*words), "1 to 512 bytes"))
    for method, body in (("GET", None), ("POST", b""), ("PUT", b"x"), ("DELETE", None)):
        check(f"HTTP: {method} of 513 bytes names it", problem(ask(method, long, body), 400, "bad_key", "1 to 512 bytes"))
    check("nothing was written", say("DBSIZE") == json.loads(cluster())["keys"])


def cluster():
    connection.request("GET", "/v1/cluster")
    return connection.getresponse().read()


def values():
    ways = {
        "SET": lambda value: say("SET", "kv:v", value),
        "TLY.SETRAW": lambda value: say("TLY.SETRAW", "kv:v", value),
        "PUT": lambda value: ask("PUT", b"kv:v", value),
        "POST": lambda value: ask("POST", b"kv:v", json.dumps({"value": value.decode()})),
    }
    for way, put in ways.items():
        for size in (65535, 65536):
            check(f"{way} of {size} bytes", put(b"v" * size) in ("OK", (204, b"")) or way == "POST")
            check(f"{way} of {size} bytes is there", say("GET", "kv:v") == b"v" * size)
        reply = put(b"w" * 65537)
        if isinstance(reply, tuple):
            check(f"{way} of 65537 bytes names the limit: {reply}", problem(reply, 413, "value_too_large", "at most 65536"))
        else:
            check(f"{way} of 65537 bytes names the limit: {reply}", refused(reply, "at most 65536 bytes"))
        check(f"{way} of 65537 bytes changed nothing", say("GET", "kv:v") == b"v" * 65536)


raw_values()
keys()
values()
