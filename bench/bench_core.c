/* The core by itself: local writes, merging what a peer sent, reading, and scanning for a snapshot. */
#include "bench/support.h"
#include "bench/support_bare.h"
#include "bench/support_map.h"
#include "wire/frame.h"

#include <stdlib.h>

#define KEYS 100000
#define OWN 0x1001
#define SEED 42
/* Hits on each key in a case that counts. */
#define PASSES 4
#define HITS_PER_SEAL 10000

struct world {
    struct tly_bench_keys *keys;
    size_t count;
    uint32_t *order[PASSES]; /* each pass over the keys in another order */
    struct tly_registry *registry;
    struct tly_ormap *full; /* every key, sealed */
    /* What a peer that has every key sends when it has counted once more into each. */
    struct tly_bench_bodies before, one_batch, by_1000, by_1;
    uint64_t peer_sum, peer_digest;
};

static double run_bare(void *context)
{
    const struct world *world = context;
    return tly_bench_bare(world->keys, world->order, PASSES);
}

/* ---- local writes ---- */

static void put(struct tly_ormap *map, struct tly_slice key, uint64_t epoch, int64_t count)
{
    struct tly_dot dot = {.op = TLY_PUT, .num = {epoch, (uint64_t)count}};
    tly_bench_must(tly_ormap_put(map, key, &dot), "putting a key");
}

/* Keys under em: beside the others; "rl:" of the workload's keys is turned into it. */
static struct tly_slice em_key(const struct world *world, size_t i, char *text)
{
    struct tly_slice key = tly_bench_key(world->keys, i);
    memcpy(text, key.p, key.n);
    text[0] = 'e';
    text[1] = 'm';
    return tly_slice_of(text, key.n);
}

static void check_puts(struct tly_ormap *map, uint64_t expected)
{
    struct tly_moment at = {0};
    uint64_t sum = 0;
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;) {
        struct tly_value value;
        tly_entry_read(map, entry, &at, &value);
        sum += (uint64_t)value.count;
    }
    tly_bench_equal(sum, expected, "sum of what was put");
}

/* Pass 0 makes the keys, the others raise them. */
static double put_passes(struct world *world, size_t untimed, size_t passes)
{
    struct tly_ormap *map = tly_bench_map(world->registry, OWN);
    double since = tly_bench_cpu_s();
    char text[TLY_KEY_BYTES_MAX];
    for (size_t pass = 0; pass < passes; pass++) {
        if (pass == untimed) since = tly_bench_cpu_s();
        for (size_t i = 0; i < world->count; i++)
            put(map, em_key(world, world->order[pass][i], text), 1, (int64_t)pass + 1);
    }
    double result = tly_bench_rate((passes - untimed) * world->count, since);
    check_puts(map, passes * world->count);
    tly_ormap_free(map);
    return result;
}

static double run_put_new(void *context)
{
    return put_passes(context, 0, 1);
}

static double run_put_again(void *context)
{
    return put_passes(context, 1, PASSES);
}

static double run_hit(void *context)
{
    const struct world *world = context;
    struct tly_ormap *map = tly_bench_map(world->registry, OWN);
    size_t n = world->count * PASSES;
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < n; i++) {
        tly_bench_hit(map, tly_bench_key(world->keys, world->order[i / world->count][i % world->count]), 1);
        if (i % HITS_PER_SEAL == HITS_PER_SEAL - 1) tly_bench_must(tly_ormap_seal(map), "sealing");
    }
    tly_bench_must(tly_ormap_seal(map), "sealing");
    double result = tly_bench_rate(n, since);
    tly_bench_equal(tly_bench_sum(map), n, "sum of the hits");
    tly_ormap_free(map);
    return result;
}

/* ---- merging ---- */

static size_t apply_all(struct tly_ormap *map, const struct tly_bench_bodies *bodies)
{
    size_t applied = 0;
    for (size_t i = 0; i < bodies->count; i++)
        applied += tly_bench_apply(map, tly_bench_body(bodies, i));
    return applied;
}

