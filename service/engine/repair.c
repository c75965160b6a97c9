/*
 * Comparing with peers: what marks cannot see (a bit that rotted, an old disk, a mistake of ours) is found by fingerprints.  Every
 * minute each pair compares the print of everything, once: the node with the lower origin asks.  Unequal prints alone are no alarm,
 * for things change meanwhile; a dot that both sides' marks say is known and that one side has not is one.
 *
 * When nothing changes on either side and the marks agree, all branches that differ are opened; otherwise one branch, a 64th of the
 * leaves, each time the next one.  The map is walked a few entries at a time, for one comparison after the other.
 */
#include "service/engine/impl.h"

#include "service/engine/limit.h"

/* ---- what is compared ---- */

static bool is_gone(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                    const struct tly_dot *put)
{
    const struct omission *omission = context;
    return tly_limit_expired(key, strategy, put, omission->now_ms * NS_PER_MS,
                             tly_ormap_clock(omission->e->map)->max_skew_ns);
}

void tly_repair_omit(const struct tly_engine *e, uint64_t f, uint64_t now_ms, struct omission *out)
{
    *out = (struct omission){.e = e, .now_ms = now_ms};
    out->omit = (struct tly_omit){
        .ended = {.upto = f,
                  .now_ms = now_ms,
                  .skew_ns = tly_ormap_clock(e->map)->max_skew_ns,
                  .is_counter = tly_limit_is_counter},
        .gone = now_ms != 0 ? is_gone : NULL,
        .context = out,
    };
}

/* The next step of time: what this node has dropped by itself until now is left out. */
static uint64_t time_of(const struct tly_engine *e)
{
    uint64_t now_ms = tly_forget_now_ms(e), cluster_ms = e->cluster_ns / NS_PER_MS;
    return (now_ms > cluster_ms ? now_ms : cluster_ms) / TLY_REPAIR_STEP_MS + 1;
}

static bool is_sane(const struct tly_engine *e, uint64_t time)
{
    uint64_t skew_ms = tly_ormap_clock(e->map)->max_skew_ns / NS_PER_MS;
    return time <= time_of(e) + skew_ms / TLY_REPAIR_STEP_MS + 1;
}

void *tly_repair_spare(struct tly_engine *e, size_t bytes)
{
    tly_room_for(e, ROOM_NEW_KEY);
    void *block = tly_mem_zeroed(&e->mem, bytes);
    tly_room_for(e, ROOM_FOR_ALL);
    return block;
}

static uint64_t check_of(const struct tly_engine *e)
{
    return tly_print_of_key(&e->print_key, tly_slice_of(NULL, 0)) & UINT32_MAX;
}

/* Of the marks of all lives that are not settled; 0: some dots lie beyond those that may move yet. */
static uint64_t marks_print(const struct tly_engine *e)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        uint64_t words[] = {life.origin, life.mark};
        if (life.origin == 0 || life.state >= TLY_LIFE_SETTLED) continue;
        if (life.last > life.mark && life.state == TLY_LIFE_OPEN) return 0;
        uint8_t bytes[sizeof words];
        tly_print_set(bytes, 0, words[0]);
        tly_print_set(bytes, 1, words[1]);
        if (life.mark != 0) sum += tly_print_of_key(&e->print_key, tly_slice_of(bytes, sizeof bytes));
    }
    return sum | 1;
}

/* ---- the examiner ---- */

static bool is_examined(const struct tly_engine *e, const struct repair *repair)
{
    const struct examiner *x = e->examiner;
    return x->done && x->f == repair->f && x->time == repair->time;
}

static void begin_examining(struct tly_engine *e, const struct repair *repair)
{
    struct examiner *x = e->examiner;
    x->running = true;
    x->done = false;
    x->f = repair->f;
    x->time = repair->time;
    x->changes = tly_ormap_changes(e->map);
    x->cursor = 0;
    memset(x->of, 0, sizeof x->of);
}

static void end_examining(struct tly_engine *e)
{
    struct examiner *x = e->examiner;
    x->running = false;
    x->done = true;
    x->root = 0;
    for (size_t i = 0; i < TLY_LEAVES; i++)
        x->root += x->of[i] = x->prints.of[i] - x->of[i];
    bool quiet = x->changes == tly_ormap_changes(e->map) && !tly_ormap_is_unsealed(e->map);
    x->state = quiet ? marks_print(e) : 0;
}

