/*
 * How many bytes an update takes on the wire: counters under Zipf 1.0 over 100,000 keys, flushed in batches of distinct
 * keys, as the frames that a peer is sent.  Beside it what JSON and plain msgpack take for the same rows.
 */
#include "bench/support.h"
#include "bench/support_map.h"
#include "wire/frame.h"

#include <inttypes.h>
#include <msgpack.h>
#include <stdlib.h>

#define KEYS 100000
#define SEED 42
#define ORIGIN UINT64_C(0x9e3779b97f4a7c15)
#define READER 1
/* Where the engine cuts a part. */
#define PART_BYTES ((size_t)16 * 1024)

/* Bytes of the same updates in three forms. */
struct sizes {
    uint64_t updates;
    uint64_t ours, json, msgpack;
};

struct world {
    struct tly_bench_keys *keys;
    struct tly_registry *registry;
    struct tly_ormap *writer, *reader;
    uint64_t sent_ts;
    uint8_t *in_batch; /* of each key */
    uint64_t hits;
    uint64_t seed;
};

/* ---- other people's forms ---- */

static void add_json(const struct tly_scanned *row, struct sizes *sizes)
{
    int n = snprintf(NULL, 0,
                     "{\"key\":\"%.*s\",\"ts\":%" PRIu64 ",\"origin\":%" PRIu64 ",\"epoch\":%" PRIu64
                     ",\"count\":%" PRIu64 "}\n",
                     (int)row->key.n, (const char *)row->key.p, row->dot.version.ts, row->dot.version.origin,
                     row->dot.num[1], row->dot.num[2]);
    sizes->json += (uint64_t)n;
}

static void add_msgpack(const struct tly_scanned *row, msgpack_sbuffer *buffer)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, msgpack_sbuffer_write);
    bool failed = msgpack_pack_array(&packer, 5) != 0 || msgpack_pack_str(&packer, row->key.n) != 0 ||
                  msgpack_pack_str_body(&packer, row->key.p, row->key.n) != 0 ||
                  msgpack_pack_uint64(&packer, row->dot.version.ts) != 0 ||
                  msgpack_pack_uint64(&packer, row->dot.version.origin) != 0 ||
                  msgpack_pack_uint64(&packer, row->dot.num[1]) != 0 ||
                  msgpack_pack_uint64(&packer, row->dot.num[2]) != 0;
    if (failed) tly_bench_fail("no memory for msgpack");
}

static void add_others(struct world *world, struct sizes *sizes)
{
    msgpack_sbuffer buffer;
    struct tly_scanned row;
    struct tly_scan scan = tly_scan_of(world->writer, 0, world->sent_ts);
    msgpack_sbuffer_init(&buffer);
    while (tly_scan_next(world->writer, &scan, &row)) {
        sizes->updates++;
        add_json(&row, sizes);
        add_msgpack(&row, &buffer);
    }
    sizes->msgpack += buffer.size;
    msgpack_sbuffer_destroy(&buffer);
}

/* ---- ours ---- */

static size_t receive(struct world *world, const struct tly_buf *frames)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_slice rest = tly_buf_slice(frames);
    struct tly_buf scratch;
    size_t applied = 0;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    for (size_t consumed; rest.n > 0; rest = tly_slice_of(rest.p + consumed, rest.n - consumed)) {
        struct tly_frame frame;
        tly_bench_must(tly_frame_get(rest, &scratch, &frame, &consumed), "unpacking a frame");
        applied += tly_bench_apply(world->reader, frame.body);
    }
    tly_buf_fini(&scratch);
    return applied;
}

/* Seals, encodes what is new, and has the reader take it. */
static void flush(struct world *world, struct sizes *sizes)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_bench_bodies bodies;
    struct tly_buf frames;
    tly_bench_must(tly_ormap_seal(world->writer), "sealing");
    tly_buf_init(&frames, &mem, SIZE_MAX / 4);
    tly_bench_bodies_init(&bodies);
    tly_bench_encode(world->writer, world->sent_ts, (struct tly_bench_cut){SIZE_MAX, PART_BYTES}, &bodies);
    for (size_t i = 0; i < bodies.count; i++)
        tly_frame_put(&frames, TLY_FRAME_ROUND, tly_bench_body(&bodies, i));
    tly_bench_must(frames.result, "writing frames");
    uint64_t before = sizes->updates;
    add_others(world, sizes);
    sizes->ours += frames.n;
    tly_bench_equal(receive(world, &frames), sizes->updates - before, "updates that arrived");
    world->sent_ts = tly_ormap_life(world->writer, 0).last;
    tly_bench_bodies_fini(&bodies);
    tly_buf_fini(&frames);
}

/* ---- the workload ---- */

static void hit(struct world *world, size_t key, uint64_t units)
{
    tly_bench_hit(world->writer, tly_bench_key(world->keys, key), (int64_t)units);
    world->hits += units;
}

/* Hits until `batch` distinct keys have been touched. */
static void hit_batch(struct world *world, size_t batch)
{
    memset(world->in_batch, 0, tly_bench_keys_count(world->keys));
    for (size_t distinct = 0; distinct < batch;) {
        size_t key = tly_bench_zipf(world->keys, &world->seed);
        distinct += !world->in_batch[key];
        world->in_batch[key] = 1;
        hit(world, key, 1);
    }
}

