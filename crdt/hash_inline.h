/* tly_hash and tly_key_hash without a call, for where every check comes by. */
#ifndef TALLY_CRDT_HASH_INLINE_H
#define TALLY_CRDT_HASH_INLINE_H

#include "crdt/hash.h"

/* Its code instead of calls: keys are short. */
#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t tly_hash_inline(const struct tly_hash_key *key, struct tly_slice bytes)
{
    return XXH3_64bits_withSecret(bytes.p, bytes.n, key->secret, sizeof key->secret);
}

static inline uint32_t tly_key_hash_inline(const struct tly_hash_key *key, struct tly_slice bytes)
{
    uint32_t hash = (uint32_t)(tly_hash_inline(key, bytes) >> 32);
    return hash != 0 ? hash : 1; /* cursors begin at 0 */
}

#endif
