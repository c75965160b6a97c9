/*
 * The store under an engine: acknowledged writes beside what the disk itself does, checks while a snapshot is written, and recovery.
 * Everything happens in a directory of its own, which is removed.
 */
#include "bench/support.h"
#include "bench/support_engine.h"
#include "service/shell/compact.h"
#include "service/shell/store.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define RECORD_BYTES 128
#define KEYS 1000000
#define CHECK_EVERY_NS UINT64_C(200000)

struct world {
    char directory[256];
    FILE *json;
    struct tly_engine *engine;
    struct tly_store *store;
    struct event_base *base;
    struct tly_compact *compact;
    struct tly_store_report report;
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now = {0};
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Wall time goes slowly, so that what one engine wrote is not in the future of the next, which begins at the same moment. */
static struct tly_time now(void)
{
    static uint64_t start_ns;
    if (start_ns == 0) start_ns = now_ns(CLOCK_MONOTONIC);
    uint64_t since = now_ns(CLOCK_MONOTONIC) - start_ns;
    return (struct tly_time){TLY_BENCH_WALL_NS + since / 100, 1 + since};
}

static void line(struct world *w, const char *name, double value, const char *unit)
{
    if (w->json != NULL)
        fprintf(w->json, "{\"bench\":\"store\",\"case\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n", name,
                value, unit);
}

/* ---- a node ---- */

static void step(struct world *w, enum tly_event_kind kind, uint64_t number)
{
    struct tly_event event = {.kind = kind, .now = now(), .number = number};
    struct tly_effects effects;
    tly_bench_must(tly_engine_step(w->engine, &event, &effects), "a step");
    for (size_t i = 0; i < effects.count; i++) {
        const struct tly_effect *effect = &effects.list[i];
        if (effect->kind == TLY_DO_APPEND)
            tly_bench_must(tly_store_append(w->store, effect->number, effect->bytes), "an append");
        if (tly_effect_is_change(effect)) tly_bench_must(tly_store_change(w->store, effect), "a change");
    }
}

static void poll_store(struct world *w)
{
    tly_store_poll(w->store, &w->report);
    if (w->report.failing) tly_bench_fail("the store fails: %s", w->report.error);
    step(w, TLY_STORED, w->report.stored);
    step(w, TLY_LEASED, w->report.leased);
    if (w->compact != NULL) tly_compact_report(w->compact, &w->report);
}

static void wait_stored(struct world *w, uint64_t ticket)
{
    while (ticket != 0 && !tly_engine_is_stored(w->engine, ticket)) {
        struct pollfd news = {.fd = tly_store_wakeup_fd(w->store), .events = POLLIN};
        (void)poll(&news, 1, 1000);
        poll_store(w);
        if (!tly_engine_is_stored(w->engine, ticket)) step(w, TLY_TICK, 0);
    }
}

static enum tly_result replay(void *context, struct tly_slice batch)
{
    return tly_engine_replay(context, batch);
}

/* Opens what is there; the CPU seconds that reading took. */
static double open_node(struct world *w, enum tly_fsync fsync)
{
    char error[512] = "";
    struct tly_storage *storage = tly_storage_directory(w->directory, error, sizeof error);
    if (storage == NULL || tly_store_open(storage, fsync, &w->store, error, sizeof error) != TLY_OK)
        tly_bench_fail("%s", error);
    w->engine = tly_bench_engine(true);
    double since = tly_bench_cpu_s();
    enum tly_result result = tly_store_replay(w->store, replay, w->engine, error, sizeof error);
    double took = tly_bench_cpu_s() - since;
    if (result != TLY_OK) tly_bench_fail("%s", error);
    tly_bench_must(tly_store_begin(w->store, "bench", 7, UINT64_MAX / 2, error, sizeof error), "begin");
    tly_bench_must(tly_engine_start(w->engine, 7, now()), "start");
    step(w, TLY_LEASED, UINT64_MAX / 2);
    return took;
}

static void close_node(struct world *w)
{
    tly_compact_free(w->compact);
    w->compact = NULL;
    tly_store_close(w->store, true);
    tly_engine_free(w->engine);
}

static void add_to(struct world *w, size_t key)
{
    char text[24];
    struct tly_reply reply;
    int n = snprintf(text, sizeof text, "ctr:%zu", key);
    struct tly_request request = {.kind = TLY_ASK_ADD,
                                  .key = tly_slice_of((const uint8_t *)text, (size_t)n),
                                  .number = 1,
                                  .now = now()};
    tly_bench_must(tly_engine_ask(w->engine, &request, &reply), "an increment");
}

/* ---- acknowledged writes ---- */

struct plain {
    char path[300];
    int fd;
};

static void plain_begin(const struct world *w, struct plain *plain)
{
    snprintf(plain->path, sizeof plain->path, "%s/plain", w->directory);
    plain->fd = open(plain->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (plain->fd < 0) tly_bench_fail("%s", plain->path);
}

static void plain_end(struct plain *plain)
{
    (void)close(plain->fd);
    (void)unlink(plain->path);
}

/* Nanoseconds of an append and a sync, as the disk alone does it. */
static uint64_t plain_ns(const struct plain *plain, size_t bytes)
{
    static uint8_t record[CLIENTS_MAX * RECORD_BYTES];
    uint64_t since = now_ns(CLOCK_MONOTONIC);
    if (write(plain->fd, record, bytes) != (ssize_t)bytes || fdatasync(plain->fd) != 0)
        tly_bench_fail("%s", plain->path);
    return now_ns(CLOCK_MONOTONIC) - since;
}

/* So many clients write at once, and all are answered: nanoseconds. */
static uint64_t acknowledged_ns(struct world *w, size_t group, size_t clients)
{
    uint64_t since = now_ns(CLOCK_MONOTONIC);
    for (size_t client = 0; client < clients; client++)
        add_to(w, client * 1000 + group % 1000);
    step(w, TLY_TICK, 0);
    wait_stored(w, tly_engine_ticket(w->engine));
    return now_ns(CLOCK_MONOTONIC) - since;
}

struct rates {
    double ours, disk; /* groups per second */
    double cpu_us;     /* of both threads, for a group */
};

/* In turns, so that both see the same machine and the same disk. */
static struct rates rates_of(struct world *w, size_t groups, size_t clients)
{
    struct plain plain;
    uint64_t ours = 0, disk = 0, cpu = 0;
    plain_begin(w, &plain);
    for (size_t i = 0; i < groups; i++) {
        disk += plain_ns(&plain, clients * 24);
        uint64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        ours += acknowledged_ns(w, i, clients);
        cpu += now_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    }
    plain_end(&plain);
    double n = (double)groups;
    return (struct rates){n * 1e9 / (double)ours, n * 1e9 / (double)disk, (double)cpu / n / 1e3};
}

static void write_line(struct world *w, size_t clients, const char *what, double value, const char *unit)
{
    char name[60];
    snprintf(name, sizeof name, "%s, %zu clients", what, clients);
    line(w, name, value, unit);
}

static void bench_writes(struct world *w)
{
    static const size_t clients[] = {1, 16, CLIENTS_MAX};
    size_t groups = tly_bench_repeats(1000);
    printf("acknowledged writes, fsync=always\n\n"
           "  clients  writes/s  the disk alone  ratio to it x clients  target  CPU of a group\n");
    (void)open_node(w, TLY_FSYNC_ALWAYS);
    for (size_t i = 0; i < 3; i++) {
        struct rates rates = rates_of(w, groups, clients[i]);
        double writes = rates.ours * (double)clients[i], ratio = rates.ours / rates.disk;
        /* The target holds until the CPU is the limit: until it works for more than half of the time. */
        bool is_cpu = rates.cpu_us * rates.ours > 0.5e6;
        const char *miss = is_cpu ? "  the CPU is the limit" : "  missed";
        printf("  %7zu  %8.0f  %14.0f  %21.2f  %6.2f  %11.0f us%s\n", clients[i], writes, rates.disk, ratio,
               0.8, rates.cpu_us, ratio < 0.8 ? miss : "");
        write_line(w, clients[i], "acknowledged writes", writes, "1/s");
        write_line(w, clients[i], "ratio", ratio, "");
        write_line(w, clients[i], "CPU of a group", rates.cpu_us, "us");
    }
    close_node(w);
}

/* ---- checks beside a snapshot ---- */

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* How long checks took: from when they were due to the answer, and in CPU time of the turn before them and their own. */
struct waits {
    uint64_t *wall_ns, *cpu_ns;
    size_t count, max;
};

static double p99_us(uint64_t *ns, size_t count)
{
    qsort(ns, count, sizeof *ns, by_value);
    size_t at = count * 99 / 100;
    return (double)ns[at] / 1e3;
}

static void check_once(struct world *w)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CHECK, .now = now()};
    request.check.key = tly_slice_text("bench");
    request.check.rate = (struct tly_rate){.limit = 1000000, .window_ms = 60000};
    request.check.hits = 1;
    tly_bench_must(tly_engine_ask(w->engine, &request, &reply), "a check");
}

