/*
 * The one list of outcomes.  Every fallible function returns one of these and every caller looks at it.
 * TLY_MORE is no error: it says that the bytes so far are a proper beginning.  Text for people comes from
 * tly_result_text(); programs use tly_result_name(), which never changes once released.
 */
#ifndef TALLY_CRDT_RESULT_H
#define TALLY_CRDT_RESULT_H

/* X(NAME, stable name, sentence) */
#define TLY_RESULTS(X)                                                                                       \
    X(OK, "ok", "done")                                                                                      \
    X(MORE, "more", "more bytes are needed")                                                                 \
    X(NOMEM, "no_memory", "out of memory")                                                                   \
    X(FULL, "full", "there is no room for it: memory_max, or another ceiling, is reached")                   \
    X(NOT_FOUND, "not_found", "no such key")                                                                 \
    X(BAD_KEY, "bad_key", "a key has 1 to 512 bytes")                                                        \
    X(NO_STRATEGY, "no_strategy", "no strategy registered for key")                                          \
    X(WRONG_STRATEGY, "wrong_strategy", "the key's prefix has a strategy that does not take this operation") \
    X(PREFIX_TAKEN, "prefix_taken", "the prefix is registered with another strategy")                        \
    X(BAD_PREFIX, "bad_prefix", "a prefix has at most 64 bytes and at most 256 can be registered")           \
    X(BAD_PAYLOAD, "bad_payload", "the payload is not of the strategy's form")                               \
    X(TOO_LARGE, "too_large", "larger than the limit for its kind")                                          \
    X(VALUE_TOO_LARGE, "value_too_large", "a value has at most 65536 bytes")                                 \
    X(BAD_RAW, "bad_raw", "an epoch_max value has 16 bytes: epoch and count, big-endian")                    \
    X(FRONTIER_FULL, "frontier_full", "the key holds 64 concurrent values; write a higher one or delete it") \
    X(OVERFLOW, "overflow", "increment or decrement would overflow")                                         \
    X(CLOCK_END, "clock_end", "the clock has reached its last value")                                        \
    X(CLOCK_AHEAD, "clock_ahead", "a version lies further in the future than max_skew allows")               \
    X(STALE, "stale", "at or below the mark and not here: dropped")                                          \
    X(BAD_FRAME, "bad_frame", "the frame is malformed")                                                      \
    X(BAD_CHECKSUM, "bad_checksum", "the frame's checksum does not fit its bytes")                           \
    X(BAD_MESSAGE, "bad_message", "the message body is malformed")                                           \
    X(UNKNOWN_FRAME, "unknown_frame", "a frame of an unknown type that is not marked ignorable")             \
    X(READ_ONLY, "read_only", "keys under sys: and rl: are kept by tallyd itself")                           \
    X(BAD_RULE, "bad_rule", "the limit's parameters are not valid")                                          \
    X(NO_LIMIT, "no_limit", "no limit of that name")                                                         \
    X(BAD_ID, "bad_id", "an id has 1 to 64 printable characters without spaces")                             \
    X(NO_HOLD, "no_reservation", "this node has no reservation or lease of that id")                         \
    X(IN_FLIGHT, "in_flight", "what may be in flight at once is acquired and released, and not counted")     \
    X(OWN_LIFE, "own_life", "forged: a dot of this node's own life that is not here")                        \
    X(IO, "io", "the operating system reported an error")                                                    \
    X(NO_PREFIX, "no_prefix", "no such prefix is registered")                                                \
    X(NO_SUCH_STRATEGY, "no_such_strategy", "there is no strategy of that name")                             \
    X(PREFIX_BUILT_IN, "prefix_built_in", "the prefix is one of those that every node has")                  \
    X(PREFIX_HELD, "prefix_held", "a change of the prefix cannot be read: tallyctl prefix list says which")  \
    X(UNAPPROVED, "unapproved", "keys would be lost: that needs the approval of what they are now")          \
    X(APPROVAL_STALE, "approval_stale", "it is no longer what was approved")                                 \
    X(PREFIXES_NEST, "prefixes_nest", "one of these prefixes begins with another: one after the other")      \
    X(BUSY, "busy", "a snapshot is on its way to the disk: again in a moment")                               \
    X(NO_RIGHTS, "no_rights", "this node lacks the rights to that, or cannot tell yet: again in a moment")

enum tly_result {
#define TLY_RESULT_ENUM(name, word, text) TLY_##name,
    TLY_RESULTS(TLY_RESULT_ENUM)
#undef TLY_RESULT_ENUM
        TLY_RESULT_COUNT
};

#if defined(__GNUC__)
#define TLY_MUST_CHECK __attribute__((warn_unused_result))
#else
#define TLY_MUST_CHECK
#endif

/* The stable word for a result, such as "no_strategy"; "unknown" for a number that is none. */
const char *tly_result_name(enum tly_result result);

/* One sentence for people, without a full stop. */
const char *tly_result_text(enum tly_result result);

#endif
