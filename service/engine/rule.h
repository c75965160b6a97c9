/*
 * Limits: which requests, how much, how.  A rule is a value; a table of rules is an object that is swapped whole.
 * Integers only: units, ms, ns.
 */
#ifndef TALLY_SERVICE_ENGINE_RULE_H
#define TALLY_SERVICE_ENGINE_RULE_H

#include "crdt/dot.h"
#include "crdt/mem.h"
#include "crdt/result.h"
#include "service/engine/zone.h"

#define TLY_RULE_NAME_BYTES_MAX 64
#define TLY_RULE_BEGIN_BYTES_MAX (5 + 3 * TLY_RULE_NAME_BYTES_MAX)
#define TLY_RULE_FIELDS_MAX 8
#define TLY_FIELD_NAME_BYTES_MAX 64
#define TLY_RULES_MAX 4096
#define TLY_LIMIT_MAX INT64_MAX

/* In this order they are told apart on the way of a check: windows of one length come first. */
enum tly_algorithm {
    TLY_SLIDING_WINDOW,
    TLY_FIXED_WINDOW,
    TLY_TOKEN_BUCKET,
    TLY_QUOTA,
    TLY_CONCURRENCY,
    TLY_COUNTER
};

/* "sliding_window", …; false: no such algorithm. */
bool tly_algorithm_parse(struct tly_slice text, enum tly_algorithm *algorithm);
const char *tly_algorithm_name(enum tly_algorithm algorithm);
/* All names, for error messages. */
const char *tly_algorithm_names(void);

/*
 * How hard over several nodes.  optimistic: on what this node knows of the others, carried forward at their rates.  capped: besides,
 * what this node admitted and not every member has heard of stays below `cap`.  hard: a node counts only what it holds the rights to
 * (escrow.h), so the limit is never passed.
 */
enum tly_mode { TLY_OPTIMISTIC, TLY_CAPPED, TLY_HARD };

/*
 * What becomes of it when members cannot be reached. open: it goes on; share: with the part of the limit that the reachable members
 * are of all; closed: nothing is admitted, or with capped no more than the cap.
 */
enum tly_on_partition { TLY_PARTITION_OPEN, TLY_PARTITION_SHARE, TLY_PARTITION_CLOSED };

/*
 * How much: `limit` units per `window_ms`. `burst` (token_bucket) 0: as `limit`. Of concurrency `limit` is what may be in flight at once,
 * and `window_ms` how long that of a node counts which is not heard any more. Of a counter `limit` is its greatest value, `min` its
 * least, and there is no window.
 */
struct tly_rate {
    uint64_t limit;
    uint64_t window_ms;
    uint64_t burst;
    enum tly_algorithm algorithm;
    enum tly_mode mode;
    enum tly_on_partition on_partition;
    unsigned unit;               /* TLY_UNIT_... that the window is one of; 0: none. What a quota goes by */
    uint64_t cap;                /* capped: at least 1; otherwise 0 */
    const struct tly_zone *zone; /* of a quota; NULL: UTC */
    int64_t min;                 /* of a counter; never above 0 */
};

/* "optimistic", "capped: N" or "hard"; sets mode, cap, and on_partition to what it is by default. */
enum tly_result tly_mode_parse(struct tly_slice text, struct tly_rate *rate) TLY_MUST_CHECK;
const char *tly_mode_name(enum tly_mode mode);
bool tly_on_partition_parse(struct tly_slice text, enum tly_on_partition *on_partition);
const char *tly_on_partition_name(enum tly_on_partition on_partition);

/*
 * Reads "100/10s", "5/m", "1000/500ms", "10/2h", "1/1d": units / [number] ms|s|m|h|d|w|mo|y. Sets limit, window_ms (the
 * greatest that it can be) and unit. TLY_OK or TLY_BAD_RULE. The window is 1 ms to 366 days, or one month or year.
 */
enum tly_result tly_rate_parse(struct tly_slice text, struct tly_rate *rate) TLY_MUST_CHECK;
/* "month". */
const char *tly_unit_name(unsigned unit);
/* What is wrong with it, by the field, and what was expected; NULL: its numbers can be computed with. */
const char *tly_rate_fault(const struct tly_rate *rate);
/* TLY_OK, or TLY_BAD_RULE where there is a fault. */
enum tly_result tly_rate_check(const struct tly_rate *rate) TLY_MUST_CHECK;
/* The window of the shards that it counts in (crdt/epoch_sum.h); 0: they have none. */
uint64_t tly_rate_window(const struct tly_rate *rate);
/* Whoever is asked to give must know the limit too; what is in flight is said anew, and what has no end has its bounds, by name. */
static inline bool tly_rate_needs_rule(const struct tly_rate *rate)
{
    return rate->mode == TLY_HARD || rate->algorithm >= TLY_CONCURRENCY;
}
/* The fault of a rate that comes with a request; that may be, that it needs a rule. */
const char *tly_rate_fault_by_request(const struct tly_rate *rate);

/* What a field has to be: this value, or with is_prefix one that begins so; any, if that is empty. */
#define TLY_RULE_MATCHES_MAX 4
struct tly_match {
    char field[TLY_FIELD_NAME_BYTES_MAX + 1];
    char value[TLY_FIELD_NAME_BYTES_MAX + 1];
    bool is_prefix;
};

