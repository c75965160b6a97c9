/* A refusal is explained afterwards. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>

#define MS UINT64_C(1000000)

static struct tly_verdict check(struct net *net, size_t node, const char *key, uint32_t hits)
{
    struct tly_request request = {
        .kind = TLY_ASK_CHECK,
        .check = {.key = tly_slice_text(key), .rate = {.limit = 10, .window_ms = 86400000}, .hits = hits}};
    struct tly_reply reply;
    request.check.rate.algorithm = TLY_FIXED_WINDOW;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict;
}

static enum tly_result why(struct net *net, const char *key, struct tly_refusal_view *view)
{
    return tly_engine_why(net_node(net, 0), tly_slice_text(key), view);
}

static void a_refusal_is_explained_afterwards(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_refusal_view view;
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 1000 * MS);
    (void)check(net, 0, "k", 6);
    (void)check(net, 1, "k", 3);
    net_run(net, 1000 * MS);
    assert_int_equal(why(net, "rl:a:k", &view), TLY_NOT_FOUND);
    struct tly_verdict then = check(net, 0, "k", 2);
    assert_int_equal(then.code, TLY_CODE_OVER);
    uint64_t at_ms = net_time(net, 0).wall_ns / MS;
    net_run(net, 5000 * MS);
    assert_int_equal(why(net, "rl:a:k", &view), TLY_OK);
    assert_int_equal(view.at_ms, at_ms);
    assert_int_equal(view.times, 1);
    assert_int_equal(view.hits, 2);
    assert_int_equal(view.verdict->reason, then.reason);
    assert_int_equal(view.verdict->bound, then.bound);
    assert_int_equal(view.verdict->used, 9);
    int64_t sum = 0;
    for (size_t i = 0; i < view.shard_count; i++)
        sum += view.shards[i].units;
    assert_int_equal(view.shard_count, 2);
    assert_int_equal(sum, 9);
    for (size_t i = 0; i < 4; i++)
        (void)check(net, 0, "k", 2);
    (void)check(net, 0, "k", 0);
    assert_int_equal(why(net, "rl:a:k", &view), TLY_OK);
    assert_int_equal(view.times, 5);
    assert_int_equal(why(net, "", &view), TLY_BAD_KEY);
    net_free(net);
}

/* However many keys are refused, those that are remembered are bounded and say what is so. */
static void many_refusals_take_each_others_place(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_refusal_view view;
    size_t cursor = 0, kept = 0;
    char key[32];
    net_add(net, 0);
    for (size_t i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof key, "key-%zu", i);
        (void)check(net, 0, key, 11);
    }
    while (tly_engine_refused(net_node(net, 0), &cursor, &view)) {
        assert_true(tly_slice_begins(view.key, tly_slice_text("rl:a:key-")));
        assert_int_equal(view.times, 1);
        assert_int_equal(view.shard_count, 0);
        kept++;
    }
    assert_true(kept > 200 && kept <= 256);
    assert_int_equal(why(net, "rl:a:key-1999", &view), TLY_OK);
    net_free(net);
}

/* Of many refusals at once the shards are looked up for some then, for the others when they are asked for. */
static void of_a_flood_of_refusals_the_shards_are_told_too(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_refusal_view view;
    size_t cursor = 0, then = 0, later = 0;
    char key[32];
    net_add(net, 0);
    for (size_t i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof key, "key-%zu", i);
        (void)check(net, 0, key, 7);
        (void)check(net, 0, key, 4);
    }
    uint64_t at_ms = net_time(net, 0).wall_ns / MS;
    net_run(net, 1000 * MS);
    (void)check(net, 0, "another", 1);
    while (tly_engine_refused(net_node(net, 0), &cursor, &view)) {
        assert_int_equal(view.shard_count, 1);
        assert_int_equal(view.shards[0].units, 7);
        *(view.shards_ms == at_ms ? &then : &later) += 1;
    }
    assert_true(then > 0 && then <= 64 && later > 0);
    net_free(net);
}

struct heard {
    char keys[64];
    size_t count, gaps;
    size_t most;
};

