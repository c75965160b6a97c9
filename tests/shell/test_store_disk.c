/*
 * The store on a disk that fails, loses power, and is damaged byte by byte.  The claims are those that a user can rely on: what
 * was reported stored is there after the next start, and what is not there was said.
 */
#include "service/shell/store_internal.h"
#include "tests/shell/support_disk.h"
#include "tests/support/cmocka.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCHES 32u
#define GROUP 4u
#define NUMBERS 1024u
#define PATIENCE_MS 20000

/* ---- batches that know their number ---- */

struct batch {
    uint8_t bytes[400];
    size_t n;
};

/* Of its own length and content, not compressible. */
static struct batch batch_of(unsigned number)
{
    struct test_rng rng = test_rng_of(number + 1);
    struct batch batch = {.n = 4 + (size_t)test_rng_below(&rng, number % 7 == 0 ? 300 : 40)};
    for (size_t i = 4; i < batch.n; i++)
        batch.bytes[i] = (uint8_t)test_rng_next(&rng);
    for (size_t i = 0; i < 4; i++)
        batch.bytes[i] = (uint8_t)(number >> (8 * i));
    return batch;
}

/* Which were read back, how often. */
struct seen {
    unsigned times[NUMBERS];
    unsigned foreign;
};

static enum tly_result take(void *context, struct tly_slice bytes)
{
    struct seen *seen = context;
    unsigned number = 0;
    for (size_t i = 0; i < 4 && i < bytes.n; i++)
        number |= (unsigned)bytes.p[i] << (8 * i);
    bool is_ours = bytes.n >= 4 && number < NUMBERS;
    struct batch batch = batch_of(is_ours ? number : 0);
    is_ours = is_ours && tly_slice_equal(bytes, tly_slice_of(batch.bytes, batch.n));
    if (is_ours)
        seen->times[number]++;
    else
        seen->foreign++;
    return TLY_OK;
}

/* The numbers first … last are all there. */
static bool has_all(const struct seen *seen, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++)
        if (seen->times[i] == 0) return false;
    return true;
}

/* Batches 1 … n are there and none after. */
static bool is_prefix(const struct seen *seen, unsigned *n)
{
    *n = 0;
    while (*n + 1 < NUMBERS && seen->times[*n + 1] > 0)
        ++*n;
    for (unsigned i = *n + 1; i < NUMBERS; i++)
        if (seen->times[i] > 0) return false;
    return seen->foreign == 0;
}

/* ---- a node's use of it ---- */

static const struct tly_store_limits small = {
    .segment_bytes = 800,
    .waiting_bytes = 65536,
    .kept_bytes = 65536 + 1024,
    .image_bytes = 1 << 20,
    .interval_ms = 2,
    .retry_ms = 1,
    .retry_max_ms = 4,
    .close_ms = 3000,
};

struct node {
    struct tly_store *store;
    struct tly_store_report report;
    struct seen seen;
    char error[512], notice[512];
};

/* Opens and replays. */
static enum tly_result node_open(struct node *node, struct test_disk *disk, enum tly_fsync fsync)
{
    *node = (struct node){0};
    enum tly_result result = tly_store_open_limited(test_disk_open(disk), fsync, &small, &node->store,
                                                    node->error, sizeof node->error);
    if (result != TLY_OK) {
        node->store = NULL;
        return result;
    }
    result = tly_store_replay(node->store, take, &node->seen, node->notice, sizeof node->notice);
    if (result == TLY_OK) return TLY_OK;
    tly_store_close(node->store, false);
    node->store = NULL;
    return result;
}

static enum tly_result node_begin(struct node *node)
{
    enum tly_result result = tly_store_begin(node->store, "n", 7, 1000, node->error, sizeof node->error);
    if (result == TLY_OK) return TLY_OK;
    tly_store_close(node->store, false);
    node->store = NULL;
    return result;
}

