#include "service/shell/rls.h"

#include "service/shell/rls_key.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of metrics and keys of counters are written here. */
#define SCRATCH_BYTES_MAX (128u * 1024u)

/* A descriptor, as far as it has come. */
struct judged {
    struct tly_rls_match match;
    struct tly_rls_limit own;          /* that the descriptor brought itself */
    const struct tly_rls_limit *limit; /* NULL: none, it was replaced, or it is unlimited */
    struct tly_rls_stats *stats;
    bool unlimited, quota;
};

struct tly_rls {
    struct tly_mem mem;
    struct tly_rls_settings settings;
    struct tly_rls_config *config;
    struct tly_rls_series *series;
    struct tly_rls_service_stats stats;
    struct tly_buf scratch;
    struct tly_rls_stats nobody; /* what has no name is counted here */
    struct tly_rls_request request;
    struct tly_rls_response response;
    struct judged judged[TLY_RLS_DESCRIPTORS_MAX];
};

void tly_rls_settings_init(struct tly_rls_settings *settings)
{
    *settings = (struct tly_rls_settings){
        .headers = {false, "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"},
        .request_headers = {false, "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"},
        .near_ratio = 0.8f,
    };
}

struct tly_rls *tly_rls_new(const struct tly_mem *mem, const struct tly_rls_settings *settings)
{
    struct tly_hash_key key;
    arc4random_buf(&key, sizeof key);
    struct tly_rls *rls = tly_mem_zeroed(mem, sizeof *rls);
    if (rls == NULL) return NULL;
    rls->mem = *mem;
    rls->settings = *settings;
    tly_buf_init(&rls->scratch, mem, SCRATCH_BYTES_MAX);
    rls->series = tly_rls_series_new(mem, &key);
    if (rls->series == NULL) {
        tly_rls_free(rls);
        return NULL;
    }
    return rls;
}

void tly_rls_free(struct tly_rls *rls)
{
    if (rls == NULL) return;
    struct tly_mem mem = rls->mem;
    tly_rls_config_free(rls->config);
    tly_rls_series_free(rls->series);
    tly_buf_fini(&rls->scratch);
    tly_mem_free(&mem, rls, sizeof *rls);
}

/* The counters whose name is in scratch. */
static struct tly_rls_stats *stats_named(struct tly_rls *rls)
{
    struct tly_rls_stats *stats = NULL;
    if (rls->scratch.result == TLY_OK) {
        tly_rls_stats_clean(rls->scratch.p, rls->scratch.n);
        stats = tly_rls_series_need(rls->series, tly_buf_slice(&rls->scratch));
    }
    return stats != NULL ? stats : &rls->nobody;
}

void tly_rls_use(struct tly_rls *rls, struct tly_rls_config *config)
{
    struct tly_rls_limit *limit;
    if (config == NULL) {
        rls->stats.config_load_error++;
        return;
    }
    for (size_t i = 0; (limit = tly_rls_config_limit_at(config, i)) != NULL; i++) {
        tly_buf_clear(&rls->scratch);
        tly_buf_put(&rls->scratch, limit->full_key.p, limit->full_key.n);
        limit->stats = stats_named(rls);
    }
    tly_rls_config_free(rls->config);
    rls->config = config;
    rls->stats.config_load_success++;
}

const struct tly_rls_config *tly_rls_config(const struct tly_rls *rls)
{
    return rls->config;
}

const struct tly_rls_series *tly_rls_series(const struct tly_rls *rls)
{
    return rls->series;
}

void tly_rls_service_stats(const struct tly_rls *rls, struct tly_rls_service_stats *stats)
{
    *stats = rls->stats;
    stats->unnamed = rls->nobody.total_hits;
}

void tly_rls_count_call(struct tly_rls *rls)
{
    rls->stats.calls++;
}

struct tly_rls_request *tly_rls_request(struct tly_rls *rls)
{
    return &rls->request;
}

/* ---- which limits ---- */

