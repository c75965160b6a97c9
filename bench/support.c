#include "bench/support.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

bool tly_bench_large_pages(void)
{
    const char *text = getenv("BENCH_LARGE_PAGES");
    if (text == NULL || text[0] == '\0' || strcmp(text, "auto") == 0) return true;
    if (strcmp(text, "no") != 0) tly_bench_fail("BENCH_LARGE_PAGES=%s: auto or no was expected", text);
    return false;
}

#define LARGE_PAGE ((size_t)2 << 20)

/* What is large lies in large pages too, so that a rival has what ours has. */
static void *new_large(size_t bytes)
{
    size_t whole = (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    void *block = aligned_alloc(LARGE_PAGE, whole);
    if (block == NULL) return NULL;
    (void)madvise(block, whole, MADV_HUGEPAGE);
    return memset(block, 0, bytes);
}

void *tly_bench_new(size_t count, size_t item_bytes)
{
    bool large = count > 0 && count * item_bytes >= LARGE_PAGE && tly_bench_large_pages();
    void *block = large ? new_large(count * item_bytes) : calloc(count > 0 ? count : 1, item_bytes);
    if (block == NULL) tly_bench_fail("no memory for %zu items of %zu bytes", count, item_bytes);
    return block;
}

double tly_bench_cpu_s(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) != 0) tly_bench_fail("no clock of CPU time");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double tly_bench_rate(size_t ops, double since)
{
    return (double)ops / (tly_bench_cpu_s() - since) / 1e6;
}

uint64_t tly_bench_next(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t tly_bench_below(uint64_t *seed, uint64_t bound)
{
    return tly_bench_next(seed) % bound;
}

void tly_bench_shuffle(uint32_t *order, size_t count, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++) {
        size_t j = (size_t)tly_bench_below(seed, i + 1);
        order[i] = order[j];
        order[j] = (uint32_t)i;
    }
}

double tly_bench_scale(void)
{
    const char *text = getenv("BENCH_SCALE");
    if (text == NULL || text[0] == '\0') return 1;
    char *end;
    double scale = strtod(text, &end);
    if (*end != '\0' || !(scale > 0 && scale <= 1000))
        tly_bench_fail("BENCH_SCALE=%s: 0.001 to 1000 was expected", text);
    return scale;
}

size_t tly_bench_repeats(size_t at_1)
{
    double repeats = (double)at_1 * tly_bench_scale();
    return repeats < 1 ? 1 : (size_t)repeats;
}

