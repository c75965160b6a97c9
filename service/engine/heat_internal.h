/* Inside the heat: one key, and the table of them. See heat.h. */
#ifndef TALLY_SERVICE_ENGINE_HEAT_INTERNAL_H
#define TALLY_SERVICE_ENGINE_HEAT_INTERNAL_H

#include "service/engine/heat.h"

__extension__ typedef unsigned __int128 tly_wide;

/* What was known at the last few looks: as far back as a horizon, at so many moments of it. */
#define TLY_SEEN 16
#define TLY_SEEN_PER_HORIZON 14

/* What a count was at some moments, the last of them last. */
struct tly_trail {
    struct {
        uint64_t at_ns, count;
    } at[TLY_SEEN];
    size_t n;
};

/* A rate, and what it is made of. */
struct tly_pace {
    uint64_t units, span_ns, rate;
};

/* What is known of one other life in a key. */
struct tly_shard {
    uint64_t origin; /* 0: the rest */
    uint64_t count;  /* units of the window that are known */
    uint64_t before; /* … of the one before it */
    uint64_t ref_ns; /* as of then */
    uint64_t ts;     /* of the version that said so */
    struct tly_pace pace;
    uint64_t unseen, unseen_before; /* the most that was not known here; in the window before */
    uint64_t known_before;          /* of the window before: what was known for certain while it ran */
    struct tly_trail seen;          /* what was known here from then on */
    /* of a look that is under way */
    uint64_t now_count, now_before, now_ref, now_epoch;
    bool now_found;
};

struct tly_hot {
    uint32_t hash;
    uint64_t used_ns;
    uint8_t *key;
    size_t key_bytes, key_capacity;
    uint64_t window, epoch, start_ns, own_origin;
    int64_t current, previous; /* of the map, as of the last look, and what was counted since */
    uint64_t others, own;      /* … of that */
    uint64_t rotate_at;        /* a bucket has no windows: when what was measured becomes old */
    struct tly_shard *shards;
    size_t count, capacity;
    const struct tly_heat_world *world;
    struct tly_trail trail; /* of own */
    struct tly_pace pace;
    /* The projection, until then: base + rates * (now - base_ns), or if that is more mirror * own - mirror_base. */
    tly_wide base, mirror_base;
    uint64_t rates, mirror, base_ns, until_ns, late;
    size_t busy, quiet; /* others that counted lately; those of them that are silent since */
    uint64_t share_at, share, share_left;
    uint64_t refused_at; /* 0: it never was */
    /* What all have heard of, and what they are to hear of. */
    uint64_t heard, candidate_ts, candidate, latest_ts, latest;
};

struct tly_heat_set {
    uint32_t hash[TLY_HEAT_WAYS];
    struct tly_hot *hot[TLY_HEAT_WAYS];
};

#define TLY_SETS_BYTES (TLY_HEAT_SETS * sizeof(struct tly_heat_set))

struct tly_heat {
    struct tly_heat_head head;
    struct tly_mem mem;
    struct tly_heat_world world;
    size_t bytes;
    struct tly_heat_set *sets; /* TLY_HEAT_SETS; NULL until a key is watched */
};

static inline uint64_t tly_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t tly_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t tly_less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static inline uint64_t tly_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t tly_units(int64_t count)
{
    return count > 0 ? (uint64_t)count : 0;
}

/* What a count was at a moment at least. */
uint64_t tly_trail_at(const struct tly_trail *trail, uint64_t at_ns);
/* Takes in what the map has come to know. */
void tly_hot_learn(struct tly_heat *heat, struct tly_hot *hot, const struct tly_heat_ask *ask);

#endif
