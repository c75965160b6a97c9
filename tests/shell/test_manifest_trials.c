/*
 * Whole nodes, engine and store, whose MANIFEST is lost, cut, flipped or unreadable, again and again: that is loud,
 * and whatever puts it right, no version is given twice.
 */
#include "service/engine/engine.h"
#include "service/shell/libc_mem.h"
#include "service/shell/manifest.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdlib.h>

#define WALL UINT64_C(1700000000000000000)
#define SECOND UINT64_C(1000000000)
#define DISKS 100
#define TRIALS 100
#define LIVES_MAX (2 * TRIALS + 8)

/* The last version that each life gave. */
struct given {
    uint64_t origin, last;
};

struct disk {
    struct test_user user; /* its storage and faults only */
    struct test_rng *rng;
    struct given lives[LIVES_MAX];
    size_t life_count;
    uint64_t mono;
    size_t went_on, refused, lost;
};

/* One process. */
struct run {
    struct disk *disk;
    struct tly_engine *engine;
    struct tly_store *store;
    bool is_new; /* the life */
};

static struct tly_time time_of(const struct disk *disk)
{
    return (struct tly_time){WALL + disk->mono, disk->mono};
}

static struct given *find(struct disk *disk, uint64_t origin)
{
    for (size_t i = 0; i < disk->life_count; i++)
        if (disk->lives[i].origin == origin) return &disk->lives[i];
    return NULL;
}

/* Goes on with one that was, or begins one that never was. */
static void note_life(struct disk *disk, uint64_t origin, bool goes_on)
{
    claim(goes_on == (find(disk, origin) != NULL));
    claim(disk->life_count < LIVES_MAX);
    if (!goes_on) disk->lives[disk->life_count++] = (struct given){.origin = origin};
}

static void note(struct disk *disk, struct tly_version version)
{
    struct given *life = find(disk, version.origin);
    claim(life != NULL && version.ts > life->last);
    life->last = version.ts;
}

/* ---- a process ---- */

static enum tly_result replay_batch(void *context, struct tly_slice batch)
{
    struct run *run = context;
    return tly_engine_replay(run->engine, batch);
}

static void make_engine(struct run *run)
{
    struct tly_engine_config config = {
        .mem = tly_libc_mem(),
        .seed = test_rng_next(run->disk->rng),
        .name = tly_slice_text("n"),
        .cluster = tly_slice_text("c"),
        .lease = tly_store_identity(run->store)->lease,
        .has_store = true,
        .now = time_of(run->disk),
    };
    claim(tly_engine_new(&config, &run->engine) == TLY_OK);
}

static void begin(struct run *run)
{
    char error[512] = "";
    struct disk *disk = run->disk;
    struct tly_time now = time_of(disk);
    const struct tly_identity *identity = tly_store_identity(run->store);
    bool goes_on = identity->may_continue && identity->origin != 0;
    uint64_t origin = goes_on ? identity->origin : test_rng_next(disk->rng) | 1;
    uint64_t from = identity->lease > now.wall_ns ? identity->lease : now.wall_ns;
    run->is_new = !goes_on;
    disk->went_on += goes_on;
    note_life(disk, origin, goes_on);
    claim(tly_store_begin(run->store, "n", origin, from + TLY_CLOCK_LEASE_NS, error, sizeof error) == TLY_OK);
    enum tly_result result = goes_on ? tly_engine_resume(run->engine, origin, false, now)
                                     : tly_engine_start(run->engine, origin, now);
    claim(result == TLY_OK);
}

static enum tly_result try_open(struct run *run, char *notice, size_t size)
{
    struct test_user *user = &run->disk->user;
    return tly_store_open_limited(test_fault_storage(&user->faults), TLY_FSYNC_ALWAYS, &user->limits,
                                  &run->store, notice, size);
}

/* Each kill may lift the versions by a lease; who lost the MANIFEST too may have to wait until the clock is there. */
static void come_up(struct run *run)
{
    char notice[512] = "";
    enum tly_result result = TLY_CLOCK_AHEAD;
    for (unsigned waits = 0; result == TLY_CLOCK_AHEAD && waits < 10; waits++) {
        if (waits > 0) {
            claim(tly_store_identity(run->store)->manifest_lost);
            tly_store_close(run->store, false);
            tly_engine_free(run->engine);
            run->disk->mono += 10 * SECOND;
        }
        claim(try_open(run, notice, sizeof notice) == TLY_OK);
        make_engine(run);
        result = tly_store_replay(run->store, replay_batch, run, notice, sizeof notice);
    }
    claim(result == TLY_OK);
    begin(run);
}

static void write_one(struct run *run, uint64_t key)
{
    uint8_t name[4] = {'k', 'v', ':', (uint8_t)('a' + key)};
    struct tly_slice slice = tly_slice_of(name, sizeof name);
    struct tly_request request = {
        .kind = TLY_ASK_PUT, .key = slice, .bytes = tly_slice_text("x"), .now = time_of(run->disk)};
    struct tly_reply reply;
    claim(tly_engine_ask(run->engine, &request, &reply) == TLY_OK);
    struct tly_entry_view view;
    claim(tly_engine_entry(run->engine, slice, &view) == TLY_OK);
    note(run->disk, view.dots[view.count - 1].version);
}

