#include "tests/engine/support_follow.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <string.h>

static void open_engine(struct follow *f, struct net *net, size_t node)
{
    struct tly_engine_config config = {.mem = test_mem(),
                                       .name = tly_slice_text("f"),
                                       .cluster = tly_slice_text("test"),
                                       .now = net_time(net, node)};
    assert_int_equal(tly_engine_new(&config, &f->engine), TLY_OK);
    struct tly_mirror_config mirror = {.engine = f->engine,
                                       .no_delta = f->no_delta,
                                       .bytes_max = f->bytes_max,
                                       .prefixes = f->prefixes,
                                       .prefix_count = f->prefix_count};
    assert_int_equal(tly_mirror_new(&mirror, &f->mirror), TLY_OK);
}

void follow_begin(struct follow *f, struct net *net, size_t node)
{
    struct tly_mem mem = test_mem();
    tly_buf_init(&f->batches, &mem, 256u << 20);
    tly_buf_init(&f->state, &mem, 1u << 20);
    tly_buf_init(&f->question, &mem, 1u << 20);
    tly_buf_init(&f->answer, &mem, TLY_FEED_ANSWER_BYTES_MAX);
    open_engine(f, net, node);
}

static void close_engine(struct follow *f)
{
    tly_mirror_free(f->mirror);
    tly_engine_check(f->engine);
    tly_engine_free(f->engine);
}

void follow_end(struct follow *f)
{
    close_engine(f);
    tly_buf_fini(&f->batches);
    tly_buf_fini(&f->state);
    tly_buf_fini(&f->question);
    tly_buf_fini(&f->answer);
}

void follow_restart(struct follow *f, struct net *net, size_t node)
{
    close_engine(f);
    open_engine(f, net, node);
    for (size_t at = 0; at < f->batches.n;) {
        uint64_t n;
        memcpy(&n, f->batches.p + at, sizeof n);
        at += sizeof n;
        assert_int_equal(tly_engine_replay(f->engine, tly_slice_of(f->batches.p + at, (size_t)n)), TLY_OK);
        at += (size_t)n;
    }
    if (f->state.n > 0) assert_int_equal(tly_mirror_state_get(f->mirror, tly_buf_slice(&f->state)), TLY_OK);
}

static enum tly_result keep_batch(void *context, struct tly_slice batch)
{
    struct follow *f = context;
    uint64_t n = batch.n;
    tly_buf_put(&f->batches, &n, sizeof n);
    tly_buf_put(&f->batches, batch.p, batch.n);
    return f->batches.result;
}

static void count_kept_out(void *context, struct tly_slice key, enum tly_result why)
{
    struct follow *f = context;
    assert_true(key.n > 0 && why != TLY_OK);
    f->kept_out++;
}

static void note_names(char *to, size_t size, const struct tly_feed_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        strncat(to, (const char *)names->names[i].p, names->names[i].n);
        strncat(to, " ", size - strlen(to) - 1);
    }
}

/* The answer as a node wrote it that knew nothing of what it says last. */
static void make_old(struct follow *f)
{
    struct tly_mem mem = test_mem();
    struct tly_buf scratch, body, rest;
    struct tly_frame frame;
    struct tly_feed_answer answer;
    size_t consumed;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&rest, &mem, TLY_FEED_ANSWER_BYTES_MAX);
    assert_int_equal(tly_frame_get(tly_buf_slice(&f->answer), &scratch, &frame, &consumed), TLY_OK);
    assert_int_equal(tly_feed_answer_get(frame.body, &answer), TLY_OK);
    answer.floor_count = 0;
    answer.swept = (struct tly_feed_swept){0};
    tly_feed_answer_put(&body, &answer);
    tly_buf_put(&rest, f->answer.p + consumed, f->answer.n - consumed);
    tly_buf_clear(&f->answer);
    tly_frame_put(&f->answer, TLY_FRAME_FEED_ANSWER, tly_buf_slice(&body));
    tly_buf_put(&f->answer, rest.p, rest.n);
    tly_buf_fini(&scratch);
    tly_buf_fini(&body);
    tly_buf_fini(&rest);
}

enum tly_result follow_ask(struct follow *f, struct net *net, size_t node, struct tly_mirror_news *news)
{
    struct tly_feed_said said;
    struct tly_mirror_sink sink = {keep_batch, count_kept_out, f};
    tly_buf_clear(&f->question);
    tly_buf_clear(&f->answer);
    bool snapshot = tly_mirror_ask(f->mirror, &f->question);
    struct tly_slice question = tly_buf_slice(&f->question);
    enum tly_result result =
        snapshot ? tly_feed_snapshot(net_node(net, node), question, net_time(net, node), &said, &f->answer)
                 : tly_feed_sync(net_node(net, node), question, net_time(net, node), &said, &f->answer);
    assert_int_equal(result, TLY_OK);
    if (f->is_node_old) make_old(f);
    f->answers[said.verdict]++;
    if (said.verdict == TLY_FEED_COLD_START) f->reasons[said.reason]++;
    f->bytes += f->answer.n;
    result = tly_mirror_take(f->mirror, tly_buf_slice(&f->answer), net_time(net, node), &sink, news);
    if (result != TLY_OK) f->failures++;
    if (result != TLY_OK) return result;
    note_names(f->missing, sizeof f->missing, &news->missing);
    note_names(f->dropped, sizeof f->dropped, &news->dropped);
    tly_buf_clear(&f->state);
    tly_mirror_state_put(f->mirror, &f->state);
    return TLY_OK;
}

enum tly_result follow_tick(struct follow *f, struct net *net, size_t node)
{
    struct tly_mirror_news news = {.more = true};
    enum tly_result result = TLY_OK;
    size_t questions = 0;
    while (result == TLY_OK && news.more) {
        assert_true(questions++ < 100000);
        result = follow_ask(f, net, node, &news);
    }
    return result;
}

int64_t follow_read(struct follow *f, const char *key)
{
    struct tly_entry_view view;
    if (tly_engine_entry(f->engine, tly_slice_text(key), &view) != TLY_OK) return INT64_MIN;
    struct tly_moment at = {.now_ms = view.now_ms};
    struct tly_value value;
    view.strategy->read(view.dots, view.count, &at, &value);
    return value.present ? value.count : INT64_MIN;
}

bool follow_is_equal(struct follow *f, struct net *net, size_t node)
{
    return tly_mirror_digest(f->mirror) == net_digest(net, node);
}
