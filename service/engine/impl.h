/*
 * Inside the engine.  One struct, split over files by idea:
 *
 *     engine.c    making, events, deadlines          session.c   what a peer's frames do
 *     effects.c   what goes out                      link.c      dialling, one connection per pair, ending
 *     flush.c     rounds, acks, batches              member.c    who is in the cluster (sys:member:)
 *     ask.c       requests                           view.c      looking in
 *     time.c      cluster time                       swim.c      who is alive
 *     ring.c      who is linked to whom
 *     archive.c   exports, and archives that are applied
 *     room.c      what memory_max leaves room for     watch.c     who is told of changes
 *     part.c      parts of streams, protocol version 2
 *     bounds.c    how hard each limit is now
 *     acked.c     how far what was written has come
 *     feed.c      the feed over questions and answers: sync; feed_give.c: what is handed out
 *     lives.c     the ends of lives (sys:closed:)    forget.c    F (sys:stable:), what is forgotten, members that are
 *     snapshot.c  snapshots, given and taken         lane.c      what may go now, and in which order
 *     repair.c    comparing with peers               repair_dots.c  the dots that one of them should have
 *     life.c      which life this node speaks as      standing.c  where it stands among the members, for limits
 *     line.c      who holds the rights of hard limits escrow.c    those of one window: checks, wishes, gifts
 *     proof.c     who had not given this node up
 *     prefixes.c  the table of prefixes               keys.c     walking over keys
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
#include "service/engine/bucket.h"
#include "service/engine/budget.h"
#include "service/engine/cluster_time.h"
#include "service/engine/engine.h"
#include "service/engine/escrow.h"
#include "service/engine/follower.h"
#include "service/engine/lane.h"
#include "service/engine/leases.h"
#include "service/engine/limit.h"
#include "wire/feed.h"
#include "wire/frame.h"
#include "wire/repair.h"
#include "wire/snapshot.h"

#include <assert.h>

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
/* From the first byte of a frame to its last. A length that was damaged waits for bytes that nobody means to send. */
#define TLY_FRAME_MAX_NS (60 * NS_PER_S)
/* How long a member's wall clock counts after it was last read; and by how much the own one must jump to be looked at. */
#define TLY_READING_KEPT_NS (600 * NS_PER_S)
#define TLY_WALL_JUMP_NS NS_PER_MS
#define TLY_BACKOFF_MIN_NS (100 * NS_PER_MS)
#define TLY_BACKOFF_MAX_NS (30 * NS_PER_S)
#define TLY_ROVE_NS (3 * NS_PER_S)
#define TLY_LEFT_PAUSE_NS (600 * NS_PER_S)
/* A connection that was up for so long is dialled again at once when it goes. */
#define TLY_LASTED_NS (5 * NS_PER_S)
/* A connection outside the ring is kept for so long. */
#define TLY_SURPLUS_NS (10 * NS_PER_S)
#define TLY_MESH_MAX 16
#define TLY_FLUSH_LEAST_NS (5 * NS_PER_MS)
#define TLY_ACK_DELAY_NS (2 * NS_PER_MS)
#define TLY_NAK_PAUSE_NS NS_PER_S
/* A refusal is repeated after every pause; one that was not for so long is over. */
#define TLY_DISPUTE_NS (3 * TLY_NAK_PAUSE_NS)
/*
 * In version 2 marks are told in parts: those of the peer's own life may wait longest, since nobody acts on them; those of
 * others must come before a relay is due, which gives a dot the time to come by its own link.
 */
#define TLY_TELL_OWN_NS (100 * NS_PER_MS)
#define TLY_TELL_NS (20 * NS_PER_MS)
/*
 * Where many are, all may be told so much later, and few relay for each, when they would have been told; the rest later still. Or else each dot
 * would be answered by as many tells as there are pairs. Who lacked a dot when that time had passed is not reached from where it came: for a
 * while the few wait no longer than where few are.
 */
#define TLY_TELL_LATE_NS (400 * NS_PER_MS)
#define TLY_RELAY_TOLD_NS (500 * NS_PER_MS)
#define TLY_RELAY_LATE_NS (1000 * NS_PER_MS)
#define TLY_RELAYS 2
#define TLY_FEW_LINKS 5
/* Of two that are both in the middle of a round and wait for each other, one ends first, after so long; sooner where the way there and back is short. */
#define TLY_ROUND_WAIT_NS NS_PER_S
#define TLY_ROUND_WAIT_MIN_NS (50 * NS_PER_MS)
#define TLY_RELAY_NS (60 * NS_PER_MS)
/* Beside it a flush, and the way to the peer and back, if that is no longer than so. */
#define TLY_RELAY_RTT_MAX_NS (400 * NS_PER_MS)
/* Marks that are to be told within this time go with the rows that are sent now. */
#define TLY_TELL_EARLY_NS (50 * NS_PER_MS)
/* Rows of one batch for the disk. */
#define TLY_BATCH_BYTES (64u * 1024u)
/*
 * What a socket has not taken. Lanes keep it far below; a peer that makes this node answer without end and reads nothing costs so
 * much, then its connection.
 */
#define TLY_QUEUED_CAP (4u * 1024u * 1024u)
/* Batches that the store has not confirmed. */
#define TLY_BATCHES_MAX 256
/* Expired dots are looked for in steps, one pass after another; nothing goes in a node's first minute. */
#define TLY_SWEEP_FIRST_NS (60 * NS_PER_S)
#define TLY_SWEEP_STEP_NS (100 * NS_PER_MS)
#define TLY_SWEEP_PASS_NS (10 * NS_PER_S)
#define TLY_SWEEP_ENTRIES 1000
/* … and ever harder as memory_max nears. */
#define TLY_SWEEP_STEP_NEAR_NS (10 * NS_PER_MS)
#define TLY_SWEEP_STEP_FULL_NS (2 * NS_PER_MS)
#define TLY_SWEEP_PASS_FULL_NS NS_PER_S
/* What did not fit is asked for again after so long, then ever more rarely. */
/* Marks told at once where there is a budget: they are no less than what may always wait for a turn. */
#define TLY_TOLD_MAX 32
#define TLY_HOLD_MIN_NS NS_PER_S
#define TLY_HOLD_MAX_NS (60 * NS_PER_S)
/* After the last new key that was refused a node still counts as full for so long. */
#define TLY_FULL_FOR_NS (60 * NS_PER_S)
/* What is to be forgotten is looked after so often, while there is anything. */
#define TLY_FORGET_EVERY_NS NS_PER_S
/* So long after a node has worked F out all others have. */
#define TLY_F_HEARD_NS (10 * NS_PER_S)
#define TLY_FORGET_RECORDS 1000
/* Lives of which a record is kept though nothing of them is left. */
#define TLY_LIVES_KEPT 1024
/* How often a pair compares; and how many entries are looked at for that in a turn, and how soon the next turn is. */
#define TLY_REPAIR_EVERY_NS (60 * NS_PER_S)
#define TLY_REPAIR_ENTRIES 2000
#define TLY_REPAIR_STEP_NS NS_PER_MS
/* With fewer keys than leaves, the prints of leaves cost more than the dots themselves. */
#define TLY_REPAIR_KEYS_MIN TLY_LEAVES
/* Prints of a peer's dots that are remembered, so that they are not sent back. */
#define TLY_REPAIR_SEEN_MAX 65536
/* How long a snapshot waits for all reachable members to know the joiner, and how long it may hold back this node's number. */
#define TLY_JOIN_WAIT_NS (5 * NS_PER_S)
#define TLY_SERVE_MAX_NS (3600 * NS_PER_S)
/* A source of which nothing of a snapshot came for so long is left for another. */
#define TLY_STALL_NS (300 * NS_PER_S)
/* Rounds in a row that a peer may get wrong before it is asked for a snapshot. */
#define TLY_APPLY_TRIES 2
/* How long both ends keep what they know of one whose connection went. */
#define TLY_RESUME_NS (300 * NS_PER_S)

/* Named limits that are known without a search, by what their names look like. */
#define TLY_RULES_RECENT 32
/* Checks that are looked for together: as many lines as a core fetches at a time, roughly. */
#define TLY_CHECK_GROUP 16

#define TLY_EFFECT_BYTES_MAX (8u * 1024u * 1024u)
/* Of memory_max, and half of the above at most: once so much is handed over in a turn the rest waits for the next. */
#define TLY_TURN_PART 128u
#define TLY_NEVER UINT64_MAX

static inline uint64_t tly_earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* As sys:member: tells them. */
enum member_state {
    MEMBER_ALIVE = 1,
    MEMBER_LEFT = 2,
    MEMBER_SUSPECT = 3,
    MEMBER_DEAD = 4,
    MEMBER_FORGOTTEN = 5
};