/* A check every so often while the loop goes on, until there are enough or so many snapshots. */
static void time_checks(struct world *w, struct waits *waits, uint64_t until_snapshots)
{
    uint64_t due = now_ns(CLOCK_MONOTONIC), turn = 0;
    waits->count = 0;
    while (waits->count < waits->max && (until_snapshots == 0 || w->report.snapshots < until_snapshots)) {
        due += CHECK_EVERY_NS;
        do {
            turn = now_ns(CLOCK_THREAD_CPUTIME_ID);
            (void)event_base_loop(w->base, EVLOOP_NONBLOCK);
            poll_store(w);
        } while (now_ns(CLOCK_MONOTONIC) < due);
        check_once(w);
        waits->wall_ns[waits->count] = now_ns(CLOCK_MONOTONIC) - due;
        waits->cpu_ns[waits->count++] = now_ns(CLOCK_THREAD_CPUTIME_ID) - turn;
        step(w, TLY_TICK, 0);
    }
}

static void begin_compacting(struct world *w, uint64_t log_bytes_min)
{
    struct tly_compact_config config = {w->base, w->engine, w->store, tly_log_new(stderr, TLY_LEVEL_ERROR),
                                        log_bytes_min};
    w->compact = tly_compact_new(&config);
    if (w->compact == NULL || config.log == NULL) tly_bench_fail("out of memory");
}

