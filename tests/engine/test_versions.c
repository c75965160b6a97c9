/*
 * Nodes of today and of yesterday.  The recording in golden/session_v1.txt is what two nodes of protocol version 1 said to one
 * another; either of them is played to a node of today, which must answer in their language and come to hold the same.
 */
#include "service/engine/engine.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "wire/frame.h"
#include "wire/message.h"

#include <stdio.h>
#include <stdlib.h>

#define WALL UINT64_C(1700000000000000000)
#define HALF_MS UINT64_C(500000)
#define CONN 1

#ifndef TALLY_TESTS_DIR
#define TALLY_TESTS_DIR "tests"
#endif

struct player {
    struct tly_engine *engine;
    struct tly_mem mem;
    uint64_t mono;
    struct tly_buf sent, scratch;
    struct tly_round *round;
    bool closed;
};

static const uint64_t origins[2] = {UINT64_C(0xa0a0a0a0a0a0a0a0), UINT64_C(0xb0b0b0b0b0b0b0b0)};

static struct tly_time now_of(const struct player *player)
{
    return (struct tly_time){WALL + player->mono, player->mono};
}

static void event(struct player *player, struct tly_event what)
{
    struct tly_effects effects;
    what.now = now_of(player);
    assert_int_equal(tly_engine_step(player->engine, &what, &effects), TLY_OK);
    for (size_t i = 0; i < effects.count; i++) {
        const struct tly_effect *effect = &effects.list[i];
        if (effect->kind == TLY_DO_SEND) tly_buf_put(&player->sent, effect->bytes.p, effect->bytes.n);
        if (effect->kind == TLY_DO_CLOSE) player->closed = true;
    }
}

/* In the place of node a or b. */
static void player_init(struct player *player, char who)
{
    char address[] = {who, ':', '1', '\0'};
    *player = (struct player){.mem = test_mem(), .mono = 2000 * HALF_MS};
    struct tly_engine_config config = {.mem = player->mem,
                                       .name = tly_slice_of(address, 1),
                                       .cluster = tly_slice_text("test"),
                                       .address = tly_slice_text(address),
                                       .now = now_of(player)};
    assert_int_equal(tly_engine_new(&config, &player->engine), TLY_OK);
    assert_int_equal(tly_engine_start(player->engine, origins[who - 'a'], config.now), TLY_OK);
    tly_buf_init(&player->sent, &player->mem, 1 << 20);
    tly_buf_init(&player->scratch, &player->mem, TLY_FRAME_BODY_MAX);
    player->round = tly_mem_new(&player->mem, sizeof *player->round);
    assert_non_null(player->round);
    event(player, (struct tly_event){.kind = TLY_ACCEPTED, .conn = CONN});
}

static void player_fini(struct player *player)
{
    tly_engine_check(player->engine);
    tly_engine_free(player->engine);
    tly_buf_fini(&player->sent);
    tly_buf_fini(&player->scratch);
    tly_mem_free(&player->mem, player->round, sizeof *player->round);
    assert_int_equal(test_mem_live(), 0);
}

static void tick_until(struct player *player, uint64_t mono)
{
    for (; player->mono < mono; player->mono += HALF_MS)
        event(player, (struct tly_event){.kind = TLY_TICK});
}

static FILE *open_recording(void)
{
    char path[4096];
    const char *directory = getenv("TALLY_TESTS_DIR");
    snprintf(path, sizeof path, "%s/engine/golden/session_v1.txt",
             directory != NULL ? directory : TALLY_TESTS_DIR);
    FILE *file = fopen(path, "r");
    if (file == NULL) fail_msg("cannot read %s (tests run from the root of the tree)", path);
    return file;
}

static size_t unhex(char *text)
{
    size_t n = 0;
    for (; text[2 * n] > ' ' && text[2 * n + 1] > ' '; n++) {
        char digits[3] = {text[2 * n], text[2 * n + 1], '\0'};
        text[n] = (char)strtoul(digits, NULL, 16);
    }
    return n;
}

