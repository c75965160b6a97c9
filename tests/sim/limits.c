/*
 * Clients of all kinds of limits, in some seeds: token buckets, windows of the calendar, capped windows, what is in flight, giving back, and
 * several limits in one check, of which all are charged or none. What the answers must be is in check_limits.c and check_several.c.
 */
#include "service/engine/rule.h"
#include "tests/sim/sim.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLIGHT_MS 3000
#define IN_FLIGHT_MAX 64
#define SEVERAL_MAX 4

/* Units of concurrency that a process has given out. */
struct flight {
    size_t node;
    uint64_t process, number, end_ms; /* process 0: it has come back */
    unsigned key;
    uint32_t hits;
};

struct sim_limits {
    struct flight flights[IN_FLIGHT_MAX];
    uint64_t number;
};

struct sim_limits *sim_limits_new(void)
{
    struct sim_limits *limits = calloc(1, sizeof *limits);
    if (limits == NULL) abort();
    return limits;
}

void sim_limits_free(struct sim_limits *limits)
{
    free(limits);
}

/* ---- rules ---- */

void sim_add_rule(struct sim *sim, struct tly_rules *rules, const char *name, const char *mode,
                  struct tly_rate rate)
{
    struct tly_rule rule = {.field_count = 1, .field = {"who"}, .rate = rate};
    (void)snprintf(rule.name, sizeof rule.name, "%s", name);
    enum tly_result result = tly_mode_parse(tly_slice_text(mode), &rule.rate);
    if (result == TLY_OK) result = tly_rules_add(rules, &rule);
    sim_claim(sim, result == TLY_OK, "no limit %s: %s", name, tly_result_text(result));
}

void sim_limits_begin(struct sim *sim, size_t i)
{
    if (!sim->knobs.hard && !sim->knobs.limits) return;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    if (rules == NULL) abort();
    if (sim->knobs.hard) sim_hard_rules(sim, rules);
    if (sim->knobs.limits)
        sim_add_rule(sim, rules, "flight", "optimistic",
                     (struct tly_rate){.limit = SIM_FLIGHT_LIMIT,
                                       .window_ms = 2 * FLIGHT_MS,
                                       .algorithm = TLY_CONCURRENCY});
    tly_engine_use_rules(sim->nodes[i].engine, rules);
}

/* ---- rates ---- */

static const struct {
    const char *name, *rate, *mode;
    enum tly_algorithm algorithm;
    uint64_t burst;
} kinds[SIM_LIMIT_KINDS] = {
    [SIM_LIMIT_BUCKET] = {"bucket", "20/1s", "optimistic", TLY_TOKEN_BUCKET, 40},
    [SIM_LIMIT_SLOW_BUCKET] = {"slow", "5/1m", "optimistic", TLY_TOKEN_BUCKET, 0},
    [SIM_LIMIT_QUOTA] = {"quota", "50/1m", "optimistic", TLY_QUOTA, 0},
    [SIM_LIMIT_CAPPED] = {"capped", "60/5s", "capped: 5", TLY_FIXED_WINDOW, 0},
    [SIM_LIMIT_SPARED] = {"spared", "30/20s", "optimistic", TLY_FIXED_WINDOW, 0},
    [SIM_LIMIT_SLIDING] = {"sliding", "25/4s", "optimistic", TLY_SLIDING_WINDOW, 0},
};

static struct tly_rate rate_of(const struct sim *sim, enum sim_limit kind)
{
    struct tly_rate rate = {0};
    enum tly_result result = tly_rate_parse(tly_slice_text(kinds[kind].rate), &rate);
    if (result == TLY_OK) result = tly_mode_parse(tly_slice_text(kinds[kind].mode), &rate);
    rate.algorithm = kinds[kind].algorithm;
    rate.burst = kinds[kind].burst;
    sim_claim(sim, result == TLY_OK, "a rate is not one");
    return rate;
}

