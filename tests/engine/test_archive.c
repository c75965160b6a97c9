/* Exports hold all that stands; an archive is joined whole or not at all. */
#include "wire/archive.h"

#include "service/engine/engine.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define WALL UINT64_C(1700000000000000000)
#define OWN 7

struct scene {
    struct tly_mem mem;
    struct tly_engine *engine;
    struct tly_buf file;
    uint64_t mono;
};

static struct tly_slice text(const char *word)
{
    return tly_slice_text(word);
}

static struct tly_time time_of(const struct scene *s)
{
    return (struct tly_time){WALL + s->mono, s->mono};
}

static void scene_begin(struct scene *s, const struct tly_mem *mem, bool has_store)
{
    *s = (struct scene){.mem = *mem, .mono = 1000};
    struct tly_mem plain = test_mem();
    tly_buf_init(&s->file, &plain, 64u << 20);
    struct tly_engine_config config = {.mem = *mem,
                                       .name = text("e"),
                                       .cluster = text("test"),
                                       .address = text("e:1"),
                                       .has_store = has_store,
                                       .now = time_of(s)};
    assert_int_equal(tly_engine_new(&config, &s->engine), TLY_OK);
}

static void scene_start(struct scene *s, uint64_t origin)
{
    assert_int_equal(tly_engine_start(s->engine, origin, time_of(s)), TLY_OK);
}

static void scene_new(struct scene *s, uint64_t origin)
{
    struct tly_mem mem = test_mem();
    scene_begin(s, &mem, false);
    scene_start(s, origin);
}

static void scene_end(struct scene *s)
{
    tly_engine_check(s->engine);
    tly_engine_free(s->engine);
    tly_buf_fini(&s->file);
}

static enum tly_result ask(struct scene *s, struct tly_request request, struct tly_reply *reply)
{
    request.now = time_of(s);
    return tly_engine_ask(s->engine, &request, reply);
}

static void add(struct scene *s, const char *key, int64_t number)
{
    struct tly_reply reply;
    assert_int_equal(
        ask(s, (struct tly_request){.kind = TLY_ASK_ADD, .key = text(key), .number = number}, &reply),
        TLY_OK);
}

static void put(struct scene *s, const char *key, const char *value)
{
    struct tly_reply reply;
    assert_int_equal(
        ask(s, (struct tly_request){.kind = TLY_ASK_PUT, .key = text(key), .bytes = text(value)}, &reply),
        TLY_OK);
}

/* Everything of every strategy, a bucket and a deleted key among it. */
static void fill(struct scene *s)
{
    struct tly_reply reply;
    char key[16];
    for (int i = 0; i < 50; i++) {
        (void)snprintf(key, sizeof key, "c%d", i);
        add(s, key, i);
    }
    put(s, "kv:a", "one");
    put(s, "kv:b", "two");
    struct tly_request max = {.kind = TLY_ASK_PUT_MAX, .key = text("em:a"), .epoch = 3, .number = -4};
    assert_int_equal(ask(s, max, &reply), TLY_OK);
    struct tly_request gone = {.kind = TLY_ASK_REMOVE, .key = text("c3")};
    assert_int_equal(ask(s, gone, &reply), TLY_OK);
    struct tly_request hit = {.kind = TLY_ASK_CHECK, .check = {.key = text("k"), .hits = 2}};
    assert_int_equal(tly_rate_parse(text("5/s"), &hit.check.rate), TLY_OK);
    hit.check.rate.algorithm = TLY_TOKEN_BUCKET;
    assert_int_equal(ask(s, hit, &reply), TLY_OK);
}

/* ---- archives ---- */

static void export_to(struct scene *s, const char *prefix, struct tly_buf *out)
{
    struct tly_export *export;
    bool done = false;
    tly_buf_clear(out);
    assert_int_equal(tly_export_new(s->engine, text(prefix), time_of(s), &export), TLY_OK);
    while (!done) {
        size_t before = out->n;
        assert_int_equal(tly_export_next(export, out, &done), TLY_OK);
        assert_true(out->n - before <= TLY_EXPORT_PIECE_BYTES);
    }
    tly_export_free(export);
}

