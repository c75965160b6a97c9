#include "tests/engine/support_zone.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>

#define HEADER 44
/* One type, of 6 bytes, with a name of 4. */
#define BLOCK 10

size_t zone_file(const char *rule, uint8_t out[ZONE_BYTES])
{
    memset(out, 0, ZONE_BYTES);
    for (size_t part = 0; part < 2; part++) {
        uint8_t *at = out + part * (HEADER + BLOCK);
        memcpy(at, "TZif2", 5);
        at[39] = 1;
        at[43] = 4;
        memcpy(at + HEADER + 6, "LMT", 3);
    }
    int n = snprintf((char *)out + 2 * (HEADER + BLOCK), ZONE_BYTES - 2 * (HEADER + BLOCK), "\n%s\n", rule);
    return 2 * (HEADER + BLOCK) + (size_t)n;
}

struct tly_zone *zone_of(const char *rule)
{
    uint8_t bytes[ZONE_BYTES];
    struct tly_mem mem = test_mem();
    struct tly_zone *zone = NULL;
    assert_int_equal(tly_zone_new(&mem, tly_slice_of(bytes, zone_file(rule, bytes)), &zone), TLY_OK);
    assert_non_null(zone);
    return zone;
}
