/*
 * Dominance, join and reading of every strategy against the rules written apart: all triples of small universes, hostile dots
 * included, and random sets.
 */
#include "crdt/epoch_sum.h"
#include "crdt/escrow.h"
#include "tests/crdt/law.h"
#include "tests/crdt/rules.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>
#include <string.h>

#define DOTS_MAX 48
#define UNIVERSE_MAX 512
#define WINDOW UINT64_C(1000)
#define MIN64 ((uint64_t)INT64_MIN)
#define MAX64 ((uint64_t)INT64_MAX)

/* ---- small universes ---- */

static struct tly_dot universe[UNIVERSE_MAX];
static bool order[UNIVERSE_MAX][UNIVERSE_MAX];

struct payload {
    uint64_t num[TLY_NUMS_MAX];
    const char *text;
};

static const struct payload lww_payloads[] = {{{0}, ""},           {{0}, "a"},       {{0}, "ab"},
                                              {{0}, "\xff"},       {{1}, "a"},       {{1000}, "a"},
                                              {{UINT64_MAX}, "a"}, {{MAX64 + 1}, ""}};

static const uint64_t epochs[] = {0, 1, UINT64_MAX};
static const uint64_t counts[] = {0, 1, UINT64_MAX, MIN64, MAX64};
static const uint64_t windows[] = {0, WINDOW, TLY_WINDOW_CALENDAR + 1};
static const uint64_t auxes[] = {0, UINT64_MAX, MAX64};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Moves, wishes, standing gifts, what is taken over, votes: each beside one that differs in one word. */
static const uint64_t rights_payloads[][TLY_NUMS_MAX] = {
    {WINDOW, 0, 1, 5},
    {WINDOW, 0, 1, MAX64},
    {WINDOW, 1, 1, 0},
    {WINDOW, 1, UINT64_MAX, 5},
    {WINDOW, UINT64_MAX, 1, 5},
    {WINDOW, 0, 0, 5},
    {WINDOW, 1, 0, 4},
    {WINDOW, 1, 0, 7},
    {TLY_WINDOW_CALENDAR + 1, 1, 1, 5},
    {TLY_WINDOW_CALENDAR + 1, 0, 1, 6},
    {TLY_RIGHTS_STANDING, 0, 1, 0xffffffff},
    {TLY_RIGHTS_STANDING, 1, 1, 0xffffffff},
    {TLY_RIGHTS_STANDING, UINT64_MAX, UINT64_MAX, 1},
    {TLY_RIGHTS_TAKEN, 0, 0, 0xffffffff},
    {TLY_RIGHTS_TAKEN, 1, 1, 1},
    {TLY_RIGHTS_UP, 0, 1, 5},
    {TLY_RIGHTS_UP, UINT64_MAX, 0, 6},
    {TLY_RIGHTS_TOOK_DOWN, 0, 0, 5},
    {TLY_RIGHTS_TOOK_DOWN, 1, 1, 4},
    {TLY_RIGHTS_VOTE, 0, 1, 0},
    {TLY_RIGHTS_VOTE, 0, 2, 0},
    {TLY_RIGHTS_VOTE, 0, UINT64_MAX, 0},
};

static size_t add_payloads(const struct tly_strategy *strategy, uint64_t ts, uint64_t origin, size_t n)
{
    if (strategy->id == TLY_LWW)
        for (size_t i = 0; i < COUNT_OF(lww_payloads); i++) {
            universe[n] = text_of(ts, origin, lww_payloads[i].text);
            universe[n++].num[0] = lww_payloads[i].num[0];
        }
    else if (strategy->id == TLY_EPOCH_MAX)
        for (size_t i = 0; i < COUNT_OF(epochs) * COUNT_OF(counts); i++)
            universe[n++] = put_of(ts, origin, epochs[i % 3], counts[i / 3]);
    else if (strategy->id == TLY_ESCROW)
        for (size_t i = 0; i < COUNT_OF(rights_payloads); i++)
            universe[n++] = shard_of(ts, origin, rights_payloads[i]);
    else
        for (size_t i = 0; i < 3 * 3 * 3 * 3; i++) {
            uint64_t num[] = {windows[i % 3], epochs[i / 3 % 3], counts[i / 9 % 3 + 2], auxes[i / 27]};
            universe[n++] = shard_of(ts, origin, num);
        }
    return n;
}

