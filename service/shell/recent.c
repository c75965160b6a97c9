#include "service/shell/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <xxhash.h>

#define HEAD_BYTES 20
/* Of a half, before the other one is begun if it can be: what is in use stays small, and is written to the disk seldom. */
#define TURN_BYTES ((size_t)64 * 1024)

struct half {
    size_t used;
    uint64_t last; /* number of its last record; 0: it never had one */
};

struct tly_recent {
    struct tly_storage *storage;
    struct tly_recent_owner owner;
    size_t half_bytes;
    struct tly_storage_map map;
    pthread_mutex_t mutex;
    struct half halves[2];
    unsigned active;
    uint64_t last; /* … of the chain */
    bool is_gone;  /* the file is removed */
};

/* ---- records ---- */

static uint64_t check_of(const struct tly_recent_owner *owner, uint64_t number, struct tly_slice batch)
{
    const uint64_t of[4] = {owner->boot, owner->origin, number, batch.n};
    uint64_t seed = XXH3_64bits(of, sizeof of);
    return XXH3_64bits_withSeed(batch.n > 0 ? (const void *)batch.p : "", batch.n, seed);
}

static void write_record(uint8_t *to, const struct tly_recent_owner *owner, uint64_t number,
                         struct tly_slice batch)
{
    uint64_t check = check_of(owner, number, batch);
    uint32_t n = (uint32_t)batch.n;
    memcpy(to, &check, sizeof check);
    memcpy(to + 8, &number, sizeof number);
    memcpy(to + 16, &n, sizeof n);
    if (n > 0) memcpy(to + HEAD_BYTES, batch.p, n);
}

struct record {
    uint64_t number;
    struct tly_slice batch;
};

/* Whether `bytes` begins with one; it is taken off. */
static bool take_record(struct tly_slice *bytes, const struct tly_recent_owner *owner, struct record *record)
{
    uint64_t check;
    uint32_t n;
    if (bytes->n < HEAD_BYTES) return false;
    memcpy(&check, bytes->p, sizeof check);
    memcpy(&record->number, bytes->p + 8, sizeof record->number);
    memcpy(&n, bytes->p + 16, sizeof n);
    if (n > bytes->n - HEAD_BYTES) return false;
    record->batch = tly_slice_of(bytes->p + HEAD_BYTES, n);
    if (record->number == 0 || check != check_of(owner, record->number, record->batch)) return false;
    *bytes = tly_slice_of(record->batch.p + n, bytes->n - HEAD_BYTES - n);
    return true;
}

/* ---- reading ---- */

struct chain {
    struct tly_slice bytes;
    uint64_t first, last; /* 0: there is none */
};

static struct chain chain_of(struct tly_slice half, const struct tly_recent_owner *owner)
{
    struct chain chain = {.bytes = half};
    struct record record;
    for (struct tly_slice left = half; take_record(&left, owner, &record);) {
        if (chain.last != 0 && record.number != chain.last + 1) break;
        if (chain.first == 0) chain.first = record.number;
        chain.last = record.number;
    }
    return chain;
}

static void put_batches(struct tly_buf *out, const struct chain *chain, const struct tly_recent_owner *owner)
{
    struct tly_slice left = chain->bytes;
    struct record record = {.number = 0};
    while (record.number != chain->last && take_record(&left, owner, &record)) {
        uint32_t n = (uint32_t)record.batch.n;
        tly_buf_put(out, &n, sizeof n);
        tly_buf_put(out, record.batch.p, record.batch.n);
    }
}

/* The older chain counts if the newer one goes on from it; else all of it has long been in the log. */
static void put_both(struct tly_buf *out, struct tly_slice file, const struct tly_recent_owner *owner)
{
    struct chain a = chain_of(tly_slice_of(file.p, file.n / 2), owner);
    struct chain b = chain_of(tly_slice_of(file.p + file.n / 2, file.n - file.n / 2), owner);
    struct chain older = a.first < b.first ? a : b, newer = a.first < b.first ? b : a;
    if (older.last != 0 && older.last + 1 == newer.first) put_batches(out, &older, owner);
    if (newer.last != 0) put_batches(out, &newer, owner);
}

static enum tly_result read_file(struct tly_storage *storage, uint8_t *bytes, size_t size, size_t *got)
{
    enum tly_result result = TLY_OK;
    size_t n = 1;
    for (*got = 0; result == TLY_OK && n > 0 && *got < size; *got += n) {
        n = 0;
        result = tly_storage_read(storage, TLY_RECENT_NAME, *got, bytes + *got, size - *got, &n);
    }
    return result;
}

enum tly_result tly_recent_read(struct tly_storage *storage, const struct tly_recent_owner *owner,
                                struct tly_buf *out)
{
    uint64_t size = 0;
    enum tly_result result = owner->boot != 0 ? tly_storage_size(storage, TLY_RECENT_NAME, &size) : TLY_OK;
    if (result != TLY_OK || size == 0) return result == TLY_NOT_FOUND ? TLY_OK : result;
    if (size > out->bytes_max) return TLY_OK; /* none of ours */
    uint8_t *bytes = malloc((size_t)size);
    if (bytes == NULL) return TLY_NOMEM;
    size_t got;
    result = read_file(storage, bytes, (size_t)size, &got);
    /* Its halves are known by its size. */
    if (result == TLY_OK && got == size) put_both(out, tly_slice_of(bytes, got), owner);
    free(bytes);
    return result == TLY_OK ? out->result : result;
}

