/*
 * get -o FILE and update --from FILE: keys in a file, to be changed with an editor and written back.
 *
 *     {"tally": "keys", "format": 1, "keys": {
 *         "kv:a": {"value": "one", "read": {"strategy": "lww", "ts": 17, "origin": 4, "value": "one"}}, … }}
 *
 * "read" stays as it is: it tells what was changed here, and what elsewhere meanwhile.  Only the first is written.
 */
#include "tools/tallyctl_archive.h"

#include "crdt/epoch_sum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define FORMAT 1
#define KEYS_MAX 10000

/* In the order of the verb's options. */
enum { FROM, DRY_RUN };

/* What a key reads as: the members "value", or "epoch" and "count", and perhaps "deadline_ms". */
static const char *const members[] = {"value", "epoch", "count", "deadline_ms"};
#define MEMBERS (sizeof members / sizeof members[0])

static bool fail(const char *key, const char *why)
{
    char text[300];
    tly_ctl_printable(tly_slice_text(key), text, sizeof text);
    tly_ctl_complain("%s: %s", text, why);
    return false;
}

/* ---- what a node holds ---- */

static void take_newest(struct json_object *dot, struct tly_version *newest)
{
    struct tly_version version = {json_object_get_uint64(json_object_object_get(dot, "ts")),
                                  json_object_get_uint64(json_object_object_get(dot, "origin"))};
    if (tly_version_compare(version, *newest) > 0) *newest = version;
}

/* Copies the members that `from` has. */
static bool copy_members(struct json_object *from, struct json_object *to)
{
    struct json_object *value;
    for (size_t i = 0; i < MEMBERS; i++)
        if (json_object_object_get_ex(from, members[i], &value) &&
            !tly_ctl_add(to, members[i], json_object_get(value)))
            return false;
    return true;
}

static bool is_put(struct json_object *dot)
{
    return strcmp(tly_ctl_text(dot, "op"), "put") == 0;
}

/* The put that an lww or epoch_max key reads as; NULL: it is absent. */
static struct json_object *greatest_put(struct json_object *dots)
{
    struct json_object *greatest = NULL;
    for (size_t i = 0; i < json_object_array_length(dots); i++) {
        struct json_object *dot = json_object_array_get_idx(dots, i);
        if (!is_put(dot)) continue;
        uint64_t epoch = json_object_get_uint64(json_object_object_get(dot, "epoch"));
        uint64_t most = json_object_get_uint64(json_object_object_get(greatest, "epoch"));
        bool greater =
            epoch != most ? epoch > most : tly_ctl_int(dot, "count") >= tly_ctl_int(greatest, "count");
        if (greatest == NULL || greater) greatest = dot;
    }
    return greatest;
}

static bool has_passed(struct json_object *dot, struct json_object *entry)
{
    int64_t deadline = tly_ctl_int(dot, "deadline_ms");
    return deadline != 0 && tly_ctl_int(entry, "now_ms") >= deadline;
}

/* The plain counter among the reads; NULL: it is absent, or there is none. */
static struct json_object *plain_read(struct json_object *entry)
{
    struct json_object *reads = json_object_object_get(entry, "reads");
    for (size_t i = 0; json_object_is_type(reads, json_type_array) && i < json_object_array_length(reads);
         i++) {
        struct json_object *read = json_object_array_get_idx(reads, i);
        if (tly_ctl_int(read, "window") == 0 && strcmp(tly_ctl_text(read, "present"), "true") == 0)
            return read;
    }
    return NULL;
}

/* Puts what it reads as into `out`. False: it reads as nothing, or as nothing that can be written; *why says it. */
static bool put_value(struct json_object *entry, struct json_object *out, const char **why)
{
    struct json_object *dots = json_object_object_get(entry, "dots");
    *why = "there is no such key";
    if (strcmp(tly_ctl_text(entry, "strategy"), "epoch_sum") == 0) {
        struct json_object *read = plain_read(entry), *count = NULL;
        if (read == NULL || !json_object_object_get_ex(read, "count", &count)) return false;
        *why = "the counts of a limit cannot be edited";
        if (strncmp(tly_ctl_text(entry, "key"), "rl:", 3) == 0) return false;
        return tly_ctl_add(out, "value", json_object_get(count));
    }
    struct json_object *dot = greatest_put(dots);
    if (dot == NULL || has_passed(dot, entry)) return false;
    *why = "its value is no text and cannot be edited";
    return !json_object_object_get_ex(dot, "value_base64", NULL) && copy_members(dot, out);
}

