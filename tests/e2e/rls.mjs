// A client of Envoy's rate limit service, by @grpc/grpc-js and protobufjs: node rls.mjs ADDRESS rules|drain. Says on failure what was not so.
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

const address = process.argv[2], OK = 1, OVER = 2, YEAR = 6, DAY = 4;
// While the connection is pinged, save of the drain: grpc-js takes a ping that it cannot send behind a GOAWAY for the end of all calls.
const pings = { "grpc.keepalive_time_ms": 100, "grpc.keepalive_permit_without_calls": 1 };
const client = new grpc.Client(address, grpc.credentials.createInsecure(), process.argv[3] === "drain" ? {} : pings);
const deadline = () => ({ deadline: Date.now() + 60000 });

const encode = (type) => (m) => (Buffer.isBuffer(m) ? m : Buffer.from(type.encode(type.create(m)).finish()));
const decode = (type) => (bytes) => type.decode(bytes);

const SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

function unary(path, request, requestType = Request, responseType = Response, options = deadline(), by = client) {
    return new Promise((resolve, reject) => {
        by.makeUnaryRequest(path, encode(requestType), decode(responseType), request, new grpc.Metadata(), options,
            (error, answer) => (error ? reject(error) : resolve(answer)));
    });
}

const ask = (domain, pairs, more = {}) =>
    unary(SHOULD_RATE_LIMIT, {
        domain,
        descriptors: pairs.map(([key, value, own]) => ({ entries: [{ key, value }], ...own })),
        ...more,
    });

const refused = (promise, code, words) =>
    promise.then(() => assert.fail("it was answered"), (error) => {
        assert.equal(error.code, code);
        assert.match(error.details, words);
    });

// The status of one descriptor.
const one = async (key, value, own) => (await ask("acme", [[key, value, own]])).statuses[0];

// Asks from many places until the node has gone, and says how often it was answered. No answer may be lost on the way.
async function drain() {
    let answered = 0, asking = 0;
    const goOn = async () => {
        for (let i = 1; ; i++) {
            try {
                await ask("acme", [["many", "drain-js"]]);
            } catch (error) {
                assert.equal(error.code, grpc.status.UNAVAILABLE, error.details);
                return;
            }
            answered++;
            if (i === 20 && ++asking === 8) console.log("asking");
        }
    };
    await Promise.all(Array.from({ length: 8 }, goOn));
    console.log(answered);
}

if (process.argv[3] === "drain") {
    await drain();
    process.exit(0);
}

await refused(ask("", [["two", "node"]]), grpc.status.UNKNOWN, /^rate limit domain must not be empty$/);
await refused(ask("acme", []), grpc.status.UNKNOWN, /^rate limit descriptor list must not be empty$/);
await refused(unary("/a.B/C", {}), grpc.status.UNIMPLEMENTED, /unknown service a.B/);
await refused(unary("/envoy.service.ratelimit.v3.RateLimitService/Other", {}), grpc.status.UNIMPLEMENTED, /unknown method Other/);
await refused(unary(SHOULD_RATE_LIMIT, Buffer.from([0x0a, 0x7f])), grpc.status.INTERNAL, /unmarshalling/);
const squeezing = new grpc.Client(address, grpc.credentials.createInsecure(), { "grpc.default_compression_algorithm": 2 });
await refused(unary(SHOULD_RATE_LIMIT, { domain: "d".repeat(5000) }, Request, Response, deadline(), squeezing),
    grpc.status.UNIMPLEMENTED, /not compressed/);
squeezing.close();
await refused(ask("x".repeat(70000), [["two", "node"]]), grpc.status.RESOURCE_EXHAUSTED, /larger than max/);