/* Failures that end may have made it fail; it may then be started once more. */
static void node_start(struct node *node, struct test_disk *disk, enum tly_fsync fsync)
{
    for (int tries = 0; tries < 10; tries++) {
        enum tly_result result = node_open(node, disk, fsync);
        if (result == TLY_OK) result = node_begin(node);
        if (result == TLY_OK) return;
        claim(test_disk_failed(disk) > 0);
        claim(node->error[0] != '\0' || node->notice[0] != '\0');
    }
    fail_msg("it does not start: %s%s", node->error, node->notice);
}

/* False: there was no news in time. */
static bool node_wait(struct node *node)
{
    struct pollfd wait = {.fd = tly_store_wakeup_fd(node->store), .events = POLLIN};
    if (poll(&wait, 1, PATIENCE_MS) != 1) return false;
    tly_store_poll(node->store, &node->report);
    return true;
}

static void node_append(struct node *node, unsigned first, unsigned number)
{
    struct batch batch = batch_of(first + number - 1);
    claim(tly_store_append(node->store, number, tly_slice_of(batch.bytes, batch.n)) == TLY_OK);
}

static void node_wait_for(struct node *node, uint64_t number)
{
    while (node->report.stored < number || node->report.failing)
        if (!node_wait(node))
            fail_msg("no news: stored %u failing %d %s", (unsigned)node->report.stored, node->report.failing,
                     node->report.error);
}

/* Hands over BATCHES batches, content from `first` on, some at a time. */
static void node_write_all(struct node *node, unsigned first)
{
    for (unsigned i = 1; i <= BATCHES; i++) {
        node_append(node, first, i);
        if (i % GROUP == 0) node_wait_for(node, i);
    }
}

static void node_close(struct node *node, bool clean)
{
    tly_store_close(node->store, clean);
    node->store = NULL;
}

/* ---- failing operations ---- */

/* False: the operation number n of its kind was never reached. */
static bool survives(const struct test_disk_fault *fault, enum tly_fsync fsync)
{
    struct test_disk *disk = test_disk_new();
    struct node node;
    /* An earlier life, so that opening, reading and adding to what there is can fail as well. */
    node_start(&node, disk, fsync);
    for (unsigned i = 1; i <= 8; i++)
        node_append(&node, 1, i);
    node_wait_for(&node, 8);
    node_close(&node, true);

    test_disk_fail(disk, fault);
    node_start(&node, disk, fsync);
    node_write_all(&node, 9);
    node_close(&node, true);
    bool happened = test_disk_failed(disk) > 0;

    test_disk_fail(disk, &(struct test_disk_fault){0});
    enum tly_result result = node_open(&node, disk, fsync);
    if (result != TLY_OK) fail_msg("op %d n %zu: %s%s", (int)fault->op, fault->n, node.error, node.notice);
    claim(has_all(&node.seen, 1, 8 + BATCHES));
    claim(node.seen.foreign == 0);
    node_close(&node, false);
    test_disk_free(disk);
    return happened;
}

static void whatever_operation_fails_and_works_again_every_batch_gets_there(void **state)
{
    (void)state;
    static const enum tly_fsync fsyncs[] = {TLY_FSYNC_ALWAYS, TLY_FSYNC_INTERVAL, TLY_FSYNC_NEVER};
    size_t happened[TEST_DISK_OPS] = {0};
    for (size_t f = 0; f < 3; f++) {
        for (int op = 0; op < TEST_DISK_OPS; op++) {
            for (int late = 0; late < 2; late++) {
                for (size_t times = 1; times <= 3; times += 2) {
                    struct test_disk_fault fault = {
                        .op = (enum test_disk_op)op, .times = times, .late = late != 0};
                    for (; survives(&fault, fsyncs[f]); fault.n++)
                        happened[op]++;
                }
            }
        }
    }
    for (int op = 0; op < TEST_DISK_OPS; op++)
        if (op != TEST_DISK_TRUNCATE) claim(happened[op] > 0);
}

