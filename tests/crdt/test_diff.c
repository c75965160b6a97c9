/* diff(a, b) is the least that makes a's join that of both, and why() speaks exactly where dominance does. */
#include "crdt/diff.h"
#include "tests/crdt/sample.h"
#include "tests/support/cmocka.h"

#define PAIRS 10000
#define DOTS_MAX 6

struct side {
    struct tly_dot dots[3 * DOTS_MAX];
    size_t count;
};

static struct side sample_side(struct test_rng *rng, const struct tly_strategy *strategy)
{
    struct side side = {.count = test_rng_below(rng, DOTS_MAX + 1)};
    for (size_t i = 0; i < side.count; i++)
        side.dots[i] = sample_dot(rng, strategy);
    return side;
}

/* Some of the other side's dots, so that the two have something in common. */
static void share_some(struct test_rng *rng, struct side *to, const struct side *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (test_rng_chance(rng, 50)) to->dots[to->count++] = from->dots[i];
}

static struct side joined(const struct tly_strategy *strategy, const struct side *a, const struct side *b,
                          size_t without)
{
    struct side both = *a;
    for (size_t i = 0; i < b->count; i++)
        if (i != without) both.dots[both.count++] = b->dots[i];
    both.count = tly_join(strategy, both.dots, both.count);
    return both;
}

static struct side diff_of(const struct tly_strategy *strategy, const struct side *a, const struct side *b)
{
    struct side diff = *b;
    diff.count = tly_diff(strategy, (struct tly_dots){a->dots, a->count}, diff.dots, diff.count);
    return diff;
}

static bool same(const struct side *a, const struct side *b)
{
    return dots_equal(a->dots, a->count, b->dots, b->count);
}

/* How many dots the diffs had, so that a run which compared nothing shows. */
static size_t check_pair(struct test_rng *rng, const struct tly_strategy *strategy)
{
    struct side a = sample_side(rng, strategy), b = sample_side(rng, strategy);
    share_some(rng, &b, &a);
    struct side diff = diff_of(strategy, &a, &b), whole = joined(strategy, &a, &b, SIZE_MAX);
    struct side made = joined(strategy, &a, &diff, SIZE_MAX);
    claim(same(&made, &whole));
    for (size_t i = 0; i < diff.count; i++) {
        struct side less = joined(strategy, &a, &diff, i);
        claim(!same(&less, &whole));
    }
    struct side self = diff_of(strategy, &a, &a);
    claim(self.count == 0);
    return diff.count;
}

static void a_diff_is_enough_and_nothing_in_it_is_too_much(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t dots = 0;
    const struct tly_strategy *strategy;
    for (size_t s = 0; (strategy = tly_strategy_at(s)) != NULL; s++)
        for (size_t i = 0; i < PAIRS; i++)
            dots += check_pair(&rng, strategy);
    claim(dots > PAIRS);
}

static void a_diff_keeps_its_order(void **state)
{
    (void)state;
    struct tly_dot b[] = {put_of(9, 1, 1, 1), put_of(8, 1, 2, 1), put_of(7, 1, 0, 0), put_of(6, 2, 3, 0)};
    size_t count = tly_diff(tly_epoch_max(), (struct tly_dots){NULL, 0}, b, 4);
    assert_int_equal(count, 3);
    assert_true(b[0].version.ts == 9 && b[1].version.ts == 8 && b[2].version.ts == 6);
}

static void why_speaks_exactly_where_dominance_does(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    const struct tly_strategy *strategy;
    size_t spoke = 0;
    for (size_t s = 0; (strategy = tly_strategy_at(s)) != NULL; s++)
        for (size_t i = 0; i < PAIRS; i++) {
            struct tly_dot a = sample_dot(&rng, strategy), b = sample_dot(&rng, strategy);
            const char *why = tly_why(strategy, &a, &b);
            claim((why != NULL) == tly_dominates(strategy, &a, &b));
            spoke += why != NULL;
        }
    claim(spoke > PAIRS / 10);
}

static void each_rule_has_its_sentence(void **state)
{
    (void)state;
    struct tly_dot newer = text_of(9, 1, "a"), older = text_of(8, 1, "b"), removed = remove_of(9, 1);
    assert_string_equal(tly_why(tly_lww(), &newer, &older), "of two writes the later version wins");
    assert_string_equal(tly_why(tly_lww(), &removed, &newer), "at one version a remove wins over a put");
    struct tly_dot high = put_of(9, 2, 5, 0), low = put_of(8, 1, 4, 0);
    assert_string_equal(tly_why(tly_epoch_max(), &removed, &low),
                        "a remove ends everything up to its own version");
    assert_string_equal(tly_why(tly_epoch_max(), &high, &low),
                        "a later version with a greater (epoch, count)");
    struct tly_dot shard = shard_of(8, 1, (uint64_t[]){0, 1, 5, 0}),
                   next = shard_of(9, 1, (uint64_t[]){0, 1, 6, 0}),
                   reset = shard_of(9, 2, (uint64_t[]){0, 2, 0, 0});
    assert_string_equal(tly_why(tly_epoch_sum(), &next, &shard),
                        "a shard is replaced by the next one of its origin");
    assert_string_equal(tly_why(tly_epoch_sum(), &reset, &shard),
                        "a counter was set or begun anew: only its highest generation counts");
    assert_null(tly_why(tly_epoch_sum(), &shard, &next));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_diff_is_enough_and_nothing_in_it_is_too_much),
        cmocka_unit_test(a_diff_keeps_its_order),
        cmocka_unit_test(why_speaks_exactly_where_dominance_does),
        cmocka_unit_test(each_rule_has_its_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
