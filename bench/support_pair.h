/* Two engines with a connection between them, on a clock that stands still unless it is told to go on. */
#ifndef TALLY_BENCH_SUPPORT_PAIR_H
#define TALLY_BENCH_SUPPORT_PAIR_H

#include "bench/support_engine.h"
#include "wire/buf.h"

struct tly_bench_pair {
    struct tly_engine *end[2];
    uint64_t conn[2];     /* 0: none */
    struct tly_buf to[2]; /* bytes on their way to an end */
    struct tly_time now;
};

/* Both are up and know each other. */
void tly_bench_pair_init(struct tly_bench_pair *pair);
void tly_bench_pair_fini(struct tly_bench_pair *pair);
/* Time goes on until nothing is on its way and nothing came to be for a while. */
void tly_bench_pair_settle(struct tly_bench_pair *pair);
/* Time goes on for a while at one end, and what it says is kept on its way. */
void tly_bench_pair_say(struct tly_bench_pair *pair, size_t end);
/* The other takes it. */
void tly_bench_pair_hear(struct tly_bench_pair *pair, size_t end);

#endif
