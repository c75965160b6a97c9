/* Listens to all that engines say to each other, frame by frame: what kinds there are, and which dots cross which link. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_EAR_H
#define TALLY_TESTS_ENGINE_SUPPORT_EAR_H

#include "tests/engine/support_net.h"
#include "wire/frame.h"

struct ear;

/* From now on; connections that are open already cannot be understood. */
struct ear *ear_new(struct net *net);
/* Before the net goes. */
void ear_free(struct ear *ear);

/* Forgets what was heard. */
void ear_clear(struct ear *ear);
/* Frames of a type, of all together. */
size_t ear_frames(const struct ear *ear, enum tly_frame_type type);
size_t ear_all_frames(const struct ear *ear);
/* Dots that one said to the other; and of those, how many it had said to it before. */
size_t ear_dots(const struct ear *ear, size_t from, size_t to);
size_t ear_repeated(const struct ear *ear, size_t from, size_t to);
/* The longest time between two parts with dots in it, ns. */
uint64_t ear_longest_pause(const struct ear *ear, size_t from, size_t to);

#endif
