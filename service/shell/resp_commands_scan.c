/*
 * All keys, or what they take: SCAN, KEYS, FLUSHDB, MEMORY USAGE.  The node's own keys, under sys:, are passed over.
 *
 * A walk happens within one turn of the loop, so each has a bound: a page of SCAN looks at so many keys at most, whatever COUNT wishes
 * for, and KEYS and FLUSHDB are for nodes with few of them.
 */
#include "service/engine/keys.h"
#include "service/shell/digits.h"
#include "service/shell/glob.h"
#include "service/shell/resp.h"

#define PAGE_KEYS 10
#define PAGE_KEYS_MAX 4096
#define PAGE_BYTES_MAX (256u * 1024u)
/* What KEYS and FLUSHDB look at. */
#define WALK_KEYS_MAX 131072u
#define WALK_BYTES_MAX (8u * 1024u * 1024u)
#define MATCH_BYTES_MAX 1024u

/* What a walk is to write, and how it goes. */
struct page {
    struct tly_buf *out;
    size_t bytes_end; /* of out: no page goes on beyond it */
    struct tly_slice match;
    bool has_match;
    bool is_empty; /* nothing is of the type that was asked for */
    size_t keys;
};

static bool put_key(void *context, struct tly_slice key)
{
    struct page *page = context;
    if (!page->is_empty && (!page->has_match || tly_glob(page->match, key))) {
        tly_resp_put_bulk(page->out, key);
        page->keys++;
    }
    return page->out->n < page->bytes_end && page->out->result == TLY_OK;
}

/* The number of keys is known once they are written; what says so goes in before them. */
static void insert(struct tly_buf *out, size_t at, const char *text, size_t n)
{
    size_t behind = out->n - at;
    if (tly_buf_room(out, n) == NULL) return;
    memmove(out->p + at + n, out->p + at, behind);
    memcpy(out->p + at, text, n);
    out->n += n;
}

static void insert_head(struct tly_buf *out, size_t at, size_t keys)
{
    uint8_t digits[TLY_DIGITS_MAX], *end = digits + sizeof digits, *p = tly_digits(end, keys);
    char head[32] = "*";
    size_t n = (size_t)(end - p);
    memcpy(head + 1, p, n);
    memcpy(head + 1 + n, "\r\n", 2);
    insert(out, at, head, n + 3);
}

static void put_bad_match(struct tly_resp *resp)
{
    tly_resp_put_error(resp->out, "ERR a pattern has at most %u bytes", MATCH_BYTES_MAX);
}

/* ---- SCAN ---- */

static bool get_cursor(struct tly_slice text, uint64_t *cursor)
{
    uint64_t value = 0;
    if (text.n == 0) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        if (__builtin_mul_overflow(value, UINT64_C(10), &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(text.p[i] - '0'), &value)) return false;
    }
    *cursor = value;
    return true;
}

/* [MATCH pattern] [COUNT n] [TYPE type]; false: the error is written. */
static bool get_options(struct tly_resp *resp, const struct tly_slice *arg, size_t count, struct page *page,
                        size_t *budget)
{
    int64_t wish = PAGE_KEYS;
    for (size_t i = 2; i < count; i += 2) {
        bool has_value = i + 1 < count;
        if (has_value && tly_resp_is(arg[i], "MATCH")) {
            page->match = arg[i + 1];
            page->has_match = true;
        } else if (has_value && tly_resp_is(arg[i], "TYPE")) {
            page->is_empty = !tly_resp_is(arg[i + 1], "STRING");
        } else if (has_value && tly_resp_is(arg[i], "COUNT") && !tly_resp_get_int(arg[i + 1], &wish)) {
            tly_resp_put_not_int(resp);
            return false;
        } else if (!has_value || !tly_resp_is(arg[i], "COUNT") || wish < 1) {
            tly_resp_put_syntax_error(resp);
            return false;
        }
    }
    if (page->match.n > MATCH_BYTES_MAX) {
        put_bad_match(resp);
        return false;
    }
    *budget = wish < PAGE_KEYS_MAX ? (size_t)wish : PAGE_KEYS_MAX;
    return true;
}

