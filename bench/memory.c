/*
 * bench/memory fill KEYS ORIGINS: an engine that counted into KEYS windows, each of them counted into by ORIGINS lives; writes
 *     KEYS, ORIGINS, RSS before and after in bytes, and the bytes the engine knows of, on one line.
 * bench/memory redis|tally KEYS: writes the commands that do the same over RESP, INCR and EXPIRE or TLY.CHECK of limit m.
 *
 * A stored key has 31 bytes everywhere: rl:a: and 26, or rl:n:m: and 24.
 */
#include "bench/support.h"
#include "bench/support_engine.h"
#include "wire/frame.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define WINDOW_MS 3600000
#define LIMIT 1000000
#define ORIGINS_MAX 64
#define ASKS_PER_TICK 10000
#define SAMPLES 1000
#define KEY_BYTES 31
#define TEXT_BYTES 40

/* Different for each i: its digits stand behind the hash. */
static struct tly_slice key_text(const char *prefix, size_t i, char text[TEXT_BYTES])
{
    uint64_t seed = i;
    int n = snprintf(text, TEXT_BYTES, "%s%016" PRIx64, prefix, tly_bench_next(&seed));
    snprintf(text + n, (size_t)(TEXT_BYTES - n), "%0*zx", KEY_BYTES - n, i);
    return tly_slice_of(text, KEY_BYTES);
}

static uint64_t rss_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    uint64_t pages;
    if (file == NULL || fscanf(file, "%*u %" SCNu64, &pages) != 1) tly_bench_fail("no /proc/self/statm");
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- an engine ---- */

/* Takes in what one other life counted, one unit for each key, as a store gives it back. */
static void replay_origin(struct tly_engine *engine, size_t keys, uint64_t origin)
{
    struct tly_mem mem = tly_bench_heap();
    struct tly_round_writer writer;
    struct tly_buf body;
    struct tly_mark start = {origin, 0}, end = {origin, 0};
    uint64_t epoch = TLY_BENCH_WALL_NS / 1000000 / WINDOW_MS;
    tly_round_writer_init(&writer, &mem);
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    for (size_t i = 0; i < keys;) {
        for (; i < keys; i++) {
            char text[TEXT_BYTES];
            struct tly_dot dot = {{TLY_BENCH_WALL_NS + i, origin}, TLY_PUT, {WINDOW_MS, epoch, 1}, {0}};
            if (!tly_round_writer_add(&writer, key_text("rl:a:", i, text), tly_epoch_sum(), &dot)) break;
            end.ts = dot.version.ts;
        }
        tly_round_writer_finish(&writer, TLY_ROUND_FIRST | TLY_ROUND_LAST, (struct tly_mark_list){&start, 1},
                                (struct tly_mark_list){&end, 1}, &body);
        tly_bench_must(body.result, "encoding");
        tly_bench_must(tly_engine_replay(engine, tly_buf_slice(&body)), "replaying");
        tly_round_writer_clear(&writer);
        tly_buf_clear(&body);
        start = end;
    }
    tly_round_writer_fini(&writer);
    tly_buf_fini(&body);
}

static uint64_t ask(struct tly_engine *engine, size_t i, uint32_t hits)
{
    char text[TEXT_BYTES];
    struct tly_reply reply;
    struct tly_slice key = key_text("rl:a:", i, text);
    struct tly_request request = {.kind = TLY_ASK_CHECK, .now = {TLY_BENCH_WALL_NS, 1}};
    request.check.key = tly_slice_of(key.p + 5, key.n - 5);
    request.check.rate =
        (struct tly_rate){.limit = LIMIT, .window_ms = WINDOW_MS, .algorithm = TLY_FIXED_WINDOW};
    request.check.hits = hits;
    tly_bench_must(tly_engine_ask(engine, &request, &reply), "asking");
    return reply.verdict.remaining;
}

static void check(struct tly_engine *engine, size_t keys, size_t origins)
{
    uint64_t seed = 1;
    struct tly_node_view view;
    tly_engine_node(engine, false, &view);
    if (view.keys < keys || view.keys > keys + 1) tly_bench_fail("%zu keys, not %zu", view.keys, keys);
    if (view.log_records < keys * origins)
        tly_bench_fail("%zu records, not %zu", view.log_records, keys * origins);
    for (size_t i = 0; i < SAMPLES; i++)
        tly_bench_equal(ask(engine, (size_t)tly_bench_below(&seed, keys), 0), LIMIT - origins,
                        "what remains of a limit");
}

static void fill(size_t keys, size_t origins)
{
    struct tly_engine *engine = tly_bench_engine(true);
    struct tly_node_view view;
    uint64_t before = rss_bytes();
    for (size_t origin = 2; origin <= origins; origin++)
        replay_origin(engine, keys, 0x9e3779b97f4a7c15U * origin);
    tly_bench_engine_start(engine);
    for (size_t i = 0; i < keys; i++) {
        (void)ask(engine, i, 1);
        if (i % ASKS_PER_TICK == ASKS_PER_TICK - 1) tly_bench_tick(engine);
    }
    tly_bench_tick(engine);
    uint64_t after = rss_bytes();
    tly_engine_node(engine, false, &view);
    check(engine, keys, origins);
    printf("%zu %zu %" PRIu64 " %" PRIu64 " %zu\n", keys, origins, before, after, view.bytes);
    tly_engine_free(engine);
}

/* ---- commands ---- */

static void write_redis(size_t keys)
{
    for (size_t i = 0; i < keys; i++) {
        char text[TEXT_BYTES];
        key_text("rl:a:", i, text);
        printf("*2\r\n$4\r\nINCR\r\n$31\r\n%.31s\r\n*3\r\n$6\r\nEXPIRE\r\n$31\r\n%.31s\r\n$4\r\n3600\r\n",
               text, text);
    }
}

static void write_tally(size_t keys)
{
    for (size_t i = 0; i < keys; i++) {
        char text[TEXT_BYTES];
        key_text("rl:n:m:", i, text);
        printf("*4\r\n$9\r\nTLY.CHECK\r\n$1\r\nm\r\n$1\r\nk\r\n$24\r\n%.24s\r\n", text + 7);
    }
}

static size_t number(const char *text, size_t most)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end != '\0' || n < 1 || n > most)
        tly_bench_fail("%s: a number from 1 to %zu was expected", text, most);
    return (size_t)n;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    size_t keys = argc > 2 ? number(argv[2], UINT32_MAX / 2) : 0;
    if (strcmp(verb, "fill") == 0 && argc == 4)
        fill(keys, number(argv[3], ORIGINS_MAX));
    else if (strcmp(verb, "redis") == 0 && argc == 3)
        write_redis(keys);
    else if (strcmp(verb, "tally") == 0 && argc == 3)
        write_tally(keys);
    else
        tly_bench_fail("usage: memory fill KEYS ORIGINS | redis KEYS | tally KEYS");
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
