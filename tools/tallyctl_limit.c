/* limit list, show, claim: the named limits of a node. */
#include "tools/tallyctl.h"

#include <inttypes.h>
#include <stdlib.h>

/* A unit and the name of a zone. */
#define WINDOW_BYTES 96

/* What the units are per: "10.0 s", or "month, Europe/Berlin", or that there is no window. */
static const char *window_text(struct json_object *limit, char *text, size_t size)
{
    const char *algorithm = tly_ctl_text(limit, "algorithm");
    if (strcmp(algorithm, "counter") == 0)
        (void)snprintf(text, size, "-");
    else if (strcmp(algorithm, "concurrency") == 0)
        (void)snprintf(text, size, "at once");
    else if (strcmp(algorithm, "quota") == 0)
        (void)snprintf(text, size, "%s, %s", tly_ctl_text(limit, "unit"), tly_ctl_text(limit, "zone"));
    else
        tly_ctl_duration((double)tly_ctl_int(limit, "window_ms") / 1e3, text, size);
    return text;
}

static void print_units(struct json_object *limit)
{
    char window[WINDOW_BYTES];
    const char *algorithm = tly_ctl_text(limit, "algorithm");
    (void)window_text(limit, window, sizeof window);
    if (strcmp(algorithm, "counter") == 0)
        printf("from %s to %s", tly_ctl_text(limit, "min"), tly_ctl_text(limit, "limit"));
    else if (strcmp(algorithm, "concurrency") == 0)
        printf("%s %s", tly_ctl_text(limit, "limit"), window);
    else
        printf("%s per %s", tly_ctl_text(limit, "limit"), window);
    if (json_object_object_get_ex(limit, "burst", NULL)) printf(", burst %s", tly_ctl_text(limit, "burst"));
}

/* "50 (0.50 %)", or "none". */
static void print_bound(struct json_object *limit)
{
    int64_t bound = tly_ctl_int(limit, "bound"), units = tly_ctl_int(limit, "limit");
    if (bound < 0)
        printf("none: members cannot be reached, and on_partition is open\n");
    else
        printf("%" PRId64 " units (%.2f %% of the limit)\n", bound,
               units > 0 ? 100 * (double)bound / (double)units : 0.0);
}

/* Of a hard limit. */
static void print_rights(struct json_object *in)
{
    char left[32];
    const char *state = "in use";
    if (!json_object_object_get_ex(in, "founded", NULL)) return;
    if (tly_ctl_is_true(in, "nobodys")) state = "of this window nobody's: it began before there were any";
    if (strcmp(tly_ctl_text(in, "counts"), "true") != 0)
        state = "not used: this node cannot tell what it did, or was alone for long";
    if (strcmp(tly_ctl_text(in, "founded"), "true") != 0)
        state = "nobody's yet: every member and seed must have been met";
    printf("  rights       %s\n", state);
    if (!json_object_object_get_ex(in, "share", NULL)) return;
    tly_ctl_duration((double)tly_ctl_int(in, "window_left_ms") / 1e3, left, sizeof left);
    printf(
        "  share        %s units of this window here, %s on all nodes that can be reached; it ends in %s\n",
        tly_ctl_text(in, "share"), tly_ctl_text(in, "share_here"), left);
}

static void print_inputs(struct json_object *limit)
{
    struct json_object *in = NULL;
    if (!json_object_object_get_ex(limit, "inputs", &in)) return;
    printf("  members      %s, of which %s cannot be reached; %s lives ended lately\n",
           tly_ctl_text(in, "members"), tly_ctl_text(in, "lost"), tly_ctl_text(in, "ended_lives"));
    printf("  flush        %s ms; carried forward for %s ms\n", tly_ctl_text(in, "flush_ms"),
           tly_ctl_text(in, "horizon_ms"));
    print_rights(in);
    printf("  keys         %s near the limit or capped\n", tly_ctl_text(in, "watched_keys"));
}

static void print_others(struct json_object *limit)
{
    struct json_object *others = NULL;
    if (!json_object_object_get_ex(limit, "others", &others)) return;
    size_t count = json_object_array_length(others);
    for (size_t i = 0; i < count; i++) {
        struct json_object *other = json_object_array_get_idx(others, i);
        const char *node = tly_ctl_text(other, "node");
        printf("  ");
        tly_ctl_print_plain(node[0] != '\0' ? node : tly_ctl_text(other, "origin"));
        printf(": %s units, %.3f/s, known %s ms ago, at most %s unseen\n", tly_ctl_text(other, "units"),
               (double)tly_ctl_int(other, "units_per_1000s") / 1e3, tly_ctl_text(other, "staleness_ms"),
               tly_ctl_text(other, "unseen"));
    }
}

