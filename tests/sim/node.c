#include "tests/sim/sim.h"

#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Turns that a stopping node takes for what it still has for the disk. */
#define LAST_TURNS 64

struct tly_time sim_time(const struct sim *sim, size_t i)
{
    const struct sim_node *node = &sim->nodes[i];
    int64_t drift = (int64_t)(sim->now / 1000000) * node->drift_ppb / 1000;
    uint64_t wall = SIM_WALL_START + sim->now + (uint64_t)node->offset_ns + (uint64_t)drift;
    return (struct tly_time){.wall_ns = wall, .mono_ns = sim->now};
}

bool sim_is_up(const struct sim *sim, size_t i)
{
    return sim->nodes[i].engine != NULL && !sim->nodes[i].paused && !sim->nodes[i].stopping;
}

static uint64_t number_of(struct tly_slice digits)
{
    uint64_t number = 0;
    for (size_t i = 0; i < digits.n; i++)
        number = number * 10 + digits.p[i] - '0';
    return number;
}

static void tell_trace(struct sim *sim, size_t i, const struct tly_trace *trace)
{
    sim->traces[trace->kind]++;
    sim_tell(sim, "n%zu %s %.*s: %.*s", i, tly_trace_word(trace->kind), (int)trace->peer.n,
             (const char *)trace->peer.p, (int)trace->detail.n, (const char *)trace->detail.p);
    if (trace->kind == TLY_TRACE_INSTALLED || trace->kind == TLY_TRACE_LIFE_SETTLED) sim->nodes[i].brought++;
    if (trace->kind == TLY_TRACE_MEMBER_FORGOTTEN) sim->was_one_forgotten = true;
    if (trace->kind == TLY_TRACE_HELD_BACK && trace->peer.n > 1 && trace->peer.p[0] == 'n')
        sim_twin_note_left_out(sim, number_of(tly_slice_of(trace->peer.p + 1, trace->peer.n - 1)));
    if (trace->kind == TLY_TRACE_LIFE_SETTLED) {
        sim_check_settled(sim, i, number_of(trace->detail));
        sim_twin_note_settled(sim, i, number_of(trace->detail));
    }
    if (trace->kind != TLY_TRACE_INSTALLED) return;
    sim_forget_admitted(&sim->nodes[i]);
    sim->nodes[i].full.fits = false;
    /* What nobody had heard of the last life comes back once that is settled: until then less may be read. */
    memset(sim->nodes[i].seen, 0, sizeof sim->nodes[i].seen);
    sim_twin_installed(sim, i, trace->peer);
}

static void do_effect(struct sim *sim, size_t i, const struct tly_effect *effect)
{
    switch (effect->kind) {
    case TLY_DO_DIAL: sim_dial(sim, i, effect->conn, effect->bytes); break;
    case TLY_DO_SEND: sim_send(sim, i, effect->conn, effect->bytes); break;
    case TLY_DO_CLOSE: sim_close(sim, i, effect->conn); break;
    case TLY_DO_INSTALL_FIRST:
    case TLY_DO_INSTALL:
    case TLY_DO_INSTALL_LAST:
    case TLY_DO_APPEND:
        if (sim->watched != NULL)
            sim_tell(sim, "n%zu appends batch %llu, %zu bytes", i, (unsigned long long)effect->number,
                     effect->bytes.n);
        sim_twin_learn(sim, i, effect->bytes);
        sim_disk_take(sim, i, effect);
        break;
    case TLY_DO_TABLE_ROWS:
    case TLY_DO_TABLE: sim_claim(sim, false, "nobody here changes the table of prefixes"); break;
    case TLY_DO_LEASE: sim_disk_lease(sim, i, effect->number); break;
    case TLY_DO_WATCH:
    case TLY_DO_ACKED: break;
    case TLY_DO_TRACE: tell_trace(sim, i, &effect->trace); break;
    }
}

void sim_step(struct sim *sim, size_t i, struct tly_event event)
{
    struct sim_node *node = &sim->nodes[i];
    struct tly_effects effects;
    event.now = sim_time(sim, i);
    node->is_due_known = false;
    enum tly_result result = tly_engine_step(node->engine, &event, &effects);
    sim_claim(sim, result == TLY_OK, "n%zu did not take an event: %s", i, tly_result_text(result));
    for (size_t j = 0; j < effects.count; j++)
        do_effect(sim, i, &effects.list[j]);
    if (sim->watched != NULL) sim_twin_watch(sim, i, sim->watched);
}

enum tly_result sim_ask(struct sim *sim, size_t i, struct tly_request *request, struct tly_reply *reply)
{
    request->now = sim_time(sim, i);
    sim->nodes[i].is_due_known = false;
    enum tly_result result = tly_engine_ask(sim->nodes[i].engine, request, reply);
    sim_check_full(sim, i, request, result, reply);
    return result;
}

/* ---- up ---- */

