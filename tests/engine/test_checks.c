/* Many checks in one call: the same verdicts as one by one. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define KEYS 12
#define CHECKS_MAX 50

static struct tly_rules *rules_new(void)
{
    static const char *const names[] = {"fixed", "shadow", "a-longer-name"};
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    assert_non_null(rules);
    for (size_t i = 0; i < 3; i++) {
        struct tly_rule rule = {.field = {"k"}, .field_count = 1, .shadow = i == 1};
        snprintf(rule.name, sizeof rule.name, "%s", names[i]);
        rule.rate = (struct tly_rate){
            .limit = 5 + i, .window_ms = UINT64_C(1000) << i, .algorithm = (enum tly_algorithm)i};
        assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    }
    return rules;
}

/* What a check borrows. */
struct borrowed {
    char key[TLY_KEY_BYTES_MAX + 1];
    struct tly_field field;
};

static const char *const limits[] = {"fixed", "shadow", "a-longer-name", "nobody"};

static struct tly_check random_check(struct test_rng *rng, struct borrowed *borrowed)
{
    struct tly_check check = {.hits = (uint32_t)test_rng_below(rng, 3)};
    bool bad = test_rng_chance(rng, 5);
    size_t n =
        (size_t)snprintf(borrowed->key, sizeof borrowed->key, "key-%zu", (size_t)test_rng_below(rng, KEYS));
    if (bad) memset(borrowed->key, 'x', n = test_rng_chance(rng, 50) ? 0 : TLY_KEY_BYTES_MAX);
    if (test_rng_chance(rng, 50)) {
        borrowed->field = (struct tly_field){tly_slice_text("k"), tly_slice_of(borrowed->key, n)};
        check.limit = tly_slice_text(limits[test_rng_below(rng, 4)]);
        check.fields = &borrowed->field;
        check.field_count = 1;
        return check;
    }
    uint64_t limit = test_rng_chance(rng, 5) ? 0 : 1 + test_rng_below(rng, 30);
    check.key = tly_slice_of(borrowed->key, n);
    check.rate = (struct tly_rate){.limit = limit,
                                   .window_ms = 1 + test_rng_below(rng, 2) * 999,
                                   .algorithm = (enum tly_algorithm)test_rng_below(rng, 3)};
    return check;
}

static void claim_same(const struct tly_verdict *a, const struct tly_verdict *b)
{
    claim(a->code == b->code && a->limit == b->limit && a->remaining == b->remaining);
    claim(a->reset_ms == b->reset_ms && a->retry_after_ms == b->retry_after_ms);
    claim(a->window_ms == b->window_ms && a->algorithm == b->algorithm);
    claim(a->shadow == b->shadow && a->full == b->full && tly_slice_equal(a->name, b->name));
}

/* Counts per result and code, so that it shows what was asked at all. */
static size_t results[TLY_RESULT_COUNT], codes[3];

static void ask_both(struct test_rng *rng, struct net *net)
{
    static struct borrowed borrowed[CHECKS_MAX];
    static struct tly_checked checks[CHECKS_MAX];
    size_t count = (size_t)test_rng_below(rng, CHECKS_MAX + 1);
    for (size_t i = 0; i < count; i++)
        checks[i] = (struct tly_checked){.check = random_check(rng, &borrowed[i])};
    tly_engine_checks(net_node(net, 0), net_time(net, 0), checks, count);
    for (size_t i = 0; i < count; i++) {
        struct tly_reply reply;
        struct tly_request request = {.kind = TLY_ASK_CHECK, .check = checks[i].check};
        claim(net_ask(net, 1, request, &reply) == checks[i].result);
        claim_same(&reply.verdict, &checks[i].verdict);
        results[checks[i].result]++;
        codes[checks[i].verdict.code] += checks[i].result == TLY_OK;
    }
}

