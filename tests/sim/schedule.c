/* Days written by hand: those that have hurt others most. Nothing goes wrong by chance; clients write as ever. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

enum move {
    MOVE_COMPACT,  /* a */
    MOVE_KILL,     /* a; it starts again */
    MOVE_POWER,    /* a; likewise */
    MOVE_STOP,     /* a; likewise */
    MOVE_KEEP_OUT, /* a: no link to anybody; it may stay down with that */
    MOVE_LET_IN,   /* a */
    MOVE_PAUSE,    /* a */
    MOVE_GO_ON,    /* a */
    MOVE_CUT,      /* a, b */
    MOVE_THIN,     /* a, b */
    MOVE_CLOG,     /* a, b: one way */
    MOVE_UNCLOG,   /* a, b */
    MOVE_FORGET,   /* a forgets b */
    MOVE_BACKUP,   /* a: its disk is copied */
    MOVE_RESTORE,  /* a goes on with the copy */
    MOVE_CLONE,    /* b goes on with a copy of the disk of a */
    MOVE_BLOCK,    /* a, b: no link between them */
    MOVE_UNBLOCK,  /* a, b */
    MOVE_HARM,     /* a: a hostile peer, so many times (b), four a second */
    MOVE_SET_BACK, /* a: its clock, by b seconds */
    MOVE_COUNT,    /* a: once in each counter that is also deleted */
    MOVE_DELETE,   /* a: each of those */
    MOVE_UNSYNCED, /* a: no sync of its files succeeds, until it is started again (those that have files) */
    MOVE_END
};

struct step {
    uint64_t at_ms;
    enum move move;
    size_t a, b;
};

struct schedule {
    const char *name;
    size_t nodes;
    uint32_t grace_ms;
    const struct step *steps;
};

static const struct step crash_during_compaction[] = {
    {30000, MOVE_COMPACT, 0, 0}, {30001, MOVE_KILL, 0, 0},    {50000, MOVE_COMPACT, 0, 0},
    {50003, MOVE_POWER, 0, 0},   {70000, MOVE_COMPACT, 1, 0}, {70002, MOVE_POWER, 1, 0},
    {90000, MOVE_COMPACT, 0, 0}, {90010, MOVE_KILL, 0, 0},    {110000, MOVE_END, 0, 0},
};

/* It lacks what was forgotten and is brought up; the link is lost in between, and again. */
static const struct step two_snapshots_in_a_row[] = {
    {30000, MOVE_KEEP_OUT, 2, 0}, {60000, MOVE_FORGET, 0, 2},  {100000, MOVE_THIN, 2, 0},
    {100000, MOVE_THIN, 2, 1},    {100000, MOVE_LET_IN, 2, 0}, {102000, MOVE_CUT, 2, 0},
    {102500, MOVE_CUT, 2, 1},     {103000, MOVE_CUT, 2, 0},    {128000, MOVE_CUT, 2, 0},
    {129000, MOVE_CUT, 2, 1},     {131000, MOVE_CUT, 2, 0},    {160000, MOVE_END, 0, 0},
};

static const struct step paused_for_minutes[] = {
    {30000, MOVE_PAUSE, 1, 0},
    {270000, MOVE_GO_ON, 1, 0},
    {300000, MOVE_END, 0, 0},
};

static const struct step compaction_at_the_edge_of_a_follower[] = {
    {20000, MOVE_THIN, 0, 1},   {30000, MOVE_CLOG, 0, 1},    {38000, MOVE_COMPACT, 0, 0},
    {39000, MOVE_UNCLOG, 0, 1}, {39001, MOVE_COMPACT, 0, 0}, {40000, MOVE_COMPACT, 1, 0},
    {41000, MOVE_CUT, 0, 1},    {41001, MOVE_COMPACT, 0, 0}, {60000, MOVE_END, 0, 0},
};

static const struct step cloned_disk[] = {
    {40000, MOVE_STOP, 0, 0},
    {43000, MOVE_CLONE, 0, 2},
    {80000, MOVE_CLONE, 1, 2},
    {120000, MOVE_END, 0, 0},
};

