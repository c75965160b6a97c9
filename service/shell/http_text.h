/* Small texts in HTTP: words in any case, lists, percent encoding, queries.  Nothing here owns anything. */
#ifndef TALLY_SERVICE_SHELL_HTTP_TEXT_H
#define TALLY_SERVICE_SHELL_HTTP_TEXT_H

#include "crdt/dot.h"

/* Whether `text` is `lower`, whatever the case of its letters. */
bool tly_http_is(struct tly_slice text, const char *lower);

/*
 * Decodes %XX (and, in a query, + as a blank) into `to`, which has room for text.n bytes; NULL: nowhere. The decoded length, or
 * SIZE_MAX when a % is not followed by two hex digits.
 */
size_t tly_http_decode(struct tly_slice text, bool is_query, uint8_t *to);

/* A query that is taken apart: a borrow of it, and of room for as many bytes. */
struct tly_http_query {
    struct tly_slice left;
    uint8_t *to;
};

/* The next "name=value", both decoded, into the room; false at the end, and where an escape is malformed. */
bool tly_http_query_next(struct tly_http_query *query, struct tly_slice *name, struct tly_slice *value);
/* Without the blanks and tabs at both ends. */
struct tly_slice tly_http_trimmed(struct tly_slice text);
/* Whether a list of words separated by commas has this one (in lower case). */
bool tly_http_list_has(struct tly_slice list, const char *lower);
/* 0 to 15, or -1. */
int tly_http_hex_digit(uint8_t c);

#endif