void tly_resp_run_scan(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    uint64_t cursor;
    size_t budget;
    struct tly_buf *out = resp->out;
    struct page page = {.out = out};
    if (!get_cursor(arg[1], &cursor)) {
        tly_resp_put_error(out, "ERR invalid cursor");
        return;
    }
    if (!get_options(resp, arg, count, &page, &budget)) return;
    size_t mark = out->n;
    page.bytes_end = mark + PAGE_BYTES_MAX;
    tly_engine_keys(tly_app_engine(resp->app), tly_app_now(resp->app), &cursor, budget, put_key, &page);
    insert_head(out, mark, page.keys);
    /* The cursor comes first, and is known last. */
    size_t behind = out->n;
    tly_resp_put_array(out, 2);
    tly_resp_put_bulk_int(out, (int64_t)cursor);
    char first[64];
    size_t n = out->n - behind;
    if (out->result != TLY_OK || n > sizeof first) return;
    memcpy(first, out->p + behind, n);
    out->n = behind;
    insert(out, mark, first, n);
}

/* ---- KEYS and FLUSHDB ---- */

/* False: there are too many; the error is written. */
static bool are_few(struct tly_resp *resp)
{
    struct tly_node_view node;
    tly_engine_node(tly_app_engine(resp->app), false, &node);
    if (node.keys <= WALK_KEYS_MAX) return true;
    tly_resp_put_error(resp->out, "ERR there are more than %u keys: walk them with SCAN", WALK_KEYS_MAX);
    return false;
}

void tly_resp_run_keys(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    if (!are_few(resp)) return;
    if (arg[1].n > MATCH_BYTES_MAX) {
        put_bad_match(resp);
        return;
    }
    struct tly_buf *out = resp->out;
    size_t mark = out->n;
    uint64_t cursor = 0;
    struct page page = {.out = out, .bytes_end = mark + WALK_BYTES_MAX, .match = arg[1], .has_match = true};
    tly_engine_keys(tly_app_engine(resp->app), tly_app_now(resp->app), &cursor, WALK_KEYS_MAX, put_key,
                    &page);
    if (cursor == 0) {
        insert_head(out, mark, page.keys);
        return;
    }
    out->n = mark;
    tly_resp_put_error(out, "ERR the keys have more than %u bytes: walk them with SCAN", WALK_BYTES_MAX);
}

/* Keys of one page, one behind the other: a length of two bytes, and the key. */
static bool keep_key(void *context, struct tly_slice key)
{
    struct tly_buf *kept = context;
    uint16_t n = (uint16_t)key.n;
    tly_buf_put(kept, &n, sizeof n);
    tly_buf_put(kept, key.p, key.n);
    return kept->n < PAGE_BYTES_MAX;
}

static enum tly_result remove_kept(struct tly_resp *resp, const struct tly_buf *kept)
{
    enum tly_result result = kept->result;
    for (size_t at = 0; at < kept->n && result == TLY_OK;) {
        uint16_t n;
        struct tly_reply reply;
        memcpy(&n, kept->p + at, sizeof n);
        result = tly_resp_ask(resp, TLY_ASK_REMOVE, tly_slice_of(kept->p + at + sizeof n, n), &reply);
        if (result == TLY_NOT_FOUND) result = TLY_OK;
        at += sizeof n + n;
    }
    return result;
}

void tly_resp_run_flushdb(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    bool is_known =
        count == 1 || (count == 2 && (tly_resp_is(arg[1], "ASYNC") || tly_resp_is(arg[1], "SYNC")));
    if (!is_known) {
        tly_resp_put_syntax_error(resp);
        return;
    }
    if (!are_few(resp)) return;
    struct tly_buf kept;
    tly_buf_init(&kept, &resp->scratch.mem, SIZE_MAX);
    uint64_t cursor = 0;
    enum tly_result result;
    do {
        tly_buf_clear(&kept);
        tly_engine_keys(tly_app_engine(resp->app), tly_app_now(resp->app), &cursor, PAGE_KEYS_MAX, keep_key,
                        &kept);
        result = remove_kept(resp, &kept);
    } while (cursor != 0 && result == TLY_OK);
    tly_buf_fini(&kept);
    if (result == TLY_OK)
        tly_resp_put_simple(resp->out, "OK");
    else
        tly_resp_put_result(resp, result);
}

/* ---- MEMORY ---- */

void tly_resp_run_memory(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    bool has_samples = count == 5 && tly_resp_is(arg[3], "SAMPLES");
    if (!tly_resp_is(arg[1], "USAGE"))
        tly_resp_put_help(resp, "MEMORY", arg[1], "USAGE key [SAMPLES n]");
    else if (count < 3)
        tly_resp_put_arity(resp, "memory|usage");
    else if (count > 3 && !has_samples)
        tly_resp_put_syntax_error(resp);
    else {
        size_t bytes = tly_engine_key_bytes(tly_app_engine(resp->app), tly_app_now(resp->app), arg[2]);
        if (bytes > 0)
            tly_resp_put_uint(resp->out, bytes);
        else
            tly_resp_put_null(resp->out, resp->proto);
    }
}
