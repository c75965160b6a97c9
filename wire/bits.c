#include "wire/bits.h"

#include <assert.h>

struct tly_bits_out tly_bits_out_of(struct tly_buf *out)
{
    return (struct tly_bits_out){.out = out};
}

static void put_few(struct tly_bits_out *bits, uint64_t value, unsigned count)
{
    bits->pending |= value << bits->count;
    bits->count += count;
    if (bits->count < 32) return;
    uint8_t *to = tly_buf_room(bits->out, 4);
    for (unsigned i = 0; to != NULL && i < 4; i++)
        to[i] = (uint8_t)(bits->pending >> (8 * i));
    if (to != NULL) bits->out->n += 4;
    bits->pending >>= 32;
    bits->count -= 32;
}

void tly_bits_put(struct tly_bits_out *bits, uint64_t value, unsigned count)
{
    assert(count <= 64 && (count == 64 || value >> count == 0));
    if (count > 32) {
        put_few(bits, value & UINT32_MAX, 32);
        value >>= 32;
        count -= 32;
    }
    put_few(bits, value, count);
}

/* So many ones, a zero, and the rest of `high` behind its first bit. */
static void put_high(struct tly_bits_out *bits, uint64_t high, unsigned length)
{
    if (length == 64)
        tly_bits_put(bits, UINT64_MAX, 64);
    else
        tly_bits_put(bits, (UINT64_C(1) << length) - 1, length);
    tly_bits_put(bits, 0, 1);
    if (length > 1) tly_bits_put(bits, high ^ UINT64_C(1) << (length - 1), length - 1);
}

void tly_code_put(struct tly_bits_out *bits, tly_code *code, uint64_t value)
{
    unsigned k = *code >> 3;
    uint64_t high = value >> k, low = value & ((UINT64_C(1) << k) - 1);
    unsigned length = tly_bits_of(high), high_bits = length > 0 ? 2 * length : 1;
    if (high_bits + k < 64) { /* the usual case: all of it at once */
        uint64_t first = UINT64_C(1) << length >> 1, ones = (UINT64_C(1) << length) - 1;
        tly_bits_put(bits, ones | (high ^ first) << (length + 1) | low << high_bits, high_bits + k);
    } else {
        put_high(bits, high, length);
        tly_bits_put(bits, low, k);
    }
    tly_code_adapt(code, length);
}

void tly_bits_end(struct tly_bits_out *bits)
{
    for (; bits->count > 0; bits->count -= bits->count < 8 ? bits->count : 8) {
        uint8_t byte = (uint8_t)bits->pending;
        tly_buf_put(bits->out, &byte, 1);
        bits->pending >>= 8;
    }
}

struct tly_bits_in tly_bits_in_of(struct tly_slice bytes)
{
    return (struct tly_bits_in){.p = bytes.p, .end = bytes.p + bytes.n};
}

size_t tly_bits_left(const struct tly_bits_in *bits)
{
    return bits->count + 8 * (size_t)(bits->end - bits->p);
}

bool tly_bits_ended(const struct tly_bits_in *bits)
{
    size_t left = tly_bits_left(bits);
    if (bits->failed || left >= 8) return false;
    uint64_t rest = bits->held | (bits->p < bits->end ? (uint64_t)*bits->p << bits->count : 0);
    return (rest & ((UINT64_C(1) << left) - 1)) == 0;
}

static uint64_t get_few(struct tly_bits_in *bits, unsigned count)
{
    tly_bits_fill(bits);
    if (bits->count < count) {
        bits->failed = true;
        return 0;
    }
    return tly_bits_take(bits, count);
}

uint64_t tly_bits_get(struct tly_bits_in *bits, unsigned count)
{
    if (count <= 32) return get_few(bits, count);
    uint64_t low = get_few(bits, 32);
    return low | get_few(bits, count - 32) << 32;
}

/* Numbers of more than 56 bits, and those that are cut off. */
uint64_t tly_code_get_long(struct tly_bits_in *bits, tly_code *code)
{
    unsigned k = *code >> 3, length = 0;
    while (get_few(bits, 1) == 1)
        length++;
    if (length > 64 - k) bits->failed = true;
    if (bits->failed) return 0;
    uint64_t high = 0;
    if (length > 0) high = UINT64_C(1) << (length - 1) | tly_bits_get(bits, length - 1);
    uint64_t value = high << k | tly_bits_get(bits, k);
    tly_code_adapt(code, length);
    return value;
}
