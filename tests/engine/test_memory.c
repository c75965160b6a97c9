/* memory_max: new keys stop at it, nothing that counts is lost, and what a peer has over is asked for again. */
#include "crdt/epoch_sum.h"
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define CEILING ((size_t)2 << 20)
#define KEYS 40000
#define LAST (KEYS + 8000)

static const char *key_name(char *text, size_t size, size_t i)
{
    snprintf(text, size, "some-key-of-31-bytes-%09zu", i);
    return text;
}

static struct tly_node_view view_of(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    assert_true(view.memory_max == 0 || view.memory_used <= view.memory_max);
    return view;
}

static enum tly_result add(struct net *net, size_t node, size_t i)
{
    char text[48];
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_ADD, .key = tly_slice_text(key_name(text, sizeof text, i)), .number = 1};
    return net_ask(net, node, request, &reply);
}

/*
 * Adds keys 0, 1, … until one does not fit; how many did. Memory is taken in lumps and the next key may need none, so others are
 * added then until hundreds in a row do not fit.
 */
static size_t fill(struct net *net, size_t node)
{
    size_t count = 0, in_a_row = 0;
    for (; count < 2 * KEYS && add(net, node, count) == TLY_OK; count++)
        if (count % 500 == 0) net_run(net, 20 * MS);
    for (size_t i = 2 * KEYS; i < 4 * KEYS && in_a_row < 300; i++) {
        enum tly_result result = add(net, node, i);
        assert_true(result == TLY_OK || result == TLY_FULL);
        in_a_row = result == TLY_FULL ? in_a_row + 1 : 0;
        if (i % 500 == 0) net_run(net, 20 * MS);
    }
    if (in_a_row < 300) fail_msg("%s", "it was never full");
    return count;
}

static struct tly_verdict check(struct net *net, size_t node, const char *key, const char *rate)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = {.key = tly_slice_text(key), .hits = 1}};
    assert_int_equal(tly_rate_parse(tly_slice_text(rate), &request.check.rate), TLY_OK);
    request.check.rate.algorithm = TLY_FIXED_WINDOW;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict;
}

/* Blocks of one size share a page, so a few keys of another size may still find room. */
static struct tly_verdict check_until_full(struct net *net, size_t node, const char *rate)
{
    for (size_t i = 0; i < KEYS; i++) {
        char key[48];
        snprintf(key, sizeof key, "a check of a new key %zu", i);
        struct tly_verdict verdict = check(net, node, key, rate);
        if (verdict.full) return verdict;
        assert_int_equal(verdict.code, TLY_CODE_OK);
    }
    fail_msg("%s", "it was never full");
    return (struct tly_verdict){0};
}

static void new_keys_stop_and_old_ones_go_on(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING}, 0);
    size_t count = fill(net, 0);
    assert_in_range(count, 3000, KEYS);
    size_t refused = net_stats(net, 0).writes_refused_full, keys = view_of(net, 0).keys;
    for (size_t i = 0; i < 1000; i++)
        refused += add(net, 0, 4 * KEYS + i) == TLY_FULL;
    assert_int_equal(net_stats(net, 0).writes_refused_full, refused);
    assert_true(refused > 1000 && view_of(net, 0).keys < keys + 100);
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < count; i++)
            assert_int_equal(add(net, 0, i), TLY_OK);
        net_run(net, 20 * MS);
        (void)view_of(net, 0);
    }
    char text[48];
    for (size_t i = 0; i < count; i++)
        assert_int_equal(net_read(net, 0, key_name(text, sizeof text, i)), 4);
    net_free(net);
}

/* It is handed to the disk in many turns, for a copy of all that is here does not fit beside it. */
static void what_comes_in_one_turn_is_handed_over_in_many(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING, .has_store = true}, 0);
    size_t count = 0;
    while (count < KEYS && add(net, 0, count) == TLY_OK)
        count++;
    assert_in_range(count, 3000, KEYS - 1);
    net_run(net, S);
    assert_true(tly_engine_has_handed_all(net_node(net, 0)));
    (void)view_of(net, 0);
    net_restart(net, 0, 77, SIZE_MAX);
    assert_in_range(tly_ormap_count(net_node(net, 0)->map), count, count + 10);
    net_free(net);
}

