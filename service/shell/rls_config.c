#include "service/shell/rls_config.h"

#include "service/shell/http_json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_BYTES 16384u

/* Memory of a configuration is taken in blocks and given back as a whole. */
struct block {
    struct block *next;
    size_t bytes; /* with this head */
    size_t used;
    max_align_t first[];
};

struct tly_rls_node {
    struct tly_slice final_key; /* "key" or "key_value"; of a domain its name */
    struct tly_slice full_key;
    struct tly_rls_limit *limit;
    struct tly_rls_node **child; /* ascending by final_key */
    size_t child_count, child_capacity;
    struct tly_rls_node *wildcards, **wildcards_end; /* children that end in '*', in the order of the file */
    struct tly_rls_node *next_wildcard;
    size_t depth;
    bool is_wildcard, value_to_metric, share_threshold;
};

struct tly_rls_config {
    struct tly_mem mem;
    struct block *blocks;
    struct tly_rls_node root; /* of the domains */
    size_t rule_count;
    struct tly_rls_limit **limit;
    size_t limit_count, limit_capacity;
};

void *tly_rls_error_set(struct tly_rls_error *error, const char *file, const char *format, ...)
{
    int n = snprintf(error->text, sizeof error->text, "%.150s: ", file);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->text + n, sizeof error->text - (size_t)n, format, args);
    va_end(args);
    /* A character that was cut in two is none: who is told of the error wants a text. */
    tly_utf8_make_line(error->text, ' ');
    return NULL;
}

/* ---- memory ---- */

static void *take(struct tly_rls_config *config, size_t n)
{
    struct block *block = config->blocks;
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (block == NULL || block->bytes - block->used < n) {
        size_t bytes = sizeof *block + (n > BLOCK_BYTES ? n : BLOCK_BYTES);
        block = tly_mem_new(&config->mem, bytes);
        if (block == NULL) return NULL;
        *block = (struct block){config->blocks, bytes, sizeof *block};
        config->blocks = block;
    }
    void *taken = (uint8_t *)block + block->used;
    block->used += n;
    memset(taken, 0, n);
    return taken;
}

static bool copy(struct tly_rls_config *config, struct tly_slice from, struct tly_slice *to)
{
    uint8_t *p = take(config, from.n + 1);
    if (p == NULL) return false;
    if (from.n > 0) memcpy(p, from.p, from.n);
    *to = tly_slice_of(p, from.n);
    return true;
}

/* a, then b and c if there is any of c. */
static bool join(struct tly_rls_config *config, struct tly_slice a, char b, struct tly_slice c,
                 struct tly_slice *to)
{
    uint8_t *p = take(config, a.n + c.n + 2);
    if (p == NULL) return false;
    if (a.n > 0) memcpy(p, a.p, a.n);
    size_t n = a.n;
    if (c.n > 0) {
        p[n++] = (uint8_t)b;
        memcpy(p + n, c.p, c.n);
        n += c.n;
    }
    *to = tly_slice_of(p, n);
    return true;
}

static void init_node(struct tly_rls_node *node)
{
    node->wildcards_end = &node->wildcards;
}

struct tly_rls_config *tly_rls_config_new(const struct tly_mem *mem)
{
    struct tly_rls_config *config = tly_mem_zeroed(mem, sizeof *config);
    if (config == NULL) return NULL;
    config->mem = *mem;
    init_node(&config->root);
    return config;
}

static void free_children(struct tly_rls_config *config, struct tly_rls_node *node)
{
    for (size_t i = 0; i < node->child_count; i++)
        free_children(config, node->child[i]);
    tly_mem_free(&config->mem, node->child, node->child_capacity * sizeof(struct tly_rls_node *));
}

void tly_rls_config_free(struct tly_rls_config *config)
{
    if (config == NULL) return;
    struct tly_mem mem = config->mem;
    free_children(config, &config->root);
    for (struct block *block = config->blocks, *next; block != NULL; block = next) {
        next = block->next;
        tly_mem_free(&mem, block, block->bytes);
    }
    tly_mem_free(&mem, config->limit, config->limit_capacity * sizeof(struct tly_rls_limit *));
    tly_mem_free(&mem, config, sizeof *config);
}

/* ---- children ---- */

