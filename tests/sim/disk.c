#include "tests/sim/sim.h"

#include "tests/support/mem.h"
#include "wire/frame.h"

#include <stdlib.h>
#include <string.h>

#define SYNC_NS SIM_S
#define LEASE_RETRY_NS (100 * SIM_MS) /* while the disk fails */
#define SLICES 4                      /* of an image in one turn */
#define SLICE_GAP SIM_MS

/* ---- batches ---- */

static void add(struct sim_batches *batches, struct tly_slice bytes)
{
    batches->list = sim_grow(batches->list, &batches->capacity, batches->count, sizeof *batches->list);
    struct sim_batch *batch = &batches->list[batches->count++];
    batch->bytes = malloc(bytes.n + 1);
    batch->n = bytes.n;
    if (batch->bytes == NULL) abort();
    if (bytes.n > 0) memcpy(batch->bytes, bytes.p, bytes.n);
}

static void shorten(struct sim_batches *batches, size_t count)
{
    for (size_t i = count; i < batches->count; i++)
        free(batches->list[i].bytes);
    if (count < batches->count) batches->count = count;
}

static void drop_first(struct sim_batches *batches, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(batches->list[i].bytes);
    memmove(batches->list, batches->list + count, (batches->count - count) * sizeof *batches->list);
    batches->count -= count;
}

static void empty(struct sim_batches *batches)
{
    shorten(batches, 0);
    free(batches->list);
    batches->list = NULL;
    batches->count = batches->capacity = 0;
}

static void copy_all(struct sim_batches *to, const struct sim_batches *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add(to, tly_slice_of(from->list[i].bytes, from->list[i].n));
}

void sim_disk_free(struct sim_disk *disk)
{
    empty(&disk->image);
    empty(&disk->log);
    sim_files_free(disk->files);
    memset(disk, 0, sizeof *disk);
}

/* As a copy of the files would be: what was written. */
void sim_disk_copy(struct sim_disk *to, const struct sim_disk *from)
{
    sim_disk_free(to);
    to->written = to->synced = from->written;
    to->origin = from->origin;
    to->lease = from->lease;
    to->clean = from->clean;
    to->files = sim_files_copy(from->files);
    if (to->files != NULL) return;
    copy_all(&to->image, &from->image, from->image.count);
    copy_all(&to->log, &from->log, from->written);
}

/* ---- writing ---- */

static void end_image(struct sim_node *node)
{
    tly_image_free(node->image);
    node->image = NULL;
    empty(&node->staged);
}

static struct sim_event of_process(const struct sim *sim, size_t i, enum sim_event_kind kind)
{
    return (struct sim_event){.kind = kind, .node = i, .process = sim->nodes[i].process};
}

/* A part of what replaces all before is not there before all of it is, and what comes behind it waits. */
static size_t writable(const struct sim_disk *disk)
{
    return disk->installs && disk->install_end == 0 ? disk->install_from : disk->log.count;
}

/* The store takes each part all the same, and an engine hands over no more than twice as many as this that it has not heard of. */
#define PARTS_TAKEN 128

static bool has_many_parts(const struct sim_disk *disk)
{
    return disk->installs && disk->install_end == 0 && disk->log.count - disk->taken >= PARTS_TAKEN;
}

static void write_soon(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    bool has_any = node->disk.written < writable(&node->disk) || has_many_parts(&node->disk);
    if (node->write_due || node->disk_fails || !has_any) return;
    node->write_due = true;
    sim_push(sim, sim_gap(sim, sim->knobs.disk_ns), of_process(sim, i, SIM_EV_WRITTEN));
}

void sim_disk_take(struct sim *sim, size_t i, const struct tly_effect *effect)
{
    struct sim_node *node = &sim->nodes[i];
    if (node->store != NULL) {
        sim_store_take(sim, i, effect);
        return;
    }
    struct sim_disk *disk = &node->disk;
    if (effect->kind == TLY_DO_INSTALL_FIRST) {
        end_image(node); /* what it was made from is replaced */
        disk->installs = true;
        disk->install_from = disk->taken = disk->log.count;
        disk->install_end = 0;
    }
    add(&disk->log, effect->bytes);
    if (effect->kind == TLY_DO_INSTALL_LAST) disk->install_end = disk->log.count;
    sim_claim(sim, effect->number == disk->log.count - node->batch_base, "n%zu numbers a batch %llu", i,
              (unsigned long long)effect->number);
    write_soon(sim, i);
}

