/*
 * What crosses the links of healthy networks: each dot each link once in each direction at most, nothing back to where it came
 * from, and heartbeats alone when nobody writes.
 */
#include "tests/engine/support_ear.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

struct shape {
    struct net *net;
    struct ear *ear;
    size_t nodes;
};

static bool are_linked(size_t a, size_t b, size_t nodes, bool is_ring)
{
    return a + 1 == b || b + 1 == a || (is_ring && (a + 1) % nodes == b) || (is_ring && (b + 1) % nodes == a);
}

/* Each linked to the next, and in a ring the last to the first. */
static struct shape shape_of(size_t nodes, bool is_ring)
{
    struct shape shape = {.net = net_new(MS), .nodes = nodes};
    shape.ear = ear_new(shape.net);
    for (size_t a = 0; a < nodes; a++)
        for (size_t b = 0; b < nodes; b++)
            if (a != b && !are_linked(a, b, nodes, is_ring)) net_block(shape.net, a, b, true);
    for (size_t i = 0; i < nodes; i++)
        net_add(shape.net, i == 0 ? 0 : 1u << (i - 1));
    net_run(shape.net, 70 * S); /* beyond the first comparisons */
    assert_int_equal(net_connections(shape.net), is_ring ? nodes : nodes - 1);
    ear_clear(shape.ear);
    return shape;
}

static void shape_end(struct shape *shape)
{
    ear_free(shape->ear);
    net_free(shape->net);
}

/* A count, a value, a limit's window or a delete, anywhere. */
static void write_something(struct shape *shape, struct test_rng *rng)
{
    size_t node = (size_t)test_rng_below(rng, shape->nodes);
    static const char *const prefixes[] = {"ctr:", "kv:", "em:"};
    size_t kind = (size_t)test_rng_below(rng, 4);
    char key[32];
    snprintf(key, sizeof key, "%s%d", kind < 3 ? prefixes[kind] : "", (int)test_rng_below(rng, 100));
    if (kind == 3) {
        (void)net_check(shape->net, node, key, "1000/10s", TLY_FIXED_WINDOW);
        return;
    }
    struct tly_reply reply;
    static const enum tly_request_kind writes[] = {TLY_ASK_ADD, TLY_ASK_PUT, TLY_ASK_PUT_MAX};
    struct tly_request request = {.kind = writes[kind], .key = tly_slice_text(key), .number = 1};
    request.bytes = tly_slice_text(key);
    if (test_rng_chance(rng, 5)) request.kind = TLY_ASK_REMOVE;
    enum tly_result result = net_ask(shape->net, node, request, &reply);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
}

static void claim_equal(struct shape *shape)
{
    for (size_t i = 1; i < shape->nodes; i++)
        claim(net_digest(shape->net, i) == net_digest(shape->net, 0));
}

static void claim_no_dot_twice(const struct shape *shape)
{
    size_t dots = 0;
    for (size_t from = 0; from < shape->nodes; from++)
        for (size_t to = 0; to < shape->nodes; to++) {
            if (ear_repeated(shape->ear, from, to) > 0)
                fail_msg("of %zu dots n%zu said %zu to n%zu twice", ear_dots(shape->ear, from, to), from,
                         ear_repeated(shape->ear, from, to), to);
            dots += ear_dots(shape->ear, from, to);
        }
    claim(dots > 1000);
}

static size_t pair_of(const struct ear *ear, enum tly_frame_type asks, enum tly_frame_type answers)
{
    return ear_frames(ear, asks) + ear_frames(ear, answers);
}

/* Once a minute each pair compares besides, which takes a question and an answer. */
static void claim_heartbeats_only(struct shape *shape, size_t links)
{
    /* Who has no link to another asks others after it, as often as it would ping it. */
    size_t apart = shape->nodes * (shape->nodes - 1) - 2 * links;
    net_run(shape->net, 400 * S); /* until all is known everywhere, and deletes are forgotten */
    for (int i = 0; i < 3; i++) {
        ear_clear(shape->ear);
        net_run(shape->net, 60 * S);
        size_t pings = pair_of(shape->ear, TLY_FRAME_PING, TLY_FRAME_PONG);
        size_t probes = pair_of(shape->ear, TLY_FRAME_PROBE, TLY_FRAME_PROBED);
        size_t compares = pair_of(shape->ear, TLY_FRAME_COMPARE, TLY_FRAME_TREE);
        claim(ear_all_frames(shape->ear) == pings + probes + compares);
        claim(compares <= 4 * links);
        claim(pings >= 12 * links && pings <= 60 * links && probes <= 60 * apart);
    }
}

static void write_and_rest(size_t nodes, bool is_ring)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct shape shape = shape_of(nodes, is_ring);
    for (int i = 0; i < 1000; i++) {
        write_something(&shape, &rng);
        net_run(shape.net, test_rng_below(&rng, 12) * MS);
    }
    net_run(shape.net, 2 * S);
    claim_equal(&shape);
    claim_no_dot_twice(&shape);
    claim_heartbeats_only(&shape, is_ring ? nodes : nodes - 1);
    claim_equal(&shape);
    shape_end(&shape);
}

static void one_write_goes_down_a_line_and_none_comes_back(void **state)
{
    struct shape shape = shape_of(3, false);
    net_add_to(shape.net, 0, "k", 1);
    net_run(shape.net, 5 * S);
    assert_int_equal(net_read(shape.net, 2, "k"), 1);
    assert_int_equal(ear_dots(shape.ear, 0, 1), 1);
    assert_int_equal(ear_dots(shape.ear, 1, 2), 1);
    assert_int_equal(ear_dots(shape.ear, 1, 0) + ear_dots(shape.ear, 2, 1), 0);
    shape_end(&shape);
}

static void down_a_line_no_dot_goes_twice_and_idle_is_silent(void **state)
{
    write_and_rest(3, false);
}

static void round_a_ring_of_five_no_dot_goes_twice_and_idle_is_silent(void **state)
{
    write_and_rest(5, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_write_goes_down_a_line_and_none_comes_back),
        cmocka_unit_test(down_a_line_no_dot_goes_twice_and_idle_is_silent),
        cmocka_unit_test(round_a_ring_of_five_no_dot_goes_twice_and_idle_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
