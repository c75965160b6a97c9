/* Maps for the benchmarks, with one prefix ("" = epoch_sum; "em:" = epoch_max), and what peers send out of them and into them. */
#ifndef TALLY_BENCH_SUPPORT_MAP_H
#define TALLY_BENCH_SUPPORT_MAP_H

#include "bench/support_keys.h"
#include "crdt/ormap.h"
#include "wire/message.h"
#include "wire/stream.h"

#define TLY_BENCH_WINDOW_MS UINT64_C(60000)
#define TLY_BENCH_EPOCH UINT64_C(29202933)

/* Every key is of this strategy, but for those under em:, which are registers. */
struct tly_registry *tly_bench_registry(const struct tly_strategy *strategy);
/* With a life of its own unless origin is 0. */
struct tly_ormap *tly_bench_map(const struct tly_registry *registry, uint64_t origin);

/* As a row says it that was decoded. */
uint32_t tly_bench_key_hash(struct tly_slice key);

/* Counts units into the window of a key. */
void tly_bench_hit(struct tly_ormap *map, struct tly_slice key, int64_t units);
/* Sum over all keys of what they read as in that window. */
uint64_t tly_bench_sum(struct tly_ormap *map);

/* Bodies of rounds, one behind the other. An object. */
struct tly_bench_bodies {
    struct tly_buf bytes;
    size_t *end; /* of each body */
    size_t count, capacity;
};

void tly_bench_bodies_init(struct tly_bench_bodies *bodies);
void tly_bench_bodies_fini(struct tly_bench_bodies *bodies);
struct tly_slice tly_bench_body(const struct tly_bench_bodies *bodies, size_t i);

/* The first life's dots after a ts, as rounds as large as they may be. */
void tly_bench_encode(struct tly_ormap *map, uint64_t after_ts, struct tly_bench_bodies *bodies);
/* How many an engine decodes before it joins them. */
#define TLY_BENCH_ARRIVALS ((size_t)256)

/* Admits and joins them; how many were new. */
size_t tly_bench_join(struct tly_ormap *map, struct tly_arrival *arrivals, size_t count);
/* The same for rows as they were decoded, in this order; NULL: as they stand. */
size_t tly_bench_join_rows(struct tly_ormap *map, const struct tly_row *rows, const uint32_t *order,
                           size_t count);
/* Takes a round in as an engine does: checked, admitted, applied, marks raised. How many dots were new. */
size_t tly_bench_apply(struct tly_ormap *map, struct tly_slice body);

/* One stream between two nodes, with all that both of its ends keep. An object. */
struct tly_bench_line {
    struct tly_names *names;
    struct tly_stream *said, *heard;
    struct tly_parts *parts;
};

void tly_bench_line_init(struct tly_bench_line *line);
void tly_bench_line_fini(struct tly_bench_line *line);
/* The first life's dots after a ts, as parts of so many rows at most. */
void tly_bench_say(struct tly_bench_line *line, struct tly_ormap *map, uint64_t after_ts, size_t rows_max,
                   struct tly_bench_bodies *bodies);
struct tly_part tly_bench_hear(struct tly_bench_line *line, struct tly_slice body);
/* Takes a part in as an engine does. How many dots were new. */
size_t tly_bench_take(struct tly_bench_line *line, struct tly_ormap *map, struct tly_slice body);
/* A map without a life of its own that has what the peer has now, by way of what it says. */
struct tly_ormap *tly_bench_copy(const struct tly_registry *registry, struct tly_ormap *peer);

#endif
