/* What a program may ask of its node. */
#include "service/library/internal.h"

#include "crdt/epoch_sum.h"

#include <assert.h>

/* X(of the engine, of the library): the ones that calls can meet. */
#define RESULTS(X)                              \
    X(TLY_OK, TALLY_OK)                         \
    X(TLY_NOMEM, TALLY_NO_MEMORY)               \
    X(TLY_FULL, TALLY_FULL)                     \
    X(TLY_NOT_FOUND, TALLY_NOT_FOUND)           \
    X(TLY_BAD_KEY, TALLY_BAD_KEY)               \
    X(TLY_NO_STRATEGY, TALLY_NO_STRATEGY)       \
    X(TLY_WRONG_STRATEGY, TALLY_WRONG_STRATEGY) \
    X(TLY_OVERFLOW, TALLY_OVERFLOW)             \
    X(TLY_CLOCK_END, TALLY_CLOCK_END)           \
    X(TLY_READ_ONLY, TALLY_READ_ONLY)           \
    X(TLY_BAD_RULE, TALLY_BAD_RULE)             \
    X(TLY_NO_LIMIT, TALLY_NO_LIMIT)             \
    X(TLY_PREFIX_HELD, TALLY_PREFIX_HELD)       \
    X(TLY_IN_FLIGHT, TALLY_IN_FLIGHT)           \
    X(TLY_NO_RIGHTS, TALLY_NO_RIGHTS)

static const struct {
    enum tly_result engine;
    enum tally_result library;
} results[] = {
#define RESULT(engine, library) {engine, library},
    RESULTS(RESULT)
#undef RESULT
};

#define RESULT_COUNT (sizeof results / sizeof *results)

static enum tally_result result_of(enum tly_result result)
{
    for (size_t i = 0; i < RESULT_COUNT; i++)
        if (results[i].engine == result) return results[i].library;
    return TALLY_OTHER;
}

/* TLY_RESULT_COUNT: none of the engine's. */
static enum tly_result engine_of(enum tally_result result)
{
    for (size_t i = 0; i < RESULT_COUNT; i++)
        if (results[i].library == result) return results[i].engine;
    return TLY_RESULT_COUNT;
}

const char *tally_code(enum tally_result result)
{
    return tly_result_name(engine_of(result));
}

const char *tally_message(enum tally_result result)
{
    return tly_result_text(engine_of(result));
}

static struct tly_slice slice_of(struct tally_bytes bytes)
{
    return tly_slice_of(bytes.p, bytes.n);
}

/* ---- limits ---- */

static_assert(sizeof(struct tly_check) == 2 * sizeof(struct tly_slice) + sizeof(void *) + sizeof(size_t) +
                                              sizeof(struct tly_rate) + sizeof(uint32_t) +
                                              sizeof(enum tly_charging),
              "convert sets every field");

/* A check as the engine takes it, written where that reads it: whoever copies what was just written waits for it. */
static enum tly_result convert(const struct tally_check *from, struct tly_field *fields, struct tly_check *to)
{
    static const enum tly_algorithm algorithms[] = {[TALLY_SLIDING_WINDOW] = TLY_SLIDING_WINDOW,
                                                    [TALLY_FIXED_WINDOW] = TLY_FIXED_WINDOW,
                                                    [TALLY_TOKEN_BUCKET] = TLY_TOKEN_BUCKET};
    if (from->field_count > TLY_RULE_FIELDS_MAX || (unsigned)from->algorithm > TALLY_TOKEN_BUCKET)
        return TLY_BAD_RULE;
    /* Whoever has fields and no key asks for a limit by its name, and it is that which is missing. */
    if (from->limit.n == 0 && from->key.n == 0 && from->field_count > 0) return TLY_NO_LIMIT;
    for (size_t i = 0; i < from->field_count; i++)
        fields[i] = (struct tly_field){slice_of(from->fields[i].name), slice_of(from->fields[i].value)};
    to->limit = slice_of(from->limit);
    to->fields = fields;
    to->field_count = from->field_count;
    to->key = slice_of(from->key);
    to->rate = (struct tly_rate){.limit = from->rate,
                                 .window_ms = from->window_ms,
                                 .burst = from->burst,
                                 .algorithm = algorithms[from->algorithm]};
    to->hits = from->hits;
    to->charging = (enum tly_charging){0};
    return TLY_OK;
}

static void tell(const struct tly_verdict *from, struct tally_verdict *to)
{
    *to = (struct tally_verdict){
        .code = from->code == TLY_CODE_OVER ? TALLY_REFUSED : TALLY_ADMITTED,
        .limit = from->limit,
        .remaining = from->remaining,
        .used = from->used,
        .reset_ms = from->reset_ms,
        .retry_after_ms = from->retry_after_ms,
        .window_ms = from->window_ms,
        .bound = from->bound,
        .reason = tly_reason_word(from->reason),
        .mode = tly_mode_name(from->mode),
        .is_shadow = from->shadow,
        .is_full = from->full,
    };
}

struct checks {
    const struct tally_check *checks;
    size_t count;
    enum tally_result *results;
    struct tally_verdict *verdicts;
};

