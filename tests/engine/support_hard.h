/* A hard limit called "hard" on the nodes of a net. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_HARD_H
#define TALLY_TESTS_ENGINE_SUPPORT_HARD_H

#include "tests/engine/support_net.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

/* For an engine, that owns them. */
struct tly_rules *hard_rules(uint64_t limit, uint64_t window_ms);
/* From now on that node has it. A quota has a rate such as "100/mo", and a zone by its rule (support_zone.h). */
void hard_use_quota(struct net *net, size_t node, const char *rate, const char *zone);
void hard_use(struct net *net, size_t node, uint64_t limit, uint64_t window_ms);
/* A counter of that name. */
void hard_use_counter(struct net *net, size_t node, int64_t min, uint64_t max);
/* Asks it, always for the same key. Its published bound is 0 every time. */
struct tly_verdict hard_ask(struct net *net, size_t node, uint32_t hits);

#endif
