#include "tests/sim/sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const sim_fault_words[SIM_FAULT_COUNT] = {
#define SIM_FAULT_WORD(name, word, weight) [SIM_##name] = word,
    SIM_FAULTS(SIM_FAULT_WORD)
#undef SIM_FAULT_WORD
};

/* ---- faults ---- */

static void heal_later(struct sim *sim, enum sim_fault fault, size_t a, size_t b)
{
    struct sim_event heal = {.kind = SIM_EV_HEAL, .a = fault, .b = a, .c = b};
    sim_push(sim, SIM_MS + sim_gap(sim, 8 * SIM_S), heal);
}

static void start_later(struct sim *sim, size_t i)
{
    sim_push(sim, sim_gap(sim, 2 * SIM_S), (struct sim_event){.kind = SIM_EV_START, .node = i});
}

void sim_keep_out(struct sim *sim, size_t i, bool out)
{
    for (size_t other = 0; other < sim->knobs.nodes; other++) {
        if (other == i) continue;
        sim_block(sim, i, other, out);
        sim_block(sim, other, i, out);
    }
}

/* All links between two halves. */
static void part(struct sim *sim, uint64_t sides, bool parted)
{
    for (size_t a = 0; a < sim->knobs.nodes; a++)
        for (size_t b = 0; b < sim->knobs.nodes; b++)
            if (((sides >> a) & 1) != ((sides >> b) & 1)) sim_block(sim, a, b, parted);
}

/* One older disk in all: of two, each may have had what the other one lost. */
static void roll_back(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    if (sim->rolled_back) return;
    if (!node->has_copy) {
        sim_disk_copy(&node->copy, &node->disk);
        sim_promises_copied(sim, i);
        node->copy.clean = false;
        node->copied_at = sim->now;
        node->has_copy = true;
        return;
    }
    sim->rolled_back = true;
    sim_kill(sim, i, false);
    sim_promises_rolled_back(sim, i);
    node->made = (struct sim_made){0};
    sim_tell(sim, "n%zu goes on with its disk of %.3f s", i, (double)node->copied_at / 1e9);
    sim_disk_free(&node->disk);
    node->disk = node->copy;
    node->copy = (struct sim_disk){0};
    node->has_copy = false;
    start_later(sim, i);
}

void sim_forget(struct sim *sim, size_t by, size_t whom)
{
    sim->nodes[whom].was_forgotten = true;
    char name[24];
    (void)snprintf(name, sizeof name, "n%zu", whom);
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text(name)};
    enum tly_result result = sim_ask(sim, by, &request, &reply);
    sim_tell(sim, "n%zu forgets %s: %s", by, name, tly_result_text(result));
}

/*
 * By one that is there, of one that is away. Of two that were each said to be gone for good one was not, and what both counted alone since
 * is more than either can carry over (DESIGN.md, limits): who was forgotten forgets nobody.
 */
static void forget(struct sim *sim, size_t by, size_t whom)
{
    if (by == whom || sim_is_up(sim, whom) || sim->nodes[by].was_forgotten) return;
    sim_forget(sim, by, whom);
}

static void step_clock(struct sim *sim, size_t i)
{
    uint64_t most = sim->knobs.skew_ns + SIM_S;
    if (sim->nodes[i].offset_ns > sim->most_ahead_ns) sim->most_ahead_ns = sim->nodes[i].offset_ns;
    sim->nodes[i].offset_ns = (int64_t)sim_below(sim, 2 * most) - (int64_t)most;
    sim->nodes[i].is_due_known = false;
    sim_tell(sim, "n%zu: its clock is %lld ms off", i, (long long)(sim->nodes[i].offset_ns / 1000000));
}

/* ---- alone, and forgotten ---- */

enum { LONE_IS_FORGOTTEN, LONE_IS_BACK, LONE_IS_OVER };

/* Two such times are over before it gives up the others itself: each side would settle the other's lives alone. */
static void lone_later(struct sim *sim, uint64_t in_ns, size_t i, size_t what)
{
    uint64_t most = sim->knobs.forget_after_ms * SIM_MS / 3;
    sim_push(sim, in_ns < most ? in_ns : most,
             (struct sim_event){.kind = SIM_EV_HEAL, .a = SIM_LONE, .b = i, .c = what});
}

