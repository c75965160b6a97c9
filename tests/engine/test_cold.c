/*
 * Reasons of a cold start that no healthy peer gives: rounds that cannot be read though their frames are whole, and a peer that takes
 * no rounds at all.  What is said is changed on its way, with a checksum that fits.
 */
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"
#include "wire/frame.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static const char *key_of(size_t i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "counter:%zu", i);
    return key;
}

/* ---- what is changed on its way ---- */

/* One frame: its length and its kind, a checksum of four bytes, its body as stored. */
struct seen {
    uint8_t *frame, *body;
    size_t kind, bytes;
};

static size_t frame_at(uint8_t *bytes, size_t n, struct seen *seen)
{
    size_t head = 0, length = 0;
    do {
        assert_true(head < n);
        length |= (size_t)(bytes[head] & 0x7f) << (7 * head);
    } while ((bytes[head++] & 0x80) != 0);
    *seen = (struct seen){bytes, bytes + head + 5, head, length};
    assert_true(head + 5 + length <= n);
    return head + 5 + length;
}

static void make_good(const struct seen *seen)
{
    XXH3_state_t *state = XXH3_createState();
    assert_non_null(state);
    (void)XXH3_64bits_reset(state);
    (void)XXH3_64bits_update(state, seen->frame, seen->kind + 1);
    (void)XXH3_64bits_update(state, seen->body, seen->bytes);
    uint64_t sum = XXH3_64bits_digest(state);
    (void)XXH3_freeState(state);
    for (size_t i = 0; i < 4; i++)
        seen->frame[seen->kind + 1 + i] = (uint8_t)(sum >> 8 * i);
}

struct spoiler {
    struct net *net;
    unsigned spoils; /* connections whose next part is to be no part */
    uint64_t spoiled;
    bool no_delta;     /* the second is to be one that takes no rounds */
    bool no_snapshots; /* all others are to be such as give the third none */
    unsigned done;
};

/* A HELLO that does not name this ability. */
static bool cannot(const struct seen *seen, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= seen->bytes; i++) {
        if (memcmp(seen->body + i, word, n) != 0) continue;
        seen->body[i] ^= 0x20;
        return true;
    }
    return false;
}

static void spoil(void *context, size_t from, size_t to, uint64_t conn, uint8_t *bytes, size_t n)
{
    struct spoiler *spoiler = context;
    struct seen seen;
    for (size_t at = 0; at < n;) {
        at += frame_at(bytes + at, n - at, &seen);
        unsigned type = seen.frame[seen.kind] & 0x1f;
        bool changed = false;
        if (spoiler->spoils > 0 && spoiler->spoiled != conn && from == 0 && type == TLY_FRAME_PART) {
            spoiler->spoiled = conn;
            seen.frame[seen.kind] = TLY_FRAME_PART;
            seen.body[0] = 0xc0; /* nil */
            spoiler->spoils--;
            changed = true;
        }
        if (spoiler->no_delta && from == 1 && type == TLY_FRAME_HELLO) changed = cannot(&seen, "delta");
        if (spoiler->no_snapshots && to == 2 && type == TLY_FRAME_HELLO) changed = cannot(&seen, "snapshot");
        if (!changed) continue;
        make_good(&seen);
        spoiler->done++;
    }
}

static struct net *pair_of(struct spoiler *spoiler, size_t keys)
{
    struct net *net = net_new(MS);
    *spoiler = (struct spoiler){.net = net};
    net_add(net, 0);
    for (size_t i = 0; i < keys; i++)
        net_add_to(net, 0, key_of(i), (int64_t)i + 1);
    net_listen(net, spoil, spoiler);
    return net;
}

static void expect_all(struct net *net, size_t node, size_t keys)
{
    for (size_t i = 0; i < keys; i++)
        assert_int_equal(net_read(net, node, key_of(i)), i + 1);
}

/* ---- rounds that cannot be read ---- */

