/*
 * Who has heard what, of members that this node has no connection to.  In a ring there are such, and their marks are told to
 * others.  So while somebody waits to be heard by all, each member says so by one lww key, sys:heard:NAME ->
 * [wanted, heard, lives]: it waits for its versions up to `wanted` to be heard; of the life of every member it has all up to `heard`; and
 * `lives` tells apart which these are.  A second after the last word at the earliest, and only if it says
 * something new.  Each word also moves its writer's own mark on, for which the others wait.
 */
#include "service/engine/impl.h"

#include "wire/pack.h"

#define PREFIX "sys:heard:"
#define PREFIX_BYTES 10
#define AGAIN_NS NS_PER_S
/* What has been heard only grows, so the words are looked at again when one came, when it is about others, or after so long. */
#define LOOK_NS (5 * NS_PER_MS)

struct word {
    uint64_t wanted, heard, lives;
    struct tly_version version;
};

static struct tly_slice key_of(uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX], struct tly_slice name)
{
    memcpy(key, PREFIX, PREFIX_BYTES);
    memcpy(key + PREFIX_BYTES, name.p, name.n);
    return tly_slice_of(key, PREFIX_BYTES + name.n);
}

/* What a member has said itself; false: nothing in the life that it is in now. */
static bool word_of(struct tly_engine *e, const struct peer *peer, struct word *word)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    const struct tly_entry *entry = tly_ormap_find(e->map, key_of(key, tly_slice_text(peer->name)));
    if (entry == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    if (count != 1 || dots[0].op != TLY_PUT) return false;
    struct tly_cursor cursor = tly_cursor_of(dots[0].bytes);
    if (tly_get_array(&cursor, 16) < 3) return false;
    word->wanted = tly_get_uint(&cursor);
    word->heard = tly_get_uint(&cursor);
    word->lives = tly_get_uint(&cursor);
    word->version = dots[0].version;
    return cursor.result == TLY_OK && word->version.origin == peer->member_origin;
}

static uint64_t number_of_lives(uint64_t lives, uint64_t origin)
{
    origin = (origin ^ origin >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    return lives + (origin ^ origin >> 29); /* in whatever order */
}

static uint64_t lives_of(const struct tly_engine *e)
{
    uint64_t lives = number_of_lives(0, tly_ormap_origin(e->map));
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_member_counts(e->peers[i])) lives = number_of_lives(lives, e->peers[i]->member_origin);
    return lives;
}

/* Who is a member, and who of them has no connection. */
static uint64_t company_of(const struct tly_engine *e)
{
    uint64_t company = 0;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (!tly_member_counts(peer)) continue;
        company = number_of_lives(company, peer->conn == NULL ? peer->member_origin : ~peer->member_origin);
    }
    return company;
}

static uint64_t heard_here(const struct tly_engine *e)
{
    uint64_t least = tly_ormap_mark(e->map, tly_ormap_origin(e->map));
    for (size_t i = 0; i < e->peer_count; i++) {
        if (!tly_member_counts(e->peers[i])) continue;
        uint64_t mark = tly_ormap_mark(e->map, e->peers[i]->member_origin);
        if (mark < least) least = mark;
    }
    return least;
}

/*
 * A word counts when it is of the same lives, this node's among them, and when all is here that its writer had said before it.
 */
static uint64_t heard_by(const struct tly_engine *e, const struct word *word, uint64_t lives)
{
    if (word->lives != lives) return 0;
    return tly_ormap_mark(e->map, word->version.origin) >= word->version.ts ? word->heard : 0;
}

static void read_words(struct tly_engine *e)
{
    struct hearsay *said = &e->hearsay;
    uint64_t lives = lives_of(e);
    said->others_want = 0;
    said->far = TLY_NEVER;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        struct word word;
        if (!tly_member_counts(peer)) continue;
        bool has_said = word_of(e, peer, &word);
        if (has_said && word.wanted > said->others_want) said->others_want = word.wanted;
        if (peer->conn != NULL) continue;
        uint64_t heard = has_said ? heard_by(e, &word, lives) : 0;
        if (heard < said->far) said->far = heard;
    }
    said->company = company_of(e);
    said->read_at = e->now.mono_ns;
    said->word_came = false;
}

static bool all_are_linked(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->conn == NULL && tly_member_counts(e->peers[i])) return false;
    return true;
}

uint64_t tly_hearsay_far(struct tly_engine *e)
{
    if (all_are_linked(e)) return TLY_NEVER;
    const struct hearsay *said = &e->hearsay;
    bool is_old = said->word_came || said->read_at == 0 || e->now.mono_ns >= said->read_at + LOOK_NS;
    if (is_old || said->company != company_of(e)) read_words(e);
    return said->far;
}

void tly_hearsay_want(struct tly_engine *e, uint64_t ts)
{
    if (ts > e->hearsay.wanted) e->hearsay.wanted = ts;
}

void tly_hearsay_learn(struct tly_engine *e, struct tly_slice key)
{
    if (tly_slice_begins(key, tly_slice_text(PREFIX))) e->hearsay.is_news = e->hearsay.word_came = true;
}

static enum tly_result say(struct tly_engine *e, const struct word *word)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    tly_buf_clear(&e->frame);
    tly_put_array(&e->frame, 3);
    tly_put_uint(&e->frame, word->wanted);
    tly_put_uint(&e->frame, word->heard);
    tly_put_uint(&e->frame, word->lives);
    if (e->frame.result != TLY_OK) return e->frame.result;
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    enum tly_result result = tly_ormap_put(e->map, key_of(key, tly_slice_text(e->name)), &dot);
    if (result == TLY_OK) tly_flush_soon(e, true);
    return result;
}

/* Whether somebody waits for what this node has not said that it heard. */
static bool is_waited_for(const struct hearsay *said)
{
    return said->wanted > said->said_heard || said->others_want > said->said_heard;
}

void tly_hearsay_tick(struct tly_engine *e)
{
    struct hearsay *said = &e->hearsay;
    bool may = e->life.kept == 0 && !e->leaving && tly_ormap_origin(e->map) != 0;
    if (!may || e->now.mono_ns < tly_hearsay_deadline(e)) return;
    said->is_news = false;
    said->step_at = e->now.mono_ns + AGAIN_NS;
    read_words(e);
    uint64_t own = tly_ormap_origin(e->map);
    struct word word = {.wanted = said->wanted, .heard = heard_here(e), .lives = lives_of(e)};
    uint64_t most = said->wanted > said->others_want ? said->wanted : said->others_want;
    bool is_new = word.heard > said->said_heard || word.wanted > said->said_wanted ||
                  word.lives != said->said_lives || tly_ormap_mark(e->map, own) < most;
    if (!is_waited_for(said) || !is_new || say(e, &word) != TLY_OK) return;
    said->said_heard = word.heard;
    said->said_wanted = word.wanted;
    said->said_lives = word.lives;
    if (said->first == 0) said->first = tly_ormap_mark(e->map, own);
}

uint64_t tly_hearsay_deadline(const struct tly_engine *e)
{
    const struct hearsay *said = &e->hearsay;
    if (e->life.kept != 0 || e->leaving || tly_ormap_origin(e->map) == 0) return TLY_NEVER;
    return said->is_news || is_waited_for(said) ? said->step_at : TLY_NEVER;
}
