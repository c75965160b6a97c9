/*
 * Lines of access logs: the common and the combined format, and JSON, one object a line, as nginx, Caddy and others write it.
 * Whatever a line says can be a field of a limit's key; what every request has is called ip, user, method, path, host and agent.
 */
#ifndef TALLY_TOOLS_TALLYCTL_ACCESSLOG_H
#define TALLY_TOOLS_TALLYCTL_ACCESSLOG_H

#include "service/engine/rule.h"

#include <json-c/json.h>

#define TLY_CTL_LOG_FIELDS_MAX 64

/* One request. Its texts lie in the line, or in the object. */
struct tly_ctl_logged {
    uint64_t at_ms; /* since 1970 */
    long status;    /* 0: not said */
    struct tly_field field[TLY_CTL_LOG_FIELDS_MAX];
    size_t field_count;
    struct json_object *object; /* NULL: the line was no JSON */
};

/* Reads a line, which has a 0 behind it. False: it is none of these formats, or says no time. To be done with in either case. */
bool tly_ctl_log_read(struct tly_slice line, struct tly_ctl_logged *out);
void tly_ctl_log_done(struct tly_ctl_logged *logged);

#endif
