/*
 * Changes of the table of prefixes, engine and store together: killed or failed in every gap, the disk has the old table and what was
 * under it, or the new one, with one row.
 */
#include "service/engine/engine.h"
#include "service/shell/intent.h"
#include "service/shell/libc_mem.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "wire/frame.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define WALL UINT64_C(1700000000000000000)
#define SECOND UINT64_C(1000000000)

/* One node over its restarts. */
struct node {
    struct test_user user; /* its storage and faults only */
    struct tly_engine *engine;
    struct tly_store *store;
    uint64_t mono, origin, number; /* number: of the last batch */
    struct tly_store_report report;
};

static struct tly_time time_of(const struct node *node)
{
    return (struct tly_time){WALL + node->mono, node->mono};
}

static enum tly_result replay_batch(void *context, struct tly_slice batch)
{
    struct node *node = context;
    return tly_engine_replay(node->engine, batch);
}

static void make_engine(struct node *node)
{
    struct tly_engine_config config = {.mem = tly_libc_mem(),
                                       .seed = node->origin,
                                       .name = tly_slice_text("n"),
                                       .cluster = tly_slice_text("c"),
                                       .lease = tly_store_identity(node->store)->lease,
                                       .has_store = true,
                                       .now = time_of(node)};
    assert_int_equal(tly_engine_new(&config, &node->engine), TLY_OK);
}

static void come_up(struct node *node)
{
    char notice[512] = "";
    struct tly_store_limits *limits = &node->user.limits;
    node->mono += 60 * SECOND;
    node->number = 0;
    enum tly_result result = tly_store_open_limited(test_fault_storage(&node->user.faults), TLY_FSYNC_ALWAYS,
                                                    limits, &node->store, notice, sizeof notice);
    if (result != TLY_OK) fail_msg("%s", notice);
    make_engine(node);
    assert_int_equal(tly_store_equip(node->store, node->engine), TLY_OK);
    result = tly_store_replay(node->store, replay_batch, node, notice, sizeof notice);
    if (result != TLY_OK) fail_msg("%s: %s", tly_result_name(result), notice);
    tly_engine_leave_out(node->engine, NULL, NULL);
    uint64_t lease = WALL + node->mono + TLY_CLOCK_LEASE_NS;
    result = tly_store_begin(node->store, "n", ++node->origin, lease, notice, sizeof notice);
    if (result != TLY_OK) fail_msg("%s", notice);
    assert_int_equal(tly_store_hold(node->store, node->engine), TLY_OK);
    assert_int_equal(tly_engine_start(node->engine, node->origin, time_of(node)), TLY_OK);
}

static void begin(struct node *node)
{
    memset(node, 0, sizeof *node);
    test_user_init(&node->user, NULL, TLY_FSYNC_ALWAYS);
    node->user.limits.close_ms = 0; /* the dead do not come to an end; the others have come to it before */
    come_up(node);
}

static void go_down(struct node *node, bool clean)
{
    tly_store_close(node->store, clean);
    tly_engine_free(node->engine);
}

static void end(struct node *node)
{
    go_down(node, false);
    test_faults_fini(&node->user.faults);
}

/* Hands over to the store all that there is. */
static void hand_over(struct node *node)
{
    struct tly_event event = {.kind = TLY_TICK};
    do {
        struct tly_effects effects;
        event.now = time_of(node);
        assert_int_equal(tly_engine_step(node->engine, &event, &effects), TLY_OK);
        for (size_t i = 0; i < effects.count; i++) {
            const struct tly_effect *effect = &effects.list[i];
            enum tly_result result = TLY_OK;
            if (effect->kind == TLY_DO_APPEND)
                result = tly_store_append(node->store, effect->number, effect->bytes);
            bool is_change = tly_effect_is_change(effect);
            if (is_change) result = tly_store_change(node->store, effect);
            assert_int_equal(result, TLY_OK);
            if (effect->kind == TLY_DO_APPEND || is_change) node->number = effect->number;
        }
    } while (tly_engine_deadline(node->engine) == 0);
}

/* Until all is stored, or as many calls have failed as were to. False: that. */
static bool wait_stored(struct node *node, size_t fired)
{
    struct pollfd news = {.fd = tly_store_wakeup_fd(node->store), .events = POLLIN};
    for (;;) {
        tly_store_poll(node->store, &node->report);
        if (node->report.stored >= node->number && !node->report.failing) return true;
        if (fired > 0 && test_faults_fired(&node->user.faults) >= fired) return false;
        (void)poll(&news, 1, 10);
    }
}