static void fill(struct world *w, size_t keys)
{
    for (size_t i = 0; i < keys; i++) {
        add_to(w, i);
        if (i % 1000 != 999) continue;
        step(w, TLY_TICK, 0);
        wait_stored(w, tly_engine_ticket(w->engine));
    }
}

static void bench_snapshot(struct world *w, size_t keys)
{
    struct waits waits = {.max = tly_bench_repeats(20000)};
    waits.wall_ns = tly_bench_new(waits.max, sizeof *waits.wall_ns);
    waits.cpu_ns = tly_bench_new(waits.max, sizeof *waits.cpu_ns);
    w->base = event_base_new();
    (void)open_node(w, TLY_FSYNC_INTERVAL);
    fill(w, keys);
    time_checks(w, &waits, 0);
    double quiet = p99_us(waits.wall_ns, waits.count), quiet_cpu = p99_us(waits.cpu_ns, waits.count);
    begin_compacting(w, 1);
    time_checks(w, &waits, 1);
    double busy = p99_us(waits.wall_ns, waits.count), busy_cpu = p99_us(waits.cpu_ns, waits.count);
    size_t checks = waits.count;
    while (w->report.snapshots == 0) {
        (void)event_base_loop(w->base, EVLOOP_NONBLOCK);
        poll_store(w);
    }
    double per_key = (double)w->report.snapshot_bytes / (double)keys;
    printf("\nchecks beside a snapshot of %zu keys, %.1f bytes each (%zu checks)\n\n"
           "  p99 of the wait: quiet %.0f us, beside it %.0f us  (target: within 1000)%s\n"
           "  p99 of the CPU time of a turn and a check: quiet %.0f us, beside it %.0f us%s\n",
           keys, per_key, checks, quiet, busy, busy > quiet + 1000 ? "  missed" : "", quiet_cpu, busy_cpu,
           busy_cpu > quiet_cpu + 1000 ? "  missed" : "");
    line(w, "check p99 quiet", quiet, "us");
    line(w, "check p99 beside a snapshot", busy, "us");
    line(w, "check p99 quiet, CPU", quiet_cpu, "us");
    line(w, "check p99 beside a snapshot, CPU", busy_cpu, "us");
    line(w, "snapshot bytes per key", per_key, "B");
    close_node(w);
    event_base_free(w->base);
    w->base = NULL;
    free(waits.wall_ns);
    free(waits.cpu_ns);
}

/* ---- recovery ---- */

static void bench_recovery(struct world *w, size_t keys)
{
    double best = 0;
    for (size_t i = 0; i < 3; i++) {
        struct tly_node_view view;
        double took = open_node(w, TLY_FSYNC_INTERVAL);
        tly_engine_node(w->engine, false, &view);
        if (view.keys < keys) tly_bench_fail("%zu keys came back of %zu", view.keys, keys);
        if (i == 0 || took < best) best = took;
        close_node(w);
    }
    double per_million = best * 1e6 / (double)keys;
    printf("\nrecovery of %zu keys\n\n  %.2f CPU s, %.2f a million  (target 2)%s\n", keys, best, per_million,
           per_million > 2 ? "  missed" : "");
    line(w, "recovery of a million keys", per_million, "s");
}

/* ---- all of it ---- */

static void remove_all(const struct world *w)
{
    DIR *directory = opendir(w->directory);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        (void)unlinkat(dirfd(directory), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    if (directory != NULL) (void)closedir(directory);
    if (rmdir(w->directory) != 0) fprintf(stderr, "cannot remove %s\n", w->directory);
}

int main(int argc, char **argv)
{
    struct world w = {.json = tly_bench_json(argc, argv)};
    const char *top = getenv("TMPDIR");
    snprintf(w.directory, sizeof w.directory, "%s/tally-bench-XXXXXX", top != NULL ? top : "build");
    if (mkdtemp(w.directory) == NULL) tly_bench_fail("cannot make %s", w.directory);
    size_t keys = (size_t)(KEYS * (tly_bench_scale() < 1 ? tly_bench_scale() : 1));
    bench_writes(&w);
    bench_snapshot(&w, keys);
    bench_recovery(&w, keys);
    remove_all(&w);
    if (w.json != NULL) fclose(w.json);
    return 0;
}
