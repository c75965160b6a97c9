#include "service/engine/impl.h"
#include "service/engine/limit.h"
#include "tests/sim/sim.h"

#include "crdt/epoch_sum.h"
#include "wire/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_KEYS_MAX 64

/* One dot, and the one of the same key that was learnt before it. */
struct twin_dot {
    struct tly_dot dot;
    uint8_t strategy;
    size_t key;
    size_t before; /* index + 1; 0: none */
    uint64_t at;   /* when it was learnt */
    uint64_t
        forgotten; /* of a life that was made up: the newest that some node had forgotten when it was first heard of */
    bool went_unheard; /* its node was brought up when no other had it, and may have dropped it */
};

struct twin_key {
    uint8_t *bytes;
    size_t n;
    size_t newest; /* index + 1 of its dots */
};

/* Open addressing; a value is an index + 1. */
struct table {
    size_t *slots;
    size_t capacity, count;
};

/* What a node had made in a life before it installed a snapshot: up to where it may have gone. */
struct installed {
    uint64_t origin, forgotten;
};

/* A life, and the node that speaks or spoke as it. Of one that was left out some keys did not fit where they came. Its end is where it was settled last. */
struct lived {
    size_t node;
    uint64_t origin, since;
    bool was_left_out, was_settled;
    uint64_t end;
};

struct sim_twin {
    struct twin_dot *dots;
    size_t count, dots_capacity;
    struct twin_key *keys;
    size_t key_count, keys_capacity;
    struct table by_version, by_key;
    struct installed *installs;
    size_t install_count, installs_capacity;
    struct lived *lived;
    size_t lived_count, lived_capacity;
};

struct sim_twin *sim_twin_new(void)
{
    struct sim_twin *twin = calloc(1, sizeof *twin);
    if (twin == NULL) abort();
    return twin;
}

void sim_twin_free(struct sim_twin *twin)
{
    for (size_t i = 0; i < twin->count; i++)
        free((void *)(uintptr_t)twin->dots[i].dot.bytes.p);
    for (size_t i = 0; i < twin->key_count; i++)
        free(twin->keys[i].bytes);
    free(twin->dots);
    free(twin->keys);
    free(twin->by_version.slots);
    free(twin->by_key.slots);
    free(twin->installs);
    free(twin->lived);
    free(twin);
}

size_t sim_twin_count(const struct sim *sim)
{
    return sim->twin->count;
}

size_t sim_twin_keys(const struct sim *sim)
{
    return sim->twin->key_count;
}

struct tly_slice sim_twin_key(const struct sim *sim, size_t key)
{
    return tly_slice_of(sim->twin->keys[key].bytes, sim->twin->keys[key].n);
}

size_t sim_twin_newest(const struct sim *sim, size_t key)
{
    return sim->twin->keys[key].newest;
}

size_t sim_twin_before(const struct sim *sim, size_t dot)
{
    return sim->twin->dots[dot - 1].before;
}

const struct tly_dot *sim_twin_dot(const struct sim *sim, size_t dot)
{
    return &sim->twin->dots[dot - 1].dot;
}

struct tly_slice sim_twin_key_of(const struct sim *sim, size_t dot)
{
    return sim_twin_key(sim, sim->twin->dots[dot - 1].key);
}

const struct tly_strategy *sim_twin_strategy(const struct sim *sim, size_t dot)
{
    return tly_strategy_by_id(sim->twin->dots[dot - 1].strategy);
}

