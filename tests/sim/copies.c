/*
 * Copies of what nodes hold, in some seeds: archives, which are taken of one node and applied on another, and twice; and a follower of the feed, of all
 * or of some prefixes, which asks now this node and now that one, and holds in the end what they hold.
 */
#include "service/engine/impl.h"
#include "service/engine/mirror.h"
#include "tests/sim/sim.h"
#include "tests/support/mem.h"
#include "wire/archive.h"

#include <stdlib.h>
#include <string.h>

#define ARCHIVE_BYTES ((size_t)16 << 20)
/* One application takes no more (D27). */
#define APPLY_BYTES ((size_t)1 << 20)
#define QUESTION_BYTES ((size_t)1 << 20)
#define KEPT_BYTES ((size_t)256 << 20)
/* As tallyctl does, only sooner. */
#define LOG_BYTES ((size_t)1 << 20)
#define LOG_TIMES 4
#define QUESTIONS 100000

struct sim_copies {
    struct tly_engine *engine; /* of the follower; NULL: it has not begun */
    struct tly_mirror *mirror;
    struct tly_buf question, answer;
    struct tly_buf kept; /* its log: length (8 bytes), bytes, … */
    size_t image_bytes;  /* of them, what the log before was replaced by */
};

struct sim_copies *sim_copies_new(void)
{
    struct sim_copies *copies = calloc(1, sizeof *copies);
    struct tly_mem mem = test_mem();
    if (copies == NULL) abort();
    tly_buf_init(&copies->question, &mem, QUESTION_BYTES);
    tly_buf_init(&copies->answer, &mem, TLY_FEED_ANSWER_BYTES_MAX);
    tly_buf_init(&copies->kept, &mem, KEPT_BYTES);
    return copies;
}

void sim_copies_free(struct sim_copies *copies)
{
    if (copies->engine != NULL) {
        tly_mirror_free(copies->mirror);
        tly_engine_check(copies->engine);
        tly_engine_free(copies->engine);
    }
    tly_buf_fini(&copies->question);
    tly_buf_fini(&copies->answer);
    tly_buf_fini(&copies->kept);
    free(copies);
}

static uint64_t digest_of(struct sim *sim, size_t i)
{
    struct tly_node_view view;
    sim->nodes[i].is_due_known = false;
    tly_engine_node(sim->nodes[i].engine, true, &view);
    return view.digest;
}

/* ---- archives ---- */

static void take_archive(struct sim *sim, size_t i, const char *prefix, struct tly_buf *out)
{
    struct tly_export *export;
    bool done = false;
    sim->nodes[i].is_due_known = false;
    enum tly_result result =
        tly_export_new(sim->nodes[i].engine, tly_slice_text(prefix), sim_time(sim, i), &export);
    sim_claim(sim, result == TLY_OK, "n%zu gives no archive: %s", i, tly_result_text(result));
    while (result == TLY_OK && !done)
        result = tly_export_next(export, out, &done);
    tly_export_free(export);
    sim_claim(sim, result == TLY_OK, "n%zu ends in an archive: %s", i, tly_result_text(result));
}

static struct tly_applied apply(struct sim *sim, size_t i, const struct tly_buf *archive,
                                enum tly_result *result)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_APPLY, .bytes = tly_buf_slice(archive)};
    *result = sim_ask(sim, i, &request, &reply);
    /* Of its own life a node knows best: what it has let go meanwhile is not taken. */
    sim_claim(sim, *result == TLY_OK || *result == TLY_CLOCK_AHEAD || *result == TLY_OWN_LIFE,
              "n%zu does not apply an archive: %s", i, tly_result_text(*result));
    return reply.applied;
}

/* What stands there already changes nothing. */
static void apply_in_vain(struct sim *sim, size_t i, const struct tly_buf *archive, const char *what)
{
    enum tly_result result;
    uint64_t before = digest_of(sim, i);
    struct tly_applied applied = apply(sim, i, archive, &result);
    sim_claim(sim, result == TLY_OK && applied.applied == 0 && digest_of(sim, i) == before,
              "n%zu takes %llu of %llu dots of an archive %s", i, (unsigned long long)applied.applied,
              (unsigned long long)applied.rows, what);
}

