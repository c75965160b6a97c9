/*
 * How many bytes an update takes on the wire: counters under Zipf 1.0 over 100,000 keys, flushed in batches of distinct
 * keys, as the frames that a peer is sent. Beside it what others take for the same rows: JSON, plain msgpack, protobuf with a number
 * for each key as lean as it can be, and what redis appends to its file for the same INCRBY.
 *
 * usage: wire_sizes [JSON_FILE [UPDATES_FILE]]; the second holds batches of somebody else's.
 *
 * Every frame is read again and its dots joined at the other end; the two maps must be equal afterwards. Status 1: they are not, or a
 * target was missed.
 */
#include "bench/support.h"
#include "bench/support_map.h"
#include "wire/frame.h"
#include "wire/stream.h"

#include <inttypes.h>
#include <msgpack.h>
#include <stdlib.h>

#define KEYS 100000
#define SEED 42
#define ORIGIN UINT64_C(0x9e3779b97f4a7c15)
#define READER 1
/* Where the engine cuts a part. */
#define PART_BYTES ((size_t)16 * 1024)
/* Of a hundred hits so many still belong to the window before. */
#define LATE_PERCENT 3
/* Between two flushes. */
#define FLUSH_NS UINT64_C(10000000)
#define JITTER_NS UINT64_C(1000000)

/* Bytes of the same updates in several forms. */
struct sizes {
    uint64_t updates;
    uint64_t ours, json, msgpack, protobuf, aof;
    double put_s, get_s; /* CPU time of our encoding and decoding */
};

struct world {
    struct tly_bench_keys *keys;
    struct tly_registry *registry;
    struct tly_ormap *writer, *reader;
    struct tly_names *names;
    struct tly_stream *out, *in;
    struct tly_parts *putting, *getting;
    uint64_t sent_ts;
    uint64_t epoch;
    struct tly_time now;
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

static uint64_t varint_bytes(uint64_t value)
{
    uint64_t bytes = 1;
    for (; value >= 0x80; value >>= 7)
        bytes++;
    return bytes;
}

/*
 * repeated Update { uint32 key = 1; uint32 age = 2; uint64 count = 3; }: a key is its number, the epoch how far it lies behind
 * the message's (left out when it does not), the count absolute. A key is announced elsewhere and costs nothing here.
 */
static void add_protobuf(const struct tly_scanned *row, uint64_t key, uint64_t epoch, struct sizes *sizes)
{
    uint64_t age = epoch - row->dot.num[1];
    uint64_t body =
        1 + varint_bytes(key) + (age != 0 ? 1 + varint_bytes(age) : 0) + 1 + varint_bytes(row->dot.num[2]);
    sizes->protobuf += 1 + varint_bytes(body) + body;
}

/* *3 $6 INCRBY $n key $m delta */
static void add_aof(const struct tly_scanned *row, struct sizes *sizes)
{
    char delta[32];
    int m = snprintf(delta, sizeof delta, "%" PRIu64, row->dot.num[2]);
    int n = snprintf(NULL, 0, "*3\r\n$6\r\nINCRBY\r\n$%zu\r\n%.*s\r\n$%d\r\n%s\r\n", row->key.n,
                     (int)row->key.n, (const char *)row->key.p, m, delta);
    sizes->aof += (uint64_t)n;
}

/* The number that a lean protobuf stream would give the key: any below KEYS will do. */
static uint64_t number_of(struct tly_slice key)
{
    uint64_t number = 0;
    for (size_t i = 0; i < key.n; i++)
        number = number * 31 + key.p[i];
    return number % KEYS;
}

static void add_others(struct world *world, struct sizes *sizes)
{
    msgpack_sbuffer buffer;
    struct tly_scanned row;
    struct tly_scan scan = tly_scan_of(world->writer, 0, world->sent_ts);
    msgpack_sbuffer_init(&buffer);
    sizes->protobuf += 11 + varint_bytes(world->epoch) + 9; /* of the message: base ts, epoch, mark */
    while (tly_scan_next(world->writer, &scan, &row)) {
        sizes->updates++;
        add_json(&row, sizes);
        add_msgpack(&row, &buffer);
        add_protobuf(&row, number_of(row.key), world->epoch, sizes);
        add_aof(&row, sizes);
    }
    sizes->msgpack += buffer.size;
    msgpack_sbuffer_destroy(&buffer);
}

/* ---- ours ---- */

static void apply(struct tly_ormap *map, const struct tly_part *part)
{
    enum tly_outcome outcome;
    for (size_t i = 0; i < part->row_count; i++) {
        const struct tly_row *row = &part->rows[i];
        tly_bench_must(tly_ormap_admits(map, row->key, &row->dot), "admitting a dot");
        tly_bench_must(tly_ormap_apply(map, row->key, &row->dot, &outcome), "applying a dot");
        if (outcome != TLY_APPLIED) tly_bench_fail("a dot came twice");
    }
    for (size_t i = 0; i < part->end.count; i++)
        tly_bench_must(tly_ormap_raise_mark(map, part->end.marks[i].origin, part->end.marks[i].ts),
                       "raising a mark");
}

static void receive(struct world *world, const struct tly_buf *frames, struct sizes *sizes)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_slice rest = tly_buf_slice(frames);
    struct tly_buf scratch;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    for (size_t consumed; rest.n > 0; rest = tly_slice_of(rest.p + consumed, rest.n - consumed)) {
        struct tly_frame frame;
        struct tly_part part;
        double since = tly_bench_cpu_s();
        tly_bench_must(tly_frame_get(rest, &scratch, &frame, &consumed), "unpacking a frame");
        tly_bench_must(tly_parts_get(world->getting, world->in, frame.body, &part), "decoding a part");
        sizes->get_s += tly_bench_cpu_s() - since;
        apply(world->reader, &part);
    }
    tly_buf_fini(&scratch);
}

