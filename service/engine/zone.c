#include "service/engine/zone.h"

/* Clocks are off by less than a day and two hours anywhere; changes that a rule makes are worked out up to this year. */
#define OFFSET_MAX_S (26 * 3600)
#define LAST_YEAR 2400
#define CHANGES_MAX 4096
#define DAY_S 86400
#define HOUR_S 3600

struct change {
    int64_t at_s;
    int32_t offset_s; /* from there on */
};

struct tly_zone {
    struct tly_mem mem;
    int32_t first_s; /* before all changes */
    size_t count, capacity;
    struct change *changes; /* ascending */
};

void tly_zone_free(struct tly_zone *zone)
{
    if (zone == NULL) return;
    struct tly_mem mem = zone->mem;
    tly_mem_free(&mem, zone->changes, zone->capacity * sizeof *zone->changes);
    tly_mem_free(&mem, zone, sizeof *zone);
}

/* One that changes nothing is left out. */
static enum tly_result add_change(struct tly_zone *zone, int64_t at_s, int32_t offset_s)
{
    int32_t before = zone->count > 0 ? zone->changes[zone->count - 1].offset_s : zone->first_s;
    if (offset_s == before) return TLY_OK;
    if (zone->count > 0 && at_s <= zone->changes[zone->count - 1].at_s) return TLY_BAD_MESSAGE;
    if (zone->count == CHANGES_MAX) return TLY_BAD_MESSAGE;
    void *grown =
        tly_mem_reserve(&zone->mem, zone->changes, &zone->capacity, zone->count + 1, sizeof *zone->changes);
    if (grown == NULL) return TLY_NOMEM;
    zone->changes = grown;
    zone->changes[zone->count++] = (struct change){at_s, offset_s};
    return TLY_OK;
}

/* ---- the rule at the end: std offset [dst [offset] [,start[/time],end[/time]]] ---- */

struct cursor {
    const uint8_t *at, *end;
    bool good;
};

static int peek(const struct cursor *c)
{
    return c->at < c->end ? *c->at : -1;
}

static bool take(struct cursor *c, int byte)
{
    bool is_there = peek(c) == byte;
    if (is_there) c->at++;
    return is_there;
}

static void need(struct cursor *c, int byte)
{
    if (!take(c, byte)) c->good = false;
}

static int64_t number(struct cursor *c, int64_t most)
{
    int64_t value = 0;
    bool any = false;
    for (; peek(c) >= '0' && peek(c) <= '9' && value <= most; c->at++, any = true)
        value = value * 10 + (peek(c) - '0');
    if (!any || value > most) c->good = false;
    return value;
}

/* [+-]hh[:mm[:ss]] */
static int64_t clock_s(struct cursor *c)
{
    int64_t sign = take(c, '-') ? -1 : 1;
    if (sign > 0) (void)take(c, '+');
    int64_t value = number(c, 167) * HOUR_S;
    if (take(c, ':')) value += number(c, 59) * 60;
    if (take(c, ':')) value += number(c, 59);
    return sign * value;
}

