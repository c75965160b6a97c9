/*
 * The storage interface: the only way to stored state.  Objects have names ("MANIFEST", "log-1.tly", "intent/x"): parts of
 * [A-Za-z0-9._-], not beginning with a dot, joined by '/', TLY_STORAGE_NAME_MAX bytes at most; "LOCK" is taken.  When a
 * call returns, all of its effect is visible; a reader never sees half an object.  "Absent" and "not permitted" are
 * different answers.  Threads that share a handle take turns; many handles and processes may share a directory.
 *
 * The revision of an object is a hash of its bytes (tly_storage_revision_of), so it needs no place of its own, survives
 * backups and is known to whoever has read the object.  An object whose revisions must never return carries a counter.
 *
 * Results: TLY_OK; TLY_NOT_FOUND: no such object; TLY_STALE: the object is there already, or has another revision;
 * TLY_BAD_KEY: the name; TLY_IO: the reason is in tly_storage_error(); TLY_NOMEM.  Nothing has changed unless TLY_OK or,
 * where it is said, TLY_IO.
 */
#ifndef TALLY_SERVICE_SHELL_STORAGE_H
#define TALLY_SERVICE_SHELL_STORAGE_H

#include "crdt/dot.h"
#include "crdt/result.h"

#include <signal.h>

#define TLY_STORAGE_NAME_MAX 200
#define TLY_STORAGE_IDENTITY_MAX 160

struct tly_storage;

/* Of an object with these bytes; never 0. */
uint64_t tly_storage_revision_of(struct tly_slice bytes);

/* Memory that is an object's. */
struct tly_storage_map {
    uint8_t *p;
    const volatile sig_atomic_t *lost; /* not 0: what was written last, and what will be, is nobody's */
};

/* What a backend provides; `self` is its own. See the functions of the same names below. */
struct tly_storage_ops {
    void (*close)(void *self);
    enum tly_result (*put)(void *self, const char *name, struct tly_slice bytes);
    enum tly_result (*put_absent)(void *self, const char *name, struct tly_slice bytes);
    enum tly_result (*replace)(void *self, const char *name, uint64_t revision, struct tly_slice bytes,
                               uint64_t *new_revision);
    enum tly_result (*append)(void *self, const char *name, struct tly_slice bytes);
    enum tly_result (*append_roomy)(void *self, const char *name, struct tly_slice bytes,
                                    uint64_t room); /* NULL: append does */
    enum tly_result (*overwrite)(void *self, const char *name, uint64_t offset, struct tly_slice bytes);
    enum tly_result (*truncate)(void *self, const char *name, uint64_t bytes);
    enum tly_result (*sync)(void *self, const char *name);
    enum tly_result (*read)(void *self, const char *name, uint64_t offset, void *bytes, size_t size,
                            size_t *got);
    enum tly_result (*size)(void *self, const char *name, uint64_t *bytes);
    enum tly_result (*list)(void *self, const char *directory, void (*each)(void *context, const char *name),
                            void *context);
    enum tly_result (*list_foreign)(void *self, const char *directory,
                                    void (*each)(void *context, const char *name), void *context);
    enum tly_result (*remove)(void *self, const char *name);
    enum tly_result (*lock)(void *self, char *holder, size_t holder_size);
    /* Tells one incarnation of a place from a copy of it. */
    enum tly_result (*identity)(void *self, char *text, size_t size);
    enum tly_result (*map)(void *self, const char *name, size_t n,
                           struct tly_storage_map *map); /* NULL: none */
    bool (*can_map)(const void *self);                   /* NULL: if there is `map` */
    void (*look_at_map)(const void *self);
    uint64_t (*boot)(const void *self); /* NULL: it is not known */
    const char *(*error)(const void *self);
    bool (*is_full)(const void *self); /* NULL: it never is */
};

/* Takes `self` over. NULL: no memory (self is closed). */
struct tly_storage *tly_storage_new(const struct tly_storage_ops *ops, void *self);
void tly_storage_close(struct tly_storage *storage);

/* Replaces the object durably: written aside, synced, renamed, directory synced. */
enum tly_result tly_storage_put(struct tly_storage *s, const char *name,
                                struct tly_slice bytes) TLY_MUST_CHECK;
/* The same if there is none: of many claimants one wins, the others get TLY_STALE. */
enum tly_result tly_storage_put_absent(struct tly_storage *s, const char *name,
                                       struct tly_slice bytes) TLY_MUST_CHECK;
