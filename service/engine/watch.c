#include "service/engine/impl.h"

#include "service/engine/limit.h"

struct changed {
    uint64_t before; /* what it read as when it was last told */
    uint64_t origin;
    uint32_t key_at;
    uint16_t key_bytes;
};

struct tly_watch {
    uint8_t prefix[TLY_KEY_BYTES_MAX];
    size_t prefix_bytes;
    bool resync;
    size_t first, count;               /* changed[first] to changed[count - 1] */
    uint64_t hash[TLY_WATCH_KEYS_MAX]; /* of changed[i]'s key: looked through for every change */
    struct changed changed[TLY_WATCH_KEYS_MAX];
    struct tly_buf keys;
    uint8_t told[TLY_KEY_BYTES_MAX]; /* the key that was told last */
};

/* ---- making and ending ---- */

enum tly_result tly_engine_watch(struct tly_engine *e, struct tly_slice prefix, struct tly_watch **out)
{
    if (prefix.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    if (e->watch_count == TLY_WATCHERS_MAX) return TLY_FULL;
    void *list =
        tly_mem_reserve(&e->mem, e->watches, &e->watch_capacity, e->watch_count + 1, sizeof(*e->watches));
    if (list == NULL) return TLY_NOMEM;
    e->watches = list;
    struct tly_watch *watch = tly_mem_zeroed(&e->mem, sizeof *watch);
    if (watch == NULL) return TLY_NOMEM;
    if (prefix.n > 0) memcpy(watch->prefix, prefix.p, prefix.n);
    watch->prefix_bytes = prefix.n;
    tly_buf_init(&watch->keys, &e->mem, TLY_WATCH_BYTES_MAX);
    e->watches[e->watch_count++] = watch;
    *out = watch;
    return TLY_OK;
}

static void free_watch(struct tly_engine *e, struct tly_watch *watch)
{
    tly_buf_fini(&watch->keys);
    tly_mem_free(&e->mem, watch, sizeof *watch);
}

void tly_engine_unwatch(struct tly_engine *e, struct tly_watch *watch)
{
    size_t i = 0;
    while (i < e->watch_count && e->watches[i] != watch)
        i++;
    if (i == e->watch_count) return;
    e->watches[i] = e->watches[--e->watch_count];
    free_watch(e, watch);
}

void tly_watch_fini(struct tly_engine *e)
{
    while (e->watch_count > 0)
        free_watch(e, e->watches[--e->watch_count]);
    tly_mem_free(&e->mem, e->watches, e->watch_capacity * sizeof(*e->watches));
}

/* ---- noting changes ---- */

/* What the nodes tell each other is nobody's news who did not ask for it. */
static bool wants(const struct tly_watch *watch, struct tly_slice key)
{
    if (watch->prefix_bytes < 4 && tly_slice_begins(key, tly_slice_text("sys:"))) return false;
    return tly_slice_begins(key, tly_slice_of(watch->prefix, watch->prefix_bytes));
}

static bool is_watched(const struct tly_engine *e, struct tly_slice key)
{
    if (e->watch_count == 0 || tly_limit_is_limit(key)) return false;
    size_t i = 0;
    while (i < e->watch_count && !wants(e->watches[i], key))
        i++;
    return i < e->watch_count;
}

uint64_t tly_read_sum(struct tly_engine *e, const struct tly_value *value)
{
    if (!value->present) return 0;
    struct tly_slice bytes = value->bytes;
    uint64_t words[] = {value->epoch, (uint64_t)value->count, value->deadline_ms, bytes.n,
                        bytes.n > 0 ? tly_hash(&e->hash_key, bytes) : 0};
    return tly_hash(&e->hash_key, tly_slice_of(words, sizeof words)) | 1;
}

static struct tly_value read_now(struct tly_engine *e, struct tly_slice key,
                                 const struct tly_strategy **strategy)
{
    struct tly_value value = {0};
    struct tly_moment at = {.now_ms = e->cluster_ns / NS_PER_MS};
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (strategy != NULL) *strategy = entry != NULL ? tly_entry_strategy(entry) : NULL;
    if (entry != NULL) tly_entry_read(e->map, entry, &at, &value);
    return value;
}

struct tly_before tly_watch_before(struct tly_engine *e, struct tly_slice key)
{
    if (!is_watched(e, key)) return (struct tly_before){0};
    struct tly_value value = read_now(e, key, NULL);
    return (struct tly_before){true, tly_read_sum(e, &value)};
}

static void clear(struct tly_watch *watch)
{
    watch->first = watch->count = 0;
    tly_buf_clear(&watch->keys);
}

static void lose(struct tly_watch *watch)
{
    clear(watch);
    watch->resync = true;
}

static struct tly_slice key_of(const struct tly_watch *watch, const struct changed *changed)
{
    return tly_slice_of(watch->keys.p + changed->key_at, changed->key_bytes);
}

/* Gives back the room of what was told, when there is no other. */
static void make_room(struct tly_watch *watch, size_t key_bytes)
{
    bool fits = watch->count < TLY_WATCH_KEYS_MAX && key_bytes <= TLY_WATCH_BYTES_MAX - watch->keys.n;
    if (fits || watch->first == 0) return;
    size_t gone = watch->changed[watch->first].key_at;
    watch->count -= watch->first;
    memmove(watch->hash, watch->hash + watch->first, watch->count * sizeof *watch->hash);
    memmove(watch->changed, watch->changed + watch->first, watch->count * sizeof *watch->changed);
    watch->first = 0;
    for (size_t i = 0; i < watch->count; i++)
        watch->changed[i].key_at -= (uint32_t)gone;
    tly_buf_take(&watch->keys, gone);
}

static void note(struct tly_watch *watch, struct tly_slice key, uint64_t hash, struct changed change)
{
    if (watch->resync) return; /* what it will read anew includes this */
    for (size_t i = watch->first; i < watch->count; i++) {
        if (watch->hash[i] != hash || !tly_slice_equal(key_of(watch, &watch->changed[i]), key)) continue;
        watch->changed[i].origin = change.origin;
        return;
    }
    make_room(watch, key.n);
    change.key_at = (uint32_t)watch->keys.n;
    change.key_bytes = (uint16_t)key.n;
    if (watch->count < TLY_WATCH_KEYS_MAX) tly_buf_put(&watch->keys, key.p, key.n);
    if (watch->count == TLY_WATCH_KEYS_MAX || watch->keys.result != TLY_OK) {
        lose(watch);
        return;
    }
    watch->hash[watch->count] = hash;
    watch->changed[watch->count++] = change;
}

void tly_watch_after(struct tly_engine *e, struct tly_slice key, struct tly_before before, uint64_t origin)
{
    if (!before.watched) return;
    struct tly_value value = read_now(e, key, NULL);
    if (tly_read_sum(e, &value) == before.sum) return;
    struct changed change = {.before = before.sum, .origin = origin};
    uint64_t hash = tly_hash(&e->hash_key, key);
    for (size_t i = 0; i < e->watch_count; i++)
        if (wants(e->watches[i], key)) note(e->watches[i], key, hash, change);
    e->watch_news = true;
}

/* ---- telling them ---- */

void tly_watch_tick(struct tly_engine *e)
{
    if (!e->watch_news || e->now.mono_ns < e->watch_at) return;
    e->watch_news = false;
    e->watch_at = e->now.mono_ns + TLY_WATCH_PAUSE_NS;
    tly_fx_add(e, TLY_DO_WATCH, 0, 0, tly_slice_of(NULL, 0));
}

uint64_t tly_watch_deadline(const struct tly_engine *e)
{
    return e->watch_news ? e->watch_at : TLY_NEVER;
}

/* Takes the oldest change off; its key is kept in `told`. */
static struct changed take(struct tly_watch *watch)
{
    struct changed oldest = watch->changed[watch->first++];
    memcpy(watch->told, watch->keys.p + oldest.key_at, oldest.key_bytes);
    if (watch->first == watch->count) clear(watch);
    return oldest;
}

bool tly_watch_next(struct tly_engine *e, struct tly_watch *watch, struct tly_change *change)
{
    *change = (struct tly_change){.resync = watch->resync};
    if (watch->resync) {
        watch->resync = false;
        return true;
    }
    while (watch->first < watch->count) {
        struct changed oldest = take(watch);
        change->key = tly_slice_of(watch->told, oldest.key_bytes);
        change->value = read_now(e, change->key, &change->strategy);
        if (tly_read_sum(e, &change->value) == oldest.before) continue;
        change->origin = oldest.origin;
        change->local = oldest.origin == tly_ormap_origin(e->map);
        return true;
    }
    return false;
}

void tly_watch_resync(struct tly_engine *e)
{
    for (size_t i = 0; i < e->watch_count; i++)
        lose(e->watches[i]);
    if (e->watch_count == 0) return;
    e->watch_news = true;
    e->watch_at = e->now.mono_ns;
}
