#include "tests/wire/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct tly_names *link_names(const struct tly_mem *mem, uint32_t names_max)
{
    struct tly_names_config config = {
        .mem = *mem, .names_max = names_max, .key_bytes_max = TLY_NAMES_KEY_BYTES_MAX};
    return tly_names_new(&config);
}

void link_init(struct link *link, const struct tly_mem *mem, struct tly_names *names)
{
    *link = (struct link){.names = names != NULL ? names : link_names(mem, TLY_NAMES_MAX)};
    link->out = tly_stream_new(mem);
    link->in = tly_stream_new(mem);
    link->putting = tly_parts_new(mem);
    link->getting = tly_parts_new(mem);
    tly_hash_key_from(&link->hash_key, tly_slice_text("link"));
    tly_parts_use_hash(link->getting, &link->hash_key);
    tly_buf_init(&link->body, mem, TLY_FRAME_BODY_MAX);
}

void link_fini(struct link *link, bool own_names)
{
    if (own_names) tly_names_free(link->names);
    tly_stream_free(link->out);
    tly_stream_free(link->in);
    tly_parts_free(link->putting);
    tly_parts_free(link->getting);
    tly_buf_fini(&link->body);
}

struct tly_slice link_put(struct link *link, const struct dot *dots, size_t count,
                          const struct tly_part_head *head)
{
    tly_buf_clear(&link->body);
    tly_parts_begin(link->putting, link->out, link->names);
    for (size_t i = 0; i < count; i++)
        assert_true(
            tly_parts_add(link->putting, tly_slice_text(dots[i].key), dots[i].strategy(), &dots[i].dot));
    tly_parts_end(link->putting, head, &link->body);
    return tly_buf_slice(&link->body);
}

enum tly_result link_get(struct link *link, struct tly_slice body)
{
    return tly_parts_get(link->getting, link->in, body, &link->part);
}

static bool is_row(const struct link *link, const struct tly_row *row, const struct dot *dot)
{
    if (row->hash != tly_key_hash(&link->hash_key, row->key)) return false;
    return tly_slice_equal(row->key, tly_slice_text(dot->key)) && row->strategy_id == dot->strategy()->id &&
           tly_dot_equal(&row->dot, &dot->dot);
}

bool link_has(const struct link *link, const struct dot *dots, size_t count)
{
    if (link->part.row_count != count) return false;
    bool *taken = calloc(count + 1, sizeof *taken);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            if (taken[j] || !is_row(link, &link->part.rows[j], &dots[i])) continue;
            taken[j] = true;
            found++;
            break;
        }
    }
    free(taken);
    return found == count;
}

/* Each row is listed once, none behind a newer one. */
static bool is_by_age(const struct tly_part *part)
{
    bool *listed = calloc(part->row_count + 1, sizeof *listed), good = true;
    uint64_t before = 0;
    for (size_t i = 0; i < part->row_count; i++) {
        uint32_t row = part->by_ts[i];
        good = good && row < part->row_count && !listed[row] && part->rows[row].dot.version.ts >= before;
        if (!good) break;
        listed[row] = true;
        before = part->rows[row].dot.version.ts;
    }
    free(listed);
    return good;
}

size_t link_pass(struct link *link, const struct dot *dots, size_t count, const struct tly_part_head *head)
{
    struct tly_slice body = link_put(link, dots, count, head);
    assert_int_equal(link->body.result, TLY_OK);
    assert_int_equal(link_get(link, body), TLY_OK);
    if (!link_has(link, dots, count)) fail_msg("%zu dots did not arrive as they were", count);
    if (!is_by_age(&link->part)) fail_msg("%zu dots are not listed by age", count);
    return body.n;
}
