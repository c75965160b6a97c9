/*
 * A change of the table of prefixes as it grows:
 *
 *     prefixes.c           the table, its way to the disk, and what an operator wants
 *     prefixes_migrate.c   what a prefix holds under another strategy, and what approves of that
 *     prefixes_peers.c     what a peer's table says
 */
#ifndef TALLY_SERVICE_ENGINE_PREFIXES_INTERNAL_H
#define TALLY_SERVICE_ENGINE_PREFIXES_INTERNAL_H

#include "service/engine/impl.h"

#include "crdt/convert.h"
#include "wire/table.h"

/* Keys that this prefix is the home of by this table, or would be if it were registered. */
struct home {
    const struct tly_registry *table;
    struct tly_slice prefix;
};

bool tly_prefix_is_home(void *home, struct tly_slice key);
/* Whether every node has it from the beginning. */
bool tly_prefix_is_first(struct tly_slice prefix);
size_t tly_prefix_count(struct tly_engine *e, const struct tly_registry *table, struct tly_slice prefix);

/* A value; finishing it gives back what it holds. */
struct draft {
    struct tly_engine *e;
    struct tly_registry *next; /* NULL: nothing changes as yet */
    struct tly_table_change change;
    struct tly_conversion *conversions[TLY_TABLE_CHANGED_MAX]; /* of what is migrated */
    struct tly_reply *reply;
};

/* The table as the wishes so far leave it. */
struct tly_registry *tly_draft_table(const struct draft *draft);
enum tly_result tly_draft_row(struct draft *draft, const struct tly_prefix *row, uint64_t kind,
                              bool keeps) TLY_MUST_CHECK;
/* Carries it out if `result` is TLY_OK and all can be handed to the disk. */
enum tly_result tly_draft_finish(struct draft *draft, enum tly_result result) TLY_MUST_CHECK;

enum tly_result tly_draft_migrate(struct draft *draft, const struct tly_prefix_wish *wish) TLY_MUST_CHECK;
/* The plan of a drop (`to` NULL) or a migration of what the row's prefix is the home of by this table; everything gets sealed. */
enum tly_result tly_prefix_plan_of(struct tly_engine *e, const struct tly_registry *table,
                                   const struct tly_prefix *row, const struct tly_strategy *to,
                                   struct tly_prefix_plan *plan) TLY_MUST_CHECK;
enum tly_result tly_prefix_approve(const struct tly_prefix_plan *plan, uint64_t approval) TLY_MUST_CHECK;
/* All that the conversions make, as batches for the disk, each with its kind in front. */
enum tly_result tly_draft_put_rows(const struct draft *draft, struct tly_buf *out) TLY_MUST_CHECK;

#endif
