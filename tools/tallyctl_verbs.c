#include "tools/tallyctl.h"

#include <stdlib.h>

static enum tly_ctl_exit no_memory(void)
{
    tly_ctl_complain("out of memory");
    return TLY_CTL_NO;
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
    if (args->count == 2 && !tly_ctl_number(args->words[1], INT64_MIN, INT64_MAX, &delta))
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
