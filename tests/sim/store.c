/*
 * The daemon's store on a disk in memory, in place of the model in disk.c: the real codec of its files, its rolls, snapshots, intents and
 * starts. What its thread would do is done in turns, at times that the seed says; a process that dies may die within one.
 */
#include "service/shell/store_internal.h"
#include "tests/shell/support_disk.h"
#include "tests/sim/sim.h"
#include "tests/support/mem.h"
#include "wire/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB UINT64_C(1024)
#define SLICES 4 /* of a snapshot in one turn */
#define SLICE_GAP SIM_MS
#define END_GAP (20 * SIM_MS)
#define ALWAYS SIZE_MAX
#define DIES_WITHIN 8 /* operations */
#define GATHER_MS 100 /* so long that many die before it is over */

struct sim_store {
    struct tly_store *store;
    struct tly_store_hand hand;
    struct tly_store_report report;
    uint64_t turn, turn_at; /* the next one: its number and time; 0: there is none */
    bool is_dying;
    enum { RESTING, WALKING, ENDING, PUBLISHING } image;
    struct tly_buf batch; /* of the snapshot: made, and not taken yet */
    bool is_walked;
    uint64_t ticket, published, given_up; /* as the store counted them at the beginning */
};

/* In place of libc's, so that the names of changes rise in the order in which they are made: what is left of them is finished in that one. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): libc's are underscored */
void arc4random_buf(void *to, size_t n)
{
    static uint64_t number;
    uint64_t left = ++number;
    uint8_t *bytes = to;
    for (size_t i = n; i-- > 0; left >>= 5)
        bytes[i] = left & 31;
}

static uint64_t now_ns(void *context)
{
    const struct sim *sim = context;
    return sim->now;
}

/* ---- turns ---- */

static struct sim_event of_process(const struct sim *sim, size_t i, enum sim_event_kind kind)
{
    return (struct sim_event){.kind = kind, .node = i, .process = sim->nodes[i].process};
}

static void turn_in(struct sim *sim, size_t i, uint64_t in_ns)
{
    struct sim_store *s = sim->nodes[i].store;
    if (s->turn_at != 0 && s->turn_at <= sim->now + in_ns) return;
    struct sim_event turn = of_process(sim, i, SIM_EV_STORE);
    s->turn_at = sim->now + in_ns;
    turn.b = ++s->turn;
    sim_push(sim, in_ns, turn);
}

static void turn_soon(struct sim *sim, size_t i)
{
    turn_in(sim, i, sim_gap(sim, sim->knobs.disk_ns));
}

static bool is_news(const struct tly_store_report *a, const struct tly_store_report *b)
{
    return a->stored != b->stored || a->synced != b->synced || a->leased != b->leased ||
           a->failing != b->failing || a->installs_failed != b->installs_failed;
}

static void end_image(struct sim_node *node)
{
    tly_image_free(node->image);
    node->image = NULL;
    tly_buf_clear(&node->store->batch);
    node->store->image = RESTING;
}

static void hear_of_image(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_store *s = node->store;
    if (s->image == RESTING) return;
    bool given_up = s->report.snapshots_failed > s->given_up;
    bool published = s->image == PUBLISHING && s->report.snapshots > s->published;
    bool stands = s->image != PUBLISHING && s->report.failing;
    if (stands && !given_up) (void)!tly_store_image(s->store, TLY_IMAGE_DROP, tly_slice_of(NULL, 0));
    if (published)
        sim_tell(sim, "n%zu: a snapshot of %llu bytes takes the place of the log", i,
                 (unsigned long long)s->report.snapshot_bytes);
    if (given_up || published || stands) end_image(node);
}

