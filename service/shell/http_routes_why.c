/* GET /v1/why: what was refused last, /v1/why/KEY: why; and /v1/top: the keys that are asked and refused most, and the fullest. */
#include "service/shell/http_check.h"
#include "service/shell/top.h"

#define TOP_ROWS 20

static void put_shard(struct tly_json *json, const struct tly_refusal_shard *shard)
{
    tly_json_open(json, '{');
    tly_json_member_hex(json, "origin", shard->origin);
    tly_json_member_uint(json, "window", shard->window);
    tly_json_member_uint(json, "epoch", shard->epoch);
    tly_json_member_int(json, "units", shard->units);
    tly_json_member_int(json, "before", shard->before);
    tly_json_close(json, '}');
}

void tly_http_put_refusal(struct tly_json *json, const struct tly_refusal_view *view)
{
    tly_json_open(json, '{');
    tly_json_member_text(json, "key", view->key);
    tly_json_member_uint(json, "at_ms", view->at_ms);
    tly_json_member_uint(json, "times", view->times);
    tly_json_member_uint(json, "hits", view->hits);
    tly_json_key(json, "verdict");
    tly_http_put_verdict(json, view->verdict, view->hits);
    tly_json_member_uint(json, "shards_ms", view->shards_ms);
    tly_json_key(json, "shards");
    tly_json_open(json, '[');
    for (size_t i = 0; i < view->shard_count; i++)
        put_shard(json, &view->shards[i]);
    tly_json_close(json, ']');
    tly_json_close(json, '}');
}

static struct tly_slice limit_key(struct tly_slice said, uint8_t *out)
{
    struct tly_slice key = {.p = out};
    if (tly_slice_begins(said, tly_slice_text("rl:"))) return said;
    return tly_adhoc_key(said, out, &key.n) == TLY_OK ? key : said;
}

void tly_http_run_why(struct tly_exchange *x)
{
    uint8_t bytes[TLY_HTTP_LINE_BYTES_MAX], key[TLY_KEY_BYTES_MAX];
    struct tly_refusal_view view;
    size_t n = tly_http_decode(x->rest, false, bytes);
    if (n == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    enum tly_result result =
        tly_engine_why(tly_app_engine(x->app), limit_key(tly_slice_of(bytes, n), key), &view);
    if (result == TLY_NOT_FOUND) {
        tly_http_problem(x, 404, "not_refused", "this node has not refused this key lately");
    } else if (result != TLY_OK) {
        tly_http_problem_of(x, result);
    } else {
        struct tly_json json = tly_json_of(x->body);
        x->type = TLY_HTTP_JSON;
        tly_http_put_refusal(&json, &view);
        tly_http_put_text(x, "\n");
    }
}

void tly_http_run_refused(struct tly_exchange *x)
{
    struct tly_json json = tly_json_of(x->body);
    struct tly_refusal_view view;
    size_t cursor = 0;
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '[');
    while (tly_engine_refused(tly_app_engine(x->app), &cursor, &view))
        tly_http_put_refusal(&json, &view);
    tly_json_close(&json, ']');
    tly_http_put_text(x, "\n");
}

static void put_row(struct tly_json *json, const struct tly_top_view *row)
{
    tly_json_open(json, '{');
    tly_json_member_text(json, "key", row->key);
    tly_json_member_uint(json, "checks_per_1000s", row->checks_per_1000s);
    tly_json_member_uint(json, "used", row->used);
    tly_json_member_uint(json, "limit", row->limit);
    tly_json_close(json, '}');
}

static void put_rows(struct tly_exchange *x, struct tly_json *json, const char *name,
                     enum tly_top_order order)
{
    struct tly_top_view rows[TOP_ROWS];
    size_t count = tly_top_take(x->app, order, rows, TOP_ROWS);
    tly_json_key(json, name);
    tly_json_open(json, '[');
    for (size_t i = 0; i < count; i++)
        put_row(json, &rows[i]);
    tly_json_close(json, ']');
}

void tly_http_run_top(struct tly_exchange *x)
{
    struct tly_refusal_view refused[TOP_ROWS];
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '{');
    put_rows(x, &json, "hottest", TLY_TOP_HOTTEST);
    put_rows(x, &json, "fullest", TLY_TOP_FULLEST);
    size_t count = tly_top_refused(x->app, refused, TOP_ROWS);
    tly_json_key(&json, "refused");
    tly_json_open(&json, '[');
    for (size_t i = 0; i < count; i++)
        tly_http_put_refusal(&json, &refused[i]);
    tly_json_close(&json, ']');
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}
