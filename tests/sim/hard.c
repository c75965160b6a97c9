/*
 * Hard limits, in some seeds: a window of so many units, asked for at once or reserved first, and a counter between bounds. Of no window is more
 * admitted in all than its limit, whatever goes wrong, and the counter is within its bounds once all is known.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define HELD_MS 3000
#define HOLDS_MAX 64
#define STOCK_KEY "rl:c:stock:"

/* Of a window of a key what was admitted for good: what is reserved and not settled yet may come back. */
struct window {
    unsigned key;
    uint64_t epoch, admitted;
};

struct hold {
    size_t node; /* and its process; 0: it is settled, or whoever knows it is gone */
    uint64_t process, number, epoch;
    unsigned key;
    uint32_t hits;
};

struct sim_hard {
    struct window *windows;
    size_t window_count, windows_capacity;
    struct hold holds[HOLDS_MAX];
    uint64_t hold_number;
};

struct sim_hard *sim_hard_new(void)
{
    struct sim_hard *hard = calloc(1, sizeof *hard);
    if (hard == NULL) abort();
    return hard;
}

void sim_hard_free(struct sim_hard *hard)
{
    free(hard->windows);
    free(hard);
}

/* ---- the limits ---- */

void sim_hard_rules(struct sim *sim, struct tly_rules *rules)
{
    sim_add_rule(sim, rules, "hard", "hard",
                 (struct tly_rate){.limit = sim->knobs.hard_limit,
                                   .window_ms = sim->knobs.hard_window_ms,
                                   .algorithm = TLY_FIXED_WINDOW});
    sim_add_rule(sim, rules, "stock", "hard",
                 (struct tly_rate){.limit = sim->knobs.hard_limit, .algorithm = TLY_COUNTER});
}

static unsigned key_count(const struct sim *sim)
{
    return sim->knobs.keys < 3 ? sim->knobs.keys : 3;
}

static const char *key_text(unsigned key, char text[24])
{
    (void)snprintf(text, 24, "k%u", key);
    return text;
}

/* ---- what was admitted ---- */

static uint64_t epoch_at(struct sim *sim, size_t i)
{
    struct tly_node_view view;
    tly_engine_node(sim->nodes[i].engine, false, &view);
    return view.cluster_ns / SIM_MS / sim->knobs.hard_window_ms;
}

static struct window *need_window(struct sim_hard *hard, unsigned key, uint64_t epoch)
{
    for (size_t i = hard->window_count; i-- > 0;)
        if (hard->windows[i].key == key && hard->windows[i].epoch == epoch) return &hard->windows[i];
    hard->windows =
        sim_grow(hard->windows, &hard->windows_capacity, hard->window_count, sizeof *hard->windows);
    hard->windows[hard->window_count] = (struct window){.key = key, .epoch = epoch};
    return &hard->windows[hard->window_count++];
}

static void admit(struct sim *sim, size_t i, unsigned key, uint64_t epoch, uint64_t hits)
{
    struct window *window = need_window(sim->hard, key, epoch);
    window->admitted += hits;
    sim_tell(sim, "n%zu admits %llu of hard:k%u in %llu", i, (unsigned long long)hits, key,
             (unsigned long long)epoch);
    sim_check_hard(sim, window->admitted, key);
}

static enum tly_result ask(struct sim *sim, size_t i, struct tly_request *request, struct tly_reply *reply)
{
    enum tly_result result = sim_ask(sim, i, request, reply);
    bool refused = result == TLY_FULL || result == TLY_NO_HOLD;
    sim_claim(sim, result == TLY_OK || refused, "n%zu does not answer: %s", i, tly_result_text(result));
    return result;
}

static void check(struct sim *sim, size_t i, unsigned key, uint32_t hits)
{
    char text[24];
    struct tly_field field = {tly_slice_text("who"), tly_slice_text(key_text(key, text))};
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    struct tly_reply reply;
    request.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = hits};
    if (ask(sim, i, &request, &reply) != TLY_OK) return;
    sim_claim(sim, reply.verdict.mode == TLY_HARD && reply.verdict.bound == 0,
              "n%zu: a hard limit that can be passed by %llu", i, (unsigned long long)reply.verdict.bound);
    if (reply.verdict.code == TLY_CODE_OK) admit(sim, i, key, epoch_at(sim, i), hits);
}

