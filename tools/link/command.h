/*
 * What a link can be told, as text: on its command line, in its script and on its control socket.
 *
 *     set rate|delay|jitter|queue VALUE     cut rst|fin|blackhole          after up|down BYTES rst|fin|blackhole
 *     clog [up|down]   release [up|down]    close   open                   stats   quit
 *
 * "up" is from who dials to the target, "down" the way back; without either, both. VALUE may be UP/DOWN.
 */
#ifndef TALLY_TOOLS_LINK_COMMAND_H
#define TALLY_TOOLS_LINK_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Directions, as places in arrays of two. */
enum { TLY_LINK_UP, TLY_LINK_DOWN, TLY_LINK_WAYS };

enum tly_link_verb {
    TLY_LINK_SET,
    TLY_LINK_CUT,
    TLY_LINK_AFTER,
    TLY_LINK_CLOG,
    TLY_LINK_RELEASE,
    TLY_LINK_CLOSE,
    TLY_LINK_OPEN,
    TLY_LINK_STATS,
    TLY_LINK_QUIT
};

/* rst: both ends are reset. fin: both ends see an orderly end, and what was on its way is lost. blackhole: both stay open, and
   nothing ever arrives again. */
enum tly_link_end { TLY_LINK_RST, TLY_LINK_FIN, TLY_LINK_BLACKHOLE };

enum tly_link_what { TLY_LINK_RATE, TLY_LINK_DELAY, TLY_LINK_JITTER, TLY_LINK_QUEUE, TLY_LINK_WHATS };

struct tly_link_command {
    enum tly_link_verb verb;
    bool way[TLY_LINK_WAYS];       /* clog, release; of after exactly one */
    enum tly_link_end end;         /* cut, after */
    enum tly_link_what what;       /* set */
    uint64_t value[TLY_LINK_WAYS]; /* set: bits per second, ns or bytes; after: bytes, in value[0] */
};

/* NULL, or what was expected instead. */
const char *tly_link_command_parse(const char *text, struct tly_link_command *command);

/* "256k", "1.5M" bits per second, "100ms", "2s", "500us", "16k" bytes (k and M: thousand and million), or two of
   them, UP/DOWN. NULL, or what was expected. */
const char *tly_link_value_parse(enum tly_link_what what, const char *text, uint64_t value[TLY_LINK_WAYS]);

/* A time as above, in ns. */
bool tly_link_time_parse(const char *text, uint64_t *ns);

#endif
