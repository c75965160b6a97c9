// Limiters of npm that use plain commands, as they come: limiters.mjs RESP_PORT RESP_PORT_OF_ANOTHER_NODE
import assert from "node:assert/strict";
import http from "node:http";
import Redis from "ioredis";
import Koa from "koa";
import { ratelimit } from "koa-simple-ratelimit";
import { RateLimiterRedisNonAtomic } from "rate-limiter-flexible";
import { createClient } from "redis";

const [here, elsewhere] = process.argv.slice(2).map(Number);
const points = 5, duration = 86400;

// Polls until it holds: what is counted on one node is known on the other some milliseconds later.
async function until(what, holds) {
  for (const deadline = Date.now() + 30000; Date.now() < deadline; ) if (await holds()) return;
  assert.fail(`not within 30 s: ${what}`);
}

async function limitByFlexible(name, storeClient, other, useRedisPackage) {
  const limiter = new RateLimiterRedisNonAtomic({ storeClient, points, duration, keyPrefix: name, useRedisPackage });
  for (let i = 1; i <= points; i++) {
    const result = await limiter.consume("user");
    assert.equal(result.consumedPoints, i);
    assert.equal(result.remainingPoints, points - i);
    assert.ok(result.msBeforeNext > (duration - 60) * 1000 && result.msBeforeNext <= duration * 1000);
  }
  await assert.rejects(limiter.consume("user"), (rejected) => rejected.remainingPoints === 0 && rejected.consumedPoints === 6);
  assert.equal((await limiter.consume("another")).consumedPoints, 1);
  assert.equal((await limiter.get("user")).consumedPoints, 6);
  const far = new RateLimiterRedisNonAtomic({ storeClient: other, points, duration, keyPrefix: name });
  await until("the other node knows", async () => (await far.get("user"))?.consumedPoints >= 6);
  await assert.rejects(far.consume("user"), (rejected) => rejected.remainingPoints === 0);
  assert.equal(await limiter.delete("user"), true);
  assert.equal((await limiter.consume("user", 2)).consumedPoints, 2);
}

// The status of GET / at a server, and its headers.
const get = (port) =>
  new Promise((done, failed) => {
    const take = (response) => response.resume().on("end", () => done(response));
    http.get({ host: "127.0.0.1", port, agent: false }, take).on("error", failed);
  });

async function serve(db) {
  const app = new Koa();
  app.use(ratelimit({ db, duration: duration * 1000, max: points, id: () => "koa", prefix: "koa" }));
  app.use((ctx) => (ctx.body = "served"));
  const server = app.listen(0, "127.0.0.1");
  await new Promise((done) => server.on("listening", done));
  return server;
}

async function limitByKoa(db, other) {
  const near = await serve(db), far = await serve(other);
  for (let i = 1; i <= points; i++) {
    const response = await get(near.address().port);
    assert.equal(response.statusCode, 200);
    assert.equal(response.headers["x-ratelimit-remaining"], String(points - i));
  }
  assert.equal((await get(near.address().port)).statusCode, 429);
  await until("the other server refuses too", async () => (await get(far.address().port)).statusCode === 429);
  near.close();
  far.close();
}

const redis = new Redis(here, "127.0.0.1"), other = new Redis(elsewhere, "127.0.0.1");
const client = createClient({ socket: { port: here, host: "127.0.0.1" } });
await client.connect();
await limitByFlexible("io", redis, other, false);
await limitByFlexible("node", client, other, true);
await limitByKoa(redis, other);
await client.close();
await redis.quit();
await other.quit();
console.log("note: rate-limiter-flexible by ioredis and node-redis, koa-simple-ratelimit");
