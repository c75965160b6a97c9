/*
 * Why hits were refused, for whoever asks afterwards: of the keys that were refused last, the verdict then, and what each life had counted.
 * A key has one place, by its hash; the one that was refused last has it.  How often counts from when the key took its place.
 *
 * Places hang in a chain, the one that was refused last at its end: whoever hears of refusals reads from its mark to the end. While
 * nobody does there is no chain, for its neighbours are what a refusal would wait for longest.
 */
#include "service/engine/impl.h"

#include "crdt/bytes.h"
#include "crdt/epoch_sum.h"

#include <assert.h>

/* Who counted how much is looked up no more often than this; the verdict is that of the last refusal. */
#define SHARDS_EVERY_MS 100
/*
 * … and of no more refusals in a millisecond, which is enough for all places in that time. Of what is left out they are looked up when
 * somebody asks: where so many keys are refused a place is another key's before anybody can.
 */
#define SHARDS_LOOKED_MAX 8

/* Where a key of this hash has its place; NULL: nothing was refused yet. */
static inline struct refusal *place_of(const struct tly_engine *e, uint32_t hash)
{
    return e->refusals != NULL ? &e->refusals[hash % TLY_REFUSALS_KEPT] : NULL;
}

static inline struct tly_slice key_of(const struct refusal *refusal)
{
    size_t n = refusal->key_bytes;
    return tly_slice_of(n <= sizeof refusal->key ? refusal->key : refusal->long_key, n);
}

/* What of a dot counts in the window that the verdict is of; a bucket's is what was ever taken. */
static void note_shards(struct tly_engine *e, const struct tly_seek *seek, struct refusal *refusal)
{
    struct tly_entry *entry = tly_seek_find(e->map, seek);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    size_t bytes = TLY_REFUSAL_SHARDS_MAX * sizeof *refusal->shards;
    refusal->shard_count = 0;
    if (refusal->shards == NULL) refusal->shards = tly_mem_zeroed(&e->mem, bytes);
    if (refusal->shards == NULL) return;
    for (size_t i = 0; i < count && refusal->shard_count < TLY_REFUSAL_SHARDS_MAX; i++) {
        if (dots[i].op != TLY_PUT) continue;
        int64_t units = (int64_t)dots[i].num[TLY_SUM_COUNT], before = (int64_t)dots[i].num[TLY_SUM_AUX];
        refusal->shards[refusal->shard_count++] = (struct tly_refusal_shard){
            .origin = dots[i].version.origin,
            .window = dots[i].num[TLY_SUM_WINDOW],
            .epoch = dots[i].num[TLY_SUM_EPOCH],
            .units = units,
            .before = dots[i].num[TLY_SUM_WINDOW] != 0 ? before : 0,
        };
    }
    refusal->shards_ms = e->cluster_ns / NS_PER_MS;
}

/* Whether shards may be looked up once more in this millisecond. */
static bool may_look(struct tly_engine *e, uint64_t now_ms)
{
    if (e->shards_ms != now_ms) e->shards_looked = 0;
    e->shards_ms = now_ms;
    if (e->shards_looked == SHARDS_LOOKED_MAX) return false;
    e->shards_looked++;
    return true;
}

/* Of another key the hash tells so nearly always, and what would have to come from far away is not read. */
static inline bool is_of(const struct tly_engine *e, const struct refusal *refusal,
                         const struct tly_seek *seek)
{
    if (refusal == NULL || e->refusal_hashes[seek->hash % TLY_REFUSALS_KEPT] != seek->hash) return false;
    struct tly_slice key = key_of(refusal);
    return key.n == seek->key.n && tly_bytes_equal(key.p, seek->key.p, key.n);
}

static void unchain(struct tly_engine *e, struct refusal *refusal)
{
    if (refusal->older != NULL) refusal->older->newer = refusal->newer;
    if (refusal->newer != NULL) refusal->newer->older = refusal->older;
    if (e->refusals_newest == refusal) e->refusals_newest = refusal->older;
    refusal->older = refusal->newer = NULL;
}

static void chain(struct tly_engine *e, struct refusal *refusal)
{
    refusal->older = e->refusals_newest;
    if (e->refusals_newest != NULL) e->refusals_newest->newer = refusal;
    e->refusals_newest = refusal;
    e->watch_news = true;
}

/* The key that stood there is forgotten. False: there is no memory, and it stands there still. */
static bool take_place(struct tly_engine *e, struct refusal *refusal, const struct tly_seek *seek)
{
    uint8_t *key = refusal->key;
    if (seek->key.n > sizeof refusal->key) {
        if (refusal->long_key == NULL) refusal->long_key = tly_mem_zeroed(&e->mem, TLY_KEY_BYTES_MAX);
        key = refusal->long_key;
        if (key == NULL) return false;
    }
    if (e->hearers > 0 && refusal->number > e->refusal_lost) e->refusal_lost = refusal->number;
    memcpy(key, seek->key.p, seek->key.n);
    refusal->key_bytes = seek->key.n;
    e->refusal_hashes[seek->hash % TLY_REFUSALS_KEPT] = seek->hash;
    refusal->times = 0;
    refusal->shards_ms = 0;
    return true;
}

