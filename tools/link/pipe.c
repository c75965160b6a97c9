#include "tools/link/pipe.h"

#include <assert.h>

#define BITS_NS UINT64_C(8000000000) /* of a byte, for a division by bits per second */

struct tly_pipe tly_pipe_of(const struct tly_pipe_shape *shape, uint64_t seed)
{
    return (struct tly_pipe){.shape = *shape, .seed = seed};
}

void tly_pipe_reshape(struct tly_pipe *pipe, const struct tly_pipe_shape *shape)
{
    /* Its unit is the rate that it was left over from. */
    if (shape->rate_bps != pipe->shape.rate_bps) pipe->carry = 0;
    pipe->shape = *shape;
}

uint64_t tly_pipe_clock(const struct tly_pipe *pipe, uint64_t now)
{
    return (pipe->clogged ? pipe->clogged_at : now) - pipe->stopped;
}

uint64_t tly_pipe_real(const struct tly_pipe *pipe, uint64_t at)
{
    return pipe->clogged ? TLY_PIPE_NEVER : at + pipe->stopped;
}

/* How long the queue of this shape takes to be sent. */
static uint64_t queue_ns(const struct tly_pipe *pipe)
{
    size_t waiting = pipe->shape.queue_bytes;
    if (pipe->shape.rate_bps == 0) return 0;
    return waiting > UINT64_MAX / BITS_NS ? UINT64_MAX : waiting * BITS_NS / pipe->shape.rate_bps;
}

size_t tly_pipe_room(const struct tly_pipe *pipe, uint64_t now)
{
    uint64_t clock = tly_pipe_clock(pipe, now), rate = pipe->shape.rate_bps;
    if (rate == 0 || pipe->free_at <= clock) return TLY_PIPE_SEGMENT_BYTES;
    uint64_t waiting = pipe->free_at - clock, most = queue_ns(pipe);
    if (waiting >= most) return 0;
    uint64_t room = (most - waiting) / (BITS_NS / rate + 1);
    return room < TLY_PIPE_SEGMENT_BYTES ? (size_t)room : TLY_PIPE_SEGMENT_BYTES;
}

/* Half a segment, or half of a queue that is smaller: to go byte by byte would be no use to anyone. */
uint64_t tly_pipe_room_at(const struct tly_pipe *pipe)
{
    size_t wanted = pipe->shape.queue_bytes < TLY_PIPE_SEGMENT_BYTES ? pipe->shape.queue_bytes / 2
                                                                     : TLY_PIPE_SEGMENT_BYTES / 2;
    uint64_t rate = pipe->shape.rate_bps;
    if (rate == 0 || wanted == 0) return pipe->free_at;
    uint64_t spare = wanted * (BITS_NS / rate + 1), most = queue_ns(pipe);
    uint64_t waiting = most > spare ? most - spare : 0;
    return pipe->free_at > waiting ? pipe->free_at - waiting : 0;
}

/* splitmix64 */
static uint64_t draw(struct tly_pipe *pipe)
{
    uint64_t z = pipe->seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t tly_pipe_take(struct tly_pipe *pipe, size_t n, uint64_t now)
{
    assert(n <= TLY_PIPE_SEGMENT_BYTES);
    uint64_t clock = tly_pipe_clock(pipe, now), rate = pipe->shape.rate_bps;
    if (pipe->free_at < clock) {
        pipe->free_at = clock;
        pipe->carry = 0;
    }
    if (rate > 0) {
        uint64_t work = n * BITS_NS + pipe->carry;
        pipe->free_at += work / rate;
        pipe->carry = work % rate;
    }
    uint64_t at = pipe->free_at + pipe->shape.delay_ns;
    if (pipe->shape.jitter_ns > 0 && n > 0) at += draw(pipe) % (pipe->shape.jitter_ns + 1);
    if (at > pipe->last_at) pipe->last_at = at;
    return pipe->last_at;
}

void tly_pipe_clog(struct tly_pipe *pipe, uint64_t now)
{
    if (pipe->clogged) return;
    pipe->clogged = true;
    pipe->clogged_at = now;
}

void tly_pipe_release(struct tly_pipe *pipe, uint64_t now)
{
    if (!pipe->clogged) return;
    pipe->clogged = false;
    pipe->stopped += now - pipe->clogged_at;
}
