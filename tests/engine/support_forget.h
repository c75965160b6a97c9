/* Nodes that forget what was deleted soon, and what is done to them. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_FORGET_H
#define TALLY_TESTS_ENGINE_SUPPORT_FORGET_H

#include "tests/engine/support_net.h"

#define GRACE_MS 5000

extern const struct tly_engine_config stored;

/* A cluster of so many, up and with stores. */
struct net *some_nodes(size_t count);
void put(struct net *net, size_t node, const char *key, const char *value);
bool holds(struct net *net, size_t node, const char *key);
void del(struct net *net, size_t node, const char *key);
void forget_member(struct net *net, size_t node, const char *name);
size_t removes(struct net *net, size_t node);
void block_all(struct net *net, size_t node, size_t count, bool blocked);
void claim_equal(struct net *net, size_t count);

#endif