static bool is_letter(int byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

static void skip_name(struct cursor *c)
{
    const uint8_t *from = c->at;
    if (take(c, '<')) {
        while (peek(c) >= 0 && peek(c) != '>')
            c->at++;
        need(c, '>');
        return;
    }
    while (is_letter(peek(c)))
        c->at++;
    if (c->at == from) c->good = false;
}

/* A day of the year, and the time on it. */
struct date {
    char
        kind; /* 'M': the week's day of a month's week (5: the last); 'J': from 1, no leap days; '0': from 0 */
    int64_t month, week, day, time_s;
};

static struct date date_of(struct cursor *c)
{
    struct date date = {.kind = '0', .time_s = 2 * HOUR_S};
    if (take(c, 'M')) {
        date.kind = 'M';
        date.month = number(c, 12);
        need(c, '.');
        date.week = number(c, 5);
        need(c, '.');
        date.day = number(c, 6);
        if (date.month < 1 || date.week < 1) c->good = false;
    } else {
        if (take(c, 'J')) date.kind = 'J';
        date.day = number(c, 365);
        if (date.kind == 'J' && date.day < 1) c->good = false;
    }
    if (take(c, '/')) date.time_s = clock_s(c);
    return date;
}

static int64_t month_starts(int64_t year, int64_t month)
{
    uint64_t months = (uint64_t)((year - 1970) * 12 + month - 1);
    return (int64_t)(tly_calendar_start_ms(TLY_UNIT_MONTH, months) / 1000 / DAY_S);
}

/* Seconds since 1970 that the clock shows then. */
static int64_t shown_at(const struct date *date, int64_t year)
{
    int64_t day = month_starts(year, 1) + date->day;
    bool leaps = month_starts(year, 3) - month_starts(year, 2) == 29;
    if (date->kind == 'J') day -= 1 - (leaps && date->day >= 60);
    if (date->kind == 'M') {
        /* 1970 began on a Thursday, which is 4. */
        int64_t first = month_starts(year, date->month);
        int64_t end = date->month == 12 ? month_starts(year + 1, 1) : month_starts(year, date->month + 1);
        day = first + (date->day - (first + 4) % 7 + 7) % 7 + (date->week - 1) * 7;
        if (day >= end) day -= 7;
    }
    return day * DAY_S + date->time_s;
}

struct rule {
    int64_t standard_s, summer_s;
    bool has_summer;
    struct date start, end;
};

static bool read_rule(struct tly_slice text, struct rule *rule)
{
    struct cursor c = {text.p, text.p + text.n, true};
    *rule = (struct rule){0};
    skip_name(&c);
    rule->standard_s = -clock_s(&c);
    rule->has_summer = c.good && c.at < c.end;
    if (!rule->has_summer) return c.good;
    skip_name(&c);
    rule->summer_s = rule->standard_s + HOUR_S;
    if (peek(&c) != ',') rule->summer_s = -clock_s(&c);
    need(&c, ',');
    rule->start = date_of(&c);
    need(&c, ',');
    rule->end = date_of(&c);
    return c.good && c.at == c.end;
}

static bool is_offset(int64_t offset_s)
{
    return offset_s > -OFFSET_MAX_S && offset_s < OFFSET_MAX_S;
}

/* What the rule says of the years after the last change that was written out. */
static enum tly_result extend(struct tly_zone *zone, struct tly_slice text)
{
    struct rule rule;
    if (text.n == 0) return TLY_OK;
    if (!read_rule(text, &rule) || !is_offset(rule.standard_s) || !is_offset(rule.summer_s))
        return TLY_BAD_MESSAGE;
    int64_t last_s = zone->count > 0 ? zone->changes[zone->count - 1].at_s : INT64_MIN;
    if (!rule.has_summer) {
        if (zone->count == 0) zone->first_s = (int32_t)rule.standard_s;
        return TLY_OK;
    }
    for (int64_t year = 1970; year < LAST_YEAR; year++) {
        struct change both[] = {
            {shown_at(&rule.start, year) - rule.standard_s, (int32_t)rule.summer_s},
            {shown_at(&rule.end, year) - rule.summer_s, (int32_t)rule.standard_s},
        };
        size_t first = both[0].at_s > both[1].at_s;
        /* Where nothing was written out the rule holds from the beginning. */
        if (last_s == INT64_MIN && year == 1970) zone->first_s = both[1 - first].offset_s;
        for (size_t i = 0; i < 2; i++) {
            const struct change *change = &both[i ^ first];
            if (change->at_s <= last_s) continue;
            enum tly_result result = add_change(zone, change->at_s, change->offset_s);
            if (result != TLY_OK) return result;
        }
    }
    return TLY_OK;
}

/* ---- TZif ---- */

#define HEADER_BYTES 44

struct counts {
    uint64_t ut, standard, leaps, changes, types, chars;
};

static uint64_t big_endian(const uint8_t *at, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | at[i];
    return value;
}

static bool read_header(struct tly_slice bytes, struct counts *counts)
{
    if (bytes.n < HEADER_BYTES || memcmp(bytes.p, "TZif", 4) != 0 || bytes.p[4] < '2') return false;
    uint64_t *const into[] = {&counts->ut,      &counts->standard, &counts->leaps,
                              &counts->changes, &counts->types,    &counts->chars};
    for (size_t i = 0; i < sizeof into / sizeof *into; i++)
        *into[i] = big_endian(bytes.p + 20 + 4 * i, 4);
    return true;
}

static uint64_t block_bytes(const struct counts *c, uint64_t time_bytes)
{
    return c->changes * (time_bytes + 1) + c->types * 6 + c->chars + c->leaps * (time_bytes + 4) +
           c->standard + c->ut;
}

static enum tly_result read_changes(struct tly_zone *zone, const uint8_t *block, const struct counts *c)
{
    const uint8_t *kinds = block + c->changes * 8, *types = kinds + c->changes;
    if (c->types == 0) return TLY_BAD_MESSAGE;
    for (uint64_t i = 0; i < c->types; i++)
        if (!is_offset((int32_t)big_endian(types + 6 * i, 4))) return TLY_BAD_MESSAGE;
    zone->first_s = (int32_t)big_endian(types, 4);
    for (uint64_t i = 0; i < c->changes; i++) {
        if (kinds[i] >= c->types) return TLY_BAD_MESSAGE;
        int64_t at_s = (int64_t)big_endian(block + 8 * i, 8);
        enum tly_result result = add_change(zone, at_s, (int32_t)big_endian(types + 6 * kinds[i], 4));
        if (result != TLY_OK) return result;
    }
    return TLY_OK;
}

/* The part with 64-bit times is behind that with 32 bits. */
static enum tly_result read_file(struct tly_zone *zone, struct tly_slice bytes)
{
    struct counts counts;
    for (size_t part = 0; part < 2; part++) {
        if (!read_header(bytes, &counts)) return TLY_BAD_MESSAGE;
        uint64_t n = HEADER_BYTES + block_bytes(&counts, part == 0 ? 4 : 8);
        if (n > bytes.n) return TLY_BAD_MESSAGE;
        if (part == 1) {
            enum tly_result result = read_changes(zone, bytes.p + HEADER_BYTES, &counts);
            if (result != TLY_OK) return result;
        }
        bytes = tly_slice_of(bytes.p + n, bytes.n - n);
    }
    if (bytes.n < 2 || bytes.p[0] != '\n' || bytes.p[bytes.n - 1] != '\n') return TLY_BAD_MESSAGE;
    return extend(zone, tly_slice_of(bytes.p + 1, bytes.n - 2));
}

enum tly_result tly_zone_new(const struct tly_mem *mem, struct tly_slice tzif, struct tly_zone **out)
{
    struct tly_zone *zone = tly_mem_zeroed(mem, sizeof *zone);
    if (zone == NULL) return TLY_NOMEM;
    zone->mem = *mem;
    enum tly_result result = read_file(zone, tzif);
    if (result != TLY_OK) {
        tly_zone_free(zone);
        return result;
    }
    *out = zone;
    return TLY_OK;
}

/* ---- asking ---- */

/* How many changes there were by then. */
static size_t changes_by(const struct tly_zone *zone, int64_t at_s)
{
    size_t low = 0, high = zone->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->changes[middle].at_s <= at_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int32_t tly_zone_offset(const struct tly_zone *zone, int64_t at_s)
{
    if (zone == NULL) return 0;
    size_t by = changes_by(zone, at_s);
    return by > 0 ? zone->changes[by - 1].offset_s : zone->first_s;
}

/* When the clock first shows this, or what follows it: it may be skipped. */
static int64_t first_shown(const struct tly_zone *zone, int64_t shown_s)
{
    if (zone == NULL) return shown_s;
    size_t by = changes_by(zone, shown_s - OFFSET_MAX_S);
    for (;; by++) {
        int32_t offset_s = by > 0 ? zone->changes[by - 1].offset_s : zone->first_s;
        int64_t at_s = shown_s - offset_s;
        if (by > 0 && at_s < zone->changes[by - 1].at_s) at_s = zone->changes[by - 1].at_s;
        if (by == zone->count || at_s < zone->changes[by].at_s) return at_s;
    }
}

/* ---- units ---- */

static uint64_t unit_start_ms(const struct tly_zone *zone, unsigned unit, uint64_t number)
{
    uint64_t shown_ms = tly_calendar_start_ms(unit, number);
    if (shown_ms == UINT64_MAX) return UINT64_MAX;
    int64_t at_s = first_shown(zone, (int64_t)(shown_ms / 1000));
    return at_s > 0 ? (uint64_t)at_s * 1000 : 0;
}

/* About which unit begins so many days after 1970; off by one at most. */
static uint64_t unit_near(unsigned unit, uint64_t days)
{
    switch (unit) {
    case TLY_UNIT_WEEK: return (days + 3) / 7;
    case TLY_UNIT_MONTH: return days * 4800 / 146097;
    case TLY_UNIT_YEAR: return days * 400 / 146097;
    default: return days;
    }
}

static struct tly_unit_span day_or_more(const struct tly_zone *zone, unsigned unit, uint64_t now_ms)
{
    int64_t shown_s = (int64_t)(now_ms / 1000) + tly_zone_offset(zone, (int64_t)(now_ms / 1000));
    uint64_t number = unit_near(unit, shown_s > 0 ? (uint64_t)shown_s / DAY_S : 0);
    while (number > 0 && unit_start_ms(zone, unit, number) > now_ms)
        number--;
    while (unit_start_ms(zone, unit, number + 1) <= now_ms)
        number++;
    return (struct tly_unit_span){number, unit_start_ms(zone, unit, number),
                                  unit_start_ms(zone, unit, number + 1)};
}

static struct tly_unit_span hour_or_less(const struct tly_zone *zone, uint64_t length_ms, uint64_t now_ms)
{
    int64_t offset_ms = (int64_t)tly_zone_offset(zone, (int64_t)(now_ms / 1000)) * 1000;
    int64_t length = (int64_t)length_ms, phase = (offset_ms % length + length) % length;
    uint64_t number = (now_ms + (uint64_t)phase) / length_ms, from = number * length_ms;
    return (struct tly_unit_span){number, from > (uint64_t)phase ? from - (uint64_t)phase : 0,
                                  from + length_ms - (uint64_t)phase};
}

uint64_t tly_zone_earliest_ms(unsigned unit, uint64_t number)
{
    uint64_t start_ms = tly_calendar_start_ms(unit, number), ahead_ms = (uint64_t)OFFSET_MAX_S * 1000;
    if (unit == TLY_UNIT_MINUTE) ahead_ms = 60000;
    if (unit == TLY_UNIT_HOUR) ahead_ms = (uint64_t)HOUR_S * 1000;
    return start_ms > ahead_ms ? start_ms - ahead_ms : 0;
}

struct tly_unit_span tly_zone_span(const struct tly_zone *zone, unsigned unit, uint64_t now_ms)
{
    if (unit == TLY_UNIT_MINUTE) return hour_or_less(zone, 60000, now_ms);
    if (unit == TLY_UNIT_HOUR) return hour_or_less(zone, HOUR_S * 1000, now_ms);
    return day_or_more(zone, unit, now_ms);
}
