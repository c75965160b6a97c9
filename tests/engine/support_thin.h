/* Thin links in virtual time: keys that nothing can shrink, counted into at a pace and looked for on the other side. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_THIN_H
#define TALLY_TESTS_ENGINE_SUPPORT_THIN_H

#include "tests/engine/support_net.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define KEY_BYTES 400
/* The line of the bench: 256 kbit/s and 100 ms. */
#define THIN 32000
#define KERNEL 4096
#define DELAY (100 * MS)

/* Counts once into key i of a kind. */
void thin_count(struct net *net, size_t node, char kind, size_t i);
/* Whether it was counted into once, as this node knows. */
bool thin_is_here(struct net *net, size_t node, char kind, size_t i);

#define THIN_MADE_MAX 4096

/* Keys that are counted into one after another, at a pace, and looked for on the other side (node 1 - from). */
struct thin_stream {
    size_t from;
    char kind;
    uint64_t every, next;
    size_t made, seen;
    uint64_t at[THIN_MADE_MAX];
    uint64_t oldest_ns; /* of those that have come, when they came */
};

void thin_go_on(struct net *net, struct thin_stream *stream, uint64_t until);
/* How many of the keys of kind 'o' node 1 has, from the first on; `before`: as many as were there before. */
size_t thin_old_here(struct net *net, size_t before, size_t old);

#endif