/* ---- tables ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t hash_version(struct tly_version version)
{
    return mix(version.ts ^ mix(version.origin));
}

static uint64_t hash_key(struct tly_slice key)
{
    uint64_t hash = 1;
    for (size_t i = 0; i < key.n; i++)
        hash = (hash ^ key.p[i]) * UINT64_C(0x100000001b3);
    return mix(hash);
}

static uint64_t hash_of(const struct sim_twin *twin, const struct table *table, size_t value)
{
    if (table == &twin->by_version) return hash_version(twin->dots[value - 1].dot.version);
    const struct twin_key *key = &twin->keys[value - 1];
    return hash_key(tly_slice_of(key->bytes, key->n));
}

static void put(const struct sim_twin *twin, struct table *table, size_t value)
{
    size_t i = hash_of(twin, table, value) & (table->capacity - 1);
    while (table->slots[i] != 0)
        i = (i + 1) & (table->capacity - 1);
    table->slots[i] = value;
}

static void add_value(const struct sim_twin *twin, struct table *table, size_t value)
{
    if (2 * (table->count + 1) > table->capacity) {
        struct table old = *table;
        table->capacity = old.capacity > 0 ? old.capacity * 2 : 64;
        table->slots = calloc(table->capacity, sizeof *table->slots);
        if (table->slots == NULL) abort();
        for (size_t i = 0; i < old.capacity; i++)
            if (old.slots[i] != 0) put(twin, table, old.slots[i]);
        free(old.slots);
    }
    put(twin, table, value);
    table->count++;
}

static struct twin_dot *find_dot(const struct sim_twin *twin, struct tly_version version)
{
    const struct table *table = &twin->by_version;
    if (table->capacity == 0) return NULL;
    for (size_t i = hash_version(version) & (table->capacity - 1); table->slots[i] != 0;
         i = (i + 1) & (table->capacity - 1)) {
        struct twin_dot *dot = &twin->dots[table->slots[i] - 1];
        if (tly_version_compare(dot->dot.version, version) == 0) return dot;
    }
    return NULL;
}

/* Index + 1; 0: it is not known. */
static size_t find_key(const struct sim_twin *twin, struct tly_slice key)
{
    const struct table *table = &twin->by_key;
    for (size_t i = table->capacity > 0 ? hash_key(key) & (table->capacity - 1) : 0;
         table->capacity > 0 && table->slots[i] != 0; i = (i + 1) & (table->capacity - 1)) {
        const struct twin_key *known = &twin->keys[table->slots[i] - 1];
        if (tly_slice_equal(tly_slice_of(known->bytes, known->n), key)) return table->slots[i];
    }
    return 0;
}

static size_t need_key(struct sim_twin *twin, struct tly_slice key)
{
    size_t known = find_key(twin, key);
    if (known != 0) return known - 1;
    twin->keys = sim_grow(twin->keys, &twin->keys_capacity, twin->key_count, sizeof *twin->keys);
    struct twin_key *new = &twin->keys[twin->key_count++];
    *new = (struct twin_key){.bytes = malloc(key.n + 1), .n = key.n};
    if (new->bytes == NULL) abort();
    memcpy(new->bytes, key.p, key.n);
    add_value(twin, &twin->by_key, twin->key_count);
    return twin->key_count - 1;
}

/* ---- learning ---- */

static void tell_dot(struct sim *sim, const char *what, const struct tly_dot *dot)
{
    sim_tell(sim, "  %s %s %llu of %llx: %llu %llu %lld %llu", what, dot->op == TLY_PUT ? "PUT" : "REMOVE",
             (unsigned long long)dot->version.ts, (unsigned long long)dot->version.origin,
             (unsigned long long)dot->num[0], (unsigned long long)dot->num[1], (long long)dot->num[2],
             (unsigned long long)dot->num[3]);
}

static uint64_t newest_forgotten(const struct sim *sim)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct tly_forget_view view;
        if (sim->nodes[i].engine == NULL) continue;
        tly_engine_forgetting(sim->nodes[i].engine, &view);
        if (view.forgotten > newest) newest = view.forgotten;
    }
    return newest;
}

bool sim_twin_came_too_late(const struct sim *sim, struct tly_version put, uint64_t remove)
{
    const struct twin_dot *dot = find_dot(sim->twin, put);
    return dot != NULL && sim_hostile_made(put.origin) && remove <= dot->forgotten;
}

static void learn(struct sim *sim, size_t node, uint64_t self, const struct tly_row *row, bool is_part)
{
    struct sim_twin *twin = sim->twin;
    size_t key = need_key(twin, row->key);
    const struct twin_dot *known = find_dot(twin, row->dot.version);
    if (known != NULL) {
        /* What its disk alone is told, in a part, of a counter that ended. */
        bool has_gone = is_part && row->dot.op == TLY_REMOVE && known->dot.op == TLY_PUT && known->key == key;
        if (has_gone) return;
        sim_claim(sim, known->key == key && tly_dot_equal(&known->dot, &row->dot),
                  "n%zu: version %llu of %llx was given twice, for %.*s and for %.*s", node,
                  (unsigned long long)row->dot.version.ts, (unsigned long long)row->dot.version.origin,
                  (int)twin->keys[known->key].n, (const char *)twin->keys[known->key].bytes, (int)row->key.n,
                  (const char *)row->key.p);
        return;
    }
    twin->dots = sim_grow(twin->dots, &twin->dots_capacity, twin->count, sizeof *twin->dots);
    struct twin_dot *new = &twin->dots[twin->count++];
    *new = (struct twin_dot){.dot = row->dot,
                             .strategy = (uint8_t)row->strategy_id,
                             .key = key,
                             .before = twin->keys[key].newest,
                             .at = sim->now};
    uint8_t *bytes = malloc(row->dot.bytes.n + 1);
    if (bytes == NULL) abort();
    if (row->dot.bytes.n > 0) memcpy(bytes, row->dot.bytes.p, row->dot.bytes.n);
    new->dot.bytes.p = bytes;
    if (row->dot.bytes.n > sim->dot_bytes_max) sim->dot_bytes_max = row->dot.bytes.n;
    if (sim_hostile_made(row->dot.version.origin)) new->forgotten = newest_forgotten(sim);
    twin->keys[key].newest = twin->count;
    add_value(twin, &twin->by_version, twin->count);
    if (row->dot.version.origin == self) sim_check_order(sim, node, row->dot.version.ts);
    char what[64];
    (void)snprintf(what, sizeof what, "n%zu %.*s", node, (int)(row->key.n < 40 ? row->key.n : 40),
                   (const char *)row->key.p);
    tell_dot(sim, what, &row->dot);
}