static void on_full_decides_what_becomes_of_a_check(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING, .on_full = TLY_ON_FULL_ADMIT}, 0);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING, .on_full = TLY_ON_FULL_REFUSE}, 0);
    for (size_t node = 0; node < 2; node++) {
        assert_int_equal(check(net, node, "old", "2/1d").remaining, 1);
        (void)fill(net, node);
        struct tly_verdict verdict = check_until_full(net, node, "2/1d");
        assert_int_equal(verdict.code, node == 0 ? TLY_CODE_OK : TLY_CODE_OVER);
        assert_int_equal(verdict.remaining, node == 0 ? 2 : 0);
        assert_int_equal(net_stats(net, node).checks_uncounted, node == 0);
        assert_int_equal(net_stats(net, node).checks_refused_full, node == 1);
        verdict = check(net, node, "old", "2/1d");
        assert_false(verdict.full);
        assert_int_equal(verdict.code, TLY_CODE_OK);
        assert_int_equal(check(net, node, "old", "2/1d").code, TLY_CODE_OVER);
    }
    net_free(net);
}

static void a_shadow_never_refuses_for_want_of_room_either(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING, .on_full = TLY_ON_FULL_REFUSE}, 0);
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    assert_non_null(rules);
    struct tly_rule rule = {.name = "s",
                            .field = {"k"},
                            .field_count = 1,
                            .rate = {.limit = 5, .window_ms = 86400000},
                            .shadow = true};
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules);
    (void)fill(net, 0);
    struct tly_reply reply = {0};
    for (size_t i = 0; i < KEYS && !reply.verdict.full; i++) {
        char text[48];
        struct tly_field field = {tly_slice_text("k"), tly_slice_text(key_name(text, sizeof text, i))};
        struct tly_request request = {
            .kind = TLY_ASK_CHECK,
            .check = {.limit = tly_slice_text("s"), .fields = &field, .field_count = 1, .hits = 1}};
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    }
    assert_true(reply.verdict.full && reply.verdict.shadow);
    assert_int_equal(reply.verdict.code, TLY_CODE_OK);
    net_free(net);
}

static void what_has_expired_makes_room(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING, .max_skew_ns = S}, 0);
    net_run(net, 61 * S); /* nothing goes in a node's first minute */
    assert_int_equal(add(net, 0, 0), TLY_OK);
    size_t taken[2];
    for (int flood = 0; flood < 2; flood++) {
        taken[flood] = 0;
        for (size_t i = 0; i < KEYS; i++) {
            char text[48];
            snprintf(text, sizeof text, "window-%d-%zu", flood, i);
            if (check(net, 0, text, "5/100ms").full) break;
            taken[flood]++;
        }
        assert_in_range(taken[flood], 3000, KEYS - 1);
        /* Three windows and max_skew, and a pass that does not dawdle now. */
        net_run(net, 3 * S + S / 2);
        assert_true(net_stats(net, 0).dots_expired > taken[flood] / 2);
    }
    assert_in_range(taken[1], taken[0] * 9 / 10, taken[0] * 11 / 10);
    char text[48];
    assert_int_equal(net_read(net, 0, key_name(text, sizeof text, 0)), 1);
    net_free(net);
}

/* n0 has no ceiling and floods n1, which has one. */
static struct net *flooded(size_t *old)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.max_skew_ns = S}, 0);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING, .max_skew_ns = S}, 1);
    net_run(net, 61 * S);
    *old = 100;
    for (size_t i = 0; i < *old; i++)
        assert_int_equal(add(net, 0, i), TLY_OK);
    net_run(net, S);
    for (size_t i = 0; i < KEYS; i++) {
        char text[48];
        snprintf(text, sizeof text, "window-%zu", i);
        assert_false(check(net, 0, text, "5/20s").full);
        if (i % 1000 == 0) {
            net_run(net, 20 * MS);
            (void)view_of(net, 1);
        }
    }
    /* The last to come, and so many that what is left of a page has no room for the very last. */
    for (size_t i = KEYS; i <= LAST; i++)
        assert_int_equal(add(net, 0, i), TLY_OK);
    net_run(net, S);
    return net;
}

