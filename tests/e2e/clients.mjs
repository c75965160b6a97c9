// ioredis and node-redis, as they come, against one node: clients.mjs RESP_PORT
import assert from "node:assert/strict";
import Redis from "ioredis";
import { createClient } from "redis";

const port = Number(process.argv[2]);

async function speakByIoredis() {
  const redis = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: 1 });
  assert.equal(await redis.incr("io:c"), 1);
  assert.equal(await redis.incrby("io:c", 41), 42);
  assert.equal(await redis.get("io:c"), "42");
  assert.equal(await redis.set("kv:io", "väl\r\nue"), "OK");
  assert.equal(await redis.get("kv:io"), "väl\r\nue");
  assert.deepEqual(await redis.mget("io:c", "io:none"), ["42", null]);
  assert.equal(await redis.expire("io:c", 100), 1);
  assert.ok([99, 100].includes(await redis.ttl("io:c")));
  assert.equal(await redis.del("io:c", "kv:io"), 2);
  assert.equal(await redis.get("io:c"), null);
  const replies = await redis.pipeline().incr("io:p").incr("io:p").get("io:p").incr("kv:io").del("io:p").exec();
  assert.deepEqual(replies.map(([, reply]) => reply).filter((_, i) => i !== 3), [1, 2, "2", 1]);
  assert.match(replies[3][0].message, /^(ERR|WRONGTYPE)/);
  assert.deepEqual(await redis.call("cl.throttle", "io:user", 15, 30, 60), [0, 16, 15, -1, 2]);
  await assert.rejects(redis.call("nosuch"), /unknown command/);
  const done = await redis.multi().incr("io:t").expire("io:t", 100).get("io:t").exec();
  assert.deepEqual(done, [[null, 1], [null, 1], [null, "1"]]);
  await redis.watch("io:t");
  await redis.incr("io:t");
  assert.equal(await redis.multi().del("io:t").exec(), null);
  const seen = [];
  for await (const keys of redis.scanStream({ match: "io:t*", count: 100 })) seen.push(...keys);
  assert.deepEqual(seen, ["io:t"]);
  const many = await Promise.all(Array.from({ length: 1000 }, () => redis.incr("io:many")));
  assert.deepEqual(many, Array.from({ length: 1000 }, (_, i) => i + 1));
  assert.match(await redis.info(), /loading:0/);
  assert.equal(await redis.quit(), "OK");
}

async function speakByNodeRedis(protocol) {
  const c = `node${protocol}:c`;
  const client = createClient({ socket: { port, host: "127.0.0.1" }, RESP: protocol, name: "scene" });
  client.on("error", (error) => assert.fail(error));
  await client.connect();
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.incr(c), 1);
  assert.equal(await client.incrBy(c, 41), 42);
  assert.equal(await client.get(c), "42");
  assert.equal(await client.set("kv:node", "text", { EX: 100 }), "OK");
  assert.equal(await client.get("kv:node"), "text");
  assert.ok([99, 100].includes(await client.ttl("kv:node")));
  assert.deepEqual(await client.mGet([c, "none"]), ["42", null]);
  assert.equal(await client.clientGetName(), "scene");
  assert.equal(await client.del([c, "kv:node"]), 2);
  assert.equal(await client.get(c), null);
  const replies = await Promise.all([client.incr(c), client.incr(c), client.get(c), client.del(c)]);
  assert.deepEqual(replies, [1, 2, "2", 1]);
  assert.deepEqual(await client.multi().incr(c).expire(c, 100).get(c).exec(), [1, 1, "1"]);
  const seen = [];
  for await (const keys of client.scanIterator({ MATCH: c, COUNT: 100 })) seen.push(...keys);
  assert.deepEqual(seen, [c]);
  assert.equal(await client.del(c), 1);
  const throttled = await client.sendCommand(["CL.THROTTLE", `node${protocol}:user`, "15", "30", "60"]);
  assert.deepEqual(throttled, [0, 16, 15, -1, 2]);
  const settings = await client.configGet("maxmemory");
  assert.equal(settings.maxmemory, "0");
  const checked = await client.sendCommand(["TLY.CHECK", "nosuch"]);
  assert.equal(protocol === 3 ? checked.code : checked[1], "unknown");
  await assert.rejects(client.sendCommand(["NOSUCH"]), /unknown command/);
  await client.close();
}

await speakByIoredis();
await speakByNodeRedis(2);
await speakByNodeRedis(3);
console.log("note: ioredis, and node-redis with RESP2 and RESP3");
