/* What ends by time ends alike everywhere, without a word between nodes; and not before the clock can be believed. */
#include "service/engine/impl.h"
#include "service/engine/limit.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define DAY (86400 * S)
#define SKEW (20 * S)

/* A node alone that was given the batches of another, at the same virtual time, its wall shifted. */
static struct tly_engine *reader_of(struct net *net, const char *name, uint64_t shift_ns)
{
    struct tly_time now = net_time(net, 0);
    now.wall_ns += shift_ns;
    struct tly_engine_config config = {.mem = test_mem(),
                                       .name = tly_slice_text(name),
                                       .cluster = tly_slice_text("test"),
                                       .max_skew_ns = SKEW,
                                       .now = now};
    memset(config.hash_key.secret, name[0], sizeof config.hash_key.secret);
    struct tly_engine *engine;
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    for (size_t i = 0; i < net_batches(net, 0); i++)
        assert_int_equal(tly_engine_replay(engine, net_batch(net, 0, i)), TLY_OK);
    assert_int_equal(tly_engine_start(engine, (uint64_t)name[0], now), TLY_OK);
    return engine;
}

static void tick(struct tly_engine *engine, struct tly_time now)
{
    struct tly_effects effects;
    struct tly_event event = {.kind = TLY_TICK, .now = now};
    assert_int_equal(tly_engine_step(engine, &event, &effects), TLY_OK);
}

static bool holds(struct tly_engine *engine, const char *key)
{
    return tly_ormap_find(engine->map, tly_slice_text(key)) != NULL;
}

static const struct {
    const char *key, *stored, *rate;
    enum tly_algorithm algorithm;
} limits[] = {
    {"short", "rl:a:short", "5/1s", TLY_FIXED_WINDOW},
    {"middle", "rl:a:middle", "5/30s", TLY_SLIDING_WINDOW},
    {"long", "rl:a:long", "5/1h", TLY_FIXED_WINDOW},
    {"bucket", "rl:a:bucket", "5/60s", TLY_TOKEN_BUCKET},
    {"quota", "rl:a:quota", "5/90d", TLY_FIXED_WINDOW},
};

#define LIMITS (sizeof limits / sizeof limits[0])

static struct net *writer(void)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true, .max_skew_ns = SKEW}, 0);
    for (size_t i = 0; i < LIMITS; i++)
        assert_true(net_check(net, 0, limits[i].key, limits[i].rate, limits[i].algorithm));
    net_add_to(net, 0, "counter", 1);
    net_run(net, S);
    return net;
}

static void two_nodes_that_never_talk_drop_the_same_at_the_same_time(void **state)
{
    (void)state;
    struct net *net = writer();
    struct tly_engine *a = reader_of(net, "a", 0), *b = reader_of(net, "b", 0);
    struct tly_time now = net_time(net, 0);
    size_t gone = 0;
    for (uint64_t s = 0; s < 4 * 3600 && gone < LIMITS - 1; s++) {
        now.wall_ns += S;
        now.mono_ns += S;
        /* One looks often, the other once in a while; both are through with a pass by then. */
        tick(a, now);
        if (s % 30 == 29) {
            tick(b, now);
            gone = 0;
            for (size_t i = 0; i < LIMITS; i++) {
                if (s % 60 == 59 && s > 90)
                    assert_int_equal(holds(a, limits[i].stored), holds(b, limits[i].stored));
                gone += !holds(a, limits[i].stored);
            }
        }
    }
    assert_int_equal(gone, LIMITS - 1);
    assert_true(holds(a, "rl:a:quota") && holds(b, "rl:a:quota"));
    assert_true(holds(a, "counter") && holds(b, "counter"));
    tly_engine_free(a);
    tly_engine_free(b);
    net_free(net);
}

static void a_boot_three_months_ahead_drops_no_quota_in_its_first_minute(void **state)
{
    (void)state;
    struct net *net = writer();
    struct tly_engine *ahead = reader_of(net, "x", 200 * DAY);
    struct tly_time now = net_time(net, 0);
    now.wall_ns += 200 * DAY;
    for (int s = 0; s < 59; s++) {
        now.wall_ns += S;
        now.mono_ns += S;
        tick(ahead, now);
        for (size_t i = 0; i < LIMITS; i++)
            assert_true(holds(ahead, limits[i].stored));
    }
    /* The minute is what kept them: a clock that stays is believed. */
    now.mono_ns += 2 * S;
    now.wall_ns += 2 * S;
    tick(ahead, now);
    assert_false(holds(ahead, "rl:a:short"));
    tly_engine_free(ahead);
    net_free(net);
}