static bool hear(void *context, const struct tly_refusal_view *view)
{
    struct heard *heard = context;
    if (view == NULL) {
        heard->gaps++;
        return true;
    }
    size_t n = strlen(heard->keys);
    if (n < 40) (void)snprintf(heard->keys + n, 24, "%.*s ", (int)view->key.n - 5, view->key.p + 5);
    return ++heard->count < heard->most;
}

static void refusals_are_heard_in_order_from_a_mark(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    struct tly_engine *engine = net_node(net, 0);
    (void)check(net, 0, "before", 11);
    uint64_t mark;
    assert_int_equal(tly_engine_hear(engine, &mark), TLY_OK);
    struct heard heard = {.most = 2};
    assert_int_equal(tly_engine_refusals_since(engine, mark, hear, &heard), mark);
    const char *const keys[] = {"a", "b", "a", "c", "before"};
    for (size_t i = 0; i < 5; i++)
        (void)check(net, 0, keys[i], 11);
    /* `a` is told once, as of the last time; the one that stops goes on from there. */
    mark = tly_engine_refusals_since(engine, mark, hear, &heard);
    assert_string_equal(heard.keys, "b a ");
    heard.most = 9;
    mark = tly_engine_refusals_since(engine, mark, hear, &heard);
    assert_string_equal(heard.keys, "b a c before ");
    assert_int_equal(heard.gaps, 0);
    for (size_t i = 0; i < 2000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%zu", i);
        (void)check(net, 0, key, 11);
    }
    heard.count = 0;
    heard.most = 9999;
    mark = tly_engine_refusals_since(engine, mark, hear, &heard);
    assert_int_equal(heard.gaps, 1);
    assert_in_range(heard.count, 200, 256);
    (void)check(net, 0, "k1999", 11);
    (void)tly_engine_refusals_since(engine, mark, hear, &heard);
    assert_int_equal(heard.gaps, 1);
    tly_engine_unhear(engine);
    net_free(net);
}

/* While nobody hears of refusals nobody keeps their order; who begins to hears what comes from then on. */
static void who_hears_again_hears_nothing_of_the_time_between(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    struct tly_engine *engine = net_node(net, 0);
    const char *const keys[] = {"a", "b", "c", "d"};
    uint64_t mark;
    for (size_t round = 0; round < 3; round++) {
        struct heard heard = {.most = 9};
        assert_int_equal(tly_engine_hear(engine, &mark), TLY_OK);
        (void)check(net, 0, keys[round], 11);
        (void)check(net, 0, "b", 11);
        (void)tly_engine_refusals_since(engine, mark, hear, &heard);
        assert_string_equal(heard.keys, round == 0 ? "a b " : round == 1 ? "b " : "c b ");
        assert_int_equal(heard.gaps, 0);
        tly_engine_unhear(engine);
        for (size_t i = 0; i < 4; i++)
            (void)check(net, 0, keys[3 - i], 11);
    }
    net_free(net);
}

static void the_refusal_of_a_long_key_is_explained_too(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_refusal_view view;
    char key[TLY_KEY_BYTES_MAX - 5 + 1], held[TLY_KEY_BYTES_MAX + 1];
    net_add(net, 0);
    for (size_t n = 30; n < sizeof key; n++) {
        memset(key, 'k', n);
        key[n] = '\0';
        (void)snprintf(held, sizeof held, "rl:a:%s", key);
        (void)check(net, 0, key, 11);
        assert_int_equal(why(net, held, &view), TLY_OK);
        assert_true(tly_slice_equal(view.key, tly_slice_text(held)));
        assert_int_equal(view.times, 1);
    }
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_is_explained_afterwards),
        cmocka_unit_test(many_refusals_take_each_others_place),
        cmocka_unit_test(of_a_flood_of_refusals_the_shards_are_told_too),
        cmocka_unit_test(refusals_are_heard_in_order_from_a_mark),
        cmocka_unit_test(who_hears_again_hears_nothing_of_the_time_between),
        cmocka_unit_test(the_refusal_of_a_long_key_is_explained_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