static void many_at_once_are_decided_as_one_by_one(void **state)
{
    (void)state;
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 400 : 20;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct net *net = net_new(MS);
        for (size_t node = 0; node < 2; node++) {
            net_add(net, 0);
            tly_engine_use_rules(net_node(net, node), rules_new());
        }
        for (size_t step = 0; step < 50; step++) {
            ask_both(&rng, net);
            if (test_rng_chance(&rng, 30)) net_run(net, test_rng_below(&rng, 1500) * MS);
        }
        struct tly_stats one = net_stats(net, 0), other = net_stats(net, 1);
        claim(one.checks_ok == other.checks_ok && one.checks_over == other.checks_over);
        claim(one.checks_unknown == other.checks_unknown);
        net_free(net);
    }
    claim(results[TLY_OK] > 1000 && results[TLY_NO_LIMIT] > 10 && results[TLY_BAD_KEY] > 10);
    claim(results[TLY_BAD_RULE] > 10 && codes[TLY_CODE_OK] > 1000 && codes[TLY_CODE_OVER] > 200);
}

/* What is asked of a key: counting in it, checking it, writing it, or taking it away. */
struct question {
    char key[40], held[TLY_KEY_BYTES_MAX];
    struct tly_request request;
    struct tly_slice as_held; /* as the engine has the key */
};

static void draw(struct test_rng *rng, struct question *q)
{
    static const enum tly_request_kind kinds[] = {TLY_ASK_ADD, TLY_ASK_CHECK, TLY_ASK_REMOVE, TLY_ASK_PUT};
    enum tly_request_kind kind = kinds[test_rng_below(rng, 4)];
    bool is_text = kind == TLY_ASK_PUT || test_rng_chance(rng, 10);
    int n = snprintf(q->key, sizeof q->key, "%s:%.*s%zu", is_text ? "kv" : "counter",
                     (int)test_rng_below(rng, 20), "abcdefghijklmnopqrstuvwxyz",
                     (size_t)test_rng_below(rng, 100));
    q->request = (struct tly_request){.kind = kind, .number = 1};
    q->request.bytes = tly_slice_of(q->key, (size_t)test_rng_below(rng, 8));
    q->request.key = q->request.check.key = q->as_held = tly_slice_of(q->key, (size_t)n);
    q->request.check.rate = (struct tly_rate){.limit = 9, .window_ms = 60000, .algorithm = TLY_TOKEN_BUCKET};
    q->request.check.hits = 5;
    if (q->request.kind != TLY_ASK_CHECK) return;
    assert_int_equal(tly_adhoc_key(q->request.key, (uint8_t *)q->held, &q->as_held.n), TLY_OK);
    q->as_held.p = (const uint8_t *)q->held;
}

static void claim_read_alike(struct net *net, struct tly_slice key)
{
    struct tly_reply one, other;
    struct tly_request read = {.kind = TLY_ASK_READ, .key = key};
    claim(net_ask(net, 0, read, &one) == net_ask(net, 1, read, &other));
    claim(tly_slice_equal(one.value.bytes, other.value.bytes));
}

/* Keys come, go and move between when they were asked for and when they are used. */
static void what_was_asked_for_ahead_is_answered_as_what_was_not(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t texts = 0;
    net_add(net, 0);
    net_add(net, 0);
    for (size_t round = 0; round < 2000; round++) {
        struct question questions[TLY_AHEAD_MAX];
        struct tly_slice keys[TLY_AHEAD_MAX];
        size_t count = 1 + (size_t)test_rng_below(&rng, TLY_AHEAD_MAX);
        for (size_t i = 0; i < count; i++) {
            draw(&rng, &questions[i]);
            keys[i] = questions[i].as_held;
        }
        tly_engine_ahead(net_node(net, 0), keys, count);
        for (unsigned i = 0; i < count; i++) {
            struct tly_request request = questions[i].request;
            struct tly_reply one, other;
            enum tly_result result = net_ask(net, 1, request, &other);
            request.ahead = request.kind == TLY_ASK_REMOVE ? 0 : i + 1;
            claim(net_ask(net, 0, request, &one) == result);
            texts += request.kind == TLY_ASK_PUT && result == TLY_OK;
            if (request.kind == TLY_ASK_PUT) claim_read_alike(net, request.key);
            if (request.kind == TLY_ASK_CHECK) claim_same(&one.verdict, &other.verdict);
            if (request.kind == TLY_ASK_ADD) claim(one.value.count == other.value.count);
        }
        net_run(net, test_rng_below(&rng, 300) * MS);
    }
    claim(net_stats(net, 0).checks_over > 100 && texts > 100);
    net_free(net);
}