static enum tly_result ask_check(struct tly_app *app, const struct tally_check *check,
                                 enum tly_request_kind kind, struct tly_reply *reply)
{
    struct tly_field fields[TLY_RULE_FIELDS_MAX];
    struct tly_request request = {.kind = kind};
    enum tly_result result = convert(check, fields, &request.check);
    if (result != TLY_OK) return result;
    return tly_app_ask(app, &request, reply);
}

/* Of those that can be asked, so many at a time; where each came from. */
#define GROUP TLY_AHEAD_MAX
struct group {
    struct tly_field fields[GROUP][TLY_RULE_FIELDS_MAX];
    struct tly_checked checked[GROUP];
    size_t from[GROUP];
    size_t count;
};

static void ask_group(struct tly_app *app, struct group *group, const struct checks *all)
{
    tly_app_checks(app, group->checked, group->count);
    for (size_t i = 0; i < group->count; i++) {
        const struct tly_checked *checked = &group->checked[i];
        all->results[group->from[i]] = result_of(checked->result);
        if (checked->result == TLY_OK) tell(&checked->verdict, &all->verdicts[group->from[i]]);
    }
    group->count = 0;
}

static void run_checks(struct tally *tally, void *argument)
{
    const struct checks *all = argument;
    struct group group;
    group.count = 0;
    for (size_t i = 0; i < all->count; i++) {
        enum tly_result result =
            convert(&all->checks[i], group.fields[group.count], &group.checked[group.count].check);
        all->results[i] = result_of(result);
        if (result == TLY_OK) group.from[group.count++] = i;
        if (group.count == GROUP) ask_group(&tally->app, &group, all);
    }
    if (group.count > 0) ask_group(&tally->app, &group, all);
}

void tally_checks(struct tally *tally, const struct tally_check *checks, size_t count,
                  enum tally_result *results_out, struct tally_verdict *verdicts)
{
    struct checks all = {checks, count, results_out, verdicts};
    tly_library_perform(tally, run_checks, &all);
}

enum tally_result tally_check(struct tally *tally, const struct tally_check *check,
                              struct tally_verdict *verdict)
{
    enum tally_result result;
    tally_checks(tally, check, 1, &result, verdict);
    return result;
}

struct reset {
    const struct tally_check *check;
    enum tly_result result;
};

static void run_reset(struct tally *tally, void *argument)
{
    struct reset *reset = argument;
    struct tly_reply reply;
    reset->result = ask_check(&tally->app, reset->check, TLY_ASK_RESET, &reply);
}

enum tally_result tally_reset(struct tally *tally, const struct tally_check *check)
{
    struct reset reset = {.check = check};
    tly_library_perform(tally, run_reset, &reset);
    return result_of(reset.result);
}

/* ---- counters ---- */

struct ask {
    struct tly_request request;
    uint64_t ttl_ms; /* 0: no deadline */
    enum tly_result result;
    int64_t count;
};

static void run_ask(struct tally *tally, void *argument)
{
    struct ask *ask = argument;
    struct tly_reply reply;
    uint64_t now_ms = tly_app_cluster_ns(&tally->app) / 1000000;
    uint64_t last_ms = TLY_DEADLINE_NONE - 1;
    bool fits = ask->ttl_ms <= last_ms - now_ms;
    if (ask->ttl_ms > 0) ask->request.deadline_ms = fits ? now_ms + ask->ttl_ms : last_ms;
    ask->result = tly_app_ask(&tally->app, &ask->request, &reply);
    if (ask->result != TLY_OK) return;
    bool is_counter = reply.strategy->id == TLY_EPOCH_SUM;
    if (!is_counter && ask->request.kind == TLY_ASK_READ) ask->result = TLY_WRONG_STRATEGY;
    ask->count = reply.value.count;
}

static enum tally_result perform(struct tally *tally, struct ask *ask, int64_t *value)
{
    tly_library_perform(tally, run_ask, ask);
    if (ask->result == TLY_OK && value != NULL) *value = ask->count;
    return result_of(ask->result);
}

enum tally_result tally_add(struct tally *tally, struct tally_bytes key, int64_t delta, int64_t *value)
{
    struct ask ask = {.request = {.kind = TLY_ASK_ADD, .key = slice_of(key), .number = delta}};
    return perform(tally, &ask, value);
}

enum tally_result tally_set(struct tally *tally, struct tally_bytes key, int64_t value, uint64_t ttl_ms)
{
    struct ask ask = {.request = {.kind = TLY_ASK_SET, .key = slice_of(key), .number = value},
                      .ttl_ms = ttl_ms};
    return perform(tally, &ask, NULL);
}

enum tally_result tally_get(struct tally *tally, struct tally_bytes key, int64_t *value)
{
    struct ask ask = {.request = {.kind = TLY_ASK_READ, .key = slice_of(key)}};
    return perform(tally, &ask, value);
}

enum tally_result tally_expire(struct tally *tally, struct tally_bytes key, uint64_t ttl_ms)
{
    struct ask ask = {.request = {.kind = TLY_ASK_EXPIRE, .key = slice_of(key)}, .ttl_ms = ttl_ms};
    return perform(tally, &ask, NULL);
}

enum tally_result tally_delete(struct tally *tally, struct tally_bytes key)
{
    struct ask ask = {.request = {.kind = TLY_ASK_REMOVE, .key = slice_of(key)}};
    return perform(tally, &ask, NULL);
}