/* As the daemon does (app.c). */
static void hear(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_store *s = node->store;
    struct tly_store_report before = s->report, *report = &s->report;
    tly_store_poll(s->store, report);
    node->disk.written = report->stored;
    node->disk.synced = report->synced;
    node->disk.lease = report->leased;
    hear_of_image(sim, i);
    if (!is_news(&before, report)) return;
    if (report->failing != before.failing)
        sim_tell(sim, "n%zu: its store %s", i, report->failing ? "fails" : "works again");
    struct tly_event stored = {.kind = TLY_STORED, .number = report->stored};
    struct tly_event leased = {.kind = TLY_LEASED, .number = report->leased};
    bool fails = report->failing, again = report->installs_failed > before.installs_failed;
    if (again) sim_step(sim, i, (struct tly_event){.kind = TLY_INSTALL_FAILED});
    if (!fails || stored.number > before.stored) sim_step(sim, i, stored);
    if (fails) sim_step(sim, i, (struct tly_event){.kind = TLY_STORE_FAILED});
    sim_step(sim, i, leased);
    sim_promises_stored(sim, i);
}

static void take_turn(struct sim *sim, size_t i, uint64_t turn)
{
    struct sim_store *s = sim->nodes[i].store;
    if (turn != s->turn) return;
    s->turn_at = 0;
    uint64_t next = tly_store_work(s->store);
    hear(sim, i);
    if (next == UINT64_MAX) return;
    if (next > sim->now)
        turn_in(sim, i, next - sim->now);
    else
        turn_soon(sim, i);
}

/* ---- what it is given ---- */

void sim_store_take(struct sim *sim, size_t i, const struct tly_effect *effect)
{
    struct tly_store *store = sim->nodes[i].store->store;
    enum tly_result result = effect->kind == TLY_DO_APPEND
                                 ? tly_store_append(store, effect->number, effect->bytes)
                                 : tly_store_change(store, effect);
    sim_claim(sim, result == TLY_OK, "n%zu: batch %llu is not taken: %s", i,
              (unsigned long long)effect->number, tly_result_text(result));
    turn_soon(sim, i);
}

void sim_store_lease(struct sim *sim, size_t i, uint64_t lease)
{
    tly_store_lease(sim->nodes[i].store->store, lease);
    turn_soon(sim, i);
}

/* Some disks refuse all, some have no space, some lie about what they did; some only for a moment. */
void sim_store_fail(struct sim *sim, size_t i, bool fails)
{
    static const struct test_disk_fault kinds[] = {
        {.op = TEST_DISK_CHANGE, .times = ALWAYS},
        {.op = TEST_DISK_GROW, .times = ALWAYS, .full = true},
        {.op = TEST_DISK_SYNC, .times = ALWAYS},
        {.op = TEST_DISK_PUT, .times = ALWAYS, .late = true},
        {.op = TEST_DISK_CHANGE, .times = 3, .late = true},
    };
    struct test_disk_fault fault = {0};
    if (fails) {
        fault = kinds[sim_below(sim, sizeof kinds / sizeof kinds[0])];
        fault.n = sim_below(sim, 6);
    }
    test_disk_fail(sim->nodes[i].disk.files, &fault);
    sim_tell(sim, "n%zu: its disk %s", i, fails ? "fails" : "works again");
}

void sim_store_unsynced(struct sim *sim, size_t i)
{
    struct test_disk_fault fault = {.op = TEST_DISK_SYNC, .times = ALWAYS};
    if (sim->nodes[i].store != NULL) test_disk_fail(sim->nodes[i].disk.files, &fault);
}

/* ---- snapshots: what compact.c does, by the clock of the simulator ---- */

void sim_store_compact(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_store *s = node->store;
    if (s->image != RESTING || s->report.failing) return;
    if (tly_image_new(node->engine, &node->image) != TLY_OK) {
        node->image = NULL;
        return;
    }
    if (tly_store_image(s->store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0)) != TLY_OK)
        sim_fail(sim, "n%zu: no snapshot is begun", i);
    s->image = WALKING;
    s->is_walked = false;
    s->published = s->report.snapshots;
    s->given_up = s->report.snapshots_failed;
    turn_soon(sim, i);
    sim_push(sim, SLICE_GAP, of_process(sim, i, SIM_EV_IMAGE));
}

