#include "tools/tallyctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static enum tly_ctl_exit no_memory(void)
{
    tly_ctl_complain("out of memory");
    return TLY_CTL_NO;
}

/* False: the text is no whole number from least to most. */
static bool parse_number(const char *text, int64_t least, int64_t most, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return errno == 0 && end != text && *end == '\0' && strchr(" \t\n\v\f\r", *text) == NULL &&
           value >= least && value <= most;
}

/* ---- get, incr ---- */

static enum tly_ctl_exit show_value(struct json_object *json)
{
    if (json_object_object_get_ex(json, "epoch", NULL))
        printf("epoch %s count %s\n", tly_ctl_text(json, "epoch"), tly_ctl_text(json, "count"));
    else if (json_object_object_get_ex(json, "value_base64", NULL))
        printf("base64 %s\n", tly_ctl_text(json, "value_base64"));
    else
        printf("%s\n", tly_ctl_text(json, "value"));
    return TLY_CTL_DONE;
}

static enum tly_ctl_exit ask_counter(const struct tly_ctl *ctl, const char *key, const char *method,
                                     struct json_object *body)
{
    char *path = tly_ctl_key_path("/v1/counters/", key);
    if (path == NULL) return no_memory();
    struct tly_ctl_request request = {.method = method, .path = path, .body = body};
    enum tly_ctl_exit status = tly_ctl_ask_and_show(ctl, &request, show_value);
    free(path);
    return status;
}

enum tly_ctl_exit tly_ctl_get(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    if (args->option[0] != NULL) return tly_ctl_get_keys(ctl, args, args->option[0]);
    if (args->count > 1) return tly_ctl_misused("get", "one KEY; several go into a file: -o FILE");
    if (args->words[0][0] == '\0') return tly_ctl_misused("get", "a key has at least one byte");
    return ask_counter(ctl, args->words[0], "GET", NULL);
}

enum tly_ctl_exit tly_ctl_incr(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    int64_t delta = 1;
    if (args->words[0][0] == '\0') return tly_ctl_misused("incr", "a key has at least one byte");
    if (args->count == 2 && !parse_number(args->words[1], INT64_MIN, INT64_MAX, &delta))
        return tly_ctl_misused("incr", "DELTA is a whole number of 64 bits, not \"%.40s\"", args->words[1]);
    struct json_object *body = json_object_new_object();
    enum tly_ctl_exit status;
    if (body != NULL && tly_ctl_add(body, "delta", json_object_new_int64(delta)))
        status = ask_counter(ctl, args->words[0], "POST", body);
    else
        status = no_memory();
    json_object_put(body);
    return status;
}

/* ---- forget ---- */

