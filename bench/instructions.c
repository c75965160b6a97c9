/*
 * bench/instructions CASE KEYS: one operation on each of so many keys, for a tool that counts instructions
 * (bench/bench_instructions). What is counted is the inside of tly_bench_measured; it writes how many operations that
 * were. Without a case it lists them.
 */
#include "bench/support_engine.h"
#include "bench/support_load.h"
#include "bench/support_map.h"
#include "bench/support_pair.h"
#include "service/engine/limit.h"
#include "wire/frame.h"

#include <stdlib.h>

#define SEED 42
#define OWN 0x1001
#define LIMIT 1000

struct world {
    struct tly_bench_load load;
    struct tly_registry *registry, *points; /* the keys are counters; they are registers */
    struct tly_ormap *first;                /* the peer when it had counted once */
    struct tly_ormap *peer, *map; /* the peer counted twice into every key; the map is what a case works on */
    uint64_t before_ts;           /* of the peer, between the two */
    struct tly_bench_bodies bodies; /* the second time it says so */
    struct tly_bench_line line;
    struct tly_row *rows;
    size_t row_count;
    struct tly_buf frames;
    struct tly_engine *engine;
    struct tly_bench_pair *pair;
    struct tly_rate rate;
    uint64_t sum;
};

struct instructions_case {
    const char *name;
    void (*prepare)(struct world *world);
    void (*run)(struct world *world);
    void (*check)(struct world *world); /* that it did what it should */
};

static struct tly_slice key_at(const struct world *world, size_t i)
{
    return tly_bench_key(world->load.keys, world->load.order[1][i]);
}

/* ---- checks ---- */

static void ask(struct world *world, size_t i)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CHECK, .now = {TLY_BENCH_WALL_NS, 1}};
    request.check = (struct tly_check){.key = tly_bench_plain_key(world->load.keys, world->load.order[1][i]),
                                       .rate = world->rate,
                                       .hits = 1};
    tly_bench_must(tly_engine_ask(world->engine, &request, &reply), "asking");
    world->sum += reply.verdict.code == TLY_CODE_OK ? reply.verdict.remaining : 0;
}

static void run_check(struct world *world)
{
    world->sum = 0;
    for (size_t i = 0; i < world->load.count; i++)
        ask(world, i);
}

static void run_checks(struct world *world)
{
    struct tly_checked checks[16];
    for (size_t i = 0; i < world->load.count; i += 16) {
        size_t left = world->load.count - i, n = left < 16 ? left : 16;
        for (size_t j = 0; j < n; j++)
            checks[j].check =
                (struct tly_check){.key = tly_bench_plain_key(world->load.keys, world->load.order[1][i + j]),
                                   .rate = world->rate,
                                   .hits = 1};
        tly_engine_checks(world->engine, (struct tly_time){TLY_BENCH_WALL_NS, 1}, checks, n);
        for (size_t j = 0; j < n; j++)
            world->sum += checks[j].verdict.code == TLY_CODE_OK ? checks[j].verdict.remaining : 0;
    }
}

static void prepare_check(struct world *world, enum tly_algorithm algorithm)
{
    world->engine = tly_bench_engine(false);
    tly_bench_engine_start(world->engine);
    world->rate = (struct tly_rate){.limit = LIMIT, .window_ms = 60000, .algorithm = algorithm};
    run_check(world);
}

static void prepare_fixed(struct world *world)
{
    prepare_check(world, TLY_FIXED_WINDOW);
}

static void prepare_sliding(struct world *world)
{
    prepare_check(world, TLY_SLIDING_WINDOW);
}

static void prepare_bucket(struct world *world)
{
    prepare_check(world, TLY_TOKEN_BUCKET);
}

static void prepare_checks(struct world *world)
{
    prepare_fixed(world);
    world->sum = 0;
}

