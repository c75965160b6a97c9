/* One engine and peers that follow a script, down to the frame: what a stream of one's own making cannot show. */
#include "service/engine/engine.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "wire/frame.h"
#include "wire/snapshot.h"
#include "wire/stream.h"

#include <stdio.h>

#define WALL UINT64_C(1700000000000000000)
#define MS UINT64_C(1000000)

enum { P1 = 1, P2 = 2 };

/* The version that the peers of all scenes speak: every claim holds in both. */
static unsigned spoken;

struct scene {
    uint64_t generation, window; /* of the counts that peers send */
    bool snapshots;              /* the peers know of them */
    struct tly_names *names;
    struct tly_parts *parts;
    struct tly_stream *out[3]; /* what the peers send, in version 2 */
    struct tly_mem mem;
    struct tly_engine *engine;
    struct tly_registry *registry;
    uint64_t mono;
    struct tly_buf body, frame, sent[3]; /* sent: what the engine gave each connection */
    bool closed[3];
};

static struct tly_slice text(const char *word)
{
    return tly_slice_text(word);
}

static void event(struct scene *scene, struct tly_event what)
{
    struct tly_effects effects;
    what.now = (struct tly_time){WALL + scene->mono, scene->mono};
    assert_int_equal(tly_engine_step(scene->engine, &what, &effects), TLY_OK);
    for (size_t i = 0; i < effects.count; i++) {
        const struct tly_effect *effect = &effects.list[i];
        if (effect->kind == TLY_DO_SEND)
            tly_buf_put(&scene->sent[effect->conn], effect->bytes.p, effect->bytes.n);
        if (effect->kind == TLY_DO_CLOSE) scene->closed[effect->conn] = true;
    }
}

static void pass(struct scene *scene, uint64_t ns)
{
    for (uint64_t until = scene->mono + ns; scene->mono < until; scene->mono += MS / 2)
        event(scene, (struct tly_event){.kind = TLY_TICK});
}

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){.mem = test_mem(), .mono = 1000 * MS};
    struct tly_engine_config config = {.mem = scene->mem, .name = text("e"), .cluster = text("test")};
    config.now = (struct tly_time){WALL, scene->mono};
    assert_int_equal(tly_engine_new(&config, &scene->engine), TLY_OK);
    assert_int_equal(tly_engine_start(scene->engine, 7, config.now), TLY_OK);
    struct tly_names_config names = {.mem = scene->mem, .names_max = 100, .key_bytes_max = 65536};
    scene->names = tly_names_new(&names);
    scene->parts = tly_parts_new(&scene->mem);
    for (size_t i = 0; i < 3; i++)
        scene->out[i] = tly_stream_new(&scene->mem);
    tly_buf_init(&scene->body, &scene->mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&scene->frame, &scene->mem, TLY_FRAME_BODY_MAX * 2);
    for (size_t i = 0; i < 3; i++)
        tly_buf_init(&scene->sent[i], &scene->mem, 1 << 20);

    struct tly_registry *none = tly_registry_new(&scene->mem);
    assert_non_null(none);
    assert_int_equal(tly_registry_with(none, text(""), tly_epoch_sum(), &scene->registry), TLY_OK);
    tly_registry_free(none);
    static const char *const lww[] = {"kv:", "config:", "policy:", "worker:", "sys:"};
    for (size_t i = 0; i < 6; i++) {
        struct tly_registry *next;
        const struct tly_strategy *strategy = i < 5 ? tly_lww() : tly_epoch_max();
        assert_int_equal(tly_registry_with(scene->registry, text(i < 5 ? lww[i] : "em:"), strategy, &next),
                         TLY_OK);
        tly_registry_free(scene->registry);
        scene->registry = next;
    }
}

static void scene_fini(struct scene *scene)
{
    tly_engine_check(scene->engine);
    tly_engine_free(scene->engine);
    tly_registry_free(scene->registry);
    tly_names_free(scene->names);
    tly_parts_free(scene->parts);
    for (size_t i = 0; i < 3; i++)
        tly_stream_free(scene->out[i]);
    tly_buf_fini(&scene->body);
    tly_buf_fini(&scene->frame);
    for (size_t i = 0; i < 3; i++)
        tly_buf_fini(&scene->sent[i]);
    assert_int_equal(test_mem_live(), 0);
}

/* Sends scene->body as a frame. */
static void say(struct scene *scene, uint64_t conn, enum tly_frame_type type)
{
    tly_buf_clear(&scene->frame);
    tly_frame_put(&scene->frame, type, tly_buf_slice(&scene->body));
    assert_int_equal(scene->frame.result, TLY_OK);
    event(scene, (struct tly_event){.kind = TLY_BYTES, .conn = conn, .bytes = tly_buf_slice(&scene->frame)});
    tly_buf_clear(&scene->body);
}

static void say_hello_named(struct scene *scene, uint64_t conn, const char *name, uint64_t origin,
                            const struct tly_mark *marks, size_t count)
{
    struct tly_hello hello = {1, spoken, text("test"), text(name), text(""), .origin = origin, .delta = true};
    hello.snapshot = scene->snapshots;
    tly_stream_reset(scene->out[conn]);
    hello.wall_ns = WALL;
    tly_hello_put(&scene->body, &hello, scene->registry, marks, count);
    say(scene, conn, TLY_FRAME_HELLO);
}

static void say_hello_with(struct scene *scene, uint64_t conn, uint64_t node, uint64_t origin,
                           const struct tly_mark *marks, size_t count)
{
    char name[] = {'p', (char)('0' + node), '\0'};
    say_hello_named(scene, conn, name, origin, marks, count);
}

