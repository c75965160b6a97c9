/* Lives that no member has: made up by whoever speaks to a node, or come in an archive. */
#include "crdt/strategy.h"
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"

#define S UINT64_C(1000000000)
#define STRAY UINT64_C(55)

/* As a round would bring it that says no mark. */
static void make_up_a_life(struct net *net, size_t node, const char *key)
{
    struct tly_engine *e = net_node(net, node);
    enum tly_outcome outcome;
    struct tly_dot dot = {
        .op = TLY_PUT, .version = {e->now.wall_ns, STRAY}, .bytes = tly_slice_text("made up")};
    assert_int_equal(tly_ormap_apply(e->map, tly_slice_text(key), &dot, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_APPLIED);
}

static enum tly_life_state state_of(struct net *net, size_t node)
{
    for (size_t i = 0; i < tly_engine_lives(net_node(net, node)); i++)
        if (tly_engine_life(net_node(net, node), i).origin == STRAY)
            return tly_engine_life(net_node(net, node), i).state;
    fail_msg("n%zu does not know of it", node);
    return TLY_LIFE_OPEN;
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
    for (size_t i = 0; removes(net, 0) + removes(net, 1) > 0; i++) {
        assert_true(i < 120);
        net_run(net, S);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(state_of(net, i) >= TLY_LIFE_SETTLED);
        assert_true(holds(net, i, "kv:made-up"));
    }
    claim_equal(net, 2);
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
    for (size_t i = 0; removes(net, 0) + removes(net, 1) > 0; i++) {
        assert_true(i < 120);
        net_run(net, S);
    }
    assert_true(state_of(net, 0) >= TLY_LIFE_SETTLED);
    net_run(net, 30 * S); /* what was said of the ends goes as well */
    claim_equal(net, 2);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_that_nobody_has_does_not_hold_up_what_is_forgotten),
        cmocka_unit_test(a_member_that_was_forgotten_is_not_waited_for),
        cmocka_unit_test(who_is_cut_off_ends_nobodys_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
