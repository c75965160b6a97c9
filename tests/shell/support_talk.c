#include "tests/shell/support_talk.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdlib.h>

struct tly_client {
    struct tly_buf out;
    bool closing, full;
    uint64_t requests;
};

struct talk {
    const struct tly_protocol *protocol;
    struct tly_client client;
    void *state;
    uint8_t *in; /* a block of exactly its size, so that a sanitizer sees whoever looks beyond */
    size_t in_n;
    struct tly_buf said; /* the last answer */
};

struct talk *talk_new(struct tly_app *app, const struct tly_protocol *protocol)
{
    struct tly_mem mem = test_mem();
    struct talk *talk = calloc(1, sizeof *talk);
    assert_non_null(talk);
    talk->protocol = protocol;
    tly_buf_init(&talk->client.out, &mem, TLY_OUT_MAX);
    tly_buf_init(&talk->said, &mem, TLY_OUT_MAX + 1);
    talk->state = protocol->open(app, &talk->client);
    assert_non_null(talk->state);
    return talk;
}

void talk_free(struct talk *talk)
{
    talk->protocol->close(talk->state);
    tly_buf_fini(&talk->client.out);
    tly_buf_fini(&talk->said);
    free(talk->in);
    free(talk);
}

/* What is left of the input and what is new, in a block of its own. */
static void append(struct talk *talk, struct tly_slice bytes)
{
    size_t n = talk->in_n + bytes.n;
    uint8_t *in = malloc(n > 0 ? n : 1);
    assert_non_null(in);
    if (talk->in_n > 0) memcpy(in, talk->in, talk->in_n);
    if (bytes.n > 0) memcpy(in + talk->in_n, bytes.p, bytes.n);
    free(talk->in);
    talk->in = in;
    talk->in_n = n;
}

static void feed(struct talk *talk, struct tly_slice bytes)
{
    if (talk->client.closing) return;
    append(talk, bytes);
    size_t used = talk->protocol->feed(talk->state, &talk->client, tly_slice_of(talk->in, talk->in_n));
    assert_true(used <= talk->in_n);
    memmove(talk->in, talk->in + used, talk->in_n - used);
    talk->in_n -= used;
    append(talk, tly_slice_of(NULL, 0));
}

static struct tly_slice answer(struct talk *talk)
{
    assert_int_equal(talk->client.out.result, TLY_OK);
    tly_buf_clear(&talk->said);
    tly_buf_put(&talk->said, talk->client.out.p, talk->client.out.n);
    size_t n = talk->said.n;
    tly_buf_put(&talk->said, "", 1);
    tly_buf_clear(&talk->client.out);
    return tly_slice_of(talk->said.p, n);
}

struct tly_slice talk_say_bytes(struct talk *talk, struct tly_slice bytes)
{
    feed(talk, bytes);
    return answer(talk);
}

const char *talk_say(struct talk *talk, const char *text)
{
    return (const char *)talk_say_bytes(talk, tly_slice_text(text)).p;
}

struct tly_slice talk_say_cut(struct talk *talk, struct tly_slice bytes, size_t cut)
{
    feed(talk, tly_slice_of(bytes.p, cut));
    feed(talk, tly_slice_of(bytes.p + cut, bytes.n - cut));
    return answer(talk);
}

size_t talk_left(const struct talk *talk)
{
    return talk->in_n;
}

bool talk_is_closed(const struct talk *talk)
{
    return talk->client.closing;
}

uint64_t talk_requests(const struct talk *talk)
{
    return talk->client.requests;
}

void talk_fill(struct talk *talk, bool full)
{
    talk->client.full = full;
}

/* ---- door.h, for protocols ---- */

struct tly_buf *tly_client_out(struct tly_client *client)
{
    return &client->out;
}

void tly_client_close(struct tly_client *client)
{
    client->closing = true;
}

bool tly_client_is_closing(const struct tly_client *client)
{
    return client->closing;
}

bool tly_client_is_full(struct tly_client *client)
{
    return client->full;
}

void tly_client_count_request(struct tly_client *client)
{
    client->requests++;
}

uint64_t tly_client_id(const struct tly_client *client)
{
    (void)client;
    return 7;
}

const char *tly_client_peer(const struct tly_client *client)
{
    (void)client;
    return "192.0.2.7:53412";
}