static void say_hello(struct scene *scene, uint64_t conn, uint64_t origin, const struct tly_mark *marks,
                      size_t count)
{
    say_hello_with(scene, conn, conn, origin, marks, count);
}

/* Under the name of another connection's node. */
static void say_hello_as(struct scene *scene, uint64_t conn, uint64_t node, uint64_t origin)
{
    say_hello_with(scene, conn, node, origin, NULL, 0);
}

static void meet(struct scene *scene, uint64_t conn, uint64_t origin)
{
    event(scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = conn});
    say_hello(scene, conn, origin, NULL, 0);
    assert_false(scene->closed[conn]);
}

/* A part of a round with one windowless count, or without (version 0). NULL: no marks. */
struct part {
    unsigned flags;
    struct tly_version version;
    int64_t count;
    const struct tly_mark *start, *end;
};

static char *key_of(const struct part *part)
{
    static char key[] = "k?";
    key[1] = (char)('0' + part->count);
    return key;
}

static struct tly_mark_list list_of(const struct tly_mark *mark)
{
    return (struct tly_mark_list){mark, mark != NULL};
}

/* In version 2; `flags` may say that a round starts where the last one ended. */
static void say_part(struct scene *scene, uint64_t conn, unsigned flags, struct part part)
{
    struct tly_dot dot = {.version = part.version,
                          .op = TLY_PUT,
                          .num = {scene->window, scene->generation, (uint64_t)part.count, 0}};
    struct tly_part_head head = {.flags = flags, .start = list_of(part.start), .end = list_of(part.end)};
    tly_parts_begin(scene->parts, scene->out[conn], scene->names);
    if (part.version.ts != 0)
        assert_true(tly_parts_add(scene->parts, text(key_of(&part)), tly_epoch_sum(), &dot));
    tly_parts_end(scene->parts, &head, &scene->body);
    say(scene, conn, TLY_FRAME_PART);
}

/* In version 1, and in chunks of snapshots. */
static void put_round(struct scene *scene, struct part part, struct tly_buf *out)
{
    struct tly_round_writer *writer = tly_mem_new(&scene->mem, sizeof *writer);
    assert_non_null(writer);
    tly_round_writer_init(writer, &scene->mem);
    struct tly_dot dot = {
        .version = part.version, .op = TLY_PUT, .num = {scene->window, 0, (uint64_t)part.count, 0}};
    if (part.version.ts != 0)
        assert_true(tly_round_writer_add(writer, text(key_of(&part)), tly_epoch_sum(), &dot));
    tly_round_writer_finish(writer, part.flags, list_of(part.start), list_of(part.end), out);
    tly_round_writer_fini(writer);
    tly_mem_free(&scene->mem, writer, sizeof *writer);
}

static void say_round(struct scene *scene, uint64_t conn, struct part part)
{
    if (spoken == 2) {
        say_part(scene, conn, part.flags | ((part.flags & TLY_PART_FIRST) != 0 ? TLY_PART_START : 0u), part);
        return;
    }
    put_round(scene, part, &scene->body);
    say(scene, conn, TLY_FRAME_ROUND);
}

/* How many frames of a type the engine has sent there; the last one's body is in *last. Bodies are small: not compressed. */
static size_t heard(struct scene *scene, uint64_t conn, enum tly_frame_type type, struct tly_slice *last)
{
    size_t found = 0;
    struct tly_slice rest = tly_buf_slice(&scene->sent[conn]);
    while (rest.n > 0) {
        struct tly_frame frame;
        size_t consumed;
        assert_int_equal(tly_frame_get(rest, &scene->frame, &frame, &consumed), TLY_OK);
        rest = tly_slice_of(rest.p + consumed, rest.n - consumed);
        if (frame.type != (unsigned)type) continue;
        found++;
        if (last != NULL) *last = frame.body;
    }
    return found;
}

/* What the engine has said to a peer. */
struct said {
    size_t rows;   /* of the life that is asked for */
    uint64_t told; /* the last mark of that life in an ACK, or in a part beside its round */
};

