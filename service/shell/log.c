#include "service/shell/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 1024
#define REPEATS_KNOWN 32
#define REPEAT_WINDOW_S 60
#define PATIENCE_MS 1000

/* A message that was printed lately, and how often it came again since. */
struct repeat {
    char text[LINE_MAX_BYTES];
    enum tly_level level;
    uint64_t since_ms, last_ms;
    uint64_t patience_ms; /* so long it has to be quiet before it is said that it came again */
    uint64_t count;
    uint64_t said, heard; /* the calls by which it was printed last, and had last */
};

struct tly_log {
    FILE *out;
    enum tly_level level;
    struct repeat repeats[REPEATS_KNOWN];
    size_t next;
    uint64_t calls;
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

/* Says how often it came again, if it did. */
static void say_repeat(const struct tly_log *log, struct repeat *repeat)
{
    char line[LINE_MAX_BYTES + 64];
    if (repeat->count == 0) return;
    snprintf(line, sizeof line, "%s (%llu more times within %d s)", repeat->text,
             (unsigned long long)repeat->count, REPEAT_WINDOW_S);
    print_line(log, repeat->level, line);
    repeat->count = 0;
    repeat->said = log->calls;
    repeat->patience_ms *= 2;
}

static void end_repeat(const struct tly_log *log, struct repeat *repeat)
{
    say_repeat(log, repeat);
    repeat->text[0] = '\0';
}

void tly_log_free(struct tly_log *log)
{
    if (log == NULL) return;
    for (size_t i = 0; i < REPEATS_KNOWN; i++)
        end_repeat(log, &log->repeats[i]);
    free(log);
}

static uint64_t monotonic_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_over(const struct repeat *repeat, uint64_t now_ms)
{
    return now_ms - repeat->since_ms >= REPEAT_WINDOW_S * UINT64_C(1000);
}

/* Without this the last line about a peer would be "down" after it went up, down and up. */
static bool is_due(const struct tly_log *log, const struct repeat *repeat, uint64_t now_ms)
{
    if (repeat->count == 0) return false;
    bool came_alone = log->calls - repeat->said == repeat->count;
    return is_over(repeat, now_ms) || (!came_alone && now_ms - repeat->last_ms >= repeat->patience_ms);
}

void tly_log_turn(struct tly_log *log, uint64_t now_ms)
{
    for (;;) {
        struct repeat *first = NULL;
        for (size_t i = 0; i < REPEATS_KNOWN; i++) {
            struct repeat *repeat = &log->repeats[i];
            if (is_due(log, repeat, now_ms) && (first == NULL || repeat->heard < first->heard))
                first = repeat;
        }
        if (first == NULL) return;
        say_repeat(log, first);
    }
}

static bool is_repeat(struct tly_log *log, const char *text, uint64_t now_ms)
{
    for (size_t i = 0; i < REPEATS_KNOWN; i++) {
        struct repeat *repeat = &log->repeats[i];
        if (repeat->text[0] == '\0') continue;
        if (is_over(repeat, now_ms)) {
            end_repeat(log, repeat);
        } else if (strcmp(repeat->text, text) == 0) {
            repeat->count++;
            repeat->last_ms = now_ms;
            repeat->heard = log->calls;
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

    uint64_t now_ms = monotonic_ms();
    log->calls++;
    if (is_repeat(log, text, now_ms)) return;
    print_line(log, level, text);
    struct repeat *slot = &log->repeats[log->next++ % REPEATS_KNOWN];
    end_repeat(log, slot);
    snprintf(slot->text, sizeof slot->text, "%s", text);
    slot->level = level;
    slot->since_ms = now_ms;
    slot->patience_ms = PATIENCE_MS;
    slot->said = log->calls;
}

uint64_t tly_log_suppressed(const struct tly_log *log)
{
    return log->suppressed;
}
