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

void law_covered(const char *laws, const char *strategy, uint64_t seed, size_t histories)
{
    claim(histories > 0);
    if (seed > 0)
        print_message("covered: %s, %s, %zu random histories from seed %" PRIu64 "\n", laws, strategy,
                      histories, seed);
    else
        print_message("covered: %s, %s, %zu histories\n", laws, strategy, histories);
}
