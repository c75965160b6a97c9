#include "bench/support_overshoot.h"

#include "bench/support.h"
#include "tests/engine/support_net.h"
#include "tests/support/mem.h"

#include <stdlib.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)
/* Until all are linked, and their clocks agree. */
#define SETTLE_NS (20 * S)
/* Windows that pass before the first one that is judged. */
#define WARM 2
#define WINDOWS_MAX 4096
#define BURST_EVERY_NS (700 * MS)
#define BURST_NS (60 * MS)
/* Of a flush: so often something else is counted while it goes on, so that each link is flushed in a rhythm of its own. */
#define OTHER_PER_FLUSH 4
#define OTHER_FLUSHES 3

struct window {
    uint64_t admitted, over; /* over: of a sliding window at its worst moment */
    uint64_t bound;
    uint64_t could; /* be admitted: see ideal_cap */
};

#define CAP_MAX 1024

/* What one node has admitted of the window that nobody has acknowledged, oldest first, in a ring. */
struct ideal {
    const struct window *window;
    uint64_t at[CAP_MAX], begin, count;
};

struct world {
    const struct tly_overshoot_plan *plan;
    struct net *net;
    uint64_t seed, first, window_ns; /* first: number of the window in which judging begins */
    uint64_t next[TLY_OVERSHOOT_NODES_MAX], gap_ns[TLY_OVERSHOOT_NODES_MAX];
    uint64_t other_at[TLY_OVERSHOOT_NODES_MAX];
    uint64_t rhythms; /* that were begun */
    struct window windows[WINDOWS_MAX];
    uint64_t tat_ns; /* of a bucket: true of all together */
    uint64_t burst_until, burst_at, fault_at, heal_at, ended;
    bool is_parted; /* not every member can hear every other */
    uint64_t whole_at;
    struct ideal ideal[TLY_OVERSHOOT_NODES_MAX];
    size_t dead; /* node; SIZE_MAX: none */
};

const char *tly_overshoot_fault_name(enum tly_overshoot_fault fault)
{
    static const char *const names[] = {"none", "bursts", "cut", "restart", "clocks"};
    return names[fault];
}

/* An exponentially distributed number with this mean, from uniform ones alone (von Neumann 1951). */
static uint64_t exponential(uint64_t *seed, uint64_t mean)
{
    for (uint64_t whole = 0;; whole++) {
        uint64_t first = tly_bench_next(seed), last = first;
        bool odd = true;
        for (uint64_t next; (next = tly_bench_next(seed)) < last; last = next)
            odd = !odd;
        if (odd) return whole * mean + (uint64_t)((double)mean * ((double)first / 18446744073709551616.0));
    }
}

/* ---- making ---- */

static void set_rates(struct world *w)
{
    const struct tly_overshoot_plan *plan = w->plan;
    uint64_t parts = plan->nodes - 1 + plan->skew;
    for (size_t i = 0; i < plan->nodes; i++) {
        uint64_t of = i == 0 ? plan->skew : 1;
        w->gap_ns[i] = S * parts / (plan->rate * of);
    }
}

/* A hard limit is one that every node knows by name. */
static void use_limit(struct world *w, size_t node)
{
    struct tly_mem mem = test_mem();
    struct tly_rule rule = {.name = "k", .rate = w->plan->limit};
    if (w->plan->limit.mode != TLY_HARD) return;
    struct tly_rules *rules = tly_rules_new(&mem);
    if (rules == NULL) tly_bench_fail("%s", "no memory");
    tly_bench_must(tly_rules_add(rules, &rule), "adding a limit");
    tly_engine_use_rules(net_node(w->net, node), rules);
}