/* Whether `to` has forgotten a REMOVE that whoever gave the archive does not know: its marks say so. */
static bool is_below_floor(struct sim *sim, size_t to, const struct tly_buf *archive)
{
    struct tly_mem mem = test_mem();
    struct tly_archive_reader reader;
    struct tly_archive_item item;
    size_t consumed;
    tly_archive_reader_init(&reader, &mem);
    enum tly_result result = tly_archive_get(&reader, tly_buf_slice(archive), &item, &consumed);
    sim_claim(sim, result == TLY_OK && item.part == TLY_ARCHIVE_HEAD, "an archive does not begin: %s",
              tly_result_text(result));
    bool is_below = tly_snap_is_below_floor(sim->nodes[to].engine, item.head.marks);
    tly_archive_reader_fini(&reader);
    return is_below;
}

/*
 * An archive's dots are let in below marks (D27), so it brings back what it still has of what was deleted and forgotten. A node does know all that
 * another has forgotten, unless one went on with an older disk, or was given up; or its disk had not kept what it had said to be known (D244), and it
 * was not brought up yet.
 */
static bool may_bring_back(struct sim *sim, size_t to, const struct tly_buf *archive)
{
    return sim->rolled_back || sim->was_one_forgotten || sim->knobs.harmed ||
           is_below_floor(sim, to, archive);
}

static void copy_by_archive(struct sim *sim, size_t i)
{
    static const char *const prefixes[] = {"kv:", "ctr:", "em:", "rl:", ""};
    struct tly_mem mem = test_mem();
    struct tly_buf archive;
    enum tly_result result;
    size_t to = (i + sim_below(sim, sim->knobs.nodes)) % sim->knobs.nodes;
    tly_buf_init(&archive, &mem, ARCHIVE_BYTES);
    take_archive(sim, i, prefixes[sim_below(sim, sizeof prefixes / sizeof prefixes[0])], &archive);
    if (archive.n <= APPLY_BYTES) apply_in_vain(sim, i, &archive, "that it has given itself");
    if (archive.n <= APPLY_BYTES && sim_is_up(sim, to) && !may_bring_back(sim, to, &archive)) {
        struct tly_applied applied = apply(sim, to, &archive, &result);
        sim_tell(sim, "n%zu applies %llu dots of an archive of n%zu: %llu new, %s", to,
                 (unsigned long long)applied.rows, i, (unsigned long long)applied.applied,
                 tly_result_text(result));
        if (result == TLY_OK) apply_in_vain(sim, to, &archive, "that it has applied");
    }
    tly_buf_fini(&archive);
}

/* ---- the follower ---- */

static enum tly_result new_engine(struct tly_time now, struct tly_engine **engine)
{
    struct tly_engine_config config = {
        .mem = test_mem(), .name = tly_slice_text("follower"), .cluster = tly_slice_text("sim"), .now = now};
    return tly_engine_new(&config, engine);
}

static const char *const followed[] = {"ctr:", "kv:"};
#define FOLLOWED (sizeof followed / sizeof followed[0])

static bool follows_all(const struct sim *sim)
{
    return sim->knobs.seed / 4 % 2 == 0;
}

static bool is_followed(const struct sim *sim, struct tly_slice key)
{
    bool found = follows_all(sim);
    for (size_t i = 0; i < FOLLOWED; i++)
        found = found || tly_slice_begins(key, tly_slice_text(followed[i]));
    return found;
}

static void begin(struct sim *sim, struct tly_time now)
{
    struct sim_copies *copies = sim->copies;
    struct tly_slice prefixes[FOLLOWED];
    enum tly_result result = new_engine(now, &copies->engine);
    for (size_t i = 0; i < FOLLOWED; i++)
        prefixes[i] = tly_slice_text(followed[i]);
    struct tly_mirror_config mirror = {
        .engine = copies->engine, .prefixes = prefixes, .prefix_count = follows_all(sim) ? 0 : FOLLOWED};
    if (result == TLY_OK) result = tly_mirror_new(&mirror, &copies->mirror);
    sim_claim(sim, result == TLY_OK, "the follower does not begin: %s", tly_result_text(result));
}

static enum tly_result keep_batch(void *context, struct tly_slice batch)
{
    struct sim *sim = context;
    struct tly_buf *kept = &sim->copies->kept;
    uint64_t n = batch.n;
    tly_buf_put(kept, &n, sizeof n);
    tly_buf_put(kept, batch.p, batch.n);
    sim_claim(sim, kept->result == TLY_OK, "the follower cannot keep %zu bytes and %zu more: %s", kept->n,
              batch.n, tly_result_text(kept->result));
    return TLY_OK;
}

