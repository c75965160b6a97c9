/*
 * explain: the dots of one key; which stand, and of the others which makes them redundant and by which rule.  A node knows only
 * what stands; files and a log also know what fell.
 */
#include "crdt/diff.h"
#include "crdt/epoch_sum.h"
#include "tools/tallyctl_archive.h"
#include "tools/tallyctl_history.h"

#include <inttypes.h>
#include <stdlib.h>

/* In the order of the verb's options. */
enum { STORE, FROM };

struct sought {
    struct tly_slice key;
    struct tly_ctl_rows rows;
};

static enum tly_ctl_exit no_memory(void)
{
    tly_ctl_complain("out of memory");
    return TLY_CTL_NO;
}

/* ---- judging ---- */

/* The newest row that makes row i redundant, of those that stand if there is one; NULL: it stands. */
static const struct tly_ctl_row *victor_of(const struct tly_ctl_rows *rows, size_t i)
{
    const struct tly_ctl_row *row = &rows->list[i], *victor = NULL;
    for (size_t j = 0; j < rows->count; j++)
        if (tly_dominates(row->strategy, &rows->list[j].dot, &row->dot)) victor = &rows->list[j];
    return victor;
}

/* Rows of one key, sorted: each dot once. */
static void drop_doubles(struct tly_ctl_rows *rows)
{
    size_t kept = 0;
    for (size_t i = 0; i < rows->count; i++)
        if (kept == 0 || !tly_dot_equal(&rows->list[kept - 1].dot, &rows->list[i].dot))
            rows->list[kept++] = rows->list[i];
    rows->count = kept;
}

/* ---- for people ---- */

static void print_row(const struct tly_ctl_rows *rows, size_t i)
{
    const struct tly_ctl_row *row = &rows->list[i], *victor = victor_of(rows, i);
    char time[TLY_CTL_TIME_BYTES], payload[400];
    tly_ctl_time(row->dot.version.ts, time, sizeof time);
    tly_history_describe(row->strategy, &row->dot, payload, sizeof payload);
    printf("%s  %s (%" PRIu64 ") origin %016" PRIx64 "  %s\n", victor == NULL ? "stands" : "fell  ", time,
           row->dot.version.ts, row->dot.version.origin, payload);
    if (victor == NULL) return;
    printf("        %s: ts %" PRIu64 " origin %016" PRIx64 "\n",
           tly_why(row->strategy, &victor->dot, &row->dot), victor->dot.version.ts,
           victor->dot.version.origin);
}

static bool add_victor(struct json_object *dot, const struct tly_ctl_row *row,
                       const struct tly_ctl_row *victor)
{
    if (victor == NULL) return true;
    return tly_ctl_add(dot, "why", json_object_new_string(tly_why(row->strategy, &victor->dot, &row->dot))) &&
           tly_ctl_add(dot, "by_ts", json_object_new_uint64(victor->dot.version.ts)) &&
           tly_ctl_add(dot, "by_origin", json_object_new_uint64(victor->dot.version.origin));
}

static struct json_object *write_row(const struct tly_ctl_rows *rows, size_t i)
{
    const struct tly_ctl_row *row = &rows->list[i], *victor = victor_of(rows, i);
    char time[TLY_CTL_TIME_BYTES];
    tly_ctl_time(row->dot.version.ts, time, sizeof time);
    struct json_object *dot = tly_history_write_op(row->strategy, &row->dot);
    bool ok = dot != NULL && tly_ctl_add(dot, "time", json_object_new_string(time)) &&
              tly_ctl_add(dot, "stands", json_object_new_boolean(victor == NULL)) &&
              add_victor(dot, row, victor);
    if (ok) return dot;
    json_object_put(dot);
    return NULL;
}

static bool print_json(const struct sought *sought)
{
    struct json_object *object = json_object_new_object(), *dots = json_object_new_array();
    bool ok = object != NULL && dots != NULL && tly_ctl_add_text(object, "key", sought->key) &&
              tly_ctl_add(object, "strategy", json_object_new_string(sought->rows.list[0].strategy->name));
    for (size_t i = 0; ok && i < sought->rows.count; i++) {
        struct json_object *dot = write_row(&sought->rows, i);
        ok = dot != NULL && json_object_array_add(dots, dot) == 0;
    }
    ok = ok && tly_ctl_add(object, "dots", json_object_get(dots));
    if (ok) tly_ctl_print_json(object);
    json_object_put(dots);
    json_object_put(object);
    return ok;
}

static enum tly_ctl_exit show(const struct tly_ctl *ctl, struct sought *sought)
{
    char key[300];
    tly_ctl_printable(sought->key, key, sizeof key);
    if (sought->rows.count == 0) {
        tly_ctl_complain("%s: no dot of this key", key);
        return TLY_CTL_NO;
    }
    tly_ctl_rows_sort(&sought->rows);
    drop_doubles(&sought->rows);
    if (ctl->json) return print_json(sought) ? TLY_CTL_DONE : no_memory();
    printf("%s  %s, %zu dots\n", key, sought->rows.list[0].strategy->name, sought->rows.count);
    for (size_t i = 0; i < sought->rows.count; i++)
        print_row(&sought->rows, i);
    return TLY_CTL_DONE;
}

/* ---- from files and logs ---- */

static bool take_row(void *context, const struct tly_row *row)
{
    struct sought *sought = context;
    const struct tly_strategy *strategy = tly_strategy_by_id(row->strategy_id);
    if (strategy == NULL || !tly_slice_equal(row->key, sought->key)) return true;
    struct tly_ctl_row copy = {row->key, strategy, row->dot};
    return tly_ctl_rows_add(&sought->rows, &copy);
}

