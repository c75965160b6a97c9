/* Zones that have nothing but a rule. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_ZONE_H
#define TALLY_TESTS_ENGINE_SUPPORT_ZONE_H

#include "service/engine/zone.h"

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define NEW_YORK "EST5EDT,M3.2.0,M11.1.0"
#define LORD_HOWE "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"

#define ZONE_BYTES 256
/* Such a file; how long it is. */
size_t zone_file(const char *rule, uint8_t out[ZONE_BYTES]);
struct tly_zone *zone_of(const char *rule);

#endif
