#include "tests/shell/support_disk.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE 64u

struct bytes {
    uint8_t *p;
    size_t n;
};

struct object {
    char name[TLY_STORAGE_NAME_MAX + 1];
    bool is_there, was_there; /* now; as of the last sync */
    struct bytes now, synced;
    /* A sync failed: what it covered, from … to …, becomes durable only once it is written anew, whatever later ones say. */
    bool spoiled;
    size_t spoiled_from, spoiled_to;
};

struct test_disk {
    pthread_mutex_t mutex;
    struct object *objects;
    size_t count;
    unsigned place, boot;
    volatile sig_atomic_t lost; /* what is mapped */
    bool locked;
    struct test_disk_fault fault;
    size_t seen, failed;
};

/* A storage on it. */
struct handle {
    struct test_disk *disk;
    bool has_lock, is_full;
    const char *error;
};

static void *need(void *p)
{
    if (p == NULL) abort();
    return p;
}

static void bytes_set(struct bytes *to, const uint8_t *p, size_t n)
{
    uint8_t *copy = need(malloc(n + 1));
    if (n > 0) memcpy(copy, p, n);
    free(to->p);
    *to = (struct bytes){copy, n};
}

static void bytes_add(struct bytes *to, const uint8_t *p, size_t n)
{
    to->p = need(realloc(to->p, to->n + n + 1));
    if (n > 0) memcpy(to->p + to->n, p, n);
    to->n += n;
}

static int by_name(const void *a, const void *b)
{
    const struct object *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static struct object *find(const struct test_disk *disk, const char *name)
{
    for (size_t i = 0; i < disk->count; i++)
        if (strcmp(disk->objects[i].name, name) == 0) return &disk->objects[i];
    return NULL;
}

static struct object *find_present(const struct test_disk *disk, const char *name)
{
    struct object *object = find(disk, name);
    return object != NULL && object->is_there ? object : NULL;
}

static struct object *find_or_make(struct test_disk *disk, const char *name)
{
    if (find(disk, name) != NULL) return find(disk, name);
    disk->objects = need(realloc(disk->objects, (disk->count + 1) * sizeof *disk->objects));
    struct object *object = &disk->objects[disk->count++];
    *object = (struct object){0};
    (void)snprintf(object->name, sizeof object->name, "%s", name);
    qsort(disk->objects, disk->count, sizeof *disk->objects, by_name);
    return find(disk, name);
}

/* ---- calls ---- */

static bool is_meant(enum test_disk_op fault, enum test_disk_op op)
{
    bool grows = op == TEST_DISK_PUT || op == TEST_DISK_APPEND;
    bool changes = grows || op == TEST_DISK_TRUNCATE || op == TEST_DISK_SYNC || op == TEST_DISK_REMOVE;
    return fault == op || fault == TEST_DISK_ANY || (fault == TEST_DISK_GROW && grows) ||
           (fault == TEST_DISK_CHANGE && changes);
}

/* Whether this one is to fail. With the mutex held until done(). */
static bool begin(struct handle *h, enum test_disk_op op)
{
    struct test_disk *disk = h->disk;
    (void)pthread_mutex_lock(&disk->mutex);
    h->error = "";
    h->is_full = false;
    if (disk->fault.times == 0 || !is_meant(disk->fault.op, op)) return false;
    size_t at = disk->seen++;
    bool fails = at >= disk->fault.n && at - disk->fault.n < disk->fault.times;
    disk->failed += fails;
    if (fails) h->error = "injected failure";
    h->is_full = fails && disk->fault.full;
    return fails;
}

/* Of an append that fails. */
static size_t part_of(const struct test_disk *disk, size_t n)
{
    if (disk->fault.late) return n;
    return disk->fault.dead && disk->failed > 1 ? 0 : n / 2;
}

static enum tly_result done(struct handle *h, enum tly_result result)
{
    if (result == TLY_NOT_FOUND) h->error = "no such object";
    (void)pthread_mutex_unlock(&h->disk->mutex);
    return result;
}

static void put_now(struct test_disk *disk, const char *name, struct tly_slice bytes)
{
    struct object *object = find_or_make(disk, name);
    object->is_there = object->was_there = true;
    object->spoiled = false;
    bytes_set(&object->now, bytes.p, bytes.n);
    bytes_set(&object->synced, bytes.p, bytes.n);
}

static enum tly_result put(void *self, const char *name, struct tly_slice bytes)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_PUT);
    if (!fails || h->disk->fault.late) put_now(h->disk, name, bytes);
    return done(h, fails ? TLY_IO : TLY_OK);
}

