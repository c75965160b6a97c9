/*
 * Watchers, in some seeds: one on each node for each kind of key. Whoever reads all changes knows what each key reads as: what changed was told,
 * and what was told had changed. A deadline that passes is told by nobody.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

static const char watched_kinds[SIM_WATCHED + 1] = "ckm";

static uint64_t print_of(uint64_t print, uint64_t word)
{
    return (print ^ word ^ word >> 32) * UINT64_C(0x100000001b3);
}

/* What a key reads as. */
static struct sim_reading reading_of(const struct tly_value *value)
{
    struct sim_reading reading = {0};
    if (!value->present) return reading;
    uint64_t print = print_of(UINT64_C(0xcbf29ce484222325), value->epoch);
    print = print_of(print_of(print, (uint64_t)value->count), value->bytes.n);
    for (size_t i = 0; i < value->bytes.n; i++)
        print = print_of(print, value->bytes.p[i]);
    return (struct sim_reading){.print = print | 1, .deadline_ms = value->deadline_ms};
}

static struct sim_reading read_now(struct sim *sim, size_t i, size_t kind, unsigned key)
{
    char text[24];
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_READ,
                                  .key = tly_slice_text(sim_key(watched_kinds[kind], key, text))};
    if (sim_ask(sim, i, &request, &reply) != TLY_OK) return (struct sim_reading){0};
    return reading_of(&reply.value);
}

static bool is_same(struct sim_reading a, struct sim_reading b)
{
    return a.print == b.print && a.deadline_ms == b.deadline_ms;
}

static void read_all(struct sim *sim, size_t i, size_t kind)
{
    for (unsigned key = 0; key < sim->knobs.keys; key++)
        sim->nodes[i].told[kind][key] = read_now(sim, i, kind, key);
}

void sim_watch_begin(struct sim *sim, size_t i)
{
    for (size_t kind = 0; sim->knobs.watches && kind < SIM_WATCHED; kind++) {
        char text[24];
        const char *any = sim_key(watched_kinds[kind], 0, text);
        struct tly_slice prefix = tly_slice_of(any, strlen(any) - 1);
        struct tly_engine *engine = sim->nodes[i].engine;
        enum tly_result result = tly_engine_watch(engine, prefix, &sim->nodes[i].watches[kind]);
        sim_claim(sim, result == TLY_OK, "n%zu has no watcher: %s", i, tly_result_text(result));
        read_all(sim, i, kind);
    }
}

/* Whether its time is over by now, which is in no change. */
static bool is_past(struct sim *sim, size_t i, const struct sim_reading *reading)
{
    struct tly_node_view view;
    tly_engine_node(sim->nodes[i].engine, false, &view);
    return reading->deadline_ms != 0 && reading->deadline_ms <= view.cluster_ns / SIM_MS;
}

static void take(struct sim *sim, size_t i, size_t kind, const struct tly_change *change)
{
    char text[24];
    struct tly_slice prefix = tly_slice_text(sim_key(watched_kinds[kind], 0, text));
    unsigned key = 0;
    for (size_t at = prefix.n - 1; at < change->key.n; at++) {
        if (change->key.p[at] < '0' || change->key.p[at] > '9') return; /* a new one of fresh.c */
        key = key * 10 + change->key.p[at] - '0';
    }
    sim_claim(sim, key < sim->knobs.keys, "n%zu: a change of a key that nobody has", i);
    struct sim_reading *told = &sim->nodes[i].told[kind][key], now = reading_of(&change->value);
    sim_claim(sim, !is_same(*told, now) || is_past(sim, i, told), "n%zu tells of %c%u, which reads as before",
              i, watched_kinds[kind], key);
    *told = now;
}

void sim_watch_look(struct sim *sim, size_t i)
{
    for (size_t kind = 0; sim->knobs.watches && kind < SIM_WATCHED; kind++) {
        struct tly_change change;
        while (tly_watch_next(sim->nodes[i].engine, sim->nodes[i].watches[kind], &change)) {
            if (change.resync)
                read_all(sim, i, kind);
            else
                take(sim, i, kind, &change);
        }
        for (unsigned key = 0; key < sim->knobs.keys; key++) {
            struct sim_reading *told = &sim->nodes[i].told[kind][key], now = read_now(sim, i, kind, key);
            sim_claim(sim, is_same(*told, now) || is_past(sim, i, told),
                      "n%zu does not tell of %c%u, which reads otherwise", i, watched_kinds[kind], key);
            *told = now;
        }
    }
}

void sim_watch_end(struct sim *sim, size_t i)
{
    for (size_t kind = 0; sim->knobs.watches && kind < SIM_WATCHED; kind++)
        tly_engine_unwatch(sim->nodes[i].engine, sim->nodes[i].watches[kind]);
}
