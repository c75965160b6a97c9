/*
 * SUBSCRIBE, PSUBSCRIBE, UNSUBSCRIBE and PUNSUBSCRIBE.  What there is to hear is what this node refuses: on the channel over:LIMIT for a
 * named limit, on over for a rate that came with its request; the message is what /v1/why says of the key.  A key that is refused
 * often is told of at most every TLY_WATCH_PAUSE_NS, as of the last time.
 *
 * Nothing waits here for a slow client but a mark in the engine's chain of refusals: when half of what was said to it is taken it is
 * told what is remembered by then, and that some is not: {"resync":true}, on each of its channels.
 *
 * What a connection has asked for is a list of (kind, 1 byte | length, 2 bytes | name).
 */
#include "service/shell/glob.h"
#include "service/shell/http_check.h"
#include "service/shell/resp.h"

#define CHANNEL_BYTES_MAX (5 + TLY_RULE_NAME_BYTES_MAX + 1)

#define HEAD_BYTES 3

/* A channel, or a pattern of them. */
struct wish {
    bool is_pattern;
    struct tly_slice name;
};

void tly_resp_subs_init(struct tly_resp_subs *subs, const struct tly_mem *mem)
{
    *subs = (struct tly_resp_subs){0};
    tly_buf_init(&subs->list, mem, TLY_RESP_SUBSCRIBED_BYTES_MAX);
}

/* ---- the list ---- */

static bool next_wish(const struct tly_resp_subs *subs, size_t *at, struct wish *wish)
{
    if (*at == subs->list.n) return false;
    const uint8_t *p = subs->list.p + *at;
    uint16_t n;
    memcpy(&n, p + 1, sizeof n);
    *wish = (struct wish){p[0] != 0, tly_slice_of(p + HEAD_BYTES, n)};
    *at += HEAD_BYTES + n;
    return true;
}

/* Where a wish stands; SIZE_MAX: it does not. */
static size_t place_of(const struct tly_resp_subs *subs, struct wish wanted)
{
    struct wish wish;
    for (size_t at = 0, next = 0; next_wish(subs, &next, &wish); at = next)
        if (wish.is_pattern == wanted.is_pattern && tly_slice_equal(wish.name, wanted.name)) return at;
    return SIZE_MAX;
}

static void add(struct tly_resp_subs *subs, struct wish wish)
{
    if (place_of(subs, wish) != SIZE_MAX) return;
    uint8_t *to = tly_buf_room(&subs->list, HEAD_BYTES + wish.name.n);
    if (to == NULL) return;
    uint16_t n = (uint16_t)wish.name.n;
    to[0] = wish.is_pattern;
    memcpy(to + 1, &n, sizeof n);
    if (n > 0) memcpy(to + HEAD_BYTES, wish.name.p, n);
    subs->list.n += HEAD_BYTES + wish.name.n;
    subs->count++;
}

static void take_off(struct tly_resp_subs *subs, size_t at)
{
    struct wish wish;
    size_t end = at;
    (void)next_wish(subs, &end, &wish);
    memmove(subs->list.p + at, subs->list.p + end, subs->list.n - end);
    subs->list.n -= end - at;
    subs->count--;
}

/* ---- beginning and ending to hear ---- */

/* False: it cannot; the error is written. */
static bool begin(struct tly_resp *resp)
{
    if (resp->subs.hears) return true;
    if (tly_engine_hear(tly_app_engine(resp->app), &resp->subs.mark) != TLY_OK) {
        tly_resp_put_error(resp->out, "ERR %d clients subscribe already", TLY_WATCHERS_MAX);
        return false;
    }
    resp->subs.hears = true;
    tly_client_stream(resp->client);
    return true;
}

static void end_if_none(struct tly_resp *resp)
{
    if (resp->subs.count > 0) return;
    if (resp->subs.hears) tly_engine_unhear(tly_app_engine(resp->app));
    resp->subs.hears = false;
    tly_buf_fini(&resp->subs.list);
    tly_buf_clear(&resp->subs.list);
}

void tly_resp_subs_end(struct tly_resp *resp)
{
    resp->subs.count = 0;
    end_if_none(resp);
}

/* ---- the requests ---- */

static void put_changed(struct tly_resp *resp, const char *what, const struct tly_slice *name)
{
    tly_resp_put_push(resp->out, resp->proto, 3);
    tly_resp_put_text(resp->out, what);
    if (name != NULL)
        tly_resp_put_bulk(resp->out, *name);
    else
        tly_resp_put_null(resp->out, resp->proto);
    tly_resp_put_uint(resp->out, resp->subs.count);
}