/* The same of a named limit with one field, among a hundred. */
static void run_named(struct world *world)
{
    world->sum = 0;
    for (size_t i = 0; i < world->load.count; i++) {
        struct tly_reply reply;
        struct tly_field field = {tly_slice_text("user"),
                                  tly_bench_plain_key(world->load.keys, world->load.order[1][i])};
        struct tly_request request = {.kind = TLY_ASK_CHECK, .now = {TLY_BENCH_WALL_NS, 1}};
        request.check = (struct tly_check){
            .limit = tly_slice_text("limit-42"), .fields = &field, .field_count = 1, .hits = 1};
        tly_bench_must(tly_engine_ask(world->engine, &request, &reply), "asking");
        world->sum += reply.verdict.code == TLY_CODE_OK ? reply.verdict.remaining : 0;
    }
}

static void prepare_named(struct world *world)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_rules *rules = tly_rules_new(&mem);
    if (rules == NULL) tly_bench_fail("no memory for rules");
    for (size_t i = 0; i < 100; i++) {
        struct tly_rule rule = {.field = {"user"}, .field_count = 1};
        snprintf(rule.name, sizeof rule.name, "limit-%zu", i);
        rule.rate = (struct tly_rate){.limit = LIMIT, .window_ms = 60000, .algorithm = TLY_FIXED_WINDOW};
        tly_bench_must(tly_rules_add(rules, &rule), "adding a rule");
    }
    world->engine = tly_bench_engine(false);
    tly_bench_engine_start(world->engine);
    tly_engine_use_rules(world->engine, rules);
    run_named(world);
}

/* A tenth of the keys, ten times over: in each of them so many lives count. */
#define LIVES 16

static void run_check_lives(struct world *world)
{
    struct tly_span span = {0};
    struct tly_rate rate = {.limit = LIMIT, .window_ms = TLY_BENCH_WINDOW_MS, .algorithm = TLY_FIXED_WINDOW};
    world->sum = 0;
    for (size_t i = 0; i < world->load.count; i++) {
        struct tly_verdict verdict;
        struct tly_limit_ask ask = {.rate = &rate, .hits = 1};
        ask.now_ns = (uint64_t)TLY_BENCH_EPOCH * TLY_BENCH_WINDOW_MS * 1000000;
        tly_seek_to(world->map, key_at(world, i % (world->load.count / 10)), &ask.seek);
        tly_bench_must(tly_limit_check(world->map, &ask, &span, &verdict), "checking");
        world->sum += verdict.remaining;
    }
}

static void prepare_check_lives(struct world *world)
{
    world->map = tly_bench_map(world->registry, OWN);
    uint64_t ts = 1;
    for (uint64_t life = 1; life < LIVES; life++)
        for (size_t i = 0; i < world->load.count / 10; i++) {
            struct tly_dot dot = {.version = {ts++, OWN + life},
                                  .num = {TLY_BENCH_WINDOW_MS, TLY_BENCH_EPOCH, 1}};
            struct tly_arrival arrival = {.key = key_at(world, i), .dot = &dot};
            world->sum += tly_bench_join(world->map, &arrival, 1);
        }
    run_check_lives(world);
}

static void check_lives_remaining(struct world *world)
{
    uint64_t all = 0;
    for (uint64_t check = 11; check <= 20; check++)
        all += LIMIT - (LIVES - 1) - check;
    tly_bench_equal(world->sum, world->load.count / 10 * all, "what remains of all limits");
}

static void check_remaining(struct world *world)
{
    tly_bench_equal(world->sum, world->load.count * (LIMIT - 2), "what remains of all limits");
}

static void run_add(struct world *world)
{
    world->sum = 0;
    for (size_t i = 0; i < world->load.count; i++) {
        struct tly_reply reply;
        struct tly_request request = {.kind = TLY_ASK_ADD, .now = {TLY_BENCH_WALL_NS, 1}, .number = 1};
        request.key = tly_bench_plain_key(world->load.keys, world->load.order[1][i]);
        tly_bench_must(tly_engine_ask(world->engine, &request, &reply), "adding");
        world->sum += (uint64_t)reply.value.count;
    }
}