/* The life that it speaks as. */
static uint64_t note_life(struct sim *sim, size_t node)
{
    struct sim_twin *twin = sim->twin;
    struct tly_node_view self;
    tly_engine_node(sim->nodes[node].engine, false, &self);
    for (size_t i = twin->lived_count; i-- > 0;)
        if (twin->lived[i].node == node && twin->lived[i].origin == self.origin) return self.origin;
    twin->lived = sim_grow(twin->lived, &twin->lived_capacity, twin->lived_count, sizeof *twin->lived);
    twin->lived[twin->lived_count++] = (struct lived){.node = node, .origin = self.origin, .since = sim->now};
    return self.origin;
}

void sim_twin_note_left_out(struct sim *sim, size_t node)
{
    struct sim_twin *twin = sim->twin;
    for (size_t i = 0; i < twin->lived_count; i++)
        if (twin->lived[i].node == node) twin->lived[i].was_left_out = true;
}

uint64_t sim_twin_ended_at(const struct sim *sim, uint64_t origin)
{
    const struct sim_twin *twin = sim->twin;
    size_t i = 0, next;
    while (i < twin->lived_count && twin->lived[i].origin != origin)
        i++;
    if (i == twin->lived_count) return 0;
    for (next = i + 1; next < twin->lived_count; next++)
        if (twin->lived[next].node == twin->lived[i].node) return twin->lived[next].since;
    return twin->lived[i].since;
}