static void a_flood_from_a_peer_stops_at_the_ceiling_and_old_keys_stay_up_to_date(void **state)
{
    (void)state;
    size_t old;
    struct net *net = flooded(&old);
    struct tly_node_view view = view_of(net, 1);
    assert_int_equal(view.peers_held_back, 1);
    assert_true(view.keys < KEYS);
    assert_true(net_stats(net, 1).dots_held_back > 0);
    char text[48];
    for (int turn = 2; turn < 5; turn++) {
        for (size_t i = 0; i < old; i++)
            assert_int_equal(add(net, 0, i), TLY_OK);
        net_run(net, 100 * MS);
        for (size_t i = 0; i < old; i++)
            assert_int_equal(net_read(net, 1, key_name(text, sizeof text, i)), turn);
    }
    (void)view_of(net, 1);
    net_free(net);
}

/* Of the last to come one that did not fit: what needs no more than is left of a page still may. */
static size_t left_out(struct net *net, size_t node)
{
    char text[48];
    for (size_t i = KEYS; i <= LAST; i++)
        if (net_read(net, node, key_name(text, sizeof text, i)) == INT64_MIN) return i;
    fail_msg("%s", "all fitted");
    return 0;
}

static void what_did_not_fit_comes_when_there_is_room(void **state)
{
    (void)state;
    size_t old;
    char text[48];
    struct net *net = flooded(&old);
    size_t last = left_out(net, 1);
    uint64_t bytes = net_bytes(net);
    net_run(net, 30 * S);
    /* Nobody asks for all of it again and again while there is no room. */
    assert_true(net_bytes(net) - bytes < 100000);
    net_run(net, 180 * S);
    assert_int_equal(net_read(net, 1, key_name(text, sizeof text, last)), 1);
    assert_int_equal(view_of(net, 1).peers_held_back, 0);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

static void cuts_while_it_is_held_back_lose_nothing(void **state)
{
    (void)state;
    size_t old;
    char text[48];
    struct net *net = flooded(&old);
    size_t last = left_out(net, 1);
    for (int turn = 2; turn < 6; turn++) {
        net_cut(net, 0, 1);
        for (size_t i = 0; i < old; i++)
            assert_int_equal(add(net, 0, i), TLY_OK);
        net_run(net, 3 * S);
        assert_int_equal(view_of(net, 1).peers_held_back, 1);
        for (size_t i = 0; i < old; i++)
            assert_int_equal(net_read(net, 1, key_name(text, sizeof text, i)), turn);
    }
    net_block(net, 0, 1, true);
    net_run(net, S);
    assert_int_equal(view_of(net, 1).peers_held_back, 0); /* who is gone holds up nothing */
    net_block(net, 0, 1, false);
    net_run(net, 240 * S);
    assert_int_equal(view_of(net, 1).peers_held_back, 0);
    assert_int_equal(net_read(net, 1, key_name(text, sizeof text, last)), 1);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

/* Both sides of a cut fill up with keys of their own: neither passes its ceiling, and what is common stays common. */
static void two_full_halves_meet(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    /* Large enough for the buffers of connections to be small beside it. */
    struct tly_engine_config config = {.memory_max = 4 * CEILING, .max_skew_ns = S};
    net_add_with(net, config, 0);
    net_add_with(net, config, 1);
    net_run(net, 2 * S);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(add(net, 0, i), TLY_OK);
    net_run(net, S);
    net_block(net, 0, 1, true);
    size_t first = fill(net, 0), taken = 0;
    for (size_t i = 0; i < 4 * KEYS; i++)
        taken += add(net, 1, 4 * KEYS + i) == TLY_OK;
    assert_in_range(taken, 10000, 4 * KEYS - 1);
    net_block(net, 0, 1, false);
    net_run(net, 60 * S);
    for (size_t node = 0; node < 2; node++)
        assert_int_equal(view_of(net, node).peers_held_back, 1);
    char text[48];
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(add(net, 1, i), TLY_OK);
    net_run(net, S);
    for (size_t i = 0; i < first; i++)
        assert_int_equal(net_read(net, 0, key_name(text, sizeof text, i)), i < 50 ? 3 : 1);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(net_read(net, 1, key_name(text, sizeof text, i)), 3);
    net_free(net);
}

/* A mark that moved would say that all is here: a third node asks n1 and must not be told so. */
static void no_mark_covers_what_did_not_fit(void **state)
{
    (void)state;
    size_t old;
    char text[48];
    struct net *net = flooded(&old);
    size_t last = left_out(net, 1);
    net_block(net, 0, 2, true);
    net_add_with(net, (struct tly_engine_config){.max_skew_ns = S}, 2);
    net_run(net, 2 * S);
    /* n2 has heard n1's marks only; what n0 then tells it must include what n1 lacked. */
    net_block(net, 1, 2, true);
    net_block(net, 0, 2, false);
    net_run(net, 60 * S);
    assert_int_equal(net_read(net, 2, key_name(text, sizeof text, last)), 1);
    for (size_t i = 0; i < old; i++)
        assert_int_equal(net_read(net, 2, key_name(text, sizeof text, i)), 1);
    net_free(net);
}

/* Of a life that nobody has, as a round would bring it that says no mark. */
static void make_up(struct net *net, size_t node, uint64_t origin, size_t from, size_t count)
{
    struct tly_engine *e = net_node(net, node);
    struct tly_dot dot = {.op = TLY_PUT, .version = {net_time(net, node).wall_ns, origin}};
    dot.num[TLY_SUM_COUNT] = 1;
    for (size_t i = from; i < from + count; i++) {
        char text[48];
        enum tly_outcome outcome;
        dot.version.ts++;
        struct tly_slice key = tly_slice_text(key_name(text, sizeof text, i));
        assert_int_equal(tly_ormap_apply(e->map, key, &dot, &outcome), TLY_OK);
    }
}

/* What all have of it stays different as long as n0 is full; a mark over all of it would say that n0 has it. */
static void nor_does_a_mark_over_what_differs(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.memory_max = CEILING}, 0);
    net_add_with(net, (struct tly_engine_config){0}, 1);
    net_run(net, 3 * S);
    (void)fill(net, 0);
    make_up(net, 1, 55, 4 * KEYS, 8000);
    char text[48];
    del(net, 1, key_name(text, sizeof text, 0));
    net_run(net, 300 * S);
    assert_int_equal(view_of(net, 0).peers_held_back, 1);
    assert_int_equal(net_life(net, 0, 55).state, TLY_LIFE_CLOSED);
    assert_int_equal(net_life(net, 0, 55).mark, 0);
    net_free(net);
}

