/* What a request to Envoy's rate limit service is answered, and what is measured of it, with a real engine in virtual time. */
#include "service/shell/rls.h"
#include "tests/shell/support_fake_app.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char rules[] =
    "domain: d\n"
    "descriptors:\n"
    "  - {key: ten, rate_limit: {unit: minute, requests_per_unit: 10}}\n"
    "  - {key: two, rate_limit: {unit: hour, requests_per_unit: 2}}\n"
    "  - {key: none, rate_limit: {unit: second, requests_per_unit: 0}}\n"
    "  - {key: shut, metadata: {tally: {charge: admitted}}, rate_limit: {unit: second, requests_per_unit: 0}}\n"
    "  - {key: free, rate_limit: {unlimited: true}}\n"
    "  - {key: dark, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}\n"
    "  - {key: q1, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}\n"
    "  - {key: q2, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 2}}\n"
    "  - {key: old, rate_limit: {name: base, unit: day, requests_per_unit: 1}}\n"
    "  - {key: new, rate_limit: {unit: day, requests_per_unit: 5, replaces: [{name: base}]}}\n"
    "  - {key: pool, value: 'p*', share_threshold: true, rate_limit: {unit: day, requests_per_unit: 2}}\n"
    "  - {key: each, value: 'p*', rate_limit: {unit: day, requests_per_unit: 1}}\n"
    "  - {key: slide, metadata: {tally: {algorithm: sliding_window, window: 10s}}, rate_limit: {unit: minute, "
    "requests_per_unit: 4}}\n"
    "  - {key: bucket, metadata: {tally: {algorithm: token_bucket, burst: 2}}, rate_limit: {unit: minute, "
    "requests_per_unit: 60}}\n"
    "  - {key: month, metadata: {tally: {algorithm: quota}}, rate_limit: {unit: month, requests_per_unit: 3}}\n"
    "  - {key: spare, metadata: {tally: {charge: admitted}}, rate_limit: {unit: minute, requests_per_unit: 10}}\n"
    "  - {key: det, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 3}}\n";

struct scene {
    struct tly_app *app;
    struct tly_rls *rls;
    struct event_base *base;
};

static int setup_with(void **state, const struct tly_rls_settings *settings, const char *yaml)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->base = event_base_new();
    scene->app = fake_app_new(scene->base);
    fake_app_rls(scene->app, settings, yaml);
    scene->rls = tly_app_rls(scene->app);
    *state = scene;
    return 0;
}

static int setup(void **state)
{
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    return setup_with(state, &settings, rules);
}

static int setup_empty(void **state)
{
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    return setup_with(state, &settings, NULL);
}

static int setup_dark(void **state)
{
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    settings.shadow = true;
    return setup_with(state, &settings, rules);
}

static int setup_headers(void **state)
{
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    settings.headers.enabled = settings.request_headers.enabled = true;
    memcpy(settings.headers.limit, "x-limit", sizeof "x-limit");
    return setup_with(state, &settings, rules);
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    fake_app_free(scene->app);
    event_base_free(scene->base);
    free(scene);
    return test_mem_live() == 0 ? 0 : -1;
}

/* ---- asking ---- */

/* Begins a request in the room of the service. */
static struct tly_rls_request *begin(struct scene *scene, const char *domain)
{
    struct tly_rls_request *request = tly_rls_request(scene->rls);
    request->domain = tly_slice_text(domain);
    request->hits_addend = 0;
    request->descriptor_count = request->entry_count = 0;
    return request;
}

/* A descriptor of one entry. */
static struct tly_rls_descriptor *with(struct tly_rls_request *request, const char *key, const char *value)
{
    struct tly_rls_entry *entry = &request->entry[request->entry_count++];
    struct tly_rls_descriptor *descriptor = &request->descriptor[request->descriptor_count++];
    *entry = (struct tly_rls_entry){tly_slice_text(key), tly_slice_text(value)};
    *descriptor = (struct tly_rls_descriptor){.entry = entry, .entry_count = 1};
    return descriptor;
}

