/* Checks that go the short way: what they say and leave behind is what the long way does. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define KEYS 40

/* The same rate time and again, and keys of which some are asked far more often. */
static struct tly_check random_check(struct test_rng *rng, struct tly_rate *rate, char key[64])
{
    size_t number = (size_t)test_rng_below(rng, test_rng_chance(rng, 50) ? 2 : KEYS);
    int n = snprintf(key, 64, "a key of some length, number %zu", number);
    if (test_rng_chance(rng, 4))
        *rate = (struct tly_rate){.limit = 1 + test_rng_below(rng, 400),
                                  .window_ms = test_rng_chance(rng, 20) ? 30 : 1000,
                                  .algorithm = (enum tly_algorithm)test_rng_below(rng, 3)};
    if (rate->algorithm == TLY_TOKEN_BUCKET && test_rng_chance(rng, 50))
        rate->burst = 1 + test_rng_below(rng, 100);
    struct tly_check check = {.key = tly_slice_of(key, (size_t)n), .rate = *rate, .hits = 1};
    if (test_rng_chance(rng, 10)) check.hits = (uint32_t)test_rng_below(rng, 20);
    if (test_rng_chance(rng, 10)) check.charging = TLY_CHARGE_ALL;
    if (test_rng_chance(rng, 5)) check.key.n = test_rng_below(rng, check.key.n);
    return check;
}

/* A cluster, what its first node said, and what was there then. It lives twice through the same: the second time all go the long way. */
#define STEPS 3000
struct life {
    struct net *net;
    size_t nodes;
    bool is_long;
    enum tly_result result[STEPS];
    struct tly_verdict verdict[STEPS];
    uint64_t digest[STEPS / 100];
    struct tly_stats stats;
};

static struct life lives[2];

static void claim_same(const struct tly_verdict *a, const struct tly_verdict *b)
{
    claim(a->code == b->code && a->reason == b->reason && a->mode == b->mode && a->bound == b->bound);
    claim(a->limit == b->limit && a->used == b->used && a->remaining == b->remaining);
    claim(a->reset_ms == b->reset_ms && a->retry_after_ms == b->retry_after_ms);
    claim(a->window_ms == b->window_ms && a->algorithm == b->algorithm && a->is_judged == b->is_judged);
    claim(a->shadow == b->shadow && a->full == b->full && tly_slice_equal(a->name, b->name));
}

/* How many were asked when the short way of windows was open, and that of buckets; refused, judged, and asked for ahead. */
static size_t open_to, open_to_buckets, refused, judged, asked_ahead;

static void ask(struct life *life, const struct tly_check *check, size_t step)
{
    struct tly_engine *e = net_node(life->net, 0);
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = *check};
    struct tly_reply reply = {0};
    struct tly_slice key = {.p = (uint8_t[TLY_KEY_BYTES_MAX]){0}};
    /* Who has learned nothing finds no check usual. */
    if (life->is_long) tly_usual_forget(e);
    open_to += e->usual.length_ms != 0;
    open_to_buckets += e->usual.bucket.emission != 0 && check->rate.algorithm == TLY_TOKEN_BUCKET;
    if (step % 2 == 0 && tly_adhoc_key(check->key, (uint8_t *)(uintptr_t)key.p, &key.n) == TLY_OK) {
        tly_engine_ahead(e, &key, 1);
        request.ahead = 1;
        asked_ahead++;
    }
    life->result[step] = net_ask(life->net, 0, request, &reply);
    life->verdict[step] = reply.verdict;
    refused += reply.verdict.code == TLY_CODE_OVER;
    judged += reply.verdict.is_judged;
}

static void live(struct life *life, uint64_t seed)
{
    struct test_rng rng = test_rng_of(seed);
    struct tly_rate rate = {.limit = 100, .window_ms = 1000, .algorithm = TLY_FIXED_WINDOW};
    life->net = net_new(MS);
    for (size_t node = 0; node < life->nodes; node++)
        (void)net_add(life->net, node > 0);
    net_run(life->net, 15 * S);
    for (size_t step = 0; step < STEPS; step++) {
        char key[64];
        struct tly_reply reply;
        struct tly_request request = {.kind = TLY_ASK_CHECK, .check = random_check(&rng, &rate, key)};
        ask(life, &request.check, step);
        if (life->nodes > 1 && test_rng_chance(&rng, 30)) (void)net_ask(life->net, 1, request, &reply);
        if (test_rng_chance(&rng, 10)) net_run(life->net, test_rng_below(&rng, 60) * MS);
        if (step % 100 == 0) life->digest[step / 100] = net_digest(life->net, life->nodes - 1);
    }
    life->stats = net_stats(life->net, 0);
    net_free(life->net);
}

static void live_twice(size_t nodes)
{
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 60 : 4;
    open_to = open_to_buckets = refused = judged = asked_ahead = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        for (size_t i = 0; i < 2; i++) {
            lives[i].nodes = nodes;
            lives[i].is_long = i == 1;
            live(&lives[i], seed);
        }
        for (size_t step = 0; step < STEPS; step++) {
            claim(lives[0].result[step] == lives[1].result[step]);
            if (lives[0].result[step] == TLY_OK) claim_same(&lives[0].verdict[step], &lives[1].verdict[step]);
        }
        claim(memcmp(lives[0].digest, lives[1].digest, sizeof lives[0].digest) == 0);
        claim(memcmp(&lives[0].stats, &lives[1].stats, sizeof lives[0].stats) == 0);
    }
    claim(open_to > STEPS / 4 * rounds && open_to_buckets > STEPS / 10 * rounds);
    claim(refused > 10 * rounds && asked_ahead > STEPS / 4 * rounds);
}

static void a_usual_check_is_decided_as_any_other(void **state)
{
    live_twice(1);
    claim(judged == 0);
}

static void so_it_is_where_others_count_too(void **state)
{
    live_twice(2);
    claim(judged > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_usual_check_is_decided_as_any_other),
        cmocka_unit_test(so_it_is_where_others_count_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