/* ---- asking ---- */

static enum tly_result change(struct node *node, const struct tly_prefix_wish *wishes, size_t count,
                              struct tly_reply *reply)
{
    struct tly_request request = {.kind = TLY_ASK_PREFIXES,
                                  .bytes = tly_slice_text("test"),
                                  .wishes = wishes,
                                  .wish_count = count,
                                  .now = time_of(node)};
    return tly_engine_ask(node->engine, &request, reply);
}

static struct tly_prefix_wish to_register(const char *prefix, const char *strategy)
{
    return (struct tly_prefix_wish){
        .op = TLY_PREFIX_REGISTER, .prefix = tly_slice_text(prefix), .strategy = tly_slice_text(strategy)};
}

static struct tly_prefix_wish to_drop(struct node *node, const char *prefix)
{
    struct tly_prefix_plan plan;
    assert_int_equal(tly_engine_prefix_plan(node->engine, tly_slice_text(prefix), tly_slice_text(""), &plan),
                     TLY_OK);
    return (struct tly_prefix_wish){
        .op = TLY_PREFIX_DROP, .prefix = tly_slice_text(prefix), .approval = plan.approval};
}

static struct tly_prefix_wish to_migrate(struct node *node, const char *prefix, const char *strategy)
{
    struct tly_prefix_plan plan;
    struct tly_slice name = tly_slice_text(prefix), to = tly_slice_text(strategy);
    assert_int_equal(tly_engine_prefix_plan(node->engine, name, to, &plan), TLY_OK);
    return (struct tly_prefix_wish){
        .op = TLY_PREFIX_MIGRATE, .prefix = name, .strategy = to, .approval = plan.approval};
}

static void must_change(struct node *node, struct tly_prefix_wish wish)
{
    struct tly_reply reply;
    assert_int_equal(change(node, &wish, 1, &reply), TLY_OK);
}

static enum tly_result put(struct node *node, const char *key, const char *value)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_PUT,
                                  .key = tly_slice_text(key),
                                  .bytes = tly_slice_text(value),
                                  .now = time_of(node)};
    return tly_engine_ask(node->engine, &request, &reply);
}

/* "" if there is none, "?" if the key is refused; else what it reads as, or the strategy that it has if that is not lww. */
static const char *read_key(struct node *node, const char *key, char text[64])
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(key), .now = time_of(node)};
    enum tly_result result = tly_engine_ask(node->engine, &request, &reply);
    if (result == TLY_PREFIX_HELD) return "?";
    if (reply.strategy != tly_lww()) return reply.strategy->name;
    if (result == TLY_NOT_FOUND) return "";
    (void)snprintf(text, 64, "%.*s", (int)reply.value.bytes.n, (const char *)reply.value.bytes.p);
    return text;
}

static void assert_reads(struct node *node, const char *key, const char *expected)
{
    char text[64];
    assert_string_equal(read_key(node, key, text), expected);
}

/* ---- what a restart finds ---- */

static void what_was_registered_is_there_after_a_restart(void **state)
{
    (void)state;
    struct node node;
    begin(&node);
    must_change(&node, to_register("x:", "lww"));
    assert_int_equal(put(&node, "x:1", "one"), TLY_OK);
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    for (int i = 0; i < 3; i++) {
        go_down(&node, i % 2 == 0);
        come_up(&node);
        assert_reads(&node, "x:1", "one");
        assert_reads(&node, "y:1", "epoch_sum");
    }
    struct test_changes changes = test_user_changes(&node.user);
    assert_true(changes.rows == 1 && changes.done == 1 && changes.intents == 0);
    end(&node);
}

static void what_was_dropped_does_not_come_back_with_a_restart(void **state)
{
    (void)state;
    struct node node;
    begin(&node);
    must_change(&node, to_register("x:", "lww"));
    must_change(&node, to_register("x:keep:", "lww"));
    assert_int_equal(put(&node, "x:1", "one"), TLY_OK);
    assert_int_equal(put(&node, "x:keep:1", "kept"), TLY_OK);
    hand_over(&node);
    must_change(&node, to_drop(&node, "x:"));
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    go_down(&node, false);
    come_up(&node);
    assert_reads(&node, "x:1", "epoch_sum");
    assert_reads(&node, "x:keep:1", "kept");
    /* Registered anew, with keys of its own. */
    must_change(&node, to_register("x:", "lww"));
    assert_reads(&node, "x:1", "");
    assert_int_equal(put(&node, "x:2", "two"), TLY_OK);
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    go_down(&node, true);
    come_up(&node);
    assert_reads(&node, "x:1", "");
    assert_reads(&node, "x:2", "two");
    assert_reads(&node, "x:keep:1", "kept");
    struct test_changes changes = test_user_changes(&node.user);
    assert_true(changes.rows == 4 && changes.done == 4 && changes.intents == 0);
    end(&node);
}