/* Examines some more for a comparison; true: the result is there. */
static bool examine(struct tly_engine *e, const struct repair *repair)
{
    struct examiner *x = e->examiner;
    struct omission omission;
    bool fresh = x->changes == tly_ormap_changes(e->map) && !tly_ormap_is_unsealed(e->map) && x->state != 0;
    if (is_examined(e, repair) && fresh) return true;
    if (!x->running || x->f != repair->f || x->time != repair->time) {
        /* What is unsealed has no print. */
        if (tly_flush_seal(e) != TLY_OK) return false;
        begin_examining(e, repair);
    }
    tly_repair_omit(e, x->f, x->time * TLY_REPAIR_STEP_MS, &omission);
    if (tly_prints_walk(e->map, &x->cursor, TLY_REPAIR_ENTRIES, &omission.omit, x->of)) return false;
    end_examining(e);
    return true;
}

static uint64_t branch_print(const struct tly_engine *e, size_t branch)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < TLY_LEAVES_EACH; i++)
        sum += e->examiner->of[branch * TLY_LEAVES_EACH + i];
    return sum;
}

/* ---- beginning and ending ---- */

static void end_repair(struct tly_engine *e, struct repair **repair)
{
    if (*repair == NULL) return;
    tly_repair_forget_seen(e, *repair);
    tly_mem_free(&e->mem, *repair, sizeof **repair);
    *repair = NULL;
}

void tly_repair_fini(struct tly_engine *e, struct conn *conn)
{
    end_repair(e, &conn->mine);
    end_repair(e, &conn->asked_for);
}

static bool may_repair(const struct tly_engine *e, const struct conn *conn)
{
    bool in_step = !conn->below && !conn->asked && !conn->out.active && e->held_batch <= e->stored;
    return conn->state == CONN_UP && conn->repairs && in_step && !conn->life_ended;
}

static bool need_examiner(struct tly_engine *e)
{
    if (e->examiner != NULL) return true;
    e->examiner = tly_repair_spare(e, sizeof *e->examiner);
    if (e->examiner == NULL) return false;
    e->examiner->prints.key = e->print_key;
    tly_ormap_use_prints(e->map, &e->examiner->prints);
    return true;
}

/* Without memory there is none this time. */
static struct repair *repair_new(struct tly_engine *e, uint64_t number, bool asker)
{
    struct repair *repair = need_examiner(e) ? tly_repair_spare(e, sizeof *repair) : NULL;
    if (repair == NULL) return NULL;
    repair->number = number;
    repair->asker = asker;
    repair->f = e->forget.ripe.f;
    repair->time = time_of(e);
    e->repair_step_at = e->now.mono_ns;
    return repair;
}

static void begin_mine(struct tly_engine *e, struct conn *conn)
{
    conn->repair_at = e->now.mono_ns + TLY_REPAIR_EVERY_NS;
    if (!may_repair(e, conn)) return;
    end_repair(e, &conn->mine);
    conn->mine = repair_new(e, ++conn->repair_number, true);
    if (conn->mine != NULL) e->stats.repairs_begun++;
}

void tly_repair_begin(struct tly_engine *e, struct conn *conn)
{
    bool first = tly_ormap_origin(e->map) < conn->peer->origin;
    conn->repair_at = conn->repairs && first ? e->now.mono_ns + TLY_REPAIR_EVERY_NS : TLY_NEVER;
}

/* ---- what goes out ---- */

/* Small ones, of which there are two a minute. */
static void send(struct tly_engine *e, struct conn *conn, enum tly_frame_type type)
{
    tly_fx_send(e, conn, (enum tly_frame_type)(type | TLY_FRAME_IGNORABLE));
}

void tly_repair_send(struct tly_engine *e, struct conn *conn, enum tly_frame_type type)
{
    tly_fx_send_on(e, conn, (enum tly_frame_type)(type | TLY_FRAME_IGNORABLE), TLY_LANE_REPAIR, 0);
    tly_flush_part_sent(e, conn);
}

static struct tly_compare terms_of(const struct tly_engine *e, const struct repair *repair)
{
    return (struct tly_compare){.number = repair->number,
                                .check = check_of(e),
                                .f = repair->f,
                                .time = repair->time,
                                .state = e->examiner->state,
                                .root = e->examiner->root};
}

