#include "wire/buf.h"

#include <assert.h>

#define FIRST_BYTES 64

void tly_buf_init(struct tly_buf *buf, const struct tly_mem *mem, size_t bytes_max)
{
    assert(bytes_max > 0);
    *buf = (struct tly_buf){.mem = *mem, .bytes_max = bytes_max, .result = TLY_OK};
}

void tly_buf_fini(struct tly_buf *buf)
{
    tly_mem_free(&buf->mem, buf->p, buf->capacity);
    buf->p = NULL;
    buf->n = buf->capacity = 0;
}

void tly_buf_clear(struct tly_buf *buf)
{
    buf->n = 0;
    buf->result = TLY_OK;
}

void tly_buf_fail(struct tly_buf *buf, enum tly_result result)
{
    assert(result == TLY_NOMEM || result == TLY_TOO_LARGE);
    if (buf->result == TLY_OK) buf->result = result;
}

/* At least `need` bytes, at least twice what it was, at most the bound. */
static size_t grown_capacity(const struct tly_buf *buf, size_t need)
{
    size_t capacity = buf->capacity > buf->bytes_max / 2 ? buf->bytes_max : buf->capacity * 2;
    if (capacity < need) capacity = need;
    if (capacity < FIRST_BYTES) capacity = FIRST_BYTES;
    return capacity < buf->bytes_max ? capacity : buf->bytes_max;
}

uint8_t *tly_buf_grow(struct tly_buf *buf, size_t n)
{
    if (n > buf->bytes_max - buf->n) tly_buf_fail(buf, TLY_TOO_LARGE);
    if (buf->result != TLY_OK) return NULL;

    size_t capacity = grown_capacity(buf, buf->n + n);
    uint8_t *p = tly_mem_resize(&buf->mem, buf->p, buf->capacity, capacity);
    if (p == NULL) {
        tly_buf_fail(buf, TLY_NOMEM);
        return NULL;
    }
    buf->p = p;
    buf->capacity = capacity;
    return buf->p + buf->n;
}

void tly_buf_put(struct tly_buf *buf, const void *bytes, size_t n)
{
    uint8_t *to = tly_buf_room(buf, n);
    if (to == NULL || n == 0) return;
    memcpy(to, bytes, n);
    buf->n += n;
}

void tly_buf_take(struct tly_buf *buf, size_t n)
{
    assert(n <= buf->n);
    if (n == 0) return;
    buf->n -= n;
    memmove(buf->p, buf->p + n, buf->n);
}

struct tly_slice tly_buf_slice(const struct tly_buf *buf)
{
    return tly_slice_of(buf->p, buf->n);
}
