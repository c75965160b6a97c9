/*
 * Optimistic limits: a process knows at least what it admitted itself, so of one window it admits no more than the limit; and so all of
 * them together no more than that times the processes.
 */
#include "tests/sim/sim.h"

#include <string.h>

/* Nothing is read in a window but what was admitted in it, wherever that was carried over to; a hostile peer says what it likes. */
static void check_counted(struct sim *sim, size_t node, unsigned key, uint64_t epoch, uint64_t admitted,
                          const struct tly_verdict *verdict)
{
    struct sim_counted *all = &sim->counted[key][epoch % SIM_EPOCHS];
    if (all->epoch < epoch) *all = (struct sim_counted){.epoch = epoch};
    if (all->epoch != epoch) return;
    all->admitted += admitted;
    sim_claim(sim, verdict->used <= all->admitted || sim->knobs.harmed,
              "n%zu reads %llu in one window of window:%u, in which all have admitted %llu", node,
              (unsigned long long)verdict->used, key, (unsigned long long)all->admitted);
}

void sim_check_admitted(struct sim *sim, size_t node, unsigned key, const struct tly_verdict *verdict,
                        uint32_t hits)
{
    struct sim_window *window = &sim->nodes[node].windows[key];
    struct tly_node_view view;
    tly_engine_node(sim->nodes[node].engine, false, &view);
    uint64_t epoch = view.cluster_ns / SIM_MS / verdict->window_ms;
    bool same = window->process == sim->nodes[node].process && window->epoch == epoch;
    if (!same) *window = (struct sim_window){.process = sim->nodes[node].process, .epoch = epoch};
    if (verdict->full) {
        if (window->admitted > 0) sim_check_crowded(sim, node, "window", key);
        return;
    }
    if (verdict->code == TLY_CODE_OK) window->admitted += hits;
    if (verdict->algorithm == TLY_FIXED_WINDOW)
        check_counted(sim, node, key, epoch, verdict->code == TLY_CODE_OK ? hits : 0, verdict);
    sim_tell(sim, "n%zu %s %u of window:%u in %llu, %llu left", node,
             verdict->code == TLY_CODE_OK ? "admits" : "refuses", hits, key, (unsigned long long)epoch,
             (unsigned long long)verdict->remaining);
    sim_claim(sim, window->admitted <= verdict->limit, "n%zu admits %llu of %llu in one window of window:%u",
              node, (unsigned long long)window->admitted, (unsigned long long)verdict->limit, key);
    sim_claim(sim, verdict->remaining <= verdict->limit - window->admitted,
              "n%zu says that %llu of %llu are left of window:%u, and has admitted %llu", node,
              (unsigned long long)verdict->remaining, (unsigned long long)verdict->limit, key,
              (unsigned long long)window->admitted);
}

/* Hard ones are not passed by all of them together: no bad luck adds anything to that. */
void sim_check_hard(struct sim *sim, uint64_t admitted, unsigned key)
{
    sim_claim(sim, admitted <= sim->knobs.hard_limit, "%llu of %llu are admitted in one window of hard:k%u",
              (unsigned long long)admitted, (unsigned long long)sim->knobs.hard_limit, key);
}

/* ---- of all kinds ---- */

static uint64_t cluster_ns(struct sim *sim, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(sim->nodes[node].engine, false, &view);
    return view.cluster_ns;
}

static struct sim_spent *spent_of(struct sim *sim, size_t node, enum sim_limit kind, unsigned key)
{
    struct sim_spent *spent = &sim->nodes[node].spent[kind][key];
    if (spent->process != sim->nodes[node].process)
        *spent = (struct sim_spent){.process = sim->nodes[node].process};
    return spent;
}

/* What is lost with a full bucket is lost: over any time it gives its burst and what flows in meanwhile. */
static void check_bucket(struct sim *sim, size_t node, struct sim_spent *spent, const struct tly_check *check,
                         uint64_t now_ns)
{
    uint64_t each = check->rate.window_ms * SIM_MS / check->rate.limit;
    uint64_t burst = check->rate.burst != 0 ? check->rate.burst : check->rate.limit;
    uint64_t passed = now_ns > spent->at_ns ? now_ns - spent->at_ns : 0;
    spent->level_ns = (spent->level_ns > passed ? spent->level_ns - passed : 0) + check->hits * each;
    spent->at_ns = now_ns;
    sim_claim(sim, spent->level_ns <= burst * each + SIM_MS, "n%zu has let %.3f units out of %.*s, of %llu",
              node, (double)spent->level_ns / (double)each, (int)check->key.n, (const char *)check->key.p,
              (unsigned long long)burst);
}

