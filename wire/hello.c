/* HELLO is a map, so that a later version can say more to who understands it. */
#include "wire/fields.h"
#include "wire/message.h"
#include "wire/pack.h"
#include "wire/table.h"

#include <assert.h>

#define MAGIC "tally"
#define DELTA "delta"
#define SNAPSHOT "snapshot"
#define REPAIR "repair"
#define RESUME "resume"
#define NEWS "news"
#define COLUMNS "columns"
/* A bound on what a peer of another version may have put in. */
#define CAPS_MAX 64

/* An empty name would be our own mistake; one that is too long may be the operator's. */
static void check_lengths(struct tly_buf *out, const struct tly_hello *hello)
{
    assert(hello->cluster.n > 0 && hello->name.n > 0);
    bool fits = hello->cluster.n <= TLY_NAME_BYTES_MAX && hello->name.n <= TLY_NAME_BYTES_MAX &&
                hello->address.n <= TLY_ADDRESS_BYTES_MAX;
    if (!fits) tly_buf_fail(out, TLY_TOO_LARGE);
}

static void put_word(struct tly_buf *out, const char *word)
{
    tly_put_text(out, tly_slice_text(word));
}

static void put_caps(struct tly_buf *out, const struct tly_hello *hello)
{
    put_word(out, "caps");
    tly_put_array(out, (size_t)hello->delta + hello->snapshot + hello->repair + hello->resume + hello->news +
                           hello->columns);
    if (hello->delta) put_word(out, DELTA);
    if (hello->snapshot) put_word(out, SNAPSHOT);
    if (hello->repair) put_word(out, REPAIR);
    if (hello->resume) put_word(out, RESUME);
    if (hello->news) put_word(out, NEWS);
    if (hello->columns) put_word(out, COLUMNS);
}

static void put_versions(struct tly_buf *out, const struct tly_hello *hello)
{
    put_word(out, "versions");
    tly_put_array(out, 2);
    tly_put_uint(out, hello->version_oldest);
    tly_put_uint(out, hello->version_newest);
}

void tly_hello_put(struct tly_buf *out, const struct tly_hello *hello, const struct tly_registry *registry,
                   const struct tly_mark *marks, size_t mark_count)
{
    check_lengths(out, hello);
    tly_put_map(out, hello->table != 0 ? 11 : 10);
    put_word(out, "magic");
    put_word(out, MAGIC);
    put_versions(out, hello);
    put_word(out, "cluster");
    tly_put_text(out, hello->cluster);
    put_word(out, "name");
    tly_put_text(out, hello->name);
    put_word(out, "origin");
    tly_put_uint(out, hello->origin);
    put_word(out, "prefixes");
    tly_table_put(out, registry);
    put_caps(out, hello);
    put_word(out, "wall");
    tly_put_uint(out, hello->wall_ns);
    if (hello->table != 0) {
        put_word(out, "table");
        tly_put_uint(out, hello->table);
    }
    put_word(out, "address");
    tly_put_text(out, hello->address);
    put_word(out, "marks");
    tly_marks_put(out, marks, mark_count);
}

static void get_magic(struct tly_cursor *cursor, void *message)
{
    (void)message;
    struct tly_slice magic = tly_get_bytes(cursor, sizeof MAGIC - 1);
    if (!tly_slice_equal(magic, tly_slice_text(MAGIC))) tly_cursor_fail(cursor);
}

static void get_versions(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    if (tly_get_array(cursor, 2) != 2) tly_cursor_fail(cursor);
    hello->version_oldest = tly_get_uint(cursor);
    hello->version_newest = tly_get_uint(cursor);
    if (hello->version_oldest == 0 || hello->version_oldest > hello->version_newest) tly_cursor_fail(cursor);
}

static struct tly_slice get_name(struct tly_cursor *cursor)
{
    struct tly_slice name = tly_get_bytes(cursor, TLY_NAME_BYTES_MAX);
    if (name.n == 0) tly_cursor_fail(cursor);
    return name;
}

static void get_cluster(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->cluster = get_name(cursor);
}

static void get_node_name(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->name = get_name(cursor);
}

static void get_origin(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->origin = tly_get_uint(cursor);
    if (hello->origin == 0) tly_cursor_fail(cursor);
}

static void get_prefixes(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->prefixes = tly_table_get(cursor);
}

static void get_caps(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    size_t count = tly_get_array(cursor, CAPS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct tly_slice cap = tly_get_bytes(cursor, TLY_WORD_BYTES_MAX);
        if (tly_slice_equal(cap, tly_slice_text(DELTA))) hello->delta = true;
        if (tly_slice_equal(cap, tly_slice_text(SNAPSHOT))) hello->snapshot = true;
        if (tly_slice_equal(cap, tly_slice_text(REPAIR))) hello->repair = true;
        if (tly_slice_equal(cap, tly_slice_text(RESUME))) hello->resume = true;
        if (tly_slice_equal(cap, tly_slice_text(NEWS))) hello->news = true;
        if (tly_slice_equal(cap, tly_slice_text(COLUMNS))) hello->columns = true;
    }
}

static void get_wall(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->wall_ns = tly_get_uint(cursor);
}

static void get_address(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->address = tly_get_bytes(cursor, TLY_ADDRESS_BYTES_MAX);
}

static void get_marks(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->marks = tly_marks_get(cursor);
}

static void get_table(struct tly_cursor *cursor, void *message)
{
    struct tly_hello *hello = message;
    hello->table = tly_get_uint(cursor);
    if (hello->table == 0) tly_cursor_fail(cursor);
}

/* The last may be absent. */
static const struct tly_field_reader fields[] = {
    {"magic", get_magic},     {"versions", get_versions}, {"cluster", get_cluster}, {"name", get_node_name},
    {"origin", get_origin},   {"prefixes", get_prefixes}, {"caps", get_caps},       {"wall", get_wall},
    {"address", get_address}, {"marks", get_marks},       {"table", get_table},
};

#define FIELDS (sizeof fields / sizeof fields[0])

enum tly_result tly_hello_get(struct tly_slice body, struct tly_hello *hello)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    *hello = (struct tly_hello){0};
    tly_fields_get(&cursor, fields, FIELDS, FIELDS - 1, hello);
    return tly_cursor_end(&cursor);
}
