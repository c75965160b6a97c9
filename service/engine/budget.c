#include "service/engine/budget.h"

#define HEAD_BYTES 8u
#define STEP_BYTES 16u
#define LEAST_BYTES 32u

static size_t cost_of(size_t bytes)
{
    if (bytes == 0) return 0;
    if (bytes > SIZE_MAX - LEAST_BYTES) return SIZE_MAX;
    size_t cost = (bytes + HEAD_BYTES + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
    return cost > LEAST_BYTES ? cost : LEAST_BYTES;
}

static void *resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    struct tly_budget *budget = context;
    size_t before = cost_of(old_bytes), after = cost_of(new_bytes);
    if (after > before) {
        bool fits = budget->used <= budget->ceiling && after - before <= budget->ceiling - budget->used;
        if (!fits) {
            budget->refused = true;
            budget->wanted = after - before;
            return NULL;
        }
    }
    void *moved = tly_mem_resize(&budget->given, block, old_bytes, new_bytes);
    if (moved != NULL || new_bytes == 0) budget->used += after - before;
    return moved;
}

struct tly_budget tly_budget_of(const struct tly_mem *given, size_t bytes)
{
    return (struct tly_budget){.given = *given, .used = cost_of(bytes), .ceiling = TLY_NO_CEILING};
}

struct tly_mem tly_budget_mem(struct tly_budget *budget)
{
    return (struct tly_mem){resize, budget};
}