/* The limit that a descriptor brings; false: it has no unit, so it is none. */
static bool use_override(struct tly_rls *rls, const struct tly_rls_descriptor *descriptor,
                         struct judged *judged)
{
    if (descriptor->unit == TLY_RLS_NO_UNIT || descriptor->unit >= TLY_RLS_UNIT_COUNT) return false;
    enum tly_rls_unit unit = (enum tly_rls_unit)descriptor->unit;
    judged->own = (struct tly_rls_limit){
        .requests_per_unit = descriptor->requests_per_unit,
        .unit = unit,
        .rate = {.limit = tly_rls_counted_units(descriptor->requests_per_unit),
                 .window_ms = (uint64_t)tly_rls_unit_s(unit) * 1000,
                 .algorithm = TLY_FIXED_WINDOW},
    };
    tly_buf_clear(&rls->scratch);
    tly_rls_override_metric_put(rls->request.domain, descriptor, &rls->scratch);
    judged->limit = &judged->own;
    judged->stats = stats_named(rls);
    return true;
}

static void use_found(struct tly_rls *rls, const struct tly_rls_descriptor *descriptor, struct judged *judged)
{
    const struct tly_rls_limit *limit = judged->match.limit;
    judged->limit = limit;
    if (limit == NULL) return;
    judged->unlimited = limit->unlimited;
    judged->stats = limit->stats;
    if (judged->match.is_metric_plain || limit->unlimited) return;
    tly_buf_clear(&rls->scratch);
    tly_rls_metric_put(&judged->match, rls->request.domain, descriptor, &rls->scratch);
    judged->stats = stats_named(rls);
}

static bool find_limit(struct tly_rls *rls, size_t i)
{
    const struct tly_rls_descriptor *descriptor = &rls->request.descriptor[i];
    struct judged *judged = &rls->judged[i];
    judged->limit = NULL;
    judged->unlimited = false;
    tly_rls_config_find(rls->config, rls->request.domain, descriptor, &judged->match);
    rls->stats.domain_not_found += !judged->match.is_domain_known;
    if (judged->match.is_domain_known && descriptor->has_limit) {
        judged->match.has_shared = false;
        if (!use_override(rls, descriptor, judged)) return false;
    } else {
        use_found(rls, descriptor, judged);
    }
    judged->quota = rls->settings.quota || (judged->limit != NULL && judged->limit->quota);
    return true;
}

static bool is_replaced(const struct tly_rls *rls, struct tly_slice name)
{
    for (size_t i = 0; i < rls->request.descriptor_count; i++) {
        const struct tly_rls_limit *limit = rls->judged[i].limit;
        for (size_t j = 0; limit != NULL && j < limit->replaces_count; j++)
            if (tly_slice_equal(limit->replaces[j], name)) return true;
    }
    return false;
}

/* All replacements are known before one is taken out: those that are replaced replace others all the same. */
static void drop_replaced(struct tly_rls *rls)
{
    bool drop[TLY_RLS_DESCRIPTORS_MAX];
    for (size_t i = 0; i < rls->request.descriptor_count; i++) {
        const struct tly_rls_limit *limit = rls->judged[i].limit;
        drop[i] = limit != NULL && !limit->unlimited && limit->name.n > 0 && is_replaced(rls, limit->name);
    }
    for (size_t i = 0; i < rls->request.descriptor_count; i++)
        if (drop[i] || rls->judged[i].unlimited) rls->judged[i].limit = NULL;
}

/* ---- charging ---- */

/* The count of a limit before and after these hits. */
struct counted {
    bool over;
    uint64_t before, after, remaining, reset_ms;
};

static enum tly_charging charging_of(const struct tly_rls_limit *limit,
                                     const struct tly_rls_descriptor *descriptor)
{
    if (descriptor->gives_back) return TLY_GIVE_BACK;
    return limit->spares_refused ? TLY_CHARGE_ADMITTED : TLY_CHARGE_ALL;
}