/* The entry as a node has it now, read: strategy, version and value; to be released. NULL: *status and, unless quiet, said. */
static struct json_object *ask_key(const struct tly_ctl *ctl, const char *key, enum tly_ctl_exit *status,
                                   const char **why)
{
    char *path = tly_ctl_key_path("/v1/explain/", key);
    struct tly_ctl_answer answer = {0};
    struct tly_ctl_request request = {.method = "GET", .path = path};
    *why = NULL;
    *status = path != NULL ? tly_ctl_ask(ctl, &request, &answer) : TLY_CTL_NO;
    free(path);
    if (*status != TLY_CTL_DONE) return NULL;
    *status = TLY_CTL_NO;
    struct json_object *read = json_object_new_object(), *dots = json_object_object_get(answer.json, "dots");
    bool ok = read != NULL && answer.status == 200 && json_object_is_type(dots, json_type_array);
    if (answer.status == 404) *why = "there is no such key";
    if (!ok && answer.status != 404) (void)tly_ctl_accepted(&answer);
    struct tly_version newest = {0};
    for (size_t i = 0; ok && i < json_object_array_length(dots); i++)
        take_newest(json_object_array_get_idx(dots, i), &newest);
    ok = ok && tly_ctl_add(read, "strategy", json_object_new_string(tly_ctl_text(answer.json, "strategy"))) &&
         tly_ctl_add(read, "ts", json_object_new_uint64(newest.ts)) &&
         tly_ctl_add(read, "origin", json_object_new_uint64(newest.origin)) &&
         put_value(answer.json, read, why);
    json_object_put(answer.json);
    if (ok) *status = TLY_CTL_DONE;
    if (ok) return read;
    json_object_put(read);
    return NULL;
}

/* ---- get -o ---- */

/* Takes `read` over. */
static bool add_key(struct json_object *keys, const char *key, struct json_object *read)
{
    struct json_object *entry = json_object_new_object();
    bool ok = entry != NULL && copy_members(read, entry) &&
              tly_ctl_add(entry, "read", json_object_get(read)) &&
              tly_ctl_add(keys, key, json_object_get(entry));
    json_object_put(entry);
    json_object_put(read);
    return ok || fail(key, "out of memory");
}

static enum tly_ctl_exit get_key(const struct tly_ctl *ctl, const char *key, struct json_object *keys,
                                 bool may_skip)
{
    enum tly_ctl_exit status;
    const char *why;
    struct json_object *read = ask_key(ctl, key, &status, &why);
    if (read != NULL) return add_key(keys, key, read) ? TLY_CTL_DONE : TLY_CTL_NO;
    if (why == NULL) return status;
    if (may_skip) return TLY_CTL_DONE;
    (void)fail(key, why);
    return TLY_CTL_NO;
}

struct listing {
    struct tly_ctl_rows rows;
    struct tly_ctl_reading reading;
};

static enum tly_ctl_taken take_listing(void *context, struct tly_slice bytes)
{
    struct listing *listing = context;
    bool ok = tly_ctl_reading_take(&listing->reading, bytes) && listing->rows.count <= 4 * (size_t)KEYS_MAX;
    return ok ? TLY_CTL_MORE : TLY_CTL_FAILED;
}

/* All keys that begin so, as a node exports them. */
static enum tly_ctl_exit list_keys(const struct tly_ctl *ctl, const char *prefix, struct listing *listing)
{
    char *path = tly_ctl_key_path("/v1/export?prefix=", prefix);
    struct tly_ctl_request request = {
        .method = "GET", .path = path, .take = take_listing, .context = listing};
    enum tly_ctl_exit status = path != NULL ? tly_ctl_ask_and_take(ctl, &request) : TLY_CTL_NO;
    bool is_much = listing->rows.count > 4 * (size_t)KEYS_MAX;
    if (status == TLY_CTL_DONE) (void)tly_ctl_reading_end(&listing->reading);
    if (is_much)
        tly_ctl_complain("%s* is too much: a file for an editor has at most %d keys", prefix, KEYS_MAX);
    else if (listing->reading.error[0] != '\0') {
        tly_ctl_complain("what came is no whole export, %s", listing->reading.error);
        status = TLY_CTL_UNREACHABLE;
    }
    free(path);
    tly_ctl_rows_sort(&listing->rows);
    return status;
}

