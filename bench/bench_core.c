/* The core by itself: local writes, merging what a peer sent, reading, and scanning for a snapshot. */
#include "bench/support_bare.h"
#include "bench/support_load.h"
#include "bench/support_map.h"
#include "wire/frame.h"

#include <stdlib.h>

#define OWN 0x1001
#define SEED 42
#define HITS_PER_SEAL 10000
/* Three maps, what is said between them, the yardstick, the keys and their orders. */
#define BYTES_PER_KEY 700

struct world {
    struct tly_bench_load load;
    struct tly_registry *registry, *points; /* the keys are counters; they are registers */
    struct tly_ormap *full;                 /* every key, counted into twice, sealed */
    struct tly_ormap *first;                /* the same when every key was counted into once */
    uint64_t before_ts, peer_sum, peer_digest;
    double snapshot_bytes; /* per key */
};

static double run_bare(void *context)
{
    const struct world *world = context;
    return tly_bench_load_bare(&world->load);
}

/* ---- local writes ---- */

static void put(struct tly_ormap *map, struct tly_slice key, uint64_t epoch, int64_t count)
{
    struct tly_dot dot = {.op = TLY_PUT, .num = {epoch, (uint64_t)count}};
    tly_bench_must(tly_ormap_put(map, key, &dot), "putting a key");
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

static void put_pass(const struct world *world, size_t pass, struct tly_ormap *map)
{
    for (size_t i = 0; i < world->load.count; i++)
        put(map, tly_bench_key(world->load.keys, world->load.order[pass][i]), 1, (int64_t)pass + 1);
}

#define GROUP 16

/* So many at a time, as they come in a pipeline: the memory of all is asked for before the first is put. */
static void put_groups(const struct world *world, size_t pass, struct tly_ormap *map)
{
    struct tly_dot dot = {.op = TLY_PUT, .num = {1, (uint64_t)pass + 1}};
    struct tly_seek seeks[GROUP];
    const uint32_t *order = world->load.order[pass];
    for (size_t done = 0, n; done < world->load.count; done += n) {
        n = world->load.count - done < GROUP ? world->load.count - done : GROUP;
        for (size_t i = 0; i < n; i++)
            __builtin_prefetch(tly_bench_key(world->load.keys, order[done + i]).p);
        for (size_t i = 0; i < n; i++)
            tly_seek_to(map, tly_bench_key(world->load.keys, order[done + i]), &seeks[i]);
        for (size_t i = 0; i < n; i++)
            tly_seek_ahead(map, &seeks[i]);
        for (size_t i = 0; i < n; i++)
            tly_bench_must(tly_seek_put(map, &seeks[i], &dot), "putting a key");
    }
}

typedef void put_some(const struct world *world, size_t pass, struct tly_ormap *map);

/* Pass 0 makes the keys, the others raise them. */
static double put_passes(const struct world *world, put_some *some, size_t untimed, size_t passes)
{
    struct tly_ormap *map = tly_bench_map(world->points, OWN);
    double since = tly_bench_cpu_s();
    for (size_t pass = 0; pass < passes; pass++) {
        if (pass == untimed) since = tly_bench_cpu_s();
        some(world, pass, map);
    }
    double result = tly_bench_rate((passes - untimed) * world->load.count, since);
    check_puts(map, passes * world->load.count);
    tly_ormap_free(map);
    return result;
}

static double run_put_new(void *context)
{
    return put_passes(context, put_pass, 0, 1);
}

static double run_put_again(void *context)
{
    const struct world *world = context;
    return put_passes(world, put_pass, 1, world->load.passes);
}

static double run_put_groups(void *context)
{
    const struct world *world = context;
    return put_passes(world, put_groups, 1, world->load.passes);
}

static double run_hit(void *context)
{
    const struct world *world = context;
    struct tly_ormap *map = tly_bench_map(world->registry, OWN);
    size_t n = world->load.count * world->load.passes;
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < n; i++) {
        tly_bench_hit(map, tly_bench_key(world->load.keys, tly_bench_load_at(&world->load, i)), 1);
        if (i % HITS_PER_SEAL == HITS_PER_SEAL - 1) tly_bench_must(tly_ormap_seal(map), "sealing");
    }
    tly_bench_must(tly_ormap_seal(map), "sealing");
    double result = tly_bench_rate(n, since);
    tly_bench_equal(tly_bench_sum(map), n, "sum of the hits");
    tly_ormap_free(map);
    return result;
}

/* ---- merging ---- */

/* A map, and what is said to it by a peer that counts: first once into every key, then once more. */
struct merging {
    struct tly_ormap *map;
    struct tly_bench_line line;
    struct tly_bench_bodies before, after;
};

/* `after` is in parts of so many rows at most. */
static void merging_init(struct merging *merging, const struct world *world, size_t rows_max)
{
    merging->map = tly_bench_map(world->registry, OWN);
    tly_bench_line_init(&merging->line);
    tly_bench_bodies_init(&merging->before);
    tly_bench_bodies_init(&merging->after);
    tly_bench_say(&merging->line, world->first, 0, SIZE_MAX, &merging->before);
    tly_bench_say(&merging->line, world->full, world->before_ts, rows_max, &merging->after);
}

