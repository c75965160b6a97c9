/*
 * The RESP door, inside: a session, the table of commands, and what its command files share.  RESP2 and RESP3, as redis
 * 7 speaks them; docs of the commands are in the table.
 */
#ifndef TALLY_SERVICE_SHELL_RESP_H
#define TALLY_SERVICE_SHELL_RESP_H

#include "service/shell/door.h"
#include "service/shell/resp_parse.h"
#include "service/shell/resp_reply.h"

/* What clients compare with to learn what a server can do. */
#define TLY_RESP_REDIS_VERSION "7.0.0"
#define TLY_RESP_NAME_BYTES_MAX 63
#define TLY_RESP_COMMAND_BYTES_MAX 16

/* Keys that one connection may watch, with ten bytes for each. */
#define TLY_RESP_WATCHED_BYTES_MAX 65536u

struct tly_resp_command;

/* A transaction, and the keys that are watched for it (resp_multi.c). Without them it holds no memory. */
struct tly_resp_multi {
    bool is_open;
    bool is_broken; /* something could not be queued: EXEC does nothing */
    bool has_walk;  /* over all keys: all of it is one turn of the loop, so there is no second */
    size_t requests;
    struct tly_buf queue, watched;
};

/* The names that one connection may subscribe to, with three bytes for each. */
#define TLY_RESP_SUBSCRIBED_BYTES_MAX 4096u

/* What a connection has subscribed to (resp_subscribe.c). Without it it holds no memory. */
struct tly_resp_subs {
    struct tly_buf list;
    size_t count; /* of channels and patterns */
    uint64_t mark;
    bool hears, has_more;
};

/* What a throttle says beside its key, read once where several that say the same stand one behind the other. */
#define TLY_RESP_TOLD_BYTES_MAX 64

struct tly_resp_throttle {
    bool is_read;
    size_t told_bytes; /* of the answer before, if it was short; 0: none */
    size_t told_at;    /* … where it begins in what there is to say, from which nothing has gone since */
    int64_t told[5];   /* its numbers */
    int64_t max_burst, count, period_s, quantity;
    struct tly_request request; /* all but the key */
};

/* One connection. */
struct tly_resp {
    struct tly_app *app;
    struct tly_client *client;
    struct tly_buf *out; /* the client's, during a call of feed */
    struct tly_resp_scan scan;
    struct tly_buf scratch; /* of the parser; holds memory during a call of feed only */
    int proto;              /* 2 or 3 */
    char name[TLY_RESP_NAME_BYTES_MAX + 1];
    char lib_name[TLY_RESP_NAME_BYTES_MAX + 1];
    char lib_version[TLY_RESP_NAME_BYTES_MAX + 1];
    uint64_t since_ns;
    const struct tly_resp_command *last; /* the command of the request before, and how it was written */
    uint8_t last_name[TLY_RESP_COMMAND_BYTES_MAX];
    size_t last_name_n;
    unsigned
        ahead; /* of the request that runs: the number of its first key in tly_engine_ahead, from 1; 0: it has none */
    bool is_again; /* the request that runs says what the one before it said, but for its first key */
    struct tly_resp_throttle *throttle; /* during a call of feed */
    struct tly_resp_multi multi;
    struct tly_resp_subs subs;
    struct tly_ack *ack; /* WAIT waits for it; NULL: there is none */
};

/* A request and its answer: arg[0] is the command's name. */
typedef void tly_resp_handler(struct tly_resp *resp, const struct tly_slice *arg, size_t count);

/* The last five: in a transaction it is done at once; in a transaction it is refused; who has subscribed may say it in RESP2 too;
   its key is one of a limit whose rate comes with the request; it walks over all keys, and what is behind it waits for the next turn. */
enum {
    TLY_RESP_WRITE = 1,
    TLY_RESP_READ = 2,
    TLY_RESP_FAST = 4,
    TLY_RESP_ADMIN = 8,
    TLY_RESP_SESSION = 16,
    TLY_RESP_UNQUEUED = 32,
    TLY_RESP_ALONE = 64,
    TLY_RESP_HEARING = 128,
    TLY_RESP_ADHOC = 256,
    TLY_RESP_WALK = 512
};

struct tly_resp_command {
    char name[TLY_RESP_COMMAND_BYTES_MAX]; /* upper case, zeros behind it */
    int8_t arity;                          /* with the name; negative: at least so many */
    uint16_t flags;
    int8_t first_key, last_key; /* 0: none; last -1: up to the end */
    tly_resp_handler *run;
    const char *summary, *group;
};

/* Sorted by name. */
const struct tly_resp_command *tly_resp_commands(size_t *count);
/* Whatever the case of its letters; NULL: no such command. */
const struct tly_resp_command *tly_resp_find(struct tly_slice name);

/* ---- for command files ---- */

/* Whether a word is `upper`, whatever the case of its letters. */
bool tly_resp_is(struct tly_slice word, const char *upper);
/* A command's name in lower case. */
void tly_resp_lower(const char *name, char lower[TLY_RESP_COMMAND_BYTES_MAX]);
/* A whole i64 in decimal, as redis reads it: no blanks, no plus sign, no leading zeros. */
bool tly_resp_get_int(struct tly_slice text, int64_t *number);
/* "-WRONGTYPE …", "-OOM …" or "-ERR …" for a result. */
void tly_resp_put_result(struct tly_resp *resp, enum tly_result result);
/* 1 when it was done, 0 when there was nothing to do it to, else the error. */
void tly_resp_put_done(struct tly_resp *resp, enum tly_result result);
void tly_resp_put_syntax_error(struct tly_resp *resp);
void tly_resp_put_not_int(struct tly_resp *resp);
/* -ERR unknown subcommand … */
void tly_resp_put_unknown(struct tly_resp *resp, const char *command, struct tly_slice subcommand);
/* The same, but to HELP, of which that tells, what there is. */
void tly_resp_put_help(struct tly_resp *resp, const char *command, struct tly_slice subcommand,
                       const char *help);