/* A rule that was found lately ends with its table. */
static void a_reload_is_what_the_next_check_goes_by(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    struct tly_request ask = {.kind = TLY_ASK_CHECK, .check = {.limit = tly_slice_text("r"), .hits = 1}};
    struct tly_reply reply;
    for (uint64_t limit = 10; limit < 13; limit++) {
        struct tly_mem mem = test_mem();
        struct tly_rules *rules = tly_rules_new(&mem);
        struct tly_rule rule = {.name = "r", .rate = {.limit = limit, .window_ms = 86400000}};
        assert_non_null(rules);
        assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
        tly_engine_use_rules(net_node(net, 0), rules);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(net_ask(net, 0, ask, &reply), TLY_OK);
            assert_int_equal(reply.verdict.limit, limit);
            assert_true(tly_slice_equal(reply.verdict.name, tly_slice_text("r")));
        }
    }
    tly_engine_use_rules(net_node(net, 0), NULL);
    assert_int_equal(net_ask(net, 0, ask, &reply), TLY_NO_LIMIT);
    net_free(net);
}

static void changed_units_keep_the_count(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    struct tly_request ask = {.kind = TLY_ASK_CHECK, .check = {.limit = tly_slice_text("r"), .hits = 3}};
    struct tly_reply reply;
    static const uint64_t limits_then[] = {10, 20, 7}, left[] = {7, 14, 0};
    for (size_t i = 0; i < 3; i++) {
        struct tly_mem mem = test_mem();
        struct tly_rules *rules = tly_rules_new(&mem);
        struct tly_rule rule = {.name = "r", .rate = {.limit = limits_then[i], .window_ms = 86400000}};
        assert_non_null(rules);
        assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
        tly_engine_use_rules(net_node(net, 0), rules);
        if (i == 2) ask.check.hits = 1;
        assert_int_equal(net_ask(net, 0, ask, &reply), TLY_OK);
        assert_int_equal(reply.verdict.remaining, left[i]);
        assert_int_equal(reply.verdict.used, i == 0 ? 3 : i == 1 ? 6 : 7);
    }
    net_free(net);
}

static void use_bucket(struct net *net, size_t node, uint64_t units, uint64_t window_ms)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "r", .rate = {units, window_ms, 0, TLY_TOKEN_BUCKET}};
    assert_non_null(rules);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, node), rules);
}

/* An hour that was owed at the old rate must not become an hour of refusals at the new one; what was taken is gone all the same. */
static void a_bucket_of_another_rate_owes_no_more_than_all_of_it(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    for (size_t i = 0; i < 2; i++) {
        net_add(net, i > 0 ? 1 : 0);
        use_bucket(net, i, 5, 3600000);
    }
    net_run(net, 1000 * MS);
    struct tly_request ask = {.kind = TLY_ASK_CHECK, .check = {.limit = tly_slice_text("r"), .hits = 5}};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, ask, &reply), TLY_OK);
    net_run(net, 1000 * MS);
    ask.check.hits = 1;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(net_ask(net, i, ask, &reply), TLY_OK);
        assert_int_equal(reply.verdict.code, TLY_CODE_OVER);
        use_bucket(net, i, 100, 1000);
        assert_int_equal(net_ask(net, i, ask, &reply), TLY_OK);
        assert_int_equal(reply.verdict.code, TLY_CODE_OVER);
        assert_int_equal(reply.verdict.retry_after_ms, 10);
        assert_int_equal(reply.verdict.reset_ms, 1000);
    }
    net_run(net, 1000 * MS);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(net_ask(net, i, ask, &reply), TLY_OK);
        assert_int_equal(reply.verdict.code, TLY_CODE_OK);
    }
    net_free(net);
}

