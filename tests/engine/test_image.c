/*
 * Images: an image and the batches behind it stand for the node as all of its batches do, whatever was written while the image was
 * made, and whatever comes afterwards.  The twin is an engine that read the whole log.
 */
#include "crdt/epoch_sum.h"
#include "service/engine/impl.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define S UINT64_C(1000000000)
#define WALL (UINT64_C(1700000000) * S)

/* Batches, as a disk would keep them. */
struct disk {
    struct tly_slice *list;
    size_t count;
};

static void disk_add(struct disk *disk, struct tly_slice batch)
{
    uint8_t *copy = malloc(batch.n + 1);
    struct tly_slice *list = realloc(disk->list, (disk->count + 1) * sizeof *disk->list);
    if (copy == NULL || list == NULL) abort();
    disk->list = list;
    memcpy(copy, batch.p, batch.n);
    disk->list[disk->count++] = tly_slice_of(copy, batch.n);
}

static void disk_free(struct disk *disk)
{
    for (size_t i = 0; i < disk->count; i++)
        free((void *)(uintptr_t)disk->list[i].p);
    free(disk->list);
}

struct node {
    struct tly_engine *engine;
    struct tly_time now;
    struct disk log;
    uint64_t ts;        /* of dots from elsewhere, in units of 64 ns */
    uint64_t dots;      /* from elsewhere, so far */
    uint64_t theirs[3]; /* marks of other lives */
};

static struct tly_engine *new_engine(struct tly_time now)
{
    struct tly_engine_config config = {
        .mem = test_mem(),
        .name = tly_slice_text("n"),
        .cluster = tly_slice_text("test"),
        .has_store = true,
        .now = now,
    };
    struct tly_engine *engine;
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    return engine;
}

static void step(struct node *node, enum tly_event_kind kind, uint64_t number)
{
    struct tly_event event = {.kind = kind, .now = node->now, .number = number};
    struct tly_effects effects;
    assert_int_equal(tly_engine_step(node->engine, &event, &effects), TLY_OK);
    for (size_t i = 0; i < effects.count; i++)
        if (effects.list[i].kind == TLY_DO_APPEND) disk_add(&node->log, effects.list[i].bytes);
}

/* Until everything is handed over and reported stored. */
static void flush(struct node *node)
{
    do {
        step(node, TLY_TICK, 0);
        step(node, TLY_STORED, node->log.count);
    } while (tly_engine_ticket(node->engine) != 0);
}

static struct node node_of(void)
{
    struct node node = {.now = {.wall_ns = WALL, .mono_ns = S}, .ts = (WALL - 3600 * S) / 64};
    node.engine = new_engine(node.now);
    assert_int_equal(tly_engine_start(node.engine, 100, node.now), TLY_OK);
    return node;
}

static void node_free(struct node *node)
{
    tly_engine_check(node->engine);
    tly_engine_free(node->engine);
    disk_free(&node->log);
}

/* ---- writing ---- */

static void ask(struct node *node, struct tly_request request)
{
    struct tly_reply reply;
    request.now = node->now;
    enum tly_result result = tly_engine_ask(node->engine, &request, &reply);
    assert_true(result == TLY_OK || result == TLY_NOT_FOUND || result == TLY_WRONG_STRATEGY);
}

/* A counter, a value, a delete or a check, of one of so many keys. */
static void write_one(struct node *node, struct test_rng *rng, unsigned keys)
{
    char key[32], bytes[40];
    unsigned k = (unsigned)test_rng_below(rng, keys);
    bool is_value = test_rng_chance(rng, 40);
    snprintf(key, sizeof key, is_value ? "kv:%u" : "cnt:%u", k);
    snprintf(bytes, sizeof bytes, "value %llu", (unsigned long long)test_rng_next(rng));
    struct tly_request request = {.key = tly_slice_text(key), .bytes = tly_slice_text(bytes), .number = 1};
    request.kind = is_value ? TLY_ASK_PUT : TLY_ASK_ADD;
    if (test_rng_chance(rng, 10)) request.kind = TLY_ASK_REMOVE;
    if (test_rng_chance(rng, 5)) request.deadline_ms = WALL / 1000000 + 1000000;
    ask(node, request);
    node->now.wall_ns += 1000;
    node->now.mono_ns += 1000;
}

