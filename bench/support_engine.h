/* An engine for the benchmarks: one node alone, at a fixed moment, with a life of its own; and keys it takes from anyone. */
#ifndef TALLY_BENCH_SUPPORT_ENGINE_H
#define TALLY_BENCH_SUPPORT_ENGINE_H

#include "bench/support_keys.h"
#include "service/engine/engine.h"

#define TLY_BENCH_WALL_NS UINT64_C(1700000000000000000)

/* Not started yet; with has_store it wants its batches stored (tly_bench_tick). Ends the program when there is no memory. */
struct tly_engine *tly_bench_engine(bool has_store);
struct tly_engine *tly_bench_engine_named(const char *name, bool has_store);
/* Begins its life. */
void tly_bench_engine_start(struct tly_engine *engine);

/* What the loop around an engine does now and then; everything that is to be stored is stored at once. */
void tly_bench_tick(struct tly_engine *engine);

/* A key of the workload without "rl:", which is the engine's own prefix. */
struct tly_slice tly_bench_plain_key(const struct tly_bench_keys *keys, size_t i);

#endif