/* All that stands goes into a snapshot, and the log before it away. */
static void compact(struct node *node)
{
    struct tly_image *image;
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf part;
    bool done = false;
    tly_buf_init(&part, &mem, TLY_FRAME_BODY_MAX);
    assert_int_equal(tly_image_new(node->engine, &image), TLY_OK);
    assert_int_equal(tly_store_image(node->store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0)), TLY_OK);
    while (!done) {
        tly_buf_clear(&part);
        assert_int_equal(tly_image_next(image, &part, &done), TLY_OK);
        assert_int_equal(tly_store_image(node->store, TLY_IMAGE_BATCH, tly_buf_slice(&part)), TLY_OK);
    }
    tly_image_free(image);
    tly_buf_fini(&part);
    assert_int_equal(tly_store_image(node->store, TLY_IMAGE_END, tly_slice_of(NULL, 0)), TLY_OK);
    struct pollfd news = {.fd = tly_store_wakeup_fd(node->store), .events = POLLIN};
    for (;;) {
        tly_store_poll(node->store, &node->report);
        if (node->report.snapshots > 0) return;
        assert_int_equal(node->report.snapshots_failed, 0);
        (void)poll(&news, 1, 10);
    }
}

/* Keys of a dropped prefix, and those that a prefix of their own took over, lie in a snapshot from before. */
static void what_a_snapshot_has_of_a_dropped_prefix_is_passed_over(void **state)
{
    (void)state;
    struct node node;
    begin(&node);
    must_change(&node, to_register("x:", "lww"));
    assert_int_equal(put(&node, "x:1", "one"), TLY_OK);
    assert_int_equal(put(&node, "kv:s:1", "kept"), TLY_OK);
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    compact(&node);
    must_change(&node, to_drop(&node, "x:"));
    must_change(&node, to_register("x:", "lww"));
    must_change(&node, to_register("kv:s:", "lww"));
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    for (int i = 0; i < 2; i++) {
        go_down(&node, i % 2 == 0);
        come_up(&node);
        assert_reads(&node, "x:1", "");
        assert_reads(&node, "kv:s:1", "kept");
    }
    end(&node);
}

/* ---- in every gap ---- */

enum { REGISTER, DROP, MIGRATE, BATCH, KINDS };
static const struct {
    const char *name;
    bool registers, drops, migrates;
} kinds[KINDS] = {
    {"register", true, false, false},
    {"drop", false, true, false},
    {"migrate", false, false, true},
    {"batch", true, true, true},
};

/* Keys to migrate, more than go into one batch; the value of each is its number. */
#define COUNTED 1500
#define KEY_BYTES 120

/* Of bytes that no two keys share, or a round would not write them twice. */
static const char *counted_key(int i, char key[KEY_BYTES + 1])
{
    uint64_t word = (uint64_t)i + 1;
    memcpy(key, "m:", 2);
    for (size_t at = 2; at < KEY_BYTES; at++) {
        word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        key[at] = (char)('a' + (word >> 33) % 26);
    }
    key[KEY_BYTES] = '\0';
    return key;
}

/* "a:" is there with a key, and "m:", with many if it is to be migrated; "b:" is not. */
static void prepare(struct node *node, size_t kind)
{
    begin(node);
    must_change(node, to_register("a:", "lww"));
    must_change(node, to_register("m:", "lww"));
    assert_int_equal(put(node, "a:1", "old"), TLY_OK);
    for (int i = 0; kinds[kind].migrates && i < COUNTED; i++) {
        char key[KEY_BYTES + 1], value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        assert_int_equal(put(node, counted_key(i, key), value), TLY_OK);
    }
    hand_over(node);
    assert_true(wait_stored(node, 0));
}

