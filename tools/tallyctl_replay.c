/*
 * replay: what the limits of a file would have refused of the requests in an access log, beside what was refused then. One engine in the
 * log's own time: what several nodes would have missed of each other is not in it.
 */
#include "service/engine/engine.h"
#include "service/shell/config.h"
#include "service/shell/libc_mem.h"
#include "tools/tallyctl.h"
#include "tools/tallyctl_accesslog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_BYTES_MAX ((size_t)1 << 20)
/* Keys of one limit whose refusals are told apart, and how many are shown. */
#define KEYS_MAX 100000
#define KEYS_SHOWN 5
#define PROGRESS_LINES 100000

struct counted {
    uint64_t checks, refused, refused_then, both;
    uint64_t without[TLY_RULE_FIELDS_MAX]; /* lines that do not say the field */
    struct json_object *keys;              /* text of the key: how often it was refused */
};

struct replay {
    struct tly_engine *engine;
    struct counted *counted; /* one for each rule */
    size_t rule_count;
    long status; /* of a refusal in the log */
    uint64_t lines, bad, first_bad, requests, refused_then, refused;
    uint64_t from_ms, to_ms;
    uint64_t bytes, bytes_all;
};

/* ---- time ---- */

/* Lines are written when requests end, so they are a little out of order: time stands still then. */
static bool set_time(struct replay *r, uint64_t at_ms)
{
    struct tly_effects effects;
    if (r->requests == 0 || at_ms < r->from_ms) r->from_ms = at_ms;
    if (at_ms > r->to_ms) r->to_ms = at_ms;
    struct tly_event tick = {.kind = TLY_TICK, .now = {r->to_ms * 1000000, r->to_ms * 1000000}};
    if (tly_engine_deadline(r->engine) > tick.now.mono_ns) return true;
    return tly_engine_step(r->engine, &tick, &effects) == TLY_OK;
}

/* The seconds before the first request: who is alone holds all rights of hard limits then, and those of what has begun. */
#define ALONE_S 3

static bool hold_all_rights(struct replay *r, uint64_t at_ms)
{
    struct tly_effects effects;
    struct tly_reply reply;
    struct tly_request claim = {.kind = TLY_ASK_CLAIM, .now = {at_ms * 1000000, at_ms * 1000000}};
    for (uint64_t left_s = ALONE_S; left_s-- > 0;) {
        uint64_t ns = (at_ms - 1000 * left_s) * 1000000;
        struct tly_event tick = {.kind = TLY_TICK, .now = {ns, ns}};
        if (tly_engine_step(r->engine, &tick, &effects) != TLY_OK) return false;
    }
    enum tly_result result = tly_engine_ask(r->engine, &claim, &reply);
    return result == TLY_OK || result == TLY_NOT_FOUND; /* no limit is hard */
}

static bool begin(struct replay *r, uint64_t first_ms, struct tly_rules *rules)
{
    uint64_t at_ms = first_ms > 1000 * ALONE_S ? first_ms - 1000 * ALONE_S : 0;
    struct tly_time now = {at_ms * 1000000, at_ms * 1000000};
    struct tly_engine_config config = {.mem = tly_libc_mem(), .name = tly_slice_text("replay"), .now = now};
    arc4random_buf(config.hash_key.secret, sizeof config.hash_key.secret);
    if (tly_engine_new(&config, &r->engine) != TLY_OK) {
        tly_rules_free(rules);
        return false;
    }
    tly_engine_use_rules(r->engine, rules);
    return tly_engine_start(r->engine, 1, now) == TLY_OK &&
           hold_all_rights(r, first_ms > 1000 * ALONE_S ? first_ms : 1000 * ALONE_S);
}

/* ---- a request ---- */

static void key_text(const struct tly_rule *rule, const struct tly_ctl_logged *logged, char *text,
                     size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < rule->field_count; i++) {
        char part[160] = "";
        for (size_t k = 0; k < logged->field_count; k++)
            if (tly_slice_equal(logged->field[k].name, tly_slice_text(rule->field[i])))
                tly_ctl_printable(logged->field[k].value, part, sizeof part);
        if (i > 0) strlcat(text, " ", size);
        strlcat(text, part[0] != '\0' ? part : "-", size);
    }
    if (rule->field_count == 0) strlcat(text, "(all)", size);
}

