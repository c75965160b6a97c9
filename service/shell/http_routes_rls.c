/*
 * What envoyproxy/ratelimit has over HTTP: POST /json, the service for who speaks no gRPC; GET /healthcheck, /rlconfig and /stats.
 * The JSON is that of protobuf's mapping: field names in either form, numbers of 64 bits as texts, what is unknown is an error.
 */
#include "service/shell/http.h"
#include "service/shell/rls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- reading ---- */

/* Members by their names in .proto and in JSON, each with what takes its value; `into` is what its message is. */
struct member {
    const char *name, *json_name;
    bool (*take)(struct json_object *value, struct tly_rls_request *request,
                 struct tly_rls_descriptor *descriptor);
};

static bool take_members(struct json_object *object, const struct member *members,
                         struct tly_rls_request *request, struct tly_rls_descriptor *descriptor)
{
    if (!json_object_is_type(object, json_type_object)) return false;
    struct json_object_iterator at = json_object_iter_begin(object), end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *name = json_object_iter_peek_name(&at);
        struct json_object *value = json_object_iter_peek_value(&at);
        const struct member *found = members;
        while (found->name != NULL && strcmp(found->name, name) != 0 && strcmp(found->json_name, name) != 0)
            found++;
        /* A member that is null is one that is not there. */
        if (found->name == NULL || (value != NULL && !found->take(value, request, descriptor))) return false;
    }
    return true;
}

/* A number, or a text of one. */
static bool take_number(struct json_object *value, uint64_t max, uint64_t *number)
{
    struct tly_slice text;
    char digits[24], *end;
    if (tly_json_get_uint(value, max, number)) return true;
    if (!tly_json_get_text(value, &text) || text.n == 0 || text.n >= sizeof digits) return false;
    memcpy(digits, text.p, text.n);
    digits[text.n] = '\0';
    if (digits[0] < '0' || digits[0] > '9') return false;
    errno = 0;
    *number = strtoull(digits, &end, 10);
    return *end == '\0' && errno == 0 && *number <= max;
}

static bool take_key(struct json_object *value, struct tly_rls_request *request,
                     struct tly_rls_descriptor *descriptor)
{
    (void)descriptor;
    return tly_json_get_text(value, &request->entry[request->entry_count].key);
}

static bool take_entry_value(struct json_object *value, struct tly_rls_request *request,
                             struct tly_rls_descriptor *descriptor)
{
    (void)descriptor;
    return tly_json_get_text(value, &request->entry[request->entry_count].value);
}

static bool take_entries(struct json_object *value, struct tly_rls_request *request,
                         struct tly_rls_descriptor *descriptor)
{
    static const struct member members[] = {
        {"key", "key", take_key}, {"value", "value", take_entry_value}, {0}};
    if (!json_object_is_type(value, json_type_array)) return false;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        if (request->entry_count == TLY_RLS_ENTRIES_MAX) return false;
        request->entry[request->entry_count] = (struct tly_rls_entry){{0}, {0}};
        if (!take_members(json_object_array_get_idx(value, i), members, request, descriptor)) return false;
        request->entry_count++;
        descriptor->entry_count++;
    }
    return true;
}

static bool take_requests_per_unit(struct json_object *value, struct tly_rls_request *request,
                                   struct tly_rls_descriptor *descriptor)
{
    (void)request;
    uint64_t number;
    if (!take_number(value, UINT32_MAX, &number)) return false;
    descriptor->requests_per_unit = (uint32_t)number;
    return true;
}

/* By its name, exactly, or by its number. */
static bool take_unit(struct json_object *value, struct tly_rls_request *request,
                      struct tly_rls_descriptor *descriptor)
{
    (void)request;
    struct tly_slice text;
    uint64_t number;
    if (tly_json_get_uint(value, INT32_MAX, &number)) {
        descriptor->unit = (uint32_t)number;
        return true;
    }
    if (!tly_json_get_text(value, &text)) return false;
    for (uint32_t i = 0; i < TLY_RLS_UNIT_COUNT; i++) {
        if (!tly_slice_equal(text, tly_slice_text(tly_rls_unit_name((enum tly_rls_unit)i)))) continue;
        descriptor->unit = i;
        return true;
    }
    return false;
}