/* Without memory it is not remembered. */
void tly_why_note(struct tly_engine *e, const struct tly_seek *seek, uint32_t hits,
                  const struct tly_verdict *verdict)
{
    if (e->refusals == NULL) e->refusals = tly_mem_zeroed(&e->mem, TLY_REFUSALS_KEPT * sizeof *e->refusals);
    struct refusal *refusal = place_of(e, seek->hash);
    uint64_t now_ms = e->cluster_ns / NS_PER_MS;
    if (refusal == NULL) return;
    if (!is_of(e, refusal, seek) && !take_place(e, refusal, seek)) return;
    if (e->hearers > 0) {
        unchain(e, refusal);
        chain(e, refusal);
    }
    refusal->number = ++e->refusal_number;
    refusal->times++;
    refusal->hits = hits;
    refusal->at_ms = now_ms;
    refusal->verdict = *verdict;
    refusal->verdict.name = tly_slice_of(NULL, 0);
    if (now_ms - refusal->shards_ms >= SHARDS_EVERY_MS && may_look(e, now_ms)) note_shards(e, seek, refusal);
}

void tly_why_fini(struct tly_engine *e)
{
    for (size_t i = 0; e->refusals != NULL && i < TLY_REFUSALS_KEPT; i++) {
        struct refusal *refusal = &e->refusals[i];
        tly_mem_free(&e->mem, refusal->long_key, TLY_KEY_BYTES_MAX);
        tly_mem_free(&e->mem, refusal->shards, TLY_REFUSAL_SHARDS_MAX * sizeof *refusal->shards);
    }
    tly_mem_free(&e->mem, e->refusals, TLY_REFUSALS_KEPT * sizeof *e->refusals);
}

static void tell(struct tly_engine *e, struct refusal *refusal, struct tly_refusal_view *view)
{
    if (refusal->shards_ms == 0) {
        struct tly_seek seek = tly_seek_of(e->map, key_of(refusal));
        note_shards(e, &seek, refusal);
    }
    *view = (struct tly_refusal_view){
        .key = key_of(refusal),
        .at_ms = refusal->at_ms,
        .times = refusal->times,
        .hits = refusal->hits,
        .verdict = &refusal->verdict,
        .shards = refusal->shards,
        .shard_count = refusal->shard_count,
        .shards_ms = refusal->shards_ms,
    };
}

enum tly_result tly_engine_why(struct tly_engine *e, struct tly_slice key, struct tly_refusal_view *view)
{
    if (key.n == 0 || key.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    struct tly_seek seek = tly_seek_of(e->map, key);
    struct refusal *refusal = place_of(e, seek.hash);
    if (!is_of(e, refusal, &seek)) return TLY_NOT_FOUND;
    tell(e, refusal, view);
    return TLY_OK;
}

bool tly_engine_refused(struct tly_engine *e, size_t *cursor, struct tly_refusal_view *view)
{
    while (e->refusals != NULL && *cursor < TLY_REFUSALS_KEPT) {
        struct refusal *refusal = &e->refusals[(*cursor)++];
        if (refusal->key_bytes == 0) continue;
        tell(e, refusal, view);
        return true;
    }
    return false;
}

/* ---- hearing of them ---- */

/* What was refused before anybody heard of it is in none. */
static void begin_chain(struct tly_engine *e)
{
    e->refusals_newest = NULL;
    for (size_t i = 0; e->refusals != NULL && i < TLY_REFUSALS_KEPT; i++)
        e->refusals[i].older = e->refusals[i].newer = NULL;
}

enum tly_result tly_engine_hear(struct tly_engine *e, uint64_t *mark)
{
    if (e->hearers == TLY_WATCHERS_MAX) return TLY_FULL;
    if (e->hearers == 0) begin_chain(e);
    e->hearers++;
    *mark = e->refusal_number;
    return TLY_OK;
}

void tly_engine_unhear(struct tly_engine *e)
{
    assert(e->hearers > 0);
    e->hearers--;
}

uint64_t tly_engine_refusals_since(struct tly_engine *e, uint64_t mark, tly_refusal_each *each, void *context)
{
    struct refusal *refusal = e->refusals_newest;
    if (refusal == NULL || refusal->number <= mark) return mark;
    if (e->refusal_lost > mark) (void)each(context, NULL);
    while (refusal->older != NULL && refusal->older->number > mark)
        refusal = refusal->older;
    struct tly_refusal_view view;
    for (bool goes_on = true; refusal != NULL && goes_on; refusal = refusal->newer) {
        mark = refusal->number;
        tell(e, refusal, &view);
        goes_on = each(context, &view);
    }
    return mark;
}
