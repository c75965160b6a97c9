/*
 * Networks that are not kind: cut at random under load, a bit flipped in every place, a delete that meets who was away, a flood
 * of deletes over a relay, a black hole among five.
 */
#include "tests/engine/support_ear.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"
#include "wire/frame.h"

#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static void ask(struct net *net, size_t node, enum tly_request_kind kind, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = kind, .key = tly_slice_text(key), .bytes = tly_slice_text("x")};
    enum tly_result result = net_ask(net, node, request, &reply);
    claim(result == TLY_OK || (kind == TLY_ASK_REMOVE && result == TLY_NOT_FOUND));
}

static bool holds(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(key)};
    return net_ask(net, node, request, &reply) == TLY_OK;
}

static struct net *nodes_of(size_t count, uint64_t delay_ns)
{
    struct net *net = net_new(delay_ns);
    for (size_t i = 0; i < count; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 10 * S);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(net_peers_up(net, i), count - 1);
    return net;
}

static void claim_equal(struct net *net, size_t count)
{
    for (size_t i = 1; i < count; i++)
        claim(net_digest(net, i) == net_digest(net, 0));
}

/* ---- cuts ---- */

#define STORM_NODES 3
#define STORM_KEYS 400

/* Counts, and deletes each key once, after which nobody writes it: what is written, and what must be gone. */
struct ledger {
    int64_t counted[STORM_KEYS];
    bool removed[STORM_KEYS];
};

static const char *key_of(char kind, size_t i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, kind == 'k' ? "kv:%zu" : "ctr:%zu", i);
    return key;
}

static void write_to(struct net *net, struct ledger *ledger, struct test_rng *rng)
{
    size_t node = (size_t)test_rng_below(rng, STORM_NODES), i = (size_t)test_rng_below(rng, STORM_KEYS);
    net_add_to(net, node, key_of('c', i), 1);
    ledger->counted[i]++;
    i = (size_t)test_rng_below(rng, STORM_KEYS);
    if (ledger->removed[i]) return;
    ledger->removed[i] = holds(net, node, key_of('k', i)) && test_rng_chance(rng, 30);
    ask(net, node, ledger->removed[i] ? TLY_ASK_REMOVE : TLY_ASK_PUT, key_of('k', i));
}

static void claim_ledger(struct net *net, const struct ledger *ledger)
{
    size_t removed = 0;
    for (size_t node = 0; node < STORM_NODES; node++)
        for (size_t i = 0; i < STORM_KEYS; i++) {
            claim(ledger->counted[i] == 0 || net_read(net, node, key_of('c', i)) == ledger->counted[i]);
            claim(!ledger->removed[i] || !holds(net, node, key_of('k', i)));
            removed += ledger->removed[i];
        }
    claim(removed > 100);
}

static void after_a_hundred_cuts_under_load_nothing_is_lost(void **state)
{
    static struct ledger ledger;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = nodes_of(STORM_NODES, MS);
    net_jitter(net, 5 * MS, test_seed_first());
    for (size_t cuts = 0; cuts < 100;) {
        struct net_cut_plan plan = {.from = (size_t)test_rng_below(&rng, STORM_NODES)};
        plan.to = (plan.from + 1 + (size_t)test_rng_below(&rng, STORM_NODES - 1)) % STORM_NODES;
        plan.bytes = test_rng_below(&rng, 1500);
        plan.late_ns[0] = test_rng_below(&rng, 2) * 200 * MS;
        plan.late_ns[1] = test_rng_below(&rng, 2) * 200 * MS;
        plan.bytes_late = test_rng_chance(&rng, 30);
        net_cut_after(net, &plan);
        for (int i = 0; i < 60; i++) {
            write_to(net, &ledger, &rng);
            net_run(net, test_rng_below(&rng, 8) * MS);
        }
        cuts += net_was_cut(net);
    }
    net_run(net, 40 * S);
    claim_ledger(net, &ledger);
    claim_equal(net, STORM_NODES);
    uint64_t sent = 0, received = 0;
    for (size_t i = 0; i < STORM_NODES; i++) {
        struct tly_stats stats = net_stats(net, i);
        sent += stats.dots_sent;
        received += stats.dots_received;
        claim(stats.sessions_broken == 0 && stats.dots_repaired == 0);
    }
    claim(sent > received); /* what was lost on the way was sent again */
    net_free(net);
}

