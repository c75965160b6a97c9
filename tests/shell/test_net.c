/*
 * Two nodes on real connections: cut at the edges of frames and within their heads, closed at either end first, and dialled
 * from both ends at once.
 */
#include "tests/shell/support_pair.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"
#include "wire/frame.h"

#include "tests/support/mem.h"

#include <stdio.h>

/* Behind these many bytes of what one says there is the edge of a frame, or some of a head. */
struct places {
    size_t at[512], count, frames;
};

static void add_place(struct places *places, size_t at)
{
    if (places->count > 0 && places->at[places->count - 1] >= at) return;
    assert_true(places->count < sizeof places->at / sizeof places->at[0]);
    places->at[places->count++] = at;
}

static void find_places(struct tly_slice said, struct places *places)
{
    struct tly_mem mem = test_mem();
    struct tly_buf scratch;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    size_t at = 0;
    while (at < said.n) {
        struct tly_frame frame;
        size_t bytes;
        struct tly_slice rest = tly_slice_of(said.p + at, said.n - at);
        assert_int_equal(tly_frame_get(rest, &scratch, &frame, &bytes), TLY_OK);
        for (size_t i = 0; i <= TLY_FRAME_HEAD_MAX && i < bytes; i++)
            add_place(places, at + i);
        add_place(places, at + bytes - 1);
        at += bytes;
        places->frames++;
    }
    tly_buf_fini(&scratch);
}

/* Two that have just met, with something to say. */
static struct pair *with_news(void)
{
    struct pair *pair = pair_new(false);
    pair_add(pair, 0, "a", 3);
    pair_add(pair, 1, "b", 5);
    return pair;
}

/* Greetings and what both have; then a part, one back, a third. */
static void talk(struct pair *pair)
{
    pair_turns(pair, 150);
    pair_add(pair, 0, "c", 7);
    pair_turns(pair, 5);
    pair_add(pair, 1, "d", 11);
    pair_turns(pair, 15);
    pair_add(pair, 0, "e", 13);
    pair_turns(pair, 150);
}

static void claim_all_there(struct pair *pair)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    static const int64_t values[] = {3, 5, 7, 11, 13};
    for (size_t side = 0; side < 2; side++) {
        struct tly_stats stats = pair_stats(pair, side);
        for (size_t i = 0; i < 5; i++)
            assert_int_equal(pair_read(pair, side, keys[i]), values[i]);
        assert_int_equal(stats.sessions_broken, 0);
        assert_int_equal(stats.naks_sent, 0);
    }
}

/* Dots that were applied at either end. */
static uint64_t applied(const struct pair *pair)
{
    return pair_stats(pair, 0).dots_applied + pair_stats(pair, 1).dots_applied;
}

static void cut_once(size_t from, size_t bytes, unsigned late, uint64_t expected)
{
    struct pair *pair = with_news();
    pair_cut_after(pair, from, bytes, late);
    talk(pair);
    assert_true(pair_was_cut(pair));
    pair_turns(pair, 300); /* time for another connection, before who is late hears that the first is gone */
    pair_release(pair);
    pair_settle(pair);
    claim_all_there(pair);
    if (applied(pair) != expected)
        fail_msg("cut behind byte %zu of n%zu: %llu dots applied, not %llu", bytes, from,
                 (unsigned long long)applied(pair), (unsigned long long)expected);
    pair_turns(pair, 200);
    assert_int_equal(pair_relayed(pair), 1);
    pair_free(pair);
}

static void cut_at_frames_and_within_heads_each_dot_is_applied_once(void **state)
{
    struct places places[2] = {{.count = 0}, {.count = 0}};
    struct pair *pair = with_news();
    pair_cut_after(pair, 0, SIZE_MAX, 0);
    talk(pair);
    pair_settle(pair);
    claim_all_there(pair);
    uint64_t expected = applied(pair);
    for (size_t from = 0; from < 2; from++) {
        find_places(pair_said(pair, from), &places[from]);
        assert_true(places[from].frames >= 3);
    }
    pair_free(pair);
    for (size_t from = 0; from < 2; from++)
        for (size_t i = 0; i < places[from].count; i++)
            for (unsigned late = 0; late < 3; late++)
                cut_once(from, places[from].at[i], late, expected);
}

static void dialled_from_both_ends_at_once_one_connection_is_left(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t replaced = 0;
    for (int i = 0; i < 200; i++) {
        struct pair *pair = pair_new(true);
        pair_add(pair, 0, "a", 1);
        pair_add(pair, 1, "b", 1);
        for (size_t turns = 20 + (size_t)test_rng_below(&rng, 20); turns > 0; turns--)
            pair_turn(pair, (size_t)test_rng_below(&rng, 2));
        pair_settle(pair);
        struct tly_peer_view peer[2];
        for (size_t side = 0; side < 2; side++)
            tly_engine_peer(pair_engine(pair, side), 0, &peer[side]);
        /* Both have dialled; that of the lower origin stays. */
        assert_true(pair_stats(pair, 0).dials >= 1 && pair_stats(pair, 1).dials >= 1);
        claim(peer[0].dialled && !peer[1].dialled);
        claim(pair_read(pair, 0, "b") == 1 && pair_read(pair, 1, "a") == 1);
        replaced += pair_stats(pair, 0).sessions_up > 1 || pair_stats(pair, 1).sessions_up > 1;
        pair_free(pair);
    }
    claim(replaced > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_at_frames_and_within_heads_each_dot_is_applied_once),
        cmocka_unit_test(dialled_from_both_ends_at_once_one_connection_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
