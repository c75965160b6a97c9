/*
 * Writes RESP replies to a buffer; failure stays in out->result.  `proto` is 2 or 3: what RESP2 has no word for is written as
 * it does without (a map as a flat array, null as an empty bulk string of length -1).
 */
#ifndef TALLY_SERVICE_SHELL_RESP_REPLY_H
#define TALLY_SERVICE_SHELL_RESP_REPLY_H

#include "wire/buf.h"

/* "+text\r\n" */
void tly_resp_put_simple(struct tly_buf *out, const char *text);
/* "-CODE text\r\n"; line ends and control characters in it become spaces, and it is cut at 512 bytes. */
void tly_resp_put_error(struct tly_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* ":n\r\n" */
void tly_resp_put_int(struct tly_buf *out, int64_t number);
/* Numbers beyond i64 are held at its end, for clients read no more. */
void tly_resp_put_uint(struct tly_buf *out, uint64_t number);
/* What of a number can be said: RESP's have a sign. */
static inline int64_t tly_resp_as_int(uint64_t number)
{
    return number > INT64_MAX ? INT64_MAX : (int64_t)number;
}
/* An array of a few numbers. */
void tly_resp_put_ints(struct tly_buf *out, const int64_t *numbers, size_t count);
/* "$n\r\nbytes\r\n" */
void tly_resp_put_bulk(struct tly_buf *out, struct tly_slice bytes);
void tly_resp_put_text(struct tly_buf *out, const char *text);
/* A number as a bulk string. */
void tly_resp_put_bulk_int(struct tly_buf *out, int64_t number);
void tly_resp_put_null(struct tly_buf *out, int proto);
void tly_resp_put_null_array(struct tly_buf *out, int proto);
/* Text for people: "=n\r\ntxt:…" in RESP3. */
void tly_resp_put_verbatim(struct tly_buf *out, int proto, struct tly_slice text);

/* Heads; so many elements, or pairs, follow. */
void tly_resp_put_array(struct tly_buf *out, size_t count);
void tly_resp_put_map(struct tly_buf *out, int proto, size_t pairs);
void tly_resp_put_set(struct tly_buf *out, int proto, size_t count);
/* Of what was not asked for now. */
void tly_resp_put_push(struct tly_buf *out, int proto, size_t count);

#endif
