/*
 * For targets that read the store's files: the input as a file of a storage in memory, once as it is and once with the checksums of
 * its frames set right, for nobody guesses those.
 */
#ifndef TALLY_TESTS_FUZZ_STORE_H
#define TALLY_TESTS_FUZZ_STORE_H

#include "service/shell/segment.h"
#include "service/shell/storage.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

/* Of the frame that begins at `at`; false: it is none, or is cut off. *at is behind it then. */
static inline bool fuzz_seal_frame(uint8_t *bytes, size_t n, size_t *at)
{
    size_t from = *at, length = 0, i = from;
    for (unsigned shift = 0; i < n && shift < 21; shift += 7) {
        length |= (size_t)(bytes[i] & 0x7f) << shift;
        if (bytes[i++] < 0x80) break;
    }
    size_t start = i + 1 - from;
    if (n - from < start + 4 || n - from - start - 4 < length) return false;
    uint8_t *sum = bytes + from + start;
    XXH3_state_t *state = XXH3_createState();
    assert(state != NULL);
    (void)XXH3_64bits_reset(state);
    (void)XXH3_64bits_update(state, bytes + from, start);
    (void)XXH3_64bits_update(state, sum + 4, length);
    uint64_t checksum = XXH3_64bits_digest(state);
    (void)XXH3_freeState(state);
    for (size_t k = 0; k < 4; k++)
        sum[k] = (uint8_t)(checksum >> (8 * k));
    *at = from + start + 4 + length;
    return true;
}

/* Calls target() with the input, and with a copy in which all frames from `from` on are sealed. */
static inline void fuzz_sealed_too(struct tly_slice input, size_t from, void (*target)(struct tly_slice))
{
    target(input);
    if (input.n <= from) return;
    uint8_t *copy = malloc(input.n);
    assert(copy != NULL);
    memcpy(copy, input.p, input.n);
    size_t at = from;
    while (at < input.n && fuzz_seal_frame(copy, input.n, &at)) {}
    target(tly_slice_of(copy, input.n));
    free(copy);
}

static inline struct tly_storage *fuzz_storage(const char *name, struct tly_slice bytes)
{
    struct tly_storage *storage = tly_storage_memory();
    assert(storage != NULL);
    enum tly_result result = tly_storage_put(storage, name, bytes);
    assert(result == TLY_OK);
    (void)result;
    return storage;
}

#endif