static bool take_limit(struct json_object *value, struct tly_rls_request *request,
                       struct tly_rls_descriptor *descriptor)
{
    static const struct member members[] = {
        {"requests_per_unit", "requestsPerUnit", take_requests_per_unit}, {"unit", "unit", take_unit}, {0}};
    descriptor->has_limit = true;
    return take_members(value, members, request, descriptor);
}

static bool take_own_hits(struct json_object *value, struct tly_rls_request *request,
                          struct tly_rls_descriptor *descriptor)
{
    (void)request;
    descriptor->has_hits = true;
    return take_number(value, UINT64_MAX, &descriptor->hits);
}

static bool take_gives_back(struct json_object *value, struct tly_rls_request *request,
                            struct tly_rls_descriptor *descriptor)
{
    (void)request;
    descriptor->gives_back = json_object_get_boolean(value) != 0;
    return json_object_is_type(value, json_type_boolean);
}

static bool take_descriptors(struct json_object *value, struct tly_rls_request *request,
                             struct tly_rls_descriptor *descriptor)
{
    static const struct member members[] = {{"entries", "entries", take_entries},
                                            {"limit", "limit", take_limit},
                                            {"hits_addend", "hitsAddend", take_own_hits},
                                            {"is_negative_hits", "isNegativeHits", take_gives_back},
                                            {0}};
    (void)descriptor;
    if (!json_object_is_type(value, json_type_array)) return false;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        if (request->descriptor_count == TLY_RLS_DESCRIPTORS_MAX) return false;
        struct tly_rls_descriptor *next = &request->descriptor[request->descriptor_count];
        *next = (struct tly_rls_descriptor){.entry = &request->entry[request->entry_count]};
        if (!take_members(json_object_array_get_idx(value, i), members, request, next)) return false;
        request->descriptor_count++;
    }
    return true;
}

static bool take_domain(struct json_object *value, struct tly_rls_request *request,
                        struct tly_rls_descriptor *descriptor)
{
    (void)descriptor;
    return tly_json_get_text(value, &request->domain);
}

static bool take_hits(struct json_object *value, struct tly_rls_request *request,
                      struct tly_rls_descriptor *descriptor)
{
    (void)descriptor;
    uint64_t number;
    if (!take_number(value, UINT32_MAX, &number)) return false;
    request->hits_addend = (uint32_t)number;
    return true;
}

static bool get_request(struct json_object *object, struct tly_rls_request *request)
{
    static const struct member members[] = {{"domain", "domain", take_domain},
                                            {"descriptors", "descriptors", take_descriptors},
                                            {"hits_addend", "hitsAddend", take_hits},
                                            {0}};
    request->domain = tly_slice_of(NULL, 0);
    request->hits_addend = 0;
    request->descriptor_count = request->entry_count = 0;
    return take_members(object, members, request, NULL);
}

/* ---- writing ---- */

static const char *code_name(enum tly_rls_code code)
{
    static const char *const names[] = {"UNKNOWN", "OK", "OVER_LIMIT"};
    return names[code];
}

static void put_status(struct tly_json *json, const struct tly_rls_status *status)
{
    char duration[24];
    tly_json_open(json, '{');
    tly_json_member_string(json, "code", code_name(status->code));
    if (status->has_limit) {
        tly_json_key(json, "currentLimit");
        tly_json_open(json, '{');
        if (status->name.n > 0) tly_json_member_text(json, "name", status->name);
        if (status->requests_per_unit > 0)
            tly_json_member_uint(json, "requestsPerUnit", status->requests_per_unit);
        tly_json_member_string(json, "unit", tly_rls_unit_name(status->unit));
        tly_json_close(json, '}');
    }
    if (status->remaining > 0) tly_json_member_uint(json, "limitRemaining", status->remaining);
    if (status->has_limit) {
        (void)snprintf(duration, sizeof duration, "%" PRIu32 "s", status->reset_s);
        tly_json_member_string(json, "durationUntilReset", duration);
    }
    tly_json_close(json, '}');
}

static void put_headers(struct tly_json *json, const char *name, const struct tly_rls_header *header,
                        size_t count)
{
    if (count == 0) return;
    tly_json_key(json, name);
    tly_json_open(json, '[');
    for (size_t i = 0; i < count; i++) {
        tly_json_open(json, '{');
        tly_json_member_string(json, "key", header[i].name);
        tly_json_member_string(json, "value", header[i].value);
        tly_json_close(json, '}');
    }
    tly_json_close(json, ']');
}