static enum tly_ctl_exit from_files(const struct tly_ctl *ctl, const struct tly_ctl_args *args,
                                    struct sought *sought)
{
    if (!tly_ctl_read_file(args->option[FROM], sought->key, &sought->rows)) return TLY_CTL_NO;
    for (size_t i = 1; i < args->count; i++)
        if (!tly_ctl_read_file(args->words[i], sought->key, &sought->rows)) return TLY_CTL_NO;
    return show(ctl, sought);
}

static enum tly_ctl_exit from_log(const struct tly_ctl *ctl, const char *directory, struct sought *sought)
{
    return tly_ctl_store_each(directory, take_row, sought) ? show(ctl, sought) : TLY_CTL_NO;
}

/* ---- from a node ---- */

static void print_live(struct json_object *dot, const struct tly_strategy *strategy)
{
    char time[TLY_CTL_TIME_BYTES], payload[400];
    char error[200];
    struct tly_dot read;
    uint64_t ts = (uint64_t)tly_ctl_int(dot, "ts");
    if (ts == 0) {
        printf("stands  not versioned yet: it is counted into, and gets its version with the next flush\n");
        printf("        window %s epoch %s count %s aux %s\n", tly_ctl_text(dot, "window"),
               tly_ctl_text(dot, "epoch"), tly_ctl_text(dot, "count"), tly_ctl_text(dot, "aux"));
        return;
    }
    bool ok = tly_history_read_op(dot, strategy, &read, error, sizeof error);
    if (ok) tly_history_describe(strategy, &read, payload, sizeof payload);
    tly_ctl_time(json_object_get_uint64(json_object_object_get(dot, "ts")), time, sizeof time);
    printf("stands  %s (%s) origin %016" PRIx64 "  %s\n", time, tly_ctl_text(dot, "ts"),
           json_object_get_uint64(json_object_object_get(dot, "origin")),
           ok ? payload : "bytes that are no text");
}

static void print_read(struct json_object *read)
{
    bool plain = tly_ctl_int(read, "window") == 0;
    if (plain)
        printf("reads   %s, generation %s\n", tly_ctl_text(read, "count"), tly_ctl_text(read, "epoch"));
    else
        printf("reads   %s in the window of %s ms now, %s in the one before\n", tly_ctl_text(read, "count"),
               tly_ctl_text(read, "window"), tly_ctl_text(read, "previous"));
}

static void print_bucket(struct json_object *object)
{
    struct json_object *bucket;
    char time[TLY_CTL_TIME_BYTES], emission[32], tolerance[32];
    if (!json_object_object_get_ex(object, "bucket", &bucket)) return;
    tly_ctl_time((uint64_t)tly_ctl_int(bucket, "tat_ns"), time, sizeof time);
    tly_ctl_duration((double)tly_ctl_int(bucket, "emission_ns") / 1e9, emission, sizeof emission);
    tly_ctl_duration((double)tly_ctl_int(bucket, "tolerance_ns") / 1e9, tolerance, sizeof tolerance);
    printf("bucket  full again at %s (%s), one unit each %s, burst of %s\n", time,
           tly_ctl_text(bucket, "tat_ns"), emission, tolerance);
}

static enum tly_ctl_exit show_live(struct json_object *object)
{
    struct json_object *dots = json_object_object_get(object, "dots"),
                       *reads = json_object_object_get(object, "reads");
    const struct tly_strategy *strategy =
        tly_strategy_by_name(tly_slice_text(tly_ctl_text(object, "strategy")));
    if (strategy == NULL || !json_object_is_type(dots, json_type_array)) {
        tly_ctl_complain("the server answered with what this tallyctl does not know");
        return TLY_CTL_UNREACHABLE;
    }
    bool unsealed = strcmp(tly_ctl_text(object, "unsealed"), "true") == 0;
    char key[300];
    tly_ctl_printable(tly_slice_text(tly_ctl_text(object, "key")), key, sizeof key);
    printf("%s  %s, %zu dots%s\n", key, strategy->name, json_object_array_length(dots),
           unsealed ? ", counted into since the last flush" : "");
    for (size_t i = 0; i < json_object_array_length(dots); i++)
        print_live(json_object_array_get_idx(dots, i), strategy);
    for (size_t i = 0; json_object_is_type(reads, json_type_array) && i < json_object_array_length(reads);
         i++)
        print_read(json_object_array_get_idx(reads, i));
    print_bucket(object);
    return TLY_CTL_DONE;
}

static enum tly_ctl_exit from_node(const struct tly_ctl *ctl, const char *key)
{
    char *path = tly_ctl_key_path("/v1/explain/", key);
    if (path == NULL) return no_memory();
    struct tly_ctl_request request = {.method = "GET", .path = path};
    enum tly_ctl_exit status = tly_ctl_ask_and_show(ctl, &request, show_live);
    free(path);
    return status;
}

enum tly_ctl_exit tly_ctl_explain(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    const char *key = args->words[0], *store = args->option[STORE], *file = args->option[FROM];
    if (key[0] == '\0') return tly_ctl_misused("explain", "a key has at least one byte");
    if (store != NULL && file != NULL) return tly_ctl_misused("explain", "either --store or -f, not both");
    if (file == NULL && args->count > 1) return tly_ctl_misused("explain", "one KEY; files stand behind -f");
    if (store == NULL && file == NULL) return from_node(ctl, key);
    struct sought sought = {.key = tly_slice_text(key)};
    enum tly_ctl_exit status = file != NULL ? from_files(ctl, args, &sought) : from_log(ctl, store, &sought);
    tly_ctl_rows_free(&sought.rows);
    return status;
}