static void add_round(struct tly_slice body, uint64_t origin, struct said *said)
{
    static struct tly_round round;
    assert_int_equal(tly_round_get(body, &round), TLY_OK);
    struct tly_rows rows = tly_rows_of(&round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        said->rows += row.dot.version.origin == origin;
}

static void add_ack(struct tly_slice body, uint64_t origin, struct said *said)
{
    struct tly_marks marks;
    assert_int_equal(tly_ack_get(body, &marks), TLY_OK);
    for (struct tly_mark mark; tly_marks_next(&marks, &mark);)
        if (mark.origin == origin) said->told = mark.ts;
}

static void add_part(const struct tly_part *part, uint64_t origin, struct said *said)
{
    for (size_t i = 0; i < part->row_count; i++)
        said->rows += part->rows[i].dot.version.origin == origin;
    for (size_t i = 0; i < part->told.count; i++)
        if (part->told.marks[i].origin == origin) said->told = part->told.marks[i].ts;
}

/* All that the engine has sent there, from the beginning on. */
static struct said said_to(struct scene *scene, uint64_t conn, uint64_t origin)
{
    struct said said = {0, 0};
    struct tly_stream *stream = tly_stream_new(&scene->mem);
    struct tly_slice rest = tly_buf_slice(&scene->sent[conn]);
    while (rest.n > 0) {
        struct tly_frame frame;
        struct tly_part part;
        size_t consumed;
        assert_int_equal(tly_frame_get(rest, &scene->frame, &frame, &consumed), TLY_OK);
        rest = tly_slice_of(rest.p + consumed, rest.n - consumed);
        if (frame.type == TLY_FRAME_ROUND) add_round(frame.body, origin, &said);
        if (frame.type == TLY_FRAME_ACK) add_ack(frame.body, origin, &said);
        if (frame.type != TLY_FRAME_PART) continue;
        assert_int_equal(spoken, 2);
        assert_int_equal(tly_parts_get(scene->parts, stream, frame.body, &part), TLY_OK);
        add_part(&part, origin, &said);
    }
    tly_stream_free(stream);
    return said;
}

/* Rows of a life that the engine has sent there. */
static size_t rows_heard(struct scene *scene, uint64_t conn, uint64_t origin)
{
    return said_to(scene, conn, origin).rows;
}

static int64_t value_of(struct scene *scene, const char *key)
{
    struct tly_request read = {
        .kind = TLY_ASK_READ, .key = text(key), .now = {WALL + scene->mono, scene->mono}};
    struct tly_reply reply;
    return tly_engine_ask(scene->engine, &read, &reply) == TLY_OK ? reply.value.count : -1;
}

/* The engine counts something of its own. */
static void count_one(struct scene *scene)
{
    struct tly_request add = {.kind = TLY_ASK_ADD, .key = text("own"), .number = 1};
    add.now = (struct tly_time){WALL + scene->mono, scene->mono};
    struct tly_reply reply;
    assert_int_equal(tly_engine_ask(scene->engine, &add, &reply), TLY_OK);
}

static struct tly_stats stats_of(const struct scene *scene)
{
    struct tly_stats stats;
    tly_engine_stats(scene->engine, &stats);
    return stats;
}

static const uint64_t whole = TLY_ROUND_FIRST | TLY_ROUND_LAST;

static void a_round_whose_start_is_not_covered_gets_a_nak_with_our_marks(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    struct tly_mark first = {55, WALL - 500}, start = {55, WALL - 400}, end = {55, WALL - 300};
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 600, 55}, 1, NULL, &first});
    assert_int_equal(value_of(&scene, "k1"), 1);
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 350, 55}, 2, &start, &end});
    assert_int_equal(value_of(&scene, "k2"), -1);
    struct tly_slice nak, why;
    assert_int_equal(heard(&scene, P1, TLY_FRAME_NAK, &nak), 1);
    struct tly_marks marks;
    assert_int_equal(tly_nak_get(nak, &why, &marks), TLY_OK);
    uint64_t told = 0;
    for (struct tly_mark mark; tly_marks_next(&marks, &mark);)
        if (mark.origin == 55) told = mark.ts;
    assert_int_equal(told, WALL - 500);
    /* Served from there, all is well. */
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 350, 55}, 2, &first, &end});
    assert_int_equal(value_of(&scene, "k2"), 2);
    scene_fini(&scene);
}

static void a_dot_that_comes_late_below_what_was_sent_is_still_sent(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    meet(&scene, P2, 12);
    pass(&scene, 50 * MS);
    struct tly_mark end = {55, WALL - 100};
    say_round(&scene, P1,
              (struct part){TLY_ROUND_FIRST, (struct tly_version){WALL - 200, 55}, 2, NULL, NULL});
    pass(&scene, 100 * MS); /* it may have come by its own link */
    assert_int_equal(rows_heard(&scene, P2, 55), 1);
    say_round(&scene, P1, (struct part){TLY_ROUND_LAST, (struct tly_version){WALL - 300, 55}, 3, NULL, &end});
    pass(&scene, 100 * MS);                            /* it may have come by its own link */
    assert_in_range(rows_heard(&scene, P2, 55), 2, 3); /* what lies above it may be sent again */
    scene_fini(&scene);
}

static void nothing_goes_back_to_a_peer_in_the_middle_of_its_round(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    pass(&scene, 50 * MS);
    struct tly_mark end = {55, WALL - 100};
    say_round(&scene, P1,
              (struct part){TLY_ROUND_FIRST, (struct tly_version){WALL - 300, 55}, 2, NULL, NULL});
    pass(&scene, 100 * MS);
    count_one(&scene);
    pass(&scene, 100 * MS);
    assert_int_equal(rows_heard(&scene, P1, 55), 0);
    assert_int_equal(rows_heard(&scene, P1, 7), 1);
    say_round(&scene, P1, (struct part){TLY_ROUND_LAST, (struct tly_version){WALL - 200, 55}, 3, NULL, &end});
    pass(&scene, 100 * MS);
    assert_int_equal(rows_heard(&scene, P1, 55), 0);
    assert_int_equal(rows_heard(&scene, P1, 7), 1);
    scene_fini(&scene);
}

static void marks_move_at_the_last_part_only(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    say_round(&scene, P1,
              (struct part){TLY_ROUND_FIRST, (struct tly_version){WALL - 300, 55}, 2, NULL, NULL});
    pass(&scene, 150 * MS);
    assert_int_equal(said_to(&scene, P1, 55).told, 0);
    struct tly_mark end = {55, WALL - 100};
    say_round(&scene, P1, (struct part){TLY_ROUND_LAST, (struct tly_version){0, 0}, 0, NULL, &end});
    pass(&scene, 150 * MS);
    assert_int_equal(said_to(&scene, P1, 55).told, WALL - 100);
    scene_fini(&scene);
}

