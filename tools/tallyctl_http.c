#include "crdt/version.h"
#include "tools/tallyctl.h"

#include <curl/curl.h>
#include <stdlib.h>

#define CONNECT_S_MAX 5L
#define TOTAL_S_MAX 10L

struct body {
    char *p;
    size_t n, capacity;
    bool too_long;
    enum tly_ctl_taken taken;
    const struct tly_ctl_request *request;
    CURL *curl;
};

/* One exchange: everything that has to be released after it. */
struct exchange {
    CURL *curl;
    struct curl_slist *headers;
    char *url;
    struct body body;
    char error[CURL_ERROR_SIZE];
};

/* ---- addresses ---- */

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_unix(const char *server)
{
    return begins(server, "unix:");
}

static bool is_server(const char *server)
{
    const char *scheme = strstr(server, "://");
    if (is_unix(server)) return server[strlen("unix:")] != '\0';
    if (scheme == NULL) return server[0] != '\0';
    return (begins(server, "http://") || begins(server, "https://")) && scheme[3] != '\0';
}

/* To be freed; NULL: no memory. */
static char *url_of(const char *server, const char *path)
{
    const char *scheme = is_unix(server) || strstr(server, "://") == NULL ? "http://" : "";
    const char *host = is_unix(server) ? "localhost" : server;
    size_t n = strlen(host);
    while (n > 0 && host[n - 1] == '/')
        n--;
    char *url = NULL;
    return asprintf(&url, "%s%.*s%s", scheme, (int)n, host, path) < 0 ? NULL : url;
}

char *tly_ctl_key_path(const char *prefix, const char *key)
{
    char *path = NULL, *escaped = curl_easy_escape(NULL, key, (int)strlen(key));
    if (escaped != NULL && asprintf(&path, "%s%s", prefix, escaped) < 0) path = NULL;
    curl_free(escaped);
    return path;
}

/* ---- one exchange ---- */

static size_t take_bytes(char *bytes, size_t one, size_t n, void *context)
{
    struct body *body = context;
    (void)one;
    long status = 0;
    if (body->request->take != NULL) curl_easy_getinfo(body->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) {
        body->taken = body->request->take(body->request->context, tly_slice_of(bytes, n));
        return body->taken == TLY_CTL_MORE ? n : 0;
    }
    body->too_long = n > TLY_CTL_BYTES_MAX - body->n;
    if (body->too_long) return 0;
    if (body->n + n + 1 > body->capacity) {
        size_t capacity = 2 * (body->n + n + 1);
        char *p = realloc(body->p, capacity);
        if (p == NULL) return 0;
        body->p = p;
        body->capacity = capacity;
    }
    memcpy(body->p + body->n, bytes, n);
    body->n += n;
    body->p[body->n] = '\0';
    return n;
}

static bool set_bytes(struct exchange *exchange, struct tly_slice bytes)
{
    exchange->headers = curl_slist_append(NULL, "Content-Type: application/octet-stream");
    return exchange->headers != NULL &&
           curl_easy_setopt(exchange->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes.n) == CURLE_OK &&
           curl_easy_setopt(exchange->curl, CURLOPT_POSTFIELDS, (const char *)bytes.p) == CURLE_OK &&
           curl_easy_setopt(exchange->curl, CURLOPT_HTTPHEADER, exchange->headers) == CURLE_OK;
}

/* A long answer may take its time, as long as it goes on; one without an end may rest, too. */
static bool set_patience(CURL *curl, const struct tly_ctl_request *request)
{
    if (request->is_endless) return true;
    if (request->take == NULL) return curl_easy_setopt(curl, CURLOPT_TIMEOUT, TOTAL_S_MAX) == CURLE_OK;
    return curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, TOTAL_S_MAX) == CURLE_OK;
}

static bool set_body(struct exchange *exchange, const struct tly_ctl_request *request)
{
    if (request->bytes.p != NULL) return set_bytes(exchange, request->bytes);
    if (request->body == NULL) return true;
    const char *text = json_object_to_json_string_ext(request->body, JSON_C_TO_STRING_PLAIN);
    exchange->headers = curl_slist_append(NULL, "Content-Type: application/json");
    return text != NULL && exchange->headers != NULL &&
           curl_easy_setopt(exchange->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(text)) == CURLE_OK &&
           curl_easy_setopt(exchange->curl, CURLOPT_COPYPOSTFIELDS, text) == CURLE_OK &&
           curl_easy_setopt(exchange->curl, CURLOPT_HTTPHEADER, exchange->headers) == CURLE_OK;
}