/* Hands over to the store what there is. */
static void hand_over(struct run *run)
{
    struct tly_event tick = {.kind = TLY_TICK, .now = time_of(run->disk)};
    struct tly_effects effects;
    claim(tly_engine_step(run->engine, &tick, &effects) == TLY_OK);
    for (size_t i = 0; i < effects.count; i++) {
        const struct tly_effect *effect = &effects.list[i];
        if (effect->kind == TLY_DO_APPEND)
            claim(tly_store_append(run->store, effect->number, effect->bytes) == TLY_OK);
        if (tly_effect_is_change(effect)) claim(tly_store_change(run->store, effect) == TLY_OK);
        if (effect->kind == TLY_DO_LEASE) tly_store_lease(run->store, effect->number);
    }
}

static void go_down(struct run *run, bool clean)
{
    tly_store_close(run->store, clean);
    tly_engine_free(run->engine);
}

/* Works for a while and stops, or is killed with something that nobody was given. */
static void live(struct disk *disk)
{
    struct run run = {.disk = disk};
    bool clean = test_rng_chance(disk->rng, 70);
    come_up(&run);
    for (uint64_t n = test_rng_below(disk->rng, 3); n > 0; n--)
        write_one(&run, test_rng_below(disk->rng, 3));
    hand_over(&run);
    if (!clean) write_one(&run, 0);
    go_down(&run, clean);
    disk->mono += test_rng_below(disk->rng, SECOND);
}

/* ---- a fault, and how it is put right ---- */

enum kind { LOST, CUT, FLIPPED, GARBAGE, UNREADABLE, KINDS };

static void damage(struct disk *disk, enum kind kind, struct tly_slice good)
{
    uint8_t bytes[4096];
    claim(good.n > 0 && good.n < sizeof bytes);
    memcpy(bytes, good.p, good.n);
    struct tly_slice bad = {bytes, good.n};
    if (kind == CUT) bad.n = (size_t)test_rng_below(disk->rng, good.n);
    if (kind == FLIPPED)
        bytes[test_rng_below(disk->rng, good.n)] ^= (uint8_t)(1 + test_rng_below(disk->rng, 255));
    for (size_t i = 0; kind == GARBAGE && i < bad.n; i++)
        bytes[i] = (uint8_t)test_rng_next(disk->rng);
    test_user_write(&disk->user, TLY_MANIFEST_NAME, bad);
}

/* It is not opened, says so by name, and touches nothing. */
static void assert_loud(struct disk *disk, enum kind kind)
{
    struct run run = {.disk = disk};
    char notice[512] = "";
    if (kind == UNREADABLE)
        test_faults_set(&disk->user.faults, (struct test_fault){TEST_READ, TEST_EIO, 0, 1});
    claim(try_open(&run, notice, sizeof notice) != TLY_OK);
    if (kind == UNREADABLE) claim(test_faults_clear(&disk->user.faults) == 1);
    claim(strstr(notice, TLY_MANIFEST_NAME) != NULL);
    disk->refused++;
}

/* As one is told to: moved away. */
static void move_away(struct disk *disk)
{
    claim(tly_storage_remove(disk->user.faults.inner, TLY_MANIFEST_NAME) == TLY_OK);
    struct run run = {.disk = disk};
    come_up(&run);
    claim(run.is_new && tly_store_identity(run.store)->manifest_lost);
    write_one(&run, 0);
    hand_over(&run);
    go_down(&run, test_rng_chance(disk->rng, 70));
    disk->lost++;
}

static void try_fault(struct disk *disk)
{
    enum kind kind = (enum kind)test_rng_below(disk->rng, KINDS);
    struct tly_slice good = test_user_read(&disk->user, TLY_MANIFEST_NAME);
    if (kind == LOST) {
        move_away(disk);
    } else if (kind == UNREADABLE) {
        assert_loud(disk, kind); /* and is well again afterwards */
    } else {
        damage(disk, kind, good);
        assert_loud(disk, kind);
        move_away(disk);
    }
    free((void *)(uintptr_t)good.p);
}

static void no_version_is_given_twice_whatever_becomes_of_the_manifest(void **state)
{
    (void)state;
    size_t went_on = 0, refused = 0, lost = 0;
    for (uint64_t i = 0; i < DISKS; i++) {
        struct test_rng rng = test_rng_of(test_seed_first() + i);
        struct disk *disk = calloc(1, sizeof *disk);
        assert_non_null(disk);
        disk->rng = &rng;
        test_user_init(&disk->user, NULL, TLY_FSYNC_ALWAYS);
        live(disk);
        for (size_t trial = 0; trial < TRIALS; trial++) {
            try_fault(disk);
            live(disk);
        }
        went_on += disk->went_on;
        refused += disk->refused;
        lost += disk->lost;
        test_user_fini(&disk->user);
        free(disk);
    }
    assert_true(went_on > DISKS * TRIALS / 10);
    assert_true(refused > DISKS * TRIALS / 2 && lost > DISKS * TRIALS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_version_is_given_twice_whatever_becomes_of_the_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