/* A window longer than any: it is kept out and counted, and the rest of the round goes in. */
static void a_bad_dot_is_not_a_bad_peer(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    struct tly_mark end = {55, WALL - 100};
    say_round(&scene, P1, (struct part){.flags = TLY_ROUND_FIRST, .version = {WALL - 300, 55}, .count = 2});
    scene.window = UINT64_C(1) << 62;
    say_round(&scene, P1, (struct part){.version = {WALL - 200, 55}, .count = 3});
    scene.window = 0;
    say_round(&scene, P1,
              (struct part){.flags = TLY_ROUND_LAST, .version = {WALL - 100, 55}, .count = 4, .end = &end});
    pass(&scene, 150 * MS);
    assert_false(scene.closed[P1]);
    assert_int_equal(stats_of(&scene).dots_malformed, 1);
    assert_int_equal(stats_of(&scene).dots_applied, 2);
    assert_int_equal(said_to(&scene, P1, 55).told, WALL - 100);
    scene_fini(&scene);
}

static void a_part_without_its_beginning_ends_the_session(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    say_round(&scene, P1, (struct part){TLY_ROUND_LAST, (struct tly_version){WALL - 300, 55}, 2, NULL, NULL});
    assert_true(scene.closed[P1]);
    assert_int_equal(stats_of(&scene).sessions_broken, 1);
    scene_fini(&scene);
}

static void a_second_hello_ends_the_session(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    say_hello(&scene, P1, 11, NULL, 0);
    assert_true(scene.closed[P1]);
    scene_fini(&scene);
}

static void a_new_life_takes_the_place_of_the_old_which_may_not_come_back(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    pass(&scene, 50 * MS);
    event(&scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P2});
    say_hello_as(&scene, P2, P1, 12);
    assert_true(scene.closed[P1]);
    assert_false(scene.closed[P2]);
    scene.closed[P1] = false;
    event(&scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P1});
    say_hello(&scene, P1, 11, NULL, 0);
    assert_true(scene.closed[P1]);
    assert_false(scene.closed[P2]);
    assert_int_equal(stats_of(&scene).sessions_refused, 1);
    scene_fini(&scene);
}

/* A node was restarted while nothing of it came through here: then the greetings of both lives are here at once, and the older one comes last. */
static void who_was_replaced_by_a_late_greeting_is_welcome_once_that_life_is_gone(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 12);
    event(&scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P2});
    say_hello_as(&scene, P2, P1, 11);
    assert_true(scene.closed[P1]);
    event(&scene, (struct tly_event){.kind = TLY_CLOSED, .conn = P2});
    scene.closed[P1] = false;
    meet(&scene, P1, 12);
    assert_int_equal(stats_of(&scene).sessions_refused, 0);
    scene_fini(&scene);
}

static void greet_and_go(struct scene *scene, unsigned number)
{
    char name[16];
    (void)snprintf(name, sizeof name, "s%u", number);
    event(scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P2});
    say_hello_named(scene, P2, name, 1000 + number, NULL, 0);
    assert_false(scene->closed[P2]);
    event(scene, (struct tly_event){.kind = TLY_CLOSED, .conn = P2});
    tly_buf_clear(&scene->sent[P2]);
}

/* 4096 of them were all that ever got in. */
static void strangers_that_have_gone_keep_nobody_out(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    for (unsigned i = 0; i < 4100; i++)
        greet_and_go(&scene, i);
    assert_int_equal(tly_engine_peers(scene.engine), 4096);
    assert_false(scene.closed[P1]);
    count_one(&scene);
    pass(&scene, 50 * MS);
    assert_int_equal(rows_heard(&scene, P1, 7), 1);
    scene_fini(&scene);
}

static void nothing_is_said_before_hello(void **state)
{
    (void)state;
    static const enum tly_frame_type types[] = {TLY_FRAME_ROUND, TLY_FRAME_ACK, TLY_FRAME_NAK, TLY_FRAME_PING,
                                                TLY_FRAME_PONG};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct scene scene;
        scene_init(&scene);
        event(&scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P1});
        struct tly_ping ping = {1, 1};
        tly_ping_put(&scene.body, &ping);
        say(&scene, P1, types[i]);
        assert_true(scene.closed[P1]);
        scene_fini(&scene);
    }
}

static void silence_instead_of_hello_ends_the_connection_after_five_seconds(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    event(&scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P1});
    pass(&scene, 4999 * MS);
    assert_false(scene.closed[P1]);
    pass(&scene, 2 * MS);
    assert_true(scene.closed[P1]);
    scene_fini(&scene);
}

static void who_has_everything_is_sent_nothing(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    struct tly_mark end = {55, WALL - 100};
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 300, 55}, 2, NULL, &end});
    event(&scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P2});
    say_hello(&scene, P2, 12, &end, 1);
    pass(&scene, 100 * MS);
    assert_int_equal(rows_heard(&scene, P2, 55), 0);
    scene_fini(&scene);
}

static void a_clock_bomb_moves_nothing(void **state)
{
    (void)state;
    static const uint64_t bombs[] = {UINT64_MAX, UINT64_MAX - 1, WALL + UINT64_C(315576000000000000)};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene;
        scene_init(&scene);
        meet(&scene, P1, 11);
        struct tly_mark end = {55, WALL - 100}, far = {55, bombs[i]};
        say_round(&scene, P1,
                  (struct part){(unsigned)whole, (struct tly_version){bombs[i], 55}, 1, NULL, &end});
        say_round(&scene, P1,
                  (struct part){(unsigned)whole, (struct tly_version){WALL - 300, 55}, 2, NULL, &far});
        assert_int_equal(value_of(&scene, "k1"), -1);
        assert_int_equal(value_of(&scene, "k2"), -1);
        assert_int_equal(heard(&scene, P1, TLY_FRAME_NAK, NULL), 2);
        struct tly_peer_view peer;
        tly_engine_peer(scene.engine, 0, &peer);
        assert_int_equal(peer.clock_refusals, 2);
        struct tly_node_view view;
        tly_engine_node(scene.engine, false, &view);
        assert_true(view.clock_last < WALL + scene.mono + TLY_MAX_SKEW_NS);
        scene_fini(&scene);
    }
}

