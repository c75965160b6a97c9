#include "service/shell/rls_message.h"

#include "service/shell/http_json.h"
#include "service/shell/http_text.h"

#include <string.h>

static const struct {
    const char *name, *lower;
    uint32_t seconds;
} units[TLY_RLS_UNIT_COUNT] = {
    [TLY_RLS_NO_UNIT] = {"UNKNOWN", "unknown", 0},  [TLY_RLS_SECOND] = {"SECOND", "second", 1},
    [TLY_RLS_MINUTE] = {"MINUTE", "minute", 60},    [TLY_RLS_HOUR] = {"HOUR", "hour", 3600},
    [TLY_RLS_DAY] = {"DAY", "day", 86400},          [TLY_RLS_MONTH] = {"MONTH", "month", 30 * 86400},
    [TLY_RLS_YEAR] = {"YEAR", "year", 365 * 86400}, [TLY_RLS_WEEK] = {"WEEK", "week", 7 * 86400},
};

const char *tly_rls_unit_name(enum tly_rls_unit unit)
{
    return units[unit].name;
}

bool tly_rls_unit_parse(struct tly_slice text, enum tly_rls_unit *unit)
{
    for (size_t i = TLY_RLS_SECOND; i < TLY_RLS_UNIT_COUNT; i++) {
        if (!tly_http_is(text, units[i].lower)) continue;
        *unit = (enum tly_rls_unit)i;
        return true;
    }
    return false;
}

uint32_t tly_rls_unit_s(enum tly_rls_unit unit)
{
    return units[unit].seconds;
}

/* ---- reading ---- */

/* A text of proto3 has to be UTF-8. */
static bool take_text(const struct tly_pb_field *field, struct tly_slice *text)
{
    *text = field->bytes;
    return tly_utf8_is_valid(field->bytes);
}

static bool get_entry(struct tly_slice message, struct tly_rls_entry *entry)
{
    struct tly_pb in = tly_pb_of(message);
    bool good = true;
    *entry = (struct tly_rls_entry){{0}, {0}};
    for (struct tly_pb_field field; good && tly_pb_next(&in, &field);) {
        if (tly_pb_is_bytes(&field, 1)) good = take_text(&field, &entry->key);
        if (tly_pb_is_bytes(&field, 2)) good = take_text(&field, &entry->value);
    }
    return good && !in.bad;
}

/* A message that comes twice is one: fields of the later one win. */
static bool get_override(struct tly_slice message, struct tly_rls_descriptor *descriptor)
{
    struct tly_pb in = tly_pb_of(message);
    descriptor->has_limit = true;
    for (struct tly_pb_field field; tly_pb_next(&in, &field);) {
        if (tly_pb_is_varint(&field, 1)) descriptor->requests_per_unit = (uint32_t)field.value;
        if (tly_pb_is_varint(&field, 2)) descriptor->unit = (uint32_t)field.value;
    }
    return !in.bad;
}

static bool get_hits(struct tly_slice message, struct tly_rls_descriptor *descriptor)
{
    struct tly_pb in = tly_pb_of(message);
    descriptor->has_hits = true;
    for (struct tly_pb_field field; tly_pb_next(&in, &field);)
        if (tly_pb_is_varint(&field, 1)) descriptor->hits = field.value;
    return !in.bad;
}

static enum tly_result add_entry(struct tly_rls_request *request, struct tly_rls_descriptor *descriptor,
                                 struct tly_slice message)
{
    if (request->entry_count == TLY_RLS_ENTRIES_MAX) return TLY_TOO_LARGE;
    if (!get_entry(message, &request->entry[request->entry_count])) return TLY_BAD_MESSAGE;
    request->entry_count++;
    descriptor->entry_count++;
    return TLY_OK;
}

static enum tly_result get_descriptor(struct tly_rls_request *request, struct tly_slice message,
                                      struct tly_rls_descriptor *descriptor)
{
    struct tly_pb in = tly_pb_of(message);
    enum tly_result result = TLY_OK;
    *descriptor = (struct tly_rls_descriptor){.entry = &request->entry[request->entry_count]};
    for (struct tly_pb_field field; result == TLY_OK && tly_pb_next(&in, &field);) {
        if (tly_pb_is_bytes(&field, 1)) result = add_entry(request, descriptor, field.bytes);
        if (tly_pb_is_bytes(&field, 2) && !get_override(field.bytes, descriptor)) result = TLY_BAD_MESSAGE;
        if (tly_pb_is_bytes(&field, 3) && !get_hits(field.bytes, descriptor)) result = TLY_BAD_MESSAGE;
        if (tly_pb_is_varint(&field, 4)) descriptor->gives_back = field.value != 0;
    }
    return in.bad ? TLY_BAD_MESSAGE : result;
}

static enum tly_result add_descriptor(struct tly_rls_request *request, struct tly_slice message)
{
    if (request->descriptor_count == TLY_RLS_DESCRIPTORS_MAX) return TLY_TOO_LARGE;
    enum tly_result result =
        get_descriptor(request, message, &request->descriptor[request->descriptor_count]);
    request->descriptor_count += result == TLY_OK;
    return result;
}

enum tly_result tly_rls_request_get(struct tly_slice message, struct tly_rls_request *request)
{
    struct tly_pb in = tly_pb_of(message);
    enum tly_result result = TLY_OK;
    request->domain = tly_slice_of(NULL, 0);
    request->hits_addend = 0;
    request->descriptor_count = request->entry_count = 0;
    for (struct tly_pb_field field; result == TLY_OK && tly_pb_next(&in, &field);) {
        if (tly_pb_is_bytes(&field, 1) && !take_text(&field, &request->domain)) result = TLY_BAD_MESSAGE;
        if (tly_pb_is_bytes(&field, 2)) result = add_descriptor(request, field.bytes);
        if (tly_pb_is_varint(&field, 3)) request->hits_addend = (uint32_t)field.value;
    }
    return in.bad ? TLY_BAD_MESSAGE : result;
}

/* ---- writing ---- */

static void put_status(struct tly_buf *out, const struct tly_rls_status *status)
{
    size_t begun = tly_pb_begin(out, 2), inner;
    tly_pb_put_varint(out, 1, status->code);
    if (status->has_limit) {
        inner = tly_pb_begin(out, 2);
        tly_pb_put_varint(out, 1, status->requests_per_unit);
        tly_pb_put_varint(out, 2, status->unit);
        if (status->name.n > 0) tly_pb_put_bytes(out, 3, status->name);
        tly_pb_end(out, inner);
    }
    tly_pb_put_varint(out, 3, status->remaining);
    if (status->has_limit) {
        inner = tly_pb_begin(out, 4);
        tly_pb_put_varint(out, 1, status->reset_s);
        tly_pb_end(out, inner);
    }
    tly_pb_end(out, begun);
}

static void put_headers(struct tly_buf *out, uint32_t number, const struct tly_rls_header *header,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t begun = tly_pb_begin(out, number);
        tly_pb_put_text(out, 1, header[i].name);
        tly_pb_put_text(out, 2, header[i].value);
        tly_pb_end(out, begun);
    }
}

void tly_rls_response_put(const struct tly_rls_response *response, struct tly_buf *out)
{
    tly_pb_put_varint(out, 1, response->overall);
    for (size_t i = 0; i < response->status_count; i++)
        put_status(out, &response->status[i]);
    put_headers(out, 3, response->header, response->header_count);
    put_headers(out, 4, response->request_header, response->request_header_count);
}