/* Until it is told so. */
static void node_wait_failing(struct node *node)
{
    while (!node->report.failing)
        claim(node_wait(node));
    claim(strstr(node->report.error, "injected failure") != NULL);
}

static void a_disk_that_refuses_for_a_while_is_reported_and_loses_nothing(void **state)
{
    (void)state;
    static const enum test_disk_op ops[] = {TEST_DISK_PUT, TEST_DISK_APPEND, TEST_DISK_SYNC};
    for (size_t op = 0; op < sizeof ops / sizeof ops[0]; op++) {
        struct test_disk *disk = test_disk_new();
        struct node node;
        node_start(&node, disk, TLY_FSYNC_ALWAYS);
        test_disk_fail(disk, &(struct test_disk_fault){.op = ops[op], .times = SIZE_MAX});
        tly_store_lease(node.store, 6000);
        for (unsigned i = 1; i <= BATCHES; i++)
            node_append(&node, 1, i);
        node_wait_failing(&node);
        test_disk_fail(disk, &(struct test_disk_fault){0});
        node_wait_for(&node, BATCHES);
        while (node.report.leased < 6000)
            claim(node_wait(&node));
        node_close(&node, true);
        claim(node_open(&node, disk, TLY_FSYNC_ALWAYS) == TLY_OK);
        claim(has_all(&node.seen, 1, BATCHES) && node.seen.foreign == 0);
        claim(tly_store_identity(node.store)->may_continue);
        claim(tly_store_identity(node.store)->lease == 6000);
        node_close(&node, false);
        test_disk_free(disk);
    }
}

/* ---- power cuts ---- */

struct tally {
    size_t cuts, refused, opened, torn, snapshots;
    uint64_t acknowledged;
};

static bool has_snapshot(const struct test_disk *disk)
{
    for (size_t i = 0; i < test_disk_count(disk); i++)
        if (strncmp(test_disk_name(disk, i), "snap-", 5) == 0) return true;
    return false;
}

static void check_after_cut(struct test_disk *disk, const struct node *before, unsigned first,
                            enum test_disk_cut cut, struct tally *tally)
{
    struct node node;
    enum tly_result result = node_open(&node, disk, TLY_FSYNC_ALWAYS);
    tally->cuts++;
    /* Whatever a power cut leaves of what was not synced is no damage. */
    if (result != TLY_OK)
        fail_msg("cut %d: %s %s%s", (int)cut, tly_result_name(result), node.error, node.notice);
    tally->opened++;
    tally->torn += node.notice[0] != '\0';
    tally->acknowledged += before->report.synced;
    tally->snapshots += has_snapshot(disk);
    claim(has_all(&node.seen, 1, first - 1 + (unsigned)before->report.synced));
    claim(node.seen.foreign == 0);
    claim(!tly_store_identity(node.store)->may_continue);
    claim(tly_store_identity(node.store)->lease >= before->report.leased);
    claim(node_begin(&node) == TLY_OK);
    node_append(&node, NUMBERS - 1, 1);
    node_wait_for(&node, 1);
    node_close(&node, true);
    claim(node_open(&node, disk, TLY_FSYNC_ALWAYS) == TLY_OK);
    claim(has_all(&node.seen, 1, first - 1 + (unsigned)before->report.synced));
    claim(node.seen.times[NUMBERS - 1] == 1);
    claim(node.notice[0] == '\0');
    node_close(&node, false);
}

static void cut_every_way(struct test_disk *disk, const struct node *node, unsigned first,
                          struct test_rng *rng, struct tally *tally)
{
    for (int cut = 0; cut < TEST_CUTS; cut++) {
        struct test_disk *after = test_disk_cut(disk, (enum test_disk_cut)cut, rng);
        check_after_cut(after, node, first, (enum test_disk_cut)cut, tally);
        test_disk_free(after);
    }
}

