/* A verdict's header lines. */
#include "service/shell/http.h"

#include <inttypes.h>

static uint64_t seconds_up(uint64_t ms)
{
    return ms / 1000 + (ms % 1000 != 0);
}

/* A name as a structured field's string (RFC 9651): printable ASCII, quotes and backslashes escaped. */
static void quote(struct tly_slice name, char *text, size_t size)
{
    size_t n = 0;
    text[n++] = '"';
    for (size_t i = 0; i < name.n && n + 4 < size; i++) {
        uint8_t c = name.p[i];
        if (c == '"' || c == '\\') text[n++] = '\\';
        text[n++] = (char)(c >= ' ' && c < 0x7f ? c : '?');
    }
    text[n++] = '"';
    text[n] = '\0';
}

/* A structured field's integer has fifteen digits; what is more is as good as endless. */
static uint64_t sf_int(uint64_t number)
{
    return number < UINT64_C(999999999999999) ? number : UINT64_C(999999999999999);
}

/*
 * On a refusal t is no later than Retry-After: what a client is told to wait for is when the same hits could pass, and
 * not when all units are back.
 */
void tly_http_add_limit_headers(struct tly_exchange *x, const struct tly_verdict *verdict)
{
    char name[2 * TLY_RULE_NAME_BYTES_MAX + 8];
    uint64_t reset_s = seconds_up(verdict->reset_ms), retry_s = seconds_up(verdict->retry_after_ms);
    bool has_retry = verdict->code == TLY_CODE_OVER && verdict->retry_after_ms != UINT64_MAX;
    if (retry_s == 0) retry_s = 1;
    if (has_retry && reset_s > retry_s) reset_s = retry_s;
    quote(verdict->name.n > 0 ? verdict->name : tly_slice_text("default"), name, sizeof name);
    tly_http_add_header(x, "RateLimit: %s;r=%" PRIu64 ";t=%" PRIu64, name, sf_int(verdict->remaining),
                        sf_int(reset_s));
    tly_http_add_header(x, "RateLimit-Policy: %s;q=%" PRIu64 ";w=%" PRIu64, name, sf_int(verdict->limit),
                        sf_int(seconds_up(verdict->window_ms)));
    if (has_retry) tly_http_add_header(x, "Retry-After: %" PRIu64, retry_s);
}