/* Writes one part of the round that ends where the log ends; whether that was the last. */
static bool put_part(struct world *world, bool first, uint64_t *after_ts, struct tly_buf *body)
{
    struct tly_life life = tly_ormap_life(world->writer, 0);
    struct tly_mark end = {life.origin, life.mark};
    struct tly_scan scan = tly_scan_of(world->writer, 0, *after_ts);
    struct tly_scanned row;
    bool last = true;
    tly_parts_begin(world->putting, world->out, world->names);
    while (tly_scan_next(world->writer, &scan, &row)) {
        last = tly_parts_bytes(world->putting) < PART_BYTES &&
               tly_parts_add(world->putting, row.key, row.strategy, &row.dot);
        if (!last) break;
        *after_ts = row.dot.version.ts;
    }
    struct tly_part_head head = {.flags = (first ? TLY_PART_FIRST : 0u) | (last ? TLY_PART_LAST : 0u),
                                 .end = {&end, 1}};
    tly_parts_end(world->putting, &head, body);
    tly_bench_must(body->result, "encoding a part");
    return last;
}

/* In the order in which keys were first sent, as an engine seals: see wire/names.h. */
static void rank_of(void *context, const struct tly_slice *keys, const struct tly_strategy *const *strategies,
                    size_t count, uint32_t *ranks)
{
    const struct world *world = context;
    const struct tly_unnamed unnamed = {keys, strategies, count, tly_ormap_origin(world->writer)};
    tly_names_find_all(world->names, &unnamed, ranks);
}

/* Seals, encodes what is new, and has the reader take it. */
static void flush(struct world *world, struct sizes *sizes)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_buf frames, body;
    uint64_t after_ts = world->sent_ts;
    bool first = true, last = false;
    world->now.wall_ns += FLUSH_NS + tly_bench_below(&world->seed, JITTER_NS);
    world->now.mono_ns += FLUSH_NS;
    tly_clock_tick(tly_ormap_clock(world->writer), world->now);
    tly_clock_tick(tly_ormap_clock(world->reader), world->now);
    tly_bench_must(tly_ormap_seal_by(world->writer, rank_of, world), "sealing");
    tly_buf_init(&frames, &mem, SIZE_MAX / 4);
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    for (; !last; first = false) {
        tly_buf_clear(&body);
        double since = tly_bench_cpu_s();
        last = put_part(world, first, &after_ts, &body);
        sizes->put_s += tly_bench_cpu_s() - since;
        tly_frame_put(&frames, TLY_FRAME_ROUND, tly_buf_slice(&body));
    }
    tly_bench_must(frames.result, "writing frames");
    add_others(world, sizes);
    sizes->ours += frames.n;
    receive(world, &frames, sizes);
    world->sent_ts = tly_ormap_life(world->writer, 0).last;
    tly_buf_fini(&body);
    tly_buf_fini(&frames);
}

