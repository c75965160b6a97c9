/*
 * memory_max, a promise.  Only what reads like an absent key is dropped to keep it.  Everything else stays, and what does
 * not fit is refused in this order: a new key of our own, a new key of a peer, more of a key that is here.  What must be
 * done (sealing, sending, answering) is never refused: the last steps are left free for it.
 *
 *     0 ------------------------------------ 24/32 --- 25/32 ------------- 30/32 --- memory_max
 *                                              |         |                   |
 *                              new keys end here  peers' end here  old ones grow no more
 *
 * A peer's dot that does not fit must not be forgotten: a mark above it would say that it is here. So the connection it came on
 * is held back: its dots are taken in as far as they fit, which keeps what is here up to date, but none of its marks; when there is
 * room again a NAK with our marks has it send all that was left out.
 */
#include "service/engine/impl.h"

#include "service/engine/limit.h"

static size_t ceiling_of(const struct tly_engine *e, enum room room)
{
    /* Between new keys and old ones there is room for those that are here to grow when a second node counts in them. */
    static const size_t parts[] = {[ROOM_NEW_KEY] = 24, [ROOM_PEERS_KEY] = 25, [ROOM_OLD_KEY] = 30};
    if (e->memory_max == 0 || room == ROOM_FOR_ALL) return TLY_NO_CEILING;
    return e->memory_max / 32 * parts[room];
}

void tly_room_for(struct tly_engine *e, enum room room)
{
    e->budget.ceiling = ceiling_of(e, room);
    e->budget.refused = false;
}

/* There may be what reads like nothing: no long pause now. */
static void hurry(struct tly_engine *e)
{
    uint64_t soon = e->now.mono_ns + TLY_SWEEP_PASS_FULL_NS;
    if (soon < e->sweep_from) soon = e->sweep_from;
    if (e->sweep_at > soon) e->sweep_at = soon;
}

bool tly_room_retry(struct tly_engine *e, struct tly_slice key, enum tly_result *result)
{
    if (*result != TLY_NOMEM || !e->budget.refused) return false;
    hurry(e);
    bool is_old = e->budget.ceiling == ceiling_of(e, ROOM_OLD_KEY);
    if (!is_old && tly_ormap_find(e->map, key) != NULL) {
        tly_room_for(e, ROOM_OLD_KEY);
        return true;
    }
    if (!is_old && e->budget.ceiling == ceiling_of(e, ROOM_NEW_KEY)) {
        e->full = true;
        e->refused_at = e->now.mono_ns;
    }
    *result = TLY_FULL;
    return false;
}

/* ---- what reads like nothing ---- */

static bool is_gone(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                    const struct tly_dot *put)
{
    struct tly_engine *e = context;
    return tly_limit_expired(key, strategy, put, tly_forget_now_ms(e) * NS_PER_MS,
                             tly_ormap_clock(e->map)->max_skew_ns);
}

static bool has_much_room(const struct tly_engine *e)
{
    return e->memory_max == 0 || e->budget.used < ceiling_of(e, ROOM_NEW_KEY) / 4 * 3;
}

/* The pause before the next step, or after a whole pass; the less room there is the shorter. */
static uint64_t sweep_pause(const struct tly_engine *e)
{
    bool passed = e->sweep_cursor == 0;
    size_t full = ceiling_of(e, ROOM_NEW_KEY), used = e->budget.used;
    if (has_much_room(e)) return passed ? TLY_SWEEP_PASS_NS : TLY_SWEEP_STEP_NS;
    if (used < full - full / 16) return passed ? TLY_SWEEP_PASS_NS : TLY_SWEEP_STEP_NEAR_NS;
    return passed ? TLY_SWEEP_PASS_FULL_NS : TLY_SWEEP_STEP_FULL_NS;
}

static void sweep(struct tly_engine *e)
{
    if (e->now.mono_ns < e->sweep_at) return;
    /* A node that booted months ahead must not drop a quarter's quotas before others told it the time. */
    if (tly_forget_now_ms(e) == 0) return;
    size_t dropped = tly_ormap_sweep(e->map, &e->sweep_cursor, TLY_SWEEP_ENTRIES, is_gone, e);
    e->stats.dots_expired += dropped;
    e->sweep_at = e->now.mono_ns + sweep_pause(e);
}

/* ---- what did not fit ---- */

void tly_room_hold_back(struct tly_engine *e, struct conn *conn)
{
    e->stats.rounds_held_back++;
    if (conn->held_back) return;
    conn->held_back = true;
    uint64_t longer = conn->hold_ns != 0 ? conn->hold_ns * 2 : TLY_HOLD_MIN_NS;
    conn->hold_ns = longer < TLY_HOLD_MAX_NS ? longer : TLY_HOLD_MAX_NS;
    conn->retry_at = e->now.mono_ns + conn->hold_ns;
    if (conn->peer->held_back) return;
    conn->peer->held_back = true;
    tly_fx_trace(e, TLY_TRACE_HELD_BACK, conn->peer->name,
                 tly_slice_text(
                     "not all of its keys fit into memory_max; they are asked for again when there is room"));
}

void tly_room_taken(struct tly_engine *e, struct conn *conn)
{
    conn->hold_ns = 0;
    if (!conn->peer->held_back) return;
    conn->peer->held_back = false;
    tly_fx_trace(e, TLY_TRACE_ROOM_AGAIN, conn->peer->name, tly_slice_text("all that it has is here now"));
}

static void ask_again(struct tly_engine *e, struct conn *conn)
{
    if (!conn->held_back || e->now.mono_ns < conn->retry_at) return;
    conn->retry_at = e->now.mono_ns + conn->hold_ns;
    /* Memory is taken in lumps: there is room when one more of the size that was refused would fit. */
    size_t wanted = e->budget.wanted + e->memory_max / 64, ceiling = ceiling_of(e, ROOM_PEERS_KEY);
    if (e->budget.used > ceiling || wanted > ceiling - e->budget.used) return;
    conn->held_back = false;
    tly_session_nak(e, conn, TLY_FULL);
}

/* Says once that new keys are refused, and once that none has been for a while. */
static void tell_state(struct tly_engine *e)
{
    if (e->full && e->now.mono_ns - e->refused_at > TLY_FULL_FOR_NS) e->full = false;
    if (e->full == e->full_told) return;
    e->full_told = e->full;
    const char *refuses = "new keys are refused, new keys of checks too";
    const char *admits = "new keys are refused, new keys of checks pass uncounted";
    if (e->full)
        tly_fx_trace(e, TLY_TRACE_HELD_BACK, "",
                     tly_slice_text(e->on_full == TLY_ON_FULL_REFUSE ? refuses : admits));
    else
        tly_fx_trace(e, TLY_TRACE_ROOM_AGAIN, "", tly_slice_text("no new key has been refused for a minute"));
}

void tly_room_tick(struct tly_engine *e)
{
    sweep(e);
    tell_state(e);
    for (size_t i = 0; i < e->conn_count; i++)
        ask_again(e, e->conns[i]);
}

uint64_t tly_room_deadline(const struct tly_engine *e)
{
    return tly_ormap_count(e->map) > 0 ? e->sweep_at : TLY_NEVER;
}