/* Some dots of other lives, not always in the order of their versions, as relays bring them; then perhaps their marks. */
static void hear(struct node *node, struct test_rng *rng, unsigned keys)
{
    struct tly_mem mem = test_mem();
    struct tly_round_writer writer;
    struct tly_buf body;
    tly_round_writer_init(&writer, &mem);
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    struct tly_mark end[1];
    size_t life = (size_t)test_rng_below(rng, 3), ends = 0;
    uint64_t top = node->theirs[life];
    for (unsigned i = 0; i < 5; i++) {
        char key[32];
        snprintf(key, sizeof key, "cnt:%u", (unsigned)test_rng_below(rng, keys));
        uint64_t ts = (node->ts + test_rng_below(rng, 1000)) * 64 + node->dots++ % 64;
        struct tly_dot dot = {.version = {.ts = ts, .origin = 7 + life},
                              .op = TLY_PUT,
                              .num = {[TLY_SUM_COUNT] = test_rng_below(rng, 50)}};
        if (ts <= node->theirs[life]) continue;
        assert_true(tly_round_writer_add(&writer, tly_slice_text(key),
                                         tly_registry_find(node->engine->registry, tly_slice_text(key)),
                                         &dot));
        if (ts > top) top = ts;
    }
    node->ts += 400;
    if (test_rng_chance(rng, 50)) {
        node->theirs[life] = top;
        end[ends++] = (struct tly_mark){7 + life, top};
    }
    struct tly_mark_list none = {0}, marks = {end, ends};
    tly_round_writer_finish(&writer, TLY_ROUND_FIRST | TLY_ROUND_LAST, none, marks, &body);
    struct tly_round round;
    size_t held = 0;
    assert_int_equal(tly_round_get(tly_buf_slice(&body), &round), TLY_OK);
    assert_int_equal(tly_session_join(node->engine, &round, &held), TLY_OK);
    assert_int_equal(tly_marks_take(node->engine, round.end), TLY_OK);
    tly_buf_fini(&body);
    tly_round_writer_fini(&writer);
}

/* ---- reading back ---- */

static void replay(struct tly_engine *engine, const struct disk *disk, size_t from)
{
    for (size_t i = from; i < disk->count; i++)
        assert_int_equal(tly_engine_replay(engine, disk->list[i]), TLY_OK);
}

static uint64_t digest(struct tly_engine *engine)
{
    struct tly_node_view view;
    tly_engine_node(engine, true, &view);
    return view.digest;
}

static void assert_same(struct tly_engine *a, struct tly_engine *b)
{
    assert_int_equal(digest(a), digest(b));
    for (size_t i = 0; i < tly_ormap_lives(b->map); i++) {
        uint64_t origin = tly_ormap_life(b->map, i).origin;
        assert_int_equal(tly_ormap_mark(a->map, origin), tly_ormap_mark(b->map, origin));
    }
    tly_engine_check(a);
    tly_engine_check(b);
}

/* Both go on alike. */
static void join_the_same(struct tly_engine *a, struct tly_engine *b, struct tly_time now,
                          struct test_rng *rng)
{
    struct node one = {.engine = a, .now = now, .ts = (WALL - 1800 * S) / 64}, two = one;
    struct test_rng again = *rng;
    two.engine = b;
    assert_int_equal(tly_engine_start(a, 200, now), TLY_OK);
    assert_int_equal(tly_engine_start(b, 200, now), TLY_OK);
    for (unsigned i = 0; i < 60; i++) {
        hear(&one, rng, 40);
        hear(&two, &again, 40);
        write_one(&one, rng, 40);
        write_one(&two, &again, 40);
    }
    flush(&one);
    flush(&two);
    assert_same(a, b);
    disk_free(&one.log);
    disk_free(&two.log);
}

/* ---- scenes ---- */

struct taken {
    struct disk image;
    size_t from; /* batches behind it */
};

/* An image begun now, with up to `busy` writes between two of its batches. */
static struct taken take_image(struct node *node, struct test_rng *rng, unsigned busy, unsigned keys)
{
    struct taken taken = {0};
    struct tly_image *image;
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    flush(node);
    assert_int_equal(tly_image_new(node->engine, &image), TLY_OK);
    taken.from = node->log.count;
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    for (bool done = false; !done;) {
        for (unsigned n = busy > 0 ? (unsigned)test_rng_below(rng, busy) : 0; n > 0; n--)
            write_one(node, rng, keys);
        if (busy > 0) hear(node, rng, keys);
        if (test_rng_chance(rng, 50)) step(node, TLY_TICK, 0);
        assert_int_equal(tly_image_next(image, &out, &done), TLY_OK);
        disk_add(&taken.image, tly_buf_slice(&out));
        tly_buf_clear(&out);
    }
    tly_buf_fini(&out);
    tly_image_free(image);
    flush(node);
    return taken;
}

static void check_image(struct node *node, const struct taken *taken, struct test_rng *rng)
{
    struct tly_engine *whole = new_engine(node->now), *short_one = new_engine(node->now);
    replay(whole, &node->log, 0);
    replay(short_one, &taken->image, 0);
    replay(short_one, &node->log, taken->from);
    assert_same(short_one, whole);
    assert_int_equal(digest(whole), digest(node->engine));
    join_the_same(short_one, whole, node->now, rng);
    tly_engine_free(whole);
    tly_engine_free(short_one);
}