/* ---- flips ---- */

/* Turns round one bit of the first that n0 says to n1. */
struct flip {
    size_t bit;
    bool done, passed;
};

static void turn_round(void *context, size_t from, size_t to, uint64_t conn, uint8_t *bytes, size_t n)
{
    struct flip *flip = context;
    if (from != 0 || to != 1 || flip->passed) return;
    flip->passed = true;
    flip->done = flip->bit < n * 8;
    if (flip->done) bytes[flip->bit / 8] ^= (uint8_t)(1u << flip->bit % 8);
}

/* The first part says so many keys. */
static bool flip_once(size_t bit, size_t keys)
{
    struct flip flip = {.bit = bit};
    struct net *net = nodes_of(2, MS);
    net_listen(net, turn_round, &flip);
    for (size_t i = 0; i < keys; i++)
        net_add_to(net, 0, key_of('c', i), 3);
    net_run(net, MS); /* it is there, and the next is not */
    if (flip.done) {
        claim(net_read(net, 1, key_of('c', 0)) == INT64_MIN);
        /* A length that is longer now is believed until it cannot be true any more. */
        net_run(net, 65 * S);
        claim(net_stats(net, 0).sessions_up > 1);
        for (size_t i = 0; i < keys; i++)
            claim(net_read(net, 1, key_of('c', i)) == 3);
        claim_equal(net, 2);
    }
    net_free(net);
    return flip.done;
}

static void a_bit_flipped_anywhere_is_found_and_what_it_hit_comes_later(void **state)
{
    size_t bit = 0;
    while (flip_once(bit, 1))
        bit++;
    assert_true(bit > 8 * (TLY_FRAME_HEAD_MAX + 4)); /* a frame, whole */
    for (bit = 0; bit < 8 * TLY_FRAME_HEAD_MAX; bit++)
        assert_true(flip_once(bit, 300));
}

/* ---- deletes ---- */

/* The first deletes a key while the second, which holds it, is on its way back with news of its own. */
static void delete_meets(uint64_t seed)
{
    struct test_rng rng = test_rng_of(seed);
    struct net *net = net_new(MS);
    for (size_t i = 0; i < 3; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, S);
    net_jitter(net, 3 * MS, seed);
    ask(net, (size_t)test_rng_below(&rng, 3), TLY_ASK_PUT, "kv:k");
    net_run(net, 200 * MS);
    net_block(net, 0, 1, true);
    net_block(net, 2, 1, true);
    net_run(net, 50 * MS);
    ask(net, 1, TLY_ASK_PUT, "kv:other");
    net_block(net, 0, 1, false);
    if (test_rng_chance(&rng, 50)) net_block(net, 2, 1, false);
    net_run(net, test_rng_below(&rng, 150 * MS));
    ask(net, 0, TLY_ASK_REMOVE, "kv:k");
    net_add_to(net, 1, "pushed", 1);
    net_run(net, 100 * MS);
    net_block(net, 2, 1, false);
    net_run(net, 3 * S);
    for (size_t i = 0; i < 3; i++)
        claim(!holds(net, i, "kv:k") && holds(net, i, "kv:other") && net_read(net, i, "pushed") == 1);
    claim_equal(net, 3);
    net_free(net);
}

static void a_delete_stands_however_it_meets_who_was_away(void **state)
{
    for (uint64_t i = 0; i < 1000; i++)
        delete_meets(test_seed_first() + i);
}

