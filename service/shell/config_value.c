#include "service/shell/config_value.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- addresses ---- */

static bool parse_port(const char *text, uint16_t *port)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > UINT16_MAX) return false;
    *port = (uint16_t)number;
    return true;
}

#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* A host name or an IPv4 address; what stood in brackets is an IPv6 address, perhaps with a scope. */
static bool is_host(const char *text, size_t n, bool bracketed)
{
    if (bracketed) return strspn(text, NAME_BYTES ":%") >= n && memchr(text, ':', n) != NULL;
    return n > 0 && strspn(text, NAME_BYTES) >= n;
}

/* ADDR:PORT, [v6]:PORT or :PORT; an empty address is all of them. */
static bool parse_host_port(const char *text, char *host, size_t size, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !parse_port(colon + 1, port)) return false;
    size_t n = (size_t)(colon - text);
    bool bracketed = n > 2 && text[0] == '[' && text[n - 1] == ']';
    if (n == 0) {
        text = "0.0.0.0";
        n = strlen(text);
    } else if (bracketed) {
        text++;
        n -= 2;
    }
    if (!is_host(text, n, bracketed) || n >= size) return false;
    memcpy(host, text, n);
    host[n] = '\0';
    return true;
}

static bool parse_listen(const char *text, bool may_be_unix, struct tly_listen *listen)
{
    struct tly_listen parsed = {.kind = TLY_LISTEN_TCP};
    if (strcmp(text, "none") == 0) {
        parsed.kind = TLY_LISTEN_NONE;
    } else if (may_be_unix && strncmp(text, "unix:", 5) == 0) {
        parsed.kind = TLY_LISTEN_UNIX;
        if (text[5] == '\0' || strlcpy(parsed.path, text + 5, sizeof parsed.path) >= sizeof parsed.path)
            return false;
    } else if (!parse_host_port(text, parsed.host, sizeof parsed.host, &parsed.port)) {
        return false;
    }
    *listen = parsed;
    return true;
}

static void write_listen(const struct tly_listen *listen, char *value, size_t size)
{
    bool v6 = strchr(listen->host, ':') != NULL;
    switch (listen->kind) {
    case TLY_LISTEN_NONE: snprintf(value, size, "none"); break;
    case TLY_LISTEN_UNIX: snprintf(value, size, "unix:%s", listen->path); break;
    case TLY_LISTEN_TCP:
        snprintf(value, size, "%s%s%s:%u", v6 ? "[" : "", listen->host, v6 ? "]" : "",
                 (unsigned)listen->port);
        break;
    }
}

/* An address that somebody dials: a port that is not 0. */
bool tly_value_is_address(const char *text)
{
    char host[TLY_ADDRESS_BYTES_MAX + 1];
    uint16_t port;
    return text[0] != ':' && strlen(text) <= TLY_ADDRESS_BYTES_MAX &&
           parse_host_port(text, host, sizeof host, &port) && port != 0;
}

static bool set_listen(const struct tly_setting *setting, void *member, const char *value)
{
    return parse_listen(value, setting->may_be_unix, member);
}

static void get_listen(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    (void)setting;
    write_listen(member, value, size);
}

static bool set_address(const struct tly_setting *setting, void *member, const char *value)
{
    if (!tly_value_is_address(value) && !(setting->may_be_nothing && value[0] == '\0')) return false;
    return strlcpy(member, value, setting->size) < setting->size;
}

/* ---- texts ---- */

/* As it was set. */
static void get_plain(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    (void)setting;
    strlcpy(value, member, size);
}

static bool is_name(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n > TLY_NAME_BYTES_MAX) return false;
    return strspn(text, NAME_BYTES) == n;
}

static bool set_name(const struct tly_setting *setting, void *member, const char *value)
{
    if (!is_name(value)) return false;
    return strlcpy(member, value, setting->size) < setting->size;
}

static bool set_text(const struct tly_setting *setting, void *member, const char *value)
{
    if (value[0] == '\0' || strlen(value) >= setting->size) return false;
    strlcpy(member, strcmp(value, "none") == 0 ? "" : value, setting->size);
    return true;
}

static void get_text(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    const char *text = member;
    (void)setting;
    strlcpy(value, text[0] != '\0' ? text : "none", size);
}

static bool set_secret(const struct tly_setting *setting, void *member, const char *value)
{
    if (strlen(value) >= setting->size) return false;
    strlcpy(member, value, setting->size);
    return true;
}

/* Whether there is one is all that is told. */
static void get_secret(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    const char *text = member;
    (void)setting;
    strlcpy(value, text[0] != '\0' ? "set" : "", size);
}

/* ---- numbers ---- */

