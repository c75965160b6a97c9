#include "tests/shell/support_http.h"

#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

int http_scene_setup(void **state)
{
    return scene_setup(state, tly_http_protocol());
}

/* The answer is cut in two where its head ends; a body is as long as its head says. */
struct answer say(struct scene *scene, const char *text)
{
    struct tly_slice got = talk_say_bytes(scene->talk, tly_slice_text(text));
    static char copy[1 << 20];
    struct answer answer = {.head = copy, .body = ""};
    assert_true(got.n < sizeof copy);
    memcpy(copy, got.p, got.n + 1);
    char *end = strstr(copy, "\r\n\r\n");
    if (end == NULL) return answer;
    end[2] = '\0';
    answer.body = end + 4;
    answer.status = atoi(copy + strlen("HTTP/1.1 "));
    return answer;
}

struct answer ask(struct scene *scene, const char *method_and_target, const char *headers, const char *body)
{
    size_t size = strlen(method_and_target) + strlen(headers) + (body != NULL ? strlen(body) : 0) + 256;
    char *text = malloc(size), length[64] = "";
    assert_non_null(text);
    if (body != NULL) (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", strlen(body));
    (void)snprintf(text, size, "%s HTTP/1.1\r\nHost: tally.test\r\n%s%s\r\n%s", method_and_target, headers,
                   length, body != NULL ? body : "");
    struct answer answer = say(scene, text);
    free(text);
    const char *told = header_of(&answer, "Content-Length");
    if (strncmp(method_and_target, "HEAD ", 5) == 0)
        assert_string_equal(answer.body, "");
    else if (told != NULL)
        assert_int_equal(strlen(answer.body), strtoul(told, NULL, 10));
    return answer;
}

struct answer get(struct scene *scene, const char *target)
{
    char line[8192];
    (void)snprintf(line, sizeof line, "GET %s", target);
    return ask(scene, line, "", NULL);
}

struct answer post(struct scene *scene, const char *target, const char *body)
{
    char line[8192];
    (void)snprintf(line, sizeof line, "POST %s", target);
    return ask(scene, line, "", body);
}

const char *header_of(const struct answer *answer, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);
    for (const char *line = strstr(answer->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, n) != 0 || line[2 + n] != ':') continue;
        const char *from = line + 2 + n + 2, *end = strstr(from, "\r\n");
        (void)snprintf(value, sizeof value, "%.*s", (int)(end - from), from);
        return value;
    }
    return NULL;
}

void assert_problem(struct answer answer, int status, const char *code)
{
    char member[96];
    (void)snprintf(member, sizeof member, "\"code\":\"%s\"}\n", code);
    if (answer.status != status || strstr(answer.body, member) == NULL)
        print_message("%s%s\n", answer.head, answer.body);
    assert_int_equal(answer.status, status);
    assert_string_equal(header_of(&answer, "Content-Type"), "application/problem+json");
    assert_non_null(strstr(answer.body, member));
    (void)snprintf(member, sizeof member, "{\"type\":\"about:blank\",\"title\":\"");
    assert_int_equal(strncmp(answer.body, member, strlen(member)), 0);
    (void)snprintf(member, sizeof member, "\",\"status\":%d,\"detail\":\"", status);
    assert_non_null(strstr(answer.body, member));
}
