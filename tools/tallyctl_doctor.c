/* doctor: what is wrong with a running node, in sentences, and what to do about it. */
#include "tools/tallyctl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

/* Between the two looks; what grows while nobody takes it away shows only so. */
#define BETWEEN_S 2
#define LAG_DOTS_MANY 1000
#define OFFSET_NS_MANY INT64_C(500000000)
#define SILENT_MS_MANY 10000
#define FULL_PERCENT 90

/* Two looks at one node, and what came of them. */
struct doctor {
    struct json_object *before, *now;
    struct json_object *findings; /* an array of objects: level, about, finding, remedy */
    size_t wrong, notes;
    bool failed; /* no memory */
};

enum level { NOTE, WRONG };

static const char *const level_names[] = {[NOTE] = "note", [WRONG] = "wrong"};

/* The finding is a format; the remedy is not. */
static void find(struct doctor *d, enum level level, const char *about, const char *remedy,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

static void find(struct doctor *d, enum level level, const char *about, const char *remedy,
                 const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    struct json_object *row = json_object_new_object();
    if (row == NULL || !tly_ctl_add(row, "level", json_object_new_string(level_names[level])) ||
        !tly_ctl_add(row, "about", json_object_new_string(about)) ||
        !tly_ctl_add(row, "finding", json_object_new_string(text)) ||
        !tly_ctl_add(row, "remedy", json_object_new_string(remedy)) ||
        json_object_array_add(d->findings, row) != 0) {
        json_object_put(row);
        d->failed = true;
        return;
    }
    *(level == WRONG ? &d->wrong : &d->notes) += 1;
}

/* How much a number of the node grew between the looks. */
static int64_t grew(const struct doctor *d, const char *name)
{
    return tly_ctl_int(d->now, name) - tly_ctl_int(d->before, name);
}

/* ---- the node ---- */

static void look_at_readiness(struct doctor *d)
{
    struct json_object *reasons = json_object_object_get(d->now, "reasons");
    size_t count = json_object_is_type(reasons, json_type_array) ? json_object_array_length(reasons) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *reason = json_object_array_get_idx(reasons, i);
        find(d, WRONG, tly_ctl_text(reason, "reason"),
             "load balancers that ask /readyz send nothing until this is so no more", "not ready: %s",
             tly_ctl_text(reason, "detail"));
    }
}

static void look_at_memory(struct doctor *d)
{
    int64_t used = tly_ctl_int(d->now, "memory_used"), most = tly_ctl_int(d->now, "memory_max");
    char text[2][32];
    tly_ctl_bytes((double)used, text[0], sizeof text[0]);
    tly_ctl_bytes((double)most, text[1], sizeof text[1]);
    bool admits = strcmp(tly_ctl_text(d->now, "on_full"), "admit") == 0;
    if (tly_ctl_is_true(d->now, "memory_full"))
        find(d, WRONG, "memory", "raise memory_max, or give keys a deadline",
             "memory_max=%s is full: in the last minute %s", text[1],
             admits ? "checks of new keys were admitted uncounted, and other new keys refused"
                    : "new keys were refused");
    else if (most > 0 && used >= most / 100 * FULL_PERCENT)
        find(d, WRONG, "memory", "raise memory_max before new keys are refused, or give keys a deadline",
             "%s of memory_max=%s are used", text[0], text[1]);
    if (most == 0)
        find(d, NOTE, "memory", "set memory_max, so that a flood of keys ends at a ceiling of yours",
             "memory has no ceiling");
}

static void look_at_store(struct doctor *d)
{
    const char *fsync = tly_ctl_text(d->now, "fsync");
    if (!tly_ctl_is_true(d->now, "has_store"))
        find(d, NOTE, "store", "set data to a directory",
             "there is no store: what only this node knows is gone when it ends");
    else if (strcmp(fsync, "never") == 0)
        find(d, NOTE, "store", "fsync=interval loses a second at most, fsync=always nothing",
             "fsync=never: a power cut loses whatever the kernel had not written");
    if (tly_ctl_is_true(d->now, "snapshot_given_up"))
        find(d, WRONG, "store", "see the log for why; until one succeeds the log on disk grows",
             "the last snapshot was given up");
}