/* Which dots of an entry go. */
struct snap_dots {
    const struct tly_dot *(*of)(void *context, const struct tly_entry *entry, size_t *count);
    bool (*wants)(void *context, const struct tly_dot *dot); /* asked right after, of each */
    void *context;
};

/* What chunks in columns are written and read with. Each begins anew, so one serves all. */
struct columns {
    struct tly_names *names;
    struct tly_stream *out, *in;
};

/* A snapshot on its way out, to a peer or to the disk. */
struct snap_out {
    bool active, begun;
    uint64_t number, chunks;
    size_t cursor;                  /* of tly_ormap_each: the next entry */
    struct tly_version sent;        /* the last dot sent of the entry before it; ts 0: all of it is */
    uint8_t key[TLY_KEY_BYTES_MAX]; /* … its key */
    size_t key_bytes;
    const struct snap_dots *dots; /* NULL: all dots go */
    uint64_t frozen;              /* this node's number when it began */
    struct tly_mark
        news_from; /* what is newer in one's own life is said meanwhile; origin 0: not known yet */
    struct tly_mark news_to,
        news_of; /* dots from there up to here were said, and dots beyond these came from it: no chunk has them */
    uint64_t joined_at; /* ts of our dot that names the joiner; to be acknowledged first, until wait_until */
    uint64_t wait_until, give_up_at;
    struct tly_only *only;   /* keys that are wanted; NULL: all */
    struct columns *columns; /* chunks are written with these; NULL: as rows */
};

/*
 * A comparison with a peer.  Of who began it:
 *
 *     COMPARE (examine) --> COMPARED --TREE--> OPEN (examine) --> OPENED --LEAVES--> LIST --> gone
 *
 * and of who was asked:
 *
 *     ANSWER (examine) --> ANSWERED --OPEN--> MATCH (examine) --> LIST --> LISTED --LEAVES--> gone
 */
enum repair_stage {
    REPAIR_COMPARE,
    REPAIR_COMPARED,
    REPAIR_OPEN,
    REPAIR_OPENED,
    REPAIR_ANSWER,
    REPAIR_ANSWERED,
    REPAIR_MATCH,
    REPAIR_LIST,
    REPAIR_LISTED
};

enum { LEAF_SHUT, LEAF_PRINTED, LEAF_WHOLE };

struct repair {
    enum repair_stage stage;
    bool asker;                       /* this node began it */
    uint64_t number;                  /* of who began it */
    uint64_t f, time;                 /* as of which is compared */
    uint64_t state, root;             /* the peer's */
    bool compared_before;             /* on other terms: what it said is known */
    uint8_t branches[TLY_BRANCHES];   /* which are opened, and how */
    uint64_t theirs[TLY_LEAVES];      /* the peer's prints: of branches, then of leaves */
    uint64_t leaves[TLY_LEAVES / 64]; /* a bit for each whose dots are listed */
    struct snap_out walk;             /* over the map, for them */
    uint64_t *seen;                   /* a hash set of the prints of dots that the peer has listed */
    size_t seen_count, seen_capacity;
};

/* A walk over the map for one comparison; there is one at a time, and its result serves as long as nothing changes. */
struct examiner {
    struct tly_prints prints;
    bool running, done;
    uint64_t f, time, changes;
    size_t cursor;
    uint64_t of[TLY_LEAVES]; /* while it runs what is left out; then the prints of what is compared */
    uint64_t root;
    uint64_t state; /* 0: something changed meanwhile */
};

/* A snapshot on its way in. */
struct snap_in {
    struct tly_install *install; /* NULL: none */
    uint64_t number, chunks;
    uint64_t forgotten;             /* the newest ts there that was forgotten */
    uint64_t source;                /* the life that sends it */
    uint8_t key[TLY_KEY_BYTES_MAX]; /* the last one that came */
    size_t key_bytes;
    uint64_t kept_until; /* while no connection brings it; 0: one does */
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
    uint64_t greeted_ns; /* our wall clock when it was greeted the last time */
    bool reported;       /* that it cannot be reached */
    unsigned source;     /* of the seeds; 0: named one by one, or learned */
    bool is_seed;        /* named by the operator */
    bool is_member;      /* named by the member list */
    bool has_left;       /* … which says that it left */
    bool retired;        /* its member lives elsewhere now */
    struct peer *peer;   /* who answered there; NULL: nobody yet */
};

/* What is said while a snapshot is under way (news.c). */
struct snap_news {
    bool is_known;        /* its HELLO has the capability `news` */
    bool gives;           /* this end says what is new */
    bool is_whole;        /* … all of it from where the other's knowledge ends */
    bool lacks;           /* something that the other end said was not taken */
    struct tly_mark from; /* of our life, when it was greeted */
    struct tly_mark at;   /* … it is said up to here */
};

struct conn {
    uint64_t id;
    enum conn_state state;
    struct target *target; /* NULL: accepted */
    struct peer *peer;     /* once UP */
    struct tly_buf in;     /* the beginning of a frame */
    uint64_t begun_at;     /* … and when that came; TLY_NEVER: there is none */
    uint64_t since, last_heard, last_ping, last_sent;
    bool sent_ping; /* was the last thing sent */
    bool answered;  /* a ping of ours */
    struct tly_lanes lanes;
    bool blocked; /* something waits for room on its lane */
    bool is_long; /* the round under way: what is left of it is bulk */
    bool crossed; /* since its last part on the live lane a limit was nearly reached */
    struct tly_follower follower;
    uint64_t flush_at, ack_at; /* TLY_NEVER: nothing to do */
    uint64_t last_flush;
    bool takes_rounds;    /* its HELLO has the capability `delta` */
    bool round_open;      /* parts of a round are coming in */
    bool put_off;         /* … and what is left of ours waits for their end, also what has not begun */
    uint64_t round_heard; /* when the first of them came, or the last with rows of third lives */
    bool round_taken;     /* … and its start was covered and nothing refused */
    bool held_back;       /* something it sent did not fit: what fits is taken in, but no mark */
    uint64_t hold_ns, retry_at;
    uint64_t version;         /* of the protocol, once UP */
    struct tly_stream *heard; /* with version 2: the table of what it sends */
    bool heard_begun;         /* a round with start marks has come on it */
    uint64_t wanted, kept; /* of our life: what we said that somebody waits for, and what is stored there */
    uint64_t keep, keep_next, keep_ticket; /* of its life: what is to be said once it is stored here */
    bool life_ended;                       /* it ends with the step, and nothing more is taken from it */
    bool snapshots;                        /* its HELLO has the capability `snapshot` */
    bool below;                            /* no round can bring it up, and none is taken from it */
    bool is_cold;                          /* it says so of us */
    bool asked;                            /* we asked it for a snapshot */
    uint64_t brought_at;                   /* … then, or when something of that came last */
    enum tly_cold_start below_why, asked_why;
    struct snap_out out;
    struct snap_news news;
    bool columns;                    /* its HELLO has the capability `columns` */
    bool resumes;                    /* its HELLO has the capability `resume` */
    bool repairs;                    /* its HELLO has the capability `repair` */
    struct repair *mine, *asked_for; /* the comparisons that this node and the peer began; NULL: none */
    uint64_t repair_at, repair_number;
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
    bool is_member;   /* the member list names it */
    bool is_given_up; /* by the operator; the next step says so */
    enum member_state state;
    uint64_t member_origin, incarnation; /* as its key says */
    uint64_t suspect_at;                 /* since when it is suspected */
    uint64_t vouched; /* when others last heard it, by their word; or since when it is to be heard */
    unsigned
        contradicted; /* how often it has shown, since it was last heard, that it had been suspected wrongly */
    uint64_t probed_at, probe_nonce; /* others were asked at that time; 0: no probe is under way */
    unsigned probes, answers;
    uint64_t ring_hash;
    size_t place;       /* in the ring, or TLY_NOWHERE */
    bool is_linked;     /* by the rule of the ring */
    bool is_next_to_us; /* in the ring: one of the two that stand before this node */
    uint64_t rtt_ns;
    int64_t offset_ns;
    uint64_t wall_ns, wall_mono; /* its wall clock at that moment; 0: not read yet */
    uint64_t bytes_sent, bytes_received;
    uint64_t refused_clock_at; /* when it last refused a round of ours because of the clock; 0: never */
    uint64_t clock_ahead_at;   /* when we last refused one of its rounds for that */
    uint64_t clock_refusals;   /* … and how often that was */
    bool held_back;            /* what it has does not all fit here, and its marks are not taken over */
    uint64_t moved_mark;       /* of that life, when it was last seen to move */
    uint64_t heard_of_at;      /* when that or anything else was last heard of it, be it through others */
    uint64_t proven_life, proven_at; /* as this life it had not given this node up then */
    uint64_t asks, answered;         /* what it wants repeated, and what was of that; 0: nothing */
    struct snap_out *aside;          /* a snapshot to it whose connection went; NULL: none */
    uint64_t aside_life;             /* … the life of it that it was for */
    uint64_t aside_until;
    uint64_t brings_at; /* when a snapshot was last asked of it; 0: never */
    unsigned failures;  /* of its rounds in a row that were no rounds, though their frames were whole */
    unsigned audited;   /* branches of it that were audited under traffic */
};