/* Two times by two lives, each version with every payload and with the REMOVE, so that any two dots may share a version. */
static size_t make_universe(const struct tly_strategy *strategy)
{
    size_t n = 0;
    for (uint64_t version = 0; version < 4; version++) {
        uint64_t ts = version < 2 ? 1 : UINT64_MAX - 1, origin = version % 2 == 0 ? 1 : UINT64_MAX;
        universe[n++] = remove_of(ts, origin);
        n = add_payloads(strategy, ts, origin, n);
    }
    claim(n <= UNIVERSE_MAX);
    for (size_t i = 0; i < n; i++) {
        claim(tly_dot_check(strategy, &universe[i]) == TLY_OK);
        for (size_t j = 0; j < n; j++)
            order[i][j] = tly_dominates(strategy, &universe[i], &universe[j]);
    }
    return n;
}

/* Law R0: irreflexive, antisymmetric, transitive. */
static void dominance_is_a_strict_partial_order(void **state)
{
    for (size_t s = 0; s < SAMPLE_STRATEGIES; s++) {
        size_t n = make_universe(tly_strategy_at(s)), chains = 0;
        for (size_t i = 0; i < n; i++) {
            claim(!order[i][i]);
            for (size_t j = 0; j < n; j++) {
                if (!order[i][j]) continue;
                claim(!order[j][i]);
                for (size_t k = 0; k < n; k++) {
                    claim(!order[j][k] || order[i][k]);
                    chains += order[j][k];
                }
            }
        }
        claim(chains > n);
        law_covered("R0", tly_strategy_at(s)->name, 0, n * n * n);
    }
}

/* Law R1: nothing older dominates. */
static void only_what_is_not_older_dominates(void **state)
{
    for (size_t s = 0; s < SAMPLE_STRATEGIES; s++) {
        size_t n = make_universe(tly_strategy_at(s));
        for (size_t i = 0; i < n * n; i++) {
            int versions = tly_version_compare(universe[i / n].version, universe[i % n].version);
            claim(!order[i / n][i % n] || versions >= 0);
        }
        law_covered("R1", tly_strategy_at(s)->name, 0, n * n);
    }
}

/* Law R2 */
static void a_remove_dominates_all_up_to_it_and_falls_to_no_put(void **state)
{
    for (size_t s = 0; s < SAMPLE_STRATEGIES; s++) {
        size_t n = make_universe(tly_strategy_at(s));
        for (size_t i = 0; i < n * n; i++) {
            const struct tly_dot *a = &universe[i / n], *b = &universe[i % n];
            bool up_to = tly_version_compare(b->version, a->version) <= 0 && !tly_dot_equal(a, b);
            if (a->op == TLY_REMOVE) claim(order[i / n][i % n] == up_to);
            if (a->op == TLY_PUT && b->op == TLY_REMOVE && s > 0) claim(!order[i / n][i % n]);
        }
        law_covered("R2", tly_strategy_at(s)->name, 0, n * n);
    }
}

/* Both ways, on the whole universe and on random dots: what dominates is what the written rule says. */
static void claim_as_written(size_t s, const char *laws)
{
    const struct tly_strategy *strategy = tly_strategy_at(s);
    size_t n = make_universe(strategy), pairs = 0;
    for (size_t i = 0; i < n * n; i++, pairs += order[i / n % n][i % n])
        claim(order[i / n][i % n] == rule_dominates(strategy, &universe[i / n], &universe[i % n]));
    law_covered(laws, strategy->name, 0, n * n);
    uint64_t first = test_seed_first(), rounds = law_rounds(50000);
    struct test_rng rng = test_rng_of(first);
    for (uint64_t i = 0; i < rounds; i++) {
        struct tly_dot a = sample_dot(&rng, strategy), b = sample_dot(&rng, strategy);
        claim(tly_dominates(strategy, &a, &b) == rule_dominates(strategy, &a, &b));
    }
    claim(pairs > n);
    law_covered(laws, strategy->name, first, (size_t)rounds);
}

