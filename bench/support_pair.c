#include "bench/support_pair.h"

#include "bench/support.h"

#define TURN_NS UINT64_C(20000000)
#define TURNS 50

/* Bytes that arrive are kept, all else is done at once. */
static void carry_out(struct tly_bench_pair *pair, size_t end, const struct tly_effect *effect)
{
    size_t other = 1 - end;
    switch (effect->kind) {
    case TLY_DO_DIAL: pair->conn[end] = effect->conn; break;
    case TLY_DO_SEND:
        tly_buf_put(&pair->to[other], effect->bytes.p, effect->bytes.n);
        tly_bench_must(pair->to[other].result, "sending");
        break;
    case TLY_DO_CLOSE: tly_bench_fail("a connection was closed"); break;
    default: break;
    }
}

static void step(struct tly_bench_pair *pair, size_t end, struct tly_event event)
{
    struct tly_effects effects;
    event.now = pair->now;
    event.conn = pair->conn[end];
    tly_bench_must(tly_engine_step(pair->end[end], &event, &effects), "stepping an engine");
    for (size_t i = 0; i < effects.count; i++)
        carry_out(pair, end, &effects.list[i]);
}

void tly_bench_pair_hear(struct tly_bench_pair *pair, size_t end)
{
    struct tly_buf *to = &pair->to[end];
    struct tly_event event = {.kind = TLY_BYTES, .bytes = tly_buf_slice(to)};
    if (to->n > 0) step(pair, end, event);
    tly_buf_clear(to);
}

static void turn(struct tly_bench_pair *pair, size_t end)
{
    pair->now.wall_ns += TURN_NS;
    pair->now.mono_ns += TURN_NS;
    step(pair, end, (struct tly_event){.kind = TLY_TICK});
}

void tly_bench_pair_say(struct tly_bench_pair *pair, size_t end)
{
    for (size_t i = 0; i < TURNS; i++)
        turn(pair, end);
}

void tly_bench_pair_settle(struct tly_bench_pair *pair)
{
    for (size_t i = 0; i < 4 * TURNS; i++) {
        turn(pair, i % 2);
        tly_bench_pair_hear(pair, 0);
        tly_bench_pair_hear(pair, 1);
    }
}

void tly_bench_pair_init(struct tly_bench_pair *pair)
{
    struct tly_mem mem = tly_bench_heap();
    *pair = (struct tly_bench_pair){.now = {TLY_BENCH_WALL_NS, 1}};
    for (size_t end = 0; end < 2; end++) {
        pair->end[end] = tly_bench_engine_named(end == 0 ? "a" : "b", false);
        tly_buf_init(&pair->to[end], &mem, SIZE_MAX / 4);
        tly_bench_must(tly_engine_start(pair->end[end], end + 1, pair->now), "starting an engine");
    }
    tly_bench_must(tly_engine_join(pair->end[0], tly_slice_text("other:1")), "joining");
    turn(pair, 0);
    if (pair->conn[0] == 0) tly_bench_fail("nobody was dialled");
    pair->conn[1] = 1;
    step(pair, 0, (struct tly_event){.kind = TLY_CONNECTED});
    step(pair, 1, (struct tly_event){.kind = TLY_ACCEPTED});
    tly_bench_pair_settle(pair);
}

void tly_bench_pair_fini(struct tly_bench_pair *pair)
{
    for (size_t end = 0; end < 2; end++) {
        tly_engine_free(pair->end[end]);
        tly_buf_fini(&pair->to[end]);
    }
}
