/* Checks as a program has them that links the engine: no socket, no peer, no store. */
#include "bench/support.h"
#include "bench/support_bare.h"
#include "service/engine/engine.h"

#include <stdlib.h>

#define KEYS 100000
#define SEED 42
#define PASSES 4
#define LIMIT 1000
#define ASKS_PER_TICK 10000
#define WALL_NS UINT64_C(1700000000000000000)

struct world {
    struct tly_bench_keys *keys;
    uint32_t *order[PASSES]; /* each pass over the keys in another order */
};

static struct tly_engine *start(void)
{
    struct tly_engine_config config = {
        .mem = tly_bench_heap(),
        .name = tly_slice_text("bench"),
        .cluster = tly_slice_text("bench"),
        .now = {WALL_NS, 1},
    };
    uint64_t seed = SEED;
    for (size_t i = 0; i < sizeof config.hash_key.secret; i++)
        config.hash_key.secret[i] = (uint8_t)tly_bench_next(&seed);
    struct tly_engine *engine;
    tly_bench_must(tly_engine_new(&config, &engine), "making an engine");
    tly_bench_must(tly_engine_start(engine, 1, config.now), "starting an engine");
    return engine;
}

/* What the loop around an engine does now and then. */
static void tick(struct tly_engine *engine, struct tly_time now)
{
    struct tly_event event = {.kind = TLY_TICK, .now = now};
    struct tly_effects effects;
    tly_bench_must(tly_engine_step(engine, &event, &effects), "stepping an engine");
}

/* Without "rl:", which is the engine's own prefix. */
static struct tly_slice plain_key(const struct world *world, size_t i)
{
    struct tly_slice key = tly_bench_key(world->keys, i);
    return tly_slice_of(key.p + 3, key.n - 3);
}

/* Asks for every key in every pass; `sum` of what the last pass answered. */
static double ask_all(const struct world *world, struct tly_request *request,
                      uint64_t (*answer)(const struct tly_reply *), uint64_t *sum)
{
    struct tly_engine *engine = start();
    size_t n = (size_t)KEYS * PASSES;
    *sum = 0;
    request->now = (struct tly_time){WALL_NS, 1};
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < n; i++) {
        struct tly_slice key = plain_key(world, world->order[i / KEYS][i % KEYS]);
        struct tly_reply reply;
        request->key = request->check.key = key;
        tly_bench_must(tly_engine_ask(engine, request, &reply), "asking");
        if (i >= n - KEYS) *sum += answer(&reply);
        if (i % ASKS_PER_TICK == ASKS_PER_TICK - 1) tick(engine, request->now);
    }
    double rate = tly_bench_rate(n, since);
    tly_engine_free(engine);
    return rate;
}

static uint64_t remaining(const struct tly_reply *reply)
{
    return reply->verdict.code == TLY_CODE_OK ? reply->verdict.remaining : 0;
}

static double check(const struct world *world, enum tly_algorithm algorithm)
{
    uint64_t sum;
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    request.check.rate = (struct tly_rate){.limit = LIMIT, .window_ms = 60000, .algorithm = algorithm};
    request.check.hits = 1;
    double rate = ask_all(world, &request, remaining, &sum);
    tly_bench_equal(sum, (uint64_t)KEYS * (LIMIT - PASSES), "what remains of all limits");
    return rate;
}

static double run_fixed(void *context)
{
    return check(context, TLY_FIXED_WINDOW);
}

static double run_sliding(void *context)
{
    return check(context, TLY_SLIDING_WINDOW);
}

static double run_bucket(void *context)
{
    return check(context, TLY_TOKEN_BUCKET);
}

static uint64_t count(const struct tly_reply *reply)
{
    return (uint64_t)reply->value.count;
}

static double run_add(void *context)
{
    const struct world *world = context;
    uint64_t sum;
    struct tly_request request = {.kind = TLY_ASK_ADD, .number = 1};
    double rate = ask_all(world, &request, count, &sum);
    tly_bench_equal(sum, (uint64_t)KEYS * PASSES, "sum of the counters");
    return rate;
}

static double run_bare(void *context)
{
    const struct world *world = context;
    return tly_bench_bare(world->keys, world->order, PASSES);
}

static const struct tly_bench_case cases[] = {
    {TLY_BENCH_BARE, run_bare, "16.4 (61 ns)", 0, 0},     {"check, fixed_window", run_fixed, NULL, 0, 0.5},
    {"check, sliding_window", run_sliding, NULL, 0, 0.5}, {"check, token_bucket", run_bucket, NULL, 0, 0.5},
    {"add to a counter", run_add, NULL, 0, 0.5},
};

int main(int argc, char **argv)
{
    struct world world = {0};
    FILE *json = tly_bench_json(argc, argv);
    uint64_t seed = SEED;
    world.keys = tly_bench_keys_new(KEYS, &seed);
    for (size_t pass = 0; pass < PASSES; pass++) {
        world.order[pass] = tly_bench_new(KEYS, sizeof *world.order[pass]);
        tly_bench_shuffle(world.order[pass], KEYS, &seed);
    }
    struct tly_bench_plan plan = {"check", cases, sizeof cases / sizeof cases[0], tly_bench_repeats(), json};
    printf("check in process: %d keys, %zu repetitions, interleaved\n", KEYS, plan.repeats);
    tly_bench_run(&plan, &world);
    for (size_t pass = 0; pass < PASSES; pass++)
        free(world.order[pass]);
    tly_bench_keys_free(world.keys);
    if (json != NULL && fclose(json) != 0) tly_bench_fail("%s cannot be written", argv[1]);
    return 0;
}
