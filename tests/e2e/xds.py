"""xds.py: a management server by grpcio, and what it has to hear from a node whose limits it says.

Prints its port, reads that of the node's gRPC door, goes through what a node meets, and prints "done". With XDS_CERT, XDS_KEY and XDS_CA it speaks TLS and wants a
certificate; with XDS_PATH it listens there.
"""
import concurrent.futures
import os
import queue
import signal
import sys

import grpc
from rls import Service, claim, read
from rls_proto import *

PATIENCE_S = 60
TYPE = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"
METHOD = "StreamAggregatedResources"
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
INVALID_ARGUMENT = 3


class Call:
    """One stream: requests that were heard, responses to be said."""

    def __init__(self, requests, context):
        self.heard, self.said, self.context = queue.Queue(), queue.Queue(), context
        self.requests = requests

    def hear_all(self):
        try:
            for one in self.requests:
                self.heard.put(one)
        except grpc.RpcError:
            pass

    def hear(self):
        return self.heard.get(timeout=PATIENCE_S)

    def say(self, version, nonce, *configs, resources=()):
        made = XdsResponse(version_info=version, nonce=nonce, type_url=TYPE)
        for config in configs:
            made.resources.add(type_url=TYPE, value=config.SerializeToString())
        for type_url, value in resources:
            made.resources.add(type_url=type_url, value=value)
        self.said.put(made)

    def is_taken(self, version, nonce):
        heard = self.hear()
        claim(f"answer to {nonce}", (version, nonce, TYPE, False),
              (heard.version_info, heard.response_nonce, heard.type_url, heard.HasField("error_detail")))

    def is_refused(self, version, nonce, words):
        heard = self.hear()
        claim(f"answer to {nonce}", (version, nonce, INVALID_ARGUMENT, words),
              (heard.version_info, heard.response_nonce, heard.error_detail.code, heard.error_detail.message))


class Manager:
    def __init__(self):
        self.calls, self.port = queue.Queue(), 0

    def stream(self, requests, context):
        call = Call(requests, context)
        self.pool.submit(call.hear_all)
        self.calls.put(call)
        while (response := call.said.get()) is not None:
            if isinstance(response, grpc.StatusCode):
                context.abort(response, "it is enough")
            yield response

    def start(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.server = grpc.server(self.pool, options=[("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(self.stream, XdsRequest.FromString, XdsResponse.SerializeToString)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        key, own, ca, path = read("XDS_KEY"), read("XDS_CERT"), read("XDS_CA"), os.environ.get("XDS_PATH")
        address = f"unix:{path}" if path else f"127.0.0.1:{self.port}"
        self.port = (self.server.add_secure_port(address, grpc.ssl_server_credentials([(key, own)], ca, True)) if key else
                     self.server.add_insecure_port(address))
        self.server.start()

    def next_call(self, version):
        """A node has come, and says what it took last."""
        call = self.calls.get(timeout=PATIENCE_S)
        first = call.hear()
        claim("first request", (version, "", TYPE, "node-7", [("zone", "a"), ("tier", "b")], False), (
            first.version_info, first.response_nonce, first.type_url, first.node.id,
            [(f.key, f.value.string_value) for f in first.node.metadata.fields], first.HasField("error_detail")))
        claim("header", ["secret"], [value for key, value in call.context.invocation_metadata() if key == "x-token"])
        return call


def config(name, domain, *descriptors):
    made = XdsConfig(name=name, domain=domain)
    for one in descriptors:
        made.descriptors.add(**one)
    return made


def limited(key, requests, unit=YEAR, **more):
    return {"key": key, "rate_limit": {"unit": unit, "requests_per_unit": requests}, **more}


def limit_of(service, *pairs):
    return service.one(*pairs, hits=0).current_limit.requests_per_unit


def main():
    signal.alarm(300)
    manager = Manager()
    manager.start()
    print(manager.port, flush=True)
    service = Service(f"127.0.0.1:{input()}")

    call = manager.next_call("")
    call.say("1", "n1", config("first", "acme", limited("two", 2)))
    call.is_taken("1", "n1")
    claim("limit", 2, limit_of(service, ("two", "a")))

    # What is wrong is said, and changes nothing.
    call.say("2", "n2", config("bad", "acme", limited("two", 3, unit=0)))
    call.is_refused("1", "n2", "bad: invalid rate limit unit 'UNKNOWN'")
    call.say("2", "n3", config("one", "acme"), config("other", "acme"))
    call.is_refused("1", "n3", "other: duplicate domain 'acme' in config file")
    call.say("2", "n4", config("bad", "acme", {"value": "x"}))
    call.is_refused("1", "n4", "bad: descriptor has empty key")
    call.say("2", "n5", resources=[("type.googleapis.com/some.Other", b"")])
    call.is_refused("1", "n5", f'resource: mismatched message type: got "type.googleapis.com/some.Other" want "{TYPE}"')
    call.say("2", "n6", resources=[(TYPE, b"\x0a\x7f")])
    call.is_refused("1", "n6", ": proto: cannot parse invalid wire-format data")
    claim("limit behind what was refused", 2, limit_of(service, ("two", "a")))

    # All that a resource can say.
    deep = limited("outer", 100, descriptors=[limited("inner", 7, value="x", shadow_mode=True),
                                              {"key": "free", "rate_limit": {"unlimited": True}}])
    named = {"key": "named", "rate_limit": {"unit": DAY, "requests_per_unit": 5, "name": "n", "replaces": [{"name": "gone"}]}}
    call.say("3", "n7", config("first", "acme", limited("two", 4, unit=SECOND), deep, named,
                                limited("quota", 1, quota_mode=True), limited("more", 9, quota_mode=True)),
             config("second", "other", limited("k", 9, unit=WEEK)))
    call.is_taken("3", "n7")
    claim("limits", (4, 7, 100, 5), (limit_of(service, ("two", "a")), limit_of(service, ("outer", "a"), ("inner", "x")),
                                     limit_of(service, ("outer", "a")), limit_of(service, ("named", ""))))
    claim("unlimited", 2**32 - 1, service.one(("outer", "a"), ("free", "")).limit_remaining)
    claim("one quota of two", [OK, OK], [service.ask([("quota", "a")], [("more", "a")]).overall_code for _ in range(2)])
    claim("in another domain", 9, service.ask([("k", "v")], domain="other").statuses[0].current_limit.requests_per_unit)

    # A call that ends, a server that goes and comes: the node comes again, and says what it has.
    call.said.put(grpc.StatusCode.UNAVAILABLE)
    call = manager.next_call("3")
    claim("limit meanwhile", 4, limit_of(service, ("two", "a")))
    manager.server.stop(None).wait()
    call.said.put(None)
    claim("limit without a server", 4, limit_of(service, ("two", "a")))
    manager.start()
    call = manager.next_call("3")
    call.say("4", "n8", config("first", "acme", limited("two", 6)))
    call.is_taken("4", "n8")
    claim("limit of the new server", 6, limit_of(service, ("two", "a")))

    # More than anybody needs is not waited for.
    call.say("5", "n9", resources=[(TYPE, bytes(17 << 20))])
    call = manager.next_call("4")
    claim("limit behind what was too much", 6, limit_of(service, ("two", "a")))
    call.say("6", "n10")
    call.is_taken("6", "n10")
    claim("no limits at all", False, service.one(("two", "a")).HasField("current_limit"))
    call.said.put(None)
    print("done", flush=True)
    manager.server.stop(None).wait()
    os._exit(0)


main()
