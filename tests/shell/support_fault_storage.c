#include "tests/shell/support_fault_storage.h"

#include <stdio.h>
#include <stdlib.h>

/* One handle. */
struct handle {
    struct test_faults *faults;
    bool has_lock;
    bool failed;
    const char *error;
};

static void check(bool condition, const char *what)
{
    if (condition) return;
    (void)fprintf(stderr, "fault storage: %s\n", what);
    abort();
}

static void lock(struct test_faults *f)
{
    check(pthread_mutex_lock(&f->mutex) == 0, "lock");
}

static void unlock(struct test_faults *f)
{
    check(pthread_mutex_unlock(&f->mutex) == 0, "unlock");
}

/* ---- plan ---- */

void test_faults_init(struct test_faults *f, struct tly_storage *inner)
{
    char holder[32];
    memset(f, 0, sizeof *f);
    f->inner = inner;
    check(inner != NULL, "no storage");
    check(tly_storage_lock(inner, holder, sizeof holder) == TLY_OK, "locked");
    check(pthread_mutex_init(&f->mutex, NULL) == 0 && pthread_cond_init(&f->changed, NULL) == 0, "init");
}

void test_faults_fini(struct test_faults *f)
{
    tly_storage_close(f->inner);
    (void)pthread_cond_destroy(&f->changed);
    (void)pthread_mutex_destroy(&f->mutex);
}

void test_faults_set(struct test_faults *f, struct test_fault fault)
{
    lock(f);
    f->fault = fault;
    f->fired = 0;
    f->is_dead = false;
    memset(f->calls, 0, sizeof f->calls);
    unlock(f);
}

size_t test_faults_clear(struct test_faults *f)
{
    lock(f);
    size_t fired = f->fired;
    f->fault.count = 0;
    f->is_dead = false;
    unlock(f);
    return fired;
}

size_t test_faults_fired(struct test_faults *f)
{
    lock(f);
    size_t fired = f->fired;
    unlock(f);
    return fired;
}

size_t test_faults_calls(struct test_faults *f, enum test_fault_op op)
{
    lock(f);
    size_t calls = f->calls[op];
    unlock(f);
    return calls;
}

void test_faults_wait_fired(struct test_faults *f, size_t count)
{
    lock(f);
    while (f->fired < count)
        (void)pthread_cond_wait(&f->changed, &f->mutex);
    unlock(f);
}

void test_faults_wait_hanging(struct test_faults *f)
{
    lock(f);
    while (f->hanging == 0)
        (void)pthread_cond_wait(&f->changed, &f->mutex);
    unlock(f);
}

void test_faults_wait_closed(struct test_faults *f)
{
    lock(f);
    while (f->is_locked)
        (void)pthread_cond_wait(&f->changed, &f->mutex);
    unlock(f);
}

void test_faults_release(struct test_faults *f)
{
    lock(f);
    f->fault.count = 0;
    (void)pthread_cond_broadcast(&f->changed);
    unlock(f);
}

/* ---- what a call comes to ---- */

enum fate { HAPPENS, FAILS, HAPPENS_AND_FAILS, HALF_HAPPENS };

static bool is_hit(struct test_faults *f, enum test_fault_op op)
{
    size_t number = f->calls[op]++;
    bool is_change =
        op == TEST_PUT || op == TEST_APPEND || op == TEST_TRUNCATE || op == TEST_SYNC || op == TEST_REMOVE;
    if (f->fault.op == TEST_CHANGE && is_change) number = f->calls[TEST_CHANGE]++;
    bool is_meant = f->fault.op == op || (f->fault.op == TEST_CHANGE && is_change);
    return is_meant && number >= f->fault.first && number - f->fault.first < f->fault.count;
}

static void hang(struct test_faults *f)
{
    f->hanging++;
    (void)pthread_cond_broadcast(&f->changed);
    while (f->fault.count > 0)
        (void)pthread_cond_wait(&f->changed, &f->mutex);
    f->hanging--;
}

static enum fate fate_of_hit(struct handle *h)
{
    struct test_faults *f = h->faults;
    f->fired++;
    (void)pthread_cond_broadcast(&f->changed);
    h->error = f->fault.kind == TEST_ENOSPC
                   ? "injected: No space left on device: free space there, or give another"
                   : "injected: Input/output error: mend the disk, or give another";
    switch (f->fault.kind) {
    case TEST_EIO:
    case TEST_ENOSPC: return FAILS;
    case TEST_SHORT: return HALF_HAPPENS;
    case TEST_LATE: return HAPPENS_AND_FAILS;
    case TEST_HANG: hang(f); return HAPPENS;
    case TEST_DEATH: f->is_dead = true; return HALF_HAPPENS;
    }
    return FAILS;
}

