#include "crdt/convert.h"

#include "crdt/counter.h"
#include "crdt/epoch_sum.h"

#include <assert.h>

#define RAW_BYTES 16

static_assert(TLY_CONVERTED_BYTES >= 20 && TLY_CONVERTED_BYTES >= RAW_BYTES,
              "a number in digits has 20 bytes at most");

/* ---- numbers as bytes ---- */

static void put_word(uint8_t *to, uint64_t word)
{
    for (size_t i = 0; i < 8; i++)
        to[i] = (uint8_t)(word >> (56 - 8 * i));
}

static uint64_t get_word(const uint8_t *from)
{
    uint64_t word = 0;
    for (size_t i = 0; i < 8; i++)
        word = word << 8 | from[i];
    return word;
}

static struct tly_slice put_digits(int64_t number, uint8_t room[TLY_CONVERTED_BYTES])
{
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    size_t at = TLY_CONVERTED_BYTES;
    do
        room[--at] = (uint8_t)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (number < 0) room[--at] = '-';
    return tly_slice_of(room + at, TLY_CONVERTED_BYTES - at);
}

/* Only what put_digits makes: anything else would read differently afterwards. */
static bool get_digits(struct tly_slice text, int64_t *number)
{
    uint8_t room[TLY_CONVERTED_BYTES];
    uint64_t sum = 0;
    bool is_negative = text.n > 0 && text.p[0] == '-';
    if (text.n == 0 || text.n > 20) return false;
    for (size_t i = is_negative; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        sum = sum * 10 + (uint64_t)(text.p[i] - '0'); /* 20 digits may wrap, and then read differently */
    }
    *number = (int64_t)(is_negative ? 0 - sum : sum);
    return tly_slice_equal(put_digits(*number, room), text);
}

/* ---- one key ---- */

/* Sets what the new dot says; false: there is no place for it. The version is set. */
static bool put_lww(const struct tly_strategy *from, const struct tly_value *value, struct tly_dot *dot,
                    uint8_t room[TLY_CONVERTED_BYTES])
{
    dot->num[0] = value->deadline_ms;
    if (from->id == TLY_EPOCH_MAX) {
        put_word(room, value->epoch);
        put_word(room + 8, (uint64_t)value->count);
        dot->bytes = tly_slice_of(room, RAW_BYTES);
    } else {
        dot->bytes = put_digits(value->count, room);
    }
    return true;
}

static bool put_epoch_max(const struct tly_strategy *from, const struct tly_value *value, struct tly_dot *dot)
{
    if (value->deadline_ms != 0) return false;
    if (from->id == TLY_LWW && value->bytes.n != RAW_BYTES) return false;
    dot->num[0] = from->id == TLY_LWW ? get_word(value->bytes.p) : 0;
    dot->num[1] = from->id == TLY_LWW ? get_word(value->bytes.p + 8) : (uint64_t)value->count;
    return true;
}

static bool put_epoch_sum(const struct tly_strategy *from, const struct tly_value *value, uint64_t floor,
                          struct tly_dot *dot)
{
    int64_t count = value->count;
    uint64_t generation = tly_counter_above(floor, dot->version.origin);
    if (from->id == TLY_LWW && !get_digits(value->bytes, &count)) return false;
    if (from->id == TLY_EPOCH_MAX && value->epoch != 0) return false;
    if (value->deadline_ms >= TLY_DEADLINE_NONE || generation == 0) return false;
    dot->num[TLY_SUM_WINDOW] = 0;
    dot->num[TLY_SUM_EPOCH] = generation;
    dot->num[TLY_SUM_COUNT] = (uint64_t)count;
    dot->num[TLY_SUM_AUX] = value->deadline_ms;
    return true;
}

/* Of the PUTs that are read the newest version, and whether there are others; and above what a generation has to lie. */
struct found {
    struct tly_version version;
    uint64_t floor;
    bool is_put, has_more;
};

static struct found look(const struct tly_strategy *from, const struct tly_dot *dots, size_t count)
{
    struct found found = {0};
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *dot = &dots[i];
        uint64_t floor = dot->op == TLY_REMOVE ? tly_counter_after(dot->version.ts) : dot->version.ts;
        if (floor > found.floor) found.floor = floor;
        if (dot->op == TLY_REMOVE) continue;
        bool has_window = from->id == TLY_EPOCH_SUM && dot->num[TLY_SUM_WINDOW] != 0;
        found.has_more = found.has_more || has_window;
        if (has_window) continue;
        found.is_put = true;
        if (tly_version_compare(dot->version, found.version) > 0) found.version = dot->version;
    }
    return found;
}

static size_t keep_removes(struct tly_dot *dots, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_REMOVE) dots[kept++] = dots[i];
    return kept;
}

/* Rights are a matter of who holds them, not of what a key reads as. */
static bool is_value(const struct tly_strategy *strategy)
{
    return strategy->id == TLY_LWW || strategy->id == TLY_EPOCH_MAX || strategy->id == TLY_EPOCH_SUM;
}

size_t tly_convert(const struct tly_strategy *from, const struct tly_strategy *to, struct tly_dot *dots,
                   size_t count, uint8_t room[TLY_CONVERTED_BYTES], bool *loses)
{
    struct tly_value value;
    const struct tly_moment at = {0}; /* before any deadline: those go over, and end it later */
    struct found found = look(from, dots, count);
    from->read(dots, count, &at, &value);
    struct tly_dot dot = {.version = found.version, .op = TLY_PUT};
    bool goes_over = found.is_put && is_value(from) && is_value(to);
    if (goes_over && to->id == TLY_LWW) goes_over = put_lww(from, &value, &dot, room);
    if (goes_over && to->id == TLY_EPOCH_MAX) goes_over = put_epoch_max(from, &value, &dot);
    if (goes_over && to->id == TLY_EPOCH_SUM) goes_over = put_epoch_sum(from, &value, found.floor, &dot);
    *loses = found.has_more || (found.is_put && !goes_over);
    size_t kept = keep_removes(dots, count);
    if (goes_over) dots[kept++] = dot;
    return tly_join(to, dots, kept);
}
