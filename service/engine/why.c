/*
 * Why hits were refused, for whoever asks afterwards: of the keys that were refused last, the verdict then, and what each life had counted.
 * A key has one place, by its hash; the one that was refused last has it.  How often counts from when the key took its place.
 *
 * Places hang in a chain, the one that was refused last at its end: whoever hears of refusals reads from its mark to the end.
 */
#include "service/engine/impl.h"

#include "crdt/epoch_sum.h"

#include <assert.h>

/* Who counted how much is looked up no more often than this; the verdict is that of the last refusal. */
#define SHARDS_EVERY_MS 100
/*
 * … and of no more refusals in a millisecond. Of what is left out they are looked up when somebody asks: where so many keys are refused
 * a place is another key's before anybody can.
 */
#define SHARDS_LOOKED_MAX 64

static struct refusal **place_of(struct tly_engine *e, uint32_t hash)
{
    return &e->refusals[hash % TLY_REFUSALS_KEPT];
}

/* What of a dot counts in the window that the verdict is of; a bucket's is what was ever taken. */
static void note_shards(struct tly_engine *e, const struct tly_seek *seek, struct refusal *refusal)
{
    struct tly_entry *entry = tly_seek_find(e->map, seek);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    refusal->shard_count = 0;
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

static bool is_of(const struct refusal *refusal, struct tly_slice key)
{
    return refusal != NULL && tly_slice_equal(tly_slice_of(refusal->key, refusal->key_bytes), key);
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
    refusal->number = ++e->refusal_number;
    refusal->older = e->refusals_newest;
    if (e->refusals_newest != NULL) e->refusals_newest->newer = refusal;
    e->refusals_newest = refusal;
    if (e->hearers > 0) e->watch_news = true;
}

/* The key that stood there is forgotten. */
static void take_place(struct tly_engine *e, struct refusal *refusal, struct tly_slice key)
{
    if (refusal->number > e->refusal_lost) e->refusal_lost = refusal->number;
    memcpy(refusal->key, key.p, key.n);
    refusal->key_bytes = key.n;
    refusal->times = 0;
    refusal->shards_ms = 0;
}

/* Without memory it is not remembered. */
void tly_why_note(struct tly_engine *e, const struct tly_limit_ask *ask, const struct tly_verdict *verdict)
{
    struct refusal **place = place_of(e, ask->seek.hash), *refusal = *place;
    uint64_t now_ms = e->cluster_ns / NS_PER_MS;
    bool is_same = is_of(refusal, ask->seek.key);
    if (refusal == NULL) *place = refusal = tly_mem_zeroed(&e->mem, sizeof *refusal);
    if (refusal == NULL) return;
    if (!is_same) take_place(e, refusal, ask->seek.key);
    unchain(e, refusal);
    chain(e, refusal);
    refusal->times++;
    refusal->hits = ask->hits;
    refusal->at_ms = now_ms;
    refusal->verdict = *verdict;
    refusal->verdict.name = tly_slice_of(NULL, 0);
    if (now_ms - refusal->shards_ms >= SHARDS_EVERY_MS && may_look(e, now_ms))
        note_shards(e, &ask->seek, refusal);
}

void tly_why_fini(struct tly_engine *e)
{
    for (size_t i = 0; i < TLY_REFUSALS_KEPT; i++)
        tly_mem_free(&e->mem, e->refusals[i], sizeof *e->refusals[i]);
}

static void tell(struct tly_engine *e, struct refusal *refusal, struct tly_refusal_view *view)
{
    if (refusal->shards_ms == 0) {
        struct tly_seek seek = tly_seek_of(e->map, tly_slice_of(refusal->key, refusal->key_bytes));
        note_shards(e, &seek, refusal);
    }
    *view = (struct tly_refusal_view){
        .key = tly_slice_of(refusal->key, refusal->key_bytes),
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
    struct refusal *refusal = *place_of(e, seek.hash);
    if (!is_of(refusal, key)) return TLY_NOT_FOUND;
    tell(e, refusal, view);
    return TLY_OK;
}

bool tly_engine_refused(struct tly_engine *e, size_t *cursor, struct tly_refusal_view *view)
{
    while (*cursor < TLY_REFUSALS_KEPT) {
        struct refusal *refusal = e->refusals[(*cursor)++];
        if (refusal == NULL) continue;
        tell(e, refusal, view);
        return true;
    }
    return false;
}

/* ---- hearing of them ---- */

enum tly_result tly_engine_hear(struct tly_engine *e, uint64_t *mark)
{
    if (e->hearers == TLY_WATCHERS_MAX) return TLY_FULL;
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