static const struct step restored_backup[] = {
    {30000, MOVE_BACKUP, 1, 0},
    {50000, MOVE_COMPACT, 1, 0},
    {70000, MOVE_RESTORE, 1, 0},
    {100000, MOVE_END, 0, 0},
};

/* Of a clean stop: its life would be gone on with. */
static const struct step restored_clean_backup[] = {
    {30000, MOVE_STOP, 1, 0},    {30200, MOVE_BACKUP, 1, 0}, {50000, MOVE_COMPACT, 1, 0},
    {70000, MOVE_RESTORE, 1, 0}, {100000, MOVE_END, 0, 0},
};

static const struct step slow_and_forgotten[] = {
    {30000, MOVE_CLOG, 2, 0},   {30000, MOVE_CLOG, 2, 1},   {35000, MOVE_FORGET, 0, 2},
    {60000, MOVE_UNCLOG, 2, 0}, {60000, MOVE_UNCLOG, 2, 1}, {90000, MOVE_END, 0, 0},
};

static const struct step set_back_while_down[] = {
    {40000, MOVE_STOP, 0, 0},      {40001, MOVE_SET_BACK, 0, 25}, {70000, MOVE_STOP, 1, 0},
    {70001, MOVE_SET_BACK, 1, 90}, {120000, MOVE_END, 0, 0},
};

/* n1 begins a life behind a cut; on the other side both are forgotten. n0 comes back first. */
static const struct step a_life_that_nobody_knew[] = {
    {20000, MOVE_BLOCK, 0, 2},    {20000, MOVE_BLOCK, 0, 3},    {20000, MOVE_BLOCK, 1, 2},
    {20000, MOVE_BLOCK, 1, 3},    {30000, MOVE_KILL, 1, 0},     {50000, MOVE_FORGET, 2, 0},
    {55000, MOVE_FORGET, 2, 1},   {80000, MOVE_UNBLOCK, 0, 2},  {80000, MOVE_UNBLOCK, 0, 3},
    {110000, MOVE_UNBLOCK, 1, 2}, {110000, MOVE_UNBLOCK, 1, 3}, {130000, MOVE_END, 0, 0},
};

static const struct step a_hostile_peer[] = {
    {10000, MOVE_HARM, 0, 100}, {35000, MOVE_HARM, 1, 60}, {50000, MOVE_KILL, 2, 0},
    {52000, MOVE_HARM, 2, 60},  {68000, MOVE_CUT, 0, 1},   {69000, MOVE_HARM, 0, 60},
    {90000, MOVE_END, 0, 0},
};

/* What a life counted alone is carried over; then the disk of before that comes back, and counts it again if nothing says that it was. */
static const struct step carried_twice[] = {
    {20000, MOVE_KEEP_OUT, 2, 0}, {40000, MOVE_FORGET, 0, 2},   {70000, MOVE_BACKUP, 2, 0},
    {71000, MOVE_LET_IN, 2, 0},   {120000, MOVE_RESTORE, 2, 0}, {160000, MOVE_END, 0, 0},
};

/*
 * n2 is back after it was forgotten, and counts by a clock that stands, when n0 has forgotten what was deleted meanwhile and n1 has not: n1
 * must not take for deleted what n0 keeps.
 */
static const struct step back_while_one_still_knows[] = {
    {18000, MOVE_DELETE, 2, 0}, {20000, MOVE_KEEP_OUT, 2, 0}, {20001, MOVE_SET_BACK, 2, 40},
    {25000, MOVE_FORGET, 0, 2}, {42000, MOVE_COUNT, 1, 0},    {43000, MOVE_DELETE, 1, 0},
    {43300, MOVE_CLOG, 0, 1},   {47000, MOVE_BLOCK, 0, 1},    {48000, MOVE_UNBLOCK, 0, 2},
    {52500, MOVE_COUNT, 2, 0},  {60000, MOVE_UNBLOCK, 1, 2},  {64000, MOVE_UNBLOCK, 0, 1},
    {66000, MOVE_END, 0, 0},
};

