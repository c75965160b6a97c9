/*
 * What comes of each failure of each operation in each of the store's writers: a table, every cell of which is run, printed and
 * compared with what it should be.  After every cell all that was appended is there, no file is left over, and a snapshot succeeds.
 *
 *     -         the writer does no such thing
 *     refused   the start failed, and said why; the next one succeeded
 *     retried   it was reported as failing, and done again by itself
 *     given up  of a snapshot: the log stays as it is, and the next one succeeds
 *     later     nothing was reported: what is left over goes with the next thing that is written
 *     waited    it took its time, and then went on
 *
 * And death at each change that a writer, and the stop behind it, makes to the disk, with what was not synced kept or lost.
 */
#include "service/shell/libc_mem.h"
#include "service/shell/manifest.h"
#include "service/shell/segment.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "wire/table.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>

enum writer { START, LOG, ROLL, LEASE, SNAPSHOT, INSTALL, DROP, MIGRATE, BATCH, WRITERS };

static const char *const writer_names[WRITERS] = {"start",   "log",  "roll",    "lease", "snapshot",
                                                  "install", "drop", "migrate", "batch"};

/* A change of the table of prefixes. */
static bool is_table(enum writer writer)
{
    return writer >= DROP;
}

static const struct {
    const char *name;
    enum test_fault_op op;
} ops[] = {{"put", TEST_PUT},   {"append", TEST_APPEND}, {"sync", TEST_SYNC},
           {"list", TEST_LIST}, {"read", TEST_READ},     {"remove", TEST_REMOVE}};

static const struct {
    const char *name;
    enum test_fault_kind kind;
} kinds[] = {{"EIO", TEST_EIO}, {"ENOSPC", TEST_ENOSPC}, {"short", TEST_SHORT}, {"delayed", TEST_HANG}};

#define OPS (sizeof ops / sizeof *ops)
#define KINDS (sizeof kinds / sizeof *kinds)

#define NO "-"
#define REFUSED "refused"
#define RETRIED "retried"
#define GIVEN_UP "given up"
#define LATER "later"
#define WAITED "waited"
#define MADE_ROOM "reserve"

