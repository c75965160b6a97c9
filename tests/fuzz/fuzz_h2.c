/*
 * Bytes to the gRPC door, behind the client's preface, in pieces.  Claims: no more is used than was given, calls and what waits for them stay
 * within their bounds, and a door that was closed has nothing left.  The application around it is nobody: no rules, no clock.
 */
#include "service/shell/door_internal.h"
#include "service/shell/rls.h"
#include "tests/fuzz/fuzz_mem.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tly_door no_door;

static void talk(struct tly_client *client, struct tly_slice bytes, size_t piece)
{
    const struct tly_protocol *protocol = tly_grpc_protocol();
    for (size_t at = 0; at < bytes.n && !client->closing;) {
        size_t n = bytes.n - at < piece ? bytes.n - at : piece;
        size_t used = protocol->feed(client->state, client, tly_slice_of(bytes.p + at, n));
        assert(used == n || client->stalled || client->closing);
        assert(client->out.result == TLY_OK);
        at += n;
        client->out.n = 0;
        client->stalled = false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    const struct tly_protocol *protocol = tly_grpc_protocol();
    struct tly_mem mem = fuzz_mem();
    struct tly_client client = {.door = &no_door};
    TAILQ_INIT(&no_door.streams);
    no_door.mem = mem;
    no_door.bytes_max = TLY_DOOR_BYTES_MAX;
    tly_buf_init(&client.out, &mem, TLY_OUT_MAX);
    client.state = protocol->open(NULL, &client);
    assert(client.state != NULL);
    size_t piece = size > 0 ? (size_t)data[0] * 64 + 1 : 1;
    talk(&client, tly_slice_of(preface, sizeof preface - 1), piece);
    if (size > 1) talk(&client, tly_slice_of(data + 1, size - 1), piece);
    if (!client.closing) (void)protocol->wake(client.state, &client, true);
    if (!client.closing) (void)protocol->drain(client.state, &client);
    protocol->close(client.state);
    assert(no_door.bytes == 0 && client.kept == 0);
    tly_buf_fini(&client.out);
    return 0;
}

/* ---- nobody ---- */

struct tly_rls *tly_app_rls(struct tly_app *app)
{
    static struct tly_rls *rls;
    (void)app;
    if (rls == NULL) {
        struct tly_mem mem = fuzz_mem();
        struct tly_rls_settings settings;
        tly_rls_settings_init(&settings);
        rls = tly_rls_new(&mem, &settings);
        assert(rls != NULL);
    }
    return rls;
}

struct tly_time tly_app_now(struct tly_app *app)
{
    (void)app;
    return (struct tly_time){UINT64_C(1700000000000000000), 1000000000};
}

uint64_t tly_app_cluster_ns(struct tly_app *app)
{
    return tly_app_now(app).wall_ns;
}

void tly_app_turn_begin(struct tly_app *app)
{
    (void)app;
}

uint64_t tly_app_turn_end(struct tly_app *app)
{
    (void)app;
    return 0;
}

enum tly_result tly_app_ask(struct tly_app *app, struct tly_request *request, struct tly_reply *reply)
{
    (void)app, (void)request, (void)reply;
    return TLY_NOMEM;
}

void tly_app_readiness(const struct tly_app *app, char *text, size_t size)
{
    (void)app, (void)size;
    text[0] = '\0';
}

struct event_base *tly_app_base(struct tly_app *app)
{
    (void)app;
    return NULL;
}

const struct tly_config *tly_app_config(const struct tly_app *app)
{
    static const struct tly_config config;
    (void)app;
    return &config;
}

struct tly_log *tly_app_log(struct tly_app *app)
{
    static struct tly_log *log;
    (void)app;
    if (log == NULL) log = tly_log_new(stderr, TLY_LEVEL_ERROR);
    assert(log != NULL);
    return log;
}

uint64_t tly_app_ticket(const struct tly_app *app)
{
    (void)app;
    return 0;
}

bool tly_app_must_wait(const struct tly_app *app, uint64_t ticket, bool is_write)
{
    (void)app, (void)ticket, (void)is_write;
    return false;
}

bool tly_app_took_writes(struct tly_app *app)
{
    (void)app;
    return false;
}

void tly_app_stats(const struct tly_app *app, struct tly_app_stats *stats)
{
    (void)app;
    *stats = (struct tly_app_stats){0};
}
