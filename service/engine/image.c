/*
 * An image: all that stands, as batches of one round from nothing, made while the node works on.
 *
 *     at the start     marks M and, of each life, the last ts: what is beyond it goes to the log behind the image
 *     then             the dots up to there, life by life
 *     at the end       M
 *
 * A dot that is replaced before the walk comes to it is missing here, and what replaced it is in the log, so an image counts only
 * together with all batches up to its end.  What else an image must carry goes into put_part, beside the marks.
 */
#include "service/engine/impl.h"

/* Bytes of rows in one part: less than 100 us of work. */
#define ROWS_BYTES (6u * 1024u)

/* A life as it was at the start. */
struct extent {
    uint64_t origin, mark, last;
};

struct tly_image {
    struct tly_engine *engine;
    struct extent *extents;
    size_t count, at; /* at: the life that the walk is in */
    struct tly_scan scan;
    bool in_life, begun;
    struct tly_round_writer writer;
};

static bool note_extents(struct tly_image *image)
{
    struct tly_ormap *map = image->engine->map;
    size_t lives = tly_ormap_lives(map);
    if (lives == 0) return true;
    image->extents = tly_mem_new(&image->engine->mem, lives * sizeof *image->extents);
    if (image->extents == NULL) return false;
    image->count = lives;
    for (size_t i = 0; i < lives; i++) {
        struct tly_life life = tly_ormap_life(map, i);
        image->extents[i] = (struct extent){life.origin, life.mark, life.last};
    }
    return true;
}

enum tly_result tly_image_new(struct tly_engine *e, struct tly_image **out)
{
    /* The marks of the log behind go on from those at the end of a round, so the image begins at one. */
    if (e->disk.in_round) return TLY_MORE;
    enum tly_result result = tly_ormap_seal(e->map);
    if (result != TLY_OK) return result;
    struct tly_image *image = tly_mem_zeroed(&e->mem, sizeof *image);
    if (image == NULL) return TLY_NOMEM;
    image->engine = e;
    tly_round_writer_init(&image->writer, &e->mem);
    if (!note_extents(image)) {
        tly_image_free(image);
        return TLY_NOMEM;
    }
    *out = image;
    return TLY_OK;
}

void tly_image_free(struct tly_image *image)
{
    if (image == NULL) return;
    const struct tly_mem *mem = &image->engine->mem;
    tly_mem_free(mem, image->extents, image->count * sizeof *image->extents);
    tly_round_writer_fini(&image->writer);
    tly_mem_free(mem, image, sizeof *image);
}

/* The scan stands in the life that `at` names; false: it is no more. */
static bool find_life(struct tly_image *image)
{
    struct tly_ormap *map = image->engine->map;
    uint64_t origin = image->extents[image->at].origin;
    size_t lives = tly_ormap_lives(map), i = 0;
    if (image->in_life && image->scan.life < lives && tly_ormap_life(map, image->scan.life).origin == origin)
        return true;
    while (i < lives && tly_ormap_life(map, i).origin != origin)
        i++;
    if (i == lives) return false;
    if (image->in_life)
        image->scan.life = i;
    else
        image->scan = tly_scan_of(map, i, 0);
    image->in_life = true;
    return true;
}

/* Dots of one life up to its extent; false: the part is full. */
static bool walk_life(struct tly_image *image)
{
    const struct extent *extent = &image->extents[image->at];
    struct tly_round_writer *writer = &image->writer;
    for (;;) {
        struct tly_scan before = image->scan;
        struct tly_scanned scanned;
        if (tly_round_writer_bytes(writer) >= ROWS_BYTES) return false;
        if (!tly_scan_next(image->engine->map, &image->scan, &scanned)) return true;
        if (scanned.dot.version.ts > extent->last) return true;
        if (tly_round_writer_add(writer, scanned.key, scanned.strategy, &scanned.dot)) continue;
        image->scan = before;
        return false;
    }
}

static bool walk(struct tly_image *image)
{
    for (; image->at < image->count; image->at++) {
        if (find_life(image) && !walk_life(image)) return false;
        image->in_life = false;
    }
    return true;
}

static void put_part(struct tly_image *image, bool is_last, struct tly_buf *out)
{
    const struct tly_mem *mem = &image->engine->mem;
    const struct tly_mark_list none = {0};
    unsigned flags = (image->begun ? 0u : TLY_ROUND_FIRST) | (is_last ? TLY_ROUND_LAST : 0u);
    struct tly_mark *marks = is_last ? tly_mem_new(mem, (image->count + 1) * sizeof *marks) : NULL;
    struct tly_mark_list end = {marks, 0};
    if (is_last && marks == NULL) {
        tly_buf_fail(out, TLY_NOMEM);
        return;
    }
    for (size_t i = 0; is_last && i < image->count; i++)
        if (image->extents[i].mark > 0)
            marks[end.count++] = (struct tly_mark){image->extents[i].origin, image->extents[i].mark};
    tly_round_writer_finish(&image->writer, flags, none, end, out);
    tly_mem_free(mem, marks, is_last ? (image->count + 1) * sizeof *marks : 0);
    image->begun = true;
}

enum tly_result tly_image_next(struct tly_image *image, struct tly_buf *out, bool *done)
{
    *done = false;
    enum tly_result result = tly_ormap_seal(image->engine->map);
    if (result != TLY_OK) return result;
    tly_round_writer_clear(&image->writer);
    bool is_last = walk(image);
    if (image->writer.rows.result != TLY_OK) return image->writer.rows.result;
    put_part(image, is_last, out);
    *done = is_last && out->result == TLY_OK;
    return out->result;
}
