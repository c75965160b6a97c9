/*
 * JSON out and in.  Out: written straight into a buffer, commas set by themselves; bytes that are no UTF-8 become U+FFFD.
 * In: json-c, kept from what is deep, large or sloppy.
 */
#ifndef TALLY_SERVICE_SHELL_HTTP_JSON_H
#define TALLY_SERVICE_SHELL_HTTP_JSON_H

#include "service/shell/http_parse.h"
#include "wire/buf.h"

#include <json-c/json.h>

#define TLY_JSON_DEPTH_MAX 16
/* Arrays and objects in one text, and values: what json-c makes of them is far larger than they are. */
#define TLY_JSON_CONTAINERS_MAX 4096
#define TLY_JSON_VALUES_MAX 65536

/* A writer; a value. */
struct tly_json {
    struct tly_buf *out;
    bool wants_comma;
};

struct tly_json tly_json_of(struct tly_buf *out);
/* open: '{' or '['; close: '}' or ']'. */
void tly_json_open(struct tly_json *json, char bracket);
void tly_json_close(struct tly_json *json, char bracket);
void tly_json_key(struct tly_json *json, const char *name);
void tly_json_put_uint(struct tly_json *json, uint64_t number);
void tly_json_put_int(struct tly_json *json, int64_t number);
void tly_json_put_null(struct tly_json *json);
void tly_json_put_bool(struct tly_json *json, bool value);
void tly_json_put_text(struct tly_json *json, struct tly_slice text);
void tly_json_put_base64(struct tly_json *json, struct tly_slice bytes);

/* A member of an object: its name and its value. */
void tly_json_member_uint(struct tly_json *json, const char *name, uint64_t number);
/* As a text of 16 digits to the base of 16. */
void tly_json_member_hex(struct tly_json *json, const char *name, uint64_t number);
void tly_json_member_int(struct tly_json *json, const char *name, int64_t number);
void tly_json_member_bool(struct tly_json *json, const char *name, bool value);
void tly_json_member_text(struct tly_json *json, const char *name, struct tly_slice text);
void tly_json_member_string(struct tly_json *json, const char *name, const char *text);

/* Bytes of the character at the beginning of text, which is not empty, or 0 when there is none (RFC 3629: no surrogates, shortest form). */
size_t tly_utf8_bytes(struct tly_slice text);
bool tly_utf8_is_valid(struct tly_slice text);
/* Makes a text one line that can be shown: control characters, and bytes that are no character, become '?', ends of lines what is wanted. */
void tly_utf8_make_line(char *text, char line_end);

/* Reads a request's body. NULL: *error says why. The caller puts the object back (json_object_put). */
struct json_object *tly_json_parse(const struct tly_http_request *request, const struct tly_mem *mem,
                                   const char **error);
/* A whole number in [0, max]. */
bool tly_json_get_uint(struct json_object *value, uint64_t max, uint64_t *number);
/* A whole number that fits i64. */
bool tly_json_get_int(struct json_object *value, int64_t *number);
bool tly_json_get_text(struct json_object *value, struct tly_slice *text);

#endif
