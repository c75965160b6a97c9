/*
 * Clients that bring new keys all the time, until memory_max is reached: counters and registers, which stay and have one place in the ledger
 * all together, and windows, which end.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

/* Long ones, so that a few thousand are too many. */
#define KEY_BYTES 448
/* So many are more than there is room for. */
#define ENOUGH 3000

static struct tly_slice key_of(const char *prefix, unsigned number, char text[KEY_BYTES])
{
    int n = snprintf(text, KEY_BYTES, "%s%u", prefix, number);
    memset(text + n, '.', KEY_BYTES - (size_t)n);
    return tly_slice_of((const uint8_t *)text, KEY_BYTES);
}

static void count(struct sim *sim, size_t i, unsigned number)
{
    char text[KEY_BYTES];
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_ADD, .key = key_of("ctr:new:", number, text), .number = 1};
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || result == TLY_FULL || result == TLY_CLOCK_AHEAD,
              "n%zu does not add to new counter %u: %s", i, number, tly_result_text(result));
    if (result == TLY_OK) sim_promise(sim, i, SIM_FRESH, 1);
}

static void put(struct sim *sim, size_t i, unsigned number)
{
    static uint8_t bytes[SIM_FRESH_BYTES];
    char text[KEY_BYTES];
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_PUT, .key = key_of("kv:new:", number, text)};
    request.bytes = sim_some_bytes(sim, bytes, sim_below(sim, sizeof bytes));
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || result == TLY_FULL || result == TLY_CLOCK_AHEAD,
              "n%zu does not write new register %u: %s", i, number, tly_result_text(result));
    if (result == TLY_OK) sim_promise_fresh(sim, i, number);
}

/* One that was counted is here, so there is room for the next hit, too. */
static void check(struct sim *sim, size_t i, unsigned number)
{
    char text[KEY_BYTES];
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    request.check = (struct tly_check){
        .key = key_of("window:new:", number, text), .rate = {.limit = 2, .window_ms = 5000}, .hits = 1};
    bool was_full = false;
    for (uint64_t used = 1; used <= 2 && !was_full; used++) {
        enum tly_result result = sim_ask(sim, i, &request, &reply);
        sim_claim(sim, result == TLY_OK, "n%zu does not check new window %u: %s", i, number,
                  tly_result_text(result));
        was_full = reply.verdict.full;
        if (was_full && used > 1) sim_check_crowded(sim, i, "new window", number);
        sim_claim(sim, was_full || (reply.verdict.code == TLY_CODE_OK && reply.verdict.used == used),
                  "n%zu: window %u is new, and %llu are used", i, number,
                  (unsigned long long)reply.verdict.used);
    }
}

void sim_fresh_once(struct sim *sim, size_t i)
{
    for (uint64_t left = sim_below(sim, sim->knobs.fresh + 1); left > 0 && sim->fresh_count < ENOUGH;
         left--) {
        unsigned number = sim->fresh_count++;
        switch (sim_below(sim, 5)) {
        case 0: check(sim, i, number); break;
        case 1: count(sim, i, (unsigned)sim_below(sim, number + 1)); break;
        case 2: count(sim, i, number); break;
        default: put(sim, i, number); break;
        }
    }
}

int64_t sim_fresh_sum(struct sim *sim, size_t i)
{
    int64_t sum = 0;
    for (unsigned number = 0; number < sim->fresh_count; number++) {
        char text[KEY_BYTES];
        struct tly_reply reply;
        struct tly_request request = {.kind = TLY_ASK_READ, .key = key_of("ctr:new:", number, text)};
        if (sim_ask(sim, i, &request, &reply) == TLY_OK) sum += reply.value.count;
        request.key = key_of("kv:new:", number, text);
        if (sim_ask(sim, i, &request, &reply) == TLY_OK) sum++;
    }
    return sum;
}

bool sim_fresh_was_left(struct sim *sim, size_t at, unsigned number)
{
    char text[KEY_BYTES];
    struct tly_slice key = key_of("kv:new:", number, text);
    bool was_settled = sim->was_one_forgotten && sim_twin_was_settled_without(sim, at, key);
    return was_settled || sim_twin_went_unheard(sim, at, key);
}