/* Members are of one of two sizes, enums among them. */
static void put_number(const struct tly_setting *setting, void *member, uint64_t number)
{
    uint32_t narrow = (uint32_t)number;
    assert(setting->size == sizeof number || setting->size == sizeof narrow);
    if (setting->size == sizeof number)
        memcpy(member, &number, sizeof number);
    else
        memcpy(member, &narrow, sizeof narrow);
}

static uint64_t number_of(const struct tly_setting *setting, const void *member)
{
    uint64_t number;
    uint32_t narrow;
    if (setting->size == sizeof number) {
        memcpy(&number, member, sizeof number);
        return number;
    }
    memcpy(&narrow, member, sizeof narrow);
    return narrow;
}

static bool set_word(const struct tly_setting *setting, void *member, const char *value)
{
    for (size_t i = 0; setting->words[i] != NULL; i++) {
        if (strcmp(value, setting->words[i]) != 0) continue;
        put_number(setting, member, i);
        return true;
    }
    return false;
}

static void get_word(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    strlcpy(value, setting->words[number_of(setting, member)], size);
}

static bool parse_number(const char *text, unsigned long long most, unsigned long long *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number <= most;
}

static bool set_number(const struct tly_setting *setting, void *member, const char *value)
{
    unsigned long long number;
    if (!parse_number(value, setting->most, &number) || number < setting->least) return false;
    put_number(setting, member, number);
    return true;
}

static void get_number(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    snprintf(value, size, "%" PRIu64, number_of(setting, member));
}

static bool set_seconds(const struct tly_setting *setting, void *member, const char *value)
{
    unsigned long long number;
    if (!parse_number(value, setting->most, &number) || number < setting->least) return false;
    put_number(setting, member, number * 1000);
    return true;
}

static void get_seconds(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    snprintf(value, size, "%" PRIu64, number_of(setting, member) / 1000);
}

/* "512m": bytes, with k, m or g for 2^10, 2^20 and 2^30. */
static bool parse_bytes(const char *text, size_t *bytes)
{
    static const char units[] = "kmg";
    char digits[24];
    size_t n = strspn(text, "0123456789");
    const char *unit = text[n] != '\0' ? strchr(units, text[n] | 0x20) : NULL;
    unsigned shift = unit != NULL ? (unsigned)(unit - units + 1) * 10 : 0;
    if (n >= sizeof digits || (text[n] != '\0' && (unit == NULL || text[n + 1] != '\0'))) return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    unsigned long long number;
    if (!parse_number(digits, (unsigned long long)SIZE_MAX >> shift, &number)) return false;
    *bytes = (size_t)number << shift;
    return true;
}

static bool set_bytes(const struct tly_setting *setting, void *member, const char *value)
{
    size_t bytes;
    if (!parse_bytes(value, &bytes)) return false;
    if (bytes < setting->least && !(setting->may_be_nothing && bytes == 0)) return false;
    put_number(setting, member, bytes);
    return true;
}

static void get_bytes(const struct tly_setting *setting, const void *member, char *value, size_t size)
{
    static const char units[][2] = {"", "k", "m", "g"};
    uint64_t bytes = number_of(setting, member);
    size_t unit = 0;
    while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        unit++;
    }
    snprintf(value, size, "%" PRIu64 "%s", bytes, units[unit]);
}

/* ---- all of them ---- */

static const struct {
    bool (*set)(const struct tly_setting *setting, void *member, const char *value);
    void (*get)(const struct tly_setting *setting, const void *member, char *value, size_t size);
} kinds[TLY_VALUE_OWN] = {
    [TLY_VALUE_LISTEN] = {set_listen, get_listen},    [TLY_VALUE_ADDRESS] = {set_address, get_plain},
    [TLY_VALUE_NAME] = {set_name, get_plain},         [TLY_VALUE_TEXT] = {set_text, get_text},
    [TLY_VALUE_SECRET] = {set_secret, get_secret},    [TLY_VALUE_WORD] = {set_word, get_word},
    [TLY_VALUE_NUMBER] = {set_number, get_number},    [TLY_VALUE_BYTES] = {set_bytes, get_bytes},
    [TLY_VALUE_SECONDS] = {set_seconds, get_seconds},
};

bool tly_value_set(const struct tly_setting *setting, struct tly_config *config, const char *value)
{
    if (setting->kind == TLY_VALUE_OWN) return setting->set(config, value);
    return kinds[setting->kind].set(setting, (char *)config + setting->offset, value);
}

void tly_value_get(const struct tly_setting *setting, const struct tly_config *config, char *value,
                   size_t size)
{
    if (setting->kind == TLY_VALUE_OWN)
        setting->get(config, value, size);
    else
        kinds[setting->kind].get(setting, (const char *)config + setting->offset, value, size);
}
