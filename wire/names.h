/*
 * The numbers by which a node's outgoing streams name what they have sent: a number stands for a key, a strategy and a
 * life.  One object serves all streams of a node, so a number that is low on one is low on all, and numbers follow the order in
 * which things were first sent: what is sealed in that order has numbers and versions that rise together.
 *
 * It is bounded, in numbers and in bytes of keys.  When it is full the number that has not been used for longest, by the clock
 * algorithm, is issued anew; a stream that had told it tells it again.  Owns copies of the keys.
 */
#ifndef TALLY_WIRE_NAMES_H
#define TALLY_WIRE_NAMES_H

#include "crdt/hash.h"
#include "crdt/mem.h"
#include "crdt/strategy.h"

#define TLY_NAMES_MAX ((uint32_t)1 << 17)
#define TLY_NAMES_KEY_BYTES_MAX ((size_t)8 * 1024 * 1024)

struct tly_names;

struct tly_names_config {
    struct tly_mem mem;
    struct tly_hash_key hash_key;
    uint32_t names_max;   /* 1 to TLY_NAMES_MAX */
    size_t key_bytes_max; /* at most TLY_NAMES_KEY_BYTES_MAX, at least a key */
};

/* NULL: no memory. */
struct tly_names *tly_names_new(const struct tly_names_config *config);
void tly_names_free(struct tly_names *names);
void tly_names_check(const struct tly_names *names);

struct tly_name {
    uint32_t number;
    uint32_t issue; /* which of the things that the number has stood for; from 1 */
};

/*
 * A new part begins: what it asks for stays until the next one begins.
 */
void tly_names_begin(struct tly_names *names);
/* The name, issued if need be. False: no memory, or this part already holds everything that could make room. */
bool tly_names_need(struct tly_names *names, struct tly_slice key, const struct tly_version *version,
                    const struct tly_strategy *strategy, struct tly_name *name);
#define TLY_NO_NAME UINT32_MAX
/*
 * The numbers that stand for these now, or TLY_NO_NAME: up to TLY_NAMES_TOGETHER things of one life, the memory of all of them being on its
 * way at once.
 */
#define TLY_NAMES_TOGETHER 16
struct tly_unnamed {
    const struct tly_slice *keys;
    const struct tly_strategy *const *strategies;
    size_t count;
    uint64_t origin;
};
void tly_names_find_all(const struct tly_names *names, const struct tly_unnamed *unnamed, uint32_t *numbers);
/* Forgets everything; numbers begin at 0 again, and are fewer than `names_max`. */
void tly_names_limit(struct tly_names *names, uint32_t names_max);
/* Forgets everything; numbers begin at 0 again. */
void tly_names_clear(struct tly_names *names);
size_t tly_names_count(const struct tly_names *names);

#endif