static void a_round_that_fails_twice_is_a_snapshot(void **state)
{
    struct spoiler spoiler;
    struct net *net = pair_of(&spoiler, 500);
    spoiler.spoils = 2;
    net_add(net, 1);
    net_run(net, 20 * S);
    assert_int_equal(spoiler.done, 2);
    struct tly_stats stats = net_stats(net, 1);
    assert_int_equal(stats.sessions_broken, 2);
    assert_int_equal(stats.cold_starts_apply_failed, 1);
    assert_int_equal(stats.snapshots_installed, 1);
    assert_int_equal(net_stats(net, 0).snapshots_sent, 1);
    expect_all(net, 1, 500);
    net_add_to(net, 0, key_of(0), 6);
    net_add_to(net, 1, key_of(1), 5);
    net_run(net, S);
    assert_int_equal(net_read(net, 1, key_of(0)), 7);
    assert_int_equal(net_read(net, 0, key_of(1)), 7);
    assert_int_equal(net_stats(net, 1).cold_starts_apply_failed, 1);
    net_free(net);
}

static void a_round_that_failed_once_is_said_again(void **state)
{
    struct spoiler spoiler;
    struct net *net = pair_of(&spoiler, 500);
    net_add(net, 1);
    for (unsigned i = 0; i < 4; i++) {
        spoiler.spoils = 1;
        net_add_to(net, 0, "counter:again", 1);
        net_run(net, 10 * S);
        assert_int_equal(spoiler.done, i + 1);
        assert_int_equal(net_read(net, 1, "counter:again"), i + 1);
    }
    struct tly_stats stats = net_stats(net, 1);
    assert_int_equal(stats.sessions_broken, 4);
    assert_int_equal(stats.cold_starts_apply_failed, 0);
    assert_int_equal(stats.snapshots_installed, 0);
    expect_all(net, 1, 500);
    net_free(net);
}

/* ---- a peer without rounds ---- */

static void who_takes_no_rounds_lives_on_snapshots(void **state)
{
    struct spoiler spoiler;
    struct net *net = pair_of(&spoiler, 200);
    spoiler.no_delta = true;
    net_add(net, 1);
    net_run(net, 10 * S);
    assert_true(spoiler.done > 0);
    expect_all(net, 1, 200);
    uint64_t before = net_stats(net, 1).snapshots_installed;
    assert_true(before > 0);
    assert_int_equal(net_stats(net, 1).cold_starts_no_delta, net_stats(net, 0).snapshots_sent);
    net_add_to(net, 0, key_of(0), 6);
    net_run(net, 60 * S);
    assert_int_equal(net_read(net, 1, key_of(0)), 7);
    assert_true(net_stats(net, 1).snapshots_installed > before);
    assert_true(net_stats(net, 1).snapshots_installed < 50);
    net_free(net);
}

/* n2 counts 7 alone while it is forgotten, hears that its life is settled, and meets nobody who could bring it up until all have forgotten that word. */
static struct net *settled_and_not_brought_up(struct spoiler *spoiler, uint64_t *origin)
{
    struct net *net = some_nodes(3);
    *spoiler = (struct spoiler){.net = net, .no_snapshots = true};
    net_listen(net, spoil, spoiler);
    net_add_to(net, 2, "ctr:all", 10);
    net_run(net, 2 * S);
    *origin = net_origin(net, 2);
    block_all(net, 2, 3, true);
    forget_member(net, 0, "n2");
    net_add_to(net, 2, "ctr:all", 5);
    net_add_to(net, 2, "ctr:alone", 7);
    while (net_life(net, 0, *origin).state < TLY_LIFE_SETTLED)
        net_run(net, MS);
    net_pause(net, 1, true); /* so that the word is not over before it is heard */
    block_all(net, 2, 3, false);
    net_run(net, 5 * S);
    assert_true(net_origin(net, 2) != *origin);
    assert_int_equal(net_life(net, 2, *origin).state, TLY_LIFE_SETTLED);
    net_pause(net, 1, false);
    net_run(net, 60 * S);
    assert_int_equal(net_life(net, 0, *origin).state, TLY_LIFE_RETIRED);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 0);
    assert_int_equal(net_read(net, 2, "ctr:alone"), 7);
    return net;
}

