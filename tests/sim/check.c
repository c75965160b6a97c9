#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

#define LOOK_GAP (500 * SIM_MS)
#define LOOK_DOTS 20
#define LOOK_KEYS 4
/* From the end of all trouble on: a silent connection is given up, one that failed is tried again, a snapshot is installed. */
#define AGREE_NS (120 * SIM_S)
/* What the marks of a hostile peer hide is found by comparisons, a minute apart; one that comes upon changes looks at a sample. */
#define COMPARED_NS (60 * SIM_S)

/* What must hold at any time. */
void sim_look(struct sim *sim)
{
    sim_push(sim, sim_gap(sim, LOOK_GAP), (struct sim_event){.kind = SIM_EV_LOOK});
    sim_check_hostile(sim);
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        if (sim->nodes[i].engine == NULL) continue;
        sim_twin_check_marks(sim, i, LOOK_DOTS);
        sim_check_returns(sim, i, LOOK_KEYS);
        sim_check_floors(sim, i);
        sim_check_audit(sim, i);
        sim_check_memory(sim, i);
        sim_watch_look(sim, i);
    }
}

/* ---- the end ---- */

static uint64_t digest(struct sim *sim, size_t i)
{
    struct tly_node_view view;
    sim->nodes[i].is_due_known = false;
    tly_engine_node(sim->nodes[i].engine, true, &view);
    return view.digest;
}

static size_t first_there(const struct sim *sim)
{
    size_t i = 0;
    while (i + 1 < sim->knobs.nodes && sim->nodes[i].gone)
        i++;
    return i;
}

static bool agree_from(struct sim *sim, size_t from)
{
    uint64_t first = 0;
    for (size_t i = from; i < sim->knobs.nodes; i++) {
        if (sim->nodes[i].gone) continue;
        if (!sim_is_up(sim, i)) return false;
        uint64_t here = digest(sim, i);
        if (i == from) first = here;
        if (here != first) return false;
    }
    return true;
}

static bool all_agree(struct sim *sim)
{
    return agree_from(sim, first_there(sim));
}

/* What is absent reads as 0. */
static struct tly_value read_at(struct sim *sim, size_t i, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(key)};
    if (sim_ask(sim, i, &request, &reply) != TLY_OK) return (struct tly_value){0};
    return reply.value;
}

/* The latest that it is anywhere. */
static uint64_t latest_ms(const struct sim *sim)
{
    uint64_t latest = 0;
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct tly_node_view view;
        if (sim->nodes[i].engine == NULL) continue;
        tly_engine_node(sim->nodes[i].engine, false, &view);
        if (view.cluster_ns / SIM_MS > latest) latest = view.cluster_ns / SIM_MS;
    }
    return latest;
}

/* Which node is past a deadline first is a matter of its clock. */
static bool is_same(const struct sim *sim, const struct tly_value *a, const struct tly_value *b)
{
    if (!a->present && !b->present) return true;
    if (a->present != b->present) {
        uint64_t deadline_ms = a->present ? a->deadline_ms : b->deadline_ms;
        return deadline_ms != 0 && deadline_ms <= latest_ms(sim);
    }
    return a->count == b->count && a->epoch == b->epoch && a->deadline_ms == b->deadline_ms &&
           tly_slice_equal(a->bytes, b->bytes);
}

/*
 * What a life that was made up says may be missing below its mark, which somebody else had from the hostile peer; or a REMOVE that some had forgotten
 * and others have back from a disk took it away (D126). Only a comparison brings either.
 */
static bool is_kept_by_odd_one(struct sim *sim, size_t i, const char *key)
{
    bool is_odd_one = !sim->nodes[0].gone && (sim->knobs.odd & SIM_ODD_NO_REPAIR) != 0;
    return is_odd_one && (sim_hostile_said(sim, 0, key) || sim_hostile_said(sim, i, key));
}

static const char kinds[] = "ackm";