#define TLY_NOWHERE SIZE_MAX

/* The members that not all are linked to all; empty where they are. ring.c */
struct ring {
    uint8_t *links; /* how many lie on the way to who stands so many places further on */
    size_t count, capacity;
    size_t place; /* of this node */
    unsigned most;
};

/* What members without a connection have heard: hearsay.c. */
struct hearsay {
    uint64_t wanted;      /* this node waits for its versions up to here to be heard; 0: it never did */
    uint64_t others_want; /* the newest that others wait for, as of the last look */
    uint64_t far;         /* what all without a connection have heard; TLY_NEVER: there is none */
    uint64_t read_at;     /* mono, ns: of that look; 0: none yet */
    uint64_t company;     /* of whom it was */
    bool word_came;       /* since */
    uint64_t said_heard, said_wanted, said_lives;
    uint64_t first; /* version of the first word of this process; 0: none yet */
    uint64_t step_at;
    bool is_news;
};

/* Who shows that it has not given this node up: proof.c. */
struct proof {
    uint64_t asked;    /* what this life wants repeated; 0: nothing yet */
    uint64_t asked_at; /* mono, ns */
    uint64_t said_at;  /* … of the last word; 0: none yet */
    bool is_news;
};

/* A life that ended, as sys:closed: says. */
struct closed_life {
    uint64_t origin;
    uint64_t agreed_at;          /* all have said the same of it since; TLY_NEVER: they have not */
    uint64_t differs_at, prints; /* nor have they, and what each says has been the same since */
    bool was_ours;               /* so some word of it has said, which may be gone or without a name by now */
};

/* A number as it was some time ago. */
struct aged {
    uint64_t f, next, next_at;
};

/* What this node knows of what is known everywhere. */
struct forgetting {
    uint64_t grace_ns, forget_after_ns;
    uint64_t step_at;
    uint64_t number, told_print; /* as last published */
    uint64_t
        drop_at; /* when the numbers of this node's ended lives go; 0: they have gone, or it has said none */
    bool asked;  /* some other has published, and waits for us to */
    uint64_t f;
    struct aged heard, ripe; /* what all have heard of; what was known for the grace */
    uint64_t words;          /* newest ts of a word that settles a life which is not retired yet */
    size_t ended_cursor;
    uint64_t ended_newest, ended_waiting; /* ts of what has ended and waits for F; of the pass under way */
    struct tly_feed_swept swept, pass;    /* by the last whole pass, and by the one under way */
    bool is_wanted;                       /* the operator gave some member up (peer->is_given_up) */
    bool resync; /* this node holds what nobody else ever will: it needs a snapshot */
    struct closed_life *closed;
    size_t closed_count, closed_capacity;
    struct tly_round_writer gone; /* counters that ended and are dropped, for the log */
};

/* The latest dots that came in below others of their life: cursors which nobody holds go back to them. */
#define TLY_LATE_KEPT 64
struct late_dots {
    uint64_t session;  /* another when nothing of what was handed out before holds */
    uint64_t count;    /* of all; the last ones are in the ring, at number modulo its size */
    uint64_t repaired; /* number of the last one that came in below its mark */
    struct tly_mark ring[TLY_LATE_KEPT];
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

/* Who wants to grow; in this order they are refused as memory_max nears. */
enum room { ROOM_NEW_KEY, ROOM_PEERS_KEY, ROOM_OLD_KEY, ROOM_FOR_ALL };

/* The life that this node began its process with. */
struct own_life {
    uint64_t kept; /* in question: it may go on, and what is made meanwhile is made in another; 0: none is */
    uint64_t known_to; /* its mark at the start */
    uint64_t first;    /* no version of it that this process made is older */
    uint64_t
        unheard; /* it went on, and nobody is known to have heard that, which this version says; 0: somebody has, or need not */
    uint64_t until;  /* when the question is given up */
    uint64_t met_at; /* when a first peer spoke; 0: none has */
    bool went_on;    /* with nobody to ask */
    bool is_ahead;   /* a peer knows more of it */
    bool is_held;    /* … and is up with it */
    bool is_behind;  /* … and nobody has anything that was made in it since the start */
    uint64_t
        judged_ns; /* the cluster time by which it was last looked whether it has counted in windows to come; 0: it was not */
};

/* How much of a limit was used when it was last asked for. */
struct near_limit {
    uint64_t hash; /* of the key */
    unsigned percent;
};
#define TLY_NEAR_KEPT 4096

/* What is to become of its keys is not known. */
struct held_prefix {
    uint8_t bytes[TLY_PREFIX_BYTES_MAX], n;
};

#define TLY_REFUSALS_KEPT 256
#define TLY_REFUSAL_SHARDS_MAX 16

/* Longer ones lie elsewhere. */
#define TLY_REFUSAL_KEY_BYTES 40

/*
 * Why a key was refused the last time. What each refusal writes lies together, and all places one behind the other in 64 KiB: where
 * many keys are refused, a place is written that nobody has read for long.
 */
struct refusal {
    struct refusal *older, *newer; /* by when they were last refused, while anybody hears of it */
    uint64_t number;               /* of all refusals */
    size_t key_bytes;              /* 0: none was here */
    uint64_t at_ms, times, shards_ms;
    uint32_t hits, shard_count;
    struct tly_verdict verdict;
    uint8_t *long_key;                /* TLY_KEY_BYTES_MAX; NULL: no key was long */
    struct tly_refusal_shard *shards; /* TLY_REFUSAL_SHARDS_MAX; NULL: they were not looked up */
    uint8_t key[TLY_REFUSAL_KEY_BYTES];
};
static_assert(sizeof(struct refusal) <= 256, "a refusal is four lines");

/* A key among those that are asked most. */
#define TLY_TOP_KEPT 512
struct top_key {
    uint8_t key[TLY_KEY_BYTES_MAX];
    size_t key_bytes;
    uint64_t span, checks, before; /* in that span, and in the one before it */
    uint64_t used, limit, until_ms;
};

/* Which checks are looked at, to know those keys. */
struct sampling {
    uint32_t left, step; /* checks to the next look, and on average from one to the next */
    uint64_t random;
    uint32_t looks; /* in this span */
    uint64_t span;
    struct top_key *keys[TLY_TOP_KEPT]; /* NULL: none was there */
};

/* What is the same in one check after the other of good_rate, as long as its window lasts: see usual.c. */
struct usual {
    struct tly_bucket bucket;     /* of the rate before; emission 0: it was none, or not a usual one */
    uint64_t start_ms, length_ms; /* 0: it has to be made out anew */
    bool is_sliding;
    uint64_t half;       /* of the limit: with other members around no more is used without being judged */
    uint64_t near_limit; /* no more remains of a limit that is near */
    struct tly_meter meter;
};

/* When a reservation ends. */
struct hold_end {
    uint64_t end_ms;
    bool has_wished; /* it lacked rights at the last look, and asked for them */
    uint8_t n, id[TLY_HOLD_ID_BYTES_MAX];
};

struct tly_engine {
    struct tly_mem mem; /* what was given, with every byte counted */
    struct tly_hash_key hash_key;
    struct tly_budget budget;
    size_t memory_max;   /* 0: none */
    uint64_t refused_at; /* a new key, for the last time */
    char name[TLY_NAME_BYTES_MAX + 1];
    char cluster[TLY_NAME_BYTES_MAX + 1];
    char address[TLY_ADDRESS_BYTES_MAX + 1];
    uint64_t flush_ns, link_budget, horizon_ns;
    struct near_limit *near_limits; /* TLY_NEAR_KEPT; NULL: there is no budget */
    uint64_t random;
    enum tly_on_full on_full;
    bool full, full_told; /* new keys are refused */
    bool has_store, leaving;
    struct tly_time now;
    struct tly_cluster_time time;
    uint64_t cluster_ns;       /* cluster time of `now` */
    uint64_t wall_earliest_ns; /* the machine's is believed from here on */
    bool wall_is_wrong,
        borrows; /* … and is before that; the members' wall is used, which is as far before mono: */
    uint64_t borrowed_bias;
    uint64_t wall_bias; /* own wall minus monotonic clock when the target was last computed */
    uint64_t *numbers;  /* scratch: walls to take the median of, hashes of the ring */
    size_t number_capacity;
    struct tly_ormap *map;
    struct tly_registry *registry;
    struct tly_buf table_news; /* changes of it that the disk has not got yet: kind of effect, bytes */
    size_t table_handed;       /* bytes of that which it has */
    bool greets_anew;          /* … and that no peer has heard of */
    struct held_prefix held[TLY_HELD_MAX];
    size_t held_count;
    tly_concerns *leaves_out; /* keys that replay leaves out; NULL: none */
    void *leaves_context;
    struct tly_rules *rules;
    struct tly_rate good_rate; /* the last that came with a check and could be used */
    struct usual usual;
    struct tly_stats stats;
    struct refusal *refusals;                   /* TLY_REFUSALS_KEPT; NULL: nothing was refused */
    uint32_t refusal_hashes[TLY_REFUSALS_KEPT]; /* of their keys */
    bool is_refusing;                           /* the last check was refused */
    struct refusal *refusals_newest;
    uint64_t refusal_number, refusal_lost; /* the last one, and the last one that another took the place of */
    size_t hearers;                        /* of refusals */
    uint64_t shards_ms;                    /* when shards of refusals were last looked up … */
    unsigned shards_looked;                /* … and of how many in that ms */
    struct sampling sampling;
    struct hold_end *holds; /* a heap: no other ends before the first */
    size_t hold_count, hold_capacity;
    bool holds_left;                        /* more have ended than could be settled in one step */
    uint8_t hold_id[TLY_HOLD_ID_BYTES_MAX]; /* the last one that was made up */
    struct tly_leases *leases;              /* NULL: none was ever given out */
    size_t keys_cursor;   /* the keys of limits are counted up to there; SIZE_MAX: they are */
    size_t flight_cursor; /* of the keys in flight, where the next look goes on */
    uint64_t flight_at;

