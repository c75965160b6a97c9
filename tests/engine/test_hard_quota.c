/* Hard quotas: of a unit of the calendar no more is admitted than the limit, on all nodes together, whatever zones they have. */
#include "tests/engine/support_hard.h"
#include "tests/engine/support_zone.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#define HOUR (3600 * S)

/* 2028-02-28 21:50 UTC: March is begun nowhere in the next 10 minutes, and in Berlin 25 h later. */
#define BEFORE_MARCH (UINT64_C(1835387400) * S)
/* 2026-10-30 21:50 UTC: so of 1 November, which has 25 h in New York and begins there 30 h later. */
#define BEFORE_NOVEMBER (UINT64_C(1793397000) * S)

static uint64_t begin_of(const char *rule, unsigned unit, uint64_t at_ns)
{
    struct tly_zone *zone = zone_of(rule);
    uint64_t start_ms = tly_zone_span(zone, unit, at_ns / MS).start_ms;
    tly_zone_free(zone);
    return start_ms * MS;
}

static void add(struct net *net, unsigned joins, uint64_t start_ns, const char *rate, const char *zone)
{
    size_t node = net_add_with(net, (struct tly_engine_config){.has_store = true}, joins);
    net_shift_wall(net, node, (int64_t)(start_ns - NET_WALL_START));
    hard_use_quota(net, node, rate, zone);
}

static struct net *cluster(size_t nodes, uint64_t start_ns, const char *rate, const char *zone)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < nodes; i++)
        add(net, i == 0 ? 0 : 1, start_ns, rate, zone);
    net_run(net, 20 * S);
    for (size_t i = 0; i < nodes; i++)
        assert_int_equal(net_peers_up(net, i), nodes - 1);
    return net;
}

static void run_to(struct net *net, uint64_t start_ns, uint64_t at_ns)
{
    claim(at_ns >= start_ns + net_now(net));
    net_run(net, at_ns - start_ns - net_now(net));
}

static uint64_t hammer(struct net *net, size_t node, size_t times)
{
    uint64_t admitted = 0;
    for (size_t i = 0; i < times; i++) {
        admitted += hard_ask(net, node, 1).code == TLY_CODE_OK;
        net_run(net, 20 * MS);
    }
    return admitted;
}

/* The month that is begun is nobody's. The shares of the next one are the limit, and it is used up, though one node alone is asked. */
static void a_month_admits_what_it_has_and_no_more(void **state)
{
    struct net *net = cluster(2, BEFORE_MARCH, "99/mo", BERLIN);
    uint64_t march = begin_of(BERLIN, TLY_UNIT_MONTH, BEFORE_MARCH + 72 * HOUR);
    assert_true(march == BEFORE_MARCH + 25 * HOUR + HOUR / 6);
    run_to(net, BEFORE_MARCH, march - MS);
    struct tly_verdict before = hard_ask(net, 0, 1);
    assert_int_equal(before.held, 0);
    assert_int_equal(before.reason, TLY_REASON_NOBODYS);
    assert_int_equal(before.retry_after_ms, 1);
    net_run(net, MS);
    struct tly_verdict first = hard_ask(net, 0, 0), second = hard_ask(net, 1, 0);
    assert_true(first.held > 0 && second.held > 0);
    assert_int_equal(first.held + second.held, 99);
    assert_int_equal(hammer(net, 1, 400), 99);
    struct tly_verdict verdict = hard_ask(net, 0, 1);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    /* Clocks go on by an hour in March. */
    assert_int_equal(verdict.retry_after_ms, (31 * 24 - 1) * (HOUR / MS) - (400 * 20));
    net_free(net);
}

static enum tly_result claim_begun(struct net *net, size_t node)
{
    struct tly_reply reply;
    return net_ask(net, node, (struct tly_request){.kind = TLY_ASK_CLAIM}, &reply);
}