void sim_disk_lease(struct sim *sim, size_t i, uint64_t lease)
{
    if (sim->nodes[i].store != NULL) {
        sim_store_lease(sim, i, lease);
        return;
    }
    struct sim_event leased = of_process(sim, i, SIM_EV_LEASED);
    leased.b = lease;
    sim_push(sim, sim_gap(sim, sim->knobs.disk_ns), leased);
}

static void tell_stored(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    size_t stored = sim->knobs.fsync_always ? node->disk.synced : node->disk.written;
    if (has_many_parts(&node->disk)) stored = node->disk.taken = node->disk.log.count;
    /* The base is below nothing once a compaction has taken away more than there was at the start. */
    uint64_t number = stored - node->batch_base;
    if ((int64_t)number < 0) return;
    sim_step(sim, i, (struct tly_event){.kind = TLY_STORED, .number = number});
    sim_promises_stored(sim, i);
}

/* What stands in `image` takes the place of the first batches of the log; all of it is on the disk. */
static void put_in_place(struct sim *sim, size_t i, size_t from)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_disk *disk = &node->disk;
    disk->synced = disk->written;
    sim_promises_stored(sim, i);
    drop_first(&disk->log, from);
    disk->written -= from;
    disk->synced = disk->written;
    node->batch_base -= from;
    for (size_t j = 0; j < node->promise_count; j++)
        if (node->promises[j].batches != 0)
            node->promises[j].batches =
                node->promises[j].batches > from ? node->promises[j].batches - from : 1;
    end_image(node);
}

static void install(struct sim *sim, size_t i)
{
    struct sim_disk *disk = &sim->nodes[i].disk;
    if (!disk->installs || disk->install_end == 0) return;
    empty(&disk->image);
    put_in_place(sim, i, disk->install_from);
    disk->installs = false;
    sim_tell(sim, "n%zu: a snapshot takes the place of all on its disk", i);
}

static void write_all(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_disk *disk = &node->disk;
    node->write_due = false;
    if (node->disk_fails) return;
    disk->written = writable(disk);
    install(sim, i);
    if (sim->knobs.fsync_always) {
        disk->synced = disk->written;
    } else {
        struct sim_event synced = of_process(sim, i, SIM_EV_SYNCED);
        synced.b = disk->written;
        sim_push(sim, SYNC_NS, synced);
    }
    tell_stored(sim, i);
    write_soon(sim, i);
}

/* Compaction may have taken the first of them away since. */
static void sync_some(struct sim *sim, size_t i, size_t count)
{
    struct sim_node *node = &sim->nodes[i];
    if (node->disk_fails) return;
    if (count > node->disk.written) count = node->disk.written;
    if (count > node->disk.synced) node->disk.synced = count;
    sim_promises_stored(sim, i);
}

void sim_disk_fail(struct sim *sim, size_t i, bool fails)
{
    struct sim_node *node = &sim->nodes[i];
    if (node->disk_fails == fails) return;
    node->disk_fails = fails;
    if (node->store != NULL) {
        sim_store_fail(sim, i, fails);
        return;
    }
    sim_tell(sim, "n%zu: its disk %s", i, fails ? "fails" : "works again");
    if (fails)
        sim_step(sim, i, (struct tly_event){.kind = TLY_STORE_FAILED});
    else
        tell_stored(sim, i);
    write_soon(sim, i);
}

/* ---- compaction ---- */

void sim_disk_compact(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    if (node->image != NULL || node->disk_fails) return;
    if (node->store != NULL) {
        sim_store_compact(sim, i);
        return;
    }
    if (tly_image_new(node->engine, &node->image) != TLY_OK) {
        node->image = NULL;
        return;
    }
    node->image_from = node->disk.log.count;
    node->image_walked = false;
    sim_push(sim, SLICE_GAP, of_process(sim, i, SIM_EV_IMAGE));
}

/* All of it is on the disk, and all that was appended before its end: it takes the place of the log. */
static void publish(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_disk *disk = &node->disk;
    size_t from = node->image_from;
    empty(&disk->image);
    disk->image = node->staged;
    node->staged = (struct sim_batches){0};
    disk->written = disk->log.count;
    put_in_place(sim, i, from);
    sim_tell(sim, "n%zu: %zu batches take the place of %zu", i, disk->image.count, from);
    tell_stored(sim, i);
}

static void walk(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct tly_mem mem = test_mem();
    struct tly_buf batch;
    tly_buf_init(&batch, &mem, TLY_FRAME_BODY_MAX);
    enum tly_result result = TLY_OK;
    for (int j = 0; j < SLICES && result == TLY_OK && !node->image_walked; j++) {
        tly_buf_clear(&batch);
        result = tly_image_next(node->image, &batch, &node->image_walked);
        if (result == TLY_OK) add(&node->staged, tly_buf_slice(&batch));
    }
    tly_buf_fini(&batch);
    node->is_due_known = false;
    if (node->image_walked) node->image_ticket = tly_engine_ticket(node->engine);
    if (result != TLY_OK) end_image(node);
}

