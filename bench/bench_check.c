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

static const struct tly_time now = {TLY_BENCH_WALL_NS, 1};

/* What is asked of every key; the key is filled in. */
struct question {
    struct tly_engine *engine;
    struct tly_request request;
    uint64_t sum; /* of the answers */
};

typedef void ask_keys(struct question *question, const struct tly_bench_keys *keys, const uint32_t *order,
                      size_t count);

static uint64_t remaining(const struct tly_verdict *verdict)
{
    return verdict->code == TLY_CODE_OK ? verdict->remaining : 0;
}

static void check_each(struct question *question, const struct tly_bench_keys *keys, const uint32_t *order,
                       size_t count)
{
    struct tly_request *request = &question->request;
    for (size_t i = 0; i < count; i++) {
        struct tly_reply reply;
        request->check.key = tly_bench_plain_key(keys, order[i]);
        tly_bench_must(tly_engine_ask(question->engine, request, &reply), "asking");
        question->sum += remaining(&reply.verdict);
    }
}

static void check_groups(struct question *question, const struct tly_bench_keys *keys, const uint32_t *order,
                         size_t count)
{
    struct tly_checked checks[TLY_BENCH_BARE_GROUP];
    for (size_t i = 0; i < TLY_BENCH_BARE_GROUP; i++)
        checks[i].check = question->request.check;
    for (size_t done = 0; done < count; done += TLY_BENCH_BARE_GROUP) {
        size_t left = count - done, n = left < TLY_BENCH_BARE_GROUP ? left : TLY_BENCH_BARE_GROUP;
        for (size_t i = 0; i < n; i++)
            checks[i].check.key = tly_bench_plain_key(keys, order[done + i]);
        tly_engine_checks(question->engine, now, checks, n);
        for (size_t i = 0; i < n; i++) {
            tly_bench_must(checks[i].result, "asking");
            question->sum += remaining(&checks[i].verdict);
        }
    }
}

static void add_each(struct question *question, const struct tly_bench_keys *keys, const uint32_t *order,
                     size_t count)
{
    struct tly_request *request = &question->request;
    for (size_t i = 0; i < count; i++) {
        struct tly_reply reply;
        request->key = tly_bench_plain_key(keys, order[i]);
        tly_bench_must(tly_engine_ask(question->engine, request, &reply), "adding");
        question->sum += (uint64_t)reply.value.count;
    }
}

/* Asks for every key, in the order of that pass; question->sum is what was answered. */
static void run_pass(const struct world *world, struct question *question, ask_keys *ask, size_t pass)
{
    size_t count = world->load.count;
    question->sum = 0;
    for (size_t done = 0; done < count; done += ASKS_PER_TICK) {
        size_t left = count - done;
        ask(question, world->load.keys, world->load.order[pass] + done,
            left < ASKS_PER_TICK ? left : ASKS_PER_TICK);
        tly_bench_tick(question->engine);
    }
}

/* The first pass, in which the keys are made, is measured alone or not at all. */
static double run(const struct world *world, struct question *question, ask_keys *ask, bool fresh)
{
    size_t passes = fresh ? 1 : world->load.passes;
    question->engine = tly_bench_engine(false);
    tly_bench_engine_start(question->engine);
    question->request.now = now;
    double since = tly_bench_cpu_s();
    run_pass(world, question, ask, 0);
    if (!fresh) since = tly_bench_cpu_s();
    for (size_t pass = 1; pass < passes; pass++)
        run_pass(world, question, ask, pass);
    double rate = tly_bench_rate(world->load.count * (fresh ? 1 : passes - 1), since);
    tly_engine_free(question->engine);
    return rate;
}

static double check(const struct world *world, enum tly_algorithm algorithm, ask_keys *ask, bool fresh)
{
    struct question question = {.request = {.kind = TLY_ASK_CHECK}};
    question.request.check.rate =
        (struct tly_rate){.limit = LIMIT, .window_ms = 60000, .algorithm = algorithm};
    question.request.check.hits = 1;
    double rate = run(world, &question, ask, fresh);
    size_t asked = fresh ? 1 : world->load.passes;
    tly_bench_equal(question.sum, world->load.count * (LIMIT - asked), "what remains of all limits");
    return rate;
}

static double run_bare(void *context)
{
    const struct tly_bench_load *load = &((const struct world *)context)->load;
    return tly_bench_bare_again(load->keys, load->order, load->passes, false);
}

static double run_fixed(void *context)
{
    return check(context, TLY_FIXED_WINDOW, check_each, false);
}

static double run_sliding(void *context)
{
    return check(context, TLY_SLIDING_WINDOW, check_each, false);
}

static double run_bucket(void *context)
{
    return check(context, TLY_TOKEN_BUCKET, check_each, false);
}

static double run_fresh(void *context)
{
    return check(context, TLY_FIXED_WINDOW, check_each, true);
}

static double run_add(void *context)
{
    const struct world *world = context;
    struct question question = {.request = {.kind = TLY_ASK_ADD, .number = 1}};
    double rate = run(world, &question, add_each, false);
    tly_bench_equal(question.sum, world->load.count * world->load.passes, "sum of the counters");
    return rate;
}

static double run_bare_groups(void *context)
{
    const struct tly_bench_load *load = &((const struct world *)context)->load;
    return tly_bench_bare_again(load->keys, load->order, load->passes, true);
}

static double run_fixed_groups(void *context)
{
    return check(context, TLY_FIXED_WINDOW, check_groups, false);
}

static double run_sliding_groups(void *context)
{
    return check(context, TLY_SLIDING_WINDOW, check_groups, false);
}

static double run_bucket_groups(void *context)
{
    return check(context, TLY_TOKEN_BUCKET, check_groups, false);
}

/* Of the yardstick, which is first: a check must take no more than twice its time, in batches 1.5 times that of a batch of it. */
static const struct tly_bench_case cases[] = {
    {TLY_BENCH_BARE, run_bare, "61 ns; at 10 M keys 360 to 420", 0, 0, 0},
    {"check, fixed_window", run_fixed, NULL, 0, 0, 0.5},
    {"check, sliding_window", run_sliding, NULL, 0, 0, 0.5},
    {"check, token_bucket", run_bucket, NULL, 0, 0, 0.5},
    {"add to a counter", run_add, NULL, 0, 0, 0.5},
    {"check of a new key", run_fresh, NULL, 0, 0, 0},
    {"bare table, 16 at a time", run_bare_groups, "25 ns; at 10 M keys 70 to 100", 0, 0, 0},
    {"16 checks, fixed_window", run_fixed_groups, NULL, 0, 0, 1 / 1.5},
    {"16 checks, sliding_window", run_sliding_groups, NULL, 0, 0, 1 / 1.5},
    {"16 checks, token_bucket", run_bucket_groups, NULL, 0, 0, 1 / 1.5},
};

#define CASES (sizeof cases / sizeof cases[0])
/* Of those that are made one by one. */
#define SINGLES 6

static void run_size(const struct tly_bench_size *size, FILE *json, double *medians)
{
    struct world world;
    tly_bench_load_init(&world.load, size, SEED);
    struct tly_bench_plan plan = {"check", cases, SINGLES, size->repeats, size->keys, 0, json, medians};
    printf("check in process: %zu keys that are there, %zu repetitions, interleaved; results are right\n",
           size->keys, size->repeats);
    tly_bench_run(&plan, &world);
    plan.cases += SINGLES;
    plan.count = CASES - SINGLES;
    plan.medians += SINGLES;
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
