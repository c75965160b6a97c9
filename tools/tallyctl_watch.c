/* tallyctl watch: changes of keys as they happen. */
#include "service/shell/libc_mem.h"
#include "tools/tallyctl.h"
#include "wire/buf.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>

struct watch {
    struct tly_buf text; /* what came of lines that have no end yet */
    bool json;
    bool resync;             /* the event whose data comes next */
    bool broken;             /* what came is no event */
    unsigned long long left; /* changes to show; 0: all */
};

static void show_value(struct json_object *change)
{
    struct json_object *value;
    if (json_object_object_get_ex(change, "epoch", NULL))
        printf("epoch %s count %s", tly_ctl_text(change, "epoch"), tly_ctl_text(change, "count"));
    else if (json_object_object_get_ex(change, "value_base64", NULL))
        printf("base64 %s", tly_ctl_text(change, "value_base64"));
    else if (json_object_object_get_ex(change, "value", &value) && value == NULL)
        printf("deleted");
    else
        tly_ctl_print_plain(tly_ctl_text(change, "value"));
}

static void show_change(struct json_object *change)
{
    bool is_text = json_object_object_get_ex(change, "key", NULL);
    tly_ctl_print_plain(tly_ctl_text(change, is_text ? "key" : "key_base64"));
    putchar('\t');
    show_value(change);
    struct json_object *local;
    bool here = json_object_object_get_ex(change, "local", &local) && json_object_get_boolean(local);
    printf("\t%s%s\n", here ? "here" : "by ", here ? "" : tly_ctl_text(change, "origin"));
}

static void show(const struct watch *watch, struct json_object *change)
{
    if (watch->json && watch->resync)
        puts("{\"resync\":true}");
    else if (watch->json)
        tly_ctl_print_json(change);
    else if (watch->resync)
        puts("changes were missed: read anew");
    else
        show_change(change);
}

/* False: that was enough. */
static bool take_line(struct watch *watch, struct tly_slice line)
{
    static const char event[] = "event: ", data[] = "data: ";
    char error[160];
    if (line.n > sizeof event - 1 && memcmp(line.p, event, sizeof event - 1) == 0)
        watch->resync = line.n == 13 && memcmp(line.p, "event: resync", 13) == 0;
    if (line.n <= sizeof data - 1 || memcmp(line.p, data, sizeof data - 1) != 0) return true;
    struct tly_slice text = tly_slice_of(line.p + sizeof data - 1, line.n - (sizeof data - 1));
    struct json_object *change = NULL;
    watch->broken =
        !tly_ctl_json(text, &change, error, sizeof error) || !json_object_is_type(change, json_type_object);
    if (!watch->broken) show(watch, change);
    json_object_put(change);
    return !watch->broken && fflush(stdout) == 0 && (watch->left == 0 || --watch->left > 0);
}

/* Hands on the lines that are whole. */
static enum tly_ctl_taken take(void *context, struct tly_slice bytes)
{
    struct watch *watch = context;
    struct tly_buf *text = &watch->text;
    tly_buf_put(text, bytes.p, bytes.n);
    watch->broken = text->result != TLY_OK;
    bool goes_on = !watch->broken;
    size_t taken = 0;
    for (uint8_t *end; goes_on && (end = memchr(text->p + taken, '\n', text->n - taken)) != NULL;) {
        struct tly_slice line = tly_slice_of(text->p + taken, (size_t)(end - text->p) - taken);
        *end = '\0'; /* a reader of JSON wants it behind the text */
        goes_on = take_line(watch, line);
        taken += line.n + 1;
    }
    if (!watch->broken) tly_buf_take(text, taken);
    return goes_on ? TLY_CTL_MORE : TLY_CTL_ENOUGH;
}

static enum tly_ctl_exit follow(const struct tly_ctl *ctl, const char *path, struct watch *watch)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_ctl_request request = {
        .method = "GET", .path = path, .take = take, .context = watch, .is_endless = true};
    tly_buf_init(&watch->text, &mem, TLY_CTL_BYTES_MAX);
    enum tly_ctl_exit status = tly_ctl_ask_and_take(ctl, &request);
    tly_buf_fini(&watch->text);
    return status;
}

static bool get_count(const char *text, unsigned long long *count)
{
    char *end;
    if (text == NULL) return true;
    errno = 0;
    *count = strtoull(text, &end, 10);
    return text[0] >= '1' && text[0] <= '9' && *end == '\0' && errno == 0;
}

enum tly_ctl_exit tly_ctl_watch(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    struct watch watch = {.json = ctl->json};
    if (!get_count(args->option[0], &watch.left))
        return tly_ctl_misused("watch", "--count %s: a number from 1 up was expected", args->option[0]);
    char *path = tly_ctl_key_path("/v1/watch?prefix=", args->count > 0 ? args->words[0] : "");
    if (path == NULL) {
        tly_ctl_complain("out of memory");
        return TLY_CTL_NO;
    }
    enum tly_ctl_exit status = follow(ctl, path, &watch);
    free(path);
    if (!watch.broken) return status;
    tly_ctl_complain("%s sent what is no change: is it a tallyd?", ctl->server);
    return TLY_CTL_UNREACHABLE;
}