/* ---- the workload ---- */

static void hit_at(struct world *world, struct tly_slice key, uint64_t epoch, uint64_t units)
{
    struct tly_entry *entry;
    struct tly_hit hit = {.window = TLY_BENCH_WINDOW_MS, .epoch = epoch, .units = (int64_t)units};
    tly_bench_must(tly_ormap_need(world->writer, key, &entry), "finding a key");
    tly_bench_must(tly_ormap_hit(world->writer, &entry, &hit), "hitting a key");
    world->hits += units;
}

static void hit(struct world *world, size_t key, uint64_t units)
{
    /* Some nodes' clients are late: their keys still count in the window before. */
    uint64_t late = key % 100 < LATE_PERCENT ? 1 : 0;
    hit_at(world, tly_bench_key(world->keys, key), world->epoch - late, units);
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
    struct tly_mem mem = tly_bench_heap();
    struct tly_names_config names = {
        .mem = mem, .names_max = TLY_NAMES_MAX, .key_bytes_max = TLY_NAMES_KEY_BYTES_MAX};
    *world = (struct world){.seed = SEED, .epoch = TLY_BENCH_EPOCH};
    world->now = (struct tly_time){TLY_BENCH_EPOCH * TLY_BENCH_WINDOW_MS * 1000000, 1};
    world->names = tly_names_new(&names);
    world->out = tly_stream_new(&mem);
    world->in = tly_stream_new(&mem);
    world->putting = tly_parts_new(&mem);
    world->getting = tly_parts_new(&mem);
    if (world->names == NULL || world->out == NULL || world->in == NULL || world->putting == NULL ||
        world->getting == NULL)
        tly_bench_fail("no memory for a stream");
    world->keys = tly_bench_keys_new(KEYS, &world->seed);
    world->registry = tly_bench_registry(tly_epoch_sum());
    world->writer = tly_bench_map(world->registry, ORIGIN);
    world->reader = tly_bench_map(world->registry, READER);
    world->in_batch = tly_bench_new(KEYS, 1);
}

/* All units, those of the window before too. */
static uint64_t sum_of(const struct world *world, struct tly_ormap *map)
{
    struct tly_moment at = {.window = TLY_BENCH_WINDOW_MS, .epoch = world->epoch};
    uint64_t sum = 0;
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;) {
        struct tly_value value;
        tly_entry_read(map, entry, &at, &value);
        sum += (uint64_t)value.count + (uint64_t)value.previous;
    }
    return sum;
}

static void world_fini(struct world *world)
{
    tly_bench_equal(sum_of(world, world->writer), world->hits, "sum at the writer");
    tly_bench_equal(sum_of(world, world->reader), world->hits, "sum at the reader");
    tly_bench_equal(tly_ormap_digest(world->reader), tly_ormap_digest(world->writer), "digest of the reader");
    tly_stream_free(world->out);
    tly_stream_free(world->in);
    tly_parts_free(world->putting);
    tly_parts_free(world->getting);
    tly_names_free(world->names);
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

/* ---- updates from a file: [batch, key, epoch, count, delta], a line each ---- */

struct update {
    size_t batch;
    char key[128];
    uint64_t epoch, count, delta;
};

static bool read_update(FILE *file, struct update *update)
{
    return fscanf(file, " [%zu,\"%127[^\"]\",%" SCNu64 ",%" SCNu64 ",%" SCNu64 "]", &update->batch,
                  update->key, &update->epoch, &update->count, &update->delta) == 5;
}

/* Hits the keys of one batch: with what they had before, each behind some of our own keys, or with what they grew by. */
static size_t hit_updates(struct world *world, const char *path, size_t batch, bool before)
{
    struct update update;
    size_t count = 0, own = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) tly_bench_fail("%s cannot be read", path);
    while (read_update(file, &update)) {
        if (update.batch != batch) continue;
        uint64_t others = before ? tly_bench_below(&world->seed, 2 * KEYS / batch + 1) : 0;
        for (; others > 0; others--)
            hit(world, own++ % KEYS, 1);
        hit_at(world, tly_slice_text(update.key), update.epoch,
               before ? update.count - update.delta : update.delta);
        count++;
    }
    (void)fclose(file);
    return count;
}

