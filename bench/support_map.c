#include "bench/support_map.h"

#include "bench/support.h"

#include <stdlib.h>

#define WALL_NS UINT64_C(1700000000000000000)

static struct tly_registry *with(struct tly_registry *registry, const char *prefix,
                                 const struct tly_strategy *strategy)
{
    struct tly_registry *next = NULL;
    if (registry == NULL) tly_bench_fail("no memory for a registry");
    tly_bench_must(tly_registry_with(registry, tly_slice_text(prefix), strategy, &next), "registering");
    tly_registry_free(registry);
    return next;
}

struct tly_registry *tly_bench_registry(const struct tly_strategy *strategy)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_registry *registry = with(tly_registry_new(&mem), "", strategy);
    return with(registry, "em:", tly_epoch_max());
}

/* Of all maps: what one of them knows of a key's hash another may use. */
static struct tly_hash_key hash_key(void)
{
    struct tly_hash_key key;
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof key.secret; i++)
        key.secret[i] = (uint8_t)tly_bench_next(&seed);
    return key;
}

uint32_t tly_bench_key_hash(struct tly_slice key)
{
    struct tly_hash_key of_maps = hash_key();
    return tly_key_hash(&of_maps, key);
}

struct tly_ormap *tly_bench_map(const struct tly_registry *registry, uint64_t origin)
{
    struct tly_time now = {.wall_ns = WALL_NS, .mono_ns = 1};
    struct tly_ormap_config config = {
        .mem = tly_bench_heap(),
        .registry = registry,
        .hash_key = hash_key(),
        .keys_max = SIZE_MAX,
        .clock = tly_clock_of(0, now, TLY_MAX_SKEW_NS),
    };
    struct tly_ormap *map = tly_ormap_new(&config);
    if (map == NULL) tly_bench_fail("no memory for a map");
    if (origin != 0) tly_bench_must(tly_ormap_begin_life(map, origin), "beginning a life");
    return map;
}

void tly_bench_hit(struct tly_ormap *map, struct tly_slice key, int64_t units)
{
    struct tly_entry *entry;
    struct tly_hit hit = {.window = TLY_BENCH_WINDOW_MS, .epoch = TLY_BENCH_EPOCH, .units = units};
    tly_bench_must(tly_ormap_need(map, key, &entry), "finding a key");
    tly_bench_must(tly_ormap_hit(map, &entry, &hit), "hitting a key");
}

uint64_t tly_bench_sum(struct tly_ormap *map)
{
    struct tly_moment at = {.window = TLY_BENCH_WINDOW_MS, .epoch = TLY_BENCH_EPOCH};
    uint64_t sum = 0;
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;) {
        struct tly_value value;
        tly_entry_read(map, entry, &at, &value);
        sum += (uint64_t)value.count;
    }
    return sum;
}

/* ---- rounds ---- */

void tly_bench_bodies_init(struct tly_bench_bodies *bodies)
{
    struct tly_mem mem = tly_bench_heap();
    *bodies = (struct tly_bench_bodies){0};
    tly_buf_init(&bodies->bytes, &mem, SIZE_MAX / 4);
}

void tly_bench_bodies_fini(struct tly_bench_bodies *bodies)
{
    struct tly_mem mem = tly_bench_heap();
    tly_buf_fini(&bodies->bytes);
    tly_mem_free(&mem, bodies->end, bodies->capacity * sizeof *bodies->end);
}

struct tly_slice tly_bench_body(const struct tly_bench_bodies *bodies, size_t i)
{
    size_t start = i == 0 ? 0 : bodies->end[i - 1];
    return tly_slice_of(bodies->bytes.p + start, bodies->end[i] - start);
}

static void end_body(struct tly_bench_bodies *bodies)
{
    struct tly_mem mem = tly_bench_heap();
    void *end = tly_mem_reserve(&mem, bodies->end, &bodies->capacity, bodies->count + 1, sizeof *bodies->end);
    if (end == NULL) tly_bench_fail("no memory for the ends of %zu rounds", bodies->count + 1);
    tly_bench_must(bodies->bytes.result, "encoding");
    bodies->end = end;
    bodies->end[bodies->count++] = bodies->bytes.n;
}