static void prepare_add(struct world *world)
{
    world->engine = tly_bench_engine(false);
    tly_bench_engine_start(world->engine);
    run_add(world);
}

static void check_added(struct world *world)
{
    tly_bench_equal(world->sum, 2 * world->load.count, "sum of the counters");
}

/* ---- local writes ---- */

static void run_hit(struct world *world)
{
    for (size_t i = 0; i < world->load.count; i++)
        tly_bench_hit(world->map, key_at(world, i), 1);
}

static void run_seal(struct world *world)
{
    tly_bench_must(tly_ormap_seal(world->map), "sealing");
}

static void prepare_hit(struct world *world)
{
    world->map = tly_bench_map(world->registry, OWN);
    run_hit(world);
    run_seal(world);
}

static void prepare_seal(struct world *world)
{
    prepare_hit(world);
    run_hit(world);
}

static void check_hits(struct world *world)
{
    tly_bench_equal(tly_bench_sum(world->map), 2 * world->load.count, "sum of the hits");
}

static void check_seal(struct world *world)
{
    check_hits(world);
    tly_bench_equal(tly_ormap_is_unsealed(world->map), 0, "unsealed shards");
}

/* The keys are registers. */
static void put_all(struct world *world, int64_t count)
{
    struct tly_dot dot = {.op = TLY_PUT, .num = {1, (uint64_t)count}};
    for (size_t i = 0; i < world->load.count; i++)
        tly_bench_must(tly_ormap_put(world->map, key_at(world, i), &dot), "putting a key");
}

static void prepare_put_new(struct world *world)
{
    world->map = tly_bench_map(world->points, OWN);
}

static void run_put_new(struct world *world)
{
    put_all(world, 1);
}

static void prepare_put(struct world *world)
{
    prepare_put_new(world);
    run_put_new(world);
}

static void run_put(struct world *world)
{
    put_all(world, 2);
}

static void check_put_new(struct world *world)
{
    tly_bench_equal(tly_bench_sum(world->map), world->load.count, "sum of what was put");
}

static void check_put(struct world *world)
{
    tly_bench_equal(tly_bench_sum(world->map), 2 * world->load.count, "sum of what was put again");
}

/* ---- from a peer ---- */

/* What the peer says when it has counted once into each key, and once more; the first is heard. */
static void prepare_decode(struct world *world)
{
    struct tly_bench_bodies before;
    tly_bench_line_init(&world->line);
    tly_bench_bodies_init(&before);
    tly_bench_say(&world->line, world->first, 0, SIZE_MAX, &before);
    tly_bench_say(&world->line, world->peer, world->before_ts, SIZE_MAX, &world->bodies);
    for (size_t i = 0; i < before.count; i++)
        (void)tly_bench_hear(&world->line, tly_bench_body(&before, i));
    tly_bench_bodies_fini(&before);
}

static void run_decode(struct world *world)
{
    for (size_t i = 0; i < world->bodies.count; i++)
        world->sum += tly_bench_hear(&world->line, tly_bench_body(&world->bodies, i)).row_count;
}

static void check_decode(struct world *world)
{
    tly_bench_equal(world->sum, world->load.count, "rows decoded");
}

static void run_merge(struct world *world)
{
    world->sum += tly_bench_join_rows(world->map, world->rows, NULL, world->row_count);
}

/* All rows at once: they are borrowed no longer than until the next part, their keys until the map of the peer changes. */
static void gather_rows(struct world *world, struct tly_ormap *peer)
{
    struct tly_scan scan = tly_scan_of(peer, 0, 0);
    world->row_count = 0;
    for (struct tly_scanned dot; tly_scan_next(peer, &scan, &dot);)
        world->rows[world->row_count++] = (struct tly_row){.key = dot.key,
                                                           .hash = tly_bench_key_hash(dot.key),
                                                           .strategy_id = dot.strategy->id,
                                                           .dot = dot.dot};
}

