/* The files of the tz database, as the system has them (tzset(3): TZDIR, or /usr/share/zoneinfo). */
#ifndef TALLY_SERVICE_SHELL_ZONEFILE_H
#define TALLY_SERVICE_SHELL_ZONEFILE_H

#include "service/engine/zone.h"

#define TLY_ZONEFILE_BYTES_MAX 65536

/* "Europe/Berlin". TLY_OK; TLY_NOT_FOUND: there is none of that name; TLY_BAD_MESSAGE: it is no such file; TLY_NOMEM. */
enum tly_result tly_zonefile_read(const struct tly_mem *mem, const char *name,
                                  struct tly_zone **out) TLY_MUST_CHECK;

#endif
