#include "service/engine/impl.h"
#include "service/engine/ring.h"

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
    if (e->now.mono_ns < e->new_life_at) return;
    enum tly_result result = tly_life_anew(
        e, tly_random(e) | 1, "this node's time was off by more than max_skew; set its clock", true);
    if (result != TLY_OK) {
        e->arena.result = TLY_NOMEM;
        return;
    }
    e->time.used = false;
    e->cluster_ns = tly_cluster_time_at(&e->time, e->now.mono_ns);
    e->stats.clock_lives++;
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

/* Takes the median of the members' walls for one's own, or goes on with that of those that were heard before. */
static void borrow_wall(struct tly_engine *e)
{
    size_t count = read_walls(e), good = 0;
    for (size_t i = 1; i < count; i++)
        if (e->numbers[i] >= e->wall_earliest_ns) e->numbers[good++] = e->numbers[i];
    if (good == 0) return;
    tly_sort_u64(e->numbers, good);
    if (!e->borrows)
        tly_fx_trace(e, TLY_TRACE_CLOCK, "",
                     tly_slice_text("this machine's clock is wrong: the members' is used; set it"));
    e->borrows = true;
    e->borrowed_bias = e->numbers[good / 2] - e->now.mono_ns;
    e->now.wall_ns = e->numbers[good / 2];
    tly_clock_tick(tly_ormap_clock(e->map), e->now);
}

void tly_time_tick(struct tly_engine *e)
{
    if (wall_jumped(e)) aim(e);
    e->cluster_ns = tly_cluster_time_at(&e->time, e->now.mono_ns);
}

void tly_time_move(struct tly_engine *e, struct tly_time now)
{
    e->now = now;
    tly_clock_tick(tly_ormap_clock(e->map), e->now);
    tly_time_tick(e);
}

void tly_time_heard(struct tly_engine *e, struct peer *peer, uint64_t wall_ns)
{
    peer->wall_ns = wall_ns;
    peer->wall_mono = e->now.mono_ns;
    if (e->wall_is_wrong) borrow_wall(e);
    aim(e);
    e->cluster_ns = tly_cluster_time_at(&e->time, e->now.mono_ns);
}

void tly_time_judge(struct tly_engine *e)
{
    int64_t error = tly_cluster_time_error(&e->time, e->now.mono_ns);
    uint64_t off = error < 0 ? 0 - (uint64_t)error : (uint64_t)error;
    if (e->time.used && off > tly_ormap_clock(e->map)->max_skew_ns) begin_again(e);
}
