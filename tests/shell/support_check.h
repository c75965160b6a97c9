/* A check that is read plainly is what the reader of JSON makes of it: for a test and a fuzz target. */
#ifndef TALLY_TESTS_SHELL_SUPPORT_CHECK_H
#define TALLY_TESTS_SHELL_SUPPORT_CHECK_H

#include "service/shell/http_check.h"
#include "service/shell/libc_mem.h"

#include <assert.h>

static inline void assert_same_check(const struct tly_http_asked *a, const struct tly_http_asked *b)
{
    assert(tly_slice_equal(a->check.limit, b->check.limit) && tly_slice_equal(a->check.key, b->check.key));
    assert(a->check.hits == b->check.hits && a->check.field_count == b->check.field_count);
    for (size_t i = 0; i < a->check.field_count; i++)
        assert(tly_slice_equal(a->check.fields[i].name, b->check.fields[i].name) &&
               tly_slice_equal(a->check.fields[i].value, b->check.fields[i].value));
    const struct tly_rate *one = &a->check.rate, *other = &b->check.rate;
    assert(one->limit == other->limit && one->window_ms == other->window_ms && one->burst == other->burst);
    assert(one->algorithm == other->algorithm && one->mode == other->mode);
    (void)one, (void)other;
}

/* Whether a text was read plainly; aborts when the other reader finds something else in it. */
static inline bool read_twice(struct tly_slice text)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_http_asked plain, asked = {0};
    struct tly_http_fault fault;
    const char *error;
    struct tly_http_request request = {.body = text};
    bool is_plain = tly_http_get_plain(text, &plain);
    struct json_object *object = tly_json_parse(&request, &mem, &error);
    bool is_check = object != NULL && tly_http_get_check(object, &asked, &fault);
    assert(!is_plain || is_check);
    if (is_plain) assert_same_check(&plain, &asked);
    (void)is_check;
    (void)json_object_put(object);
    return is_plain;
}

#endif