/*
 * It counts on behind a cut, and is forgotten, and its life settled without what it counted there, before it is back. One at a time: where those who
 * say that others are gone are cut off themselves, each side settles the other's lives alone, and what was carried over by one end of a life counts
 * twice when a later one stands (DESIGN.md, limits).
 */
static void leave_alone(struct sim *sim, size_t i)
{
    if (sim->is_one_alone) return;
    sim->is_one_alone = true;
    sim_tell(sim, "n%zu is alone", i);
    sim_keep_out(sim, i, true);
    lone_later(sim, sim_gap(sim, 6 * SIM_S), i, LONE_IS_FORGOTTEN);
}

static void forget_who_is_alone(struct sim *sim, size_t i)
{
    size_t nodes = sim->knobs.nodes, first = sim_below(sim, nodes);
    lone_later(sim, sim_gap(sim, 20 * SIM_S), i, LONE_IS_BACK);
    for (size_t n = 0; n < nodes; n++) {
        size_t by = (first + n) % nodes;
        if (by == i || !sim_is_up(sim, by) || sim->nodes[by].was_forgotten) continue;
        sim_forget(sim, by, i);
        return;
    }
}

static void let_back(struct sim *sim, size_t i)
{
    if (sim_chance(sim, 30)) step_clock(sim, i);
    if (sim_chance(sim, 50) && sim_is_up(sim, i)) {
        sim_kill(sim, i, false);
        start_later(sim, i);
    }
    sim_tell(sim, "n%zu is let back", i);
    sim_keep_out(sim, i, false);
    lone_later(sim, sim_gap(sim, 10 * SIM_S), i, LONE_IS_OVER);
}

static void go_on_alone(struct sim *sim, size_t i, size_t what)
{
    if (what == LONE_IS_FORGOTTEN) forget_who_is_alone(sim, i);
    if (what == LONE_IS_BACK) let_back(sim, i);
    if (what == LONE_IS_OVER) sim->is_one_alone = false;
}

static bool go_wrong_alone(struct sim *sim, enum sim_fault fault, size_t i)
{
    switch (fault) {
    case SIM_KILL:
    case SIM_POWER_CUT:
        sim_kill(sim, i, fault == SIM_POWER_CUT);
        start_later(sim, i);
        return true;
    case SIM_STOP: sim_stop(sim, i); return true;
    case SIM_PAUSE:
        sim_pause(sim, i, true);
        heal_later(sim, fault, i, 0);
        return true;
    case SIM_DISK_FAILS:
        sim_disk_fail(sim, i, true);
        heal_later(sim, fault, i, 0);
        return true;
    case SIM_OLD_DISK: roll_back(sim, i); return true;
    case SIM_CLOCK_STEP: step_clock(sim, i); return true;
    case SIM_COMPACT: sim_disk_compact(sim, i); return true;
    case SIM_HARM: sim_hostile(sim, i); return true;
    case SIM_STRANGER: sim_stranger(sim, i); return true;
    case SIM_LONE: leave_alone(sim, i); return true;
    default: return false;
    }
}

static void go_wrong_between(struct sim *sim, enum sim_fault fault, size_t a, size_t b)
{
    sim_tell(sim, "n%zu n%zu: %s", a, b, sim_fault_words[fault]);
    switch (fault) {
    case SIM_CUT: sim_tear_pair(sim, a, b); return;
    case SIM_CLOG: sim_clog(sim, a, b, true); break;
    case SIM_BLACKHOLE:
        sim_block(sim, a, b, true);
        sim_block(sim, b, a, true);
        break;
    case SIM_THIN:
        sim_rate(sim, a, b, 1000 + sim_below(sim, 30000));
        sim_rate(sim, b, a, 1000 + sim_below(sim, 30000));
        break;
    default: return;
    }
    heal_later(sim, fault, a, b);
}

static enum sim_fault choose(struct sim *sim)
{
    unsigned total = 0;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        total += sim->knobs.weights[i];
    uint64_t at = sim_below(sim, total);
    size_t fault = 0;
    while (at >= sim->knobs.weights[fault])
        at -= sim->knobs.weights[fault++];
    return (enum sim_fault)fault;
}

