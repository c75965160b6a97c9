/*
 * The table of prefixes as bytes, and a change of it on its way to the disk.
 *
 *     table     [prefix, word, prefix, word, …]    ascending; word: strategy id + 16 * generation, id 0: dropped
 *     change    [kind, actor, [prefix, keeps, …], table]
 *
 * keeps: what was written under the prefix before still counts; otherwise it never does again, whoever reads it from a disk.
 */
#ifndef TALLY_WIRE_TABLE_H
#define TALLY_WIRE_TABLE_H

#include "wire/message.h"

#define TLY_TABLE_CHANGED_MAX 8
#define TLY_TABLE_ACTOR_MAX 64

/* Numbers that are never used again: see service/shell/intent.h. */
enum { TLY_TABLE_REGISTER = 3, TLY_TABLE_DROP = 4, TLY_TABLE_MIGRATE = 5, TLY_TABLE_BATCH = 6 };

struct tly_table_changed {
    struct tly_slice prefix;
    bool keeps;
};

struct tly_table_change {
    uint64_t kind;
    struct tly_slice actor;
    struct tly_table_changed changed[TLY_TABLE_CHANGED_MAX];
    size_t changed_count;
    struct tly_prefixes rows; /* all of the table as it is then; not read by put */
};

uint64_t tly_table_word(const struct tly_prefix *prefix);
/* False: of a strategy that is not known here, or of a generation beyond what there can be. */
bool tly_table_from_word(uint64_t word, struct tly_prefix *prefix) TLY_MUST_CHECK;

void tly_table_put(struct tly_buf *out, const struct tly_registry *registry);
/*
 * Whether a table need not name it. That of rights is the same on all nodes that know it, and one that does not would refuse who names it,
 * also where no limit is hard.
 */
bool tly_table_is_implied(const struct tly_prefix *prefix);
/* Checks that they ascend and passes over them; a malformed table fails the cursor. */
struct tly_prefixes tly_table_get(struct tly_cursor *cursor);

void tly_table_change_put(struct tly_buf *out, const struct tly_table_change *change,
                          const struct tly_registry *registry);
enum tly_result tly_table_change_get(struct tly_slice body, struct tly_table_change *change) TLY_MUST_CHECK;

#endif
