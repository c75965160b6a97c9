#include "service/shell/resp.h"

static const struct unit {
    const char *word;
    struct tly_resp_unit unit;
} units[] = {
    {"EX", {1000, false}},
    {"PX", {1, false}},
    {"EXAT", {1000, true}},
    {"PXAT", {1, true}},
};

struct set {
    const struct unit *unit; /* of the number; NULL: none is given */
    struct tly_slice number;
    uint64_t deadline_ms; /* 0: none */
    bool keep_deadline;
    bool if_absent, if_present;
    bool get;
};

/* Notes "EX 10" and its kin at arg[0], of which the last of one unit counts; false: it is none of them, or another than before. */
static bool note_deadline(const struct tly_slice *arg, size_t left, struct set *set)
{
    size_t i = 0;
    while (i < sizeof units / sizeof *units && !tly_resp_is(arg[0], units[i].word))
        i++;
    if (i == sizeof units / sizeof *units || left < 2) return false;
    if (set->unit != NULL && set->unit != &units[i]) return false;
    set->unit = &units[i];
    set->number = arg[1];
    return true;
}

static bool get_option(struct tly_slice word, struct set *set)
{
    if (tly_resp_is(word, "NX"))
        set->if_absent = true;
    else if (tly_resp_is(word, "XX"))
        set->if_present = true;
    else if (tly_resp_is(word, "GET"))
        set->get = true;
    else if (tly_resp_is(word, "KEEPTTL"))
        set->keep_deadline = true;
    else
        return false;
    return true;
}

/* False: it is no number, or none of a time to come, which is said. */
static bool get_deadline(struct tly_resp *resp, struct tly_slice text, struct tly_resp_unit unit,
                         const char *command, uint64_t *deadline_ms)
{
    int64_t number, at_ms;
    if (!tly_resp_get_int(text, &number)) {
        tly_resp_put_not_int(resp);
        return false;
    }
    if (number <= 0 || !tly_resp_deadline(resp, number, unit, &at_ms)) {
        tly_resp_put_bad_expire(resp, command);
        return false;
    }
    *deadline_ms = (uint64_t)at_ms;
    return true;
}

/* A word that does not belong there is said before a number that is none. */
static bool get_options(struct tly_resp *resp, const struct tly_slice *arg, size_t count, struct set *set)
{
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        if (get_option(arg[i], set)) continue;
        good = note_deadline(arg + i, count - i, set);
        i++;
    }
    if (!good || (set->if_absent && set->if_present) || (set->unit != NULL && set->keep_deadline)) {
        tly_resp_put_syntax_error(resp);
        return false;
    }
    return set->unit == NULL || get_deadline(resp, set->number, set->unit->unit, "set", &set->deadline_ms);
}

/* "6:0": an epoch and a count. */
static bool get_epoch_count(struct tly_slice text, uint64_t *epoch, int64_t *count)
{
    const uint8_t *colon = text.n > 0 ? memchr(text.p, ':', text.n) : NULL;
    if (colon == NULL || colon == text.p) return false;
    size_t n = (size_t)(colon - text.p);
    *epoch = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t digit = (uint8_t)(text.p[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(*epoch, 10, epoch) ||
            __builtin_add_overflow(*epoch, digit, epoch))
            return false;
    }
    return tly_resp_get_int(tly_slice_of(colon + 1, text.n - n - 1), count);
}

/* What the key's strategy makes of the text; NULL: the request stands, otherwise why not. */
static const char *request_of(const struct tly_strategy *strategy, struct tly_slice text,
                              struct tly_request *request)
{
    if (strategy->id == TLY_LWW) {
        request->kind = TLY_ASK_PUT;
        request->bytes = text;
    } else if (strategy->id == TLY_EPOCH_SUM) {
        request->kind = TLY_ASK_SET;
        if (!tly_resp_get_int(text, &request->number))
            return "value is not an integer or out of range; strings live under kv:";
    } else {
        request->kind = TLY_ASK_PUT_MAX;
        if (!get_epoch_count(text, &request->epoch, &request->number)) return "value is not epoch:count";
        if (request->deadline_ms != 0) return "this key takes no deadline";
    }
    return NULL;
}

/* `before` is what the key held, or present false. Writes the answer. */
static void put(struct tly_resp *resp, struct tly_request *request, struct tly_slice text,
                const struct set *set, const struct tly_reply *before)
{
    request->deadline_ms = set->keep_deadline ? before->value.deadline_ms : set->deadline_ms;
    const char *fault = request_of(before->strategy, text, request);
    if (fault != NULL) {
        tly_resp_put_error(resp->out, "ERR %s", fault);
        return;
    }
    /* The old value is a borrow that the write ends, so it is written first. */
    size_t mark = resp->out->n;
    if (!set->get)
        tly_resp_put_simple(resp->out, "OK");
    else if (before->value.present)
        tly_resp_put_value(resp, before);
    else
        tly_resp_put_null(resp->out, resp->proto);
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, request, &reply);
    if (result == TLY_OK) return;
    resp->out->n = mark;
    tly_resp_put_result(resp, result);
}

static void set_key(struct tly_resp *resp, struct tly_slice key, struct tly_slice text, const struct set *set)
{
    struct tly_reply before;
    enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, key, &before);
    if (result != TLY_OK && result != TLY_NOT_FOUND) {
        tly_resp_put_result(resp, result);
        return;
    }
    bool present = result == TLY_OK;
    if (!present) before.value = (struct tly_value){0};
    if ((set->if_absent && present) || (set->if_present && !present)) {
        if (set->get && present)
            tly_resp_put_value(resp, &before);
        else
            tly_resp_put_null(resp->out, resp->proto);
        return;
    }
    struct tly_request request = {.key = key};
    put(resp, &request, text, set, &before);
}

void tly_resp_run_set(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct set set = {0};
    if (get_options(resp, arg + 3, count - 3, &set)) set_key(resp, arg[1], arg[2], &set);
}

static void setex(struct tly_resp *resp, const struct tly_slice *arg, struct tly_resp_unit unit,
                  const char *command)
{
    struct set set = {0};
    if (get_deadline(resp, arg[2], unit, command, &set.deadline_ms)) set_key(resp, arg[1], arg[3], &set);
}

void tly_resp_run_setex(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    setex(resp, arg, (struct tly_resp_unit){1000, false}, "setex");
}

void tly_resp_run_psetex(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    setex(resp, arg, (struct tly_resp_unit){1, false}, "psetex");
}
