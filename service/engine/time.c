#include "service/engine/impl.h"

/* The walls of oneself and of every member that was heard lately, as they should be now; 0: no memory. */
static size_t read_walls(struct tly_engine *e)
{
    void *numbers =
        tly_mem_reserve(&e->mem, e->numbers, &e->number_capacity, e->peer_count + 1, sizeof *e->numbers);
    if (numbers == NULL) return 0;
    e->numbers = numbers;
    size_t count = 0;
    e->numbers[count++] = e->now.wall_ns;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        uint64_t age = e->now.mono_ns - peer->wall_mono;
        if (peer->wall_ns == 0 || age > TLY_READING_KEPT_NS) continue;
        e->numbers[count++] = peer->wall_ns + age;
    }
    return count;
}

/*
 * What was judged by a time so far off may be gone too early: begin anew, with empty marks, so that all of it comes again.
 * Every session ends, for the marks that it told are no longer true.
 */
static void begin_again(struct tly_engine *e)
{
    if (tly_lives_begin(e, "this node's time was off by more than max_skew; set its clock") != TLY_OK) return;
    tly_ormap_clear_marks(e->map);
    e->time.used = false;
    e->cluster_ns = tly_cluster_time_at(&e->time, e->now.mono_ns);
    e->stats.clock_lives++;
    while (e->conn_count > 0)
        tly_conn_end(e, e->conns[e->conn_count - 1], "clock", "the node begins again with another time");
}

static void aim(struct tly_engine *e)
{
    size_t count = read_walls(e);
    if (count == 0) return;
    e->wall_bias = e->now.wall_ns - e->now.mono_ns;
    tly_cluster_time_aim(&e->time, e->now, e->numbers, count);
}

static bool wall_jumped(const struct tly_engine *e)
{
    uint64_t bias = e->now.wall_ns - e->now.mono_ns, moved = bias - e->wall_bias;
    return moved + TLY_WALL_JUMP_NS > 2 * TLY_WALL_JUMP_NS;
}

void tly_time_tick(struct tly_engine *e)
{
    if (wall_jumped(e)) aim(e);
    e->cluster_ns = tly_cluster_time_at(&e->time, e->now.mono_ns);
}

void tly_time_heard(struct tly_engine *e, struct peer *peer, uint64_t wall_ns)
{
    peer->wall_ns = wall_ns;
    peer->wall_mono = e->now.mono_ns;
    aim(e);
    e->cluster_ns = tly_cluster_time_at(&e->time, e->now.mono_ns);
}

void tly_time_judge(struct tly_engine *e)
{
    int64_t error = tly_cluster_time_error(&e->time, e->now.mono_ns);
    uint64_t off = error < 0 ? 0 - (uint64_t)error : (uint64_t)error;
    if (e->time.used && off > tly_ormap_clock(e->map)->max_skew_ns) begin_again(e);
}

void tly_time_use(struct tly_engine *e)
{
    e->time.used = true;
}