/* Of every key, on every node, the same reading. */
static bool read_alike(struct sim *sim, bool must)
{
    size_t from = first_there(sim);
    for (size_t k = 0; k < sizeof kinds - 1; k++)
        for (unsigned key = 0; key < sim->knobs.keys; key++) {
            char text[24];
            struct tly_value first = read_at(sim, from, sim_key(kinds[k], key, text));
            for (size_t i = from; i < sim->knobs.nodes; i++) {
                if (sim->nodes[i].gone) continue;
                struct tly_value here = read_at(sim, i, text);
                bool same = is_same(sim, &first, &here) || is_kept_by_odd_one(sim, i, text);
                sim_claim(sim, same || !must, "n%zu reads %lld (%zu bytes) for %s, n%zu %lld (%zu bytes)", i,
                          (long long)here.count, here.bytes.n, text, from, (long long)first.count,
                          first.bytes.n);
                if (!same) return false;
            }
        }
    return true;
}

static bool all_there(const struct sim *sim)
{
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        if (!sim->nodes[i].gone && !sim_is_up(sim, i)) return false;
    return true;
}

/* Counters that are only added to read what was promised, and no more than was told. */
static void check_ledger(struct sim *sim)
{
    size_t at = first_there(sim);
    for (unsigned key = 0; key < sim->knobs.keys; key++) {
        char text[24];
        int64_t least, most, count = read_at(sim, at, sim_key('a', key, text)).count;
        sim_ledger_bounds(sim, at, key, &least, &most);
        sim_claim(sim, count >= least && count <= most, "%s reads %lld; promised were %lld, told %lld", text,
                  (long long)count, (long long)least, (long long)most);
    }
    int64_t least, most, sum = sim_fresh_sum(sim, at);
    sim_ledger_bounds(sim, at, SIM_FRESH, &least, &most);
    sim_claim(sim, sum >= least && sum <= most, "new keys read %lld in all; promised were %lld, told %lld",
              (long long)sum, (long long)least, (long long)most);
}

static void tell_differences(struct sim *sim)
{
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        if (sim->nodes[i].engine == NULL) {
            sim_tell(sim, "n%zu is down%s", i, sim->nodes[i].gone ? " for good" : "");
            continue;
        }
        struct tly_node_view view;
        struct tly_forget_view forgetting;
        tly_engine_node(sim->nodes[i].engine, true, &view);
        tly_engine_forgetting(sim->nodes[i].engine, &forgetting);
        sim_tell(sim, "n%zu: %llx, digest %llx, %zu keys, %zu lives, %zu peers up, F %llu, forgotten %llu", i,
                 (unsigned long long)view.origin, (unsigned long long)view.digest, view.keys, view.lives,
                 view.peers_up, (unsigned long long)forgetting.f, (unsigned long long)forgetting.forgotten);
    }
    size_t from = first_there(sim);
    for (size_t i = from + 1; i < sim->knobs.nodes; i++) {
        if (sim->nodes[i].engine == NULL || sim->nodes[from].engine == NULL) continue;
        if (digest(sim, i) == digest(sim, from)) continue;
        sim_twin_tell_differences(sim, from, i);
        break;
    }
}

/* How long it took until all read the same. */
static uint64_t wait_for_readings(struct sim *sim)
{
    uint64_t from = sim->now, most = AGREE_NS + (sim->faults[SIM_HARM] > 0 ? COMPARED_NS : 0);
    while (!all_there(sim) || !read_alike(sim, false)) {
        sim_run(sim, sim->now + 200 * SIM_MS);
        if (sim->now < from + most) continue;
        tell_differences(sim);
        (void)read_alike(sim, true);
        sim_fail(sim, "not all are up %llu s after the trouble was over", (unsigned long long)(most / SIM_S));
    }
    return sim->now - from;
}

static bool come_to_agree(struct sim *sim)
{
    uint64_t until = sim->now + sim->knobs.settle_ns;
    while (!all_agree(sim)) {
        sim_run(sim, sim->now + SIM_S);
        if (sim->now >= until) return false;
    }
    return true;
}

