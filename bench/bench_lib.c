/* Checks through libtally, as a gateway has them that has its node inside: by the caller's own turns, and by a thread of the node's. */
#include "bench/support_bare.h"
#include "bench/support_load.h"

#include "service/library/tally.h"

#include <string.h>

#define SEED 42
#define LIMIT 1000
#define CHECKS_PER_TURN 10000
/* A check by another thread waits for it twice. */
#define ASKED_ACROSS 20000

/* A node with every key, the yardstick, the keys and their orders. */
#define BYTES_PER_KEY 500

struct world {
    struct tly_bench_load load;
};

static struct tally *open_node(enum tally_drive drive)
{
    static const char *const settings[] = {"log=error", NULL};
    struct tally_options options = {.settings = settings, .drive = drive};
    char error[256];
    struct tally *tally = tally_open(&options, error, sizeof error);
    if (tally == NULL) tly_bench_fail("libtally does not open: %s", error);
    return tally;
}

static struct tally_bytes key_of(const struct world *world, size_t i)
{
    struct tly_slice key = tly_bench_key(world->load.keys, i);
    return (struct tally_bytes){key.p, key.n};
}

static void must(enum tally_result result)
{
    if (result != TALLY_OK) tly_bench_fail("checking: %s", tally_message(result));
}

static uint64_t remaining(const struct tally_verdict *verdict)
{
    return verdict->code == TALLY_ADMITTED ? verdict->remaining : 0;
}

/* What remains of the limits of some keys in a pass, each asked once. */
typedef uint64_t check_keys(const struct world *world, struct tally *tally, const struct tally_check *check,
                            const uint32_t *order, size_t count);

static uint64_t check_each(const struct world *world, struct tally *tally, const struct tally_check *about,
                           const uint32_t *order, size_t count)
{
    struct tally_check check = *about;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        struct tally_verdict verdict;
        check.key = key_of(world, order[i]);
        must(tally_check(tally, &check, &verdict));
        sum += remaining(&verdict);
    }
    return sum;
}

static uint64_t check_groups(const struct world *world, struct tally *tally, const struct tally_check *about,
                             const uint32_t *order, size_t count)
{
    struct tally_check checks[TLY_BENCH_BARE_GROUP];
    struct tally_verdict verdicts[TLY_BENCH_BARE_GROUP];
    enum tally_result results[TLY_BENCH_BARE_GROUP];
    uint64_t sum = 0;
    for (size_t i = 0; i < TLY_BENCH_BARE_GROUP; i++)
        checks[i] = *about;
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < TLY_BENCH_BARE_GROUP ? count - done : TLY_BENCH_BARE_GROUP;
        for (size_t i = 0; i < n; i++)
            checks[i].key = key_of(world, order[done + i]);
        tally_checks(tally, checks, n, results, verdicts);
        for (size_t i = 0; i < n; i++) {
            must(results[i]);
            sum += remaining(&verdicts[i]);
        }
    }
    return sum;
}

static uint64_t run_pass(const struct world *world, struct tally *tally, const struct tally_check *check,
                         check_keys *ask, size_t pass)
{
    uint64_t sum = 0;
    for (size_t done = 0, n; done < world->load.count; done += n) {
        n = world->load.count - done < CHECKS_PER_TURN ? world->load.count - done : CHECKS_PER_TURN;
        sum += ask(world, tally, check, world->load.order[pass] + done, n);
        tally_turn(tally, 0);
    }
    return sum;
}

/* The first pass, in which the keys are made, is not measured. */
static double run(const struct world *world, enum tally_algorithm algorithm, check_keys *ask)
{
    struct tally_check check = {.rate = LIMIT, .window_ms = 86400000, .algorithm = algorithm, .hits = 1};
    size_t passes = world->load.passes;
    struct tally *tally = open_node(TALLY_CALLER);
    (void)run_pass(world, tally, &check, ask, 0);
    double since = tly_bench_cpu_s();
    uint64_t sum = 0;
    for (size_t pass = 1; pass < passes; pass++)
        sum = run_pass(world, tally, &check, ask, pass);
    double rate = tly_bench_rate(world->load.count * (passes - 1), since);
    tally_close(tally);
    tly_bench_equal(sum, world->load.count * (LIMIT - passes), "what remains of all limits");
    return rate;
}

static double run_bare(void *context)
{
    const struct tly_bench_load *load = &((const struct world *)context)->load;
    return tly_bench_bare_again(load->keys, load->order, load->passes, false);
}

static double run_fixed(void *context)
{
    return run(context, TALLY_FIXED_WINDOW, check_each);
}

static double run_sliding(void *context)
{
    return run(context, TALLY_SLIDING_WINDOW, check_each);
}

static double run_bucket(void *context)
{
    return run(context, TALLY_TOKEN_BUCKET, check_each);
}

/* Both threads' CPU, a few keys often. */
static double run_across(void *context)
{
    const struct world *world = context;
    struct tally_check check = {.rate = ASKED_ACROSS, .window_ms = 86400000, .hits = 1};
    struct tally_verdict verdict = {0};
    struct tally *tally = open_node(TALLY_OWN_THREAD);
    check.key = key_of(world, 0);
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < ASKED_ACROSS; i++)
        must(tally_check(tally, &check, &verdict));
    double rate = tly_bench_rate(ASKED_ACROSS, since);
    tally_close(tally);
    tly_bench_equal(verdict.remaining, 0, "what remains of a limit that was used up");
    return rate;
}

static double run_bare_groups(void *context)
{
    const struct tly_bench_load *load = &((const struct world *)context)->load;
    return tly_bench_bare_again(load->keys, load->order, load->passes, true);
}

static double run_fixed_groups(void *context)
{
    return run(context, TALLY_FIXED_WINDOW, check_groups);
}

static double run_bucket_groups(void *context)
{
    return run(context, TALLY_TOKEN_BUCKET, check_groups);
}

/* Of the yardstick, which is first: a check must take no more than twice its time, in batches 1.5 times that of a batch of it. */
static const struct tly_bench_case cases[] = {
    {TLY_BENCH_BARE, run_bare, "61 ns; at 10 M keys 360 to 420", 0, 0, 0},
    {"tally_check, fixed_window", run_fixed, NULL, 0, 0, 0.5},
    {"tally_check, sliding_window", run_sliding, NULL, 0, 0, 0.5},
    {"tally_check, token_bucket", run_bucket, NULL, 0, 0, 0.5},
    {"tally_check, a thread of the node's", run_across, NULL, 0, 0, 0},
    {"bare table, 16 at a time", run_bare_groups, "25 ns; at 10 M keys 70 to 100", 0, 0, 0},
    {"tally_checks of 16, fixed_window", run_fixed_groups, NULL, 0, 0, 1 / 1.5},
    {"tally_checks of 16, token_bucket", run_bucket_groups, NULL, 0, 0, 1 / 1.5},
};

#define CASES (sizeof cases / sizeof cases[0])
/* Of those that are made one by one. */
#define SINGLES 5

static void run_size(const struct tly_bench_size *size, FILE *json, double *medians)
{
    struct world world;
    tly_bench_load_init(&world.load, size, SEED);
    struct tly_bench_plan plan = {"lib", cases, SINGLES, size->repeats, size->keys, 0, json, medians};
    printf(
        "checks through libtally: %zu keys that are there, %zu repetitions, interleaved; results are right\n",
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