void tly_bench_fail(const char *format, ...)
{
    va_list list;
    fflush(stdout);
    fputs("bench: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(1);
}

void tly_bench_must(enum tly_result result, const char *what)
{
    if (result != TLY_OK) tly_bench_fail("%s: %s", what, tly_result_text(result));
}

void tly_bench_equal(uint64_t found, uint64_t expected, const char *what)
{
    if (found != expected)
        tly_bench_fail("%s: %" PRIu64 " was expected, found %" PRIu64, what, expected, found);
}

/* ---- the table ---- */

struct figure {
    double least, median, most;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct figure figure_of(double *samples, size_t count)
{
    qsort(samples, count, sizeof *samples, compare);
    double middle = (samples[(count - 1) / 2] + samples[count / 2]) / 2;
    return (struct figure){samples[0], middle, samples[count - 1]};
}

/* What a case has to reach, in millions per CPU second; 0: nothing. */
static double target_of(const struct tly_bench_case *c, double yardstick)
{
    return c->bare_target > 0 ? c->bare_target * yardstick : c->target;
}

/* The target as a ratio to the yardstick, which is what a figure of a machine like this one can be held against; 0: there is none. */
static double share_of(const struct tly_bench_plan *plan, const struct tly_bench_case *c)
{
    return plan->pace > 0 ? c->target / plan->pace : 0;
}

static void print_row(const struct tly_bench_plan *plan, const struct tly_bench_case *c, struct figure figure,
                      double yardstick)
{
    double wanted = target_of(c, yardstick), share = share_of(plan, c), ratio = figure.median / yardstick;
    char target[24] = "", stretch[16] = "", at_pace[24] = "";
    if (share > 0) snprintf(at_pace, sizeof at_pace, "%4.2fx %s", share, ratio >= share ? "met" : "not met");
    if (wanted > 0)
        snprintf(target, sizeof target, "%6.2f %s", wanted, figure.median >= wanted ? "met" : "not met");
    if (c->stretch > 0) snprintf(stretch, sizeof stretch, "%6.2f", c->stretch);
    printf("  %-32s %8.3f %8.3f..%-8.3f %5.2fx   %-38s %-14s %-13s %s\n", c->name, figure.median,
           figure.least, figure.most, ratio, c->reference != NULL ? c->reference : "", target, at_pace,
           stretch);
}

static void write_line(const struct tly_bench_plan *plan, const struct tly_bench_case *c,
                       struct figure figure, double yardstick)
{
    double wanted = target_of(c, yardstick), share = share_of(plan, c);
    fprintf(
        plan->json,
        "{\"bench\":\"%s\",\"case\":\"%s\",\"keys\":%zu,\"unit\":\"M/CPU-s\",\"median\":%.4f,\"min\":%.4f,"
        "\"max\":%.4f,\"repeats\":%zu,\"bare\":%.4f,\"scale\":%g",
        plan->bench, c->name, plan->keys, figure.median, figure.least, figure.most, plan->repeats,
        figure.median / yardstick, tly_bench_scale());
    if (c->reference != NULL) fprintf(plan->json, ",\"reference\":\"%s\"", c->reference);
    if (wanted > 0)
        fprintf(plan->json, ",\"target\":%.4f,\"met\":%s", wanted,
                figure.median >= wanted ? "true" : "false");
    if (share > 0)
        fprintf(plan->json, ",\"bare_target\":%.4f,\"bare_met\":%s", share,
                figure.median / yardstick >= share ? "true" : "false");
    if (c->stretch > 0) fprintf(plan->json, ",\"stretch\":%.4f", c->stretch);
    fputs("}\n", plan->json);
}

/* The yardstick always, of the others those in whose name BENCH_CASES stands. */
static bool is_wanted(const struct tly_bench_plan *plan, size_t i)
{
    const char *text = getenv("BENCH_CASES");
    return i == 0 || text == NULL || strstr(plan->cases[i].name, text) != NULL;
}

void tly_bench_run(const struct tly_bench_plan *plan, void *world)
{
    size_t repeats = plan->repeats;
    double *samples = tly_bench_new(plan->count * repeats, sizeof *samples), yardstick = 0;
    for (size_t repeat = 0; repeat < repeats; repeat++)
        for (size_t i = 0; i < plan->count; i++)
            if (is_wanted(plan, i)) samples[i * repeats + repeat] = plan->cases[i].run(world);

    printf("  %-32s %8s %18s %6s   %-38s %-14s %-13s %s\n", "million per CPU second", "median", "min..max",
           "bare", "measured elsewhere", "target", plan->pace > 0 ? "as a ratio" : "", "stretch");
    for (size_t i = 0; i < plan->count; i++) {
        struct figure figure = figure_of(samples + i * repeats, repeats);
        if (i == 0) yardstick = figure.median;
        if (!is_wanted(plan, i)) continue;
        print_row(plan, &plan->cases[i], figure, yardstick);
        if (plan->json != NULL) write_line(plan, &plan->cases[i], figure, yardstick);
        if (plan->medians != NULL) plan->medians[i] = figure.median;
    }
    free(samples);
}

FILE *tly_bench_json(int argc, char **argv)
{
    if (argc < 2) return NULL;
    if (argc > 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: %s [JSON_FILE]\n", argv[0]);
        exit(2);
    }
    FILE *json = fopen(argv[1], "ae");
    if (json == NULL) tly_bench_fail("%s cannot be opened", argv[1]);
    return json;
}