static void send_compare(struct tly_engine *e, struct conn *conn, struct repair *repair)
{
    struct tly_compare compare = terms_of(e, repair);
    tly_compare_put(&e->body, &compare);
    send(e, conn, TLY_FRAME_COMPARE);
    repair->stage = REPAIR_COMPARED;
}

/* The branches go only to who gave its root on these terms, and another one. */
static void send_tree(struct tly_engine *e, struct conn *conn, struct repair *repair)
{
    uint8_t branches[TLY_BRANCHES * sizeof(uint64_t)];
    struct tly_compare tree = terms_of(e, repair);
    for (size_t i = 0; i < TLY_BRANCHES; i++)
        tly_print_set(branches, i, branch_print(e, i));
    if (repair->compared_before && tree.root != repair->root)
        tree.branches = tly_slice_of(branches, sizeof branches);
    tly_tree_put(&e->body, &tree);
    send(e, conn, TLY_FRAME_TREE);
    repair->stage = REPAIR_ANSWERED;
}

/* How a branch that differs is opened: with few keys its dots cost less than the prints of its leaves. */
static uint8_t how_opened(const struct tly_engine *e)
{
    return tly_ormap_count(e->map) < TLY_REPAIR_KEYS_MIN ? LEAF_WHOLE : LEAF_PRINTED;
}

/* Which branches are looked into; false: none. */
static bool choose_branches(struct tly_engine *e, struct conn *conn, struct repair *repair)
{
    bool agreed = repair->state != 0 && repair->state == e->examiner->state, any = false;
    size_t sample = conn->peer->audited % TLY_BRANCHES;
    for (size_t i = 0; i < TLY_BRANCHES; i++) {
        bool differs = repair->theirs[i] != branch_print(e, i) && (agreed || i == sample);
        repair->branches[i] = differs ? how_opened(e) : LEAF_SHUT;
        any = any || differs;
    }
    if (!agreed) conn->peer->audited++;
    if (!agreed)
        e->stats.repairs_audited++;
    else if (any)
        e->stats.repairs_opened++;
    else
        e->stats.repairs_equal++; /* what had differed has come meanwhile */
    return any;
}

static void send_open(struct tly_engine *e, struct conn *conn, struct repair *repair)
{
    static const size_t leaf_bytes = TLY_LEAVES_EACH * sizeof(uint64_t);
    struct tly_open open = {.number = repair->number, .f = repair->f, .time = repair->time};
    struct tly_opened opened[TLY_BRANCHES];
    tly_buf_clear(&e->part);
    for (size_t i = 0; i < TLY_LEAVES; i++) {
        uint8_t print[sizeof(uint64_t)];
        tly_print_set(print, 0, e->examiner->of[i]);
        tly_buf_put(&e->part, print, sizeof print);
    }
    for (size_t i = 0; i < TLY_BRANCHES && e->part.result == TLY_OK; i++) {
        if (repair->branches[i] == LEAF_SHUT) continue;
        bool printed = repair->branches[i] == LEAF_PRINTED;
        opened[open.count++] =
            (struct tly_opened){i, tly_slice_of(e->part.p + i * leaf_bytes, printed ? leaf_bytes : 0)};
    }
    if (e->part.result != TLY_OK) tly_buf_fail(&e->body, e->part.result);
    tly_open_put(&e->body, &open, opened);
    tly_repair_send(e, conn, TLY_FRAME_OPEN);
    repair->stage = REPAIR_OPENED;
}

static void list_leaf(struct repair *repair, size_t leaf)
{
    repair->leaves[leaf / 64] |= UINT64_C(1) << leaf % 64;
}

static void begin_listing(struct repair *repair)
{
    repair->walk = (struct snap_out){0};
    repair->stage = REPAIR_LIST;
}

/* The leaves whose prints differ, and all of the branches that are wanted whole. */
static void match_leaves(const struct tly_engine *e, struct repair *repair)
{
    for (size_t i = 0; i < TLY_LEAVES; i++) {
        uint8_t how = repair->branches[i / TLY_LEAVES_EACH];
        if (how == LEAF_WHOLE || (how == LEAF_PRINTED && repair->theirs[i] != e->examiner->of[i]))
            list_leaf(repair, i);
    }
    begin_listing(repair);
}

