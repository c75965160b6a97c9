/*
 * Who holds the line.  It is nobody's at first.  Whoever wants hard limits names a life to take it; the one that every member
 * names founds:
 *
 *     nobody's --every member names one--> the founder's --gifts--> shared by all
 *
 * Each names itself, or whom the one it named names, down to the least; and once it has named another it founds nothing any more
 * unless all come to name it. So two that know of each other never both found. A gift is for windows that its giver has not begun.
 * What a life held that ended is taken over by the next life of its node, once it is settled, so that all it said is known here; and for
 * windows that it cannot have begun.  Of a node that was forgotten the life takes it that was given something first of all that live.
 */
#include "service/engine/impl.h"

#define EVERY_NS NS_PER_S
#define MEMBERS_MAX 256
/* Who holds more of the line may take over from the rest, which holds back; and of two halves neither is more. */
#define GREATER_PART (TLY_LINE_END / 2 + TLY_LINE_END / 64)

/* A member, as far as the line is concerned. */
struct party {
    uint64_t life;
    uint64_t held; /* of the line */
    uint64_t vote; /* whom it names; 0: nobody */
    bool here;     /* it can be reached */
};

struct parties {
    struct party party[MEMBERS_MAX]; /* this node first */
    size_t count;
    bool complete; /* every member is among them */
};

static struct tly_slice line_key(void)
{
    return tly_slice_text(TLY_RIGHTS_PREFIX);
}

static const struct tly_dot *line_dots(struct tly_engine *e, size_t *count)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, line_key());
    *count = 0;
    return entry != NULL ? tly_entry_dots(e->map, entry, count) : NULL;
}

/* ---- reading ---- */

/* The newest fact that counts for windows from then on: what is read follows from that. */
static uint64_t class_of(const struct tly_dot *dots, size_t count, uint64_t start_ms)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t from = dots[i].num[TLY_RIGHTS_EPOCH];
        if (tly_rights_is_standing(&dots[i]) && from <= start_ms && from > newest) newest = from;
    }
    return newest;
}

const struct tly_piece *tly_line_at(struct tly_engine *e, uint64_t start_ms, size_t *count)
{
    struct escrow *escrow = &e->escrow;
    size_t dot_count;
    const struct tly_dot *dots = line_dots(e, &dot_count);
    *count = 0;
    if (dot_count == 0) return NULL;
    if (escrow->pieces == NULL) {
        escrow->pieces = tly_mem_zeroed(&e->mem, TLY_LINE_PIECES_MAX * sizeof *escrow->pieces);
        escrow->is_read = false;
        if (escrow->pieces == NULL) return NULL;
    }
    uint64_t class_ms = class_of(dots, dot_count, start_ms);
    if (!escrow->is_read || escrow->class_ms != class_ms)
        escrow->piece_count = tly_line_read(dots, dot_count, start_ms, escrow->pieces);
    escrow->is_read = true;
    escrow->class_ms = class_ms;
    *count = escrow->piece_count;
    return escrow->pieces;
}

uint64_t tly_line_share(struct tly_engine *e, uint64_t start_ms, uint64_t life, uint64_t limit)
{
    size_t count;
    uint64_t share = 0;
    const struct tly_piece *pieces = tly_line_at(e, start_ms, &count);
    for (size_t i = 0; i < count; i++)
        if (pieces[i].life == life) share += tly_stretch_units(pieces[i].stretch, limit);
    return share;
}

bool tly_line_is_nobodys(struct tly_engine *e, uint64_t start_ms)
{
    size_t count;
    const struct tly_piece *pieces = tly_line_at(e, start_ms, &count);
    for (size_t i = 0; i < count; i++)
        if (pieces[i].life != 0) return false;
    return true;
}

/* A clock that stands before what this life has seen may be back in a window of which the counts are gone. */
static bool knows_its_past(const struct tly_engine *e)
{
    const struct tly_clock *clock = tly_ormap_clock(e->map);
    return clock->last <= e->cluster_ns || clock->last - e->cluster_ns <= clock->max_skew_ns;
}