/* Whether they have not all forgotten the same, though all have the same. */
static bool forgot_apart(const struct sim *sim)
{
    struct tly_forget_view first, other;
    size_t from = first_there(sim);
    if (!sim_is_up(sim, from)) return false;
    tly_engine_forgetting(sim->nodes[from].engine, &first);
    for (size_t i = from + 1; i < sim->knobs.nodes; i++) {
        if (sim->nodes[i].gone || !sim_is_up(sim, i)) continue;
        tly_engine_forgetting(sim->nodes[i].engine, &other);
        if (other.f != first.f || other.forgotten != first.forgotten) return true;
    }
    return false;
}

/* Whether one that is linked is not known to have all of some life: then nothing that is over goes. Who made it could say how far it came. */
static bool is_short_of_a_life(const struct sim *sim)
{
    size_t from = first_there(sim);
    if (!sim_is_up(sim, from)) return false;
    const struct tly_engine *engine = sim->nodes[from].engine;
    for (size_t i = 0; i < tly_engine_lives(engine); i++) {
        struct tly_life life = tly_engine_life(engine, i);
        if (life.state < TLY_LIFE_SETTLED && life.last > life.mark) return true;
    }
    return false;
}

static void forget_the_gone(struct sim *sim)
{
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        if (sim->nodes[i].gone) sim_forget(sim, first_there(sim), i);
}

/*
 * What is over is forgotten, by each at its time; then all are the same to the byte. But equal F is not to be had where members are gone for good
 * and not forgotten (D127): who began anew meanwhile waits for their word. Nor does all go by the same F where they left a life whose end
 * nobody heard. The operator says then that they are gone (design 1.6).
 */
static void wait_for_digests(struct sim *sim)
{
    if (come_to_agree(sim)) return;
    if (sim->knobs.minority_gone && (forgot_apart(sim) || is_short_of_a_life(sim))) {
        forget_the_gone(sim);
        if (come_to_agree(sim)) return;
    }
    /*
     * A register of a node that is brought up is dropped there when the source has forgotten newer deletes; who has it says it again, by
     * repair, which this one cannot.
     */
    bool is_odd_one = !sim->nodes[0].gone && (sim->knobs.odd & SIM_ODD_NO_REPAIR) != 0;
    if (is_odd_one && agree_from(sim, 1)) return;
    tell_differences(sim);
    sim_fail(sim, "not the same %llu s after the trouble was over",
             (unsigned long long)(sim->knobs.settle_ns / SIM_S));
}

uint64_t sim_check_readings(struct sim *sim)
{
    return wait_for_readings(sim);
}

/* What ends goes there with what the next answers say. */
static void wait_for_follower(struct sim *sim)
{
    size_t from = first_there(sim);
    for (unsigned turn = 0; !sim_follows(sim, from, turn == 600); turn++) {
        sim_claim(sim, turn < 600, "the follower does not hold what n%zu holds", from);
        sim_run(sim, sim->now + SIM_S);
    }
    sim_check_kept(sim, from);
}

uint64_t sim_check_end(struct sim *sim)
{
    uint64_t took = wait_for_readings(sim);
    sim_tell(sim, "all agree after %.3f s", (double)took / 1e9);
    wait_for_digests(sim);
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        if (sim->nodes[i].engine != NULL) {
            sim_twin_check_marks(sim, i, 2 * sim_twin_count(sim));
            sim_check_returns(sim, i, 2 * sim_twin_keys(sim));
            /* Who is lost and lives on knows shards of some and not of others. */
            if (!sim->nodes[i].gone) sim_hard_end(sim, i);
        }
    (void)read_alike(sim, true);
    check_ledger(sim);
    sim_check_quiet(sim);
    wait_for_follower(sim);
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        if (sim->nodes[i].gone) continue;
        sim_limits_end(sim, i);
        sim_watch_look(sim, i);
    }
    return took;
}