/* n1 is full, lacks key `last` of n0's life, and has a newer dot of it: no mark covers either. */
static struct net *flooded_with_a_hole(size_t *last)
{
    size_t old;
    struct net *net = flooded(&old);
    *last = left_out(net, 1);
    assert_int_equal(add(net, 0, 0), TLY_OK);
    net_run(net, S);
    struct tly_life life = net_life(net, 1, view_of(net, 0).origin);
    assert_true(life.mark < life.last);
    return net;
}

/*
 * n0 is forgotten while n1 is full, so its life is settled at the newest that n1 has of it, though not all below that is there. n0 is back at
 * once and keeps what it has; a comparison brings it when there is room.
 */
static void what_did_not_fit_of_a_forgotten_life_comes_by_repair(void **state)
{
    (void)state;
    char text[48];
    size_t last;
    struct net *net = flooded_with_a_hole(&last);
    uint64_t origin = view_of(net, 0).origin, newest = net_life(net, 1, origin).last;
    forget_member(net, 1, "n0");
    net_run(net, 5 * S);
    assert_true(view_of(net, 0).origin != origin);
    assert_true(net_life(net, 1, origin).state >= TLY_LIFE_SETTLED);
    assert_int_equal(net_life(net, 1, origin).mark, newest);
    assert_int_equal(net_read(net, 0, key_name(text, sizeof text, last)), 1);
    assert_int_equal(net_read(net, 1, key_name(text, sizeof text, last)), INT64_MIN);
    net_run(net, 300 * S);
    assert_int_equal(net_read(net, 1, key_name(text, sizeof text, last)), 1);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    assert_true(net_stats(net, 1).dots_repaired > 0);
    net_free(net);
}

