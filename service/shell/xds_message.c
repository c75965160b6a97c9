#include "service/shell/xds_message.h"

#include "service/shell/http_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define INVALID_ARGUMENT 3

/* ---- requests ---- */

/* google.protobuf.Struct of texts. */
static void put_metadata(const char *text, struct tly_buf *out)
{
    size_t all = tly_pb_begin(out, 3);
    while (*text != '\0') {
        size_t n = strcspn(text, ","), key = strcspn(text, "=,");
        if (key < n) {
            size_t entry = tly_pb_begin(out, 1);
            tly_pb_put_bytes(out, 1, tly_slice_of(text, key));
            size_t value = tly_pb_begin(out, 2);
            tly_pb_put_bytes(out, 3, tly_slice_of(text + key + 1, n - key - 1));
            tly_pb_end(out, value);
            tly_pb_end(out, entry);
        }
        text += n + (text[n] == ',');
    }
    tly_pb_end(out, all);
}

static void put_slice(struct tly_buf *out, uint32_t number, struct tly_slice text)
{
    if (text.n > 0) tly_pb_put_bytes(out, number, text);
}

void tly_xds_request_put(const struct tly_xds_request *request, struct tly_buf *out)
{
    put_slice(out, 1, request->version);
    size_t node = tly_pb_begin(out, 2);
    tly_pb_put_text(out, 1, request->node_id);
    if (request->metadata[0] != '\0') put_metadata(request->metadata, out);
    tly_pb_end(out, node);
    tly_pb_put_text(out, 4, TLY_XDS_TYPE);
    put_slice(out, 5, request->nonce);
    if (request->error == NULL) return;
    size_t status = tly_pb_begin(out, 6);
    tly_pb_put_varint(out, 1, INVALID_ARGUMENT);
    tly_pb_put_text(out, 2, request->error);
    tly_pb_end(out, status);
}

/* ---- responses ---- */

bool tly_xds_response_get(struct tly_slice bytes, struct tly_xds_response *response)
{
    *response = (struct tly_xds_response){.bytes = bytes};
    struct tly_pb in = tly_pb_of(bytes);
    for (struct tly_pb_field field; tly_pb_next(&in, &field);) {
        if (tly_pb_is_bytes(&field, 1)) response->version = field.bytes;
        if (tly_pb_is_bytes(&field, 4)) response->type_url = field.bytes;
        if (tly_pb_is_bytes(&field, 5)) response->nonce = field.bytes;
    }
    return !in.bad;
}

/* Where a configuration is read from: the resource that is read, and whether it is malformed. */
struct reader {
    struct tly_rls_config *config;
    struct tly_rls_error *error;
    char name[128]; /* of the resource, for errors */
    bool bad;
};

static void take_text(struct reader *reader, const struct tly_pb_field *field, struct tly_slice *to)
{
    *to = field->bytes;
    if (!tly_utf8_is_valid(field->bytes)) reader->bad = true;
}

static void set_unit(struct tly_rls_spec *spec, uint64_t number)
{
    static const char *const names[] = {"UNKNOWN", "SECOND", "MINUTE", "HOUR",
                                        "DAY",     "MONTH",  "YEAR",   "WEEK"};
    bool is_known = number < sizeof names / sizeof names[0];
    spec->unit = tly_slice_text(is_known ? names[number] : "of a number that is none");
}

static bool get_replace(struct reader *reader, struct tly_slice message, struct tly_rls_spec *spec)
{
    struct tly_slice name = {0};
    struct tly_pb in = tly_pb_of(message);
    for (struct tly_pb_field field; tly_pb_next(&in, &field);)
        if (tly_pb_is_bytes(&field, 1)) take_text(reader, &field, &name);
    if (spec->replaces_count == TLY_RLS_REPLACES_MAX) return false;
    spec->replaces[spec->replaces_count++] = name;
    reader->bad = reader->bad || in.bad;
    return true;
}

/* False: it replaces too many. */
static bool get_policy(struct reader *reader, struct tly_slice message, struct tly_rls_spec *spec)
{
    bool fits = true;
    struct tly_pb in = tly_pb_of(message);
    if (!spec->has_limit) set_unit(spec, 0);
    spec->has_limit = true;
    for (struct tly_pb_field field; fits && tly_pb_next(&in, &field);) {
        if (tly_pb_is_varint(&field, 1)) set_unit(spec, (uint32_t)field.value);
        if (tly_pb_is_varint(&field, 2)) spec->requests_per_unit = (uint32_t)field.value;
        if (tly_pb_is_varint(&field, 3)) spec->unlimited = field.value != 0;
        if (tly_pb_is_bytes(&field, 4)) take_text(reader, &field, &spec->name);
        if (tly_pb_is_bytes(&field, 5)) fits = get_replace(reader, field.bytes, spec);
    }
    reader->bad = reader->bad || in.bad;
    return fits;
}

static bool is_fine(struct reader *reader)
{
    if (reader->bad && reader->error->text[0] == '\0')
        (void)tly_rls_error_set(reader->error, reader->name, "proto: cannot parse invalid wire-format data");
    return reader->error->text[0] == '\0';
}