void tly_resp_put_arity(struct tly_resp *resp, const char *command);
/* Asks the engine about one key. */
enum tly_result tly_resp_ask(struct tly_resp *resp, enum tly_request_kind kind, struct tly_slice key,
                             struct tly_reply *reply) TLY_MUST_CHECK;
/* Writes what a key holds: a count in digits, text as it is, an epoch_max value as "epoch:count". */
void tly_resp_put_value(struct tly_resp *resp, const struct tly_reply *reply);

/* How a deadline is given. */
struct tly_resp_unit {
    int64_t ms;    /* of one unit */
    bool absolute; /* since 1970; otherwise from now */
};

uint64_t tly_resp_now_ms(const struct tly_resp *resp);
/* A time as ms since 1970, perhaps one that is over; false: it cannot be said in i64. Its last ms says none, and gives the one before. */
bool tly_resp_deadline(const struct tly_resp *resp, int64_t number, struct tly_resp_unit unit,
                       int64_t *deadline_ms);
void tly_resp_put_bad_expire(struct tly_resp *resp, const char *command);

/* resp_multi.c */
void tly_resp_multi_init(struct tly_resp_multi *multi, const struct tly_mem *mem);
/* Forgets the transaction and what is watched, and gives the memory back. */
void tly_resp_multi_end(struct tly_resp_multi *multi);
/* Whether a request, whose bytes these are, was queued, or refused with an error; false: it is to be run. */
bool tly_resp_multi_queue(struct tly_resp *resp, const struct tly_resp_command *command,
                          struct tly_slice request);

/* resp_subscribe.c */
void tly_resp_subs_init(struct tly_resp_subs *subs, const struct tly_mem *mem);
/* Nothing is subscribed to any more, and the memory is given back. */
void tly_resp_subs_end(struct tly_resp *resp);
/* Tells what is new; true: there is more. */
bool tly_resp_hear(struct tly_resp *resp);

/* ---- the handlers, by file ---- */

tly_resp_handler tly_resp_run_psubscribe, tly_resp_run_punsubscribe, tly_resp_run_subscribe,
    tly_resp_run_unsubscribe;

tly_resp_handler tly_resp_run_discard, tly_resp_run_exec, tly_resp_run_multi, tly_resp_run_unwatch,
    tly_resp_run_watch;

/* resp_commands_session.c */
tly_resp_handler tly_resp_run_auth, tly_resp_run_client, tly_resp_run_echo, tly_resp_run_hello,
    tly_resp_run_ping, tly_resp_run_quit, tly_resp_run_reset, tly_resp_run_select;
/* resp_commands_wait.c */
tly_resp_handler tly_resp_run_wait;
/* The answer to WAIT if it is done, or if the connection has to end; false: it waits on. */
bool tly_resp_end_wait(struct tly_resp *resp);
/* resp_commands_server.c */
tly_resp_handler tly_resp_run_command, tly_resp_run_config, tly_resp_run_dbsize, tly_resp_run_time;
/* resp_commands_info.c */
tly_resp_handler tly_resp_run_info;
/* resp_commands_counter.c */
tly_resp_handler tly_resp_run_decr, tly_resp_run_decrby, tly_resp_run_incr, tly_resp_run_incrby;
/* resp_commands_key.c */
tly_resp_handler tly_resp_run_del, tly_resp_run_exists, tly_resp_run_get, tly_resp_run_getdel,
    tly_resp_run_mget, tly_resp_run_type;
/* resp_commands_scan.c */
tly_resp_handler tly_resp_run_flushdb, tly_resp_run_keys, tly_resp_run_memory, tly_resp_run_scan;
/* resp_commands_raw.c */
tly_resp_handler tly_resp_run_tly_getraw, tly_resp_run_tly_setraw;
/* resp_commands_set.c */
tly_resp_handler tly_resp_run_psetex, tly_resp_run_set, tly_resp_run_setex;
/* resp_commands_expire.c */
tly_resp_handler tly_resp_run_expire, tly_resp_run_expireat, tly_resp_run_persist, tly_resp_run_pexpire,
    tly_resp_run_pexpireat, tly_resp_run_pttl, tly_resp_run_ttl;
/* resp_commands_throttle.c */
tly_resp_handler tly_resp_run_cl_throttle, tly_resp_run_throttle;
/* resp_commands_limit.c */
tly_resp_handler tly_resp_run_tly_check, tly_resp_run_tly_peek, tly_resp_run_tly_reset,
    tly_resp_run_tly_refund, tly_resp_run_tly_reserve, tly_resp_run_tly_commit, tly_resp_run_tly_cancel,
    tly_resp_run_tly_why, tly_resp_run_tly_top;

/* A verdict as a map; retry_after_ms is -1 when these hits can never pass. */
void tly_resp_put_verdict(struct tly_resp *resp, const struct tly_verdict *verdict, uint64_t hits);

#endif