/* All that stands takes the place of a log that has grown. */
static void compact(struct sim *sim)
{
    struct sim_copies *copies = sim->copies;
    if (copies->kept.n < LOG_BYTES || copies->kept.n < LOG_TIMES * copies->image_bytes) return;
    struct tly_mem mem = test_mem();
    struct tly_image *image;
    struct tly_buf batch;
    bool done = false;
    tly_buf_init(&batch, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_clear(&copies->kept);
    enum tly_result result = tly_image_new(copies->engine, &image);
    sim_claim(sim, result == TLY_OK, "the follower makes no image: %s", tly_result_text(result));
    while (result == TLY_OK && !done) {
        tly_buf_clear(&batch);
        result = tly_image_next(image, &batch, &done);
        if (result == TLY_OK) result = keep_batch(sim, tly_buf_slice(&batch));
    }
    sim_claim(sim, result == TLY_OK, "the follower ends in its image: %s", tly_result_text(result));
    tly_image_free(image);
    tly_buf_fini(&batch);
    copies->image_bytes = copies->kept.n;
}

/* One question; whether there is more. */
static bool ask_once(struct sim *sim, size_t i)
{
    struct sim_copies *copies = sim->copies;
    struct tly_time now = sim_time(sim, i);
    struct tly_mirror_sink sink = {.batch = keep_batch, .context = sim};
    struct tly_mirror_news news;
    struct tly_feed_said said;
    tly_buf_clear(&copies->question);
    tly_buf_clear(&copies->answer);
    sim->nodes[i].is_due_known = false;
    bool snapshot = tly_mirror_ask(copies->mirror, &copies->question);
    struct tly_slice question = tly_buf_slice(&copies->question);
    enum tly_result result =
        snapshot ? tly_feed_snapshot(sim->nodes[i].engine, question, now, &said, &copies->answer)
                 : tly_feed_sync(sim->nodes[i].engine, question, now, &said, &copies->answer);
    sim_claim(sim, result == TLY_OK || result == TLY_FULL, "n%zu does not answer the follower: %s", i,
              tly_result_text(result));
    if (result != TLY_OK) return false;
    result = tly_mirror_take(copies->mirror, tly_buf_slice(&copies->answer), now, &sink, &news);
    sim_claim(sim, result == TLY_OK || result == TLY_STALE || result == TLY_CLOCK_AHEAD,
              "the follower does not take what n%zu says: %s", i, tly_result_text(result));
    bool more = result == TLY_STALE || (result == TLY_OK && news.more);
    if (result == TLY_OK && !more) compact(sim);
    return more;
}

static void follow(struct sim *sim, size_t i)
{
    if (sim->copies->engine == NULL) begin(sim, sim_time(sim, i));
    size_t questions = 0;
    while (ask_once(sim, i))
        sim_claim(sim, ++questions < QUESTIONS, "the follower asks n%zu for ever", i);
}

void sim_copies_once(struct sim *sim, size_t i)
{
    if (sim_chance(sim, 10)) copy_by_archive(sim, i);
    if (sim_chance(sim, 30)) follow(sim, i);
}

static struct tly_entry_view entry_of(struct tly_engine *engine, struct tly_slice key)
{
    struct tly_entry_view view;
    return tly_engine_entry(engine, key, &view) == TLY_OK ? view : (struct tly_entry_view){0};
}

static void tell_dots(struct sim *sim, const char *who, struct tly_slice key,
                      const struct tly_entry_view *view)
{
    for (size_t i = 0; i < view->count; i++)
        sim_tell(sim, "%s has of %.*s %s %llu of %llx", who, (int)key.n, (const char *)key.p,
                 view->dots[i].op == TLY_PUT ? "PUT" : "REMOVE", (unsigned long long)view->dots[i].version.ts,
                 (unsigned long long)view->dots[i].version.origin);
}

static uint64_t cluster_ms(struct sim *sim, size_t i)
{
    struct tly_node_view self;
    tly_engine_node(sim->nodes[i].engine, false, &self);
    return self.cluster_ns / SIM_MS;
}

/* What ends by a deadline goes on nodes without a word, once all know that it is past. */
static bool has_ended(struct sim *sim, size_t i, const struct tly_entry_view *view)
{
    struct tly_moment at = {.now_ms = cluster_ms(sim, i)};
    struct tly_value value = {0};
    for (size_t j = 0; j < view->count; j++)
        if (view->dots[j].op == TLY_REMOVE) return false;
    if (view->count > 0) view->strategy->read(view->dots, view->count, &at, &value);
    return !value.present;
}

/* … and here as soon as the node says so. */
static bool was_swept(struct sim *sim, size_t i, struct tly_slice key, const struct tly_entry_view *view)
{
    const struct tly_feed_swept *swept = &sim->nodes[i].engine->forget.swept;
    struct tly_ended ended = {.upto = swept->upto,
                              .now_ms = swept->now_ms,
                              .skew_ns = swept->skew_ns,
                              .is_counter = tly_limit_is_counter};
    return swept->upto != 0 && tly_dots_may_go(key, view->strategy, view->dots, view->count, &ended);
}

static bool has_the_same(struct sim *sim, size_t i, struct tly_slice key, bool tells)
{
    struct tly_entry_view here = entry_of(sim->copies->engine, key),
                          there = entry_of(sim->nodes[i].engine, key);
    if (there.count == 0 && has_ended(sim, i, &here) && !was_swept(sim, i, key, &here)) return true;
    bool same = here.count == there.count;
    for (size_t j = 0; same && j < here.count; j++)
        same = tly_dot_equal(&here.dots[j], &there.dots[j]);
    if (!same && tells) tell_dots(sim, "the follower", key, &here);
    if (!same && tells) tell_dots(sim, "the node", key, &there);
    return same;
}

/* What a life said of itself, and what is said of its end, goes on nodes without a REMOVE, and so not here. */
static bool is_of_a_life(struct tly_slice key)
{
    return tly_slice_begins(key, tly_slice_text("sys:stable:")) ||
           tly_slice_begins(key, tly_slice_text("sys:closed:"));
}

/* What a node reads that is started from what the follower has kept. */
static struct tly_engine *restarted(struct sim *sim, struct tly_time now)
{
    const struct tly_buf *kept = &sim->copies->kept;
    struct tly_engine *engine;
    enum tly_result result = new_engine(now, &engine);
    for (size_t at = 0; at < kept->n && result == TLY_OK;) {
        uint64_t n;
        memcpy(&n, kept->p + at, sizeof n);
        at += sizeof n;
        result = tly_engine_replay(engine, tly_slice_of(kept->p + at, (size_t)n));
        at += (size_t)n;
    }
    sim_claim(sim, result == TLY_OK, "what the follower has kept is not read: %s", tly_result_text(result));
    return engine;
}

static struct tly_value value_of(struct tly_engine *engine, struct tly_slice key, uint64_t now_ms)
{
    struct tly_entry_view view = entry_of(engine, key);
    struct tly_moment at = {.now_ms = now_ms};
    struct tly_value value = {0};
    if (view.count > 0) view.strategy->read(view.dots, view.count, &at, &value);
    return value;
}

void sim_check_kept(struct sim *sim, size_t i)
{
    if (!sim->knobs.copies) return;
    struct tly_engine *engine = restarted(sim, sim_time(sim, i));
    uint64_t now_ms = cluster_ms(sim, i);
    for (size_t at = 0; at < sim_twin_keys(sim); at++) {
        struct tly_slice key = sim_twin_key(sim, at);
        if (!tly_slice_begins(key, tly_slice_text("ctr:"))) continue;
        struct tly_value kept = value_of(engine, key, now_ms);
        struct tly_value here = value_of(sim->copies->engine, key, now_ms);
        sim_claim(sim, kept.present == here.present && kept.count == here.count,
                  "the follower reads %lld for %.*s, and %lld from its disk", (long long)here.count,
                  (int)key.n, (const char *)key.p, (long long)kept.count);
    }
    tly_engine_free(engine);
}

bool sim_follows(struct sim *sim, size_t i, bool tells)
{
    if (!sim->knobs.copies) return true;
    follow(sim, i);
    sim->nodes[i].is_due_known = false;
    bool same = true;
    for (size_t at = 0; at < sim_twin_keys(sim); at++) {
        struct tly_slice key = sim_twin_key(sim, at);
        if (is_followed(sim, key) && !is_of_a_life(key) && !has_the_same(sim, i, key, tells)) same = false;
    }
    return same;
}