/* A sync fails, and the process ends: the next one finds what that covered in memory, and not on the disk when the power goes. */
static const struct step syncs_that_failed[] = {
    {30000, MOVE_UNSYNCED, 0, 0}, {32500, MOVE_KILL, 0, 0},     {37000, MOVE_POWER, 0, 0},
    {50000, MOVE_UNSYNCED, 1, 0}, {51200, MOVE_KILL, 1, 0},     {53500, MOVE_POWER, 1, 0},
    {70000, MOVE_COMPACT, 0, 0},  {72000, MOVE_UNSYNCED, 0, 0}, {74000, MOVE_KILL, 0, 0},
    {76500, MOVE_POWER, 0, 0},    {90000, MOVE_END, 0, 0},
};

static const struct schedule schedules[] = {
    {"syncs-that-failed", 3, 1000, syncs_that_failed},
    {"crash-during-compaction", 3, 1000, crash_during_compaction},
    {"paused-for-minutes", 3, 1000, paused_for_minutes},
    {"compaction-at-the-edge-of-a-follower", 2, 1000, compaction_at_the_edge_of_a_follower},
    {"cloned-disk", 3, 1000, cloned_disk},
    {"restored-backup", 3, 1000, restored_backup},
    {"restored-clean-backup", 3, 1000, restored_clean_backup},
    {"slow-and-forgotten", 3, 1000, slow_and_forgotten},
    {"a-life-that-nobody-knew", 4, 1000, a_life_that_nobody_knew},
    {"a-hostile-peer", 3, 1000, a_hostile_peer},
    {"carried-twice", 3, 1000, carried_twice},
    {"back-while-one-still-knows", 3, 1000, back_while_one_still_knows},
    {"set-back-while-down", 2, 1000, set_back_while_down},
    {"two-snapshots-in-a-row", 3, 1000, two_snapshots_in_a_row},
};

#define SCHEDULES (sizeof schedules / sizeof schedules[0])

const char *sim_schedule_name(size_t i)
{
    return i < SCHEDULES ? schedules[i].name : NULL;
}

const char *sim_schedule_find(const char *name)
{
    for (size_t i = 0; i < SCHEDULES; i++)
        if (strcmp(schedules[i].name, name) == 0) return schedules[i].name;
    return NULL;
}

static const struct schedule *find(const char *name)
{
    size_t i = 0;
    while (i + 1 < SCHEDULES && strcmp(schedules[i].name, name) != 0)
        i++;
    return &schedules[i];
}

void sim_schedule_knobs(const char *name, struct sim_knobs *knobs)
{
    const struct schedule *schedule = find(name);
    knobs->nodes = schedule->nodes;
    knobs->grace_ms = schedule->grace_ms;
    knobs->settle_ns = 2 * knobs->grace_ms * SIM_MS + 10 * SIM_MIN;
    knobs->trouble_ns = 0;
    knobs->write_gap_ns = 200 * SIM_MS;
    knobs->skew_ns = knobs->skew_ns < SIM_S ? knobs->skew_ns : SIM_S;
    knobs->value_bytes = SIM_VALUE_BYTES;
    knobs->keys = 24;
    knobs->minority_gone = knobs->hard = false;
    sim_knobs_narrow(knobs);
    memset(knobs->weights, 0, sizeof knobs->weights);
}

static void forget(struct sim *sim, size_t by, size_t whom)
{
    char name[24];
    (void)snprintf(name, sizeof name, "n%zu", whom);
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text(name)};
    enum tly_result result = sim_ask(sim, by, &request, &reply);
    sim_claim(sim, result == TLY_OK, "n%zu does not forget %s: %s", by, name, tly_result_text(result));
}

static void start_soon(struct sim *sim, size_t i)
{
    sim_push(sim, SIM_S, (struct sim_event){.kind = SIM_EV_START, .node = i});
}