/* The last item read stays good in `reader`; counts rows, and sums what they are whatever their order. */
struct contents {
    size_t rows;
    uint64_t sum;
};

static uint64_t hash_of(const struct tly_row *row)
{
    uint64_t hash = row->dot.version.ts * 31 + row->dot.version.origin * 7 + row->dot.op;
    for (size_t i = 0; i < TLY_NUMS_MAX; i++)
        hash = hash * UINT64_C(0x9e3779b97f4a7c15) + row->dot.num[i];
    for (size_t i = 0; i < row->key.n; i++)
        hash = hash * 131 + row->key.p[i];
    for (size_t i = 0; i < row->dot.bytes.n; i++)
        hash = hash * 137 + row->dot.bytes.p[i];
    return hash;
}

static struct contents contents_of(const struct tly_buf *file)
{
    struct tly_mem mem = test_mem();
    struct tly_archive_reader reader;
    struct tly_archive_item item;
    struct contents contents = {0};
    tly_archive_reader_init(&reader, &mem);
    while (!reader.has_end) {
        size_t consumed, at = (size_t)reader.offset;
        assert_int_equal(tly_archive_get(&reader, tly_slice_of(file->p + at, file->n - at), &item, &consumed),
                         TLY_OK);
        if (item.part != TLY_ARCHIVE_ROWS) continue;
        struct tly_rows rows = tly_rows_of(&item.rows);
        for (struct tly_row row; tly_rows_next(&rows, &row); contents.rows++)
            contents.sum += hash_of(&row);
    }
    assert_int_equal(reader.offset, file->n);
    tly_archive_reader_fini(&reader);
    return contents;
}

static struct contents contents_here(struct scene *s)
{
    struct tly_mem mem = test_mem();
    struct tly_buf file;
    tly_buf_init(&file, &mem, 64u << 20);
    export_to(s, "", &file);
    struct contents contents = contents_of(&file);
    tly_buf_fini(&file);
    return contents;
}

static enum tly_result apply(struct scene *s, struct tly_slice archive, struct tly_applied *applied)
{
    struct tly_reply reply;
    enum tly_result result = ask(s, (struct tly_request){.kind = TLY_ASK_APPLY, .bytes = archive}, &reply);
    *applied = reply.applied;
    return result;
}

/* An archive of a few lww dots under one's own hand. */
static void write_one(struct scene *s, const char *key, const struct tly_strategy *strategy,
                      struct tly_dot dot)
{
    struct tly_mem mem = test_mem();
    struct tly_archive_writer writer;
    struct tly_round_writer rows;
    tly_archive_writer_init(&writer, &mem);
    tly_round_writer_init(&rows, &mem);
    tly_buf_clear(&s->file);
    struct tly_archive_head head = {0};
    struct tly_dot good = {.version = {50, 99}, .op = TLY_PUT, .bytes = text("good")};
    tly_archive_put_head(&writer, &head, (struct tly_mark_list){0}, &s->file);
    assert_true(tly_round_writer_add(&rows, text("kv:good"), tly_lww(), &good));
    tly_archive_put_rows(&writer, &rows, &s->file);
    tly_round_writer_clear(&rows);
    assert_true(tly_round_writer_add(&rows, text(key), strategy, &dot));
    tly_archive_put_rows(&writer, &rows, &s->file);
    tly_archive_put_end(&writer, &s->file);
    assert_int_equal(s->file.result, TLY_OK);
    tly_archive_writer_fini(&writer);
    tly_round_writer_fini(&rows);
}

static bool has(struct scene *s, const char *key)
{
    struct tly_entry_view view;
    return tly_engine_entry(s->engine, text(key), &view) == TLY_OK;
}

