#include "tests/shell/support_fake_app.h"

#include "service/shell/rls.h"
#include "service/shell/rls_yaml.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdlib.h>

struct tly_app {
    struct event_base *base;
    struct tly_engine *engine;
    struct tly_config config;
    struct tly_log *log;
    FILE *log_out;
    struct tly_time now;
    enum tly_result failure;
    size_t failures, turns;
    uint64_t pending, stored;
    struct tly_app_stats stats;
    const char *reasons;
    struct tly_rls *rls; /* NULL: until somebody gives one */
};

struct tly_app *fake_app_new(struct event_base *base)
{
    struct tly_app *app = calloc(1, sizeof *app);
    assert_non_null(app);
    app->base = base;
    app->now = (struct tly_time){FAKE_WALL_MS * 1000000, 1000000000};
    app->reasons = "";
    tly_config_init(&app->config);
    app->log_out = fopen("/dev/null", "w");
    assert_non_null(app->log_out);
    app->log = tly_log_new(app->log_out, TLY_LEVEL_DEBUG);
    struct tly_engine_config config = {
        .mem = test_mem(),
        .name = tly_slice_text("node-a"),
        .cluster = tly_slice_text("test"),
        .now = app->now,
    };
    memset(&config.hash_key, 0x5a, sizeof config.hash_key);
    assert_int_equal(tly_engine_new(&config, &app->engine), TLY_OK);
    assert_int_equal(tly_engine_start(app->engine, 0xabcdef, app->now), TLY_OK);
    return app;
}

void fake_app_free(struct tly_app *app)
{
    tly_engine_check(app->engine);
    tly_rls_free(app->rls);
    tly_engine_free(app->engine);
    tly_log_free(app->log);
    fclose(app->log_out);
    free(app);
}

void fake_app_advance(struct tly_app *app, uint64_t ms)
{
    app->now.wall_ns += ms * 1000000;
    app->now.mono_ns += ms * 1000000;
}

void fake_app_set_back(struct tly_app *app, uint64_t ms)
{
    app->now.wall_ns -= ms * 1000000;
}

void fake_app_tick(struct tly_app *app)
{
    struct tly_event tick = {.kind = TLY_TICK, .now = app->now};
    struct tly_effects effects;
    assert_int_equal(tly_engine_step(app->engine, &tick, &effects), TLY_OK);
}

void fake_app_fail(struct tly_app *app, enum tly_result result, size_t count)
{
    app->failure = result;
    app->failures = count;
}

void fake_app_limit(struct tly_app *app, const char *name, const char *rate, enum tly_algorithm algorithm,
                    const char *const *fields)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.rate.algorithm = algorithm};
    const struct tly_rules *before = tly_engine_rules(app->engine);
    assert_non_null(rules);
    for (size_t i = 0; before != NULL && i < tly_rules_count(before); i++)
        assert_int_equal(tly_rules_add(rules, tly_rules_at(before, i)), TLY_OK);
    memcpy(rule.name, name, strlen(name) + 1);
    for (; *fields != NULL; fields++, rule.field_count++)
        memcpy(rule.field[rule.field_count], *fields, strlen(*fields) + 1);
    assert_int_equal(tly_rate_parse(tly_slice_text(rate), &rule.rate), TLY_OK);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(app->engine, rules);
}

void fake_app_batches(struct tly_app *app, uint64_t pending, uint64_t stored)
{
    app->pending = pending;
    app->stored = stored;
}

void fake_app_unready(struct tly_app *app, const char *reasons)
{
    app->reasons = reasons;
}

void fake_app_clients(struct tly_app *app, uint64_t open)
{
    app->stats.clients_open = open;
}

void fake_app_rls(struct tly_app *app, const struct tly_rls_settings *settings, const char *yaml)
{
    struct tly_mem mem = test_mem();
    struct tly_rls_error error;
    struct tly_rls_config *config = NULL;
    if (app->rls == NULL) app->rls = tly_rls_new(&mem, settings);
    assert_non_null(app->rls);
    if (yaml == NULL) return;
    config = tly_rls_config_new(&mem);
    assert_non_null(config);
    if (!tly_rls_yaml_load(config, "config.test.yaml", tly_slice_text(yaml), false, &error))
        fail_msg("%s", error.text);
    tly_rls_use(app->rls, config);
}

/* ---- app.h ---- */

struct tly_rls *tly_app_rls(struct tly_app *app)
{
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    if (app->rls == NULL) fake_app_rls(app, &settings, NULL);
    return app->rls;
}

struct event_base *tly_app_base(struct tly_app *app)
{
    return app->base;
}

struct tly_engine *tly_app_engine(struct tly_app *app)
{
    return app->engine;
}

void fake_app_set(struct tly_app *app, const char *assignment)
{
    struct tly_config_error error;
    if (!tly_config_set(&app->config, assignment, &error)) fail_msg("%s", error.text);
}

const struct tly_config *tly_app_config(const struct tly_app *app)
{
    return &app->config;
}

struct tly_log *tly_app_log(struct tly_app *app)
{
    return app->log;
}

enum tly_result tly_app_ask(struct tly_app *app, struct tly_request *request, struct tly_reply *reply)
{
    request->now = app->now;
    if (app->failures == 0) return tly_engine_ask(app->engine, request, reply);
    app->failures--;
    *reply = (struct tly_reply){0};
    return app->failure;
}

enum tly_result tly_app_ask_feed(struct tly_app *app, tly_app_feed *feed, struct tly_slice question,
                                 struct tly_feed_said *said, struct tly_buf *out)
{
    if (app->failures == 0) return feed(app->engine, question, app->now, said, out);
    app->failures--;
    return app->failure;
}

enum tly_result tly_app_wait(struct tly_app *app, const struct tly_ack_wish *wish, struct tly_ack **ack)
{
    return tly_ack_new(app->engine, wish, app->now, ack);
}

uint64_t tly_app_ticket(const struct tly_app *app)
{
    return app->pending;
}

bool tly_app_must_wait(const struct tly_app *app, uint64_t batch, bool is_write)
{
    (void)is_write;
    return batch > app->stored;
}

bool tly_app_took_writes(struct tly_app *app)
{
    (void)app;
    return false;
}

void tly_app_turn_begin(struct tly_app *app)
{
    app->turns++;
}

uint64_t tly_app_turn_end(struct tly_app *app)
{
    assert_true(app->turns-- > 0);
    return 0;
}

struct tly_time tly_app_now(struct tly_app *app)
{
    return app->now;
}

uint64_t tly_app_cluster_ns(struct tly_app *app)
{
    return tly_engine_cluster_ns(app->engine, app->now);
}

uint64_t tly_app_uptime_s(const struct tly_app *app)
{
    return app->now.mono_ns / 1000000000 - 1;
}

void tly_app_readiness(const struct tly_app *app, char *text, size_t size)
{
    (void)snprintf(text, size, "%s", app->reasons);
}

void tly_app_stats(const struct tly_app *app, struct tly_app_stats *stats)
{
    *stats = app->stats;
}

const struct tly_kept_intent *tly_app_kept(const struct tly_app *app, struct tly_slice prefix)
{
    (void)app;
    (void)prefix;
    return NULL;
}

const char *tly_app_address(const struct tly_app *app, const char *door)
{
    (void)app;
    return strcmp(door, "resp") == 0 ? "127.0.0.1:7379" : "none";
}
