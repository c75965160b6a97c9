/*
 * Changes of many steps.  Each writes an intent, makes new files only, is published by one replacement of MANIFEST, which lists
 * its id, gets its row in the audit log, and removes the intent.
 *
 *     intent written --- new files --- MANIFEST lists the id --- row --- intent removed --- id off the list
 *     |<--------- not published ------------->|<--------------- published ----------------------->|
 *
 * Whatever stops one midway, the same classifier decides later, at the start and at the next write of a running node:
 *
 *     the audit log has its row     it was done but for removing the intent: that is done
 *     MANIFEST lists it             it is published: row "done", intent removed
 *     neither                       it never was: row "discarded", intent removed; its files are those that MANIFEST does not
 *                                   name, and go as all such do (store_snapshot.h)
 *     there is no MANIFEST          the files alone are the state: row "unknown", intent removed
 *     it cannot be read, or is of   kept, named, told, and the prefixes that its name says are refused: what was meant to become
 *     a newer version               of them is not known.  Whoever can read it finishes it
 *
 * An object is DIR/intent/<ULID>, followed by ".<hash>" for each prefix that it is about, so that what cannot be read still says whom
 * it concerns.  Its content is one frame of the wire (type HELLO), the body a msgpack array:
 *
 *     "tally intent"   format version   id   kind   ms since 1970   actor   [ prefix, ... ]
 */
#ifndef TALLY_SERVICE_SHELL_INTENT_H
#define TALLY_SERVICE_SHELL_INTENT_H

#include "crdt/registry.h"
#include "service/shell/manifest.h"

#define TLY_INTENT_FORMAT 1
#define TLY_INTENT_DIRECTORY "intent"
#define TLY_INTENT_PREFIXES_MAX 8
#define TLY_INTENT_ACTOR_MAX 64
#define TLY_INTENTS_KEPT_MAX 16

/* X(NAME, word). A number is never used again. */
#define TLY_CHANGES(X)         \
    X(COMPACT, 1, "compact")   \
    X(INSTALL, 2, "install")   \
    X(REGISTER, 3, "register") \
    X(DROP, 4, "drop")         \
    X(MIGRATE, 5, "migrate")   \
    X(BATCH, 6, "batch")

enum tly_change_kind {
#define TLY_CHANGE_ENUM(name, number, word) TLY_CHANGE_##name = (number),
    TLY_CHANGES(TLY_CHANGE_ENUM)
#undef TLY_CHANGE_ENUM
};

const char *tly_change_word(enum tly_change_kind kind);

/* A value. */
struct tly_intent {
    char id[TLY_CHANGE_ID_BYTES];
    enum tly_change_kind kind;
    uint64_t at_ms;
    char actor[TLY_INTENT_ACTOR_MAX + 1];
    uint8_t prefixes[TLY_INTENT_PREFIXES_MAX][TLY_PREFIX_BYTES_MAX];
    uint8_t prefix_bytes[TLY_INTENT_PREFIXES_MAX];
    size_t prefix_count;
};

/* With a new id, of this moment. */
struct tly_intent tly_intent_of(enum tly_change_kind kind, const char *actor);
/* False: too long, or one too many. */
bool tly_intent_add_prefix(struct tly_intent *intent, struct tly_slice prefix) TLY_MUST_CHECK;
struct tly_slice tly_intent_prefix(const struct tly_intent *intent, size_t i);

/* Durable with TLY_OK; otherwise tried again by calling it again, or it is there all the same. */
enum tly_result tly_intent_write(struct tly_storage *storage, const struct tly_intent *intent) TLY_MUST_CHECK;
/* Its row, then its end. With a failure there is something left for tly_intents_heal. */
enum tly_result tly_intent_finish(struct tly_storage *storage, const struct tly_intent *intent,
                                  const char *outcome) TLY_MUST_CHECK;

/* One that is kept. */
struct tly_kept_intent {
    char name[TLY_STORAGE_NAME_MAX + 1];
    char why[200]; /* what is wrong with it */
};

/* What tly_intents_heal came to. A value. */
struct tly_healed {
    size_t finished, discarded;
    size_t left;        /* known how, and a row or a removal failed: call it again later */
    char left_why[200]; /* the last of these */
    struct tly_kept_intent kept[TLY_INTENTS_KEPT_MAX];
    size_t kept_count; /* may be more than are listed */
};

/* Whether a kept one is about this prefix. */
bool tly_kept_intent_is_about(const struct tly_kept_intent *kept, struct tly_slice prefix);

/*
 * Looks at every intent but `live`, the id of one under way ("": none). Ids whose intents are gone leave the manifest, which is not
 * saved. TLY_IO, TLY_NOMEM: what there is could not be found out, or, without a MANIFEST, not be written down.
 */
enum tly_result tly_intents_heal(struct tly_storage *storage, struct tly_manifest *manifest, const char *live,
                                 struct tly_healed *healed) TLY_MUST_CHECK;

#endif
