/*
 * Two engines on real connections, one loop around both, and between them a relay that breaks what it is told to.  Time is
 * theirs alone: a turn of the loop is a millisecond, however long it takes.
 */
#ifndef TALLY_TESTS_SHELL_SUPPORT_PAIR_H
#define TALLY_TESTS_SHELL_SUPPORT_PAIR_H

#include "service/engine/engine.h"

struct pair;

/* Each knows the other's address, which is the relay's, or (direct) its own; nothing has been dialled yet. */
struct pair *pair_new(bool direct);
void pair_free(struct pair *pair);

/* One turn of the loop, and the ticks of both that are due, `first` before the other. */
void pair_turn(struct pair *pair, size_t first);
void pair_turns(struct pair *pair, size_t turns);
/* Until both have a session with the other and hold the same; fails the test when that takes too long. */
void pair_settle(struct pair *pair);

struct tly_engine *pair_engine(struct pair *pair, size_t side);
struct tly_stats pair_stats(const struct pair *pair, size_t side);
bool pair_is_up(struct pair *pair, size_t side);
void pair_add(struct pair *pair, size_t side, const char *key, int64_t delta);
/* INT64_MIN: absent. */
int64_t pair_read(struct pair *pair, size_t side, const char *key);
/* Connections that the relay carries. */
size_t pair_relayed(const struct pair *pair);

/*
 * What `from` says is passed on up to so many bytes from now on, then both ends of that connection are closed, those of `late`
 * (a bit for each side) not before pair_release.
 */
void pair_cut_after(struct pair *pair, size_t from, size_t bytes, unsigned late);
bool pair_was_cut(const struct pair *pair);
void pair_release(struct pair *pair);
/* What `from` has said through the relay since the last pair_cut_after. */
struct tly_slice pair_said(const struct pair *pair, size_t from);

#endif
