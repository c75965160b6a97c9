// ioredis and node-redis hear of refusals: subscribe.mjs RESP_PORT
import assert from "node:assert/strict";
import Redis from "ioredis";
import { createClient } from "redis";

const port = Number(process.argv[2]);
const asker = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: 1 });
let refused = 0;

// Refuses a new key of its own, and gives its name.
async function refuse() {
  const key = `js-${++refused}`;
  assert.equal((await asker.call("CL.THROTTLE", key, "0", "1", "86400", "2"))[0], 1);
  return `rl:a:${key}`;
}

// A box into which messages are put, and from which the next is awaited.
function box() {
  const waiting = [], here = [];
  return {
    put: (...message) => (waiting.length > 0 ? waiting.shift()(message) : here.push(message)),
    next: () => (here.length > 0 ? Promise.resolve(here.shift()) : new Promise((done) => waiting.push(done))),
  };
}

async function hearByIoredis() {
  const redis = new Redis(port, "127.0.0.1");
  const messages = box(), matches = box();
  redis.on("message", messages.put);
  redis.on("pmessage", matches.put);
  assert.equal(await redis.subscribe("over"), 1);
  assert.equal(await redis.psubscribe("over*"), 2);
  const key = await refuse();
  const [channel, text] = await messages.next();
  assert.equal(channel, "over");
  assert.equal(JSON.parse(text).key, key);
  const [pattern, from, same] = await matches.next();
  assert.deepEqual([pattern, from, same], ["over*", "over", text]);
  await assert.rejects(redis.call("INCR", "x"), /subscriber mode|only .*SUBSCRIBE/);
  assert.equal(await redis.unsubscribe("over"), 1);
  assert.equal(await redis.punsubscribe(), 0);
  assert.equal(await redis.incr("js:counter:io"), 1);
  await redis.quit();
}

async function hearByNodeRedis(protocol) {
  const client = createClient({ socket: { port, host: "127.0.0.1" }, RESP: protocol });
  client.on("error", (error) => assert.fail(error));
  await client.connect();
  const messages = box(), matches = box();
  await client.subscribe("over", messages.put);
  await client.pSubscribe("ov?r", matches.put);
  // In RESP3 one connection hears and asks.
  if (protocol === 3) assert.equal(await client.incr("js:counter:3"), 1);
  const key = await refuse();
  const [text, channel] = await messages.next();
  assert.equal(channel, "over");
  assert.equal(JSON.parse(text).key, key);
  assert.deepEqual(await matches.next(), [text, "over"]);
  await client.unsubscribe("over");
  await client.pUnsubscribe();
  assert.equal(await client.incr(`js:counter:after${protocol}`), 1);
  await client.close();
}

await hearByIoredis();
await hearByNodeRedis(2);
await hearByNodeRedis(3);
await asker.quit();
console.log("note: ioredis, and node-redis with RESP2 and RESP3, heard what was refused");