/* A proxy from the environment is not asked: servers are near, and what is counted is nobody else's business. */
static bool prepare(struct exchange *exchange, const char *server, const struct tly_ctl_request *request)
{
    exchange->curl = curl_easy_init();
    exchange->url = url_of(server, request->path);
    CURL *curl = exchange->curl;
    exchange->body.request = request;
    exchange->body.curl = curl;
    if (curl == NULL || exchange->url == NULL) return false;
    bool ok = curl_easy_setopt(curl, CURLOPT_URL, exchange->url) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, exchange->error) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_USERAGENT, "tallyctl/" TLY_VERSION) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_NOPROXY, "*") == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S_MAX) == CURLE_OK &&
              set_patience(curl, request) &&
              curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange->body) == CURLE_OK;
    if (ok && is_unix(server))
        ok = curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, server + strlen("unix:")) == CURLE_OK;
    return ok && set_body(exchange, request);
}

static enum tly_ctl_exit unreachable(const char *server, const char *why)
{
    tly_ctl_complain("cannot reach %s: %s", server, why);
    return TLY_CTL_UNREACHABLE;
}

static enum tly_ctl_exit not_a_server(const char *server)
{
    tly_ctl_complain("-s %s: http://HOST:PORT, https://HOST:PORT or unix:PATH was expected", server);
    return TLY_CTL_USAGE;
}

static bool is_container(struct json_object *json)
{
    return json_object_is_type(json, json_type_object) || json_object_is_type(json, json_type_array);
}

/* Whatever says no without JSON is no tallyd, but perhaps what stands before one that is down. */
static enum tly_ctl_exit read_answer(const struct exchange *exchange, const char *server,
                                     struct tly_ctl_answer *answer)
{
    char error[160];
    curl_easy_getinfo(exchange->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    if (exchange->body.n > 0) {
        struct tly_slice text = tly_slice_of(exchange->body.p, exchange->body.n);
        bool ok = tly_ctl_json(text, &answer->json, error, sizeof error);
        if (ok && is_container(answer->json)) return TLY_CTL_DONE;
        json_object_put(answer->json);
        answer->json = NULL;
    }
    if (exchange->body.request->take != NULL && answer->status == 200) return TLY_CTL_DONE;
    tly_ctl_complain("%s answered with status %ld and no JSON: is it a tallyd?", server, answer->status);
    return TLY_CTL_UNREACHABLE;
}

static enum tly_ctl_exit perform(struct exchange *exchange, const char *server, struct tly_ctl_answer *answer)
{
    CURLcode code = curl_easy_perform(exchange->curl);
    if (code == CURLE_OK) return read_answer(exchange, server, answer);
    if (exchange->body.taken == TLY_CTL_ENOUGH) {
        answer->status = 200;
        return TLY_CTL_DONE;
    }
    if (exchange->body.taken == TLY_CTL_FAILED) return TLY_CTL_NO;
    if (exchange->body.too_long) return unreachable(server, "the answer is larger than 16 MiB");
    long number = 0;
    curl_easy_getinfo(exchange->curl, CURLINFO_OS_ERRNO, &number);
    if (code == CURLE_COULDNT_CONNECT && number != 0) return unreachable(server, strerror((int)number));
    return unreachable(server, exchange->error[0] != '\0' ? exchange->error : curl_easy_strerror(code));
}

static void release(struct exchange *exchange)
{
    curl_slist_free_all(exchange->headers);
    curl_easy_cleanup(exchange->curl);
    free(exchange->url);
    free(exchange->body.p);
}

enum tly_ctl_exit tly_ctl_ask(const struct tly_ctl *ctl, const struct tly_ctl_request *request,
                              struct tly_ctl_answer *answer)
{
    struct exchange exchange = {0};
    *answer = (struct tly_ctl_answer){0};
    if (!is_server(ctl->server)) return not_a_server(ctl->server);
    enum tly_ctl_exit status;
    if (prepare(&exchange, ctl->server, request))
        status = perform(&exchange, ctl->server, answer);
    else
        status = unreachable(ctl->server, "out of memory, or a libcurl that is too old");
    release(&exchange);
    return status;
}

enum tly_ctl_exit tly_ctl_ask_and_take(const struct tly_ctl *ctl, const struct tly_ctl_request *request)
{
    struct tly_ctl_answer answer;
    enum tly_ctl_exit status = tly_ctl_ask(ctl, request, &answer);
    if (status == TLY_CTL_DONE && !tly_ctl_accepted(&answer)) status = TLY_CTL_NO;
    json_object_put(answer.json);
    return status;
}

enum tly_ctl_exit tly_ctl_ask_and_show(const struct tly_ctl *ctl, const struct tly_ctl_request *request,
                                       tly_ctl_show *show)
{
    struct tly_ctl_answer answer;
    enum tly_ctl_exit status = tly_ctl_ask(ctl, request, &answer);
    if (status != TLY_CTL_DONE) return status;
    if (ctl->json && answer.json != NULL) tly_ctl_print_json(answer.json);
    if (!tly_ctl_accepted(&answer))
        status = TLY_CTL_NO;
    else if (!ctl->json)
        status = show(answer.json);
    json_object_put(answer.json);
    return status;
}