static void an_image_and_the_log_behind_it_are_the_whole_log(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        print_message("  seed %llu\n", (unsigned long long)seed);
        struct test_rng rng = test_rng_of(seed);
        struct node node = node_of();
        for (unsigned i = 0; i < 3000; i++) {
            write_one(&node, &rng, 1500);
            if (i % 10 == 0) hear(&node, &rng, 1500);
            if (i % 100 == 0) flush(&node);
        }
        struct taken taken = take_image(&node, &rng, seed % 3 == 0 ? 0 : 400, 1500);
        for (unsigned i = 0; i < 200; i++)
            write_one(&node, &rng, 1500);
        flush(&node);
        assert_true(taken.image.count >= 4 && taken.from < node.log.count);
        check_image(&node, &taken, &rng);
        disk_free(&taken.image);
        node_free(&node);
    }
}

static void an_image_of_an_image_is_the_same_state(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(99);
    struct node node = node_of();
    for (unsigned i = 0; i < 2000; i++)
        write_one(&node, &rng, 300);
    struct taken first = take_image(&node, &rng, 50, 300);
    struct taken second = take_image(&node, &rng, 50, 300);
    assert_true(second.from > first.from);
    check_image(&node, &second, &rng);
    disk_free(&first.image);
    disk_free(&second.image);
    node_free(&node);
}

/* Rounds leave out what a retired life wrote, since every member has it; an image does not. */
static void what_a_retired_life_wrote_is_in_it(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(17);
    struct node node = node_of();
    for (unsigned i = 0; i < 400; i++) {
        write_one(&node, &rng, 300);
        hear(&node, &rng, 300);
    }
    flush(&node);
    struct tly_ormap *map = node.engine->map;
    struct tly_beyond beyond = tly_ormap_beyond(map, 7, 0);
    assert_true(beyond.print != 0);
    assert_int_equal(tly_ormap_raise_mark(map, 7, beyond.newest), TLY_OK);
    assert_int_equal(tly_ormap_close_life(map, 7), TLY_OK);
    assert_int_equal(tly_ormap_settle_life(map, 7, beyond.newest), TLY_OK);
    tly_ormap_retire_life(map, 7, (struct tly_version){1, 100});
    struct taken taken = take_image(&node, &rng, 0, 300);
    struct tly_engine *engine = new_engine(node.now);
    replay(engine, &taken.image, 0);
    assert_int_equal(digest(engine), digest(node.engine));
    assert_int_equal(tly_ormap_beyond(engine->map, 7, 0).print, beyond.print);
    tly_engine_free(engine);
    disk_free(&taken.image);
    node_free(&node);
}

/* A node that ends while it is in question which life speaks would else wait at its next start for what that life has to say. */
static void a_life_in_which_nothing_was_made_is_not_in_it(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(23);
    struct node node = node_of();
    write_one(&node, &rng, 1);
    flush(&node);
    struct tly_engine *before = node.engine;
    node.engine = new_engine(node.now);
    replay(node.engine, &node.log, 0);
    assert_int_equal(tly_engine_resume(node.engine, 100, true, node.now), TLY_OK);
    uint64_t unused = tly_ormap_origin(node.engine->map);
    assert_int_not_equal(unused, 100);
    struct taken taken = take_image(&node, &rng, 0, 1);
    struct tly_engine *engine = new_engine(node.now);
    replay(engine, &taken.image, 0);
    assert_int_equal(digest(engine), digest(node.engine));
    assert_int_equal(tly_engine_lives(engine), 1);
    assert_int_equal(tly_engine_life(engine, 0).origin, 100);
    tly_engine_free(engine);
    tly_engine_free(before);
    disk_free(&taken.image);
    node_free(&node);
}

static void what_is_made_after_the_beginning_is_left_to_the_log(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(5);
    struct node node = node_of();
    write_one(&node, &rng, 1);
    flush(&node);
    struct tly_image *image;
    assert_int_equal(tly_image_new(node.engine, &image), TLY_OK);
    for (unsigned i = 0; i < 5000; i++)
        write_one(&node, &rng, 100000);
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    bool done;
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    size_t batches = 0;
    do {
        tly_buf_clear(&out);
        assert_int_equal(tly_image_next(image, &out, &done), TLY_OK);
        batches++;
    } while (!done);
    assert_in_range(batches, 2, 3);
    tly_buf_fini(&out);
    tly_image_free(image);
    node_free(&node);
}