/* One batch; TLY_FULL: later. */
static enum tly_result walk(struct sim_node *node)
{
    struct sim_store *s = node->store;
    enum tly_result result = TLY_OK;
    if (s->batch.n == 0) result = tly_image_next(node->image, &s->batch, &s->is_walked);
    if (result == TLY_OK) result = tly_store_image(s->store, TLY_IMAGE_BATCH, tly_buf_slice(&s->batch));
    if (result != TLY_OK) return result;
    tly_buf_clear(&s->batch);
    if (!s->is_walked) return TLY_OK;
    tly_image_free(node->image);
    node->image = NULL;
    s->ticket = tly_engine_ticket(node->engine);
    s->image = ENDING;
    return TLY_OK;
}

static void walk_on(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_store *s = node->store;
    enum tly_result result = TLY_OK;
    for (int j = 0; j < SLICES && s->image == WALKING && result == TLY_OK; j++)
        result = walk(node);
    node->is_due_known = false;
    turn_soon(sim, i);
    if (result == TLY_OK || result == TLY_FULL) return;
    sim_claim(sim, result == TLY_STALE, "n%zu: its snapshot ends: %s", i, tly_result_text(result));
    (void)!tly_store_image(s->store, TLY_IMAGE_DROP, tly_slice_of(NULL, 0));
    end_image(node);
}

static void image_turn(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_store *s = node->store;
    if (s->image == WALKING) {
        walk_on(sim, i);
    } else if (s->image == ENDING && (s->ticket == 0 || tly_engine_is_stored(node->engine, s->ticket))) {
        s->image = PUBLISHING;
        (void)!tly_store_image(s->store, TLY_IMAGE_END, tly_slice_of(NULL, 0));
        turn_soon(sim, i);
    }
    bool goes_on = s->image == WALKING || s->image == ENDING;
    if (goes_on) sim_push(sim, s->image == WALKING ? SLICE_GAP : END_GAP, of_process(sim, i, SIM_EV_IMAGE));
}

void sim_store_event(struct sim *sim, const struct sim_event *event)
{
    if (event->kind == SIM_EV_STORE)
        take_turn(sim, event->node, event->b);
    else if (event->kind == SIM_EV_IMAGE)
        image_turn(sim, event->node);
}

/* ---- up ---- */

/* Files small enough to be many. */
static struct tly_store_limits limits_of(struct sim *sim, const struct tly_store_hand *hand)
{
    struct tly_store_limits limits = tly_store_limits_default();
    limits.segment_bytes = (4 * KIB) << sim_below(sim, 8);
    limits.image_bytes = 16 * KIB;
    limits.recent_bytes = limits.segment_bytes / 4;
    limits.gather_ms = GATHER_MS;
    limits.hand = hand;
    return limits;
}

void sim_store_open(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_disk *disk = &node->disk;
    struct sim_store *s = calloc(1, sizeof *s);
    struct tly_mem mem = test_mem();
    if (s == NULL) abort();
    if (disk->files == NULL) disk->files = test_disk_new();
    test_disk_fail(disk->files, &(struct test_disk_fault){0});
    s->hand = (struct tly_store_hand){now_ns, sim};
    tly_buf_init(&s->batch, &mem, TLY_FRAME_BODY_MAX);
    struct tly_store_limits limits = limits_of(sim, &s->hand);
    enum tly_fsync fsync = sim->knobs.fsync_always ? TLY_FSYNC_ALWAYS : TLY_FSYNC_INTERVAL;
    char why[512] = "";
    enum tly_result result =
        tly_store_open_limited(test_disk_open(disk->files), fsync, &limits, &s->store, why, sizeof why);
    sim_claim(sim, result == TLY_OK, "n%zu: no store: %s", i, why);
    node->store = s;
    const struct tly_identity *identity = tly_store_identity(s->store);
    disk->origin = identity->origin;
    disk->lease = identity->lease;
    disk->clean = identity->may_continue;
    disk->written = disk->synced = 0;
}

