/*
 * follow: keeps a directory equal to a node, or to some prefixes of it, over the change feed (service/engine/mirror.h).
 *
 * The directory is a data directory: what the feed brings are batches as a node logs them, so all that reads the directory of a stopped
 * node reads this one.  FOLLOW in it says how far the follower has come; it is written when the batches up to there are on the disk.
 */
#include "service/engine/mirror.h"
#include "service/shell/libc_mem.h"
#include "tools/tallyctl_stopped.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STATE_NAME "FOLLOW"
#define KEPT_OUT_NAME "KEPT-OUT"
#define INTERVAL_MS 1000
/* The log is replaced by what it comes to when it is larger than this, and so many times that. */
#define LOG_BYTES (UINT64_C(16) << 20)
#define LOG_TIMES 4
#define KEPT_OUT_BYTES_MAX (64u * 1024u)

enum { INTERVAL, ONCE, SNAPSHOTS, DIGEST };

struct following {
    const struct tly_ctl *ctl;
    const char *directory;
    struct tly_storage *storage; /* the store's */
    struct tly_store *store;
    struct tly_engine *engine;
    struct tly_mirror *mirror;
    struct tly_buf question, answer, state, written, kept_out;
    uint64_t batch;
    struct tly_store_report report;
    bool is_broken; /* memory and disk are not of one mind: nothing more can be done */
    int signals;
    bool shows_digest, is_first;
};

/* What one tick came to. */
struct tick {
    struct tly_mirror_news last;
    uint64_t dots, kept_out;
    bool was_cold;
    enum tly_cold_start reason;
    struct json_object *missing, *dropped;
};

/* ---- the directory ---- */

struct contents {
    bool has_state;
    char other[TLY_STORAGE_NAME_MAX + 1];
};

static void note(void *context, const char *name)
{
    struct contents *contents = context;
    if (strcmp(name, STATE_NAME) == 0)
        contents->has_state = true;
    else if (contents->other[0] == '\0')
        (void)snprintf(contents->other, sizeof contents->other, "%s", name);
}

/* Nothing is made into a follower's directory that was something else. */
static bool is_ours(struct tly_storage *storage, const char *directory)
{
    struct contents contents = {0};
    enum tly_result result = tly_storage_list(storage, "", note, &contents);
    if (result != TLY_OK) {
        (void)tly_ctl_storage_failed(storage, result, "cannot read the directory");
        return false;
    }
    if (contents.has_state || contents.other[0] == '\0') return true;
    tly_ctl_complain("%s is not empty (%s): follow keeps a directory of its own", directory, contents.other);
    return false;
}

static enum tly_result replay(void *context, struct tly_slice batch)
{
    return tly_engine_replay(context, batch);
}

static bool complain_of(const char *error)
{
    tly_ctl_complain("%s", error[0] != '\0' ? error : "out of memory");
    return false;
}

static bool read_state(struct following *f)
{
    static uint8_t bytes[2 * TLY_FRAME_BODY_MAX];
    size_t got = 0;
    enum tly_result result = tly_storage_read(f->storage, STATE_NAME, 0, bytes, sizeof bytes, &got);
    if (result == TLY_NOT_FOUND) return true;
    if (result == TLY_OK) result = tly_mirror_state_get(f->mirror, tly_slice_of(bytes, got));
    if (result == TLY_OK) return true;
    if (result != TLY_BAD_MESSAGE) {
        (void)tly_ctl_storage_failed(f->storage, result, "cannot read " STATE_NAME);
        return false;
    }
    tly_ctl_complain("%s/" STATE_NAME " cannot be read: everything is asked for again", f->directory);
    return true;
}

