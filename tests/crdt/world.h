/*
 * Maps that exchange dots, and a naive twin beside them.  The twin keeps every dot that was ever sealed and folds
 * them with tly_join when asked; whatever a map did meanwhile (log, sealing, order of arrival), its entry must
 * be that.
 */
#ifndef TALLY_TESTS_CRDT_WORLD_H
#define TALLY_TESTS_CRDT_WORLD_H

#include "crdt/ormap.h"
#include "tests/crdt/sample.h"
#include "tests/support/mem.h"

#define WORLD_NODES 3
#define WORLD_KEYS 2 /* of each strategy */
/* Origins from here on are nobody's: their dots are forged, and two of them may share a version. */
#define WORLD_FORGED 1000

/* ---- keys and maps ---- */

/* "l:", "m:" and "s:" for lww, epoch_max and epoch_sum. The caller frees it. */
struct tly_registry *world_registry(const struct tly_mem *mem);
/* The i-th key of a strategy; key i of SAMPLE_STRATEGIES * WORLD_KEYS is that of strategy i % SAMPLE_STRATEGIES. */
struct tly_slice world_key(size_t i);
const struct tly_strategy *world_strategy(size_t i);
/* A map whose clock starts at 1, so that versions are small and meet; origin 0: no life begins. */
struct tly_ormap *world_map(const struct tly_mem *mem, const struct tly_registry *registry, uint64_t origin);

/* The entry's dots, or none. */
const struct tly_dot *world_dots(struct tly_ormap *map, struct tly_slice key, size_t *count);
/* Reads as of window 0, or of the window and the epoch. */
struct tly_value world_read(struct tly_ormap *map, struct tly_slice key, struct tly_moment at);
bool values_equal(const struct tly_value *a, const struct tly_value *b);

enum tly_outcome world_apply(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot);
/* Counts one hit into the own shard. */
void world_hit(struct tly_ormap *map, struct tly_slice key, struct tly_hit hit);
/* The same as a check does it; the hit has a window. */
void world_check(struct tly_ormap *map, struct tly_slice key, struct tly_hit hit);
/* Fails unless what a check reads of every counter is what tly_entry_read makes of its dots, for every window that is sampled. */
void world_claim_tallies(struct tly_ormap *map);

/*
 * One round: seals, hands `to` every live dot beyond its marks, in any order and some twice if rng is given, and then the
 * marks. How many dots were handed over.
 */
size_t world_round(struct tly_ormap *from, struct tly_ormap *to, struct test_rng *rng);

/* ---- the twin ---- */

struct twin_dot {
    size_t key;
    struct tly_dot dot;
};

struct twin {
    struct twin_dot *dots;
    size_t count, capacity;
};

void twin_free(struct twin *twin);
void twin_learn(struct twin *twin, size_t key, const struct tly_dot *dot);
/*
 * All dots of a life with ts > after that stand in the map's entries; the newest ts of them, or `after`. The log is not asked:
 * what it lost shall show.
 */
uint64_t twin_learn_life(struct twin *twin, struct tly_ormap *map, uint64_t origin, uint64_t after);
/* Fails unless the map's entries are the join of what the twin knows, in dots and in reads. Everything is sealed. */
void twin_claim_equal(const struct twin *twin, struct tly_ormap *map);
/* Fails unless every dot at or below its origin's mark is in the map or redundant there. */
void twin_claim_marks(const struct twin *twin, struct tly_ormap *map);

/* Fails unless the log yields what stands in the entries: each dot once, ascending. Everything is sealed. */
void log_claim_complete(struct tly_ormap *map);

/*
 * A map that was given the live dots and the marks of another in any order, and nothing else: a snapshot installed elsewhere, or
 * the same node read back from its disk. Its clock goes on from there; origin 0: no life begins.
 */
struct tly_ormap *world_copy(const struct tly_mem *mem, const struct tly_registry *registry,
                             struct tly_ormap *from, uint64_t origin, struct test_rng *rng);

/* ---- several nodes ---- */

struct world {
    struct tly_mem mem;
    struct tly_registry *registry;
    struct tly_ormap *node[WORLD_NODES];
    uint64_t origin[WORLD_NODES]; /* 1, 2, 3; a new life adds 3 */
    uint64_t learned[WORLD_NODES];
    struct twin twin;
};

struct world world_of(void);
/* Fails when a byte is left. */
void world_end(struct world *world);
/* Seals, and the twin learns what was sealed. */
void world_seal(struct world *world, size_t node);
/* Puts or removes, and the twin learns that; otherwise as tly_ormap_put and tly_ormap_remove. */
enum tly_result world_write(struct world *world, size_t node, size_t key, const struct tly_dot *wanted);
/* The node ends and is read back; if it was not clean, without what it had not sealed and under a new life. */
void world_restart(struct world *world, size_t node, bool clean, struct test_rng *rng);
/* Node `from` seals and what it sealed is learned by the twin; then a round. */
void world_sync(struct world *world, size_t from, size_t to, struct test_rng *rng);
/* The same, but of the round some dots get lost, and no mark moves. */
void world_part(struct world *world, size_t from, size_t to, struct test_rng *rng);
/* Exchanges until all is everywhere; all nodes must then equal the twin and each other. */
void world_settle(struct world *world);

#endif