void sim_twin_learn(struct sim *sim, size_t node, struct tly_slice batch)
{
    static struct tly_round round; /* large */
    struct tly_slice body = {0};
    sim_claim(sim, tly_batch_rows(batch, &body) == TLY_OK, "n%zu gives its disk what is no batch", node);
    if (body.n == 0) return;
    uint64_t self = note_life(sim, node);
    sim_claim(sim, tly_round_get(body, &round) == TLY_OK, "n%zu gives its disk what is no round", node);
    struct tly_rows rows = tly_rows_of(&round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        learn(sim, node, self, &row, round.flags == 0);
}

/* ---- marks ---- */

static struct tly_life life_of(const struct tly_engine *engine, uint64_t origin)
{
    for (size_t i = 0; i < tly_engine_lives(engine); i++)
        if (tly_engine_life(engine, i).origin == origin) return tly_engine_life(engine, i);
    return (struct tly_life){0};
}

/* What is counted and not sealed stands in place of the last sealed one. */
static bool is_replaced_unsealed(const struct tly_entry_view *view, const struct tly_dot *have,
                                 const struct tly_dot *dot)
{
    return view->unsealed && have->version.origin == dot->version.origin &&
           have->version.ts >= dot->version.ts && have->op == TLY_PUT;
}

static bool was_left_out(const struct sim_twin *twin, uint64_t origin)
{
    for (size_t i = 0; i < twin->lived_count; i++)
        if (twin->lived[i].origin == origin && twin->lived[i].was_left_out) return true;
    return false;
}

bool sim_twin_asks(const struct sim *sim, const struct tly_life *life)
{
    /* A closed one may have been settled before a clean stop, and its node, back, have said over that word that it is closed: comparing brings the rest. */
    if (life->state < TLY_LIFE_CLOSED) return true;
    for (size_t i = 0; i < sim->twin->lived_count; i++)
        if (sim->twin->lived[i].was_left_out) return false;
    return true;
}

/* The newest dot (index + 1) of a key that is not on this node; 0: it is, or nobody knows it. */
static size_t newest_of_absent(struct sim *sim, size_t node, struct tly_slice key)
{
    struct tly_entry_view view;
    sim->nodes[node].is_due_known = false;
    size_t known = find_key(sim->twin, key);
    if (known == 0 || tly_engine_entry(sim->nodes[node].engine, key, &view) != TLY_NOT_FOUND) return 0;
    return sim->twin->keys[known - 1].newest;
}

void sim_twin_note_settled(struct sim *sim, size_t node, uint64_t origin)
{
    struct sim_twin *twin = sim->twin;
    for (size_t i = 0; i < twin->lived_count; i++) {
        struct lived *lived = &twin->lived[i];
        if (lived->origin != origin) continue;
        lived->was_settled = true;
        lived->end = life_of(sim->nodes[node].engine, origin).mark;
    }
}

/* The life as it is settled on a node, or was anywhere: who was just started has not settled again what it had settled before. */
static struct tly_life life_settled(const struct sim *sim, size_t node, uint64_t origin)
{
    struct tly_life life = life_of(sim->nodes[node].engine, origin);
    for (size_t i = 0; i < sim->twin->lived_count && life.state < TLY_LIFE_SETTLED; i++) {
        const struct lived *lived = &sim->twin->lived[i];
        if (lived->origin == origin && lived->was_settled)
            life = (struct tly_life){.origin = origin, .mark = lived->end, .state = TLY_LIFE_SETTLED};
    }
    return life;
}

bool sim_twin_was_settled_without(struct sim *sim, size_t node, struct tly_slice key)
{
    const struct sim_twin *twin = sim->twin;
    for (size_t i = newest_of_absent(sim, node, key); i != 0; i = twin->dots[i - 1].before) {
        const struct tly_dot *dot = &twin->dots[i - 1].dot;
        if (dot->op != TLY_PUT) continue;
        struct tly_life life = life_settled(sim, node, dot->version.origin);
        if (life.state < TLY_LIFE_SETTLED) continue;
        if (life.mark < dot->version.ts || was_left_out(twin, life.origin)) return true;
    }
    return false;
}

static bool stands_or_redundant(const struct tly_entry_view *view, const struct twin_dot *it)
{
    const struct tly_strategy *strategy = tly_strategy_by_id(it->strategy);
    for (size_t i = 0; i < view->count; i++) {
        const struct tly_dot *have = &view->dots[i];
        if (tly_dot_equal(have, &it->dot) || tly_dominates(strategy, have, &it->dot)) return true;
        if (is_replaced_unsealed(view, have, &it->dot)) return true;
    }
    return false;
}

/* Whether a node settles lives without another: it has yet to hear that it was forgotten, or one of the two is lost and neither ever hears of the other. */
static bool is_left_behind(const struct sim *sim, size_t node, size_t other, uint64_t origin)
{
    const struct sim_node *it = &sim->nodes[other];
    if (other != node && (it->gone || sim->nodes[node].gone)) return true;
    return it->was_forgotten && life_of(it->engine, origin).state < TLY_LIFE_SETTLED;
}

/* Up to where all had everything of a life that was settled further on, as who settled it says for those who were not asked; the least that anybody says. */
static uint64_t whole_up_to(const struct sim_twin *twin, uint64_t origin)
{
    char name[40];
    uint64_t least = UINT64_MAX;
    (void)snprintf(name, sizeof name, "sys:omitted:%020llu", (unsigned long long)origin);
    size_t known = find_key(twin, tly_slice_text(name));
    for (size_t i = known != 0 ? twin->keys[known - 1].newest : 0; i != 0; i = twin->dots[i - 1].before) {
        struct tly_cursor cursor = tly_cursor_of(twin->dots[i - 1].dot.bytes);
        uint64_t whole = tly_get_uint(&cursor);
        if (cursor.result == TLY_OK && whole < least) least = whole;
    }
    return least;
}

/*
 * Whether that dot lies where a life was settled at what had come ahead, of which its word claims nothing, and who was forgotten may have more: back, and
 * told that the life is settled, it has that until it is brought up, and then carries its own over (D255), or until others get it by comparing.
 */
static bool comes_with_who_was_forgotten(const struct sim *sim, const struct tly_life *life,
                                         const struct twin_dot *it)
{
    return sim->was_one_forgotten && it->dot.version.ts > whole_up_to(sim->twin, life->origin);
}

bool sim_twin_went_with_who_had_it(struct sim *sim, size_t at, const struct tly_life *life, size_t dot)
{
    const struct twin_dot *it = &sim->twin->dots[dot - 1];
    if (life->state < TLY_LIFE_SETTLED) return false;
    if (comes_with_who_was_forgotten(sim, life, it)) return true;
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct tly_entry_view view;
        const struct sim_node *node = &sim->nodes[i];
        if (node->engine == NULL) continue;
        if (is_left_behind(sim, at, i, life->origin)) continue;
        sim->nodes[i].is_due_known = false;
        if (tly_engine_entry(node->engine, sim_twin_key(sim, it->key), &view) != TLY_OK) continue;
        for (size_t j = 0; j < view.count; j++)
            if (tly_dot_equal(&view.dots[j], &it->dot)) return false;
    }
    return true;
}

