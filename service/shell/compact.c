#include "service/shell/compact.h"

#include "service/shell/libc_mem.h"
#include "wire/frame.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
/* Of every turn, and how long the loop has for itself in between. */
#define SLICE_NS UINT64_C(30000)
#define PAUSE_US 1000
/* A log of many small segments is made one, too. */
#define SEGMENTS_MANY 256
/* After one that was given up; doubled each time. */
#define RETRY_MIN_NS (10 * NS_PER_S)
#define RETRY_MAX_NS (640 * NS_PER_S)

enum state { RESTING, BEGINNING, WALKING, ENDING, PUBLISHING, STATES };

struct tly_compact {
    struct tly_compact_config config;
    struct event *timer;
    enum state state;
    struct tly_store_report report;
    struct tly_image *image;
    struct tly_buf batch; /* made, and not taken by the store yet */
    bool is_walked;       /* batch is the last */
    uint64_t ticket;
    uint64_t published, given_up; /* as the store counted them at the beginning */
    uint64_t begun_ns, retry_ns, pause_ns;
    uint64_t turn_max_ns;
};

static uint64_t now_ns(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void move(struct tly_compact *c, enum state to)
{
    static const bool may[STATES][STATES] = {
        [RESTING] = {[BEGINNING] = true},
        [BEGINNING] = {[WALKING] = true, [RESTING] = true},
        [WALKING] = {[ENDING] = true, [RESTING] = true},
        [ENDING] = {[PUBLISHING] = true, [RESTING] = true},
        [PUBLISHING] = {[RESTING] = true},
    };
    assert(may[c->state][to]);
    c->state = to;
}

static void turn_soon(struct tly_compact *c)
{
    static const struct timeval pause = {0, PAUSE_US};
    (void)event_add(c->timer, &pause);
}

/* ---- ends ---- */

static void let_go(struct tly_compact *c)
{
    tly_image_free(c->image);
    c->image = NULL;
    tly_buf_clear(&c->batch);
    move(c, RESTING);
}

/* A step without a batch needs hardly any memory; if even that is not there, the store drops what has no end. */
static void tell_store(struct tly_compact *c, enum tly_store_image what)
{
    (void)!tly_store_image(c->config.store, what, tly_slice_of(NULL, 0));
}

static void give_up(struct tly_compact *c, const char *why)
{
    c->pause_ns = c->pause_ns == 0 ? RETRY_MIN_NS : c->pause_ns * 2;
    if (c->pause_ns > RETRY_MAX_NS) c->pause_ns = RETRY_MAX_NS;
    c->retry_ns = now_ns() + c->pause_ns;
    tly_log(c->config.log, TLY_LEVEL_WARN,
            "no snapshot: %s; the log stays as it is, and it is tried again in %llu s", why,
            (unsigned long long)(c->pause_ns / NS_PER_S));
    if (c->state == WALKING || c->state == ENDING) tell_store(c, TLY_IMAGE_DROP);
    let_go(c);
    /* A node to which nothing happens has no other reason to look. The loop's clock may be a little ahead of ours. */
    struct timeval pause = {(time_t)(c->pause_ns / NS_PER_S), 100000};
    (void)event_add(c->timer, &pause);
}

static void succeed(struct tly_compact *c)
{
    tly_log(c->config.log, TLY_LEVEL_INFO, "snapshot of %llu bytes in %llu ms; the log behind it has %llu",
            (unsigned long long)c->report.snapshot_bytes,
            (unsigned long long)((now_ns() - c->begun_ns) / 1000000), (unsigned long long)c->report.bytes);
    c->pause_ns = c->retry_ns = 0;
    let_go(c);
}

/* ---- turns ---- */

static void begin(struct tly_compact *c)
{
    enum tly_result result = tly_image_new(c->config.engine, &c->image);
    if (result == TLY_MORE) return;
    if (result == TLY_OK) result = tly_store_image(c->config.store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0));
    if (result != TLY_OK) {
        give_up(c, tly_result_text(result));
        return;
    }
    c->is_walked = false;
    move(c, WALKING);
}

