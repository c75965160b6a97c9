/*
 * Inside the stream:  stream.c  tables and what both ends expect    stream_put.c  writing    stream_get.c  reading
 *                     stream_order.c  in which order rows are joined
 */
#ifndef TALLY_WIRE_STREAM_IMPL_H
#define TALLY_WIRE_STREAM_IMPL_H

#include "wire/stream.h"
#include "wire/text.h"

/* What the words of payloads are to the codec, whichever strategy they belong to. */
enum word { WINDOW, EPOCH, COUNT, AUX, WORDS };

/* Columns that list what is not as expected. */
enum exception { X_FRESH, X_REMOVE, X_WINDOW, X_AUX, X_RARE, X_TS = X_RARE, X_EPOCH, EXCEPTIONS };

/* Octaves of numbers: how often a number is sent goes with how early it was issued. */
#define OCTAVES 18
#define WINDOWS_MAX 16

struct codes {
    tly_code rows, lives, rare, kind, life, bytes;
    struct {
        tly_code count, life, ts;
    } told, mark;
    tly_code gap[OCTAVES], growth[OCTAVES];
    struct {
        tly_code count, gap, value;
    } exception[EXCEPTIONS];
};

/* Of a life, as the stream goes. */
struct stream_life {
    uint64_t origin;
    uint64_t mark;        /* at the end of the last round that moved it */
    uint64_t told;        /* the mark that was told last */
    uint64_t top;         /* the newest ts sent */
    uint64_t before;      /* ts of the row before, in this part */
    uint32_t part, round; /* in which it last had a row */
    uint64_t end;         /* while marks are listed */
    bool listed;
};

/* What a number stands for. */
struct told {
    uint64_t word[WORDS]; /* of the last PUT */
    uint8_t *key;         /* the reader's */
    uint32_t life;
    uint32_t issue; /* the writer's; 0: nothing. The reader has KNOWN and FRESH. */
    uint16_t key_n;
    uint32_t hash; /* of the key; 0: it is not known */
    const struct tly_strategy *strategy;
};

enum { UNKNOWN, KNOWN, FRESH };

struct tly_stream {
    struct tly_mem mem;
    bool reset_due;
    uint32_t names_max;
    struct codes codes;
    struct tly_text text;

    struct stream_life *lives;
    size_t life_count, life_capacity;
    size_t lives_told; /* the writer's */
    uint32_t last_life;

    struct told *told;
    size_t told_count, told_capacity;
    size_t key_bytes;

    struct {
        uint64_t window, epoch;
    } windows[WINDOWS_MAX];
    size_t window_count, window_next;
    /* Of the fresh row before. */
    uint64_t fresh_window, fresh_aux;
    uint32_t fresh_life;
    uint8_t fresh_strategy;

    uint64_t newest_ts;
    uint32_t part, round;
};

struct column {
    uint32_t *at;
    uint64_t *value;
    size_t count, at_capacity, value_capacity;
};

/* A row while it is written. */
struct work {
    struct tly_slice key;
    const struct tly_strategy *strategy;
    struct tly_dot dot;
    struct tly_name name;
    uint32_t life;
};

/* A row and how much newer it is than the oldest of its part. */
struct aged_row {
    uint64_t age;
    uint32_t row;
};

struct tly_parts {
    struct tly_mem mem;
    bool has_hash_key;
    struct tly_hash_key hash_key;
    struct tly_stream *stream;
    struct tly_names *names;
    enum tly_result result;
    size_t count, bytes, worst_bytes;

    struct work *work; /* as they were added */
    uint32_t *order, *order_other;
    uint64_t *growth; /* of each row, in order */
    struct tly_row *rows;
    uint32_t *number;
    size_t work_capacity, order_capacity, other_capacity, growth_capacity, row_capacity, number_capacity;
    uint32_t *by_ts; /* the rows that were read, the oldest first */
    struct aged_row *aged[2];
    size_t by_ts_capacity, aged_capacity[2];
    struct column column[EXCEPTIONS];
    struct tly_mark *told, *start, *end;
    size_t told_capacity, start_capacity, end_capacity;
    struct tly_buf bits, tail; /* of the part that is written */
};

/* Which words a payload has, as bits, and which of them num[i] is. */
struct layout {
    unsigned has;
    uint8_t word[TLY_NUMS_MAX];
};

static inline const struct layout *layout_of(const struct tly_strategy *strategy)
{
    static const struct layout layouts[] = {
        [TLY_LWW] = {1u << AUX, {AUX}},
        [TLY_EPOCH_MAX] = {1u << EPOCH | 1u << COUNT, {EPOCH, COUNT}},
        [TLY_EPOCH_SUM] = {1u << WINDOW | 1u << EPOCH | 1u << COUNT | 1u << AUX, {WINDOW, EPOCH, COUNT, AUX}},
        [TLY_ESCROW] = {1u << WINDOW | 1u << EPOCH | 1u << COUNT | 1u << AUX, {WINDOW, EPOCH, COUNT, AUX}},
    };
    return &layouts[strategy->id];
}