/* Law LWW1 */
static void lww_orders_as_written(void **state)
{
    claim_as_written(0, "LWW1");
    size_t n = make_universe(tly_lww());
    for (size_t i = 0; i < n * n; i++)
        claim(i / n == i % n || order[i / n][i % n] || order[i % n][i / n]);
}

/* Law EM1 */
static void epoch_max_orders_as_written(void **state)
{
    claim_as_written(1, "EM1");
}

/* Laws ES1, ES2, ES3 */
static void epoch_sum_orders_as_written(void **state)
{
    claim_as_written(2, "ES1 ES2 ES3");
}

/* Laws EC1, EC2, EC3 */
static void escrow_orders_as_written(void **state)
{
    claim_as_written(3, "EC1 EC2 EC3");
    size_t n = make_universe(tly_escrow()), standing = 0;
    for (size_t i = 0; i < n * n; i++) {
        const struct tly_dot *a = &universe[i / n], *b = &universe[i % n];
        if (a->op == TLY_REMOVE || b->op == TLY_REMOVE) continue;
        claim(a->version.origin == b->version.origin || !order[i / n][i % n]);
        claim(!tly_rights_is_standing(b) || !order[i / n][i % n]);
        standing += tly_rights_is_standing(b);
    }
    claim(standing > 0);
}

/* Law ES3: shards of two lives in a window never touch. */
static void shards_of_two_lives_stand_side_by_side(void **state)
{
    size_t n = make_universe(tly_epoch_sum());
    for (size_t i = 0; i < n * n; i++) {
        const struct tly_dot *a = &universe[i / n], *b = &universe[i % n];
        if (a->op == TLY_REMOVE || b->op == TLY_REMOVE) continue;
        bool windows_meet = a->num[0] == b->num[0], plain = windows_meet && a->num[0] == 0;
        claim(windows_meet || !order[i / n][i % n]);
        claim(plain || a->version.origin == b->version.origin || !order[i / n][i % n]);
    }
}

/* ---- join ---- */

struct set {
    struct tly_dot dots[DOTS_MAX];
    size_t count;
};

/* Of sets of at most half of what fits. */
static struct set joined(const struct tly_strategy *strategy, const struct set *a, const struct set *b)
{
    struct set out = *a;
    memcpy(out.dots + a->count, b->dots, b->count * sizeof b->dots[0]);
    out.count = tly_join(strategy, out.dots, a->count + b->count);
    return out;
}

static void claim_equal(const struct set *a, const struct set *b)
{
    claim(dots_equal(a->dots, a->count, b->dots, b->count));
}

static void claim_join_laws(const struct tly_strategy *strategy, const struct set set[3])
{
    struct set ab = joined(strategy, &set[0], &set[1]), ba = joined(strategy, &set[1], &set[0]);
    claim_equal(&ab, &ba);
    struct set bc = joined(strategy, &set[1], &set[2]);
    struct set left = joined(strategy, &ab, &set[2]), right = joined(strategy, &set[0], &bc);
    claim_equal(&left, &right);
    struct set again = joined(strategy, &left, &left);
    claim_equal(&left, &again);
    again = joined(strategy, &left, &ab);
    claim_equal(&left, &again);
}

static struct set random_set(struct test_rng *rng, const struct tly_strategy *strategy)
{
    struct set set = {.count = (size_t)test_rng_below(rng, 7)};
    for (size_t j = 0; j < set.count; j++)
        set.dots[j] = sample_dot(rng, strategy);
    return set;
}

/* Law L1: three sets of one dot are every triple of a universe; random ones are of up to six. */
static void join_is_associative_commutative_and_idempotent(void **state)
{
    uint64_t first = test_seed_first(), rounds = law_rounds(20000);
    for (size_t s = 0; s < SAMPLE_STRATEGIES; s++) {
        const struct tly_strategy *strategy = tly_strategy_at(s);
        for (uint64_t seed = first; seed < first + rounds; seed++) {
            struct test_rng rng = test_rng_of(seed);
            struct set set[3];
            for (size_t i = 0; i < 3; i++)
                set[i] = random_set(&rng, strategy);
            claim_join_laws(strategy, set);
        }
        law_covered("L1", strategy->name, first, (size_t)rounds);
    }
}