static void check_window(struct sim *sim, size_t node, struct sim_spent *spent, const struct tly_check *check,
                         uint64_t now_ns)
{
    /* A minute of the calendar is one of the clock. */
    uint64_t epoch = now_ns / SIM_MS / check->rate.window_ms;
    if (spent->epoch != epoch) spent->admitted = 0;
    spent->epoch = epoch;
    spent->admitted += check->hits;
    sim_claim(sim, spent->admitted <= check->rate.limit, "n%zu admits %llu of %llu in one window of %.*s",
              node, (unsigned long long)spent->admitted, (unsigned long long)check->rate.limit,
              (int)check->key.n, (const char *)check->key.p);
}

/* Whether any other counts as a member, reachable or not. */
static bool has_others(const struct sim *sim, size_t node)
{
    const struct tly_engine *engine = sim->nodes[node].engine;
    for (size_t i = 0; i < tly_engine_peers(engine); i++) {
        struct tly_peer_view peer;
        tly_engine_peer(engine, i, &peer);
        bool counts = strcmp(peer.state, "unknown") != 0 && strcmp(peer.state, "left") != 0;
        if (counts && strcmp(peer.state, "forgotten") != 0) return true;
    }
    return false;
}

/*
 * What a process has counted in a life stays within the cap until others have heard of it.  What it found there, of the process before it, is
 * all unheard until they say once more that they have it (heat.h); that may be more than the cap, and then nothing is admitted.  So is what it
 * counted while all others had left and none had to hear of it, from when one is back: that one admits nothing before it has it.
 */
static void check_cap(struct sim *sim, size_t node, struct sim_spent *spent, const struct tly_check *check,
                      const struct tly_verdict *verdict)
{
    struct tly_node_view view;
    tly_engine_node(sim->nodes[node].engine, false, &view);
    uint64_t epoch = view.cluster_ns / SIM_MS / check->rate.window_ms, cap = check->rate.cap;
    uint64_t life = view.life_in_question ? ~view.origin : view.origin;
    uint64_t counted = tly_verdict_counts(verdict) ? check->hits : 0;
    if (spent->found_epoch != epoch || spent->found_life != life) {
        spent->found_epoch = epoch;
        spent->found_life = life;
        spent->found = verdict->own - counted;
    }
    if (!has_others(sim, node))
        spent->found = verdict->own;
    else
        sim_claim(sim, counted == 0 || !view.life_in_question,
                  "n%zu admits %llu of %.*s in a life that no other node counts", node,
                  (unsigned long long)counted, (int)check->key.n, (const char *)check->key.p);
    sim_claim(sim, verdict->unheard <= cap || verdict->own <= spent->found,
              "n%zu has admitted %llu of %.*s that others have not heard of, and may %llu", node,
              (unsigned long long)verdict->unheard, (int)check->key.n, (const char *)check->key.p,
              (unsigned long long)cap);
    uint64_t left = cap > verdict->unheard ? cap - verdict->unheard : 0;
    sim_claim(sim, verdict->remaining <= left,
              "n%zu says that %llu of %.*s are left, where others have not heard of %llu, and it may %llu",
              node, (unsigned long long)verdict->remaining, (int)check->key.n, (const char *)check->key.p,
              (unsigned long long)verdict->unheard, (unsigned long long)cap);
}

void sim_check_spent(struct sim *sim, size_t node, enum sim_limit kind, unsigned key,
                     const struct tly_check *check, const struct tly_verdict *verdict)
{
    struct sim_spent *spent = spent_of(sim, node, kind, key);
    uint64_t now_ns = cluster_ns(sim, node);
    sim_tell(sim, "n%zu %s %u of %.*s, %llu left", node, verdict->code == TLY_CODE_OK ? "admits" : "refuses",
             check->hits, (int)check->key.n, (const char *)check->key.p,
             (unsigned long long)verdict->remaining);
    if (verdict->mode == TLY_CAPPED && verdict->is_judged) check_cap(sim, node, spent, check, verdict);
    /* What one gives back, another may have. */
    if (kind == SIM_LIMIT_SPARED || !tly_verdict_counts(verdict) || check->hits == 0) return;
    if (check->rate.algorithm == TLY_TOKEN_BUCKET)
        check_bucket(sim, node, spent, check, now_ns);
    else
        check_window(sim, node, spent, check, now_ns);
}

/* What an install puts aside until its life is settled counts again later. */
void sim_forget_admitted(struct sim_node *node)
{
    memset(node->windows, 0, sizeof node->windows);
    memset(node->spent, 0, sizeof node->spent);
}
