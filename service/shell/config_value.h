/*
 * Kinds of values that settings have: how each is read from text, kept in its member of struct tly_config, and written back.
 */
#ifndef TALLY_SERVICE_SHELL_CONFIG_VALUE_H
#define TALLY_SERVICE_SHELL_CONFIG_VALUE_H

#include "service/shell/config.h"

enum tly_value_kind {
    TLY_VALUE_LISTEN,  /* where a door listens */
    TLY_VALUE_ADDRESS, /* what somebody dials: a port that is not 0 */
    TLY_VALUE_NAME,    /* letters, digits and some signs */
    TLY_VALUE_TEXT,    /* any but an empty one; "none": "" */
    TLY_VALUE_SECRET,  /* never shown */
    TLY_VALUE_WORD,    /* an enum */
    TLY_VALUE_NUMBER,
    TLY_VALUE_BYTES,   /* "512m" */
    TLY_VALUE_SECONDS, /* kept as milliseconds */
    TLY_VALUE_OWN      /* with functions of its own, which are given all of the config */
};

struct tly_setting {
    const char *key, *expected; /* expected: said when a value cannot be taken */
    enum tly_value_kind kind;
    size_t offset, size; /* of the member */
    bool may_be_nothing; /* 0 bytes for no limit, an empty address */
    bool may_be_unix;    /* a socket in a directory, of a door */
    uint64_t least, most;
    const char *const *words; /* by number, ended by NULL */
    bool (*set)(struct tly_config *config, const char *value);
    void (*get)(const struct tly_config *config, char *value, size_t size);
};

/* False: the value cannot be taken, and config is as it was. */
bool tly_value_set(const struct tly_setting *setting, struct tly_config *config, const char *value);
void tly_value_get(const struct tly_setting *setting, const struct tly_config *config, char *value,
                   size_t size);
bool tly_value_is_address(const char *text);

#endif
