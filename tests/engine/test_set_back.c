/* A clock that was set back while a node was down: the windows that come again have their limit, and no more. */
#include "crdt/epoch_sum.h"
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define LIMIT 5
#define AHEAD_NS (60 * S)

/* Of many checks in one window so many are admitted. */
static unsigned admitted_of(struct net *net, const char *rate, enum tly_algorithm algorithm)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < 20 * LIMIT; i++)
        sum += net_check(net, 0, "k", rate, algorithm);
    return sum;
}

static unsigned admitted(struct net *net)
{
    return admitted_of(net, "5/1s", TLY_FIXED_WINDOW);
}

static struct net *nodes_of(size_t count)
{
    const struct tly_engine_config config = {.has_store = true};
    struct net *net = net_new(MS);
    for (size_t i = 0; i < count; i++)
        net_add_with(net, config, i == 0 ? 0 : 1);
    net_run(net, 2 * S);
    return net;
}

/* It stops cleanly in a window in which it admitted what it may, and comes back `back_ns` earlier; the life that it speaks as then. */
static uint64_t come_back(struct net *net, uint64_t back_ns, unsigned joins)
{
    uint64_t origin = net_origin(net, 0);
    assert_int_equal(admitted(net), LIMIT);
    net_run(net, S / 10);
    net_kill(net, 0);
    net_shift_wall(net, 0, -(int64_t)back_ns);
    net_go_on(net, 0, origin, joins);
    net_run(net, S / 10);
    return origin;
}

static void alone_it_begins_another_life(void **state)
{
    struct net *net = nodes_of(1);
    uint64_t before = come_back(net, 10 * S, 0);
    assert_int_not_equal(net_origin(net, 0), before);
    for (unsigned i = 0; i < 15; i++) {
        assert_in_range(admitted(net), 0, LIMIT);
        net_run(net, S);
    }
    net_free(net);
}

/* A minute is one everywhere, so a clock that was four of them ahead is found out as with any window. */
static void of_a_quota_of_a_minute_it_begins_another_life(void **state)
{
    struct net *net = nodes_of(1);
    uint64_t before = net_origin(net, 0);
    assert_int_equal(admitted_of(net, "5/m", TLY_QUOTA), LIMIT);
    net_run(net, S / 10);
    net_kill(net, 0);
    net_shift_wall(net, 0, -(int64_t)(240 * S));
    net_go_on(net, 0, before, 0);
    net_run(net, S / 10);
    for (unsigned i = 0; i < 15; i++) {
        assert_in_range(admitted_of(net, "5/m", TLY_QUOTA), 0, LIMIT);
        net_run(net, 60 * S);
    }
    assert_int_not_equal(net_origin(net, 0), before);
    net_free(net);
}

static void with_another_it_begins_another_life(void **state)
{
    struct net *net = nodes_of(2);
    net_shift_wall(net, 1, -(int64_t)(10 * S));
    uint64_t before = come_back(net, 10 * S, 2);
    for (unsigned i = 0; i < 15; i++) {
        assert_in_range(admitted(net), 0, LIMIT);
        net_run(net, S);
    }
    assert_int_not_equal(net_origin(net, 0), before);
    net_free(net);
}

/* What was counted in the window before is still read. */
static void by_less_than_a_window_its_life_goes_on(void **state)
{
    struct net *net = nodes_of(1);
    uint64_t before = come_back(net, S / 2, 0);
    assert_int_equal(net_origin(net, 0), before);
    for (unsigned i = 0; i < 5; i++) {
        assert_in_range(admitted(net), 0, LIMIT);
        net_run(net, S);
    }
    net_free(net);
}

/* Its clock is ahead of all others', which come when its life has gone on: before the first check it takes their time. */
static void by_others_that_come_later_it_begins_another_life(void **state)
{
    enum { OTHERS = 2 };
    const struct tly_engine_config config = {.has_store = true};
    struct net *net = nodes_of(1);
    uint64_t before = come_back(net, 0, 0);
    assert_int_equal(net_origin(net, 0), before);
    for (size_t i = 1; i <= OTHERS; i++) {
        net_add_with(net, config, 1);
        net_shift_wall(net, i, -(int64_t)(10 * S));
    }
    net_run(net, 3 * S);
    for (unsigned i = 0; i < 15; i++) {
        assert_in_range(admitted(net), 0, LIMIT);
        net_run(net, S);
    }
    assert_int_not_equal(net_origin(net, 0), before);
    net_free(net);
}