static enum tly_ctl_exit show_limit(struct json_object *limit)
{
    bool is_hard = strcmp(tly_ctl_text(limit, "mode"), "hard") == 0;
    tly_ctl_print_plain(tly_ctl_text(limit, "name"));
    printf(": ");
    print_units(limit);
    printf(", %s, %s", tly_ctl_text(limit, "algorithm"), tly_ctl_text(limit, "mode"));
    if (json_object_object_get_ex(limit, "cap", NULL)) printf(": %s", tly_ctl_text(limit, "cap"));
    if (!is_hard) printf(", on_partition %s", tly_ctl_text(limit, "on_partition"));
    puts(tly_ctl_is_true(limit, "shadow") ? ", shadow" : "");
    printf("  bound now    ");
    print_bound(limit);
    printf("  follows from %s\n", tly_ctl_text(limit, "formula"));
    print_inputs(limit);
    if (json_object_object_get_ex(limit, "worst_key", NULL)) {
        printf("  widest key   ");
        tly_ctl_print_plain(tly_ctl_text(limit, "worst_key"));
        putchar('\n');
    }
    print_others(limit);
    return TLY_CTL_DONE;
}

#define COLUMNS 6

static enum tly_ctl_exit show_limits(struct json_object *limits)
{
    static const char *const heads[COLUMNS] = {"NAME", "UNITS", "PER", "ALGORITHM", "MODE", "ON PARTITION"};
    size_t count = json_object_array_length(limits);
    const char **cells = calloc((count + 1) * COLUMNS, sizeof *cells);
    char(*windows)[WINDOW_BYTES] = calloc(count + 1, sizeof *windows);
    bool good = cells != NULL && windows != NULL;
    for (size_t i = 0; good && i <= count; i++) {
        struct json_object *limit = i > 0 ? json_object_array_get_idx(limits, i - 1) : NULL;
        const char *row[COLUMNS] = {
            tly_ctl_text(limit, "name"),
            tly_ctl_text(limit, "limit"),
            i > 0 ? window_text(limit, windows[i], sizeof windows[i]) : "",
            tly_ctl_text(limit, "algorithm"),
            tly_ctl_text(limit, "mode"),
            strcmp(tly_ctl_text(limit, "mode"), "hard") == 0 ? "-" : tly_ctl_text(limit, "on_partition")};
        memcpy(&cells[i * COLUMNS], i > 0 ? row : heads, sizeof row);
    }
    if (good) tly_ctl_table(stdout, cells, count + 1, COLUMNS);
    free(cells);
    free(windows);
    if (!good) tly_ctl_complain("out of memory");
    return good ? TLY_CTL_DONE : TLY_CTL_NO;
}

static enum tly_ctl_exit show_claimed(struct json_object *json)
{
    (void)json;
    puts("claimed: this node holds the rights of all windows that began before there were any");
    return TLY_CTL_DONE;
}

/* It is not to be had by mistake: where somebody did count, more than the limit is admitted. */
static enum tly_ctl_exit claim(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    if (args->option[0] == NULL)
        return tly_ctl_misused("limit",
                               "claim says that no hard limit ever counted in the windows that have begun; "
                               "if that is so: limit claim --force");
    struct tly_ctl_request request = {.method = "POST", .path = "/v1/cluster/claim"};
    return tly_ctl_ask_and_show(ctl, &request, show_claimed);
}

enum tly_ctl_exit tly_ctl_limit(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    bool shows = strcmp(args->words[0], "show") == 0, lists = strcmp(args->words[0], "list") == 0;
    if (strcmp(args->words[0], "claim") == 0 && args->count == 1) return claim(ctl, args);
    if (lists && args->count == 1)
        return tly_ctl_ask_and_show(ctl, &(struct tly_ctl_request){.method = "GET", .path = "/v1/limits"},
                                    show_limits);
    if (!shows || args->count != 2 || args->words[1][0] == '\0')
        return tly_ctl_misused("limit", "list, show with the NAME of a limit, or claim");
    char *path = tly_ctl_key_path("/v1/limits/", args->words[1]);
    if (path == NULL) {
        tly_ctl_complain("out of memory");
        return TLY_CTL_NO;
    }
    struct tly_ctl_request request = {.method = "GET", .path = path};
    enum tly_ctl_exit status = tly_ctl_ask_and_show(ctl, &request, show_limit);
    free(path);
    return status;
}