static void look_at_doors(struct doctor *d)
{
    if (grew(d, "clients_refused") > 0)
        find(d, WRONG, "clients",
             "raise the limit of open files (LimitNOFILE, ulimit -n), or use fewer connections",
             "%" PRId64 " connections of clients were refused while this looked", grew(d, "clients_refused"));
    else if (tly_ctl_int(d->now, "clients_refused") > 0)
        find(d, NOTE, "clients",
             "raise the limit of open files (LimitNOFILE, ulimit -n) if it was not a flood",
             "%" PRId64 " connections of clients were refused since the start",
             tly_ctl_int(d->now, "clients_refused"));
    if (grew(d, "sessions_refused") + grew(d, "sessions_broken") > 0)
        find(d, WRONG, "peers",
             "the log names who and why: another cluster or secret, a name used twice, an older version",
             "sessions with a peer are refused or break again and again");
}

static void look_at_clock(struct doctor *d)
{
    int64_t skew = tly_ctl_int(d->now, "time_skew_ns");
    char text[32];
    tly_ctl_duration((double)llabs(skew) / 1e9, text, sizeof text);
    if (llabs(skew) >= OFFSET_NS_MANY)
        find(d, WRONG, "clock", "synchronise this machine's clock (timedatectl, chrony, ntpd)",
             "cluster time is still %s off what this node uses", text);
}

static void look_at_limits(struct doctor *d)
{
    if (tly_ctl_int(d->now, "reloads_refused") > 0 && !tly_ctl_is_true(d->now, "limits_good"))
        find(
            d, WRONG, "config",
            "see the log for the line, set it right; tallyd -n -f FILE reads a file without taking it over",
            "the file or config:limits could not be read, so limits of before are in force, after a start none");
}

/* ---- its peers ---- */

static struct json_object *peer_before(const struct doctor *d, struct json_object *peer)
{
    struct json_object *peers = json_object_object_get(d->before, "peers");
    size_t count = json_object_is_type(peers, json_type_array) ? json_object_array_length(peers) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *other = json_object_array_get_idx(peers, i);
        if (strcmp(tly_ctl_text(other, "address"), tly_ctl_text(peer, "address")) == 0) return other;
    }
    return NULL;
}

static void look_at_absent_peer(struct doctor *d, struct json_object *peer)
{
    const char *state = tly_ctl_text(peer, "state"), *name = tly_ctl_text(peer, "name");
    if (strcmp(state, "left") == 0 || strcmp(state, "forgotten") == 0) return;
    if (strcmp(state, "dead") == 0)
        find(d, WRONG, "peers", "start it; if it is gone for good: tallyctl forget NAME",
             "%s at %s is dead; deletions are remembered until it comes back", name,
             tly_ctl_text(peer, "address"));
    else if (tly_ctl_is_true(peer, "linked"))
        find(d, WRONG, "peers", "is it running, and is the line between the two open in both directions?",
             "%s at %s cannot be reached from here", name, tly_ctl_text(peer, "address"));
}

static void look_at_peer(struct doctor *d, struct json_object *peer)
{
    const char *name = tly_ctl_text(peer, "name");
    struct json_object *before = peer_before(d, peer);
    int64_t lag = tly_ctl_int(peer, "lag_dots"), offset = tly_ctl_int(peer, "offset_ns");
    char text[32];
    if (lag >= LAG_DOTS_MANY && before != NULL && lag >= tly_ctl_int(before, "lag_dots"))
        find(d, WRONG, "peers",
             "it is frozen, overloaded, or the line is too thin: see tallyctl peers there, and link_budget",
             "%s is %" PRId64 " changes behind, and not catching up", name, lag);
    tly_ctl_duration((double)llabs(offset) / 1e9, text, sizeof text);
    if (llabs(offset) >= OFFSET_NS_MANY)
        find(d, WRONG, "clock", "synchronise the clocks (timedatectl, chrony, ntpd)",
             "the clock of %s is %s %s this one", name, text, offset > 0 ? "ahead of" : "behind");
    bool is_suspected =
        strcmp(tly_ctl_text(peer, "state"), "suspect") == 0 && !tly_ctl_is_true(peer, "reachable");
    if (is_suspected || tly_ctl_int(peer, "last_heard_ms") >= SILENT_MS_MANY)
        find(d, WRONG, "peers", "it is frozen, or the line swallows what is sent",
             "%s has said nothing for %" PRId64 " s", name, tly_ctl_int(peer, "last_heard_ms") / 1000);
    if (tly_ctl_is_true(peer, "held_back"))
        find(d, WRONG, "memory", "raise memory_max here", "not all keys of %s fit into this node", name);
}