static bool note_refused(struct counted *counted, const struct tly_rule *rule,
                         const struct tly_ctl_logged *logged)
{
    char text[1024];
    struct json_object *times = NULL;
    key_text(rule, logged, text, sizeof text);
    if (json_object_object_get_ex(counted->keys, text, &times)) return json_object_int_inc(times, 1) == 1;
    if (json_object_object_length(counted->keys) >= KEYS_MAX) return true;
    return tly_ctl_add(counted->keys, text, json_object_new_int64(1));
}

static void note_missing(struct counted *counted, const struct tly_rule *rule,
                         const struct tly_ctl_logged *logged)
{
    for (size_t i = 0; i < rule->field_count; i++) {
        bool said = false;
        for (size_t k = 0; k < logged->field_count && !said; k++)
            said = tly_slice_equal(logged->field[k].name, tly_slice_text(rule->field[i]));
        counted->without[i] += !said;
    }
}

/* False: no memory. */
static bool ask(struct replay *r, size_t i, const struct tly_ctl_logged *logged, bool *is_over)
{
    const struct tly_rule *rule = tly_rules_at(tly_engine_rules(r->engine), i);
    struct counted *counted = &r->counted[i];
    bool then = logged->status == r->status;
    struct tly_request request = {.kind = TLY_ASK_CHECK,
                                  .now = {r->to_ms * 1000000, r->to_ms * 1000000},
                                  .check = {.limit = tly_slice_text(rule->name),
                                            .fields = logged->field,
                                            .field_count = logged->field_count,
                                            .hits = 1}};
    struct tly_reply reply;
    enum tly_result result = tly_engine_ask(r->engine, &request, &reply);
    if (result == TLY_BAD_KEY) return true;   /* longer than any key may be: not counted by a node either */
    if (result == TLY_IN_FLIGHT) return true; /* how long each took no log says */
    if (result != TLY_OK) return false;
    bool over = reply.verdict.code == TLY_CODE_OVER || reply.verdict.shadow;
    counted->checks++;
    counted->refused += over;
    counted->refused_then += then;
    counted->both += over && then;
    *is_over = *is_over || over;
    note_missing(counted, rule, logged);
    return !over || note_refused(counted, rule, logged);
}

static bool take(struct replay *r, const struct tly_ctl_logged *logged)
{
    bool is_over = false, good = set_time(r, logged->at_ms);
    for (size_t i = 0; good && i < r->rule_count; i++)
        good = ask(r, i, logged, &is_over);
    r->requests++;
    r->refused += is_over;
    r->refused_then += logged->status == r->status;
    return good;
}

/* ---- the log ---- */

static void show_progress(const struct replay *r, bool ends)
{
    static const char clear[] = "\r\033[K";
    if (!isatty(STDERR_FILENO)) return;
    if (ends) {
        fputs(clear, stderr);
        return;
    }
    fprintf(stderr, "%s%" PRIu64 " lines, %" PRIu64 " would be refused", clear, r->lines, r->refused);
    if (r->bytes_all > 0) fprintf(stderr, ", %d %%", (int)(100 * r->bytes / r->bytes_all));
    fflush(stderr);
}

/* Takes the rules over with the first request. */
static bool take_line(struct replay *r, struct tly_slice line, struct tly_rules **rules)
{
    struct tly_ctl_logged logged;
    bool good = true;
    if (line.n > LINE_BYTES_MAX || !tly_ctl_log_read(line, &logged)) {
        if (r->bad++ == 0) r->first_bad = r->lines;
    } else {
        if (r->engine == NULL) {
            good = begin(r, logged.at_ms, *rules);
            *rules = NULL;
        }
        good = good && take(r, &logged);
    }
    if (line.n <= LINE_BYTES_MAX) tly_ctl_log_done(&logged);
    return good;
}

