#include "service/engine/impl.h"

static const struct {
    const char *word;
    enum tly_level level;
} traces[TLY_TRACE_COUNT] = {
#define ROW(name, word, level) [TLY_TRACE_##name] = {word, TLY_LEVEL_##level},
    TLY_TRACES(ROW)
#undef ROW
};

const char *tly_trace_word(enum tly_trace_kind kind)
{
    return (size_t)kind < TLY_TRACE_COUNT ? traces[kind].word : "unknown";
}

enum tly_level tly_trace_level(enum tly_trace_kind kind)
{
    return (size_t)kind < TLY_TRACE_COUNT ? traces[kind].level : TLY_LEVEL_ERROR;
}

void tly_fx_reset(struct tly_engine *e)
{
    tly_buf_clear(&e->arena);
    e->pending_count = 0;
}

bool tly_fx_is_full(const struct tly_engine *e)
{
    size_t most = TLY_EFFECT_BYTES_MAX / 2, part = e->memory_max / TLY_TURN_PART;
    return e->arena.n >= (part > 0 && part < most ? part : most);
}

/* Copies bytes into the arena and says where; the arena may still move. */
static size_t keep(struct tly_engine *e, struct tly_slice bytes)
{
    size_t at = e->arena.n;
    tly_buf_put(&e->arena, bytes.p, bytes.n);
    return at;
}

static struct pending *add(struct tly_engine *e)
{
    size_t need = e->pending_count + 1;
    void *pending = tly_mem_reserve(&e->mem, e->pending, &e->pending_capacity, need, sizeof *e->pending);
    if (pending == NULL) {
        e->arena.result = TLY_NOMEM;
        return NULL;
    }
    e->pending = pending;
    struct pending *added = &e->pending[e->pending_count++];
    *added = (struct pending){0};
    return added;
}

void tly_fx_add(struct tly_engine *e, enum tly_effect_kind kind, uint64_t conn, uint64_t number,
                struct tly_slice bytes)
{
    struct pending *added = add(e);
    if (added == NULL) return;
    added->effect = (struct tly_effect){.kind = kind, .conn = conn, .number = number, .bytes.n = bytes.n};
    added->bytes_at = keep(e, bytes);
}

void tly_fx_trace(struct tly_engine *e, enum tly_trace_kind kind, const char *peer, struct tly_slice detail)
{
    struct pending *added = add(e);
    if (added == NULL) return;
    added->effect = (struct tly_effect){.kind = TLY_DO_TRACE, .trace.kind = kind};
    added->effect.trace.peer.n = strlen(peer);
    added->effect.trace.detail.n = detail.n;
    added->peer_at = keep(e, tly_slice_text(peer));
    added->detail_at = keep(e, detail);
}

void tly_fx_send(struct tly_engine *e, struct conn *conn, enum tly_frame_type type)
{
    tly_fx_send_on(e, conn, type, TLY_LANE_CONTROL, 0);
}

void tly_fx_send_on(struct tly_engine *e, struct conn *conn, enum tly_frame_type type, enum tly_lane lane,
                    unsigned wanting)
{
    tly_buf_clear(&e->frame);
    tly_frame_put(&e->frame, type, tly_buf_slice(&e->body));
    if (e->body.result != TLY_OK || e->frame.result != TLY_OK) e->arena.result = TLY_NOMEM;
    tly_buf_clear(&e->body);
    struct tly_slice frame = tly_buf_slice(&e->frame);
    tly_fx_add(e, TLY_DO_SEND, conn->id, 0, frame);
    tly_lanes_sent(&conn->lanes, lane, frame.n, wanting, e->now.mono_ns);
    conn->last_sent = e->now.mono_ns;
    conn->sent_ping = type == TLY_FRAME_PING;
    e->stats.bytes_sent += frame.n;
    if (lane == TLY_LANE_CONTROL) e->stats.lane_control_bytes += frame.n;
    if (lane == TLY_LANE_LIVE) e->stats.lane_live_bytes += frame.n;
    if (lane == TLY_LANE_REPAIR) e->stats.lane_repair_bytes += frame.n;
    if (lane == TLY_LANE_BULK) e->stats.lane_bulk_bytes += frame.n;
    if (conn->peer != NULL) conn->peer->bytes_sent += frame.n;
}

struct tly_effects tly_fx_take(struct tly_engine *e)
{
    void *effects =
        tly_mem_reserve(&e->mem, e->effects, &e->effect_capacity, e->pending_count, sizeof *e->effects);
    if (effects == NULL) return (struct tly_effects){0};
    e->effects = effects;
    for (size_t i = 0; i < e->pending_count; i++) {
        const struct pending *pending = &e->pending[i];
        struct tly_effect *effect = &e->effects[i];
        *effect = pending->effect;
        effect->bytes.p = e->arena.p + pending->bytes_at;
        effect->trace.peer.p = e->arena.p + pending->peer_at;
        effect->trace.detail.p = e->arena.p + pending->detail_at;
    }
    return (struct tly_effects){e->effects, e->pending_count};
}
