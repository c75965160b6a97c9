#include "service/engine/rule.h"

#include "crdt/bytes.h"
#include "crdt/epoch_sum.h"

#define NS_PER_MS UINT64_C(1000000)
#define WINDOW_MS_MAX UINT64_C(31622400000)
/* What is in flight is said anew at half of it: it must be longer than a message takes, and end some day. */
#define LEASE_MS_MIN UINT64_C(1000)
#define LEASE_MS_MAX UINT64_C(3600000)

/* ---- algorithms and rates ---- */

static const char *const algorithms[] = {
    [TLY_SLIDING_WINDOW] = "sliding_window", [TLY_FIXED_WINDOW] = "fixed_window",
    [TLY_TOKEN_BUCKET] = "token_bucket",     [TLY_QUOTA] = "quota",
    [TLY_CONCURRENCY] = "concurrency",       [TLY_COUNTER] = "counter",
};

#define ALGORITHM_COUNT (sizeof algorithms / sizeof algorithms[0])

bool tly_algorithm_parse(struct tly_slice text, enum tly_algorithm *algorithm)
{
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        if (!tly_slice_equal(text, tly_slice_text(algorithms[i]))) continue;
        *algorithm = (enum tly_algorithm)i;
        return true;
    }
    return false;
}

const char *tly_algorithm_name(enum tly_algorithm algorithm)
{
    return (size_t)algorithm < ALGORITHM_COUNT ? algorithms[algorithm] : "unknown";
}

const char *tly_algorithm_names(void)
{
    return "sliding_window, fixed_window, token_bucket, quota, concurrency, counter";
}

/* Takes digits off the front; false: there are none, or the number is too great. */
static bool take_number(struct tly_slice *text, uint64_t *number)
{
    size_t digits = 0;
    *number = 0;
    while (digits < text->n && text->p[digits] >= '0' && text->p[digits] <= '9') {
        uint64_t digit = (uint64_t)(text->p[digits] - '0');
        if (*number > (UINT64_MAX - digit) / 10) return false;
        *number = *number * 10 + digit;
        digits++;
    }
    if (digits == 0) return false;
    *text = tly_slice_of(text->p + digits, text->n - digits);
    return true;
}

#define DAY_MS UINT64_C(86400000)

static const struct unit {
    const char *name;
    uint64_t ms;   /* the longest one */
    unsigned unit; /* of the calendar; 0: none */
} units[] = {
    {"ms", 1, 0},
    {"s", 1000, 0},
    {"m", 60000, TLY_UNIT_MINUTE},
    {"h", 3600000, TLY_UNIT_HOUR},
    {"d", DAY_MS, TLY_UNIT_DAY},
    {"w", 7 * DAY_MS, TLY_UNIT_WEEK},
    {"mo", 31 * DAY_MS, TLY_UNIT_MONTH},
    {"y", 366 * DAY_MS, TLY_UNIT_YEAR},
};

/* NULL: no unit of that name. */
static const struct unit *unit_of(struct tly_slice name)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (tly_slice_equal(name, tly_slice_text(units[i].name))) return &units[i];
    return NULL;
}

/* They are not all of one length, so there is no other window of so many of them. */
static bool has_length(unsigned unit)
{
    return unit < TLY_UNIT_MONTH;
}

const char *tly_unit_name(unsigned unit)
{
    static const char *const names[] = {"none", "minute", "hour", "day", "week", "month", "year"};
    return unit <= TLY_UNIT_YEAR ? names[unit] : "unknown";
}

enum tly_result tly_rate_parse(struct tly_slice text, struct tly_rate *rate)
{
    uint64_t limit, number = 1;
    if (!take_number(&text, &limit) || text.n == 0 || text.p[0] != '/') return TLY_BAD_RULE;
    text = tly_slice_of(text.p + 1, text.n - 1);
    bool counted = text.n > 0 && text.p[0] >= '0' && text.p[0] <= '9';
    if (counted && !take_number(&text, &number)) return TLY_BAD_RULE;
    const struct unit *unit = unit_of(text);
    if (unit == NULL || number == 0 || number > WINDOW_MS_MAX / unit->ms) return TLY_BAD_RULE;
    if (number > 1 && !has_length(unit->unit)) return TLY_BAD_RULE;
    if (limit == 0 || limit > TLY_LIMIT_MAX) return TLY_BAD_RULE;
    rate->limit = limit;
    rate->window_ms = number * unit->ms;
    rate->unit = number == 1 ? unit->unit : 0;
    return TLY_OK;
}