bool tly_line_is_fit(const struct tly_engine *e)
{
    bool is_there = e->now.mono_ns < e->escrow.fit_until;
    bool is_known = e->life.kept == 0 && e->life.unheard == 0;
    return tly_ormap_origin(e->map) != 0 && is_known && is_there && knows_its_past(e);
}

/* Who holds that point in windows that start then. */
static uint64_t holder_at(struct tly_engine *e, uint32_t point, uint64_t start_ms)
{
    size_t count;
    const struct tly_piece *pieces = tly_line_at(e, start_ms, &count);
    for (size_t i = 0; i < count; i++)
        if (point >= pieces[i].stretch.begin && point < pieces[i].stretch.end) return pieces[i].life;
    return 0;
}

/* All that was said before this fact by who said it, and all by who is said to have ended. */
static bool is_history_known(const struct tly_engine *e, const struct tly_dot *fact)
{
    uint64_t origin = fact->version.origin, peer = fact->num[TLY_RIGHTS_PEER];
    bool is_own = origin == tly_ormap_origin(e->map);
    if (!is_own && tly_ormap_mark(e->map, origin) < fact->version.ts) return false;
    bool is_heir = fact->num[TLY_RIGHTS_WINDOW] == TLY_RIGHTS_TAKEN && peer != 0;
    return !is_heir || tly_ormap_mark(e->map, peer) == UINT64_MAX;
}

bool tly_line_is_owner(struct tly_engine *e, uint32_t point)
{
    uint64_t self = tly_ormap_origin(e->map);
    if (holder_at(e, point, e->cluster_ns / NS_PER_MS) != self || holder_at(e, point, UINT64_MAX) != self)
        return false;
    size_t count;
    const struct tly_dot *dots = line_dots(e, &count);
    for (size_t i = 0; i < count; i++)
        if (tly_rights_is_standing(&dots[i]) && !is_history_known(e, &dots[i])) return false;
    return true;
}

/* ---- the members ---- */

static void add_party(struct parties *parties, uint64_t life, bool here)
{
    if (life == 0 || parties->count == MEMBERS_MAX)
        parties->complete = false;
    else
        parties->party[parties->count++] = (struct party){.life = life, .here = here};
}

static struct party *party_of(struct parties *parties, uint64_t life)
{
    for (size_t i = 0; i < parties->count; i++)
        if (parties->party[i].life == life) return &parties->party[i];
    return NULL;
}

static void put_votes(struct tly_engine *e, struct parties *parties)
{
    size_t count;
    const struct tly_dot *dots = line_dots(e, &count);
    for (size_t i = 0; i < count; i++) {
        bool is_vote = dots[i].op == TLY_PUT && dots[i].num[TLY_RIGHTS_WINDOW] == TLY_RIGHTS_VOTE;
        struct party *party = is_vote ? party_of(parties, dots[i].version.origin) : NULL;
        if (party != NULL) party->vote = dots[i].num[TLY_RIGHTS_PEER];
    }
}

/* All that a life said that is not here any more is known. */
static bool is_known(const struct tly_engine *e, uint64_t life)
{
    size_t number = tly_ormap_life_number(e->map, life);
    if (number == tly_ormap_lives(e->map)) return tly_ormap_mark(e->map, life) == UINT64_MAX;
    return tly_ormap_mark(e->map, life) >= tly_ormap_life(e->map, number).last;
}

/* Members; and who is none, or not yet, but is connected. */
static void add_peer(struct tly_engine *e, struct parties *parties, const struct peer *peer)
{
    if (tly_member_counts(peer))
        add_party(parties, peer->member_origin, tly_member_is_reachable(e, peer));
    else if (!peer->is_member && peer->conn != NULL)
        add_party(parties, peer->origin, false);
    else if (peer->is_member && peer->state == MEMBER_LEFT && !is_known(e, peer->member_origin))
        parties->complete = false;
}

static void look_at_members(struct tly_engine *e, struct parties *parties)
{
    size_t count;
    parties->count = 0;
    parties->complete = true;
    add_party(parties, tly_ormap_origin(e->map), true);
    for (size_t i = 0; i < e->peer_count; i++)
        add_peer(e, parties, e->peers[i]);
    put_votes(e, parties);
    const struct tly_piece *pieces = tly_line_at(e, UINT64_MAX, &count);
    for (size_t i = 0; i < count; i++) {
        struct party *party = party_of(parties, pieces[i].life);
        if (party != NULL) party->held += pieces[i].stretch.end - pieces[i].stretch.begin;
    }
}