static void expect_carried_over(struct net *net, struct spoiler *spoiler)
{
    spoiler->no_snapshots = false;
    net_cut(net, 0, 2);
    net_cut(net, 1, 2);
    net_run(net, 60 * S);
    assert_true(net_stats(net, 2).snapshots_installed > 0);
    for (size_t node = 0; node < 3; node++) {
        assert_int_equal(net_read(net, node, "ctr:all"), 15);
        assert_int_equal(net_read(net, node, "ctr:alone"), 7);
    }
    claim_equal(net, 3);
    net_free(net);
}

/* The word that settled its life says whose that was, is over at once, and is forgotten by all when F has passed it. */
static void what_was_counted_alone_outlives_the_word_that_settled_it(void **state)
{
    (void)state;
    struct spoiler spoiler;
    uint64_t origin;
    struct net *net = settled_and_not_brought_up(&spoiler, &origin);
    expect_carried_over(net, &spoiler);
}

/* … and the time until it is said again, up to a second, in which a snapshot may end that was asked for before. */
static void what_was_counted_alone_outlives_a_moment_without_that_word(void **state)
{
    (void)state;
    struct spoiler spoiler;
    uint64_t origin;
    char word[40];
    struct net *net = settled_and_not_brought_up(&spoiler, &origin);
    (void)snprintf(word, sizeof word, "sys:closed:%020llu", (unsigned long long)origin);
    struct tly_engine *engine = net_node(net, 2);
    spoiler.no_snapshots = false;
    net_cut(net, 0, 2);
    net_cut(net, 1, 2);
    while (!tly_snap_is_asking(engine))
        net_run(net, MS / 10);
    assert_int_equal(tly_ormap_remove(engine->map, tly_slice_text(word)), TLY_OK);
    uint64_t steps_at = engine->forget.step_at;
    while (net_stats(net, 2).snapshots_installed == 0)
        net_run(net, MS / 10);
    assert_true(net_now(net) < steps_at);
    expect_carried_over(net, &spoiler);
}

/* ---- whom one asks ---- */

static void who_needs_a_snapshot_asks_all_in_turn(void **state)
{
    (void)state;
    struct net *net = some_nodes(4);
    for (uint64_t i = 1; i <= 6; i++) {
        net_node(net, 0)->forget.resync = true; /* what it got was of no use */
        net_node(net, 0)->forget.step_at = net_time(net, 0).mono_ns;
        while (net_stats(net, 0).snapshots_installed < i)
            net_run(net, 100 * MS);
        net_run(net, 10 * S);
    }
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(net_stats(net, i).snapshots_sent, 2);
    net_free(net);
}

/* Until it is, its node says nothing to anybody. */
static void nobody_asks_for_another_before_the_last_is_stored(void **state)
{
    (void)state;
    struct net *net = some_nodes(2);
    struct tly_engine *e = net_node(net, 0);
    net_run(net, 5 * S);
    e->held_batch = TLY_NEVER;
    tly_snap_resync(e);
    assert_false(tly_snap_is_asking(e));
    e->held_batch = 0;
    tly_snap_resync(e);
    assert_true(tly_snap_is_asking(e));
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_that_fails_twice_is_a_snapshot),
        cmocka_unit_test(a_round_that_failed_once_is_said_again),
        cmocka_unit_test(who_takes_no_rounds_lives_on_snapshots),
        cmocka_unit_test(what_was_counted_alone_outlives_the_word_that_settled_it),
        cmocka_unit_test(what_was_counted_alone_outlives_a_moment_without_that_word),
        cmocka_unit_test(who_needs_a_snapshot_asks_all_in_turn),
        cmocka_unit_test(nobody_asks_for_another_before_the_last_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
