#include "service/shell/resp.h"

#define W TLY_RESP_WRITE
#define R TLY_RESP_READ
#define F TLY_RESP_FAST
#define A TLY_RESP_ADMIN
#define S TLY_RESP_SESSION
#define U TLY_RESP_UNQUEUED
#define X TLY_RESP_ALONE
#define H TLY_RESP_HEARING
#define K TLY_RESP_ADHOC
#define L TLY_RESP_WALK

/* Sorted by name, for it is searched by halves. A module's command has no arity: CL.THROTTLE has words of its own. */
static const struct tly_resp_command commands[] = {
    {"AUTH", -2, S | F, 0, 0, tly_resp_run_auth, "Authenticates; no password is configured here.",
     "connection"},
    {"CL.THROTTLE", -1, W | F | K, 1, 1, tly_resp_run_cl_throttle,
     "Checks a token bucket: key max_burst count period [quantity].", "limit"},
    {"CLIENT", -2, S, 0, 0, tly_resp_run_client, "About this connection.", "connection"},
    {"COMMAND", -1, S, 0, 0, tly_resp_run_command, "What the server can do.", "server"},
    {"CONFIG", -2, A, 0, 0, tly_resp_run_config, "Reads settings.", "server"},
    {"DBSIZE", 1, R | F, 0, 0, tly_resp_run_dbsize, "How many keys there are.", "server"},
    {"DECR", 2, W | F, 1, 1, tly_resp_run_decr, "Takes one off a counter.", "string"},
    {"DECRBY", 3, W | F, 1, 1, tly_resp_run_decrby, "Takes a number off a counter.", "string"},
    {"DEL", -2, W, 1, -1, tly_resp_run_del, "Deletes keys.", "generic"},
    {"DISCARD", 1, S | F | U, 0, 0, tly_resp_run_discard, "Forgets what MULTI has queued.", "transactions"},
    {"ECHO", 2, S | F, 0, 0, tly_resp_run_echo, "Answers with what it was given.", "connection"},
    {"EXEC", 1, S | U, 0, 0, tly_resp_run_exec, "Runs what MULTI has queued, at once.", "transactions"},
    {"EXISTS", -2, R | F, 1, -1, tly_resp_run_exists, "How many of the keys exist.", "generic"},
    {"EXPIRE", -3, W | F, 1, 1, tly_resp_run_expire, "Sets a key's deadline, seconds from now.", "generic"},
    {"EXPIREAT", -3, W | F, 1, 1, tly_resp_run_expireat, "Sets a key's deadline, seconds since 1970.",
     "generic"},
    {"FLUSHALL", -1, W | L, 0, 0, tly_resp_run_flushdb, "Deletes all keys.", "server"},
    {"FLUSHDB", -1, W | L, 0, 0, tly_resp_run_flushdb, "Deletes all keys.", "server"},
    {"GET", 2, R | F, 1, 1, tly_resp_run_get, "Reads a key.", "string"},
    {"GETDEL", 2, W | F, 1, 1, tly_resp_run_getdel, "Reads a key and deletes it.", "string"},
    {"HELLO", -1, S | F, 0, 0, tly_resp_run_hello, "Chooses the protocol and introduces both sides.",
     "connection"},
    {"INCR", 2, W | F, 1, 1, tly_resp_run_incr, "Adds one to a counter.", "string"},
    {"INCRBY", 3, W | F, 1, 1, tly_resp_run_incrby, "Adds a number to a counter.", "string"},
    {"INFO", -1, R, 0, 0, tly_resp_run_info, "Figures about the server.", "server"},
    {"KEYS", 2, R | L, 0, 0, tly_resp_run_keys, "The keys that match a pattern, if there are few.",
     "generic"},
    {"MEMORY", -2, R, 0, 0, tly_resp_run_memory, "What a key takes in memory: USAGE key.", "server"},
    {"MGET", -2, R | F, 1, -1, tly_resp_run_mget, "Reads keys.", "string"},
    {"MULTI", 1, S | F | U, 0, 0, tly_resp_run_multi, "Queues what follows, up to EXEC.", "transactions"},
    {"PERSIST", 2, W | F, 1, 1, tly_resp_run_persist, "Lifts a key's deadline.", "generic"},
    {"PEXPIRE", -3, W | F, 1, 1, tly_resp_run_pexpire, "Sets a key's deadline, milliseconds from now.",
     "generic"},
    {"PEXPIREAT", -3, W | F, 1, 1, tly_resp_run_pexpireat, "Sets a key's deadline, milliseconds since 1970.",
     "generic"},
    {"PING", -1, S | F | H, 0, 0, tly_resp_run_ping, "Answers.", "connection"},
    {"PSETEX", 4, W, 1, 1, tly_resp_run_psetex, "Sets a key with a deadline, milliseconds from now.",
     "string"},
    {"PSUBSCRIBE", -2, S | X | H, 0, 0, tly_resp_run_psubscribe,
     "Hears of refusals on channels of a pattern.", "pubsub"},
    {"PTTL", 2, R | F, 1, 1, tly_resp_run_pttl, "Milliseconds to a key's deadline.", "generic"},
    {"PUNSUBSCRIBE", -1, S | X | H, 0, 0, tly_resp_run_punsubscribe, "Hears no more of a pattern's channels.",
     "pubsub"},
    {"QUIT", -1, S | F | U | H, 0, 0, tly_resp_run_quit, "Ends the connection.", "connection"},
    {"RESET", 1, S | F | U | H, 0, 0, tly_resp_run_reset, "Makes the connection as good as new.",
     "connection"},
    {"SCAN", -2, R, 0, 0, tly_resp_run_scan,
     "A page of the keys: cursor [MATCH pattern] [COUNT n] [TYPE type].", "generic"},
    {"SELECT", 2, S | F, 0, 0, tly_resp_run_select, "Chooses the database; there is one, 0.", "connection"},
    {"SET", -3, W, 1, 1, tly_resp_run_set, "Sets a key.", "string"},
    {"SETEX", 4, W, 1, 1, tly_resp_run_setex, "Sets a key with a deadline, seconds from now.", "string"},
    {"SUBSCRIBE", -2, S | X | H, 0, 0, tly_resp_run_subscribe, "Hears of refusals: over:LIMIT, over.",
     "pubsub"},
    {"THROTTLE", -1, W | F | K, 1, 1, tly_resp_run_throttle,
     "Checks a token bucket: key max_burst count_per_period period [quantity].", "limit"},
    {"TIME", 1, R | F, 0, 0, tly_resp_run_time, "The server's time.", "server"},
    {"TLY.ACQUIRE", -2, W | F, 0, 0, tly_resp_run_tly_reserve,
     "A lease of a limit of concurrency: limit [field value]… [HITS n] [TTL ms] [ID id].", "limit"},
    {"TLY.CANCEL", 2, W | F, 0, 0, tly_resp_run_tly_cancel, "Cancels a reservation.", "limit"},
    {"TLY.CHECK", -2, W | F, 0, 0, tly_resp_run_tly_check,
     "Checks named limits: limit [field value]… [HITS n] [AND limit …]… [CHARGE ALL].", "limit"},
    {"TLY.COMMIT", 3, W | F, 0, 0, tly_resp_run_tly_commit, "Settles a reservation: id hits.", "limit"},
    {"TLY.GETRAW", 2, R | F, 1, 1, tly_resp_run_tly_getraw, "Reads a key as plain bytes.", "string"},
    {"TLY.PEEK", -2, R | F, 0, 0, tly_resp_run_tly_peek, "Looks at a named limit without counting.", "limit"},
    {"TLY.REFUND", -2, W | F, 0, 0, tly_resp_run_tly_refund,
     "Gives back hits of a named limit: limit [field value]… [HITS n] [AT ms].", "limit"},
    {"TLY.RELEASE", 2, W | F, 0, 0, tly_resp_run_tly_cancel, "Ends a lease: id.", "limit"},
    {"TLY.RESERVE", -2, W | F, 0, 0, tly_resp_run_tly_reserve,
     "Charges hits until they are settled: limit [field value]… [HITS n] [TTL ms] [ID id].", "limit"},
    {"TLY.RESET", -2, W, 0, 0, tly_resp_run_tly_reset, "Forgets what a named limit has counted.", "limit"},
    {"TLY.SETRAW", 3, W | F, 1, 1, tly_resp_run_tly_setraw, "Sets a key from plain bytes.", "string"},
    {"TLY.TOP", -2, R | F, 0, 0, tly_resp_run_tly_top,
     "The keys at the top: HOTTEST, FULLEST or REFUSED [COUNT n].", "limit"},
    {"TLY.WHY", 2, R | F, 0, 0, tly_resp_run_tly_why, "Why a limit's key was refused the last time.",
     "limit"},
    {"TTL", 2, R | F, 1, 1, tly_resp_run_ttl, "Seconds to a key's deadline.", "generic"},
    {"TYPE", 2, R | F, 1, 1, tly_resp_run_type, "What a key holds: string, or none.", "generic"},
    {"UNLINK", -2, W | F, 1, -1, tly_resp_run_del, "Deletes keys.", "generic"},
    {"UNSUBSCRIBE", -1, S | X | H, 0, 0, tly_resp_run_unsubscribe, "Hears no more of a channel.", "pubsub"},
    {"UNWATCH", 1, S | F, 0, 0, tly_resp_run_unwatch, "Forgets the keys that are watched.", "transactions"},
    {"WAIT", 3, S | X, 0, 0, tly_resp_run_wait, "Waits until other nodes have what was written: nodes, ms.",
     "generic"},
    {"WATCH", -2, S | F | U, 1, -1, tly_resp_run_watch,
     "EXEC does nothing if one of the keys reads otherwise by then.", "transactions"},
};

const struct tly_resp_command *tly_resp_commands(size_t *count)
{
    *count = sizeof commands / sizeof *commands;
    return commands;
}

const struct tly_resp_command *tly_resp_find(struct tly_slice name)
{
    char folded[TLY_RESP_COMMAND_BYTES_MAX] = {0};
    if (name.n >= sizeof folded) return NULL;
    for (size_t i = 0; i < name.n; i++)
        folded[i] = (char)(name.p[i] >= 'a' && name.p[i] <= 'z' ? name.p[i] - 'a' + 'A' : name.p[i]);
    size_t low = 0, high = sizeof commands / sizeof *commands;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(folded, commands[middle].name, sizeof folded);
        if (order == 0) return &commands[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