/* By operation and kind, the writers in their order. */
static const char *const expected[OPS][KINDS][WRITERS] = {
    /* put */
    {
        {REFUSED, NO, RETRIED, RETRIED, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {MADE_ROOM, NO, RETRIED, RETRIED, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {REFUSED, NO, RETRIED, RETRIED, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {WAITED, NO, WAITED, WAITED, WAITED, WAITED, WAITED, WAITED, WAITED},
    },
    /* append */
    {
        {NO, RETRIED, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {NO, RETRIED, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {NO, RETRIED, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {NO, WAITED, WAITED, NO, WAITED, WAITED, WAITED, WAITED, WAITED},
    },
    /* sync */
    {
        {REFUSED, RETRIED, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {MADE_ROOM, RETRIED, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {REFUSED, RETRIED, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {WAITED, WAITED, WAITED, NO, WAITED, WAITED, WAITED, WAITED, WAITED},
    },
    /* list */
    {
        {REFUSED, NO, NO, NO, LATER, LATER, LATER, LATER, LATER},
        {REFUSED, NO, NO, NO, LATER, LATER, LATER, LATER, LATER},
        {REFUSED, NO, NO, NO, LATER, LATER, LATER, LATER, LATER},
        {WAITED, NO, NO, NO, WAITED, WAITED, WAITED, WAITED, WAITED},
    },
    /* read */
    {
        {REFUSED, NO, RETRIED, NO, GIVEN_UP, LATER, RETRIED, RETRIED, RETRIED},
        {REFUSED, NO, RETRIED, NO, GIVEN_UP, LATER, RETRIED, RETRIED, RETRIED},
        {REFUSED, NO, RETRIED, NO, GIVEN_UP, LATER, RETRIED, RETRIED, RETRIED},
        {WAITED, NO, WAITED, NO, WAITED, WAITED, WAITED, WAITED, WAITED},
    },
    /* remove */
    {
        {LATER, NO, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {LATER, NO, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {LATER, NO, RETRIED, NO, GIVEN_UP, RETRIED, RETRIED, RETRIED, RETRIED},
        {WAITED, NO, WAITED, NO, WAITED, WAITED, WAITED, WAITED, WAITED},
    },
};

/* ---- a delayed operation ---- */

struct patience {
    struct test_faults *faults;
    pthread_t thread;
    bool is_over;
};

/* Lets what hangs go on, a moment after it began to. */
static void *release(void *argument)
{
    struct patience *p = argument;
    while (!__atomic_load_n(&p->is_over, __ATOMIC_SEQ_CST) && test_faults_fired(p->faults) == 0)
        (void)poll(NULL, 0, 1);
    (void)poll(NULL, 0, 2);
    test_faults_release(p->faults);
    return NULL;
}

static void patience_begin(struct patience *p, struct test_faults *faults)
{
    *p = (struct patience){.faults = faults};
    assert_int_equal(pthread_create(&p->thread, NULL, release, p), 0);
}

static void patience_end(struct patience *p)
{
    __atomic_store_n(&p->is_over, true, __ATOMIC_SEQ_CST);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
}

/* ---- the writers at work ---- */

static bool start(struct test_user *user)
{
    bool done = test_user_try_open(user) == TLY_OK;
    if (!done) assert_string_not_equal(user->notice, "");
    return done;
}

/* The first of a batch is registered, the second dropped, the third migrated. */
static void change_table(struct test_user *user, enum writer writer)
{
    static const char *const names[] = {"a:", "b:", "c:"};
    struct tly_mem mem = tly_libc_mem();
    struct tly_registry *table = tly_registry_new(&mem);
    struct tly_table_change change = {.kind = writer == DROP      ? TLY_TABLE_DROP
                                              : writer == MIGRATE ? TLY_TABLE_MIGRATE
                                                                  : TLY_TABLE_BATCH,
                                      .actor = tly_slice_text("test")};
    assert_non_null(table);
    for (size_t i = 0; i < (writer == BATCH ? 3 : 1); i++) {
        struct tly_registry *next;
        struct tly_prefix row = {tly_slice_text(names[i]), writer == DROP || i == 1 ? NULL : tly_lww(), 2};
        assert_int_equal(tly_registry_set(table, &row, &next), TLY_OK);
        tly_registry_free(table);
        table = next;
        change.changed[change.changed_count++] = (struct tly_table_changed){row.prefix, false};
    }
    test_user_table(user, &change, table, writer == DROP ? 0 : 3);
    tly_registry_free(table);
}

/* With the fault in force from its beginning; false: the start was refused. */
static bool work(struct test_user *user, enum writer writer)
{
    switch (writer) {
    case START: return start(user);
    case LOG:
        test_user_append(user);
        test_user_wait_stored(user);
        break;
    case ROLL:
        for (size_t i = 0; i < 8; i++) {
            test_user_append(user);
            test_user_wait_stored(user);
        }
        break;
    case LEASE:
        tly_store_lease(user->store, 5000);
        while (user->report.leased < 5000)
            test_user_poll(user);
        test_user_wait_failing(user, false);
        break;
    case SNAPSHOT:
        test_user_image(user);
        (void)test_user_wait_snapshots(user, 1);
        break;
    case INSTALL:
        test_user_install(user);
        test_user_wait_stored(user);
        break;
    case DROP:
    case MIGRATE:
    case BATCH:
        change_table(user, writer);
        test_user_wait_stored(user);
        break;
    case WRITERS: break;
    }
    return true;
}

struct leftovers {
    const struct tly_manifest *manifest;
    size_t count;
};

static void note_file(void *context, const char *name)
{
    struct leftovers *left = context;
    uint64_t number;
    if (tly_segment_parse_name(TLY_SEGMENT_SNAPSHOT, name, &number))
        left->count += number != left->manifest->snapshot;
    if (!tly_segment_parse_name(TLY_SEGMENT_LOG, name, &number)) return;
    bool is_named = false;
    for (size_t i = 0; i < left->manifest->segment_count; i++)
        is_named = is_named || left->manifest->segments[i].number == number;
    left->count += !is_named;
}

static void assert_whole(struct test_user *user)
{
    static struct tly_manifest manifest;
    char error[512];
    test_user_image(user);
    assert_true(test_user_wait_snapshots(user, user->report.snapshots + 1));
    test_user_append(user);
    test_user_wait_stored(user);
    test_user_close(user, true);
    struct leftovers left = {.manifest = &manifest};
    assert_int_equal(tly_manifest_load(user->faults.inner, &manifest, error, sizeof error), TLY_OK);
    assert_int_equal(tly_storage_list(user->faults.inner, "", note_file, &left), TLY_OK);
    assert_int_equal(left.count, 0);
    struct test_changes changes = test_user_changes(user);
    assert_int_equal(changes.intents, 0);
    assert_true(changes.done >= 2 && changes.rows == changes.done + changes.discarded);
    test_faults_power_cut(&user->faults, 0);
    test_user_open(user);
    assert_int_equal(user->id_at_open, user->last_id);
    assert_string_equal(user->notice, "");
}

/* Ten batches and a snapshot were there before, and a segment that no MANIFEST names. */
static void prepare(struct test_user *user, enum writer writer)
{
    test_user_init(user, NULL, TLY_FSYNC_ALWAYS);
    user->limits.segment_bytes = writer == ROLL ? 600 : 1 << 20;
    user->limits.retry_ms = user->limits.retry_max_ms = 50;
    test_user_open(user);
    for (size_t i = 0; i < 10; i++)
        test_user_append(user);
    test_user_image(user);
    assert_true(test_user_wait_snapshots(user, 1));
    test_user_wait_stored(user);
    test_user_close(user, true);
    test_user_write(user, "log-900.tly", tly_slice_text("a stray"));
    test_user_write(user, "snap-901.tly", tly_slice_text("another"));
    if (writer != START) test_user_open(user);
    user->was_failing = false;
}

static const char *outcome_of(enum writer writer, enum test_fault_op op, enum test_fault_kind kind)
{
    struct test_user user;
    struct patience patience;
    prepare(&user, writer);
    test_faults_set(&user.faults, (struct test_fault){op, kind, 0, 1});
    if (kind == TEST_HANG) patience_begin(&patience, &user.faults);
    bool is_done = work(&user, writer);
    if (kind == TEST_HANG) patience_end(&patience);
    uint64_t given_up = is_done ? user.report.snapshots_failed : 0;
    bool fired = test_faults_clear(&user.faults) > 0;
    bool made_room = is_done && !test_user_has(&user, TLY_RESERVE_NAME);
    const char *outcome = !fired              ? NO
                          : !is_done          ? REFUSED
                          : made_room         ? MADE_ROOM
                          : user.was_failing  ? RETRIED
                          : given_up > 0      ? GIVEN_UP
                          : kind == TEST_HANG ? WAITED
                                              : LATER;
    if (!is_done) test_user_open(&user);
    if (writer == START) user.last_id = user.id_at_open;
    assert_whole(&user);
    test_user_fini(&user);
    return outcome;
}

static void every_failure_of_every_operation_in_every_writer(void **state)
{
    (void)state;
    size_t wrong = 0;
    print_message("  %-8s %-8s", "", "");
    for (size_t w = 0; w < WRITERS; w++)
        print_message(" %-10s", writer_names[w]);
    print_message("\n");
    for (size_t op = 0; op < OPS; op++) {
        for (size_t kind = 0; kind < KINDS; kind++) {
            print_message("  %-8s %-8s", ops[op].name, kinds[kind].name);
            for (size_t w = 0; w < WRITERS; w++) {
                const char *wanted = expected[op][kind][w];
                const char *found = outcome_of((enum writer)w, ops[op].op, kinds[kind].kind);
                bool is_right = wanted != NULL && strcmp(wanted, found) == 0;
                print_message(" %-10s", found);
                if (!is_right) print_message("(! %s) ", wanted != NULL ? wanted : "no such cell");
                wrong += !is_right;
            }
            print_message("\n");
        }
    }
    assert_int_equal(wrong, 0);
}

/* ---- death at every change of every writer ---- */

static void append_till_death(struct test_user *user, size_t count)
{
    for (size_t i = 0; i < count && !user->report.failing; i++) {
        test_user_append(user);
        while (!user->report.failing && user->report.stored < user->number)
            test_user_poll(user);
    }
}

static void work_till_death(struct test_user *user, enum writer writer)
{
    switch (writer) {
    case START: (void)test_user_try_open(user); break;
    case LOG: append_till_death(user, 1); break;
    case ROLL: append_till_death(user, 8); break;
    case LEASE:
        tly_store_lease(user->store, 5000);
        while (!user->report.failing && user->report.leased < 5000)
            test_user_poll(user);
        break;
    case SNAPSHOT:
        test_user_image(user);
        while (!user->report.failing && user->report.snapshots + user->report.snapshots_failed == 0)
            test_user_poll(user);
        break;
    case INSTALL:
        test_user_install(user);
        while (!user->report.failing && user->report.stored < user->number)
            test_user_poll(user);
        break;
    case DROP:
    case MIGRATE:
    case BATCH:
        change_table(user, writer);
        while (!user->report.failing && user->report.stored < user->number)
            test_user_poll(user);
        break;
    case WRITERS: break;
    }
}

/* The table is there with all that belongs to it, or neither. */
static bool has_table(struct test_user *user)
{
    static struct tly_manifest manifest;
    char error[512];
    assert_int_equal(tly_manifest_load(user->faults.inner, &manifest, error, sizeof error), TLY_OK);
    return manifest.prefix_count > 0;
}

/* How many batches must be there. */
static uint64_t stored_ids(const struct test_user *user, enum writer writer, uint64_t before)
{
    if (writer == START) return before;
    if (writer == INSTALL) return user->id_at_open;
    if (!is_table(writer)) return user->id_at_open + user->report.stored;
    return user->report.stored >= user->number ? user->last_id : user->id_at_open;
}

/* Dies at change number k of the writer's, and the power with it; false: it has no so many. */
static bool die_at(enum writer writer, size_t k, unsigned percent)
{
    struct test_user user;
    prepare(&user, writer);
    uint32_t close_ms = user.limits.close_ms;
    if (writer != START) test_user_close(&user, true);
    user.limits.close_ms = 0;
    if (writer != START) test_user_open(&user);
    uint64_t before = user.last_id;
    test_faults_set(&user.faults, (struct test_fault){TEST_CHANGE, TEST_DEATH, k, 1});
    work_till_death(&user, writer);
    uint64_t stored = stored_ids(&user, writer, before);
    bool is_told = (is_table(writer) || writer == INSTALL) && user.report.stored >= user.number;
    uint64_t leased = user.report.leased, given = user.last_id;
    test_user_close(&user, true);
    bool died = test_faults_clear(&user.faults) > 0;
    test_faults_power_cut(&user.faults, percent);
    user.limits.close_ms = close_ms;
    test_user_open(&user);
    uint64_t lease = tly_store_identity(user.store)->lease;
    bool may_continue = tly_store_identity(user.store)->may_continue;
    if (user.id_at_open < stored || user.id_at_open > given || lease < leased)
        fail_msg(
            "%s dead at change %zu, %u %% of the unsynced left: %llu batches, %llu were stored; lease %llu",
            writer_names[writer], k, percent, (unsigned long long)user.id_at_open, (unsigned long long)stored,
            (unsigned long long)lease);
    if (died && writer != START) assert_false(may_continue && user.id_at_open < given);
    if (is_told && is_table(writer)) assert_true(has_table(&user));
    if (is_told) assert_int_equal(test_user_changes(&user).done, 2); /* the snapshot before, and this */
    if (writer == MIGRATE || writer == BATCH) {
        assert_true(user.id_at_open == before || user.id_at_open == given);
        assert_int_equal(has_table(&user), user.id_at_open == given);
    }
    assert_whole(&user);
    test_user_fini(&user);
    return died;
}

static void death_at_every_change_of_every_writer_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    static const unsigned percents[] = {0, 50, 100};
    static const size_t least[WRITERS] = {5, 3, 20, 2, 12, 12, 8, 8, 8};
    print_message("  kill points  %5u %% %5u %% %5u %% of the unsynced left\n", percents[0], percents[1],
                  percents[2]);
    for (size_t w = 0; w < WRITERS; w++) {
        print_message("  %-11s", writer_names[w]);
        for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
            size_t k = 0;
            while (die_at((enum writer)w, k, percents[i]))
                k++;
            print_message(" %7zu", k);
            assert_true(least[w] > 0 && k >= least[w]);
        }
        print_message("\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_of_every_operation_in_every_writer),
        cmocka_unit_test(death_at_every_change_of_every_writer_leaves_the_old_or_the_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
