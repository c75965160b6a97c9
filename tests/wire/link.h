/*
 * Both ends of a stream, and dots made for it: what is written at one end is read at the other and compared.
 * Shared by the tests of the stream and of its golden bytes.
 */
#ifndef TALLY_TESTS_WIRE_LINK_H
#define TALLY_TESTS_WIRE_LINK_H

#include "wire/frame.h"
#include "wire/stream.h"

struct dot {
    const char *key;
    const struct tly_strategy *(*strategy)(void);
    struct tly_dot dot;
};

struct link {
    struct tly_names *names;
    struct tly_stream *out, *in;
    struct tly_parts *putting, *getting;
    struct tly_hash_key hash_key; /* by which rows say the hash of their keys */
    struct tly_buf body;
    struct tly_part part;
};

/* names: shared with others, or NULL: of its own. */
void link_init(struct link *link, const struct tly_mem *mem, struct tly_names *names);
void link_fini(struct link *link, bool own_names);
struct tly_names *link_names(const struct tly_mem *mem, uint32_t names_max);

/* Writes the dots as one part; the body, which stands in link->body. All must fit. */
struct tly_slice link_put(struct link *link, const struct dot *dots, size_t count,
                          const struct tly_part_head *head);
/* Reads a body at the other end, into link->part. */
enum tly_result link_get(struct link *link, struct tly_slice body);
/* Puts, gets, and fails the test unless just these dots have arrived. Bytes of the body. */
size_t link_pass(struct link *link, const struct dot *dots, size_t count, const struct tly_part_head *head);
/* Whether link->part has just these dots, in whatever order. */
bool link_has(const struct link *link, const struct dot *dots, size_t count);

#endif
