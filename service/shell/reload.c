#include "service/shell/reload.h"

#include "service/shell/app_internal.h"
#include "service/shell/filewatch.h"
#include "service/shell/libc_mem.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* So many limits of each kind of change are named in the log. */
#define NAMED_MAX 4

struct tly_reload {
    struct tly_reload_config with;
    struct tly_config_sources sources;
    const char **options;
    struct tly_mem mem;
    struct tly_rules *file, *key;               /* as last read; the engine's is made of both */
    bool file_good, key_good, was_bad_at_start; /* … the key, and still is */
    struct tly_filewatch *filewatch;            /* NULL: no file */
    struct event *look;                         /* at the key */
    uint8_t *text;                              /* of the key, as last read */
    size_t text_bytes;
    uint64_t taken, refused, taken_at_s;
    char changes[1024]; /* what became another when limits were taken over the last time */
};

/* ---- what changed ---- */

struct change {
    const char *word;
    size_t count;
    char names[NAMED_MAX * (TLY_RULE_NAME_BYTES_MAX + 2)];
};

static void note_change(struct change *change, const char *name)
{
    if (change->count++ >= NAMED_MAX) return;
    strlcat(change->names, change->count > 1 ? ", " : "", sizeof change->names);
    strlcat(change->names, name, sizeof change->names);
}

/* "new a, b; changed c; gone d and 3 more", or that nothing did. */
static void say_changes(struct tly_reload *reload, const struct tly_rules *before,
                        const struct tly_rules *after)
{
    struct change changes[] = {{.word = "new"}, {.word = "changed"}, {.word = "gone"}};
    for (size_t i = 0; i < tly_rules_count(after); i++) {
        const struct tly_rule *rule = tly_rules_at(after, i);
        const struct tly_rule *old = tly_rules_find(before, tly_slice_text(rule->name));
        bool is_same = old != NULL && tly_rules_agree(before, old, after, rule);
        if (!is_same) note_change(&changes[old != NULL ? 1 : 0], rule->name);
    }
    for (size_t i = 0; i < tly_rules_count(before); i++) {
        const char *name = tly_rules_at(before, i)->name;
        if (tly_rules_find(after, tly_slice_text(name)) == NULL) note_change(&changes[2], name);
    }
    size_t n = 0, size = sizeof reload->changes;
    strlcpy(reload->changes, "none changed", size);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const struct change *change = &changes[i];
        if (change->count == 0) continue;
        n += (size_t)snprintf(reload->changes + n, size - n, "%s%s %s", n > 0 ? "; " : "", change->word,
                              change->names);
        if (change->count > NAMED_MAX)
            n += (size_t)snprintf(reload->changes + n, size - n, " and %zu more", change->count - NAMED_MAX);
    }
}

/* ---- two sources, one table ---- */

/* Of a name that both have, the first one's. NULL: no memory, or too many. */
static struct tly_rules *both(const struct tly_reload *reload, const struct tly_rules *first,
                              const struct tly_rules *second)
{
    struct tly_rules *rules = tly_rules_new(&reload->mem);
    if (rules == NULL) return NULL;
    bool added = tly_rules_add_all(rules, first) == TLY_OK && tly_rules_add_all(rules, second) == TLY_OK;
    if (added) return rules;
    tly_rules_free(rules);
    return NULL;
}

static void refuse(struct tly_reload *reload, bool *good, const char *why)
{
    *good = false;
    reload->refused++;
    tly_log(reload->with.log, TLY_LEVEL_ERROR, "reload refused, the limits stay as they are: %s", why);
}

static void refuse_file(struct tly_reload *reload, const char *what)
{
    char why[TLY_CONFIG_TEXT_MAX + 64];
    (void)snprintf(why, sizeof why, "%s %s", reload->with.config->file, what);
    refuse(reload, &reload->file_good, why);
}