static inline bool has_word(const struct layout *layout, enum word word)
{
    return (layout->has & 1u << word) != 0;
}

/* The life's place, added if it is new. False: no memory, or too many. */
bool tly_stream_life(struct tly_stream *stream, uint64_t origin, uint32_t *life);
/* Room for this number in the table. */
bool tly_stream_reach(struct tly_stream *stream, uint32_t number);

/* Lists the rows that were read by ts. False: no memory. */
bool tly_parts_order(struct tly_parts *parts, size_t count);

bool tly_column_add(struct column *column, const struct tly_mem *mem, uint32_t at, uint64_t value);

static inline unsigned octave_of(uint32_t number)
{
    return tly_bits_of(number);
}

/* Numbers that follow one another are what is usual; the same number twice is rare. */
static inline uint64_t swap_0_and_1(uint64_t gap)
{
    return gap < 2 ? 1 - gap : gap;
}

/* ---- what both ends expect of a row ---- */

static inline uint64_t expected_ts(struct tly_stream *stream, struct stream_life *life)
{
    if (life->part != stream->part) {
        life->part = stream->part;
        life->before = life->top != 0 ? life->top : stream->newest_ts;
    }
    return life->before + 1;
}

static inline void settle_ts(struct tly_stream *stream, struct stream_life *life, uint64_t ts)
{
    life->before = ts;
    if (life->round != stream->round) {
        life->round = stream->round;
        life->top = ts;
    }
    if (ts > life->top) life->top = ts;
    if (ts > stream->newest_ts) stream->newest_ts = ts;
}

static inline uint64_t *newest_epoch(struct tly_stream *stream, uint64_t window)
{
    for (size_t i = 0; i < stream->window_count; i++)
        if (stream->windows[i].window == window) return &stream->windows[i].epoch;
    return NULL;
}

static inline uint64_t expected_epoch(struct tly_stream *stream, const struct told *told, uint64_t window)
{
    const uint64_t *newest = window != 0 ? newest_epoch(stream, window) : NULL;
    return newest != NULL ? *newest : told->word[EPOCH];
}

/* An aux that great is a moment, in ns: a bucket's, which lies near the ts that its dot is sealed with. */
#define MOMENT_MIN (UINT64_C(1) << 60)

/* The words from which count and aux are differences. */
struct rest {
    uint64_t count, aux;
};

/* `word` has window and epoch; aux_before: of the number's last PUT, for a fresh number of the fresh row before. */
static inline struct rest expected_rest(const struct told *told, uint64_t aux_before, uint64_t ts,
                                        const uint64_t *word)
{
    bool moment = word[WINDOW] == 0 && aux_before >= MOMENT_MIN;
    struct rest rest = {0, moment ? ts : 0};
    if (word[WINDOW] != told->word[WINDOW]) return rest;
    if (word[EPOCH] == told->word[EPOCH]) {
        rest.count = told->word[COUNT];
        if (!moment) rest.aux = told->word[AUX];
    } else if (word[WINDOW] != 0 && word[EPOCH] == told->word[EPOCH] + 1) {
        rest.aux = told->word[COUNT];
    }
    return rest;
}

/* Where a round that says nothing of this life leaves its mark. */
static inline uint64_t expected_mark(const struct tly_stream *stream, const struct stream_life *life)
{
    return life->round == stream->round && life->top != 0 ? life->top : life->mark;
}

/* What a mark is written as the difference from: a life whose first mark this is, is near the others. */
static inline uint64_t near_mark(const struct tly_stream *stream, uint64_t expected)
{
    return expected != 0 ? expected : stream->newest_ts;
}

/* A window that is new, in the place of the one that has been kept for longest. */
void tly_stream_keep_window(struct tly_stream *stream, uint64_t window, uint64_t epoch);

/* The row's words are what the next one of this number goes out from. */
static inline void settle_words(struct tly_stream *stream, struct told *told, const uint64_t *word)
{
    for (size_t i = 0; i < WORDS; i++)
        told->word[i] = word[i];
    if (word[WINDOW] == 0) return;
    uint64_t *newest = newest_epoch(stream, word[WINDOW]);
    if (newest == NULL)
        tly_stream_keep_window(stream, word[WINDOW], word[EPOCH]);
    else if (word[EPOCH] > *newest)
        *newest = word[EPOCH];
}

#endif
