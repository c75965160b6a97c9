/*
 * By how much a limit is passed when N nodes decide alone: admitted against the limit and against the bound that was published, on
 * whole engines in virtual time.  bench/README.md tells how to read it.
 */
#include "bench/support.h"
#include "bench/support_overshoot.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT 10000
#define WINDOW_MS 5000
#define CAP 200
/* Of the limit; percent. */
#define TARGET_OVER 0.3
#define TARGET_USED 98.0
#define TARGET_USED_HARD 95.0
/* Of the closed form; and of how many nodes and windows each, together. */
#define TARGET_PLAIN 5.0
#define PLAIN_RHYTHMS 160

/* How a case differs from the reference; 0: not. */
struct variant {
    size_t nodes;
    uint64_t rate, flush_ms, delay_ms;
    unsigned skew;
    enum { FIXED, SLIDING, BUCKET } algorithm;
    bool capped, hard;
    enum tly_overshoot_fault fault;
};

#define VARIANTS_MAX 6

struct group {
    const char *name;
    const char *x; /* what is varied, for the plot; NULL: nothing */
    size_t count;
    struct variant variants[VARIANTS_MAX];
};

static const struct group groups[] = {
    {"reference", NULL, 3, {{.nodes = 5}, {.algorithm = SLIDING}, {.algorithm = BUCKET}}},
    {"flush_ms",
     "flush_ms",
     6,
     {{.flush_ms = 10},
      {.flush_ms = 25},
      {.flush_ms = 50},
      {.flush_ms = 100},
      {.flush_ms = 200},
      {.flush_ms = 400}}},
    {"nodes",
     "nodes",
     6,
     {{.nodes = 2}, {.nodes = 3}, {.nodes = 5}, {.nodes = 8}, {.nodes = 12}, {.nodes = 16}}},
    {"links and load",
     NULL,
     6,
     {{.delay_ms = 1},
      {.delay_ms = 150},
      {.skew = 10},
      {.skew = 10, .algorithm = SLIDING},
      {.rate = 2500},
      {.rate = 20000}}},
    {"faults",
     NULL,
     6,
     {{.fault = TLY_FAULT_BURSTS},
      {.fault = TLY_FAULT_CLOCKS},
      {.fault = TLY_FAULT_CLOCKS, .algorithm = SLIDING},
      {.fault = TLY_FAULT_CUT},
      {.fault = TLY_FAULT_RESTART},
      {.fault = TLY_FAULT_BURSTS, .algorithm = SLIDING}}},
    {"capped: 200",
     NULL,
     6,
     {{.capped = true},
      {.capped = true, .skew = 10},
      {.capped = true, .fault = TLY_FAULT_BURSTS},
      {.capped = true, .fault = TLY_FAULT_CLOCKS},
      {.capped = true, .fault = TLY_FAULT_CUT},
      {.capped = true, .fault = TLY_FAULT_RESTART}}},
    {"hard",
     NULL,
     6,
     {{.hard = true},
      {.hard = true, .skew = 10},
      {.hard = true, .fault = TLY_FAULT_BURSTS},
      {.hard = true, .fault = TLY_FAULT_CLOCKS},
      {.hard = true, .fault = TLY_FAULT_CUT},
      {.hard = true, .fault = TLY_FAULT_RESTART}}},
};

static struct tly_overshoot_plan plan_of(const struct variant *variant)
{
    static const enum tly_algorithm algorithms[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW, TLY_TOKEN_BUCKET};
    struct tly_overshoot_plan plan = {
        .nodes = variant->nodes != 0 ? variant->nodes : 5,
        .rate = variant->rate != 0 ? variant->rate : 5000,
        .skew = variant->skew != 0 ? variant->skew : 1,
        .flush_ms = variant->flush_ms != 0 ? variant->flush_ms : 100,
        .delay_ms = variant->delay_ms != 0 ? variant->delay_ms : 50,
        .limit = {.limit = LIMIT, .window_ms = WINDOW_MS, .algorithm = algorithms[variant->algorithm]},
        .windows = tly_bench_repeats(20),
        .fault = variant->fault,
        .seed = 1,
    };
    if (variant->hard) {
        plan.limit.mode = TLY_HARD;
        plan.limit.on_partition = TLY_PARTITION_CLOSED;
    }
    if (!variant->capped) return plan;
    plan.limit.mode = TLY_CAPPED;
    plan.limit.cap = CAP;
    plan.limit.on_partition = TLY_PARTITION_CLOSED;
    return plan;
}

