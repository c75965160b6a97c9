#include "service/shell/grpc_files.h"

#include "wire/protobuf.h"

#include <stdio.h>
#include <string.h>

/*
 * A row: FILE (its package as type), NEEDS (another file), MESSAGE, ENUM and SERVICE up to their END, and what stands in them: FIELD and
 * MANY (repeated), VALUE of an enumeration, METHOD (its input; the output is in the row behind it, OUTPUT, with what is a stream as
 * number: 1 the answers, 3 both).
 */
enum kind { FILE_ROW, NEEDS, MESSAGE, ENUM, SERVICE, FIELD, MANY, VALUE, METHOD, OUTPUT, END };

struct row {
    enum kind kind;
    const char *name;
    int number;
    const char *type;
};

#define DEPTH_MAX 4
#define EXT "envoy/extensions/common/ratelimit/v3/ratelimit.proto"
#define REFLECTION(version)                                                                                \
    {FILE_ROW, "grpc/reflection/" version "/reflection.proto", 0, "grpc.reflection." version},             \
        {MESSAGE, "ServerReflectionRequest", 0, NULL}, {FIELD, "host", 1, "string"},                       \
        {FIELD, "file_by_filename", 3, "string"}, {FIELD, "file_containing_symbol", 4, "string"},          \
        {FIELD, "list_services", 7, "string"}, {END, "", 0, NULL},                                         \
        {MESSAGE, "ServerReflectionResponse", 0, NULL}, {FIELD, "valid_host", 1, "string"},                \
        {FIELD, "original_request", 2, ".grpc.reflection." version ".ServerReflectionRequest"},            \
        {FIELD, "file_descriptor_response", 4, ".grpc.reflection." version ".FileDescriptorResponse"},     \
        {FIELD, "list_services_response", 6, ".grpc.reflection." version ".ListServiceResponse"},          \
        {FIELD, "error_response", 7, ".grpc.reflection." version ".ErrorResponse"}, {END, "", 0, NULL},    \
        {MESSAGE, "FileDescriptorResponse", 0, NULL}, {MANY, "file_descriptor_proto", 1, "bytes"},         \
        {END, "", 0, NULL}, {MESSAGE, "ListServiceResponse", 0, NULL},                                     \
        {MANY, "service", 1, ".grpc.reflection." version ".ServiceResponse"}, {END, "", 0, NULL},          \
        {MESSAGE, "ServiceResponse", 0, NULL}, {FIELD, "name", 1, "string"}, {END, "", 0, NULL},           \
        {MESSAGE, "ErrorResponse", 0, NULL}, {FIELD, "error_code", 1, "int32"},                            \
        {FIELD, "error_message", 2, "string"}, {END, "", 0, NULL}, {SERVICE, "ServerReflection", 0, NULL}, \
        {METHOD, "ServerReflectionInfo", 0, ".grpc.reflection." version ".ServerReflectionRequest"},       \
        {OUTPUT, "", 3, ".grpc.reflection." version ".ServerReflectionResponse"},                          \
    {                                                                                                      \
        END, "", 0, NULL                                                                                   \
    }

