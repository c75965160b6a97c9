/*
 * Watchers: told when what a key reads as has changed, whoever changed it.  A watcher of a prefix holds the keys that
 * changed since it last looked, each once, and what it read before; when it looks it gets what the key reads as by then, or nothing
 * if that is what it was.  So a hot key costs one change per look, and a slow watcher costs a bounded number of bytes: when that is
 * used up it gets TLY_RESYNC in place of all that it missed, and has to read anew.
 *
 * A key that ends by its deadline alone is not told, nor are keys under rl:, whose reads change with time.
 */
#ifndef TALLY_SERVICE_ENGINE_WATCH_H
#define TALLY_SERVICE_ENGINE_WATCH_H

#include "crdt/ormap.h"

#define TLY_WATCHERS_MAX 128
/* Keys, and their bytes, that one watcher may lag behind. */
#define TLY_WATCH_KEYS_MAX 1024
#define TLY_WATCH_BYTES_MAX (64u * 1024u)
/* Watchers are woken at most this often. */
#define TLY_WATCH_PAUSE_NS UINT64_C(10000000)

struct tly_engine;
struct tly_watch;

struct tly_change {
    bool resync; /* changes were missed: read anew. Nothing else is set. */
    struct tly_slice key;
    const struct tly_strategy *strategy; /* NULL: the key is unknown by now */
    struct tly_value value;              /* not present: deleted */
    uint64_t origin;                     /* the life that made the last of the changes */
    bool local;                          /* … is this node's */
};

/*
 * A watcher of all keys that begin with `prefix`. When it has something to read, TLY_DO_WATCH says so once.
 * TLY_OK, TLY_BAD_KEY (longer than a key), TLY_FULL (there are TLY_WATCHERS_MAX), TLY_NOMEM.
 */
enum tly_result tly_engine_watch(struct tly_engine *engine, struct tly_slice prefix,
                                 struct tly_watch **out) TLY_MUST_CHECK;
void tly_engine_unwatch(struct tly_engine *engine, struct tly_watch *watch);
/* The next change; false: no more for now. Its slices stay until the next call of anything. */
bool tly_watch_next(struct tly_engine *engine, struct tly_watch *watch, struct tly_change *change);

#endif