/* Of two n0 is cut off, admits by a clock that is ahead what it may, and falls. The other has another to forget it with. */
static struct net *forgotten_with_a_clock_ahead(uint64_t *origin)
{
    const struct tly_engine_config config = {.has_store = true};
    struct net *net = nodes_of(2);
    *origin = net_origin(net, 0);
    net_shift_wall(net, 0, (int64_t)AHEAD_NS);
    net_block(net, 0, 1, true);
    net_run(net, S);
    assert_int_equal(admitted(net), LIMIT);
    net_run(net, S);
    net_kill(net, 0);
    net_add_with(net, config, 2);
    forget_member(net, 1, "n0");
    net_run(net, 3 * S);
    net_block(net, 0, 1, false);
    return net;
}

static void claim_bounds(struct net *net)
{
    assert_int_equal(net_stats(net, 0).snapshots_installed, 1);
    for (unsigned i = 0; i < 15; i++) {
        assert_in_range(admitted(net), 0, LIMIT);
        net_run(net, S);
    }
}

static void what_was_counted_in_windows_to_come_is_not_carried_over(void **state)
{
    uint64_t origin;
    struct net *net = forgotten_with_a_clock_ahead(&origin);
    net_shift_wall(net, 0, -(int64_t)AHEAD_NS);
    net_go_on(net, 0, origin, 2);
    net_run(net, 2 * S);
    claim_bounds(net);
    net_free(net);
}

/* Its clock is still ahead: only when it has heard both others it takes their time. */
static void what_was_carried_over_by_a_wrong_time_ends_with_its_life(void **state)
{
    uint64_t origin;
    struct net *net = forgotten_with_a_clock_ahead(&origin);
    net_block(net, 0, 2, true);
    net_go_on(net, 0, origin, 2);
    net_run(net, 2 * S);
    assert_int_equal(net_stats(net, 0).units_carried, LIMIT);
    net_block(net, 0, 2, false);
    net_run(net, 10 * S);
    claim_bounds(net);
    net_free(net);
}

/* One step may bring both: time falls, and the last of a snapshot comes. */
static void what_is_carried_over_hides_no_fall_of_time(void **state)
{
    (void)state;
    struct net *net = nodes_of(2);
    uint64_t origin = net_origin(net, 0);
    struct tly_engine *engine = net_node(net, 0);
    struct tly_hit ahead = {.window = 1000, .epoch = engine->cluster_ns / S + 10, .units = LIMIT};
    struct tly_entry *entry;
    assert_int_equal(tly_ormap_need(engine->map, tly_slice_text("rl:k"), &entry), TLY_OK);
    assert_int_equal(tly_ormap_hit(engine->map, &entry, &ahead), TLY_OK);
    assert_int_equal(tly_ormap_seal(engine->map), TLY_OK);
    engine->life.judged_ns = engine->cluster_ns + 10 * S; /* when it was counted there */
    tly_life_carried(engine);
    net_run(net, S);
    assert_int_not_equal(net_origin(net, 0), origin);
    net_free(net);
}

static void what_is_counted_where_nobody_reads_it_is_ahead(void **state)
{
    const uint64_t minute = TLY_WINDOW_CALENDAR + 1, hour = minute + 1, hour_ms = 3600000;
    const uint64_t day = hour + 1, day_ms = 24 * hour_ms, zones_ms = 15 * hour_ms;
    const struct {
        uint64_t window, epoch, now_ms;
        bool ahead;
    } cases[] = {
        {1000, 5, 5000, false},
        {1000, 6, 5000, false},
        {1000, 7, 5999, true},
        {1000, 7, 6000, false},
        {1000, 0, 0, false},
        {0, UINT64_MAX, 0, false},
        {TLY_WINDOW_MS_MAX, UINT64_MAX, UINT64_MAX, true},
        {1000, UINT64_MAX, 5000, true},
        {day, 10, 9 * day_ms - zones_ms, false},
        {day, 10, 9 * day_ms - zones_ms - 1, true},
        {day, 11, 9 * day_ms, true},
        {day, UINT64_MAX, 9 * day_ms, false},
        {hour, 10, 9 * hour_ms, false},
        {hour, 10, 9 * hour_ms - 1, true},
        {minute, 10, 9 * 60000, false},
        {minute, 10, 9 * 60000 - 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tly_dot put = {.op = TLY_PUT, .num = {cases[i].window, cases[i].epoch}};
        assert_int_equal(tly_sum_is_ahead(&put, cases[i].now_ms), cases[i].ahead);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_begins_another_life),
        cmocka_unit_test(of_a_quota_of_a_minute_it_begins_another_life),
        cmocka_unit_test(with_another_it_begins_another_life),
        cmocka_unit_test(by_less_than_a_window_its_life_goes_on),
        cmocka_unit_test(by_others_that_come_later_it_begins_another_life),
        cmocka_unit_test(what_was_counted_in_windows_to_come_is_not_carried_over),
        cmocka_unit_test(what_was_carried_over_by_a_wrong_time_ends_with_its_life),
        cmocka_unit_test(what_is_carried_over_hides_no_fall_of_time),
        cmocka_unit_test(what_is_counted_where_nobody_reads_it_is_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
