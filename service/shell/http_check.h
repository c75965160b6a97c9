/* A check as JSON, and its verdict. */
#ifndef TALLY_SERVICE_SHELL_HTTP_CHECK_H
#define TALLY_SERVICE_SHELL_HTTP_CHECK_H

#include "service/shell/http.h"

/* A check as it was asked for. Its texts borrow from what it was read from, its fields from here. */
struct tly_http_asked {
    struct tly_field field[TLY_RULE_FIELDS_MAX];
    struct tly_check check;
    bool has_rate, has_key, has_mode, has_on_partition;
    enum tly_on_partition on_partition; /* goes into the rate last: a mode brings its own */
};

/* What is wrong with it. */
struct tly_http_fault {
    char text[256];
};

/* Says so; false. */
bool tly_http_fail(struct tly_http_fault *fault, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* False, and the fault: it is no check of one limit. */
bool tly_http_get_check(struct json_object *object, struct tly_http_asked *asked,
                        struct tly_http_fault *fault);
/* The same of a text that is written plainly; false: it is not, and may be a check all the same. Texts borrow from it. */
#define TLY_HTTP_PLAIN_BYTES_MAX 4096
bool tly_http_get_plain(struct tly_slice text, struct tly_http_asked *asked);

/* An object; retry_after_ms is -1 when these hits can never pass. */
void tly_http_put_verdict(struct tly_json *json, const struct tly_verdict *verdict, uint64_t hits);
/* Why a key was refused. */
void tly_http_put_refusal(struct tly_json *json, const struct tly_refusal_view *view);

#endif