static enum tly_result add(struct node *node, const char *key, int64_t number)
{
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_ADD, .key = tly_slice_text(key), .number = number, .now = time_of(node)};
    return tly_engine_ask(node->engine, &request, &reply);
}

/* The change, and writes that only the new table takes. */
static void make_change(struct node *node, size_t kind)
{
    struct tly_reply reply;
    struct tly_prefix_wish wishes[3];
    size_t count = 0;
    if (kinds[kind].drops) wishes[count++] = to_drop(node, "a:");
    if (kinds[kind].registers) wishes[count++] = to_register("b:", "lww");
    if (kinds[kind].migrates) wishes[count++] = to_migrate(node, "m:", "epoch_sum");
    assert_int_equal(change(node, wishes, count, &reply), TLY_OK);
    if (kinds[kind].registers) assert_int_equal(put(node, "b:1", "new"), TLY_OK);
    if (kinds[kind].migrates) assert_int_equal(add(node, "m:new", 1), TLY_OK);
    hand_over(node);
}

/* All of them are what they were, or counters of the same number. */
static bool is_migrated(struct node *node)
{
    size_t texts = 0, counters = 0;
    for (int i = 0; i < COUNTED; i++) {
        char key[KEY_BYTES + 1], text[64];
        struct tly_reply reply;
        (void)snprintf(text, sizeof text, "%d", i);
        struct tly_request request = {
            .kind = TLY_ASK_READ, .key = tly_slice_text(counted_key(i, key)), .now = time_of(node)};
        assert_int_equal(tly_engine_ask(node->engine, &request, &reply), TLY_OK);
        bool is_text = reply.strategy == tly_lww();
        texts += is_text && tly_slice_equal(reply.value.bytes, tly_slice_text(text));
        counters += !is_text && reply.strategy == tly_epoch_sum() && reply.value.count == i;
    }
    assert_true(texts == COUNTED || counters == COUNTED);
    return counters == COUNTED;
}

/* Whether it is the new state; it is one of the two, whole. */
static bool is_new(struct node *node, size_t kind)
{
    char a[64], b[64];
    const char *a_is = read_key(node, "a:1", a), *b_is = read_key(node, "b:1", b);
    bool a_new = strcmp(a_is, "epoch_sum") == 0, b_new = strcmp(b_is, "epoch_sum") != 0;
    bool m_new = kinds[kind].migrates && is_migrated(node);
    if (!a_new) assert_string_equal(a_is, "old");
    /* The write behind the change may be lost, as it was not acknowledged; never is it there without the change. */
    if (b_new) assert_true(b_is[0] == '\0' || strcmp(b_is, "new") == 0);
    bool now_new = a_new || b_new || m_new;
    assert_int_equal(a_new, now_new && kinds[kind].drops);
    assert_int_equal(b_new, now_new && kinds[kind].registers);
    assert_int_equal(m_new, now_new && kinds[kind].migrates);
    return now_new;
}

/* Killed in the k-th change of the disk; false: it was done before that. */
static bool kill_at(size_t kind, size_t k, size_t *new_states)
{
    struct node node;
    prepare(&node, kind);
    test_faults_set(&node.user.faults, (struct test_fault){TEST_CHANGE, TEST_DEATH, k, 1});
    make_change(&node, kind);
    bool done = wait_stored(&node, 1);
    go_down(&node, false);
    bool died = test_faults_clear(&node.user.faults) > 0;
    come_up(&node);
    bool now_new = is_new(&node, kind);
    struct test_changes changes = test_user_changes(&node.user);
    assert_int_equal(changes.intents, 0);
    assert_int_equal(changes.done, 2 + (size_t)now_new);
    assert_true(changes.rows <= 3 && changes.rows == changes.done + changes.discarded);
    if (done) assert_true(now_new);
    *new_states += now_new;
    /* The next change succeeds, on what was found. */
    must_change(&node, to_register("c:", "lww"));
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    go_down(&node, true);
    come_up(&node);
    assert_int_equal(is_new(&node, kind), now_new);
    assert_int_equal(test_user_changes(&node.user).rows, changes.rows + 1);
    end(&node);
    return died;
}

static void killed_anywhere_it_is_the_old_or_the_new(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < KINDS; kind++) {
        size_t k = 0, new_states = 0;
        while (kill_at(kind, k, &new_states))
            k++;
        print_message("  %-9s %zu kill points, the new state at %zu of them\n", kinds[kind].name, k,
                      new_states);
        assert_true(k >= 8 && new_states > 2 && new_states < k);
    }
}