/* clang-format off */
static const struct row rows[] = {
    {FILE_ROW, "google/protobuf/duration.proto", 0, "google.protobuf"},
    {MESSAGE, "Duration", 0, NULL},
        {FIELD, "seconds", 1, "int64"},
        {FIELD, "nanos", 2, "int32"},
    {END, "", 0, NULL},
    {FILE_ROW, "google/protobuf/wrappers.proto", 0, "google.protobuf"},
    {MESSAGE, "UInt64Value", 0, NULL},
        {FIELD, "value", 1, "uint64"},
    {END, "", 0, NULL},
    {FILE_ROW, "envoy/config/core/v3/base.proto", 0, "envoy.config.core.v3"},
    {MESSAGE, "HeaderValue", 0, NULL},
        {FIELD, "key", 1, "string"},
        {FIELD, "value", 2, "string"},
    {END, "", 0, NULL},
    {FILE_ROW, "envoy/type/v3/ratelimit_unit.proto", 0, "envoy.type.v3"},
    {ENUM, "RateLimitUnit", 0, NULL},
        {VALUE, "UNKNOWN", 0, NULL}, {VALUE, "SECOND", 1, NULL}, {VALUE, "MINUTE", 2, NULL}, {VALUE, "HOUR", 3, NULL},
        {VALUE, "DAY", 4, NULL}, {VALUE, "MONTH", 5, NULL}, {VALUE, "YEAR", 6, NULL}, {VALUE, "WEEK", 7, NULL},
    {END, "", 0, NULL},
    {FILE_ROW, EXT, 0, "envoy.extensions.common.ratelimit.v3"},
    {NEEDS, "google/protobuf/wrappers.proto", 0, NULL},
    {NEEDS, "envoy/type/v3/ratelimit_unit.proto", 0, NULL},
    {MESSAGE, "RateLimitDescriptor", 0, NULL},
        {MESSAGE, "Entry", 0, NULL},
            {FIELD, "key", 1, "string"},
            {FIELD, "value", 2, "string"},
        {END, "", 0, NULL},
        {MESSAGE, "RateLimitOverride", 0, NULL},
            {FIELD, "requests_per_unit", 1, "uint32"},
            {FIELD, "unit", 2, "=.envoy.type.v3.RateLimitUnit"},
        {END, "", 0, NULL},
        {MANY, "entries", 1, ".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry"},
        {FIELD, "limit", 2, ".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.RateLimitOverride"},
        {FIELD, "hits_addend", 3, ".google.protobuf.UInt64Value"},
        {FIELD, "is_negative_hits", 4, "bool"},
    {END, "", 0, NULL},
    {FILE_ROW, "envoy/service/ratelimit/v3/rls.proto", 0, "envoy.service.ratelimit.v3"},
    {NEEDS, "google/protobuf/duration.proto", 0, NULL},
    {NEEDS, "envoy/config/core/v3/base.proto", 0, NULL},
    {NEEDS, EXT, 0, NULL},
    {MESSAGE, "RateLimitRequest", 0, NULL},
        {FIELD, "domain", 1, "string"},
        {MANY, "descriptors", 2, ".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor"},
        {FIELD, "hits_addend", 3, "uint32"},
    {END, "", 0, NULL},
    {MESSAGE, "RateLimitResponse", 0, NULL},
        {ENUM, "Code", 0, NULL},
            {VALUE, "UNKNOWN", 0, NULL}, {VALUE, "OK", 1, NULL}, {VALUE, "OVER_LIMIT", 2, NULL},
        {END, "", 0, NULL},
        {MESSAGE, "RateLimit", 0, NULL},
            {ENUM, "Unit", 0, NULL},
                {VALUE, "UNKNOWN", 0, NULL}, {VALUE, "SECOND", 1, NULL}, {VALUE, "MINUTE", 2, NULL},
                {VALUE, "HOUR", 3, NULL}, {VALUE, "DAY", 4, NULL}, {VALUE, "MONTH", 5, NULL},
                {VALUE, "YEAR", 6, NULL}, {VALUE, "WEEK", 7, NULL},
            {END, "", 0, NULL},
            {FIELD, "requests_per_unit", 1, "uint32"},
            {FIELD, "unit", 2, "=.envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit"},
            {FIELD, "name", 3, "string"},
        {END, "", 0, NULL},
        {MESSAGE, "DescriptorStatus", 0, NULL},
            {FIELD, "code", 1, "=.envoy.service.ratelimit.v3.RateLimitResponse.Code"},
            {FIELD, "current_limit", 2, ".envoy.service.ratelimit.v3.RateLimitResponse.RateLimit"},
            {FIELD, "limit_remaining", 3, "uint32"},
            {FIELD, "duration_until_reset", 4, ".google.protobuf.Duration"},
        {END, "", 0, NULL},
        {FIELD, "overall_code", 1, "=.envoy.service.ratelimit.v3.RateLimitResponse.Code"},
        {MANY, "statuses", 2, ".envoy.service.ratelimit.v3.RateLimitResponse.DescriptorStatus"},
        {MANY, "response_headers_to_add", 3, ".envoy.config.core.v3.HeaderValue"},
        {MANY, "request_headers_to_add", 4, ".envoy.config.core.v3.HeaderValue"},
    {END, "", 0, NULL},
    {SERVICE, "RateLimitService", 0, NULL},
        {METHOD, "ShouldRateLimit", 0, ".envoy.service.ratelimit.v3.RateLimitRequest"},
        {OUTPUT, "", 0, ".envoy.service.ratelimit.v3.RateLimitResponse"},
    {END, "", 0, NULL},
    {FILE_ROW, "grpc/health/v1/health.proto", 0, "grpc.health.v1"},
    {MESSAGE, "HealthCheckRequest", 0, NULL},
        {FIELD, "service", 1, "string"},
    {END, "", 0, NULL},
    {MESSAGE, "HealthCheckResponse", 0, NULL},
        {ENUM, "ServingStatus", 0, NULL},
            {VALUE, "UNKNOWN", 0, NULL}, {VALUE, "SERVING", 1, NULL}, {VALUE, "NOT_SERVING", 2, NULL},
            {VALUE, "SERVICE_UNKNOWN", 3, NULL},
        {END, "", 0, NULL},
        {FIELD, "status", 1, "=.grpc.health.v1.HealthCheckResponse.ServingStatus"},
    {END, "", 0, NULL},
    {SERVICE, "Health", 0, NULL},
        {METHOD, "Check", 0, ".grpc.health.v1.HealthCheckRequest"},
        {OUTPUT, "", 0, ".grpc.health.v1.HealthCheckResponse"},
        {METHOD, "Watch", 0, ".grpc.health.v1.HealthCheckRequest"},
        {OUTPUT, "", 1, ".grpc.health.v1.HealthCheckResponse"},
    {END, "", 0, NULL},
    REFLECTION("v1"),
    REFLECTION("v1alpha"),
};
/* clang-format on */