/* ---- scenes ---- */

/* A batch without rows after which the mark of origin 99 is 1000. */
static void replay_mark(struct scene *s)
{
    struct tly_mem mem = test_mem();
    struct tly_round_writer rows;
    struct tly_buf batch;
    struct tly_mark mark = {99, 1000};
    tly_round_writer_init(&rows, &mem);
    tly_buf_init(&batch, &mem, 4096);
    tly_round_writer_finish(&rows, TLY_ROUND_FIRST | TLY_ROUND_LAST, (struct tly_mark_list){0},
                            (struct tly_mark_list){&mark, 1}, &batch);
    assert_int_equal(tly_engine_replay(s->engine, tly_buf_slice(&batch)), TLY_OK);
    tly_buf_fini(&batch);
    tly_round_writer_fini(&rows);
}

static void what_is_exported_here_and_applied_there_is_the_same(void **state)
{
    (void)state;
    struct scene a, b;
    scene_new(&a, 1);
    scene_new(&b, 2);
    fill(&a);
    export_to(&a, "", &a.file);
    struct tly_applied applied;
    assert_int_equal(apply(&b, tly_buf_slice(&a.file), &applied), TLY_OK);
    assert_true(applied.rows > 50 && applied.applied == applied.rows && applied.repaired == 0);
    struct contents there = contents_here(&b), here = contents_of(&a.file);
    assert_true(there.sum == here.sum && there.rows == here.rows);
    assert_int_equal(apply(&b, tly_buf_slice(&a.file), &applied), TLY_OK);
    assert_true(applied.applied == 0 && contents_here(&b).sum == here.sum);
    /* One's own dots that are still here, or have been replaced, are no forgery. */
    add(&a, "c1", 1);
    assert_int_equal(apply(&a, tly_buf_slice(&a.file), &applied), TLY_OK);
    assert_int_equal(applied.applied, 0);
    scene_end(&a);
    scene_end(&b);
    assert_int_equal(test_mem_live(), 0);
}

static void a_prefix_is_all_that_begins_so(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s, OWN);
    fill(&s);
    export_to(&s, "kv:", &s.file);
    assert_int_equal(contents_of(&s.file).rows, 2);
    export_to(&s, "nothing", &s.file);
    assert_int_equal(contents_of(&s.file).rows, 0);
    export_to(&s, "sys:", &s.file);
    assert_int_equal(contents_of(&s.file).rows, 1);
    scene_end(&s);
}

/* A key that is written again while an export runs is in it, before or after; so is one that came with an old version. */
static void an_export_misses_no_key_that_was_there_all_the_time(void **state)
{
    (void)state;
    struct scene s;
    struct tly_mem mem = test_mem();
    struct tly_applied applied;
    scene_begin(&s, &mem, false);
    replay_mark(&s); /* so that the other life is the first, and passed before ours */
    scene_start(&s, OWN);
    write_one(&s, "kv:early", tly_lww(), (struct tly_dot){.version = {500, 99}, .bytes = text("early")});
    assert_int_equal(apply(&s, tly_buf_slice(&s.file), &applied), TLY_OK);
    char key[16];
    for (int i = 0; i < 9000; i++) {
        (void)snprintf(key, sizeof key, "kv:%d", i);
        put(&s, key, "old");
    }
    struct tly_export *export;
    struct tly_buf out;
    tly_buf_init(&out, &mem, 64u << 20);
    assert_int_equal(tly_export_new(s.engine, text(""), time_of(&s), &export), TLY_OK);
    size_t pieces = 0;
    for (bool done = false; !done; pieces++) {
        assert_int_equal(tly_export_next(export, &out, &done), TLY_OK);
        if (done || pieces >= 40) continue;
        (void)snprintf(key, sizeof key, "kv:%d", (int)(8999 - pieces));
        put(&s, key, "new");
        if (pieces != 3) continue;
        write_one(&s, "kv:late", tly_lww(), (struct tly_dot){.version = {60, 99}, .bytes = text("late")});
        assert_int_equal(apply(&s, tly_buf_slice(&s.file), &applied), TLY_OK);
    }
    assert_true(pieces > 10);
    tly_export_free(export);
    struct scene t;
    scene_new(&t, 8);
    assert_int_equal(apply(&t, tly_buf_slice(&out), &applied), TLY_OK);
    assert_int_equal(contents_here(&t).rows, 9003);
    assert_true(contents_here(&t).sum == contents_here(&s).sum);
    tly_buf_fini(&out);
    scene_end(&s);
    scene_end(&t);
    assert_int_equal(test_mem_live(), 0);
}