/* Makes durable how far it has come; everything up to there is on the disk. */
static bool write_state(struct following *f)
{
    tly_buf_clear(&f->state);
    tly_mirror_state_put(f->mirror, &f->state);
    if (f->state.result != TLY_OK) return complain_of("");
    if (tly_slice_equal(tly_buf_slice(&f->state), tly_buf_slice(&f->written))) return true;
    enum tly_result result = tly_storage_put(f->storage, STATE_NAME, tly_buf_slice(&f->state));
    tly_buf_clear(&f->written);
    tly_buf_put(&f->written, f->state.p, f->state.n);
    if (result != TLY_OK) (void)tly_ctl_storage_failed(f->storage, result, "cannot write " STATE_NAME);
    return result == TLY_OK;
}

/* The store, read into the engine. */
static bool open_store(struct following *f)
{
    char error[512] = "";
    f->storage = tly_storage_directory(f->directory, error, sizeof error);
    if (f->storage == NULL) return complain_of(error);
    if (!is_ours(f->storage, f->directory)) {
        tly_storage_close(f->storage);
        return false;
    }
    if (tly_store_open(f->storage, TLY_FSYNC_ALWAYS, &f->store, error, sizeof error) != TLY_OK)
        return complain_of(error);
    if (tly_store_identity(f->store)->origin != 0) {
        tly_ctl_complain("a node has run in %s since: follow needs another directory", f->directory);
        return false;
    }
    enum tly_result result = tly_store_equip(f->store, f->engine);
    if (result != TLY_OK) snprintf(error, sizeof error, "%s", tly_ctl_equip_text(result));
    if (result == TLY_OK) result = tly_store_replay(f->store, replay, f->engine, error, sizeof error);
    tly_engine_leave_out(f->engine, NULL, NULL);
    if (result != TLY_OK) return complain_of(error);
    if (error[0] != '\0') tly_ctl_complain("%s", error);
    return true;
}

static bool begin(struct following *f, const struct tly_ctl_args *args)
{
    struct tly_slice prefixes[TLY_FEED_PREFIXES_MAX];
    char error[512] = "";
    struct tly_mirror_config config = {.engine = f->engine,
                                       .no_delta = args->option[SNAPSHOTS] != NULL,
                                       .prefixes = prefixes,
                                       .prefix_count = args->count - 1};
    for (size_t i = 0; i < config.prefix_count; i++)
        prefixes[i] = tly_slice_text(args->words[i + 1]);
    if (tly_mirror_new(&config, &f->mirror) != TLY_OK) return complain_of("");
    if (!read_state(f) || !write_state(f)) return false;
    /* No life is named: a node that is started here begins one. */
    if (tly_store_begin(f->store, "", 0, 0, error, sizeof error) != TLY_OK) return complain_of(error);
    return true;
}

/* ---- one answer ---- */

static enum tly_result append(void *context, struct tly_slice batch)
{
    struct following *f = context;
    enum tly_result result = tly_store_append(f->store, f->batch + 1, batch);
    if (result == TLY_OK) f->batch++;
    f->is_broken = result != TLY_OK;
    if (f->is_broken) tly_ctl_complain("cannot store it: %s", tly_result_text(result));
    return result;
}

static void keep_out(void *context, struct tly_slice key, enum tly_result why)
{
    struct following *f = context;
    char text[128], line[256];
    tly_ctl_printable(key, text, sizeof text);
    int n = snprintf(line, sizeof line, "%s\t%s\n", tly_result_name(why), text);
    tly_ctl_complain("kept out: %s: %s", text, tly_result_text(why));
    if (f->kept_out.n + (size_t)n <= KEPT_OUT_BYTES_MAX) tly_buf_put(&f->kept_out, line, (size_t)n);
}

/* Until all that was appended is on the disk. */
static bool wait_stored(struct following *f)
{
    for (;;) {
        struct pollfd wakeup = {.fd = tly_store_wakeup_fd(f->store), .events = POLLIN};
        tly_store_poll(f->store, &f->report);
        if (f->report.failing) {
            tly_ctl_complain("cannot store it: %s", f->report.error);
            f->is_broken = true;
            return false;
        }
        if (f->report.stored >= f->batch) return true;
        (void)poll(&wakeup, 1, 100);
    }
}