static void a_shard_ahead_of_its_time_reads_nothing_then_counts_then_goes(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.max_skew_ns = SKEW}, 0);
    net_add_with(net, (struct tly_engine_config){.max_skew_ns = SKEW}, 1);
    net_run(net, 2 * S);
    net_run(net, S - net_time(net, 0).wall_ns % S);
    net_shift_wall(net, 0, (int64_t)(10 * S)); /* ten windows of a second, within max_skew */
    for (int i = 0; i < 3; i++)
        assert_true(net_check(net, 0, "k", "5/1s", TLY_FIXED_WINDOW));
    net_run(net, 100 * MS);
    struct tly_request peek = {.kind = TLY_ASK_CHECK, .check = {.key = tly_slice_text("k"), .hits = 0}};
    assert_int_equal(tly_rate_parse(tly_slice_text("5/1s"), &peek.check.rate), TLY_OK);
    peek.check.rate.algorithm = TLY_FIXED_WINDOW;
    struct tly_reply reply;
    for (int window = 0; window < 12; window++) {
        assert_int_equal(net_ask(net, 1, peek, &reply), TLY_OK);
        assert_int_equal(reply.verdict.remaining, window == 10 ? 2 : 5);
        net_run(net, S);
    }
    assert_true(holds(net_node(net, 1), "rl:a:k"));
    net_run(net, 120 * S);
    assert_false(holds(net_node(net, 1), "rl:a:k"));
    net_free(net);
}

/* The last epoch of all hides no count, its own origin's included, wherever it comes in between. */
static void the_last_epoch_hides_nothing(void **state)
{
    (void)state;
    const uint64_t epoch = 1700000000;
    const struct tly_dot dots[] = {
        {.version = {10, 1}, .op = TLY_PUT, .num = {1000, epoch, 3, 1}},
        {.version = {11, 2}, .op = TLY_PUT, .num = {1000, UINT64_MAX, 900, 900}},
        {.version = {12, 2}, .op = TLY_PUT, .num = {1000, epoch, 4, 2}},
        {.version = {13, 3}, .op = TLY_PUT, .num = {1000, UINT64_MAX, 70, 70}},
    };
    struct tly_moment at = {.now_ms = epoch * 1000, .window = 1000, .epoch = epoch};
    size_t order[4] = {0, 1, 2, 3}, orders = 0;
    for (size_t shift = 0; shift < 24; shift++, orders++) {
        struct tly_dot shuffled[4];
        size_t left = 4, code = shift;
        for (size_t i = 0; i < 4; i++)
            order[i] = i;
        for (size_t i = 0; i < 4; i++, left--) {
            size_t pick = code % left;
            code /= left;
            shuffled[i] = dots[order[pick]];
            memmove(&order[pick], &order[pick + 1], (left - pick - 1) * sizeof *order);
        }
        struct tly_value value;
        size_t count = tly_join(tly_epoch_sum(), shuffled, 4);
        assert_int_equal(count, 4);
        tly_epoch_sum()->read(shuffled, count, &at, &value);
        assert_int_equal(value.count, 7);
        assert_int_equal(value.previous, 3);
    }
    assert_int_equal(orders, 24);
}

static uint64_t used_of(struct net *net, size_t node)
{
    struct tly_reply reply;
    struct tly_request peek = {.kind = TLY_ASK_CHECK, .check = {.key = tly_slice_text("bucket")}};
    assert_int_equal(tly_rate_parse(tly_slice_text("5/1h"), &peek.check.rate), TLY_OK);
    peek.check.rate.algorithm = TLY_TOKEN_BUCKET;
    assert_int_equal(net_ask(net, node, peek, &reply), TLY_OK);
    return reply.verdict.used;
}

/* Else it would go before others have heard of it, and they would keep the one before. */
static void a_bucket_that_a_reset_has_filled_is_said_before_it_goes(void **state)
{
    (void)state;
    struct tly_slice key = tly_slice_text("rl:a:bucket");
    struct tly_dot filled = {.op = TLY_PUT, .version = {100 * S, 7}};
    assert_false(tly_limit_expired(key, tly_epoch_sum(), &filled, 100 * S, SKEW));
    assert_false(tly_limit_expired(key, tly_epoch_sum(), &filled, 100 * S + SKEW, SKEW));
    assert_true(tly_limit_expired(key, tly_epoch_sum(), &filled, 100 * S + SKEW + 1, SKEW));
}

