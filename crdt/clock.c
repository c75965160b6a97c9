#include "crdt/clock.h"

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t add_clamped(uint64_t a, uint64_t b)
{
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

struct tly_clock tly_clock_of(uint64_t lease, struct tly_time now, uint64_t max_skew_ns)
{
    /* `last` is what next goes above, hence one less than the first version wanted. */
    uint64_t first = max_u64(max_u64(add_clamped(lease, 1), now.wall_ns), 1);
    return (struct tly_clock){
        .last = first - 1,
        .lease = lease,
        .horizon = max_u64(now.wall_ns, lease),
        .now = now,
        .max_skew_ns = max_skew_ns,
    };
}

void tly_clock_tick(struct tly_clock *clock, struct tly_time now)
{
    uint64_t passed = now.mono_ns > clock->now.mono_ns ? now.mono_ns - clock->now.mono_ns : 0;
    clock->horizon = max_u64(now.wall_ns, add_clamped(clock->horizon, passed));
    clock->now.wall_ns = now.wall_ns;
    clock->now.mono_ns = max_u64(clock->now.mono_ns, now.mono_ns);
}

enum tly_result tly_clock_next(struct tly_clock *clock, uint64_t *ts)
{
    if (clock->last >= TLY_CLOCK_LAST) return TLY_CLOCK_END;
    uint64_t next = max_u64(clock->last + 1, clock->now.wall_ns);
    if (next > TLY_CLOCK_LAST) next = TLY_CLOCK_LAST;
    clock->last = next;
    *ts = next;
    return TLY_OK;
}

uint64_t tly_clock_wants_lease(const struct tly_clock *clock)
{
    uint64_t needed = add_clamped(clock->last, TLY_CLOCK_LEASE_NS / 2);
    return clock->lease >= needed ? 0 : add_clamped(max_u64(clock->lease, clock->last), TLY_CLOCK_LEASE_NS);
}

void tly_clock_leased(struct tly_clock *clock, uint64_t lease)
{
    clock->lease = max_u64(clock->lease, lease);
}

bool tly_clock_is_covered(const struct tly_clock *clock)
{
    return clock->last <= clock->lease;
}