static bool read_log(struct replay *r, FILE *file, struct tly_rules **rules)
{
    char *line = NULL;
    size_t room = 0;
    bool good = true;
    ssize_t n;
    while (good && (n = getline(&line, &room, file)) > 0) {
        r->bytes += (uint64_t)n;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        r->lines++;
        if (n > 0) good = take_line(r, tly_slice_of(line, (size_t)n), rules);
        if (r->lines % PROGRESS_LINES == 0) show_progress(r, false);
    }
    show_progress(r, true);
    free(line);
    return good && ferror(file) == 0;
}

/* ---- what came of it ---- */

struct refused_key {
    const char *text;
    int64_t times;
};

/* The most refused first; how many. */
static size_t worst(const struct counted *counted, struct refused_key out[KEYS_SHOWN])
{
    size_t count = 0;
    json_object_object_foreach(counted->keys, text, value)
    {
        struct refused_key key = {text, json_object_get_int64(value)};
        size_t at = count < KEYS_SHOWN ? count++ : KEYS_SHOWN;
        if (at == KEYS_SHOWN && key.times <= out[--at].times) continue;
        for (; at > 0 && out[at - 1].times < key.times; at--)
            out[at] = out[at - 1];
        out[at] = key;
    }
    return count;
}

static void show_rule(const struct replay *r, size_t i)
{
    const struct tly_rule *rule = tly_rules_at(tly_engine_rules(r->engine), i);
    const struct counted *counted = &r->counted[i];
    struct refused_key keys[KEYS_SHOWN];
    size_t count = worst(counted, keys);
    tly_ctl_print_plain(rule->name);
    printf(": %" PRIu64 " of %" PRIu64 " would be refused (%.2f %%)%s\n", counted->refused, counted->checks,
           counted->checks > 0 ? 100 * (double)counted->refused / (double)counted->checks : 0.0,
           rule->shadow ? ", were it not for shadow" : "");
    if (rule->rate.algorithm == TLY_CONCURRENCY)
        printf("  what would have been in flight at once cannot be told from a log\n");
    printf("  also refused then      %" PRIu64 "\n", counted->both);
    printf("  refused now only       %" PRIu64 "\n", counted->refused - counted->both);
    printf("  refused then only      %" PRIu64 "\n", counted->refused_then - counted->both);
    for (size_t k = 0; k < count; k++)
        printf("  %10" PRId64 "  %s\n", keys[k].times, keys[k].text);
    for (size_t k = 0; k < rule->field_count; k++)
        if (counted->without[k] > 0)
            printf("  %" PRIu64 " lines have no %s, and count together\n", counted->without[k],
                   rule->field[k]);
}

static void show(const struct replay *r)
{
    char from[TLY_CTL_TIME_BYTES], to[TLY_CTL_TIME_BYTES];
    tly_ctl_time(r->from_ms * 1000000, from, sizeof from);
    tly_ctl_time(r->to_ms * 1000000, to, sizeof to);
    printf("%" PRIu64 " requests, %.19sZ to %.19sZ\n", r->requests, from, to);
    if (r->bad > 0)
        printf("%" PRIu64 " lines were not understood, the first is line %" PRIu64 "\n", r->bad,
               r->first_bad);
    printf("refused then (%ld)         %" PRIu64 "\n", r->status, r->refused_then);
    printf("would be refused by any   %" PRIu64 "\n", r->refused);
    for (size_t i = 0; i < r->rule_count; i++)
        show_rule(r, i);
}

static bool put_uint(struct json_object *object, const char *name, uint64_t number)
{
    return tly_ctl_add(object, name, json_object_new_int64((int64_t)number));
}

static bool put_rule(const struct replay *r, size_t i, struct json_object *out)
{
    const struct counted *counted = &r->counted[i];
    const char *name = tly_rules_at(tly_engine_rules(r->engine), i)->name;
    struct json_object *keys = json_object_new_object();
    struct refused_key most[KEYS_SHOWN];
    size_t count = worst(counted, most);
    bool good = tly_ctl_add_text(out, "name", tly_slice_text(name)) &&
                put_uint(out, "checks", counted->checks) && put_uint(out, "refused", counted->refused) &&
                put_uint(out, "refused_then", counted->refused_then) &&
                put_uint(out, "both", counted->both) && tly_ctl_add(out, "most_refused", keys);
    for (size_t k = 0; good && k < count; k++)
        good = put_uint(keys, most[k].text, (uint64_t)most[k].times);
    return good;
}

