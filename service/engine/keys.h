/*
 * Walking over the keys that can be read, in a fixed order of their hashes, a page at a time.  A key that is there from the first page to
 * the last is seen exactly once, whatever is written and however the table grows in between: a page ends only where the
 * next hash begins, and a hash is where the cursor says, for ever.
 *
 * Keys under sys: are the node's own and are passed over.
 */
#ifndef TALLY_SERVICE_ENGINE_KEYS_H
#define TALLY_SERVICE_ENGINE_KEYS_H

#include "crdt/dot.h"
#include "service/engine/engine.h"

/* A key, which is a borrow that ends with the call; false: the page is to end soon. Nothing may be asked of the engine in it. */
typedef bool tly_key_visit(void *context, struct tly_slice key);

/*
 * The next page: from *cursor on, 0 at first, looking at `budget` entries and those that share the last one's hash. *cursor is where to go
 * on, 0 after the last one; it is the hash and nothing else, for some clients keep it in a double and lose what lies beyond 2^53.
 */
void tly_engine_keys(struct tly_engine *engine, struct tly_time now, uint64_t *cursor, size_t budget,
                     tly_key_visit *visit, void *context);

/*
 * What a key reads as, its deadline too, in a number: another number means that it reads otherwise. 0: there is no such key. Whoever wrote the
 * same again, or there and back, has changed nothing.
 */
uint64_t tly_engine_print(struct tly_engine *engine, struct tly_time now, struct tly_slice key);
/* Bytes that the table holds for a key, its log not counted; 0: there is no such key. */
size_t tly_engine_key_bytes(struct tly_engine *engine, struct tly_time now, struct tly_slice key);

#endif
