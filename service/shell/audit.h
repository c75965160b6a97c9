/*
 * The audit log, DIR/audit.log: one line of JSON for each change of many steps, written when its outcome is known.
 *
 *     {"id":"01J...","at_ms":1700000000000,"kind":"drop","prefixes":["kv:"],"actor":"admin","outcome":"done"}
 *
 * A row is there once, however often it is added.  A line that a crash left without its end is cut off first.
 */
#ifndef TALLY_SERVICE_SHELL_AUDIT_H
#define TALLY_SERVICE_SHELL_AUDIT_H

#include "service/shell/storage.h"
#include "wire/buf.h"

#define TLY_AUDIT_NAME "audit.log"

struct tly_intent;

/* Whether a change has its row. TLY_IO, TLY_NOMEM. */
enum tly_result tly_audit_find(struct tly_storage *storage, const char *id, bool *found) TLY_MUST_CHECK;
/* Durable with TLY_OK, otherwise tried again by calling it again. */
enum tly_result tly_audit_add(struct tly_storage *storage, const struct tly_intent *intent,
                              const char *outcome) TLY_MUST_CHECK;

/* Appends a JSON string, quotes and all; bytes that are no printable ASCII as \u00xx. */
void tly_audit_put_text(struct tly_buf *out, struct tly_slice text);

#endif
