/*
 * One node in this program, asked through the library, its RESP door and its HTTP door: the same checks on three keys get the same
 * verdicts, field by field, and the same mistakes the same codes.  The clock stands still while the three are asked.
 */
#include "service/library/tally.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- the clock, in place of libc's ---- */

static uint64_t now_ns = UINT64_C(1800000000000000000);
/* While a node is closed: it may wait for a moment to come. */
static bool runs;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): libc names them with underscores */
int clock_gettime(clockid_t clock, struct timespec *at)
{
    (void)clock;
    if (runs) now_ns += 1000000;
    at->tv_sec = (time_t)(now_ns / 1000000000);
    at->tv_nsec = (long)(now_ns % 1000000000);
    return 0;
}

/* ---- the node, and its clients ---- */

struct scene {
    struct tally *tally;
    char file[32];
    int resp, http;
    char answer[65536];
};

static const char limits[] =
    "limits:\n"
    "  - {name: fixed, key: tenant, rate: 7/3s, algorithm: fixed_window}\n"
    "  - {name: sliding, key: tenant, rate: 20/5s}\n"
    "  - {name: bucket, key: tenant, rate: 5/2s, burst: 9, algorithm: token_bucket}\n"
    "  - {name: shadow, key: tenant, rate: 3/1s, shadow: true}\n";