/* A snapshot of one life with one count; what of it is a moment. */
struct snapshot {
    uint64_t lost, forgotten, mark, floor, ts;
};

static void say_snapshot(struct scene *scene, uint64_t conn, struct snapshot snapshot)
{
    struct tly_life life = {.origin = 55, .mark = snapshot.mark, .floor = snapshot.floor};
    struct tly_snap_begin begin = {.number = 1, .bounds = {snapshot.lost, snapshot.forgotten}};
    tly_snap_begin_put(&scene->body, &begin, &life, 1);
    say(scene, conn, TLY_FRAME_SNAP_BEGIN);
    if (scene->closed[conn]) return;
    struct tly_buf part;
    tly_buf_init(&part, &scene->mem, TLY_FRAME_BODY_MAX);
    put_round(scene, (struct part){0, {snapshot.ts, 55}, 1, NULL, NULL}, &part);
    tly_snap_chunk_put(&scene->body, &(struct tly_snap_chunk){1, 0, tly_buf_slice(&part)});
    tly_buf_fini(&part);
    say(scene, conn, TLY_FRAME_SNAP_CHUNK);
    if (scene->closed[conn]) return;
    tly_snap_end_put(&scene->body, &(struct tly_snap_end){1, 1});
    say(scene, conn, TLY_FRAME_SNAP_END);
}

/* A peer that says it has forgotten what the engine never knew is asked for a snapshot. */
static void be_asked(struct scene *scene, uint64_t conn, uint64_t origin)
{
    meet(scene, conn, origin);
    tly_cold_put(&scene->body, &(struct tly_cold){.reason = TLY_COLD_FLOOR});
    say(scene, conn, TLY_FRAME_COLD_START);
    assert_int_equal(heard(scene, conn, TLY_FRAME_SNAP_ASK, NULL), 1);
}

static void a_snapshot_from_the_future_is_refused_and_moves_nothing(void **state)
{
    (void)state;
    static const uint64_t bombs[] = {UINT64_MAX, UINT64_MAX - 1, WALL + UINT64_C(315576000000000000)};
    for (size_t i = 0; i < 3; i++)
        for (size_t at = 0; at < 5; at++) {
            struct scene scene;
            scene_init(&scene);
            scene.snapshots = true;
            struct snapshot good = {.mark = WALL - 100, .ts = WALL - 200}, bad = good;
            uint64_t *moments[] = {&bad.lost, &bad.forgotten, &bad.mark, &bad.floor, &bad.ts};
            *moments[at] = bombs[i];
            be_asked(&scene, P1, 11);
            say_snapshot(&scene, P1, bad);
            assert_true(scene.closed[P1]);
            assert_int_equal(value_of(&scene, "k1"), -1);
            assert_int_equal(stats_of(&scene).snapshots_installed, 0);
            struct tly_peer_view peer;
            tly_engine_peer(scene.engine, 0, &peer);
            assert_int_equal(peer.clock_refusals, 1);
            struct tly_node_view view;
            tly_engine_node(scene.engine, false, &view);
            assert_true(view.clock_last < WALL + scene.mono + TLY_MAX_SKEW_NS);
            /* It was no hole either: one that is in time is taken from another, whole. */
            be_asked(&scene, P2, 12);
            say_snapshot(&scene, P2, good);
            assert_int_equal(stats_of(&scene).snapshots_installed, 1);
            assert_int_equal(value_of(&scene, "k1"), 1);
            scene_fini(&scene);
        }
}

/* Time goes on, and both peers answer that they are there. */
static void linger(struct scene *scene, uint64_t ns)
{
    for (uint64_t until = scene->mono + ns; scene->mono < until; scene->mono += 2000 * MS) {
        event(scene, (struct tly_event){.kind = TLY_TICK});
        for (uint64_t conn = P1; conn <= P2; conn++) {
            if (scene->closed[conn]) continue;
            tly_ping_put(&scene->body, &(struct tly_ping){scene->mono, WALL});
            say(scene, conn, TLY_FRAME_PING);
        }
    }
}

/* It is there, and yet nothing comes of it: nobody else could have brought this node up. */
static void a_source_that_brings_nothing_is_left_for_another(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    scene.snapshots = true;
    be_asked(&scene, P1, 11);
    meet(&scene, P2, 12);
    tly_cold_put(&scene.body, &(struct tly_cold){.reason = TLY_COLD_FLOOR});
    say(&scene, P2, TLY_FRAME_COLD_START);
    linger(&scene, 200000 * MS);
    tly_snap_begin_put(&scene.body, &(struct tly_snap_begin){.number = 1}, NULL, 0);
    say(&scene, P1, TLY_FRAME_SNAP_BEGIN);
    linger(&scene, 290000 * MS);
    assert_false(scene.closed[P1]);
    assert_int_equal(heard(&scene, P2, TLY_FRAME_SNAP_ASK, NULL), 0);
    linger(&scene, 30000 * MS);
    assert_true(scene.closed[P1]);
    assert_int_equal(heard(&scene, P2, TLY_FRAME_SNAP_ASK, NULL), 1);
    say_snapshot(&scene, P2, (struct snapshot){.mark = WALL - 100, .ts = WALL - 200});
    assert_int_equal(stats_of(&scene).snapshots_installed, 1);
    scene_fini(&scene);
}

