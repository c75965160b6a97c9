#include "service/engine/follower.h"

void tly_follower_init(struct tly_follower *follower, const struct tly_mem *mem, struct tly_ormap *map)
{
    *follower = (struct tly_follower){.mem = mem, .map = map};
}

void tly_follower_fini(struct tly_follower *follower)
{
    if (follower->mem == NULL) return;
    tly_mem_free(follower->mem, follower->reach, follower->capacity * sizeof *follower->reach);
    *follower = (struct tly_follower){0};
}

/* How far it is with a life: not at all if the number was another's before. */
static struct tly_reach reach_of(const struct tly_follower *follower, size_t i, uint64_t origin)
{
    bool known = i < follower->lives && follower->reach[i].origin == origin;
    return known ? follower->reach[i] : (struct tly_reach){.origin = origin};
}

/* Room for every life that the map knows. */
static bool cover_lives(struct tly_follower *follower)
{
    size_t lives = tly_ormap_lives(follower->map);
    for (size_t i = 0; i < follower->lives; i++)
        follower->reach[i] = reach_of(follower, i, tly_ormap_life(follower->map, i).origin);
    if (lives <= follower->lives) return true;
    void *reach =
        tly_mem_reserve(follower->mem, follower->reach, &follower->capacity, lives, sizeof *follower->reach);
    if (reach == NULL) return false;
    follower->reach = reach;
    for (size_t i = follower->lives; i < lives; i++)
        follower->reach[i] = (struct tly_reach){.origin = tly_ormap_life(follower->map, i).origin};
    follower->lives = lives;
    return true;
}

enum tly_result tly_follower_has(struct tly_follower *follower, struct tly_mark mark)
{
    if (!cover_lives(follower)) return TLY_NOMEM;
    for (size_t i = 0; i < follower->lives; i++) {
        if (tly_ormap_life(follower->map, i).origin != mark.origin) continue;
        struct tly_reach *reach = &follower->reach[i];
        if (reach->word < mark.ts) reach->word = mark.ts;
        if (reach->have < mark.ts) reach->have = mark.ts;
        if (reach->sent < reach->have) reach->sent = reach->have;
        break;
    }
    return TLY_OK;
}

uint64_t tly_follower_word(const struct tly_follower *follower, uint64_t origin)
{
    for (size_t i = 0; i < follower->lives; i++)
        if (follower->reach[i].origin == origin) return follower->reach[i].word;
    return 0;
}

void tly_follower_reset(struct tly_follower *follower)
{
    for (size_t i = 0; i < follower->lives; i++)
        follower->reach[i].have = follower->reach[i].sent = follower->reach[i].word = 0;
    follower->in_round = false;
}

void tly_follower_rewind(struct tly_follower *follower, size_t life, uint64_t ts)
{
    if (life >= follower->lives) return;
    struct tly_reach *reach = &follower->reach[life];
    if (reach->sent < ts) return;
    reach->sent = ts - 1 > reach->have ? ts - 1 : reach->have;
}

enum tly_result tly_follower_catch_up(struct tly_follower *follower)
{
    if (!cover_lives(follower)) return TLY_NOMEM;
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        uint64_t sent = life.last > life.mark ? life.last : life.mark;
        follower->reach[i] = (struct tly_reach){life.origin, life.mark, sent, life.mark, 0};
    }
    return TLY_OK;
}

bool tly_follower_is_behind(const struct tly_follower *follower)
{
    if (follower->in_round) return true;
    for (size_t i = 0; i < tly_ormap_lives(follower->map); i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        struct tly_reach reach = reach_of(follower, i, life.origin);
        if (life.mark > reach.have || life.last > reach.sent) return true;
    }
    return false;
}

uint64_t tly_follower_lag(const struct tly_follower *follower)
{
    uint64_t lag = 0;
    struct tly_scanned scanned;
    for (size_t i = 0; i < tly_ormap_lives(follower->map); i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        if (life.state == TLY_LIFE_RETIRED) continue;
        struct tly_scan scan = tly_scan_of(follower->map, i, reach_of(follower, i, life.origin).word);
        while (tly_scan_next(follower->map, &scan, &scanned))
            lag++;
    }
    return lag;
}

