/* Tables of prefixes when two nodes meet. */
#include "service/engine/prefixes_internal.h"

#include "wire/table.h"

/* What the peer's table says of the keys that begin so; false: nothing. */
static bool their_home(struct tly_prefixes prefixes, struct tly_slice key, struct tly_prefix *home)
{
    struct tly_prefix row;
    bool found = false;
    for (uint64_t word; tly_prefixes_next(&prefixes, &row.prefix, &word);) {
        if (!tly_table_from_word(word, &row) || row.strategy == NULL) continue;
        if (!tly_slice_begins(key, row.prefix) || (found && row.prefix.n < home->prefix.n)) continue;
        *home = row;
        found = true;
    }
    return found;
}

static bool their_row(struct tly_prefixes prefixes, struct tly_slice prefix, uint64_t *word)
{
    struct tly_slice at;
    while (tly_prefixes_next(&prefixes, &at, word))
        if (tly_slice_equal(at, prefix)) return true;
    return false;
}

/* Of one row of either table: 0 says that there is none in the other, which is well if keys then mean the same. */
static bool agree(const struct tly_prefix *row, uint64_t word, bool is_known,
                  const struct tly_strategy *else_is)
{
    if (is_known) return tly_table_word(row) == word;
    return row->generation == 0 && row->strategy == else_is;
}

/* A sentence that is cut off where its room ends. */
struct sentence {
    char *text;
    size_t size, n;
};

static void say(struct sentence *to, struct tly_slice words)
{
    for (size_t i = 0; i < words.n && to->n + 1 < to->size; i++)
        to->text[to->n++] = words.p[i] >= ' ' && words.p[i] < 0x7f ? (char)words.p[i] : '?';
    to->text[to->n] = '\0';
}

static void say_number(struct sentence *to, uint32_t number)
{
    char digits[10];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    say(to, tly_slice_of(digits + at, sizeof digits - at));
}

static void say_row(struct sentence *to, const struct tly_prefix *row)
{
    if (row == NULL) {
        say(to, tly_slice_text("not registered"));
        return;
    }
    say(to, tly_slice_text(row->strategy != NULL ? row->strategy->name : "dropped"));
    say(to, tly_slice_text(" (generation "));
    say_number(to, row->generation);
    say(to, tly_slice_text(")"));
}

static void say_difference(struct tly_slice prefix, const struct tly_prefix *ours,
                           const struct tly_prefix *theirs, char *text, size_t size)
{
    struct sentence to = {text, size, 0};
    say(&to, tly_slice_text("prefix \""));
    say(&to, prefix);
    say(&to, tly_slice_text("\" is "));
    say_row(&to, ours);
    say(&to, tly_slice_text(" here and "));
    say_row(&to, theirs);
    say(&to, tly_slice_text(" there"));
}

/* A row of theirs that ours does not agree with; false: there is none. */
static bool their_difference(const struct tly_engine *e, struct tly_prefixes *theirs, struct tly_prefix *row,
                             char *text, size_t size)
{
    for (uint64_t word; tly_prefixes_next(theirs, &row->prefix, &word);) {
        struct tly_prefix ours;
        bool is_known = tly_registry_get(e->registry, row->prefix, &ours);
        bool can_read = tly_table_from_word(word, row);
        const struct tly_strategy *else_is = tly_registry_find(e->registry, row->prefix);
        if (can_read && agree(row, is_known ? tly_table_word(&ours) : 0, is_known, else_is)) continue;
        say_difference(row->prefix, is_known ? &ours : NULL, row, text, size);
        return true;
    }
    return false;
}

bool tly_prefixes_differ(const struct tly_engine *e, struct tly_prefixes theirs, char *text, size_t size)
{
    struct tly_prefix row;
    struct tly_prefixes walk = theirs;
    if (their_difference(e, &walk, &row, text, size)) return true;
    for (size_t i = 0; i < tly_registry_count(e->registry); i++) {
        struct tly_prefix ours = tly_registry_at(e->registry, i), home = {0};
        uint64_t word = 0;
        if (tly_table_is_implied(&ours)) continue;
        bool is_known = their_row(theirs, ours.prefix, &word);
        (void)their_home(theirs, ours.prefix, &home);
        if (agree(&ours, word, is_known, home.strategy)) continue;
        say_difference(ours.prefix, &ours, NULL, text, size);
        return true;
    }
    return false;
}

/*
 * A row of a later generation is taken over if that costs nothing: nothing is here that it would be the home of; or it is the first
 * that is said of the prefix, and changes nothing for the keys that are here.
 */
static enum tly_result follow_row(struct draft *draft, const struct tly_prefix *row)
{
    struct tly_prefix ours = {0};
    struct tly_engine *e = draft->e;
    const struct tly_registry *table = tly_draft_table(draft);
    bool is_known = tly_registry_get(table, row->prefix, &ours);
    if (row->generation <= ours.generation || tly_prefix_is_first(row->prefix)) return TLY_PREFIX_TAKEN;
    if (tly_prefixes_are_held(e, row->prefix)) return TLY_PREFIX_HELD;
    bool keeps = !is_known && row->generation == 1 && row->strategy != NULL &&
                 tly_registry_find(table, row->prefix) == row->strategy;
    if (!keeps && tly_prefix_count(e, table, row->prefix) > 0) return TLY_PREFIX_TAKEN;
    return tly_draft_row(draft, row, row->strategy != NULL ? TLY_TABLE_REGISTER : TLY_TABLE_DROP, keeps);
}

bool tly_prefixes_follow(struct tly_engine *e, struct tly_slice peer, struct tly_prefixes theirs)
{
    char actor[TLY_TABLE_ACTOR_MAX + 1], text[256];
    struct tly_reply reply;
    struct tly_prefix row;
    struct sentence who = {actor, sizeof actor, 0};
    say(&who, tly_slice_text("peer "));
    say(&who, peer);
    struct draft draft = {.e = e, .reply = &reply, .change.actor = tly_slice_of(actor, who.n)};
    enum tly_result result = TLY_OK;
    /* What does not go into one change goes into the next, after the next greeting. */
    while (result == TLY_OK && draft.change.changed_count < TLY_TABLE_CHANGED_MAX &&
           their_difference(e, &theirs, &row, text, sizeof text))
        result = follow_row(&draft, &row);
    bool follows = draft.next != NULL;
    return tly_draft_finish(&draft, result) == TLY_OK && follows;
}
