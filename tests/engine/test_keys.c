/* Walking over keys: each that stays is seen once, whatever happens meanwhile. */
#include "service/engine/keys.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static struct net *one_node(void)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_run(net, S);
    return net;
}

static void remove_key(struct net *net, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text(key)};
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
}

/* Keys "kN" of which N below 4096 is counted, and all others. */
struct seen {
    unsigned times[4096];
    size_t others, left;
};

static bool see(void *context, struct tly_slice key)
{
    struct seen *seen = context;
    unsigned number;
    char text[16] = {0};
    memcpy(text, key.p, key.n < 15 ? key.n : 15);
    if (sscanf(text, "k%u", &number) == 1 && number < 4096)
        seen->times[number]++;
    else
        seen->others++;
    return seen->left == 0 || --seen->left > 0;
}

static void a_walk_sees_every_key_once_but_the_nodes_own(void **state)
{
    (void)state;
    struct net *net = one_node();
    struct seen *seen = calloc(1, sizeof *seen);
    assert_non_null(seen);
    for (unsigned i = 0; i < 1000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(net_add_to(net, 0, key, 1), 1);
    }
    remove_key(net, "k7");
    uint64_t cursor = 0;
    size_t pages = 0;
    do {
        tly_engine_keys(net_node(net, 0), net_time(net, 0), &cursor, 10, see, seen);
        pages++;
    } while (cursor != 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(seen->times[i], i != 7);
    assert_int_equal(seen->others, 0);
    assert_in_range(pages, 90, 110);
    free(seen);
    net_free(net);
}

static void a_page_ends_where_the_visitor_wants(void **state)
{
    (void)state;
    struct net *net = one_node();
    struct seen *seen = calloc(1, sizeof *seen);
    assert_non_null(seen);
    for (unsigned i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i);
        (void)net_add_to(net, 0, key, 1);
    }
    uint64_t cursor = 0;
    seen->left = 5;
    tly_engine_keys(net_node(net, 0), net_time(net, 0), &cursor, 1000, see, seen);
    size_t times = 0;
    for (unsigned i = 0; i < 100; i++)
        times += seen->times[i];
    assert_int_equal(times, 5);
    assert_true(cursor != 0);
    free(seen);
    net_free(net);
}

/* The table grows to many times its size and most of it is deleted under the walk. */
static void keys_that_stay_are_seen_exactly_once_while_others_come_and_go(void **state)
{
    (void)state;
    struct net *net = one_node();
    struct test_rng rng = test_rng_of(test_seed_first());
    struct seen *seen = calloc(1, sizeof *seen);
    assert_non_null(seen);
    for (unsigned i = 0; i < 2000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i);
        (void)net_add_to(net, 0, key, 1);
    }
    uint64_t cursor = 0;
    unsigned come = 0, gone = 1000;
    do {
        tly_engine_keys(net_node(net, 0), net_time(net, 0), &cursor, 1 + test_rng_below(&rng, 7), see, seen);
        for (unsigned i = 0; i < 40 && come < 8000; i++, come++) {
            char key[16];
            (void)snprintf(key, sizeof key, "x%u", come);
            (void)net_add_to(net, 0, key, 1);
        }
        for (unsigned i = 0; i < 2 && gone < 2000; i++, gone++) {
            char key[16];
            (void)snprintf(key, sizeof key, "k%u", gone);
            remove_key(net, key);
        }
    } while (cursor != 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(seen->times[i], 1);
    for (unsigned i = 1000; i < 2000; i++)
        assert_true(seen->times[i] <= 1);
    assert_int_equal(come, 8000);
    free(seen);
    net_free(net);
}

static void a_print_changes_when_a_key_reads_otherwise_and_then_alone(void **state)
{
    (void)state;
    struct net *net = one_node();
    struct tly_engine *engine = net_node(net, 0);
    struct tly_slice key = tly_slice_text("a");
    assert_int_equal(tly_engine_print(engine, net_time(net, 0), key), 0);
    (void)net_add_to(net, 0, "a", 1);
    uint64_t one = tly_engine_print(engine, net_time(net, 0), key);
    assert_true(one != 0);
    /* The hand-over to the disk and to peers gives it a version, which nobody reads. */
    net_run(net, S);
    assert_int_equal(tly_engine_print(engine, net_time(net, 0), key), one);
    (void)net_add_to(net, 0, "a", 1);
    assert_true(tly_engine_print(engine, net_time(net, 0), key) != one);
    (void)net_add_to(net, 0, "a", -1);
    assert_int_equal(tly_engine_print(engine, net_time(net, 0), key), one);
    struct tly_reply reply;
    struct tly_request expire = {
        .kind = TLY_ASK_EXPIRE, .key = key, .deadline_ms = net_time(net, 0).wall_ns / MS + 500};
    assert_int_equal(net_ask(net, 0, expire, &reply), TLY_OK);
    assert_true(tly_engine_print(engine, net_time(net, 0), key) != one);
    net_run(net, S);
    assert_int_equal(tly_engine_print(engine, net_time(net, 0), key), 0);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_sees_every_key_once_but_the_nodes_own),
        cmocka_unit_test(a_page_ends_where_the_visitor_wants),
        cmocka_unit_test(keys_that_stay_are_seen_exactly_once_while_others_come_and_go),
        cmocka_unit_test(a_print_changes_when_a_key_reads_otherwise_and_then_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