static struct tly_slice name_of(const struct hold *hold, char text[24])
{
    (void)snprintf(text, 24, "h%llu", (unsigned long long)hold->number);
    return tly_slice_text(text);
}

static void reserve(struct sim *sim, size_t i, unsigned key, uint32_t hits)
{
    struct sim_hard *hard = sim->hard;
    struct hold *hold = &hard->holds[++hard->hold_number % HOLDS_MAX];
    *hold = (struct hold){i, sim->nodes[i].process, hard->hold_number, epoch_at(sim, i), key, hits};
    char text[24], id[24];
    struct tly_field field = {tly_slice_text("who"), tly_slice_text(key_text(key, text))};
    struct tly_request request = {.kind = TLY_ASK_RESERVE, .bytes = name_of(hold, id), .number = HELD_MS};
    struct tly_reply reply;
    request.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = hits};
    bool is_open = ask(sim, i, &request, &reply) == TLY_OK && reply.hold.state == TLY_HOLD_OPEN;
    if (!is_open) hold->process = 0;
}

/* One that this process gave, if there is one: less than it, or all, or nothing. */
static void settle(struct sim *sim, size_t i)
{
    struct hold *hold = &sim->hard->holds[sim_below(sim, HOLDS_MAX)];
    if (hold->node != i || hold->process != sim->nodes[i].process) return;
    char id[24];
    bool commits = sim_chance(sim, 70);
    struct tly_request request = {.kind = commits ? TLY_ASK_COMMIT : TLY_ASK_CANCEL,
                                  .bytes = name_of(hold, id)};
    struct tly_reply reply;
    request.number = (int64_t)sim_below(sim, hold->hits + 1);
    hold->process = 0;
    if (ask(sim, i, &request, &reply) != TLY_OK || reply.hold.state != TLY_HOLD_COMMITTED) return;
    sim_claim(sim, commits && reply.hold.charged == (uint64_t)request.number,
              "n%zu: %llu were charged for %lld", i, (unsigned long long)reply.hold.charged,
              (long long)request.number);
    admit(sim, i, hold->key, hold->epoch, reply.hold.charged);
}

static void move_stock(struct sim *sim, size_t i, unsigned key, uint32_t hits)
{
    char text[24];
    struct tly_field field = {tly_slice_text("who"), tly_slice_text(key_text(key, text))};
    struct tly_request request = {.kind = sim_chance(sim, 60) ? TLY_ASK_CHECK : TLY_ASK_REFUND};
    struct tly_reply reply;
    request.check = (struct tly_check){
        .limit = tly_slice_text("stock"), .fields = &field, .field_count = 1, .hits = hits};
    (void)ask(sim, i, &request, &reply);
}

void sim_hard_once(struct sim *sim, size_t i)
{
    unsigned key = (unsigned)sim_below(sim, key_count(sim));
    uint32_t hits = 1 + (uint32_t)sim_below(sim, 3);
    switch (sim_below(sim, 6)) {
    case 0:
    case 1: check(sim, i, key, hits); break;
    case 2: reserve(sim, i, key, hits); break;
    case 3: settle(sim, i); break;
    default: move_stock(sim, i, key, hits); break;
    }
}

void sim_hard_end(struct sim *sim, size_t i)
{
    for (unsigned key = 0; sim->knobs.hard && key < key_count(sim); key++) {
        char text[24], name[48];
        struct tly_reply reply;
        (void)snprintf(name, sizeof name, STOCK_KEY "%s", key_text(key, text));
        struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(name)};
        if (sim_ask(sim, i, &request, &reply) != TLY_OK) continue;
        sim_claim(sim, reply.value.count >= 0 && (uint64_t)reply.value.count <= sim->knobs.hard_limit,
                  "n%zu: %s reads %lld of %llu", i, name, (long long)reply.value.count,
                  (unsigned long long)sim->knobs.hard_limit);
    }
}
