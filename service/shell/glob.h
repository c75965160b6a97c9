/* Patterns as redis has them: * ? [a-z] [^x] \c. */
#ifndef TALLY_SERVICE_SHELL_GLOB_H
#define TALLY_SERVICE_SHELL_GLOB_H

#include "crdt/dot.h"

/* Whether all of `text` fits. Takes at most pattern.n * text.n steps. */
bool tly_glob(struct tly_slice pattern, struct tly_slice text);
/* The same, letters matching whatever their case. */
bool tly_glob_fold(struct tly_slice pattern, struct tly_slice text);

#endif
