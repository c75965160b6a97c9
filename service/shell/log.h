/*
 * Lines for the operator, on stderr: "2026-01-31T12:00:00.123Z warn peer down peer=b reason=..."
 * One per state change; repeats of one message within a minute are counted, and said once they pause. Loop thread only.
 */
#ifndef TALLY_SERVICE_SHELL_LOG_H
#define TALLY_SERVICE_SHELL_LOG_H

#include "service/engine/engine.h"

#include <stdio.h>

struct tly_log;

/* Lines go to `out`, which stays the caller's. NULL: no memory. */
struct tly_log *tly_log_new(FILE *out, enum tly_level level);
void tly_log_free(struct tly_log *log);
bool tly_level_parse(const char *text, enum tly_level *level);
const char *tly_level_name(enum tly_level level);
void tly_log(struct tly_log *log, enum tly_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/*
 * To be called about every second of CLOCK_MONOTONIC: says what came again behind other lines and then was quiet for a second (two, four
 * and so on, as often as it does so within the minute), and what is to be said at the end of it. The last line is so the latest news.
 */
void tly_log_turn(struct tly_log *log, uint64_t now_ms);
/* Lines left out as repeats since the start. */
uint64_t tly_log_suppressed(const struct tly_log *log);

#endif
