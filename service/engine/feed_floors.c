/*
 * What a node has let go without a word, told to a follower: with a row, how old the oldest dot of its key is that stands here.  What a follower holds of
 * that key and is older has gone.
 *
 * A follower that has what stands here of a key up to some round has no more of it than that until the oldest dot goes; so nothing is said where it was
 * given that dot in an earlier round.
 */
#include "service/engine/feed_internal.h"

#include "crdt/epoch_sum.h"
#include "wire/pack.h"

/* How far the follower has come with each life, by number, before this round. */
struct had {
    const struct tly_ormap *map;
    uint64_t *marks;
    size_t lives;
};

static void note_mark(struct had *had, struct tly_mark mark)
{
    size_t life = tly_ormap_life_number(had->map, mark.origin);
    if (life < had->lives) had->marks[life] = mark.ts;
}

static enum tly_result had_of(const struct tly_feed *feed, struct had *had)
{
    const struct tly_ormap *map = feed->e->map;
    *had = (struct had){.map = map, .lives = tly_ormap_lives(map)};
    had->marks = tly_mem_zeroed(&feed->e->mem, (had->lives + 1) * sizeof *had->marks);
    if (had->marks == NULL) return TLY_NOMEM;
    struct tly_marks marks = feed->cursor.marks;
    for (struct tly_mark mark; tly_marks_next(&marks, &mark);)
        note_mark(had, mark);
    uint64_t own = feed->ask.origin;
    if (own != 0) note_mark(had, (struct tly_mark){own, tly_ormap_mark(map, own)});
    return TLY_OK;
}

static bool is_had(const struct had *had, struct tly_version version)
{
    size_t life = tly_ormap_life_number(had->map, version.origin);
    return life < had->lives && version.ts <= had->marks[life];
}

/* Of what goes without a word and may begin anew: what a window counts goes dot by dot, by time alone. */
static bool is_a_counters(const struct tly_row *row)
{
    if (row->strategy_id != TLY_EPOCH_SUM || !tly_limit_is_counter(row->key)) return false;
    return row->dot.op != TLY_PUT || row->dot.num[TLY_SUM_WINDOW] == 0;
}

static uint64_t floor_of(struct tly_ormap *map, const struct had *had, const struct tly_row *row)
{
    if (!is_a_counters(row)) return 0;
    const struct tly_entry *entry = tly_ormap_find(map, row->key);
    struct tly_version oldest;
    if (entry == NULL || !tly_entry_oldest(map, entry, &oldest)) return 0;
    return oldest.ts > row->dot.version.ts || is_had(had, oldest) ? 0 : row->dot.version.ts - oldest.ts + 1;
}

enum tly_result tly_feed_put_floors(struct tly_feed *feed, struct tly_slice body, struct tly_buf *floors)
{
    struct tly_engine *e = feed->e;
    struct tly_round round;
    struct had had;
    uint64_t any = 0;
    enum tly_result result = tly_round_get(body, &round);
    if (result == TLY_OK) result = had_of(feed, &had);
    if (result != TLY_OK) return result;
    struct tly_rows rows = tly_rows_of(&round);
    for (struct tly_row row; tly_rows_next(&rows, &row);) {
        uint64_t floor = floor_of(e->map, &had, &row);
        tly_put_uint(floors, floor);
        any |= floor;
    }
    tly_mem_free(&e->mem, had.marks, (had.lives + 1) * sizeof *had.marks);
    if (floors->result != TLY_OK || any == 0) return floors->result;
    feed->answer.floors = tly_buf_slice(floors);
    feed->answer.floor_count = round.row_count;
    return TLY_OK;
}
