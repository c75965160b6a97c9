#include "tests/shell/support_store.h"

#include "service/engine/engine.h"
#include "service/shell/libc_mem.h"
#include "tests/support/cmocka.h"
#include "wire/frame.h"
#include "wire/table.h"

#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_MS 10000

void test_user_init(struct test_user *user, const char *path, enum tly_fsync fsync)
{
    char error[256] = "";
    memset(user, 0, sizeof *user);
    struct tly_storage *inner =
        path != NULL ? tly_storage_directory(path, error, sizeof error) : tly_storage_memory();
    if (inner == NULL) fail_msg("%s", error);
    test_faults_init(&user->faults, inner);
    user->fsync = fsync;
    user->gives_anew = true;
    user->limits = (struct tly_store_limits){
        .segment_bytes = 1000,
        .waiting_bytes = 1 << 20,
        .kept_bytes = 1 << 20,
        .image_bytes = 1 << 20,
        .interval_ms = 1,
        .retry_ms = 1,
        .retry_max_ms = 4,
        .close_ms = PATIENCE_MS,
    };
}

void test_user_fini(struct test_user *user)
{
    tly_store_close(user->store, false);
    test_faults_fini(&user->faults);
}

/* ---- batches ---- */

/* Ids differ in length and content; some can be compressed. */
struct tly_slice test_batch(uint64_t id, uint8_t bytes[512])
{
    size_t n = 8 + (size_t)(id * 37 % 200);
    uint64_t mixed = id * UINT64_C(0x9e3779b97f4a7c15) + 1;
    memcpy(bytes, &id, 8);
    for (size_t i = 8; i < n; i++) {
        mixed = mixed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        bytes[i] = id % 3 == 0 ? (uint8_t)id : (uint8_t)(mixed >> 56);
    }
    return tly_slice_of(bytes, n);
}

#define IMAGE "image of "
#define IMAGE_BYTES (sizeof IMAGE - 1)

/* A batch of an image of all up to an id. */
static struct tly_slice image_batch(uint64_t id, uint8_t bytes[512])
{
    memcpy(bytes, IMAGE, IMAGE_BYTES);
    memcpy(bytes + IMAGE_BYTES, &id, sizeof id);
    return tly_slice_of(bytes, IMAGE_BYTES + sizeof id);
}

/* An image comes first, whole. */
static void take_image(struct test_user *user, struct tly_slice batch)
{
    uint64_t id;
    memcpy(&id, batch.p + IMAGE_BYTES, sizeof id);
    assert_true(user->image_parts == 0 ? user->id_at_open == 0 : user->id_at_open == id);
    user->id_at_open = id;
    user->image_parts++;
}

/* Ids come in order, each once, unchanged. */
static enum tly_result take(void *context, struct tly_slice batch)
{
    struct test_user *user = context;
    if (batch.n == IMAGE_BYTES + 8 && memcmp(batch.p, IMAGE, IMAGE_BYTES) == 0) {
        take_image(user, batch);
        return TLY_OK;
    }
    uint8_t bytes[512];
    struct tly_slice expected = test_batch(user->id_at_open + 1, bytes);
    if (!tly_slice_equal(batch, expected))
        fail_msg("not batch %llu, but %zu other bytes", (unsigned long long)user->id_at_open + 1, batch.n);
    user->id_at_open++;
    return TLY_OK;
}

/* ---- up and down ---- */

enum tly_result test_user_try_open(struct test_user *user)
{
    char *to = user->notice;
    user->notice[0] = '\0';
    user->number = user->id_at_open = user->given_anew = 0;
    user->image_parts = 0;
    memset(&user->report, 0, sizeof user->report);
    enum tly_result result = tly_store_open_limited(test_fault_storage(&user->faults), user->fsync,
                                                    &user->limits, &user->store, to, sizeof user->notice);
    if (result != TLY_OK) {
        user->store = NULL;
        return result;
    }
    result = tly_store_replay(user->store, take, user, to, sizeof user->notice);
    if (result == TLY_OK) {
        char error[512] = "";
        result = tly_store_begin(user->store, "gw1", TEST_ORIGIN, TEST_LEASE, error, sizeof error);
        if (result == TLY_FULL && user->begins_full)
            result = tly_store_begin_full(user->store, TEST_ORIGIN + 1, error, sizeof error);
        if (result != TLY_OK) (void)snprintf(to, sizeof user->notice, "%s", error);
    }
    if (result == TLY_OK) return TLY_OK;
    test_user_close(user, false);
    return result;
}