static const struct tly_rls_response *ask(struct scene *scene)
{
    const char *error;
    const struct tly_rls_response *response = tly_rls_ask(scene->rls, scene->app, &error);
    if (response == NULL) fail_msg("%s", error);
    return response;
}

static void refuses(struct scene *scene, const char *why)
{
    const char *error = NULL;
    assert_null(tly_rls_ask(scene->rls, scene->app, &error));
    assert_string_equal(error, why);
}

/* One descriptor with so many hits: its status. */
static struct tly_rls_status hit(struct scene *scene, const char *key, const char *value, uint64_t hits)
{
    struct tly_rls_descriptor *descriptor = with(begin(scene, "d"), key, value);
    descriptor->has_hits = true;
    descriptor->hits = hits;
    const struct tly_rls_response *response = ask(scene);
    assert_int_equal(response->status_count, 1);
    return response->status[0];
}

static void expect(struct tly_rls_status status, enum tly_rls_code code, uint32_t remaining)
{
    assert_int_equal(status.code, code);
    assert_int_equal(status.remaining, remaining);
}

static const struct tly_rls_stats *stats_of(struct scene *scene, const char *name)
{
    const struct tly_rls_stats *stats;
    for (size_t i = 0; (stats = tly_rls_series_at(tly_rls_series(scene->rls), i)) != NULL; i++)
        if (tly_slice_equal(stats->name, tly_slice_text(name))) return stats;
    fail_msg("no series %s", name);
    return NULL;
}

static struct tly_rls_service_stats service_stats(struct scene *scene)
{
    struct tly_rls_service_stats stats;
    tly_rls_service_stats(scene->rls, &stats);
    return stats;
}

/* ---- I10 ---- */

static void what_cannot_be_answered_is_an_error(void **state)
{
    struct scene *scene = *state;
    begin(scene, "d");
    refuses(scene, "rate limit descriptor list must not be empty");
    with(begin(scene, ""), "ten", "");
    refuses(scene, "rate limit domain must not be empty");
    with(begin(scene, "d"), "ten", "")->has_limit = true;
    refuses(scene, "the limit that a descriptor brings has no unit");
    assert_int_equal(service_stats(scene).service_error, 3);
}

static void before_a_configuration_is_loaded_nothing_is_answered(void **state)
{
    struct scene *scene = *state;
    with(begin(scene, "d"), "ten", "");
    refuses(scene, "no rate limit configuration loaded");
    tly_rls_use(scene->rls, NULL);
    assert_int_equal(service_stats(scene).config_load_error, 1);
    refuses(scene, "no rate limit configuration loaded");
}

static void what_no_rule_is_for_is_ok_without_a_limit(void **state)
{
    struct scene *scene = *state;
    with(begin(scene, "e"), "ten", "");
    const struct tly_rls_response *response = ask(scene);
    assert_int_equal(response->overall, TLY_RLS_OK);
    expect(response->status[0], TLY_RLS_OK, 0);
    assert_false(response->status[0].has_limit);
    assert_int_equal(service_stats(scene).domain_not_found, 1);
    struct tly_rls_status status = hit(scene, "nothing", "", 1);
    expect(status, TLY_RLS_OK, 0);
    assert_false(status.has_limit);
}

/* ---- I11 ---- */

static void hits_are_those_of_the_descriptor_or_of_the_request(void **state)
{
    struct scene *scene = *state;
    with(begin(scene, "d"), "ten", "a");
    expect(ask(scene)->status[0], TLY_RLS_OK, 9);
    struct tly_rls_request *request = begin(scene, "d");
    with(request, "ten", "a");
    request->hits_addend = 3;
    expect(ask(scene)->status[0], TLY_RLS_OK, 6);
    request = begin(scene, "d");
    struct tly_rls_descriptor *descriptor = with(request, "ten", "a");
    request->hits_addend = 3;
    descriptor->has_hits = true;
    descriptor->hits = 2;
    expect(ask(scene)->status[0], TLY_RLS_OK, 4);
    descriptor->hits = 0;
    expect(ask(scene)->status[0], TLY_RLS_OK, 4);
    assert_int_equal(stats_of(scene, "d.ten")->total_hits, 6);
}