/* What was read takes the place of what *source was; on failure it is freed. */
static bool take(struct tly_reload *reload, struct tly_rules **source, bool *good, struct tly_rules *fresh)
{
    bool is_key = source == &reload->key;
    struct tly_rules *rules = both(reload, is_key ? fresh : reload->key, is_key ? reload->file : fresh);
    if (rules == NULL) {
        refuse(reload, good, "no memory for them, or more than 4096 limits in all");
        tly_rules_free(fresh);
        return false;
    }
    tly_rules_free(*source);
    *source = fresh;
    *good = true;
    reload->taken++;
    reload->taken_at_s = tly_app_read_time().wall_ns / 1000000000;
    say_changes(reload, tly_engine_rules(reload->with.engine), rules);
    tly_engine_use_rules(reload->with.engine, rules);
    return true;
}

static void take_key(struct tly_reload *reload, struct tly_slice text);

/* A file without a byte is what a full disk leaves of one, and hardly meant. */
static bool is_emptied(const struct tly_reload *reload)
{
    struct stat st;
    bool is_empty = stat(reload->with.config->file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
    return is_empty && tly_rules_count(reload->file) > 0;
}

/* What takes effect at the next start alone; of what the start made up itself it is not known. */
static void say_others(const struct tly_config *now, struct tly_config *next, char *text, size_t size)
{
    char names[1024];
    if (next->name[0] == '\0') strlcpy(next->name, now->name, sizeof next->name);
    if (next->advertise[0] == '\0') strlcpy(next->advertise, now->advertise, sizeof next->advertise);
    tly_config_differences(now, next, names, sizeof names);
    snprintf(text, size, "%s%s", names[0] != '\0' ? "; takes effect at the next start: " : "", names);
}

void tly_reload_file(struct tly_reload *reload)
{
    const struct tly_config *config = reload->with.config;
    if (config->file[0] == '\0') {
        tly_log(reload->with.log, TLY_LEVEL_WARN, "nothing to reload: started without -f");
        return;
    }
    struct tly_config next;
    struct tly_config_error error;
    struct tly_rules *fresh;
    if (is_emptied(reload)) {
        refuse_file(reload, "is empty; who wants no limits writes \"limits: []\"");
        return;
    }
    if (!tly_config_read(&next, &reload->sources, &reload->mem, &fresh, &error)) {
        refuse(reload, &reload->file_good, error.text);
        return;
    }
    size_t count = tly_rules_count(fresh);
    if (!take(reload, &reload->file, &reload->file_good, fresh)) return;
    char others[1088];
    say_others(config, &next, others, sizeof others);
    tly_log(reload->with.log, TLY_LEVEL_INFO, "reloaded %zu limits from %s (%s)%s", count, config->file,
            reload->changes, others);
    /* There may be room for it now. */
    if (!reload->key_good) take_key(reload, tly_slice_of(reload->text, reload->text_bytes));
}

static void on_file(void *context, bool exists)
{
    if (exists)
        tly_reload_file(context);
    else
        refuse_file(context, "is gone");
}

/* ---- the key ---- */

static void take_key(struct tly_reload *reload, struct tly_slice text)
{
    struct tly_config_error error;
    struct tly_rules *fresh;
    if (!tly_config_parse_limits(TLY_RELOAD_KEY, text, &reload->mem, &fresh, &error)) {
        refuse(reload, &reload->key_good, error.text);
        return;
    }
    size_t count = tly_rules_count(fresh);
    if (!take(reload, &reload->key, &reload->key_good, fresh)) return;
    reload->was_bad_at_start = false;
    tly_log(reload->with.log, TLY_LEVEL_INFO, "took %zu limits over from the key %s (%s)", count,
            TLY_RELOAD_KEY, reload->changes);
    if (!reload->file_good) tly_reload_file(reload);
}

static bool is_as_taken(const struct tly_reload *reload, struct tly_slice text)
{
    return tly_slice_equal(text, tly_slice_of(reload->text, reload->text_bytes));
}

/* What was refused is remembered as well: it is said once. */
static void remember(struct tly_reload *reload, struct tly_slice text)
{
    uint8_t *copy = text.n > 0 ? malloc(text.n) : NULL;
    if (copy == NULL && text.n > 0) return; /* looked at again in a second */
    if (text.n > 0) memcpy(copy, text.p, text.n);
    free(reload->text);
    reload->text = copy;
    reload->text_bytes = text.n;
}

/* No watcher: one would cost something in every write, for a key that is hardly ever written. */
static void read_key(struct tly_reload *reload)
{
    struct tly_value value;
    enum tly_result result =
        tly_engine_read(reload->with.engine, tly_slice_text(TLY_RELOAD_KEY), tly_app_read_time(), &value);
    if (result != TLY_OK && result != TLY_NOT_FOUND) return;
    struct tly_slice text = result == TLY_OK ? value.bytes : tly_slice_of(NULL, 0);
    if (is_as_taken(reload, text)) return;
    remember(reload, text);
    take_key(reload, text);
}

static void on_look(int fd, short what, void *argument)
{
    (void)fd, (void)what;
    read_key(argument);
}

/* ---- the object ---- */

/* In one piece, to be freed as one. */
static const char **copy_list(const char *const *list)
{
    size_t count = 0, bytes = sizeof *list;
    for (; list != NULL && list[count] != NULL; count++)
        bytes += sizeof *list + strlen(list[count]) + 1;
    const char **copy = malloc(bytes);
    if (copy == NULL) return NULL;
    char *text = (char *)&copy[count + 1];
    copy[count] = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(list[i]) + 1;
        copy[i] = memcpy(text, list[i], n);
        text += n;
    }
    return copy;
}

