#include "crdt/hash.h"

#include "crdt/hash_inline.h"

uint64_t tly_hash(const struct tly_hash_key *key, struct tly_slice bytes)
{
    return tly_hash_inline(key, bytes);
}

uint32_t tly_key_hash(const struct tly_hash_key *key, struct tly_slice bytes)
{
    return tly_key_hash_inline(key, bytes);
}

void tly_hash_key_from(struct tly_hash_key *key, struct tly_slice bytes)
{
    for (size_t i = 0; i < TLY_HASH_SECRET_BYTES / sizeof(uint64_t); i++) {
        uint64_t number = XXH3_64bits_withSeed(bytes.p, bytes.n, i);
        for (size_t j = 0; j < sizeof number; j++)
            key->secret[i * sizeof number + j] = (uint8_t)(number >> 8 * j);
    }
}