/* Marks are a peer's word about itself; wherever they come, and whatever they say, our versions stay where the wall is. */
static void bomb_by_marks(struct scene *scene, uint64_t ts)
{
    struct tly_mark marks[] = {{55, ts}, {7, ts}, {11, ts}};
    event(scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P1});
    say_hello(scene, P1, 11, marks, 3);
    if (spoken == 1) {
        tly_ack_put(&scene->body, marks, 3);
        say(scene, P1, TLY_FRAME_ACK);
    }
    tly_nak_put(&scene->body, TLY_CLOCK_AHEAD, marks, 3);
    say(scene, P1, TLY_FRAME_NAK);
    say_round(scene, P1, (struct part){.flags = (unsigned)whole, .start = &marks[0], .end = &marks[0]});
    say_round(scene, P1, (struct part){.flags = (unsigned)whole, .end = &marks[1]});
    say_round(scene, P1, (struct part){.flags = (unsigned)whole, .end = &marks[2]});
    assert_false(scene->closed[P1]);
    assert_true(stats_of(scene).naks_sent >= 3);
}

static void marks_from_the_future_move_no_version(void **state)
{
    (void)state;
    static const uint64_t bombs[] = {UINT64_MAX, UINT64_MAX - 1, WALL + UINT64_C(315576000000000000)};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene;
        scene_init(&scene);
        bomb_by_marks(&scene, bombs[i]);
        struct tly_request put = {.kind = TLY_ASK_PUT, .key = text("kv:k"), .bytes = text("v")};
        put.now = (struct tly_time){WALL + scene.mono, scene.mono};
        for (size_t n = 0; n < 1000000; n++) {
            struct tly_reply reply;
            assert_int_equal(tly_engine_ask(scene.engine, &put, &reply), TLY_OK);
        }
        struct tly_node_view view;
        tly_engine_node(scene.engine, false, &view);
        assert_true(view.clock_last >= put.now.wall_ns + 999999);
        assert_true(view.clock_last < put.now.wall_ns + TLY_MAX_SKEW_NS);
        scene_fini(&scene);
    }
}

static void a_batch_from_the_future_is_not_replayed(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    struct tly_round_writer *writer = tly_mem_new(&scene.mem, sizeof *writer);
    assert_non_null(writer);
    tly_round_writer_init(writer, &scene.mem);
    struct tly_dot dot = {.version = {WALL + 2 * TLY_MAX_SKEW_NS, 55}, .op = TLY_PUT, .num = {0, 0, 1, 0}};
    assert_true(tly_round_writer_add(writer, text("k1"), tly_epoch_sum(), &dot));
    tly_round_writer_finish(writer, (unsigned)whole, (struct tly_mark_list){NULL, 0},
                            (struct tly_mark_list){NULL, 0}, &scene.body);
    tly_round_writer_fini(writer);
    tly_mem_free(&scene.mem, writer, sizeof *writer);
    struct tly_engine_config config = {.mem = scene.mem, .name = text("r"), .cluster = text("test")};
    config.now = (struct tly_time){WALL, 0};
    struct tly_engine *engine;
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    assert_int_equal(tly_engine_replay(engine, tly_buf_slice(&scene.body)), TLY_CLOCK_AHEAD);
    struct tly_node_view view;
    tly_engine_node(engine, false, &view);
    assert_int_equal(view.keys, 0);
    assert_true(view.clock_last <= WALL);
    tly_engine_free(engine);
    scene_fini(&scene);
}

static void max_skew_is_let_in_and_one_ns_more_is_not(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    /* The horizon began at WALL when mono stood where it stands still. */
    uint64_t edge = WALL + scene.mono + TLY_MAX_SKEW_NS;
    say_round(&scene, P1, (struct part){(unsigned)whole, (struct tly_version){edge + 1, 55}, 1, NULL, NULL});
    assert_int_equal(value_of(&scene, "k1"), -1);
    say_round(&scene, P1, (struct part){(unsigned)whole, (struct tly_version){edge, 55}, 2, NULL, NULL});
    assert_int_equal(value_of(&scene, "k2"), 2);
    /* What was refused is no hole: once time has passed it is taken. */
    scene.mono++;
    say_round(&scene, P1, (struct part){(unsigned)whole, (struct tly_version){edge + 1, 55}, 1, NULL, NULL});
    assert_int_equal(value_of(&scene, "k1"), 1);
    scene_fini(&scene);
}

static void a_dot_of_our_own_life_is_dropped(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    struct tly_mark end = {7, WALL - 100};
    say_round(&scene, P1, (struct part){(unsigned)whole, (struct tly_version){WALL - 300, 7}, 9, NULL, &end});
    assert_int_equal(value_of(&scene, "k9"), -1);
    assert_int_equal(stats_of(&scene).dots_forged, 1);
    assert_false(scene.closed[P1]);
    scene_fini(&scene);
}

/* What is relayed waits for its own link; were an own dot to wait with it, marks that rest on it would be there first. */
static void an_echo_of_the_own_life_does_not_hold_it_back(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    meet(&scene, P2, 12);
    count_one(&scene);
    pass(&scene, 200 * MS);
    size_t before = rows_heard(&scene, P2, 7);
    say_round(&scene, P1, (struct part){(unsigned)whole, (struct tly_version){WALL - 300, 7}, 9, NULL, NULL});
    assert_int_equal(stats_of(&scene).dots_forged, 1);
    count_one(&scene);
    pass(&scene, 30 * MS);
    assert_int_equal(rows_heard(&scene, P2, 7), before + 1);
    scene_fini(&scene);
}

