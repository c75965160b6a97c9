/* What a plain word of YAML 1.1 stands for, as Go's yaml.v2 reads it. */
#ifndef TALLY_SERVICE_SHELL_RLS_YAML_WORD_H
#define TALLY_SERVICE_SHELL_RLS_YAML_WORD_H

#include "crdt/dot.h"

enum tly_yaml_word {
    TLY_YAML_TRUE,
    TLY_YAML_FALSE,
    TLY_YAML_NULL,
    TLY_YAML_INT,
    TLY_YAML_FLOAT,
    TLY_YAML_TEXT
};

enum tly_yaml_word tly_yaml_word(struct tly_slice text);
/* "!!bool", … */
const char *tly_yaml_word_tag(enum tly_yaml_word word);
/* The number of a TLY_YAML_INT; false: it does not fit. */
bool tly_yaml_int(struct tly_slice text, int64_t *number);

#endif
