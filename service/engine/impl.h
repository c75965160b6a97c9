/*
 * Inside the engine.  One struct, split over files by idea:
 *
 *     engine.c    making, events, deadlines          session.c   what a peer's frames do
 *     effects.c   what goes out                      link.c      dialling, one connection per pair, ending
 *     flush.c     rounds, acks, batches              member.c    who is in the cluster (sys:member:)
 *     ask.c       requests                           view.c      looking in
 *     lives.c     the ends of lives (sys:closed:)    forget.c    F (sys:stable:), what is forgotten, members that are
 *     snapshot.c  snapshots, given and taken
 *
 *     a connection's states
 *
 *       DIALLING --connected--> GREETING --their HELLO--> UP
 *                                  |                       |
 *                                  +------ error ----------+--> gone (freed at once; its number is never used again)
 */
#ifndef TALLY_SERVICE_ENGINE_IMPL_H
#define TALLY_SERVICE_ENGINE_IMPL_H

#include "crdt/install.h"
#include "service/engine/engine.h"
#include "service/engine/follower.h"
#include "wire/frame.h"
#include "wire/snapshot.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

#define TLY_CONNS_MAX 1024
#define TLY_TARGETS_MAX 4096
#define TLY_PEERS_MAX 4096
/* Lives of one name that are remembered as replaced: one of them that comes back shows two nodes of that name. */
#define TLY_REPLACED_KEPT 8
#define TLY_HELLO_TIMEOUT_NS (5 * NS_PER_S)
#define TLY_PING_EVERY_NS (2 * NS_PER_S)
#define TLY_SILENCE_MAX_NS (10 * NS_PER_S)
#define TLY_BACKOFF_MIN_NS (100 * NS_PER_MS)
#define TLY_BACKOFF_MAX_NS (30 * NS_PER_S)
/* A connection that was up for so long is dialled again at once when it goes. */
#define TLY_LASTED_NS (5 * NS_PER_S)
#define TLY_ACK_DELAY_NS (2 * NS_PER_MS)
#define TLY_NAK_PAUSE_NS NS_PER_S
/* Rows of one part for a peer and of one batch for the disk. */
#define TLY_PART_BYTES (16u * 1024u)
#define TLY_BATCH_BYTES (64u * 1024u)
/* Handed to a peer's socket and not taken yet: no more is produced, so what waits can still be conflated. */
#define TLY_QUEUED_MAX (64u * 1024u)
/* A peer that reads nothing costs this much, then its connection. */
#define TLY_QUEUED_CAP (4u * 1024u * 1024u)
/* Batches that the store has not confirmed. */
#define TLY_BATCHES_MAX 256
/* Expired dots are looked for in steps, one pass after another; nothing goes in a node's first minute. */
#define TLY_SWEEP_FIRST_NS (60 * NS_PER_S)
#define TLY_SWEEP_STEP_NS (100 * NS_PER_MS)
#define TLY_SWEEP_PASS_NS (10 * NS_PER_S)
#define TLY_SWEEP_ENTRIES 1000
/* What is to be forgotten is looked after so often, while there is anything. */
#define TLY_FORGET_EVERY_NS NS_PER_S
#define TLY_FORGET_RECORDS 1000
/* Lives of which a record is kept though nothing of them is left. */
#define TLY_LIVES_KEPT 1024
/* How long a snapshot waits for all reachable members to know the joiner, and how long it may hold back this node's number. */
#define TLY_JOIN_WAIT_NS (5 * NS_PER_S)
#define TLY_SERVE_MAX_NS (3600 * NS_PER_S)
#define TLY_EFFECT_BYTES_MAX (8u * 1024u * 1024u)
#define TLY_NEVER UINT64_MAX

/* A snapshot on its way out, to a peer or to the disk. */
struct snap_out {
    bool active, begun;
    uint64_t number, chunks;
    size_t cursor;                  /* of tly_ormap_each: the next entry */
    struct tly_version sent;        /* the last dot sent of the entry before it; ts 0: all of it is */
    uint8_t key[TLY_KEY_BYTES_MAX]; /* … its key */
    size_t key_bytes;
    uint64_t frozen;    /* this node's number when it began */
    uint64_t joined_at; /* ts of our dot that names the joiner; to be acknowledged first, until wait_until */
    uint64_t wait_until, give_up_at;
};

/* A snapshot on its way in. */
struct snap_in {
    struct tly_install *install; /* NULL: none */
    uint64_t number, chunks;
};

enum conn_state { CONN_DIALLING, CONN_GREETING, CONN_UP };

