// A client of Envoy's rate limit service, by @grpc/grpc-js and protobufjs: node rls.mjs ADDRESS. Says on failure what was not so.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const grpc = require("@grpc/grpc-js");
const protobuf = require("protobufjs");

const { root } = protobuf.parse(`syntax = "proto3";
message Entry { string key = 1; string value = 2; }
message Override { uint32 requests_per_unit = 1; int32 unit = 2; }
message Hits { uint64 value = 1; }
message Descriptor { repeated Entry entries = 1; Override limit = 2; Hits hits_addend = 3; bool is_negative_hits = 4; }
message Request { string domain = 1; repeated Descriptor descriptors = 2; uint32 hits_addend = 3; }
message Limit { uint32 requests_per_unit = 1; int32 unit = 2; string name = 3; }
message Duration { int64 seconds = 1; int32 nanos = 2; }
message Status { int32 code = 1; Limit current_limit = 2; uint32 limit_remaining = 3; Duration duration_until_reset = 4; }
message Header { string key = 1; string value = 2; }
message Response { int32 overall_code = 1; repeated Status statuses = 2; repeated Header response_headers_to_add = 3; }
message HealthRequest { string service = 1; }
message HealthResponse { int32 status = 1; }`, { keepCase: true });
const Request = root.lookupType("Request"), Response = root.lookupType("Response");
const HealthRequest = root.lookupType("HealthRequest"), HealthResponse = root.lookupType("HealthResponse");

const address = process.argv[2], OK = 1, OVER = 2;
const client = new grpc.Client(address, grpc.credentials.createInsecure());
const deadline = () => ({ deadline: Date.now() + 60000 });

const encode = (type) => (m) => (Buffer.isBuffer(m) ? m : Buffer.from(type.encode(type.create(m)).finish()));
const decode = (type) => (bytes) => type.decode(bytes);

function unary(path, request, requestType = Request, responseType = Response, options = deadline()) {
    return new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, encode(requestType), decode(responseType), request, new grpc.Metadata(), options,
            (error, answer) => (error ? reject(error) : resolve(answer)));
    });
}

const ask = (domain, pairs, more = {}) =>
    unary("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", {
        domain,
        descriptors: pairs.map(([key, value, own]) => ({ entries: [{ key, value }], ...own })),
        ...more,
    });

const refused = (promise, code, words) =>
    promise.then(() => assert.fail("it was answered"), (error) => {
        assert.equal(error.code, code);
        assert.match(error.details, words);
    });

await refused(ask("", [["two", "node"]]), grpc.status.UNKNOWN, /^rate limit domain must not be empty$/);
await refused(ask("acme", []), grpc.status.UNKNOWN, /^rate limit descriptor list must not be empty$/);
await refused(unary("/a.B/C", {}), grpc.status.UNIMPLEMENTED, /unknown service a.B/);
await refused(unary("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", Buffer.from([0x0a, 0x7f])),
    grpc.status.INTERNAL, /unmarshalling/);
await refused(ask("x".repeat(70000), [["two", "node"]]), grpc.status.RESOURCE_EXHAUSTED, /larger than max/);

for (const [code, left] of [[OK, 1], [OK, 0], [OVER, 0]]) {
    const answer = await ask("acme", [["two", "node"], ["nothing", "x"]]);
    assert.deepEqual([answer.overall_code, answer.statuses[0].code, answer.statuses[0].limit_remaining], [code, code, left]);
    assert.equal(answer.statuses[1].current_limit, null);
    // Names of headers come from the environment.
    assert.deepEqual(answer.response_headers_to_add.map((h) => h.key), ["x-limit", "x-remaining", "x-reset"]);
    assert.deepEqual(answer.response_headers_to_add.slice(0, 2).map((h) => h.value), ["2", String(left)]);
}
const peek = await ask("acme", [["two", "node2", { hits_addend: { value: 0 } }]]);
assert.equal(peek.statuses[0].limit_remaining, 2);

const all = await Promise.all(Array.from({ length: 800 }, () => ask("acme", [["hundred", "node"]])));
assert.equal(all.filter((answer) => answer.overall_code === OK).length, 100);

const health = (service) => unary("/grpc.health.v1.Health/Check", { service }, HealthRequest, HealthResponse);
assert.equal((await health("")).status, 1);
await refused(health("other"), grpc.status.NOT_FOUND, /unknown service/);

// A watch until its deadline, and one that is cancelled.
const watch = (options) => client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", encode(HealthRequest), decode(HealthResponse), {},
    new grpc.Metadata(), options);
for (const cancels of [false, true]) {
    const call = watch({ deadline: Date.now() + (cancels ? 60000 : 1500) });
    const seen = [];
    call.on("data", (answer) => {
        seen.push(answer.status);
        if (cancels) call.cancel();
    });
    const error = await new Promise((resolve) => call.on("error", resolve));
    assert.equal(error.code, cancels ? grpc.status.CANCELLED : grpc.status.DEADLINE_EXCEEDED);
    assert.deepEqual(seen, [1]);
}
assert.equal((await ask("acme", [["hundred", "after"]])).overall_code, OK);
client.close();
