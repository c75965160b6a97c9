#include "crdt/oplog.h"

#include <string.h>

#define DEAD_MIN 64
/* Up to so many late records are put in their places one by one, which costs far less than to sort all that follow. */
#define LATE_FEW 32

static bool before(struct tly_record a, struct tly_record b)
{
    return a.ts != b.ts ? a.ts < b.ts : a.entry < b.entry;
}

bool tly_oplog_reserve(struct tly_oplog *log, const struct tly_mem *mem)
{
    void *records = tly_mem_reserve(mem, log->records, &log->capacity, log->count + 1, sizeof *log->records);
    if (records == NULL) return false;
    log->records = records;
    return true;
}

void tly_oplog_append(struct tly_oplog *log, struct tly_record record)
{
    bool late = log->count > 0 && before(record, log->records[log->count - 1]);
    if (!late && log->ordered == log->count) log->ordered++;
    log->records[log->count++] = record;
}

void tly_oplog_fini(struct tly_oplog *log, const struct tly_mem *mem)
{
    tly_mem_free(mem, log->records, log->capacity * sizeof *log->records);
    *log = (struct tly_oplog){0};
}

/* Sinks records[i] in a max-heap of n records. */
static void sift_down(struct tly_record *records, size_t i, size_t n)
{
    struct tly_record record = records[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(records[child], records[child + 1])) child++;
        if (!before(record, records[child])) break;
        records[i] = records[child];
    }
    records[i] = record;
}

/* Heap sort: needs no memory and no luck with the input, which a peer may choose. */
static void sort(struct tly_record *records, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(records, i, count);
    for (size_t n = count; n > 1; n--) {
        struct tly_record greatest = records[0];
        records[0] = records[n - 1];
        records[n - 1] = greatest;
        sift_down(records, 0, n - 1);
    }
}

/* The place of the first of the ordered records that comes after this one. */
static size_t place_of(const struct tly_oplog *log, struct tly_record record)
{
    size_t low = 0, high = log->ordered;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (before(record, log->records[middle]))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void put_in_order(struct tly_oplog *log)
{
    struct tly_record *records = log->records;
    if (log->count - log->ordered > LATE_FEW) {
        struct tly_record least = records[log->ordered];
        for (size_t i = log->ordered + 1; i < log->count; i++)
            if (before(records[i], least)) least = records[i];
        size_t first = place_of(log, least);
        sort(records + first, log->count - first);
        log->ordered = log->count;
    }
    for (; log->ordered < log->count; log->ordered++) {
        struct tly_record late = records[log->ordered];
        size_t place = place_of(log, late);
        memmove(&records[place + 1], &records[place], (log->ordered - place) * sizeof *records);
        records[place] = late;
    }
}

static void compact(struct tly_oplog *log, tly_is_live *is_live, const void *context)
{
    put_in_order(log);
    struct tly_record last = {0};
    size_t kept = 0, nth = 0;
    for (size_t i = 0; i < log->count; i++) {
        struct tly_record record = log->records[i];
        nth = i > 0 && record.ts == last.ts && record.entry == last.entry ? nth + 1 : 0;
        last = record;
        if (is_live(context, &record, nth)) log->records[kept++] = record;
    }
    log->count = log->ordered = kept;
    log->dead = 0;
}

void tly_oplog_died(struct tly_oplog *log, tly_is_live *is_live, const void *context)
{
    log->dead++;
    if (log->dead > DEAD_MIN && log->dead > log->count - log->dead) compact(log, is_live, context);
}

size_t tly_oplog_after(struct tly_oplog *log, uint64_t after_ts)
{
    put_in_order(log);
    size_t low = 0, high = log->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->records[middle].ts <= after_ts)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
