/* Checks as a program has them that links the engine: no socket, no peer, no store. */
#include "bench/support_bare.h"
#include "bench/support_engine.h"
#include "bench/support_load.h"

#define SEED 42
#define LIMIT 1000
#define ASKS_PER_TICK 10000

/* An engine with every key, the yardstick, the keys and their orders. */
#define BYTES_PER_KEY 500

struct world {
    struct tly_bench_load load;
};

/* Asks for every key in every pass; `sum` of what the last pass answered. */
static double ask_all(const struct world *world, struct tly_request *request,
                      uint64_t (*answer)(const struct tly_reply *), uint64_t *sum)
{
    struct tly_engine *engine = tly_bench_engine(false);
    size_t n = world->load.count * world->load.passes;
    tly_bench_engine_start(engine);
    *sum = 0;
    request->now = (struct tly_time){TLY_BENCH_WALL_NS, 1};
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < n; i++) {
        struct tly_slice key = tly_bench_plain_key(world->load.keys, tly_bench_load_at(&world->load, i));
        struct tly_reply reply;
        request->key = request->check.key = key;
        tly_bench_must(tly_engine_ask(engine, request, &reply), "asking");
        if (i >= n - world->load.count) *sum += answer(&reply);
        if (i % ASKS_PER_TICK == ASKS_PER_TICK - 1) tly_bench_tick(engine);
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
    tly_bench_equal(sum, world->load.count * (LIMIT - world->load.passes), "what remains of all limits");
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
    tly_bench_equal(sum, world->load.count * world->load.passes, "sum of the counters");
    return rate;
}

static double run_bare(void *context)
{
    const struct world *world = context;
    return tly_bench_load_bare(&world->load);
}

/* Of the yardstick, alone: a check must take no more than twice its time. */
static const struct tly_bench_case cases[] = {
    {TLY_BENCH_BARE, run_bare, "61 ns; at 10 M keys 360 to 420", 0, 0, 0},
    {"check, fixed_window", run_fixed, NULL, 0, 0, 0.5},
    {"check, sliding_window", run_sliding, NULL, 0, 0, 0.5},
    {"check, token_bucket", run_bucket, NULL, 0, 0, 0.5},
    {"add to a counter", run_add, NULL, 0, 0, 0.5},
};

#define CASES (sizeof cases / sizeof cases[0])

static void run_size(const struct tly_bench_size *size, FILE *json, double *medians)
{
    struct world world;
    tly_bench_load_init(&world.load, size, SEED);
    struct tly_bench_plan plan = {"check", cases, CASES, size->repeats, size->keys, json, medians};
    printf("check in process: %zu keys, %zu repetitions, interleaved; results are right\n", size->keys,
           size->repeats);
    tly_bench_run(&plan, &world);
    putchar('\n');
    tly_bench_load_fini(&world.load);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    FILE *json = tly_bench_json(argc, argv);
    struct tly_bench_curve curve = {.cases = cases, .case_count = CASES};
    tly_bench_run_sizes(&curve, BYTES_PER_KEY, run_size, json);
    if (json != NULL && fclose(json) != 0) tly_bench_fail("%s cannot be written", argv[1]);
    return 0;
}
