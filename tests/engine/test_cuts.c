/*
 * Connections that break: behind every byte, at either end first, and while both dial.  Whatever comes of it, every dot is
 * applied once, nobody claims what it lacks, and one connection is left.
 */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

/* ---- after every byte ---- */

struct exchange {
    struct net *(*prepared)(void);
    void (*talk)(struct net *net);
    size_t bytes_least; /* either way, so that a sweep cannot be of nothing */
    bool deletes;       /* then numbers of what is known everywhere are said, as many as there is time for */
};

struct outcome {
    bool was_cut;
    uint64_t applied[2];
    uint64_t stale;
};

static void ask(struct net *net, size_t node, enum tly_request_kind kind, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = kind, .key = tly_slice_text(key), .bytes = tly_slice_text("x")};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

static struct net *two_strangers(void)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    ask(net, 0, TLY_ASK_PUT, "kv:x");
    return net;
}

static struct net *two_at_rest(void)
{
    struct net *net = two_strangers();
    net_run(net, 10 * S); /* until what it costs to lose a connection is small again */
    assert_int_equal(net_peers_up(net, 0), 1);
    return net;
}

/* A part, one back with what was taken, a third one. */
static void three_frames(struct net *net)
{
    net_add_to(net, 0, "a", 3);
    net_run(net, 5 * MS);
    net_add_to(net, 1, "b", 5);
    net_run(net, 15 * MS);
    net_add_to(net, 0, "c", 7);
    net_run(net, S);
}

/* The same with a REMOVE in the first. */
static void three_frames_and_a_remove(struct net *net)
{
    ask(net, 0, TLY_ASK_REMOVE, "kv:x");
    three_frames(net);
}

/* Greetings both ways, and all that either has. */
static void first_words(struct net *net)
{
    net_add_to(net, 0, "a", 3);
    net_add_to(net, 1, "b", 5);
    net_add_to(net, 0, "c", 7);
    net_run(net, S);
}

static void claim_converged(struct net *net, bool deletes)
{
    for (size_t i = 0; i < 2; i++) {
        struct tly_stats stats = net_stats(net, i);
        claim(net_peers_up(net, i) == 1);
        claim(net_read(net, i, "a") == 3 && net_read(net, i, "b") == 5 && net_read(net, i, "c") == 7);
        struct tly_reply reply;
        struct tly_request read = {.kind = TLY_ASK_READ, .key = tly_slice_text("kv:x")};
        claim(net_ask(net, i, read, &reply) == (deletes ? TLY_NOT_FOUND : TLY_OK));
        claim(stats.sessions_broken == 0 && stats.naks_sent == 0 && stats.dots_stale == 0);
    }
    claim(net_connections(net) == 1);
    claim(net_digest(net, 0) == net_digest(net, 1) && net_digest(net, 0) != 0);
}

static struct outcome cut_once(const struct exchange *exchange, const struct net_cut_plan *plan)
{
    struct net *net = exchange->prepared();
    struct tly_stats before[2] = {net_stats(net, 0), net_stats(net, 1)};
    struct outcome outcome = {0};
    net_cut_after(net, plan);
    exchange->talk(net);
    outcome.was_cut = net_was_cut(net);
    net_run(net, 5 * S);
    claim_converged(net, exchange->deletes);
    for (size_t i = 0; i < 2; i++) {
        struct tly_stats after = net_stats(net, i);
        outcome.applied[i] = after.dots_applied - before[i].dots_applied;
        outcome.stale += after.stale_callbacks - before[i].stale_callbacks;
    }
    net_free(net);
    return outcome;
}

/* Behind each byte that `from` says. Events of connections that are no more are added to *stale. */
static void sweep(const struct exchange *exchange, struct net_cut_plan plan, uint64_t *stale)
{
    struct net_cut_plan never = plan;
    never.bytes = UINT64_MAX;
    struct outcome whole = cut_once(exchange, &never);
    assert_false(whole.was_cut);
    for (plan.bytes = 0;; plan.bytes++) {
        struct outcome outcome = cut_once(exchange, &plan);
        if (!outcome.was_cut) break;
        bool once = outcome.applied[0] == whole.applied[0] && outcome.applied[1] == whole.applied[1];
        if (!once && !exchange->deletes)
            fail_msg("cut behind byte %d of n%d: applied %d and %d dots, not %d and %d", (int)plan.bytes,
                     (int)plan.from, (int)outcome.applied[0], (int)outcome.applied[1], (int)whole.applied[0],
                     (int)whole.applied[1]);
        *stale += outcome.stale;
    }
    assert_true(plan.bytes >= exchange->bytes_least);
}