static void make_nodes(struct world *w)
{
    const struct tly_overshoot_plan *plan = w->plan;
    struct tly_engine_config config = {.flush_ms = (uint32_t)plan->flush_ms,
                                       .horizon_ns = plan->plain ? TLY_HORIZON_PLAIN : 0};
    w->net = net_new(plan->delay_ms * MS);
    for (size_t i = 0; i < plan->nodes; i++) {
        if (plan->fault == TLY_FAULT_CLOCKS)
            net_shift_wall(w->net, i, (int64_t)tly_bench_below(&w->seed, S) - (int64_t)(S / 2));
        (void)net_add_with(w->net, config, i == 0 ? 0 : 1);
        use_limit(w, i);
    }
    net_run(w->net, SETTLE_NS);
}

static uint64_t true_ns(const struct world *w)
{
    return NET_WALL_START + net_now(w->net);
}

/*
 * A node that has been silent says the next thing at once, and what follows one flush later. Were the limit all there is, every node would
 * therefore begin its rhythm with the window, and the limit be reached at the same point of it in every window. So shortly before each
 * window each node counts something else, from a moment that is spread evenly over a flush (by the golden ratio).
 */
static void begin_rhythm(struct world *w, size_t node)
{
    uint64_t flush_ns = w->plan->flush_ms * MS, wall = true_ns(w);
    uint64_t ahead = OTHER_FLUSHES * flush_ns, window = (wall + ahead) / w->window_ns + 1;
    double part = (double)++w->rhythms * 0.6180339887498949;
    uint64_t shift = (uint64_t)((double)flush_ns * (part - (double)(uint64_t)part));
    w->other_at[node] = window * w->window_ns - ahead + shift - NET_WALL_START;
}

static void count_other(struct world *w, size_t node)
{
    uint64_t until = true_ns(w) % w->window_ns + OTHER_FLUSHES * w->plan->flush_ms * MS;
    if (node != w->dead) (void)net_add_to(w->net, node, "other", 1);
    w->other_at[node] += w->plan->flush_ms * MS / OTHER_PER_FLUSH;
    if (until < w->window_ns) begin_rhythm(w, node); /* the window has begun */
}

static void start(struct world *w, const struct tly_overshoot_plan *plan)
{
    *w = (struct world){.plan = plan, .seed = plan->seed, .dead = SIZE_MAX};
    w->window_ns = plan->limit.window_ms * MS;
    if (plan->nodes > TLY_OVERSHOOT_NODES_MAX || plan->windows + WARM + 4 > WINDOWS_MAX)
        tly_bench_fail("%s", "a plan that is too large");
    set_rates(w);
    make_nodes(w);
    w->first = true_ns(w) / w->window_ns + WARM;
    w->fault_at = net_now(w->net) + (WARM + 1) * w->window_ns;
    w->heal_at = UINT64_MAX;
    w->burst_at = w->fault_at;
    for (size_t i = 0; i < plan->nodes; i++)
        w->next[i] = net_now(w->net) + exponential(&w->seed, w->gap_ns[i]);
    for (size_t i = 0; i < plan->nodes; i++)
        begin_rhythm(w, i);
}

/* ---- faults ---- */

static void cut(struct world *w, bool cuts)
{
    size_t half = w->plan->nodes / 2;
    for (size_t a = 0; a < half; a++)
        for (size_t b = half; b < w->plan->nodes; b++) {
            net_block(w->net, a, b, cuts);
            net_block(w->net, b, a, cuts);
            if (cuts) net_cut(w->net, a, b);
        }
}

static void begin_fault(struct world *w)
{
    uint64_t lasts = w->window_ns / 2 + tly_bench_below(&w->seed, 2 * w->window_ns);
    if (w->plan->fault == TLY_FAULT_CUT) cut(w, true);
    if (w->plan->fault == TLY_FAULT_RESTART) {
        w->dead = 1 + tly_bench_below(&w->seed, w->plan->nodes - 1);
        net_kill(w->net, w->dead);
        w->ended++;
    }
    w->heal_at = net_now(w->net) + lasts;
    w->fault_at = UINT64_MAX;
    w->is_parted = true;
}

