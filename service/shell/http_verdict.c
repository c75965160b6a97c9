/* A verdict's header lines. */
#include "service/shell/digits.h"
#include "service/shell/http.h"

static uint64_t seconds_up(uint64_t ms)
{
    return ms / 1000 + (ms % 1000 != 0);
}

/* A name as a structured field's string (RFC 9651): printable ASCII, quotes and backslashes escaped. */
static struct tly_slice quote(struct tly_slice name, char *text, size_t size)
{
    size_t n = 0;
    text[n++] = '"';
    for (size_t i = 0; i < name.n && n + 4 < size; i++) {
        uint8_t c = name.p[i];
        if (c == '"' || c == '\\') text[n++] = '\\';
        text[n++] = (char)(c >= ' ' && c < 0x7f ? c : '?');
    }
    text[n++] = '"';
    return tly_slice_of(text, n);
}

/* A structured field's integer has fifteen digits; what is more is as good as endless. */
static uint64_t sf_int(uint64_t number)
{
    return number < UINT64_C(999999999999999) ? number : UINT64_C(999999999999999);
}

struct digits {
    uint8_t at[TLY_DIGITS_MAX];
};

static struct tly_slice figure(uint64_t number, struct digits *digits)
{
    uint8_t *end = digits->at + sizeof digits->at, *first = tly_digits(end, number);
    return tly_slice_of(first, (size_t)(end - first));
}

/* A line such as NAME: "api";r=50;t=30, with b NULL without the last of them. */
static void add_pair(struct tly_exchange *x, const char *begin, struct tly_slice name, const char *a,
                     const uint64_t figures[2], const char *b)
{
    struct digits digits[2];
    const struct tly_slice pieces[] = {
        tly_slice_text(begin),
        name,
        tly_slice_text(a),
        figure(sf_int(figures[0]), &digits[0]),
        tly_slice_text(b != NULL ? b : ""),
        figure(sf_int(figures[1]), &digits[1]),
    };
    tly_http_add_pieces(x, pieces, b != NULL ? 6 : 4);
}

/* What many clients and proxies knew before there was a draft. What never comes back by itself has no Reset. */
static void add_x_ratelimit(struct tly_exchange *x, uint64_t limit, uint64_t remaining,
                            const uint64_t *reset_s)
{
    enum tly_x_ratelimit how = tly_app_config(x->app)->x_ratelimit;
    struct digits digits[3];
    if (how == TLY_X_RATELIMIT_NO) return;
    uint64_t since_s = how == TLY_X_RATELIMIT_EPOCH ? tly_app_cluster_ns(x->app) / 1000000000 : 0;
    const struct tly_slice at_most[] = {tly_slice_text("X-RateLimit-Limit: "), figure(limit, &digits[0])};
    const struct tly_slice left[] = {tly_slice_text("X-RateLimit-Remaining: "),
                                     figure(remaining, &digits[1])};
    tly_http_add_pieces(x, at_most, 2);
    tly_http_add_pieces(x, left, 2);
    if (reset_s == NULL) return;
    const struct tly_slice reset[] = {tly_slice_text("X-RateLimit-Reset: "),
                                      figure(since_s + *reset_s, &digits[2])};
    tly_http_add_pieces(x, reset, 2);
}

/*
 * On a refusal t is Retry-After: what a client is told to wait for is when the same hits could pass, and not when all units are
 * back. A counter has no window, and nothing comes back by itself.
 */
void tly_http_add_limit_headers(struct tly_exchange *x, const struct tly_verdict *verdict)
{
    char text[2 * TLY_RULE_NAME_BYTES_MAX + 8];
    struct digits digits;
    uint64_t reset_s = seconds_up(verdict->reset_ms), retry_s = seconds_up(verdict->retry_after_ms);
    bool has_retry = verdict->code == TLY_CODE_OVER && verdict->retry_after_ms != UINT64_MAX;
    bool has_window = verdict->window_ms != 0;
    if (retry_s == 0) retry_s = 1;
    struct tly_slice name =
        quote(verdict->name.n > 0 ? verdict->name : tly_slice_text("default"), text, sizeof text);
    const uint64_t left[] = {verdict->remaining, has_retry ? retry_s : reset_s};
    const uint64_t policy[] = {verdict->limit, seconds_up(verdict->window_ms)};
    add_pair(x, "RateLimit: ", name, ";r=", left, has_retry || has_window ? ";t=" : NULL);
    add_x_ratelimit(x, verdict->limit, verdict->remaining, has_retry || has_window ? &left[1] : NULL);
    add_pair(x, "RateLimit-Policy: ", name, ";q=", policy, has_window ? ";w=" : NULL);
    const struct tly_slice retry[] = {tly_slice_text("Retry-After: "), figure(retry_s, &digits)};
    if (has_retry) tly_http_add_pieces(x, retry, 2);
}
