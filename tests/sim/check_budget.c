/*
 * Bytes on a link <= its budget, over any time: what goes one way on a connection flows through a bucket that leaks as fast as the budget says.
 * It holds the burst when something is sent that could have waited, and one dot more, which goes whole: a value, or what a node says of each
 * life that ended and is not settled, if that is longer. What must be answered is not held back, but what it took is gone from the bucket for
 * the rest.
 */
#include "service/engine/lane.h"
#include "tests/sim/sim.h"
#include "wire/frame.h"

/* Of a part: its head, marks of some lives, and a key that just did not fit. */
#define OVER 2048

static unsigned type_of(struct tly_slice frame)
{
    size_t at = 0;
    while (at + 1 < frame.n && (frame.p[at] & 0x80) != 0)
        at++;
    return at + 1 < frame.n ? frame.p[at + 1] & 0x1f : 0;
}

static bool could_wait(unsigned type)
{
    return type == TLY_FRAME_ROUND || type == TLY_FRAME_PART || type == TLY_FRAME_SNAP_CHUNK ||
           type == TLY_FRAME_NEWS;
}

void sim_check_budget(struct sim *sim, size_t node, struct sim_level *level, struct tly_slice frame)
{
    uint64_t budget = sim->knobs.link_budget, leaked = (sim->now - level->at) / SIM_US * budget / 1000000;
    if (budget == 0) return;
    level->bytes = (level->bytes > leaked ? level->bytes - leaked : 0) + frame.n;
    level->at = sim->now;
    uint64_t burst = budget * TLY_BURST_NS / SIM_S, most = burst > TLY_BURST_MIN ? burst : TLY_BURST_MIN;
    size_t dot = sim->knobs.fresh > 0 ? SIM_FRESH_BYTES : sim->knobs.value_bytes;
    if (sim->dot_bytes_max > dot) dot = sim->dot_bytes_max;
    sim_claim(sim, !could_wait(type_of(frame)) || level->bytes <= most + OVER + dot,
              "n%zu sends a frame %u of %zu bytes where %llu of %llu were under way", node, type_of(frame),
              frame.n, (unsigned long long)(level->bytes - frame.n), (unsigned long long)most);
}