static bool is_bucket(const struct sim *sim, const struct twin_dot *it)
{
    const struct twin_key *key = &sim->twin->keys[it->key];
    struct tly_slice name = tly_slice_of(key->bytes, key->n);
    return tly_limit_is_limit(name) && tly_limit_is_bucket(name, &it->dot);
}

/* What a bucket had before it was full again is not what it has; what is full by now reads as nothing, and goes at the next sweep. */
static bool stands_for_it(const struct sim *sim, const struct tly_entry_view *view, const struct twin_dot *it)
{
    const struct tly_strategy *strategy = tly_strategy_by_id(it->strategy);
    for (size_t i = 0; i < view->count; i++) {
        const struct tly_dot *have = &view->dots[i];
        if (have->op != TLY_PUT || have->version.origin != it->dot.version.origin) continue;
        bool is_full =
            tly_limit_expired(sim_twin_key(sim, it->key), strategy, have, view->now_ms * SIM_MS, 0);
        if (have->version.ts < it->dot.version.ts && !is_full) return true;
    }
    return false;
}

static bool may_have_ended(const struct sim *sim, const struct twin_dot *it, uint64_t now_ms)
{
    const struct tly_strategy *strategy = tly_strategy_by_id(it->strategy);
    if (it->dot.op == TLY_REMOVE) return false;
    if (is_bucket(sim, it))
        return tly_limit_expired(sim_twin_key(sim, it->key), strategy, &it->dot, now_ms * SIM_MS,
                                 TLY_MAX_SKEW_NS);
    if (strategy->expired != NULL && strategy->expired(&it->dot, now_ms, TLY_MAX_SKEW_NS / SIM_MS))
        return true;
    uint64_t deadline = 0;
    if (it->strategy == TLY_LWW) deadline = it->dot.num[0];
    if (it->strategy == TLY_EPOCH_SUM && it->dot.num[0] == 0) deadline = it->dot.num[3];
    return deadline != 0 && deadline <= now_ms;
}

static bool went_at_install(const struct sim_twin *twin, struct tly_version version)
{
    for (size_t i = 0; i < twin->install_count; i++)
        if (twin->installs[i].origin == version.origin && version.ts <= twin->installs[i].forgotten)
            return true;
    return false;
}

bool sim_twin_went_unheard(struct sim *sim, size_t node, struct tly_slice key)
{
    const struct sim_twin *twin = sim->twin;
    for (size_t i = newest_of_absent(sim, node, key); i != 0; i = twin->dots[i - 1].before)
        if (twin->dots[i - 1].went_unheard) return true;
    return false;
}

static bool is_forgotten(struct sim *sim, size_t node, struct tly_version version)
{
    struct tly_forget_view forgetting;
    tly_engine_forgetting(sim->nodes[node].engine, &forgetting);
    struct tly_life life = life_of(sim->nodes[node].engine, version.origin);
    return version.ts <= forgetting.forgotten || version.ts <= life.floor || life.origin == 0;
}

/* By the clock that is ahead of all others, or was before it was set: the nodes' cluster time may go on by it for long. */
static uint64_t latest_ms(const struct sim *sim)
{
    int64_t ahead_ns = sim->most_ahead_ns;
    uint64_t fastest_ns = 0; /* each drifts */
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        int64_t offset_ns = sim->nodes[i].offset_ns;
        uint64_t unset_ns = sim_time(sim, i).wall_ns - (uint64_t)offset_ns;
        if (offset_ns > ahead_ns) ahead_ns = offset_ns;
        if (unset_ns > fastest_ns) fastest_ns = unset_ns;
    }
    return (fastest_ns + (uint64_t)ahead_ns) / SIM_MS;
}

/* Whether its end is the end of all shards that a key has: one deadline is the whole counter's. */
static bool is_a_counters(const struct sim *sim, const struct twin_dot *it)
{
    return it->strategy == TLY_EPOCH_SUM && it->dot.num[TLY_SUM_WINDOW] == 0 && !is_bucket(sim, it);
}

/*
 * A REMOVE that this node has forgotten covers it, or what ended: by this node's clock, or by another: that of a node whose snapshot this one has
 * installed, or its own before it was set back. What ends by a deadline goes once all have it (D42, D43), and of a counter all goes at once; that it has
 * gone the floors tell. What ends with its window goes by time alone.
 */