/* Who claims what began before the rights were founded holds all of it, once, and gives of it; later windows are shared as ever. */
static void what_began_before_is_claimed_once(void **state)
{
    struct net *net = cluster(2, BEFORE_NOVEMBER, "99/h", "UTC0");
    assert_int_equal(hammer(net, 1, 10), 0);
    assert_int_equal(claim_begun(net, 1), TLY_OK);
    assert_int_equal(hard_ask(net, 1, 0).held, 99);
    net_run(net, S);
    assert_int_equal(claim_begun(net, 0), TLY_NOT_FOUND);
    assert_int_equal(claim_begun(net, 1), TLY_NOT_FOUND);
    assert_int_equal(hard_ask(net, 0, 0).held, 0);
    assert_int_equal(hammer(net, 0, 300) + hammer(net, 1, 300), 99);
    assert_true(net_stats(net, 1).rights_given > 0);
    run_to(net, BEFORE_NOVEMBER, begin_of("UTC0", TLY_UNIT_HOUR, BEFORE_NOVEMBER + 3 * HOUR));
    struct tly_verdict first = hard_ask(net, 0, 0), second = hard_ask(net, 1, 0);
    assert_true(first.held > 40 && second.held > 40);
    assert_int_equal(first.held + second.held, 99);
    net_free(net);
}

/* Today is nobody's, and so is tomorrow, which had begun somewhere before the rights were founded: to come back is said for the day after. */
static void who_is_nobodys_comes_back_when_it_is_somebodys(void **state)
{
    struct net *net = cluster(2, BEFORE_NOVEMBER, "10/d", "UTC0");
    struct tly_verdict today = hard_ask(net, 0, 1);
    uint64_t begins = BEFORE_NOVEMBER + net_now(net) + today.retry_after_ms * MS;
    assert_int_equal(today.reason, TLY_REASON_NOBODYS);
    assert_int_equal(begins / (24 * HOUR), BEFORE_NOVEMBER / (24 * HOUR) + 2);
    run_to(net, BEFORE_NOVEMBER, begins - HOUR);
    struct tly_verdict tomorrow = hard_ask(net, 0, 1);
    assert_int_equal(tomorrow.reason, TLY_REASON_NOBODYS);
    assert_int_equal(tomorrow.retry_after_ms * MS, HOUR);
    run_to(net, BEFORE_NOVEMBER, begins);
    assert_int_equal(hard_ask(net, 0, 1).code, TLY_CODE_OK);
    net_free(net);
}

static void nothing_is_claimed_before_rights_are_founded(void **state)
{
    struct net *net = net_new(2 * MS);
    add(net, 0, BEFORE_NOVEMBER, "99/h", "UTC0");
    assert_int_equal(claim_begun(net, 0), TLY_NOT_FOUND);
    assert_int_equal(hammer(net, 0, 5), 0);
    net_free(net);
}

static void a_part_that_is_cut_off_has_its_share_of_the_day(void **state)
{
    struct net *net = cluster(2, BEFORE_NOVEMBER, "10/d", NEW_YORK);
    uint64_t day = begin_of(NEW_YORK, TLY_UNIT_DAY, BEFORE_NOVEMBER + 40 * HOUR);
    assert_true(day == BEFORE_NOVEMBER + 30 * HOUR + HOUR / 6);
    run_to(net, BEFORE_NOVEMBER, day);
    assert_int_equal(hard_ask(net, 0, 0).held + hard_ask(net, 1, 0).held, 10);
    net_hole(net, 0, 1, true);
    uint64_t here = hammer(net, 0, 20), there = hammer(net, 1, 20);
    assert_true(here > 0 && there > 0);
    assert_int_equal(here + there, 10);
    net_free(net);
}

/*
 * One node's day begins in Berlin. While it lasts another joins, whose day begins in New York, hours later: of that day, which has the
 * same number, the one holds all, and the other what it is given.
 */