/* A snapshot of all up to now: the same batches once more. */
static void put_image(struct node *node, unsigned last)
{
    const struct tly_slice none = {0};
    claim(tly_store_image(node->store, TLY_IMAGE_BEGIN, none) == TLY_OK);
    for (unsigned i = 1; i <= last; i++) {
        struct batch batch = batch_of(i);
        claim(tly_store_image(node->store, TLY_IMAGE_BATCH, tly_slice_of(batch.bytes, batch.n)) == TLY_OK);
    }
    claim(tly_store_image(node->store, TLY_IMAGE_END, none) == TLY_OK);
}

static void run_with_cuts(enum tly_fsync fsync, const struct test_disk_fault *fault, struct test_rng *rng,
                          struct tally *tally)
{
    struct test_disk *disk = test_disk_new();
    struct node node;
    node_start(&node, disk, fsync);
    node_close(&node, true);
    node_start(&node, disk, fsync);
    test_disk_fail(disk, fault);
    for (unsigned i = 1; i <= BATCHES; i++) {
        node_append(&node, 1, i);
        if (test_rng_chance(rng, 20)) tly_store_lease(node.store, 1000 + i);
        if (test_rng_chance(rng, 15)) put_image(&node, i);
        if (test_rng_chance(rng, 50)) node_wait_for(&node, i);
        tly_store_poll(node.store, &node.report);
        cut_every_way(disk, &node, 1, rng, tally);
    }
    node_wait_for(&node, BATCHES);
    node_close(&node, false);
    if (fault->times > 0) claim(test_disk_failed(disk) > 0);
    test_disk_free(disk);
}

static void what_was_reported_synced_survives_a_power_cut_at_any_time(void **state)
{
    (void)state;
    struct tally tally = {0}, always = {0};
    const uint64_t seeds = test_is_long() ? 100 : 4;
    for (uint64_t seed = test_seed_first(); seed < test_seed_first() + seeds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        run_with_cuts(TLY_FSYNC_ALWAYS, &(struct test_disk_fault){0}, &rng, &always);
        run_with_cuts(TLY_FSYNC_INTERVAL, &(struct test_disk_fault){0}, &rng, &tally);
        run_with_cuts(TLY_FSYNC_NEVER, &(struct test_disk_fault){0}, &rng, &tally);
    }
    claim(tally.torn > 0 && tally.opened > 0 && tally.snapshots > 0 && always.snapshots > 0);
    claim(always.cuts >= 500 && always.opened == always.cuts);
    print_message(
        "  fsync=always: all of %llu acknowledged batches were there, in %zu cuts of %zu (%zu with a snapshot)\n",
        (unsigned long long)always.acknowledged, always.opened, always.cuts, always.snapshots);
}

