/*
 * Inside the engine.  One struct, split over files by idea:
 *
 *     engine.c    making, events, deadlines          session.c   what a peer's frames do
 *     effects.c   what goes out                      link.c      dialling, one connection per pair, ending
 *     flush.c     rounds, acks, batches              member.c    who is in the cluster (sys:member:)
 *     ask.c       requests                           view.c      looking in
 *     part.c      parts of streams, protocol version 2
 *
 *     a connection's states
 *
 *       DIALLING --connected--> GREETING --their HELLO--> UP
 *                                  |                       |
 *                                  +------ error ----------+--> gone (freed at once; its number is never used again)
 */
#ifndef TALLY_SERVICE_ENGINE_IMPL_H
#define TALLY_SERVICE_ENGINE_IMPL_H

#include "service/engine/engine.h"
#include "service/engine/follower.h"
#include "wire/frame.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

#define TLY_CONNS_MAX 1024
#define TLY_TARGETS_MAX 4096
#define TLY_PEERS_MAX 4096
/* Lives of one name that are remembered as replaced: one of them that comes back shows two nodes of that name. */
#define TLY_REPLACED_KEPT 8
#define TLY_HELLO_TIMEOUT_NS (5 * NS_PER_S)
/*
 * A PING is due when nothing was sent for so long; later when the last thing sent was one itself, so that two silent nodes take
 * turns and each measures the round trip. It is due at the latest, whatever was sent, after the third.
 */
#define TLY_PING_SILENT_NS (2 * NS_PER_S)
#define TLY_PING_AGAIN_NS (5 * NS_PER_S / 2)
#define TLY_PING_MAX_NS (10 * NS_PER_S)
#define TLY_SILENCE_MAX_NS (10 * NS_PER_S)
#define TLY_BACKOFF_MIN_NS (100 * NS_PER_MS)
#define TLY_BACKOFF_MAX_NS (30 * NS_PER_S)
/* A connection that was up for so long is dialled again at once when it goes. */
#define TLY_LASTED_NS (5 * NS_PER_S)
#define TLY_ACK_DELAY_NS (2 * NS_PER_MS)
#define TLY_NAK_PAUSE_NS NS_PER_S
/*
 * In version 2 marks are told in parts: those of the peer's own life may wait longest, since nobody acts on them; those of
 * others must come before a relay is due, which gives a dot the time to come by its own link.
 */
#define TLY_TELL_OWN_NS (100 * NS_PER_MS)
#define TLY_TELL_NS (20 * NS_PER_MS)
#define TLY_RELAY_NS (60 * NS_PER_MS)
/* Marks that are to be told within this time go with the rows that are sent now. */
#define TLY_TELL_EARLY_NS (50 * NS_PER_MS)
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
#define TLY_EFFECT_BYTES_MAX (8u * 1024u * 1024u)
#define TLY_NEVER UINT64_MAX

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
    uint64_t since, last_heard, last_ping, last_sent;
    bool sent_ping; /* was the last thing sent */
    uint64_t queued;
    struct tly_follower follower;
    uint64_t flush_at, ack_at; /* TLY_NEVER: nothing to do */
    uint64_t last_flush;
    bool takes_rounds;        /* its HELLO has the capability `delta` */
    bool round_open;          /* parts of a round are coming in */
    bool round_taken;         /* … and its start was covered and nothing refused */
    uint64_t version;         /* of the protocol, once UP */
    struct tly_stream *heard; /* with version 2: the table of what it sends */
    bool heard_begun;         /* a round with start marks has come on it */
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
    uint64_t sweep_at;

    struct tly_buf arena; /* bytes of effects */
    struct pending *pending;
    size_t pending_count, pending_capacity;
    struct tly_effect *effects;
    size_t effect_capacity;
    struct tly_buf body, frame, scratch; /* encoding and decoding */
    struct tly_round_writer writer;
    struct tly_parts *parts;
    struct tly_names *names; /* of all that is sent in streams */
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
/* Whether this node can read the row and its clock lets it in. */
enum tly_result tly_session_admits(const struct tly_engine *e, const struct tly_row *row) TLY_MUST_CHECK;
enum tly_result tly_session_join_row(struct tly_engine *e, const struct tly_row *row) TLY_MUST_CHECK;
/* A round is not taken: NAK. */
void tly_session_nak(struct tly_engine *e, struct conn *conn, enum tly_result why);
bool tly_marks_are_covered(const struct tly_engine *e, struct tly_marks start);
enum tly_result tly_marks_take(struct tly_engine *e, struct tly_marks end) TLY_MUST_CHECK;

/* part.c */
/* Gives a connection its tables. False: no memory. */
bool tly_streams_begin(struct tly_engine *e, struct conn *conn);
/* Not TLY_OK: the session must end. */
enum tly_result tly_part_take(struct tly_engine *e, struct conn *conn, struct tly_slice body) TLY_MUST_CHECK;

/* flush.c */
/* Something is new here; own: made here, to be sent at once after idle. */
void tly_flush_soon(struct tly_engine *e, bool own);
/* What was learned from a peer goes on to the others when it is due; all are told, soon if it is urgent. */
void tly_flush_learned(struct tly_engine *e, const struct conn *from, bool urgent);
void tly_flush_tick(struct tly_engine *e);
uint64_t tly_flush_deadline(const struct tly_engine *e);
void tly_flush_stored(struct tly_engine *e, uint64_t batch);

/* member.c */
enum tly_result tly_member_announce(struct tly_engine *e, bool leaving) TLY_MUST_CHECK;
/* A sys:member: key has changed. */
void tly_member_learn(struct tly_engine *e, struct tly_slice key);
void tly_member_learn_all(struct tly_engine *e);

#endif
