#include "service/shell/intent.h"

#include "service/shell/audit.h"
#include "service/shell/libc_mem.h"
#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MARK "tally intent"
#define FIELDS 7
#define HASH_DIGITS 16
#define ID_CHARS (TLY_CHANGE_ID_BYTES - 1)
#define INTENT_BYTES_MAX ((size_t)4096)
/* One listing takes so many; the rest is looked at by the next. */
#define LISTED_MAX 64

#define IN_DIRECTORY TLY_INTENT_DIRECTORY "/"

static_assert(sizeof IN_DIRECTORY + ID_CHARS + TLY_INTENT_PREFIXES_MAX * (HASH_DIGITS + 1) <=
                  TLY_STORAGE_NAME_MAX,
              "every name fits");

const char *tly_change_word(enum tly_change_kind kind)
{
    switch (kind) {
#define CASE(name, number, word) \
    case TLY_CHANGE_##name: return word;
        TLY_CHANGES(CASE)
#undef CASE
    }
    return NULL;
}

/* ---- values ---- */

/* Crockford's base 32: 48 bits of time, 80 of chance. */
static void make_id(uint64_t ms, char id[TLY_CHANGE_ID_BYTES])
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint8_t chance[16];
    arc4random_buf(chance, sizeof chance);
    for (size_t i = 10; i-- > 0; ms >>= 5)
        id[i] = digits[ms & 31];
    for (size_t i = 0; i < sizeof chance; i++)
        id[10 + i] = digits[chance[i] & 31];
    id[ID_CHARS] = '\0';
}

struct tly_intent tly_intent_of(enum tly_change_kind kind, const char *actor)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct tly_intent intent = {.kind = kind};
    intent.at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    make_id(intent.at_ms, intent.id);
    (void)snprintf(intent.actor, sizeof intent.actor, "%s", actor);
    return intent;
}

bool tly_intent_add_prefix(struct tly_intent *intent, struct tly_slice prefix)
{
    if (prefix.n > TLY_PREFIX_BYTES_MAX || intent->prefix_count == TLY_INTENT_PREFIXES_MAX) return false;
    size_t at = intent->prefix_count++;
    if (prefix.n > 0) memcpy(intent->prefixes[at], prefix.p, prefix.n);
    intent->prefix_bytes[at] = (uint8_t)prefix.n;
    return true;
}

struct tly_slice tly_intent_prefix(const struct tly_intent *intent, size_t i)
{
    return tly_slice_of(intent->prefixes[i], intent->prefix_bytes[i]);
}

/* ---- names ---- */

static void put_hash(char text[HASH_DIGITS + 2], struct tly_slice prefix)
{
    (void)snprintf(text, HASH_DIGITS + 2, ".%016llx", (unsigned long long)tly_storage_revision_of(prefix));
}

static void name_of(const struct tly_intent *intent, char name[TLY_STORAGE_NAME_MAX + 1])
{
    size_t n = (size_t)snprintf(name, TLY_STORAGE_NAME_MAX + 1, IN_DIRECTORY "%s", intent->id);
    for (size_t i = 0; i < intent->prefix_count; i++) {
        put_hash(name + n, tly_intent_prefix(intent, i));
        n += HASH_DIGITS + 1;
    }
}

static bool has_id(const char *name, const char *id)
{
    return id[0] != '\0' && strncmp(name + sizeof IN_DIRECTORY - 1, id, ID_CHARS) == 0;
}

bool tly_kept_intent_is_about(const struct tly_kept_intent *kept, struct tly_slice prefix)
{
    char hash[HASH_DIGITS + 2];
    put_hash(hash, prefix);
    return strstr(kept->name, hash) != NULL;
}

/* ---- reading ---- */

static void get_text(struct tly_cursor *cursor, char *text, size_t size)
{
    struct tly_slice bytes = tly_get_bytes(cursor, size - 1);
    if (bytes.n > 0) memcpy(text, bytes.p, bytes.n);
    text[bytes.n] = '\0';
    if (strlen(text) != bytes.n) tly_cursor_fail(cursor);
}