static void a_batch_that_crosses_is_over_and_counted(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "ten", "b", 8), TLY_RLS_OK, 2);
    expect(hit(scene, "ten", "b", 5), TLY_RLS_OVER_LIMIT, 0);
    /* It stands at 13 now, so nothing fits before the window is over. */
    expect(hit(scene, "ten", "b", 1), TLY_RLS_OVER_LIMIT, 0);
    expect(hit(scene, "ten", "b", 0), TLY_RLS_OVER_LIMIT, 0);
    fake_app_advance(scene->app, 60000);
    expect(hit(scene, "ten", "b", 1), TLY_RLS_OK, 9);
}

static void a_rule_may_spare_what_it_refuses(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "spare", "b", 8), TLY_RLS_OK, 2);
    expect(hit(scene, "spare", "b", 5), TLY_RLS_OVER_LIMIT, 2);
    expect(hit(scene, "spare", "b", 2), TLY_RLS_OK, 0);
    assert_int_equal(stats_of(scene, "d.spare")->over_limit, 5);
}

static void the_last_unit_is_ok_and_a_look_at_it_too(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "ten", "c", 10), TLY_RLS_OK, 0);
    expect(hit(scene, "ten", "c", 0), TLY_RLS_OK, 0);
    expect(hit(scene, "ten", "c", 1), TLY_RLS_OVER_LIMIT, 0);
}

static void a_limit_of_none_refuses_all(void **state)
{
    struct scene *scene = *state;
    struct tly_rls_status status = hit(scene, "none", "", 1);
    expect(status, TLY_RLS_OVER_LIMIT, 0);
    assert_true(status.has_limit && status.requests_per_unit == 0 && status.reset_s == 1);
    assert_int_equal(stats_of(scene, "d.none")->over_limit, 1);
}

/* As the reference has it: it looks at a count that nothing was added to yet, or that is over. */
static void a_look_at_a_limit_of_none_is_refused_once_it_was_asked(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "none", "a", 0), TLY_RLS_OK, 0);
    expect(hit(scene, "none", "a", 3), TLY_RLS_OVER_LIMIT, 0);
    expect(hit(scene, "none", "a", 1), TLY_RLS_OVER_LIMIT, 0);
    expect(hit(scene, "none", "a", 0), TLY_RLS_OVER_LIMIT, 0);
    expect(hit(scene, "none", "b", 0), TLY_RLS_OK, 0);
    with(begin(scene, "d"), "none", "a")->gives_back = true;
    expect(ask(scene)->status[0], TLY_RLS_OK, 0);
    expect(hit(scene, "none", "a", 0), TLY_RLS_OVER_LIMIT, 0);
    fake_app_advance(scene->app, 1000);
    expect(hit(scene, "none", "a", 0), TLY_RLS_OK, 0);
    const struct tly_rls_stats *stats = stats_of(scene, "d.none");
    assert_true(stats->total_hits == 4 && stats->over_limit == 4 && stats->near_limit == 0);
    /* What is refused and spared is not counted. */
    expect(hit(scene, "shut", "a", 1), TLY_RLS_OVER_LIMIT, 0);
    expect(hit(scene, "shut", "a", 0), TLY_RLS_OK, 0);
    /* What cannot be counted is refused, too. */
    fake_app_fail(scene->app, TLY_FULL, 1);
    expect(hit(scene, "none", "c", 1), TLY_RLS_OVER_LIMIT, 0);
}

