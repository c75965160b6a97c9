/*
 * libtally: a node of Tally within a program, the same engine as tallyd's.  Alone, or a member of a cluster with other nodes; with a
 * directory on disk or without.  libtally(3) is its manual page.
 *
 * Functions that may fail return an enum tally_result; unless it is TALLY_OK nothing has changed.  A struct tally_bytes is a borrow: it has
 * to be valid during the call, and no longer.
 */
#ifndef TALLY_H
#define TALLY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers that never change once released. */
enum tally_result {
    TALLY_OK = 0,
    TALLY_NO_MEMORY = 1,
    TALLY_FULL = 2, /* there is no room for it: memory_max, or another ceiling, is reached */
    TALLY_NOT_FOUND = 3,
    TALLY_BAD_KEY = 4, /* a key has 1 to 512 bytes */
    TALLY_NO_STRATEGY = 5,
    TALLY_WRONG_STRATEGY = 6, /* the key's prefix takes no such operation */
    TALLY_OVERFLOW = 7,
    TALLY_CLOCK_END = 8,
    TALLY_READ_ONLY = 9, /* keys under sys: and rl: */
    TALLY_BAD_RULE = 10, /* the rate cannot be computed with, or there are too many fields */
    TALLY_NO_LIMIT = 11, /* there is no limit of that name */
    TALLY_PREFIX_HELD = 12,
    TALLY_OTHER = 13,     /* of a later version */
    TALLY_IN_FLIGHT = 14, /* of a limit of concurrency hits are acquired, over a door */
    TALLY_NO_RIGHTS = 15 /* of a hard counter this node lacks rights, or cannot tell yet: again in a moment */
};

/* The word that HTTP answers with as "code", such as "no_limit"; and a sentence for people. */
const char *tally_code(enum tally_result result);
const char *tally_message(enum tally_result result);

struct tally_bytes {
    const void *p;
    size_t n;
};

static inline struct tally_bytes tally_text(const char *text)
{
    struct tally_bytes bytes = {text, strlen(text)};
    return bytes;
}

/* ---- a node ---- */

struct tally;

/* Who runs the node's loop: its peers, its disk, its deadlines. */
enum tally_drive {
    TALLY_OWN_THREAD, /* a thread of its own. Any thread may call, and waits for that one: some microseconds */
    TALLY_CALLER /* whoever calls tally_turn. All calls come from one thread at a time, and cost what they do */
};

struct tally_options {
    const char *file; /* tally.yaml(5): limits and settings; NULL: none */
    const char *const *
        settings; /* "key=value" as tallyd -o takes them, which go before the file's; NULL ends them; NULL: none */
    enum tally_drive drive;
};

/*
 * Opens a node. Unlike tallyd it has no doors, no peers and no disk unless the settings name them (resp=, http=, peers=, data=). It writes to
 * stderr what an operator should know; log=error is quiet. NULL: `error` says why.
 */
struct tally *tally_open(const struct tally_options *options, char *error, size_t error_bytes);
/* Says goodbye to the peers, writes what is to be written, and ends the node; up to four seconds. No call may be under way. NULL is fine. */
void tally_close(struct tally *tally);
/* TALLY_CALLER: does what is due, after waiting up to so many ms for it. To be called at least every 10 ms if there are peers or a disk. */
void tally_turn(struct tally *tally, unsigned wait_ms);
/* "127.0.0.1:7382", where a door ("resp", "http", "grpc", "peers") listens; "none". Good until the node is closed. */
const char *tally_address(struct tally *tally, const char *door);

/* ---- limits ---- */

enum tally_algorithm { TALLY_SLIDING_WINDOW, TALLY_FIXED_WINDOW, TALLY_TOKEN_BUCKET };

struct tally_field {
    struct tally_bytes name, value;
};

/* Either a limit of the file, by its name and the fields of its key; or, without a name, a key with its rate. */
struct tally_check {
    struct tally_bytes limit;
    const struct tally_field *fields;
    size_t field_count;
    struct tally_bytes key;
    uint64_t rate, window_ms, burst; /* units in so many ms; burst, of a token bucket, 0: as rate */
    enum tally_algorithm algorithm;
    uint32_t hits; /* 0 looks, and counts nothing */
};

enum tally_verdict_code { TALLY_ADMITTED, TALLY_REFUSED };

#define TALLY_NEVER UINT64_MAX
#define TALLY_NO_BOUND UINT64_MAX

struct tally_verdict {
    enum tally_verdict_code code;
    uint64_t limit, remaining, used; /* units */
    uint64_t reset_ms;               /* until the count is back to nothing if nobody comes */
    uint64_t retry_after_ms;         /* 0 if admitted; TALLY_NEVER: so many can never pass */
    uint64_t window_ms;
    uint64_t
        bound; /* by how much the limit can be passed over all nodes, as of now; TALLY_NO_BOUND: no end */
    const char *reason; /* a word: "none", "limit", "projected", ...; it is never freed */
    const char *mode;   /* "optimistic", "capped" or "hard" */
    int is_shadow;      /* the numbers refuse, and the limit's shadow switch admits */
    int is_full;        /* not counted: memory_max or cardinality_max is reached */
};

/* TALLY_OK: *verdict is set. TALLY_NO_LIMIT, TALLY_BAD_RULE, TALLY_BAD_KEY, TALLY_IN_FLIGHT, TALLY_NO_MEMORY. */
enum tally_result tally_check(struct tally *tally, const struct tally_check *check,
                              struct tally_verdict *verdict);
/* Many at once, which is faster than one by one: results[i] and, if that is TALLY_OK, verdicts[i]. */
void tally_checks(struct tally *tally, const struct tally_check *checks, size_t count,
                  enum tally_result *results, struct tally_verdict *verdicts);
/* Forgets what was counted. TALLY_NOT_FOUND: nothing was. TALLY_IN_FLIGHT, TALLY_NO_RIGHTS. */
enum tally_result tally_reset(struct tally *tally, const struct tally_check *check);

/* ---- counters ---- */

/* Adds; *value is the sum of all nodes as known here. value may be NULL. */
enum tally_result tally_add(struct tally *tally, struct tally_bytes key, int64_t delta, int64_t *value);
/* Begins anew with that value. ttl_ms 0: it does not end. */
enum tally_result tally_set(struct tally *tally, struct tally_bytes key, int64_t value, uint64_t ttl_ms);
enum tally_result tally_get(struct tally *tally, struct tally_bytes key, int64_t *value);
/* Has it end in so many ms; 0: never. */
enum tally_result tally_expire(struct tally *tally, struct tally_bytes key, uint64_t ttl_ms);
enum tally_result tally_delete(struct tally *tally, struct tally_bytes key);

#ifdef __cplusplus
}
#endif

#endif
