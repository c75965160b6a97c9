#include "tools/tallyctl.h"

#include <inttypes.h>
#include <time.h>

bool tly_ctl_accepted(const struct tly_ctl_answer *answer)
{
    if (answer->status >= 200 && answer->status < 300) return true;
    const char *detail = tly_ctl_text(answer->json, "detail"), *title = tly_ctl_text(answer->json, "title");
    const char *code = tly_ctl_text(answer->json, "code");
    if (detail[0] == '\0') detail = title;
    if (detail[0] == '\0')
        tly_ctl_complain("the server answered with status %ld", answer->status);
    else if (code[0] == '\0')
        tly_ctl_complain("%s", detail);
    else
        tly_ctl_complain("%s (%s)", detail, code);
    return false;
}

void tly_ctl_print_json(struct json_object *json)
{
    int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
    size_t n;
    const char *text = json_object_to_json_string_length(json, flags, &n);
    fwrite(text, 1, n, stdout);
    putchar('\n');
}

const char *tly_ctl_text(struct json_object *object, const char *name)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, name, &value) || json_object_get_type(value) == json_type_null)
        return "";
    const char *text = json_object_get_string(value);
    return text == NULL ? "" : text;
}

bool tly_ctl_is_true(struct json_object *object, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(object, name, &value) && json_object_get_boolean(value);
}

int64_t tly_ctl_int(struct json_object *object, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(object, name, &value) ? json_object_get_int64(value) : 0;
}

/* ---- tables ---- */

bool tly_ctl_is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

void tly_ctl_print_plain(const char *text)
{
    for (; *text != '\0'; text++)
        putchar(tly_ctl_is_control(*text) ? '?' : *text);
}

/* Columns that UTF-8 text takes, if each of its characters takes one. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static const char *cell_of(const char *const *cells, size_t i)
{
    return cells[i] == NULL || cells[i][0] == '\0' ? "-" : cells[i];
}

static size_t column_width(const char *const *cells, size_t rows, size_t columns, size_t column)
{
    size_t widest = 0;
    for (size_t row = 0; row < rows; row++) {
        size_t width = width_of(cell_of(cells, row * columns + column));
        if (width > widest) widest = width;
    }
    return widest;
}

static void put_cell(FILE *out, const char *text, size_t width)
{
    size_t taken = width_of(text);
    for (; *text != '\0'; text++)
        fputc(tly_ctl_is_control(*text) ? '?' : *text, out);
    for (; taken < width; taken++)
        fputc(' ', out);
}

void tly_ctl_table(FILE *out, const char *const *cells, size_t rows, size_t columns)
{
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++) {
            bool last = column + 1 == columns;
            size_t width = last ? 0 : column_width(cells, rows, columns, column) + 2;
            put_cell(out, cell_of(cells, row * columns + column), width);
        }
        fputc('\n', out);
    }
}

/* ---- quantities ---- */

void tly_ctl_duration(double seconds, char *text, size_t size)
{
    const char *sign = seconds < 0 ? "-" : "";
    double s = seconds < 0 ? -seconds : seconds;
    int64_t whole = s < 1e15 ? (int64_t)s : 0;
    if (s < 1e-3)
        snprintf(text, size, "%s%.0f us", sign, s * 1e6);
    else if (s < 1)
        snprintf(text, size, "%s%.1f ms", sign, s * 1e3);
    else if (s < 120)
        snprintf(text, size, "%s%.1f s", sign, s);
    else if (s < 7200)
        snprintf(text, size, "%s%" PRId64 " min %" PRId64 " s", sign, whole / 60, whole % 60);
    else if (s < 2 * 86400)
        snprintf(text, size, "%s%" PRId64 " h %" PRId64 " min", sign, whole / 3600, whole / 60 % 60);
    else
        snprintf(text, size, "%s%" PRId64 " d %" PRId64 " h", sign, whole / 86400, whole / 3600 % 24);
}

void tly_ctl_bytes(double bytes, char *text, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        bytes /= 1024;
    snprintf(text, size, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void tly_ctl_time(uint64_t ns, char *text, size_t size)
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm parts;
    char date[24] = "";
    if (gmtime_r(&seconds, &parts) != NULL) (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, size, "%s.%09" PRIu64 "Z", date, ns % 1000000000);
}

void tly_ctl_printable(struct tly_slice bytes, char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes.n && n + 8 < size; i++) {
        uint8_t c = bytes.p[i];
        bool plain = c >= ' ' && c < 0x7f && c != '\\';
        n += (size_t)snprintf(text + n, size - n, plain ? "%c" : "\\x%02x", c);
        if (n + 8 >= size && i + 1 < bytes.n) n += (size_t)snprintf(text + n, size - n, "...");
    }
    text[n < size ? n : size - 1] = '\0';
}