/* ---- steps ---- */

/* A node that is examined on the terms of TREE compares itself. */
static void go_on_comparing(struct tly_engine *e, struct conn *conn, struct repair **repair)
{
    struct repair *r = *repair;
    if (r->compared_before && r->root == e->examiner->root) {
        e->stats.repairs_equal++;
        end_repair(e, repair);
    } else {
        send_compare(e, conn, r);
    }
}

static void go_on_opening(struct tly_engine *e, struct conn *conn, struct repair **repair)
{
    if (choose_branches(e, conn, *repair))
        send_open(e, conn, *repair);
    else
        end_repair(e, repair);
}

static void list_some(struct tly_engine *e, struct conn *conn, struct repair **repair)
{
    size_t room = tly_lane_room(&conn->lanes, TLY_LANE_REPAIR, e->now.mono_ns);
    if (room == 0 || tly_fx_is_full(e)) return;
    if (tly_flush_seal(e) != TLY_OK || tly_repair_list(e, conn, *repair, room)) return;
    if ((*repair)->asker)
        end_repair(e, repair);
    else
        (*repair)->stage = REPAIR_LISTED;
}

static bool wants_examining(const struct repair *repair)
{
    return repair->stage == REPAIR_COMPARE || repair->stage == REPAIR_OPEN ||
           repair->stage == REPAIR_ANSWER || repair->stage == REPAIR_MATCH;
}

static bool has_work(const struct repair *repair)
{
    return repair != NULL && (wants_examining(repair) || repair->stage == REPAIR_LIST);
}

/* *busy: the examiner works for another comparison already. */
static void step(struct tly_engine *e, struct conn *conn, struct repair **repair, bool *busy)
{
    struct repair *r = *repair;
    if (!has_work(r)) return;
    if (r->stage == REPAIR_LIST) {
        list_some(e, conn, repair);
        return;
    }
    if (*busy || !examine(e, r)) {
        *busy = true;
        return;
    }
    switch (r->stage) {
    case REPAIR_COMPARE: go_on_comparing(e, conn, repair); break;
    case REPAIR_OPEN: go_on_opening(e, conn, repair); break;
    case REPAIR_ANSWER: send_tree(e, conn, r); break;
    case REPAIR_MATCH: match_leaves(e, r); break;
    case REPAIR_COMPARED:
    case REPAIR_OPENED:
    case REPAIR_ANSWERED:
    case REPAIR_LIST:
    case REPAIR_LISTED: break;
    }
}

void tly_repair_tick(struct tly_engine *e)
{
    bool busy = false, more = false;
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->repair_at <= e->now.mono_ns) begin_mine(e, e->conns[i]);
    if (e->repair_step_at > e->now.mono_ns) return;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        step(e, conn, &conn->mine, &busy);
        step(e, conn, &conn->asked_for, &busy);
        more = more || has_work(conn->mine) || has_work(conn->asked_for);
    }
    e->repair_step_at = more ? e->now.mono_ns + TLY_REPAIR_STEP_NS : TLY_NEVER;
}

uint64_t tly_repair_deadline(const struct tly_engine *e)
{
    return e->repair_step_at;
}

/* ---- what comes in ---- */

static enum tly_result on_compare(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_compare asked;
    enum tly_result result = tly_compare_get(body, &asked);
    if (result != TLY_OK) return result;
    if (conn->lanes.queued > TLY_QUEUED_CAP / 2) return TLY_OK; /* it asks and does not read */
    if (!may_repair(e, conn) || asked.check != check_of(e) || !is_sane(e, asked.time)) return TLY_OK;
    end_repair(e, &conn->asked_for);
    struct repair *repair = repair_new(e, asked.number, false);
    if (repair == NULL) return TLY_OK;
    bool same_terms = asked.f >= repair->f && asked.time >= repair->time;
    if (asked.f > repair->f) repair->f = asked.f;
    if (asked.time > repair->time) repair->time = asked.time;
    repair->stage = REPAIR_ANSWER;
    repair->root = asked.root;
    repair->compared_before = same_terms;
    conn->asked_for = repair;
    return TLY_OK;
}

