/*
 * Rows of a part stand by the numbers of their keys, so their versions come in no order; a log that takes them so divides its chunks
 * all the time.  So a reader says in which order they are older: sorted by digits, of which a part has few that differ.
 */
#include "wire/stream_impl.h"

#define DIGIT_BITS 8u
#define DIGITS (1u << DIGIT_BITS)

static bool reserve(struct tly_parts *parts, size_t count)
{
    const struct tly_mem *mem = &parts->mem;
    void *by_ts = tly_mem_reserve(mem, parts->by_ts, &parts->by_ts_capacity, count, sizeof *parts->by_ts);
    if (by_ts != NULL) parts->by_ts = by_ts;
    for (size_t i = 0; i < 2; i++) {
        void *aged =
            tly_mem_reserve(mem, parts->aged[i], &parts->aged_capacity[i], count, sizeof *parts->aged[i]);
        if (aged == NULL) return false;
        parts->aged[i] = aged;
    }
    return by_ts != NULL;
}

/* Ages since the oldest; the greatest. *ordered: they stand by it as they are. */
static uint64_t note_ages(struct tly_parts *parts, size_t count, bool *ordered)
{
    struct aged_row *aged = parts->aged[0];
    uint64_t oldest = UINT64_MAX, newest = 0;
    *ordered = true;
    for (size_t i = 0; i < count; i++) {
        uint64_t ts = parts->rows[i].dot.version.ts;
        *ordered = *ordered && ts >= newest;
        oldest = ts < oldest ? ts : oldest;
        newest = ts > newest ? ts : newest;
        aged[i].age = ts;
        aged[i].row = (uint32_t)i;
    }
    for (size_t i = 0; i < count; i++)
        aged[i].age -= oldest;
    return newest - oldest;
}

static void sort_turn(const struct aged_row *from, struct aged_row *to, size_t count, unsigned shift)
{
    uint32_t place[DIGITS + 1] = {0};
    for (size_t i = 0; i < count; i++)
        place[(from[i].age >> shift & (DIGITS - 1)) + 1]++;
    for (size_t i = 1; i < DIGITS; i++)
        place[i] += place[i - 1];
    for (size_t i = 0; i < count; i++)
        to[place[from[i].age >> shift & (DIGITS - 1)]++] = from[i];
}

/* A part of a few rows is not worth the digits. */
#define FEW 32u

static void sort_few(struct aged_row *rows, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct aged_row row = rows[i];
        size_t j = i;
        for (; j > 0 && rows[j - 1].age > row.age; j--)
            rows[j] = rows[j - 1];
        rows[j] = row;
    }
}

bool tly_parts_order(struct tly_parts *parts, size_t count)
{
    bool ordered;
    size_t at = 0;
    if (!reserve(parts, count)) return false;
    uint64_t greatest = note_ages(parts, count, &ordered);
    if (!ordered && count <= FEW) {
        sort_few(parts->aged[0], count);
    } else if (!ordered) {
        for (unsigned shift = 0; shift < 64 && greatest >> shift != 0; shift += DIGIT_BITS, at ^= 1)
            sort_turn(parts->aged[at], parts->aged[at ^ 1], count, shift);
    }
    for (size_t i = 0; i < count; i++)
        parts->by_ts[i] = parts->aged[at][i].row;
    return true;
}