static void measure_updates(const char *path, size_t batch, struct sizes *sizes)
{
    struct world world;
    struct sizes first = {0};
    world_init(&world);
    tly_bench_equal(hit_updates(&world, path, batch, true), batch, "updates in the file");
    flush(&world, &first);
    hit_updates(&world, path, batch, false);
    flush(&world, sizes);
    tly_bench_equal(sizes->updates, batch, "updates");
    world_fini(&world);
}

/* ---- the table ---- */

struct row {
    const char *name;
    struct sizes (*measure)(size_t batch, size_t rounds);
    size_t batch, rounds;
    double target, stretch;
};

static const struct row rows[] = {
    {"steady, batches of 1", steady, 1, 2000, 17, 12},
    {"steady, batches of 100", steady, 100, 200, 2.6, 1.8},
    {"steady, batches of 10,000", steady, 10000, 5, 1.6, 1.0},
    {"first contact, 100 keys", first_contact, 100, 5, 14, 11},
    {"first contact, 10,000 keys", first_contact, 10000, 1, 9, 6},
    {"everything, 100,000 keys", snapshot, 0, 0, 8.6, 4.95},
};

static double per(uint64_t bytes, const struct sizes *sizes)
{
    return (double)bytes / (double)sizes->updates;
}

static double rate(double seconds, const struct sizes *sizes)
{
    return seconds > 0 ? (double)sizes->updates / seconds / 1e6 : 0;
}

/* Bytes are counted, so a target that is missed is missed everywhere: false. */
static bool print_row(const struct row *row, const struct sizes *sizes, FILE *json)
{
    double ours = per(sizes->ours, sizes);
    bool met = ours <= row->target;
    const char *verdict = ours <= row->stretch ? "met, and the stretch" : met ? "met" : "MISSED";
    printf("  %-28s %7.2f %9.1f %9.1f %7.1f %7.1f %8.1f %7.1f %7.1f  %s\n", row->name, ours,
           per(sizes->protobuf, sizes), per(sizes->msgpack, sizes), per(sizes->json, sizes),
           per(sizes->aof, sizes), row->target, rate(sizes->put_s, sizes), rate(sizes->get_s, sizes),
           verdict);
    if (json == NULL) return met;
    fprintf(
        json,
        "{\"bench\":\"wire\",\"case\":\"%s\",\"unit\":\"bytes/update\",\"ours\":%.3f,\"protobuf\":%.2f,"
        "\"msgpack\":%.2f,\"json\":%.2f,\"aof\":%.2f,\"target\":%g,\"stretch\":%g,\"met\":%s,\"updates\":%" PRIu64
        ",\"encode_mrows_per_cpu_s\":%.2f,\"decode_mrows_per_cpu_s\":%.2f}\n",
        row->name, ours, per(sizes->protobuf, sizes), per(sizes->msgpack, sizes), per(sizes->json, sizes),
        per(sizes->aof, sizes), row->target, row->stretch, met ? "true" : "false", sizes->updates,
        rate(sizes->put_s, sizes), rate(sizes->get_s, sizes));
    return met;
}

int main(int argc, char **argv)
{
    FILE *json = tly_bench_json(argc, argv);
    double scale = tly_bench_scale();
    bool met = true;
    printf(
        "wire: frames as sent, %d keys, %d %% of them a window late; a snapshot is a round that begins at nothing\n",
        KEYS, LATE_PERCENT);
    printf("  %-28s %7s %9s %9s %7s %7s %8s %7s %7s\n", "bytes per update", "ours", "protobuf", "msgpack",
           "JSON", "AOF", "target", "encode", "decode");
    printf("  %-28s %7s %9s %9s %7s %7s %8s %15s\n", "", "", "with ids", "", "", "", "", "M rows/CPU-s");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double rounds = (double)rows[i].rounds * (scale < 1 ? scale : 1);
        struct sizes sizes = rows[i].measure(rows[i].batch, rounds < 1 ? 1 : (size_t)rounds);
        met = print_row(&rows[i], &sizes, json) && met;
    }
    for (size_t i = 0; argc > 2 && i < 3; i++) {
        struct row row = rows[i];
        struct sizes sizes = {0};
        char name[64];
        snprintf(name, sizeof name, "given, batch of %zu", row.batch);
        row.name = name;
        measure_updates(argv[2], row.batch, &sizes);
        met = print_row(&row, &sizes, json) && met;
    }
    if (json != NULL && fclose(json) != 0) tly_bench_fail("%s cannot be written", argv[1]);
    return met ? 0 : 1;
}