void sim_skip(struct sim_skips *skips, uint64_t fault)
{
    if (fault < SIM_SKIPS_MAX) skips->bits[fault / 8] |= (uint8_t)(1u << fault % 8);
}

bool sim_is_skipped(const struct sim_skips *skips, uint64_t fault)
{
    return fault < SIM_SKIPS_MAX && (skips->bits[fault / 8] >> fault % 8 & 1) != 0;
}

void sim_fault(struct sim *sim)
{
    if (!sim->troubled) return;
    sim_push(sim, sim_gap(sim, sim->knobs.fault_gap_ns), (struct sim_event){.kind = SIM_EV_FAULT});
    enum sim_fault fault = choose(sim);
    size_t a = sim_below(sim, sim->knobs.nodes), b = sim_below(sim, sim->knobs.nodes - 1);
    if (b >= a) b++;
    if (!sim_is_up(sim, a)) return;
    if (sim_is_skipped(&sim->skips, ++sim->fault_number)) return;
    sim_tell(sim, "fault %llu", (unsigned long long)sim->fault_number);
    sim->faults[fault]++;
    if (fault == SIM_PARTITION) {
        uint64_t sides = sim_below(sim, UINT64_C(1) << (sim->knobs.nodes < 63 ? sim->knobs.nodes : 63));
        sim_tell(sim, "partition %llx", (unsigned long long)sides);
        part(sim, sides, true);
        heal_later(sim, fault, sides, 0);
    } else if (fault == SIM_FORGET) {
        forget(sim, a, b);
    } else if (!go_wrong_alone(sim, fault, a)) {
        go_wrong_between(sim, fault, a, b);
    }
}

void sim_heal(struct sim *sim, const struct sim_event *event)
{
    size_t a = event->b, b = event->c;
    if (!sim->troubled) return; /* all is mended already */
    switch ((enum sim_fault)event->a) {
    case SIM_PAUSE:
        if (sim->nodes[a].paused) sim_pause(sim, a, false);
        break;
    case SIM_DISK_FAILS:
        if (sim_is_up(sim, a)) sim_disk_fail(sim, a, false);
        break;
    case SIM_CLOG: sim_clog(sim, a, b, false); break;
    case SIM_BLACKHOLE:
        sim_block(sim, a, b, false);
        sim_block(sim, b, a, false);
        break;
    case SIM_THIN:
        sim_rate(sim, a, b, 0);
        sim_rate(sim, b, a, 0);
        break;
    case SIM_PARTITION: part(sim, event->b, false); break;
    case SIM_LONE: go_on_alone(sim, a, b); break;
    default: break;
    }
}

/* One that never comes back: it is dead, or lives on alone and nobody ever hears of it. */
static void lose(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    node->gone = true;
    if (sim_chance(sim, 50) && node->engine != NULL) sim_kill(sim, i, true);
    sim_tell(sim, "n%zu is lost for good%s", i, node->engine != NULL ? ", and lives on" : "");
    sim_keep_out(sim, i, true);
}

static void lose_minority(struct sim *sim)
{
    size_t nodes = sim->knobs.nodes;
    assert(nodes > 0);
    size_t first = sim_below(sim, nodes);
    for (size_t i = 0; i < (nodes - 1) / 2; i++)
        lose(sim, (first + i) % nodes);
}

/* What did not fit is to come now: each is stopped, and starts without a ceiling. */
static void give_room(struct sim *sim)
{
    if (sim->knobs.memory_max == 0) return;
    sim->knobs.memory_max = 0;
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        if (!sim->nodes[i].gone && sim_is_up(sim, i)) sim_stop(sim, i);
}

void sim_mend(struct sim *sim)
{
    sim_tell(sim, "the trouble is over");
    sim->troubled = false;
    sim_heal_links(sim);
    if (sim->knobs.minority_gone) lose_minority(sim);
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->paused) sim_pause(sim, i, false);
        if (node->engine != NULL && node->disk_fails) sim_disk_fail(sim, i, false);
        if (node->engine == NULL && !node->gone)
            sim_push(sim, 0, (struct sim_event){.kind = SIM_EV_START, .node = i});
    }
    give_room(sim);
}