static bool begin(struct tly_reload *reload)
{
    const struct tly_reload_config *with = &reload->with;
    reload->sources = *with->sources;
    reload->sources.file = with->config->file;
    reload->sources.options = reload->options = copy_list(with->sources->options);
    reload->with.sources = NULL;
    if (reload->options == NULL) return false;
    struct tly_rules *none = tly_rules_new(&reload->mem);
    reload->key = none;
    if (none != NULL) reload->file = both(reload, tly_engine_rules(with->engine), none);
    if (reload->file == NULL) return false;
    if (with->config->file[0] != '\0') {
        reload->filewatch = tly_filewatch_new(with->base, with->config->file, on_file, reload);
        if (reload->filewatch == NULL) return false;
        /* The store was read meanwhile, which may take long. */
        tly_filewatch_as_of(reload->filewatch, with->config->file_print);
    }
    static const struct timeval second = {.tv_sec = 1};
    reload->look = event_new(with->base, -1, EV_PERSIST, on_look, reload);
    return reload->look != NULL && event_add(reload->look, &second) == 0;
}

struct tly_reload *tly_reload_new(const struct tly_reload_config *config)
{
    struct tly_reload *reload = calloc(1, sizeof *reload);
    if (reload == NULL) return NULL;
    *reload =
        (struct tly_reload){.with = *config, .mem = tly_libc_mem(), .file_good = true, .key_good = true};
    if (!begin(reload)) {
        tly_reload_free(reload);
        return NULL;
    }
    read_key(reload);
    reload->was_bad_at_start = !reload->key_good;
    return reload;
}

void tly_reload_free(struct tly_reload *reload)
{
    if (reload == NULL) return;
    if (reload->look != NULL) event_free(reload->look);
    free(reload->text);
    free(reload->options);
    tly_filewatch_free(reload->filewatch);
    tly_rules_free(reload->file);
    tly_rules_free(reload->key);
    free(reload);
}

void tly_reload_stats(const struct tly_reload *reload, struct tly_reload_stats *stats)
{
    *stats = (struct tly_reload_stats){.taken = reload->taken,
                                       .refused = reload->refused,
                                       .good = reload->file_good && reload->key_good,
                                       .key_never_good = reload->was_bad_at_start,
                                       .taken_at_s = reload->taken_at_s,
                                       .from_file = tly_rules_count(reload->file),
                                       .from_key = tly_rules_count(reload->key)};
}
