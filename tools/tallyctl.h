/*
 * What the parts of tallyctl share.
 *
 *     tallyctl.c           the command line, help, and which verb runs
 *     tallyctl_args.c      the words and options behind a verb
 *     tallyctl_http.c      one request, one bounded answer
 *     tallyctl_show.c      answers for people: tables, durations, problems
 *     tallyctl_verbs.c     get, incr, forget
 *     tallyctl_check.c     check, reserve, acquire and what settles them, refund, reset
 *     tallyctl_node.c      status, peers
 *     tallyctl_doctor.c    doctor
 *     tallyctl_limit.c     limit
 *     tallyctl_watch.c     watch
 *     tallyctl_follow.c    follow
 *     tallyctl_json.c      text that nobody has checked into JSON
 *     tallyctl_history.c   a history as JSON: reading and writing
 *     tallyctl_fold.c      fold: histories through the real core
 *     tallyctl_archive.c   dots in files and in memory
 *     tallyctl_store.c     the data directory of a node that is stopped
 *     tallyctl_stopped.c   store check, dump, repair, compact
 *     tallyctl_backup.c    backup, restore
 *     tallyctl_export.c    export, apply
 *     tallyctl_diff.c      diff
 *     tallyctl_explain.c   explain
 *     tallyctl_edit.c      get -o, update
 *     tallyctl_prefix.c    prefix
 *     tallyctl_replay.c    replay
 *     tallyctl_why.c       why, top
 *     tallyctl_accesslog.c lines of access logs
 */
#ifndef TALLY_TOOLS_TALLYCTL_H
#define TALLY_TOOLS_TALLYCTL_H

#include "crdt/strategy.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

#define TLY_CTL_SERVER "http://127.0.0.1:7380"
/* Of an answer, and of a line that fold reads. */
#define TLY_CTL_BYTES_MAX (16u << 20)
#define TLY_CTL_OPTIONS_MAX 8

/* The exit status. */
enum tly_ctl_exit {
    TLY_CTL_DONE = 0,       /* for check: admitted */
    TLY_CTL_NO = 1,         /* refused, not found, the server said no, or an input that is wrong */
    TLY_CTL_USAGE = 2,      /* the command line */
    TLY_CTL_UNREACHABLE = 3 /* no answer, or none that can be read */
};

/* What stands before the verb. */
struct tly_ctl {
    const char *server;
    bool json;
    bool help; /* the verb is only to be told about */
};

/* ---- the command line ---- */

struct tly_ctl_option {
    const char *name;  /* without its dashes; NULL ends the list */
    const char *value; /* what to call its value; NULL: a switch */
    char letter;       /* -o is --name too; 0: no letter is */
};

/* What stands behind the verb; borrows from argv. A switch that was given has the value "". */
struct tly_ctl_args {
    char **words;
    size_t count;
    const char *option[TLY_CTL_OPTIONS_MAX]; /* in the order of the verb's list; NULL: not given */
};