static bool was_freed(struct sim *sim, size_t node, const struct twin_dot *it, uint64_t now_ms)
{
    const struct sim_twin *twin = sim->twin;
    const struct tly_strategy *strategy = tly_strategy_by_id(it->strategy);
    uint64_t there_ms = latest_ms(sim);
    bool is_gone_itself = is_forgotten(sim, node, it->dot.version);
    for (size_t i = twin->keys[it->key].newest; i != 0; i = twin->dots[i - 1].before) {
        const struct twin_dot *other = &twin->dots[i - 1];
        bool is_gone = is_forgotten(sim, node, other->dot.version);
        bool counters = is_a_counters(sim, other), by_f = counters || it->strategy == TLY_LWW;
        bool has_ended = may_have_ended(sim, other, is_gone || !by_f ? there_ms : now_ms);
        if (counters && has_ended && is_gone && is_gone_itself) return true;
        if (other != it && !tly_dominates(strategy, &other->dot, &it->dot)) continue;
        if ((has_ended && !by_f) || ((has_ended || other->dot.op == TLY_REMOVE) && is_gone)) return true;
    }
    return false;
}

/* What a life said of itself goes with it, without a REMOVE. */
static bool goes_with_its_life(const struct twin_key *key)
{
    struct tly_slice text = tly_slice_of(key->bytes, key->n);
    return tly_slice_begins(text, tly_slice_text("sys:stable:")) ||
           tly_slice_begins(text, tly_slice_text("sys:closed:"));
}

/* For whoever wants to know why something did not hold. */
static void tell_key(struct sim *sim, size_t node, const struct twin_dot *it,
                     const struct tly_entry_view *view)
{
    const struct sim_twin *twin = sim->twin;
    const struct tly_engine *engine = sim->nodes[node].engine;
    for (size_t i = twin->keys[it->key].newest; i != 0; i = twin->dots[i - 1].before)
        tell_dot(sim, &twin->dots[i - 1] == it ? "lacking" : "published", &twin->dots[i - 1].dot);
    for (size_t i = 0; i < view->count; i++)
        tell_dot(sim, "has", &view->dots[i]);
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct tly_entry_view other;
        const struct twin_key *key = &twin->keys[it->key];
        if (i == node || sim->nodes[i].engine == NULL) continue;
        struct tly_forget_view forgetting;
        tly_engine_forgetting(sim->nodes[i].engine, &forgetting);
        sim_tell(sim, "n%zu: forgotten %llu", i, (unsigned long long)forgetting.forgotten);
        if (tly_engine_entry(sim->nodes[i].engine, tly_slice_of(key->bytes, key->n), &other) != TLY_OK)
            continue;
        for (size_t j = 0; j < other.count; j++)
            tell_dot(sim, "has", &other.dots[j]);
    }
    for (size_t i = 0; i < tly_engine_lives(engine); i++) {
        struct tly_life life = tly_engine_life(engine, i);
        sim_tell(sim, "  life %llx: mark %llu, floor %llu, state %d", (unsigned long long)life.origin,
                 (unsigned long long)life.mark, (unsigned long long)life.floor, (int)life.state);
    }
}

static bool stands_at(struct sim *sim, size_t node, const struct twin_dot *it)
{
    struct tly_entry_view view;
    sim->nodes[node].is_due_known = false;
    if (tly_engine_entry(sim->nodes[node].engine, sim_twin_key(sim, it->key), &view) != TLY_OK) return false;
    for (size_t i = 0; i < view.count; i++)
        if (tly_dot_equal(&view.dots[i], &it->dot)) return true;
    return false;
}

static bool has_heard(struct sim *sim, size_t node, const struct twin_dot *it)
{
    struct tly_life life = life_of(sim->nodes[node].engine, it->dot.version.origin);
    return it->dot.version.ts <= life.mark || stands_at(sim, node, it);
}

static bool is_life_of(const struct sim_twin *twin, size_t node, uint64_t origin)
{
    for (size_t i = 0; i < twin->lived_count; i++)
        if (twin->lived[i].node == node && twin->lived[i].origin == origin) return true;
    return false;
}

/* News go ahead of what was made before (D110), so the newest that another has of a life does not say that it has all up to there. */
static void note_unheard(struct sim *sim, size_t node, uint64_t forgotten)
{
    struct sim_twin *twin = sim->twin;
    for (size_t i = 0; i < twin->count; i++) {
        struct twin_dot *it = &twin->dots[i];
        if (it->dot.op != TLY_PUT || it->strategy != TLY_LWW || it->dot.version.ts > forgotten) continue;
        if (!is_life_of(twin, node, it->dot.version.origin)) continue;
        bool is_heard = stands_at(sim, node, it); /* it stays, so others hear it */
        for (size_t other = 0; other < sim->knobs.nodes && !is_heard; other++)
            is_heard = other != node && sim->nodes[other].engine != NULL && has_heard(sim, other, it);
        it->went_unheard = it->went_unheard || !is_heard;
    }
}

static void note_source(struct sim *sim, size_t node, struct tly_slice source)
{
    struct sim_node *joiner = &sim->nodes[node];
    size_t from = source.n > 1 ? (size_t)(source.p[1] - '0') : node;
    struct tly_node_view view = {0};
    for (size_t i = 2; i < source.n; i++)
        from = 10 * from + (size_t)(source.p[i] - '0');
    if (from < sim->knobs.nodes && sim->nodes[from].engine != NULL)
        tly_engine_node(sim->nodes[from].engine, false, &view);
    joiner->installed_at = sim->now;
    joiner->source = view.origin;
}