static bool fail_at(size_t kind, enum test_fault_kind how, size_t k)
{
    struct node node;
    prepare(&node, kind);
    test_faults_set(&node.user.faults, (struct test_fault){TEST_CHANGE, how, k, 1});
    make_change(&node, kind);
    assert_true(wait_stored(&node, 0));
    bool fired = test_faults_clear(&node.user.faults) > 0;
    assert_true(is_new(&node, kind));
    /* What of the change is left is made up for with the next write. */
    assert_int_equal(put(&node, "kv:1", "x"), TLY_OK);
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    go_down(&node, false);
    come_up(&node);
    assert_true(is_new(&node, kind));
    struct test_changes changes = test_user_changes(&node.user);
    assert_true(changes.rows == 3 && changes.done == 3 && changes.intents == 0);
    end(&node);
    return fired;
}

static void failed_anywhere_it_is_made_up_for(void **state)
{
    (void)state;
    static const enum test_fault_kind how[] = {TEST_EIO, TEST_SHORT, TEST_LATE};
    for (size_t kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) {
            size_t k = 0;
            while (fail_at(kind, how[i], k))
                k++;
            assert_true(k >= 8);
        }
}

/* ---- one that is parked while another comes ---- */

/* Where a word first stands in the audit log, from `from` on; its size: nowhere. */
static size_t find_row(struct tly_slice rows, size_t from, const char *word)
{
    for (size_t i = from; i + strlen(word) <= rows.n; i++)
        if (memcmp(rows.p + i, word, strlen(word)) == 0) return i;
    return rows.n;
}

/* The second change, and writes under its prefix and under another; they are answered while the first hangs. */
static void come_second(struct node *node)
{
    must_change(node, to_register("c:", "lww"));
    assert_int_equal(put(node, "c:1", "second"), TLY_OK);
    assert_int_equal(put(node, "kv:1", "beside"), TLY_OK);
    assert_reads(node, "kv:1", "beside");
    hand_over(node);
}

static void claim_both_are_done(struct node *node, size_t kind)
{
    assert_true(is_new(node, kind));
    assert_reads(node, "c:1", "second");
    assert_reads(node, "kv:1", "beside");
    struct test_changes changes = test_user_changes(&node->user);
    assert_true(changes.rows == 4 && changes.done == 4 && changes.intents == 0);
    struct tly_slice rows = test_user_read(&node->user, "audit.log");
    size_t first = 0;
    for (int i = 0; i < 3; i++)
        first = find_row(rows, first + (i > 0), "\"kind\":");
    size_t second = find_row(rows, first + 1, "\"kind\":");
    char word[32];
    (void)snprintf(word, sizeof word, "\"kind\":\"%s\"", kinds[kind].name);
    assert_int_equal(find_row(rows, 0, word), kind == REGISTER ? find_row(rows, 0, "\"kind\":") : first);
    assert_int_equal(find_row(rows, second, "\"kind\":\"register\""), second);
    free((void *)(uintptr_t)rows.p);
}

/* Parked at the k-th change of the disk; false: it has no so many. */
static bool park_at(size_t kind, size_t k)
{
    struct node node;
    prepare(&node, kind);
    node.user.limits.close_ms = 10000;
    test_faults_set(&node.user.faults, (struct test_fault){TEST_CHANGE, TEST_HANG, k, 1});
    uint64_t stored = node.report.stored;
    make_change(&node, kind);
    struct pollfd news = {.fd = tly_store_wakeup_fd(node.store), .events = POLLIN};
    bool hangs = false;
    for (;;) {
        hangs = test_faults_fired(&node.user.faults) > 0;
        tly_store_poll(node.store, &node.report);
        if (hangs || node.report.stored >= node.number) break;
        (void)poll(&news, 1, 1);
    }
    if (hangs) {
        come_second(&node);
        tly_store_poll(node.store, &node.report);
        assert_true(node.report.stored >= stored && node.report.stored < node.number);
        test_faults_release(&node.user.faults);
    }
    (void)test_faults_clear(&node.user.faults);
    if (hangs) {
        assert_true(wait_stored(&node, 0));
        go_down(&node, false);
        come_up(&node);
        claim_both_are_done(&node, kind);
    }
    end(&node);
    return hangs;
}