    struct conn **conns;
    size_t conn_count, conn_capacity;
    bool lives_ended; /* that of one of them: conn->life_ended */
    bool keeps;       /* one of them has something to keep, or had in the last step */
    struct target **targets;
    size_t target_count, target_capacity;
    struct peer **peers;
    size_t peer_count, peer_capacity;
    uint64_t incarnation; /* of this life, as announced */
    unsigned slowness;    /* how far this node mistrusts its own timing */
    uint64_t due;         /* when the next tick was due at the end of the last one */
    uint64_t swim_at;     /* not before that the peers are looked at again */
    size_t mesh_max;
    bool ring_changed;
    struct ring ring;
    uint64_t next_dial; /* number of the next connection of ours */
    uint64_t rove_at;   /* when somebody is dialled, if several are away */
    uint64_t new_life_at;
    struct forgetting forget;
    struct late_dots late;
    struct snap_out dump;          /* to the disk */
    uint64_t dump_at;              /* nothing goes there before this: the last one failed */
    struct snap_in redump;         /* from the disk */
    struct snap_in coming;         /* from a peer */
    struct tly_hash_key print_key; /* follows from the cluster's name and secret */
    struct examiner *examiner;     /* NULL until something is compared */
    uint64_t repair_step_at;       /* something of a comparison is to be done */
    uint64_t held_batch;           /* peers hear nothing before this batch is stored */
    uint64_t snapshots;            /* number of the last one */
    size_t images;                 /* that somebody is making */
    struct own_life life;

    struct tly_follower disk;
    struct tly_ack *acks;       /* a list of who waits; their owners free them */
    struct tly_export *exports; /* a list of those under way; their owners free them */
    bool replay_taken;
    uint64_t batch; /* last one handed over */
    uint64_t stored;
    struct ticket tickets[TLY_BATCHES_MAX + 1];
    size_t ticket_count;
    uint64_t ticket_open; /* what is asked for now gets this one */
    uint64_t ticket_stored;
    uint64_t lease_asked;
    bool store_failing;
    bool watch_news; /* a watcher has something that was not yet said */
    size_t sweep_cursor;
    uint64_t sweep_at, sweep_from; /* from: nothing goes before */

    struct tly_watch **watches;
    size_t watch_count, watch_capacity;
    uint64_t watch_at;

    struct tly_buf arena; /* bytes of effects */
    struct pending *pending;
    size_t pending_count, pending_capacity;
    struct tly_effect *effects;
    size_t effect_capacity;
    struct tly_buf body, frame, scratch; /* encoding and decoding */
    struct tly_buf part;
    struct tly_round_writer writer;
    struct tly_parts *parts;
    struct columns columns;  /* NULL until a snapshot needs them */
    struct tly_names *names; /* of all that is sent in streams */
    uint32_t names_max;      /* the least that any peer holds */
    uint32_t table;          /* what this node holds of each stream that it reads */
    struct tly_heat *heat;   /* keys near their limits */
    struct escrow escrow;
    struct hearsay hearsay;
    struct proof proof;
    struct tly_cluster_now cluster_now; /* as of the last tick */
    uint64_t heard;                     /* by every member, of this life; if heard_known */
    bool heard_known;
    uint64_t joined_as, joining_as; /* lives; 0: none */
    uint64_t joining_since, known_since;
    uint64_t set_out_at;                             /* when the process's first life began */
    struct tly_span span;                            /* the window of the last check that had one */
    const struct tly_rule *recent[TLY_RULES_RECENT]; /* found lately; NULL: none. They end with the rules */
    uint8_t key[TLY_KEY_BYTES_MAX];
    struct tly_seek ahead[TLY_AHEAD_MAX];
    size_t ahead_count;

