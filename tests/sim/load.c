#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Counters that are only added to ('a') have a ledger: what clients were told was counted, and of that what must be there in the
 * end whatever happens. The others are written in all ways ('c' counters, 'k' registers, 'm' maxima, 'w' windows), and must agree.
 */
struct sim_ledger {
    int64_t told[SIM_KEYS_MAX + 1];    /* the last: fresh.c */
    int64_t durable[SIM_KEYS_MAX + 1]; /* on a disk that was not rolled back */
    /* Durable units of each node with their time, in case its disk is rolled back. */
    struct sim_promise *kept[SIM_NODES_MAX];
    size_t kept_count[SIM_NODES_MAX], kept_capacity[SIM_NODES_MAX];
};

struct sim_ledger *sim_ledger_new(void)
{
    struct sim_ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL) abort();
    return ledger;
}

void sim_ledger_free(struct sim_ledger *ledger)
{
    for (size_t i = 0; i < SIM_NODES_MAX; i++)
        free(ledger->kept[i]);
    free(ledger);
}

const char *sim_key(char kind, unsigned key, char text[24])
{
    static const struct {
        char kind;
        const char *prefix;
    } prefixes[] = {{'a', "ctr:add:"}, {'c', "ctr:any:"}, {'k', "kv:"}, {'m', "em:"}, {'w', "window:"}};
    const char *prefix = "";
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (prefixes[i].kind == kind) prefix = prefixes[i].prefix;
    (void)snprintf(text, 24, "%s%u", prefix, key);
    return text;
}

/* ---- promises ---- */

static void keep(struct sim *sim, size_t i, const struct sim_promise *promise)
{
    struct sim_ledger *ledger = sim->ledger;
    ledger->durable[promise->key] += promise->delta;
    ledger->kept[i] =
        sim_grow(ledger->kept[i], &ledger->kept_capacity[i], ledger->kept_count[i], sizeof *ledger->kept[i]);
    ledger->kept[i][ledger->kept_count[i]++] = *promise;
}

void sim_promises_stored(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    size_t left = 0;
    for (size_t j = 0; j < node->promise_count; j++) {
        struct sim_promise *promise = &node->promises[j];
        if (promise->batches == 0 && tly_engine_is_stored(node->engine, promise->ticket))
            promise->batches = node->disk.written;
        if (promise->batches != 0 && promise->batches <= node->disk.synced)
            keep(sim, i, promise);
        else
            node->promises[left++] = *promise;
    }
    node->promise_count = left;
}

void sim_promises_broken(struct sim *sim, size_t i, bool power)
{
    struct sim_node *node = &sim->nodes[i];
    for (size_t j = 0; j < node->promise_count; j++)
        if (!power && node->promises[j].batches != 0) keep(sim, i, &node->promises[j]);
    node->promise_count = 0;
}

/* What is kept so far is there, and what is written. */
void sim_promises_copied(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_ledger *ledger = sim->ledger;
    sim_promises_stored(sim, i);
    for (size_t j = 0; j < ledger->kept_count[i]; j++)
        ledger->kept[i][j].is_copied = true;
    for (size_t j = 0; j < node->promise_count; j++)
        node->promises[j].is_copied = node->promises[j].batches != 0;
}

void sim_promises_rolled_back(struct sim *sim, size_t i)
{
    struct sim_ledger *ledger = sim->ledger;
    size_t left = 0;
    for (size_t j = 0; j < ledger->kept_count[i]; j++) {
        const struct sim_promise *promise = &ledger->kept[i][j];
        if (promise->is_copied)
            ledger->kept[i][left++] = *promise;
        else
            ledger->durable[promise->key] -= promise->delta;
    }
    ledger->kept_count[i] = left;
}

/*
 * What only a node has that is lost for good is lost with it. Registers of which none had heard when their node was forgotten, or brought up from
 * below a floor, are not carried over (DESIGN.md, limits).
 */