static enum tly_result put_absent(void *self, const char *name, struct tly_slice bytes)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_PUT);
    if (fails && !h->disk->fault.late) return done(h, TLY_IO);
    if (find_present(h->disk, name) != NULL) return done(h, TLY_STALE);
    put_now(h->disk, name, bytes);
    return done(h, fails ? TLY_IO : TLY_OK);
}

static enum tly_result replace(void *self, const char *name, uint64_t revision, struct tly_slice bytes,
                               uint64_t *new_revision)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_PUT);
    if (fails && !h->disk->fault.late) return done(h, TLY_IO);
    const struct object *object = find_present(h->disk, name);
    if (object == NULL && revision != 0) return done(h, TLY_NOT_FOUND);
    uint64_t found = object != NULL ? tly_storage_revision_of(tly_slice_of(object->now.p, object->now.n)) : 0;
    if (found != revision) return done(h, TLY_STALE);
    put_now(h->disk, name, bytes);
    if (!fails) *new_revision = tly_storage_revision_of(bytes);
    return done(h, fails ? TLY_IO : TLY_OK);
}

static enum tly_result append(void *self, const char *name, struct tly_slice bytes)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_APPEND);
    struct object *object = find_or_make(h->disk, name);
    if (!object->is_there) object->now.n = 0;
    object->is_there = true;
    bytes_add(&object->now, bytes.p, fails ? part_of(h->disk, bytes.n) : bytes.n);
    return done(h, fails ? TLY_IO : TLY_OK);
}

static void heal_what_is_covered(struct object *object, size_t offset, size_t n)
{
    size_t to = object->spoiled_to < object->now.n ? object->spoiled_to : object->now.n;
    if (offset <= object->spoiled_from && offset + n > object->spoiled_from)
        object->spoiled_from = offset + n;
    if (object->spoiled_from >= to) object->spoiled = false;
}

static enum tly_result overwrite(void *self, const char *name, uint64_t offset, struct tly_slice bytes)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_APPEND);
    struct object *object = find_present(h->disk, name);
    if (object == NULL) return done(h, TLY_NOT_FOUND);
    if (offset > object->now.n || bytes.n > object->now.n - offset) return done(h, TLY_IO);
    size_t n = fails ? part_of(h->disk, bytes.n) : bytes.n;
    if (n > 0) memcpy(object->now.p + offset, bytes.p, n);
    heal_what_is_covered(object, (size_t)offset, n);
    return done(h, fails ? TLY_IO : TLY_OK);
}

static enum tly_result truncate_object(void *self, const char *name, uint64_t bytes)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_TRUNCATE);
    struct object *object = find_present(h->disk, name);
    if (object == NULL) return done(h, TLY_NOT_FOUND);
    if (object->now.n < bytes) return done(h, TLY_IO);
    if (!fails || h->disk->fault.late) object->now.n = (size_t)bytes;
    return done(h, fails ? TLY_IO : TLY_OK);
}

static size_t common_prefix(const struct bytes *a, const struct bytes *b)
{
    size_t n = 0;
    while (n < a->n && n < b->n && a->p[n] == b->p[n])
        n++;
    return n;
}

static void spoil(struct object *object)
{
    size_t from = common_prefix(&object->now, &object->synced);
    if (!object->spoiled || from < object->spoiled_from) object->spoiled_from = from;
    object->spoiled = true;
    object->spoiled_to = object->now.n;
}

static enum tly_result sync_object(void *self, const char *name)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_SYNC);
    struct object *object = find_present(h->disk, name);
    if (object == NULL) return done(h, TLY_NOT_FOUND);
    if (fails && !h->disk->fault.dead) spoil(object);
    if (object->spoiled) return done(h, fails ? TLY_IO : TLY_OK);
    object->was_there = true;
    bytes_set(&object->synced, object->now.p, object->now.n);
    return done(h, TLY_OK);
}

/* NOLINTNEXTLINE(readability-function-size): its type is that of the interface. */
static enum tly_result read_object(void *self, const char *name, uint64_t offset, void *bytes, size_t size,
                                   size_t *got)
{
    struct handle *h = self;
    if (begin(h, TEST_DISK_READ)) return done(h, TLY_IO);
    const struct object *object = find_present(h->disk, name);
    if (object == NULL) return done(h, TLY_NOT_FOUND);
    size_t left = offset < object->now.n ? object->now.n - (size_t)offset : 0;
    *got = size < left ? size : left;
    if (*got > 0) memcpy(bytes, object->now.p + offset, *got);
    return done(h, TLY_OK);
}

