#include "service/shell/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 1024
#define REPEATS_KNOWN 32
#define REPEAT_WINDOW_S 60

/* A message that was printed lately, and how often it came again since. */
struct repeat {
    char text[LINE_MAX_BYTES];
    enum tly_level level;
    time_t since;
    uint64_t count;
};

struct tly_log {
    FILE *out;
    enum tly_level level;
    struct repeat repeats[REPEATS_KNOWN];
    size_t next;
    uint64_t suppressed;
};

static const char *const level_names[] = {
    [TLY_LEVEL_ERROR] = "error",
    [TLY_LEVEL_WARN] = "warn",
    [TLY_LEVEL_INFO] = "info",
    [TLY_LEVEL_DEBUG] = "debug",
};

struct tly_log *tly_log_new(FILE *out, enum tly_level level)
{
    struct tly_log *log = calloc(1, sizeof *log);
    if (log == NULL) return NULL;
    log->out = out;
    log->level = level;
    return log;
}

bool tly_level_parse(const char *text, enum tly_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) != 0) continue;
        *level = (enum tly_level)i;
        return true;
    }
    return false;
}

const char *tly_level_name(enum tly_level level)
{
    return level_names[level];
}

/* Bytes of the control character that stands at `text`: ASCII's, or in UTF-8 those that U+0080 to U+009F are; else 0. */
static size_t control_at(const char *text)
{
    unsigned char first = (unsigned char)text[0], second = first != 0 ? (unsigned char)text[1] : 0;
    if (first < 0x20 || first == 0x7f) return 1;
    return first == 0xc2 && second >= 0x80 && second < 0xa0 ? 2 : 0;
}

/* What others said may hold anything; on a line it is printable. */
static void escape(const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (*text != '\0' && size - n > 8) {
        size_t control = control_at(text);
        if (control == 0) out[n++] = *text++;
        for (; control > 0; control--)
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", (unsigned)(unsigned char)*text++);
    }
    out[n] = '\0';
}

static void print_line(const struct tly_log *log, enum tly_level level, const char *text)
{
    struct timespec now = {0};
    struct tm utc;
    char when[32] = "";
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc) != NULL) (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(log->out, "%s.%03ldZ %s %s\n", when, now.tv_nsec / 1000000, level_names[level], text);
    fflush(log->out);
}

/* Says how often it came again, if it did, and forgets it. */
static void end_repeat(const struct tly_log *log, struct repeat *repeat)
{
    char line[LINE_MAX_BYTES + 64];
    if (repeat->count > 0) {
        snprintf(line, sizeof line, "%s (%llu more times within %d s)", repeat->text,
                 (unsigned long long)repeat->count, REPEAT_WINDOW_S);
        print_line(log, repeat->level, line);
    }
    repeat->text[0] = '\0';
    repeat->count = 0;
}

void tly_log_free(struct tly_log *log)
{
    if (log == NULL) return;
    for (size_t i = 0; i < REPEATS_KNOWN; i++)
        end_repeat(log, &log->repeats[i]);
    free(log);
}

static time_t monotonic_s(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static bool is_repeat(struct tly_log *log, const char *text, time_t now)
{
    for (size_t i = 0; i < REPEATS_KNOWN; i++) {
        struct repeat *repeat = &log->repeats[i];
        if (repeat->text[0] == '\0') continue;
        if (now - repeat->since >= REPEAT_WINDOW_S) {
            end_repeat(log, repeat);
        } else if (strcmp(repeat->text, text) == 0) {
            repeat->count++;
            log->suppressed++;
            return true;
        }
    }
    return false;
}

void tly_log(struct tly_log *log, enum tly_level level, const char *format, ...)
{
    if (level > log->level) return;
    char raw[LINE_MAX_BYTES], text[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    escape(raw, text, sizeof text);

    time_t now = monotonic_s();
    if (is_repeat(log, text, now)) return;
    print_line(log, level, text);
    struct repeat *slot = &log->repeats[log->next++ % REPEATS_KNOWN];
    end_repeat(log, slot);
    snprintf(slot->text, sizeof slot->text, "%s", text);
    slot->level = level;
    slot->since = now;
}

uint64_t tly_log_suppressed(const struct tly_log *log)
{
    return log->suppressed;
}