struct totals {
    size_t windows, bound_false, missed;
};

static double percent(double units)
{
    return 100.0 * units / LIMIT;
}

static double mean(uint64_t sum, const struct tly_overshoot *result)
{
    return percent((double)sum / (double)result->windows);
}

/* λ (1 - Σ w²) (delay + flush / 2): what a plain view passes the limit by. */
static double closed_form(const struct tly_overshoot_plan *plan)
{
    double parts = (double)(plan->nodes - 1 + plan->skew), first = (double)plan->skew / parts;
    double squares = first * first + (double)(plan->nodes - 1) / parts / parts;
    double blind_s = ((double)plan->delay_ms + (double)plan->flush_ms / 2) / 1e3;
    return percent((double)plan->rate * (1 - squares) * blind_s);
}

/* Of the limit if all goes well; of what a cap permits at best if not. */
static bool admits_too_little(const struct tly_overshoot_plan *plan, const struct tly_overshoot *result,
                              bool calm)
{
    double used = (double)result->used_sum, could = (double)result->could_sum;
    if (calm)
        return mean(result->used_sum, result) <
               (plan->limit.mode == TLY_HARD ? TARGET_USED_HARD : TARGET_USED);
    return plan->limit.mode != TLY_HARD && 100 * used < TARGET_USED * could;
}

static const char *verdict_on(const struct tly_overshoot_plan *plan, const struct tly_overshoot *result)
{
    bool calm = plan->fault == TLY_FAULT_NONE || plan->fault == TLY_FAULT_CLOCKS;
    bool over = calm && mean(result->over_sum, result) > TARGET_OVER;
    return over ? "over its target" : admits_too_little(plan, result, calm) ? "admits too little" : "";
}

static void check(const struct tly_overshoot_plan *plan, const struct tly_overshoot *result)
{
    uint64_t most = LIMIT + (plan->nodes - 1 + result->ended) * plan->limit.cap;
    if (plan->limit.mode == TLY_CAPPED && result->most > most)
        tly_bench_fail("capped, seed %zu: %zu admitted, %zu may be", (size_t)plan->seed, (size_t)result->most,
                       (size_t)most);
    if (plan->limit.mode == TLY_HARD && result->most > LIMIT)
        tly_bench_fail("hard, seed %zu: %zu admitted", (size_t)plan->seed, (size_t)result->most);
    if (result->used_sum == 0) tly_bench_fail("%s", "nothing was admitted");
}

static void print_row(const struct tly_overshoot_plan *plan, const struct tly_overshoot *plain,
                      const struct tly_overshoot *result)
{
    printf("  %5zu %6zu %4u %5zu %5zu %-9.9s %-8s", plan->nodes, (size_t)plan->rate, plan->skew,
           (size_t)plan->flush_ms, (size_t)plan->delay_ms, tly_algorithm_name(plan->limit.algorithm),
           tly_overshoot_fault_name(plan->fault));
    printf(" %7.2f %7.2f  %7.3f %7.3f %7.2f %7.2f %7.2f %7.2f  %3zu/%zu %s\n", closed_form(plan),
           mean(plain->over_sum, plain), mean(result->over_sum, result), percent((double)result->over_most),
           mean(result->used_sum, result), mean(result->could_sum, result),
           percent((double)result->used_least), mean(result->bound_sum, result),
           result->windows - result->bound_false, result->windows, verdict_on(plan, result));
}