struct tly_ctl_verb {
    const char *name;
    const char *synopsis; /* what follows the name */
    const char *summary;
    const char *text; /* for help VERB */
    size_t words_min, words_max;
    enum tly_ctl_exit (*run)(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
    struct tly_ctl_option options[TLY_CTL_OPTIONS_MAX];
};

/*
 * Sorts argv into words and options; --json, -j, --help and -s SERVER are some of every verb. A word that begins with "--" is an option,
 * so is a letter that the verb has, and "--" ends them, so that negative numbers are words. False: it was said on stderr what is wrong.
 */
bool tly_ctl_parse(struct tly_ctl *ctl, const struct tly_ctl_verb *verb, char **argv,
                   struct tly_ctl_args *args);

/* False: the text is no whole number from least to most. */
bool tly_ctl_number(const char *text, int64_t least, int64_t most, int64_t *out);

/* "tallyctl: …" on stderr, on one line; control bytes are shown as '?'. */
void tly_ctl_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with a pointer to help VERB; TLY_CTL_USAGE. */
enum tly_ctl_exit tly_ctl_misused(const char *verb, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- asking a server ---- */

/* FAILED: who asked says why. */
enum tly_ctl_taken { TLY_CTL_MORE, TLY_CTL_ENOUGH, TLY_CTL_FAILED };

struct tly_ctl_request {
    const char *method;
    const char *path;
    struct json_object *body; /* NULL: none */
    struct tly_slice bytes;   /* another kind of body; p NULL: none */
    /* Takes the body of an answer that says yes, as it comes; all but MORE ends the exchange. NULL: it is JSON, and is kept. */
    enum tly_ctl_taken (*take)(void *context, struct tly_slice bytes);
    void *context;
    bool is_endless; /* the answer: nothing may come for as long as it likes */
};

struct tly_ctl_answer {
    long status;
    struct json_object *json; /* an object or an array; to be released with json_object_put */
};

/*
 * TLY_CTL_DONE: there is an answer, whatever its status. TLY_CTL_NO: `take` has FAILED.
 * TLY_CTL_UNREACHABLE: it was said on stderr why there is none.
 */
enum tly_ctl_exit tly_ctl_ask(const struct tly_ctl *ctl, const struct tly_ctl_request *request,
                              struct tly_ctl_answer *answer);
/* "/v1/counters/" and a key, as a path; to be freed. NULL: no memory. */
char *tly_ctl_key_path(const char *prefix, const char *key);

/* Asks with a `take`; an answer that says no goes to stderr. TLY_CTL_DONE: enough was taken, or all. */
enum tly_ctl_exit tly_ctl_ask_and_take(const struct tly_ctl *ctl, const struct tly_ctl_request *request);

/* Shows an answer that says yes. */
typedef enum tly_ctl_exit tly_ctl_show(struct json_object *json);
/* Asks, and shows the answer as JSON or for people; a problem goes to stderr. */
enum tly_ctl_exit tly_ctl_ask_and_show(const struct tly_ctl *ctl, const struct tly_ctl_request *request,
                                       tly_ctl_show *show);

/* ---- JSON ---- */

/*
 * Reads the one JSON value that text holds. A byte behind the text must be readable and 0. json-c's null is NULL too, so
 * the result is told apart. False: error, of size bytes, says at which byte, and what is wrong.
 */
bool tly_ctl_json(struct tly_slice text, struct json_object **out, char *error, size_t size);

/* Takes the value over. False: no memory. */
bool tly_ctl_add(struct json_object *object, const char *name, struct json_object *value);
/* Text as `name`, what is no UTF-8 as name_base64. */
bool tly_ctl_add_text(struct json_object *object, const char *name, struct tly_slice text);

/* ---- showing ---- */

/* Whether the server did what was asked; if not, its problem is on stderr. */
bool tly_ctl_accepted(const struct tly_ctl_answer *answer);
/* The answer's JSON on one line of stdout. */
void tly_ctl_print_json(struct json_object *json);

/* A member of an object; "", 0 or false when there is none. The text borrows. */
const char *tly_ctl_text(struct json_object *object, const char *name);
int64_t tly_ctl_int(struct json_object *object, const char *name);
bool tly_ctl_is_true(struct json_object *object, const char *name);

bool tly_ctl_is_control(char c);
/* Text on stdout; control bytes are shown as '?'. */
void tly_ctl_print_plain(const char *text);
/* Cells of text in columns; control bytes are shown as '?'. `cells` are rows * columns and may be NULL for "-". */
void tly_ctl_table(FILE *out, const char *const *cells, size_t rows, size_t columns);
/* "850 us", "1.25 s", "3 h 2 min" in `text` of size bytes. */
void tly_ctl_duration(double seconds, char *text, size_t size);
/* "2026-11-28T01:44:23.000000007Z" of ns since 1970. */
#define TLY_CTL_TIME_BYTES 40
void tly_ctl_time(uint64_t ns, char *text, size_t size);
/* Bytes of others for a terminal: control bytes and what is no ASCII as \xHH. */
void tly_ctl_printable(struct tly_slice bytes, char *text, size_t size);
/* "512 B", "3.4 MiB". */
void tly_ctl_bytes(double bytes, char *text, size_t size);

/* ---- verbs ---- */

enum tly_ctl_exit tly_ctl_status(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_doctor(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_peers(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_get(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_forget(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_incr(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_check(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_reserve(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_commit(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_cancel(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_acquire(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_release(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_refund(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_reset(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_limit(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_why(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_top(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_replay(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_export(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_apply(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_backup(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_restore(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_store(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_diff(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_explain(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
/* get with -o: keys, and all that begin as a word before its '*', into a file. */
enum tly_ctl_exit tly_ctl_get_keys(const struct tly_ctl *ctl, const struct tly_ctl_args *args,
                                   const char *path);
enum tly_ctl_exit tly_ctl_update(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_watch(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_follow(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_prefix(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
enum tly_ctl_exit tly_ctl_fold(const struct tly_ctl *ctl, const struct tly_ctl_args *args);

#endif
