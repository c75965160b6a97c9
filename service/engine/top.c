/*
 * Which keys are asked most, and which are nearest to their limits: a sample.  Of so many checks one is looked at, the fewer the more
 * there are, so that it costs a check next to nothing and a busy node no more than a quiet one.  A key has one place, by its hash; whoever
 * else comes there wears down what it weighs before it takes the place.
 */
#include "service/engine/impl.h"

/* Rates are of whole spans; and so many looks in one are enough. */
#define SPAN_MS 2000
#define LOOKS_PER_SPAN 2000
#define STEP_MAX 65536

/* From one look to the next: as many checks as make so many looks in a span of those that there were in the last one. */
static void turn(struct tly_engine *e, uint64_t span)
{
    struct sampling *s = &e->sampling;
    uint64_t checks = s->span + 1 == span ? (uint64_t)s->looks * s->step : 0,
             step = checks / LOOKS_PER_SPAN + 1;
    s->step = step < STEP_MAX ? (uint32_t)step : STEP_MAX;
    s->span = span;
    s->looks = 0;
}

/* More than were expected: the rest of the span is looked at less. */
static void look_less(struct sampling *s)
{
    if (++s->looks < 2 * LOOKS_PER_SPAN || s->step >= STEP_MAX / 2) return;
    s->looks /= 2;
    s->step *= 2;
}

/* By chance, so that what comes in a rhythm is not always missed. */
static uint32_t next_look(struct sampling *s)
{
    s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return 1 + (uint32_t)((s->random >> 33) % (2 * (uint64_t)s->step - 1));
}

static bool is_of(const struct top_key *place, struct tly_slice key)
{
    return place->key_bytes == key.n && memcmp(place->key, key.p, key.n) == 0;
}

static void count(struct top_key *place, uint64_t span, uint32_t weight)
{
    if (place->span != span) {
        place->before = place->span + 1 == span ? place->checks : 0;
        place->checks = 0;
        place->span = span;
    }
    place->checks += weight;
}

void tly_top_look(struct tly_engine *e, const struct tly_seek *seek, const struct tly_verdict *verdict)
{
    struct sampling *s = &e->sampling;
    uint64_t now_ms = e->cluster_ns / NS_PER_MS, span = now_ms / SPAN_MS;
    if (span != s->span) turn(e, span);
    look_less(s);
    s->left = next_look(s);
    struct top_key **at = &s->keys[seek->hash % TLY_TOP_KEPT], *place = *at;
    if (place == NULL) *at = place = tly_mem_zeroed(&e->mem, sizeof *place);
    if (place == NULL) return;
    if (!is_of(place, seek->key)) {
        uint64_t weight = place->span + 1 >= span ? place->checks + place->before : 0;
        if (weight > s->step) {
            *(place->checks > s->step ? &place->checks : &place->before) -= s->step;
            return;
        }
        /* What is not set here is below; of the key no more than there is of it. */
        place->key_bytes = seek->key.n;
        memcpy(place->key, seek->key.p, seek->key.n);
        place->checks = 0;
        place->before = 0;
    }
    count(place, span, s->step);
    place->used = verdict->used;
    place->limit = verdict->limit;
    place->until_ms = verdict->reset_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + verdict->reset_ms;
    if (verdict->algorithm == TLY_COUNTER) place->until_ms = UINT64_MAX;
}

bool tly_engine_top(struct tly_engine *e, struct tly_time now, size_t *cursor, struct tly_top_view *view)
{
    tly_engine_wake(e, now);
    uint64_t now_ms = e->cluster_ns / NS_PER_MS, span = now_ms / SPAN_MS;
    while (*cursor < TLY_TOP_KEPT) {
        const struct top_key *place = e->sampling.keys[(*cursor)++];
        if (place == NULL) continue;
        bool is_now = place->span == span, is_before = place->span + 1 == span;
        /* The span that runs counts once it has run for as long as it says something. */
        uint64_t whole = is_now ? place->before : is_before ? place->checks : 0;
        uint64_t so_far = is_now ? place->checks : 0, ran_ms = now_ms % SPAN_MS + 1;
        *view = (struct tly_top_view){
            .key = tly_slice_of(place->key, place->key_bytes),
            .checks_per_1000s = (whole + so_far) * 1000000 / (SPAN_MS + ran_ms),
            .used = now_ms < place->until_ms ? place->used : 0,
            .limit = place->limit,
        };
        return true;
    }
    return false;
}

void tly_top_fini(struct tly_engine *e)
{
    for (size_t i = 0; i < TLY_TOP_KEPT; i++)
        tly_mem_free(&e->mem, e->sampling.keys[i], sizeof *e->sampling.keys[i]);
}