static enum tly_ctl_taken take_bytes(void *context, struct tly_slice bytes)
{
    struct following *f = context;
    tly_buf_put(&f->answer, bytes.p, bytes.n);
    return f->answer.result == TLY_OK ? TLY_CTL_MORE : TLY_CTL_FAILED;
}

/* Asks the node; the answer is in f->answer. */
static enum tly_ctl_exit ask(struct following *f)
{
    tly_buf_clear(&f->question);
    tly_buf_clear(&f->answer);
    const char *path = tly_mirror_ask(f->mirror, &f->question) ? "/v1/snapshot" : "/v1/sync";
    if (f->question.result != TLY_OK) {
        (void)complain_of("");
        return TLY_CTL_NO;
    }
    struct tly_ctl_request request = {.method = "POST",
                                      .path = path,
                                      .bytes = tly_buf_slice(&f->question),
                                      .take = take_bytes,
                                      .context = f};
    return tly_ctl_ask_and_take(f->ctl, &request);
}

/* Why an answer could not be taken, for people; whether it is the node's or the clock's business and may be right the next time. */
static enum tly_ctl_exit complain_of_answer(struct following *f, enum tly_result result)
{
    if (f->is_broken) return TLY_CTL_NO;
    if (result == TLY_NOMEM) {
        f->is_broken = true;
        (void)complain_of("");
        return TLY_CTL_NO;
    }
    if (result == TLY_CLOCK_AHEAD) {
        tly_ctl_complain(
            "the node's versions are further in the future than this machine's clock allows: set the clock");
        return TLY_CTL_NO;
    }
    if (result == TLY_NO_STRATEGY || result == TLY_WRONG_STRATEGY || result == TLY_BAD_KEY) {
        tly_ctl_complain("an answer cannot be applied: %s; after the second time a snapshot takes its place",
                         tly_result_text(result));
        return TLY_CTL_NO;
    }
    tly_ctl_complain("%s sent what is no answer of the feed (%s): is it a tallyd?", f->ctl->server,
                     tly_result_name(result));
    return TLY_CTL_UNREACHABLE;
}

static struct json_object *note_names(struct json_object *list, const struct tly_feed_names *names)
{
    if (list == NULL) list = json_object_new_array();
    for (size_t i = 0; i < names->count && list != NULL; i++) {
        char text[256];
        tly_ctl_printable(names->names[i], text, sizeof text);
        json_object_array_add(list, json_object_new_string(text));
    }
    return list;
}

static void note_news(struct tick *tick, const struct tly_mirror_news *news)
{
    tick->last = *news;
    tick->dots += news->dots;
    tick->kept_out += news->kept_out;
    if (news->verdict == TLY_FEED_COLD_START) {
        tick->was_cold = true;
        tick->reason = news->reason;
        tick->dots = 0;
    }
    tick->missing = note_names(tick->missing, &news->missing);
    tick->dropped = note_names(tick->dropped, &news->dropped);
}

static bool write_kept_out(struct following *f, const struct tly_mirror_news *news)
{
    enum tly_result result = TLY_OK;
    if (news->installed && f->kept_out.n > 0)
        result = tly_storage_put(f->storage, KEPT_OUT_NAME, tly_buf_slice(&f->kept_out));
    else if (news->installed)
        result = tly_storage_remove(f->storage, KEPT_OUT_NAME);
    if (news->installed) tly_buf_clear(&f->kept_out);
    if (result != TLY_OK) (void)tly_ctl_storage_failed(f->storage, result, "cannot write " KEPT_OUT_NAME);
    return result == TLY_OK;
}