/* ---- modes ---- */

static const char *const modes[] = {
    [TLY_OPTIMISTIC] = "optimistic", [TLY_CAPPED] = "capped", [TLY_HARD] = "hard"};

static const char *const partitions[] = {
    [TLY_PARTITION_OPEN] = "open",
    [TLY_PARTITION_SHARE] = "share",
    [TLY_PARTITION_CLOSED] = "closed",
};

const char *tly_mode_name(enum tly_mode mode)
{
    return (size_t)mode < sizeof modes / sizeof modes[0] ? modes[mode] : "unknown";
}

enum tly_result tly_mode_parse(struct tly_slice text, struct tly_rate *rate)
{
    struct tly_slice capped = tly_slice_text("capped:");
    uint64_t cap;
    if (tly_slice_equal(text, tly_slice_text(modes[TLY_OPTIMISTIC]))) {
        rate->mode = TLY_OPTIMISTIC;
        rate->cap = 0;
        rate->on_partition = TLY_PARTITION_OPEN;
        return TLY_OK;
    }
    if (tly_slice_equal(text, tly_slice_text(modes[TLY_HARD]))) {
        rate->mode = TLY_HARD;
        rate->cap = 0;
        rate->on_partition = TLY_PARTITION_CLOSED;
        return TLY_OK;
    }
    if (!tly_slice_begins(text, capped)) return TLY_BAD_RULE;
    text = tly_slice_of(text.p + capped.n, text.n - capped.n);
    while (text.n > 0 && text.p[0] == ' ')
        text = tly_slice_of(text.p + 1, text.n - 1);
    if (!take_number(&text, &cap) || text.n > 0 || cap == 0 || cap > TLY_LIMIT_MAX) return TLY_BAD_RULE;
    rate->mode = TLY_CAPPED;
    rate->cap = cap;
    rate->on_partition = TLY_PARTITION_CLOSED;
    return TLY_OK;
}

bool tly_on_partition_parse(struct tly_slice text, enum tly_on_partition *on_partition)
{
    for (size_t i = 0; i < sizeof partitions / sizeof partitions[0]; i++) {
        if (!tly_slice_equal(text, tly_slice_text(partitions[i]))) continue;
        *on_partition = (enum tly_on_partition)i;
        return true;
    }
    return false;
}

const char *tly_on_partition_name(enum tly_on_partition on_partition)
{
    return (size_t)on_partition < sizeof partitions / sizeof partitions[0] ? partitions[on_partition]
                                                                           : "unknown";
}

/* ---- what goes with what ---- */

/* Rights are exact only where what is used does not come back by and by; and the share of a cap would be nobody's bound. */
static const char *mode_fault(const struct tly_rate *rate)
{
    bool is_exact =
        rate->algorithm == TLY_FIXED_WINDOW || rate->algorithm == TLY_QUOTA || rate->algorithm == TLY_COUNTER;
    if (rate->mode > TLY_HARD) return "mode: optimistic, capped: UNITS or hard was expected";
    if (rate->on_partition > TLY_PARTITION_CLOSED) return "on_partition: open, share or closed was expected";
    if (rate->mode != TLY_CAPPED && rate->cap != 0) return "mode: UNITS go with capped only";
    if (rate->mode == TLY_HARD && !is_exact)
        return "mode: hard goes with algorithm: fixed_window, quota or counter only";
    if (rate->mode == TLY_HARD && rate->on_partition != TLY_PARTITION_CLOSED)
        return "on_partition goes with optimistic and capped only: a hard limit holds anyhow";
    if (rate->mode == TLY_CAPPED && (rate->cap == 0 || rate->cap > TLY_LIMIT_MAX))
        return "mode: capped: UNITS, at least 1";
    if (rate->mode == TLY_CAPPED && rate->on_partition == TLY_PARTITION_SHARE)
        return "on_partition: closed or open goes with mode: capped";
    return NULL;
}