for (const [code, left] of [[OK, 1], [OK, 0], [OVER, 0]]) {
    const answer = await ask("acme", [["two", "node"], ["nothing", "x"]]);
    assert.deepEqual([answer.overall_code, answer.statuses[0].code, answer.statuses[0].limit_remaining], [code, code, left]);
    assert.equal(answer.statuses[1].current_limit, null);
    // Names of headers come from the environment.
    assert.deepEqual(answer.response_headers_to_add.map((h) => h.key), ["x-limit", "x-remaining", "x-reset"]);
    assert.deepEqual(answer.response_headers_to_add.slice(0, 2).map((h) => h.value), ["2", String(left)]);
}
for (const answer of [await ask("elsewhere", [["two", "node"]]), await ask("acme", [["nothing", "x"]])]) {
    assert.deepEqual([answer.overall_code, answer.statuses.length, answer.statuses[0].code], [OK, 1, OK]);
    assert.equal(answer.statuses[0].current_limit, null);
}

// All are charged, and answered in their order, though one is over.
const mixed = await ask("acme", [["many", "node"], ["two", "node"], ["five", "node"]]);
assert.deepEqual(mixed.statuses.map((s) => [s.code, s.limit_remaining]), [[OK, 999999], [OVER, 0], [OK, 4]]);
assert.deepEqual([mixed.overall_code, mixed.statuses[0].current_limit.name, mixed.statuses[0].current_limit.unit], [OVER, "lots", YEAR]);

// Hits: the descriptor's own, 0 of which look; else the request's, of which 0 is one.
assert.equal((await ask("acme", [["many", "node"], ["many", "own", { hits_addend: { value: 7 } }]], { hits_addend: 3 })).statuses
    .map((s) => 1000000 - s.limit_remaining).join(), "4,7");
assert.equal((await one("five", "batch", { hits_addend: { value: 4 } })).code, OK);
assert.deepEqual([(await one("five", "batch", { hits_addend: { value: 3 } })).code, (await one("five", "batch")).code], [OVER, OVER]);
const back = await one("five", "batch", { hits_addend: { value: 6 }, is_negative_hits: true });
assert.deepEqual([back.code, back.limit_remaining], [OK, 3]);

// A window ends with its unit of the clock, which goes on while the answer comes.
for (let before, after; ; ) {
    before = Math.floor(Date.now() / 1000) % 86400;
    const reset = Number((await one("daily", "node")).duration_until_reset.seconds);
    after = Math.floor(Date.now() / 1000) % 86400;
    if (before > after) continue; // a day has ended meanwhile
    assert.ok(reset >= 86400 - after && reset <= 86400 - before, `${reset}, of a day that ends in ${86400 - after} to ${86400 - before}`);
    break;
}

const free = await one("free", "");
assert.deepEqual([free.code, free.limit_remaining], [OK, 2 ** 32 - 1]);
for (const left of [0, 0]) {
    const dark = await one("dark", "node");
    assert.deepEqual([dark.code, dark.limit_remaining, dark.current_limit.requests_per_unit], [OK, left, 1]);
}
for (const codes of [[OK, OK, OK], [OK, OVER, OK], [OK, OVER, OK], [OVER, OVER, OVER]]) {
    const quotas = await ask("acme", [["quota-one", "node"], ["quota-more", "node"]]);
    assert.deepEqual([quotas.overall_code, ...quotas.statuses.map((s) => s.code)], codes);
}
assert.equal((await ask("acme", [["quota-more", "other"], ["two", "node"]])).overall_code, OVER);
const own = await one("two", "own", { limit: { requests_per_unit: 7, unit: DAY } });
assert.deepEqual([own.limit_remaining, own.current_limit.requests_per_unit, own.current_limit.unit], [6, 7, DAY]);
const replaced = await ask("acme", [["old", "node"], ["new", "node"]]);
assert.deepEqual([replaced.statuses[0].current_limit, replaced.statuses[1].limit_remaining], [null, 4]);
assert.equal((await one("old", "node", { hits_addend: { value: 0 } })).limit_remaining, 1);
assert.deepEqual([(await one("file", "x-js-1")).code, (await one("file", "x-js-2")).code], [OK, OVER]);

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
