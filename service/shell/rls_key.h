/*
 * The identity of a counter of the rate limit service: the domain and the descriptor's entries, in their order, whatever limit they
 * met; so a counter goes on when its limit is changed, and the nodes of a cluster count under the same key.
 *
 *     e:DOMAIN:KEY:VALUE:KEY:VALUE      what is longer than a key may be: e#HASH
 */
#ifndef TALLY_SERVICE_SHELL_RLS_KEY_H
#define TALLY_SERVICE_SHELL_RLS_KEY_H

#include "service/shell/rls_message.h"

/* An ad-hoc limit's key has room for so many. */
#define TLY_RLS_KEY_BYTES_MAX (TLY_KEY_BYTES_MAX - 8)

/* shared (NULL: none): for each entry, what stands in the place of its value; empty: nothing does. */
struct tly_slice tly_rls_key(const char *prefix, struct tly_slice domain,
                             const struct tly_rls_descriptor *descriptor, const struct tly_slice *shared,
                             uint8_t out[TLY_KEY_BYTES_MAX]);

#endif