/* Either end hears of it at once, or long after there is another connection; then what had come is read late, too. */
static void sweep_all(const struct exchange *exchange)
{
    static const struct net_cut_plan ends[] = {{.bytes_late = false},
                                               {.late_ns = {0, 3 * S / 2}},
                                               {.late_ns = {3 * S / 2, 0}},
                                               {.late_ns = {0, 3 * S / 2}, .bytes_late = true},
                                               {.late_ns = {3 * S / 2, 0}, .bytes_late = true}};
    uint64_t stale = 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct net_cut_plan plan = ends[i];
        for (plan.from = 0; plan.from < 2; plan.from++) {
            plan.to = 1 - plan.from;
            uint64_t before = stale;
            sweep(exchange, plan, &stale);
            claim(i == 0 || stale > before);
        }
    }
}

static void cut_after_every_byte_of_three_frames_each_dot_is_applied_once(void **state)
{
    sweep_all(&(struct exchange){two_at_rest, three_frames, 20, false});
    sweep_all(&(struct exchange){two_at_rest, three_frames_and_a_remove, 20, true});
}

static void cut_after_every_byte_of_the_greetings_each_dot_is_applied_once(void **state)
{
    sweep_all(&(struct exchange){two_strangers, first_words, 150, false});
}

/* ---- both dial ---- */

/* A pair whose events come in an order of the seed's, either of them the one that was there first. */
static void both_dial(uint64_t seed, size_t *replaced)
{
    struct test_rng rng = test_rng_of(seed);
    struct net *net = net_new(MS / 10);
    net_jitter(net, test_rng_below(&rng, 20 * MS), seed);
    net_add(net, 2);
    net_add_to(net, 0, "a", 1);
    if (test_rng_chance(&rng, 50)) net_run(net, test_rng_below(&rng, 120 * MS));
    net_add(net, 1);
    net_add_to(net, 1, "b", 1);
    for (int i = 0; i < 20; i++) {
        net_add_to(net, (size_t)i % 2, i % 2 == 0 ? "a" : "b", 1);
        net_run(net, test_rng_below(&rng, 10 * MS));
    }
    net_run(net, 2 * S);
    claim(net_connections(net) == 1);
    bool first_stays = false;
    for (size_t i = 0; i < 2; i++)
        first_stays = first_stays || net_stats(net, i).sessions_up > 1;
    *replaced += first_stays;
    for (size_t i = 0; i < 2; i++) {
        struct tly_stats stats = net_stats(net, i);
        struct tly_peer_view peer;
        tly_engine_peer(net_node(net, i), 0, &peer);
        claim(tly_engine_peers(net_node(net, i)) == 1 && peer.up);
        claim(net_read(net, i, "a") == 11 && net_read(net, i, "b") == 11);
        claim(stats.sessions_broken == 0 && stats.sessions_refused == 0);
        /* Where one took the place of another it is that of the lower origin, whichever came first. */
        claim(!first_stays || peer.dialled == (i == 0));
    }
    claim(net_digest(net, 0) == net_digest(net, 1));
    net_free(net);
}

static void a_thousand_simultaneous_dials_leave_one_connection_each(void **state)
{
    size_t replaced = 0;
    for (uint64_t i = 0; i < 1000; i++)
        both_dial(test_seed_first() + i, &replaced);
    claim(replaced > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_after_every_byte_of_three_frames_each_dot_is_applied_once),
        cmocka_unit_test(cut_after_every_byte_of_the_greetings_each_dot_is_applied_once),
        cmocka_unit_test(a_thousand_simultaneous_dials_leave_one_connection_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