static enum tly_ctl_exit show_forgotten(struct json_object *json)
{
    printf("forgotten: %s\n", tly_ctl_text(json, "forgotten"));
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_forget(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    if (args->words[0][0] == '\0') return tly_ctl_misused("forget", "a name has at least one byte");
    char *path = tly_ctl_key_path("/v1/cluster/forget/", args->words[0]);
    if (path == NULL) return no_memory();
    struct tly_ctl_request request = {.method = "POST", .path = path};
    enum tly_ctl_exit status = tly_ctl_ask_and_show(ctl, &request, show_forgotten);
    free(path);
    return status;
}

/* ---- check ---- */

/* In the order of the verb's options. */
enum { KEY, RATE, ALGORITHM, BURST, HITS };

static bool add_number(struct json_object *body, const char *name, const char *text, int64_t most)
{
    int64_t number;
    if (text == NULL) return true;
    if (!parse_number(text, 0, most, &number)) {
        tly_ctl_misused("check", "--%s is a number from 0 to %" PRId64 ", not \"%.40s\"", name, most, text);
        return false;
    }
    return tly_ctl_add(body, name, json_object_new_int64(number));
}

static bool add_text(struct json_object *body, const char *name, const char *text)
{
    return text == NULL || tly_ctl_add(body, name, json_object_new_string(text));
}

static bool add_field(struct json_object *fields, const char *word)
{
    const char *equals = strchr(word, '=');
    char *name = equals == NULL ? NULL : strndup(word, (size_t)(equals - word));
    bool ok = false;
    if (name == NULL || name[0] == '\0')
        tly_ctl_misused("check", "FIELD=VALUE was expected, not \"%.40s\"", word);
    else if (json_object_object_get_ex(fields, name, NULL))
        tly_ctl_misused("check", "the field %.40s is given twice", name);
    else
        ok = tly_ctl_add(fields, name, json_object_new_string(equals + 1));
    free(name);
    return ok;
}

static bool add_named(struct json_object *body, const struct tly_ctl_args *args)
{
    if (args->option[RATE] != NULL || args->option[ALGORITHM] != NULL || args->option[BURST] != NULL) {
        tly_ctl_misused("check", "a LIMIT has its own rate: --rate, --algorithm and --burst go with --key");
        return false;
    }
    struct json_object *fields = json_object_new_object();
    bool ok = tly_ctl_add(body, "limit", json_object_new_string(args->words[0])) &&
              tly_ctl_add(body, "key", fields);
    for (size_t i = 1; ok && i < args->count; i++)
        ok = add_field(fields, args->words[i]);
    return ok;
}

static bool add_adhoc(struct json_object *body, const struct tly_ctl_args *args)
{
    if (args->option[KEY] == NULL || args->option[RATE] == NULL) {
        tly_ctl_misused("check", "a LIMIT was expected, or --key KEY with --rate RATE");
        return false;
    }
    return add_text(body, "key", args->option[KEY]) && add_text(body, "rate", args->option[RATE]) &&
           add_text(body, "algorithm", args->option[ALGORITHM]) &&
           add_number(body, "burst", args->option[BURST], INT64_MAX);
}

static bool add_check(struct json_object *body, const struct tly_ctl_args *args)
{
    if (args->count > 0 && args->option[KEY] != NULL) {
        tly_ctl_misused("check", "either a LIMIT or --key, not both");
        return false;
    }
    bool ok = args->count > 0 ? add_named(body, args) : add_adhoc(body, args);
    return ok && add_number(body, "hits", args->option[HITS] != NULL ? args->option[HITS] : "1", UINT32_MAX);
}

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
    if (!admitted && can_pass) show_time(", retry after ", json, "retry_after_ms");
    if (!admitted && !can_pass) printf(", these hits can never pass");
    show_time(", full again in ", json, "reset_ms");
    puts(strcmp(tly_ctl_text(json, "shadow"), "true") == 0 ? " (shadow: would be refused)" : "");
}

/* A refusal is an answer, not a failure. */
static enum tly_ctl_exit ask_check(const struct tly_ctl *ctl, struct json_object *body)
{
    struct tly_ctl_request request = {.method = "POST", .path = "/v1/check", .body = body};
    struct tly_ctl_answer answer;
    enum tly_ctl_exit status = tly_ctl_ask(ctl, &request, &answer);
    if (status != TLY_CTL_DONE) return status;
    if (ctl->json && answer.json != NULL) tly_ctl_print_json(answer.json);
    bool refused = answer.status == 429 && answer.json != NULL;
    if (!refused && !tly_ctl_accepted(&answer))
        status = TLY_CTL_NO;
    else if (!ctl->json)
        show_verdict(answer.json);
    if (refused) status = TLY_CTL_NO;
    json_object_put(answer.json);
    return status;
}

enum tly_ctl_exit tly_ctl_check(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    struct json_object *body = json_object_new_object();
    if (body == NULL) return no_memory();
    enum tly_ctl_exit status = add_check(body, args) ? ask_check(ctl, body) : TLY_CTL_USAGE;
    json_object_put(body);
    return status;
}
