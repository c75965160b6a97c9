#include "tools/tallyctl_accesslog.h"

#include "tools/tallyctl.h"

#include <stdlib.h>
#include <time.h>

/* ---- time ---- */

static bool digits(const char **at, size_t count, int *out)
{
    *out = 0;
    for (; count > 0; count--, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *out = *out * 10 + (**at - '0');
    }
    return true;
}

static bool one(const char **at, const char *of)
{
    bool good = **at != '\0' && strchr(of, **at) != NULL;
    *at += good;
    return good;
}

static bool month(const char **at, int *out)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++) {
        if (strncmp(*at, names + (size_t)i * 3, 3) != 0) continue;
        *at += 3;
        *out = i + 1;
        return true;
    }
    return false;
}

/* "+0200", "+02:00", "Z"; nothing is UTC. */
static bool zone_s(const char **at, int *seconds)
{
    int hours, minutes;
    *seconds = 0;
    if (one(at, "Z") || **at == '\0') return true;
    int sign = **at == '-' ? -1 : 1;
    if (!one(at, "+-") || !digits(at, 2, &hours)) return false;
    (void)one(at, ":");
    if (!digits(at, 2, &minutes)) return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool clock_time(const char **at, struct tm *tm)
{
    return digits(at, 2, &tm->tm_hour) && one(at, ":") && digits(at, 2, &tm->tm_min) && one(at, ":") &&
           digits(at, 2, &tm->tm_sec);
}

static int thousandths(const char **at)
{
    int ms = 0, scale = 100;
    if (!one(at, ".,")) return 0;
    for (; **at >= '0' && **at <= '9'; (*at)++, scale /= 10)
        ms += (**at - '0') * scale;
    return ms;
}

/* "10/Oct/2000:13:55:36 -0700" or "2000-10-10T13:55:36.123-07:00". */
static bool read_time(const char *at, uint64_t *at_ms)
{
    struct tm tm = {0};
    int year = 0, day = 0, mon = 0, east, ms = 0;
    const char *begin = at;
    bool good = digits(&at, 2, &day) && one(&at, "/") && month(&at, &mon) && one(&at, "/") &&
                digits(&at, 4, &year) && one(&at, ":") && clock_time(&at, &tm);
    if (good) {
        (void)one(&at, " ");
    } else {
        at = begin;
        good = digits(&at, 4, &year) && one(&at, "-") && digits(&at, 2, &mon) && one(&at, "-") &&
               digits(&at, 2, &day) && one(&at, "T ") && clock_time(&at, &tm);
        if (good) ms = thousandths(&at);
    }
    if (!good || !zone_s(&at, &east) || *at != '\0' || mon < 1 || mon > 12 || day < 1 || day > 31)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = mon - 1;
    tm.tm_mday = day;
    int64_t seconds = (int64_t)timegm(&tm) - east;
    *at_ms = (uint64_t)seconds * 1000 + (uint64_t)ms;
    return seconds > 0;
}

/* ---- fields ---- */

static bool has(const struct tly_ctl_logged *logged, const char *name)
{
    for (size_t i = 0; i < logged->field_count; i++)
        if (tly_slice_equal(logged->field[i].name, tly_slice_text(name))) return true;
    return false;
}

/* The first that says it counts. */
static void add(struct tly_ctl_logged *logged, const char *name, struct tly_slice value)
{
    if (logged->field_count == TLY_CTL_LOG_FIELDS_MAX || has(logged, name)) return;
    logged->field[logged->field_count++] = (struct tly_field){tly_slice_text(name), value};
}

static struct tly_slice until(struct tly_slice text, char end)
{
    const uint8_t *at = text.n > 0 ? memchr(text.p, end, text.n) : NULL;
    return at != NULL ? tly_slice_of(text.p, (size_t)(at - text.p)) : text;
}

static struct tly_slice behind(struct tly_slice text, size_t n)
{
    return n < text.n ? tly_slice_of(text.p + n, text.n - n) : tly_slice_of(text.p + text.n, 0);
}

/* "GET /path?query HTTP/1.1" */
static void add_request(struct tly_ctl_logged *logged, struct tly_slice request)
{
    struct tly_slice method = until(request, ' '), target = until(behind(request, method.n + 1), ' ');
    if (target.n == 0) return;
    add(logged, "method", method);
    add(logged, "path", until(target, '?'));
}

/* ---- common and combined ---- */

static struct tly_slice word(struct tly_slice *rest)
{
    struct tly_slice found = until(*rest, ' ');
    *rest = behind(*rest, found.n + 1);
    return found;
}

/* Between these, and without the blank behind; a quote that is escaped does not end it. p NULL: it is not there. */
static struct tly_slice enclosed(struct tly_slice *rest, char open, char close)
{
    size_t n = 1;
    if (rest->n == 0 || rest->p[0] != (uint8_t)open) return tly_slice_of(NULL, 0);
    for (; n < rest->n && rest->p[n] != (uint8_t)close; n++)
        if (rest->p[n] == '\\') n++;
    if (n >= rest->n) return tly_slice_of(NULL, 0);
    struct tly_slice found = tly_slice_of(rest->p + 1, n - 1);
    *rest = behind(*rest, n + 2);
    return found;
}

static bool read_common(struct tly_slice line, struct tly_ctl_logged *out)
{
    char time[64];
    struct tly_slice ip = word(&line);
    (void)word(&line);
    struct tly_slice user = word(&line), at = enclosed(&line, '[', ']'), request = enclosed(&line, '"', '"');
    if (ip.n == 0 || at.p == NULL || request.p == NULL || at.n >= sizeof time) return false;
    memcpy(time, at.p, at.n);
    time[at.n] = '\0';
    if (!read_time(time, &out->at_ms)) return false;
    struct tly_slice status = word(&line);
    out->status = status.n == 3 ? strtol((const char *)status.p, NULL, 10) : 0;
    (void)word(&line);
    add(out, "ip", ip);
    add(out, "user", user);
    add_request(out, request);
    struct tly_slice referer = enclosed(&line, '"', '"'), agent = enclosed(&line, '"', '"');
    if (referer.p != NULL) add(out, "referer", referer);
    if (agent.p != NULL) add(out, "agent", agent);
    return out->status != 0;
}

/* ---- JSON ---- */

static const char *const times[] = {"time",         "timestamp", "@timestamp", "ts",
                                    "time_iso8601", "msec",      "time_local", "date"};

static const struct {
    const char *said, *name;
} aliases[] = {
    {"remote_addr", "ip"},        {"remote_ip", "ip"},          {"client_ip", "ip"},
    {"remote_user", "user"},      {"request_method", "method"}, {"http_host", "host"},
    {"http_user_agent", "agent"}, {"user_agent", "agent"},
};

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* Seconds, or what can only be ms. */
static bool take_time(struct json_object *value, uint64_t *at_ms)
{
    if (json_object_is_type(value, json_type_string)) {
        const char *text = json_object_get_string(value);
        char *end;
        if (read_time(text, at_ms)) return true;
        double seconds = strtod(text, &end);
        if (end == text || *end != '\0' || !(seconds > 0 && seconds < 1e14)) return false;
        *at_ms = (uint64_t)(seconds >= 1e11 ? seconds : seconds * 1e3 + 0.5);
        return true;
    }
    double number = json_object_get_double(value);
    if (!(number > 0 && number < 1e14)) return false;
    *at_ms = (uint64_t)(number >= 1e11 ? number : number * 1e3 + 0.5);
    return true;
}

static void take_member(const char *name, struct json_object *value, struct tly_ctl_logged *out)
{
    static const char *const targets[] = {"uri", "request_uri", "url", "path"};
    bool is_text = json_object_is_type(value, json_type_string);
    if (!is_text && !json_object_is_type(value, json_type_int)) return;
    if (strcmp(name, "status") == 0 || strcmp(name, "status_code") == 0)
        out->status = (long)json_object_get_int64(value);
    const char *chars = json_object_get_string(value);
    struct tly_slice text = tly_slice_text(chars);
    if (strcmp(name, "request") == 0) add_request(out, text);
    if (is_one_of(name, targets, sizeof targets / sizeof *targets)) add(out, "path", until(text, '?'));
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i].said) == 0) add(out, aliases[i].name, text);
    add(out, name, text);
}

/* What stands in an object of the name "request" is taken as if it stood beside it. */
static void take_members(struct json_object *object, struct tly_ctl_logged *out, bool *has_time, bool nested)
{
    json_object_object_foreach(object, name, value)
    {
        if (!nested && strcmp(name, "request") == 0 && json_object_is_type(value, json_type_object))
            take_members(value, out, has_time, true);
        else if (!*has_time && is_one_of(name, times, sizeof times / sizeof *times))
            *has_time = take_time(value, &out->at_ms);
        else
            take_member(name, value, out);
    }
}

bool tly_ctl_log_read(struct tly_slice line, struct tly_ctl_logged *out)
{
    char error[128];
    bool has_time = false;
    out->object = NULL;
    out->field_count = 0;
    out->status = 0;
    if (line.n == 0) return false;
    if (line.p[0] != '{') return read_common(line, out);
    if (!tly_ctl_json(line, &out->object, error, sizeof error)) return false;
    if (!json_object_is_type(out->object, json_type_object)) return false;
    take_members(out->object, out, &has_time, false);
    return has_time;
}

void tly_ctl_log_done(struct tly_ctl_logged *logged)
{
    (void)json_object_put(logged->object);
    logged->object = NULL;
}