static enum tly_ctl_exit get_listed(const struct tly_ctl *ctl, const struct tly_ctl_rows *rows,
                                    struct json_object *keys)
{
    enum tly_ctl_exit status = TLY_CTL_DONE;
    for (size_t i = 0, count; status == TLY_CTL_DONE && i < rows->count; i += count) {
        char key[TLY_KEY_BYTES_MAX + 1];
        struct tly_slice bytes = rows->list[i].key;
        count = tly_ctl_rows_group(rows, i);
        memcpy(key, bytes.p, bytes.n);
        key[bytes.n] = '\0';
        if (strlen(key) == bytes.n) status = get_key(ctl, key, keys, true);
    }
    return status;
}

static enum tly_ctl_exit get_prefix(const struct tly_ctl *ctl, const char *word, struct json_object *keys)
{
    char prefix[TLY_KEY_BYTES_MAX + 1];
    size_t n = strlen(word) - 1;
    if (n > TLY_KEY_BYTES_MAX) return tly_ctl_misused("get", "a key has at most %d bytes", TLY_KEY_BYTES_MAX);
    memcpy(prefix, word, n);
    prefix[n] = '\0';
    struct listing listing = {{0}, {0}};
    tly_ctl_reading_init(&listing.reading, &listing.rows);
    enum tly_ctl_exit status = list_keys(ctl, prefix, &listing);
    if (status == TLY_CTL_DONE) status = get_listed(ctl, &listing.rows, keys);
    tly_ctl_reading_fini(&listing.reading);
    tly_ctl_rows_free(&listing.rows);
    return status;
}

static bool write_keys(const char *path, struct json_object *keys)
{
    struct json_object *file = json_object_new_object();
    bool ok = file != NULL && tly_ctl_add(file, "tally", json_object_new_string("keys")) &&
              tly_ctl_add(file, "format", json_object_new_int(FORMAT)) &&
              tly_ctl_add(file, "keys", json_object_get(keys));
    int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
    const char *text = ok ? json_object_to_json_string_ext(file, flags) : NULL;
    FILE *out = strcmp(path, "-") == 0 ? stdout : text != NULL ? fopen(path, "we") : NULL;
    ok = text != NULL && out != NULL && fprintf(out, "%s\n", text) >= 0 && fflush(out) == 0;
    if (!ok) tly_ctl_complain("%s: %s", path, text == NULL ? "out of memory" : strerror(errno));
    if (out != NULL && out != stdout) (void)fclose(out);
    json_object_put(file);
    return ok;
}

enum tly_ctl_exit tly_ctl_get_keys(const struct tly_ctl *ctl, const struct tly_ctl_args *args,
                                   const char *path)
{
    struct json_object *keys = json_object_new_object();
    enum tly_ctl_exit status = TLY_CTL_DONE;
    for (size_t i = 0; status == TLY_CTL_DONE && i < args->count; i++) {
        const char *word = args->words[i];
        bool is_prefix = word[0] != '\0' && word[strlen(word) - 1] == '*';
        status = is_prefix ? get_prefix(ctl, word, keys) : get_key(ctl, word, keys, false);
    }
    if (status == TLY_CTL_DONE && !write_keys(path, keys)) status = TLY_CTL_NO;
    if (status == TLY_CTL_DONE && strcmp(path, "-") != 0)
        fprintf(stderr, "%d keys in %s\n", json_object_object_length(keys), path);
    json_object_put(keys);
    return status;
}

/* ---- update ---- */

/* One key of the file. */
struct edit {
    const char *key;
    struct json_object *entry, *read; /* borrowed */
    struct json_object *now;          /* owned */
    bool conflict;
};

static bool same_member(struct json_object *a, struct json_object *b, const char *name)
{
    struct json_object *x = NULL, *y = NULL;
    bool in_a = json_object_object_get_ex(a, name, &x), in_b = json_object_object_get_ex(b, name, &y);
    return in_a == in_b && (!in_a || json_object_equal(x, y));
}

static bool is_edited(const struct edit *edit)
{
    for (size_t i = 0; i < MEMBERS; i++)
        if (!same_member(edit->entry, edit->read, members[i])) return true;
    return false;
}

static bool has_kind(struct json_object *object, const char *name, enum json_type type)
{
    struct json_object *value;
    return json_object_object_get_ex(object, name, &value) && json_object_is_type(value, type);
}

