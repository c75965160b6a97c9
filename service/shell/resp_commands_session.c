#include "service/shell/resp.h"

#include <stdio.h>

static void put_ok(struct tly_resp *resp)
{
    tly_resp_put_simple(resp->out, "OK");
}

void tly_resp_run_ping(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    bool is_hearing = resp->subs.count > 0 && resp->proto == 2;
    if (count > 2) {
        tly_resp_put_arity(resp, "ping");
        return;
    }
    if (is_hearing) {
        tly_resp_put_array(resp->out, 2);
        tly_resp_put_text(resp->out, "pong");
        tly_resp_put_bulk(resp->out, count == 2 ? arg[1] : tly_slice_of(NULL, 0));
    } else if (count == 2) {
        tly_resp_put_bulk(resp->out, arg[1]);
    } else {
        tly_resp_put_simple(resp->out, "PONG");
    }
}

void tly_resp_run_echo(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    tly_resp_put_bulk(resp->out, arg[1]);
}

void tly_resp_run_quit(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    put_ok(resp);
    tly_client_close(resp->client);
}

static void put_no_password(struct tly_resp *resp)
{
    tly_resp_put_error(resp->out,
                       "ERR AUTH <password> called without any password configured for the default user. "
                       "Are you sure your configuration is correct?");
}

