/* why: why a key was refused; top: what is asked and refused most, live. */
#include "tools/tallyctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void print_shards(struct json_object *refusal)
{
    struct json_object *shards = NULL;
    if (!json_object_object_get_ex(refusal, "shards", &shards)) return;
    size_t count = json_object_array_length(shards);
    for (size_t i = 0; i < count; i++) {
        struct json_object *shard = json_object_array_get_idx(shards, i);
        printf("  life %s: %s units in epoch %s, %s in the one before\n", tly_ctl_text(shard, "origin"),
               tly_ctl_text(shard, "units"), tly_ctl_text(shard, "epoch"), tly_ctl_text(shard, "before"));
    }
}

static enum tly_ctl_exit show_why(struct json_object *refusal)
{
    char at[TLY_CTL_TIME_BYTES], window[32];
    struct json_object *verdict = NULL;
    if (!json_object_object_get_ex(refusal, "verdict", &verdict)) return TLY_CTL_UNREACHABLE;
    tly_ctl_time((uint64_t)tly_ctl_int(refusal, "at_ms") * 1000000, at, sizeof at);
    tly_ctl_duration((double)tly_ctl_int(verdict, "window_ms") / 1e3, window, sizeof window);
    tly_ctl_print_plain(tly_ctl_text(refusal, "key"));
    printf(": refused at %.23sZ, %s times lately\n", at, tly_ctl_text(refusal, "times"));
    bool has_window = tly_ctl_int(verdict, "window_ms") > 0; /* a counter has none */
    printf("  rule         %s%s%s, %s, %s\n", tly_ctl_text(verdict, "limit"), has_window ? " per " : "",
           has_window ? window : "", tly_ctl_text(verdict, "algorithm"), tly_ctl_text(verdict, "mode"));
    printf("  reason       %s: %s\n", tly_ctl_text(verdict, "reason"), tly_ctl_text(verdict, "why"));
    printf("  bound then   %s\n",
           tly_ctl_int(verdict, "bound") < 0 ? "none" : tly_ctl_text(verdict, "bound"));
    print_shards(refusal);
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_why(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    if (args->words[0][0] == '\0') return tly_ctl_misused("why", "a key has at least one byte");
    char *path = tly_ctl_key_path("/v1/why/", args->words[0]);
    if (path == NULL) {
        tly_ctl_complain("out of memory");
        return TLY_CTL_NO;
    }
    struct tly_ctl_request request = {.method = "GET", .path = path};
    enum tly_ctl_exit status = tly_ctl_ask_and_show(ctl, &request, show_why);
    free(path);
    return status;
}

/* ---- top ---- */

#define COLUMNS 6
#define ROWS_MAX 20

static void show_refused(struct json_object *refusals)
{
    static const char *const heads[COLUMNS] = {"REFUSED", "KEY", "LIMIT", "REASON", "BOUND", "RETRY MS"};
    const char *cells[(ROWS_MAX + 1) * COLUMNS];
    size_t rows = 1;
    memcpy(cells, heads, sizeof heads);
    for (size_t i = 0; i < json_object_array_length(refusals) && rows <= ROWS_MAX; i++, rows++) {
        struct json_object *one = json_object_array_get_idx(refusals, i), *verdict = NULL;
        (void)json_object_object_get_ex(one, "verdict", &verdict);
        const char *row[COLUMNS] = {tly_ctl_text(one, "times"),     tly_ctl_text(one, "key"),
                                    tly_ctl_text(verdict, "limit"), tly_ctl_text(verdict, "reason"),
                                    tly_ctl_text(verdict, "bound"), tly_ctl_text(verdict, "retry_after_ms")};
        memcpy(&cells[rows * COLUMNS], row, sizeof row);
    }
    tly_ctl_table(stdout, cells, rows, COLUMNS);
}

#define TOP_COLUMNS 4

static void show_keys(struct json_object *keys)
{
    static const char *const heads[TOP_COLUMNS] = {"CHECKS/S", "USED", "LIMIT", "KEY"};
    const char *cells[(ROWS_MAX + 1) * TOP_COLUMNS];
    char rates[ROWS_MAX][32];
    size_t rows = 1;
    memcpy(cells, heads, sizeof heads);
    for (size_t i = 0; i < json_object_array_length(keys) && rows <= ROWS_MAX; i++, rows++) {
        struct json_object *one = json_object_array_get_idx(keys, i);
        int64_t rate = tly_ctl_int(one, "checks_per_1000s");
        (void)snprintf(rates[i], sizeof rates[i], "%" PRId64 ".%" PRId64, rate / 1000, rate % 1000 / 100);
        const char *row[TOP_COLUMNS] = {rates[i], tly_ctl_text(one, "used"), tly_ctl_text(one, "limit"),
                                        tly_ctl_text(one, "key")};
        memcpy(&cells[rows * TOP_COLUMNS], row, sizeof row);
    }
    tly_ctl_table(stdout, cells, rows, TOP_COLUMNS);
}

static enum tly_ctl_exit show_top(struct json_object *top)
{
    struct json_object *hottest = NULL, *fullest = NULL, *refused = NULL;
    bool good = json_object_object_get_ex(top, "hottest", &hottest) &&
                json_object_object_get_ex(top, "fullest", &fullest) &&
                json_object_object_get_ex(top, "refused", &refused);
    if (!good) return TLY_CTL_UNREACHABLE;
    if (isatty(STDOUT_FILENO)) fputs("\033[H\033[J", stdout);
    printf("hottest\n");
    show_keys(hottest);
    printf("\nfullest\n");
    show_keys(fullest);
    printf("\nmost refused\n");
    show_refused(refused);
    fflush(stdout);
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_top(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    struct tly_ctl_request request = {.method = "GET", .path = "/v1/top"};
    const struct timespec second = {.tv_sec = 1};
    for (;;) {
        enum tly_ctl_exit status = tly_ctl_ask_and_show(ctl, &request, show_top);
        if (status != TLY_CTL_DONE || args->option[0] != NULL) return status;
        if (nanosleep(&second, NULL) != 0) return TLY_CTL_DONE;
    }
}