struct peer;

/* An address that is dialled until somebody answers. */
struct target {
    char address[TLY_ADDRESS_BYTES_MAX + 1];
    uint64_t next_at;
    uint64_t backoff_ns;
    bool dialling; /* a connection of ours is open or opening */
    bool is_self;
    bool reported;     /* that it cannot be reached */
    bool is_member;    /* named by the member list, not only by a seed */
    bool retired;      /* its member left, or lives elsewhere now */
    struct peer *peer; /* who answered there; NULL: nobody yet */
};

struct conn {
    uint64_t id;
    enum conn_state state;
    struct target *target; /* NULL: accepted */
    struct peer *peer;     /* once UP */
    struct tly_buf in;     /* the beginning of a frame */
    uint64_t since, last_heard, last_ping;
    uint64_t queued;
    struct tly_follower follower;
    uint64_t flush_at, ack_at; /* TLY_NEVER: nothing to do */
    uint64_t last_flush;
    bool takes_rounds; /* its HELLO has the capability `delta` */
    bool round_open;   /* parts of a round are coming in */
    bool round_taken;  /* … and its start was covered and nothing refused */
    bool snapshots;    /* its HELLO has the capability `snapshot` */
    bool below;        /* no round can bring it up, and none is taken from it */
    bool asked;        /* we asked it for a snapshot */
    enum tly_cold_start below_why, asked_why;
    struct snap_out out;
    struct snap_in snap;
};

/* Another node. */
struct peer {
    char name[TLY_NAME_BYTES_MAX + 1];
    char address[TLY_ADDRESS_BYTES_MAX + 1];
    uint64_t origin;
    uint64_t replaced[TLY_REPLACED_KEPT]; /* earlier lives that a newer one took the place of */
    size_t replaced_count;
    struct conn *conn; /* the one connection; NULL: down */
    uint64_t last_heard;
    uint64_t rtt_ns;
    int64_t offset_ns;
    uint64_t bytes_sent, bytes_received;
    uint64_t member_origin, member_state; /* as sys:member: says; 0: it says nothing */
    uint64_t moved_mark, moved_at;        /* of that life, and when it was last seen to move */
    unsigned failures;                    /* rounds of it in succession that could not be applied */
};

/* A life that ended, as sys:closed: says. */
struct closed_life {
    uint64_t origin;
    uint64_t agreed_at; /* all have said the same of it since; TLY_NEVER: they have not */
};

/* What this node knows of what is known everywhere. */
struct forgetting {
    uint64_t grace_ns, forget_after_ns;
    uint64_t step_at;
    uint64_t number, told_print; /* as last published */
    uint64_t f, f_next, f_next_at, f_ripe;
    uint64_t words; /* newest ts of a word that settles a life which is not retired yet */
    size_t ended_cursor;
    uint64_t ended_newest, ended_waiting; /* ts of what has ended and waits for F; of the pass under way */
    char wanted_name[TLY_NAME_BYTES_MAX + 1]; /* of a member that the operator gave up; empty: none */
    bool resync; /* this node holds what nobody else ever will: it needs a snapshot */
    struct closed_life *closed;
    size_t closed_count, closed_capacity;
};

/* An effect whose bytes lie in the arena until the step is done. */
struct pending {
    struct tly_effect effect;
    size_t bytes_at, peer_at, detail_at;
};

/* A complete hand-over to the disk and the last batch of it. */
struct ticket {
    uint64_t number, batch;
};

struct tly_engine {
    struct tly_mem mem;
    char name[TLY_NAME_BYTES_MAX + 1];
    char cluster[TLY_NAME_BYTES_MAX + 1];
    char address[TLY_ADDRESS_BYTES_MAX + 1];
    uint64_t flush_ns;
    uint64_t random;
    bool has_store, leaving;
    struct tly_time now;
    struct tly_ormap *map;
    struct tly_registry *registry;
    struct tly_rules *rules;
    struct tly_stats stats;

    struct conn **conns;
    size_t conn_count, conn_capacity;
    struct target **targets;
    size_t target_count, target_capacity;
    struct peer **peers;
    size_t peer_count, peer_capacity;
    uint64_t next_dial; /* number of the next connection of ours */
    uint64_t new_life_at;
    struct forgetting forget;
    struct snap_out dump;  /* to the disk */
    struct snap_in redump; /* from the disk */
    uint64_t held_batch;   /* peers hear nothing before this batch is stored */
    uint64_t snapshots;    /* number of the last one */