static enum tly_result size_of_object(void *self, const char *name, uint64_t *bytes)
{
    struct handle *h = self;
    if (begin(h, TEST_DISK_SIZE)) return done(h, TLY_IO);
    const struct object *object = find_present(h->disk, name);
    if (object == NULL) return done(h, TLY_NOT_FOUND);
    *bytes = object->now.n;
    return done(h, TLY_OK);
}

/* Its name within the directory; NULL: it is not there. */
static const char *name_within(const struct object *object, const char *directory)
{
    size_t n = strlen(directory);
    const char *name = object->name;
    if (n > 0 && (strncmp(name, directory, n) != 0 || name[n] != '/')) return NULL;
    if (n > 0) name += n + 1;
    return object->is_there && strchr(name, '/') == NULL ? name : NULL;
}

static enum tly_result list_objects(void *self, const char *directory,
                                    void (*each)(void *context, const char *name), void *context)
{
    struct handle *h = self;
    if (begin(h, TEST_DISK_LIST)) return done(h, TLY_IO);
    for (size_t i = 0; i < h->disk->count; i++) {
        const char *name = name_within(&h->disk->objects[i], directory);
        if (name != NULL) each(context, name);
    }
    return done(h, TLY_OK);
}

static enum tly_result remove_object(void *self, const char *name)
{
    struct handle *h = self;
    bool fails = begin(h, TEST_DISK_REMOVE);
    struct object *object = find(h->disk, name);
    if (object != NULL && (!fails || h->disk->fault.late)) {
        object->is_there = object->was_there = object->spoiled = false;
        object->now.n = object->synced.n = 0;
    }
    return done(h, fails ? TLY_IO : TLY_OK);
}

static enum tly_result lock(void *self, char *holder, size_t holder_size)
{
    struct handle *h = self;
    if (begin(h, TEST_DISK_LOCK)) return done(h, TLY_IO);
    (void)snprintf(holder, holder_size, "4711");
    if (h->disk->locked) return done(h, TLY_STALE);
    h->disk->locked = h->has_lock = true;
    return done(h, TLY_OK);
}

static enum tly_result identity(void *self, char *text, size_t size)
{
    struct handle *h = self;
    if (begin(h, TEST_DISK_IDENTITY)) return done(h, TLY_IO);
    (void)snprintf(text, size, "place %u", h->disk->place);
    return done(h, TLY_OK);
}

static bool was_full(const void *self)
{
    const struct handle *h = self;
    return h->is_full;
}

static const char *error_of(const void *self)
{
    const struct handle *h = self;
    return h->error;
}

/* Nobody makes it longer, so it stays where it is. */
static enum tly_result map_object(void *self, const char *name, size_t n, struct tly_storage_map *map)
{
    struct handle *h = self;
    if (begin(h, TEST_DISK_CHANGE)) return done(h, TLY_IO);
    const struct object *object = find_present(h->disk, name);
    if (object == NULL || object->now.n < n) return done(h, object == NULL ? TLY_NOT_FOUND : TLY_IO);
    h->disk->lost = 0;
    *map = (struct tly_storage_map){object->now.p, &h->disk->lost};
    return done(h, TLY_OK);
}

void test_disk_lose_map(struct test_disk *disk)
{
    disk->lost = 1;
}

static uint64_t boot(const void *self)
{
    const struct handle *h = self;
    return h->disk->boot;
}

static void close_handle(void *self)
{
    struct handle *h = self;
    (void)pthread_mutex_lock(&h->disk->mutex);
    if (h->has_lock) h->disk->locked = false;
    (void)pthread_mutex_unlock(&h->disk->mutex);
    free(h);
}

static const struct tly_storage_ops ops = {
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
    .remove = remove_object,
    .lock = lock,
    .identity = identity,
    .map = map_object,
    .boot = boot,
    .error = error_of,
    .is_full = was_full,
};

/* ---- up and down ---- */

struct test_disk *test_disk_new(void)
{
    static unsigned places;
    struct test_disk *disk = need(calloc(1, sizeof *disk));
    if (pthread_mutex_init(&disk->mutex, NULL) != 0) abort();
    disk->place = disk->boot = ++places;
    return disk;
}

void test_disk_free(struct test_disk *disk)
{
    if (disk == NULL) return;
    assert(!disk->locked);
    for (size_t i = 0; i < disk->count; i++) {
        free(disk->objects[i].now.p);
        free(disk->objects[i].synced.p);
    }
    free(disk->objects);
    (void)pthread_mutex_destroy(&disk->mutex);
    free(disk);
}