static void write_json(FILE *json, const char *group, const struct tly_overshoot_plan *plan,
                       const struct tly_overshoot *plain, const struct tly_overshoot *result)
{
    if (json == NULL) return;
    fprintf(
        json,
        "{\"bench\":\"overshoot\",\"group\":\"%s\",\"nodes\":%zu,\"rate\":%zu,\"skew\":%u,\"flush_ms\":%zu,"
        "\"delay_ms\":%zu,\"algorithm\":\"%s\",\"mode\":\"%s\",\"fault\":\"%s\",\"seed\":%zu,",
        group, plan->nodes, (size_t)plan->rate, plan->skew, (size_t)plan->flush_ms, (size_t)plan->delay_ms,
        tly_algorithm_name(plan->limit.algorithm), tly_mode_name(plan->limit.mode),
        tly_overshoot_fault_name(plan->fault), (size_t)plan->seed);
    fprintf(
        json,
        "\"closed_form_percent\":%.4f,\"plain_percent\":%.4f,\"over_percent\":%.4f,\"over_most_percent\":%.4f,"
        "\"used_percent\":%.4f,\"could_percent\":%.4f,\"used_least_percent\":%.4f,\"bound_percent\":%.4f,\"windows\":%zu,"
        "\"bound_true\":%zu}\n",
        closed_form(plan), mean(plain->over_sum, plain), mean(result->over_sum, result),
        percent((double)result->over_most), mean(result->used_sum, result), mean(result->could_sum, result),
        percent((double)result->used_least), mean(result->bound_sum, result), result->windows,
        result->windows - result->bound_false);
}

/* ---- the plots ---- */

static double x_of(const struct group *group, const struct tly_overshoot_plan *plan)
{
    return strcmp(group->x, "nodes") == 0 ? (double)plan->nodes : (double)plan->flush_ms;
}

static void begin_plot(FILE *plot, const char *path, const struct group *group)
{
    fprintf(
        plot,
        "set terminal svg size 720,440\nset output '%s-%s.svg'\nset title 'by how much a limit is passed: %d "
        "per %d s, 5000/s'\n"
        "set xlabel '%s'\nset ylabel 'percent of the limit'\nset grid\nset key left top\n"
        "plot '-' with linespoints title 'closed form, plain view', '-' with linespoints title 'plain view', "
        "'-' with linespoints title 'projected'\n",
        path, group->x, LIMIT, WINDOW_MS / 1000, group->x);
}

/* gnuplot reads one series after the other, so rows are kept until all are there. */
struct series {
    double x[VARIANTS_MAX], y[3][VARIANTS_MAX];
    size_t n;
};

static void end_plot(FILE *plot, const struct series *series)
{
    for (size_t line = 0; line < 3; line++) {
        for (size_t i = 0; i < series->n; i++)
            fprintf(plot, "%g %g\n", series->x[i], series->y[line][i]);
        fputs("e\n", plot);
    }
}

/* Beside the JSON lines; without gnuplot there are none, which is said. */
static void draw(const char *path, const struct group *group, const struct series *series)
{
    if (path == NULL || group->x == NULL) return;
    /* NOLINTNEXTLINE(cert-env33-c): it says whether it is there */
    bool is_there = system("command -v gnuplot >/dev/null 2>&1") == 0;
    if (!is_there) {
        puts("  no plot: gnuplot is not installed");
        return;
    }
    FILE *plot = popen("gnuplot", "w"); /* NOLINT(cert-env33-c): a fixed command */
    if (plot == NULL) tly_bench_fail("%s", "gnuplot cannot be started");
    begin_plot(plot, path, group);
    end_plot(plot, series);
    if (pclose(plot) != 0) tly_bench_fail("%s", "gnuplot failed");
    printf("  plotted: %s-%s.svg\n", path, group->x);
}

/* ---- running ---- */