/* It would go below its least by the share of those that are gone, or be passed by a cap of them. */
static const char *counter_fault(const struct tly_rate *rate)
{
    if (rate->mode == TLY_CAPPED || rate->on_partition == TLY_PARTITION_SHARE)
        return "algorithm: counter goes with mode: hard, or optimistic with on_partition: open or closed only";
    if (rate->min > 0) return "min: a whole number, at most 0";
    return rate->window_ms == 0 && rate->unit == 0 ? NULL : "a counter has no rate, but max and perhaps min";
}

static const char *window_fault(const struct tly_rate *rate)
{
    if (rate->window_ms == 0 || rate->window_ms > WINDOW_MS_MAX)
        return "rate: a window of 1ms to 366 days was expected";
    if (rate->algorithm == TLY_QUOTA)
        return rate->unit - 1 < TLY_UNIT_YEAR ? NULL
                                              : "a quota is of one m, h, d, w, mo or y, such as 1000000/mo";
    if (!has_length(rate->unit)) return "a month or a year goes with algorithm: quota only";
    if (rate->algorithm != TLY_CONCURRENCY) return NULL;
    /* What others count comes and goes: there is nothing to project or to cap. */
    if (rate->mode != TLY_OPTIMISTIC) return "algorithm: concurrency goes with mode: optimistic only";
    return rate->window_ms >= LEASE_MS_MIN && rate->window_ms <= LEASE_MS_MAX
               ? NULL
               : "what is in flight counts for 1s to 1h after it was last said, as in 100/10s";
}

/* A bucket's tolerance is held to a window's greatest length, so sums of times stay far from the end of i64. */
static const char *bucket_fault(const struct tly_rate *rate)
{
    uint64_t window_ns = rate->window_ms * NS_PER_MS, burst = rate->burst != 0 ? rate->burst : rate->limit;
    if (rate->limit <= window_ns && burst <= WINDOW_MS_MAX * NS_PER_MS / (window_ns / rate->limit))
        return NULL;
    return "rate and burst: a bucket of at most one unit per ns, filled within 366 days, was expected";
}

const char *tly_rate_fault(const struct tly_rate *rate)
{
    if ((size_t)rate->algorithm >= ALGORITHM_COUNT) return "algorithm: one that there is was expected";
    if (rate->burst != 0 && rate->algorithm != TLY_TOKEN_BUCKET)
        return "burst goes with algorithm: token_bucket only";
    const char *fault = mode_fault(rate);
    if (fault != NULL) return fault;
    if (rate->limit == 0 || rate->limit > TLY_LIMIT_MAX) return "rate: 1 to 9223372036854775807 units";
    if (rate->algorithm == TLY_COUNTER) return counter_fault(rate);
    if (rate->min != 0) return "min and max go with algorithm: counter only";
    fault = window_fault(rate);
    return fault != NULL || rate->algorithm != TLY_TOKEN_BUCKET ? fault : bucket_fault(rate);
}

const char *tly_rate_fault_by_request(const struct tly_rate *rate)
{
    if (!tly_rate_needs_rule(rate)) return tly_rate_fault(rate);
    return "algorithm: concurrency and counter, and mode: hard, are for limits with a name";
}

uint64_t tly_rate_window(const struct tly_rate *rate)
{
    if (rate->algorithm == TLY_QUOTA) return TLY_WINDOW_CALENDAR + rate->unit;
    bool has_windows = rate->algorithm == TLY_FIXED_WINDOW || rate->algorithm == TLY_SLIDING_WINDOW;
    return has_windows ? rate->window_ms : 0;
}

enum tly_result tly_rate_check(const struct tly_rate *rate)
{
    return tly_rate_fault(rate) == NULL ? TLY_OK : TLY_BAD_RULE;
}

/* ---- rules ---- */

