#include "tests/crdt/law.h"

#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FULL_ROUNDS 1000000

bool law_is_full(void)
{
    const char *text = getenv("TALLY_LAWS");
    return text != NULL && strcmp(text, "full") == 0;
}

uint64_t law_rounds(uint64_t quick)
{
    if (law_is_full()) return FULL_ROUNDS;
    return test_is_long() ? quick * 10 : quick;
}

void law_covered(const char *laws, const char *strategy, uint64_t seed, size_t cases)
{
    claim(cases > 0);
    if (seed > 0)
        print_message("covered: %s, %s, %zu random from seed %" PRIu64 "\n", laws, strategy, cases, seed);
    else
        print_message("covered: %s, %s, %zu, all of them\n", laws, strategy, cases);
}

#define PIECE_BYTES (8u << 20)
#define ALIGNED 16u

static struct {
    _Alignas(ALIGNED) unsigned char piece[PIECE_BYTES];
    size_t used, live;
} memory;

static void *resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    (void)context;
    unsigned char *moved = NULL;
    size_t room = (new_bytes + ALIGNED - 1) / ALIGNED * ALIGNED;
    if (memory.live == 0) memory.used = 0;
    if (new_bytes > 0) {
        if (room > PIECE_BYTES - memory.used) return NULL;
        moved = memory.piece + memory.used;
        memory.used += room;
        if (block != NULL) memcpy(moved, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    }
    memory.live = memory.live - old_bytes + new_bytes;
    return moved;
}

struct tly_mem law_mem(void)
{
    return (struct tly_mem){resize, NULL};
}

size_t law_mem_live(void)
{
    return memory.live;
}