static void image_turn(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    if (node->image == NULL) return;
    if (node->disk_fails) {
        end_image(node);
        return;
    }
    if (!node->image_walked)
        walk(sim, i);
    else if (node->image_ticket == 0 || tly_engine_is_stored(node->engine, node->image_ticket))
        publish(sim, i);
    if (node->image != NULL) sim_push(sim, SLICE_GAP, of_process(sim, i, SIM_EV_IMAGE));
}

void sim_disk_event(struct sim *sim, const struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    if (node->engine == NULL) return;
    if (node->store != NULL) {
        sim_store_event(sim, event);
        return;
    }
    switch (event->kind) {
    case SIM_EV_WRITTEN: write_all(sim, event->node); break;
    case SIM_EV_SYNCED: sync_some(sim, event->node, event->b); break;
    case SIM_EV_IMAGE: image_turn(sim, event->node); break;
    case SIM_EV_LEASED:
        if (node->disk_fails) {
            struct sim_event again = of_process(sim, event->node, SIM_EV_LEASED);
            again.b = event->b;
            sim_push(sim, LEASE_RETRY_NS, again);
            break;
        }
        if (event->b > node->disk.lease) node->disk.lease = event->b;
        sim_step(sim, event->node, (struct tly_event){.kind = TLY_LEASED, .number = node->disk.lease});
        break;
    default: break;
    }
}

/* ---- between two processes ---- */

/* The system keeps what was written, unless the power goes: then what was synced, and perhaps more. */
void sim_disk_crash(struct sim *sim, size_t i, bool power)
{
    struct sim_disk *disk = &sim->nodes[i].disk;
    if (disk->files != NULL) {
        if (power) sim_files_cut(sim, disk);
        return;
    }
    size_t kept = disk->written;
    if (power && disk->written > disk->synced)
        kept = disk->synced + sim_below(sim, disk->written - disk->synced + 1);
    shorten(&disk->log, kept);
    disk->written = disk->synced = kept;
    disk->installs = false;
    disk->clean = false;
}

void sim_disk_open(struct sim *sim, size_t i)
{
    if (sim->knobs.files) sim_store_open(sim, i);
}

void sim_disk_begin(struct sim *sim, size_t i, uint64_t origin, uint64_t lease)
{
    struct sim_disk *disk = &sim->nodes[i].disk;
    disk->origin = origin;
    disk->lease = lease;
    disk->clean = false;
    if (sim->knobs.files) sim_store_begin(sim, i, origin, lease);
}

/* A life that was begun while running is not in the MANIFEST. */
void sim_disk_stop(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_disk *disk = &node->disk;
    if (node->store != NULL) {
        sim_store_write(sim, i);
    } else {
        disk->written = writable(disk);
        install(sim, i);
        shorten(&disk->log, disk->written);
        disk->installs = false;
        sim_step(sim, i, (struct tly_event){.kind = TLY_STORED, .number = disk->written - node->batch_base});
    }
    disk->synced = disk->written;
    sim_promises_stored(sim, i);
    sim_promises_broken(sim, i, true);
    struct tly_node_view view;
    tly_engine_node(node->engine, false, &view);
    disk->clean = view.origin == disk->origin && tly_engine_has_handed_all(node->engine);
    if (node->store != NULL) sim_store_close(node, disk->clean);
}

void sim_disk_die(struct sim *sim, size_t i)
{
    if (sim->nodes[i].store != NULL) sim_store_die(sim, i);
}

void sim_disk_let_go(struct sim_node *node)
{
    end_image(node);
    sim_store_drop(node);
}

void sim_disk_replay(struct sim *sim, size_t i)
{
    struct sim_node *node = &sim->nodes[i];
    if (node->store != NULL) {
        sim_store_replay(sim, i);
        return;
    }
    const struct sim_batches *parts[] = {&node->disk.image, &node->disk.log};
    for (size_t p = 0; p < 2; p++)
        for (size_t j = 0; j < parts[p]->count; j++) {
            struct tly_slice batch = tly_slice_of(parts[p]->list[j].bytes, parts[p]->list[j].n);
            enum tly_result result = tly_engine_replay(node->engine, batch);
            sim_claim(sim, result == TLY_OK, "n%zu: batch %zu of part %zu is not taken back: %s", i, j, p,
                      tly_result_text(result));
        }
    /* The engine numbers what it gives from 1 on. */
    node->batch_base = node->disk.log.count;
}