bool sim_twin_comes_with_a_round(const struct sim *sim, size_t node, size_t dot)
{
    const struct sim_node *joiner = &sim->nodes[node];
    const struct twin_dot *covered = &sim->twin->dots[dot - 1];
    const struct tly_strategy *strategy = tly_strategy_by_id(covered->strategy);
    if (covered->dot.version.origin != joiner->source || covered->at > joiner->installed_at) return false;
    for (size_t i = sim->twin->keys[covered->key].newest; i != 0; i = sim->twin->dots[i - 1].before) {
        const struct twin_dot *other = &sim->twin->dots[i - 1];
        struct tly_version version = other->dot.version;
        if (version.origin == joiner->source || other->at > joiner->installed_at) continue;
        if (!tly_dominates(strategy, &other->dot, &covered->dot)) continue;
        if (version.ts > life_of(joiner->engine, version.origin).mark) return true;
    }
    return false;
}

/* What a node had made in any of its lives before it installed a snapshot goes, up to the newest REMOVE which was forgotten by then. */
void sim_twin_installed(struct sim *sim, size_t node, struct tly_slice source)
{
    struct sim_twin *twin = sim->twin;
    note_source(sim, node, source);
    struct tly_forget_view forgetting;
    tly_engine_forgetting(sim->nodes[node].engine, &forgetting);
    (void)note_life(sim, node);
    for (size_t i = 0; i < twin->lived_count; i++) {
        if (twin->lived[i].node != node) continue;
        twin->installs =
            sim_grow(twin->installs, &twin->installs_capacity, twin->install_count, sizeof *twin->installs);
        twin->installs[twin->install_count++] =
            (struct installed){twin->lived[i].origin, forgetting.forgotten};
    }
    note_unheard(sim, node, forgetting.forgotten);
}

bool sim_twin_has_installed(const struct sim *sim, uint64_t origin)
{
    return went_at_install(sim->twin, (struct tly_version){0, origin});
}

bool sim_twin_went_at_install(const struct sim *sim, struct tly_version version)
{
    return went_at_install(sim->twin, version);
}

static bool is_settled_elsewhere(const struct sim *sim, uint64_t origin)
{
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        if (sim->nodes[i].engine != NULL && life_of(sim->nodes[i].engine, origin).state >= TLY_LIFE_SETTLED)
            return true;
    return false;
}

static bool stands_anywhere(struct sim *sim, const struct twin_dot *it)
{
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        if (sim->nodes[i].engine != NULL && stands_at(sim, i, it)) return true;
    return false;
}

/* A REMOVE that a hostile peer told others, and hid here under a mark of the same made-up life, may have taken it there, so that nobody has it. */
static bool went_for_what_is_hidden(struct sim *sim, size_t node, const struct twin_dot *it)
{
    const struct sim_twin *twin = sim->twin;
    const struct tly_strategy *strategy = tly_strategy_by_id(it->strategy);
    for (size_t i = twin->keys[it->key].newest; i != 0; i = twin->dots[i - 1].before) {
        const struct tly_dot *dot = &twin->dots[i - 1].dot;
        if (dot->op != TLY_REMOVE || !sim_hostile_made(dot->version.origin)) continue;
        uint64_t mark = life_of(sim->nodes[node].engine, dot->version.origin).mark;
        if (dot->version.ts <= mark && tly_dominates(strategy, dot, &it->dot))
            return !stands_anywhere(sim, it);
    }
    return false;
}