static void make_engine(struct sim *sim, size_t i)
{
    char name[24], address[24];
    (void)snprintf(name, sizeof name, "n%zu", i);
    (void)snprintf(address, sizeof address, "n%zu:1", i);
    struct tly_engine_config config = {
        .mem = test_mem(),
        .seed = sim_below(sim, UINT64_MAX),
        .name = tly_slice_text(name),
        .cluster = tly_slice_text("sim"),
        .address = tly_slice_text(address),
        .lease = sim->nodes[i].disk.lease,
        .tombstone_grace_ms = sim->knobs.grace_ms,
        .forget_after_ms = sim->knobs.forget_after_ms,
        .memory_max = sim->knobs.memory_max,
        .on_full = sim->knobs.refuses_full ? TLY_ON_FULL_REFUSE : TLY_ON_FULL_ADMIT,
        .link_budget = sim->knobs.link_budget,
        .mesh_max = sim->knobs.mesh_max,
        .has_store = true,
        .now = sim_time(sim, i),
    };
    for (size_t j = 0; j < sizeof config.hash_key.secret; j++)
        config.hash_key.secret[j] = (uint8_t)sim_below(sim, 256);
    enum tly_result result = tly_engine_new(&config, &sim->nodes[i].engine);
    sim_claim(sim, result == TLY_OK, "n%zu: no engine: %s", i, tly_result_text(result));
}

void sim_start(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_disk *disk = &node->disk;
    node->process++;
    node->paused = node->stopping = node->disk_fails = node->write_due = false;
    memset(node->seen, 0, sizeof node->seen);
    sim_disk_open(sim, i);
    make_engine(sim, i);
    sim_disk_replay(sim, i);

    struct tly_time now = sim_time(sim, i);
    bool goes_on = disk->clean && disk->origin != 0;
    uint64_t origin = goes_on ? disk->origin : sim_below(sim, UINT64_MAX - 1) + 1;
    uint64_t lease = (disk->lease > now.wall_ns ? disk->lease : now.wall_ns) + TLY_CLOCK_LEASE_NS;
    sim_tell(sim, "n%zu starts as %llx%s", i, (unsigned long long)origin, goes_on ? " again" : "");
    sim_disk_begin(sim, i, origin, lease);
    sim_step(sim, i, (struct tly_event){.kind = TLY_LEASED, .number = lease});
    enum tly_result result = goes_on ? tly_engine_resume(node->engine, origin, true, now)
                                     : tly_engine_start(node->engine, origin, now);
    sim_claim(sim, result == TLY_OK, "n%zu does not start: %s", i, tly_result_text(result));
    sim_limits_begin(sim, i);
    sim_watch_begin(sim, i);
    /* Everybody knows the first two. */
    for (size_t j = 0; j < 2 && j < sim->knobs.nodes; j++) {
        char seed[24];
        (void)snprintf(seed, sizeof seed, "n%zu:1", j);
        if (i != j) result = tly_engine_join(node->engine, tly_slice_text(seed));
        sim_claim(sim, result == TLY_OK, "n%zu does not join: %s", i, tly_result_text(result));
    }
    node->is_due_known = false;
}

/* ---- down ---- */

static void keep_stats(struct sim *sim, const struct tly_engine *engine)
{
    struct tly_stats stats;
    tly_engine_stats(engine, &stats);
    const uint64_t values[] = {
#define SIM_STAT(name, help) stats.name,
        TLY_STATS(SIM_STAT)
#undef SIM_STAT
    };
    size_t count = sizeof values / sizeof values[0];
    sim_claim(sim, count <= sizeof sim->stats / sizeof sim->stats[0], "too many kinds of numbers");
    for (size_t i = 0; i < count; i++)
        sim->stats[i] += values[i];
}

void sim_end_process(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    tly_engine_check(node->engine);
    sim_check_refused(sim, i);
    sim_watch_end(sim, i);
    keep_stats(sim, node->engine);
    sim_disk_let_go(node);
    tly_engine_free(node->engine);
    node->engine = NULL;
    node->process++;
    node->waiting_count = 0;
}

void sim_kill(struct sim *sim, size_t i, bool power)
{
    sim_tell(sim, "n%zu %s", i, power ? "has no power" : "is killed");
    sim->nodes[i].fell_at = sim->now;
    sim_promises_stored(sim, i);
    sim_promises_broken(sim, i, power);
    sim_disk_die(sim, i);
    sim_end_process(sim, i);
    sim_disk_crash(sim, i, power);
    sim_tear_node(sim, i, power);
}

void sim_stop(struct sim *sim, size_t i)
{
    sim_tell(sim, "n%zu is told to stop", i);
    sim->nodes[i].stopping = true;
    sim_step(sim, i, (struct tly_event){.kind = TLY_LEAVE});
    sim_push(sim, sim_below(sim, 200 * SIM_MS),
             (struct sim_event){.kind = SIM_EV_STOPPED, .node = i, .process = sim->nodes[i].process});
}

/* What the engine still has goes to the disk before the clean mark does. */
void sim_stopped(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    sim_push(sim, sim_gap(sim, SIM_S), (struct sim_event){.kind = SIM_EV_START, .node = i});
    if (node->disk_fails) {
        sim_kill(sim, i, false);
        return;
    }
    for (int turn = 0; turn < LAST_TURNS && tly_engine_deadline(node->engine) == 0; turn++)
        sim_step(sim, i, (struct tly_event){.kind = TLY_TICK});
    sim_disk_stop(sim, i);
    sim_end_process(sim, i);
    sim_tear_node(sim, i, false);
    sim_tell(sim, "n%zu has stopped", i);
}

void sim_pause(struct sim *sim, size_t i, bool paused)
{
    struct sim_node *node = &sim->nodes[i];
    sim_tell(sim, "n%zu %s", i, paused ? "is paused" : "goes on");
    node->paused = paused;
    node->is_due_known = false;
    if (paused) return;
    for (size_t j = 0; j < node->waiting_count; j++)
        sim_push(sim, 0, node->waiting[j]);
    node->waiting_count = 0;
}