static bool may_be_lost(struct sim *sim, size_t at, size_t i, const struct sim_promise *promise)
{
    if (sim->nodes[i].gone) return true;
    return promise->fresh != 0 && sim_fresh_was_left(sim, at, promise->fresh - 1);
}

void sim_ledger_bounds(struct sim *sim, size_t at, unsigned key, int64_t *least, int64_t *most)
{
    *least = sim->ledger->durable[key];
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        for (size_t j = 0; j < sim->ledger->kept_count[i]; j++) {
            const struct sim_promise *promise = &sim->ledger->kept[i][j];
            if (promise->key == key && may_be_lost(sim, at, i, promise)) *least -= promise->delta;
        }
    *most = sim->ledger->told[key];
}

/* ---- clients ---- */

static void promise(struct sim *sim, size_t i, struct sim_promise made)
{
    struct sim_node *node = &sim->nodes[i];
    sim->ledger->told[made.key] += made.delta;
    made.ticket = tly_engine_ticket(node->engine);
    if (made.ticket == 0) made.batches = node->disk.written > 0 ? node->disk.written : 1;
    node->promises =
        sim_grow(node->promises, &node->promise_capacity, node->promise_count, sizeof *node->promises);
    node->promises[node->promise_count++] = made;
}

void sim_promise(struct sim *sim, size_t i, unsigned key, int64_t delta)
{
    promise(sim, i, (struct sim_promise){.key = key, .delta = delta});
}

void sim_promise_fresh(struct sim *sim, size_t i, unsigned number)
{
    promise(sim, i, (struct sim_promise){.key = SIM_FRESH, .delta = 1, .fresh = number + 1});
}

static bool may_be_refused(const struct sim *sim, size_t i, enum tly_result result)
{
    struct tly_node_view view;
    tly_engine_node(sim->nodes[i].engine, false, &view);
    return result == TLY_NOT_FOUND || result == TLY_CLOCK_AHEAD ||
           (result == TLY_FULL && view.memory_max != 0);
}

static void add_once(struct sim *sim, size_t i)
{
    char text[24];
    struct tly_reply reply;
    unsigned key = (unsigned)sim_below(sim, sim->knobs.keys);
    int64_t delta = (int64_t)sim_below(sim, 5) + 1;
    struct tly_request request = {
        .kind = TLY_ASK_ADD, .key = tly_slice_text(sim_key('a', key, text)), .number = delta};
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || may_be_refused(sim, i, result), "n%zu does not add to %s: %s", i, text,
              tly_result_text(result));
    if (result != TLY_OK) return;
    sim_claim(sim, reply.value.count >= sim->nodes[i].seen[key] + delta,
              "n%zu: %s went from %lld to %lld by adding %lld", i, text, (long long)sim->nodes[i].seen[key],
              (long long)reply.value.count, (long long)delta);
    sim->nodes[i].seen[key] = reply.value.count;
    sim_promise(sim, i, key, delta);
}

static void read_once(struct sim *sim, size_t i)
{
    char text[24];
    struct tly_reply reply;
    unsigned key = (unsigned)sim_below(sim, sim->knobs.keys);
    struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(sim_key('a', key, text))};
    int64_t count = sim_ask(sim, i, &request, &reply) == TLY_OK ? reply.value.count : 0;
    sim_claim(sim, count >= sim->nodes[i].seen[key], "n%zu: %s was %lld and reads %lld", i, text,
              (long long)sim->nodes[i].seen[key], (long long)count);
    sim->nodes[i].seen[key] = count;
}

/* Such as nothing makes smaller. */
struct tly_slice sim_some_bytes(struct sim *sim, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)test_rng_next(&sim->rng);
    return tly_slice_of(bytes, n);
}