static void refused(struct scene *s, enum tly_result expected, const char *key)
{
    struct contents before = contents_here(s);
    struct tly_applied applied;
    assert_int_equal(apply(s, tly_buf_slice(&s->file), &applied), expected);
    assert_true(tly_slice_equal(applied.key, text(key)));
    assert_true(applied.offset > 0 && applied.offset < s->file.n && applied.applied == 0);
    assert_false(has(s, "kv:good"));
    struct contents after = contents_here(s);
    assert_true(before.sum == after.sum && before.rows == after.rows);
}

static void what_no_node_may_take_is_refused_whole(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s, OWN);
    struct tly_dot dot = {.version = {70, OWN}, .op = TLY_PUT, .bytes = text("x")};
    write_one(&s, "kv:forged", tly_lww(), dot);
    refused(&s, TLY_OWN_LIFE, "kv:forged");
    dot.version.origin = 98;
    write_one(&s, "sys:member:x", tly_lww(), dot);
    refused(&s, TLY_READ_ONLY, "sys:member:x");
    write_one(&s, "ctr:x", tly_lww(), dot);
    refused(&s, TLY_WRONG_STRATEGY, "ctr:x");
    dot.version.ts = WALL + UINT64_C(3600000000000);
    write_one(&s, "kv:ahead", tly_lww(), dot);
    refused(&s, TLY_CLOCK_AHEAD, "kv:ahead");
    struct tly_dot window = {.version = {70, 98}, .op = TLY_PUT, .num = {UINT64_MAX, 1, 1, 0}};
    write_one(&s, "ctr:w", tly_epoch_sum(), window);
    refused(&s, TLY_BAD_PAYLOAD, "ctr:w");
    struct tly_stats stats;
    tly_engine_stats(s.engine, &stats);
    assert_int_equal(stats.archives_refused, 5);
    scene_end(&s);
}

static void a_file_cut_or_flipped_anywhere_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s, OWN);
    fill(&s);
    write_one(&s, "kv:x", tly_lww(), (struct tly_dot){.version = {60, 99}, .bytes = text("x")});
    struct contents before = contents_here(&s);
    struct tly_applied applied;
    for (size_t n = 0; n < s.file.n; n++) {
        assert_int_equal(apply(&s, tly_slice_of(s.file.p, n), &applied), TLY_MORE);
        assert_true(applied.offset <= n);
    }
    for (size_t bit = 0; bit < s.file.n * 8; bit++) {
        s.file.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(apply(&s, tly_buf_slice(&s.file), &applied), TLY_OK);
        assert_true(applied.offset <= bit / 8);
        s.file.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    struct contents after = contents_here(&s);
    assert_true(before.sum == after.sum && before.rows == after.rows);
    assert_int_equal(apply(&s, tly_buf_slice(&s.file), &applied), TLY_OK);
    assert_int_equal(applied.applied, 2);
    scene_end(&s);
}

