#include "tests/sim/sim.h"

#include "tests/support/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES 1500
#define LINE_BYTES 200
/* Events at one moment, after which nobody believes in a later one. */
#define BUSY_MAX 200000

static char told[LINES][LINE_BYTES];
static size_t told_count;
static bool tells_all;
static uint64_t told_print;

void sim_tell_all(bool all)
{
    tells_all = all;
}

void sim_tell(const struct sim *sim, const char *format, ...)
{
    char *line = told[told_count++ % LINES];
    int n = snprintf(line, LINE_BYTES, "%14.6f  ", (double)sim->now / 1e9);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line + n, LINE_BYTES - (size_t)n, format, arguments);
    va_end(arguments);
    for (const char *at = line; *at != '\0'; at++)
        told_print = (told_print ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
    if (tells_all) puts(line);
}

uint64_t sim_told_print(void)
{
    return told_print;
}

/* Which program that was. */
static void print_commit(void)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        (void)execlp("git", "git", "describe", "--always", "--dirty", "--abbrev=12", (char *)NULL);
        printf("unknown, for there is no git\n");
        (void)fflush(stdout);
        _exit(0);
    }
    if (pid > 0) (void)waitpid(pid, NULL, 0);
}

_Noreturn void sim_fail(const struct sim *sim, const char *format, ...)
{
    size_t from = told_count > LINES ? told_count - LINES : 0;
    for (size_t i = from; !tells_all && i < told_count; i++)
        puts(told[i % LINES]);
    printf("%14.6f  FAILED: ", (double)sim->now / 1e9);
    va_list arguments;
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    sim_knobs_print(&sim->knobs);
    printf("commit: ");
    print_commit();
    printf("again: tallysim --seed %llu%s --trace\n", (unsigned long long)sim->knobs.seed, sim->knobs.how);
    (void)fflush(stdout);
    exit(1);
}

void *sim_grow(void *list, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count < *capacity) return list;
    *capacity = *capacity * 2 + 16;
    void *grown = realloc(list, *capacity * item_bytes);
    if (grown == NULL) abort();
    return grown;
}

/* ---- chance ---- */

uint64_t sim_below(struct sim *sim, uint64_t n)
{
    return test_rng_below(&sim->rng, n);
}

bool sim_chance(struct sim *sim, unsigned percent)
{
    return test_rng_chance(&sim->rng, percent);
}

uint64_t sim_gap(struct sim *sim, uint64_t mean)
{
    uint64_t gap = sim_below(sim, mean * 3 / 2 + 1);
    if (sim_below(sim, 16) == 0) gap += sim_below(sim, mean * 8 + 1);
    return gap + 1;
}

/* ---- the queue ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void sim_push(struct sim *sim, uint64_t in_ns, struct sim_event event)
{
    event.at = sim->now + in_ns;
    event.seq = sim->seq++;
    sim->queue = sim_grow(sim->queue, &sim->queue_capacity, sim->queue_count, sizeof *sim->queue);
    size_t i = sim->queue_count++;
    for (; i > 0 && is_before(&event, &sim->queue[(i - 1) / 2]); i = (i - 1) / 2)
        sim->queue[i] = sim->queue[(i - 1) / 2];
    sim->queue[i] = event;
}

static struct sim_event pop(struct sim *sim)
{
    struct sim_event first = sim->queue[0], last = sim->queue[--sim->queue_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < sim->queue_count; i = child) {
        if (child + 1 < sim->queue_count && is_before(&sim->queue[child + 1], &sim->queue[child])) child++;
        if (!is_before(&sim->queue[child], &last)) break;
        sim->queue[i] = sim->queue[child];
    }
    sim->queue[i] = last;
    return first;
}

/* ---- time ---- */

/* The node whose engine wants to be called next. */
static size_t next_due(struct sim *sim, uint64_t *at)
{
    size_t found = 0;
    *at = UINT64_MAX;
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->engine == NULL || node->paused) continue;
        if (!node->is_due_known) node->due = tly_engine_deadline(node->engine);
        node->is_due_known = true;
        if (node->due >= *at) continue;
        *at = node->due;
        found = i;
    }
    if (*at < sim->now) *at = sim->now;
    return found;
}

static void wait_for_process(struct sim_node *node, const struct sim_event *event)
{
    node->waiting =
        sim_grow(node->waiting, &node->waiting_capacity, node->waiting_count, sizeof *node->waiting);
    node->waiting[node->waiting_count++] = *event;
}

