/*
 * Installing a snapshot, which replaces: of the local dots those stay that are in the snapshot or lie beyond its mark of their
 * life; then all is joined, but for dots that are known here to be gone.  Joining alone would revive what others deleted and
 * forgot.  For the same reason a dot that nobody
 * had heard goes if it is older than the newest REMOVE that was forgotten there: nobody can tell any more whether one stood above it.
 * Who is a member has such dots only if it fell before its disk had a lease above its clock, since F waits for it.  What this node counted
 * itself is excepted, unless the key shows that it was deleted: a REMOVE cannot have meant what nobody knew.
 *
 * What the source has of a life from past the end that it has here is refused, as it is in a round, unless something of that is here too in that
 * key.  What stands here in its place, and is newer than what was forgotten there, stays; of what it may have hidden there the marks say no more
 * than they did here.
 *
 * The snapshot is staged beside the map as it comes in, part by part; nothing is seen of it until tly_install_finish swaps it in
 * whole.  Freeing the object instead leaves the map as it was.  One object per (life of the source, number of the snapshot).
 */
#ifndef TALLY_CRDT_INSTALL_H
#define TALLY_CRDT_INSTALL_H

#include "crdt/forget.h"

struct tly_install;

/* Borrows the map. NULL: no memory. */
struct tly_install *tly_install_new(struct tly_ormap *map);
void tly_install_free(struct tly_install *install);

/* What the source knew of a life (tly_ormap_life_kept) when the snapshot began. TLY_OK, TLY_NOMEM, TLY_FULL. */
enum tly_result tly_install_life(struct tly_install *install, const struct tly_life *life) TLY_MUST_CHECK;
void tly_install_bounds(struct tly_install *install, struct tly_bounds bounds);
/* Up to this ts the snapshot says all there is to say of a life. */
uint64_t tly_install_known(const struct tly_install *install, uint64_t origin);
/* Meanwhile all of an open life up to ts has been added. */
void tly_install_reached(struct tly_install *install, uint64_t origin, uint64_t ts);
/* One dot of the snapshot; results as of tly_ormap_apply. */
enum tly_result tly_install_add(struct tly_install *install, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome) TLY_MUST_CHECK;

/*
 * This life was this node's own once, and what it counted is this node's own too. If the snapshot has it settled, what it counted and nobody heard is carried over: own - theirs
 * is exact then, and is counted into the own life of now, once: that it was is noted under this key (a register, of
 * TLY_NOTED_BYTES_MAX at most; empty: nowhere), for an older disk may still have it all. Beyond `whole` those who settled it may have had no
 * room for what it counted, so that is not gone which the snapshot lacks; UINT64_MAX: they had it all. A snapshot that has some of it from beyond its
 * end, or not all of it up to there, does not show what the others have: what the life counted stays as it is then, for the next snapshot. TLY_NOMEM.
 */
#define TLY_NOTED_BYTES_MAX 40
enum tly_result tly_install_former(struct tly_install *install, uint64_t origin, struct tly_slice noted,
                                   uint64_t whole) TLY_MUST_CHECK;
/* The one dot that the snapshot has of a key; borrowed until the next call. False: it has none, or several. */
bool tly_install_dot(struct tly_install *install, struct tly_slice key, struct tly_dot *dot);

/* Of these shards nothing is carried over. */
typedef bool tly_left_out(void *context, struct tly_slice key, const struct tly_dot *own);
void tly_install_leave_out(struct tly_install *install, tly_left_out *is_left_out, void *context);

struct tly_installed {
    size_t kept;    /* local dots that stay beside the snapshot's */
    size_t dropped; /* local dots that go */
    size_t stale;   /* dots of the snapshot that are known here to be gone, or refused */
    size_t carried; /* shards with something that nobody had heard */
    uint64_t carried_units;
    bool
        own_unsure; /* among those that go are some of the own life that were not known there: others may have them */
    uint64_t own_known; /* up to here it was known there */
};

/*
 * Seals, then replaces the map's contents. The own life, if one has begun, goes on; what it counted stays. On TLY_STALE (the
 * snapshot has the own life settled: another must begin first), TLY_NOMEM, TLY_FULL and TLY_CLOCK_END the map is as it was, save that it
 * is sealed, and the install can only be freed. After TLY_OK numbers of lives, entries and scans got before are not valid any more.
 */
enum tly_result tly_install_finish(struct tly_install *install, struct tly_installed *report) TLY_MUST_CHECK;

/* For a disk that is read: what was here goes, all of it, and no life may have begun. TLY_NOMEM, TLY_FULL: as it was. */
enum tly_result tly_install_whole(struct tly_install *install) TLY_MUST_CHECK;

#endif
