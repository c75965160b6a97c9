/*
 * The limits of a running node, from two places: the file (-f), which is read again on SIGHUP and whenever it has changed, and the key
 * config:limits, whose value is such a file with nothing but `limits`, and which every node of the cluster takes over within a second of hearing of it.  A limit
 * that both define is as the key says.
 *
 * Each is read aside and the table swapped whole; what cannot be read changes nothing, is logged with its line, and counted.  With the file all is
 * read as at the next start, so what would fail then is refused now, and settings that would be others then are named.
 */
#ifndef TALLY_SERVICE_SHELL_RELOAD_H
#define TALLY_SERVICE_SHELL_RELOAD_H

#include "service/shell/config.h"

#define TLY_RELOAD_KEY "config:limits"

struct event_base;
struct tly_reload;

struct tly_reload_stats {
    uint64_t taken, refused;    /* how often either source was read again */
    bool good;                  /* the last time of each it could be read */
    bool key_never_good;        /* it was not at the start, nor since: none of its limits is in force */
    uint64_t taken_at_s;        /* when a table was last taken over, s since 1970; 0: only at the start */
    size_t from_file, from_key; /* limits */
};

struct tly_reload_config {
    struct event_base *base;
    struct tly_log *log;
    struct tly_engine *engine;       /* its rules are those of the file */
    const struct tly_config *config; /* what the node runs with */
    const struct tly_config_sources
        *sources; /* of that; read again from where they are, but for the options, which are copied */
};

/* Takes over what the key says already. NULL: no memory. */
struct tly_reload *tly_reload_new(const struct tly_reload_config *config);
void tly_reload_free(struct tly_reload *reload);
/* Reads the file again. */
void tly_reload_file(struct tly_reload *reload);
void tly_reload_stats(const struct tly_reload *reload, struct tly_reload_stats *stats);

#endif