/* One question, and its answer on the disk. */
static enum tly_ctl_exit turn(struct following *f, struct tick *tick, bool *more)
{
    struct tly_mirror_sink sink = {append, keep_out, f};
    struct tly_mirror_news news;
    *more = false;
    enum tly_ctl_exit status = ask(f);
    if (f->answer.result != TLY_OK) return complain_of_answer(f, f->answer.result);
    if (status != TLY_CTL_DONE) return status;
    enum tly_result result =
        tly_mirror_take(f->mirror, tly_buf_slice(&f->answer), tly_ctl_store_now(), &sink, &news);
    *more = result == TLY_STALE || (result == TLY_OK && news.more);
    if (result == TLY_OK) note_news(tick, &news);
    if (result != TLY_OK && result != TLY_STALE) status = complain_of_answer(f, result);
    if (f->is_broken || !wait_stored(f)) return TLY_CTL_NO;
    if (result == TLY_OK && !write_kept_out(f, &news)) f->is_broken = true;
    if (!write_state(f)) f->is_broken = true;
    return f->is_broken ? TLY_CTL_NO : status;
}

/* ---- a tick ---- */

static bool add_digest(struct following *f, struct json_object *line)
{
    char text[17];
    if (!f->shows_digest) return true;
    (void)snprintf(text, sizeof text, "%016" PRIx64, tly_mirror_digest(f->mirror));
    return tly_ctl_add(line, "digest", json_object_new_string(text));
}

static void show_json(struct following *f, const struct tick *tick)
{
    struct json_object *line = json_object_new_object();
    const char *verdict = tick->was_cold ? "cold_start" : tick->dots > 0 ? "ops" : "up_to_date";
    bool ok = tly_ctl_add(line, "verdict", json_object_new_string(verdict)) &&
              (!tick->was_cold ||
               tly_ctl_add(line, "reason", json_object_new_string(tly_cold_start_word(tick->reason)))) &&
              tly_ctl_add(line, "dots", json_object_new_int64((int64_t)tick->dots)) &&
              tly_ctl_add(line, "kept_out", json_object_new_int64((int64_t)tick->kept_out)) &&
              tly_ctl_add(line, "missing", json_object_get(tick->missing)) &&
              tly_ctl_add(line, "dropped", json_object_get(tick->dropped)) && add_digest(f, line);
    if (ok)
        tly_ctl_print_json(line);
    else
        (void)complain_of("");
    json_object_put(line);
}

static void show_list(const char *what, struct json_object *list)
{
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++)
        printf("%s: %s\n", what, json_object_get_string(json_object_array_get_idx(list, i)));
}

static void show_text(struct following *f, const struct tick *tick)
{
    if (tick->was_cold)
        printf("cold start (%s): replaced by a snapshot of %" PRIu64 " dots\n",
               tly_cold_start_word(tick->reason), tick->dots);
    else if (tick->dots > 0)
        printf("%" PRIu64 " dots\n", tick->dots);
    else
        puts("up to date");
    if (tick->kept_out > 0)
        printf("%" PRIu64 " dots cannot be read here and are kept out: %s/" KEPT_OUT_NAME "\n",
               tick->kept_out, f->directory);
    show_list("missing", tick->missing);
    show_list("dropped", tick->dropped);
    if (f->shows_digest) printf("digest %016" PRIx64 "\n", tly_mirror_digest(f->mirror));
}

static void show(struct following *f, const struct tick *tick)
{
    bool is_news = tick->dots > 0 || tick->was_cold || f->is_first;
    f->is_first = false;
    if (!is_news) return;
    if (f->ctl->json)
        show_json(f, tick);
    else
        show_text(f, tick);
    fflush(stdout);
}

static bool compact(struct following *f)
{
    if (f->report.bytes < LOG_BYTES || f->report.bytes < LOG_TIMES * f->report.snapshot_bytes) return true;
    uint64_t bytes;
    return tly_ctl_compact(f->engine, f->store, &bytes);
}

static bool is_stopped(const struct following *f, int wait_ms)
{
    struct pollfd signals = {.fd = f->signals, .events = POLLIN};
    return poll(&signals, 1, wait_ms) != 0;
}

