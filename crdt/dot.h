/*
 * The dot: the one thing that is stored, logged, sent, replayed and repaired.
 *
 *     dot     = (key, version, op, payload)        the key travels beside the dot
 *     version = (ts, origin)
 *
 * All types here are values: copied with =, owning nothing.  A slice is a borrow: valid as long as what it
 * points into.
 */
#ifndef TALLY_CRDT_DOT_H
#define TALLY_CRDT_DOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TLY_KEY_BYTES_MAX 512
#define TLY_LWW_BYTES_MAX 65536
#define TLY_NUMS_MAX 4

struct tly_slice {
    const uint8_t *p;
    size_t n;
};

static inline struct tly_slice tly_slice_of(const void *p, size_t n)
{
    return (struct tly_slice){(const uint8_t *)p, n};
}

/* Of a C string, without its end. */
static inline struct tly_slice tly_slice_text(const char *text)
{
    return tly_slice_of(text, strlen(text));
}

static inline bool tly_slice_equal(struct tly_slice a, struct tly_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool tly_slice_begins(struct tly_slice slice, struct tly_slice with)
{
    return slice.n >= with.n && (with.n == 0 || memcmp(slice.p, with.p, with.n) == 0);
}

/* Bytes in order, a proper prefix first: <0, 0, >0. */
int tly_slice_compare(struct tly_slice a, struct tly_slice b);

/* ts: clock units (ns); origin: one life of one node, never 0. */
struct tly_version {
    uint64_t ts;
    uint64_t origin;
};

/* Ordered by ts, then by origin: <0, 0, >0. */
static inline int tly_version_compare(struct tly_version a, struct tly_version b)
{
    if (a.ts != b.ts) return a.ts < b.ts ? -1 : 1;
    if (a.origin != b.origin) return a.origin < b.origin ? -1 : 1;
    return 0;
}

enum tly_op { TLY_PUT = 0, TLY_REMOVE = 1 };

/*
 * A payload is up to four 64-bit words and some bytes; its strategy says how many words there are, which are
 * signed (two's complement) and whether bytes follow.  Unused words are 0.  A REMOVE has no payload.
 *
 *     lww        num[0] deadline, ms since 1970 or 0          bytes: the value
 *     epoch_max  num[0] epoch, num[1] count (i64)
 *     epoch_sum  num[0] window, num[1] epoch, num[2] count (i64), num[3] aux (i64)
 *     escrow     num[0] window, num[1] epoch, num[2] peer, num[3] units
 */
struct tly_dot {
    struct tly_version version;
    enum tly_op op;
    uint64_t num[TLY_NUMS_MAX];
    struct tly_slice bytes;
};

/* Version, op and payload alike. */
bool tly_dot_equal(const struct tly_dot *a, const struct tly_dot *b);

/* By version, then op, words and bytes: the order in which every node lists the same dots. <0, 0, >0. */
int tly_dot_compare(const struct tly_dot *a, const struct tly_dot *b);

#endif