static enum tly_result say(struct tly_engine *e, uint64_t window, uint64_t from_ms, uint64_t peer,
                           uint64_t packed)
{
    struct tly_dot dot = {.op = TLY_PUT, .num = {window, from_ms, peer, packed}};
    e->escrow.is_read = false;
    enum tly_result result = tly_ormap_put(e->map, line_key(), &dot);
    if (result == TLY_OK) tly_flush_soon(e, true);
    return result;
}

static bool put_fact(struct tly_engine *e, uint64_t window, uint64_t from_ms, uint64_t peer, uint64_t packed)
{
    return say(e, window, from_ms, peer, packed) == TLY_OK;
}

/* ---- founding ---- */

/* Whether somebody has taken what was nobody's, or the line can no longer be read. */
static bool is_founded(struct tly_engine *e)
{
    size_t count, dot_count;
    const struct tly_piece *pieces = tly_line_at(e, UINT64_MAX, &count);
    (void)line_dots(e, &dot_count);
    return (dot_count > 0 && count == 0) || (count > 0 && (count > 1 || pieces[0].life != 0));
}

static bool has_met_its_seeds(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->target_count; i++) {
        const struct peer *peer = e->targets[i]->peer;
        bool counts = e->targets[i]->is_seed && !e->targets[i]->is_self;
        if (counts && (peer == NULL || (!peer->is_member && peer->conn == NULL))) return false;
    }
    return true;
}

/* Who named another follows that one when it names a lesser one, or has ended. */
static uint64_t vote_of(struct tly_engine *e, struct parties *parties)
{
    struct party *self = &parties->party[0], *named = party_of(parties, self->vote);
    uint64_t least = self->life;
    for (size_t i = 1; i < parties->count; i++)
        if (parties->party[i].vote == parties->party[i].life && parties->party[i].life < least)
            least = parties->party[i].life;
    if (self->vote == 0 || self->vote == self->life) return least;
    if (tly_ormap_mark(e->map, self->vote) == UINT64_MAX) return least;
    return named != NULL && named->vote != 0 && named->vote != named->life ? named->vote : self->vote;
}

static void found(struct tly_engine *e, struct parties *parties)
{
    struct party *self = &parties->party[0];
    uint64_t vote = vote_of(e, parties), now_ms = e->cluster_ns / NS_PER_MS;
    if (vote != self->vote && !put_fact(e, TLY_RIGHTS_VOTE, 0, vote, 0)) return;
    self->vote = vote;
    if (!parties->complete || !has_met_its_seeds(e)) return;
    for (size_t i = 0; i < parties->count; i++)
        if (parties->party[i].vote != self->life) return;
    struct tly_stretch all = {0, TLY_LINE_END};
    (void)put_fact(e, TLY_RIGHTS_TAKEN, now_ms + 1, 0, tly_stretch_pack(all));
}

enum tly_result tly_line_claim(struct tly_engine *e)
{
    struct tly_stretch all = {0, TLY_LINE_END};
    if (!is_founded(e) || !tly_line_is_nobodys(e, 0) || !tly_line_is_fit(e)) return TLY_NOT_FOUND;
    return say(e, TLY_RIGHTS_TAKEN, 0, 0, tly_stretch_pack(all));
}

/* ---- sharing out ---- */

static const struct party *poorest(const struct parties *parties)
{
    const struct party *poorest = NULL;
    for (size_t i = 1; i < parties->count; i++) {
        const struct party *party = &parties->party[i];
        if (party->here && (poorest == NULL || party->held < poorest->held)) poorest = party;
    }
    return poorest;
}

static bool is_richest(const struct parties *parties)
{
    const struct party *self = &parties->party[0];
    for (size_t i = 1; i < parties->count; i++) {
        const struct party *party = &parties->party[i];
        if (party->here &&
            (party->held > self->held || (party->held == self->held && party->life < self->life)))
            return false;
    }
    return true;
}