#define ROWS (sizeof rows / sizeof rows[0])

static bool opens(const struct row *row)
{
    return row->kind == MESSAGE || row->kind == ENUM || row->kind == SERVICE;
}

/* The first row behind the file that begins there. */
static size_t end_of(size_t file)
{
    size_t i = file + 1;
    while (i < ROWS && rows[i].kind != FILE_ROW)
        i++;
    return i;
}

/* ---- writing ---- */

/* google.protobuf.FieldDescriptorProto.Type; what is not plain is a message, or with '=' an enumeration. */
static unsigned type_number(const char *type)
{
    static const struct {
        const char *name;
        unsigned number;
    } types[] = {{"int64", 3},  {"uint64", 4}, {"int32", 5},  {"bool", 8},
                 {"string", 9}, {"bytes", 12}, {"uint32", 13}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, type) == 0) return types[i].number;
    return type[0] == '=' ? 14 : 11;
}

static void put_field(struct tly_buf *out, const struct row *row)
{
    size_t begun = tly_pb_begin(out, 2);
    unsigned type = type_number(row->type);
    tly_pb_put_text(out, 1, row->name);
    tly_pb_put_varint(out, 3, (uint64_t)row->number);
    tly_pb_put_varint(out, 4, row->kind == MANY ? 3 : 1);
    tly_pb_put_varint(out, 5, type);
    if (type == 11 || type == 14) tly_pb_put_text(out, 6, row->type + (type == 14));
    tly_pb_end(out, begun);
}

static void put_value(struct tly_buf *out, const struct row *row)
{
    size_t begun = tly_pb_begin(out, 2);
    tly_pb_put_text(out, 1, row->name);
    tly_pb_put_varint(out, 2, (uint64_t)row->number);
    tly_pb_end(out, begun);
}