struct tly_storage *test_disk_open(struct test_disk *disk)
{
    struct handle *h = need(calloc(1, sizeof *h));
    *h = (struct handle){.disk = disk, .error = ""};
    return need(tly_storage_new(&ops, h));
}

void test_disk_fail(struct test_disk *disk, const struct test_disk_fault *fault)
{
    (void)pthread_mutex_lock(&disk->mutex);
    disk->fault = *fault;
    disk->seen = disk->failed = 0;
    (void)pthread_mutex_unlock(&disk->mutex);
}

size_t test_disk_failed(struct test_disk *disk)
{
    (void)pthread_mutex_lock(&disk->mutex);
    size_t failed = disk->failed;
    (void)pthread_mutex_unlock(&disk->mutex);
    return failed;
}

/* ---- copies ---- */

/* Of what is there now, pages beyond what was synced may be missing: they read as zeros. */
static void lose_pages(struct bytes *bytes, size_t from, struct test_rng *rng)
{
    for (size_t at = from; at < bytes->n;) {
        size_t end = (at / PAGE + 1) * PAGE < bytes->n ? (at / PAGE + 1) * PAGE : bytes->n;
        if (test_rng_chance(rng, 50)) memset(bytes->p + at, 0, end - at);
        at = end;
    }
}

static void cut_object(struct object *object, enum test_disk_cut cut, struct test_rng *rng)
{
    size_t from = common_prefix(&object->now, &object->synced);
    bool reverts =
        cut == TEST_CUT_NONE || !object->is_there || (!object->was_there && test_rng_chance(rng, 30));
    if (reverts) {
        object->is_there = object->was_there;
        bytes_set(&object->now, object->synced.p, object->synced.n);
    } else if (cut == TEST_CUT_PREFIX && object->now.n >= object->synced.n) {
        object->now.n = from + (size_t)test_rng_below(rng, object->now.n - from + 1);
    } else if (cut == TEST_CUT_ZEROS) {
        memset(object->now.p + from, 0, object->now.n - from);
    } else if (cut == TEST_CUT_PAGES) {
        lose_pages(&object->now, from, rng);
    }
}

static struct test_disk *copy_of(struct test_disk *disk)
{
    struct test_disk *copy = test_disk_new();
    (void)pthread_mutex_lock(&disk->mutex);
    for (size_t i = 0; i < disk->count; i++) {
        const struct object *from = &disk->objects[i];
        struct object *to = find_or_make(copy, from->name);
        to->is_there = from->is_there;
        to->was_there = from->was_there;
        bytes_set(&to->now, from->now.p, from->now.n);
        bytes_set(&to->synced, from->synced.p, from->synced.n);
    }
    copy->place = disk->place;
    copy->boot = disk->boot;
    (void)pthread_mutex_unlock(&disk->mutex);
    return copy;
}

static void sync_all(struct test_disk *disk)
{
    for (size_t i = 0; i < disk->count; i++) {
        struct object *object = &disk->objects[i];
        object->was_there = object->is_there;
        bytes_set(&object->synced, object->now.p, object->now.n);
    }
}

struct test_disk *test_disk_copy(struct test_disk *disk, bool same_place)
{
    struct test_disk *copy = copy_of(disk);
    if (!same_place) copy->boot = copy->place += 100000;
    sync_all(copy);
    return copy;
}

struct test_disk *test_disk_cut(struct test_disk *disk, enum test_disk_cut cut, struct test_rng *rng)
{
    struct test_disk *copy = copy_of(disk);
    copy->boot += 1000000;
    for (size_t i = 0; i < copy->count; i++)
        cut_object(&copy->objects[i], cut, rng);
    sync_all(copy);
    return copy;
}

size_t test_disk_count(const struct test_disk *disk)
{
    return disk->count;
}

const char *test_disk_name(const struct test_disk *disk, size_t i)
{
    return disk->objects[i].name;
}

uint8_t *test_disk_bytes(struct test_disk *disk, const char *name, size_t *n)
{
    const struct object *object = find_present(disk, name);
    *n = object != NULL ? object->now.n : 0;
    return object != NULL ? object->now.p : NULL;
}

void test_disk_shorten(struct test_disk *disk, const char *name, size_t n)
{
    struct object *object = find_present(disk, name);
    assert(object != NULL && n <= object->now.n);
    object->now.n = n;
}
