#include "service/shell/resp.h"

#include "service/shell/libc_mem.h"

static void *open_session(struct tly_app *app, struct tly_client *client)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_resp *resp = tly_mem_zeroed(&mem, sizeof *resp);
    if (resp == NULL) return NULL;
    resp->app = app;
    resp->client = client;
    resp->proto = 2;
    resp->since_ns = tly_app_now(app).mono_ns;
    tly_buf_init(&resp->scratch, &mem, TLY_RESP_LINE_BYTES_MAX);
    tly_resp_multi_init(&resp->multi, &mem);
    tly_resp_subs_init(&resp->subs, &mem);
    return resp;
}

static void close_session(void *state)
{
    struct tly_resp *resp = state;
    struct tly_mem mem = resp->scratch.mem;
    tly_ack_free(resp->ack);
    tly_resp_multi_end(&resp->multi);
    tly_resp_subs_end(resp);
    tly_buf_fini(&resp->scratch);
    tly_mem_free(&mem, resp, sizeof *resp);
}

/* ---- one request ---- */

static void put_unknown_command(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    char args[160];
    size_t n = 0;
    for (size_t i = 1; i < count && n < 128; i++) {
        size_t room = 128 - n, shown = arg[i].n < room ? arg[i].n : room;
        args[n++] = '\'';
        memcpy(args + n, arg[i].p, shown);
        n += shown;
        args[n++] = '\'';
        args[n++] = ' ';
    }
    int name_n = (int)(arg[0].n < 128 ? arg[0].n : 128);
    tly_resp_put_error(resp->out, "ERR unknown command '%.*s', with args beginning with: %.*s", name_n,
                       (const char *)arg[0].p, (int)n, args);
}

/* A web browser that a page made talk to us, or HTTP/2: what would be taken for commands is none. */
static bool is_other_tongue(const struct tly_resp_request *request)
{
    struct tly_slice word = request->arg[0];
    if (tly_resp_is(word, "POST") || tly_resp_is(word, "HOST:") || tly_resp_is(word, "PRI")) return true;
    if (!request->is_inline || request->count != 3) return false;
    struct tly_slice path = request->arg[1], version = request->arg[2];
    return path.n > 0 && path.p[0] == '/' && version.n > 5 && memcmp(version.p, "HTTP/", 5) == 0;
}

static bool fits(const struct tly_resp_command *command, size_t count)
{
    return command->arity >= 0 ? count == (size_t)command->arity : count >= (size_t)-command->arity;
}

/* Clients repeat themselves: the command of the request before is tried first, as it was written. */
static const struct tly_resp_command *find(struct tly_resp *resp, struct tly_slice name)
{
    if (resp->last != NULL && name.n == resp->last_name_n && memcmp(resp->last_name, name.p, name.n) == 0)
        return resp->last;
    resp->last = tly_resp_find(name);
    if (resp->last == NULL) return NULL;
    memcpy(resp->last_name, name.p, name.n);
    resp->last_name_n = name.n;
    return resp->last;
}

/* What is not known or has too few words spoils a transaction. */
static void refuse(struct tly_resp *resp, const struct tly_resp_request *request,
                   const struct tly_resp_command *command)
{
    resp->multi.is_broken = true;
    if (command != NULL && command->run == tly_resp_run_exec) {
        tly_resp_put_error(
            resp->out,
            "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command");
        tly_resp_multi_end(&resp->multi);
    } else if (command != NULL) {
        tly_resp_put_arity(resp, command->name);
    } else if (is_other_tongue(request)) {
        tly_resp_put_error(resp->out, "ERR Protocol error: possible cross protocol request");
        tly_client_close(resp->client);
    } else {
        put_unknown_command(resp, request->arg, request->count);
    }
}

/* In RESP2 an answer could be taken for something that was heard. */
static bool is_deaf(struct tly_resp *resp, const struct tly_resp_command *command)
{
    if (resp->subs.count == 0 || resp->proto == 3 || (command->flags & TLY_RESP_HEARING) != 0) return false;
    char name[TLY_RESP_COMMAND_BYTES_MAX];
    tly_resp_lower(command->name, name);
    tly_resp_put_error(resp->out,
                       "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                       "are allowed in this context",
                       name);
    return true;
}

/* `bytes` are those of the request. */
static void run(struct tly_resp *resp, const struct tly_resp_request *request, const uint8_t *bytes)
{
    tly_client_count_request(resp->client);
    const struct tly_resp_command *command = find(resp, request->arg[0]);
    if (request->is_inline && is_other_tongue(request)) command = NULL;
    if (command == NULL || !fits(command, request->count))
        refuse(resp, request, command);
    else if (!is_deaf(resp, command) &&
             !tly_resp_multi_queue(resp, command, tly_slice_of(bytes, request->bytes)))
        command->run(resp, request->arg, request->count);
}

/* Whether the session goes on; *used grows by what was taken. */
static bool take_one(struct tly_resp *resp, struct tly_slice in, struct tly_resp_request *request,
                     size_t *used)
{
    enum tly_result result = tly_resp_parse(in, &resp->scan, &resp->scratch, request);
    if (result == TLY_MORE) return false;
    if (result != TLY_OK) {
        const char *error = result == TLY_BAD_MESSAGE ? request->error : tly_result_text(result);
        tly_resp_put_error(resp->out, "ERR %s", error);
        tly_client_close(resp->client);
        return false;
    }
    *used += request->bytes;
    if (request->count > 0) run(resp, request, in.p);
    return !tly_client_is_closing(resp->client) && resp->ack == NULL;
}

static size_t feed(void *state, struct tly_client *client, struct tly_slice in)
{
    struct tly_resp *resp = state;
    resp->out = tly_client_out(client);
    struct tly_resp_request request;
    size_t used = 0;
    bool goes_on = resp->ack == NULL || tly_resp_end_wait(resp);
    while (goes_on && !tly_client_is_closing(client) && used < in.n && !tly_client_is_full(client))
        goes_on = take_one(resp, tly_slice_of(in.p + used, in.n - used), &request, &used);
    tly_buf_fini(&resp->scratch);
    return used;
}

static bool wake(void *state, struct tly_client *client, bool is_idle)
{
    (void)is_idle;
    struct tly_resp *resp = state;
    resp->out = tly_client_out(client);
    return tly_resp_hear(resp);
}

const struct tly_protocol *tly_resp_protocol(void)
{
    static const struct tly_protocol protocol = {
        .name = "resp",
        .in_max = TLY_RESP_REQUEST_BYTES_MAX,
        .open = open_session,
        .feed = feed,
        .close = close_session,
        .wake = wake,
    };
    return &protocol;
}