static bool is_strategy(const struct edit *edit, const char *name)
{
    return strcmp(tly_ctl_text(edit->read, "strategy"), name) == 0;
}

/* Whether what stands in the file is a value of the key's strategy. */
static bool check_kind(const struct edit *edit)
{
    struct json_object *value = json_object_object_get(edit->entry, "value");
    if (is_strategy(edit, "epoch_max"))
        return (has_kind(edit->entry, "epoch", json_type_int) &&
                has_kind(edit->entry, "count", json_type_int)) ||
               fail(edit->key, "\"epoch\" and \"count\" are whole numbers");
    bool is_counter = is_strategy(edit, "epoch_sum");
    if (!is_counter && !is_strategy(edit, "lww")) return fail(edit->key, "\"read\" is not as it was written");
    if (!is_counter)
        return has_kind(edit->entry, "value", json_type_string) || fail(edit->key, "\"value\" is a string");
    int64_t delta;
    if (!has_kind(edit->entry, "value", json_type_int)) return fail(edit->key, "\"value\" is a whole number");
    return !__builtin_sub_overflow(json_object_get_int64(value), tly_ctl_int(edit->read, "value"), &delta) ||
           fail(edit->key, "the change of \"value\" does not fit 64 bits");
}

/* Looks at the key as it is now. Anything but TLY_CTL_DONE: it was said what is wrong. */
static enum tly_ctl_exit look(const struct tly_ctl *ctl, struct edit *edit)
{
    enum tly_ctl_exit status;
    const char *why;
    edit->now = ask_key(ctl, edit->key, &status, &why);
    if (edit->now != NULL) {
        edit->conflict =
            !same_member(edit->now, edit->read, "ts") || !same_member(edit->now, edit->read, "origin");
        return TLY_CTL_DONE;
    }
    if (why != NULL) (void)fail(edit->key, "it is absent now, and an absent key is not edited");
    return status;
}

static struct json_object *body_of(const struct edit *edit)
{
    struct json_object *body = json_object_new_object();
    bool ok = body != NULL;
    if (is_strategy(edit, "epoch_sum"))
        ok = ok && tly_ctl_add(body, "delta",
                               json_object_new_int64(tly_ctl_int(edit->entry, "value") -
                                                     tly_ctl_int(edit->read, "value")));
    else
        ok = ok && copy_members(edit->entry, body);
    if (ok) return body;
    json_object_put(body);
    return NULL;
}

static bool is_below(struct json_object *a, struct json_object *b)
{
    uint64_t x = json_object_get_uint64(json_object_object_get(a, "epoch"));
    uint64_t y = json_object_get_uint64(json_object_object_get(b, "epoch"));
    return x != y ? x < y : tly_ctl_int(a, "count") < tly_ctl_int(b, "count");
}

/* What becomes of both changes, as the strategy has it. */
static const char *decision(const struct edit *edit)
{
    if (is_strategy(edit, "epoch_sum")) return "epoch_sum adds both: the change made here comes on top";
    if (is_strategy(edit, "lww")) return "lww lets the later write win, which is the one from here";
    return is_below(edit->entry, edit->now) ? "epoch_max lets the greater win, which is the other one"
                                            : "epoch_max lets the greater win, which is the one from here";
}

static void tell(const struct tly_ctl *ctl, const struct edit *edit, const char *done)
{
    char key[300];
    tly_ctl_printable(tly_slice_text(edit->key), key, sizeof key);
    if (edit->conflict)
        tly_ctl_complain("%s: it was changed elsewhere since it was read: %s", key, decision(edit));
    if (!ctl->json) {
        printf("%s: %s\n", key, done);
        return;
    }
    struct json_object *line = json_object_new_object();
    bool ok = line != NULL && tly_ctl_add(line, "key", json_object_new_string(edit->key)) &&
              tly_ctl_add(line, "done", json_object_new_string(done)) &&
              tly_ctl_add(line, "conflict", json_object_new_boolean(edit->conflict));
    if (ok && edit->conflict) (void)tly_ctl_add(line, "decision", json_object_new_string(decision(edit)));
    if (ok) tly_ctl_print_json(line);
    json_object_put(line);
}

