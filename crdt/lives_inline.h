/*
 * How far each life has come, as those ask who follow: after all lives, for every peer, whenever anything is sent.  Without a call, for that
 * would be most of it: how the map lies in memory stays the affair of this file.
 */
#ifndef TALLY_CRDT_LIVES_INLINE_H
#define TALLY_CRDT_LIVES_INLINE_H

#include "crdt/ormap_impl.h"

/* Rises whenever a number gets a life or loses it; never 0 while one has any. */
static inline uint64_t tly_ormap_numbering(const struct tly_ormap *map)
{
    return map->numbering;
}

/* Rises whenever a mark or the last record of a life does, as long as the numbering is the same. */
static inline uint64_t tly_ormap_moves(const struct tly_ormap *map)
{
    return map->changes + map->raised; /* the own mark is raised with a record */
}

/* Whether everybody has all of it. */
static inline bool tly_ormap_life_is_retired(const struct tly_ormap *map, size_t i)
{
    return map->lives[i].state == TLY_LIFE_RETIRED;
}

/* `mark` and `last` of tly_ormap_life. */
static inline uint64_t tly_ormap_life_mark(const struct tly_ormap *map, size_t i)
{
    return tly_ormap_life_is_retired(map, i) ? 0 : map->lives[i].mark;
}

static inline uint64_t tly_ormap_life_last(const struct tly_ormap *map, size_t i)
{
    tly_map_settle_log(map);
    return tly_ormap_life_is_retired(map, i) ? 0 : map->lives[i].log.last;
}

/* Whether it has something that one lacks who holds so much of this origin: a mark above `mark` or a record above `last`. */
static inline bool tly_ormap_life_is_beyond(const struct tly_ormap *map, size_t i, uint64_t origin,
                                            uint64_t mark, uint64_t last)
{
    if (map->lives[i].origin != origin) mark = last = 0;
    return tly_ormap_life_mark(map, i) > mark || tly_ormap_life_last(map, i) > last;
}

/* The number of the own life, or one that no life has. */
static inline size_t tly_ormap_own_life(const struct tly_ormap *map)
{
    return map->own;
}

#endif
