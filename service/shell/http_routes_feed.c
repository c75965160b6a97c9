/* POST /v1/sync and /v1/snapshot: the change feed for caches and tools (service/engine/feed.h, PROTOCOL.md 11). */
#include "service/shell/http.h"

static int status_of_refusal(enum tly_result result)
{
    switch (result) {
    case TLY_CLOCK_AHEAD:
    case TLY_OWN_LIFE:
    case TLY_WRONG_STRATEGY: return 409;
    case TLY_READ_ONLY: return 403;
    case TLY_NO_STRATEGY: return 404;
    case TLY_TOO_LARGE: return 413;
    case TLY_FULL:
    case TLY_NOMEM:
    case TLY_CLOCK_END: return 503;
    default: return 400;
    }
}

/* The verdict stands in a header too: who only wants to know needs no decoder. */
static void add_verdict(struct tly_exchange *x, const struct tly_feed_said *said)
{
    const char *verdict = tly_feed_verdict_word(said->verdict);
    bool cold = said->verdict == TLY_FEED_COLD_START;
    tly_http_add_header(x, "Tally-Feed: %s%s%s", verdict, cold ? "; reason=" : "",
                        cold ? tly_cold_start_word(said->reason) : "");
}

static void run(struct tly_exchange *x, tly_app_feed *feed)
{
    struct tly_slice question;
    struct tly_buf room;
    struct tly_feed_said said;
    tly_buf_init(&room, &x->body->mem, TLY_HTTP_BODY_BYTES_MAX);
    enum tly_result result = TLY_NOMEM;
    if (tly_http_whole_body(x->request, &room, &question))
        result = tly_app_ask_feed(x->app, feed, question, &said, x->body);
    tly_buf_fini(&room);
    x->type = TLY_HTTP_BYTES;
    if (result == TLY_OK)
        add_verdict(x, &said);
    else if (result == TLY_MORE)
        tly_http_problem(x, 400, "cut_off", "the question ends in the middle of a frame");
    else
        tly_http_problem(x, status_of_refusal(result), tly_result_name(result), "%s",
                         result == TLY_OWN_LIFE
                             ? "what follows the question is not all of the life that it names as its "
                               "origin, or that is a node's"
                             : tly_result_text(result));
}

void tly_http_run_sync(struct tly_exchange *x)
{
    run(x, tly_feed_sync);
}

void tly_http_run_snapshot(struct tly_exchange *x)
{
    run(x, tly_feed_snapshot);
}