/* A hit is told to the peers, whichever way it was asked for. */
static void what_is_checked_at_once_is_heard_by_the_peer(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 1000 * MS);
    struct tly_checked checks[20];
    for (size_t i = 0; i < 20; i++)
        checks[i].check = (struct tly_check){
            .key = tly_slice_text("k"), .rate = {.limit = 100, .window_ms = 86400000}, .hits = 1};
    tly_engine_checks(net_node(net, 0), net_time(net, 0), checks, 20);
    assert_int_equal(checks[19].verdict.remaining, 80);
    struct tly_event tick = {.kind = TLY_TICK};
    net_event(net, 0, tick);
    net_run(net, 500 * MS);
    struct tly_request peek = {.kind = TLY_ASK_CHECK, .check = checks[0].check};
    struct tly_reply reply;
    peek.check.hits = 0;
    assert_int_equal(net_ask(net, 1, peek, &reply), TLY_OK);
    assert_int_equal(reply.verdict.remaining, 80);
    net_free(net);
}

/* Whose name an operator claimed for something else. */
static void a_limit_on_a_key_that_is_no_counter_is_an_error(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    struct tly_reply reply;
    assert_int_equal(net_register(net, 0, "rl:a:text", "lww"), TLY_OK);
    for (size_t algorithm = 0; algorithm < 3; algorithm++) {
        struct tly_request ask = {
            .kind = TLY_ASK_CHECK,
            .check = {.key = tly_slice_text("text"),
                      .rate = {.limit = 5, .window_ms = 1000, .algorithm = (enum tly_algorithm)algorithm},
                      .hits = 1}};
        assert_int_equal(net_ask(net, 0, ask, &reply), TLY_WRONG_STRATEGY);
    }
    net_free(net);
}

/* One by one a key is hashed where the caller has it, at once where it was written. */
static void keys_of_every_length_are_one_key_for_both(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    char key[TLY_KEY_BYTES_MAX];
    for (size_t n = 1; n <= TLY_KEY_BYTES_MAX - strlen(TLY_ADHOC_BEGIN); n++) {
        struct tly_reply reply;
        memset(key, 'k', n);
        key[n / 2] = 'm';
        struct tly_request ask = {
            .kind = TLY_ASK_CHECK,
            .check = {.key = tly_slice_of(key, n), .rate = {.limit = 5, .window_ms = 1000}, .hits = 1}};
        struct tly_checked checks[2] = {{.check = ask.check}, {.check = ask.check}};
        assert_int_equal(net_ask(net, 0, ask, &reply), TLY_OK);
        assert_int_equal(reply.verdict.remaining, 4);
        tly_engine_checks(net_node(net, 0), net_time(net, 0), checks, 2);
        assert_int_equal(checks[1].verdict.remaining, 2);
        assert_int_equal(net_ask(net, 0, ask, &reply), TLY_OK);
        assert_int_equal(reply.verdict.remaining, 1);
    }
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_at_once_are_decided_as_one_by_one),
        cmocka_unit_test(what_was_asked_for_ahead_is_answered_as_what_was_not),
        cmocka_unit_test(a_reload_is_what_the_next_check_goes_by),
        cmocka_unit_test(changed_units_keep_the_count),
        cmocka_unit_test(a_bucket_of_another_rate_owes_no_more_than_all_of_it),
        cmocka_unit_test(what_is_checked_at_once_is_heard_by_the_peer),
        cmocka_unit_test(a_limit_on_a_key_that_is_no_counter_is_an_error),
        cmocka_unit_test(keys_of_every_length_are_one_key_for_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
