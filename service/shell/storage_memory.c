/* Storage in memory: a sorted array of named bytes.  Durable for as long as it is open. */
#include "service/shell/libc_mem.h"
#include "service/shell/storage.h"
#include "wire/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OBJECT_BYTES_MAX ((size_t)1 << 40)

struct object {
    char name[TLY_STORAGE_NAME_MAX + 1];
    struct tly_buf bytes;
};

struct memory {
    struct tly_mem mem;
    struct object *objects;
    size_t count;
    size_t capacity;
    bool locked;
    uint64_t number; /* random: tells it from another one */
    const char *error;
};

/* The first object not before the name. */
static size_t lower_bound(const struct memory *m, const char *name)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(m->objects[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL if there is none. */
static struct object *find(struct memory *m, const char *name)
{
    size_t at = lower_bound(m, name);
    m->error = "";
    return at < m->count && strcmp(m->objects[at].name, name) == 0 ? &m->objects[at] : NULL;
}

static enum tly_result not_found(struct memory *m)
{
    m->error = "no such object";
    return TLY_NOT_FOUND;
}

static enum tly_result no_memory(struct memory *m)
{
    m->error = "out of memory";
    return TLY_NOMEM;
}

/* Takes the bytes over. */
static enum tly_result insert(struct memory *m, const char *name, struct tly_buf *bytes)
{
    struct object *objects =
        tly_mem_reserve(&m->mem, m->objects, &m->capacity, m->count + 1, sizeof *objects);
    if (objects == NULL) {
        tly_buf_fini(bytes);
        return no_memory(m);
    }
    m->objects = objects;
    size_t at = lower_bound(m, name);
    memmove(&objects[at + 1], &objects[at], (m->count - at) * sizeof *objects);
    m->count++;
    (void)snprintf(objects[at].name, sizeof objects[at].name, "%s", name);
    objects[at].bytes = *bytes;
    return TLY_OK;
}

static enum tly_result put(void *self, const char *name, struct tly_slice bytes)
{
    struct memory *m = self;
    struct tly_buf copy;
    tly_buf_init(&copy, &m->mem, OBJECT_BYTES_MAX);
    tly_buf_put(&copy, bytes.p, bytes.n);
    if (copy.result != TLY_OK) {
        tly_buf_fini(&copy);
        return no_memory(m);
    }
    struct object *object = find(m, name);
    if (object == NULL) return insert(m, name, &copy);
    tly_buf_fini(&object->bytes);
    object->bytes = copy;
    return TLY_OK;
}

static enum tly_result put_absent(void *self, const char *name, struct tly_slice bytes)
{
    return find(self, name) != NULL ? TLY_STALE : put(self, name, bytes);
}

static enum tly_result replace(void *self, const char *name, uint64_t revision, struct tly_slice bytes,
                               uint64_t *new_revision)
{
    struct memory *m = self;
    const struct object *object = find(m, name);
    if (object == NULL && revision != 0) return not_found(m);
    uint64_t found = object != NULL ? tly_storage_revision_of(tly_buf_slice(&object->bytes)) : 0;
    if (found != revision) return TLY_STALE;
    enum tly_result result = put(self, name, bytes);
    if (result == TLY_OK) *new_revision = tly_storage_revision_of(bytes);
    return result;
}

static enum tly_result append(void *self, const char *name, struct tly_slice bytes)
{
    struct memory *m = self;
    struct object *object = find(m, name);
    if (object == NULL) return put(self, name, bytes);
    tly_buf_put(&object->bytes, bytes.p, bytes.n);
    if (object->bytes.result == TLY_OK) return TLY_OK;
    object->bytes.result = TLY_OK;
    return no_memory(m);
}

static enum tly_result overwrite(void *self, const char *name, uint64_t offset, struct tly_slice bytes)
{
    struct memory *m = self;
    struct object *object = find(m, name);
    if (object == NULL) return not_found(m);
    if (offset > object->bytes.n || bytes.n > object->bytes.n - offset) {
        m->error = "overwrite: it is shorter than that";
        return TLY_IO;
    }
    if (bytes.n > 0) memcpy(object->bytes.p + offset, bytes.p, bytes.n);
    return TLY_OK;
}

static enum tly_result truncate_object(void *self, const char *name, uint64_t bytes)
{
    struct memory *m = self;
    struct object *object = find(m, name);
    if (object == NULL) return not_found(m);
    if (object->bytes.n >= bytes) {
        object->bytes.n = (size_t)bytes;
        return TLY_OK;
    }
    m->error = "truncate: it is shorter than that";
    return TLY_IO;
}

static enum tly_result sync_object(void *self, const char *name)
{
    return find(self, name) != NULL ? TLY_OK : not_found(self);
}

/* NOLINTNEXTLINE(readability-function-size): as of tly_storage_read */
static enum tly_result read_object(void *self, const char *name, uint64_t offset, void *bytes, size_t size,
                                   size_t *got)
{
    const struct object *object = find(self, name);
    if (object == NULL) return not_found(self);
    size_t left = offset < object->bytes.n ? object->bytes.n - (size_t)offset : 0;
    *got = size < left ? size : left;
    if (*got > 0) memcpy(bytes, object->bytes.p + offset, *got);
    return TLY_OK;
}

static enum tly_result size_of_object(void *self, const char *name, uint64_t *bytes)
{
    const struct object *object = find(self, name);
    if (object == NULL) return not_found(self);
    *bytes = object->bytes.n;
    return TLY_OK;
}

static enum tly_result list_objects(void *self, const char *directory,
                                    void (*each)(void *context, const char *name), void *context)
{
    struct memory *m = self;
    size_t n = strlen(directory);
    m->error = "";
    for (size_t i = 0; i < m->count; i++) {
        const char *name = m->objects[i].name;
        if (n > 0 && (strncmp(name, directory, n) != 0 || name[n] != '/')) continue;
        const char *leaf = n > 0 ? name + n + 1 : name;
        if (strchr(leaf, '/') == NULL) each(context, leaf);
    }
    return TLY_OK;
}

static enum tly_result remove_object(void *self, const char *name)
{
    struct memory *m = self;
    struct object *object = find(m, name);
    if (object == NULL) return TLY_OK;
    tly_buf_fini(&object->bytes);
    size_t at = (size_t)(object - m->objects);
    memmove(object, object + 1, (m->count - at - 1) * sizeof *object);
    m->count--;
    return TLY_OK;
}

static enum tly_result lock(void *self, char *holder, size_t holder_size)
{
    struct memory *m = self;
    m->error = "";
    if (m->locked) {
        (void)snprintf(holder, holder_size, "%ld", (long)getpid());
        return TLY_STALE;
    }
    m->locked = true;
    return TLY_OK;
}

static enum tly_result identity(void *self, char *text, size_t size)
{
    struct memory *m = self;
    m->error = "";
    (void)snprintf(text, size, "memory %016llx", (unsigned long long)m->number);
    return TLY_OK;
}

static const char *error_of(const void *self)
{
    const struct memory *m = self;
    return m->error;
}

static void close_memory(void *self)
{
    struct memory *m = self;
    for (size_t i = 0; i < m->count; i++)
        tly_buf_fini(&m->objects[i].bytes);
    tly_mem_free(&m->mem, m->objects, m->capacity * sizeof *m->objects);
    free(m);
}

static const struct tly_storage_ops memory_ops = {
    .close = close_memory,
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
    .error = error_of,
};

struct tly_storage *tly_storage_memory(void)
{
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL) return NULL;
    *m = (struct memory){.mem = tly_libc_mem(), .error = ""};
    arc4random_buf(&m->number, sizeof m->number);
    return tly_storage_new(&memory_ops, m);
}
