/* One map, and checks of one key in it at whatever time. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_LIMIT_H
#define TALLY_TESTS_ENGINE_SUPPORT_LIMIT_H

#include "service/engine/limit.h"

#define MS UINT64_C(1000000)
#define START UINT64_C(1700000000000000000) /* a multiple of 10 s */

struct scene {
    struct tly_mem mem;
    struct tly_registry *registry;
    struct tly_ormap *map;
    struct tly_span span;
};

struct scene scene_new(uint64_t origin);
void scene_free(struct scene *scene);
struct tly_verdict check_at(struct scene *scene, const struct tly_rate *rate, uint32_t hits, uint64_t now_ns);
/* What the second map does not have yet, it gets. */
void hand_over(struct scene *from, struct scene *to, uint64_t now_ns);

#endif