/* Of all tables that have rules of it: the last one frees it. */
struct kept_zone {
    char name[TLY_ZONE_NAME_BYTES_MAX + 1];
    struct tly_zone *zone;
    size_t holders;
};

struct tly_rules {
    struct tly_mem mem;
    struct tly_rule *rules; /* ascending by name */
    size_t count, capacity;
    struct kept_zone **zones;
    size_t zone_count, zone_capacity;
};

struct tly_rules *tly_rules_new(const struct tly_mem *mem)
{
    struct tly_rules *rules = tly_mem_zeroed(mem, sizeof *rules);
    if (rules != NULL) rules->mem = *mem;
    return rules;
}

static void let_go(const struct tly_mem *mem, struct kept_zone *kept)
{
    if (--kept->holders > 0) return;
    tly_zone_free(kept->zone);
    tly_mem_free(mem, kept, sizeof *kept);
}

void tly_rules_free(struct tly_rules *rules)
{
    if (rules == NULL) return;
    struct tly_mem mem = rules->mem;
    for (size_t i = 0; i < rules->zone_count; i++)
        let_go(&mem, rules->zones[i]);
    tly_mem_free(&mem, rules->zones, rules->zone_capacity * sizeof *rules->zones);
    for (size_t i = 0; i < rules->count; i++)
        tly_mem_free(&mem, rules->rules[i].count, sizeof *rules->rules[i].count);
    tly_mem_free(&mem, rules->rules, rules->capacity * sizeof *rules->rules);
    tly_mem_free(&mem, rules, sizeof *rules);
}

const struct tly_zone *tly_rules_zone(const struct tly_rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->zone_count; i++)
        if (strcmp(rules->zones[i]->name, name) == 0) return rules->zones[i]->zone;
    return NULL;
}

/* NULL: none of these, as UTC is. */
static struct kept_zone *kept_of(const struct tly_rules *rules, const struct tly_zone *zone)
{
    for (size_t i = 0; i < rules->zone_count; i++)
        if (rules->zones[i]->zone == zone) return rules->zones[i];
    return NULL;
}

const char *tly_rules_zone_name(const struct tly_rules *rules, const struct tly_zone *zone)
{
    const struct kept_zone *kept = kept_of(rules, zone);
    return kept != NULL ? kept->name : "UTC";
}

static bool hold_zone(struct tly_rules *rules, struct kept_zone *kept)
{
    void *grown = tly_mem_reserve(&rules->mem, rules->zones, &rules->zone_capacity, rules->zone_count + 1,
                                  sizeof(struct kept_zone *));
    if (grown == NULL) return false;
    rules->zones = grown;
    rules->zones[rules->zone_count++] = kept;
    kept->holders++;
    return true;
}

const struct tly_zone *tly_rules_keep_zone(struct tly_rules *rules, const char *name, struct tly_zone *zone)
{
    size_t n = strlen(name) < TLY_ZONE_NAME_BYTES_MAX ? strlen(name) : TLY_ZONE_NAME_BYTES_MAX;
    struct kept_zone *kept = tly_mem_zeroed(&rules->mem, sizeof *kept);
    if (kept == NULL) goto free_zone;
    memcpy(kept->name, name, n);
    kept->zone = zone;
    if (hold_zone(rules, kept)) return zone;
    tly_mem_free(&rules->mem, kept, sizeof *kept);
free_zone:
    tly_zone_free(zone);
    return NULL;
}