static void an_empty_joiner_that_is_dialled_gets_everything(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 2);
    net_add_to(net, 0, "a", 3);
    net_run(net, 5 * S);
    net_add(net, 0);
    net_run(net, 35 * S); /* the longest that somebody waits before dialling again */
    assert_int_equal(net_stats(net, 1).dials, 0);
    assert_int_equal(net_read(net, 1, "a"), 3);
    claim_equal(net, 2);
    net_free(net);
}

static void five_thousand_deletes_pass_a_relay_and_a_put_behind_them(void **state)
{
    struct net *net = net_new(MS);
    char key[24];
    net_block(net, 0, 2, true);
    for (size_t i = 0; i < 3; i++)
        net_add(net, i == 0 ? 0 : 1u << (i - 1));
    net_run(net, 5 * S);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "kv:%d", i);
        ask(net, 0, TLY_ASK_PUT, key);
    }
    net_run(net, 5 * S);
    assert_true(holds(net, 2, "kv:4999"));
    uint64_t sessions = net_stats(net, 1).sessions_up;
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "kv:%d", i);
        ask(net, 0, TLY_ASK_REMOVE, key);
        if (i % 50 == 0) net_run(net, MS);
    }
    ask(net, 0, TLY_ASK_PUT, "kv:last");
    net_run(net, S);
    assert_true(holds(net, 2, "kv:last"));
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "kv:%d", i);
        assert_false(holds(net, 2, key));
    }
    assert_int_equal(net_stats(net, 1).sessions_up, sessions);
    claim_equal(net, 3);
    net_free(net);
}

/* ---- a black hole ---- */

/* The longest pause between two rounds from any of the first four to another of them. */
static uint64_t longest_pause(const struct ear *ear)
{
    uint64_t longest = 0;
    for (size_t from = 0; from < 4; from++)
        for (size_t to = 0; to < 4; to++) {
            uint64_t pause = ear_longest_pause(ear, from, to);
            claim(from == to || pause > 0);
            longest = pause > longest ? pause : longest;
        }
    return longest;
}

static uint64_t write_for(struct net *net, struct ear *ear, uint64_t ms)
{
    ear_clear(ear);
    for (; ms > 0; ms--) {
        for (size_t i = 0; i < 4; i++)
            net_add_to(net, i, key_of('c', ms % 100), 1);
        net_run(net, MS);
    }
    return longest_pause(ear);
}

static void of_five_one_is_a_black_hole_and_the_others_keep_their_pace(void **state)
{
    struct net *net = net_new(MS);
    struct ear *ear = ear_new(net);
    for (size_t i = 0; i < 5; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 10 * S);
    uint64_t quiet = write_for(net, ear, 2000);
    for (size_t i = 0; i < 4; i++)
        net_hole(net, i, 4, true);
    uint64_t connected = write_for(net, ear, 9000);
    claim(net_peers_up(net, 0) == 4);
    net_run(net, 5 * S);
    uint64_t dials = net_stats(net, 0).dials;
    uint64_t connecting = write_for(net, ear, 20000);
    claim(net_peers_up(net, 0) == 3 && net_stats(net, 0).dials > dials);
    claim(connected <= quiet && connecting <= quiet);
    for (size_t i = 0; i < 4; i++)
        net_hole(net, i, 4, false);
    net_run(net, 60 * S);
    claim_equal(net, 5);
    ear_free(ear);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_hundred_cuts_under_load_nothing_is_lost),
        cmocka_unit_test(a_bit_flipped_anywhere_is_found_and_what_it_hit_comes_later),
        cmocka_unit_test(a_delete_stands_however_it_meets_who_was_away),
        cmocka_unit_test(an_empty_joiner_that_is_dialled_gets_everything),
        cmocka_unit_test(five_thousand_deletes_pass_a_relay_and_a_put_behind_them),
        cmocka_unit_test(of_five_one_is_a_black_hole_and_the_others_keep_their_pace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