static void end_fault(struct world *w)
{
    if (w->plan->fault == TLY_FAULT_CUT) cut(w, false);
    if (w->plan->fault == TLY_FAULT_RESTART) {
        net_restart(w->net, w->dead, 1000 + tly_bench_below(&w->seed, UINT64_C(1) << 40), 0);
        use_limit(w, w->dead);
    }
    w->dead = SIZE_MAX;
    w->heal_at = UINT64_MAX;
    w->fault_at = net_now(w->net) + w->window_ns + tly_bench_below(&w->seed, 4 * w->window_ns);
}

static bool is_whole(const struct world *w)
{
    for (size_t i = 0; i < w->plan->nodes; i++)
        if (i == w->dead || net_peers_up(w->net, i) + 1 < w->plan->nodes) return false;
    return true;
}

static void step_faults(struct world *w)
{
    uint64_t now = net_now(w->net);
    if (w->is_parted && w->heal_at == UINT64_MAX && is_whole(w)) {
        w->is_parted = false;
        w->whole_at = now;
    }
    if (w->plan->fault == TLY_FAULT_BURSTS && now >= w->burst_at) {
        w->burst_until = now + BURST_NS;
        w->burst_at = now + BURST_EVERY_NS + tly_bench_below(&w->seed, BURST_EVERY_NS);
        for (size_t i = 0; i < w->plan->nodes; i++)
            w->next[i] = now + exponential(&w->seed, w->gap_ns[i] / 10);
    }
    bool is_fault = w->plan->fault == TLY_FAULT_CUT || w->plan->fault == TLY_FAULT_RESTART;
    if (is_fault && now >= w->fault_at) begin_fault(w);
    if (is_fault && now >= w->heal_at) end_fault(w);
}

/* ---- asking ---- */

static struct window *window_at(struct world *w, uint64_t number)
{
    bool is_judged = number >= w->first && number - w->first < WINDOWS_MAX;
    return is_judged ? &w->windows[number - w->first] : NULL;
}

/* Of a sliding window, by its own formula over what all admitted. */
static uint64_t passed_by(struct world *w, uint64_t number, uint64_t now_ns)
{
    const struct window *window = window_at(w, number), *before = window_at(w, number - 1);
    if (window == NULL) return 0;
    uint64_t used = window->admitted, limit = w->plan->limit.limit;
    uint64_t left_ms = (w->window_ns - now_ns % w->window_ns) / MS;
    if (w->plan->limit.algorithm == TLY_SLIDING_WINDOW && before != NULL)
        used += before->admitted * left_ms / w->plan->limit.window_ms;
    return used > limit ? used - limit : 0;
}

/* A bucket's debt beyond its burst, by one reckoning over what all admitted. */
static uint64_t bucket_over(struct world *w, uint64_t now_ns)
{
    const struct tly_rate *rate = &w->plan->limit;
    uint64_t emission = w->window_ns / rate->limit,
             tolerance = emission * (rate->burst != 0 ? rate->burst : rate->limit);
    if (w->tat_ns < now_ns) w->tat_ns = now_ns;
    w->tat_ns += emission;
    uint64_t debt = w->tat_ns - now_ns;
    return debt > tolerance ? (debt - tolerance) / emission : 0;
}

static void publish(struct world *w, uint64_t number, uint64_t bound)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct window *window = window_at(w, number - i);
        if (window != NULL && bound > window->bound) window->bound = bound;
    }
}

/* Cluster time at the node, which is that of its windows. */
static uint64_t node_ns(struct world *w, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(w->net, node), false, &view);
    return view.cluster_ns;
}

/* From a unit to the word of all that they have it: it waits half a flush, and that word 50 to 100 ms. */
static uint64_t ack_ns(const struct tly_overshoot_plan *plan)
{
    return plan->flush_ms * MS / 2 + 2 * plan->delay_ms * MS + 75 * MS;
}

/*
 * What a cap permits at best, of a limit of which everybody knows all: an ask is admitted if of what the node admitted in this window less
 * than the cap is unacknowledged, and nothing is acknowledged while one cannot hear another.
 */