static enum fate fate_of(struct handle *h, enum test_fault_op op)
{
    struct test_faults *f = h->faults;
    enum fate fate = HAPPENS;
    h->error = "injected: the process is dead";
    lock(f);
    if (f->is_dead)
        fate = FAILS;
    else if (is_hit(f, op))
        fate = fate_of_hit(h);
    unlock(f);
    h->failed = fate != HAPPENS;
    return fate;
}

static bool happens(enum fate fate)
{
    return fate == HAPPENS || fate == HAPPENS_AND_FAILS;
}

static enum tly_result told(enum fate fate, enum tly_result result)
{
    return fate == HAPPENS ? result : TLY_IO;
}

/* ---- what a power cut leaves ---- */

static uint64_t *synced_bytes(struct test_faults *f, const char *name)
{
    size_t i = 0;
    while (i < f->file_count && strcmp(f->files[i].name, name) != 0)
        i++;
    check(i < TEST_FILES_MAX, "too many files");
    if (i == f->file_count) {
        (void)snprintf(f->files[i].name, sizeof f->files[i].name, "%s", name);
        f->files[i].synced = 0;
        f->file_count++;
    }
    return &f->files[i].synced;
}

/* From now on it is safe as far as it is there. */
static void note_durable(struct test_faults *f, const char *name)
{
    uint64_t size = 0;
    bool is_there = tly_storage_size(f->inner, name, &size) == TLY_OK;
    lock(f);
    *synced_bytes(f, name) = is_there ? size : 0;
    unlock(f);
}

static void note_touched(struct test_faults *f, const char *name)
{
    lock(f);
    (void)synced_bytes(f, name);
    unlock(f);
}

static void cut_file(struct test_faults *f, const char *name, uint64_t synced, unsigned percent)
{
    uint64_t size = 0;
    if (tly_storage_size(f->inner, name, &size) != TLY_OK || size <= synced) return;
    uint64_t left = synced + (size - synced) * percent / 100;
    check(tly_storage_truncate(f->inner, name, left) == TLY_OK, "truncate");
}

void test_faults_power_cut(struct test_faults *f, unsigned percent)
{
    for (size_t i = 0; i < f->file_count; i++)
        cut_file(f, f->files[i].name, f->files[i].synced, percent);
}

/* ---- operations ---- */

static enum tly_result put(void *self, const char *name, struct tly_slice bytes)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_PUT);
    if (!happens(fate)) return TLY_IO;
    enum tly_result result = tly_storage_put(h->faults->inner, name, bytes);
    note_durable(h->faults, name);
    return told(fate, result);
}

static enum tly_result put_absent(void *self, const char *name, struct tly_slice bytes)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_PUT);
    if (!happens(fate)) return TLY_IO;
    enum tly_result result = tly_storage_put_absent(h->faults->inner, name, bytes);
    note_durable(h->faults, name);
    return told(fate, result);
}

static enum tly_result replace(void *self, const char *name, uint64_t revision, struct tly_slice bytes,
                               uint64_t *new_revision)
{
    struct handle *h = self;
    uint64_t made = 0;
    enum fate fate = fate_of(h, TEST_PUT);
    if (!happens(fate)) return TLY_IO;
    enum tly_result result = tly_storage_replace(h->faults->inner, name, revision, bytes, &made);
    note_durable(h->faults, name);
    if (fate == HAPPENS && result == TLY_OK) *new_revision = made;
    return told(fate, result);
}

static enum tly_result append(void *self, const char *name, struct tly_slice bytes)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_APPEND);
    if (fate == FAILS) return TLY_IO;
    if (fate == HALF_HAPPENS) bytes.n /= 2;
    note_touched(h->faults, name);
    enum tly_result result = tly_storage_append(h->faults->inner, name, bytes);
    return told(fate, result);
}