static void prepare_merge_new(struct world *world)
{
    world->map = tly_bench_map(world->registry, OWN);
    gather_rows(world, world->peer);
}

/* The map has what the peer had counted before. */
static void prepare_merge(struct world *world)
{
    world->map = tly_bench_map(world->registry, OWN);
    gather_rows(world, world->first);
    run_merge(world);
    gather_rows(world, world->peer);
    world->sum = 0;
}

static void check_merge(struct world *world)
{
    tly_bench_equal(world->sum, world->load.count, "dots applied");
    tly_bench_equal(tly_ormap_digest(world->map), tly_ormap_digest(world->peer), "digest after merging");
}

/* ---- from a peer, by a whole engine ---- */

static void count_at_peer(struct world *world)
{
    for (size_t i = 0; i < world->load.count; i++) {
        struct tly_reply reply;
        struct tly_request request = {.kind = TLY_ASK_CHECK, .now = world->pair->now};
        request.check =
            (struct tly_check){.key = tly_bench_plain_key(world->load.keys, world->load.order[1][i]),
                               .rate = {.limit = LIMIT, .window_ms = 3600000, .algorithm = TLY_FIXED_WINDOW},
                               .hits = 1};
        tly_bench_must(tly_engine_ask(world->pair->end[0], &request, &reply), "asking");
    }
}

static uint64_t taken(const struct world *world)
{
    struct tly_stats stats;
    tly_engine_stats(world->pair->end[1], &stats);
    return stats.dots_applied;
}

static void prepare_take(struct world *world)
{
    world->pair = tly_bench_new(1, sizeof *world->pair);
    tly_bench_pair_init(world->pair);
    count_at_peer(world);
    tly_bench_pair_settle(world->pair);
    world->sum = taken(world);
    count_at_peer(world);
    tly_bench_pair_say(world->pair, 0);
}

static void run_take(struct world *world)
{
    tly_bench_pair_hear(world->pair, 1);
}

static void check_take(struct world *world)
{
    tly_bench_equal(taken(world) - world->sum, world->load.count, "dots taken");
}

/* ---- reading ---- */

static void run_read(struct world *world)
{
    struct tly_moment at = {.window = TLY_BENCH_WINDOW_MS, .epoch = TLY_BENCH_EPOCH};
    for (size_t i = 0; i < world->load.count; i++) {
        const struct tly_entry *entry = tly_ormap_find(world->peer, key_at(world, i));
        struct tly_value value = {0};
        if (entry != NULL) tly_entry_read(world->peer, entry, &at, &value);
        world->sum += (uint64_t)value.count;
    }
}

static void check_read(struct world *world)
{
    tly_bench_equal(world->sum, 2 * world->load.count, "sum of what was read");
}

static void run_walk(struct world *world)
{
    world->sum = tly_bench_sum(world->peer);
}

static void run_snapshot(struct world *world)
{
    tly_bench_encode(world->peer, 0, &world->bodies);
    for (size_t i = 0; i < world->bodies.count; i++)
        tly_frame_put(&world->frames, TLY_FRAME_ROUND, tly_bench_body(&world->bodies, i));
}

static void check_snapshot(struct world *world)
{
    tly_bench_must(world->frames.result, "writing a snapshot");
    for (size_t i = 0; i < world->bodies.count; i++) {
        struct tly_round round;
        tly_bench_must(tly_round_get(tly_bench_body(&world->bodies, i), &round), "decoding");
        world->sum += round.row_count;
    }
    tly_bench_equal(world->sum, world->load.count, "rows of a snapshot");
}

static void prepare_nothing(struct world *world)
{
    world->sum = 0;
}

