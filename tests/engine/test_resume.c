/*
 * A snapshot whose connection is cut: it goes on with the next one, chunk by chunk, from the same life of the same source; from
 * anybody else it begins anew. Nothing of it is seen before it is whole.
 */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define GRACE_MS 1000
#define KEYS 20000
#define MANY ((size_t)(test_is_long() ? 1000000 : 100000))
#define MIB ((size_t)1 << 20)
/* A key that nobody writes again. */
#define QUIET "counter:quiet"

static const char *key_of(size_t i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "counter:%zu", i);
    return key;
}

static const struct tly_engine_config stored = {.has_store = true, .tombstone_grace_ms = GRACE_MS};

/* So many nodes that have forgotten a REMOVE, so that whoever joins needs a snapshot. */
static struct net *nodes_of(size_t nodes, size_t keys)
{
    struct net *net = net_new(4 * MS);
    struct tly_reply reply;
    struct tly_request put = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text("kv:gone"), .bytes = tly_slice_text("x")};
    for (size_t i = 0; i < nodes; i++)
        net_add_with(net, stored, i == 0 ? 0 : 1);
    net_run(net, 3 * S);
    assert_int_equal(net_ask(net, 0, put, &reply), TLY_OK);
    put.kind = TLY_ASK_REMOVE;
    assert_int_equal(net_ask(net, 0, put, &reply), TLY_OK);
    net_run(net, 10 * S);
    assert_int_equal(net_stats(net, 0).removes_forgotten, 1);
    net_add_to(net, 0, QUIET, 1);
    for (size_t i = 0; i < keys; i++) {
        net_add_to(net, 0, key_of(i), (int64_t)i + 1);
        if (i % 1000 == 0) net_run(net, 20 * MS);
    }
    net_run(net, S);
    return net;
}

static size_t join(struct net *net, unsigned joins)
{
    return net_add_with(net, stored, joins);
}

static const struct snap_in *coming(struct net *net, size_t node)
{
    return &net_node(net, node)->coming;
}

static size_t memory(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view.memory_used;
}

/* 10,000 writes a second, each of some key that is there. */
static void pass(struct net *net, uint64_t ms, size_t keys, struct test_rng *rng)
{
    for (; ms > 0; ms--) {
        for (size_t i = 0; i < 10; i++)
            net_add_to(net, 0, key_of((size_t)test_rng_below(rng, keys)), 1);
        net_run(net, MS);
    }
}

static void until_chunks(struct net *net, size_t node, uint64_t chunks, size_t keys, struct test_rng *rng)
{
    for (size_t ms = 0; coming(net, node)->install == NULL || coming(net, node)->chunks < chunks; ms++) {
        pass(net, 1, keys, rng);
        if (ms > 20000) fail_msg("chunk %d never came", (int)chunks);
    }
    /* Nothing is taken before the end, but what is new (test_news.c). */
    assert_int_equal(tly_ormap_mark(net_node(net, node)->map, coming(net, node)->source), 0);
    assert_int_equal(net_read(net, node, QUIET), INT64_MIN);
}

static void claim_equal(struct net *net, size_t nodes)
{
    for (size_t i = 1; i < nodes; i++)
        assert_int_equal(net_digest(net, 0), net_digest(net, i));
    assert_true(net_read(net, nodes - 1, key_of(1)) >= 2);
}