/* For faults it is an append. A power cut leaves it, for it is not told what was there before. */
static enum tly_result overwrite(void *self, const char *name, uint64_t offset, struct tly_slice bytes)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_APPEND);
    if (fate == FAILS) return TLY_IO;
    if (fate == HALF_HAPPENS) bytes.n /= 2;
    return told(fate, tly_storage_overwrite(h->faults->inner, name, offset, bytes));
}

static enum tly_result truncate_object(void *self, const char *name, uint64_t bytes)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_TRUNCATE);
    if (!happens(fate)) return TLY_IO;
    enum tly_result result = tly_storage_truncate(h->faults->inner, name, bytes);
    lock(h->faults);
    uint64_t *synced = synced_bytes(h->faults, name);
    if (*synced > bytes) *synced = bytes;
    unlock(h->faults);
    return told(fate, result);
}

static enum tly_result sync_object(void *self, const char *name)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_SYNC);
    if (!happens(fate)) return TLY_IO;
    enum tly_result result = tly_storage_sync(h->faults->inner, name);
    if (result == TLY_OK) note_durable(h->faults, name);
    return told(fate, result);
}

/* NOLINTNEXTLINE(readability-function-size): as of tly_storage_read */
static enum tly_result read_object(void *self, const char *name, uint64_t offset, void *bytes, size_t size,
                                   size_t *got)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_READ);
    return told(fate,
                happens(fate) ? tly_storage_read(h->faults->inner, name, offset, bytes, size, got) : TLY_IO);
}

static enum tly_result size_of_object(void *self, const char *name, uint64_t *bytes)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_SIZE);
    return told(fate, happens(fate) ? tly_storage_size(h->faults->inner, name, bytes) : TLY_IO);
}

static enum tly_result list_objects(void *self, const char *directory,
                                    void (*each)(void *context, const char *name), void *context)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_LIST);
    return told(fate, happens(fate) ? tly_storage_list(h->faults->inner, directory, each, context) : TLY_IO);
}

static enum tly_result list_foreign(void *self, const char *directory,
                                    void (*each)(void *context, const char *name), void *context)
{
    struct handle *h = self;
    return tly_storage_list_foreign(h->faults->inner, directory, each, context);
}

static enum tly_result remove_object(void *self, const char *name)
{
    struct handle *h = self;
    enum fate fate = fate_of(h, TEST_REMOVE);
    if (!happens(fate)) return TLY_IO;
    enum tly_result result = tly_storage_remove(h->faults->inner, name);
    note_durable(h->faults, name);
    return told(fate, result);
}

static enum tly_result lock_storage(void *self, char *holder, size_t holder_size)
{
    struct handle *h = self;
    lock(h->faults);
    bool is_free = !h->faults->is_locked;
    if (is_free) h->has_lock = h->faults->is_locked = true;
    unlock(h->faults);
    if (!is_free) (void)snprintf(holder, holder_size, "4711");
    return is_free ? TLY_OK : TLY_STALE;
}

static enum tly_result identity(void *self, char *text, size_t size)
{
    struct handle *h = self;
    return tly_storage_identity(h->faults->inner, text, size);
}

static const char *error_of(const void *self)
{
    const struct handle *h = self;
    return h->failed ? h->error : tly_storage_error(h->faults->inner);
}

static bool is_full(const void *self)
{
    const struct handle *h = self;
    return h->failed && h->faults->fault.kind == TEST_ENOSPC;
}

static void close_handle(void *self)
{
    struct handle *h = self;
    lock(h->faults);
    if (h->has_lock) h->faults->is_locked = false;
    (void)pthread_cond_broadcast(&h->faults->changed);
    unlock(h->faults);
    free(h);
}

static const struct tly_storage_ops fault_ops = {
    .close = close_handle,
    .put = put,
    .put_absent = put_absent,
    .replace = replace,
    .append = append,
    .overwrite = overwrite,
    .truncate = truncate_object,
    .sync = sync_object,
    .read = read_object,
    .size = size_of_object,
    .list = list_objects,
    .list_foreign = list_foreign,
    .remove = remove_object,
    .lock = lock_storage,
    .identity = identity,
    .error = error_of,
    .is_full = is_full,
};

struct tly_storage *test_fault_storage(struct test_faults *faults)
{
    struct handle *h = calloc(1, sizeof *h);
    check(h != NULL, "memory");
    h->faults = faults;
    h->error = "";
    struct tly_storage *storage = tly_storage_new(&fault_ops, h);
    check(storage != NULL, "memory");
    return storage;
}
