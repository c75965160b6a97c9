"""A client of Envoy's rate limit service, by grpcio and protobuf: rls.py ADDRESS CASE [ARGUMENT...]; says on failure what was not so."""
import concurrent.futures
import os
import signal
import sys
import threading
import time

import grpc
from rls_proto import *

PATIENCE_S = 60


def claim(what, wanted, got):
    if wanted != got:
        sys.exit(f"{what}: expected {wanted!r}, got {got!r}")


def read(variable):
    """The file that a variable of the environment names, or None."""
    if variable not in os.environ:
        return None
    with open(os.environ[variable], "rb") as file:
        return file.read()


class Service:
    def __init__(self, address, **options):
        options = [(k.replace("__", "."), v) for k, v in options.items()]
        ca, own, key = (read(name) for name in ("RLS_CA", "RLS_CERT", "RLS_KEY"))
        self.channel = (grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, own), options) if ca else
                        grpc.insecure_channel(address, options))
        self.call = caller(self.channel, SHOULD_RATE_LIMIT, Response)

    def ask(self, *descriptors, domain="acme", addend=0):
        return self.call(request(domain, *descriptors, addend=addend), timeout=PATIENCE_S)

    def one(self, *pairs, **options):
        return self.ask(entries(*pairs, **options)).statuses[0]

    def fails(self, what, code, details, message):
        try:
            self.call(message, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            claim(what + ", code", code, error.code())
            if details is not None:
                claim(what + ", words", details, error.details())
        else:
            sys.exit(f"{what}: it was answered")


def rules(service):
    """The reference's semantics, through a real protobuf on the other side."""
    code = grpc.StatusCode
    service.fails("no domain", code.UNKNOWN, "rate limit domain must not be empty", request("", [("two", "a")]))
    service.fails("no descriptors", code.UNKNOWN, "rate limit descriptor list must not be empty", request("acme"))
    answer = service.ask([("two", "a")], domain="elsewhere")
    claim("unknown domain", (OK, OK, False), (answer.overall_code, answer.statuses[0].code, answer.statuses[0].HasField("current_limit")))
    answer = service.ask([("nothing", "a")])
    claim("no rule", (OK, False), (answer.overall_code, answer.statuses[0].HasField("current_limit")))
    for code, left in ((OK, 1), (OK, 0), (OVER, 0), (OVER, 0)):
        answer = service.ask([("many", "a")], [("two", "a")])
        claim("two a year", (code, code, left), (answer.overall_code, answer.statuses[1].code, answer.statuses[1].limit_remaining))
    status = service.one(("many", "a"), hits=0)
    claim("all were charged", 1000000 - 4, status.limit_remaining)
    claim("its limit", (1000000, YEAR, "lots"), (status.current_limit.requests_per_unit, status.current_limit.unit, status.current_limit.name))
    reset = status.duration_until_reset.seconds
    if not 0 < reset <= 365 * 86400 or status.duration_until_reset.nanos:
        sys.exit(f"duration_until_reset: {reset}")
    claim("a batch", (OK, 3), ((s := service.one(("five", "a"), hits=2)).code, s.limit_remaining))
    claim("a batch that crosses", (OVER, 0), ((s := service.one(("five", "a"), hits=4)).code, s.limit_remaining))
    claim("behind it", OVER, service.one(("five", "a")).code)
    claim("given back", (OK, 3), ((s := service.one(("five", "a"), hits=5, back=True)).code, s.limit_remaining))
    claim("unlimited", (OK, 2**32 - 1), ((s := service.one(("free", ""))).code, s.limit_remaining))
    claim("shadow", [OK, OK], [service.one(("dark", "a")).code for _ in range(2)])
    status = service.one(("two", "b"), limit=(7, DAY))
    claim("brought along", (6, 7, DAY), (status.limit_remaining, status.current_limit.requests_per_unit, status.current_limit.unit))
    claim("addend", 1000000 - 4 - 6, service.ask([("many", "a")], addend=6).statuses[0].limit_remaining)
    claim("wildcard", [OK, OVER], [service.one(("file", "x" + n)).code for n in "12"])
    aligned(service)
    # Both say what they are; all of them have to be over, or one that is no quota.
    quotas = [("quota-one", "a")], [("quota-more", "a")]
    for codes in ([OK, OK, OK], [OK, OVER, OK], [OK, OVER, OK], [OVER, OVER, OVER]):
        answer = service.ask(*quotas)
        claim("quotas", codes, [answer.overall_code] + [s.code for s in answer.statuses])
    claim("a quota and two a year", OVER, service.ask([("quota-more", "b")], [("two", "a")]).overall_code)
    # What is replaced is not charged, and says no limit.
    answer = service.ask([("old", "a")], [("new", "a")])
    claim("replaced", [False, True], [s.HasField("current_limit") for s in answer.statuses])
    claim("of what was replaced", 1, service.one(("old", "a"), hits=0).limit_remaining)


def aligned(service):
    """A window ends with its unit of the clock, which goes on while the answer comes."""
    day = 86400
    while True:
        before = int(time.time()) % day
        reset = service.one(("daily", "a")).duration_until_reset.seconds
        after = int(time.time()) % day
        if before <= after:
            break  # no day has ended meanwhile
    if not day - after <= reset <= day - before:
        sys.exit(f"duration_until_reset: {reset}, of a day that ends in {day - after} to {day - before}")


def shadowed(service):
    """In the shadow of the whole service the answer is OK; what each limit says is told."""
    for code in (OK, OK, OVER):
        answer = service.ask([("two", "shadowed")])
        claim("in the global shadow", (OK, code), (answer.overall_code, answer.statuses[0].code))


def transport(service):
    """What is no proper call is told, and the connection goes on."""
    code = grpc.StatusCode
    service.fails("malformed", code.INTERNAL,
                  "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data", b"\x0a\x7f")
    service.fails("no UTF-8", code.INTERNAL,
                  "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data", b"\x0a\x01\xff")
    service.fails("oversized", code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (70003 vs. 65536)",
                  request("x" * 69999))
    service.fails("too many descriptors", code.RESOURCE_EXHAUSTED, "more than 128 descriptors, or 1024 entries of them",
                  request("acme", *[[("a", "b")]] * 129))
    unknown = {"/envoy.service.ratelimit.v3.RateLimitService/Other": "unknown method Other for service "
               "envoy.service.ratelimit.v3.RateLimitService", "/a.B/C": "unknown service a.B"}
    known = service.call
    for path, words in unknown.items():
        service.call = caller(service.channel, path, Response)
        service.fails(path, code.UNIMPLEMENTED, words, b"")
    service.call = known
    try:
        service.call(request("d" * 5000), timeout=PATIENCE_S, compression=grpc.Compression.Gzip)
        sys.exit("compressed: it was answered")
    except grpc.RpcError as error:
        claim("compressed", code.UNIMPLEMENTED, error.code())
    claim("a text of every kind", OK, service.one(("k\u00e4y:%", "\u4f60\u597d\n\0")).code)
    service.ask([("k", "v" * 3000)])
    claim("the connection goes on", OK, service.one(("many", "transport")).code)


def parallel(service):
    """Streams at once on one connection: each is answered, and together they get no more than there is."""
    calls = [service.call.future(request("acme", [("hundred", "p")]), timeout=PATIENCE_S) for _ in range(1500)]
    codes = [call.result().overall_code for call in calls]
    claim("admitted of 1500", 100, codes.count(OK))
    claim("refused of 1500", 1400, codes.count(OVER))


def health(service):
    """Check and Watch; keepalive pings while nothing is said; what is cancelled is over."""
    check = caller(service.channel, "/grpc.health.v1.Health/Check", HealthResponse)
    for name in ("", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService"):
        claim(f"health of '{name}'", 1, check(HealthRequest(service=name), timeout=PATIENCE_S).status)
    try:
        check(HealthRequest(service="other"), timeout=PATIENCE_S)
        sys.exit("health of another service: it was answered")
    except grpc.RpcError as error:
        claim("health of another service", grpc.StatusCode.NOT_FOUND, error.code())
    watch = caller(service.channel, "/grpc.health.v1.Health/Watch", HealthResponse, "unary_stream")
    call = watch(HealthRequest(service="other"))
    claim("another service is watched", 3, next(call).status)
    call.cancel()
    short = watch(HealthRequest(), timeout=2)
    claim("watched", 1, next(short).status)
    try:
        next(short)
        sys.exit("a deadline passed and nothing ended")
    except grpc.RpcError as error:
        claim("watched until the deadline", grpc.StatusCode.DEADLINE_EXCEEDED, error.code())
    claim("after that", OK, service.one(("many", "health")).code)


def idle(service):
    """A connection that says nothing for longer than the door looks after it is there afterwards, and so is the door."""
    claim("before", OK, service.one(("many", "idle")).code)
    other = Service(sys.argv[1])
    call = caller(other.channel, "/grpc.health.v1.Health/Watch", HealthResponse, "unary_stream")(HealthRequest(), timeout=3)
    claim("watched", 1, next(call).status)
    try:
        next(call)
        sys.exit("a deadline passed and nothing ended")
    except grpc.RpcError as error:
        claim("watched until the deadline", grpc.StatusCode.DEADLINE_EXCEEDED, error.code())
    claim("afterwards", OK, service.one(("many", "idle")).code)


def reflection(service):
    """The real protobuf library makes messages of what is described, and speaks with them."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    for version in "v1", "v1alpha":
        call = caller(service.channel, f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", ReflectionResponse,
                      "stream_stream")

        def ask(*requests):
            return list(call(iter(requests), timeout=PATIENCE_S))

        listed = [s.name for s in ask(ReflectionRequest(list_services="*"))[0].list_services_response.service]
        claim("services", ["envoy.service.ratelimit.v3.RateLimitService", "grpc.health.v1.Health",
                           "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"], listed)
        files, wanted = {}, listed + ["envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit",
                                      "envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit"]
        answers = ask(*[ReflectionRequest(file_containing_symbol=name) for name in wanted])
        claim("answers", len(wanted), len(answers))
        waiting = [answer.file_descriptor_response.file_descriptor_proto[0] for answer in answers]
        while waiting:
            file = descriptor_pb2.FileDescriptorProto.FromString(waiting.pop())
            files[file.name] = file
            for name in file.dependency:
                if name not in files:
                    waiting.append(ask(ReflectionRequest(file_by_filename=name))[0].file_descriptor_response.file_descriptor_proto[0])
        claim("files", 9, len(files))
        for bad in (ReflectionRequest(file_containing_symbol="envoy.service"), ReflectionRequest(file_by_filename="x.proto"),
                    ReflectionRequest(file_containing_symbol="grpc.health.v1.Health.Nothing")):
            claim(f"{bad}", 5, ask(bad)[0].error_response.error_code)
        claim("nothing asked", 12, ask(ReflectionRequest())[0].error_response.error_code)
        pool, added = descriptor_pool.DescriptorPool(), set()

        def add(name):
            if name in added:
                return
            added.add(name)
            for needed in files[name].dependency:
                add(needed)
            pool.AddSerializedFile(files[name].SerializeToString())

        for name in files:
            add(name)
        prefix = "envoy.service.ratelimit.v3.RateLimit"
        request_type, response_type = (message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(prefix + name))
                                       for name in ("Request", "Response"))
        made = request_type(domain="acme")
        made.descriptors.add().entries.add(key="many", value="reflection")
        answer = caller(service.channel, SHOULD_RATE_LIMIT, response_type)(made, timeout=PATIENCE_S)
        claim("asked with what was described", ("OK", 1000000), (
            answer.Code.Name(answer.overall_code), answer.statuses[0].current_limit.requests_per_unit))
        claim("method", "ShouldRateLimit", pool.FindServiceByName(prefix + "Service").methods[0].name)


def watch_to_the_end(service):
    """Says when it watches, and wants to be told of the end."""
    watch = caller(service.channel, "/grpc.health.v1.Health/Watch", HealthResponse, "unary_stream")
    call = watch(HealthRequest())
    claim("watched", 1, next(call).status)
    print("watching", flush=True)
    claim("at the end", 2, next(call).status)
    try:
        next(call)
        sys.exit("the stream went on")
    except grpc.RpcError as error:
        claim("after the end", grpc.StatusCode.UNAVAILABLE, error.code())


def drain(service):
    """Asks from many threads until the node has gone, and says how often it was answered. No answer may be lost on the way."""
    answered, stop, begun = [0] * 8, threading.Event(), threading.Barrier(9)

    def go_on(i):
        while not stop.is_set():
            try:
                service.call(request("acme", [("many", "drain")]), timeout=PATIENCE_S)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                return
            answered[i] += 1
            if answered[i] == 20:
                begun.wait()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(go_on, i) for i in range(8)]
        begun.wait(PATIENCE_S)
        print("asking", flush=True)
        for one in running:
            one.result()
    print(sum(answered), flush=True)


def until_told(service):
    """Asks until TERM, and says how often it was answered; not one call may fail."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    answered = 0
    while not told.is_set():
        service.call(request("acme", [("many", "flood")]), timeout=PATIENCE_S)
        answered += 1
        if answered == 20:
            print("asking", flush=True)
    print(answered, flush=True)


def refused(service):
    """The connection does not come to be."""
    service.fails("who is not believed", grpc.StatusCode.UNAVAILABLE, None, request("acme", [("many", "refused")]))


def used(service, key, value):
    print(1000000 - service.one((key, value), hits=0).limit_remaining)


def limit(service, key):
    """What the limit of a key is."""
    print(service.one((key, "limit"), hits=0).current_limit.requests_per_unit)


def hit(service, key, value, count):
    """Hits one after the other: how many were let through."""
    print(sum(service.one((key, value)).code == OK for _ in range(int(count))))


if __name__ == "__main__":
    signal.alarm(100)
    options = {"grpc__keepalive_time_ms": 100, "grpc__keepalive_permit_without_calls": 1,
               "grpc__http2__max_pings_without_data": 0} if sys.argv[2] == "health" else {}
    globals()[sys.argv[2]](Service(sys.argv[1], **options), *sys.argv[3:])