static bool show_json(const struct replay *r)
{
    struct json_object *out = json_object_new_object(), *limits = json_object_new_array();
    bool good = out != NULL && put_uint(out, "lines", r->lines) && put_uint(out, "bad_lines", r->bad) &&
                put_uint(out, "requests", r->requests) && put_uint(out, "from_ms", r->from_ms) &&
                put_uint(out, "to_ms", r->to_ms) && put_uint(out, "refused_then", r->refused_then) &&
                put_uint(out, "refused", r->refused) && tly_ctl_add(out, "limits", limits);
    for (size_t i = 0; good && i < r->rule_count; i++) {
        struct json_object *rule = json_object_new_object();
        good = rule != NULL && json_object_array_add(limits, rule) == 0 && put_rule(r, i, rule);
    }
    if (good) tly_ctl_print_json(out);
    (void)json_object_put(out);
    return good;
}

/* ---- the verb ---- */

static FILE *open_log(const char *path, uint64_t *bytes)
{
    if (strcmp(path, "-") == 0) return stdin;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        tly_ctl_complain("%s: %s", path, strerror(errno));
        return NULL;
    }
    if (fseeko(file, 0, SEEK_END) == 0) {
        off_t end = ftello(file);
        *bytes = end > 0 ? (uint64_t)end : 0;
        (void)fseeko(file, 0, SEEK_SET);
    }
    return file;
}

static bool make_counted(struct replay *r, size_t rules)
{
    r->rule_count = rules;
    r->counted = calloc(rules + 1, sizeof *r->counted);
    bool good = r->counted != NULL;
    for (size_t i = 0; good && i < rules; i++) {
        r->counted[i].keys = json_object_new_object();
        good = r->counted[i].keys != NULL;
    }
    return good;
}

static void free_replay(struct replay *r)
{
    for (size_t i = 0; r->counted != NULL && i < r->rule_count; i++)
        (void)json_object_put(r->counted[i].keys);
    free(r->counted);
    tly_engine_free(r->engine);
}

static enum tly_ctl_exit run(const struct tly_ctl *ctl, struct replay *r, const char *path,
                             struct tly_rules **rules)
{
    FILE *file = open_log(path, &r->bytes_all);
    if (file == NULL) return TLY_CTL_NO;
    bool good = make_counted(r, tly_rules_count(*rules)) && read_log(r, file, rules);
    if (file != stdin) fclose(file);
    if (!good) {
        tly_ctl_complain("%s: it cannot be read to its end, or there is no memory", path);
        return TLY_CTL_NO;
    }
    if (r->requests == 0) {
        tly_ctl_complain("%s: no line is a request in common, combined or JSON format", path);
        return TLY_CTL_NO;
    }
    if (!ctl->json) {
        show(r);
        return TLY_CTL_DONE;
    }
    return show_json(r) ? TLY_CTL_DONE : TLY_CTL_NO;
}

enum tly_ctl_exit tly_ctl_replay(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    struct replay replay = {.status = 429};
    struct tly_mem mem = tly_libc_mem();
    struct tly_config config;
    struct tly_config_error error;
    struct tly_rules *rules = NULL;
    if (args->option[0] == NULL) return tly_ctl_misused("replay", "-f FILE: the limits to try");
    if (args->option[1] != NULL) {
        char *end;
        replay.status = strtol(args->option[1], &end, 10);
        if (*end != '\0' || replay.status < 100 || replay.status > 999)
            return tly_ctl_misused("replay", "--status is what a refusal has in the log, such as 429");
    }
    tly_config_init(&config);
    if (!tly_config_load(&config, args->option[0], &mem, &rules, &error)) {
        tly_ctl_complain("%s", error.text);
        return TLY_CTL_NO;
    }
    enum tly_ctl_exit status = TLY_CTL_NO;
    if (tly_rules_count(rules) > 0)
        status = run(ctl, &replay, args->words[0], &rules);
    else
        tly_ctl_complain("%s: there are no limits in it", args->option[0]);
    tly_rules_free(rules);
    free_replay(&replay);
    return status;
}
