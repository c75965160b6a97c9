/* Lives that no member has: made up by whoever speaks to a node, or come in an archive. */
#include "crdt/strategy.h"
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"
#include "wire/pack.h"

#include <stdio.h>

#define S UINT64_C(1000000000)
#define STRAY UINT64_C(55)

/* As a round would bring it that says no mark. */
static void make_up(struct net *net, size_t node, const char *key, enum tly_op op, uint64_t ts)
{
    struct tly_engine *e = net_node(net, node);
    enum tly_outcome outcome;
    struct tly_dot dot = {.op = op, .version = {ts, STRAY}};
    if (op == TLY_PUT) dot.bytes = tly_slice_text("made up");
    assert_int_equal(tly_ormap_apply(e->map, tly_slice_text(key), &dot, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_APPLIED);
}

static void make_up_a_life(struct net *net, size_t node, const char *key)
{
    make_up(net, node, key, TLY_PUT, net_node(net, node)->now.wall_ns);
}

static enum tly_life_state state_of(struct net *net, size_t node)
{
    for (size_t i = 0; i < tly_engine_lives(net_node(net, node)); i++)
        if (tly_engine_life(net_node(net, node), i).origin == STRAY)
            return tly_engine_life(net_node(net, node), i).state;
    fail_msg("n%zu does not know of it", node);
    return TLY_LIFE_OPEN;
}

static void run_until_nothing_waits(struct net *net, size_t seconds)
{
    for (size_t i = 0; removes(net, 0) + removes(net, 1) > 0; i++) {
        assert_true(i < seconds);
        net_run(net, S);
    }
}

static void a_life_that_nobody_has_does_not_hold_up_what_is_forgotten(void **state)
{
    (void)state;
    struct net *net = some_nodes(2);
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    make_up_a_life(net, 0, "kv:made-up");
    put(net, 1, "kv:y", "y");
    del(net, 1, "kv:x");
    net_run(net, 50 * S); /* whose it is may yet be heard */
    assert_int_equal(state_of(net, 0), TLY_LIFE_OPEN);
    run_until_nothing_waits(net, 120);
    for (size_t i = 0; i < 2; i++) {
        assert_true(state_of(net, i) >= TLY_LIFE_SETTLED);
        assert_true(holds(net, i, "kv:made-up"));
    }
    claim_equal(net, 2);
    net_free(net);
}

/* A life that no member lives may have said whose it is: whoever ends it says so, too. */
static void whose_a_stray_life_was_stays_known(void **state)
{
    (void)state;
    static const char key[] = "sys:closed:00000000000000000055";
    struct net *net = some_nodes(2);
    struct tly_engine *e = net_node(net, 0);
    struct tly_buf bytes;
    enum tly_outcome outcome;
    tly_buf_init(&bytes, &e->mem, 100);
    tly_put_array(&bytes, 4);
    tly_put_uint(&bytes, 3); /* it lives, beside one in question */
    tly_put_text(&bytes, tly_slice_text("n9"));
    tly_put_uint(&bytes, 0);
    tly_put_uint(&bytes, 0);
    struct tly_dot dot = {.op = TLY_PUT, .version = {e->now.wall_ns, STRAY}, .bytes = tly_buf_slice(&bytes)};
    assert_int_equal(tly_ormap_apply(e->map, tly_slice_text(key), &dot, &outcome), TLY_OK);
    tly_buf_fini(&bytes);
    put(net, 1, "kv:x", "x");
    del(net, 1, "kv:x");
    for (size_t i = 0; state_of(net, 0) < TLY_LIFE_CLOSED; i++) {
        assert_true(i < 100);
        net_run(net, S);
    }
    size_t count;
    const struct tly_entry *entry = tly_ormap_find(e->map, tly_slice_text(key));
    assert_non_null(entry);
    const struct tly_dot *word = tly_entry_dots(e->map, entry, &count);
    assert_int_equal(count, 1);
    assert_int_not_equal(word[0].version.origin, STRAY);
    struct tly_cursor cursor = tly_cursor_of(word[0].bytes);
    (void)tly_get_array(&cursor, 4);
    assert_in_range(tly_get_uint(&cursor), 1, 2);
    assert_true(tly_slice_equal(tly_get_bytes(&cursor, 64), tly_slice_text("n9")));
    net_free(net);
}

/* Its address is dialled for ever, and never answers. */
static void a_member_that_was_forgotten_is_not_waited_for(void **state)
{
    (void)state;
    struct net *net = some_nodes(3);
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    net_kill(net, 2);
    make_up_a_life(net, 0, "kv:made-up");
    del(net, 1, "kv:x");
    net_run(net, 100 * S); /* n2 may yet say whose it is */
    assert_int_equal(state_of(net, 0), TLY_LIFE_OPEN);
    forget_member(net, 0, "n2");
    run_until_nothing_waits(net, 120);
    assert_true(state_of(net, 0) >= TLY_LIFE_SETTLED);
    net_run(net, 30 * S); /* what was said of the ends goes as well */
    claim_equal(net, 2);
    net_free(net);
}

/* Of a long round a life's dots come in the order in which they were made, and whose it is may have been said anew behind many of them. */
static void a_long_round_may_say_at_its_end_whose_a_life_is(void **state)
{
    (void)state;
    struct net *net = some_nodes(2);
    struct test_rng rng = test_rng_unnamed(1);
    char value[3000] = "", key[16];
    uint64_t origin = net_origin(net, 1);
    for (int i = 0; i < 60; i++) {
        for (size_t j = 0; j < sizeof value - 1; j++) /* nothing makes it smaller */
            value[j] = (char)(1 + test_rng_below(&rng, 255));
        (void)snprintf(key, sizeof key, "kv:%d", i);
        put(net, 1, key, value);
    }
    struct tly_slice name = tly_slice_text("n1"), address = tly_slice_text("n1:1");
    assert_int_equal(tly_member_put(net_node(net, 1), name, origin, address, MEMBER_ALIVE), TLY_OK);
    net_run(net, 80 * S);
    net_thin(net, 1500, 3000);
    net_block(net, 1, 2, true);
    net_add_with(net, stored, 1);
    net_run(net, 60 * S);
    put(net, 2, "kv:x", "x");
    del(net, 2, "kv:x"); /* for which a life that nobody has would be waited for */
    net_run(net, 30 * S);
    assert_false(holds(net, 2, key));
    while (!holds(net, 2, key))
        net_run(net, S);
    net_run(net, 60 * S);
    assert_int_equal(net_life(net, 2, origin).state, TLY_LIFE_OPEN);
    assert_int_equal(net_origin(net, 1), origin);
    net_free(net);
}

/* It may not know yet whose a life is. */
static void who_is_cut_off_ends_nobodys_life(void **state)
{
    (void)state;
    struct net *net = some_nodes(2);
    net_run(net, S);
    net_block(net, 0, 1, true);
    make_up_a_life(net, 0, "kv:made-up");
    del(net, 0, "kv:made-up");
    net_run(net, 300 * S);
    assert_int_equal(state_of(net, 0), TLY_LIFE_OPEN);
    net_free(net);
}

static bool has_any_of_it(struct net *net, size_t node)
{
    return tly_ormap_beyond(net_node(net, node)->map, STRAY, 0).print != 0;
}

/*
 * All have what a life that was made up said of before a REMOVE that all have forgotten. One starts again, has the REMOVE from its disk, and by that
 * no longer the other.
 */
static void come_back_with_what_was_forgotten(struct net *net, const char *key, enum tly_op op)
{
    put(net, 1, key, "x");
    net_run(net, S);
    uint64_t before = net_node(net, 0)->now.wall_ns;
    net_run(net, S);
    del(net, 1, key);
    net_run(net, S);
    run_until_nothing_waits(net, 60);
    make_up(net, 0, key, op, before);
    put(net, 0, "kv:y", "y");
    net_run(net, S);
    assert_true(has_any_of_it(net, 1));
    net_restart(net, 1, 56, SIZE_MAX);
    net_run(net, S);
    assert_true(removes(net, 1) > 0);
    assert_true(has_any_of_it(net, 0) && !has_any_of_it(net, 1));
}

/* The mark that ended the difference does not say that all had everything below it. */
static void claim_omitted(struct net *net, size_t node)
{
    struct tly_ormap *map = net_node(net, node)->map;
    const struct tly_entry *entry = tly_ormap_find(map, tly_slice_text("sys:omitted:00000000000000000055"));
    assert_non_null(entry);
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    assert_int_equal(count, 1);
    struct tly_cursor cursor = tly_cursor_of(dots[0].bytes);
    assert_int_equal(tly_get_uint(&cursor), 0);
    assert_int_equal(cursor.result, TLY_OK);
}

static void what_one_lacks_for_a_delete_that_others_forgot_ends(enum tly_op op)
{
    struct net *net = some_nodes(2);
    come_back_with_what_was_forgotten(net, "kv:x", op);
    net_run(net, 100 * S);
    assert_int_equal(state_of(net, 0), TLY_LIFE_CLOSED);
    run_until_nothing_waits(net, 120);
    assert_true(state_of(net, 0) >= TLY_LIFE_SETTLED);
    net_run(net, 150 * S); /* two comparisons */
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(holds(net, i, "kv:x"), op == TLY_PUT);
    for (size_t i = 0; i < 2; i++)
        claim_omitted(net, i);
    claim_equal(net, 2);
    net_free(net);
}

static void a_made_up_value_that_a_forgotten_delete_took_on_one_node_is_settled(void **state)
{
    (void)state;
    what_one_lacks_for_a_delete_that_others_forgot_ends(TLY_PUT);
}

static void a_made_up_delete_that_a_forgotten_one_took_on_one_node_is_settled(void **state)
{
    (void)state;
    what_one_lacks_for_a_delete_that_others_forgot_ends(TLY_REMOVE);
}

/* It is settled further on then, at a mark from which on all had everything. */
static void what_was_covered_is_omitted_also_when_more_of_that_life_comes(void **state)
{
    (void)state;
    struct net *net = some_nodes(2);
    come_back_with_what_was_forgotten(net, "kv:x", TLY_PUT);
    for (size_t i = 0; net_life(net, 0, STRAY).mark == 0; i++) {
        assert_true(i < 200);
        net_run(net, S);
    }
    assert_int_equal(state_of(net, 0), TLY_LIFE_CLOSED);
    uint64_t covered = net_life(net, 0, STRAY).mark;
    make_up_a_life(net, 0, "kv:later");
    put(net, 0, "kv:z", "z");
    run_until_nothing_waits(net, 200);
    for (size_t i = 0; i < 2; i++) {
        assert_true(state_of(net, i) >= TLY_LIFE_SETTLED);
        assert_true(net_life(net, i, STRAY).last > covered);
        claim_omitted(net, i);
    }
    net_free(net);
}

/* The other may have more of it by now than it had said. */
static void who_is_cut_off_covers_nothing_that_differs(void **state)
{
    (void)state;
    struct net *net = some_nodes(2);
    come_back_with_what_was_forgotten(net, "kv:x", TLY_PUT);
    net_run(net, 100 * S);
    net_block(net, 0, 1, true);
    net_run(net, 300 * S);
    assert_int_equal(state_of(net, 0), TLY_LIFE_CLOSED);
    assert_int_equal(net_life(net, 0, STRAY).mark, 0);
    net_block(net, 0, 1, false);
    run_until_nothing_waits(net, 200);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_that_nobody_has_does_not_hold_up_what_is_forgotten),
        cmocka_unit_test(whose_a_stray_life_was_stays_known),
        cmocka_unit_test(a_member_that_was_forgotten_is_not_waited_for),
        cmocka_unit_test(a_long_round_may_say_at_its_end_whose_a_life_is),
        cmocka_unit_test(who_is_cut_off_ends_nobodys_life),
        cmocka_unit_test(a_made_up_value_that_a_forgotten_delete_took_on_one_node_is_settled),
        cmocka_unit_test(a_made_up_delete_that_a_forgotten_one_took_on_one_node_is_settled),
        cmocka_unit_test(what_was_covered_is_omitted_also_when_more_of_that_life_comes),
        cmocka_unit_test(who_is_cut_off_covers_nothing_that_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