/* Of the last of its pieces that much, for windows that this node has not begun. */
static bool give_stretch(struct tly_engine *e, uint64_t life, uint64_t width)
{
    size_t count;
    uint64_t own = tly_ormap_origin(e->map), from_ms = e->cluster_ns / NS_PER_MS + 1;
    const struct tly_piece *pieces = tly_line_at(e, UINT64_MAX, &count);
    while (count > 0 && pieces[count - 1].life != own)
        count--;
    if (count == 0) return false;
    struct tly_piece piece = pieces[count - 1];
    if (piece.stretch.end - piece.stretch.begin > width)
        piece.stretch.begin = piece.stretch.end - (uint32_t)width;
    if (piece.since_ms > from_ms) from_ms = piece.since_ms;
    return put_fact(e, TLY_RIGHTS_STANDING, from_ms, life, tly_stretch_pack(piece.stretch));
}

/* The richest gives the poorest, until nobody has much less than an equal share. True: something was given. */
static bool share_out(struct tly_engine *e, struct parties *parties)
{
    uint64_t all = 0, here = 0;
    const struct party *self = &parties->party[0], *poor = poorest(parties);
    for (size_t i = 0; i < parties->count; i++) {
        all += parties->party[i].here ? parties->party[i].held : 0;
        here += parties->party[i].here;
    }
    if (here == 0) return false;
    uint64_t equal = all / here;
    if (poor == NULL || !is_richest(parties) || self->held <= equal || poor->held >= equal / 4 * 3)
        return false;
    uint64_t excess = self->held - equal, lacking = equal - poor->held;
    return give_stretch(e, poor->life, excess < lacking ? excess : lacking);
}

/* ---- taking over ---- */

static bool is_settled(const struct tly_engine *e, uint64_t life)
{
    return tly_ormap_mark(e->map, life) == UINT64_MAX;
}

/* Its node is gone for good, by the member list, and did not come back as another life. */
static bool was_forgotten(const struct tly_engine *e, uint64_t life)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->member_origin == life) return e->peers[i]->state == MEMBER_FORGOTTEN;
    return false;
}

/*
 * Of all that were ever given something and are not settled, this life was the first. Whoever was before it is known: what made it
 * so was said by one that came earlier still, and is settled, or is one of them.
 */
static bool is_first(struct tly_engine *e)
{
    size_t count;
    const struct tly_dot *dots = line_dots(e, &count);
    for (size_t i = 0; i < count; i++) {
        bool is_taken = dots[i].num[TLY_RIGHTS_WINDOW] == TLY_RIGHTS_TAKEN;
        uint64_t to = is_taken ? dots[i].version.origin : dots[i].num[TLY_RIGHTS_PEER];
        if (tly_rights_is_standing(&dots[i]) && !is_settled(e, to)) return to == tly_ormap_origin(e->map);
    }
    return false;
}

/* Those that can be reached hold more than half of the line: then whoever cannot reach any of them holds back. */
static bool is_greater_part(const struct parties *parties)
{
    uint64_t here = 0;
    for (size_t i = 0; i < parties->count; i++)
        here += parties->party[i].here ? parties->party[i].held : 0;
    return here > GREATER_PART;
}

/* From when on what that life holds may be this one's; 0: not at all. */
static uint64_t heir_from(struct tly_engine *e, const struct parties *parties, uint64_t life)
{
    uint64_t ns = e->cluster_ns + tly_ormap_clock(e->map)->max_skew_ns;
    if (life == 0 || life == tly_ormap_origin(e->map) || !is_settled(e, life)) return 0;
    if (tly_lives_was_ours(e, life)) return ns / NS_PER_MS;
    if (!was_forgotten(e, life) || !is_first(e) || !is_greater_part(parties)) return 0;
    /* It may live on unheard for so long, until it holds back. */
    return (ns + e->forget.forget_after_ns / 2) / NS_PER_MS;
}

