/*
 * The messages of Envoy's rate limit service (envoy.service.ratelimit.v3), read into views of the frame that brought them and written
 * straight into a buffer.  Numbers of fields are those of the published .proto files.
 *
 * How much one request may ask is bounded before anything is kept of it: a request is a fixed block, and what does not fit into it is
 * TLY_TOO_LARGE.
 */
#ifndef TALLY_SERVICE_SHELL_RLS_MESSAGE_H
#define TALLY_SERVICE_SHELL_RLS_MESSAGE_H

#include "wire/protobuf.h"

#define TLY_RLS_DESCRIPTORS_MAX 128
#define TLY_RLS_ENTRIES_MAX 1024 /* of all descriptors of a request */
#define TLY_RLS_HEADERS_MAX 8

enum tly_rls_code { TLY_RLS_UNKNOWN, TLY_RLS_OK, TLY_RLS_OVER_LIMIT };

enum tly_rls_unit {
    TLY_RLS_NO_UNIT,
    TLY_RLS_SECOND,
    TLY_RLS_MINUTE,
    TLY_RLS_HOUR,
    TLY_RLS_DAY,
    TLY_RLS_MONTH,
    TLY_RLS_YEAR,
    TLY_RLS_WEEK,
    TLY_RLS_UNIT_COUNT
};

/* "SECOND", …; "UNKNOWN" for no unit. */
const char *tly_rls_unit_name(enum tly_rls_unit unit);
/* In any case of letters; false: there is none of that name, or it is "unknown". */
bool tly_rls_unit_parse(struct tly_slice text, enum tly_rls_unit *unit);
/* Its seconds; a month has 30 days and a year 365. 0: of no unit. */
uint32_t tly_rls_unit_s(enum tly_rls_unit unit);

struct tly_rls_entry {
    struct tly_slice key, value;
};

struct tly_rls_descriptor {
    const struct tly_rls_entry *entry;
    size_t entry_count;
    bool has_limit; /* the caller brings its own: */
    uint32_t requests_per_unit;
    uint32_t unit; /* as it came, perhaps none that there is */
    bool has_hits, gives_back;
    uint64_t hits;
};

struct tly_rls_request {
    struct tly_slice domain;
    uint32_t hits_addend;
    size_t descriptor_count, entry_count;
    struct tly_rls_descriptor descriptor[TLY_RLS_DESCRIPTORS_MAX];
    struct tly_rls_entry entry[TLY_RLS_ENTRIES_MAX];
};

/* TLY_OK; TLY_BAD_MESSAGE: it is malformed; TLY_TOO_LARGE. */
enum tly_result tly_rls_request_get(struct tly_slice message, struct tly_rls_request *request) TLY_MUST_CHECK;

struct tly_rls_status {
    enum tly_rls_code code;
    bool has_limit;
    uint32_t requests_per_unit;
    enum tly_rls_unit unit;
    struct tly_slice name; /* of the limit; often empty */
    uint32_t remaining;
    uint32_t reset_s; /* with a limit */
};

struct tly_rls_header {
    const char *name;
    char value[24];
};

struct tly_rls_response {
    enum tly_rls_code overall;
    size_t status_count, header_count, request_header_count;
    struct tly_rls_status status[TLY_RLS_DESCRIPTORS_MAX];
    struct tly_rls_header header[TLY_RLS_HEADERS_MAX]; /* for the answer to whoever sent the request */
    struct tly_rls_header request_header[TLY_RLS_HEADERS_MAX]; /* for the request itself */
};

void tly_rls_response_put(const struct tly_rls_response *response, struct tly_buf *out);

#endif