static void finish(struct tly_round_writer *writer, struct tly_mark start, uint64_t end_ts,
                   struct tly_bench_bodies *bodies)
{
    struct tly_mark end = {start.origin, end_ts};
    tly_round_writer_finish(writer, TLY_ROUND_FIRST | TLY_ROUND_LAST, (struct tly_mark_list){&start, 1},
                            (struct tly_mark_list){&end, 1}, &bodies->bytes);
    tly_round_writer_clear(writer);
    end_body(bodies);
}

static void add(struct tly_round_writer *writer, const struct tly_scanned *dot)
{
    if (!tly_round_writer_add(writer, dot->key, dot->strategy, &dot->dot))
        tly_bench_fail("a dot fits in no round");
}

void tly_bench_encode(struct tly_ormap *map, uint64_t after_ts, struct tly_bench_bodies *bodies)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_round_writer writer;
    struct tly_scanned dot;
    struct tly_scan scan = tly_scan_of(map, 0, after_ts);
    struct tly_mark start = {tly_ormap_life(map, 0).origin, after_ts};
    uint64_t last_ts = after_ts;
    tly_round_writer_init(&writer, &mem);
    while (tly_scan_next(map, &scan, &dot)) {
        if (!tly_round_writer_add(&writer, dot.key, dot.strategy, &dot.dot)) {
            finish(&writer, start, last_ts, bodies);
            start.ts = last_ts;
            add(&writer, &dot);
        }
        last_ts = dot.dot.version.ts;
    }
    if (writer.row_count > 0) finish(&writer, start, last_ts, bodies);
    tly_round_writer_fini(&writer);
}

size_t tly_bench_join(struct tly_ormap *map, struct tly_arrival *arrivals, size_t count)
{
    size_t done, applied = 0;
    tly_bench_must(tly_ormap_admit_batch(map, arrivals, count, &done), "admitting dots");
    tly_bench_must(tly_ormap_apply_batch(map, arrivals, count, &done), "applying dots");
    for (size_t i = 0; i < count; i++)
        applied += arrivals[i].outcome == TLY_APPLIED;
    return applied;
}

/* As many as an engine asks for ahead. */
#define ROWS_AHEAD 16

size_t tly_bench_join_rows(struct tly_ormap *map, const struct tly_row *rows, const uint32_t *order,
                           size_t count)
{
    struct tly_arrival arrivals[TLY_BENCH_ARRIVALS];
    size_t applied = 0;
    for (size_t i = 0; i < count;) {
        size_t n = 0;
        for (; n < TLY_BENCH_ARRIVALS && i < count; i++) {
            const struct tly_row *row = &rows[order != NULL ? order[i] : i];
            if (order != NULL && i + ROWS_AHEAD < count) tly_row_prefetch(&rows[order[i + ROWS_AHEAD]]);
            arrivals[n++] = (struct tly_arrival){.key = row->key,
                                                 .dot = &row->dot,
                                                 .hash = row->hash,
                                                 .strategy = tly_strategy_by_id(row->strategy_id)};
        }
        applied += tly_bench_join(map, arrivals, n);
    }
    return applied;
}

size_t tly_bench_apply(struct tly_ormap *map, struct tly_slice body)
{
    struct tly_row rows[TLY_BENCH_ARRIVALS];
    struct tly_round round;
    struct tly_mark mark;
    size_t applied = 0, count = 0;
    tly_bench_must(tly_round_get(body, &round), "decoding");
    for (struct tly_rows walk = tly_rows_of(&round); tly_rows_next(&walk, &rows[count]);)
        if (++count == TLY_BENCH_ARRIVALS) {
            applied += tly_bench_join_rows(map, rows, NULL, count);
            count = 0;
        }
    applied += tly_bench_join_rows(map, rows, NULL, count);
    while (tly_marks_next(&round.end, &mark))
        tly_bench_must(tly_ormap_raise_mark(map, mark.origin, mark.ts), "raising a mark");
    return applied;
}

