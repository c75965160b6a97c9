/* prefix: which prefixes have which strategy, and changes of that. */
#include "tools/tallyctl.h"

#include <stdlib.h>

#define PATH "/v1/prefixes"
#define COLUMNS 4

static enum tly_ctl_exit no_memory(void)
{
    tly_ctl_complain("out of memory");
    return TLY_CTL_NO;
}

/* ---- showing ---- */

static const char *note_of(struct json_object *row)
{
    if (tly_ctl_is_true(row, "held")) return "refused, see below";
    return tly_ctl_is_true(row, "built_in") ? "built in" : NULL;
}

/* Which change is in the way, why, and what can be done. */
static void show_held(struct json_object *row)
{
    fputs("\n\"", stdout);
    tly_ctl_print_plain(tly_ctl_text(row, "prefix"));
    fputs("\" is refused: a change of it was not finished and cannot be read: ", stdout);
    tly_ctl_print_plain(tly_ctl_text(row, "held_by"));
    fputs(": ", stdout);
    tly_ctl_print_plain(tly_ctl_text(row, "held_why"));
    fputs(
        "\nMake that readable in the data directory, or start the version of tallyd that wrote it; if neither can be, move it\n"
        "away: the prefix then is as MANIFEST has it, which is as it was before the change, or as it is after it.  Then restart.\n",
        stdout);
}

static enum tly_ctl_exit show_list(struct json_object *json)
{
    size_t count = json_object_is_type(json, json_type_array) ? json_object_array_length(json) : 0;
    const char **cells = calloc((count + 1) * COLUMNS, sizeof *cells);
    if (cells == NULL) return no_memory();
    static const char *const head[COLUMNS] = {"PREFIX", "STRATEGY", "GENERATION", "NOTE"};
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < count; i++) {
        struct json_object *row = json_object_array_get_idx(json, i);
        const char **at = cells + (i + 1) * COLUMNS, *prefix = tly_ctl_text(row, "prefix");
        at[0] = prefix[0] != '\0' ? prefix : "(all others)";
        at[1] = json_object_object_get(row, "strategy") != NULL ? tly_ctl_text(row, "strategy") : "dropped";
        at[2] = tly_ctl_text(row, "generation");
        at[3] = note_of(row);
    }
    tly_ctl_table(stdout, cells, count + 1, COLUMNS);
    for (size_t i = 0; i < count; i++) {
        struct json_object *row = json_object_array_get_idx(json, i);
        if (tly_ctl_is_true(row, "held")) show_held(row);
    }
    free(cells);
    return TLY_CTL_DONE;
}

/* What has to be said yes to; `change`: the words that ask for it. */
static void show_approval(struct json_object *json, const char *change, const char *strategy)
{
    printf(" To approve that, as long as they are what they are now:\n  tallyctl prefix %s ", change);
    tly_ctl_print_plain(tly_ctl_text(json, "prefix"));
    if (strategy[0] != '\0') printf(" %s", strategy);
    printf(" --approve %s\n", tly_ctl_text(json, "approval"));
}

static enum tly_ctl_exit show_drop_plan(struct json_object *json)
{
    tly_ctl_print_plain(tly_ctl_text(json, "prefix"));
    printf(": %s keys would be lost.", tly_ctl_text(json, "keys"));
    show_approval(json, "drop", "");
    return TLY_CTL_NO;
}

static enum tly_ctl_exit show_migrate_plan(struct json_object *json)
{
    tly_ctl_print_plain(tly_ctl_text(json, "prefix"));
    printf(": of %s keys %s would be lost, or something of what they say.", tly_ctl_text(json, "keys"),
           tly_ctl_text(json, "lost"));
    show_approval(json, "migrate", tly_ctl_text(json, "strategy"));
    return TLY_CTL_NO;
}

/* ---- asking ---- */

static bool add_text(struct json_object *object, const char *name, const char *text)
{
    return tly_ctl_add(object, name, json_object_new_string(text));
}

