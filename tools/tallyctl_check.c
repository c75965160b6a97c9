/* Asking limits: check; reserve, acquire and what settles them; refund, reset. */
#include "tools/tallyctl.h"

#include "service/engine/rule.h"

#include <inttypes.h>
#include <stdlib.h>

/* In the order of the verbs' options. */
enum { KEY, RATE, ALGORITHM, BURST, HITS, ID, TTL };

static enum tly_ctl_exit no_memory(void)
{
    tly_ctl_complain("out of memory");
    return TLY_CTL_NO;
}

/* ---- bodies ---- */

static bool add_number(const char *verb, struct json_object *body, const char *name, const char *text,
                       int64_t most)
{
    int64_t number;
    if (text == NULL) return true;
    if (!tly_ctl_number(text, 0, most, &number)) {
        tly_ctl_misused(verb, "%s is a number from 0 to %" PRId64 ", not \"%.40s\"", name, most, text);
        return false;
    }
    return tly_ctl_add(body, name, json_object_new_int64(number));
}

static bool add_text(struct json_object *body, const char *name, const char *text)
{
    return text == NULL || tly_ctl_add(body, name, json_object_new_string(text));
}

static bool add_field(const char *verb, struct json_object *fields, const char *word)
{
    const char *equals = strchr(word, '=');
    char *name = equals == NULL ? NULL : strndup(word, (size_t)(equals - word));
    bool ok = false;
    if (name == NULL || name[0] == '\0')
        tly_ctl_misused(verb, "FIELD=VALUE was expected, not \"%.40s\"", word);
    else if (json_object_object_get_ex(fields, name, NULL))
        tly_ctl_misused(verb, "the field %.40s is given twice", name);
    else
        ok = tly_ctl_add(fields, name, json_object_new_string(equals + 1));
    free(name);
    return ok;
}

static bool add_named(const char *verb, struct json_object *body, const struct tly_ctl_args *args)
{
    if (args->option[RATE] != NULL || args->option[ALGORITHM] != NULL || args->option[BURST] != NULL) {
        tly_ctl_misused(verb, "a LIMIT has its own rate: --rate, --algorithm and --burst go with --key");
        return false;
    }
    struct json_object *fields = json_object_new_object();
    bool ok = tly_ctl_add(body, "limit", json_object_new_string(args->words[0])) &&
              tly_ctl_add(body, "key", fields);
    for (size_t i = 1; ok && i < args->count; i++)
        ok = add_field(verb, fields, args->words[i]);
    return ok;
}

static bool add_adhoc(const char *verb, struct json_object *body, const struct tly_ctl_args *args)
{
    if (args->option[KEY] == NULL || args->option[RATE] == NULL) {
        tly_ctl_misused(verb, "a LIMIT was expected, or --key KEY with --rate RATE");
        return false;
    }
    return add_text(body, "key", args->option[KEY]) && add_text(body, "rate", args->option[RATE]) &&
           add_text(body, "algorithm", args->option[ALGORITHM]) &&
           add_number(verb, body, "burst", args->option[BURST], INT64_MAX);
}

static bool add_check(const char *verb, struct json_object *body, const struct tly_ctl_args *args)
{
    if (args->count > 0 && args->option[KEY] != NULL) {
        tly_ctl_misused(verb, "either a LIMIT or --key, not both");
        return false;
    }
    bool ok = args->count > 0 ? add_named(verb, body, args) : add_adhoc(verb, body, args);
    return ok &&
           add_number(verb, body, "hits", args->option[HITS] != NULL ? args->option[HITS] : "1", UINT32_MAX);
}

/* "30s" or "500ms", as in the window of a rate. */
static bool add_ttl(const char *verb, struct json_object *body, const char *text)
{
    char rate[40];
    struct tly_rate ttl;
    if (text == NULL) return true;
    int n = snprintf(rate, sizeof rate, "1/%s", text);
    if (n < (int)sizeof rate && tly_rate_parse(tly_slice_text(rate), &ttl) == TLY_OK)
        return tly_ctl_add(body, "ttl_ms", json_object_new_int64((int64_t)ttl.window_ms));
    tly_ctl_misused(verb, "--ttl is a time such as 500ms, 30s or 5m, not \"%.40s\"", text);
    return false;
}

static bool add_hold(const char *verb, struct json_object *body, const struct tly_ctl_args *args)
{
    return add_text(body, "id", args->option[ID]) && add_ttl(verb, body, args->option[TTL]);
}

/* ---- verdicts ---- */

static void show_time(const char *before, struct json_object *json, const char *name)
{
    char text[32];
    tly_ctl_duration((double)tly_ctl_int(json, name) / 1e3, text, sizeof text);
    printf("%s%s", before, text);
}

static void show_verdict(struct json_object *json)
{
    bool admitted = strcmp(tly_ctl_text(json, "code"), "ok") == 0;
    printf("%s: %s of %s left", admitted ? "admitted" : "refused", tly_ctl_text(json, "remaining"),
           tly_ctl_text(json, "limit"));
    bool can_pass = tly_ctl_int(json, "retry_after_ms") >= 0;
    bool is_counter = strcmp(tly_ctl_text(json, "algorithm"), "counter") == 0;
    if (!admitted && can_pass) show_time(", retry after ", json, "retry_after_ms");
    if (!admitted && !can_pass)
        fputs(is_counter ? ", until some are given back" : ", these hits can never pass", stdout);
    if (tly_ctl_int(json, "reset_ms") > 0) show_time(", full again in ", json, "reset_ms");
    puts(tly_ctl_is_true(json, "shadow") ? " (shadow: would be refused)" : "");
    if (admitted) return;
    printf("  ");
    tly_ctl_print_plain(tly_ctl_text(json, "why"));
    putchar('\n');
}