static void put_response(struct tly_exchange *x, const struct tly_rls_response *response)
{
    struct tly_json json = tly_json_of(x->body);
    tly_json_open(&json, '{');
    tly_json_member_string(&json, "overallCode", code_name(response->overall));
    tly_json_key(&json, "statuses");
    tly_json_open(&json, '[');
    for (size_t i = 0; i < response->status_count; i++)
        put_status(&json, &response->status[i]);
    tly_json_close(&json, ']');
    put_headers(&json, "responseHeadersToAdd", response->header, response->header_count);
    put_headers(&json, "requestHeadersToAdd", response->request_header, response->request_header_count);
    tly_json_close(&json, '}');
}

/* A status and its name, as the reference says it. */
static void say_status(struct tly_exchange *x, int status)
{
    x->status = status;
    x->type = TLY_HTTP_TEXT;
    tly_http_put_text(x, tly_http_reason(status));
    tly_http_put_text(x, "\n");
}

void tly_http_run_rls_json(struct tly_exchange *x)
{
    struct tly_rls *rls = tly_app_rls(x->app);
    const char *error;
    struct json_object *object = tly_json_parse(x->request, &x->body->mem, &error);
    const struct tly_rls_response *response = NULL;
    if (object != NULL && get_request(object, tly_rls_request(rls)))
        response = tly_rls_ask(rls, x->app, &error);
    if (response == NULL) {
        say_status(x, 400);
    } else {
        x->type = TLY_HTTP_JSON;
        x->status = response->overall == TLY_RLS_OVER_LIMIT ? 429
                    : response->overall == TLY_RLS_OK       ? 200
                                                            : 500;
        put_response(x, response);
    }
    (void)json_object_put(object);
}

/* ---- looking in ---- */

void tly_http_run_rls_health(struct tly_exchange *x)
{
    char reasons[1024];
    tly_app_readiness(x->app, reasons, sizeof reasons);
    x->type = TLY_HTTP_TEXT;
    x->status = reasons[0] == '\0' ? 200 : 500;
    if (x->status == 200) tly_http_put_text(x, "OK");
}

void tly_http_run_rls_config(struct tly_exchange *x)
{
    const struct tly_rls_config *config = tly_rls_config(tly_app_rls(x->app));
    x->type = TLY_HTTP_TEXT;
    if (config != NULL) tly_rls_config_dump(config, x->body);
}

/* A name may hold what clients chose; a line ends where it should. */
static void put_name(struct tly_buf *out, struct tly_slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i] < 0x20 || name.p[i] == 0x7f ? '?' : name.p[i];
        tly_buf_put(out, &c, 1);
    }
}

static void put_stat(struct tly_buf *out, struct tly_slice scope, const char *name, uint64_t number)
{
    static const char service[] = "ratelimit.service.", limit[] = "rate_limit.";
    char text[96];
    tly_buf_put(out, service, sizeof service - 1);
    if (scope.n > 0) tly_buf_put(out, limit, sizeof limit - 1);
    put_name(out, scope);
    int n = snprintf(text, sizeof text, "%s%s: %" PRIu64 "\n", scope.n > 0 ? "." : "", name, number);
    tly_buf_put(out, text, (size_t)n);
}

void tly_http_run_rls_stats(struct tly_exchange *x)
{
    const struct tly_rls *rls = tly_app_rls(x->app);
    const struct tly_rls_stats *stats;
    struct tly_rls_service_stats service;
    struct tly_slice none = {0};
    x->type = TLY_HTTP_TEXT;
    tly_rls_service_stats(rls, &service);
#define PUT(member, name) put_stat(x->body, none, name, service.member);
    TLY_RLS_SERVICE_STATS(PUT)
#undef PUT
    put_stat(x->body, none, "domain_not_found", service.domain_not_found);
    char line[96];
    int n = snprintf(line, sizeof line, "ratelimit_server.ShouldRateLimit.total_requests: %" PRIu64 "\n",
                     service.calls);
    tly_buf_put(x->body, line, (size_t)n);
    for (size_t i = 0; (stats = tly_rls_series_at(tly_rls_series(rls), i)) != NULL; i++) {
#define PUT(member) put_stat(x->body, stats->name, #member, stats->member);
        TLY_RLS_LIMIT_STATS(PUT)
#undef PUT
    }
}