static void move_disk(struct sim *sim, const struct step *step)
{
    struct sim_node *node = &sim->nodes[step->a];
    if (step->move == MOVE_BACKUP) {
        sim_disk_copy(&node->copy, &node->disk);
        sim_promises_copied(sim, step->a);
        return;
    }
    size_t to = step->move == MOVE_CLONE ? step->b : step->a;
    if (sim->nodes[to].engine != NULL) sim_kill(sim, to, false);
    sim_promises_rolled_back(sim, to);
    sim->nodes[to].made = (struct sim_made){0};
    sim_disk_copy(&sim->nodes[to].disk, step->move == MOVE_CLONE ? &node->disk : &node->copy);
    sim->rolled_back = true;
    start_soon(sim, to);
}

static void ask_each(struct sim *sim, size_t node, enum tly_request_kind kind)
{
    for (unsigned key = 0; key < sim->knobs.keys; key++) {
        char text[24];
        struct tly_reply reply;
        struct tly_request request = {
            .kind = kind, .key = tly_slice_text(sim_key('c', key, text)), .number = 1};
        enum tly_result result = sim_ask(sim, node, &request, &reply);
        sim_claim(sim, result == TLY_OK || result == TLY_NOT_FOUND, "n%zu does not write to %s: %s", node,
                  text, tly_result_text(result));
    }
}

static void harm(struct sim *sim, size_t node, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        sim_hostile(sim, node);
        sim_run(sim, sim->now + 250 * SIM_MS);
    }
}

static void take(struct sim *sim, const struct step *step)
{
    sim_tell(sim, "step at %llu ms: %d of n%zu, n%zu", (unsigned long long)step->at_ms, (int)step->move,
             step->a, step->b);
    switch (step->move) {
    case MOVE_COMPACT: sim_disk_compact(sim, step->a); break;
    case MOVE_KILL:
    case MOVE_POWER:
        sim_kill(sim, step->a, step->move == MOVE_POWER);
        start_soon(sim, step->a);
        break;
    case MOVE_STOP: sim_stop(sim, step->a); break;
    case MOVE_KEEP_OUT: sim_keep_out(sim, step->a, true); break;
    case MOVE_LET_IN: sim_keep_out(sim, step->a, false); break;
    case MOVE_PAUSE: sim_pause(sim, step->a, true); break;
    case MOVE_GO_ON: sim_pause(sim, step->a, false); break;
    case MOVE_CUT: sim_tear_pair(sim, step->a, step->b); break;
    case MOVE_THIN:
        sim_rate(sim, step->a, step->b, 4000);
        sim_rate(sim, step->b, step->a, 4000);
        break;
    case MOVE_CLOG:
    case MOVE_UNCLOG: sim_clog(sim, step->a, step->b, step->move == MOVE_CLOG); break;
    case MOVE_FORGET: forget(sim, step->a, step->b); break;
    case MOVE_BACKUP:
    case MOVE_RESTORE:
    case MOVE_CLONE: move_disk(sim, step); break;
    case MOVE_BLOCK:
    case MOVE_UNBLOCK:
        sim_block(sim, step->a, step->b, step->move == MOVE_BLOCK);
        sim_block(sim, step->b, step->a, step->move == MOVE_BLOCK);
        break;
    case MOVE_COUNT: ask_each(sim, step->a, TLY_ASK_ADD); break;
    case MOVE_DELETE: ask_each(sim, step->a, TLY_ASK_REMOVE); break;
    case MOVE_UNSYNCED: sim_store_unsynced(sim, step->a); break;
    case MOVE_HARM: harm(sim, step->a, step->b); break;
    case MOVE_SET_BACK: sim->nodes[step->a].offset_ns -= (int64_t)(step->b * SIM_S); break;
    case MOVE_END: break;
    }
}

void sim_schedule_run(struct sim *sim, const char *name)
{
    uint64_t from = sim->now;
    for (const struct step *step = find(name)->steps;; step++) {
        sim_run(sim, from + step->at_ms * SIM_MS);
        take(sim, step);
        if (step->move == MOVE_END) return;
    }
}