static enum tly_ctl_exit write_back(const struct tly_ctl *ctl, const struct edit *edit)
{
    char *path = tly_ctl_key_path("/v1/counters/", edit->key);
    struct json_object *body = body_of(edit);
    struct tly_ctl_request request = {.method = "POST", .path = path, .body = body};
    struct tly_ctl_answer answer = {0};
    enum tly_ctl_exit status =
        path != NULL && body != NULL ? tly_ctl_ask(ctl, &request, &answer) : TLY_CTL_NO;
    if (status == TLY_CTL_DONE && !tly_ctl_accepted(&answer)) status = TLY_CTL_NO;
    if (status != TLY_CTL_DONE) (void)fail(edit->key, "it was not written");
    json_object_put(answer.json);
    json_object_put(body);
    free(path);
    return status;
}

/* Everything that can be wrong with the file, before anything is written. *count edits remain. */
static enum tly_ctl_exit collect(const struct tly_ctl *ctl, struct json_object *keys, struct edit *edits,
                                 size_t *count)
{
    struct json_object_iterator at = json_object_iter_begin(keys), end = json_object_iter_end(keys);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        struct edit edit = {.key = json_object_iter_peek_name(&at),
                            .entry = json_object_iter_peek_value(&at)};
        if (!json_object_is_type(edit.entry, json_type_object)) {
            (void)fail(edit.key, "an object was expected");
            return TLY_CTL_NO;
        }
        edit.read = json_object_object_get(edit.entry, "read");
        if (!json_object_is_type(edit.read, json_type_object)) {
            (void)fail(
                edit.key,
                "it has no \"read\": it was absent when the file was made, and an absent key is not edited");
            return TLY_CTL_NO;
        }
        if (!is_edited(&edit)) continue;
        if (!check_kind(&edit)) return TLY_CTL_NO;
        enum tly_ctl_exit status = look(ctl, &edit);
        if (status != TLY_CTL_DONE) return status;
        edits[(*count)++] = edit;
    }
    return TLY_CTL_DONE;
}

static enum tly_ctl_exit update_all(const struct tly_ctl *ctl, struct json_object *keys, bool is_dry)
{
    size_t count = 0, room = (size_t)json_object_object_length(keys);
    struct edit *edits = calloc(room + 1, sizeof *edits);
    enum tly_ctl_exit status = edits != NULL ? collect(ctl, keys, edits, &count) : TLY_CTL_NO;
    for (size_t i = 0; status == TLY_CTL_DONE && i < count; i++) {
        if (!is_dry) status = write_back(ctl, &edits[i]);
        if (status == TLY_CTL_DONE) tell(ctl, &edits[i], is_dry ? "would be written" : "written");
    }
    if (status == TLY_CTL_DONE && !ctl->json) printf("%zu of %zu keys edited\n", count, room);
    for (size_t i = 0; i < count; i++)
        json_object_put(edits[i].now);
    free(edits);
    return status;
}

static char *load_text(const char *path, size_t *n)
{
    FILE *in = fopen(path, "re");
    char *text = in != NULL ? malloc(TLY_CTL_BYTES_MAX + 1) : NULL;
    *n = text != NULL ? fread(text, 1, TLY_CTL_BYTES_MAX, in) : 0;
    bool ok = text != NULL && !ferror(in);
    if (!ok) tly_ctl_complain("%s: %s", path, strerror(errno));
    if (in != NULL) fclose(in);
    if (ok) text[*n] = '\0';
    if (ok) return text;
    free(text);
    return NULL;
}

enum tly_ctl_exit tly_ctl_update(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    const char *path = args->option[FROM];
    struct json_object *file = NULL, *keys = NULL;
    char error[200];
    size_t n = 0;
    if (path == NULL) return tly_ctl_misused("update", "--from FILE is missing");
    char *text = load_text(path, &n);
    if (text == NULL) return TLY_CTL_NO;
    enum tly_ctl_exit status = TLY_CTL_NO;
    if (!tly_ctl_json(tly_slice_of(text, n), &file, error, sizeof error))
        tly_ctl_complain("%s: %s", path, error);
    else if (strcmp(tly_ctl_text(file, "tally"), "keys") != 0 || tly_ctl_int(file, "format") != FORMAT ||
             !json_object_object_get_ex(file, "keys", &keys) || !json_object_is_type(keys, json_type_object))
        tly_ctl_complain("%s: no file of tallyctl get -o", path);
    else
        status = update_all(ctl, keys, args->option[DRY_RUN] != NULL);
    json_object_put(file);
    free(text);
    return status;
}