static void check_mark(struct sim *sim, size_t node, const struct twin_dot *it)
{
    struct tly_engine *engine = sim->nodes[node].engine;
    if (goes_with_its_life(&sim->twin->keys[it->key]) || sim_hostile_made(it->dot.version.origin)) return;
    struct tly_life life = life_of(engine, it->dot.version.origin);
    if (life.origin == 0 || it->dot.version.ts > life.mark || !sim_twin_asks(sim, &life)) return;
    /* Who has settled it says that all of it is here that there is; that is about to be heard. */
    if (life.state == TLY_LIFE_CLOSED && is_settled_elsewhere(sim, life.origin)) return;
    /* Or it was heard, or is back from the disk, and is acted on at the next step. */
    struct tly_version word;
    if (life.state == TLY_LIFE_CLOSED && tly_lives_settled_by(engine, life.origin, &word)) return;
    struct tly_entry_view view = {0};
    const struct twin_key *key = &sim->twin->keys[it->key];
    enum tly_result result = tly_engine_entry(engine, tly_slice_of(key->bytes, key->n), &view);
    sim->nodes[node].is_due_known = false;
    if (result == TLY_NOT_FOUND) {
        view = (struct tly_entry_view){0};
        struct tly_node_view self;
        tly_engine_node(engine, false, &self);
        view.now_ms = self.cluster_ns / SIM_MS;
    }
    if (stands_or_redundant(&view, it) || went_for_what_is_hidden(sim, node, it)) return;
    bool may_be_freed = !is_bucket(sim, it) || !stands_for_it(sim, &view, it);
    if (may_be_freed && was_freed(sim, node, it, view.now_ms)) return;
    if (went_at_install(sim->twin, it->dot.version)) return;
    size_t dot = (size_t)(it - sim->twin->dots) + 1;
    if (sim_twin_comes_with_a_round(sim, node, dot) || sim_twin_went_with_who_had_it(sim, node, &life, dot))
        return;
    tell_key(sim, node, it, &view);
    sim_fail(sim, "n%zu has the mark %llu for %llx and lacks its %s %llu of %.*s", node,
             (unsigned long long)life.mark, (unsigned long long)life.origin,
             it->dot.op == TLY_REMOVE ? "REMOVE" : "PUT", (unsigned long long)it->dot.version.ts, (int)key->n,
             (const char *)key->bytes);
}

static bool same_entries(const struct tly_entry_view *a, const struct tly_entry_view *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!tly_dot_equal(&a->dots[i], &b->dots[i])) return false;
    return true;
}

static struct tly_entry_view entry_at(struct sim *sim, size_t node, const struct twin_key *key)
{
    struct tly_entry_view view;
    sim->nodes[node].is_due_known = false;
    if (tly_engine_entry(sim->nodes[node].engine, tly_slice_of(key->bytes, key->n), &view) == TLY_OK)
        return view;
    return (struct tly_entry_view){0};
}

void sim_twin_tell_differences(struct sim *sim, size_t a, size_t b)
{
    const struct sim_twin *twin = sim->twin;
    for (size_t i = 0; i < twin->key_count; i++) {
        const struct twin_key *key = &twin->keys[i];
        struct tly_entry_view of_a = entry_at(sim, a, key), of_b = entry_at(sim, b, key);
        if (same_entries(&of_a, &of_b)) continue;
        sim_tell(sim, "%.*s differs:", (int)key->n, (const char *)key->bytes);
        char what[24];
        (void)snprintf(what, sizeof what, "n%zu", a);
        for (size_t j = 0; j < of_a.count; j++)
            tell_dot(sim, what, &of_a.dots[j]);
        (void)snprintf(what, sizeof what, "n%zu", b);
        for (size_t j = 0; j < of_b.count; j++)
            tell_dot(sim, what, &of_b.dots[j]);
    }
    for (size_t n = 0; n < 2; n++) {
        const struct tly_engine *engine = sim->nodes[n == 0 ? a : b].engine;
        for (size_t i = 0; i < tly_engine_lives(engine); i++) {
            struct tly_life life = tly_engine_life(engine, i);
            sim_tell(sim, "n%zu: life %llx: mark %llu, last %llu, floor %llu, state %d", n == 0 ? a : b,
                     (unsigned long long)life.origin, (unsigned long long)life.mark,
                     (unsigned long long)life.last, (unsigned long long)life.floor, (int)life.state);
        }
    }
}

void sim_twin_watch(struct sim *sim, size_t node, const char *name)
{
    const struct sim_twin *twin = sim->twin;
    for (size_t i = 0; i < twin->key_count; i++) {
        const struct twin_key *key = &twin->keys[i];
        if (key->n != strlen(name) || memcmp(key->bytes, name, key->n) != 0) continue;
        struct tly_entry_view view = entry_at(sim, node, key);
        uint64_t print = hash_key(tly_slice_of(view.dots, view.count * sizeof *view.dots));
        if (print == sim->nodes[node].watched) continue;
        sim->nodes[node].watched = print;
        char what[24];
        (void)snprintf(what, sizeof what, "n%zu now", node);
        if (view.count == 0) sim_tell(sim, "%s: nothing of %s", what, name);
        for (size_t j = 0; j < view.count; j++)
            tell_dot(sim, what, &view.dots[j]);
    }
}

void sim_twin_check_marks(struct sim *sim, size_t node, size_t count)
{
    struct sim_twin *twin = sim->twin;
    for (size_t i = 0; i < count && twin->count > 0; i++) {
        /* The newer ones more often. */
        size_t span = sim_below(sim, 2) == 0 && twin->count > 50 ? 50 : twin->count;
        check_mark(sim, node, &twin->dots[twin->count - 1 - sim_below(sim, span)]);
    }
}
