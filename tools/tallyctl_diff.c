/* diff: what B's dots add to A's, key by key. */
#include "crdt/diff.h"
#include "tools/tallyctl_archive.h"
#include "tools/tallyctl_history.h"

#include <inttypes.h>
#include <stdlib.h>

/* In the order of the verb's options. */
enum { OUT, TEXT };
/* As diff(1) has it. */
enum { EQUAL = TLY_CTL_DONE, DIFFERENT = TLY_CTL_NO, TROUBLE = TLY_CTL_USAGE };

/* Adds to `out` the least dots of one key that a lacks; both groups are of that key, either may be empty. */
static bool diff_key(const struct tly_ctl_row *a, size_t a_count, const struct tly_ctl_row *b, size_t b_count,
                     struct tly_ctl_rows *out)
{
    struct tly_dot *dots = calloc(a_count + b_count + 1, sizeof *dots);
    if (dots == NULL) return false;
    for (size_t i = 0; i < a_count; i++)
        dots[i] = a[i].dot;
    for (size_t i = 0; i < b_count; i++)
        dots[a_count + i] = b[i].dot;
    size_t left = tly_diff(b->strategy, (struct tly_dots){dots, a_count}, dots + a_count, b_count);
    bool ok = true;
    for (size_t i = 0; ok && i < left; i++) {
        struct tly_ctl_row row = {b->key, b->strategy, dots[a_count + i]};
        ok = tly_ctl_rows_add(out, &row);
    }
    free(dots);
    return ok;
}

/* The first row of `a` from i on whose key is not before this one. */
static size_t skip_to(const struct tly_ctl_rows *a, size_t i, struct tly_slice key)
{
    while (i < a->count && tly_slice_compare(a->list[i].key, key) < 0)
        i++;
    return i;
}

static bool has_one_strategy(const struct tly_ctl_row *a, const struct tly_ctl_row *b)
{
    if (a->strategy == b->strategy) return true;
    char key[120];
    tly_ctl_printable(b->key, key, sizeof key);
    tly_ctl_complain("%s is of strategy %s in one file and %s in the other", key, a->strategy->name,
                     b->strategy->name);
    return false;
}

static bool diff_all(const struct tly_ctl_rows *a, const struct tly_ctl_rows *b, struct tly_ctl_rows *out)
{
    size_t at = 0;
    for (size_t i = 0, count; i < b->count; i += count) {
        const struct tly_ctl_row *first = &b->list[i];
        count = tly_ctl_rows_group(b, i);
        at = skip_to(a, at, first->key);
        bool there = at < a->count && tly_slice_equal(a->list[at].key, first->key);
        if (there && !has_one_strategy(&a->list[at], first)) return false;
        size_t a_count = there ? tly_ctl_rows_group(a, at) : 0;
        if (diff_key(there ? &a->list[at] : NULL, a_count, first, count, out)) continue;
        tly_ctl_complain("out of memory");
        return false;
    }
    return true;
}

/* ---- showing ---- */

static bool print_json(const struct tly_ctl_row *row)
{
    struct json_object *dot = tly_history_write_op(row->strategy, &row->dot),
                       *line = json_object_new_object();
    bool ok = dot != NULL && line != NULL && tly_ctl_add_text(line, "key", row->key) &&
              tly_ctl_add(line, "strategy", json_object_new_string(row->strategy->name)) &&
              tly_ctl_add(line, "dot", json_object_get(dot));
    if (ok) tly_ctl_print_json(line);
    json_object_put(dot);
    json_object_put(line);
    return ok;
}

static bool print_text(const struct tly_ctl_row *row)
{
    char key[300], time[TLY_CTL_TIME_BYTES], payload[400];
    tly_ctl_printable(row->key, key, sizeof key);
    tly_ctl_time(row->dot.version.ts, time, sizeof time);
    tly_history_describe(row->strategy, &row->dot, payload, sizeof payload);
    printf("%s  %s  %s origin %016" PRIx64 "\n", key, payload, time, row->dot.version.origin);
    return true;
}

static bool print_all(const struct tly_ctl *ctl, const struct tly_ctl_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        if (!(ctl->json ? print_json : print_text)(&rows->list[i])) return false;
    return true;
}

static int compare(const struct tly_ctl *ctl, const struct tly_ctl_args *args, struct tly_ctl_rows sides[3])
{
    for (size_t i = 0; i < 2; i++) {
        if (!tly_ctl_read_file(args->words[i], tly_slice_of(NULL, 0), &sides[i])) return TROUBLE;
        tly_ctl_rows_sort(&sides[i]);
    }
    if (!diff_all(&sides[0], &sides[1], &sides[2])) return TROUBLE;
    const char *path = args->option[OUT];
    if (path != NULL && !tly_ctl_write_file(path, &sides[2])) return TROUBLE;
    bool prints = path == NULL || args->option[TEXT] != NULL || (ctl->json && strcmp(path, "-") != 0);
    if (prints && (!print_all(ctl, &sides[2]) || fflush(stdout) != 0)) return TROUBLE;
    return sides[2].count > 0 ? DIFFERENT : EQUAL;
}

enum tly_ctl_exit tly_ctl_diff(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    struct tly_ctl_rows sides[3] = {{0}}; /* A, B, and what A lacks */
    int status = compare(ctl, args, sides);
    for (size_t i = 0; i < 3; i++)
        tly_ctl_rows_free(&sides[i]);
    return (enum tly_ctl_exit)status;
}