static void too_many_dots_are_refused(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s, OWN);
    struct tly_archive_writer writer;
    struct tly_round_writer rows;
    struct tly_mem mem = test_mem();
    tly_archive_writer_init(&writer, &mem);
    tly_round_writer_init(&rows, &mem);
    struct tly_archive_head head = {0};
    tly_archive_put_head(&writer, &head, (struct tly_mark_list){0}, &s.file);
    for (unsigned i = 0; i < TLY_APPLY_ROWS_MAX + 1; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "kv:%u", i);
        struct tly_dot dot = {.version = {100 + i, 9}, .op = TLY_PUT};
        if (tly_round_writer_add(&rows, text(key), tly_lww(), &dot)) continue;
        tly_archive_put_rows(&writer, &rows, &s.file);
        tly_round_writer_clear(&rows);
        assert_true(tly_round_writer_add(&rows, text(key), tly_lww(), &dot));
    }
    tly_archive_put_rows(&writer, &rows, &s.file);
    tly_archive_put_end(&writer, &s.file);
    struct tly_applied applied;
    assert_int_equal(apply(&s, tly_buf_slice(&s.file), &applied), TLY_TOO_LARGE);
    assert_int_equal(contents_here(&s).rows, 0);
    tly_archive_writer_fini(&writer);
    tly_round_writer_fini(&rows);
    scene_end(&s);
    assert_int_equal(test_mem_live(), 0);
}

/* ---- memory ---- */

static void memory_that_runs_out_midway_leaves_nothing_applied(void **state)
{
    (void)state;
    struct scene a;
    scene_new(&a, 1);
    fill(&a);
    export_to(&a, "", &a.file);
    size_t failures = 0;
    for (size_t countdown = 0;; countdown++) {
        struct test_failing failing = {.countdown = SIZE_MAX};
        struct tly_mem mem = test_failing_mem(&failing);
        struct scene b;
        scene_begin(&b, &mem, false);
        scene_start(&b, 2);
        fill(&b);
        struct contents before = contents_here(&b);
        struct tly_applied applied;
        failing = (struct test_failing){.countdown = countdown};
        enum tly_result result = apply(&b, tly_buf_slice(&a.file), &applied);
        bool failed = failing.failed;
        failing.countdown = SIZE_MAX;
        assert_int_equal(result, failed ? TLY_NOMEM : TLY_OK);
        tly_engine_check(b.engine);
        if (failed) {
            struct contents after = contents_here(&b);
            assert_true(before.sum == after.sum && before.rows == after.rows && applied.applied == 0);
            assert_int_equal(apply(&b, tly_buf_slice(&a.file), &applied), TLY_OK);
        }
        assert_true(applied.applied > 40);
        scene_end(&b);
        failures += failed;
        if (!failed) break;
    }
    assert_true(failures > 10); /* entries share pages, so allocations are few */
    scene_end(&a);
    assert_int_equal(test_mem_live(), 0);
}

/* ---- below a mark ---- */

/* Lets it flush; what it gave to the disk is kept. */
static size_t flush(struct scene *s, struct tly_buf *batches, size_t *ends)
{
    size_t count = 0;
    for (int i = 0; i < 20; i++) {
        struct tly_effects effects;
        s->mono += UINT64_C(5000000);
        struct tly_event tick = {.kind = TLY_TICK, .now = time_of(s)};
        assert_int_equal(tly_engine_step(s->engine, &tick, &effects), TLY_OK);
        for (size_t e = 0; e < effects.count; e++) {
            if (effects.list[e].kind != TLY_DO_APPEND) continue;
            tly_buf_put(batches, effects.list[e].bytes.p, effects.list[e].bytes.n);
            ends[count++] = batches->n;
            struct tly_event stored = {
                .kind = TLY_STORED, .now = time_of(s), .number = effects.list[e].number};
            struct tly_effects none;
            assert_int_equal(tly_engine_step(s->engine, &stored, &none), TLY_OK);
            break;
        }
    }
    return count;
}