static void events_of_connections_that_are_gone_are_counted_and_ignored(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    event(&scene, (struct tly_event){.kind = TLY_CLOSED, .conn = P1});
    event(&scene, (struct tly_event){.kind = TLY_CLOSED, .conn = P1});
    event(&scene, (struct tly_event){.kind = TLY_BYTES, .conn = P1, .bytes = text("garbage")});
    event(&scene, (struct tly_event){.kind = TLY_QUEUED, .conn = P1, .number = 5});
    assert_int_equal(stats_of(&scene).stale_callbacks, 3);
    scene_fini(&scene);
}

static void a_peer_that_asks_and_never_reads_costs_four_mib_at_most(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    for (int i = 0; i < 400000; i++) {
        struct tly_ping ping = {1, 1};
        tly_buf_clear(&scene.sent[P1]);
        tly_ping_put(&scene.body, &ping);
        say(&scene, P1, TLY_FRAME_PING);
        if (i % 1000 == 0) event(&scene, (struct tly_event){.kind = TLY_TICK});
    }
    struct tly_peer_view view;
    tly_engine_peer(scene.engine, 0, &view);
    assert_true(view.up && !scene.closed[P1]);
    assert_in_range(view.queued_bytes, 1, 4 << 20);
    scene_fini(&scene);
}

/* ---- claims of version 2 alone ---- */

static void a_round_goes_on_from_the_last_one(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    struct tly_mark first = {55, WALL - 500}, second = {55, WALL - 300};
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 500, 55}, 1, NULL, &first});
    say_part(&scene, P1, (unsigned)whole,
             (struct part){0, (struct tly_version){WALL - 300, 55}, 2, NULL, &second});
    assert_int_equal(value_of(&scene, "k2"), 2);
    pass(&scene, 150 * MS);
    assert_int_equal(said_to(&scene, P1, 55).told, WALL - 300);
    scene_fini(&scene);
}

static void what_follows_a_refused_round_is_passed_over_until_one_says_its_start(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    struct tly_mark start = {55, WALL - 400}, end = {55, WALL - 300};
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 350, 55}, 1, &start, &end});
    say_part(&scene, P1, (unsigned)whole,
             (struct part){0, (struct tly_version){WALL - 200, 55}, 2, NULL, NULL});
    assert_int_equal(value_of(&scene, "k1"), -1);
    assert_int_equal(value_of(&scene, "k2"), -1);
    assert_int_equal(heard(&scene, P1, TLY_FRAME_NAK, NULL), 1);
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 350, 55}, 1, NULL, &end});
    say_part(&scene, P1, (unsigned)whole,
             (struct part){0, (struct tly_version){WALL - 200, 55}, 2, NULL, NULL});
    assert_int_equal(value_of(&scene, "k1"), 1);
    assert_int_equal(value_of(&scene, "k2"), 2);
    assert_int_equal(heard(&scene, P1, TLY_FRAME_NAK, NULL), 1);
    assert_false(scene.closed[P1]);
    scene_fini(&scene);
}

/* A count may come to P2 by its own link; a new generation makes redundant what a third life had there, and this node's marks may rest on that. */
static void what_may_wait_is_not_in_the_next_round_and_what_is_urgent_is(void **state)
{
    (void)state;
    for (uint64_t generation = 0; generation < 2; generation++) {
        struct scene scene;
        scene_init(&scene);
        meet(&scene, P1, 11);
        meet(&scene, P2, 12);
        pass(&scene, 50 * MS);
        struct tly_mark first = {55, WALL - 500}, third = {66, WALL - 400}, end = {55, WALL - 300};
        say_round(&scene, P1,
                  (struct part){(unsigned)whole, (struct tly_version){WALL - 500, 55}, 1, NULL, &first});
        say_part(&scene, P1, (unsigned)whole,
                 (struct part){0, (struct tly_version){WALL - 400, 66}, 2, NULL, &third});
        scene.generation = generation;
        say_part(&scene, P1, (unsigned)whole,
                 (struct part){0, (struct tly_version){WALL - 300, 55}, 2, NULL, &end});
        count_one(&scene);
        event(&scene, (struct tly_event){.kind = TLY_TICK});
        assert_int_equal(rows_heard(&scene, P2, 7), 1);
        assert_int_equal(rows_heard(&scene, P2, 55), 2 * generation);
        pass(&scene, 50 * MS);
        assert_int_equal(rows_heard(&scene, P2, 55), 2 * generation);
        pass(&scene, 50 * MS);
        assert_int_equal(rows_heard(&scene, P2, 55), 2);
        assert_int_equal(rows_heard(&scene, P1, 55), 0);
        scene_fini(&scene);
    }
}

static void who_leaves_holds_nothing_back(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    meet(&scene, P2, 12);
    pass(&scene, 50 * MS);
    struct tly_mark end = {55, WALL - 300};
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 300, 55}, 1, NULL, &end});
    assert_int_equal(rows_heard(&scene, P2, 55), 0);
    event(&scene, (struct tly_event){.kind = TLY_LEAVE});
    assert_int_equal(rows_heard(&scene, P2, 55), 1);
    scene_fini(&scene);
}