/* n0 is away until what was deleted meanwhile is forgotten, so it gets a snapshot, which lacks what did not fit and replaces what n0 has. */
static void what_did_not_fit_of_a_forgotten_life_is_carried_over(void **state)
{
    (void)state;
    char text[48];
    size_t last;
    struct net *net = flooded_with_a_hole(&last);
    uint64_t origin = view_of(net, 0).origin;
    net_block(net, 0, 1, true);
    forget_member(net, 1, "n0");
    del(net, 1, key_name(text, sizeof text, 1));
    net_run(net, 700 * S);
    assert_true(net_life(net, 1, origin).state >= TLY_LIFE_SETTLED);
    assert_int_equal(net_read(net, 1, key_name(text, sizeof text, last)), INT64_MIN);
    assert_int_equal(net_stats(net, 1).removes_forgotten, 1);
    net_block(net, 0, 1, false);
    net_run(net, 60 * S);
    assert_true(view_of(net, 0).origin != origin);
    assert_int_equal(net_stats(net, 0).snapshots_installed, 1);
    for (size_t node = 0; node < 2; node++) {
        assert_int_equal(net_read(net, node, key_name(text, sizeof text, 0)), 2);
        assert_int_equal(net_read(net, node, key_name(text, sizeof text, 1)), INT64_MIN);
        for (size_t i = KEYS; i <= LAST; i++)
            assert_int_equal(net_read(net, node, key_name(text, sizeof text, i)), 1);
    }
    assert_true(net_stats(net, 0).units_carried > 0);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

/* One node alone, whose allocation number n fails: that is no memory, not a full store, and changes nothing. */
static bool survives_failure(size_t n)
{
    struct test_failing failing = {.countdown = SIZE_MAX};
    struct tly_engine_config config = {
        .mem = test_failing_mem(&failing),
        .name = tly_slice_text("n0"),
        .cluster = tly_slice_text("test"),
        .memory_max = (size_t)80 << 10,
        .now = {NET_WALL_START, S},
    };
    struct tly_engine *engine;
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    assert_int_equal(tly_engine_start(engine, 7, config.now), TLY_OK);
    failing = (struct test_failing){.countdown = n};
    size_t taken = 0, refused = 0;
    for (size_t i = 0; i < 400; i++) {
        char text[48];
        struct tly_reply reply;
        struct tly_request request = {.kind = TLY_ASK_ADD, .now = config.now, .number = 1};
        request.key = tly_slice_text(key_name(text, sizeof text, i));
        enum tly_result result = tly_engine_ask(engine, &request, &reply);
        if (result == TLY_NOMEM) result = tly_engine_ask(engine, &request, &reply);
        assert_true(result == TLY_OK || result == TLY_FULL);
        taken += result == TLY_OK;
        refused += result == TLY_FULL;
    }
    tly_engine_check(engine);
    assert_true(taken > 50 && refused > 50);
    struct tly_node_view view;
    tly_engine_node(engine, false, &view);
    assert_int_equal(view.keys, taken);
    bool failed = failing.failed;
    tly_engine_free(engine);
    assert_int_equal(test_mem_live(), 0);
    return failed;
}

static void no_memory_is_told_from_a_full_store(void **state)
{
    (void)state;
    size_t n = 0;
    while (survives_failure(n))
        n++;
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_keys_stop_and_old_ones_go_on),
        cmocka_unit_test(what_comes_in_one_turn_is_handed_over_in_many),
        cmocka_unit_test(on_full_decides_what_becomes_of_a_check),
        cmocka_unit_test(a_shadow_never_refuses_for_want_of_room_either),
        cmocka_unit_test(what_has_expired_makes_room),
        cmocka_unit_test(a_flood_from_a_peer_stops_at_the_ceiling_and_old_keys_stay_up_to_date),
        cmocka_unit_test(what_did_not_fit_comes_when_there_is_room),
        cmocka_unit_test(cuts_while_it_is_held_back_lose_nothing),
        cmocka_unit_test(two_full_halves_meet),
        cmocka_unit_test(no_mark_covers_what_did_not_fit),
        cmocka_unit_test(nor_does_a_mark_over_what_differs),
        cmocka_unit_test(what_did_not_fit_of_a_forgotten_life_comes_by_repair),
        cmocka_unit_test(what_did_not_fit_of_a_forgotten_life_is_carried_over),
        cmocka_unit_test(no_memory_is_told_from_a_full_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