bool tly_recent_next(struct tly_slice *left, struct tly_slice *batch)
{
    uint32_t n;
    if (left->n < sizeof n) return false;
    memcpy(&n, left->p, sizeof n);
    *batch = tly_slice_of(left->p + sizeof n, n);
    *left = tly_slice_of(batch->p + n, left->n - sizeof n - n);
    return true;
}

/* ---- up and down ---- */

/* Synced, so that it has its place on the disk. */
static enum tly_result make_file(struct tly_storage *storage, size_t half_bytes)
{
    enum tly_result result = tly_storage_remove(storage, TLY_RECENT_NAME);
    uint8_t *zeros = result == TLY_OK ? calloc(2, half_bytes) : NULL;
    if (zeros == NULL) return result == TLY_OK ? TLY_NOMEM : result;
    result = tly_storage_append(storage, TLY_RECENT_NAME, tly_slice_of(zeros, 2 * half_bytes));
    if (result == TLY_OK) result = tly_storage_sync(storage, TLY_RECENT_NAME);
    free(zeros);
    return result;
}

struct tly_recent *tly_recent_new(struct tly_storage *storage, const struct tly_recent_owner *owner,
                                  size_t half_bytes)
{
    struct tly_recent *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    *r = (struct tly_recent){.storage = storage, .owner = *owner, .half_bytes = half_bytes};
    enum tly_result result = make_file(storage, half_bytes);
    if (result == TLY_OK) result = tly_storage_map(storage, TLY_RECENT_NAME, 2 * half_bytes, &r->map);
    if (result == TLY_OK && pthread_mutex_init(&r->mutex, NULL) == 0) return r;
    free(r);
    return NULL;
}

void tly_recent_free(struct tly_recent *r)
{
    if (r == NULL) return;
    (void)pthread_mutex_destroy(&r->mutex);
    free(r);
}

/* ---- writing; under the mutex ---- */

static bool is_lost(const struct tly_recent *r)
{
    return r->is_gone || *r->map.lost != 0;
}

static uint8_t *place_of(const struct tly_recent *r, const struct half *half)
{
    return r->map.p + (half == &r->halves[1] ? r->half_bytes : 0);
}

/*
 * Zeros where a record might begin. The older half first: without the newer one it may lack what overruled it, which a snapshot may have
 * forgotten since. What is lost is not the file any more.
 */
static enum tly_result empty(struct tly_recent *r)
{
    const unsigned order[2] = {!r->active, r->active};
    for (size_t i = 0; i < 2; i++) {
        struct half *half = &r->halves[order[i]];
        if (half->last != 0) memset(place_of(r, half), 0, HEAD_BYTES);
        *half = (struct half){0};
        atomic_signal_fence(memory_order_seq_cst);
    }
    if (r->is_gone || *r->map.lost == 0) return TLY_OK;
    enum tly_result result = tly_storage_remove(r->storage, TLY_RECENT_NAME);
    r->is_gone = result == TLY_OK;
    return result;
}

/* Where a record of so many bytes goes; NULL: there is no room. */
static struct half *half_for(struct tly_recent *r, size_t n, uint64_t logged)
{
    struct half *active = &r->halves[r->active], *other = &r->halves[!r->active];
    bool fits = n <= r->half_bytes && active->used <= r->half_bytes - n;
    if (fits && active->used < TURN_BYTES) return active;
    if (n > r->half_bytes || other->last > logged) return fits ? active : NULL;
    r->active = !r->active;
    other->used = 0;
    return other;
}

static bool add(struct tly_recent *r, uint64_t number, struct tly_slice batch, uint64_t logged)
{
    bool goes_on = r->last + 1 == number;
    if (is_lost(r) || batch.n > r->half_bytes || (!goes_on && logged + 1 < number)) return false;
    if (!goes_on && empty(r) != TLY_OK) return false;
    struct half *half = half_for(r, HEAD_BYTES + batch.n, logged);
    if (half == NULL) return false;
    half->last = number; /* it is there even if the rest is lost */
    write_record(place_of(r, half) + half->used, &r->owner, number, batch);
    if (is_lost(r)) return false;
    half->used += HEAD_BYTES + batch.n;
    r->last = number;
    return true;
}

/* ---- what others call ---- */

static void lock(struct tly_recent *r)
{
    (void)pthread_mutex_lock(&r->mutex);
}

static void unlock(struct tly_recent *r)
{
    (void)pthread_mutex_unlock(&r->mutex);
}

bool tly_recent_add(struct tly_recent *r, uint64_t number, struct tly_slice batch, uint64_t logged)
{
    lock(r);
    bool added = add(r, number, batch, logged);
    unlock(r);
    return added;
}

uint64_t tly_recent_last(struct tly_recent *r, uint64_t logged)
{
    lock(r);
    uint64_t last = r->last > logged ? r->last : logged;
    unlock(r);
    return last;
}

void tly_recent_look(struct tly_recent *r)
{
    tly_storage_look_at_map(r->storage);
}

enum tly_result tly_recent_settle(struct tly_recent *r, uint64_t logged)
{
    lock(r);
    enum tly_result result = r->last <= logged ? empty(r) : TLY_OK;
    unlock(r);
    return result;
}
