/*
 * One node in this program, asked through the library, its RESP door, its HTTP door and its gRPC door, and as Envoy's service over HTTP
 * too: the same checks on as many keys get the same verdicts, field by field, and the same mistakes the same codes.  The clock stands still
 * while all are asked.
 */
#include "service/library/tally.h"
#include "tests/library/support_grpc.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
    char file[32], directory[32], rules[64];
    int resp, http;
    struct grpc *grpc;
    char answer[65536];
};

static const char limits[] =
    "limits:\n"
    "  - {name: jobs, rate: 5/2s, algorithm: concurrency}\n"
    "  - {name: fixed, key: tenant, rate: 7/3s, algorithm: fixed_window}\n"
    "  - {name: sliding, key: tenant, rate: 20/5s}\n"
    "  - {name: bucket, key: tenant, rate: 5/2s, burst: 9, algorithm: token_bucket}\n"
    "  - {name: shadow, key: tenant, rate: 3/1s, shadow: true}\n";

/* The same in the words of envoyproxy/ratelimit, and in ours where it has none. */
static const char rules[] =
    "domain: parity\n"
    "descriptors:\n"
    "  - key: limit\n"
    "    value: fixed\n"
    "    descriptors:\n"
    "      - key: tenant\n"
    "        rate_limit: {unit: second, requests_per_unit: 7}\n"
    "        metadata: {tally: {window: 3s, charge: admitted}}\n"
    "  - key: limit\n"
    "    value: sliding\n"
    "    descriptors:\n"
    "      - key: tenant\n"
    "        rate_limit: {unit: second, requests_per_unit: 20}\n"
    "        metadata: {tally: {algorithm: sliding_window, window: 5s, charge: admitted}}\n"
    "  - key: limit\n"
    "    value: bucket\n"
    "    descriptors:\n"
    "      - key: tenant\n"
    "        rate_limit: {unit: second, requests_per_unit: 5}\n"
    "        metadata: {tally: {algorithm: token_bucket, window: 2s, burst: 9, charge: admitted}}\n"
    "  - key: limit\n"
    "    value: shadow\n"
    "    descriptors:\n"
    "      - key: tenant\n"
    "        shadow_mode: true\n"
    "        rate_limit: {unit: second, requests_per_unit: 3}\n"
    "        metadata: {tally: {algorithm: sliding_window, charge: admitted}}\n";

static int connect_to(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    /* What is said in pieces is not held back. */
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    return fd;
}