    /* Points beyond what a frontier has room for, as of the last row; and until when no more is said of it. */
    uint64_t overlong, overlong_told_until;
    struct tly_histogram staleness;
};

/* effects.c */
void tly_fx_reset(struct tly_engine *e);
struct tly_effects tly_fx_take(struct tly_engine *e);
/* Whether so much is handed over in this turn that what can wait does. */
bool tly_fx_is_full(const struct tly_engine *e);
void tly_fx_add(struct tly_engine *e, enum tly_effect_kind kind, uint64_t conn, uint64_t number,
                struct tly_slice bytes);
void tly_fx_trace(struct tly_engine *e, enum tly_trace_kind kind, const char *peer, struct tly_slice detail);
/* Frames e->body, sends it on the control lane, clears it. */
void tly_fx_send(struct tly_engine *e, struct conn *conn, enum tly_frame_type type);
/* The same on another; wanting: see tly_lanes_sent. */
void tly_fx_send_on(struct tly_engine *e, struct conn *conn, enum tly_frame_type type, enum tly_lane lane,
                    unsigned wanting);

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
/* So many bytes are left that its socket has not taken. */
void tly_conn_taken(struct tly_engine *e, struct conn *conn, uint64_t queued);
/* Forgets a connection that is gone. */
void tly_conn_gone(struct tly_engine *e, struct conn *conn, const char *why);
void tly_conn_greet(struct tly_engine *e, struct conn *conn);
void tly_conn_ping(struct tly_engine *e, struct conn *conn);
void tly_conn_free(struct tly_engine *e, struct conn *conn);
struct target *tly_target_need(struct tly_engine *e, struct tly_slice address);
/* The member list has come to say that its member left, or is back. */
void tly_target_left(struct tly_engine *e, struct target *target, bool has_left);
/* Of those that are linked here this one has the lowest name: what one has to do for all is its. */
bool tly_is_first_in_line(const struct tly_engine *e);
struct peer *tly_peer_find(struct tly_engine *e, struct tly_slice name);
struct peer *tly_peer_need(struct tly_engine *e, struct tly_slice name);
/* Makes conn the peer's connection; of two, the one dialled by the lower origin stays. False: conn was ended. */
bool tly_peer_take(struct tly_engine *e, struct peer *peer, struct conn *conn, uint64_t origin);
void tly_link_tick(struct tly_engine *e);
/* Beside its own: what room.c, flush.c and repair.c are to do with a connection. */
uint64_t tly_link_deadline(const struct tly_engine *e);
uint64_t tly_random(struct tly_engine *e);

/* ask.c */
/* Any check. */
enum tly_result tly_ask_check(struct tly_engine *e, const struct tly_check *check, unsigned ahead,
                              struct tly_verdict *verdict);
/* No more than so much remains of a limit where that may be. */
static inline uint64_t tly_ask_near(uint64_t limit)
{
    return limit / 5;
}
/* Whether these hits took the count to 80, 95 or 100 % of the limit. */
bool tly_ask_crosses(const struct tly_verdict *verdict, uint64_t hits);

/* session.c */
void tly_session_bytes(struct tly_engine *e, struct conn *conn, struct tly_slice bytes);
/*
 * Joins the dots of a checked part; dots of one's own life count as forged unless replaying. With `held`, what memory_max
 * has no room for is left out and counted there; without, all must go in.
 */
enum tly_result tly_session_join(struct tly_engine *e, const struct tly_round *round,
                                 size_t *held) TLY_MUST_CHECK;
/* A dot has come in: all followers may have scanned past the place where it now stands. */
void tly_session_rewind(struct tly_engine *e, const struct tly_dot *dot);
/* Whether this node can read the row and its clock lets it in. */
enum tly_result tly_session_admits(const struct tly_engine *e, const struct tly_row *row) TLY_MUST_CHECK;
/* Rows that are joined one after the other, the memory of all of them being on its way: as many as a core fetches lines at a time. */
#define TLY_JOINED_TOGETHER ((size_t)16)
struct sought_row {
    const struct tly_row *row;
    uint64_t now_ms; /* tly_forget_now_ms */
    struct tly_seek seek;
};
/* Asks for the memory of the first ones, TLY_JOINED_TOGETHER at most; order: which they are, NULL: as they stand. */
void tly_session_seek(const struct tly_engine *e, const struct tly_row *rows, const uint32_t *order,
                      size_t count, struct sought_row *sought);
enum tly_result tly_session_join_sought(struct tly_engine *e, const struct sought_row *sought,
                                        size_t *held) TLY_MUST_CHECK;
/* A round is not taken, nor what is still to come of it: NAK. */
void tly_session_nak(struct tly_engine *e, struct conn *conn, enum tly_result why);
/* Joins a dot that a repair brought; what there is no room for is left out. *outcome: what became of it. */
enum tly_result tly_session_repair_row(struct tly_engine *e, const struct tly_row *row,
                                       enum tly_outcome *outcome) TLY_MUST_CHECK;
/* Whether this node can read every row and its clock lets every version in. */
enum tly_result tly_session_admits_all(const struct tly_engine *e,
                                       const struct tly_round *round) TLY_MUST_CHECK;
bool tly_marks_are_covered(const struct tly_engine *e, struct tly_marks start);
enum tly_result tly_marks_take(struct tly_engine *e, struct tly_marks end) TLY_MUST_CHECK;

static inline bool tly_is_left_out(const struct tly_engine *e, struct tly_slice key)
{
    return e->leaves_out != NULL && e->leaves_out(e->leaves_context, key);
}

/* prefixes.c, prefixes_migrate.c, prefixes_peers.c */
/*
 * Batches that one change can bring: the disk stores none of them before it has them all, and so many and more it may be behind. And
 * bytes of changes that wait.
 */
#define TLY_TABLE_PARTS_MAX (TLY_BATCHES_MAX / 2)
#define TLY_TABLE_NEWS_MAX ((TLY_TABLE_PARTS_MAX + 4) * TLY_FRAME_BODY_MAX)
/* The table that every node begins with. */
enum tly_result tly_prefixes_init(struct tly_engine *e) TLY_MUST_CHECK;
enum tly_result tly_prefixes_ask(struct tly_engine *e, const struct tly_request *request,
                                 struct tly_reply *reply) TLY_MUST_CHECK;
/* Before an event is looked at: who was greeted with another table is no longer listened to. */
void tly_prefixes_step(struct tly_engine *e);
/* Something of the table waits for the disk; and the next of it goes there. */
bool tly_prefixes_wait(const struct tly_engine *e);
void tly_prefixes_hand_over(struct tly_engine *e);
bool tly_prefixes_are_held(const struct tly_engine *e, struct tly_slice prefix);
bool tly_prefixes_is_key_held(const struct tly_engine *e, struct tly_slice key);
#define TLY_DIFFERENCE_BYTES 320
/* Whether the peer's table means other things by some key; text: of which prefix, and what either says. */
bool tly_prefixes_differ(const struct tly_engine *e, struct tly_prefixes theirs, char *text, size_t size);
/* Takes over what it has later, if that costs nothing here; false: nothing was. */
bool tly_prefixes_follow(struct tly_engine *e, struct tly_slice peer, struct tly_prefixes theirs);

/* room.c */
/* Who grows from now on. ROOM_FOR_ALL is the rule, for what must be done; the others are set around what may be refused. */
void tly_room_for(struct tly_engine *e, enum room room);
/*
 * After something failed: whether it is to be done again, because the key is here and may take more room than a new one.
 * If not, a lack of room that memory_max alone brought about is TLY_FULL from here on.
 */
bool tly_room_retry(struct tly_engine *e, struct tly_slice key, enum tly_result *result);
/* Something of a round did not fit. */
void tly_room_hold_back(struct tly_engine *e, struct conn *conn);
/* A whole round did. */
void tly_room_taken(struct tly_engine *e, struct conn *conn);
/* Drops what reads like nothing, and asks again for what did not fit when there is room. */
void tly_room_tick(struct tly_engine *e);
/* Beside what it has to do with connections. */
uint64_t tly_room_deadline(const struct tly_engine *e);

/* watch.c */
/* A number that differs when what is read differs; 0: the key reads as absent. */
uint64_t tly_read_sum(struct tly_engine *e, const struct tly_value *value);

/* What a key read as before something happens to it. A value. */
struct tly_before {
    bool watched;
    uint64_t sum;
};

struct tly_before tly_watch_before(struct tly_engine *e, struct tly_slice key);
/* It has happened, by a write of this life. */
void tly_watch_after(struct tly_engine *e, struct tly_slice key, struct tly_before before, uint64_t origin);
/* So much has changed at once that all must read anew. */
void tly_watch_resync(struct tly_engine *e);
void tly_watch_tick(struct tly_engine *e);
uint64_t tly_watch_deadline(const struct tly_engine *e);
void tly_watch_fini(struct tly_engine *e);

/* part.c */
/* Gives a connection its tables. False: no memory. */
bool tly_streams_begin(struct tly_engine *e, struct conn *conn);
/* A peer holds so many numbers only: all streams of this node keep to that, since they share them. */
void tly_streams_limit(struct tly_engine *e, uint64_t table);
/* Not TLY_OK: the session must end. */
enum tly_result tly_part_take(struct tly_engine *e, struct conn *conn, struct tly_slice body) TLY_MUST_CHECK;

/* A peer's word that everything of its life up to there has come. */
enum tly_result tly_part_mark(struct tly_engine *e, struct conn *conn, struct tly_mark mark) TLY_MUST_CHECK;

/* news.c */
/* The peer needs a snapshot: what is new from now on will be news. */
void tly_news_greeted(struct tly_engine *e, struct conn *conn);
/* SNAP_BEGIN is about to go, or a snapshot goes on. */
void tly_news_begin(const struct tly_engine *e, struct conn *conn);
/* SNAP_BEGIN has come, or the first chunk of a snapshot that goes on. */
void tly_news_answer(struct tly_engine *e, struct conn *conn);
/* Before a chunk is made: which dots need not be in it. */
void tly_news_skip(const struct tly_engine *e, struct conn *conn);
bool tly_news_were_said(const struct snap_out *out, struct tly_version version);
/* When the next are to go; TLY_NEVER: there are none. */
uint64_t tly_news_at(const struct tly_engine *e, const struct conn *conn);
/* Sends some. Without memory no more is given: rounds will bring it. */
void tly_news_give(struct tly_engine *e, struct conn *conn, size_t room, unsigned wanting);
/* What a joiner sends, who gives no rounds. */
void tly_news_flush(struct tly_engine *e, struct conn *conn);
/* The snapshot ends: says how far all was given. Everything is sealed. */
void tly_news_end(struct tly_engine *e, struct conn *conn);
/* Rows outside a round. TLY_OK: they are to be joined; TLY_MORE: they are to be passed over. */
enum tly_result tly_news_admit(struct tly_engine *e, struct conn *conn,
                               const struct tly_part *part) TLY_MUST_CHECK;
/* Puts them to the snapshot that they came with, if one is coming. */
enum tly_result tly_news_stage(struct tly_engine *e, struct conn *conn,
                               const struct tly_part *part) TLY_MUST_CHECK;
enum tly_result tly_news_ended(struct tly_engine *e, struct conn *conn, struct tly_slice body) TLY_MUST_CHECK;

/* flush.c */
struct tly_pens tly_flush_pens(struct tly_engine *e);
/* How many marks may be told with what goes now, 0: it is not time to; what those take of a budget, if there is one; and that they were. */
size_t tly_flush_tell(const struct tly_engine *e, const struct conn *conn);
size_t tly_flush_told_bytes(const struct conn *conn, size_t most);
void tly_flush_told(const struct tly_engine *e, struct conn *conn);
/* How long after the last part the next may go. */
uint64_t tly_flush_pace(const struct tly_engine *e, const struct conn *conn);
/* Something is new here; own: made here, to be sent at once after idle. */
void tly_flush_soon(struct tly_engine *e, bool own);
/* A count came near its limit, or reached it: that goes to all at once, though not more often than every TLY_FLUSH_LEAST_NS. */
void tly_flush_crossed(struct tly_engine *e);
/* What was learned from a peer goes on to the others when it is due; all are told, soon if it is urgent. */
void tly_flush_learned(struct tly_engine *e, const struct conn *from, bool urgent);
void tly_flush_tick(struct tly_engine *e);
/* After what is to be acknowledged. */
void tly_flush_part_sent(struct tly_engine *e, struct conn *conn);
/* Seals in the order in which keys were first sent. */
enum tly_result tly_flush_seal(struct tly_engine *e) TLY_MUST_CHECK;
/* Beside what it has to do with connections. */
uint64_t tly_flush_deadline(const struct tly_engine *e);
void tly_flush_stored(struct tly_engine *e, uint64_t batch);
/* Hands the store whatever it has not been handed; false: it takes no more for now. */
bool tly_flush_to_disk(struct tly_engine *e);
/* e->body is a batch. */
void tly_flush_append(struct tly_engine *e);

/* time.c */
/* What to take for the time when the machine says this. */
static inline struct tly_time tly_time_believed(struct tly_engine *e, struct tly_time now)
{
    e->wall_is_wrong = now.wall_ns < e->wall_earliest_ns;
    if (e->wall_is_wrong && e->borrows) now.wall_ns = now.mono_ns + e->borrowed_bias;
    return now;
}

/* It is another time now. */
void tly_time_move(struct tly_engine *e, struct tly_time now);
/* To be called whenever `now` is set. */
void tly_time_tick(struct tly_engine *e);
/* The peer's wall clock as it should be now. */
void tly_time_heard(struct tly_engine *e, struct peer *peer, uint64_t wall_ns);
/* At the end of a step: begins a new life when the time in use proves wrong by more than max_skew. */
void tly_time_judge(struct tly_engine *e);
/* Before a question that is no step: the time is now. Many are asked at one moment. */
static inline void tly_engine_look_up(struct tly_engine *e, struct tly_time now)
{
    now = tly_time_believed(e, now);
    if (now.mono_ns != e->now.mono_ns || now.wall_ns != e->now.wall_ns) tly_time_move(e, now);
}

/* The same, and by cluster time something is about to be judged, so it is slewed from here on. */
static inline void tly_engine_wake(struct tly_engine *e, struct tly_time now)
{
    tly_engine_look_up(e, now);
    e->time.used = true;
}

/* swim.c */
void tly_swim_tick(struct tly_engine *e);
/* Before an event is looked at: whether this node itself had been stopped, so that a tick is far too late. */
void tly_swim_wake(struct tly_engine *e);
/* At the end of a tick: when the next is due. */
void tly_swim_next(struct tly_engine *e);
/* Not before e->swim_at. */
uint64_t tly_swim_deadline(const struct tly_engine *e);
enum tly_result tly_swim_on_probe(struct tly_engine *e, struct conn *conn,
                                  struct tly_slice body) TLY_MUST_CHECK;
enum tly_result tly_swim_on_probed(struct tly_engine *e, struct tly_slice body) TLY_MUST_CHECK;
/* Others say this node is suspect or dead. */
void tly_swim_refute(struct tly_engine *e, uint64_t incarnation);
bool tly_member_is_reachable(const struct tly_engine *e, const struct peer *peer);

/* life.c */
/* Begins a life and announces it. */
enum tly_result tly_life_start(struct tly_engine *e, uint64_t origin) TLY_MUST_CHECK;
/* Goes on with one; it is in question if there is anybody to ask. */
enum tly_result tly_life_resume(struct tly_engine *e, uint64_t origin, bool has_seeds) TLY_MUST_CHECK;
/* The life by which peers know this node. */
uint64_t tly_life_spoken(const struct tly_engine *e);
/* What a snapshot and an image say of life number i: of the own one nothing, as long as nothing was made in it. */
struct tly_life tly_life_told(const struct tly_engine *e, size_t i);
/*
 * Begins another life at a peer's word, hence once a minute at most; of one in question, at once. TLY_MORE: not yet. `lives_on`:
 * another node goes on with the old one, which is otherwise announced closed.
 */
enum tly_result tly_life_another(struct tly_engine *e, const char *why, bool lives_on) TLY_MUST_CHECK;
/* The same with empty marks, for all is to come again: every session ends. `has_ended`: nobody else goes on with the old one. */
enum tly_result tly_life_anew(struct tly_engine *e, uint64_t origin, const char *why,
                              bool has_ended) TLY_MUST_CHECK;
/*
 * Begins another life because some of what was said in this one has gone here. Its mark falls to `known`, so that whoever has it may say it
 * again; and it is to be announced closed.
 */
enum tly_result tly_life_leave(struct tly_engine *e, uint64_t known) TLY_MUST_CHECK;
/* What a former life had counted is this one's now, none of it in windows that are yet to come by what cluster time is. */
void tly_life_carried(struct tly_engine *e);
/* A peer has said its mark; what follows is judged at the end of the step. */
void tly_life_heard(struct tly_engine *e, struct tly_mark theirs);
/* Another node speaks as this life. True: it is in question here, and left to that one. */
bool tly_life_yields(struct tly_engine *e, uint64_t origin);
/* A peer has said all its marks. */
void tly_life_met(struct tly_engine *e, struct conn *conn);
/* A peer will not have this life: a newer one has taken its place. */
void tly_life_refused(struct tly_engine *e);
void tly_life_judge(struct tly_engine *e);
uint64_t tly_life_deadline(const struct tly_engine *e);

/* standing.c */
/* hearsay.c */
/* Up to which version members without a connection have heard of this life; TLY_NEVER: there are none. */
uint64_t tly_hearsay_far(struct tly_engine *e);
/* This version is to be heard by all, and they are to say so. */
void tly_hearsay_want(struct tly_engine *e, uint64_t ts);
void tly_hearsay_learn(struct tly_engine *e, struct tly_slice key);
void tly_hearsay_tick(struct tly_engine *e);
uint64_t tly_hearsay_deadline(const struct tly_engine *e);

/* proof.c */
/* When that life of its node is known not to have given this node up; 0: never. */
uint64_t tly_proof_of(const struct peer *peer, uint64_t life);
/* It has answered a ping that was sent then. */
void tly_proof_ponged(struct tly_engine *e, const struct conn *conn, uint64_t pinged_at);
/* The connection is up: it is asked at once. */
void tly_proof_met(struct tly_engine *e, struct conn *conn);
void tly_proof_learn(struct tly_engine *e, struct tly_slice key);
/* Once a second. Enough have proven it up to that moment (0: they have not; TLY_NEVER: none is needed); asks and answers. */
void tly_proof_step(struct tly_engine *e, uint64_t proven_at);

enum tly_result tly_standing_init(struct tly_engine *e) TLY_MUST_CHECK;
/* At the end of a step; looks: at the members too, who may be lost. */
void tly_standing_step(struct tly_engine *e, bool looks);
/* At once. */
void tly_standing_look(struct tly_engine *e);
/* For how long what others count is carried forward. */
uint64_t tly_standing_horizon(const struct tly_engine *e);

/* ring.c */
/* Works out who is linked to whom, if anything changed. */
void tly_ring_update(struct tly_engine *e);
void tly_ring_free(struct tly_engine *e);
/* Whether members take turns to relay. */
static inline bool tly_has_relays(const struct tly_engine *e)
{
    if (e->ring.count > 0) return true;
    /* A peer may have two connections for a moment, and one that left none. */
    return e->peer_count < e->mesh_max && e->peer_count >= TLY_FEW_LINKS && e->conn_count >= TLY_FEW_LINKS;
}
/* Where the node stands whose life this is, or TLY_NOWHERE. O(peers). */
size_t tly_ring_place(const struct tly_engine *e, uint64_t origin);
/*
 * Who brings a member what is made at a place: first whoever lies on the way, among its neighbours, which all compute alike; then one more; the
 * rest when those have not.
 */
enum turn { FIRST_TO_RELAY, SECOND_TO_RELAY, LAST_TO_RELAY };
enum turn tly_ring_turn(const struct tly_engine *e, const struct peer *peer, size_t place);
/* acked.c */
/* At the end of a step: says what is to be said, and who is done. */
void tly_acks_step(struct tly_engine *e);
uint64_t tly_acks_deadline(const struct tly_engine *e);
enum tly_result tly_acks_on_wanted(struct tly_engine *e, struct conn *conn,
                                   struct tly_slice body) TLY_MUST_CHECK;
enum tly_result tly_acks_on_kept(struct tly_engine *e, struct conn *conn,
                                 struct tly_slice body) TLY_MUST_CHECK;

/* feed.c */
/* A dot has come in: cursors that were given out may be past its place. */
void tly_late_learned(struct tly_engine *e, const struct tly_life *life, uint64_t ts);
/* Nothing of what was handed out before holds. */
void tly_late_reset(struct tly_engine *e);
/* Whether a follower with these marks lacks a REMOVE that may be forgotten here. */
bool tly_snap_is_below_floor(struct tly_engine *e, struct tly_marks marks);

/* archive.c */
enum tly_result tly_archive_apply(struct tly_engine *e, struct tly_slice archive, size_t rows_max,
                                  struct tly_applied *applied) TLY_MUST_CHECK;
/* A dot came in late: exports that have passed its place go back. */
void tly_exports_rewind(struct tly_engine *e, size_t life, uint64_t ts);
/* None of those under way can go on: each ends with TLY_STALE. */
void tly_exports_fail(struct tly_engine *e);

/* member.c */
/* Whether it has neither left nor been forgotten. */
static inline bool tly_member_counts(const struct peer *peer)
{
    return peer->is_member && peer->state != MEMBER_LEFT && peer->state != MEMBER_FORGOTTEN;
}
/* Members that count, this node among them. */
size_t tly_member_count(const struct tly_engine *e);
const char *tly_member_word(enum member_state state);
/* Says of another member that it is suspect or dead. */
enum tly_result tly_member_say(struct tly_engine *e, struct peer *peer,
                               enum member_state state) TLY_MUST_CHECK;
enum tly_result tly_member_announce(struct tly_engine *e, bool leaving) TLY_MUST_CHECK;
bool tly_is_member_key(struct tly_slice key);
/* The version of what the list says of this node's name; false: nothing. */
bool tly_member_told(struct tly_engine *e, struct tly_version *version);
/* Such a key has changed. */
void tly_member_learn(struct tly_engine *e, struct tly_slice key);
void tly_member_learn_all(struct tly_engine *e);
/* Writes another node's record. */
enum tly_result tly_member_put(struct tly_engine *e, struct tly_slice name, uint64_t origin,
                               struct tly_slice address, uint64_t state) TLY_MUST_CHECK;
/* The life that the record of a name, which may be one's own, names; 0: none. */
uint64_t tly_member_origin(struct tly_engine *e, struct tly_slice name);

/* lives.c */
/* At the end of a step: ends the connections of lives that were announced closed in it. */
void tly_lives_end_connections(struct tly_engine *e);
bool tly_is_closed_key(struct tly_slice key);
/* Such a key has changed. */
void tly_lives_learn(struct tly_engine *e, struct tly_slice key);
/* All of them; and a life of this node's name that is not the one of now is announced closed. */
enum tly_result tly_lives_start(struct tly_engine *e) TLY_MUST_CHECK;
/* Announces that the life of the named node has ended. */
enum tly_result tly_lives_close(struct tly_engine *e, uint64_t origin, struct tly_slice name) TLY_MUST_CHECK;
bool tly_lives_is_closed(const struct tly_engine *e, uint64_t origin);
/* Has a life that is not announced, for another stands in question, say whose it is once anything is made in it; ahead of what is not sealed yet. */
void tly_lives_say_whose(struct tly_engine *e);
/* Announces the ends of those that said so of this node, which lives in none of them any more. */
enum tly_result tly_lives_close_unannounced(struct tly_engine *e) TLY_MUST_CHECK;
/* What the disk said of them, learned at the start. */
void tly_lives_learn_all(struct tly_engine *e);
/* This node has left a life for another. The old one is announced closed if it has ended with that. */
enum tly_result tly_lives_left(struct tly_engine *e, uint64_t old, bool has_ended) TLY_MUST_CHECK;
/* Settles, retires and drops what can be. Everything is sealed. */
void tly_lives_step(struct tly_engine *e);
/* Settles the lives whose words say so, for nothing of them is taken any more. Everything is sealed. */
void tly_lives_settle(struct tly_engine *e);
/* Whether an image is being made. */
bool tly_image_holds(const struct tly_engine *e);
/* The version of the word that settled a life; false: there is none here. */
bool tly_lives_settled_by(struct tly_engine *e, uint64_t origin, struct tly_version *version);
/* Up to which ts somebody says that a life is known; 0: of that life nothing is said. */
typedef uint64_t tly_says(const void *who, uint64_t origin);
/*
 * Whether somebody has all of a life up to this version, by what is said. The life may have been retired there already; then the word that settled it
 * is known, and the life of that word may have been retired as well.
 */
bool tly_lives_is_known(struct tly_engine *e, tly_says *says, const void *who, struct tly_version version);
/* The same by what a peer that is linked has acknowledged. */
bool tly_lives_is_acknowledged(struct tly_engine *e, const struct conn *conn, struct tly_version version);
/* Whether a life that ended was this node's; and whether all that were are settled. */
bool tly_lives_was_ours(struct tly_engine *e, uint64_t origin);
bool tly_lives_former_are_settled(struct tly_engine *e);
/* Removes what those had published (forget.c). */
void tly_lives_drop_our_numbers(struct tly_engine *e);
/* Whether the snapshot that this node waits for may carry over what it counted in a life that ended. */
bool tly_lives_may_be_carried(const struct tly_engine *e, uint64_t origin);
/* Names to an install which lives were this node's. */
enum tly_result tly_lives_former(struct tly_engine *e, struct tly_install *install) TLY_MUST_CHECK;

/* forget.c */
void tly_forget_init(struct tly_engine *e, const struct tly_engine_config *config);
/* Ahead of whatever is counted in the key from now on. */
void tly_forget_touch(struct tly_engine *e, struct tly_slice key);
/* The same for what was counted elsewhere. */
void tly_forget_touch_joined(struct tly_engine *e, struct tly_slice key);
/* Within a step, so that either may let some more keys go before its end. */
void tly_forget_make_room(struct tly_engine *e);
void tly_forget_tell_log(struct tly_engine *e);
/* Adds to a part for a log (of flags 0, and nothing else in it) that what had this newest version of a PUT has gone. False as tly_round_writer_add. */
bool tly_forget_note(struct tly_round_writer *gone, struct tly_slice key, const struct tly_strategy *strategy,
                     struct tly_version newest);
/* Whether the part of the own log says only what had ended; that is gone then. */
bool tly_forget_replay(struct tly_engine *e, const struct tly_round *round);
void tly_forget_tick(struct tly_engine *e);
/* An image or a dump is being made or a snapshot given, so nothing may be forgotten, nor a life retired: it would not say so. */
bool tly_forget_is_held(const struct tly_engine *e);
/* A key that may be another's number has come, or was here at the start. */
void tly_forget_learn(struct tly_engine *e, struct tly_slice key);
/* Removes the number of a life that has ended. */
void tly_forget_drop_number(struct tly_engine *e, uint64_t origin);
uint64_t tly_forget_deadline(const struct tly_engine *e);
/* Whether a peer is a member that is waited for. */
bool tly_forget_counts(const struct peer *peer);
/* The number that says what this node has of everything, as of now. */
uint64_t tly_forget_number(const struct tly_engine *e);
/* What a member said of a closed life; false: nothing. */
bool tly_forget_said(struct tly_engine *e, uint64_t member, uint64_t life, struct tly_beyond *beyond,
                     uint64_t *mark);
/* Whether all that it had when it said its number has come here. */
bool tly_forget_is_heard(const struct tly_engine *e, uint64_t member);
/* The operator's word that a member is gone. TLY_NOT_FOUND: there is none of that name. */
enum tly_result tly_forget_ask(struct tly_engine *e, struct tly_slice name) TLY_MUST_CHECK;
/* Time for expiry, ms; 0: not known well enough yet. */
uint64_t tly_forget_now_ms(const struct tly_engine *e);

/* repair.c */
/* A session has come up: when it compares first. */
void tly_repair_begin(struct tly_engine *e, struct conn *conn);
/* Drops what goes on with a connection. */
void tly_repair_fini(struct tly_engine *e, struct conn *conn);
void tly_repair_tick(struct tly_engine *e);
/* Beside what it has to do with connections. */
uint64_t tly_repair_deadline(const struct tly_engine *e);
enum tly_result tly_repair_on_frame(struct tly_engine *e, struct conn *conn,
                                    const struct tly_frame *frame) TLY_MUST_CHECK;
/* What is left out of a comparison as of an F and a time; the omission must stay where it is. */
struct omission {
    const struct tly_engine *e;
    uint64_t now_ms;
    struct tly_omit omit;
};
void tly_repair_omit(const struct tly_engine *e, uint64_t f, uint64_t now_ms, struct omission *out);

/* Sends e->body on the lane for repairs. */
void tly_repair_send(struct tly_engine *e, struct conn *conn, enum tly_frame_type type);
/* Zeroed memory for comparing, which nothing depends on: none is taken where there is none for new keys. */
void *tly_repair_spare(struct tly_engine *e, size_t bytes);

/* repair_dots.c */
/* Sends some of the dots that are to be listed, about `room` bytes at most; false: those were the last. */
bool tly_repair_list(struct tly_engine *e, struct conn *conn, struct repair *repair, size_t room);
/* Joins what is missing here of the dots of a part. */
enum tly_result tly_repair_take(struct tly_engine *e, struct conn *conn, struct repair *repair,
                                const struct tly_round *round) TLY_MUST_CHECK;
void tly_repair_forget_seen(struct tly_engine *e, struct repair *repair);

/* ask.c */
/* The key under which a check counts, written to `out`, and its rule; NULL: it is ad hoc. */
enum tly_result tly_ask_key(struct tly_engine *e, const struct tly_check *check,
                            uint8_t out[TLY_KEY_BYTES_MAX], const struct tly_rule **rule,
                            struct tly_slice *key) TLY_MUST_CHECK;
/* Gives back the hits of a check that were charged then; how many. */
enum tly_result tly_ask_refund(struct tly_engine *e, const struct tly_check *check, uint64_t at_ns,
                               uint64_t *units) TLY_MUST_CHECK;

/* hold.c */
enum tly_result tly_hold_ask(struct tly_engine *e, const struct tly_request *request,
                             struct tly_reply *reply) TLY_MUST_CHECK;
/* A key has come, or was here at the start, that may be a reservation of this node's. */
void tly_hold_learn(struct tly_engine *e, struct tly_slice key);
/* Returns what is past its end. */
void tly_hold_tick(struct tly_engine *e);
uint64_t tly_hold_deadline(const struct tly_engine *e);

/* flight.c */
/* A check of a limit of concurrency. TLY_IN_FLIGHT: hits that are not acquired. */
enum tly_result tly_flight_check(struct tly_engine *e, const struct tly_limit_ask *ask,
                                 struct tly_verdict *verdict) TLY_MUST_CHECK;
/* Whether this is what TLY_ASK_RESERVE gives a lease for. */
bool tly_flight_is_asked(struct tly_engine *e, const struct tly_check *check);
/* As TLY_ASK_RESERVE, of an id that is not in use. */
enum tly_result tly_flight_acquire(struct tly_engine *e, const struct tly_request *request,
                                   struct tly_slice id, struct tly_reply *reply) TLY_MUST_CHECK;
/* The lease of that id; false: there is none. */
bool tly_flight_find(const struct tly_engine *e, struct tly_slice id, struct tly_hold_view *view);
enum tly_result tly_flight_release(struct tly_engine *e, struct tly_slice id,
                                   struct tly_hold_view *view) TLY_MUST_CHECK;
/* The limits are others: what is in flight is said under their leases. */
void tly_flight_use_rules(struct tly_engine *e);
/* Ends what is past its time, and says anew what is in flight. */
void tly_flight_tick(struct tly_engine *e);
uint64_t tly_flight_deadline(const struct tly_engine *e);

/* cardinality.c */
/* Other limits, or another map: their keys are counted anew. */
void tly_cardinality_use(struct tly_engine *e);
/* The map is about to be replaced. */
void tly_cardinality_stop(struct tly_engine *e);
/* Whether the key is here, or may be one more of this limit with keys_max. */
bool tly_cardinality_has_room(struct tly_engine *e, const struct tly_rule *rule, const struct tly_seek *seek);
void tly_cardinality_tick(struct tly_engine *e);
uint64_t tly_cardinality_deadline(const struct tly_engine *e);

/* top.c */
/* One check in so many comes here. */
void tly_top_look(struct tly_engine *e, const struct tly_seek *seek, const struct tly_verdict *verdict);
void tly_top_fini(struct tly_engine *e);

/* What was asked for ahead under that number. */
static inline const struct tly_seek *tly_ask_ahead_of(const struct tly_engine *e, unsigned number)
{
    assert(number <= e->ahead_count);
    return &e->ahead[number - 1];
}

/* usual.c */
/* The rate before is another one now. */
static inline void tly_usual_forget(struct tly_engine *e)
{
    e->usual.length_ms = e->usual.bucket.emission = 0;
}
/* tly_ask_check of what was not asked for ahead, at once where it is like the check before it but for its key. */
enum tly_result tly_usual_check(struct tly_engine *e, const struct tly_check *check,
                                struct tly_verdict *verdict);
/* A check of a bucket of which the key is sought, where it is like the one before it but for that; false: it is not, and nothing was asked. */
bool tly_usual_bucket(struct tly_engine *e, const struct tly_check *check, const struct tly_seek *seek,
                      struct tly_verdict *verdict);
/* The same for up to TLY_CHECK_GROUP at once; false: one of them is of another kind, and nothing was asked. */
bool tly_usual_checks(struct tly_engine *e, struct tly_checked *checks, size_t count);
/* A check of this rate has gone the long way: the next one may be usual. */
void tly_usual_learn(struct tly_engine *e, const struct tly_rate *rate);

/* why.c */
void tly_why_note(struct tly_engine *e, const struct tly_seek *seek, uint32_t hits,
                  const struct tly_verdict *verdict);
/* Asks for the memory of it: where one was refused the next one will be. */
static inline void tly_why_ahead(const struct tly_engine *e, uint32_t hash)
{
    if (!e->is_refusing || e->refusals == NULL) return;
    const uint8_t *refusal = (const uint8_t *)&e->refusals[hash % TLY_REFUSALS_KEPT];
    for (size_t line = 0; line < sizeof *e->refusals; line += 64)
        __builtin_prefetch(refusal + line, 1);
}
void tly_why_fini(struct tly_engine *e);

/* ask_several.c */
/* Looks at all of them as they are now. Nothing is counted, in the statistics neither. */
void tly_ask_peek(struct tly_engine *e, struct tly_time now, struct tly_checked *checks, size_t count);
enum tly_result tly_ask_several(struct tly_engine *e, const struct tly_request *request,
                                bool *is_over) TLY_MUST_CHECK;

/* near.c */
enum tly_result tly_near_init(struct tly_engine *e) TLY_MUST_CHECK;
/* Whether it matters which limits are nearly reached: some peer's budget is used up. */
bool tly_near_matters(const struct tly_engine *e);
/* A limit of this key was asked for, and hit. With a budget only. */
void tly_near_note(struct tly_engine *e, struct tly_slice key, const struct tly_verdict *verdict);
/* Where a key stands in the order of sealing; `number`: where it would. */
uint32_t tly_near_rank(struct tly_engine *e, struct tly_slice key, uint32_t number);

/* columns.c */
/* NULL: no memory. */
struct columns *tly_columns_need(struct tly_engine *e);
/* A snapshot has ended: gives the memory back. Whoever needs it again gets it. */
void tly_columns_fini(struct tly_engine *e);
/* Begins a part that stands alone, with e->parts. */
void tly_columns_begin(struct tly_engine *e, struct columns *columns);
/* Reads one, checked whole; results as of tly_parts_get. */
enum tly_result tly_columns_get(struct tly_engine *e, struct tly_slice body,
                                struct tly_part *part) TLY_MUST_CHECK;

/* snapshot.c */
/* Writes the disk anew, as a whole; peers hear nothing before it is stored. */
void tly_snap_dump(struct tly_engine *e);
/* The one before could not be stored: again, in a while. */
void tly_snap_dump_again(struct tly_engine *e);
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
/* Whether this node is being brought up itself. */
bool tly_snap_is_asking(const struct tly_engine *e);
/* Asks somebody, unless that is under way. */
void tly_snap_resync(struct tly_engine *e);
/* Whether the snapshot that is being taken in comes on this connection. */
bool tly_snap_is_bringing(const struct tly_engine *e, const struct conn *conn);
/* Sends what the connection takes. */
void tly_snap_flush(struct tly_engine *e, struct conn *conn);
/* Fills e->writer with what comes next; false: that was all there is. Everything is sealed. */
bool tly_snap_fill(struct tly_engine *e, struct snap_out *out, size_t rows_bytes_max);
/* The next message of a snapshot into e->body; its type. Everything is sealed. */
enum tly_frame_type tly_snap_next(struct tly_engine *e, struct snap_out *out, size_t rows_bytes_max);
void tly_snap_fini(struct tly_engine *e, struct snap_in *in);
/* A connection goes: what it was giving or bringing may go on with the next one. */
void tly_snap_put_aside(struct tly_engine *e, struct conn *conn);
/* Nothing of the kind may go on. */
void tly_snap_drop_aside(struct tly_engine *e);
/* Whether one is being given, or was cut off and may go on: what it said of the lives at its start has to be true of all its chunks. */
bool tly_snap_holds(const struct tly_engine *e);
void tly_snap_tick(struct tly_engine *e);
uint64_t tly_snap_deadline(const struct tly_engine *e);
/* One batch that tly_snap_next made, read back. */
enum tly_result tly_snap_replay(struct tly_engine *e, struct tly_slice batch, size_t kind) TLY_MUST_CHECK;

/* Whether it is the one that was found good last. */
static inline bool tly_rate_is_good(const struct tly_engine *e, const struct tly_rate *rate)
{
    const struct tly_rate *good = &e->good_rate;
    uint64_t numbers = (rate->limit ^ good->limit) | (rate->window_ms ^ good->window_ms) |
                       (rate->burst ^ good->burst) | (rate->cap ^ good->cap);
    unsigned words = ((unsigned)rate->algorithm ^ (unsigned)good->algorithm) |
                     ((unsigned)rate->mode ^ (unsigned)good->mode) |
                     ((unsigned)rate->on_partition ^ (unsigned)good->on_partition) |
                     (rate->unit ^ good->unit);
    return (numbers | words) == 0;
}

#endif
