#include "wire/repair.h"

#include "wire/frame.h"
#include "wire/pack.h"

#define CHECK_MAX UINT32_MAX
#define BRANCHES_BYTES (TLY_BRANCHES * sizeof(uint64_t))
#define LEAVES_BYTES (TLY_LEAVES_EACH * sizeof(uint64_t))

static void get_array_of(struct tly_cursor *cursor, size_t elements)
{
    if (tly_get_array(cursor, elements) != elements) tly_cursor_fail(cursor);
}

/* That many bytes, or none. */
static struct tly_slice get_prints(struct tly_cursor *cursor, size_t bytes)
{
    struct tly_slice prints = tly_get_bytes(cursor, bytes);
    if (prints.n != 0 && prints.n != bytes) tly_cursor_fail(cursor);
    return prints;
}

uint64_t tly_print_at(struct tly_slice prints, size_t i)
{
    uint64_t print = 0;
    for (size_t j = sizeof print; j-- > 0;)
        print = print << 8 | prints.p[i * sizeof print + j];
    return print;
}

void tly_print_set(uint8_t *prints, size_t i, uint64_t print)
{
    for (size_t j = 0; j < sizeof print; j++)
        prints[i * sizeof print + j] = (uint8_t)(print >> 8 * j);
}

/* ---- COMPARE, TREE ---- */

static void put_terms(struct tly_buf *out, const struct tly_compare *compare)
{
    tly_put_uint(out, compare->f);
    tly_put_uint(out, compare->time);
    tly_put_uint(out, compare->state);
    tly_put_uint(out, compare->root);
}

static void get_terms(struct tly_cursor *cursor, struct tly_compare *compare)
{
    compare->f = tly_get_uint(cursor);
    compare->time = tly_get_uint(cursor);
    if (compare->time > UINT64_MAX / TLY_REPAIR_STEP_MS) tly_cursor_fail(cursor);
    compare->state = tly_get_uint(cursor);
    compare->root = tly_get_uint(cursor);
}

void tly_compare_put(struct tly_buf *out, const struct tly_compare *compare)
{
    tly_put_array(out, 6);
    tly_put_uint(out, compare->number);
    tly_put_uint(out, compare->check);
    put_terms(out, compare);
}

enum tly_result tly_compare_get(struct tly_slice body, struct tly_compare *compare)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    *compare = (struct tly_compare){0};
    get_array_of(&cursor, 6);
    compare->number = tly_get_uint(&cursor);
    compare->check = tly_get_uint(&cursor);
    if (compare->check > CHECK_MAX) tly_cursor_fail(&cursor);
    get_terms(&cursor, compare);
    return tly_cursor_end(&cursor);
}

void tly_tree_put(struct tly_buf *out, const struct tly_compare *tree)
{
    tly_put_array(out, 6);
    tly_put_uint(out, tree->number);
    put_terms(out, tree);
    tly_put_bytes(out, tree->branches);
}

enum tly_result tly_tree_get(struct tly_slice body, struct tly_compare *tree)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    *tree = (struct tly_compare){0};
    get_array_of(&cursor, 6);
    tree->number = tly_get_uint(&cursor);
    get_terms(&cursor, tree);
    tree->branches = get_prints(&cursor, BRANCHES_BYTES);
    return tly_cursor_end(&cursor);
}

/* ---- OPEN ---- */

void tly_open_put(struct tly_buf *out, const struct tly_open *open, const struct tly_opened *branches)
{
    tly_put_array(out, 4);
    tly_put_uint(out, open->number);
    tly_put_uint(out, open->f);
    tly_put_uint(out, open->time);
    tly_put_array(out, 2 * open->count);
    for (size_t i = 0; i < open->count; i++) {
        tly_put_uint(out, branches[i].branch);
        tly_put_bytes(out, branches[i].prints);
    }
}

static struct tly_opened get_opened(struct tly_cursor *cursor)
{
    struct tly_opened opened = {.branch = tly_get_uint(cursor)};
    if (opened.branch >= TLY_BRANCHES) tly_cursor_fail(cursor);
    opened.prints = get_prints(cursor, LEAVES_BYTES);
    return opened;
}

enum tly_result tly_open_get(struct tly_slice body, struct tly_open *open)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_array_of(&cursor, 4);
    open->number = tly_get_uint(&cursor);
    open->f = tly_get_uint(&cursor);
    open->time = tly_get_uint(&cursor);
    if (open->time > UINT64_MAX / TLY_REPAIR_STEP_MS) tly_cursor_fail(&cursor);
    size_t elements = tly_get_array(&cursor, (size_t)2 * TLY_BRANCHES);
    if (elements % 2 != 0) tly_cursor_fail(&cursor);
    open->branches = cursor;
    open->count = elements / 2;
    uint64_t least = 0;
    for (size_t i = 0; i < open->count && cursor.result == TLY_OK; i++) {
        struct tly_opened opened = get_opened(&cursor);
        if (opened.branch < least) tly_cursor_fail(&cursor);
        least = opened.branch + 1;
    }
    return tly_cursor_end(&cursor);
}

bool tly_open_next(struct tly_open *open, struct tly_opened *branch)
{
    if (open->count == 0) return false;
    open->count--;
    *branch = get_opened(&open->branches);
    return open->branches.result == TLY_OK;
}

/* ---- LEAVES ---- */

void tly_leaves_put(struct tly_buf *out, const struct tly_leaves *message, const uint16_t *leaves)
{
    tly_put_array(out, 4);
    tly_put_uint(out, message->number);
    tly_put_uint(out, message->flags);
    tly_put_array(out, message->count);
    for (size_t i = 0; i < message->count; i++)
        tly_put_uint(out, leaves[i]);
    tly_put_bytes(out, message->part);
}

static uint64_t get_leaf(struct tly_cursor *cursor)
{
    uint64_t leaf = tly_get_uint(cursor);
    if (leaf >= TLY_LEAVES + TLY_BRANCHES) tly_cursor_fail(cursor);
    return leaf;
}

enum tly_result tly_leaves_get(struct tly_slice body, struct tly_leaves *message)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_array_of(&cursor, 4);
    message->number = tly_get_uint(&cursor);
    uint64_t flags = tly_get_uint(&cursor);
    if (flags > (TLY_LEAVES_LAST | TLY_LEAVES_OF_ASKER)) tly_cursor_fail(&cursor);
    message->flags = (unsigned)flags;
    message->count = tly_get_array(&cursor, TLY_LEAVES);
    message->leaves = cursor;
    for (size_t i = 0; i < message->count && cursor.result == TLY_OK; i++)
        (void)get_leaf(&cursor);
    message->part = tly_get_bytes(&cursor, TLY_FRAME_BODY_MAX);
    return tly_cursor_end(&cursor);
}

bool tly_leaves_next(struct tly_leaves *message, uint64_t *leaf)
{
    if (message->count == 0) return false;
    message->count--;
    *leaf = get_leaf(&message->leaves);
    return message->leaves.result == TLY_OK;
}