static void count_ideal(struct world *w, size_t node, struct window *window)
{
    struct ideal *ideal = &w->ideal[node];
    uint64_t now = net_now(w->net), cap = w->plan->limit.mode == TLY_CAPPED ? w->plan->limit.cap : CAP_MAX;
    if (ideal->window != window) *ideal = (struct ideal){.window = window};
    for (; ideal->count > 0 && !w->is_parted; ideal->begin++, ideal->count--) {
        uint64_t at = ideal->at[ideal->begin % CAP_MAX];
        if ((at > w->whole_at ? at : w->whole_at) + ack_ns(w->plan) > now) break;
    }
    if (window->could >= w->plan->limit.limit || ideal->count >= cap) return;
    window->could++;
    if (w->plan->limit.mode == TLY_CAPPED) ideal->at[(ideal->begin + ideal->count++) % CAP_MAX] = now;
}

static void ask(struct world *w, size_t node)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    struct tly_reply reply;
    request.check.key = tly_slice_text("k");
    request.check.rate = w->plan->limit;
    if (w->plan->limit.mode == TLY_HARD) request.check.limit = request.check.key;
    request.check.hits = 1;
    tly_bench_must(net_ask(w->net, node, request, &reply), "asking");
    uint64_t now_ns = node_ns(w, node), number = now_ns / w->window_ns;
    struct window *window = window_at(w, number);
    publish(w, number, reply.verdict.bound);
    if (window != NULL) count_ideal(w, node, window);
    if (reply.verdict.code != TLY_CODE_OK) return;
    if (window != NULL) window->admitted++;
    bool is_bucket = w->plan->limit.algorithm == TLY_TOKEN_BUCKET;
    uint64_t over = is_bucket ? bucket_over(w, now_ns) : passed_by(w, number, now_ns);
    if (window != NULL && over > window->over) window->over = over;
}

static size_t first_of(const struct world *w, const uint64_t *at)
{
    size_t first = 0;
    for (size_t i = 1; i < w->plan->nodes; i++)
        if (at[i] < at[first]) first = i;
    return first;
}

static void run_until(struct world *w, uint64_t at)
{
    if (at > net_now(w->net)) net_run(w->net, at - net_now(w->net));
}

static bool step(struct world *w, uint64_t until)
{
    size_t node = first_of(w, w->next), other = first_of(w, w->other_at);
    if (w->next[node] >= until) return false;
    if (w->other_at[other] < w->next[node]) {
        run_until(w, w->other_at[other]);
        count_other(w, other);
        return true;
    }
    run_until(w, w->next[node]);
    step_faults(w);
    bool bursts = net_now(w->net) < w->burst_until;
    w->next[node] += exponential(&w->seed, bursts ? w->gap_ns[node] / 10 : w->gap_ns[node]);
    if (node != w->dead) ask(w, node);
    return true;
}

/* ---- judging ---- */

static void judge(const struct world *w, struct tly_overshoot *result)
{
    uint64_t limit = w->plan->limit.limit;
    *result = (struct tly_overshoot){.windows = w->plan->windows, .used_least = UINT64_MAX};
    for (size_t i = 0; i < w->plan->windows; i++) {
        const struct window *window = &w->windows[i + 1];
        uint64_t used = window->admitted < limit ? window->admitted : limit;
        result->windows_over += window->over > 0;
        result->over_sum += window->over;
        if (window->over > result->over_most) result->over_most = window->over;
        if (window->admitted > result->most) result->most = window->admitted;
        result->used_sum += used;
        result->could_sum += window->could;
        if (used < result->used_least) result->used_least = used;
        result->bound_sum += window->bound;
        result->bound_false += window->over > window->bound;
    }
    result->ended = w->ended;
}

void tly_overshoot_run(const struct tly_overshoot_plan *plan, struct tly_overshoot *result)
{
    struct world *w = tly_bench_new(1, sizeof *w);
    start(w, plan);
    uint64_t until = (w->first + plan->windows + 2) * w->window_ns - NET_WALL_START;
    while (step(w, until))
        continue;
    judge(w, result);
    net_free(w->net);
    free(w);
}
