/*
 * Keyed XXH3 (xxHash 0.8, 64 bits, with a secret of its own).  The key is random per process, so that nobody who
 * chooses keys can choose collisions.
 */
#ifndef TALLY_CRDT_HASH_H
#define TALLY_CRDT_HASH_H

#include "crdt/dot.h"

#define TLY_HASH_SECRET_BYTES 192

/* Random bytes, all of them. */
struct tly_hash_key {
    uint8_t secret[TLY_HASH_SECRET_BYTES];
};

/* Bytes that lie apart: a beginning of 1 to 7, as one word, and what follows it, 8 bytes at least. */
struct tly_joined {
    uint64_t begin;
    size_t begin_bytes;
    struct tly_slice rest;
};

uint64_t tly_hash(const struct tly_hash_key *key, struct tly_slice bytes);
/* What of it a map orders its keys by; never 0. */
uint32_t tly_key_hash(const struct tly_hash_key *key, struct tly_slice bytes);
/* A key that follows from some bytes: 24 numbers, low byte first, number i being their XXH3 with seed i. */
void tly_hash_key_from(struct tly_hash_key *key, struct tly_slice bytes);

#endif