static uint64_t now_ns(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static unsigned left_after_cut(struct test_disk *disk, struct test_rng *rng)
{
    struct test_disk *after = test_disk_cut(disk, TEST_CUT_NONE, rng);
    struct node node;
    unsigned n;
    claim(node_open(&node, after, TLY_FSYNC_ALWAYS) == TLY_OK);
    claim(is_prefix(&node.seen, &n));
    node_close(&node, false);
    test_disk_free(after);
    return n;
}

struct losses {
    uint64_t cuts, losing, late, worst_ns;
};

#define INTERVAL_MS UINT64_C(20)

/* Cuts the power after each of so many batches. */
static struct losses cut_under_interval(uint64_t cuts, struct test_rng *rng)
{
    static uint64_t at_ns[NUMBERS];
    struct test_disk *disk = test_disk_new();
    struct tly_store_limits limits = small;
    struct node node = {0};
    struct losses losses = {.cuts = cuts};
    limits.interval_ms = (uint32_t)INTERVAL_MS;
    limits.segment_bytes = 1 << 20;
    claim(tly_store_open_limited(test_disk_open(disk), TLY_FSYNC_INTERVAL, &limits, &node.store, node.error,
                                 sizeof node.error) == TLY_OK);
    claim(tly_store_replay(node.store, take, &node.seen, node.notice, sizeof node.notice) == TLY_OK);
    claim(tly_store_begin(node.store, "n", 7, 1000, node.error, sizeof node.error) == TLY_OK);
    for (unsigned i = 1; i <= cuts; i++) {
        at_ns[i] = now_ns();
        node_append(&node, 1, i);
        node_wait_for(&node, i);
        uint64_t cut_ns = now_ns();
        unsigned left = left_after_cut(disk, rng);
        uint64_t age_ns = left < i && at_ns[left + 1] < cut_ns ? cut_ns - at_ns[left + 1] : 0;
        if (age_ns > losses.worst_ns) losses.worst_ns = age_ns;
        losses.losing += age_ns > 0;
        losses.late += age_ns > (INTERVAL_MS + 5) * 1000000;
    }
    node_close(&node, false);
    test_disk_free(disk);
    return losses;
}

/* The interval is a timer's: a machine that has no time for the writer makes it late, but not every time that it is tried. */
static void under_interval_no_more_is_lost_than_that(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct losses losses = {0};
    for (unsigned tries = 0; tries < 20; tries++) {
        losses = cut_under_interval(500, &rng);
        print_message(
            "  fsync=interval (%llu ms): %llu of %llu cuts lost something, at most the last %.1f ms\n",
            (unsigned long long)INTERVAL_MS, (unsigned long long)losses.losing,
            (unsigned long long)losses.cuts, (double)losses.worst_ns / 1e6);
        claim(losses.losing > 0);
        if (losses.late * 20 < losses.cuts) return;
    }
    fail_msg("%llu of %llu cuts lost more than the interval", (unsigned long long)losses.late,
             (unsigned long long)losses.cuts);
}

/* A process with two threads dies after some batches; how many it had said were stored, and how many its log had. */
static void die_after(unsigned batches, uint64_t *stored, uint64_t *ahead)
{
    struct test_disk *disk = test_disk_new();
    struct tly_store_limits limits = small;
    struct node node = {0};
    limits.recent_bytes = 2048;
    limits.gather_ms = 1;
    limits.close_ms = 1;
    claim(tly_store_open_limited(test_disk_open(disk), TLY_FSYNC_INTERVAL, &limits, &node.store, node.error,
                                 sizeof node.error) == TLY_OK);
    claim(tly_store_replay(node.store, take, &node.seen, node.notice, sizeof node.notice) == TLY_OK);
    claim(tly_store_begin(node.store, "n", 7, 1000, node.error, sizeof node.error) == TLY_OK);
    for (unsigned i = 1; i <= batches; i++) {
        node_append(&node, 1, i);
        tly_store_poll(node.store, &node.report);
    }
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_ANY, .times = SIZE_MAX, .dead = true});
    node_close(&node, false);
    test_disk_fail(disk, &(struct test_disk_fault){0});
    *stored += node.report.stored;
    *ahead += node.report.stored - node.report.synced;
    uint64_t promised = node.report.stored;
    claim(node_open(&node, disk, TLY_FSYNC_INTERVAL) == TLY_OK);
    if (!has_all(&node.seen, 1, (unsigned)promised) || node.seen.foreign > 0)
        fail_msg("after %u batches not all of %llu were there", batches, (unsigned long long)promised);
    node_close(&node, false);
    test_disk_free(disk);
}

static void what_is_stored_at_once_outlives_the_process(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    uint64_t stored = 0, ahead = 0, handed = 0;
    for (unsigned i = 0; i < 200; i++) {
        unsigned batches = 1 + (unsigned)test_rng_below(&rng, NUMBERS - 1);
        die_after(batches, &stored, &ahead);
        handed += batches;
    }
    print_message("  %llu of %llu batches were stored, %llu of them not synced\n", (unsigned long long)stored,
                  (unsigned long long)handed, (unsigned long long)ahead);
    claim(stored > 1000 && ahead > 200);
}