/* Plays what `other` said; how many times it said something. */
static size_t play(struct player *player, char other)
{
    static char line[1 << 16];
    size_t said = 0;
    FILE *file = open_recording();
    while (fgets(line, sizeof line, file) != NULL) {
        char *rest;
        uint64_t at = strtoull(line, &rest, 10);
        if (line[0] == '#' || rest[1] != other) continue;
        tick_until(player, at * HALF_MS);
        size_t n = unhex(rest + 3);
        event(player,
              (struct tly_event){.kind = TLY_BYTES, .conn = CONN, .bytes = tly_slice_of(rest + 3, n)});
        said++;
    }
    (void)fclose(file);
    return said;
}

static int64_t count_of(struct player *player, const char *key)
{
    struct tly_request read = {.kind = TLY_ASK_READ, .key = tly_slice_text(key), .now = now_of(player)};
    struct tly_reply reply;
    return tly_engine_ask(player->engine, &read, &reply) == TLY_OK ? reply.value.count : -1;
}

/* What was played knows more of its life than the node of today has made in it, which so begins another. */
static uint64_t life_of(struct player *player)
{
    struct tly_node_view view;
    tly_engine_node(player->engine, false, &view);
    return view.origin;
}

/* What the node of today has sent is of version 1, all of it; how many rows of its own life that were. */
static size_t own_rows(struct player *player, uint64_t origin)
{
    size_t rows_found = 0;
    struct tly_slice rest = tly_buf_slice(&player->sent);
    while (rest.n > 0) {
        struct tly_frame frame;
        size_t consumed;
        assert_int_equal(tly_frame_get(rest, &player->scratch, &frame, &consumed), TLY_OK);
        rest = tly_slice_of(rest.p + consumed, rest.n - consumed);
        assert_in_range(frame.type, TLY_FRAME_HELLO, TLY_FRAME_GOODBYE);
        if (frame.type != TLY_FRAME_ROUND) continue;
        assert_int_equal(tly_round_get(frame.body, player->round), TLY_OK);
        struct tly_rows rows = tly_rows_of(player->round);
        for (struct tly_row row; tly_rows_next(&rows, &row);)
            rows_found += row.dot.version.origin == origin;
    }
    return rows_found;
}

static void add_to(struct player *player, const char *key, int64_t number)
{
    struct tly_request add = {
        .kind = TLY_ASK_ADD, .key = tly_slice_text(key), .number = number, .now = now_of(player)};
    struct tly_reply reply;
    assert_int_equal(tly_engine_ask(player->engine, &add, &reply), TLY_OK);
    event(player, (struct tly_event){.kind = TLY_TICK});
}

static void a_node_of_today_understands_and_answers(char today, char yesterday)
{
    struct player player;
    player_init(&player, today);
    assert_true(play(&player, yesterday) > 8);
    assert_false(player.closed);
    /* b removed ctr:0 in the end; of ctr:3 and ctr:7 either side counted 4 + 3 + 2 + 1 and 5. */
    assert_int_equal(count_of(&player, "ctr:0"), -1);
    assert_int_equal(count_of(&player, "ctr:3"), 4 + 3 + 2 + 1);
    assert_int_equal(count_of(&player, "ctr:7"), 5);
    add_to(&player, "ctr:3", 100);
    tick_until(&player, player.mono + 100 * HALF_MS);
    assert_true(life_of(&player) != origins[today - 'a']);
    assert_true(own_rows(&player, life_of(&player)) >= 2); /* the member it is, and that counter */
    struct tly_stats stats;
    tly_engine_stats(player.engine, &stats);
    assert_int_equal(stats.sessions_broken + stats.naks_sent, 0);
    player_fini(&player);
}

static void a_recorded_a_is_understood(void **state)
{
    (void)state;
    struct player player;
    player_init(&player, 'b');
    assert_true(play(&player, 'a') > 8);
    assert_false(player.closed);
    assert_int_equal(count_of(&player, "ctr:0"), 1);
    assert_int_equal(count_of(&player, "ctr:3"), 4 + 3 + 2 + 1);
    assert_int_equal(count_of(&player, "ctr:7"), 5);
    player_fini(&player);
}

static void a_recorded_b_is_understood_and_answered(void **state)
{
    (void)state;
    a_node_of_today_understands_and_answers('a', 'b');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_a_is_understood),
        cmocka_unit_test(a_recorded_b_is_understood_and_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