static void all_descriptors_are_charged_and_stay_in_order(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 4; i++) {
        struct tly_rls_request *request = begin(scene, "d");
        with(request, "two", "x");
        with(request, "nothing", "x");
        with(request, "ten", "x");
        const struct tly_rls_response *response = ask(scene);
        bool over = i >= 2;
        assert_int_equal(response->overall, over ? TLY_RLS_OVER_LIMIT : TLY_RLS_OK);
        expect(response->status[0], over ? TLY_RLS_OVER_LIMIT : TLY_RLS_OK, over ? 0 : (uint32_t)(1 - i));
        assert_false(response->status[1].has_limit);
        expect(response->status[2], TLY_RLS_OK, (uint32_t)(9 - i));
        assert_int_equal(response->status[2].unit, TLY_RLS_MINUTE);
    }
}

static void a_window_is_aligned_to_the_epoch(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 130; i++, fake_app_advance(scene->app, 997)) {
        uint64_t now_s = tly_app_now(scene->app).wall_ns / 1000000000;
        assert_int_equal(hit(scene, "ten", "d", 0).reset_s, 60 - now_s % 60);
        assert_int_equal(hit(scene, "dark", "d", 0).reset_s, 86400 - now_s % 86400);
    }
}

static void negative_hits_give_back(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "ten", "e", 7), TLY_RLS_OK, 3);
    struct tly_rls_descriptor *descriptor = with(begin(scene, "d"), "ten", "e");
    descriptor->has_hits = descriptor->gives_back = true;
    descriptor->hits = 4;
    expect(ask(scene)->status[0], TLY_RLS_OK, 7);
    descriptor->hits = 100;
    expect(ask(scene)->status[0], TLY_RLS_OK, 10); /* never more than all of it */
    expect(hit(scene, "ten", "e", 10), TLY_RLS_OK, 0);
    assert_int_equal(stats_of(scene, "d.ten")->total_hits, 17);
}

static void what_was_crossed_can_be_given_back(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "ten", "f", 13), TLY_RLS_OVER_LIMIT, 0);
    struct tly_rls_descriptor *descriptor = with(begin(scene, "d"), "ten", "f");
    descriptor->has_hits = descriptor->gives_back = true;
    descriptor->hits = 5;
    expect(ask(scene)->status[0], TLY_RLS_OK, 2);
    expect(hit(scene, "ten", "f", 2), TLY_RLS_OK, 0);
}

/* ---- I12 ---- */

static void unlimited_has_no_limit_and_all_of_it_left(void **state)
{
    struct scene *scene = *state;
    struct tly_rls_status status = hit(scene, "free", "", 1000);
    expect(status, TLY_RLS_OK, UINT32_MAX);
    assert_false(status.has_limit);
}

static void a_rule_in_the_shadow_is_ok_and_says_its_limit(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "dark", "", 1), TLY_RLS_OK, 0);
    struct tly_rls_status status = hit(scene, "dark", "", 3);
    expect(status, TLY_RLS_OK, 0);
    assert_true(status.has_limit && status.requests_per_unit == 1);
    assert_int_equal(stats_of(scene, "d.dark")->over_limit, 3);
    assert_int_equal(stats_of(scene, "d.dark")->shadow_mode, 3);
    /* Of a batch that crosses the limit only what is over it was let through. */
    expect(hit(scene, "dark", "batch", 4), TLY_RLS_OK, 0);
    assert_int_equal(stats_of(scene, "d.dark")->over_limit, 6);
    assert_int_equal(stats_of(scene, "d.dark")->shadow_mode, 6);
}

static void quotas_are_over_when_all_are(void **state)
{
    struct scene *scene = *state;
    static const enum tly_rls_code overall[] = {TLY_RLS_OK, TLY_RLS_OK, TLY_RLS_OVER_LIMIT};
    for (size_t i = 0; i < 3; i++) {
        struct tly_rls_request *request = begin(scene, "d");
        with(request, "q1", "");
        with(request, "q2", "");
        with(request, "ten", "q");
        const struct tly_rls_response *response = ask(scene);
        assert_int_equal(response->overall, overall[i]);
        assert_int_equal(response->status[0].code, i >= 1 ? TLY_RLS_OVER_LIMIT : TLY_RLS_OK);
    }
    /* One that is no quota is enough. */
    expect(hit(scene, "ten", "r", 10), TLY_RLS_OK, 0);
    struct tly_rls_request *request = begin(scene, "d");
    with(request, "ten", "r");
    with(request, "q2", "fresh");
    assert_int_equal(ask(scene)->overall, TLY_RLS_OVER_LIMIT);
}