/* The disk drops what a failed sync covered, and says yes to the next one. */
static void a_failed_sync_is_never_believed_later(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (size_t n = 0; n < 8; n++) {
        struct test_rng rng = test_rng_of(n);
        struct test_disk_fault fault = {.op = TEST_DISK_SYNC, .n = n, .times = 1 + n % 3};
        run_with_cuts(TLY_FSYNC_ALWAYS, &fault, &rng, &tally);
        fault = (struct test_disk_fault){.op = TEST_DISK_SYNC, .n = n % 3, .times = 1 + n % 2};
        run_with_cuts(TLY_FSYNC_INTERVAL, &fault, &rng, &tally);
    }
    claim(tally.opened > 0);
}

/* The first to start after that is told by nobody: what it finds may be in the memory of the system alone. */
static void a_sync_that_failed_before_the_end_is_not_believed_by_the_next(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(7);
    struct test_disk *disk = test_disk_new();
    struct node node;
    node_start(&node, disk, TLY_FSYNC_ALWAYS);
    for (unsigned i = 1; i <= 4; i++)
        node_append(&node, 1, i);
    node_wait_for(&node, 4);
    /* The append happens, its sync fails, and so does all else. */
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_CHANGE, .n = 1, .times = SIZE_MAX});
    node_append(&node, 1, 5);
    node_wait_failing(&node);
    node_close(&node, false);
    test_disk_fail(disk, &(struct test_disk_fault){0});

    node_start(&node, disk, TLY_FSYNC_ALWAYS);
    claim(has_all(&node.seen, 1, 5));
    node_append(&node, 6, 1);
    node_wait_for(&node, 1);
    struct test_disk *left = test_disk_cut(disk, TEST_CUT_NONE, &rng);
    node_close(&node, false);
    if (node_open(&node, left, TLY_FSYNC_ALWAYS) != TLY_OK) fail_msg("%s%s", node.error, node.notice);
    claim(has_all(&node.seen, 1, 6) && node.seen.foreign == 0);
    node_close(&node, false);
    test_disk_free(left);
    test_disk_free(disk);
}

static void a_failed_append_or_manifest_in_a_power_cut_loses_nothing_synced(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (size_t n = 0; n < 6; n++) {
        struct test_rng rng = test_rng_of(n);
        for (int late = 0; late < 2; late++) {
            struct test_disk_fault fault = {
                .op = TEST_DISK_APPEND, .n = n, .times = 1 + n % 3, .late = late != 0};
            run_with_cuts(TLY_FSYNC_ALWAYS, &fault, &rng, &tally);
            fault.op = TEST_DISK_PUT;
            fault.n = n % 3;
            run_with_cuts(TLY_FSYNC_ALWAYS, &fault, &rng, &tally);
        }
    }
    claim(tally.opened > 0);
}

/* ---- damage ---- */

/* A store of several segments; stopped cleanly, or as a crash of the process leaves it. */
static struct test_disk *make_log(bool clean)
{
    struct test_disk *disk = test_disk_new(), *copy;
    struct node node;
    node_start(&node, disk, TLY_FSYNC_ALWAYS);
    node_write_all(&node, 1);
    if (!clean) {
        copy = test_disk_copy(disk, true);
        node_close(&node, false);
    } else {
        node_close(&node, true);
        copy = test_disk_copy(disk, true);
    }
    test_disk_free(disk);
    return copy;
}

struct damage {
    const char *name;
    size_t at;
    unsigned least;     /* of the batches, if it opens at all */
    bool may_be_silent; /* where the log ends was not noted, so that it once ended later cannot be seen */
};