static void run_variant(const struct group *group, const struct variant *variant, FILE *json,
                        struct series *series, struct totals *totals)
{
    struct tly_overshoot_plan plan = plan_of(variant);
    struct tly_overshoot plain, result;
    struct tly_overshoot_plan view = plan;
    view.plain = true;
    if (plan.limit.mode == TLY_HARD) view.limit.mode = TLY_OPTIMISTIC;
    tly_overshoot_run(&view, &plain);
    tly_overshoot_run(&plan, &result);
    check(&plan, &result);
    print_row(&plan, &plain, &result);
    write_json(json, group->name, &plan, &plain, &result);
    if (group->x != NULL) series->x[series->n] = x_of(group, &plan);
    series->y[0][series->n] = closed_form(&plan);
    series->y[1][series->n] = mean(plain.over_sum, &plain);
    series->y[2][series->n++] = mean(result.over_sum, &result);
    totals->windows += result.windows;
    totals->bound_false += result.bound_false;
    totals->missed += verdict_on(&plan, &result)[0] != '\0';
    fflush(stdout);
}

static void run_group(const struct group *group, const char *path, FILE *json, struct totals *totals)
{
    struct series series = {.n = 0};
    printf(
        "%s\n  nodes  ask/s skew flush delay algorithm fault      closed   plain     mean    most    used   could   "
        "least   bound  true\n",
        group->name);
    for (size_t i = 0; i < group->count; i++)
        run_variant(group, &group->variants[i], json, &series, totals);
    draw(path, group, &series);
    putchar('\n');
}

/* ---- the closed form, over its grid ---- */

static void run_plain(uint64_t flush_ms, size_t nodes, FILE *json, struct totals *totals)
{
    struct tly_overshoot_plan plan = plan_of(&(struct variant){.flush_ms = flush_ms, .nodes = nodes});
    struct tly_overshoot plain;
    plan.plain = true;
    plan.windows = tly_bench_repeats(PLAIN_RHYTHMS / nodes);
    tly_overshoot_run(&plan, &plain);
    double form = closed_form(&plan), was = mean(plain.over_sum, &plain), off = 100 * (was / form - 1);
    bool missed = off > TARGET_PLAIN || off < -TARGET_PLAIN;
    totals->missed += missed;
    printf("  %5zu %5zu %7.2f %7.2f  %+5.1f %% %s\n", nodes, (size_t)flush_ms, form, was, off,
           missed ? "is not what the form says" : "");
    if (json != NULL)
        fprintf(json,
                "{\"bench\":\"overshoot\",\"group\":\"closed form\",\"nodes\":%zu,\"flush_ms\":%zu,"
                "\"closed_form_percent\":%.4f,\"plain_percent\":%.4f,\"windows\":%zu}\n",
                nodes, (size_t)flush_ms, form, was, plain.windows);
    fflush(stdout);
}

static void run_grid(FILE *json, struct totals *totals)
{
    static const uint64_t flushes_ms[] = {10, 50, 100, 400};
    static const size_t nodes[] = {2, 3, 5, 8, 12};
    puts("a plain view beside its closed form\n  nodes flush  closed   plain");
    for (size_t i = 0; i < sizeof flushes_ms / sizeof flushes_ms[0]; i++)
        for (size_t j = 0; j < sizeof nodes / sizeof nodes[0]; j++)
            run_plain(flushes_ms[i], nodes[j], json, totals);
    putchar('\n');
}

int main(int argc, char **argv)
{
    FILE *json = tly_bench_json(argc, argv);
    struct totals totals = {0};
    printf(
        "a limit of %d per %d s, in percent of it: a plain view by its closed form, and as it was; then as it is, in\n"
        "the mean and at most; what was admitted of the limit, beside what could be, and at least; the published bound, and\n"
        "of how many windows it was true\n\n",
        LIMIT, WINDOW_MS / 1000);
    run_grid(json, &totals);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        run_group(&groups[i], argc > 1 ? argv[1] : NULL, json, &totals);
    printf("published bounds were true of %zu of %zu windows; targets missed: %zu\n",
           totals.windows - totals.bound_false, totals.windows, totals.missed);
    if (json != NULL && fclose(json) != 0) tly_bench_fail("%s cannot be written", argv[1]);
    if (totals.bound_false > 0)
        tly_bench_fail("%s", "a window passed the limit by more than was published for it");
    if (totals.missed > 0 && tly_bench_scale() >= 1) tly_bench_fail("%zu targets were missed", totals.missed);
    return 0;
}