/* Writes the rows of one life; false: the part is full. */
static bool write_life(struct tly_follower *follower, size_t life, struct tly_round_writer *writer,
                       size_t rows_bytes_max)
{
    struct tly_reach *reach = &follower->reach[life];
    struct tly_scan scan = tly_scan_of(follower->map, life, reach->sent);
    for (struct tly_scanned scanned; tly_scan_next(follower->map, &scan, &scanned);) {
        uint64_t ts = scanned.dot.version.ts;
        /* A part never ends between two records of one version: the next begins behind that version. */
        if (ts != reach->sent && tly_round_writer_bytes(writer) >= rows_bytes_max) return false;
        if (!tly_round_writer_add(writer, scanned.key, scanned.strategy, &scanned.dot)) {
            if (ts == reach->sent)
                reach->sent = ts - 1; /* forged: two dots of one version; both go in the next part */
            return false;
        }
        reach->sent = ts;
    }
    /* Dots that were beyond the mark and are gone leave records behind: they have been looked at, too. */
    uint64_t last = tly_ormap_life(follower->map, life).last;
    if (reach->sent < last) reach->sent = last;
    return true;
}

/* Writes rows until the part is full (false) or every life has been scanned to its end (true). */
static bool write_rows(struct tly_follower *follower, const struct tly_part_wish *wish,
                       struct tly_round_writer *writer)
{
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        if (life.state == TLY_LIFE_RETIRED) continue; /* everybody has it */
        if (wish->only_origin != 0 && life.origin != wish->only_origin) continue;
        if (!write_life(follower, i, writer, wish->rows_bytes_max)) return false;
    }
    return wish->only_origin == 0;
}

struct mark_list {
    struct tly_mark *marks;
    size_t count, capacity;
};

static bool list_add(struct mark_list *list, const struct tly_mem *mem, struct tly_mark mark)
{
    void *marks = tly_mem_reserve(mem, list->marks, &list->capacity, list->count + 1, sizeof *list->marks);
    if (marks == NULL) return false;
    list->marks = marks;
    list->marks[list->count++] = mark;
    return true;
}

static void list_fini(struct mark_list *list, const struct tly_mem *mem)
{
    tly_mem_free(mem, list->marks, list->capacity * sizeof *list->marks);
}

/*
 * Start marks: what the follower must have for the end marks to be true. With a single part only lives whose mark the round
 * moves need one; at the beginning of a long round any life may still move.
 */
static bool list_start(const struct tly_follower *follower, bool single, struct mark_list *list)
{
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        uint64_t have = follower->reach[i].have;
        if (have == 0 || (single && life.mark <= have)) continue;
        if (!list_add(list, follower->mem, (struct tly_mark){life.origin, have})) return false;
    }
    return true;
}

static bool list_end(const struct tly_follower *follower, struct mark_list *list)
{
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        if (life.mark <= follower->reach[i].have) continue;
        if (!list_add(list, follower->mem, (struct tly_mark){life.origin, life.mark})) return false;
    }
    return true;
}

/* The round is handed over: what it ends at is what the follower has and what it has heard of us. */
static void finish_round(struct tly_follower *follower)
{
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        struct tly_reach *reach = &follower->reach[i];
        if (life.mark <= reach->have) continue;
        reach->have = reach->told = life.mark;
        if (reach->sent < reach->have) reach->sent = reach->have;
    }
    follower->in_round = false;
}

struct tly_part tly_follower_next(struct tly_follower *follower, const struct tly_part_wish *wish,
                                  struct tly_round_writer *writer, struct tly_buf *out)
{
    struct tly_part part = {0};
    struct mark_list start = {0}, end = {0};
    bool first = !follower->in_round, listed = cover_lives(follower);

    tly_round_writer_clear(writer);
    part.last = listed && write_rows(follower, wish, writer);
    part.rows = writer->row_count;
    if (listed && part.rows == 0 && !part.last) return part;
    if (listed && first) listed = list_start(follower, part.last, &start);
    if (listed && part.last) listed = list_end(follower, &end);
    if (!listed || writer->rows.result != TLY_OK) {
        out->result = TLY_NOMEM;
        goto free_lists;
    }
    unsigned flags = (first ? TLY_ROUND_FIRST : 0u) | (part.last ? TLY_ROUND_LAST : 0u);
    tly_round_writer_finish(writer, flags, (struct tly_mark_list){start.marks, start.count},
                            (struct tly_mark_list){end.marks, end.count}, out);
    follower->in_round = true;
    if (part.last) finish_round(follower);
free_lists:
    list_fini(&start, follower->mem);
    list_fini(&end, follower->mem);
    return part;
}

size_t tly_follower_ack(struct tly_follower *follower, struct tly_buf *out)
{
    struct mark_list list = {0};
    bool listed = cover_lives(follower);
    for (size_t i = 0; listed && i < follower->lives; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        if (life.mark <= follower->reach[i].told) continue;
        listed = list_add(&list, follower->mem, (struct tly_mark){life.origin, life.mark});
        if (listed) follower->reach[i].told = life.mark;
    }
    size_t count = list.count;
    if (!listed)
        out->result = TLY_NOMEM;
    else if (count > 0)
        tly_ack_put(out, list.marks, count);
    list_fini(&list, follower->mem);
    return count;
}