/* Nothing foreign is read; all is there, or it is said that it is not. */
static void check_damaged(struct test_disk *disk, const struct damage *damage, struct tally *tally)
{
    struct node node;
    if (node_open(&node, disk, TLY_FSYNC_ALWAYS) != TLY_OK) {
        tally->refused++;
        if (strlen(node.error) + strlen(node.notice) == 0)
            fail_msg("%s:%zu: refused without a word", damage->name, damage->at);
        return;
    }
    unsigned n;
    tally->opened++;
    bool is_good = is_prefix(&node.seen, &n) && n >= damage->least;
    bool is_silent = n < BATCHES && node.notice[0] == '\0';
    if (!is_good || (is_silent && !damage->may_be_silent))
        fail_msg("%s:%zu: %u batches, %u foreign, notice '%s'", damage->name, damage->at, n,
                 node.seen.foreign, node.notice);
    if (n < BATCHES) {
        tally->torn++;
        claim(!tly_store_identity(node.store)->may_continue);
    }
    node_close(&node, false);
}

/* What was said to be synced, and is followed by more, is there; after a clean stop all was. */
static void flip_every_byte(struct test_disk *disk, bool clean, struct tally *tally)
{
    for (size_t i = 0; i < test_disk_count(disk); i++) {
        size_t n;
        const char *name = test_disk_name(disk, i);
        (void)test_disk_bytes(disk, name, &n);
        for (size_t at = 0; at < n; at++) {
            for (unsigned bit = 0; bit < 8; bit += 7) {
                struct test_disk *copy = test_disk_copy(disk, true);
                test_disk_bytes(copy, name, &n)[at] ^= (uint8_t)(1u << bit);
                check_damaged(copy, &(struct damage){name, at, BATCHES - (clean ? 1 : GROUP), false}, tally);
                test_disk_free(copy);
            }
        }
    }
}

static void cut_at_every_byte(struct test_disk *disk, bool clean, struct tally *tally)
{
    const char *last = test_disk_name(disk, test_disk_count(disk) - 1);
    for (size_t i = 0; i < test_disk_count(disk); i++) {
        size_t n;
        const char *name = test_disk_name(disk, i);
        (void)test_disk_bytes(disk, name, &n);
        for (size_t at = 0; at < n; at++) {
            struct test_disk *copy = test_disk_copy(disk, true);
            test_disk_shorten(copy, name, at);
            check_damaged(copy, &(struct damage){name, at, 0, !clean && name == last}, tally);
            test_disk_free(copy);
        }
    }
}

static void a_flipped_byte_is_never_silently_wrong(void **state)
{
    (void)state;
    for (int clean = 0; clean < 2; clean++) {
        struct tally tally = {0};
        struct test_disk *disk = make_log(clean != 0);
        claim(test_disk_count(disk) >= 3);
        flip_every_byte(disk, clean != 0, &tally);
        claim(tally.refused > 0);
        test_disk_free(disk);
    }
}

static void a_cut_byte_is_never_silently_wrong(void **state)
{
    (void)state;
    for (int clean = 0; clean < 2; clean++) {
        struct tally tally = {0};
        struct test_disk *disk = make_log(clean != 0);
        cut_at_every_byte(disk, clean != 0, &tally);
        claim(tally.refused > 0 && tally.torn > 0);
        test_disk_free(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_operation_fails_and_works_again_every_batch_gets_there),
        cmocka_unit_test(a_disk_that_refuses_for_a_while_is_reported_and_loses_nothing),
        cmocka_unit_test(what_was_reported_synced_survives_a_power_cut_at_any_time),
        cmocka_unit_test(under_interval_no_more_is_lost_than_that),
        cmocka_unit_test(what_is_stored_at_once_outlives_the_process),
        cmocka_unit_test(a_failed_sync_is_never_believed_later),
        cmocka_unit_test(a_sync_that_failed_before_the_end_is_not_believed_by_the_next),
        cmocka_unit_test(a_failed_append_or_manifest_in_a_power_cut_loses_nothing_synced),
        cmocka_unit_test(a_flipped_byte_is_never_silently_wrong),
        cmocka_unit_test(a_cut_byte_is_never_silently_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