static void merging_fini(struct merging *merging)
{
    tly_bench_line_fini(&merging->line);
    tly_bench_bodies_fini(&merging->before);
    tly_bench_bodies_fini(&merging->after);
    tly_ormap_free(merging->map);
}

/* Takes all of it in; how fast. */
static double take_all(struct merging *merging, const struct world *world,
                       const struct tly_bench_bodies *bodies)
{
    size_t applied = 0;
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < bodies->count; i++)
        applied += tly_bench_take(&merging->line, merging->map, tly_bench_body(bodies, i));
    double result = tly_bench_rate(world->load.count, since);
    tly_bench_equal(applied, world->load.count, "dots merged");
    return result;
}

static double merge(const struct world *world, size_t rows_max)
{
    struct merging merging;
    merging_init(&merging, world, rows_max);
    take_all(&merging, world, &merging.before);
    double result = take_all(&merging, world, &merging.after);
    tly_bench_equal(tly_bench_sum(merging.map), world->peer_sum, "sum after merging");
    tly_bench_equal(tly_ormap_digest(merging.map), world->peer_digest, "digest after merging");
    merging_fini(&merging);
    return result;
}

static double run_merge_new(void *context)
{
    const struct world *world = context;
    struct merging merging;
    merging_init(&merging, world, SIZE_MAX);
    double result = take_all(&merging, world, &merging.before);
    tly_bench_equal(tly_bench_sum(merging.map), world->load.count, "sum after merging new keys");
    merging_fini(&merging);
    return result;
}

static double run_merge(void *context)
{
    return merge(context, SIZE_MAX);
}

static double run_merge_1000(void *context)
{
    return merge(context, 1000);
}

static double run_merge_1(void *context)
{
    return merge(context, 1);
}

/* ---- reading and scanning ---- */

static double run_read(void *context)
{
    const struct world *world = context;
    struct tly_moment at = {.window = TLY_BENCH_WINDOW_MS, .epoch = TLY_BENCH_EPOCH};
    size_t n = world->load.count * world->load.passes;
    uint64_t sum = 0;
    double since = tly_bench_cpu_s();
    for (size_t i = 0; i < n; i++) {
        struct tly_slice key = tly_bench_key(world->load.keys, tly_bench_load_at(&world->load, i));
        const struct tly_entry *entry = tly_ormap_find(world->full, key);
        struct tly_value value = {0};
        if (entry != NULL) tly_entry_read(world->full, entry, &at, &value);
        sum += (uint64_t)value.count;
    }
    double result = tly_bench_rate(n, since);
    tly_bench_equal(sum, world->load.passes * world->peer_sum, "sum of what was read");
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
    struct world *world = context;
    struct tly_mem mem = tly_bench_heap();
    struct tly_buf frames;
    struct tly_bench_bodies bodies;
    tly_buf_init(&frames, &mem, SIZE_MAX / 4);
    tly_bench_bodies_init(&bodies);
    double since = tly_bench_cpu_s();
    tly_bench_encode(world->full, 0, &bodies);
    for (size_t i = 0; i < bodies.count; i++)
        tly_frame_put(&frames, TLY_FRAME_ROUND, tly_bench_body(&bodies, i));
    double result = tly_bench_rate(world->load.count, since);
    tly_bench_must(frames.result, "writing a snapshot");
    check_frames(world, tly_buf_slice(&frames));
    world->snapshot_bytes = (double)frames.n / (double)world->load.count;
    tly_bench_bodies_fini(&bodies);
    tly_buf_fini(&frames);
    return result;
}

/* ---- one size ---- */

static void hit_all(struct world *world, size_t pass)
{
    for (size_t i = 0; i < world->load.count; i++)
        tly_bench_hit(world->full, tly_bench_key(world->load.keys, world->load.order[pass][i]), 1);
    tly_bench_must(tly_ormap_seal(world->full), "sealing");
}

static void build(struct world *world, const struct tly_bench_size *size)
{
    tly_bench_load_init(&world->load, size, SEED);
    world->registry = tly_bench_registry(tly_epoch_sum());
    world->points = tly_bench_registry(tly_epoch_max());
    world->full = tly_bench_map(world->registry, OWN + 1);
    hit_all(world, 0);
    world->first = tly_bench_copy(world->registry, world->full);
    world->before_ts = tly_ormap_life(world->full, 0).last;
    hit_all(world, 1);
    world->peer_sum = tly_bench_sum(world->full);
    world->peer_digest = tly_ormap_digest(world->full);
    tly_bench_equal(world->peer_sum, 2 * world->load.count, "sum of the peer");
}

static void take_down(struct world *world)
{
    tly_ormap_free(world->first);
    tly_ormap_free(world->full);
    tly_registry_free(world->points);
    tly_registry_free(world->registry);
    tly_bench_load_fini(&world->load);
}

