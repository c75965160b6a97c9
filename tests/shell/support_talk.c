#include "tests/shell/support_talk.h"

#include "service/shell/door_internal.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* Behind every talk; it has no listener, and only its count of requests and who stands in its lists are used. */
static struct tly_door no_door = {
    .bytes_max = TLY_DOOR_BYTES_MAX,
    .parked = TAILQ_HEAD_INITIALIZER(no_door.parked),
    .streams = TAILQ_HEAD_INITIALIZER(no_door.streams),
};

struct talk {
    const struct tly_protocol *protocol;
    struct tly_client client;
    void *state;
    uint8_t *in; /* a block of exactly its size, so that a sanitizer sees whoever looks beyond */
    size_t in_n;
    struct tly_buf said; /* the last answer */
    uint64_t requests_before;
    bool full;
};

struct talk *talk_new(struct tly_app *app, const struct tly_protocol *protocol)
{
    struct tly_mem mem = test_mem();
    struct talk *talk = calloc(1, sizeof *talk);
    assert_non_null(talk);
    talk->protocol = protocol;
    talk->requests_before = no_door.stats.requests;
    no_door.mem = mem;
    talk->client.door = &no_door;
    talk->client.id = 7;
    (void)snprintf(talk->client.peer, sizeof talk->client.peer, "192.0.2.7:53412");
    tly_buf_init(&talk->client.out, &mem, TLY_OUT_MAX);
    tly_buf_init(&talk->said, &mem, TLY_OUT_MAX + 1);
    talk->state = protocol->open(app, &talk->client);
    assert_non_null(talk->state);
    return talk;
}

void talk_free(struct talk *talk)
{
    talk->protocol->close(talk->state);
    if (talk->client.parked) TAILQ_REMOVE(&no_door.parked, &talk->client, in_parked);
    if (talk->client.is_stream) TAILQ_REMOVE(&no_door.streams, &talk->client, in_streams);
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
    if (talk->client.parked) TAILQ_REMOVE(&no_door.parked, &talk->client, in_parked);
    talk->client.parked = false;
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
    size_t filling = talk->full ? TLY_OUT_HIGH : 0;
    size_t more = talk->client.out.n - filling;
    if (more > 0) tly_buf_put(&talk->said, talk->client.out.p + filling, more);
    size_t n = talk->said.n;
    tly_buf_put(&talk->said, "", 1);
    talk->client.out.n = filling;
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

struct tly_slice talk_wake(struct talk *talk)
{
    (void)talk->protocol->wake(talk->state, &talk->client, true);
    return answer(talk);
}

struct tly_slice talk_drain(struct talk *talk)
{
    if (!talk->protocol->drain(talk->state, &talk->client)) talk->client.closing = true;
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
    return no_door.stats.requests - talk->requests_before;
}

void talk_fill(struct talk *talk, bool full)
{
    talk->full = full;
    tly_buf_clear(&talk->client.out);
    if (!full) return;
    assert_non_null(tly_buf_room(&talk->client.out, TLY_OUT_HIGH));
    talk->client.out.n = TLY_OUT_HIGH;
}
