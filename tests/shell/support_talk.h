/*
 * A connection without a socket: what is said goes to a protocol's feed, as a door would give it, and what it answers is
 * kept.
 */
#ifndef TALLY_TESTS_SHELL_SUPPORT_TALK_H
#define TALLY_TESTS_SHELL_SUPPORT_TALK_H

#include "service/shell/door.h"

struct talk;

struct talk *talk_new(struct tly_app *app, const struct tly_protocol *protocol);
void talk_free(struct talk *talk);

/* Gives more bytes, behind what the protocol has left, which is moved to another place first. What it answered, with a zero behind. */
const char *talk_say(struct talk *talk, const char *text);
struct tly_slice talk_say_bytes(struct talk *talk, struct tly_slice bytes);
/* The same bytes in two pieces, or one by one. */
struct tly_slice talk_say_cut(struct talk *talk, struct tly_slice bytes, size_t cut);
/* The connection has been silent for its time; the door drains. */
struct tly_slice talk_wake(struct talk *talk);
struct tly_slice talk_drain(struct talk *talk);
/* Bytes given and not used yet. */
size_t talk_left(const struct talk *talk);
/* The protocol has ended the connection; what is said after that is not heard. */
bool talk_is_closed(const struct talk *talk);
uint64_t talk_requests(const struct talk *talk);
/* Answers pile up: the protocol is told that enough of them wait. */
void talk_fill(struct talk *talk, bool full);

#endif