static struct tly_request some_write(struct sim *sim, char text[24])
{
    static uint8_t large[SIM_VALUE_BYTES];
    unsigned key = (unsigned)sim_below(sim, sim->knobs.keys);
    struct tly_request request = {.kind = TLY_ASK_ADD, .number = (int64_t)sim_below(sim, 9) - 2};
    uint64_t soon_ms = SIM_WALL_START / SIM_MS + sim->now / SIM_MS + sim_below(sim, 20000);
    char kind = "ckkm"[sim_below(sim, 4)];
    request.key = tly_slice_text(sim_key(kind, key, text));
    request.bytes = request.key;
    if (kind == 'k' && sim->knobs.value_bytes > 0)
        request.bytes = sim_some_bytes(sim, large, sim_below(sim, sim->knobs.value_bytes));
    switch (sim_below(sim, 8)) {
    case 0:
    case 1: request.kind = TLY_ASK_REMOVE; break;
    case 2:
        request.deadline_ms = soon_ms;
        if (kind != 'm') request.kind = TLY_ASK_EXPIRE;
        if (kind == 'm') request.kind = TLY_ASK_REMOVE;
        break;
    default:
        if (kind == 'k') request.kind = TLY_ASK_PUT;
        if (kind == 'm') request.kind = TLY_ASK_PUT_MAX;
        if (kind == 'c' && sim_below(sim, 4) == 0) request.kind = TLY_ASK_SET;
        request.epoch = sim_below(sim, 4);
        break;
    }
    return request;
}

static void write_once(struct sim *sim, size_t i)
{
    char text[24];
    struct tly_reply reply;
    struct tly_request request = some_write(sim, text);
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || may_be_refused(sim, i, result), "n%zu does not write to %s: %s", i,
              text, tly_result_text(result));
    if (request.kind != TLY_ASK_SET || result != TLY_OK) return;
    struct tly_request again = {.kind = TLY_ASK_READ, .key = request.key};
    int64_t count = sim_ask(sim, i, &again, &reply) == TLY_OK ? reply.value.count : 0;
    sim_claim(sim, count == request.number, "n%zu: %s was set to %lld and reads %lld", i, text,
              (long long)request.number, (long long)count);
}

static void check_once(struct sim *sim, size_t i)
{
    static const char *const rates[] = {"20/10s", "5/1s", "100/1m"};
    char text[24];
    struct tly_reply reply;
    unsigned key = (unsigned)sim_below(sim, sim->knobs.keys);
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    request.check.key = tly_slice_text(sim_key('w', key, text));
    request.check.hits = (uint32_t)sim_below(sim, 4);
    enum tly_result result = tly_rate_parse(tly_slice_text(rates[key % 3]), &request.check.rate);
    sim_claim(sim, result == TLY_OK, "a rate is not one");
    request.check.rate.algorithm = key % 2 == 0 ? TLY_FIXED_WINDOW : TLY_SLIDING_WINDOW;
    result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK, "n%zu does not check %s: %s", i, text, tly_result_text(result));
    sim_check_admitted(sim, i, key, &reply.verdict, request.check.hits);
}

void sim_write_plain(struct sim *sim, size_t i, unsigned key)
{
    char text[24];
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_ADD, .key = tly_slice_text(sim_key('a', key, text)), .number = 1};
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK || may_be_refused(sim, i, result), "n%zu does not add to %s: %s", i, text,
              tly_result_text(result));
}

void sim_client(struct sim *sim, size_t i)
{
    if (sim->troubled)
        sim_push(sim, sim_gap(sim, sim->knobs.write_gap_ns),
                 (struct sim_event){.kind = SIM_EV_CLIENT, .node = i});
    if (!sim_is_up(sim, i)) return;
    if (sim->knobs.hard && sim_chance(sim, 40)) sim_hard_once(sim, i);
    if (sim->knobs.fresh > 0) sim_fresh_once(sim, i);
    if (sim->knobs.limits) sim_limits_once(sim, i);
    if (sim->knobs.copies) sim_copies_once(sim, i);
    switch (sim_below(sim, 8)) {
    case 0: read_once(sim, i); break;
    case 1:
    case 2:
    case 3: add_once(sim, i); break;
    case 4: check_once(sim, i); break;
    default: write_once(sim, i); break;
    }
}