static int connect_to(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static int set_up(void **state)
{
    static const char *const settings[] = {"log=error", "name=here", "resp=127.0.0.1:0", "http=127.0.0.1:0",
                                           NULL};
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    strcpy(scene->file, "/tmp/parity.XXXXXX");
    int fd = mkstemp(scene->file);
    assert_true(fd >= 0 && write(fd, limits, sizeof limits - 1) == sizeof limits - 1);
    (void)close(fd);
    struct tally_options options = {.file = scene->file, .settings = settings, .drive = TALLY_CALLER};
    char error[256] = "";
    scene->tally = tally_open(&options, error, sizeof error);
    if (scene->tally == NULL) print_message("%s\n", error);
    assert_non_null(scene->tally);
    scene->resp = connect_to(tally_address(scene->tally, "resp"));
    scene->http = connect_to(tally_address(scene->tally, "http"));
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    (void)close(scene->resp);
    (void)close(scene->http);
    runs = true;
    tally_close(scene->tally);
    runs = false;
    (void)unlink(scene->file);
    free(scene);
    return 0;
}

static bool is_whole_resp(const char *answer)
{
    size_t n = strlen(answer);
    return n >= 7 && strcmp(answer + n - 7, "+PONG\r\n") == 0;
}

static bool is_whole_http(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "content-length: ");
    return end != NULL && length != NULL && strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

/* Says it, and runs the node until it has answered. */
static const char *say(struct scene *scene, int fd, const char *said, bool (*is_whole)(const char *answer))
{
    size_t n = 0;
    assert_int_equal(send(fd, said, strlen(said), 0), strlen(said));
    do {
        tally_turn(scene->tally, 0);
        ssize_t got = recv(fd, scene->answer + n, sizeof scene->answer - 1 - n, MSG_DONTWAIT);
        assert_true(got > 0 || (got < 0 && errno == EAGAIN));
        n += got > 0 ? (size_t)got : 0;
        scene->answer[n] = '\0';
    } while (!is_whole(scene->answer));
    return scene->answer;
}

/* ---- a verdict, from whomever ---- */

struct told {
    char code[16], mode[16], reason[16];
    int64_t limit, remaining, reset_ms, retry_after_ms, bound;
};

static int64_t number_or_minus_one(uint64_t number)
{
    return number == UINT64_MAX ? -1 : (int64_t)number;
}

static void ask_library(struct scene *scene, const char *limit, const char *key, uint32_t hits,
                        struct told *told)
{
    struct tally_field field = {tally_text("tenant"), tally_text(key)};
    struct tally_check check = {.limit = tally_text(limit), .fields = &field, .field_count = 1, .hits = hits};
    struct tally_verdict verdict;
    assert_int_equal(tally_check(scene->tally, &check, &verdict), TALLY_OK);
    *told = (struct told){.limit = (int64_t)verdict.limit,
                          .remaining = (int64_t)verdict.remaining,
                          .reset_ms = (int64_t)verdict.reset_ms,
                          .retry_after_ms = number_or_minus_one(verdict.retry_after_ms),
                          .bound = number_or_minus_one(verdict.bound)};
    (void)snprintf(told->code, sizeof told->code, "%s", verdict.code == TALLY_ADMITTED ? "ok" : "over");
    (void)snprintf(told->mode, sizeof told->mode, "%s", verdict.mode);
    (void)snprintf(told->reason, sizeof told->reason, "%s", verdict.reason);
}

/* What stands behind a name in a flat array of names and values. */
static const char *resp_member(const char *answer, const char *name)
{
    char wanted[32];
    (void)snprintf(wanted, sizeof wanted, "\r\n%s\r\n", name);
    const char *at = strstr(answer, wanted);
    assert_non_null(at);
    at += strlen(wanted);
    return *at == ':' ? at + 1 : strchr(at, '\n') + 1;
}

static void ask_resp(struct scene *scene, const char *limit, const char *key, uint32_t hits,
                     struct told *told)
{
    char said[160];
    (void)snprintf(said, sizeof said, "TLY.CHECK %s tenant %s HITS %" PRIu32 "\r\nPING\r\n", limit, key,
                   hits);
    const char *answer = say(scene, scene->resp, said, is_whole_resp);
    *told = (struct told){.limit = strtoll(resp_member(answer, "limit"), NULL, 10),
                          .remaining = strtoll(resp_member(answer, "remaining"), NULL, 10),
                          .reset_ms = strtoll(resp_member(answer, "reset_ms"), NULL, 10),
                          .retry_after_ms = strtoll(resp_member(answer, "retry_after_ms"), NULL, 10),
                          .bound = strtoll(resp_member(answer, "bound"), NULL, 10)};
    assert_int_equal(sscanf(resp_member(answer, "code"), "%15s", told->code), 1);
    assert_int_equal(sscanf(resp_member(answer, "mode"), "%15s", told->mode), 1);
    assert_int_equal(sscanf(resp_member(answer, "reason"), "%15s", told->reason), 1);
}

static struct json_object *post(struct scene *scene, const char *path, const char *body)
{
    char said[512];
    (void)snprintf(said, sizeof said, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", path,
                   strlen(body), body);
    const char *answer = say(scene, scene->http, said, is_whole_http);
    struct json_object *object = json_tokener_parse(strstr(answer, "\r\n\r\n") + 4);
    if (object == NULL) print_message("%s\n", answer);
    assert_non_null(object);
    return object;
}

static int64_t json_number(struct json_object *object, const char *name)
{
    struct json_object *member = NULL;
    assert_true(json_object_object_get_ex(object, name, &member));
    return json_object_get_int64(member);
}

static void json_word(struct json_object *object, const char *name, char word[16])
{
    struct json_object *member = NULL;
    assert_true(json_object_object_get_ex(object, name, &member));
    (void)snprintf(word, 16, "%s", json_object_get_string(member));
}

static void ask_http(struct scene *scene, const char *limit, const char *key, uint32_t hits,
                     struct told *told)
{
    char body[160];
    (void)snprintf(body, sizeof body, "{\"limit\":\"%s\",\"key\":{\"tenant\":\"%s\"},\"hits\":%" PRIu32 "}",
                   limit, key, hits);
    struct json_object *object = post(scene, "/v1/check", body);
    *told = (struct told){.limit = json_number(object, "limit"),
                          .remaining = json_number(object, "remaining"),
                          .reset_ms = json_number(object, "reset_ms"),
                          .retry_after_ms = json_number(object, "retry_after_ms"),
                          .bound = json_number(object, "bound")};
    json_word(object, "code", told->code);
    json_word(object, "mode", told->mode);
    json_word(object, "reason", told->reason);
    (void)json_object_put(object);
}

static bool is_same(const struct told *a, const struct told *b)
{
    return strcmp(a->code, b->code) == 0 && strcmp(a->mode, b->mode) == 0 &&
           strcmp(a->reason, b->reason) == 0 && a->limit == b->limit && a->remaining == b->remaining &&
           a->reset_ms == b->reset_ms && a->retry_after_ms == b->retry_after_ms && a->bound == b->bound;
}

static void show(const char *whose, const struct told *told)
{
    print_message("%s: %s %s %s limit %" PRId64 " remaining %" PRId64 " reset %" PRId64 " retry %" PRId64
                  " bound %" PRId64 "\n",
                  whose, told->code, told->mode, told->reason, told->limit, told->remaining, told->reset_ms,
                  told->retry_after_ms, told->bound);
}

static void ten_thousand_checks_get_one_verdict_from_all(void **state)
{
    struct scene *scene = *state;
    static const char *const names[] = {"fixed", "sliding", "bucket", "shadow"};
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t refused = 0;
    for (size_t i = 0; i < 10000; i++) {
        const char *limit = names[test_rng_below(&rng, 4)];
        unsigned tenant = (unsigned)test_rng_below(&rng, 5);
        uint32_t hits = (uint32_t)(test_rng_chance(&rng, 2) ? 50 : test_rng_below(&rng, 4));
        char key[3][16];
        struct told told[3];
        for (int k = 0; k < 3; k++)
            (void)snprintf(key[k], sizeof key[k], "%c%u", "lrh"[k], tenant);
        ask_library(scene, limit, key[0], hits, &told[0]);
        ask_resp(scene, limit, key[1], hits, &told[1]);
        ask_http(scene, limit, key[2], hits, &told[2]);
        bool alike = is_same(&told[0], &told[1]) && is_same(&told[0], &told[2]);
        if (!alike) {
            print_message("%zu: %s, %" PRIu32 " hits\n", i, limit, hits);
            show("library", &told[0]);
            show("resp", &told[1]);
            show("http", &told[2]);
        }
        claim(alike);
        refused += told[0].code[1] == 'v';
        now_ns += test_rng_below(&rng, 20000000);
    }
    claim(refused > 500 && refused < 9000);
}

/* ---- mistakes ---- */

static void all_call_mistakes_by_the_same_names(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *key;
        enum tally_result result;
    } mistakes[] = {{"sys:x", TALLY_READ_ONLY},
                    {"rl:x", TALLY_READ_ONLY},
                    {"kv:x", TALLY_WRONG_STRATEGY},
                    {"em:x", TALLY_WRONG_STRATEGY},
                    {"full", TALLY_OVERFLOW}};
    assert_int_equal(tally_set(scene->tally, tally_text("full"), INT64_MAX, 0), TALLY_OK);
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        enum tally_result result = mistakes[i].result;
        char said[64], path[64], code[16];
        assert_int_equal(tally_add(scene->tally, tally_text(mistakes[i].key), 1, NULL), result);
        (void)snprintf(path, sizeof path, "/v1/counters/%s", mistakes[i].key);
        struct json_object *problem = post(scene, path, "{\"delta\":1}");
        json_word(problem, "code", code);
        assert_string_equal(code, tally_code(result));
        (void)json_object_put(problem);
        (void)snprintf(said, sizeof said, "INCR %s\r\nPING\r\n", mistakes[i].key);
        const char *answer = say(scene, scene->resp, said, is_whole_resp);
        /* A redis has words of its own for that one. */
        const char *words = result == TALLY_WRONG_STRATEGY ? "-WRONGTYPE " : tally_message(result);
        assert_non_null(strstr(answer, words));
    }
}

static void a_limit_that_is_not_there_is_said_alike(void **state)
{
    struct scene *scene = *state;
    struct tally_check check = {.limit = tally_text("nosuch"), .hits = 1};
    struct tally_verdict verdict;
    char code[16];
    assert_int_equal(tally_check(scene->tally, &check, &verdict), TALLY_NO_LIMIT);
    struct json_object *problem = post(scene, "/v1/check", "{\"limit\":\"nosuch\",\"key\":{}}");
    json_word(problem, "code", code);
    assert_string_equal(code, tally_code(TALLY_NO_LIMIT));
    (void)json_object_put(problem);
    const char *answer = say(scene, scene->resp, "TLY.CHECK nosuch\r\nPING\r\n", is_whole_resp);
    assert_int_equal(strncmp(resp_member(answer, "reason"), tally_code(TALLY_NO_LIMIT), 8), 0);
    answer = say(scene, scene->resp, "TLY.RESET nosuch\r\nPING\r\n", is_whole_resp);
    assert_non_null(strstr(answer, tally_message(TALLY_NO_LIMIT)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ten_thousand_checks_get_one_verdict_from_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_call_mistakes_by_the_same_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_limit_that_is_not_there_is_said_alike, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
