#include "service/shell/resp.h"

#include "crdt/bytes.h"
#include "service/shell/libc_mem.h"

/* Requests that are read before the first of them is run, and their arguments. */
#define BATCH_REQUESTS_MAX 16
#define BATCH_ARGS_MAX (TLY_RESP_ARGS_MAX + 128)

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
    struct tly_mem kept = tly_client_mem(client);
    tly_resp_multi_init(&resp->multi, &kept);
    tly_resp_subs_init(&resp->subs, &kept);
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

/* Who comes with a script comes from a limiter that is one: it is told what does the same. */
static bool is_of_scripts(struct tly_slice word)
{
    static const char *const words[] = {"EVAL",   "EVAL_RO", "EVALSHA",  "EVALSHA_RO",
                                        "SCRIPT", "FCALL",   "FCALL_RO", "FUNCTION"};
    size_t i = 0, n = sizeof words / sizeof words[0];
    while (i < n && !tly_resp_is(word, words[i]))
        i++;
    return i < n;
}

static void put_unknown_command(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    int name_n = (int)(arg[0].n < 128 ? arg[0].n : 128);
    if (is_of_scripts(arg[0])) {
        tly_resp_put_error(resp->out,
                           "ERR unknown command '%.*s': there are no scripts here; CL.THROTTLE and TLY.CHECK "
                           "limit in one command",
                           name_n, (const char *)arg[0].p);
        return;
    }
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
    if (resp->last != NULL && name.n == resp->last_name_n && tly_bytes_equal(resp->last_name, name.p, name.n))
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
static void run(struct tly_resp *resp, const struct tly_resp_command *command,
                const struct tly_resp_request *request, const uint8_t *bytes)
{
    tly_client_count_request(resp->client);
    if (request->is_inline && is_other_tongue(request)) command = NULL;
    if (command == NULL || !fits(command, request->count))
        refuse(resp, request, command);
    else if (!is_deaf(resp, command) &&
             !tly_resp_multi_queue(resp, command, tly_slice_of(bytes, request->bytes)))
        command->run(resp, request->arg, request->count);
}

/* ---- many requests ---- */

/*
 * Requests that stand one behind the other, read before the first of them is run, so that the memory of all their keys is on its
 * way at once. A line is the last of its batch, for its words may be in the scratch. One that says what the one before it said, but for
 * the first key, has the arguments of that one, and its key beside them.
 */
struct batch {
    struct tly_resp_request request[BATCH_REQUESTS_MAX];
    const struct tly_resp_command
        *command[BATCH_REQUESTS_MAX];         /* NULL: there is none, or no request either */
    struct tly_slice key[BATCH_REQUESTS_MAX]; /* of those that are another's again */
    bool is_again[BATCH_REQUESTS_MAX];        /* … which these are */
    unsigned ahead[BATCH_REQUESTS_MAX];       /* as of struct tly_resp */
    /* Keys of limits, as the engine has them, one behind the other: the fewer lines they lie in, the better. */
    uint8_t limit[BATCH_REQUESTS_MAX * TLY_KEY_BYTES_MAX];
    size_t limit_bytes;
    size_t count;
    size_t args;                    /* that are used */
    struct tly_resp_frame frame;    /* of the request that was read last, before the batch too */
    struct tly_resp_request before; /* … which that was then */
    const struct tly_resp_command *command_before;
    enum tly_result result; /* of what stands behind them; TLY_OK: it was not looked at */
    const char *error;      /* of a malformed one */
    struct tly_slice arg[BATCH_ARGS_MAX];
};

static inline bool has_key(const struct tly_resp_command *command, const struct tly_resp_request *request)
{
    return command != NULL && command->first_key != 0 && request->count > (size_t)command->first_key;
}

/* Reads the next request of the batch; false: there is none, and the result says why. */
static bool read_one(struct tly_resp *resp, struct tly_slice in, struct batch *batch)
{
    struct tly_resp_request *request = &batch->request[batch->count];
    const struct tly_resp_command *command = NULL;
    request->arg = batch->arg + batch->args;
    batch->result = tly_resp_parse(in, &resp->scan, &resp->scratch, request);
    if (batch->result == TLY_BAD_MESSAGE) batch->error = request->error;
    if (batch->result != TLY_OK) return false;
    batch->args += request->count;
    if (request->count > 0) command = find(resp, request->arg[0]);
    batch->command[batch->count] = command;
    batch->is_again[batch->count] = false;
    batch->frame.head.n = 0;
    if (request->bytes < in.n && has_key(command, request))
        batch->frame = tly_resp_frame_of(in.p, request, (size_t)command->first_key);
    return true;
}

/* The same for one that says what the one before it said; false: it does not. */
static inline bool read_again(struct tly_slice in, struct batch *batch)
{
    size_t i = batch->count;
    if (batch->frame.head.n == 0) return false;
    struct tly_resp_request *request = &batch->request[i];
    const struct tly_resp_request *before = i > 0 ? &batch->request[i - 1] : &batch->before;
    request->bytes = tly_resp_parse_framed(in, &batch->frame, &batch->key[i]);
    if (request->bytes == 0) return false;
    request->arg = before->arg;
    request->count = before->count;
    request->is_inline = false;
    batch->command[i] = i > 0 ? batch->command[i - 1] : batch->command_before;
    batch->is_again[i] = true;
    return true;
}

/* The first key of a request, as the engine has it; false: there is none that can be asked for. */
static bool get_key(struct batch *batch, size_t i, struct tly_slice *key)
{
    const struct tly_resp_command *command = batch->command[i];
    if (!has_key(command, &batch->request[i])) return false;
    *key = batch->is_again[i] ? batch->key[i] : batch->request[i].arg[command->first_key];
    if ((command->flags & TLY_RESP_ADHOC) == 0) return key->n > 0 && key->n <= TLY_KEY_BYTES_MAX;
    uint8_t *to = batch->limit + batch->limit_bytes;
    if (tly_adhoc_key(*key, to, &key->n) != TLY_OK) return false;
    key->p = to;
    batch->limit_bytes += key->n;
    return true;
}

/* The first of a batch may say again what the last of the one before it said. */
static void begin_batch(struct batch *batch)
{
    size_t last = batch->count - 1;
    batch->args = 0;
    if (batch->frame.head.n > 0) {
        batch->before = batch->request[last];
        batch->command_before = batch->command[last];
        batch->args = batch->before.count;
        memmove(batch->arg, batch->before.arg, batch->args * sizeof *batch->arg);
        batch->before.arg = batch->arg;
    }
    batch->count = 0;
}

static void read_batch(struct tly_resp *resp, struct tly_slice in, struct batch *batch)
{
    bool goes_on = true;
    begin_batch(batch);
    while (goes_on) {
        const struct tly_resp_request *request = &batch->request[batch->count];
        if (!read_again(in, batch) && !read_one(resp, in, batch)) return;
        batch->count++;
        in = tly_slice_of(in.p + request->bytes, in.n - request->bytes);
        goes_on = batch->count < BATCH_REQUESTS_MAX && batch->args <= BATCH_ARGS_MAX - TLY_RESP_ARGS_MAX &&
                  !request->is_inline && in.n > 0;
    }
}

static void ask_ahead(struct tly_resp *resp, struct batch *batch)
{
    struct tly_slice key[BATCH_REQUESTS_MAX];
    unsigned n = 0;
    batch->limit_bytes = 0;
    for (size_t i = 0; i < batch->count; i++)
        batch->ahead[i] = get_key(batch, i, &key[n]) ? ++n : 0;
    tly_engine_ahead(tly_app_engine(resp->app), key, n);
}

/* What was said before may be gone, and what was read is another's. */
static inline void forget_throttle(struct tly_resp_throttle *throttle)
{
    throttle->is_read = false;
    throttle->told_bytes = 0;
}

/* One of a batch, whose bytes these are. */
static void run_next(struct tly_resp *resp, const uint8_t *bytes, const struct batch *batch, size_t i)
{
    const struct tly_resp_request *request = &batch->request[i];
    const struct tly_resp_command *command = batch->command[i];
    resp->ahead = batch->ahead[i];
    resp->is_again = batch->is_again[i];
    if (!resp->is_again)
        forget_throttle(resp->throttle);
    else
        request->arg[command->first_key] = batch->key[i];
    if (resp->is_again && resp->throttle->is_read) {
        /* What might have been in its way would have been in the one's before it. */
        tly_client_count_request(resp->client);
        command->run(resp, request->arg, request->count);
    } else if (request->count > 0) {
        run(resp, command, request, bytes);
    }
}

/* Whether the session goes on; *used grows by what was taken. */
static bool run_batch(struct tly_resp *resp, const uint8_t *in, const struct batch *batch, size_t *used)
{
    for (size_t i = 0; i < batch->count; i++) {
        bool has_room = i == 0 || !tly_client_is_full(resp->client);
        if (has_room) run_next(resp, in + *used, batch, i);
        if (has_room) *used += batch->request[i].bytes;
        bool is_walk =
            has_room && batch->command[i] != NULL && (batch->command[i]->flags & TLY_RESP_WALK) != 0;
        if (is_walk) tly_client_go_on(resp->client);
        if (has_room && !is_walk && !tly_client_is_closing(resp->client) && resp->ack == NULL) continue;
        resp->scan = (struct tly_resp_scan){0}; /* what is left is read anew */
        return false;
    }
    if (batch->result == TLY_OK || batch->result == TLY_MORE) return batch->result == TLY_OK;
    tly_resp_put_error(resp->out, "ERR %s",
                       batch->result == TLY_BAD_MESSAGE ? batch->error : tly_result_text(batch->result));
    tly_client_close(resp->client);
    return false;
}

static size_t feed(void *state, struct tly_client *client, struct tly_slice in)
{
    struct tly_resp *resp = state;
    resp->out = tly_client_out(client);
    struct batch batch;
    batch.count = batch.frame.head.n = 0;
    struct tly_resp_throttle throttle;
    throttle.told_bytes = 0;
    resp->throttle = &throttle;
    size_t used = 0;
    bool goes_on = resp->ack == NULL || tly_resp_end_wait(resp);
    while (goes_on && !tly_client_is_closing(client) && used < in.n && !tly_client_is_full(client)) {
        read_batch(resp, tly_slice_of(in.p + used, in.n - used), &batch);
        if (batch.count > 0) ask_ahead(resp, &batch);
        goes_on = run_batch(resp, in.p, &batch, &used);
    }
    resp->ahead = 0;
    resp->is_again = false;
    resp->throttle = NULL;
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
