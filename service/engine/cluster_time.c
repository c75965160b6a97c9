#include "service/engine/cluster_time.h"

#include "service/engine/ring.h"

struct tly_cluster_time tly_cluster_time_of(struct tly_time now)
{
    return (struct tly_cluster_time){
        .ns = now.wall_ns,
        .mono_ns = now.mono_ns,
        .target = now.wall_ns,
        .earliest = now.wall_ns,
        .target_mono = now.mono_ns,
        .since_mono = now.mono_ns,
    };
}

static uint64_t passed(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

/* b - a, held at the ends of the range. */
static int64_t difference(uint64_t a, uint64_t b)
{
    if (b >= a) return b - a > INT64_MAX ? INT64_MAX : (int64_t)(b - a);
    return a - b > INT64_MAX ? INT64_MIN : -(int64_t)(a - b);
}

static uint64_t moved(uint64_t at, int64_t by)
{
    if (by < 0) return at > (uint64_t)-by ? at - (uint64_t)-by : 0;
    return at > UINT64_MAX - (uint64_t)by ? UINT64_MAX : at + (uint64_t)by;
}

/* Of an even number the middle between the two in the middle, computed so that it cannot overflow. */
static uint64_t median(uint64_t *walls, size_t count)
{
    tly_sort_u64(walls, count);
    uint64_t upper = walls[count / 2];
    if (count % 2 == 1) return upper;
    uint64_t lower = walls[count / 2 - 1];
    return lower + (upper - lower) / 2;
}

void tly_cluster_time_aim(struct tly_cluster_time *time, struct tly_time now, uint64_t *walls, size_t count)
{
    time->target = count > 2 ? median(walls, count) : now.wall_ns;
    time->earliest = count == 2 && walls[1] < walls[0] ? walls[1] : time->target;
    time->target_mono = now.mono_ns;
    if (count > 1) time->heard = true;
}

int64_t tly_cluster_time_error(const struct tly_cluster_time *time, uint64_t mono_ns)
{
    uint64_t target = moved(time->target, difference(time->target_mono, mono_ns));
    return difference(moved(time->ns, difference(time->mono_ns, mono_ns)), target);
}

uint64_t tly_cluster_time_over(const struct tly_cluster_time *time, uint64_t mono_ns)
{
    uint64_t ns = moved(time->ns, difference(time->mono_ns, mono_ns));
    uint64_t earliest = moved(time->earliest, difference(time->target_mono, mono_ns));
    return ns < earliest ? ns : earliest;
}

uint64_t tly_cluster_time_at(struct tly_cluster_time *time, uint64_t mono_ns)
{
    int64_t step = (int64_t)(passed(time->mono_ns, mono_ns) / TLY_SLEW_PART);
    int64_t error = tly_cluster_time_error(time, mono_ns);
    if (time->used && error > step) error = step;
    if (time->used && error < -step) error = -step;
    time->ns = moved(time->ns, difference(time->mono_ns, mono_ns));
    time->ns = moved(time->ns, error);
    time->mono_ns = mono_ns;
    return time->ns;
}

bool tly_cluster_time_is_set(const struct tly_cluster_time *time, uint64_t mono_ns)
{
    return time->heard || passed(time->since_mono, mono_ns) >= TLY_ALONE_NS;
}