/* Where the name stands, or would. */
static size_t place_of(const struct tly_rules *rules, struct tly_slice name)
{
    size_t low = 0, high = rules->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tly_slice_compare(tly_slice_text(rules->rules[middle].name), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct tly_rule *tly_rules_find(const struct tly_rules *rules, struct tly_slice name)
{
    size_t at = place_of(rules, name);
    bool found = at < rules->count && tly_slice_equal(tly_slice_text(rules->rules[at].name), name);
    return found ? &rules->rules[at] : NULL;
}

static void note_begin(struct tly_rule *rule);

enum tly_result tly_rules_add(struct tly_rules *rules, const struct tly_rule *rule)
{
    struct tly_slice name = tly_slice_text(rule->name);
    if (name.n == 0 || tly_rule_fields(rule) > TLY_RULE_FIELDS_MAX) return TLY_BAD_RULE;
    if (tly_rate_check(&rule->rate) != TLY_OK || tly_rules_find(rules, name) != NULL) return TLY_BAD_RULE;
    if (rules->count == TLY_RULES_MAX) return TLY_FULL;
    void *grown =
        tly_mem_reserve(&rules->mem, rules->rules, &rules->capacity, rules->count + 1, sizeof *rules->rules);
    if (grown == NULL) return TLY_NOMEM;
    rules->rules = grown;
    struct tly_rule_count *counts = tly_mem_zeroed(&rules->mem, sizeof *counts);
    if (counts == NULL) return TLY_NOMEM;
    size_t at = place_of(rules, name);
    memmove(&rules->rules[at + 1], &rules->rules[at], (rules->count - at) * sizeof *rules->rules);
    rules->rules[at] = *rule;
    rules->rules[at].count = counts;
    note_begin(&rules->rules[at]);
    rules->count++;
    return TLY_OK;
}

enum tly_result tly_rules_add_all(struct tly_rules *rules, const struct tly_rules *others)
{
    enum tly_result result = TLY_OK;
    for (size_t i = 0; i < others->count && result == TLY_OK; i++) {
        const struct tly_rule *rule = &others->rules[i];
        if (tly_rules_find(rules, tly_slice_text(rule->name)) != NULL) continue;
        struct kept_zone *zone = kept_of(others, rule->rate.zone);
        bool is_held = zone == NULL || kept_of(rules, zone->zone) != NULL || hold_zone(rules, zone);
        result = is_held ? tly_rules_add(rules, rule) : TLY_NOMEM;
    }
    return result;
}

size_t tly_rules_count(const struct tly_rules *rules)
{
    return rules->count;
}

const struct tly_rule *tly_rules_at(const struct tly_rules *rules, size_t i)
{
    return &rules->rules[i];
}

void tly_rules_go_on(struct tly_rules *rules, const struct tly_rules *before)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct tly_rule *old = tly_rules_find(before, tly_slice_text(rules->rules[i].name));
        if (old == NULL) continue;
        *rules->rules[i].count = *old->count;
        rules->rules[i].count->keys = 0;
    }
}

static bool have_same_rate(const struct tly_rate *a, const struct tly_rate *b)
{
    return a->limit == b->limit && a->window_ms == b->window_ms && a->burst == b->burst &&
           a->algorithm == b->algorithm && a->mode == b->mode && a->on_partition == b->on_partition &&
           a->unit == b->unit && a->cap == b->cap && a->min == b->min;
}

static bool have_same_fields(const struct tly_rule *a, const struct tly_rule *b)
{
    if (a->field_count != b->field_count || a->match_count != b->match_count) return false;
    for (size_t i = 0; i < a->field_count; i++)
        if (strcmp(a->field[i], b->field[i]) != 0) return false;
    for (size_t i = 0; i < a->match_count; i++) {
        const struct tly_match *one = &a->match[i], *other = &b->match[i];
        if (strcmp(one->field, other->field) != 0 || strcmp(one->value, other->value) != 0) return false;
        if (one->is_prefix != other->is_prefix) return false;
    }
    return true;
}

bool tly_rules_agree(const struct tly_rules *rules, const struct tly_rule *rule,
                     const struct tly_rules *others, const struct tly_rule *other)
{
    return strcmp(rule->name, other->name) == 0 && have_same_rate(&rule->rate, &other->rate) &&
           strcmp(tly_rules_zone_name(rules, rule->rate.zone),
                  tly_rules_zone_name(others, other->rate.zone)) == 0 &&
           have_same_fields(rule, other) && rule->shadow == other->shadow &&
           rule->keys_max == other->keys_max;
}

/* ---- what it is for ---- */

static struct tly_slice value_of(const struct tly_field *fields, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (tly_slice_equal(fields[i].name, tly_slice_text(name))) return fields[i].value;
    return tly_slice_of(NULL, 0);
}