/* What n1 took while n0 reset is over with the reset: its shard of nothing, which ends at once, is news where the old one stands. */
static void a_reset_fills_a_bucket_for_all_who_took_from_it(void **state)
{
    (void)state;
    struct net *net = net_new(10 * MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 2 * S);
    for (size_t node = 0; node < 2; node++)
        assert_true(net_check(net, node, "bucket", "5/1h", TLY_TOKEN_BUCKET));
    net_run(net, S);
    assert_int_equal(used_of(net, 0), 2);
    struct tly_reply reply;
    struct tly_request reset = {.kind = TLY_ASK_RESET, .check = {.key = tly_slice_text("bucket")}};
    assert_int_equal(tly_rate_parse(tly_slice_text("5/1h"), &reset.check.rate), TLY_OK);
    reset.check.rate.algorithm = TLY_TOKEN_BUCKET;
    assert_int_equal(net_ask(net, 0, reset, &reply), TLY_OK);
    net_run(net, 2 * MS);
    assert_true(net_check(net, 1, "bucket", "5/1h", TLY_TOKEN_BUCKET));
    net_run(net, 2 * S);
    assert_int_equal(used_of(net, 1), 0);
    assert_int_equal(used_of(net, 0), 0);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

static struct tly_reply ask_bucket(struct net *net, size_t node, const char *key, enum tly_request_kind kind,
                                   uint32_t hits)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = kind, .check = {.key = tly_slice_text(key), .hits = hits}};
    assert_int_equal(tly_rate_parse(tly_slice_text("3600/1h"), &request.check.rate), TLY_OK);
    request.check.rate.algorithm = TLY_TOKEN_BUCKET;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply;
}

/* What it takes it gives back, where no other hears of that. */
static void take_and_give_back(struct net *net, const char *key, uint32_t hits)
{
    (void)ask_bucket(net, 1, key, TLY_ASK_CHECK, hits);
    net_run(net, S);
    net_block(net, 0, 1, true);
    assert_true(ask_bucket(net, 1, key, TLY_ASK_REFUND, hits).refunded + 2 >= hits);
}

/* Its older shard would say for an hour that units are gone; where none stands, what is full makes no key. */
static void a_shard_that_comes_when_it_is_over_takes_the_place_of_an_older_one(void **state)
{
    (void)state;
    for (uint32_t own = 0; own < 1000; own += 500) {
        struct net *net = net_new(MS);
        struct tly_engine_config config = {.max_skew_ns = SKEW};
        net_add_with(net, config, 0);
        net_run(net, 61 * S);
        net_add_with(net, config, 1); /* it does not sweep for a minute */
        net_run(net, 2 * S);
        (void)ask_bucket(net, 0, "bucket", TLY_ASK_CHECK, own);
        take_and_give_back(net, "bucket", 2000);
        take_and_give_back(net, "other", 10);
        net_run(net, SKEW + 2 * S);
        uint64_t used = ask_bucket(net, 0, "bucket", TLY_ASK_CHECK, 0).verdict.used;
        assert_in_range(used, 1950 + own, 2000 + own);
        net_block(net, 0, 1, false);
        net_run(net, 5 * S);
        used = ask_bucket(net, 0, "bucket", TLY_ASK_CHECK, 0).verdict.used;
        assert_in_range(used, own > 0 ? own - 50 : 0, own);
        assert_false(holds(net_node(net, 0), "rl:a:other"));
        assert_true(net_stats(net, 0).dots_expired > 0);
        net_run(net, 15 * S);
        assert_int_equal(holds(net_node(net, 0), "rl:a:bucket"), own > 0);
        net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_that_never_talk_drop_the_same_at_the_same_time),
        cmocka_unit_test(a_boot_three_months_ahead_drops_no_quota_in_its_first_minute),
        cmocka_unit_test(a_shard_ahead_of_its_time_reads_nothing_then_counts_then_goes),
        cmocka_unit_test(the_last_epoch_hides_nothing),
        cmocka_unit_test(a_bucket_that_a_reset_has_filled_is_said_before_it_goes),
        cmocka_unit_test(a_reset_fills_a_bucket_for_all_who_took_from_it),
        cmocka_unit_test(a_shard_that_comes_when_it_is_over_takes_the_place_of_an_older_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
