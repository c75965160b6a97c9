/*
 * What the benchmarks share: a heap, CPU time, numbers from a seed, and the table of cases.
 *
 * A figure is a count per CPU second of one run and drifts with the machine; what travels is its ratio to the yardstick,
 * the first case of a table, which is run beside the others in every repetition.
 */
#ifndef TALLY_BENCH_SUPPORT_H
#define TALLY_BENCH_SUPPORT_H

#include "crdt/mem.h"
#include "crdt/result.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Whether memory may lie in pages of 2 MiB, ours and the yardsticks': BENCH_LARGE_PAGES=no says no. */
bool tly_bench_large_pages(void);
/* As a node's engine has it. */
struct tly_mem tly_bench_heap(void);
/* A zeroed block of count items; ends the program when there is no memory. */
void *tly_bench_new(size_t count, size_t item_bytes);

/* CPU time of this process, in seconds. */
double tly_bench_cpu_s(void);
/* Millions of operations per CPU second since that moment. */
double tly_bench_rate(size_t ops, double since);

/* The next number of a seed (splitmix64), and one below a bound. */
uint64_t tly_bench_next(uint64_t *seed);
uint64_t tly_bench_below(uint64_t *seed, uint64_t bound);
/* Puts numbers 0 to count - 1 into `order`, shuffled. */
void tly_bench_shuffle(uint32_t *order, size_t count, uint64_t *seed);

/* BENCH_SCALE: how much to do, 1 unless told otherwise. */
double tly_bench_scale(void);
/* Repetitions at that scale, where `at_1` belong to 1; at least one. */
size_t tly_bench_repeats(size_t at_1);

/* A benchmark that computed something wrong has measured nothing: these end the program with status 1. */
void tly_bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void tly_bench_must(enum tly_result result, const char *what);
void tly_bench_equal(uint64_t found, uint64_t expected, const char *what);

/* ---- the table ---- */

struct tly_bench_case {
    const char *name;
    /* Millions of operations per CPU second; what is not measured (building, checking) is done beside. */
    double (*run)(void *world);
    const char *reference;  /* the rival's or the limit's figure, measured elsewhere; NULL: none */
    double target, stretch; /* in millions per CPU second; 0: none */
    double bare_target;     /* as a ratio to the yardstick; 0: none */
};

struct tly_bench_plan {
    const char *bench;
    const struct tly_bench_case *cases;
    size_t count, repeats;
    size_t keys;
    double
        pace; /* of the yardstick where the targets were set, in millions per CPU second; 0: they are not told at this one's */
    FILE *json;      /* takes a line for each case; may be NULL */
    double *medians; /* takes one of each case; may be NULL */
};

/* Runs the cases one after the other, and that `repeats` times, and prints the table. */
void tly_bench_run(const struct tly_bench_plan *plan, void *world);

/* Opens the file that the first argument names, for appending lines; NULL when there is none. */
FILE *tly_bench_json(int argc, char **argv);

#endif