bool tly_rule_add_match(struct tly_rule *rule, const char *field, const char *value)
{
    size_t n = strlen(value), name = strlen(field);
    if (rule->match_count == TLY_RULE_MATCHES_MAX || n == 0 || name == 0) return false;
    struct tly_match *match = &rule->match[rule->match_count];
    if (n >= sizeof match->value || name >= sizeof match->field) return false;
    match->is_prefix = value[n - 1] == '*';
    if (match->is_prefix) n--;
    memcpy(match->field, field, name + 1);
    memcpy(match->value, value, n);
    match->value[n] = '\0';
    rule->match_count++;
    return true;
}

static bool is_in_key(const struct tly_rule *rule, const char *field)
{
    for (size_t i = 0; i < rule->field_count; i++)
        if (strcmp(rule->field[i], field) == 0) return true;
    return false;
}

size_t tly_rule_fields(const struct tly_rule *rule)
{
    size_t count = rule->field_count;
    for (size_t i = 0; i < rule->match_count; i++)
        count += !is_in_key(rule, rule->match[i].field);
    return count;
}

const char *tly_rule_field(const struct tly_rule *rule, size_t i)
{
    if (i < rule->field_count) return rule->field[i];
    i -= rule->field_count;
    size_t at = 0;
    for (; is_in_key(rule, rule->match[at].field) || i-- > 0; at++)
        ;
    return rule->match[at].field;
}

static bool holds(const struct tly_match *match, struct tly_slice value)
{
    struct tly_slice wanted = tly_slice_text(match->value);
    if (value.n == 0) return false;
    return match->is_prefix ? tly_slice_begins(value, wanted) : tly_slice_equal(value, wanted);
}

bool tly_rule_matches(const struct tly_rule *rule, const struct tly_field *fields, size_t count)
{
    for (size_t i = 0; i < rule->match_count; i++)
        if (!holds(&rule->match[i], value_of(fields, count, rule->match[i].field))) return false;
    return true;
}

/* ---- keys ---- */

struct key {
    uint8_t *out;
    size_t n; /* more than TLY_KEY_BYTES_MAX: it did not fit */
};

static void add_byte(struct key *key, uint8_t byte)
{
    if (key->n < TLY_KEY_BYTES_MAX) key->out[key->n] = byte;
    if (key->n <= TLY_KEY_BYTES_MAX) key->n++;
}

static void add_plain(struct key *key, struct tly_slice bytes)
{
    if (key->n > TLY_KEY_BYTES_MAX || bytes.n > TLY_KEY_BYTES_MAX - key->n) {
        key->n = TLY_KEY_BYTES_MAX + 1;
    } else if (bytes.n > 0) {
        memcpy(key->out + key->n, bytes.p, bytes.n);
        key->n += bytes.n;
    }
}

/* The top bit of each byte that is 0, up to the first one; those behind it may be wrong. */
static inline uint64_t zeros_of(uint64_t word)
{
    uint64_t ones = UINT64_C(0x0101010101010101);
    return (word - ones) & ~word & ones << 7;
}