static enum tly_result charge(struct tly_rls *rls, struct tly_app *app, size_t i, uint32_t hits,
                              struct counted *counted)
{
    const struct judged *judged = &rls->judged[i];
    const struct tly_rls_descriptor *descriptor = &rls->request.descriptor[i];
    uint8_t key[TLY_KEY_BYTES_MAX];
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_CHECK,
        .check = {.rate = judged->limit->rate,
                  .hits = hits,
                  .charging = charging_of(judged->limit, descriptor)},
    };
    request.check.key = tly_rls_key(rls->settings.prefix, rls->request.domain, descriptor,
                                    judged->match.has_shared ? judged->match.shared : NULL, key);
    enum tly_result result = tly_app_ask(app, &request, &reply);
    if (result != TLY_OK) return result;
    const struct tly_verdict *verdict = &reply.verdict;
    bool has_crossed = hits == 0 && verdict->used > verdict->limit;
    counted->over = verdict->code == TLY_CODE_OVER || has_crossed;
    counted->after = verdict->used;
    counted->before = descriptor->gives_back || verdict->used < hits ? verdict->used : verdict->used - hits;
    /* Of what is refused and not counted, smaller requests may take what is left. */
    bool has_rest = !counted->over || judged->limit->spares_refused;
    counted->remaining = has_rest ? verdict->remaining : 0;
    counted->reset_ms = verdict->reset_ms;
    return TLY_OK;
}