static bool is_for_process(enum sim_event_kind kind)
{
    return kind != SIM_EV_FAULT && kind != SIM_EV_HEAL && kind != SIM_EV_START && kind != SIM_EV_LOOK &&
           kind != SIM_EV_CLIENT;
}

static void happen(struct sim *sim, const struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    bool is_own = is_for_process(event->kind);
    if (is_own && event->process != 0 && event->process != node->process) return;
    if (is_own && node->paused && node->engine != NULL) {
        wait_for_process(node, event);
        return;
    }
    switch (event->kind) {
    case SIM_EV_ACCEPT:
    case SIM_EV_CONNECT:
    case SIM_EV_REFUSED:
    case SIM_EV_ARRIVE:
    case SIM_EV_QUEUED:
    case SIM_EV_CLOSED: sim_net_event(sim, event); break;
    case SIM_EV_WRITTEN:
    case SIM_EV_SYNCED:
    case SIM_EV_LEASED:
    case SIM_EV_IMAGE:
    case SIM_EV_STORE: sim_disk_event(sim, event); break;
    case SIM_EV_CLIENT: sim_client(sim, event->node); break;
    case SIM_EV_FAULT: sim_fault(sim); break;
    case SIM_EV_HEAL: sim_heal(sim, event); break;
    case SIM_EV_START:
        if (!node->gone && node->engine == NULL) sim_start(sim, event->node);
        break;
    case SIM_EV_STOPPED: sim_stopped(sim, event->node); break;
    case SIM_EV_LOOK: sim_look(sim); break;
    }
}

void sim_run(struct sim *sim, uint64_t until)
{
    uint64_t last = 0;
    for (unsigned busy = 0;; busy++) {
        if (sim->now > last) busy = 0;
        last = sim->now;
        sim_claim(sim, busy < BUSY_MAX, "time stands still: the engines never come to rest");
        uint64_t due;
        size_t node = next_due(sim, &due);
        uint64_t next = sim->queue_count > 0 ? sim->queue[0].at : UINT64_MAX;
        if (due > until && next > until) break;
        sim->steps++;
        if (next <= due) {
            struct sim_event event = pop(sim);
            if (event.at > sim->now) sim->now = event.at;
            happen(sim, &event);
        } else {
            sim->now = due;
            sim_step(sim, node, (struct tly_event){.kind = TLY_TICK});
        }
    }
    sim->now = until;
}

/* ---- up and down ---- */

struct sim *sim_new(const struct sim_knobs *knobs)
{
    struct sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL) abort();
    told_count = 0;
    sim_hostile_begin();
    told_print = knobs->seed;
    sim->knobs = *knobs;
    sim->rng = test_rng_unnamed(knobs->seed);
    sim->looks = test_rng_unnamed(knobs->seed + 1);
    sim->now = SIM_S;
    sim->net = sim_net_new();
    sim->twin = sim_twin_new();
    sim->ledger = sim_ledger_new();
    sim->hard = sim_hard_new();
    sim->limits = sim_limits_new();
    sim->copies = sim_copies_new();
    sim->troubled = true;
    for (size_t i = 0; i < knobs->nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (knobs->skew_ns > 0)
            node->offset_ns = (int64_t)sim_below(sim, 2 * knobs->skew_ns) - (int64_t)knobs->skew_ns;
        node->drift_ppb = (int64_t)sim_below(sim, 100000) - 50000;
        sim_push(sim, sim_below(sim, 2 * SIM_S), (struct sim_event){.kind = SIM_EV_START, .node = i});
        sim_push(sim, 5 * SIM_S + sim_gap(sim, knobs->write_gap_ns),
                 (struct sim_event){.kind = SIM_EV_CLIENT, .node = i});
    }
    if (knobs->trouble_ns > 0 && knobs->fault_gap_ns > 0)
        sim_push(sim, 10 * SIM_S, (struct sim_event){.kind = SIM_EV_FAULT});
    sim_push(sim, 10 * SIM_S, (struct sim_event){.kind = SIM_EV_LOOK});
    return sim;
}

void sim_free(struct sim *sim)
{
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->engine != NULL) sim_end_process(sim, i);
        sim_disk_free(&node->disk);
        sim_disk_free(&node->copy);
        free(node->waiting);
        free(node->promises);
    }
    sim_net_free(sim->net);
    sim_twin_free(sim->twin);
    sim_ledger_free(sim->ledger);
    sim_hard_free(sim->hard);
    sim_limits_free(sim->limits);
    sim_copies_free(sim->copies);
    sim_claim(sim, test_mem_live() == 0, "%zu bytes were left behind", test_mem_live());
    free(sim->queue);
    free(sim);
}