static void write_rules(struct scene *scene)
{
    strcpy(scene->directory, "/tmp/parity.XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    (void)snprintf(scene->rules, sizeof scene->rules, "%s/rules.yaml", scene->directory);
    FILE *file = fopen(scene->rules, "w");
    assert_non_null(file);
    assert_true(fputs(rules, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void turn(void *context)
{
    tally_turn(((struct scene *)context)->tally, 0);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    char ratelimit[64];
    const char *const settings[] = {
        "log=error", "name=here", "resp=127.0.0.1:0", "http=127.0.0.1:0", "grpc=127.0.0.1:0",
        ratelimit,   NULL};
    strcpy(scene->file, "/tmp/parity.XXXXXX");
    int fd = mkstemp(scene->file);
    assert_true(fd >= 0 && write(fd, limits, sizeof limits - 1) == sizeof limits - 1);
    (void)close(fd);
    write_rules(scene);
    (void)snprintf(ratelimit, sizeof ratelimit, "ratelimit=%s", scene->directory);
    struct tally_options options = {.file = scene->file, .settings = settings, .drive = TALLY_CALLER};
    char error[256] = "";
    scene->tally = tally_open(&options, error, sizeof error);
    if (scene->tally == NULL) print_message("%s\n", error);
    assert_non_null(scene->tally);
    scene->resp = connect_to(tally_address(scene->tally, "resp"));
    scene->http = connect_to(tally_address(scene->tally, "http"));
    scene->grpc = grpc_new(connect_to(tally_address(scene->tally, "grpc")), turn, scene);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    (void)close(scene->resp);
    (void)close(scene->http);
    grpc_free(scene->grpc);
    runs = true;
    tally_close(scene->tally);
    runs = false;
    (void)unlink(scene->file);
    (void)unlink(scene->rules);
    (void)rmdir(scene->directory);
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

/* ---- as Envoy asks ---- */

#define SHOULD_RATE_LIMIT "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

static void put_entry(struct grpc_message *descriptor, const char *key, const char *value)
{
    struct grpc_message entry = {.n = 0};
    grpc_put_text(&entry, 1, key);
    grpc_put_text(&entry, 2, value);
    grpc_put_message(descriptor, 1, &entry);
}

static const struct grpc_answer *ask_domain(struct scene *scene, const char *domain, const char *limit,
                                            const char *key, uint32_t hits)
{
    struct grpc_message request = {.n = 0}, descriptor = {.n = 0}, addend = {.n = 0};
    put_entry(&descriptor, "limit", limit);
    put_entry(&descriptor, "tenant", key);
    grpc_put_number(&addend, 1, hits);
    grpc_put_message(&descriptor, 3, &addend);
    grpc_put_text(&request, 1, domain);
    grpc_put_message(&request, 2, &descriptor);
    return grpc_ask(scene->grpc, SHOULD_RATE_LIMIT, request.p, request.n);
}

static const char *code_of(uint64_t code)
{
    return code == 1 ? "ok" : code == 2 ? "over" : "?";
}

/* What a RateLimitResponse has: seconds, no mode, no reason, no time to come back, no bound. */
static void ask_grpc(struct scene *scene, const char *limit, const char *key, uint32_t hits,
                     struct told *told)
{
    const struct grpc_answer *answer = ask_domain(scene, "parity", limit, key, hits);
    assert_int_equal(answer->status, 0);
    struct grpc_piece response = {answer->message, answer->n}, status = grpc_bytes(response, 2);
    struct grpc_piece current = grpc_bytes(status, 2), duration = grpc_bytes(status, 4);
    assert_true(status.p != NULL && current.p != NULL && duration.p != NULL);
    assert_int_equal(grpc_number(response, 1), grpc_number(status, 1));
    *told = (struct told){.limit = (int64_t)grpc_number(current, 1),
                          .remaining = (int64_t)grpc_number(status, 3),
                          .reset_ms = (int64_t)grpc_number(duration, 1) * 1000};
    (void)snprintf(told->code, sizeof told->code, "%s", code_of(grpc_number(status, 1)));
}

/* A number that is left out is 0. */
static int64_t number_if_there(struct json_object *object, const char *name)
{
    struct json_object *member = NULL;
    return json_object_object_get_ex(object, name, &member) ? json_object_get_int64(member) : 0;
}

static struct json_object *member_of(struct json_object *object, const char *name)
{
    struct json_object *member = NULL;
    assert_true(json_object_object_get_ex(object, name, &member));
    return member;
}

static void ask_json(struct scene *scene, const char *limit, const char *key, uint32_t hits,
                     struct told *told)
{
    char body[256];
    (void)snprintf(
        body, sizeof body,
        "{\"domain\":\"parity\",\"descriptors\":[{\"entries\":[{\"key\":\"limit\",\"value\":\"%s\"},"
        "{\"key\":\"tenant\",\"value\":\"%s\"}],\"hitsAddend\":\"%" PRIu32 "\"}]}",
        limit, key, hits);
    struct json_object *object = post(scene, "/json", body);
    struct json_object *status = json_object_array_get_idx(member_of(object, "statuses"), 0);
    const char *code = json_object_get_string(member_of(status, "code"));
    const char *duration = json_object_get_string(member_of(status, "durationUntilReset"));
    *told = (struct told){.limit = number_if_there(member_of(status, "currentLimit"), "requestsPerUnit"),
                          .remaining = number_if_there(status, "limitRemaining"),
                          .reset_ms = strtoll(duration, NULL, 10) * 1000};
    (void)snprintf(told->code, sizeof told->code, "%s", code_of(strcmp(code, "OK") == 0 ? 1 : 2));
    (void)json_object_put(object);
}

/* Envoy is told the end of a fixed window, whether anything of it is used or not, and the rate of a bucket, not its size. */
static bool is_same_for_envoy(const char *limit, const struct told *a, const struct told *envoy)
{
    int64_t to_end_ms = 3000 - (int64_t)(now_ns / 1000000 % 3000);
    int64_t reset_ms = strcmp(limit, "fixed") == 0 ? to_end_ms : a->reset_ms;
    int64_t most = strcmp(limit, "bucket") == 0 ? 5 : a->limit;
    return strcmp(a->code, envoy->code) == 0 && most == envoy->limit && a->remaining == envoy->remaining &&
           (a->reset_ms == reset_ms || a->reset_ms == 0) && (reset_ms + 999) / 1000 * 1000 == envoy->reset_ms;
}

/* ---- all of them ---- */

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
        char key[5][16];
        struct told told[5];
        for (int k = 0; k < 5; k++)
            (void)snprintf(key[k], sizeof key[k], "%c%u", "lrhgj"[k], tenant);
        ask_library(scene, limit, key[0], hits, &told[0]);
        ask_resp(scene, limit, key[1], hits, &told[1]);
        ask_http(scene, limit, key[2], hits, &told[2]);
        ask_grpc(scene, limit, key[3], hits, &told[3]);
        ask_json(scene, limit, key[4], hits, &told[4]);
        bool alike = is_same(&told[0], &told[1]) && is_same(&told[0], &told[2]) &&
                     is_same_for_envoy(limit, &told[0], &told[3]) &&
                     is_same_for_envoy(limit, &told[0], &told[4]);
        if (!alike) {
            print_message("%zu: %s, %" PRIu32 " hits\n", i, limit, hits);
            show("library", &told[0]);
            show("resp", &told[1]);
            show("http", &told[2]);
            show("grpc", &told[3]);
            show("json", &told[4]);
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

static void what_is_in_flight_is_not_counted_by_any(void **state)
{
    struct scene *scene = *state;
    struct tally_check check = {.limit = tally_text("jobs"), .hits = 1};
    struct tally_verdict verdict;
    char code[16];
    assert_int_equal(tally_check(scene->tally, &check, &verdict), TALLY_IN_FLIGHT);
    assert_int_equal(tally_reset(scene->tally, &check), TALLY_IN_FLIGHT);
    struct json_object *problem = post(scene, "/v1/check", "{\"limit\":\"jobs\",\"key\":{}}");
    json_word(problem, "code", code);
    assert_string_equal(code, tally_code(TALLY_IN_FLIGHT));
    (void)json_object_put(problem);
    const char *answer = say(scene, scene->resp, "TLY.CHECK jobs\r\nPING\r\n", is_whole_resp);
    assert_non_null(strstr(answer, tally_message(TALLY_IN_FLIGHT)));
    check.hits = 0;
    assert_int_equal(tally_check(scene->tally, &check, &verdict), TALLY_OK);
    assert_int_equal(verdict.remaining, 5);
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

/* For Envoy what no rule is for is not limited, and no request is a mistake; both doors of its service say so. */
static void envoys_service_says_its_own_alike(void **state)
{
    struct scene *scene = *state;
    const struct grpc_answer *answer = ask_domain(scene, "parity", "nosuch", "x", 1);
    assert_int_equal(answer->status, 0);
    struct grpc_piece response = {answer->message, answer->n}, status = grpc_bytes(response, 2);
    assert_true(grpc_number(response, 1) == 1 && grpc_number(status, 1) == 1);
    assert_null(grpc_bytes(status, 2).p);
    struct json_object *object = post(scene, "/json",
                                      "{\"domain\":\"parity\",\"descriptors\":[{\"entries\":"
                                      "[{\"key\":\"limit\",\"value\":\"nosuch\"}]}]}");
    struct json_object *first = json_object_array_get_idx(member_of(object, "statuses"), 0);
    assert_string_equal(json_object_get_string(member_of(first, "code")), "OK");
    assert_false(json_object_object_get_ex(first, "currentLimit", NULL));
    (void)json_object_put(object);
    answer = ask_domain(scene, "", "fixed", "x", 1);
    assert_int_equal(answer->status, 2);
    assert_string_equal(answer->text, "rate limit domain must not be empty");
    const char *said = say(scene, scene->http,
                           "POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", is_whole_http);
    assert_int_equal(strncmp(said, "HTTP/1.1 400 ", 13), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ten_thousand_checks_get_one_verdict_from_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_call_mistakes_by_the_same_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_in_flight_is_not_counted_by_any, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_limit_that_is_not_there_is_said_alike, set_up, tear_down),
        cmocka_unit_test_setup_teardown(envoys_service_says_its_own_alike, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