static void cut_twice_under_load_it_goes_on_by_chunk_in_constant_memory(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = nodes_of(1, MANY);
    pass(net, 500, MANY, &rng);
    size_t quiet = memory(net, 0), most = 0;
    uint64_t bytes = net_bytes(net);
    size_t joiner = join(net, 1);
    uint64_t number = 0, before = 0;
    for (uint64_t cut = 0; cut < 2; cut++) {
        until_chunks(net, joiner, before + 15, MANY, &rng);
        const struct snap_in *in = coming(net, joiner);
        if (cut == 1) assert_int_equal(in->number, number);
        number = in->number;
        before = in->chunks;
        net_cut(net, 0, joiner);
        most = memory(net, 0) > most ? memory(net, 0) : most;
    }
    for (size_t ms = 0; net_stats(net, joiner).snapshots_installed == 0 && ms < MANY / 5; ms++) {
        pass(net, 1, MANY, &rng);
        if (coming(net, joiner)->install != NULL) assert_true(coming(net, joiner)->chunks >= before);
        most = memory(net, 0) > most ? memory(net, 0) : most;
    }
    assert_int_equal(net_stats(net, joiner).snapshots_installed, 1);
    assert_int_equal(net_stats(net, 0).snapshots_resumed, 2);
    printf("the source: %zu KiB quiet, %zu KiB at most; %llu KiB on the wire\n", quiet / 1024, most / 1024,
           (unsigned long long)(net_bytes(net) - bytes) / 1024);
    assert_true(most <= quiet + 8 * MIB);
    pass(net, 1000, MANY, &rng);
    net_run(net, 10 * S);
    claim_equal(net, 2);
    assert_int_equal(tly_ormap_mark(net_node(net, joiner)->map, 100),
                     tly_ormap_mark(net_node(net, 0)->map, 100));
    net_free(net);
}

static void of_a_source_that_was_restarted_nothing_goes_on(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    for (uint64_t chunks = 1; chunks < 8; chunks += 3) {
        struct net *net = nodes_of(1, KEYS);
        size_t joiner = join(net, 1);
        until_chunks(net, joiner, chunks, KEYS, &rng);
        uint64_t source = coming(net, joiner)->source;
        net_restart(net, 0, 900, SIZE_MAX);
        net_run(net, 60 * S);
        assert_int_equal(net_stats(net, 0).snapshots_resumed, 0);
        assert_int_equal(net_stats(net, joiner).snapshots_installed, 1);
        assert_int_not_equal(tly_ormap_origin(net_node(net, 0)->map), source);
        claim_equal(net, 2);
        net_free(net);
    }
}

static void from_another_source_it_begins_anew(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = nodes_of(2, KEYS);
    size_t joiner = join(net, 3);
    until_chunks(net, joiner, 3, KEYS, &rng);
    size_t source = (size_t)coming(net, joiner)->source - 100;
    assert_in_range(source, 0, 1);
    net_block(net, source, joiner, true);
    for (size_t ms = 0; coming(net, joiner)->source != 101 - source; ms++) {
        pass(net, 1, KEYS, &rng);
        assert_true(ms < 60000);
    }
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 0).snapshots_resumed + net_stats(net, 1).snapshots_resumed, 0);
    assert_int_equal(net_stats(net, joiner).snapshots_installed, 1);
    net_block(net, source, joiner, false);
    net_run(net, 60 * S);
    claim_equal(net, 3);
    net_free(net);
}

/* Both have put one of the same number aside. */
static void of_two_sources_nothing_is_mixed(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = nodes_of(2, KEYS);
    size_t joiner = join(net, 3);
    until_chunks(net, joiner, 3, KEYS, &rng);
    size_t source = (size_t)coming(net, joiner)->source - 100;
    uint64_t number = coming(net, joiner)->number;
    net_block(net, source, joiner, true);
    while (coming(net, joiner)->source != 101 - source || coming(net, joiner)->chunks < 3)
        pass(net, 1, KEYS, &rng);
    assert_int_equal(coming(net, joiner)->number, number);
    net_block(net, 1 - source, joiner, true);
    net_block(net, source, joiner, false);
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 0).snapshots_resumed + net_stats(net, 1).snapshots_resumed, 0);
    assert_int_equal(net_stats(net, joiner).snapshots_installed, 1);
    net_block(net, 1 - source, joiner, false);
    net_run(net, 60 * S);
    claim_equal(net, 3);
    net_free(net);
}