static bool get_descriptors(struct reader *reader, struct tly_slice message, uint32_t number,
                            struct tly_rls_node *parent);

/* Bounded in depth, for what is too deep cannot be added. */
static bool get_descriptor(struct reader *reader, struct tly_slice message, struct tly_rls_node *parent)
{
    struct tly_rls_spec spec = {.key = {0}};
    bool fits = true;
    struct tly_pb in = tly_pb_of(message);
    for (struct tly_pb_field field; fits && tly_pb_next(&in, &field);) {
        if (tly_pb_is_bytes(&field, 1)) take_text(reader, &field, &spec.key);
        if (tly_pb_is_bytes(&field, 2)) take_text(reader, &field, &spec.value);
        if (tly_pb_is_bytes(&field, 3)) fits = get_policy(reader, field.bytes, &spec);
        if (tly_pb_is_varint(&field, 5)) spec.shadow = field.value != 0;
        if (tly_pb_is_varint(&field, 6)) spec.detailed = field.value != 0;
        if (tly_pb_is_varint(&field, 7)) spec.quota = field.value != 0;
    }
    reader->bad = reader->bad || in.bad;
    if (!fits)
        (void)tly_rls_error_set(reader->error, reader->name, "more than %d replaces", TLY_RLS_REPLACES_MAX);
    if (!is_fine(reader)) return false;
    struct tly_rls_node *node =
        tly_rls_config_add(reader->config, reader->name, parent, &spec, reader->error);
    return node != NULL && get_descriptors(reader, message, 4, node);
}

static bool get_descriptors(struct reader *reader, struct tly_slice message, uint32_t number,
                            struct tly_rls_node *parent)
{
    struct tly_pb in = tly_pb_of(message);
    for (struct tly_pb_field field; tly_pb_next(&in, &field);)
        if (tly_pb_is_bytes(&field, number) && !get_descriptor(reader, field.bytes, parent)) return false;
    return true;
}

static bool get_domain(struct reader *reader, struct tly_slice message, bool merges)
{
    struct tly_slice name = {0}, domain = {0};
    struct tly_pb in = tly_pb_of(message);
    for (struct tly_pb_field field; tly_pb_next(&in, &field);) {
        if (tly_pb_is_bytes(&field, 1)) take_text(reader, &field, &name);
        if (tly_pb_is_bytes(&field, 2)) take_text(reader, &field, &domain);
    }
    reader->bad = reader->bad || in.bad;
    (void)snprintf(reader->name, sizeof reader->name, "%.*s", (int)(name.n < 100 ? name.n : 100),
                   name.n > 0 ? (const char *)name.p : "");
    if (!is_fine(reader)) return false;
    struct tly_rls_node *node =
        tly_rls_config_domain(reader->config, reader->name, domain, merges, reader->error);
    return node != NULL && get_descriptors(reader, message, 3, node);
}

/* google.protobuf.Any */
static bool get_resource(struct reader *reader, struct tly_slice message, bool merges)
{
    struct tly_slice type = {0}, value = {0};
    struct tly_pb in = tly_pb_of(message);
    (void)snprintf(reader->name, sizeof reader->name, "resource");
    for (struct tly_pb_field field; tly_pb_next(&in, &field);) {
        if (tly_pb_is_bytes(&field, 1)) take_text(reader, &field, &type);
        if (tly_pb_is_bytes(&field, 2)) value = field.bytes;
    }
    reader->bad = reader->bad || in.bad;
    if (!is_fine(reader)) return false;
    if (tly_slice_equal(type, tly_slice_text(TLY_XDS_TYPE))) return get_domain(reader, value, merges);
    (void)tly_rls_error_set(reader->error, reader->name, "mismatched message type: got \"%.*s\" want \"%s\"",
                            (int)(type.n < 128 ? type.n : 128), type.n > 0 ? (const char *)type.p : "",
                            TLY_XDS_TYPE);
    return false;
}

static bool get_resources(struct reader *reader, const struct tly_xds_response *response, bool merges)
{
    size_t count = 0;
    struct tly_pb in = tly_pb_of(response->bytes);
    for (struct tly_pb_field field; tly_pb_next(&in, &field);) {
        if (!tly_pb_is_bytes(&field, 2)) continue;
        if (count++ == TLY_XDS_RESOURCES_MAX) {
            (void)tly_rls_error_set(reader->error, "resources", "more than %d of them",
                                    TLY_XDS_RESOURCES_MAX);
            return false;
        }
        if (!get_resource(reader, field.bytes, merges)) return false;
    }
    reader->bad = in.bad;
    return is_fine(reader);
}

struct tly_rls_config *tly_xds_response_config(const struct tly_xds_response *response, bool merges,
                                               const struct tly_mem *mem, struct tly_rls_error *error)
{
    struct reader reader = {.config = tly_rls_config_new(mem), .error = error, .name = "response"};
    error->text[0] = '\0';
    if (reader.config == NULL) return tly_rls_error_set(error, "response", "out of memory");
    if (get_resources(&reader, response, merges)) return reader.config;
    tly_rls_config_free(reader.config);
    return NULL;
}
