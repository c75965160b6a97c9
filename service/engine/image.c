/*
 * An image: all that stands, as the messages of a snapshot between nodes, made while the node works on.
 *
 *     at the start     what is known of each life: its mark, floor and state; what is beyond its last ts goes to the log behind
 *     then             the dots up to there, life by life
 *     meanwhile        nothing is forgotten (tly_image_holds), so what was said of the lives stays true
 *
 * A dot that is replaced before the walk comes to it is missing here, and what replaced it is in the log, so an image counts only
 * together with all batches up to its end.  What else an image must carry goes into put_begin.
 */
#include "service/engine/impl.h"

/* Bytes of rows in one part: less than 100 us of work. */
#define ROWS_BYTES (6u * 1024u)

struct tly_image {
    struct tly_engine *engine;
    struct tly_life *extents; /* the lives as they were at the start */
    uint64_t number, chunks;
    uint64_t installed; /* snapshots that replaced the map, at the start */
    size_t count, at;   /* at: the life that the walk is in */
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
    for (size_t i = 0; i < lives; i++)
        image->extents[i] = tly_life_told(image->engine, i); /* of a retired one too */
    return true;
}

enum tly_result tly_image_new(struct tly_engine *e, struct tly_image **out)
{
    if (e->dump.active) return TLY_MORE;
    /* The log behind would say of what is not in the image that it has gone. */
    if (e->forget.gone.row_count > 0) return TLY_MORE;
    /* The marks of the log behind go on from those at the end of a round, so the image begins at one. */
    if (e->disk.in_round) return TLY_MORE;
    enum tly_result result = tly_flush_seal(e);
    if (result != TLY_OK) return result;
    struct tly_image *image = tly_mem_zeroed(&e->mem, sizeof *image);
    if (image == NULL) return TLY_NOMEM;
    image->engine = e;
    e->images++;
    image->number = ++e->snapshots;
    image->installed = e->stats.snapshots_installed;
    tly_round_writer_init(&image->writer, &e->mem);
    if (!note_extents(image)) {
        tly_image_free(image);
        return TLY_NOMEM;
    }
    *out = image;
    return TLY_OK;
}

bool tly_image_holds(const struct tly_engine *e)
{
    return e->images > 0;
}

void tly_image_free(struct tly_image *image)
{
    if (image == NULL) return;
    const struct tly_mem *mem = &image->engine->mem;
    image->engine->images--;
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
    const struct tly_life *extent = &image->extents[image->at];
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

/* The messages of a snapshot between nodes, which say all that a node has to know. Whether that was the last. */
static bool put_part(struct tly_image *image, bool is_last, struct tly_buf *out)
{
    const struct tly_mark_list none = {0};
    struct tly_buf *part = &image->engine->part;
    if (image->writer.row_count == 0 && is_last) {
        tly_snap_end_put(out, &(struct tly_snap_end){image->number, image->chunks});
        return true;
    }
    tly_buf_clear(part);
    tly_round_writer_finish(&image->writer, 0, none, none, part);
    if (part->result != TLY_OK) tly_buf_fail(out, part->result);
    tly_snap_chunk_put(out, &(struct tly_snap_chunk){image->number, image->chunks++, tly_buf_slice(part)});
    return false;
}

static enum tly_result put_begin(struct tly_image *image, struct tly_buf *out)
{
    struct tly_snap_begin begin = {.number = image->number, .bounds = tly_ormap_bounds(image->engine->map)};
    tly_snap_begin_put(out, &begin, image->extents, image->count);
    image->begun = true;
    return out->result;
}

enum tly_result tly_image_next(struct tly_image *image, struct tly_buf *out, bool *done)
{
    *done = false;
    enum tly_result result = tly_flush_seal(image->engine);
    if (result != TLY_OK) return result;
    if (image->engine->stats.snapshots_installed != image->installed) return TLY_STALE;
    if (!image->begun) return put_begin(image, out);
    tly_round_writer_clear(&image->writer);
    bool is_last = walk(image);
    if (image->writer.rows.result != TLY_OK) return image->writer.rows.result;
    is_last = put_part(image, is_last, out);
    *done = is_last && out->result == TLY_OK;
    return out->result;
}