static unsigned some_key(struct sim *sim)
{
    return (unsigned)sim_below(sim, sim->knobs.keys < SIM_LIMIT_KEYS ? sim->knobs.keys : SIM_LIMIT_KEYS);
}

static struct tly_check check_of(const struct sim *sim, enum sim_limit kind, const char *group, unsigned key,
                                 uint32_t hits, char text[24])
{
    (void)snprintf(text, 24, "%s%s:%u", group, kinds[kind].name, key);
    return (struct tly_check){.key = tly_slice_text(text), .rate = rate_of(sim, kind), .hits = hits};
}

/* ---- one limit ---- */

static void check_one(struct sim *sim, size_t i)
{
    char text[24];
    struct tly_reply reply;
    unsigned key = some_key(sim);
    enum sim_limit kind = (enum sim_limit)sim_below(sim, SIM_LIMIT_KINDS);
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    request.check = check_of(sim, kind, "", key, (uint32_t)sim_below(sim, 5), text);
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK, "n%zu does not check %s: %s", i, text, tly_result_text(result));
    sim_check_spent(sim, i, kind, key, &request.check, &reply.verdict);
}

/* Never more than was charged, and as much as that is less used then. */
static void give_back(struct sim *sim, size_t i)
{
    char text[24];
    struct tly_reply before, after;
    unsigned key = some_key(sim);
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    request.check = check_of(sim, SIM_LIMIT_SPARED, "", key, 0, text);
    enum tly_result result = sim_ask(sim, i, &request, &before);
    request.kind = TLY_ASK_REFUND;
    request.check.hits = 1 + (uint32_t)sim_below(sim, 3);
    if (result == TLY_OK) result = sim_ask(sim, i, &request, &after);
    sim_claim(sim, result == TLY_OK, "n%zu does not give back to %s: %s", i, text, tly_result_text(result));
    sim_claim(sim,
              after.refunded <= request.check.hits &&
                  before.verdict.used == after.verdict.used + after.refunded,
              "n%zu gives back %llu of %u, and of %s %llu were used and %llu are", i,
              (unsigned long long)after.refunded, request.check.hits, text,
              (unsigned long long)before.verdict.used, (unsigned long long)after.verdict.used);
}

/* ---- in flight ---- */

static uint64_t now_ms(struct sim *sim, size_t i)
{
    struct tly_node_view view;
    tly_engine_node(sim->nodes[i].engine, false, &view);
    return view.cluster_ns / SIM_MS;
}

static struct tly_slice name_of(const struct flight *flight, char text[24])
{
    (void)snprintf(text, 24, "f%llu", (unsigned long long)flight->number);
    return tly_slice_text(text);
}

static uint64_t in_flight(struct sim *sim, size_t i, unsigned key)
{
    uint64_t sum = 0, now = now_ms(sim, i);
    for (size_t j = 0; j < IN_FLIGHT_MAX; j++) {
        const struct flight *flight = &sim->limits->flights[j];
        if (flight->node == i && flight->process == sim->nodes[i].process && flight->key == key &&
            flight->end_ms > now)
            sum += flight->hits;
    }
    return sum;
}

static void take_off(struct sim *sim, size_t i)
{
    struct flight *flight = &sim->limits->flights[++sim->limits->number % IN_FLIGHT_MAX];
    uint32_t hits = 1 + (uint32_t)sim_below(sim, 2);
    char key[24], id[24];
    struct tly_field field = {tly_slice_text("who"), {0}};
    struct tly_request request = {.kind = TLY_ASK_RESERVE, .number = FLIGHT_MS};
    struct tly_reply reply;
    *flight = (struct flight){.node = i, .number = sim->limits->number, .key = some_key(sim), .hits = hits};
    (void)snprintf(key, sizeof key, "k%u", flight->key);
    field.value = tly_slice_text(key);
    request.bytes = name_of(flight, id);
    request.check = (struct tly_check){
        .limit = tly_slice_text("flight"), .fields = &field, .field_count = 1, .hits = hits};
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || result == TLY_FULL, "n%zu does not lease: %s", i,
              tly_result_text(result));
    if (result != TLY_OK || reply.hold.state != TLY_HOLD_OPEN) return;
    flight->process = sim->nodes[i].process;
    flight->end_ms = reply.hold.end_ms;
    uint64_t sum = in_flight(sim, i, flight->key);
    sim_claim(sim, sum <= SIM_FLIGHT_LIMIT, "n%zu has %llu of %d in flight", i, (unsigned long long)sum,
              SIM_FLIGHT_LIMIT);
}

