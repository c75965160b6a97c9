/* TLY.WHY and TLY.TOP: what was refused and why, and which keys are at the top. */
#include "service/shell/resp.h"
#include "service/shell/top.h"

#include <inttypes.h>
#include <stdio.h>

static void put_shard(struct tly_resp *resp, const struct tly_refusal_shard *shard)
{
    char origin[24];
    (void)snprintf(origin, sizeof origin, "%016" PRIx64, shard->origin);
    tly_resp_put_map(resp->out, resp->proto, 5);
    tly_resp_put_text(resp->out, "origin");
    tly_resp_put_text(resp->out, origin);
    tly_resp_put_text(resp->out, "window");
    tly_resp_put_uint(resp->out, shard->window);
    tly_resp_put_text(resp->out, "epoch");
    tly_resp_put_uint(resp->out, shard->epoch);
    tly_resp_put_text(resp->out, "units");
    tly_resp_put_int(resp->out, shard->units);
    tly_resp_put_text(resp->out, "before");
    tly_resp_put_int(resp->out, shard->before);
}

/* KEY: a map of when, how often, the verdict then, and what each life had counted; null when it was not refused lately. */
void tly_resp_run_tly_why(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    uint8_t key[TLY_KEY_BYTES_MAX];
    struct tly_refusal_view view;
    struct tly_slice whole = {.p = key};
    (void)count;
    bool is_whole = tly_slice_begins(arg[1], tly_slice_text("rl:"));
    enum tly_result result = is_whole ? TLY_OK : tly_adhoc_key(arg[1], key, &whole.n);
    if (result == TLY_OK)
        result = tly_engine_why(tly_app_engine(resp->app), is_whole ? arg[1] : whole, &view);
    if (result == TLY_NOT_FOUND) {
        tly_resp_put_null(resp->out, resp->proto);
        return;
    }
    if (result != TLY_OK) {
        tly_resp_put_result(resp, result);
        return;
    }
    tly_resp_put_map(resp->out, resp->proto, 6);
    tly_resp_put_text(resp->out, "at_ms");
    tly_resp_put_uint(resp->out, view.at_ms);
    tly_resp_put_text(resp->out, "times");
    tly_resp_put_uint(resp->out, view.times);
    tly_resp_put_text(resp->out, "hits");
    tly_resp_put_uint(resp->out, view.hits);
    tly_resp_put_text(resp->out, "verdict");
    tly_resp_put_verdict(resp, view.verdict, view.hits);
    tly_resp_put_text(resp->out, "shards_ms");
    tly_resp_put_uint(resp->out, view.shards_ms);
    tly_resp_put_text(resp->out, "shards");
    tly_resp_put_array(resp->out, view.shard_count);
    for (size_t i = 0; i < view.shard_count; i++)
        put_shard(resp, &view.shards[i]);
}

/* ---- top ---- */

#define TOP_ROWS 10

static void put_row(struct tly_resp *resp, const struct tly_top_view *row)
{
    tly_resp_put_map(resp->out, resp->proto, 4);
    tly_resp_put_text(resp->out, "key");
    tly_resp_put_bulk(resp->out, row->key);
    tly_resp_put_text(resp->out, "checks_per_1000s");
    tly_resp_put_uint(resp->out, row->checks_per_1000s);
    tly_resp_put_text(resp->out, "used");
    tly_resp_put_uint(resp->out, row->used);
    tly_resp_put_text(resp->out, "limit");
    tly_resp_put_uint(resp->out, row->limit);
}

static void put_top(struct tly_resp *resp, enum tly_top_order order, size_t count)
{
    struct tly_top_view rows[TLY_TOP_ROWS_MAX];
    count = tly_top_take(resp->app, order, rows, count);
    tly_resp_put_array(resp->out, count);
    for (size_t i = 0; i < count; i++)
        put_row(resp, &rows[i]);
}

static void put_refused(struct tly_resp *resp, size_t count)
{
    struct tly_refusal_view rows[TLY_TOP_ROWS_MAX];
    count = tly_top_refused(resp->app, rows, count);
    tly_resp_put_array(resp->out, count);
    for (size_t i = 0; i < count; i++) {
        tly_resp_put_map(resp->out, resp->proto, 3);
        tly_resp_put_text(resp->out, "key");
        tly_resp_put_bulk(resp->out, rows[i].key);
        tly_resp_put_text(resp->out, "times");
        tly_resp_put_uint(resp->out, rows[i].times);
        tly_resp_put_text(resp->out, "reason");
        tly_resp_put_text(resp->out, tly_reason_word(rows[i].verdict->reason));
    }
}

/* HOTTEST | FULLEST | REFUSED [COUNT n] */
void tly_resp_run_tly_top(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    int64_t rows = TOP_ROWS;
    bool has_count = count == 4 && tly_resp_is(arg[2], "COUNT");
    if (count != 2 && !has_count) {
        tly_resp_put_syntax_error(resp);
        return;
    }
    if (has_count && (!tly_resp_get_int(arg[3], &rows) || rows < 1 || rows > TLY_TOP_ROWS_MAX)) {
        tly_resp_put_not_int(resp);
        return;
    }
    if (tly_resp_is(arg[1], "HOTTEST"))
        put_top(resp, TLY_TOP_HOTTEST, (size_t)rows);
    else if (tly_resp_is(arg[1], "FULLEST"))
        put_top(resp, TLY_TOP_FULLEST, (size_t)rows);
    else if (tly_resp_is(arg[1], "REFUSED"))
        put_refused(resp, (size_t)rows);
    else
        tly_resp_put_syntax_error(resp);
}
