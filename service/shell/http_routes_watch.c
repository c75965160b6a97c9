/* GET /v1/watch: changes of keys as server-sent events (WHATWG HTML, 9.2), for as long as the client listens. */
#include "service/shell/http.h"

#include <inttypes.h>
#include <stdio.h>

void tly_http_run_watch(struct tly_exchange *x)
{
    uint8_t room[TLY_HTTP_LINE_BYTES_MAX];
    struct tly_http_query query = {x->request->query, room};
    struct tly_slice name, value, prefix = tly_slice_of(room, 0);
    while (tly_http_query_next(&query, &name, &value)) {
        if (!tly_http_is(name, "prefix")) continue;
        prefix = value;
        break;
    }
    enum tly_result result = tly_engine_watch(tly_app_engine(x->app), prefix, &x->watch);
    if (result == TLY_FULL)
        tly_http_problem(x, 503, "too_many_watchers", "%d clients watch already", TLY_WATCHERS_MAX);
    else if (result != TLY_OK)
        tly_http_problem_of(x, result);
}

static void put_change(struct tly_buf *out, const struct tly_change *change)
{
    static const char changed[] = "event: change\ndata: ", resync[] = "event: resync\ndata: {}\n\n";
    if (change->resync) {
        tly_buf_put(out, resync, sizeof resync - 1);
        return;
    }
    char origin[17];
    struct tly_json json = tly_json_of(out);
    tly_buf_put(out, changed, sizeof changed - 1);
    tly_json_open(&json, '{');
    if (tly_utf8_is_valid(change->key)) {
        tly_json_member_text(&json, "key", change->key);
    } else {
        tly_json_key(&json, "key_base64");
        tly_json_put_base64(&json, change->key);
    }
    if (change->value.present) {
        tly_http_put_value(&json, change->strategy, &change->value);
    } else {
        tly_json_key(&json, "value");
        tly_json_put_null(&json);
    }
    (void)snprintf(origin, sizeof origin, "%016" PRIx64, change->origin);
    tly_json_member_string(&json, "origin", origin);
    tly_json_member_bool(&json, "local", change->local);
    tly_json_close(&json, '}');
    tly_buf_put(out, "\n\n", 2);
}

bool tly_http_put_changes(struct tly_app *app, struct tly_watch *watch, struct tly_client *client)
{
    struct tly_buf *out = tly_client_out(client);
    struct tly_change change;
    while (out->n < TLY_OUT_HIGH) {
        if (!tly_watch_next(tly_app_engine(app), watch, &change)) return false;
        put_change(out, &change);
    }
    return true;
}