/* ---- parts ---- */

void tly_bench_line_init(struct tly_bench_line *line)
{
    struct tly_names_config config = {
        .mem = tly_bench_heap(), .names_max = TLY_NAMES_MAX, .key_bytes_max = TLY_NAMES_KEY_BYTES_MAX};
    line->names = tly_names_new(&config);
    line->said = tly_stream_new(&config.mem);
    line->heard = tly_stream_new(&config.mem);
    line->parts = tly_parts_new(&config.mem);
    if (line->names == NULL || line->said == NULL || line->heard == NULL || line->parts == NULL)
        tly_bench_fail("no memory for a stream");
    struct tly_hash_key key = hash_key();
    tly_parts_use_hash(line->parts, &key);
}

void tly_bench_line_fini(struct tly_bench_line *line)
{
    tly_names_free(line->names);
    tly_stream_free(line->said);
    tly_stream_free(line->heard);
    tly_parts_free(line->parts);
}

/* Ends a part that has rows. */
static void end_part(struct tly_bench_line *line, struct tly_mark end, struct tly_bench_bodies *bodies)
{
    struct tly_part_head head = {.flags = TLY_PART_FIRST | TLY_PART_LAST, .end = {&end, 1}};
    tly_parts_end(line->parts, &head, &bodies->bytes);
    end_body(bodies);
}

void tly_bench_say(struct tly_bench_line *line, struct tly_ormap *map, uint64_t after_ts, size_t rows_max,
                   struct tly_bench_bodies *bodies)
{
    struct tly_scanned dot;
    struct tly_scan scan = tly_scan_of(map, 0, after_ts);
    struct tly_mark end = {tly_ormap_life(map, 0).origin, after_ts};
    tly_parts_begin(line->parts, line->said, line->names);
    while (tly_scan_next(map, &scan, &dot)) {
        size_t rows = tly_parts_rows(line->parts);
        if (rows >= rows_max || !tly_parts_add(line->parts, dot.key, dot.strategy, &dot.dot)) {
            end_part(line, end, bodies);
            tly_parts_begin(line->parts, line->said, line->names);
            if (!tly_parts_add(line->parts, dot.key, dot.strategy, &dot.dot))
                tly_bench_fail("a dot fits in no part");
        }
        end.ts = dot.dot.version.ts;
    }
    if (tly_parts_rows(line->parts) > 0) end_part(line, end, bodies);
}

struct tly_part tly_bench_hear(struct tly_bench_line *line, struct tly_slice body)
{
    struct tly_part part;
    tly_bench_must(tly_parts_get(line->parts, line->heard, body, &part), "decoding");
    return part;
}

size_t tly_bench_take(struct tly_bench_line *line, struct tly_ormap *map, struct tly_slice body)
{
    struct tly_part part = tly_bench_hear(line, body);
    size_t applied = tly_bench_join_rows(map, part.rows, part.by_ts, part.row_count);
    for (size_t i = 0; i < part.end.count; i++)
        tly_bench_must(tly_ormap_raise_mark(map, part.end.marks[i].origin, part.end.marks[i].ts),
                       "raising a mark");
    return applied;
}

struct tly_ormap *tly_bench_copy(const struct tly_registry *registry, struct tly_ormap *peer)
{
    struct tly_ormap *copy = tly_bench_map(registry, 0);
    struct tly_bench_line line;
    struct tly_bench_bodies bodies;
    tly_bench_line_init(&line);
    tly_bench_bodies_init(&bodies);
    tly_bench_say(&line, peer, 0, SIZE_MAX, &bodies);
    for (size_t i = 0; i < bodies.count; i++)
        tly_bench_take(&line, copy, tly_bench_body(&bodies, i));
    tly_bench_line_fini(&line);
    tly_bench_bodies_fini(&bodies);
    tly_bench_equal(tly_ormap_digest(copy), tly_ormap_digest(peer), "digest of a copy");
    return copy;
}