/* What became of a limit's checks since it was first read, and how many keys it has here. */
struct tly_rule_count {
    uint64_t admitted, refused;
    uint64_t would_refuse;            /* … by shadow */
    uint64_t uncounted, refused_full; /* new keys beyond keys_max, or memory_max */
    uint64_t unmatched;
    size_t keys; /* of a limit with keys_max */
};

/* A named limit. The texts are kept inside: a rule may be copied. */
struct tly_rule {
    char name[TLY_RULE_NAME_BYTES_MAX + 1];
    char field[TLY_RULE_FIELDS_MAX][TLY_FIELD_NAME_BYTES_MAX + 1]; /* the key's fields, in order */
    size_t field_count;
    struct tly_rate rate;
    bool shadow; /* counts and reports, never refuses */
    struct tly_match match[TLY_RULE_MATCHES_MAX];
    size_t match_count; /* all of them must hold, else it does not count and admits; 0: it is for all */
    size_t keys_max;    /* distinct keys; 0: no end */
    struct tly_rule_count *count; /* of one in a table, and the table's; else NULL */
    /* What its keys begin with; set by tly_rules_add. */
    uint8_t begin[TLY_RULE_BEGIN_BYTES_MAX];
    size_t begin_bytes;
};

struct tly_field {
    struct tly_slice name;
    struct tly_slice value;
};

/* An object: rules by name. */
struct tly_rules;

struct tly_rules *tly_rules_new(const struct tly_mem *mem);
void tly_rules_free(struct tly_rules *rules);
/* A zone that was read, which the rules own from now on, whatever becomes of it; NULL: no memory. */
#define TLY_ZONE_NAME_BYTES_MAX 64
const struct tly_zone *tly_rules_keep_zone(struct tly_rules *rules, const char *name, struct tly_zone *zone);
/* The counts of limits go on that had these names before, but not those of keys. */
void tly_rules_go_on(struct tly_rules *rules, const struct tly_rules *before);
/* One of these; NULL: not kept. */
const struct tly_zone *tly_rules_zone(const struct tly_rules *rules, const char *name);
/* The name of such a zone; "UTC" for NULL. */
const char *tly_rules_zone_name(const struct tly_rules *rules, const struct tly_zone *zone);
/* TLY_OK, TLY_BAD_RULE (a name twice, an empty name, a bad rate), TLY_FULL, TLY_NOMEM. */
enum tly_result tly_rules_add(struct tly_rules *rules, const struct tly_rule *rule) TLY_MUST_CHECK;
/*
 * Those of others whose names are not there yet, with their zones, which live as long as one of both does; both are of one
 * allocator. TLY_OK, or TLY_FULL, TLY_NOMEM, and some of them may have been added.
 */
enum tly_result tly_rules_add_all(struct tly_rules *rules, const struct tly_rules *others) TLY_MUST_CHECK;
const struct tly_rule *tly_rules_find(const struct tly_rules *rules, struct tly_slice name);
size_t tly_rules_count(const struct tly_rules *rules);
const struct tly_rule *tly_rules_at(const struct tly_rules *rules, size_t i);
/* Whether both say the same, each of a table. */
bool tly_rules_agree(const struct tly_rules *rules, const struct tly_rule *rule,
                     const struct tly_rules *others, const struct tly_rule *other);
/* Fields that it goes by, those of its key and others that have to match; and the i-th of them. */
size_t tly_rule_fields(const struct tly_rule *rule);
const char *tly_rule_field(const struct tly_rule *rule, size_t i);
/* Whether the fields of a check are those that the rule is for. */
bool tly_rule_matches(const struct tly_rule *rule, const struct tly_field *fields, size_t count);
/* "free", "free*" or "*" of a field, into the next place of a rule; false: too many, or too long. */
bool tly_rule_add_match(struct tly_rule *rule, const char *field, const char *value);
/* The rule under which a key counts that tly_rule_key wrote; NULL: there is none. */
const struct tly_rule *tly_rules_of_key(const struct tly_rules *rules, struct tly_slice key);
/* The name in such a key, whether there still is that rule or not; false: no rule made it. */
bool tly_rule_name_of_key(struct tly_slice key, char name[TLY_RULE_NAME_BYTES_MAX + 1]);

/*
 * The key under which a limit counts, in `out` of TLY_KEY_BYTES_MAX bytes:
 *     named    rl:n:NAME:part:part      ad hoc   rl:a:KEY      concurrency    rl:f:NAME:part:part
 *     counter  rl:c:NAME:part:part
 * ':' and '%' in a part are written %3A and %25, so different parts never make the same key; a field that is not given
 * is an empty part. TLY_BAD_KEY when it gets too long.
 */
enum tly_result tly_rule_key(const struct tly_rule *rule, const struct tly_field *fields, size_t field_count,
                             uint8_t *out, size_t *n) TLY_MUST_CHECK;
enum tly_result tly_adhoc_key(struct tly_slice key, uint8_t *out, size_t *n) TLY_MUST_CHECK;
/* How the latter begins, and as one little-endian word. */
#define TLY_ADHOC_BEGIN "rl:a:"
#define TLY_ADHOC_WORD UINT64_C(0x3a613a6c72)

#endif