static void who_comes_while_one_is_parked_waits_its_turn_and_others_do_not(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < KINDS; kind++) {
        size_t k = 0;
        while (park_at(kind, k))
            k++;
        print_message("  %-9s parked at %zu changes of the disk\n", kinds[kind].name, k);
        assert_true(k >= 8);
    }
}

/* MANIFEST is saved for other reasons meanwhile, and must not have the new table before its rows are there. */
static void while_its_rows_cannot_be_written_it_is_not_published(void **state)
{
    (void)state;
    struct node node;
    prepare(&node, BATCH);
    test_faults_set(&node.user.faults, (struct test_fault){TEST_APPEND, TEST_EIO, 0, SIZE_MAX});
    make_change(&node, BATCH);
    assert_false(wait_stored(&node, 2));
    uint64_t lease = node.report.leased + TLY_CLOCK_LEASE_NS;
    tly_store_lease(node.store, lease);
    struct pollfd news = {.fd = tly_store_wakeup_fd(node.store), .events = POLLIN};
    while (node.report.leased < lease) {
        (void)poll(&news, 1, 10);
        tly_store_poll(node.store, &node.report);
    }
    go_down(&node, false);
    assert_true(test_faults_clear(&node.user.faults) > 0);
    come_up(&node);
    assert_false(is_new(&node, BATCH));
    end(&node);
}

/* Nor are some of its rows without the others: what the journal has no room for waits, and is told. */
static void rows_that_find_no_room_are_not_written_alone(void **state)
{
    (void)state;
    struct node node;
    prepare(&node, MIGRATE);
    go_down(&node, false);
    node.user.limits.kept_bytes = (size_t)128 * 1024;
    come_up(&node);
    make_change(&node, MIGRATE);
    struct pollfd news = {.fd = tly_store_wakeup_fd(node.store), .events = POLLIN};
    while (!node.report.failing) {
        (void)poll(&news, 1, 10);
        tly_store_poll(node.store, &node.report);
    }
    go_down(&node, false);
    come_up(&node);
    assert_false(is_new(&node, MIGRATE));
    end(&node);
}

/* ---- an intent that cannot be read ---- */

static void its_prefix_is_refused_and_others_go_on(void **state)
{
    (void)state;
    struct node node;
    prepare(&node, REGISTER);
    must_change(&node, to_register("b:", "lww"));
    assert_int_equal(put(&node, "b:1", "other"), TLY_OK);
    hand_over(&node);
    assert_true(wait_stored(&node, 0));
    go_down(&node, true);
    struct tly_intent intent = tly_intent_of(TLY_CHANGE_DROP, "test");
    assert_true(tly_intent_add_prefix(&intent, tly_slice_text("a:")));
    char name[TLY_STORAGE_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "intent/%s.%016llx", intent.id,
                   (unsigned long long)tly_storage_revision_of(tly_slice_text("a:")));
    test_user_write(&node.user, name, tly_slice_text("garbage"));
    come_up(&node);
    assert_reads(&node, "a:1", "?");
    assert_int_equal(put(&node, "a:1", "new"), TLY_PREFIX_HELD);
    assert_reads(&node, "b:1", "other");
    assert_int_equal(put(&node, "b:1", "new"), TLY_OK);
    struct tly_reply reply;
    struct tly_prefix_wish wish = to_drop(&node, "a:");
    assert_int_equal(change(&node, &wish, 1, &reply), TLY_PREFIX_HELD);
    go_down(&node, true);
    assert_true(test_user_has(&node.user, name));
    /* Moved away, as one is told to: MANIFEST alone says what the state is. */
    assert_int_equal(tly_storage_remove(node.user.faults.inner, name), TLY_OK);
    come_up(&node);
    assert_reads(&node, "a:1", "old");
    end(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_registered_is_there_after_a_restart),
        cmocka_unit_test(what_was_dropped_does_not_come_back_with_a_restart),
        cmocka_unit_test(what_a_snapshot_has_of_a_dropped_prefix_is_passed_over),
        cmocka_unit_test(killed_anywhere_it_is_the_old_or_the_new),
        cmocka_unit_test(failed_anywhere_it_is_made_up_for),
        cmocka_unit_test(who_comes_while_one_is_parked_waits_its_turn_and_others_do_not),
        cmocka_unit_test(while_its_rows_cannot_be_written_it_is_not_published),
        cmocka_unit_test(rows_that_find_no_room_are_not_written_alone),
        cmocka_unit_test(its_prefix_is_refused_and_others_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