static void a_day_is_shared_once_whatever_zones_there_are(void **state)
{
    struct net *net = cluster(1, BEFORE_NOVEMBER, "10/d", BERLIN);
    uint64_t later = begin_of(NEW_YORK, TLY_UNIT_DAY, BEFORE_NOVEMBER + 40 * HOUR);
    run_to(net, BEFORE_NOVEMBER, begin_of(BERLIN, TLY_UNIT_DAY, later) + HOUR);
    assert_int_equal(hard_ask(net, 0, 4).code, TLY_CODE_OK);
    run_to(net, BEFORE_NOVEMBER, later - HOUR / 60);
    add(net, 1, BEFORE_NOVEMBER, "10/d", NEW_YORK);
    net_run(net, 20 * S);
    assert_int_equal(net_peers_up(net, 1), 1);
    net_hole(net, 0, 1, true);
    run_to(net, BEFORE_NOVEMBER, later);
    assert_int_equal(hammer(net, 0, 20), 6);
    assert_int_equal(hammer(net, 1, 20), 0);
    net_free(net);
}

/* A node that counted in today, and goes by a zone where it is still yesterday, counts again when that is over there, and says so. */
static void who_goes_by_another_zone_comes_back_with_its_next_day(void **state)
{
    struct net *net = cluster(2, BEFORE_NOVEMBER, "10/d", BERLIN);
    uint64_t later = begin_of(NEW_YORK, TLY_UNIT_DAY, BEFORE_NOVEMBER + 90 * HOUR);
    run_to(net, BEFORE_NOVEMBER, begin_of(BERLIN, TLY_UNIT_DAY, later) + HOUR);
    assert_int_equal(hard_ask(net, 0, 4).code, TLY_CODE_OK);
    net_run(net, S);
    for (size_t i = 0; i < 2; i++)
        hard_use_quota(net, i, "10/d", NEW_YORK);
    struct tly_verdict verdict = hard_ask(net, 0, 1);
    assert_int_equal(verdict.reason, TLY_REASON_RIGHTS);
    assert_int_equal(verdict.retry_after_ms, (later - BEFORE_NOVEMBER - net_now(net)) / MS);
    run_to(net, BEFORE_NOVEMBER, later);
    assert_int_equal(hammer(net, 0, 20), 6);
    net_free(net);
}

/* What is given back is free again within the hour, and not after it. */
static void what_an_hour_counted_is_given_back_to_it(void **state)
{
    struct net *net = cluster(1, BEFORE_NOVEMBER, "10/h", LORD_HOWE);
    struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
    struct tly_request refund = {.kind = TLY_ASK_REFUND};
    struct tly_reply reply;
    refund.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = 4};
    run_to(net, BEFORE_NOVEMBER, begin_of(LORD_HOWE, TLY_UNIT_HOUR, BEFORE_NOVEMBER + 3 * HOUR));
    uint64_t charged_ms = (BEFORE_NOVEMBER + net_now(net)) / MS;
    assert_int_equal(hammer(net, 0, 12), 10);
    assert_int_equal(net_ask(net, 0, refund, &reply), TLY_OK);
    assert_int_equal(reply.refunded, 4);
    assert_int_equal(hammer(net, 0, 12), 4);
    net_run(net, HOUR);
    refund.number = (int64_t)charged_ms;
    assert_int_equal(net_ask(net, 0, refund, &reply), TLY_OK);
    assert_int_equal(reply.refunded, 0);
    assert_int_equal(hammer(net, 0, 12), 10);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_month_admits_what_it_has_and_no_more),
        cmocka_unit_test(what_began_before_is_claimed_once),
        cmocka_unit_test(who_is_nobodys_comes_back_when_it_is_somebodys),
        cmocka_unit_test(nothing_is_claimed_before_rights_are_founded),
        cmocka_unit_test(a_part_that_is_cut_off_has_its_share_of_the_day),
        cmocka_unit_test(a_day_is_shared_once_whatever_zones_there_are),
        cmocka_unit_test(who_goes_by_another_zone_comes_back_with_its_next_day),
        cmocka_unit_test(what_an_hour_counted_is_given_back_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