static void two_in_quick_succession_are_equal(void **state)
{
    struct net *net = nodes_of(1, KEYS);
    size_t joiner = join(net, 1);
    net_run(net, 20 * S);
    claim_equal(net, 2);
    assert_int_equal(net_stats(net, joiner).snapshots_installed, 1);
    for (uint64_t i = 2; i < 4; i++) {
        uint64_t digest = net_digest(net, joiner);
        net_node(net, joiner)->forget.resync = true;
        net_run(net, 5 * S);
        assert_int_equal(net_stats(net, joiner).snapshots_installed, i);
        /* Only what nodes say of themselves has changed, if anything. */
        claim_equal(net, 2);
        assert_true(digest == net_digest(net, joiner) || net_stats(net, 0).writes == KEYS + 3);
    }
    net_free(net);
}

static void what_is_not_asked_for_again_is_not_kept_for_ever(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = nodes_of(1, KEYS);
    size_t joiner = join(net, 1);
    until_chunks(net, joiner, 3, KEYS, &rng);
    net_block(net, 0, joiner, true);
    net_run(net, 10 * S);
    assert_non_null(net_node(net, 0)->peers[0]->aside);
    assert_non_null(coming(net, joiner)->install);
    uint64_t frozen = tly_forget_number(net_node(net, 0));
    assert_true(frozen < tly_ormap_mark(net_node(net, 0)->map, 100));
    net_run(net, 301 * S);
    assert_null(net_node(net, 0)->peers[0]->aside);
    assert_null(coming(net, joiner)->install);
    net_block(net, 0, joiner, false);
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 0).snapshots_resumed, 0);
    claim_equal(net, 2);
    net_free(net);
}

static void who_does_not_know_of_it_begins_anew(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t old = 0; old < 2; old++) {
        struct net *net = nodes_of(1, KEYS);
        size_t joiner = join(net, 1), node = old == 0 ? 0 : joiner;
        until_chunks(net, joiner, 3, KEYS, &rng);
        net_node(net, node)->conns[0]->resumes = false;
        net_cut(net, 0, joiner);
        for (size_t ms = 0; net_stats(net, joiner).snapshots_installed == 0 && ms < 60000; ms++) {
            for (size_t i = 0; i < net_node(net, node)->conn_count; i++)
                net_node(net, node)->conns[i]->resumes = false;
            net_run(net, MS);
        }
        assert_int_equal(net_stats(net, 0).snapshots_resumed, 0);
        net_run(net, 10 * S);
        claim_equal(net, 2);
        net_free(net);
    }
}

/* Cut at any moment, as often as that: it ends, and all is equal. */
static void cut_at_any_moment_it_ends_equal(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    uint64_t resumed = 0;
    for (size_t round = 0; round < 10; round++) {
        struct net *net = nodes_of(1, KEYS);
        size_t joiner = join(net, 1);
        for (size_t cut = 0; cut < 6; cut++) {
            pass(net, test_rng_below(&rng, 30), KEYS, &rng);
            net_cut(net, 0, joiner);
            for (size_t ms = 0; net_connections(net) == 0 && ms < 60000; ms++)
                net_run(net, MS);
        }
        net_run(net, 60 * S);
        resumed += net_stats(net, 0).snapshots_resumed;
        claim(net_stats(net, joiner).snapshots_installed == 1);
        claim_equal(net, 2);
        net_free(net);
    }
    claim(resumed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_twice_under_load_it_goes_on_by_chunk_in_constant_memory),
        cmocka_unit_test(of_a_source_that_was_restarted_nothing_goes_on),
        cmocka_unit_test(from_another_source_it_begins_anew),
        cmocka_unit_test(of_two_sources_nothing_is_mixed),
        cmocka_unit_test(two_in_quick_succession_are_equal),
        cmocka_unit_test(what_is_not_asked_for_again_is_not_kept_for_ever),
        cmocka_unit_test(who_does_not_know_of_it_begins_anew),
        cmocka_unit_test(cut_at_any_moment_it_ends_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