/* TLY_OK, TLY_BAD_MESSAGE, TLY_UNKNOWN_FRAME: of a newer format. */
static enum tly_result get_intent(struct tly_slice body, struct tly_intent *intent)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    size_t fields = tly_get_array(&cursor, SIZE_MAX);
    if (!tly_slice_equal(tly_get_bytes(&cursor, sizeof MARK - 1), tly_slice_text(MARK)))
        return TLY_BAD_MESSAGE;
    uint64_t format = tly_get_uint(&cursor);
    if (cursor.result == TLY_OK && format > TLY_INTENT_FORMAT) return TLY_UNKNOWN_FRAME;
    if (format == 0 || fields != FIELDS) return TLY_BAD_MESSAGE;
    get_text(&cursor, intent->id, sizeof intent->id);
    uint64_t kind = tly_get_uint(&cursor);
    intent->at_ms = tly_get_uint(&cursor);
    get_text(&cursor, intent->actor, sizeof intent->actor);
    size_t count = tly_get_array(&cursor, TLY_INTENT_PREFIXES_MAX);
    for (size_t i = 0; i < count && cursor.result == TLY_OK; i++)
        (void)!tly_intent_add_prefix(intent, tly_get_bytes(&cursor, TLY_PREFIX_BYTES_MAX));
    if (kind > UINT8_MAX || tly_change_word((enum tly_change_kind)kind) == NULL) tly_cursor_fail(&cursor);
    intent->kind = (enum tly_change_kind)kind;
    return tly_cursor_end(&cursor);
}

static enum tly_result parse(struct tly_slice bytes, const char *name, struct tly_intent *intent)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf scratch;
    struct tly_frame frame;
    size_t consumed;
    char expected[TLY_STORAGE_NAME_MAX + 1];
    *intent = (struct tly_intent){0};
    tly_buf_init(&scratch, &mem, INTENT_BYTES_MAX);
    enum tly_result result = tly_frame_get(bytes, &scratch, &frame, &consumed);
    if (result == TLY_OK && (frame.type != TLY_FRAME_HELLO || consumed != bytes.n)) result = TLY_BAD_FRAME;
    if (result == TLY_OK) result = get_intent(frame.body, intent);
    tly_buf_fini(&scratch);
    if (result != TLY_OK) return result;
    name_of(intent, expected);
    return strcmp(expected, name) == 0 ? TLY_OK : TLY_BAD_MESSAGE;
}

static enum tly_result load(struct tly_storage *storage, const char *name, struct tly_intent *intent)
{
    uint8_t bytes[INTENT_BYTES_MAX];
    size_t got = 0;
    enum tly_result result = tly_storage_read(storage, name, 0, bytes, sizeof bytes, &got);
    return result == TLY_OK ? parse(tly_slice_of(bytes, got), name, intent) : result;
}

/* ---- writing ---- */

static void put_intent(struct tly_buf *out, const struct tly_intent *intent)
{
    tly_put_array(out, FIELDS);
    tly_put_text(out, tly_slice_text(MARK));
    tly_put_uint(out, TLY_INTENT_FORMAT);
    tly_put_text(out, tly_slice_text(intent->id));
    tly_put_uint(out, (uint64_t)intent->kind);
    tly_put_uint(out, intent->at_ms);
    tly_put_text(out, tly_slice_text(intent->actor));
    tly_put_array(out, intent->prefix_count);
    for (size_t i = 0; i < intent->prefix_count; i++)
        tly_put_bytes(out, tly_intent_prefix(intent, i));
}

enum tly_result tly_intent_write(struct tly_storage *storage, const struct tly_intent *intent)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf body, frame;
    char name[TLY_STORAGE_NAME_MAX + 1];
    name_of(intent, name);
    tly_buf_init(&body, &mem, INTENT_BYTES_MAX);
    tly_buf_init(&frame, &mem, INTENT_BYTES_MAX);
    put_intent(&body, intent);
    enum tly_result result = body.result;
    if (result == TLY_OK) tly_frame_put(&frame, TLY_FRAME_HELLO, tly_buf_slice(&body));
    if (result == TLY_OK) result = frame.result;
    if (result == TLY_OK) result = tly_storage_put_absent(storage, name, tly_buf_slice(&frame));
    tly_buf_fini(&body);
    tly_buf_fini(&frame);
    /* The id is ours alone: what is there is what an earlier try left. */
    return result == TLY_STALE ? TLY_OK : result;
}

enum tly_result tly_intent_finish(struct tly_storage *storage, const struct tly_intent *intent,
                                  const char *outcome)
{
    char name[TLY_STORAGE_NAME_MAX + 1];
    name_of(intent, name);
    enum tly_result result = tly_audit_add(storage, intent, outcome);
    return result == TLY_OK ? tly_storage_remove(storage, name) : result;
}

/* ---- the classifier ---- */

struct listed {
    char names[LISTED_MAX][TLY_STORAGE_NAME_MAX + 1];
    size_t count;
    bool is_foreign;
};