static void a_limit_that_is_brought_comes_before_the_rule(void **state)
{
    struct scene *scene = *state;
    for (uint32_t i = 0; i < 4; i++) {
        struct tly_rls_descriptor *descriptor = with(begin(scene, "d"), "dark", "own");
        descriptor->has_limit = true;
        descriptor->requests_per_unit = 3;
        descriptor->unit = TLY_RLS_WEEK;
        const struct tly_rls_response *response = ask(scene);
        /* It is not in the shadow that its rule is in. */
        expect(response->status[0], i < 3 ? TLY_RLS_OK : TLY_RLS_OVER_LIMIT, i < 3 ? 2 - i : 0);
        assert_int_equal(response->status[0].unit, TLY_RLS_WEEK);
    }
    assert_int_equal(stats_of(scene, "d.dark_own")->total_hits, 4);
    assert_int_equal(stats_of(scene, "d.dark")->total_hits, 0);
}

static void a_limit_that_is_replaced_is_not_charged(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 3; i++) {
        struct tly_rls_request *request = begin(scene, "d");
        with(request, "old", "");
        with(request, "new", "");
        const struct tly_rls_response *response = ask(scene);
        assert_int_equal(response->overall, TLY_RLS_OK);
        assert_false(response->status[0].has_limit);
        expect(response->status[1], TLY_RLS_OK, (uint32_t)(4 - i));
    }
    expect(hit(scene, "old", "", 1), TLY_RLS_OK, 0);
}

static void wildcards_share_or_do_not(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "pool", "p1", 1), TLY_RLS_OK, 1);
    expect(hit(scene, "pool", "p2", 1), TLY_RLS_OK, 0);
    expect(hit(scene, "pool", "p3", 1), TLY_RLS_OVER_LIMIT, 0);
    expect(hit(scene, "each", "p1", 1), TLY_RLS_OK, 0);
    expect(hit(scene, "each", "p2", 1), TLY_RLS_OK, 0);
    assert_int_equal(stats_of(scene, "d.pool_p*")->total_hits, 3);
}

static void in_the_global_shadow_all_is_ok(void **state)
{
    struct scene *scene = *state;
    struct tly_rls_status status = hit(scene, "none", "", 1);
    expect(status, TLY_RLS_OVER_LIMIT, 0);
    with(begin(scene, "d"), "none", "");
    assert_int_equal(ask(scene)->overall, TLY_RLS_OK);
    assert_int_equal(service_stats(scene).global_shadow_mode, 2);
}

static void our_own_algorithms_are_there(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "slide", "", 4), TLY_RLS_OK, 0);
    fake_app_advance(scene->app, 10000);
    assert_int_equal(hit(scene, "slide", "", 0).code, TLY_RLS_OK);
    fake_app_advance(scene->app, 10000);
    expect(hit(scene, "slide", "", 4), TLY_RLS_OK, 0);
    expect(hit(scene, "bucket", "", 2), TLY_RLS_OK, 0);
    expect(hit(scene, "bucket", "", 1), TLY_RLS_OVER_LIMIT, 0);
    fake_app_advance(scene->app, 1000);
    expect(hit(scene, "bucket", "", 1), TLY_RLS_OK, 0);
    struct tly_rls_status month = hit(scene, "month", "", 3);
    expect(month, TLY_RLS_OK, 0);
    expect(hit(scene, "month", "", 1), TLY_RLS_OVER_LIMIT, 0);
    /* It ends with the month of the calendar. */
    fake_app_advance(scene->app, (uint64_t)month.reset_s * 1000);
    time_t now = (time_t)(tly_app_now(scene->app).wall_ns / UINT64_C(1000000000));
    struct tm tm;
    assert_true(gmtime_r(&now, &tm) != NULL && tm.tm_mday == 1 && tm.tm_hour == 0 && tm.tm_min == 0);
    expect(hit(scene, "month", "", 3), TLY_RLS_OK, 0);
}