static const struct instructions_case cases[] = {
    {"check_fixed_window", prepare_fixed, run_check, check_remaining},
    {"checks_16", prepare_checks, run_checks, check_remaining},
    {"check_sliding_window", prepare_sliding, run_check, check_remaining},
    {"check_token_bucket", prepare_bucket, run_check, check_remaining},
    {"check_named", prepare_named, run_named, check_remaining},
    {"check_of_16_lives", prepare_check_lives, run_check_lives, check_lives_remaining},
    {"add", prepare_add, run_add, check_added},
    {"hit", prepare_hit, run_hit, check_hits},
    {"seal", prepare_seal, run_seal, check_seal},
    {"put_new", prepare_put_new, run_put_new, check_put_new},
    {"put", prepare_put, run_put, check_put},
    {"decode", prepare_decode, run_decode, check_decode},
    {"merge_new", prepare_merge_new, run_merge, check_merge},
    {"merge", prepare_merge, run_merge, check_merge},
    {"take", prepare_take, run_take, check_take},
    {"read", prepare_nothing, run_read, check_read},
    {"walk", prepare_nothing, run_walk, check_read},
    {"snapshot_row", prepare_nothing, run_snapshot, check_snapshot},
};

#define CASES (sizeof cases / sizeof cases[0])

/* Named to the tool, which counts from its first instruction to its last. */
void tly_bench_measured(const struct instructions_case *c, struct world *world);

__attribute__((noinline)) void tly_bench_measured(const struct instructions_case *c, struct world *world)
{
    c->run(world);
    /* So that the call above is no jump out of here. */
    __asm__ volatile("" ::: "memory");
}

static void world_init(struct world *world, size_t keys)
{
    const struct tly_bench_size size = {keys, 2, 1};
    struct tly_mem mem = tly_bench_heap();
    *world = (struct world){0};
    tly_bench_load_init(&world->load, &size, SEED);
    world->registry = tly_bench_registry(tly_epoch_sum());
    world->points = tly_bench_registry(tly_epoch_max());
    world->rows = tly_bench_new(keys + 1, sizeof *world->rows);
    tly_bench_bodies_init(&world->bodies);
    tly_buf_init(&world->frames, &mem, SIZE_MAX / 4);
    world->map = tly_bench_map(world->registry, OWN + 1);
    run_hit(world);
    run_seal(world);
    world->before_ts = tly_ormap_life(world->map, 0).last;
    world->first = tly_bench_copy(world->registry, world->map);
    run_hit(world);
    run_seal(world);
    world->peer = world->map;
    world->map = NULL;
}

static void world_fini(struct world *world)
{
    tly_engine_free(world->engine);
    if (world->pair != NULL) tly_bench_pair_fini(world->pair);
    free(world->pair);
    tly_ormap_free(world->map);
    tly_ormap_free(world->peer);
    tly_ormap_free(world->first);
    if (world->line.parts != NULL) tly_bench_line_fini(&world->line);
    tly_bench_bodies_fini(&world->bodies);
    tly_buf_fini(&world->frames);
    tly_registry_free(world->points);
    tly_registry_free(world->registry);
    tly_bench_load_fini(&world->load);
    free(world->rows);
}

static void run_case(const struct instructions_case *c, size_t keys)
{
    struct world world;
    world_init(&world, keys);
    c->prepare(&world);
    tly_bench_measured(c, &world);
    c->check(&world);
    world_fini(&world);
    printf("%zu\n", keys);
}

int main(int argc, char **argv)
{
    unsigned long keys = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    for (size_t i = 0; i < CASES; i++) {
        if (argc == 1) printf("%s\n", cases[i].name);
        if (argc != 3 || strcmp(argv[1], cases[i].name) != 0) continue;
        run_case(&cases[i], keys);
        return 0;
    }
    if (argc > 1) tly_bench_fail("usage: instructions [CASE KEYS]");
    return 0;
}