static void look_at_peers(struct doctor *d)
{
    struct json_object *peers = json_object_object_get(d->now, "peers");
    size_t count = json_object_is_type(peers, json_type_array) ? json_object_array_length(peers) : 0;
    if (count == 0 && tly_ctl_int(d->now, "joins") > 0)
        find(d, WRONG, "peers",
             "are they peers addresses of running tallyds, and may this machine connect there?",
             "nobody answers at the %s addresses to join", tly_ctl_text(d->now, "joins"));
    else if (count == 0)
        find(d, NOTE, "peers", "give it others with join=ADDR:PORT, if there are any", "this node is alone");
    for (size_t i = 0; i < count; i++) {
        struct json_object *peer = json_object_array_get_idx(peers, i);
        if (tly_ctl_is_true(peer, "up"))
            look_at_peer(d, peer);
        else
            look_at_absent_peer(d, peer);
    }
}

/* ---- all of it ---- */

static void print_finding(struct json_object *row)
{
    printf("%s: ", tly_ctl_text(row, "level"));
    tly_ctl_print_plain(tly_ctl_text(row, "finding"));
    printf("\n    ");
    tly_ctl_print_plain(tly_ctl_text(row, "remedy"));
    putchar('\n');
}

static enum tly_ctl_exit show(const struct tly_ctl *ctl, const struct doctor *d)
{
    if (d->failed) {
        tly_ctl_complain("out of memory");
        return TLY_CTL_NO;
    }
    size_t count = json_object_array_length(d->findings);
    if (ctl->json) tly_ctl_print_json(d->findings);
    for (size_t i = 0; i < count && !ctl->json; i++)
        print_finding(json_object_array_get_idx(d->findings, i));
    if (!ctl->json && d->wrong == 0) printf("nothing is wrong with %s\n", tly_ctl_text(d->now, "name"));
    return d->wrong == 0 ? TLY_CTL_DONE : TLY_CTL_NO;
}

static enum tly_ctl_exit look(const struct tly_ctl *ctl, struct json_object **node)
{
    struct tly_ctl_answer answer;
    enum tly_ctl_exit status =
        tly_ctl_ask(ctl, &(struct tly_ctl_request){.method = "GET", .path = "/v1/cluster"}, &answer);
    if (status != TLY_CTL_DONE) return status;
    if (tly_ctl_accepted(&answer)) {
        *node = answer.json;
        return TLY_CTL_DONE;
    }
    json_object_put(answer.json);
    return TLY_CTL_NO;
}

enum tly_ctl_exit tly_ctl_doctor(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)args;
    struct doctor d = {.findings = json_object_new_array()};
    d.failed = d.findings == NULL;
    enum tly_ctl_exit status = look(ctl, &d.before);
    if (status == TLY_CTL_DONE) {
        sleep(BETWEEN_S);
        status = look(ctl, &d.now);
    }
    if (status == TLY_CTL_DONE) {
        if (!d.failed) {
            look_at_readiness(&d);
            look_at_memory(&d);
            look_at_store(&d);
            look_at_doors(&d);
            look_at_clock(&d);
            look_at_limits(&d);
            look_at_peers(&d);
        }
        status = show(ctl, &d);
    }
    json_object_put(d.before);
    json_object_put(d.now);
    json_object_put(d.findings);
    return status;
}