static enum tly_result on_tree(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_compare tree;
    struct repair *repair = conn->mine;
    enum tly_result result = tly_tree_get(body, &tree);
    if (result != TLY_OK) return result;
    bool awaited = repair != NULL && repair->stage == REPAIR_COMPARED && repair->number == tree.number;
    if (!awaited || !is_sane(e, tree.time)) return TLY_OK;
    bool same_terms = tree.f == repair->f && tree.time == repair->time;
    repair->f = tree.f;
    repair->time = tree.time;
    repair->root = tree.root;
    repair->state = tree.state;
    repair->compared_before = true;
    e->repair_step_at = e->now.mono_ns;
    if (tree.branches.n > 0) {
        for (size_t i = 0; i < TLY_BRANCHES; i++)
            repair->theirs[i] = tly_print_at(tree.branches, i);
        repair->stage = REPAIR_OPEN;
    } else if (!same_terms) {
        repair->stage = REPAIR_COMPARE;
    } else {
        e->stats.repairs_equal++;
        end_repair(e, &conn->mine);
    }
    return TLY_OK;
}

static enum tly_result on_open(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_open open;
    struct repair *repair = conn->asked_for;
    enum tly_result result = tly_open_get(body, &open);
    if (result != TLY_OK) return result;
    bool awaited = repair != NULL && repair->stage == REPAIR_ANSWERED && repair->number == open.number &&
                   open.f == repair->f && open.time == repair->time;
    if (!awaited) return TLY_OK;
    for (struct tly_opened opened; tly_open_next(&open, &opened);) {
        repair->branches[opened.branch] = opened.prints.n > 0 ? LEAF_PRINTED : LEAF_WHOLE;
        for (size_t i = 0; opened.prints.n > 0 && i < TLY_LEAVES_EACH; i++)
            repair->theirs[opened.branch * TLY_LEAVES_EACH + i] = tly_print_at(opened.prints, i);
    }
    repair->stage = REPAIR_MATCH;
    e->repair_step_at = e->now.mono_ns;
    return TLY_OK;
}

/* What the peer has listed is listed here too, but for what it has shown to have. */
static void answer_leaves(struct tly_engine *e, struct repair *repair, struct tly_leaves *message)
{
    for (uint64_t leaf; tly_leaves_next(message, &leaf);) {
        size_t branch = (size_t)leaf - TLY_LEAVES;
        if (leaf < TLY_LEAVES) list_leaf(repair, (size_t)leaf);
        for (size_t i = 0; leaf >= TLY_LEAVES && i < TLY_LEAVES_EACH; i++)
            list_leaf(repair, branch * TLY_LEAVES_EACH + i);
    }
    begin_listing(repair);
    e->repair_step_at = e->now.mono_ns;
}

static enum tly_result on_leaves(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_leaves message;
    struct tly_round round;
    enum tly_result result = tly_leaves_get(body, &message);
    if (result == TLY_OK) result = tly_round_get(message.part, &round);
    if (result != TLY_OK) return result;
    if (round.flags != 0) return TLY_BAD_MESSAGE;
    bool of_asker = (message.flags & TLY_LEAVES_OF_ASKER) != 0;
    struct repair **place = of_asker ? &conn->asked_for : &conn->mine, *repair = *place;
    enum repair_stage awaited = of_asker ? REPAIR_LISTED : REPAIR_OPENED;
    if (repair == NULL || repair->stage != awaited || repair->number != message.number) return TLY_OK;
    result = tly_repair_take(e, conn, repair, &round);
    if (result == TLY_CLOCK_AHEAD) {
        /* Nothing of it is taken, nor anything that follows. */
        end_repair(e, place);
        return TLY_OK;
    }
    if (result != TLY_OK || (message.flags & TLY_LEAVES_LAST) == 0) return result;
    if (of_asker)
        end_repair(e, place);
    else
        answer_leaves(e, repair, &message);
    return TLY_OK;
}

enum tly_result tly_repair_on_frame(struct tly_engine *e, struct conn *conn, const struct tly_frame *frame)
{
    switch (frame->type) {
    case TLY_FRAME_COMPARE: return on_compare(e, conn, frame->body);
    case TLY_FRAME_TREE: return on_tree(e, conn, frame->body);
    case TLY_FRAME_OPEN: return on_open(e, conn, frame->body);
    default: return on_leaves(e, conn, frame->body);
    }
}