/* Behind it stands its output. */
static void put_method(struct tly_buf *out, const struct row *row)
{
    size_t begun = tly_pb_begin(out, 2);
    tly_pb_put_text(out, 1, row->name);
    tly_pb_put_text(out, 2, row->type);
    tly_pb_put_text(out, 3, row[1].type);
    tly_pb_put_varint(out, 5, (row[1].number & 2) != 0);
    tly_pb_put_varint(out, 6, (row[1].number & 1) != 0);
    tly_pb_end(out, begun);
}

/* What opens in a file is a field of other numbers than what opens in a message. */
static uint32_t number_of(const struct row *row, size_t depth)
{
    if (row->kind == SERVICE) return 6;
    if (row->kind == ENUM) return depth == 0 ? 5 : 4;
    return depth == 0 ? 4 : 3;
}

static void put_file(struct tly_buf *out, size_t file)
{
    size_t open[DEPTH_MAX], depth = 0;
    tly_pb_put_text(out, 1, rows[file].name);
    tly_pb_put_text(out, 2, rows[file].type);
    for (size_t i = file + 1; i < end_of(file); i++) {
        const struct row *row = &rows[i];
        if (opens(row)) {
            open[depth] = tly_pb_begin(out, number_of(row, depth));
            depth++;
            tly_pb_put_text(out, 1, row->name);
        }
        if (row->kind == END && depth > 0) tly_pb_end(out, open[--depth]);
        if (row->kind == NEEDS) tly_pb_put_text(out, 3, row->name);
        if (row->kind == FIELD || row->kind == MANY) put_field(out, row);
        if (row->kind == VALUE) put_value(out, row);
        if (row->kind == METHOD) put_method(out, row);
    }
    tly_pb_put_text(out, 12, "proto3");
}

/* ---- finding ---- */

bool tly_grpc_file_named(struct tly_slice name, struct tly_buf *out)
{
    for (size_t i = 0; i < ROWS; i = end_of(i)) {
        if (!tly_slice_equal(tly_slice_text(rows[i].name), name)) continue;
        put_file(out, i);
        return true;
    }
    return false;
}

/* Takes "NAME" from the front, and a dot behind it. */
static bool takes(struct tly_slice *symbol, const char *name)
{
    struct tly_slice front = tly_slice_text(name);
    if (!tly_slice_begins(*symbol, front)) return false;
    size_t n = front.n;
    if (symbol->n > n && symbol->p[n] != '.') return false;
    n += symbol->n > n;
    *symbol = tly_slice_of(symbol->p + n, symbol->n - n);
    return true;
}

static size_t behind(size_t i)
{
    size_t depth = 0;
    do {
        depth += opens(&rows[i]);
        depth -= rows[i].kind == END;
        i++;
    } while (depth > 0);
    return i;
}

static bool has_symbol(size_t file, struct tly_slice symbol)
{
    size_t i = file + 1, end = end_of(file);
    if (!takes(&symbol, rows[file].type)) return false;
    while (i < end && symbol.n > 0) {
        bool is_named = opens(&rows[i]) || rows[i].kind == METHOD;
        if (is_named && takes(&symbol, rows[i].name))
            i++;
        else if (rows[i].kind == END)
            return false;
        else
            i = behind(i);
    }
    return i < end && symbol.n == 0 && i > file + 1;
}

bool tly_grpc_file_with(struct tly_slice symbol, struct tly_buf *out)
{
    for (size_t i = 0; i < ROWS; i = end_of(i)) {
        if (!has_symbol(i, symbol)) continue;
        put_file(out, i);
        return true;
    }
    return false;
}

bool tly_grpc_service_at(size_t i, char *name, size_t size)
{
    const char *package = "";
    for (size_t at = 0; at < ROWS; at++) {
        if (rows[at].kind == FILE_ROW) package = rows[at].type;
        if (rows[at].kind != SERVICE || i-- > 0) continue;
        (void)snprintf(name, size, "%s.%s", package, rows[at].name);
        return true;
    }
    return false;
}
