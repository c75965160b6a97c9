#include "crdt/counter.h"

#include "crdt/epoch_sum.h"

static enum tly_result check_counter(const struct tly_ormap *map, struct tly_slice key)
{
    const struct tly_strategy *strategy = tly_registry_find(tly_ormap_registry(map), key);
    if (strategy == NULL) return TLY_NO_STRATEGY;
    return strategy->id == TLY_EPOCH_SUM ? TLY_OK : TLY_WRONG_STRATEGY;
}

static struct tly_value read_at(struct tly_ormap *map, const struct tly_entry *entry, uint64_t now_ms)
{
    struct tly_value value = {0};
    struct tly_moment at = {.now_ms = now_ms};
    if (entry != NULL) tly_entry_read(map, entry, &at, &value);
    return value;
}

enum tly_result tly_counter_get(struct tly_ormap *map, struct tly_slice key, uint64_t now_ms,
                                struct tly_value *value)
{
    enum tly_result result = check_counter(map, key);
    if (result != TLY_OK) return result;
    *value = read_at(map, tly_ormap_find(map, key), now_ms);
    return value->present ? TLY_OK : TLY_NOT_FOUND;
}

uint64_t tly_counter_after(uint64_t remove_ts)
{
    uint64_t block = remove_ts >> 16, last = UINT64_MAX >> 16;
    return (block + 2 < last ? block + 2 : last) << 16;
}

uint64_t tly_counter_generation(struct tly_ormap *map, const struct tly_entry *entry)
{
    uint64_t generation = 0;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    for (size_t i = 0; i < count; i++) {
        uint64_t candidate = 0;
        if (dots[i].op == TLY_REMOVE)
            candidate = tly_counter_after(dots[i].version.ts);
        else if (dots[i].num[TLY_SUM_WINDOW] == 0)
            candidate = dots[i].num[TLY_SUM_EPOCH];
        if (candidate > generation) generation = candidate;
    }
    return generation;
}

uint64_t tly_counter_above(uint64_t floor, uint64_t origin)
{
    if (floor > UINT64_MAX - 0x20000) return 0;
    uint64_t generation = ((floor + 1) & ~UINT64_C(0xffff)) | (origin & 0xffff);
    return generation > floor ? generation : generation + 0x10000;
}

/*
 * Whether a SET of ours made this generation and nobody else has counted in it. The one after a REMOVE is everybody's: two nodes
 * that SET in it would add up.
 */
static bool is_ours_alone(struct tly_ormap *map, const struct tly_entry *entry, uint64_t generation)
{
    uint64_t own = tly_ormap_origin(map);
    if (((generation ^ own) & 0xffff) != 0) return false;
    size_t count, ours = 0;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    for (size_t i = 0; i < count; i++) {
        if (dots[i].op == TLY_REMOVE || dots[i].num[TLY_SUM_WINDOW] != 0) continue;
        if (dots[i].num[TLY_SUM_EPOCH] != generation) continue;
        if (dots[i].version.origin != own) return false;
        ours++;
    }
    return ours > 0;
}

enum tly_result tly_counter_set(struct tly_ormap *map, struct tly_slice key, int64_t value,
                                uint64_t deadline_ms)
{
    enum tly_result result = check_counter(map, key);
    if (result != TLY_OK) return result;
    if (deadline_ms >= TLY_DEADLINE_NONE) return TLY_OVERFLOW;
    const struct tly_clock *clock = tly_ormap_clock(map);
    uint64_t floor = clock->last > clock->now.wall_ns ? clock->last : clock->now.wall_ns;
    const struct tly_entry *entry = tly_ormap_find(map, key);
    uint64_t highest = entry != NULL ? tly_counter_generation(map, entry) : 0;
    uint64_t generation = tly_counter_above(highest > floor ? highest : floor, tly_ormap_origin(map));
    /* A generation of our own that the wall has not reached is a few µs old: it is set again, lest many of them outrun the clock. */
    if (highest > clock->now.wall_ns && is_ours_alone(map, entry, highest)) generation = highest;
    if (generation == 0) return TLY_CLOCK_END;
    if (!tly_clock_admits(clock, generation)) return TLY_CLOCK_AHEAD;
    struct tly_dot dot = {.op = TLY_PUT, .num = {0, generation, (uint64_t)value, deadline_ms}};
    return tly_ormap_put(map, key, &dot);
}

/* tly_counter_add_sought where it is not the usual counter. */
static enum tly_result add_any(struct tly_ormap *map, const struct tly_seek *seek, int64_t delta,
                               uint64_t now_ms, int64_t *value)
{
    struct tly_slice key = seek->key;
    enum tly_result result = check_counter(map, key);
    if (result != TLY_OK) return result;
    struct tly_entry *entry;
    result = tly_seek_need(map, seek, &entry);
    if (result != TLY_OK) return result;

    struct tly_value before = read_at(map, entry, now_ms);
    bool ended = before.deadline_ms != 0 && !before.present;
    if (ended) {
        *value = delta;
        return tly_counter_set(map, key, delta, 0);
    }
    struct tly_dot own = {0};
    uint64_t generation = tly_counter_generation(map, entry);
    if (generation > before.epoch) before.count = 0; /* what stands below it is about to be left behind */
    bool has_own = tly_ormap_own(map, entry, 0, &own) && own.num[TLY_SUM_EPOCH] == generation;
    int64_t shard = has_own ? (int64_t)own.num[TLY_SUM_COUNT] : 0, unused;
    if (__builtin_add_overflow(before.count, delta, value) || __builtin_add_overflow(shard, delta, &unused))
        result = TLY_OVERFLOW;
    struct tly_hit hit = {.epoch = generation, .units = delta, .keeps_aux = true};
    if (result == TLY_OK) result = tly_ormap_hit(map, &entry, &hit);
    if (result != TLY_OK) {
        tly_ormap_tidy(map, entry);
        return result;
    }
    /* A sum that was held at an end of its range may lie further out than was seen. */
    if (before.count == INT64_MAX || before.count == INT64_MIN) *value = read_at(map, entry, now_ms).count;
    return TLY_OK;
}

enum tly_result tly_counter_add_sought(struct tly_ormap *map, const struct tly_seek *seek, int64_t delta,
                                       uint64_t now_ms, int64_t *value)
{
    return tly_tally_add(map, seek, delta, value) ? TLY_OK : add_any(map, seek, delta, now_ms, value);
}

enum tly_result tly_counter_add(struct tly_ormap *map, struct tly_slice key, int64_t delta, uint64_t now_ms,
                                int64_t *value)
{
    struct tly_seek seek = tly_seek_of(map, key);
    return tly_counter_add_sought(map, &seek, delta, now_ms, value);
}

enum tly_result tly_counter_expire(struct tly_ormap *map, struct tly_slice key, uint64_t deadline_ms,
                                   uint64_t now_ms)
{
    if (deadline_ms >= TLY_DEADLINE_NONE) return TLY_OVERFLOW;
    struct tly_value value;
    enum tly_result result = tly_counter_get(map, key, now_ms, &value);
    if (result != TLY_OK) return result;
    struct tly_dot own = {0};
    bool has_own =
        tly_ormap_own(map, tly_ormap_find(map, key), 0, &own) && own.num[TLY_SUM_EPOCH] == value.epoch;
    uint64_t aux = deadline_ms != 0 ? deadline_ms : (uint64_t)TLY_DEADLINE_NONE;
    struct tly_dot dot = {.op = TLY_PUT, .num = {0, value.epoch, has_own ? own.num[TLY_SUM_COUNT] : 0, aux}};
    return tly_ormap_put(map, key, &dot);
}