/* Laws R3, LWW2, EM2, ES4: what is left are the dots that none dominates, ascending, each once. */
static void join_leaves_the_maximal_dots_ascending(void **state)
{
    uint64_t first = test_seed_first(), rounds = law_rounds(20000);
    for (size_t s = 0; s < SAMPLE_STRATEGIES; s++) {
        const struct tly_strategy *strategy = tly_strategy_at(s);
        size_t dropped = 0;
        for (uint64_t seed = first; seed < first + rounds; seed++) {
            struct test_rng rng = test_rng_of(seed);
            struct set all = {.count = (size_t)test_rng_below(&rng, 16)}, left;
            for (size_t i = 0; i < all.count; i++)
                all.dots[i] = sample_dot(&rng, strategy);
            left = all;
            left.count = tly_join(strategy, left.dots, all.count);
            dropped += all.count - left.count;
            all.count = rule_fold(strategy, all.dots, all.count);
            claim_equal(&all, &left);
            claim(s > 0 || left.count <= 1);
        }
        claim(dropped > rounds);
        law_covered("R3", strategy->name, first, (size_t)rounds);
    }
}

/* ---- reading ---- */

static struct tly_value read_of(const struct tly_strategy *strategy, const struct set *set,
                                const struct tly_moment *at)
{
    struct tly_value value;
    memset(&value, 0xa5, sizeof value);
    strategy->read(set->dots, set->count, at, &value);
    return value;
}

static void claim_reads(size_t s, const char *laws)
{
    static const uint64_t moments[] = {0, 1, 2, 3, UINT64_MAX - 1, UINT64_MAX};
    static const uint64_t asked[] = {0, WINDOW, 7, TLY_WINDOW_CALENDAR + 3};
    const struct tly_strategy *strategy = tly_strategy_at(s);
    uint64_t first = test_seed_first(), rounds = law_rounds(20000);
    size_t present = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct set set = {.count = 1 + (size_t)test_rng_below(&rng, 12)};
        for (size_t i = 0; i < set.count; i++)
            set.dots[i] = sample_dot(&rng, strategy);
        set.count = rule_fold(strategy, set.dots, set.count);
        struct tly_moment at = {.now_ms = test_rng_below(&rng, 2000),
                                .window = asked[test_rng_below(&rng, COUNT_OF(asked))],
                                .epoch = moments[test_rng_below(&rng, COUNT_OF(moments))]};
        struct tly_value expected = rule_read(strategy, set.dots, set.count, &at);
        test_rng_shuffle(&rng, set.dots, set.count, sizeof set.dots[0]);
        struct tly_value value = read_of(strategy, &set, &at);
        bool equal = values_equal(&value, &expected);
        if (!equal) dots_print("read otherwise:", set.dots, set.count);
        claim(equal);
        present += value.present;
    }
    claim(present > rounds / 10);
    law_covered(laws, strategy->name, first, (size_t)rounds);
}

/* Law LWW3 */
static void lww_reads_as_written(void **state)
{
    claim_reads(0, "LWW3");
}

/* Law EM3 */
static void epoch_max_reads_as_written(void **state)
{
    claim_reads(1, "EM3");
}

/* Laws ES5, ES6, ES7, ES11 */
static void epoch_sum_reads_as_written_in_any_order(void **state)
{
    claim_reads(2, "ES5 ES6 ES7 ES11");
}

/* Law EC4 */
static void escrow_reads_as_written(void **state)
{
    claim_reads(3, "EC4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dominance_is_a_strict_partial_order),
        cmocka_unit_test(only_what_is_not_older_dominates),
        cmocka_unit_test(a_remove_dominates_all_up_to_it_and_falls_to_no_put),
        cmocka_unit_test(lww_orders_as_written),
        cmocka_unit_test(epoch_max_orders_as_written),
        cmocka_unit_test(epoch_sum_orders_as_written),
        cmocka_unit_test(escrow_orders_as_written),
        cmocka_unit_test(shards_of_two_lives_stand_side_by_side),
        cmocka_unit_test(join_is_associative_commutative_and_idempotent),
        cmocka_unit_test(join_leaves_the_maximal_dots_ascending),
        cmocka_unit_test(lww_reads_as_written),
        cmocka_unit_test(epoch_max_reads_as_written),
        cmocka_unit_test(epoch_sum_reads_as_written_in_any_order),
        cmocka_unit_test(escrow_reads_as_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
