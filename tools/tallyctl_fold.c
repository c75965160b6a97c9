/*
 * fold: each line is one key's history; it is given dot by dot to a map of its own, and what the map then holds and
 * reads as is printed.  Nothing is computed here.
 */
#include "crdt/ormap.h"
#include "service/shell/libc_mem.h"
#include "tools/tallyctl.h"
#include "tools/tallyctl_history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define ERROR_BYTES 256

struct fold {
    FILE *in;
    struct tly_registry *registry;
    struct tly_hash_key hash_key;
    uint64_t line; /* from 1 */
    char *text;    /* the line */
    size_t bytes, capacity;
    char error[ERROR_BYTES]; /* of the line */
};

/* One line of the input. */
struct history {
    struct json_object *id;
    struct json_object *ops;
    const struct tly_strategy *strategy;
    struct tly_slice key;
};

struct home {
    const char *strategy, *prefix, *key;
};

static const struct home homes[] = {
    {"epoch_max", "em:", "em:x"},
    {"lww", "kv:", "kv:x"},
    {"epoch_sum", "ctr:", "ctr:x"},
};

#define HOME_COUNT (sizeof homes / sizeof homes[0])

__attribute__((format(printf, 2, 3))) static bool wrong(struct fold *fold, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(fold->error, sizeof fold->error, format, list);
    va_end(list);
    return false;
}

/* ---- one line ---- */

static bool append(struct fold *fold, int byte)
{
    if (fold->bytes + 1 >= fold->capacity) {
        size_t capacity = fold->capacity == 0 ? 4096 : 2 * fold->capacity;
        char *text = realloc(fold->text, capacity);
        if (text == NULL) return wrong(fold, "out of memory");
        fold->text = text;
        fold->capacity = capacity;
    }
    fold->text[fold->bytes++] = (char)byte;
    fold->text[fold->bytes] = '\0';
    return true;
}

/* The next line without its end. False: the end of the input, or error is set. */
static bool next_line(struct fold *fold)
{
    int byte;
    fold->bytes = 0;
    fold->line++;
    while ((byte = getc_unlocked(fold->in)) != EOF && byte != '\n') {
        if (fold->bytes == TLY_CTL_BYTES_MAX) return wrong(fold, "longer than %u bytes", TLY_CTL_BYTES_MAX);
        if (!append(fold, byte)) return false;
    }
    if (ferror(fold->in)) return wrong(fold, "cannot be read: %s", strerror(errno));
    return byte != EOF || fold->bytes > 0;
}

static bool is_blank(const struct fold *fold)
{
    return fold->bytes == 0 || strspn(fold->text, " \t\r") == fold->bytes;
}

static const char *text_member(struct json_object *line, const char *name)
{
    struct json_object *value;
    if (!json_object_object_get_ex(line, name, &value) || !json_object_is_type(value, json_type_string))
        return NULL;
    return json_object_get_string(value);
}

static bool read_history(struct fold *fold, struct json_object *line, struct history *history)
{
    if (!json_object_is_type(line, json_type_object)) return wrong(fold, "an object was expected");
    if (text_member(line, "id") == NULL) return wrong(fold, "\"id\": a string was expected");
    history->id = json_object_object_get(line, "id");
    history->ops = json_object_object_get(line, "ops");
    if (!json_object_is_type(history->ops, json_type_array))
        return wrong(fold, "\"ops\": an array was expected");
    const char *name = text_member(line, "strategy");
    for (size_t i = 0; name != NULL && i < HOME_COUNT; i++) {
        if (strcmp(homes[i].strategy, name) != 0) continue;
        history->strategy = tly_strategy_by_name(tly_slice_text(name));
        history->key = tly_slice_text(homes[i].key);
        return true;
    }
    return wrong(fold, "\"strategy\": \"epoch_max\", \"lww\" or \"epoch_sum\" was expected");
}

static bool apply_ops(struct fold *fold, struct tly_ormap *map, const struct history *history)
{
    for (size_t i = 0; i < json_object_array_length(history->ops); i++) {
        char error[ERROR_BYTES - 32];
        struct tly_dot dot;
        struct json_object *op = json_object_array_get_idx(history->ops, i);
        if (!tly_history_read_op(op, history->strategy, &dot, error, sizeof error))
            return wrong(fold, "ops[%zu]: %s", i, error);
        enum tly_outcome outcome;
        enum tly_result result = tly_ormap_apply(map, history->key, &dot, &outcome);
        if (result != TLY_OK) return wrong(fold, "ops[%zu]: %s", i, tly_result_text(result));
    }
    return true;
}

/* ---- what comes out ---- */