static void note_name(void *context, const char *name)
{
    struct listed *listed = context;
    if (listed->count == LISTED_MAX) return;
    (void)snprintf(listed->names[listed->count++], TLY_STORAGE_NAME_MAX + 1, IN_DIRECTORY "%s", name);
}

static void keep(struct tly_healed *healed, const char *name, const char *why)
{
    size_t at = healed->kept_count++;
    if (at >= TLY_INTENTS_KEPT_MAX) return;
    (void)snprintf(healed->kept[at].name, sizeof healed->kept[at].name, "%s", name);
    (void)snprintf(healed->kept[at].why, sizeof healed->kept[at].why, "%s", why);
}

static const char *classify(const struct tly_manifest *manifest, const struct tly_intent *intent)
{
    if (tly_manifest_has_change(manifest, intent->id)) return "done";
    return manifest->revision == 0 ? "unknown" : "discarded";
}

static const char *explain(struct tly_storage *storage, enum tly_result result)
{
    if (result == TLY_UNKNOWN_FRAME) return "it is of a newer version of tallyd, which alone can finish it";
    const char *why = tly_storage_error(storage);
    if (result == TLY_IO && why[0] != '\0') return why;
    if (result == TLY_MORE) return "it is cut short";
    return tly_result_text(result);
}

static enum tly_result heal_one(struct tly_storage *storage, struct tly_manifest *manifest, const char *name,
                                struct tly_healed *healed)
{
    struct tly_intent intent;
    enum tly_result result = load(storage, name, &intent);
    if (result == TLY_NOT_FOUND) return TLY_OK; /* its owner finished it meanwhile */
    if (result == TLY_NOMEM) return result;
    if (result != TLY_OK) {
        keep(healed, name, explain(storage, result));
        return TLY_OK;
    }
    const char *outcome = classify(manifest, &intent);
    result = tly_intent_finish(storage, &intent, outcome);
    /* Once MANIFEST is written anew, its want is no longer seen. */
    if (result != TLY_OK && manifest->revision == 0) return result;
    if (result != TLY_OK) {
        healed->left++;
        (void)snprintf(healed->left_why, sizeof healed->left_why, "%s", explain(storage, result));
        return TLY_OK;
    }
    if (tly_manifest_has_change(manifest, intent.id))
        healed->finished++;
    else
        healed->discarded++;
    tly_manifest_drop_change(manifest, intent.id);
    return TLY_OK;
}

static enum tly_result heal_listed(struct tly_storage *storage, struct tly_manifest *manifest,
                                   const struct listed *listed, const char *live, struct tly_healed *healed)
{
    enum tly_result first = TLY_OK;
    for (size_t i = 0; i < listed->count; i++) {
        const char *name = listed->names[i];
        if (has_id(name, live)) continue;
        enum tly_result result = TLY_OK;
        if (listed->is_foreign)
            keep(healed, name, "it is no file");
        else
            result = heal_one(storage, manifest, name, healed);
        if (first == TLY_OK) first = result;
    }
    return first;
}

/* What stands in the list for no intent that is still there. */
static void drop_unasked(struct tly_manifest *manifest, const struct listed *listed, const char *live)
{
    if (listed->count == LISTED_MAX) return;
    for (size_t i = manifest->change_count; i-- > 0;) {
        bool is_there = strcmp(manifest->changes[i], live) == 0;
        for (size_t k = 0; k < listed->count; k++)
            is_there = is_there || has_id(listed->names[k], manifest->changes[i]);
        if (!is_there) tly_manifest_drop_change(manifest, manifest->changes[i]);
    }
}

enum tly_result tly_intents_heal(struct tly_storage *storage, struct tly_manifest *manifest, const char *live,
                                 struct tly_healed *healed)
{
    struct tly_mem mem = tly_libc_mem();
    *healed = (struct tly_healed){0};
    struct listed *listed = tly_mem_zeroed(&mem, sizeof *listed);
    if (listed == NULL) return TLY_NOMEM;
    enum tly_result result = tly_storage_list(storage, TLY_INTENT_DIRECTORY, note_name, listed);
    if (result == TLY_OK) {
        drop_unasked(manifest, listed, live);
        result = heal_listed(storage, manifest, listed, live, healed);
        listed->count = 0;
        listed->is_foreign = true;
    }
    if (result == TLY_OK) result = tly_storage_list_foreign(storage, TLY_INTENT_DIRECTORY, note_name, listed);
    if (result == TLY_OK) result = heal_listed(storage, manifest, listed, live, healed);
    tly_mem_free(&mem, listed, sizeof *listed);
    return result;
}
