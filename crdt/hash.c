#include "crdt/hash.h"

/* Its code instead of calls: keys are short. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t tly_hash(const struct tly_hash_key *key, struct tly_slice bytes)
{
    return XXH3_64bits_withSecret(bytes.p, bytes.n, key->secret, sizeof key->secret);
}

void tly_hash_key_from(struct tly_hash_key *key, struct tly_slice bytes)
{
    for (size_t i = 0; i < TLY_HASH_SECRET_BYTES / sizeof(uint64_t); i++) {
        uint64_t number = XXH3_64bits_withSeed(bytes.p, bytes.n, i);
        for (size_t j = 0; j < sizeof number; j++)
            key->secret[i * sizeof number + j] = (uint8_t)(number >> 8 * j);
    }
}