/* It lacked a generation that nobody held back yet when more of that life came. */
static void what_is_owed_already_does_not_wait_for_what_comes_later(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    scene.generation = 5;
    struct tly_mark first = {55, WALL - 500}, second = {55, WALL - 300};
    say_round(&scene, P1,
              (struct part){(unsigned)whole, (struct tly_version){WALL - 500, 55}, 1, NULL, &first});
    pass(&scene, 50 * MS);
    event(&scene, (struct tly_event){.kind = TLY_ACCEPTED, .conn = P2});
    tly_buf_clear(&scene.sent[P2]);
    say_hello(&scene, P2, 12, NULL, 0);
    scene.generation = 0;
    say_part(&scene, P1, (unsigned)whole,
             (struct part){0, (struct tly_version){WALL - 300, 55}, 2, NULL, &second});
    event(&scene, (struct tly_event){.kind = TLY_TICK});
    assert_true(rows_heard(&scene, P2, 55) >= 1);
    scene_fini(&scene);
}

static void a_first_round_without_its_start_ends_the_session(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    say_part(&scene, P1, (unsigned)whole,
             (struct part){0, (struct tly_version){WALL - 200, 55}, 2, NULL, NULL});
    assert_true(scene.closed[P1]);
    assert_int_equal(value_of(&scene, "k2"), -1);
    scene_fini(&scene);
}

static void what_the_other_version_says_ends_the_session(void **state)
{
    (void)state;
    static const enum tly_frame_type foreign[2][2] = {{TLY_FRAME_PART, TLY_FRAME_PART},
                                                      {TLY_FRAME_ROUND, TLY_FRAME_ACK}};
    for (size_t i = 0; i < 2; i++) {
        struct scene scene;
        scene_init(&scene);
        meet(&scene, P1, 11);
        tly_buf_put(&scene.body, "\x04\x00", 2);
        say(&scene, P1, foreign[spoken - 1][i]);
        assert_true(scene.closed[P1]);
        scene_fini(&scene);
    }
}

static void after_a_nak_all_is_sent_again(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    meet(&scene, P1, 11);
    count_one(&scene);
    pass(&scene, 50 * MS);
    assert_int_equal(rows_heard(&scene, P1, 7), 1);
    tly_nak_put(&scene.body, TLY_STALE, NULL, 0);
    say(&scene, P1, TLY_FRAME_NAK);
    pass(&scene, 50 * MS);
    assert_int_equal(rows_heard(&scene, P1, 7), 2);
    scene_fini(&scene);
}

static int speak_1(void **state)
{
    (void)state;
    spoken = 1;
    return 0;
}

static int speak_2(void **state)
{
    (void)state;
    spoken = 2;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_whose_start_is_not_covered_gets_a_nak_with_our_marks),
        cmocka_unit_test(a_dot_that_comes_late_below_what_was_sent_is_still_sent),
        cmocka_unit_test(nothing_goes_back_to_a_peer_in_the_middle_of_its_round),
        cmocka_unit_test(marks_move_at_the_last_part_only),
        cmocka_unit_test(a_bad_dot_is_not_a_bad_peer),
        cmocka_unit_test(a_part_without_its_beginning_ends_the_session),
        cmocka_unit_test(a_second_hello_ends_the_session),
        cmocka_unit_test(a_new_life_takes_the_place_of_the_old_which_may_not_come_back),
        cmocka_unit_test(who_was_replaced_by_a_late_greeting_is_welcome_once_that_life_is_gone),
        cmocka_unit_test(nothing_is_said_before_hello),
        cmocka_unit_test(silence_instead_of_hello_ends_the_connection_after_five_seconds),
        cmocka_unit_test(who_has_everything_is_sent_nothing),
        cmocka_unit_test(a_clock_bomb_moves_nothing),
        cmocka_unit_test(a_snapshot_from_the_future_is_refused_and_moves_nothing),
        cmocka_unit_test(a_source_that_brings_nothing_is_left_for_another),
        cmocka_unit_test(marks_from_the_future_move_no_version),
        cmocka_unit_test(a_batch_from_the_future_is_not_replayed),
        cmocka_unit_test(max_skew_is_let_in_and_one_ns_more_is_not),
        cmocka_unit_test(a_dot_of_our_own_life_is_dropped),
        cmocka_unit_test(an_echo_of_the_own_life_does_not_hold_it_back),
        cmocka_unit_test(events_of_connections_that_are_gone_are_counted_and_ignored),
        cmocka_unit_test(a_peer_that_asks_and_never_reads_costs_four_mib_at_most),
        cmocka_unit_test(what_the_other_version_says_ends_the_session),
        cmocka_unit_test(after_a_nak_all_is_sent_again),
    };
    const struct CMUnitTest of_parts[] = {
        cmocka_unit_test(a_round_goes_on_from_the_last_one),
        cmocka_unit_test(what_follows_a_refused_round_is_passed_over_until_one_says_its_start),
        cmocka_unit_test(what_may_wait_is_not_in_the_next_round_and_what_is_urgent_is),
        cmocka_unit_test(who_leaves_holds_nothing_back),
        cmocka_unit_test(what_is_owed_already_does_not_wait_for_what_comes_later),
        cmocka_unit_test(a_first_round_without_its_start_ends_the_session),
        cmocka_unit_test(strangers_that_have_gone_keep_nobody_out),
    };
    return cmocka_run_group_tests_name("version 1", tests, speak_1, NULL) +
           cmocka_run_group_tests_name("version 2", tests, speak_2, NULL) +
           cmocka_run_group_tests_name("version 2 alone", of_parts, speak_2, NULL);
}
