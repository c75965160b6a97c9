/*
 * A buffer that grows up to a bound.  Writers never check: the first failure (no memory, or past the bound) stays in
 * `result` and later writes do nothing; ask once at the end.
 */
#ifndef TALLY_WIRE_BUF_H
#define TALLY_WIRE_BUF_H

#include "crdt/dot.h"
#include "crdt/mem.h"
#include "crdt/result.h"

struct tly_buf {
    struct tly_mem mem;
    uint8_t *p;
    size_t n;
    size_t capacity;
    size_t bytes_max;
    enum tly_result result; /* TLY_OK, TLY_NOMEM or TLY_TOO_LARGE */
};

/* bytes_max: at least 1. */
void tly_buf_init(struct tly_buf *buf, const struct tly_mem *mem, size_t bytes_max);
/* Releases the memory; it may not be written to until it is initialised again. Doing it twice is no mistake. */
void tly_buf_fini(struct tly_buf *buf);
/* Empty again, the memory kept, the failure forgotten. */
void tly_buf_clear(struct tly_buf *buf);
/* tly_buf_room where the buffer has to grow, or cannot. */
uint8_t *tly_buf_grow(struct tly_buf *buf, size_t n);
/* Room for n more bytes at the end, to be filled by the caller, who then adds to buf->n; NULL on failure. */
static inline uint8_t *tly_buf_room(struct tly_buf *buf, size_t n)
{
    bool has_room = buf->p != NULL && n <= buf->capacity - buf->n;
    return has_room && buf->result == TLY_OK ? buf->p + buf->n : tly_buf_grow(buf, n);
}
void tly_buf_put(struct tly_buf *buf, const void *bytes, size_t n);
/* Lets the buffer fail with TLY_NOMEM or TLY_TOO_LARGE, when it has not failed before. */
void tly_buf_fail(struct tly_buf *buf, enum tly_result result);
/* Takes the first n bytes out; n is at most buf->n. */
void tly_buf_take(struct tly_buf *buf, size_t n);
struct tly_slice tly_buf_slice(const struct tly_buf *buf);

#endif