    struct tly_follower disk;
    bool replay_taken;
    uint64_t batch; /* last one handed over */
    uint64_t stored;
    struct ticket tickets[TLY_BATCHES_MAX + 1];
    size_t ticket_count;
    uint64_t ticket_open; /* what is asked for now gets this one */
    uint64_t ticket_stored;
    uint64_t lease_asked;
    bool store_failing;
    size_t sweep_cursor;
    uint64_t sweep_now_ns;         /* the time that counts for the sweep under way */
    uint64_t sweep_at, sweep_from; /* from: nothing goes before, unless a peer has told the time */

    struct tly_buf arena; /* bytes of effects */
    struct pending *pending;
    size_t pending_count, pending_capacity;
    struct tly_effect *effects;
    size_t effect_capacity;
    struct tly_buf body, frame, scratch; /* encoding and decoding */
    struct tly_buf part;
    struct tly_round_writer writer;
    uint8_t key[TLY_KEY_BYTES_MAX];
};

/* effects.c */
void tly_fx_reset(struct tly_engine *e);
struct tly_effects tly_fx_take(struct tly_engine *e);
void tly_fx_add(struct tly_engine *e, enum tly_effect_kind kind, uint64_t conn, uint64_t number,
                struct tly_slice bytes);
void tly_fx_trace(struct tly_engine *e, enum tly_trace_kind kind, const char *peer, struct tly_slice detail);
/* Frames e->body, sends it, clears it. */
void tly_fx_send(struct tly_engine *e, struct conn *conn, enum tly_frame_type type);

/* This node's marks, as HELLO and NAK tell them. */
struct own_marks {
    struct tly_mark *marks;
    size_t count, bytes;
};

/* link.c */
/* False: no memory, which the step will report. */
bool tly_own_marks_init(struct tly_engine *e, struct own_marks *own);
void tly_own_marks_fini(struct tly_engine *e, struct own_marks *own);
struct conn *tly_conn_find(struct tly_engine *e, uint64_t id);
struct conn *tly_conn_new(struct tly_engine *e, uint64_t id, struct target *target);
/* Ends a connection from our side; word and text go out as GOODBYE (NULL: without). */
void tly_conn_end(struct tly_engine *e, struct conn *conn, const char *word, const char *text);
/* Forgets a connection that is gone. */
void tly_conn_gone(struct tly_engine *e, struct conn *conn, const char *why);
void tly_conn_greet(struct tly_engine *e, struct conn *conn);
void tly_conn_free(struct tly_engine *e, struct conn *conn);
struct target *tly_target_need(struct tly_engine *e, struct tly_slice address);
struct peer *tly_peer_need(struct tly_engine *e, struct tly_slice name);
/* Makes conn the peer's connection; of two, the one dialled by the lower origin stays. False: conn was ended. */
bool tly_peer_take(struct tly_engine *e, struct peer *peer, struct conn *conn, uint64_t origin);
void tly_link_tick(struct tly_engine *e);
uint64_t tly_link_deadline(const struct tly_engine *e);
uint64_t tly_random(struct tly_engine *e);

/* session.c */
void tly_session_bytes(struct tly_engine *e, struct conn *conn, struct tly_slice bytes);
/* Joins the dots of a checked part; dots of one's own life count as forged unless replaying. */
enum tly_result tly_session_join(struct tly_engine *e, const struct tly_round *round) TLY_MUST_CHECK;
/* Whether this node can read every row and its clock lets every version in. */
enum tly_result tly_session_admits(const struct tly_engine *e, const struct tly_round *round) TLY_MUST_CHECK;
bool tly_marks_are_covered(const struct tly_engine *e, struct tly_marks start);
enum tly_result tly_marks_take(struct tly_engine *e, struct tly_marks end) TLY_MUST_CHECK;

/* flush.c */
/* Something is new here; own: made here, to be sent at once after idle. */
void tly_flush_soon(struct tly_engine *e, bool own);
void tly_flush_tick(struct tly_engine *e);
uint64_t tly_flush_deadline(const struct tly_engine *e);
void tly_flush_stored(struct tly_engine *e, uint64_t batch);

/* member.c */
enum tly_result tly_member_announce(struct tly_engine *e, bool leaving) TLY_MUST_CHECK;
/* A sys:member: key has changed. */
void tly_member_learn(struct tly_engine *e, struct tly_slice key);
void tly_member_learn_all(struct tly_engine *e);
enum { TLY_MEMBER_ALIVE = 1, TLY_MEMBER_LEFT = 2, TLY_MEMBER_FORGOTTEN = 5 };
/* Writes another node's record. */
enum tly_result tly_member_put(struct tly_engine *e, struct tly_slice name, uint64_t origin,
                               struct tly_slice address, uint64_t state) TLY_MUST_CHECK;