/* Until there is nothing more. */
static enum tly_ctl_exit run_tick(struct following *f)
{
    struct tick tick = {0};
    bool more = true;
    enum tly_ctl_exit status = TLY_CTL_DONE;
    while (status == TLY_CTL_DONE && more && !is_stopped(f, 0))
        status = turn(f, &tick, &more);
    if (status == TLY_CTL_DONE && !more) show(f, &tick);
    if (status == TLY_CTL_DONE && !more && !compact(f)) f->is_broken = true;
    json_object_put(tick.missing);
    json_object_put(tick.dropped);
    return f->is_broken ? TLY_CTL_NO : status;
}

/* A node that is gone is asked again and again, as is one whose answer cannot be applied. */
static enum tly_ctl_exit run(struct following *f, int interval_ms, bool once)
{
    enum tly_ctl_exit status;
    do
        status = run_tick(f);
    while (!once && !f->is_broken && status != TLY_CTL_USAGE && !is_stopped(f, interval_ms));
    return once || f->is_broken || status == TLY_CTL_USAGE ? status : TLY_CTL_DONE;
}

/* ---- the verb ---- */

static bool get_interval(const char *text, int *ms)
{
    char *end;
    *ms = INTERVAL_MS;
    if (text == NULL) return true;
    errno = 0;
    long value = strtol(text, &end, 10);
    *ms = (int)value;
    return errno == 0 && text[0] >= '1' && text[0] <= '9' && *end == '\0' && value <= 3600000;
}

static bool take_signals(struct following *f)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    bool ok = sigprocmask(SIG_BLOCK, &set, NULL) == 0;
    f->signals = ok ? signalfd(-1, &set, SFD_CLOEXEC) : -1;
    if (f->signals < 0) tly_ctl_complain("signals: %s", strerror(errno));
    return f->signals >= 0;
}

static void init_buffers(struct following *f)
{
    struct tly_mem mem = tly_libc_mem();
    tly_buf_init(&f->question, &mem, (size_t)4 * TLY_FRAME_BODY_MAX);
    tly_buf_init(&f->answer, &mem, TLY_FEED_ANSWER_BYTES_MAX);
    tly_buf_init(&f->state, &mem, (size_t)2 * TLY_FRAME_BODY_MAX);
    tly_buf_init(&f->written, &mem, (size_t)2 * TLY_FRAME_BODY_MAX);
    tly_buf_init(&f->kept_out, &mem, KEPT_OUT_BYTES_MAX);
}

static void end(struct following *f, bool is_clean)
{
    tly_mirror_free(f->mirror);
    if (f->store != NULL) tly_store_close(f->store, is_clean);
    tly_engine_free(f->engine);
    if (f->signals >= 0) (void)close(f->signals);
    tly_buf_fini(&f->question);
    tly_buf_fini(&f->answer);
    tly_buf_fini(&f->state);
    tly_buf_fini(&f->written);
    tly_buf_fini(&f->kept_out);
}

enum tly_ctl_exit tly_ctl_follow(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    int interval_ms;
    struct following f = {.ctl = ctl,
                          .directory = args->words[0],
                          .shows_digest = args->option[DIGEST] != NULL,
                          .is_first = true,
                          .signals = -1};
    if (!get_interval(args->option[INTERVAL], &interval_ms))
        return tly_ctl_misused("follow", "--interval is a number of ms from 1 to 3600000, not \"%.40s\"",
                               args->option[INTERVAL]);
    for (size_t i = 1; i < args->count; i++)
        if (args->words[i][0] == '\0' || strlen(args->words[i]) > TLY_KEY_BYTES_MAX)
            return tly_ctl_misused("follow", "a PREFIX has 1 to %d bytes", TLY_KEY_BYTES_MAX);
    init_buffers(&f);
    f.engine = tly_ctl_store_new_engine("follow", false);
    enum tly_ctl_exit status = TLY_CTL_NO;
    bool ok = f.engine != NULL && open_store(&f) && begin(&f, args) && take_signals(&f);
    if (ok) status = run(&f, interval_ms, args->option[ONCE] != NULL);
    end(&f, ok && !f.is_broken);
    return status;
}