/* A part of a round brought a dot and no mark yet, and a write here replaced it. */
static void a_dot_that_went_again_keeps_nobody_busy(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(7);
    struct node node = node_of();
    flush(&node);
    while (node.theirs[0] + node.theirs[1] + node.theirs[2] == 0 || test_rng_chance(&rng, 50)) {
        hear(&node, &rng, 1);
        ask(&node, (struct tly_request){.kind = TLY_ASK_REMOVE, .key = tly_slice_text("cnt:0")});
        size_t before = node.log.count;
        flush(&node);
        assert_in_range(node.log.count - before, 0, 2);
    }
    node_free(&node);
}

static void in_the_middle_of_a_round_to_the_disk_it_waits(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(6);
    struct node node = node_of();
    struct tly_image *image = NULL;
    bool waited = false;
    for (unsigned i = 0; i < 500000 && !waited; i++) {
        write_one(&node, &rng, 1000000);
        if (i % 250000 != 249999) continue;
        step(&node, TLY_TICK, 0);
        waited = tly_image_new(node.engine, &image) == TLY_MORE;
        if (!waited) tly_image_free(image);
    }
    assert_true(waited);
    flush(&node);
    assert_int_equal(tly_image_new(node.engine, &image), TLY_OK);
    tly_image_free(image);
    node_free(&node);
}

/* ---- forgetting ---- */

/* Seconds pass: enough for what everybody knows to be forgotten, and for an ended life to come a step further. */
static void let_seconds_pass(struct node *node)
{
    for (unsigned i = 0; i < 3; i++) {
        node->now.wall_ns += S;
        node->now.mono_ns += S;
        flush(node);
    }
}

static enum tly_life_state state_of(const struct node *node, uint64_t origin)
{
    for (size_t i = 0; i < tly_ormap_lives(node->engine->map); i++)
        if (tly_ormap_life_kept(node->engine->map, i).origin == origin)
            return tly_ormap_life_kept(node->engine->map, i).state;
    return TLY_LIFE_OPEN;
}

static uint64_t forgotten_by(const struct node *node)
{
    struct tly_stats stats;
    tly_engine_stats(node->engine, &stats);
    return stats.removes_forgotten;
}

static void write_and_delete(struct node *node, struct test_rng *rng, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "kv:gone:%llu", (unsigned long long)test_rng_next(rng));
        write_one(node, rng, 1500);
        ask(node, (struct tly_request){
                      .kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = tly_slice_text("x")});
        ask(node, (struct tly_request){.kind = TLY_ASK_REMOVE, .key = tly_slice_text(key)});
    }
}

/* Three lives have just ended, and between any two steps of the walk something is there to be forgotten. */
static void whatever_is_to_be_forgotten_an_image_ends(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(23);
    struct node node = node_of();
    node.engine->forget.grace_ns = S;
    write_and_delete(&node, &rng, 1500);
    for (uint64_t life = 7; life < 10; life++) {
        hear(&node, &rng, 1500);
        assert_int_equal(tly_lives_close(node.engine, life, tly_slice_text("x")), TLY_OK);
    }
    flush(&node);
    struct taken taken = {0};
    struct tly_image *image;
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    assert_int_equal(tly_image_new(node.engine, &image), TLY_OK);
    taken.from = node.log.count;
    uint64_t before = forgotten_by(&node);
    for (bool done = false; !done; tly_buf_clear(&out)) {
        assert_int_equal(tly_image_next(image, &out, &done), TLY_OK);
        disk_add(&taken.image, tly_buf_slice(&out));
        write_and_delete(&node, &rng, 5);
        let_seconds_pass(&node);
    }
    struct tly_forget_view view;
    tly_engine_forgetting(node.engine, &view);
    assert_true(taken.image.count >= 6 && view.f > WALL + 10 * S && view.removes > 1500);
    assert_int_equal(forgotten_by(&node), before);
    assert_int_equal(state_of(&node, 7), TLY_LIFE_SETTLED);
    check_image(&node, &taken, &rng);

    tly_image_free(image);
    for (unsigned i = 0; i < 20; i++)
        let_seconds_pass(&node);
    assert_true(forgotten_by(&node) > before + 1000);
    assert_int_equal(state_of(&node, 7), TLY_LIFE_RETIRED);
    tly_buf_fini(&out);
    disk_free(&taken.image);
    node_free(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_and_the_log_behind_it_are_the_whole_log),
        cmocka_unit_test(an_image_of_an_image_is_the_same_state),
        cmocka_unit_test(what_a_retired_life_wrote_is_in_it),
        cmocka_unit_test(a_life_in_which_nothing_was_made_is_not_in_it),
        cmocka_unit_test(what_is_made_after_the_beginning_is_left_to_the_log),
        cmocka_unit_test(a_dot_that_went_again_keeps_nobody_busy),
        cmocka_unit_test(in_the_middle_of_a_round_to_the_disk_it_waits),
        cmocka_unit_test(whatever_is_to_be_forgotten_an_image_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