/* All of them or none. */
static void subscribe(struct tly_resp *resp, const struct tly_slice *arg, size_t count, bool is_pattern)
{
    struct tly_resp_subs *subs = &resp->subs;
    if (!begin(resp)) return;
    size_t list_n = subs->list.n, out_n = resp->out->n, had = subs->count;
    for (size_t i = 1; i < count; i++) {
        add(subs, (struct wish){is_pattern, arg[i]});
        put_changed(resp, is_pattern ? "psubscribe" : "subscribe", &arg[i]);
    }
    enum tly_result result = subs->list.result;
    if (result == TLY_OK) return;
    subs->list.result = TLY_OK;
    subs->list.n = list_n;
    subs->count = had;
    if (resp->out->result == TLY_OK) resp->out->n = out_n;
    end_if_none(resp);
    if (result == TLY_NOMEM)
        tly_resp_put_result(resp, result);
    else
        tly_resp_put_error(resp->out, "ERR one connection subscribes to no more than %u bytes of names",
                           TLY_RESP_SUBSCRIBED_BYTES_MAX);
}

static void unsubscribe_all(struct tly_resp *resp, bool is_pattern)
{
    const char *what = is_pattern ? "punsubscribe" : "unsubscribe";
    bool had = false;
    struct wish wish;
    for (size_t at = 0, next = 0; next_wish(&resp->subs, &next, &wish);) {
        if (wish.is_pattern != is_pattern) {
            at = next;
            continue;
        }
        /* Written before it goes, with the count of then. */
        resp->subs.count--;
        put_changed(resp, what, &wish.name);
        resp->subs.count++;
        take_off(&resp->subs, at);
        next = at;
        had = true;
    }
    if (!had) put_changed(resp, what, NULL);
}

static void unsubscribe(struct tly_resp *resp, const struct tly_slice *arg, size_t count, bool is_pattern)
{
    if (count == 1) unsubscribe_all(resp, is_pattern);
    for (size_t i = 1; i < count; i++) {
        size_t at = place_of(&resp->subs, (struct wish){is_pattern, arg[i]});
        if (at != SIZE_MAX) take_off(&resp->subs, at);
        put_changed(resp, is_pattern ? "punsubscribe" : "unsubscribe", &arg[i]);
    }
    end_if_none(resp);
}

void tly_resp_run_subscribe(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    subscribe(resp, arg, count, false);
}

void tly_resp_run_psubscribe(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    subscribe(resp, arg, count, true);
}

void tly_resp_run_unsubscribe(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    unsubscribe(resp, arg, count, false);
}

void tly_resp_run_punsubscribe(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    unsubscribe(resp, arg, count, true);
}

/* ---- telling ---- */

static void put_message(struct tly_resp *resp, const struct wish *wish, struct tly_slice channel,
                        struct tly_slice text)
{
    tly_resp_put_push(resp->out, resp->proto, wish->is_pattern ? 4 : 3);
    tly_resp_put_text(resp->out, wish->is_pattern ? "pmessage" : "message");
    if (wish->is_pattern) tly_resp_put_bulk(resp->out, wish->name);
    tly_resp_put_bulk(resp->out, channel);
    tly_resp_put_bulk(resp->out, text);
}

/* To whoever wants to hear of channels under over that some was lost; a pattern hears it on over. */
static void put_resync(struct tly_resp *resp)
{
    struct tly_slice over = tly_slice_text("over"), text = tly_slice_text("{\"resync\":true}");
    struct wish wish;
    for (size_t at = 0; next_wish(&resp->subs, &at, &wish);)
        put_message(resp, &wish, wish.is_pattern ? over : wish.name, text);
}

static bool is_wanted(const struct wish *wish, struct tly_slice channel)
{
    return wish->is_pattern ? tly_glob(wish->name, channel) : tly_slice_equal(wish->name, channel);
}

static struct tly_slice channel_of(struct tly_slice key, char text[CHANNEL_BYTES_MAX])
{
    memcpy(text, "over:", 5);
    bool is_named = tly_rule_name_of_key(key, text + 5);
    return is_named ? tly_slice_text(text) : tly_slice_of(text, 4);
}

/* Whether there is room for another. */
static bool hear(void *context, const struct tly_refusal_view *view)
{
    struct tly_resp *resp = context;
    if (view == NULL) {
        put_resync(resp);
        return true;
    }
    char text[CHANNEL_BYTES_MAX];
    struct tly_slice channel = channel_of(view->key, text);
    struct wish wish;
    tly_buf_clear(&resp->scratch);
    for (size_t at = 0; next_wish(&resp->subs, &at, &wish);) {
        if (!is_wanted(&wish, channel)) continue;
        struct tly_json json = tly_json_of(&resp->scratch);
        if (resp->scratch.n == 0) tly_http_put_refusal(&json, view);
        if (resp->scratch.result != TLY_OK) tly_buf_fail(resp->out, resp->scratch.result);
        put_message(resp, &wish, channel, tly_buf_slice(&resp->scratch));
    }
    resp->subs.has_more = resp->out->n >= TLY_OUT_HIGH;
    return !resp->subs.has_more && resp->out->result == TLY_OK;
}

bool tly_resp_hear(struct tly_resp *resp)
{
    if (!resp->subs.hears) return false;
    resp->subs.has_more = false;
    resp->subs.mark = tly_engine_refusals_since(tly_app_engine(resp->app), resp->subs.mark, hear, resp);
    tly_buf_fini(&resp->scratch);
    return resp->subs.has_more;
}