static void a_window_ends_when_it_is_said_to(void **state)
{
    struct scene *scene = *state;
    expect(hit(scene, "ten", "w", 1), TLY_RLS_OK, 9);
    fake_app_set_back(scene->app, 100000);
    struct tly_rls_status status = hit(scene, "ten", "w", 9);
    expect(status, TLY_RLS_OK, 0);
    /* While it makes up for what the clock was set back cluster time takes a little longer. */
    fake_app_advance(scene->app, status.reset_s * UINT64_C(1000) - 1000);
    expect(hit(scene, "ten", "w", 1), TLY_RLS_OVER_LIMIT, 0);
    fake_app_advance(scene->app, 1000 + status.reset_s * UINT64_C(1000) / 8);
    expect(hit(scene, "ten", "w", 1), TLY_RLS_OK, 9);
}

/* ---- measured ---- */

static void near_and_over_are_told_apart(void **state)
{
    struct scene *scene = *state;
    const struct tly_rls_stats *stats = stats_of(scene, "d.ten");
    (void)hit(scene, "ten", "m", 7); /* near begins behind 8 */
    assert_int_equal(stats->near_limit, 0);
    (void)hit(scene, "ten", "m", 2); /* 9: one of them is near */
    assert_int_equal(stats->near_limit, 1);
    assert_int_equal(stats->within_limit, 9);
    (void)hit(scene, "ten", "m", 4); /* 13: one is near, three are over */
    assert_int_equal(stats->near_limit, 2);
    assert_int_equal(stats->over_limit, 3);
    (void)hit(scene, "ten", "m", 2);
    assert_int_equal(stats->over_limit, 5);
    assert_int_equal(stats->total_hits, 15);
    assert_int_equal(stats->within_limit, 9);
}

static void a_reload_keeps_what_was_counted(void **state)
{
    struct scene *scene = *state;
    (void)hit(scene, "ten", "n", 7);
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    fake_app_rls(
        scene->app, &settings,
        "domain: d\ndescriptors:\n  - {key: ten, rate_limit: {unit: minute, requests_per_unit: 20}}\n");
    expect(hit(scene, "ten", "n", 1), TLY_RLS_OK, 12);
    assert_int_equal(stats_of(scene, "d.ten")->total_hits, 8);
    assert_int_equal(service_stats(scene).config_load_success, 2);
}

/* So that the labels of a dashboard are the keys, and not parts of an address. */
static void a_name_is_not_divided_by_an_address(void **state)
{
    static const struct {
        const char *value, *name;
    } cases[] = {{"10.0.0.1", "d.det_10_0_0_1"},
                 {"10.0.0.1/32", "d.det_10_0_0_1/32"},
                 {"1234.5.6.7890", "d.det_1234_5_6_7890"},
                 {"1.2.3.4.5.6.7", "d.det_1_2_3_4.5.6.7"},
                 {"1.2.3.4.5.6.7.8", "d.det_1_2_3_4.5_6_7_8"},
                 {"1.2.3", "d.det_1.2.3"},
                 {"1.2.3.", "d.det_1.2.3."},
                 {"1..2.3.4", "d.det_1..2.3.4"},
                 {"1.2345.6.7.8", "d.det_1.2345_6_7_8"},
                 {"fd00::1|x.y", "d.det_fd00__1_x.y"}};
    struct scene *scene = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)hit(scene, "det", cases[i].value, 1);
        assert_int_equal(stats_of(scene, cases[i].name)->total_hits, 1);
    }
    /* Of a rule, too; only its series is called so. */
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    fake_app_rls(scene->app, &settings,
                 "domain: d\ndescriptors:\n"
                 "  - {key: ip, value: 50.0.0.5, rate_limit: {unit: day, requests_per_unit: 1}}\n");
    (void)hit(scene, "ip", "50.0.0.5", 1);
    assert_int_equal(stats_of(scene, "d.ip_50_0_0_5")->total_hits, 1);
    const struct tly_rls_limit *limit = tly_rls_config_limit_at(tly_rls_config(scene->rls), 0);
    assert_true(tly_slice_equal(limit->full_key, tly_slice_text("d.ip_50.0.0.5")));
}

