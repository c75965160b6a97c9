/* GET /v1/limits, and /v1/limits/NAME: how hard a limit is now. */
#include "service/shell/http.h"

#include <stdio.h>

static void put_match(struct tly_json *json, const struct tly_rule *rule)
{
    tly_json_key(json, "match");
    tly_json_open(json, '{');
    for (size_t i = 0; i < rule->match_count; i++) {
        const struct tly_match *match = &rule->match[i];
        char text[sizeof match->value + 1];
        (void)snprintf(text, sizeof text, "%s%s", match->value, match->is_prefix ? "*" : "");
        tly_json_member_text(json, match->field, tly_slice_text(text));
    }
    tly_json_close(json, '}');
}

static void put_rule(struct tly_json *json, const struct tly_rules *rules, const struct tly_rule *rule)
{
    const struct tly_rate *rate = &rule->rate;
    tly_json_member_string(json, "name", rule->name);
    tly_json_key(json, "key");
    tly_json_open(json, '[');
    for (size_t i = 0; i < rule->field_count; i++)
        tly_json_put_text(json, tly_slice_text(rule->field[i]));
    tly_json_close(json, ']');
    if (rule->match_count > 0) put_match(json, rule);
    tly_json_member_uint(json, "limit", rate->limit);
    if (rate->algorithm == TLY_COUNTER) tly_json_member_int(json, "min", rate->min);
    tly_json_member_uint(json, "window_ms", rate->window_ms);
    if (rate->burst != 0) tly_json_member_uint(json, "burst", rate->burst);
    tly_json_member_string(json, "algorithm", tly_algorithm_name(rate->algorithm));
    if (rate->algorithm == TLY_QUOTA) {
        tly_json_member_string(json, "unit", tly_unit_name(rate->unit));
        tly_json_member_string(json, "zone", tly_rules_zone_name(rules, rate->zone));
    }
    tly_json_member_string(json, "mode", tly_mode_name(rate->mode));
    if (rate->mode == TLY_CAPPED) tly_json_member_uint(json, "cap", rate->cap);
    tly_json_member_string(json, "on_partition", tly_on_partition_name(rate->on_partition));
    tly_json_member_bool(json, "shadow", rule->shadow);
    if (rule->keys_max == 0) return;
    tly_json_member_uint(json, "cardinality_max", rule->keys_max);
    tly_json_member_uint(json, "keys", rule->count->keys);
}

void tly_http_put_bound(struct tly_json *json, uint64_t bound)
{
    if (bound == TLY_BOUND_NONE)
        tly_json_member_int(json, "bound", -1);
    else
        tly_json_member_uint(json, "bound", bound);
}

void tly_http_run_limits(struct tly_exchange *x)
{
    const struct tly_rules *rules = tly_engine_rules(tly_app_engine(x->app));
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '[');
    size_t count = rules != NULL ? tly_rules_count(rules) : 0;
    for (size_t i = 0; i < count; i++) {
        tly_json_open(&json, '{');
        put_rule(&json, rules, tly_rules_at(rules, i));
        tly_json_close(&json, '}');
    }
    tly_json_close(&json, ']');
    tly_http_put_text(x, "\n");
}

/* ---- one of them ---- */

static const char *formula_of(const struct tly_rule *rule)
{
    if (rule->rate.mode == TLY_HARD)
        return rule->rate.algorithm == TLY_COUNTER
                   ? "0: a node counts only what it holds the rights to, up and down, and all rights are the bounds"
                   : "0: a node counts only what it holds the rights to, and all rights of a window are the limit";
    if (rule->rate.mode == TLY_CAPPED)
        return "(members - 1 + ended_lives) * cap; none while lost > 0 and on_partition is open";
    if (rule->rate.algorithm == TLY_CONCURRENCY)
        return "(members - 1) * limit: each node may have given out all of it before it heard of the others";
    if (rule->rate.algorithm == TLY_COUNTER)
        return "(members - 1) * (max - min), either way: each node may have brought it to a bound before it heard of the others";
    return "the sum of unseen over the others, of the key where it is greatest, + lost * limit; "
           "at most (members - 1) * limit";
}

/* Of each window, before any are given to others or come from them. */
static void put_rights(struct tly_json *json, const struct tly_limit_view *view)
{
    tly_json_member_bool(json, "founded", view->is_founded);
    tly_json_member_bool(json, "counts", view->is_fit);
    /* A counter is divided key by key. */
    if (view->rule->rate.algorithm == TLY_COUNTER) return;
    tly_json_member_bool(json, "nobodys", view->is_nobodys);
    tly_json_member_uint(json, "window_left_ms", view->left_ms);
    tly_json_member_uint(json, "share", view->share);
    tly_json_member_uint(json, "share_here", view->share_here);
}

static void put_inputs(struct tly_json *json, const struct tly_limit_view *view)
{
    tly_json_key(json, "inputs");
    tly_json_open(json, '{');
    tly_json_member_uint(json, "members", view->members);
    tly_json_member_uint(json, "lost", view->lost);
    tly_json_member_uint(json, "ended_lives", view->ended);
    tly_json_member_bool(json, "joined", view->joined);
    tly_json_member_uint(json, "flush_ms", view->flush_ns / 1000000);
    tly_json_member_uint(json, "horizon_ms", view->horizon_ns / 1000000);
    tly_json_member_uint(json, "watched_keys", view->watched);
    if (view->rule->rate.mode == TLY_HARD) put_rights(json, view);
    tly_json_close(json, '}');
}

static void put_other(struct tly_json *json, const struct tly_limit_other *other)
{
    tly_json_open(json, '{');
    tly_json_member_text(json, "node", other->node);
    tly_json_member_hex(json, "origin", other->origin);
    tly_json_member_uint(json, "units", other->units);
    tly_json_member_uint(json, "units_per_1000s", other->rate_per_1000s);
    tly_json_member_uint(json, "staleness_ms", other->staleness_ns / 1000000);
    tly_json_member_uint(json, "unseen", other->unseen);
    tly_json_close(json, '}');
}

static void put_view(struct tly_exchange *x, const struct tly_limit_view *view)
{
    struct tly_json json = tly_json_of(x->body);
    struct tly_limit_other other;
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '{');
    put_rule(&json, tly_engine_rules(tly_app_engine(x->app)), view->rule);
    tly_http_put_bound(&json, view->bound);
    tly_json_member_string(&json, "formula", formula_of(view->rule));
    put_inputs(&json, view);
    if (view->key.n > 0) tly_json_member_text(&json, "worst_key", view->key);
    tly_json_key(&json, "others");
    tly_json_open(&json, '[');
    for (size_t i = 0; tly_engine_limit_other(tly_app_engine(x->app), view, i, &other); i++)
        put_other(&json, &other);
    tly_json_close(&json, ']');
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}

void tly_http_run_limit(struct tly_exchange *x)
{
    uint8_t bytes[TLY_HTTP_LINE_BYTES_MAX];
    struct tly_limit_view view;
    size_t n = tly_http_decode(x->rest, false, bytes);
    if (n == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    enum tly_result result =
        tly_engine_limit(tly_app_engine(x->app), tly_slice_of(bytes, n), tly_app_now(x->app), &view);
    if (result == TLY_OK)
        put_view(x, &view);
    else
        tly_http_problem_of(x, result);
}
