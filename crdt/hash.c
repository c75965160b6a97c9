#include "crdt/hash.h"

/* Its code instead of calls: keys are short. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t tly_hash(const struct tly_hash_key *key, struct tly_slice bytes)
{
    return XXH3_64bits_withSecret(bytes.p, bytes.n, key->secret, sizeof key->secret);
}