static inline uint64_t load_low_first(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The top bit of the first byte that is ':' or '%', and perhaps others behind it. */
static inline uint64_t specials_of(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    return zeros_of(word ^ ones * ':') | zeros_of(word ^ ones * '%');
}

/* Bytes in front of the first ':' or '%', eight at a time; the last eight overlap those before them. */
static size_t plain_bytes(struct tly_slice part)
{
    const size_t step = sizeof(uint64_t);
    size_t i = 0;
    while (part.n >= step && i < part.n) {
        if (part.n - i < step) i = part.n - step;
        uint64_t special = specials_of(load_low_first(part.p + i));
        if (special != 0) return i + (size_t)__builtin_ctzll(special) / 8;
        i += step;
    }
    while (i < part.n && part.p[i] != ':' && part.p[i] != '%')
        i++;
    return i;
}

/* ':' divides parts and '%' escapes, so neither stands for itself in a part. */
static void add_part(struct key *key, struct tly_slice part)
{
    while (part.n > 0) {
        size_t n = plain_bytes(part);
        add_plain(key, tly_slice_of(part.p, n));
        if (n == part.n) return;
        add_plain(key, tly_slice_of(part.p[n] == ':' ? "%3A" : "%25", 3));
        part = tly_slice_of(part.p + n + 1, part.n - n - 1);
    }
}

/* What is in flight, or has no end, is counted otherwise, so it lies elsewhere: a limit's algorithm may change. */
static const char *begin_of(enum tly_algorithm algorithm)
{
    if (algorithm == TLY_COUNTER) return "rl:c:";
    return algorithm == TLY_CONCURRENCY ? "rl:f:" : "rl:n:";
}

static void add_begin(struct key *key, const struct tly_rule *rule)
{
    add_plain(key, tly_slice_text(begin_of(rule->rate.algorithm)));
    add_part(key, tly_slice_text(rule->name));
}

static void note_begin(struct tly_rule *rule)
{
    uint8_t begin[TLY_KEY_BYTES_MAX];
    struct key key = {begin, 0};
    add_begin(&key, rule);
    memcpy(rule->begin, begin, key.n);
    rule->begin_bytes = key.n;
}

enum tly_result tly_rule_key(const struct tly_rule *rule, const struct tly_field *fields, size_t field_count,
                             uint8_t *out, size_t *n)
{
    struct key key = {out, 0};
    if (rule->begin_bytes > 0)
        add_plain(&key, tly_slice_of(rule->begin, rule->begin_bytes));
    else
        add_begin(&key, rule);
    for (size_t i = 0; i < rule->field_count; i++) {
        add_byte(&key, ':');
        add_part(&key, value_of(fields, field_count, rule->field[i]));
    }
    *n = key.n;
    return key.n <= TLY_KEY_BYTES_MAX ? TLY_OK : TLY_BAD_KEY;
}

/* A part as it was before it was escaped; false: too long. */
static bool take_part(struct tly_slice part, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < part.n; i++, n++) {
        bool is_escaped = part.p[i] == '%' && part.n - i >= 3;
        if (n + 1 >= size) return false;
        out[n] = (char)(!is_escaped ? part.p[i] : part.p[i + 1] == '3' ? ':' : '%');
        if (is_escaped) i += 2;
    }
    out[n] = '\0';
    return true;
}

bool tly_rule_name_of_key(struct tly_slice key, char name[TLY_RULE_NAME_BYTES_MAX + 1])
{
    const size_t begin = strlen("rl:n:");
    bool is_named = tly_slice_begins(key, tly_slice_text("rl:n:")) ||
                    tly_slice_begins(key, tly_slice_text("rl:f:")) ||
                    tly_slice_begins(key, tly_slice_text("rl:c:"));
    if (!is_named) return false;
    struct tly_slice part = tly_slice_of(key.p + begin, key.n - begin);
    const uint8_t *end = part.n > 0 ? memchr(part.p, ':', part.n) : NULL;
    if (end != NULL) part.n = (size_t)(end - part.p);
    return take_part(part, name, TLY_RULE_NAME_BYTES_MAX + 1);
}

const struct tly_rule *tly_rules_of_key(const struct tly_rules *rules, struct tly_slice key)
{
    char name[TLY_RULE_NAME_BYTES_MAX + 1];
    const struct tly_rule *rule =
        tly_rule_name_of_key(key, name) ? tly_rules_find(rules, tly_slice_text(name)) : NULL;
    bool is_of = rule != NULL && tly_slice_begins(key, tly_slice_text(begin_of(rule->rate.algorithm)));
    return is_of ? rule : NULL;
}

enum tly_result tly_adhoc_key(struct tly_slice key, uint8_t *out, size_t *n)
{
    const size_t begin_bytes = sizeof TLY_ADHOC_BEGIN - 1;
    if (key.n == 0 || key.n > TLY_KEY_BYTES_MAX - begin_bytes) return TLY_BAD_KEY;
    memcpy(out, TLY_ADHOC_BEGIN, begin_bytes);
    tly_bytes_copy(out + begin_bytes, key.p, key.n);
    *n = begin_bytes + key.n;
    return TLY_OK;
}