/* The bare table where the seed was measured, as goals have it; 0: there are none for so many keys. */
static double pace_of(size_t keys)
{
    return keys == 100000 ? 16.4 : keys == 10000000 ? 2.6 : 0;
}

/*
 * The seed is the implementation that came before this one, measured at 100,000 keys; a limit is what a loop reaches that does
 * nothing else. Both in millions per CPU second, as are targets and stretches, which hold for the size they stand at.
 */
static const struct tly_bench_case cases[] = {
    {TLY_BENCH_BARE, run_bare, NULL, 0, 0, 0},
    {"put, the key is new", run_put_new, NULL, 0, 0, 0},
    {"put, the key is there", run_put_again, NULL, 0, 0, 0},
    {"16 puts, the key is there", run_put_groups, NULL, 0, 0, 0},
    {"hit, sealed every 10,000", run_hit, NULL, 0, 0, 0},
    {"merge, keys new, one call", run_merge_new, NULL, 0, 0, 0},
    {"merge, one call", run_merge, NULL, 0, 0, 0},
    {"merge, batches of 1000", run_merge_1000, NULL, 0, 0, 0},
    {"merge, batches of 1", run_merge_1, NULL, 0, 0, 0},
    {"find and read", run_read, NULL, 0, 0, 0},
    {"snapshot: scan, encode, lz4", run_snapshot, NULL, 0, 0, 0},
};

#define CASES (sizeof cases / sizeof cases[0])

struct goal {
    size_t keys; /* the size it holds for */
    const char *name, *reference;
    double target, stretch;
};

static const struct goal goals[] = {
    {100000, TLY_BENCH_BARE, "16.4 (61 ns)", 0, 0},
    {10000000, TLY_BENCH_BARE, "2.4 to 2.8 (360 to 420 ns)", 0, 0},
    {100000, "put, the key is new", "seed 0.42", 4.2, 8.4},
    {100000, "put, the key is there", "seed 0.42", 4.2, 8.4},
    {100000, "16 puts, the key is there", "seed 0.42, one by one", 4.2, 8.4},
    {100000, "merge, keys new, one call", "seed 0.49, limit 49", 10, 25},
    {100000, "merge, one call", "seed 0.49, limit 49", 10, 25},
    {100000, "merge, batches of 1000", "seed 0.018, limit 49", 10, 25},
    {100000, "merge, batches of 1", "seed 0.000019", 1, 0},
    {10000000, "merge, keys new, one call", "limit 20", 5, 12},
    {10000000, "merge, one call", "limit 20", 5, 12},
    {10000000, "merge, batches of 1000", "limit 20", 5, 12},
    {10000000, "merge, batches of 1", NULL, 1, 0},
    {100000, "snapshot: scan, encode, lz4", "seed 1.5, redis SAVE 1.5, limit 11..19", 6, 12},
};

/* redis SAVE takes 46 bytes per key; ours must take no more than 0.40 of them. */
#define SAVE_BYTES 46.0
#define SNAPSHOT_SHARE 0.40

static void set_goals(struct tly_bench_case *of_size, size_t keys)
{
    memcpy(of_size, cases, sizeof cases);
    for (size_t g = 0; g < sizeof goals / sizeof goals[0]; g++) {
        size_t i = 0;
        while (strcmp(cases[i].name, goals[g].name) != 0)
            if (++i == CASES) tly_bench_fail("no case is called %s", goals[g].name);
        if (goals[g].keys != keys) continue;
        of_size[i].reference = goals[g].reference;
        of_size[i].target = goals[g].target;
        of_size[i].stretch = goals[g].stretch;
    }
}

static void tell_snapshot(const struct world *world, FILE *json)
{
    double bytes = world->snapshot_bytes, target = SAVE_BYTES * SNAPSHOT_SHARE;
    const char *met = bytes <= target ? "met" : "not met";
    printf("  a snapshot takes %.1f bytes per key; redis SAVE %.0f, target %.1f: %s\n\n", bytes, SAVE_BYTES,
           target, met);
    if (json == NULL) return;
    fprintf(json,
            "{\"bench\":\"core\",\"case\":\"snapshot\",\"keys\":%zu,\"unit\":\"bytes/key\",\"bytes\":%.2f,"
            "\"target\":%.2f,\"met\":%s}\n",
            world->load.count, bytes, target, bytes <= target ? "true" : "false");
}

static void run_size(const struct tly_bench_size *size, FILE *json, double *medians)
{
    struct world world = {0};
    struct tly_bench_case of_size[CASES];
    set_goals(of_size, size->keys);
    build(&world, size);
    struct tly_bench_plan plan = {"core", of_size, CASES, size->repeats, size->keys, pace_of(size->keys),
                                  json,   medians};
    printf("core: %zu keys, %zu repetitions, interleaved; results are right\n", size->keys, size->repeats);
    tly_bench_run(&plan, &world);
    tell_snapshot(&world, json);
    take_down(&world);
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