static enum tly_result replay(void *context, struct tly_slice batch)
{
    return tly_engine_replay(context, batch);
}

void sim_store_replay(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    char notice[512] = "";
    enum tly_result result = tly_store_equip(node->store->store, node->engine);
    if (result == TLY_OK)
        result = tly_store_replay(node->store->store, replay, node->engine, notice, sizeof notice);
    tly_engine_leave_out(node->engine, NULL, NULL);
    sim_claim(sim, result == TLY_OK, "n%zu: what is stored is not taken back: %s; %s", i,
              tly_result_text(result), notice);
    const struct tly_identity *identity = tly_store_identity(node->store->store);
    sim_claim(sim, !identity->manifest_lost, "n%zu: its MANIFEST is gone", i);
    node->disk.clean = identity->may_continue; /* a torn tail ends the life */
    if (notice[0] != '\0') sim_tell(sim, "n%zu: %s", i, notice);
}

void sim_store_begin(struct sim *sim, size_t i, uint64_t origin, uint64_t lease)
{
    struct sim_store *s = sim->nodes[i].store;
    char name[24], why[512] = "";
    (void)snprintf(name, sizeof name, "n%zu", i);
    enum tly_result result = tly_store_begin(s->store, name, origin, lease, why, sizeof why);
    sim_claim(sim, result == TLY_OK, "n%zu: its store does not begin: %s", i, why);
    sim_claim(sim, tly_store_kept(s->store, 0) == NULL, "n%zu: a change that cannot be read was left", i);
    tly_store_poll(s->store, &s->report);
    turn_soon(sim, i);
}

/* ---- down ---- */

void sim_store_write(struct sim *sim, size_t i)
{
    while (tly_store_work(sim->nodes[i].store->store) <= sim->now)
        continue;
    hear(sim, i);
}

void sim_store_close(struct sim_node *node, bool clean)
{
    end_image(node);
    tly_store_close(node->store->store, clean);
    node->store->store = NULL;
}

/* Within the next operations, perhaps. */
void sim_store_die(struct sim *sim, size_t i)
{
    struct sim_store *s = sim->nodes[i].store;
    if (sim_chance(sim, 50)) return;
    struct test_disk_fault death = {
        .op = TEST_DISK_ANY, .n = sim_below(sim, DIES_WITHIN), .times = ALWAYS, .dead = true};
    test_disk_fail(sim->nodes[i].disk.files, &death);
    (void)tly_store_work(s->store);
    s->is_dying = test_disk_failed(sim->nodes[i].disk.files) > 0;
}

/* Nothing that it still does has any effect, but that what it was about to append may be there to its half. */
void sim_store_drop(struct sim_node *node)
{
    struct sim_store *s = node->store;
    if (s == NULL) return;
    struct test_disk_fault death = {.op = TEST_DISK_ANY, .times = ALWAYS, .dead = true};
    if (!s->is_dying) test_disk_fail(node->disk.files, &death);
    tly_store_close(s->store, false);
    end_image(node);
    tly_buf_fini(&s->batch);
    free(s);
    node->store = NULL;
}

/* ---- between two processes ---- */

void sim_files_cut(struct sim *sim, struct sim_disk *disk)
{
    struct test_rng rng = test_rng_unnamed(sim_below(sim, UINT64_MAX));
    enum test_disk_cut cut = (enum test_disk_cut)sim_below(sim, TEST_CUTS);
    struct test_disk *left = test_disk_cut(disk->files, cut, &rng);
    test_disk_free(disk->files);
    disk->files = left;
}

struct test_disk *sim_files_copy(struct test_disk *files)
{
    return files != NULL ? test_disk_copy(files, true) : NULL;
}

void sim_files_free(struct test_disk *files)
{
    test_disk_free(files);
}
