/* Some nodes, writes of all kinds everywhere, and connections that are cut at random: in the end all hold the same. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define NODES 5
#define KEYS 12

static void write_something(struct net *net, struct test_rng *rng)
{
    static const char *const prefixes[] = {"ctr:", "kv:", "em:"};
    size_t node = (size_t)test_rng_below(rng, NODES), kind = (size_t)test_rng_below(rng, 3);
    char key[32];
    snprintf(key, sizeof key, "%s%d", prefixes[kind], (int)test_rng_below(rng, KEYS));
    struct tly_request request = {.key = tly_slice_text(key), .number = (int64_t)test_rng_below(rng, 100)};
    static const enum tly_request_kind writes[] = {TLY_ASK_ADD, TLY_ASK_PUT, TLY_ASK_PUT_MAX};
    request.kind = writes[kind];
    if (kind == 0 && test_rng_chance(rng, 5)) request.kind = TLY_ASK_SET;
    if (kind == 2) request.epoch = test_rng_below(rng, 4);
    if (kind == 1) request.bytes = tly_slice_of(key, (size_t)test_rng_below(rng, 4));
    if (test_rng_chance(rng, 10)) request.kind = TLY_ASK_REMOVE;
    struct tly_reply reply;
    enum tly_result result = net_ask(net, node, request, &reply);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
}

/* A limit's window: a count that may wait. */
static void check_something(struct net *net, struct test_rng *rng)
{
    char key[32];
    snprintf(key, sizeof key, "rl:a:%d", (int)test_rng_below(rng, KEYS));
    static const enum tly_algorithm algorithms[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW, TLY_TOKEN_BUCKET};
    (void)net_check(net, (size_t)test_rng_below(rng, NODES), key, "1000/10s",
                    algorithms[test_rng_below(rng, 3)]);
}

static void disturb(struct net *net, struct test_rng *rng)
{
    size_t a = (size_t)test_rng_below(rng, NODES), b = (size_t)test_rng_below(rng, NODES);
    if (a == b) return;
    bool blocked = test_rng_chance(rng, 50);
    net_block(net, a, b, blocked);
    net_block(net, b, a, blocked);
    if (blocked || test_rng_chance(rng, 30)) net_cut(net, a, b);
}

static void heal(struct net *net)
{
    for (size_t a = 0; a < NODES; a++)
        for (size_t b = 0; b < NODES; b++)
            if (a != b) net_block(net, a, b, false);
    net_run(net, 90 * S); /* dialling backs off up to 30 s */
}

static void claim_all_equal(struct net *net)
{
    uint64_t digest = net_digest(net, 0);
    claim(digest != 0);
    for (size_t i = 0; i < NODES; i++) {
        claim(net_digest(net, i) == digest);
        struct tly_stats stats = net_stats(net, i);
        claim(stats.sessions_broken == 0 && stats.naks_sent == 0);
        claim(stats.dots_stale == 0 && stats.dots_malformed == 0);
    }
}

static void through(uint64_t seed, uint64_t delay_ns)
{
    struct test_rng rng = test_rng_of(seed);
    struct net *net = net_new(delay_ns);
    for (size_t i = 0; i < NODES; i++)
        net_add(net, i > 0 ? 1u : 0);
    net_run(net, 2 * S);
    for (size_t step = 0; step < 3000; step++) {
        if (test_rng_chance(&rng, 60)) write_something(net, &rng);
        if (test_rng_chance(&rng, 30)) check_something(net, &rng);
        if (test_rng_chance(&rng, 2)) disturb(net, &rng);
        net_run(net, test_rng_below(&rng, 10) * MS);
    }
    heal(net);
    claim_all_equal(net);
    net_free(net);
}

static void whatever_is_cut_all_hold_the_same_in_the_end(void **state)
{
    (void)state;
    uint64_t seeds = test_is_long() ? 50 : 3;
    for (uint64_t i = 0; i < seeds; i++)
        through(test_seed_first() + i, (1 + i % 3 * 20) * MS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_cut_all_hold_the_same_in_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