static void world_init(struct world *world)
{
    *world = (struct world){.seed = SEED};
    world->keys = tly_bench_keys_new(KEYS, &world->seed);
    world->registry = tly_bench_registry();
    world->writer = tly_bench_map(world->registry, ORIGIN);
    world->reader = tly_bench_map(world->registry, READER);
    world->in_batch = tly_bench_new(KEYS, 1);
}

static void world_fini(struct world *world)
{
    tly_bench_equal(tly_bench_sum(world->writer), world->hits, "sum at the writer");
    tly_bench_equal(tly_bench_sum(world->reader), world->hits, "sum at the reader");
    tly_bench_equal(tly_ormap_digest(world->reader), tly_ormap_digest(world->writer), "digest of the reader");
    tly_ormap_free(world->writer);
    tly_ormap_free(world->reader);
    tly_registry_free(world->registry);
    tly_bench_keys_free(world->keys);
    free(world->in_batch);
}

/* Every key is known to the reader already. */
static struct sizes steady(size_t batch, size_t rounds)
{
    struct world world;
    struct sizes sizes = {0}, first = {0};
    world_init(&world);
    for (size_t key = 0; key < KEYS; key++)
        hit(&world, key, 1 + tly_bench_below(&world.seed, 80));
    flush(&world, &first);
    for (size_t i = 0; i < rounds; i++) {
        hit_batch(&world, batch);
        flush(&world, &sizes);
    }
    tly_bench_equal(sizes.updates, batch * rounds, "updates");
    world_fini(&world);
    return sizes;
}

/* The reader knows nothing; a new one for each round. */
static struct sizes first_contact(size_t batch, size_t rounds)
{
    struct sizes sizes = {0};
    for (size_t i = 0; i < rounds; i++) {
        struct world world;
        world_init(&world);
        world.seed += i;
        hit_batch(&world, batch);
        flush(&world, &sizes);
        world_fini(&world);
    }
    return sizes;
}

static struct sizes snapshot(size_t batch, size_t rounds)
{
    struct world world;
    struct sizes sizes = {0};
    (void)batch;
    (void)rounds;
    world_init(&world);
    for (size_t key = 0; key < KEYS; key++)
        hit(&world, key, 1 + tly_bench_below(&world.seed, 80));
    flush(&world, &sizes);
    world_fini(&world);
    return sizes;
}

/* ---- the table ---- */

struct row {
    const char *name;
    struct sizes (*measure)(size_t batch, size_t rounds);
    size_t batch, rounds;
    double target;
    const char *reference; /* measured elsewhere */
};

static const struct row rows[] = {
    {"steady, batches of 1", steady, 1, 2000, 17, "protobuf with key ids 26, entropy 2.5"},
    {"steady, batches of 100", steady, 100, 200, 2.6, "protobuf with key ids 13, entropy 1.5"},
    {"steady, batches of 10,000", steady, 10000, 5, 1.6, "protobuf with key ids 13, entropy 0.8"},
    {"first contact, 100 keys", first_contact, 100, 5, 14, ""},
    {"first contact, 10,000 keys", first_contact, 10000, 1, 9, ""},
    {"everything, 100,000 keys", snapshot, 0, 0, 7, ""},
};

static double per(uint64_t bytes, const struct sizes *sizes)
{
    return (double)bytes / (double)sizes->updates;
}

static void print_row(const struct row *row, const struct sizes *sizes, FILE *json)
{
    double ours = per(sizes->ours, sizes);
    const char *verdict = ours <= row->target ? "met" : "not met";
    printf("  %-28s %7.1f %9.1f %7.1f %8.1f  %-8s %s\n", row->name, ours, per(sizes->msgpack, sizes),
           per(sizes->json, sizes), row->target, verdict, row->reference);
    if (json == NULL) return;
    fprintf(json,
            "{\"bench\":\"wire\",\"case\":\"%s\",\"unit\":\"bytes/update\",\"ours\":%.2f,\"msgpack\":%.2f,"
            "\"json\":%.2f,\"target\":%g,\"met\":%s,\"updates\":%" PRIu64 "}\n",
            row->name, ours, per(sizes->msgpack, sizes), per(sizes->json, sizes), row->target,
            ours <= row->target ? "true" : "false", sizes->updates);
}

int main(int argc, char **argv)
{
    FILE *json = tly_bench_json(argc, argv);
    double scale = tly_bench_scale();
    printf("wire: frames as sent, %d keys\n", KEYS);
    printf("  %-28s %7s %9s %7s %8s  %-8s %s\n", "bytes per update", "ours", "msgpack", "JSON", "target", "",
           "measured elsewhere");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double rounds = (double)rows[i].rounds * (scale < 1 ? scale : 1);
        struct sizes sizes = rows[i].measure(rows[i].batch, rounds < 1 ? 1 : (size_t)rounds);
        print_row(&rows[i], &sizes, json);
    }
    if (json != NULL && fclose(json) != 0) tly_bench_fail("%s cannot be written", argv[1]);
    return 0;
}
