/*
 * Law 4 over whole engines: three to five of them write, delete, forget, are cut off, crash, come back with what they had stored or
 * with an older disk, are declared forgotten and return.  At every look: what one of them once knew to be deleted does not stand
 * there; at the end all are equal, and of what was deleted with everybody's knowledge nothing is left.
 */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define GRACE_MS 3000
#define NODES 4
#define KEYS 4
#define STEPS 150
#define SEEDS 12

static struct test_rng rng;
static struct net *net;
static uint64_t lives, snapshots, forgotten;
static uint64_t
    written; /* each value is written once only and carries its number, so a value that stands is one write */
static uint64_t dead[KEYS];          /* newest value of a key that was deleted at rest, when all were equal */
static bool declared;                /* somebody was declared forgotten since the last rest */
static bool away[NODES], old[NODES]; /* old: its disk was older, and it has not been at rest since */

static uint64_t below(uint64_t n)
{
    return test_rng_below(&rng, n);
}

static const char *key_of(size_t key)
{
    static const char *const keys[KEYS] = {"kv:a", "kv:b", "kv:c", "kv:d"};
    return keys[key];
}

/* The number of the write that stands at a node; 0: none. */
static uint64_t value_at(size_t node, size_t key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(key_of(key))};
    if (net_ask(net, node, request, &reply) != TLY_OK) return 0;
    char text[32] = "";
    claim(reply.value.bytes.n < sizeof text);
    memcpy(text, reply.value.bytes.p, reply.value.bytes.n);
    return strtoull(text, NULL, 10);
}

static void write_at(size_t node, size_t key)
{
    char text[32];
    struct tly_reply reply;
    snprintf(text, sizeof text, "%llu", (unsigned long long)++written);
    struct tly_request request = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text(key_of(key)), .bytes = tly_slice_text(text)};
    claim(net_ask(net, node, request, &reply) == TLY_OK);
}

static void delete_at(size_t node, size_t key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text(key_of(key))};
    enum tly_result result = net_ask(net, node, request, &reply);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
}

static void set_away(size_t node, bool is_away)
{
    for (size_t i = 0; i < NODES; i++)
        if (i != node) net_block(net, node, i, is_away || away[i]);
    away[node] = is_away;
}

static void declare_forgotten(size_t by, size_t node)
{
    struct tly_reply reply;
    char name[] = {'n', (char)('0' + node), '\0'};
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text(name)};
    /* One at a time, and not by one who is cut off: two sides that give each other up are two clusters. */
    if (by == node || away[by] || declared) return;
    declared = net_ask(net, by, request, &reply) == TLY_OK;
}

static void restart(size_t node)
{
    /* One older disk at a time: what the only node that still has it loses is lost. */
    bool others_old = memcmp(old, (bool[NODES]){false}, sizeof old) != 0;
    size_t all = net_batches(net, node), kept = !others_old && below(3) == 0 ? all - below(all / 4 + 1) : all;
    snapshots += net_stats(net, node).snapshots_installed;
    forgotten += net_stats(net, node).removes_forgotten;
    net_restart(net, node, ++lives, kept);
    old[node] |= kept < all;
    /* What it is told to be blocked from stays blocked. */
    if (away[node]) set_away(node, true);
}

/* Everybody is there and has all of it. */
static void come_to_rest(void)
{
    for (size_t i = 0; i < NODES; i++)
        set_away(i, false);
    for (size_t i = 0; i < NODES; i++)
        for (size_t j = 0; j < NODES; j++)
            if (i != j) net_block(net, i, j, false);
    net_run(net, 150 * S);
    memset(old, 0, sizeof old);
    declared = false;
    for (size_t key = 0; key < KEYS; key++)
        for (size_t i = 0; i < NODES; i++)
            claim(value_at(i, key) == value_at(0, key));
}

static void claim_dead_stay_dead(void)
{
    for (size_t key = 0; key < KEYS; key++)
        for (size_t i = 0; i < NODES; i++)
            claim(old[i] || value_at(i, key) == 0 || value_at(i, key) > dead[key]);
}

/* All that was written so far is deleted, with everybody's knowledge. */
static void delete_for_all(void)
{
    come_to_rest();
    size_t key = (size_t)below(KEYS);
    if (value_at(0, key) == 0) return;
    delete_at((size_t)below(NODES), key);
    dead[key] = written;
    net_run(net, 2 * S);
    claim_dead_stay_dead();
}

static void step(void)
{
    size_t node = (size_t)below(NODES), key = (size_t)below(KEYS);
    switch (below(16)) {
    case 0: restart(node); break;
    case 1:
    case 2: set_away(node, !away[node]); break;
    case 3:
        if (below(3) == 0) declare_forgotten((size_t)below(NODES), node);
        break;
    case 4:
        if (below(4) == 0) delete_for_all();
        break;
    case 5:
    case 6:
    case 7: delete_at(node, key); break;
    default: write_at(node, key); break;
    }
    net_run(net, below(4) == 0 ? below(3 * GRACE_MS) * MS : below(40) * MS);
    claim_dead_stay_dead();
}

static void run(uint64_t seed)
{
    rng = test_rng_of(seed);
    net = net_new(MS / 2);
    lives = 1000 * (seed + 1);
    written = 0;
    declared = false;
    memset(dead, 0, sizeof dead);
    memset(away, 0, sizeof away);
    memset(old, 0, sizeof old);
    struct tly_engine_config config = {
        .has_store = true, .tombstone_grace_ms = GRACE_MS, .forget_after_ms = 3600000};
    for (size_t i = 0; i < NODES; i++)
        net_add_with(net, config, i == 0 ? 2 : 1);
    for (size_t i = 0; i < STEPS; i++)
        step();
    come_to_rest();
    net_run(net, 200 * S);
    for (size_t i = 0; i < NODES; i++) {
        claim_dead_stay_dead();
        claim(net_digest(net, i) == net_digest(net, 0));
        snapshots += net_stats(net, i).snapshots_installed;
        forgotten += net_stats(net, i).removes_forgotten;
    }
    net_free(net);
}

static void what_was_deleted_never_comes_back(void **state)
{
    size_t seeds = test_is_long() ? 20 * SEEDS : SEEDS;
    snapshots = forgotten = 0;
    for (size_t i = 0; i < seeds; i++)
        run(test_seed_first() + i);
    print_message("%zu histories: %llu REMOVEs forgotten, %llu snapshots installed\n", seeds,
                  (unsigned long long)forgotten, (unsigned long long)snapshots);
    claim(snapshots > 0 && forgotten > seeds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_deleted_never_comes_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
