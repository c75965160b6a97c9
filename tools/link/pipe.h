/*
 * One direction of a link, as a function of time: what is taken in now comes out when.
 *
 *     taken in -> waits for its turn (queue) -> is sent at the rate -> travels (delay + jitter) -> comes out
 *
 * A value; it holds no bytes, only when they are due.  Nothing overtakes.  It has a clock of its own, which stands still
 * while the pipe is clogged: then nothing is sent and nothing arrives, and afterwards all goes on as if that time had
 * not been.  The same seed and the same calls give the same answers.
 */
#ifndef TALLY_TOOLS_LINK_PIPE_H
#define TALLY_TOOLS_LINK_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is taken in at once at most, so that a segment's turn comes soon. */
#define TLY_PIPE_SEGMENT_BYTES ((size_t)1448)
#define TLY_PIPE_NEVER UINT64_MAX

struct tly_pipe_shape {
    uint64_t rate_bps;  /* bits per second; 0: as fast as it comes */
    uint64_t delay_ns;  /* of each segment */
    uint64_t jitter_ns; /* up to so much more, drawn evenly */
    size_t queue_bytes; /* that wait for their turn; at least one segment always may */
};

struct tly_pipe {
    struct tly_pipe_shape shape;
    uint64_t seed;
    uint64_t free_at; /* when everything taken in will have been sent */
    uint64_t carry;   /* what the division left over of it, in bits * 10^9 below the rate */
    uint64_t last_at; /* when the last segment comes out */
    uint64_t stopped; /* ns for which it was clogged */
    uint64_t clogged_at;
    bool clogged;
};

struct tly_pipe tly_pipe_of(const struct tly_pipe_shape *shape, uint64_t seed);
/* From the next segment on; what is on its way keeps its time. */
void tly_pipe_reshape(struct tly_pipe *pipe, const struct tly_pipe_shape *shape);

/* The pipe's own time. All times below are of this clock, but for `now`, which never goes back. */
uint64_t tly_pipe_clock(const struct tly_pipe *pipe, uint64_t now);
/* When `at` of the pipe's clock will be, as of now; TLY_PIPE_NEVER while it is clogged. */
uint64_t tly_pipe_real(const struct tly_pipe *pipe, uint64_t at);

/* Bytes that may be taken in now: 0 or up to a segment. */
size_t tly_pipe_room(const struct tly_pipe *pipe, uint64_t now);
/* When there is room again, if there is none. */
uint64_t tly_pipe_room_at(const struct tly_pipe *pipe);
/* Takes n bytes in (0: the end of a stream, which only keeps its place). When they come out. */
uint64_t tly_pipe_take(struct tly_pipe *pipe, size_t n, uint64_t now);

void tly_pipe_clog(struct tly_pipe *pipe, uint64_t now);
void tly_pipe_release(struct tly_pipe *pipe, uint64_t now);

#endif
