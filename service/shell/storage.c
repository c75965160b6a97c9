/* The front of every backend: names are checked here, and calls take turns. */
#include "service/shell/storage.h"

#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>

struct tly_storage {
    const struct tly_storage_ops *ops;
    void *self;
    pthread_mutex_t turn;
    bool refused; /* the last call, for its name */
};

uint64_t tly_storage_revision_of(struct tly_slice bytes)
{
    uint64_t hash = XXH3_64bits(bytes.n > 0 ? (const void *)bytes.p : "", bytes.n);
    return hash != 0 ? hash : 1;
}

struct tly_storage *tly_storage_new(const struct tly_storage_ops *ops, void *self)
{
    struct tly_storage *s = calloc(1, sizeof *s);
    if (s == NULL || pthread_mutex_init(&s->turn, NULL) != 0) {
        free(s);
        ops->close(self);
        return NULL;
    }
    s->ops = ops;
    s->self = self;
    return s;
}

void tly_storage_close(struct tly_storage *s)
{
    if (s == NULL) return;
    s->ops->close(s->self);
    (void)pthread_mutex_destroy(&s->turn);
    free(s);
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* Parts that are not empty and do not begin with a dot, so neither "..", nor what a backend hides. */
static bool is_name(const char *name)
{
    size_t n = strnlen(name, TLY_STORAGE_NAME_MAX + 1);
    if (n > TLY_STORAGE_NAME_MAX) return false;
    bool begins = true;
    for (size_t i = 0; i < n; i++) {
        bool fits = is_name_byte(name[i]) || name[i] == '/';
        if (!fits || (begins && (name[i] == '.' || name[i] == '/'))) return false;
        begins = name[i] == '/';
    }
    return !begins && strcmp(name, "LOCK") != 0;
}

/* Waits for the caller's turn, which ends with leave(). */
static bool enter(struct tly_storage *s, const char *name)
{
    (void)pthread_mutex_lock(&s->turn);
    s->refused = !is_name(name);
    return !s->refused;
}

static enum tly_result leave(struct tly_storage *s, enum tly_result result)
{
    (void)pthread_mutex_unlock(&s->turn);
    return result;
}

enum tly_result tly_storage_put(struct tly_storage *s, const char *name, struct tly_slice bytes)
{
    return leave(s, enter(s, name) ? s->ops->put(s->self, name, bytes) : TLY_BAD_KEY);
}

enum tly_result tly_storage_put_absent(struct tly_storage *s, const char *name, struct tly_slice bytes)
{
    return leave(s, enter(s, name) ? s->ops->put_absent(s->self, name, bytes) : TLY_BAD_KEY);
}

enum tly_result tly_storage_replace(struct tly_storage *s, const char *name, uint64_t revision,
                                    struct tly_slice bytes, uint64_t *new_revision)
{
    return leave(s, enter(s, name) ? s->ops->replace(s->self, name, revision, bytes, new_revision)
                                   : TLY_BAD_KEY);
}

enum tly_result tly_storage_append(struct tly_storage *s, const char *name, struct tly_slice bytes)
{
    return leave(s, enter(s, name) ? s->ops->append(s->self, name, bytes) : TLY_BAD_KEY);
}

enum tly_result tly_storage_append_roomy(struct tly_storage *s, const char *name, struct tly_slice bytes,
                                         uint64_t room)
{
    if (s->ops->append_roomy == NULL) return tly_storage_append(s, name, bytes);
    return leave(s, enter(s, name) ? s->ops->append_roomy(s->self, name, bytes, room) : TLY_BAD_KEY);
}

enum tly_result tly_storage_overwrite(struct tly_storage *s, const char *name, uint64_t offset,
                                      struct tly_slice bytes)
{
    return leave(s, enter(s, name) ? s->ops->overwrite(s->self, name, offset, bytes) : TLY_BAD_KEY);
}

enum tly_result tly_storage_truncate(struct tly_storage *s, const char *name, uint64_t bytes)
{
    return leave(s, enter(s, name) ? s->ops->truncate(s->self, name, bytes) : TLY_BAD_KEY);
}

enum tly_result tly_storage_sync(struct tly_storage *s, const char *name)
{
    return leave(s, enter(s, name) ? s->ops->sync(s->self, name) : TLY_BAD_KEY);
}

/* NOLINTNEXTLINE(readability-function-size): what pread(2) has, and a result */
enum tly_result tly_storage_read(struct tly_storage *s, const char *name, uint64_t offset, void *bytes,
                                 size_t size, size_t *got)
{
    return leave(s, enter(s, name) ? s->ops->read(s->self, name, offset, bytes, size, got) : TLY_BAD_KEY);
}

enum tly_result tly_storage_size(struct tly_storage *s, const char *name, uint64_t *bytes)
{
    return leave(s, enter(s, name) ? s->ops->size(s->self, name, bytes) : TLY_BAD_KEY);
}

enum tly_result tly_storage_list(struct tly_storage *s, const char *directory,
                                 void (*each)(void *context, const char *name), void *context)
{
    bool is_top = directory[0] == '\0';
    return leave(s, enter(s, is_top ? "top" : directory) ? s->ops->list(s->self, directory, each, context)
                                                         : TLY_BAD_KEY);
}

enum tly_result tly_storage_list_foreign(struct tly_storage *s, const char *directory,
                                         void (*each)(void *context, const char *name), void *context)
{
    if (s->ops->list_foreign == NULL) return TLY_OK;
    bool is_top = directory[0] == '\0';
    return leave(s, enter(s, is_top ? "top" : directory)
                        ? s->ops->list_foreign(s->self, directory, each, context)
                        : TLY_BAD_KEY);
}

enum tly_result tly_storage_remove(struct tly_storage *s, const char *name)
{
    return leave(s, enter(s, name) ? s->ops->remove(s->self, name) : TLY_BAD_KEY);
}

enum tly_result tly_storage_lock(struct tly_storage *s, char *holder, size_t holder_size)
{
    (void)enter(s, "any");
    return leave(s, s->ops->lock(s->self, holder, holder_size));
}

enum tly_result tly_storage_identity(struct tly_storage *s, char *text, size_t size)
{
    (void)enter(s, "any");
    return leave(s, s->ops->identity(s->self, text, size));
}

bool tly_storage_is_full(const struct tly_storage *s)
{
    return !s->refused && s->ops->is_full != NULL && s->ops->is_full(s->self);
}

enum tly_result tly_storage_map(struct tly_storage *s, const char *name, size_t n,
                                struct tly_storage_map *map)
{
    if (s->ops->map == NULL) return TLY_IO;
    return leave(s, enter(s, name) ? s->ops->map(s->self, name, n, map) : TLY_BAD_KEY);
}

bool tly_storage_can_map(struct tly_storage *s)
{
    return s->ops->map != NULL && (s->ops->can_map == NULL || s->ops->can_map(s->self));
}

void tly_storage_look_at_map(struct tly_storage *s)
{
    (void)enter(s, "map");
    if (s->ops->look_at_map != NULL) s->ops->look_at_map(s->self);
    (void)leave(s, TLY_OK);
}

uint64_t tly_storage_boot(struct tly_storage *s)
{
    return s->ops->boot != NULL ? s->ops->boot(s->self) : 0;
}

const char *tly_storage_error(const struct tly_storage *s)
{
    return s->refused ? "a name of letters, digits, '.', '_' and '-' was expected, not beginning with '.'"
                      : s->ops->error(s->self);
}