void test_user_open(struct test_user *user)
{
    enum tly_result result = test_user_try_open(user);
    if (result != TLY_OK) fail_msg("%s: %s", tly_result_name(result), user->notice);
    user->last_id = user->id_at_open;
}

void test_user_close(struct test_user *user, bool clean)
{
    tly_store_close(user->store, clean);
    user->store = NULL;
}

/* ---- use ---- */

void test_user_append(struct test_user *user)
{
    uint8_t bytes[512];
    assert_int_equal(tly_store_append(user->store, ++user->number, test_batch(++user->last_id, bytes)),
                     TLY_OK);
}

static void put_image(struct test_user *user, enum tly_store_image what, uint64_t id)
{
    uint8_t bytes[512];
    struct tly_slice batch = what == TLY_IMAGE_BATCH ? image_batch(id, bytes) : tly_slice_of(NULL, 0);
    assert_int_equal(tly_store_image(user->store, what, batch), TLY_OK);
}

void test_user_image(struct test_user *user)
{
    uint64_t id = user->last_id;
    put_image(user, TLY_IMAGE_BEGIN, 0);
    for (size_t i = 0; i < TEST_IMAGE_PARTS; i++) {
        put_image(user, TLY_IMAGE_BATCH, id);
        test_user_append(user);
    }
    put_image(user, TLY_IMAGE_END, 0);
}

static void give_change(struct test_user *user, enum tly_effect_kind kind, struct tly_slice bytes)
{
    struct tly_effect effect = {.kind = kind, .number = ++user->number, .bytes = bytes};
    assert_int_equal(tly_store_change(user->store, &effect), TLY_OK);
}

void test_user_install_first(struct test_user *user)
{
    uint8_t bytes[512];
    give_change(user, TLY_DO_INSTALL_FIRST, image_batch(user->last_id, bytes));
}

void test_user_install_part(struct test_user *user)
{
    uint8_t bytes[512];
    give_change(user, TLY_DO_INSTALL, image_batch(user->last_id, bytes));
}

void test_user_install_rest(struct test_user *user)
{
    uint8_t bytes[512];
    for (size_t i = 2; i < TEST_IMAGE_PARTS; i++)
        test_user_install_part(user);
    give_change(user, TLY_DO_INSTALL_LAST, image_batch(user->last_id, bytes));
}

void test_user_install(struct test_user *user)
{
    test_user_install_first(user);
    test_user_install_rest(user);
}

static void take_report(struct test_user *user)
{
    struct tly_store_report before = user->report;
    tly_store_poll(user->store, &user->report);
    assert_true(user->report.stored >= before.stored && user->report.synced >= before.synced);
    assert_true(user->report.stored >= user->report.synced && user->report.stored <= user->number);
    assert_int_equal(user->report.failing, user->report.error[0] != '\0');
    if (!user->report.failing) return;
    user->was_failing = true;
    if (user->gives_anew && user->report.installs_failed > user->given_anew) {
        user->given_anew = user->report.installs_failed;
        test_user_install(user);
    }
    (void)snprintf(user->last_error, sizeof user->last_error, "%s", user->report.error);
}

void test_user_poll(struct test_user *user)
{
    struct pollfd news = {.fd = tly_store_wakeup_fd(user->store), .events = POLLIN};
    if (poll(&news, 1, PATIENCE_MS) != 1)
        fail_msg("no news; stored %llu of %llu, failing: %s", (unsigned long long)user->report.stored,
                 (unsigned long long)user->number, user->report.error);
    take_report(user);
}