static void what_a_repair_let_in_below_a_mark_is_on_the_disk(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    struct scene s, again;
    scene_begin(&s, &mem, true);
    replay_mark(&s);
    scene_start(&s, OWN);
    struct tly_buf batches;
    size_t ends[64];
    tly_buf_init(&batches, &mem, 1 << 20);
    (void)flush(&s, &batches, ends);
    tly_buf_clear(&batches);

    write_one(&s, "kv:x", tly_lww(), (struct tly_dot){.version = {60, 99}, .bytes = text("x")});
    struct tly_applied applied;
    assert_int_equal(apply(&s, tly_buf_slice(&s.file), &applied), TLY_OK);
    assert_true(applied.applied == 2 && applied.repaired == 2);
    assert_int_not_equal(tly_engine_ticket(s.engine), 0);
    size_t count = flush(&s, &batches, ends), from = 0;
    assert_true(count > 0 && tly_engine_ticket(s.engine) == 0);

    scene_begin(&again, &mem, true);
    replay_mark(&again);
    for (size_t i = 0; i < count; from = ends[i++])
        assert_int_equal(tly_engine_replay(again.engine, tly_slice_of(batches.p + from, ends[i] - from)),
                         TLY_OK);
    scene_start(&again, OWN);
    assert_true(has(&again, "kv:x") && has(&again, "kv:good"));
    tly_buf_fini(&batches);
    scene_end(&s);
    scene_end(&again);
    assert_int_equal(test_mem_live(), 0);
}

static void exports_at_the_same_time_are_bounded(void **state)
{
    (void)state;
    struct scene s;
    struct tly_export *exports[TLY_EXPORTS_MAX], *more;
    scene_new(&s, OWN);
    for (size_t i = 0; i < TLY_EXPORTS_MAX; i++)
        assert_int_equal(tly_export_new(s.engine, text(""), time_of(&s), &exports[i]), TLY_OK);
    assert_int_equal(tly_export_new(s.engine, text(""), time_of(&s), &more), TLY_FULL);
    tly_export_free(exports[3]);
    assert_int_equal(tly_export_new(s.engine, text(""), time_of(&s), &exports[3]), TLY_OK);
    for (size_t i = 0; i < TLY_EXPORTS_MAX; i++)
        tly_export_free(exports[i]);
    scene_end(&s);
    assert_int_equal(test_mem_live(), 0);
}

/* ---- one key ---- */

static void an_entry_is_shown_as_it_is(void **state)
{
    (void)state;
    struct scene s;
    struct tly_entry_view view;
    scene_new(&s, OWN);
    assert_int_equal(tly_engine_entry(s.engine, text("c"), &view), TLY_NOT_FOUND);
    assert_int_equal(tly_engine_entry(s.engine, text(""), &view), TLY_BAD_KEY);
    add(&s, "c", 4);
    assert_int_equal(tly_engine_entry(s.engine, text("c"), &view), TLY_OK);
    assert_true(view.unsealed && view.count == 1 && view.dots[0].version.ts == 0 && !view.is_bucket);
    export_to(&s, "", &s.file);
    assert_int_equal(tly_engine_entry(s.engine, text("c"), &view), TLY_OK);
    assert_true(!view.unsealed && view.count == 1 && view.dots[0].version.ts != 0);
    assert_ptr_equal(view.strategy, tly_epoch_sum());
    scene_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_exported_here_and_applied_there_is_the_same),
        cmocka_unit_test(a_prefix_is_all_that_begins_so),
        cmocka_unit_test(an_export_misses_no_key_that_was_there_all_the_time),
        cmocka_unit_test(what_no_node_may_take_is_refused_whole),
        cmocka_unit_test(a_file_cut_or_flipped_anywhere_changes_nothing),
        cmocka_unit_test(too_many_dots_are_refused),
        cmocka_unit_test(memory_that_runs_out_midway_leaves_nothing_applied),
        cmocka_unit_test(what_a_repair_let_in_below_a_mark_is_on_the_disk),
        cmocka_unit_test(exports_at_the_same_time_are_bounded),
        cmocka_unit_test(an_entry_is_shown_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