static void end_walk(struct tly_compact *c)
{
    tly_image_free(c->image);
    c->image = NULL;
    c->ticket = tly_engine_ticket(c->config.engine);
    move(c, ENDING);
}

/* All that the walk was under way through was replaced. */
static void begin_anew(struct tly_compact *c)
{
    tell_store(c, TLY_IMAGE_DROP);
    let_go(c);
    move(c, BEGINNING);
}

/* One batch; false: no more in this turn. */
static bool walk(struct tly_compact *c)
{
    enum tly_result result = TLY_OK;
    if (c->batch.n == 0) result = tly_image_next(c->image, &c->batch, &c->is_walked);
    if (result == TLY_OK)
        result = tly_store_image(c->config.store, TLY_IMAGE_BATCH, tly_buf_slice(&c->batch));
    if (result == TLY_FULL) return false;
    if (result == TLY_STALE) {
        begin_anew(c);
        return false;
    }
    if (result != TLY_OK) {
        give_up(c, tly_result_text(result));
        return false;
    }
    tly_buf_clear(&c->batch);
    if (c->is_walked) end_walk(c);
    return !c->is_walked;
}

/* What was replaced while the walk had not come to it is stored by now, so the image may stand for it. */
static void end(struct tly_compact *c)
{
    if (c->ticket != 0 && !tly_engine_is_stored(c->config.engine, c->ticket)) return;
    tell_store(c, TLY_IMAGE_END);
    move(c, PUBLISHING);
}

static void take_turn(struct tly_compact *c, uint64_t until_ns)
{
    if (c->state == BEGINNING) begin(c);
    while (c->state == WALKING && walk(c) && now_ns() < until_ns)
        continue;
    if (c->state == ENDING) end(c);
}

static bool is_wanted(const struct tly_compact *c)
{
    const struct tly_store_report *r = &c->report;
    bool is_large = r->bytes > c->config.log_bytes_min && r->bytes > 2 * r->snapshot_bytes;
    return (is_large || r->segments > SEGMENTS_MANY) && !r->failing && now_ns() >= c->retry_ns;
}

static void begin_if_wanted(struct tly_compact *c)
{
    if (!is_wanted(c)) return;
    c->published = c->report.snapshots;
    c->given_up = c->report.snapshots_failed;
    c->begun_ns = now_ns();
    move(c, BEGINNING);
    turn_soon(c);
}

static void on_turn(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct tly_compact *c = argument;
    uint64_t from = now_ns();
    if (c->state == RESTING) begin_if_wanted(c);
    take_turn(c, from + SLICE_NS);
    uint64_t took = now_ns() - from;
    if (took > c->turn_max_ns) c->turn_max_ns = took;
    if (c->state != RESTING && c->state != PUBLISHING) turn_soon(c);
}

/* ---- what others call ---- */

void tly_compact_report(struct tly_compact *c, const struct tly_store_report *report)
{
    c->report = *report;
    if (c->state == RESTING) {
        begin_if_wanted(c);
    } else if (report->snapshots_failed > c->given_up) {
        give_up(c, report->snapshot_error);
    } else if (c->state == PUBLISHING && report->snapshots > c->published) {
        succeed(c);
    } else if ((c->state == WALKING || c->state == ENDING) && report->failing) {
        give_up(c, report->error);
    }
}

bool tly_compact_gave_up(const struct tly_compact *c)
{
    return c->pause_ns != 0;
}

uint64_t tly_compact_turn_max_ns(const struct tly_compact *c)
{
    return c->turn_max_ns;
}

struct tly_compact *tly_compact_new(const struct tly_compact_config *config)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_compact *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->config = *config;
    tly_buf_init(&c->batch, &mem, TLY_FRAME_BODY_MAX);
    c->timer = event_new(config->base, -1, 0, on_turn, c);
    if (c->timer != NULL) return c;
    free(c);
    return NULL;
}

void tly_compact_free(struct tly_compact *c)
{
    if (c == NULL) return;
    if (c->state == WALKING || c->state == ENDING) tell_store(c, TLY_IMAGE_DROP);
    tly_image_free(c->image);
    tly_buf_fini(&c->batch);
    event_free(c->timer);
    free(c);
}
