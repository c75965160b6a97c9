#include "tests/engine/support_ear.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "wire/stream.h"

#include <stdlib.h>
#include <string.h>

#define TYPES 32

/* One direction of one connection. */
struct line {
    size_t to;
    uint64_t conn;
    struct tly_stream *stream;
    struct tly_buf in;
};

/* The versions are a hash set; ts 0: free. */
struct said {
    struct tly_version *dots;
    size_t count, capacity, repeated;
    uint64_t last_at, longest_pause;
};

struct ear {
    struct net *net;
    struct tly_mem mem;
    struct tly_parts *parts;
    struct tly_buf scratch;
    struct line *lines;
    size_t line_count;
    size_t frames[TYPES];
    struct said said[NET_NODES_MAX][NET_NODES_MAX];
};

static struct line *line_of(struct ear *ear, size_t to, uint64_t conn)
{
    for (size_t i = 0; i < ear->line_count; i++)
        if (ear->lines[i].to == to && ear->lines[i].conn == conn) return &ear->lines[i];
    ear->lines = realloc(ear->lines, (ear->line_count + 1) * sizeof *ear->lines);
    assert_non_null(ear->lines);
    struct line *line = &ear->lines[ear->line_count++];
    *line = (struct line){.to = to, .conn = conn, .stream = tly_stream_new(&ear->mem)};
    assert_non_null(line->stream);
    tly_buf_init(&line->in, &ear->mem, 2 * TLY_FRAME_BODY_MAX);
    return line;
}

/* Where the version is, or would be. */
static struct tly_version *slot_of(struct tly_version *dots, size_t capacity, struct tly_version version)
{
    size_t i = (size_t)((version.ts ^ version.origin) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (capacity - 1);
    while (dots[i].ts != 0 && tly_version_compare(dots[i], version) != 0)
        i = (i + 1) & (capacity - 1);
    return &dots[i];
}

static void grow(struct said *said)
{
    size_t capacity = said->capacity * 2 + (said->capacity == 0 ? 64 : 0);
    struct tly_version *dots = calloc(capacity, sizeof *dots);
    assert_non_null(dots);
    for (size_t i = 0; i < said->capacity; i++)
        if (said->dots[i].ts != 0) *slot_of(dots, capacity, said->dots[i]) = said->dots[i];
    free(said->dots);
    said->dots = dots;
    said->capacity = capacity;
}

static void hear_dot(struct said *said, struct tly_version version)
{
    if (said->count * 2 >= said->capacity) grow(said);
    struct tly_version *slot = slot_of(said->dots, said->capacity, version);
    if (slot->ts != 0)
        said->repeated++;
    else
        said->count++;
    *slot = version;
}

static void hear_part(struct ear *ear, size_t from, struct line *line, struct tly_slice body)
{
    struct said *said = &ear->said[from][line->to];
    struct tly_part part;
    assert_int_equal(tly_parts_get(ear->parts, line->stream, body, &part), TLY_OK);
    for (size_t i = 0; i < part.row_count; i++)
        hear_dot(said, part.rows[i].dot.version);
    if (part.row_count == 0) return;
    uint64_t now = net_now(ear->net), pause = now - said->last_at;
    if (said->last_at != 0 && pause > said->longest_pause) said->longest_pause = pause;
    said->last_at = now;
}

static void hear(void *context, size_t from, size_t to, uint64_t conn, uint8_t *bytes, size_t n)
{
    struct ear *ear = context;
    struct line *line = line_of(ear, to, conn);
    tly_buf_put(&line->in, bytes, n);
    for (;;) {
        struct tly_frame frame;
        size_t consumed;
        enum tly_result result = tly_frame_get(tly_buf_slice(&line->in), &ear->scratch, &frame, &consumed);
        if (result == TLY_MORE) return;
        assert_int_equal(result, TLY_OK);
        assert_true(frame.type < TYPES);
        ear->frames[frame.type]++;
        if (frame.type == TLY_FRAME_PART) hear_part(ear, from, line, frame.body);
        tly_buf_take(&line->in, consumed);
    }
}

struct ear *ear_new(struct net *net)
{
    struct ear *ear = calloc(1, sizeof *ear);
    assert_non_null(ear);
    ear->net = net;
    ear->mem = test_mem();
    ear->parts = tly_parts_new(&ear->mem);
    assert_non_null(ear->parts);
    tly_buf_init(&ear->scratch, &ear->mem, TLY_FRAME_BODY_MAX);
    net_listen(net, hear, ear);
    return ear;
}

void ear_clear(struct ear *ear)
{
    memset(ear->frames, 0, sizeof ear->frames);
    for (size_t i = 0; i < NET_NODES_MAX; i++)
        for (size_t j = 0; j < NET_NODES_MAX; j++) {
            free(ear->said[i][j].dots);
            ear->said[i][j] = (struct said){0};
        }
}

void ear_free(struct ear *ear)
{
    net_listen(ear->net, NULL, NULL);
    ear_clear(ear);
    for (size_t i = 0; i < ear->line_count; i++) {
        tly_stream_free(ear->lines[i].stream);
        tly_buf_fini(&ear->lines[i].in);
    }
    free(ear->lines);
    tly_parts_free(ear->parts);
    tly_buf_fini(&ear->scratch);
    free(ear);
}

size_t ear_frames(const struct ear *ear, enum tly_frame_type type)
{
    return ear->frames[type];
}

size_t ear_all_frames(const struct ear *ear)
{
    size_t frames = 0;
    for (size_t i = 0; i < TYPES; i++)
        frames += ear->frames[i];
    return frames;
}

size_t ear_dots(const struct ear *ear, size_t from, size_t to)
{
    return ear->said[from][to].count + ear->said[from][to].repeated;
}

size_t ear_repeated(const struct ear *ear, size_t from, size_t to)
{
    return ear->said[from][to].repeated;
}

uint64_t ear_longest_pause(const struct ear *ear, size_t from, size_t to)
{
    return ear->said[from][to].longest_pause;
}