/* Compare and set: only if the object has this revision (0: absent). After TLY_IO it has the old or the new one. */
enum tly_result tly_storage_replace(struct tly_storage *s, const char *name, uint64_t revision,
                                    struct tly_slice bytes, uint64_t *new_revision) TLY_MUST_CHECK;
/* At the end of an object, made if absent; durable after sync only. After TLY_IO a part of it may be there. */
enum tly_result tly_storage_append(struct tly_storage *s, const char *name,
                                   struct tly_slice bytes) TLY_MUST_CHECK;
/*
 * The same of an object that grows by many small pieces, each synced: so many bytes of room may be made behind its end, so that a
 * sync has no new length to write. Nobody sees the room by this handle, and closing it gives the room back; what a crash leaves of it
 * is zeros behind the end.
 */
enum tly_result tly_storage_append_roomy(struct tly_storage *s, const char *name, struct tly_slice bytes,
                                         uint64_t room) TLY_MUST_CHECK;
/* Over what is there, and not beyond its end; durable after sync only. After TLY_IO a part of it may be there. */
enum tly_result tly_storage_overwrite(struct tly_storage *s, const char *name, uint64_t offset,
                                      struct tly_slice bytes) TLY_MUST_CHECK;
enum tly_result tly_storage_truncate(struct tly_storage *s, const char *name, uint64_t bytes) TLY_MUST_CHECK;
enum tly_result tly_storage_sync(struct tly_storage *s, const char *name) TLY_MUST_CHECK;
/* Up to size bytes from offset; fewer only at the end. */
enum tly_result tly_storage_read(struct tly_storage *s, const char *name, uint64_t offset, void *bytes,
                                 size_t size, size_t *got) TLY_MUST_CHECK;
enum tly_result tly_storage_size(struct tly_storage *s, const char *name, uint64_t *bytes) TLY_MUST_CHECK;
/*
 * The objects directly in a directory ("" for the top; none if absent) in byte order, no residue of unfinished work.
 * each() does not call the storage.
 */
enum tly_result tly_storage_list(struct tly_storage *s, const char *directory,
                                 void (*each)(void *context, const char *name), void *context) TLY_MUST_CHECK;
/* The same of what stands there and is no object: directories, symlinks, … A backend without such has no function for it. */
enum tly_result tly_storage_list_foreign(struct tly_storage *s, const char *directory,
                                         void (*each)(void *context, const char *name),
                                         void *context) TLY_MUST_CHECK;
/* Removing what is absent is TLY_OK. */
enum tly_result tly_storage_remove(struct tly_storage *s, const char *name) TLY_MUST_CHECK;
/* Exclusive for as long as the storage is open; TLY_STALE: held, `holder` says by whom (a pid). */
enum tly_result tly_storage_lock(struct tly_storage *s, char *holder, size_t holder_size) TLY_MUST_CHECK;
/* A text of less than TLY_STORAGE_IDENTITY_MAX bytes that a copy does not have; once locked. */
enum tly_result tly_storage_identity(struct tly_storage *s, char *text, size_t size) TLY_MUST_CHECK;
/*
 * The first n bytes of an object as memory, until the storage is closed: what is written there is the object's at once, and is durable
 * after sync only. One map at a time. TLY_IO: it is shorter, or this backend has none; a directory has none before tly_storage_guard.
 */
enum tly_result tly_storage_map(struct tly_storage *s, const char *name, size_t n,
                                struct tly_storage_map *map) TLY_MUST_CHECK;
/* Whether it is worth the making of an object for it. */
bool tly_storage_can_map(struct tly_storage *s);
/* An object that somebody has removed is found to be lost. */
void tly_storage_look_at_map(struct tly_storage *s);
/*
 * Takes the process' SIGBUS, with which the system says that a page of a mapped file cannot be had (somebody has cut it, the disk is full or broken): the
 * map is lost then, and the process goes on.
 */
bool tly_storage_guard(void);
/* Another number once the machine was started anew, with which what was not synced may be gone. 0: that is not known. */
uint64_t tly_storage_boot(struct tly_storage *s);
/* Why the last call failed, with the path; "" if it did not. */
const char *tly_storage_error(const struct tly_storage *s);

/* Whether that was for want of space alone. */
bool tly_storage_is_full(const struct tly_storage *s);

/* A directory, made if absent (mode 0700). NULL: error says why. */
struct tly_storage *tly_storage_directory(const char *path, char *error, size_t size);
/* In memory, gone when closed. NULL: no memory. */
struct tly_storage *tly_storage_memory(void);

#endif