/* The life that the record of a name, which may be one's own, names; 0: none. */
uint64_t tly_member_origin(struct tly_engine *e, struct tly_slice name);

/* lives.c */
/* A sys:closed: key has changed. */
void tly_lives_learn(struct tly_engine *e, struct tly_slice key);
/* All of them; and a life of this node's name that is not the one of now is announced closed. */
enum tly_result tly_lives_start(struct tly_engine *e) TLY_MUST_CHECK;
/* Announces that the life of the named node has ended. */
enum tly_result tly_lives_close(struct tly_engine *e, uint64_t origin, struct tly_slice name) TLY_MUST_CHECK;
bool tly_lives_is_closed(const struct tly_engine *e, uint64_t origin);
/* Leaves this life for a new one, at most once a minute; the old one is announced closed. TLY_MORE: not yet. */
enum tly_result tly_lives_begin(struct tly_engine *e, const char *why) TLY_MUST_CHECK;
/* Settles, retires and drops what can be. Everything is sealed. */
void tly_lives_step(struct tly_engine *e);
/* The version of the word that settled a life; false: there is none here. */
bool tly_lives_settled_by(struct tly_engine *e, uint64_t origin, struct tly_version *version);
/* Names to an install which lives were this node's. */
enum tly_result tly_lives_former(struct tly_engine *e, struct tly_install *install) TLY_MUST_CHECK;

/* forget.c */
void tly_forget_init(struct tly_engine *e, const struct tly_engine_config *config);
void tly_forget_tick(struct tly_engine *e);
uint64_t tly_forget_deadline(const struct tly_engine *e);
/* Whether a peer is a member that is waited for. */
bool tly_forget_counts(const struct peer *peer);
/* The number that says what this node has of everything, as of now. */
uint64_t tly_forget_number(const struct tly_engine *e);
/* What a member said of a closed life; false: nothing. */
bool tly_forget_said(struct tly_engine *e, uint64_t member, uint64_t life, struct tly_beyond *beyond,
                     uint64_t *mark);
/* The operator's word that a member is gone. TLY_NOT_FOUND: there is none of that name. */
enum tly_result tly_forget_ask(struct tly_engine *e, struct tly_slice name) TLY_MUST_CHECK;
/* Time for expiry, ms; 0: not known well enough yet. */
uint64_t tly_forget_now_ms(const struct tly_engine *e);

/* snapshot.c */
/* After a HELLO was accepted: sees whether rounds can bring the peer up. False: the connection was ended. */
bool tly_snap_greeted(struct tly_engine *e, struct conn *conn, const struct tly_hello *hello);
enum tly_result tly_snap_cold_start(struct tly_engine *e, struct conn *conn, struct tly_slice body,
                                    bool *ended) TLY_MUST_CHECK;
enum tly_result tly_snap_asked(struct tly_engine *e, struct conn *conn, struct tly_slice body) TLY_MUST_CHECK;
enum tly_result tly_snap_begin(struct tly_engine *e, struct conn *conn, struct tly_slice body) TLY_MUST_CHECK;
enum tly_result tly_snap_chunk(struct tly_engine *e, struct conn *conn, struct tly_slice body) TLY_MUST_CHECK;
/* TLY_OK: it is installed and every connection has ended. */
enum tly_result tly_snap_end(struct tly_engine *e, struct conn *conn, struct tly_slice body) TLY_MUST_CHECK;
/* Asks an up peer for a snapshot. */
void tly_snap_ask(struct tly_engine *e, struct conn *conn, enum tly_cold_start why);
/* Asks somebody, unless that is under way. */
void tly_snap_resync(struct tly_engine *e);
/* Sends what the connection takes. */
void tly_snap_flush(struct tly_engine *e, struct conn *conn);
bool tly_snap_wants(const struct tly_engine *e, const struct conn *conn);
/* The next message of a snapshot into e->body; its type. Everything is sealed. */
enum tly_frame_type tly_snap_next(struct tly_engine *e, struct snap_out *out, size_t rows_bytes_max);
void tly_snap_fini(struct tly_engine *e, struct snap_in *in);
/* One batch that tly_snap_next made, read back. */
enum tly_result tly_snap_replay(struct tly_engine *e, struct tly_slice batch, size_t elements) TLY_MUST_CHECK;

#endif