static double merge(const struct world *world, const struct tly_bench_bodies *bodies)
{
    struct tly_ormap *map = tly_bench_map(world->registry, OWN);
    tly_bench_equal(apply_all(map, &world->before), world->count, "dots of the first round");
    double since = tly_bench_cpu_s();
    size_t applied = apply_all(map, bodies);
    double result = tly_bench_rate(world->count, since);
    tly_bench_equal(applied, world->count, "dots merged");
    tly_bench_equal(tly_bench_sum(map), world->peer_sum, "sum after merging");
    tly_bench_equal(tly_ormap_digest(map), world->peer_digest, "digest after merging");
    tly_ormap_free(map);
    return result;
}

static double run_merge_new(void *context)
{
    const struct world *world = context;
    struct tly_ormap *map = tly_bench_map(world->registry, OWN);
    double since = tly_bench_cpu_s();
    size_t applied = apply_all(map, &world->before);
    double result = tly_bench_rate(world->count, since);
    tly_bench_equal(applied, world->count, "dots merged");
    tly_bench_equal(tly_bench_sum(map), world->count, "sum after merging new keys");
    tly_ormap_free(map);
    return result;
}

static double run_merge(void *context)
{
    const struct world *world = context;
    return merge(world, &world->one_batch);
}

static double run_merge_1000(void *context)
{
    const struct world *world = context;
    return merge(world, &world->by_1000);
}

static double run_merge_1(void *context)
{
    const struct world *world = context;
    return merge(world, &world->by_1);
}

/* ---- reading and scanning ---- */

static double run_read(void *context)
{
    const struct world *world = context;
    struct tly_moment at = {.window = TLY_BENCH_WINDOW_MS, .epoch = TLY_BENCH_EPOCH};
    size_t n = world->count * PASSES;
    uint64_t sum = 0;
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < n; i++) {
        struct tly_slice key = tly_bench_key(world->keys, world->order[i / world->count][i % world->count]);
        const struct tly_entry *entry = tly_ormap_find(world->full, key);
        struct tly_value value = {0};
        if (entry != NULL) tly_entry_read(world->full, entry, &at, &value);
        sum += (uint64_t)value.count;
    }
    double result = tly_bench_rate(n, since);
    tly_bench_equal(sum, PASSES * world->peer_sum, "sum of what was read");
    return result;
}

/* Unpacks what was written and looks for every row. */
static void check_frames(const struct world *world, struct tly_slice frames)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_buf scratch;
    struct tly_ormap *map = tly_bench_map(world->registry, OWN);
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    for (size_t consumed; frames.n > 0; frames = tly_slice_of(frames.p + consumed, frames.n - consumed)) {
        struct tly_frame frame;
        tly_bench_must(tly_frame_get(frames, &scratch, &frame, &consumed), "unpacking a snapshot");
        tly_bench_apply(map, frame.body);
    }
    tly_bench_equal(tly_ormap_digest(map), world->peer_digest, "digest of a snapshot");
    tly_buf_fini(&scratch);
    tly_ormap_free(map);
}

static double run_snapshot(void *context)
{
    const struct world *world = context;
    struct tly_mem mem = tly_bench_heap();
    struct tly_buf frames;
    struct tly_bench_bodies bodies;
    tly_buf_init(&frames, &mem, SIZE_MAX / 4);
    tly_bench_bodies_init(&bodies);
    double since = tly_bench_cpu_s();
    tly_bench_encode(world->full, 0, TLY_BENCH_UNCUT, &bodies);
    for (size_t i = 0; i < bodies.count; i++)
        tly_frame_put(&frames, TLY_FRAME_ROUND, tly_bench_body(&bodies, i));
    double result = tly_bench_rate(world->count, since);
    tly_bench_must(frames.result, "writing a snapshot");
    check_frames(world, tly_buf_slice(&frames));
    tly_bench_bodies_fini(&bodies);
    tly_buf_fini(&frames);
    return result;
}