void test_user_table(struct test_user *user, const struct tly_table_change *change,
                     const struct tly_registry *table, size_t batches)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf body;
    uint8_t bytes[512];
    for (size_t i = 0; i < batches; i++)
        give_change(user, TLY_DO_TABLE_ROWS, test_batch(++user->last_id, bytes));
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_table_change_put(&body, change, table);
    give_change(user, TLY_DO_TABLE, tly_buf_slice(&body));
    tly_buf_fini(&body);
}

void test_user_wait_stored(struct test_user *user)
{
    for (take_report(user); user->report.stored < user->number || user->report.failing;)
        test_user_poll(user);
}

void test_user_wait_synced(struct test_user *user)
{
    for (take_report(user); user->report.synced < user->number || user->report.failing;)
        test_user_poll(user);
}

void test_user_wait_failing(struct test_user *user, bool failing)
{
    for (take_report(user); user->report.failing != failing;)
        test_user_poll(user);
}

bool test_user_wait_snapshots(struct test_user *user, uint64_t count)
{
    uint64_t failed = user->report.snapshots_failed;
    for (take_report(user); user->report.snapshots < count && user->report.snapshots_failed == failed;)
        test_user_poll(user);
    return user->report.snapshots >= count;
}

/* ---- objects ---- */

struct tly_slice test_user_read(struct test_user *user, const char *name)
{
    uint64_t size = 0;
    size_t got = 0;
    assert_int_equal(tly_storage_size(user->faults.inner, name, &size), TLY_OK);
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    assert_int_equal(tly_storage_read(user->faults.inner, name, 0, bytes, size, &got), TLY_OK);
    assert_int_equal(got, size);
    return tly_slice_of(bytes, got);
}

void test_user_write(struct test_user *user, const char *name, struct tly_slice bytes)
{
    assert_int_equal(tly_storage_put(user->faults.inner, name, bytes), TLY_OK);
}

bool test_user_has(struct test_user *user, const char *name)
{
    uint64_t size;
    return tly_storage_size(user->faults.inner, name, &size) == TLY_OK;
}

/* ---- changes ---- */

static void count_name(void *context, const char *name)
{
    (void)name;
    ++*(size_t *)context;
}

#define ID_BYTES 26
#define ROW_BEGINS "{\"id\":\""

static void count_rows(char *text, struct test_changes *changes)
{
    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n'), id[ID_BYTES + 1] = "";
        assert_non_null(end);
        *end = '\0';
        assert_int_equal(strncmp(line, ROW_BEGINS, sizeof ROW_BEGINS - 1), 0);
        memcpy(id, line + sizeof ROW_BEGINS - 1, ID_BYTES);
        assert_null(strstr(end + 1, id));
        assert_non_null(strstr(line, "\"actor\":\""));
        assert_true(end[-1] == '}');
        changes->rows++;
        changes->done += strstr(line, "\"outcome\":\"done\"") != NULL;
        changes->discarded += strstr(line, "\"outcome\":\"discarded\"") != NULL;
        line = end + 1;
    }
}

struct test_changes test_user_changes(struct test_user *user)
{
    struct test_changes changes = {0};
    assert_int_equal(tly_storage_list(user->faults.inner, "intent", count_name, &changes.intents), TLY_OK);
    if (!test_user_has(user, "audit.log")) return changes;
    struct tly_slice log = test_user_read(user, "audit.log");
    char *text = malloc(log.n + 1);
    assert_non_null(text);
    memcpy(text, log.p, log.n);
    text[log.n] = '\0';
    assert_int_equal(strlen(text), log.n);
    count_rows(text, &changes);
    free(text);
    free((void *)(uintptr_t)log.p);
    return changes;
}

/* ---- directories ---- */

static int remove_one(const char *path, const struct stat *is, int kind, struct FTW *at)
{
    (void)is;
    (void)kind;
    (void)at;
    return remove(path);
}

int test_remove_tree(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