static void land(struct sim *sim, size_t i)
{
    struct flight *flight = &sim->limits->flights[sim_below(sim, IN_FLIGHT_MAX)];
    if (flight->node != i || flight->process != sim->nodes[i].process) return;
    char id[24];
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CANCEL, .bytes = name_of(flight, id)};
    bool is_over = flight->end_ms <= now_ms(sim, i);
    flight->process = 0;
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || (is_over && result == TLY_NO_HOLD), "n%zu does not take %s back: %s",
              i, id, tly_result_text(result));
}

/* ---- several in one check ---- */

static void check_several(struct sim *sim, size_t i)
{
    char text[SEVERAL_MAX][24];
    struct tly_checked checks[SEVERAL_MAX];
    size_t count = 2 + sim_below(sim, SEVERAL_MAX - 1);
    for (size_t j = 0; j < count; j++) {
        enum sim_limit kind = (enum sim_limit)sim_below(sim, SIM_LIMIT_KINDS);
        checks[j] = (struct tly_checked){
            .check = check_of(sim, kind, "s:", some_key(sim), (uint32_t)sim_below(sim, 4), text[j])};
    }
    sim_check_several(sim, i, sim_chance(sim, 70) ? TLY_ASK_CHECK_ALL : TLY_ASK_CHECK_EACH, checks, count);
}

/* Of those that are only asked for with others: what was admitted by one is not looked at. */
static void reset(struct sim *sim, size_t i)
{
    char text[24];
    struct tly_reply reply;
    enum sim_limit kind = (enum sim_limit)sim_below(sim, SIM_LIMIT_KINDS);
    struct tly_request request = {.kind = TLY_ASK_RESET};
    request.check = check_of(sim, kind, "s:", some_key(sim), 0, text);
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || result == TLY_NOT_FOUND || result == TLY_FULL,
              "n%zu does not reset %s: %s", i, text, tly_result_text(result));
    if (result != TLY_OK) return;
    request.kind = TLY_ASK_CHECK;
    result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK && reply.verdict.used == 0, "n%zu has reset %s, of which %llu are used",
              i, text, (unsigned long long)reply.verdict.used);
}

void sim_limits_once(struct sim *sim, size_t i)
{
    switch (sim_below(sim, 16)) {
    case 0:
    case 1:
    case 2: check_several(sim, i); break;
    case 3:
    case 4: take_off(sim, i); break;
    case 5: land(sim, i); break;
    case 6: give_back(sim, i); break;
    case 7: reset(sim, i); break;
    default: check_one(sim, i); break;
    }
}

void sim_limits_end(struct sim *sim, size_t i)
{
    for (unsigned key = 0; sim->knobs.limits && key < SIM_LIMIT_KEYS; key++) {
        char text[24];
        struct tly_reply reply;
        (void)snprintf(text, sizeof text, "k%u", key);
        struct tly_field field = {tly_slice_text("who"), tly_slice_text(text)};
        struct tly_request request = {.kind = TLY_ASK_CHECK};
        request.check =
            (struct tly_check){.limit = tly_slice_text("flight"), .fields = &field, .field_count = 1};
        enum tly_result result = sim_ask(sim, i, &request, &reply);
        sim_claim(sim, result == TLY_OK && reply.verdict.used == 0, "n%zu: %llu of %s are in flight for ever",
                  i, (unsigned long long)reply.verdict.used, text);
    }
}