static void names_that_clients_choose_are_bounded(void **state)
{
    struct scene *scene = *state;
    char value[32];
    for (unsigned i = 0; i < TLY_RLS_SERIES_MAX + 10; i++) {
        (void)snprintf(value, sizeof value, "v%u", i);
        (void)hit(scene, "det", value, 1);
    }
    size_t count = 0;
    while (tly_rls_series_at(tly_rls_series(scene->rls), count) != NULL)
        count++;
    assert_int_equal(count, TLY_RLS_SERIES_MAX);
    assert_true(service_stats(scene).unnamed >= 10);
}

/* ---- headers ---- */

static void headers_speak_of_the_limit_that_is_nearest(void **state)
{
    struct scene *scene = *state;
    struct tly_rls_request *request = begin(scene, "d");
    with(request, "ten", "h");
    with(request, "two", "h");
    with(request, "free", "h");
    const struct tly_rls_response *response = ask(scene);
    assert_int_equal(response->header_count, 3);
    assert_string_equal(response->header[0].name, "x-limit");
    assert_string_equal(response->header[0].value, "2");
    assert_string_equal(response->header[1].name, "RateLimit-Remaining");
    assert_string_equal(response->header[1].value, "1");
    assert_string_equal(response->header[2].name, "RateLimit-Reset");
    assert_int_equal(response->request_header_count, 3);
    with(begin(scene, "d"), "free", "h");
    assert_int_equal(ask(scene)->header_count, 0);
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(what_cannot_be_answered_is_an_error),
        cmocka_unit_test_setup_teardown(before_a_configuration_is_loaded_nothing_is_answered, setup_empty,
                                        teardown),
        SCENE(what_no_rule_is_for_is_ok_without_a_limit),
        SCENE(hits_are_those_of_the_descriptor_or_of_the_request),
        SCENE(a_batch_that_crosses_is_over_and_counted),
        SCENE(a_rule_may_spare_what_it_refuses),
        SCENE(the_last_unit_is_ok_and_a_look_at_it_too),
        SCENE(a_limit_of_none_refuses_all),
        SCENE(a_look_at_a_limit_of_none_is_refused_once_it_was_asked),
        SCENE(all_descriptors_are_charged_and_stay_in_order),
        SCENE(a_window_is_aligned_to_the_epoch),
        SCENE(negative_hits_give_back),
        SCENE(what_was_crossed_can_be_given_back),
        SCENE(unlimited_has_no_limit_and_all_of_it_left),
        SCENE(a_rule_in_the_shadow_is_ok_and_says_its_limit),
        SCENE(quotas_are_over_when_all_are),
        SCENE(a_limit_that_is_brought_comes_before_the_rule),
        SCENE(a_limit_that_is_replaced_is_not_charged),
        SCENE(wildcards_share_or_do_not),
        cmocka_unit_test_setup_teardown(in_the_global_shadow_all_is_ok, setup_dark, teardown),
        SCENE(our_own_algorithms_are_there),
        SCENE(a_window_ends_when_it_is_said_to),
        SCENE(near_and_over_are_told_apart),
        SCENE(a_reload_keeps_what_was_counted),
        SCENE(a_name_is_not_divided_by_an_address),
        SCENE(names_that_clients_choose_are_bounded),
        cmocka_unit_test_setup_teardown(headers_speak_of_the_limit_that_is_nearest, setup_headers, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