static enum tly_ctl_exit show_check(struct json_object *json)
{
    show_verdict(json);
    return TLY_CTL_DONE;
}

/* ---- asking ---- */

/* A verb that sends a check of one limit, or its id. */
struct question {
    const char *verb;
    const char *path;
    bool holds;
    tly_ctl_show *show;
};

/* A refusal is an answer, not a failure. */
static enum tly_ctl_exit ask(const struct tly_ctl *ctl, const struct question *question,
                             struct json_object *body)
{
    struct tly_ctl_request request = {.method = "POST", .path = question->path, .body = body};
    struct tly_ctl_answer answer;
    enum tly_ctl_exit status = tly_ctl_ask(ctl, &request, &answer);
    if (status != TLY_CTL_DONE) return status;
    if (ctl->json && answer.json != NULL) tly_ctl_print_json(answer.json);
    bool refused = answer.status == 429 && answer.json != NULL;
    if (!refused && !tly_ctl_accepted(&answer))
        status = TLY_CTL_NO;
    else if (!ctl->json)
        status = question->show(answer.json);
    if (refused) status = TLY_CTL_NO;
    json_object_put(answer.json);
    return status;
}

static enum tly_ctl_exit ask_limit(const struct tly_ctl *ctl, const struct tly_ctl_args *args,
                                   const struct question *question)
{
    struct json_object *body = json_object_new_object();
    if (body == NULL) return no_memory();
    bool good =
        add_check(question->verb, body, args) && (!question->holds || add_hold(question->verb, body, args));
    enum tly_ctl_exit status = good ? ask(ctl, question, body) : TLY_CTL_USAGE;
    json_object_put(body);
    return status;
}

enum tly_ctl_exit tly_ctl_check(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    return ask_limit(ctl, args, &(struct question){"check", "/v1/check", false, show_check});
}

static enum tly_ctl_exit show_refunded(struct json_object *json)
{
    printf("given back: %s; %s of %s left\n", tly_ctl_text(json, "refunded"), tly_ctl_text(json, "remaining"),
           tly_ctl_text(json, "limit"));
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_refund(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    return ask_limit(ctl, args, &(struct question){"refund", "/v1/refund", false, show_refunded});
}

static enum tly_ctl_exit show_reset(struct json_object *json)
{
    puts(tly_ctl_is_true(json, "reset") ? "forgotten" : "nothing was counted");
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_reset(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    return ask_limit(ctl, args, &(struct question){"reset", "/v1/reset", false, show_reset});
}

/* ---- reservations and leases ---- */

static void show_hold(struct json_object *json)
{
    char end[TLY_CTL_TIME_BYTES];
    tly_ctl_print_plain(tly_ctl_text(json, "id"));
    printf(": %s, %s units", tly_ctl_text(json, "state"), tly_ctl_text(json, "charged"));
    if (strcmp(tly_ctl_text(json, "state"), "open") == 0) {
        tly_ctl_time((uint64_t)tly_ctl_int(json, "end_ms") * 1000000, end, sizeof end);
        printf(" until %s", end);
    }
    putchar('\n');
}

static enum tly_ctl_exit show_held(struct json_object *json)
{
    struct json_object *verdict = NULL;
    if (json_object_object_get_ex(json, "state", NULL))
        show_hold(json);
    else if (json_object_object_get_ex(json, "verdict", &verdict))
        show_verdict(verdict);
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_reserve(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    return ask_limit(ctl, args, &(struct question){"reserve", "/v1/reserve", true, show_held});
}

enum tly_ctl_exit tly_ctl_acquire(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    /* Of a named limit only, so its options are fewer. */
    struct tly_ctl_args named = {.words = args->words, .count = args->count};
    named.option[HITS] = args->option[0];
    named.option[ID] = args->option[1];
    named.option[TTL] = args->option[2];
    return ask_limit(ctl, &named, &(struct question){"acquire", "/v1/acquire", true, show_held});
}

static enum tly_ctl_exit settle(const struct tly_ctl *ctl, const struct tly_ctl_args *args, const char *verb,
                                const char *path, const char *hits)
{
    struct json_object *body = json_object_new_object();
    if (body == NULL) return no_memory();
    bool good = add_text(body, "id", args->words[0]) && add_number(verb, body, "hits", hits, UINT32_MAX);
    enum tly_ctl_exit status =
        good ? ask(ctl, &(struct question){verb, path, false, show_held}, body) : TLY_CTL_USAGE;
    json_object_put(body);
    return status;
}

enum tly_ctl_exit tly_ctl_commit(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    return settle(ctl, args, "commit", "/v1/commit", args->words[1]);
}

enum tly_ctl_exit tly_ctl_cancel(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    return settle(ctl, args, "cancel", "/v1/cancel", NULL);
}

enum tly_ctl_exit tly_ctl_release(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    return settle(ctl, args, "release", "/v1/release", NULL);
}