/* Takes the changes over; NULL: there was no memory for them. */
static enum tly_ctl_exit post(const struct tly_ctl *ctl, struct json_object *changes)
{
    struct tly_ctl_request request = {.method = "POST", .path = PATH, .body = changes};
    enum tly_ctl_exit status = changes != NULL ? tly_ctl_ask_and_show(ctl, &request, show_list) : no_memory();
    json_object_put(changes);
    return status;
}

/* A change at the end of the list; false: no memory. */
static bool add_change(struct json_object *changes, const char *op, const char *prefix, const char *strategy,
                       const char *approval)
{
    struct json_object *change = json_object_new_object();
    bool added = change != NULL && add_text(change, "op", op) && add_text(change, "prefix", prefix) &&
                 (strategy == NULL || add_text(change, "strategy", strategy)) &&
                 (approval == NULL || add_text(change, "approval", approval));
    if (added && json_object_array_add(changes, change) == 0) return true;
    json_object_put(change);
    return false;
}

static enum tly_ctl_exit register_all(const struct tly_ctl *ctl, char **words, size_t count)
{
    if (count == 0 || count % 2 != 0)
        return tly_ctl_misused("prefix", "register takes pairs of a prefix and a strategy");
    struct json_object *changes = json_object_new_array();
    for (size_t i = 0; changes != NULL && i < count; i += 2) {
        if (add_change(changes, "register", words[i], words[i + 1], NULL)) continue;
        json_object_put(changes);
        changes = NULL;
    }
    return post(ctl, changes);
}

/* What would be lost, and what approves of it. */
static enum tly_ctl_exit ask_plan(const struct tly_ctl *ctl, const char *prefix, const char *strategy)
{
    char *path = tly_ctl_key_path(PATH "/", prefix), *whole = path;
    if (path != NULL && strategy != NULL) {
        char *escaped = tly_ctl_key_path("?strategy=", strategy);
        size_t size = escaped != NULL ? strlen(path) + strlen(escaped) + 1 : 0;
        whole = size > 0 ? malloc(size) : NULL;
        if (whole != NULL) (void)snprintf(whole, size, "%s%s", path, escaped);
        free(escaped);
        free(path);
    }
    if (whole == NULL) return no_memory();
    struct tly_ctl_request request = {.method = "GET", .path = whole};
    enum tly_ctl_exit status =
        tly_ctl_ask_and_show(ctl, &request, strategy != NULL ? show_migrate_plan : show_drop_plan);
    free(whole);
    return status;
}

/* A drop; with a strategy, a migration. */
static enum tly_ctl_exit change_one(const struct tly_ctl *ctl, const char *prefix, const char *strategy,
                                    const char *approval)
{
    if (approval == NULL) return ask_plan(ctl, prefix, strategy);
    struct json_object *changes = json_object_new_array();
    const char *op = strategy != NULL ? "migrate" : "drop";
    if (changes != NULL && !add_change(changes, op, prefix, strategy, approval)) {
        json_object_put(changes);
        changes = NULL;
    }
    return post(ctl, changes);
}

enum tly_ctl_exit tly_ctl_prefix(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    const char *what = args->words[0], *approval = args->option[0];
    char **rest = args->words + 1;
    size_t count = args->count - 1;
    bool drops = strcmp(what, "drop") == 0, migrates = strcmp(what, "migrate") == 0;
    if (approval != NULL && !drops && !migrates)
        return tly_ctl_misused("prefix", "--approve is for drop and migrate");
    if (drops && count == 1) return change_one(ctl, rest[0], NULL, approval);
    if (drops) return tly_ctl_misused("prefix", "drop takes one prefix");
    if (migrates && count == 2) return change_one(ctl, rest[0], rest[1], approval);
    if (migrates) return tly_ctl_misused("prefix", "migrate takes a prefix and a strategy");
    if (strcmp(what, "register") == 0) return register_all(ctl, rest, count);
    if (strcmp(what, "list") == 0 && count == 0)
        return tly_ctl_ask_and_show(ctl, &(struct tly_ctl_request){.method = "GET", .path = PATH}, show_list);
    return tly_ctl_misused("prefix", "list, register, migrate or drop, not \"%.40s\" so", what);
}
