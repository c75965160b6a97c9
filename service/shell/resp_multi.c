/*
 * MULTI, EXEC, DISCARD, WATCH and UNWATCH.  Requests are queued as they came, byte for byte, and parsed again by EXEC, which runs all of
 * them in one turn of the loop: nothing of anybody else comes between.
 *
 *     idle --MULTI--> open --EXEC, DISCARD, RESET--> idle        open --a request that cannot be queued--> open, broken
 *
 * A watched key is one whose reading has been written down; EXEC does nothing if one reads otherwise by then.
 */
#include "service/engine/keys.h"
#include "service/shell/resp.h"

#define QUEUE_REQUESTS_MAX 4096

void tly_resp_multi_init(struct tly_resp_multi *multi, const struct tly_mem *mem)
{
    *multi = (struct tly_resp_multi){0};
    tly_buf_init(&multi->queue, mem, TLY_RESP_REQUEST_BYTES_MAX);
    tly_buf_init(&multi->watched, mem, TLY_RESP_WATCHED_BYTES_MAX);
}

static void forget_queue(struct tly_resp_multi *multi)
{
    multi->is_open = multi->is_broken = multi->has_walk = false;
    multi->requests = 0;
    tly_buf_fini(&multi->queue);
    tly_buf_clear(&multi->queue);
}

static void forget_watched(struct tly_resp_multi *multi)
{
    tly_buf_fini(&multi->watched);
    tly_buf_clear(&multi->watched);
}

void tly_resp_multi_end(struct tly_resp_multi *multi)
{
    forget_queue(multi);
    forget_watched(multi);
}

/* ---- queueing ---- */

static const char *fault_of(const struct tly_resp_multi *multi, const struct tly_resp_command *command,
                            size_t bytes)
{
    if ((command->flags & TLY_RESP_ALONE) != 0) return "ERR Command not allowed inside a transaction";
    if (multi->requests == QUEUE_REQUESTS_MAX || bytes > multi->queue.bytes_max - multi->queue.n)
        return "ERR the transaction is too large";
    if (multi->has_walk && (command->flags & TLY_RESP_WALK) != 0)
        return "ERR one KEYS, FLUSHDB or FLUSHALL at most in a transaction";
    return NULL;
}

bool tly_resp_multi_queue(struct tly_resp *resp, const struct tly_resp_command *command,
                          struct tly_slice request)
{
    struct tly_resp_multi *multi = &resp->multi;
    if (!multi->is_open || (command->flags & TLY_RESP_UNQUEUED) != 0) return false;
    const char *fault = fault_of(multi, command, request.n);
    if (fault == NULL) {
        tly_buf_put(&multi->queue, request.p, request.n);
        if (multi->queue.result == TLY_NOMEM) fault = "OOM out of memory";
    }
    if (fault != NULL) {
        multi->is_broken = true;
        tly_resp_put_error(resp->out, "%s", fault);
        return true;
    }
    multi->requests++;
    multi->has_walk = multi->has_walk || (command->flags & TLY_RESP_WALK) != 0;
    tly_resp_put_simple(resp->out, "QUEUED");
    return true;
}

void tly_resp_run_multi(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    if (resp->multi.is_open) {
        tly_resp_put_error(resp->out, "ERR MULTI calls can not be nested");
        return;
    }
    resp->multi.is_open = true;
    resp->multi.is_broken = false;
    tly_resp_put_simple(resp->out, "OK");
}

void tly_resp_run_discard(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    if (!resp->multi.is_open) {
        tly_resp_put_error(resp->out, "ERR DISCARD without MULTI");
        return;
    }
    tly_resp_multi_end(&resp->multi);
    tly_resp_put_simple(resp->out, "OK");
}

/* ---- watching: (print, 8 bytes | length, 2 bytes | key) for each ---- */

static uint64_t print_of(struct tly_resp *resp, struct tly_slice key)
{
    return tly_engine_print(tly_app_engine(resp->app), tly_app_now(resp->app), key);
}

static void watch(struct tly_resp *resp, struct tly_slice key)
{
    uint64_t print = print_of(resp, key);
    uint16_t n = (uint16_t)key.n;
    struct tly_buf *watched = &resp->multi.watched;
    uint8_t *to = tly_buf_room(watched, sizeof print + sizeof n + n);
    if (to == NULL) return;
    memcpy(to, &print, sizeof print);
    memcpy(to + sizeof print, &n, sizeof n);
    memcpy(to + sizeof print + sizeof n, key.p, n);
    watched->n += sizeof print + sizeof n + n;
}

void tly_resp_run_watch(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct tly_buf *watched = &resp->multi.watched;
    if (resp->multi.is_open) {
        tly_resp_put_error(resp->out, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (size_t i = 1; i < count; i++) {
        if (arg[i].n > 0 && arg[i].n <= TLY_KEY_BYTES_MAX) continue;
        tly_resp_put_result(resp, TLY_BAD_KEY);
        return;
    }
    size_t mark = watched->n;
    for (size_t i = 1; i < count; i++)
        watch(resp, arg[i]);
    if (watched->result == TLY_OK) {
        tly_resp_put_simple(resp->out, "OK");
        return;
    }
    if (watched->result == TLY_NOMEM)
        tly_resp_put_result(resp, TLY_NOMEM);
    else
        tly_resp_put_error(resp->out, "ERR too many keys are watched");
    watched->n = mark;
    watched->result = TLY_OK;
}

void tly_resp_run_unwatch(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    forget_watched(&resp->multi);
    tly_resp_put_simple(resp->out, "OK");
}

static bool reads_otherwise(struct tly_resp *resp)
{
    const struct tly_buf *watched = &resp->multi.watched;
    for (size_t at = 0; at < watched->n;) {
        uint64_t print;
        uint16_t n;
        memcpy(&print, watched->p + at, sizeof print);
        memcpy(&n, watched->p + at + sizeof print, sizeof n);
        at += sizeof print + sizeof n;
        if (print_of(resp, tly_slice_of(watched->p + at, n)) != print) return true;
        at += n;
    }
    return false;
}

/* ---- running ---- */

static void run_queued(struct tly_resp *resp)
{
    struct tly_slice queue = tly_buf_slice(&resp->multi.queue);
    tly_resp_put_array(resp->out, resp->multi.requests);
    for (size_t at = 0; at < queue.n;) {
        struct tly_slice arg[TLY_RESP_ARGS_MAX];
        struct tly_resp_request request = {.arg = arg};
        struct tly_resp_scan scan = {0};
        struct tly_slice rest = tly_slice_of(queue.p + at, queue.n - at);
        enum tly_result result = tly_resp_parse(rest, &scan, &resp->scratch, &request);
        if (result != TLY_OK) {
            /* It was parsed once, so this is want of memory; where the next one begins is not known, and a reply less would
             * be taken for another's. */
            tly_buf_fail(resp->out, TLY_NOMEM);
            return;
        }
        at += request.bytes;
        tly_resp_find(request.arg[0])->run(resp, request.arg, request.count);
    }
}

void tly_resp_run_exec(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    if (!resp->multi.is_open)
        tly_resp_put_error(resp->out, "ERR EXEC without MULTI");
    else if (resp->multi.is_broken)
        tly_resp_put_error(resp->out, "EXECABORT Transaction discarded because of previous errors.");
    else if (reads_otherwise(resp))
        tly_resp_put_null_array(resp->out, resp->proto);
    else
        run_queued(resp);
    tly_resp_multi_end(&resp->multi);
}