/* As tly_slice_compare does, of a text that is in two pieces with '_' between them, or in one. */
static int compare(struct tly_slice whole, struct tly_slice key, const struct tly_slice *value)
{
    size_t n = whole.n < key.n ? whole.n : key.n;
    int order = n > 0 ? memcmp(whole.p, key.p, n) : 0;
    if (order != 0 || value == NULL || whole.n < key.n)
        return order != 0 ? order : (whole.n > key.n) - (whole.n < key.n);
    struct tly_slice rest = tly_slice_of(whole.p + key.n, whole.n - key.n);
    if (rest.n == 0 || rest.p[0] != '_') return rest.n == 0 ? -1 : rest.p[0] < '_' ? -1 : 1;
    return tly_slice_compare(tly_slice_of(rest.p + 1, rest.n - 1), *value);
}

/* Where it stands, or would; value NULL: the key alone. */
static size_t place_of(const struct tly_rls_node *node, struct tly_slice key, const struct tly_slice *value,
                       bool *found)
{
    size_t low = 0, high = node->child_count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(node->child[middle]->final_key, key, value);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct tly_rls_node *child_of(const struct tly_rls_node *node, struct tly_slice key,
                                           const struct tly_slice *value)
{
    bool found;
    size_t at = place_of(node, key, value, &found);
    return found ? node->child[at] : NULL;
}

static bool insert(struct tly_rls_config *config, struct tly_rls_node *parent, struct tly_rls_node *node)
{
    bool found;
    size_t at = place_of(parent, node->final_key, NULL, &found);
    struct tly_rls_node **grown = tly_mem_reserve(&config->mem, parent->child, &parent->child_capacity,
                                                  parent->child_count + 1, sizeof(struct tly_rls_node *));
    if (grown == NULL || found) return false;
    parent->child = grown;
    memmove(&grown[at + 1], &grown[at], (parent->child_count - at) * sizeof(struct tly_rls_node *));
    grown[at] = node;
    parent->child_count++;
    if (node->is_wildcard) {
        *parent->wildcards_end = node;
        parent->wildcards_end = &node->next_wildcard;
    }
    return true;
}

struct tly_rls_node *tly_rls_config_domain(struct tly_rls_config *config, const char *file,
                                           struct tly_slice domain, bool merges, struct tly_rls_error *error)
{
    bool found;
    if (domain.n == 0) return tly_rls_error_set(error, file, "config file cannot have empty domain");
    size_t at = place_of(&config->root, domain, NULL, &found);
    if (found && merges) return config->root.child[at];
    if (found)
        return tly_rls_error_set(error, file, "duplicate domain '%.*s' in config file", (int)domain.n,
                                 (const char *)domain.p);
    struct tly_rls_node *node = take(config, sizeof *node);
    if (node != NULL) init_node(node);
    if (node == NULL || !copy(config, domain, &node->final_key))
        return tly_rls_error_set(error, file, "out of memory");
    node->full_key = node->final_key;
    return insert(config, &config->root, node) ? node : tly_rls_error_set(error, file, "out of memory");
}

/* ---- limits ---- */

/* What is wrong with the limit of a descriptor; NULL: nothing. The order is that in which the reference looks. */
static void *check_limit(const struct tly_rls_spec *spec, const char *file, struct tly_rls_error *error)
{
    enum tly_rls_unit unit;
    bool has_unit = tly_rls_unit_parse(spec->unit, &unit);
    error->text[0] = '\0';
    if (spec->unlimited && has_unit)
        return tly_rls_error_set(error, file, "should not specify rate limit unit when unlimited");
    if (!spec->unlimited && !has_unit)
        return tly_rls_error_set(error, file, "invalid rate limit unit '%.*s'", (int)spec->unit.n,
                                 (const char *)spec->unit.p);
    for (size_t i = 0; i < spec->replaces_count; i++) {
        if (spec->replaces[i].n == 0)
            return tly_rls_error_set(error, file, "should not have an empty replaces entry");
        if (tly_slice_equal(spec->replaces[i], spec->name))
            return tly_rls_error_set(error, file, "replaces should not contain name of same descriptor");
    }
    return NULL;
}

/* A quota goes by the calendar. */
static const unsigned calendar[TLY_RLS_UNIT_COUNT] = {
    [TLY_RLS_MINUTE] = TLY_UNIT_MINUTE, [TLY_RLS_HOUR] = TLY_UNIT_HOUR,   [TLY_RLS_DAY] = TLY_UNIT_DAY,
    [TLY_RLS_WEEK] = TLY_UNIT_WEEK,     [TLY_RLS_MONTH] = TLY_UNIT_MONTH, [TLY_RLS_YEAR] = TLY_UNIT_YEAR,
};

/* What the engine is to do: as the reference, unless metadata says otherwise. What is wrong with that; NULL: nothing. */
static const char *make_rate(const struct tly_rls_spec *spec, struct tly_rls_limit *limit)
{
    limit->rate = spec->extras;
    limit->rate.limit = tly_rls_counted_units(spec->requests_per_unit);
    if (limit->rate.window_ms == 0) {
        limit->rate.window_ms = (uint64_t)tly_rls_unit_s(limit->unit) * 1000;
        if (limit->rate.algorithm == TLY_QUOTA) limit->rate.unit = calendar[limit->unit];
    }
    /* The engine has no rule of it: it comes with each request. */
    return limit->unlimited ? NULL : tly_rate_fault_by_request(&limit->rate);
}

static struct tly_rls_limit *new_limit(struct tly_rls_config *config, const struct tly_rls_spec *spec,
                                       const struct tly_rls_node *node)
{
    struct tly_rls_limit *limit = take(config, sizeof *limit);
    struct tly_rls_limit **grown = tly_mem_reserve(&config->mem, config->limit, &config->limit_capacity,
                                                   config->limit_count + 1, sizeof(struct tly_rls_limit *));
    if (limit == NULL || grown == NULL) return NULL;
    config->limit = grown;
    *limit = (struct tly_rls_limit){.requests_per_unit = spec->requests_per_unit,
                                    .unlimited = spec->unlimited,
                                    .shadow = spec->shadow,
                                    .quota = spec->quota,
                                    .detailed = spec->detailed,
                                    .spares_refused = spec->spares_refused,
                                    .full_key = node->full_key,
                                    .replaces_count = spec->replaces_count};
    (void)tly_rls_unit_parse(spec->unit, &limit->unit);
    if (!copy(config, spec->name, &limit->name)) return NULL;
    limit->replaces = take(config, spec->replaces_count * sizeof *limit->replaces);
    if (limit->replaces == NULL) return NULL;
    for (size_t i = 0; i < spec->replaces_count; i++)
        if (!copy(config, spec->replaces[i], &limit->replaces[i])) return NULL;
    grown[config->limit_count++] = limit;
    return limit;
}

/* ---- descriptors ---- */

static bool fill_node(struct tly_rls_config *config, const struct tly_rls_node *parent,
                      const struct tly_rls_spec *spec, struct tly_rls_node *node)
{
    init_node(node);
    node->depth = parent->depth + 1;
    node->value_to_metric = spec->value_to_metric;
    node->share_threshold = spec->share_threshold;
    if (!join(config, spec->key, '_', spec->value, &node->final_key)) return false;
    if (!join(config, parent->full_key, '.', node->final_key, &node->full_key)) return false;
    node->is_wildcard = node->final_key.p[node->final_key.n - 1] == '*';
    return true;
}

static void *check_spec(const struct tly_rls_config *config, const char *file,
                        const struct tly_rls_node *parent, const struct tly_rls_spec *spec,
                        struct tly_rls_error *error)
{
    bool found;
    error->text[0] = '\0';
    if (spec->key.n == 0) return tly_rls_error_set(error, file, "descriptor has empty key");
    (void)place_of(parent, spec->key, spec->value.n > 0 ? &spec->value : NULL, &found);
    if (found)
        return tly_rls_error_set(error, file, "duplicate descriptor composite key '%.*s.%.*s%s%.*s'",
                                 (int)parent->full_key.n, (const char *)parent->full_key.p, (int)spec->key.n,
                                 (const char *)spec->key.p, spec->value.n > 0 ? "_" : "", (int)spec->value.n,
                                 (const char *)spec->value.p);
    if (spec->has_limit) (void)check_limit(spec, file, error);
    if (error->text[0] != '\0') return NULL;
    struct tly_slice last = spec->value.n > 0 ? spec->value : spec->key;
    if (spec->share_threshold && last.p[last.n - 1] != '*')
        return tly_rls_error_set(
            error, file,
            "share_threshold can only be used with wildcard values (ending with '*'), but found key '%.*s%s%.*s'",
            (int)spec->key.n, (const char *)spec->key.p, spec->value.n > 0 ? "_" : "", (int)spec->value.n,
            (const char *)spec->value.p);
    if (config->rule_count == TLY_RLS_RULES_MAX)
        return tly_rls_error_set(error, file, "more than %d descriptors", TLY_RLS_RULES_MAX);
    if (parent->depth == TLY_RLS_DEPTH_MAX)
        return tly_rls_error_set(error, file, "more than %d descriptors in each other", TLY_RLS_DEPTH_MAX);
    return NULL;
}

struct tly_rls_node *tly_rls_config_add(struct tly_rls_config *config, const char *file,
                                        struct tly_rls_node *parent, const struct tly_rls_spec *spec,
                                        struct tly_rls_error *error)
{
    (void)check_spec(config, file, parent, spec, error);
    if (error->text[0] != '\0') return NULL;
    struct tly_rls_node *node = take(config, sizeof *node);
    bool made = node != NULL && fill_node(config, parent, spec, node);
    if (made && spec->has_limit) {
        node->limit = new_limit(config, spec, node);
        made = node->limit != NULL;
        const char *fault = made ? make_rate(spec, node->limit) : NULL;
        if (fault != NULL)
            return tly_rls_error_set(error, file, "metadata of '%.*s': %s", (int)node->full_key.n,
                                     (const char *)node->full_key.p, fault);
    }
    if (!made || !insert(config, parent, node)) return tly_rls_error_set(error, file, "out of memory");
    config->rule_count++;
    return node;
}

size_t tly_rls_config_domain_count(const struct tly_rls_config *config)
{
    return config->root.child_count;
}

size_t tly_rls_config_rule_count(const struct tly_rls_config *config)
{
    return config->rule_count;
}

struct tly_rls_limit *tly_rls_config_limit_at(const struct tly_rls_config *config, size_t i)
{
    return i < config->limit_count ? config->limit[i] : NULL;
}

/* ---- finding ---- */

/* Whether "KEY_VALUE" begins with what stands before the '*'. */
static bool wildcard_fits(const struct tly_rls_node *node, const struct tly_rls_entry *entry)
{
    struct tly_slice prefix = tly_slice_of(node->final_key.p, node->final_key.n - 1);
    if (prefix.n <= entry->key.n) return tly_slice_begins(entry->key, prefix);
    if (!tly_slice_begins(prefix, entry->key) || prefix.p[entry->key.n] != '_') return false;
    size_t skip = entry->key.n + 1;
    return tly_slice_begins(entry->value, tly_slice_of(prefix.p + skip, prefix.n - skip));
}

/* "foo*" of "key_foo*"; of a key that ends in '*' itself all of it. */
static struct tly_slice pattern_of(const struct tly_rls_node *node, struct tly_slice key, bool *behind_key)
{
    *behind_key = node->final_key.n > key.n && tly_slice_begins(node->final_key, key) &&
                  node->final_key.p[key.n] == '_';
    size_t skip = *behind_key ? key.n + 1 : 0;
    return tly_slice_of(node->final_key.p + skip, node->final_key.n - skip);
}

static void note_wildcard(const struct tly_rls_node *node, const struct tly_rls_entry *entry, size_t i,
                          struct tly_rls_match *match)
{
    bool behind_key;
    struct tly_slice pattern = pattern_of(node, entry->key, &behind_key);
    if (!behind_key) match->is_metric_plain = false;
    if (!node->share_threshold) return;
    match->shared[i] = pattern;
    match->has_shared = true;
}

static const struct tly_rls_node *step(const struct tly_rls_node *node, const struct tly_rls_entry *entry,
                                       size_t i, struct tly_rls_match *match)
{
    const struct tly_rls_node *next = child_of(node, entry->key, &entry->value);
    match->by_value[i] = next != NULL;
    match->by_wildcard[i] = false;
    for (const struct tly_rls_node *w = node->wildcards; next == NULL && w != NULL; w = w->next_wildcard)
        if (wildcard_fits(w, entry)) next = w;
    if (next == NULL) return child_of(node, entry->key, NULL);
    match->by_wildcard[i] = !match->by_value[i];
    if (match->by_wildcard[i]) note_wildcard(next, entry, i, match);
    return next;
}

void tly_rls_config_find(const struct tly_rls_config *config, struct tly_slice domain,
                         const struct tly_rls_descriptor *descriptor, struct tly_rls_match *match)
{
    const struct tly_rls_node *node = child_of(&config->root, domain, NULL);
    size_t count = descriptor->entry_count;
    match->limit = NULL;
    match->is_domain_known = node != NULL;
    match->is_metric_plain = true;
    match->has_shared = false;
    /* Descriptors are not deeper than this, so a longer one comes to nothing. */
    if (node == NULL || count > TLY_RLS_DEPTH_MAX) return;
    for (size_t i = 0; i < count; i++) {
        match->shared[i] = tly_slice_of(NULL, 0);
        node = step(node, &descriptor->entry[i], i, match);
        match->path[i] = node;
        if (node == NULL) return;
        if (node->value_to_metric || node->share_threshold) match->is_metric_plain = false;
        if (i + 1 == count) match->limit = node->limit;
        if (node->child_count == 0) break;
    }
    if (match->limit != NULL && match->limit->detailed) match->is_metric_plain = false;
}

/* ---- names of metrics ---- */

static void put(struct tly_buf *out, struct tly_slice text)
{
    if (text.n > 0) tly_buf_put(out, text.p, text.n);
}

static void put_pair(struct tly_buf *out, struct tly_slice key, struct tly_slice value)
{
    put(out, key);
    if (value.n > 0) tly_buf_put(out, "_", 1);
    put(out, value);
}

/* Of a limit with detailed_metric: every value, but what is shared under its pattern. */
static void put_detail(struct tly_buf *out, const struct tly_rls_match *match,
                       const struct tly_rls_entry *entry, size_t i)
{
    struct tly_slice value = match->shared[i].n > 0 ? match->shared[i] : entry->value;
    put(out, entry->key);
    if (value.n > 0 || !match->has_shared) tly_buf_put(out, "_", 1);
    put(out, value);
}

static void put_level(struct tly_buf *out, const struct tly_rls_match *match,
                      const struct tly_rls_entry *entry, size_t i)
{
    const struct tly_rls_node *node = match->path[i];
    if (match->by_value[i] || (node->value_to_metric && match->shared[i].n == 0)) {
        put_pair(out, entry->key, entry->value);
    } else if (match->by_wildcard[i]) {
        bool behind_key;
        put_pair(out, entry->key, pattern_of(node, entry->key, &behind_key));
    } else {
        put(out, entry->key);
    }
}

void tly_rls_metric_put(const struct tly_rls_match *match, struct tly_slice domain,
                        const struct tly_rls_descriptor *descriptor, struct tly_buf *out)
{
    put(out, domain);
    for (size_t i = 0; i < descriptor->entry_count; i++) {
        tly_buf_put(out, ".", 1);
        if (match->limit->detailed)
            put_detail(out, match, &descriptor->entry[i], i);
        else
            put_level(out, match, &descriptor->entry[i], i);
    }
}

void tly_rls_override_metric_put(struct tly_slice domain, const struct tly_rls_descriptor *descriptor,
                                 struct tly_buf *out)
{
    put(out, domain);
    tly_buf_put(out, ".", 1);
    for (size_t i = 0; i < descriptor->entry_count; i++) {
        if (i > 0) tly_buf_put(out, ".", 1);
        put_pair(out, descriptor->entry[i].key, descriptor->entry[i].value);
    }
}

void tly_rls_config_dump(const struct tly_rls_config *config, struct tly_buf *out)
{
    for (size_t i = 0; i < config->limit_count; i++) {
        const struct tly_rls_limit *limit = config->limit[i];
        char text[128];
        int n = snprintf(text, sizeof text, ": unit=%s requests_per_unit=%" PRIu32 ", shadow_mode: %s\n",
                         tly_rls_unit_name(limit->unit), limit->requests_per_unit,
                         limit->shadow ? "true" : "false");
        put(out, limit->full_key);
        tly_buf_put(out, text, (size_t)n);
    }
}