/* ---- the whole ---- */

static void hit_all(struct world *world, size_t pass, struct tly_ormap *map)
{
    for (size_t i = 0; i < world->count; i++)
        tly_bench_hit(map, tly_bench_key(world->keys, world->order[pass][i]), 1);
    tly_bench_must(tly_ormap_seal(map), "sealing");
}

static void encode(struct tly_bench_bodies *bodies, struct tly_ormap *map, uint64_t after_ts, size_t rows_max)
{
    tly_bench_bodies_init(bodies);
    tly_bench_encode(map, after_ts, (struct tly_bench_cut){rows_max, SIZE_MAX}, bodies);
}

static void build(struct world *world)
{
    uint64_t seed = SEED;
    world->count = KEYS;
    world->keys = tly_bench_keys_new(world->count, &seed);
    world->registry = tly_bench_registry();
    for (size_t pass = 0; pass < PASSES; pass++) {
        world->order[pass] = tly_bench_new(world->count, sizeof *world->order[pass]);
        tly_bench_shuffle(world->order[pass], world->count, &seed);
    }
    world->full = tly_bench_map(world->registry, OWN + 1);
    hit_all(world, 0, world->full);
    encode(&world->before, world->full, 0, SIZE_MAX);
    uint64_t ts = tly_ormap_life(world->full, 0).last;
    hit_all(world, 1, world->full);
    encode(&world->one_batch, world->full, ts, SIZE_MAX);
    encode(&world->by_1000, world->full, ts, 1000);
    encode(&world->by_1, world->full, ts, 1);
    world->peer_sum = tly_bench_sum(world->full);
    world->peer_digest = tly_ormap_digest(world->full);
    tly_bench_equal(world->peer_sum, 2 * world->count, "sum of the peer");
}

static void take_down(struct world *world)
{
    tly_bench_bodies_fini(&world->before);
    tly_bench_bodies_fini(&world->one_batch);
    tly_bench_bodies_fini(&world->by_1000);
    tly_bench_bodies_fini(&world->by_1);
    tly_ormap_free(world->full);
    tly_registry_free(world->registry);
    for (size_t pass = 0; pass < PASSES; pass++)
        free(world->order[pass]);
    tly_bench_keys_free(world->keys);
}

static const struct tly_bench_case cases[] = {
    {TLY_BENCH_BARE, run_bare, "16.4 (61 ns)", 0, 0},
    {"put, the key is new", run_put_new, "seed 0.42", 4.2, 0},
    {"put, the key is there", run_put_again, "seed 0.42", 4.2, 0},
    {"hit, sealed every 10,000", run_hit, NULL, 0, 0},
    {"merge, keys new, one batch", run_merge_new, "limit 49", 10, 0},
    {"merge, one batch", run_merge, "seed 0.49, limit 49", 10, 0},
    {"merge, batches of 1000", run_merge_1000, "seed 0.018", 10, 0},
    {"merge, batches of 1", run_merge_1, "seed 0.000019", 1, 0},
    {"find and read", run_read, NULL, 0, 0},
    {"snapshot: scan, encode, lz4", run_snapshot, "redis SAVE 1.5, limit 11", 6, 0},
};

int main(int argc, char **argv)
{
    struct world world = {0};
    FILE *json = tly_bench_json(argc, argv);
    build(&world);
    struct tly_bench_plan plan = {"core", cases, sizeof cases / sizeof cases[0], tly_bench_repeats(), json};
    printf("core: %zu keys, %zu repetitions, interleaved\n", world.count, plan.repeats);
    tly_bench_run(&plan, &world);
    take_down(&world);
    if (json != NULL && fclose(json) != 0) tly_bench_fail("%s cannot be written", argv[1]);
    return 0;
}
