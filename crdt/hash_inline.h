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

static inline uint32_t tly_key_hash_of(uint64_t hash)
{
    uint32_t high = (uint32_t)(hash >> 32);
    return high != 0 ? high : 1; /* cursors begin at 0 */
}

static inline uint32_t tly_key_hash_inline(const struct tly_hash_key *key, struct tly_slice bytes)
{
    return tly_key_hash_of(tly_hash_inline(key, bytes));
}

/* ---- a key that lies in two pieces ---- */

/* The lengths at which XXH3 mixes pairs of words that lie at fixed places from both ends. */
#define TLY_JOINED_BYTES_MIN 17u
#define TLY_JOINED_BYTES_MAX 128u

/* The eight bytes from a place on, of the whole. */
static inline uint64_t tly_joined_at(const struct tly_joined *joined, size_t at)
{
    if (at >= joined->begin_bytes) return XXH_readLE64(joined->rest.p + (at - joined->begin_bytes));
    return joined->begin >> 8 * at | XXH_readLE64(joined->rest.p) << 8 * (joined->begin_bytes - at);
}

static inline uint64_t tly_joined_mix(const struct tly_hash_key *key, const struct tly_joined *joined,
                                      size_t at, size_t secret_at)
{
    const uint8_t *secret = key->secret + secret_at;
    return XXH3_mul128_fold64(tly_joined_at(joined, at) ^ XXH_readLE64(secret),
                              tly_joined_at(joined, at + 8) ^ XXH_readLE64(secret + 8));
}

/*
 * tly_hash of both as one, of TLY_JOINED_BYTES_MIN to TLY_JOINED_BYTES_MAX bytes: XXH3 as its specification has it.  Nothing of it is
 * read where it was just written, in other pieces: a processor would wait until all that came before has left for memory.
 */
static inline uint64_t tly_hash_joined(const struct tly_hash_key *key, const struct tly_joined *joined)
{
    size_t n = joined->begin_bytes + joined->rest.n;
    uint64_t sum = n * XXH_PRIME64_1;
    for (size_t i = (n - 1) / 32; i > 0; i--) {
        sum += tly_joined_mix(key, joined, 16 * i, 32 * i);
        sum += tly_joined_mix(key, joined, n - 16 * (i + 1), 32 * i + 16);
    }
    sum += tly_joined_mix(key, joined, 0, 0);
    sum += tly_joined_mix(key, joined, n - 16, 16);
    return XXH3_avalanche(sum);
}

#endif
