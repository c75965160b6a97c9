/*
 * A wall clock that is behind, for one process: loaded into it with LD_PRELOAD, it sets CLOCK_REALTIME back by WALL_BACK_MS
 * milliseconds.  All other clocks, and all other ways to ask for the time, are as they were.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_IN_S INT64_C(1000000000)

/* By another name here, for the header's declaration names its parameters otherwise. */
int shifted_clock(clockid_t clock, struct timespec *now) __asm__("clock_gettime");

int shifted_clock(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    const char *back_ms = getenv("WALL_BACK_MS");
    if (result != 0 || clock != CLOCK_REALTIME || back_ms == NULL) return result;
    int64_t ns = (int64_t)now->tv_sec * NS_IN_S + now->tv_nsec - strtoll(back_ms, NULL, 10) * 1000000;
    now->tv_sec = (time_t)(ns / NS_IN_S);
    now->tv_nsec = (long)(ns % NS_IN_S);
    return 0;
}