/* A limit of nothing refuses all, whether that could be counted or not; what was counted is what a look at it is refused for. */
static void refuse_all(struct tly_rls *rls, struct tly_app *app, size_t i, uint32_t hits,
                       struct counted *counted)
{
    bool counts = !rls->judged[i].limit->spares_refused && charge(rls, app, i, hits, counted) == TLY_OK;
    if (!counts) *counted = (struct counted){.after = hits};
    counted->over = hits == 0 ? counted->after > 0 : !rls->request.descriptor[i].gives_back;
    counted->remaining = 0;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Which of the hits were over the limit, and which near to it. */
static void measure(const struct tly_rls *rls, const struct judged *judged, const struct counted *counted,
                    uint32_t hits)
{
    struct tly_rls_stats *stats = judged->stats;
    uint64_t limit = judged->limit->requests_per_unit;
    uint64_t near = (uint64_t)floorf((float)limit * rls->settings.near_ratio);
    if (!counted->over) {
        stats->within_limit += hits;
        if (counted->after > near)
            stats->near_limit += counted->before >= near ? hits : counted->after - near;
        return;
    }
    uint64_t over = hits;
    if (counted->before < limit && counted->after > limit) {
        over = counted->after - limit;
        stats->near_limit += limit - max_u64(near < limit ? near : limit, counted->before);
    }
    stats->over_limit += over;
    if (judged->limit->shadow) stats->shadow_mode += over;
}

static uint32_t hits_of(const struct tly_rls_request *request, const struct tly_rls_descriptor *descriptor)
{
    if (!descriptor->has_hits) return request->hits_addend > 0 ? request->hits_addend : 1;
    return descriptor->hits > UINT32_MAX ? UINT32_MAX : (uint32_t)descriptor->hits;
}

/* Seconds to the end of a window that is aligned to the epoch; of what the reference has not, until nothing of it is used. */
static uint32_t reset_of(const struct tly_rate *rate, const struct counted *counted, uint64_t now_s)
{
    if (rate->algorithm != TLY_FIXED_WINDOW) return (uint32_t)((counted->reset_ms + 999) / 1000);
    uint64_t window_s = rate->window_ms < 1000 ? 1 : rate->window_ms / 1000;
    return (uint32_t)(window_s - now_s % window_s);
}

static uint32_t clamp_u32(uint64_t number)
{
    return number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

static enum tly_result decide(struct tly_rls *rls, struct tly_app *app, size_t i, uint64_t now_s)
{
    const struct judged *judged = &rls->judged[i];
    struct tly_rls_status *status = &rls->response.status[i];
    *status = (struct tly_rls_status){.code = TLY_RLS_OK};
    if (judged->unlimited) status->remaining = UINT32_MAX;
    if (judged->limit == NULL) return TLY_OK;
    const struct tly_rls_descriptor *descriptor = &rls->request.descriptor[i];
    uint32_t hits = hits_of(&rls->request, descriptor);
    struct counted counted;
    enum tly_result result = TLY_OK;
    if (judged->limit->requests_per_unit == 0)
        refuse_all(rls, app, i, hits, &counted);
    else
        result = charge(rls, app, i, hits, &counted);
    if (result != TLY_OK) return result;
    if (!descriptor->gives_back) {
        judged->stats->total_hits += hits;
        measure(rls, judged, &counted, hits);
    }
    *status = (struct tly_rls_status){
        .code = counted.over && !judged->limit->shadow ? TLY_RLS_OVER_LIMIT : TLY_RLS_OK,
        .has_limit = true,
        .requests_per_unit = judged->limit->requests_per_unit,
        .unit = judged->limit->unit,
        .name = judged->limit->name,
        .remaining = clamp_u32(counted.remaining),
        .reset_s = reset_of(&judged->limit->rate, &counted, now_s),
    };
    return TLY_OK;
}

/* ---- the answer ---- */

static void add_header(struct tly_rls_header *header, const char *name, uint32_t value)
{
    header->name = name;
    (void)snprintf(header->value, sizeof header->value, "%" PRIu32, value);
}

static size_t put_headers(const struct tly_rls_header_names *names, const struct tly_rls_status *least,
                          struct tly_rls_header *header)
{
    if (!names->enabled || least == NULL) return 0;
    add_header(&header[0], names->limit, least->requests_per_unit);
    add_header(&header[1], names->remaining, least->remaining);
    add_header(&header[2], names->reset, least->reset_s);
    return 3;
}

/*
 * Over the limit is what one limit without quota_mode is over, or all those with it. What headers speak of is the last one that is over,
 * or of what least is left.
 */
static void sum_up(struct tly_rls *rls)
{
    struct tly_rls_response *response = &rls->response;
    const struct tly_rls_status *least = NULL;
    size_t quotas = 0, quotas_over = 0, over = 0;
    uint32_t remaining = UINT32_MAX;
    for (size_t i = 0; i < rls->request.descriptor_count; i++) {
        const struct tly_rls_status *status = &response->status[i];
        bool is_over = status->code == TLY_RLS_OVER_LIMIT;
        if (status->has_limit && status->remaining < remaining) {
            least = status;
            remaining = status->remaining;
        }
        if (rls->judged[i].unlimited) continue;
        if (rls->judged[i].quota) {
            quotas++;
            quotas_over += is_over;
        } else if (is_over) {
            over++;
            least = status;
            remaining = 0;
        }
    }
    bool is_over = over > 0 || (quotas > 0 && quotas_over == quotas);
    response->header_count = put_headers(&rls->settings.headers, least, response->header);
    response->request_header_count =
        put_headers(&rls->settings.request_headers, least, response->request_header);
    if (is_over && rls->settings.shadow) {
        rls->stats.global_shadow_mode++;
        is_over = false;
    }
    response->overall = is_over ? TLY_RLS_OVER_LIMIT : TLY_RLS_OK;
}

static const char *cannot(struct tly_rls *rls)
{
    if (rls->request.domain.n == 0) return "rate limit domain must not be empty";
    if (rls->request.descriptor_count == 0) return "rate limit descriptor list must not be empty";
    if (rls->config == NULL) return "no rate limit configuration loaded";
    for (size_t i = 0; i < rls->request.descriptor_count; i++)
        if (!find_limit(rls, i)) return "the limit that a descriptor brings has no unit";
    return NULL;
}

const struct tly_rls_response *tly_rls_ask(struct tly_rls *rls, struct tly_app *app, const char **error)
{
    *error = cannot(rls);
    if (*error == NULL) drop_replaced(rls);
    uint64_t now_s = tly_app_cluster_ns(app) / UINT64_C(1000000000);
    for (size_t i = 0; *error == NULL && i < rls->request.descriptor_count; i++) {
        enum tly_result result = decide(rls, app, i, now_s);
        if (result != TLY_OK) *error = tly_result_text(result);
    }
    if (*error != NULL) {
        rls->stats.service_error++;
        return NULL;
    }
    rls->response.status_count = rls->request.descriptor_count;
    sum_up(rls);
    return &rls->response;
}