/* As with a redis without a password, any is that of the default user, who is the only one. False: the error is written. */
static bool is_user(struct tly_resp *resp, struct tly_slice name)
{
    if (tly_slice_equal(name, tly_slice_text("default"))) return true;
    tly_resp_put_error(resp->out, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

void tly_resp_run_auth(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    if (count > 3)
        tly_resp_put_syntax_error(resp);
    else if (count == 2)
        put_no_password(resp);
    else if (is_user(resp, arg[1]))
        put_ok(resp);
}

void tly_resp_run_select(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    int64_t number;
    if (!tly_resp_get_int(arg[1], &number))
        tly_resp_put_not_int(resp);
    else if (number != 0)
        tly_resp_put_error(resp->out, "ERR DB index is out of range");
    else
        put_ok(resp);
}

void tly_resp_run_reset(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    tly_resp_multi_end(&resp->multi);
    tly_resp_subs_end(resp);
    resp->proto = 2;
    resp->name[0] = '\0';
    tly_resp_put_simple(resp->out, "RESET");
}

/* ---- names that clients give themselves ---- */

/* Printable, no blanks, short enough to keep. */
static bool is_name(struct tly_slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '!' || text.p[i] > '~') return false;
    return text.n <= TLY_RESP_NAME_BYTES_MAX;
}

static void keep_name(char *name, struct tly_slice text)
{
    memcpy(name, text.p, text.n);
    name[text.n] = '\0';
}

static void put_bad_name(struct tly_resp *resp, const char *what)
{
    tly_resp_put_error(resp->out,
                       "ERR %s cannot contain spaces, newlines or special characters, or be longer than %d",
                       what, TLY_RESP_NAME_BYTES_MAX);
}

/* ---- HELLO ---- */

struct hello {
    int64_t proto;
    bool has_name;
    struct tly_slice name;
};

/* What follows the version; false, with the error written, when it cannot be granted. */
static bool get_hello_options(struct tly_resp *resp, const struct tly_slice *arg, size_t count,
                              struct hello *hello)
{
    for (size_t i = 2; i < count; i++) {
        if (tly_resp_is(arg[i], "AUTH") && count - i > 2) {
            if (!is_user(resp, arg[i + 1])) return false;
            i += 2;
            continue;
        }
        if (!tly_resp_is(arg[i], "SETNAME") || count - i < 2) {
            tly_resp_put_error(resp->out, "ERR Syntax error in HELLO option '%.*s'",
                               (int)(arg[i].n < 128 ? arg[i].n : 128), (const char *)arg[i].p);
            return false;
        }
        hello->has_name = true;
        hello->name = arg[++i];
        if (is_name(hello->name)) continue;
        put_bad_name(resp, "Client names");
        return false;
    }
    return true;
}

static bool get_hello(struct tly_resp *resp, const struct tly_slice *arg, size_t count, struct hello *hello)
{
    hello->proto = resp->proto;
    if (count > 1 && !tly_resp_get_int(arg[1], &hello->proto)) {
        tly_resp_put_error(resp->out, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (hello->proto != 2 && hello->proto != 3) {
        tly_resp_put_error(resp->out, "NOPROTO unsupported protocol version");
        return false;
    }
    return get_hello_options(resp, arg, count, hello);
}

void tly_resp_run_hello(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct hello hello = {0};
    if (!get_hello(resp, arg, count, &hello)) return;
    resp->proto = (int)hello.proto;
    if (hello.has_name) keep_name(resp->name, hello.name);

    struct tly_buf *out = resp->out;
    tly_resp_put_map(out, resp->proto, 7);
    tly_resp_put_text(out, "server");
    tly_resp_put_text(out, "redis");
    tly_resp_put_text(out, "version");
    tly_resp_put_text(out, TLY_RESP_REDIS_VERSION);
    tly_resp_put_text(out, "proto");
    tly_resp_put_int(out, resp->proto);
    tly_resp_put_text(out, "id");
    tly_resp_put_uint(out, tly_client_id(resp->client));
    tly_resp_put_text(out, "mode");
    tly_resp_put_text(out, "standalone");
    tly_resp_put_text(out, "role");
    tly_resp_put_text(out, "master");
    tly_resp_put_text(out, "modules");
    tly_resp_put_array(out, 0);
}

/* ---- CLIENT ---- */

static void client_setname(struct tly_resp *resp, const struct tly_slice *arg)
{
    if (!is_name(arg[2])) {
        put_bad_name(resp, "Client names");
        return;
    }
    keep_name(resp->name, arg[2]);
    put_ok(resp);
}

static void client_getname(struct tly_resp *resp, const struct tly_slice *arg)
{
    (void)arg;
    if (resp->name[0] == '\0')
        tly_resp_put_null(resp->out, resp->proto);
    else
        tly_resp_put_text(resp->out, resp->name);
}

static void client_setinfo(struct tly_resp *resp, const struct tly_slice *arg)
{
    bool is_library = tly_resp_is(arg[2], "LIB-NAME");
    if (!is_library && !tly_resp_is(arg[2], "LIB-VER")) {
        tly_resp_put_error(resp->out, "ERR Unrecognized option '%.*s'",
                           (int)(arg[2].n < 128 ? arg[2].n : 128), (const char *)arg[2].p);
    } else if (!is_name(arg[3])) {
        put_bad_name(resp, is_library ? "lib-name" : "lib-ver");
    } else {
        keep_name(is_library ? resp->lib_name : resp->lib_version, arg[3]);
        put_ok(resp);
    }
}

static void client_id(struct tly_resp *resp, const struct tly_slice *arg)
{
    (void)arg;
    tly_resp_put_uint(resp->out, tly_client_id(resp->client));
}

/* Of this connection; others are not told of. */
static void client_info(struct tly_resp *resp, const struct tly_slice *arg)
{
    (void)arg;
    char line[512];
    uint64_t age_ns = tly_app_now(resp->app).mono_ns - resp->since_ns;
    (void)snprintf(line, sizeof line,
                   "id=%llu addr=%s laddr=%s name=%s age=%llu idle=0 flags=N db=0 sub=%zu psub=0 multi=%lld "
                   "cmd=client resp=%d lib-name=%s lib-ver=%s\n",
                   (unsigned long long)tly_client_id(resp->client), tly_client_peer(resp->client),
                   tly_app_address(resp->app, "resp"), resp->name, (unsigned long long)(age_ns / 1000000000),
                   resp->subs.count, resp->multi.is_open ? (long long)resp->multi.requests : -1LL,
                   resp->proto, resp->lib_name, resp->lib_version);
    tly_resp_put_verbatim(resp->out, resp->proto, tly_slice_text(line));
}

static void client_switch(struct tly_resp *resp, const struct tly_slice *arg)
{
    if (tly_resp_is(arg[2], "ON") || tly_resp_is(arg[2], "OFF"))
        put_ok(resp);
    else
        tly_resp_put_syntax_error(resp);
}

static void client_reply(struct tly_resp *resp, const struct tly_slice *arg)
{
    if (tly_resp_is(arg[2], "ON"))
        put_ok(resp);
    else
        tly_resp_put_error(resp->out,
                           "ERR every command is answered here: only CLIENT REPLY ON is supported");
}

static void client_help(struct tly_resp *resp, const struct tly_slice *arg);

static const struct {
    const char *name;
    int arity; /* with CLIENT and the name; negative: at least so many */
    void (*run)(struct tly_resp *resp, const struct tly_slice *arg);
    const char *help;
} client_words[] = {
    {"GETNAME", 2, client_getname, "GETNAME -- the connection's name"},
    {"HELP", 2, client_help, "HELP -- this"},
    {"ID", 2, client_id, "ID -- the connection's number"},
    {"INFO", 2, client_info, "INFO -- about the connection"},
    {"LIST", -2, client_info, "LIST -- about the connection; others are not told of"},
    {"NO-EVICT", 3, client_switch, "NO-EVICT ON|OFF -- nobody is evicted"},
    {"NO-TOUCH", 3, client_switch, "NO-TOUCH ON|OFF -- reading changes nothing anyway"},
    {"REPLY", 3, client_reply, "REPLY ON -- every command is answered"},
    {"SETINFO", 4, client_setinfo, "SETINFO LIB-NAME|LIB-VER value -- what the client is"},
    {"SETNAME", 3, client_setname, "SETNAME name -- names the connection"},
};

#define CLIENT_WORDS (sizeof client_words / sizeof *client_words)

static void client_help(struct tly_resp *resp, const struct tly_slice *arg)
{
    (void)arg;
    tly_resp_put_array(resp->out, CLIENT_WORDS);
    for (size_t i = 0; i < CLIENT_WORDS; i++)
        tly_resp_put_simple(resp->out, client_words[i].help);
}

void tly_resp_run_client(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    for (size_t i = 0; i < CLIENT_WORDS; i++) {
        if (!tly_resp_is(arg[1], client_words[i].name)) continue;
        int arity = client_words[i].arity;
        if (arity >= 0 ? count == (size_t)arity : count >= (size_t)-arity)
            client_words[i].run(resp, arg);
        else
            tly_resp_put_arity(resp, "client");
        return;
    }
    tly_resp_put_unknown(resp, "CLIENT", arg[1]);
}