static struct json_object *write_dots(const struct tly_strategy *strategy, const struct tly_dot *dots,
                                      size_t count)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; list != NULL && i < count; i++) {
        struct json_object *dot = tly_history_write_op(strategy, &dots[i]);
        if (dot != NULL && json_object_array_add(list, dot) == 0) continue;
        json_object_put(dot);
        json_object_put(list);
        return NULL;
    }
    return list;
}

static bool print_result(struct json_object *id, struct json_object *dots, struct json_object *read)
{
    struct json_object *result = json_object_new_object();
    bool ok = result != NULL && json_object_object_add(result, "id", json_object_get(id)) == 0 &&
              json_object_object_add(result, "dots", json_object_get(dots)) == 0 &&
              json_object_object_add(result, "read", json_object_get(read)) == 0;
    if (ok) tly_ctl_print_json(result);
    json_object_put(result);
    return ok;
}

static bool print_entry(struct tly_ormap *map, const struct history *history)
{
    struct tly_value value = {0};
    size_t count = 0;
    const struct tly_dot *dots = NULL;
    const struct tly_entry *entry = tly_ormap_find(map, history->key);
    if (entry != NULL) {
        dots = tly_entry_dots(map, entry, &count);
        struct tly_moment at = tly_history_moment(history->strategy, dots, count);
        tly_entry_read(map, entry, &at, &value);
        dots = tly_entry_dots(map, entry, &count);
    }
    struct json_object *list = write_dots(history->strategy, dots, count), *read = NULL;
    bool ok = list != NULL && tly_history_write_read(history->strategy, &value, &read);
    ok = ok && print_result(history->id, list, read);
    json_object_put(read);
    json_object_put(list);
    return ok;
}

static bool fold_history(struct fold *fold, const struct history *history)
{
    struct tly_ormap_config config = {
        .mem = tly_libc_mem(),
        .hash_key = fold->hash_key,
        .registry = fold->registry,
        .keys_max = 1,
        .clock = tly_clock_of(0, (struct tly_time){0}, TLY_MAX_SKEW_NS),
    };
    struct tly_ormap *map = tly_ormap_new(&config);
    if (map == NULL) return wrong(fold, "out of memory");
    bool ok = apply_ops(fold, map, history);
    if (ok && !print_entry(map, history)) ok = wrong(fold, "out of memory");
    tly_ormap_free(map);
    return ok;
}

static bool fold_line(struct fold *fold)
{
    struct json_object *line;
    struct history history = {0};
    if (is_blank(fold)) return true;
    if (!tly_ctl_json(tly_slice_of(fold->text, fold->bytes), &line, fold->error, sizeof fold->error))
        return false;
    bool ok = read_history(fold, line, &history) && fold_history(fold, &history);
    json_object_put(line);
    return ok;
}

/* ---- the whole ---- */

static bool register_homes(struct fold *fold)
{
    struct tly_mem mem = tly_libc_mem();
    fold->registry = tly_registry_new(&mem);
    for (size_t i = 0; fold->registry != NULL && i < HOME_COUNT; i++) {
        const struct tly_strategy *strategy = tly_strategy_by_name(tly_slice_text(homes[i].strategy));
        struct tly_registry *with = NULL;
        enum tly_result result =
            tly_registry_with(fold->registry, tly_slice_text(homes[i].prefix), strategy, &with);
        tly_registry_free(fold->registry);
        fold->registry = result == TLY_OK ? with : NULL;
    }
    return fold->registry != NULL;
}

static bool fold_all(struct fold *fold)
{
    if (!register_homes(fold)) return wrong(fold, "out of memory");
    if (getentropy(&fold->hash_key, sizeof fold->hash_key) != 0) return wrong(fold, "no random bytes");
    while (next_line(fold))
        if (!fold_line(fold)) return false;
    return fold->error[0] == '\0';
}

enum tly_ctl_exit tly_ctl_fold(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)ctl;
    const char *path = args->words[0];
    bool is_stdin = strcmp(path, "-") == 0;
    struct fold fold = {.in = is_stdin ? stdin : fopen(path, "re")};
    if (fold.in == NULL) {
        tly_ctl_complain("%s: %s", path, strerror(errno));
        return TLY_CTL_NO;
    }
    bool ok = fold_all(&fold);
    if (!ok)
        tly_ctl_complain("%s: line %" PRIu64 ": %s", is_stdin ? "standard input" : path, fold.line,
                         fold.error);
    tly_registry_free(fold.registry);
    free(fold.text);
    if (!is_stdin) fclose(fold.in);
    return ok ? TLY_CTL_DONE : TLY_CTL_NO;
}