/* The first piece that nobody can use any more, of a former life of this node, or of a node that was forgotten. */
static bool take_over(struct tly_engine *e, const struct parties *parties)
{
    size_t count;
    const struct tly_piece *pieces = tly_line_at(e, UINT64_MAX, &count);
    if (!e->cluster_now.joined || !tly_lives_former_are_settled(e)) return false;
    for (size_t i = 0; i < count; i++) {
        struct tly_piece piece = pieces[i];
        uint64_t from_ms = heir_from(e, parties, piece.life);
        if (from_ms == 0) continue;
        if (piece.since_ms > from_ms) from_ms = piece.since_ms;
        bool took = put_fact(e, TLY_RIGHTS_TAKEN, from_ms, piece.life, tly_stretch_pack(piece.stretch));
        e->stats.rights_taken += took;
        return took;
    }
    return false;
}

/* ---- is anybody there ---- */

/* A part of the line, and when its holder had not given this node up. */
struct held {
    uint64_t width, proven_at;
};

static uint64_t proven_at(const struct tly_engine *e, uint64_t life)
{
    uint64_t at = 0;
    if (life == tly_ormap_origin(e->map)) return TLY_NEVER;
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_proof_of(e->peers[i], life) > at) at = tly_proof_of(e->peers[i], life);
    return at;
}

/* The last moment at which holders of so much had not given it up that the rest is no greater part. 0: there is none; TLY_NEVER: it is this node's own. */
static uint64_t last_proven(struct tly_engine *e)
{
    size_t count;
    uint64_t last = 0;
    struct held held[TLY_LINE_PIECES_MAX];
    const struct tly_piece *pieces = tly_line_at(e, UINT64_MAX, &count);
    for (size_t i = 0; i < count; i++)
        held[i] =
            (struct held){pieces[i].stretch.end - pieces[i].stretch.begin, proven_at(e, pieces[i].life)};
    for (size_t i = 0; i < count; i++) {
        uint64_t width = 0;
        for (size_t j = 0; held[i].proven_at > last && j < count; j++)
            width += held[j].proven_at >= held[i].proven_at ? held[j].width : 0;
        if (width >= TLY_LINE_END - GREATER_PART) last = held[i].proven_at;
    }
    return last;
}

/*
 * Who takes over what a node held that was forgotten reaches a greater part of the line, of which each had given that node up by then, and does so for
 * windows from half of forget_after on (heir_from). By then no such part of the others is left to the node that had not given it up lately.
 */
static void look_who_is_there(struct tly_engine *e)
{
    uint64_t at = last_proven(e);
    bool is_plain = at == 0 || at == TLY_NEVER;
    e->escrow.fit_until = is_plain ? at : at + e->forget.forget_after_ns / 2;
    tly_proof_step(e, at);
}

void tly_line_tell(struct tly_engine *e, struct tly_limit_view *view)
{
    uint64_t limit = view->rule->rate.limit;
    struct tly_term term = tly_term_of(&view->rule->rate, e->cluster_ns / NS_PER_MS);
    uint64_t start_ms = term.begun_ms;
    struct parties parties;
    look_at_members(e, &parties);
    view->is_founded = is_founded(e);
    view->is_fit = tly_line_is_fit(e);
    view->is_nobodys = view->rule->rate.algorithm != TLY_COUNTER && tly_line_is_nobodys(e, start_ms);
    view->left_ms = term.left_ms;
    view->share = tly_line_share(e, start_ms, tly_ormap_origin(e->map), limit);
    for (size_t i = 0; i < parties.count; i++)
        if (parties.party[i].here)
            view->share_here += tly_line_share(e, start_ms, parties.party[i].life, limit);
}

/* ---- steps ---- */

void tly_line_step(struct tly_engine *e)
{
    struct escrow *escrow = &e->escrow;
    if (!escrow->is_used || e->now.mono_ns < escrow->step_at) return;
    escrow->step_at = e->now.mono_ns + EVERY_NS;
    if (tly_ormap_origin(e->map) == 0 || e->life.kept != 0 || e->leaving) return;
    struct parties parties;
    look_at_members(e, &parties);
    if (!is_founded(e)) {
        escrow->fit_until = TLY_NEVER;
        found(e, &parties);
        return;
    }
    for (size_t i = 0; i < MEMBERS_MAX && take_over(e, &parties); i++)
        continue;
    look_at_members(e, &parties);
    for (size_t i = 0; i < MEMBERS_MAX && share_out(e, &parties); i++)
        look_at_members(e, &parties);
    look_who_is_there(e);
}
