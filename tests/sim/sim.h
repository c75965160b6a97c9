/*
 * A simulated cluster: real engines with their real codec, and a virtual world of clocks, disks, links, clients and bad luck.
 * Everything that happens comes from one seed; the same seed lives through the same days, on whichever machine.
 *
 *     sim.c     time, the queue of what happens, what is told        node.c   a node's process: start, stop, crash, its effects
 *     link.c    connections: delay, rate, cuts, clogs, partitions    disk.c   what of a node outlives its process
 *     store.c   the same, as the daemon's own store on files
 *     hard.c    clients of hard limits                               knobs.c  what kind of days a seed has
 *     limits.c  clients of all kinds of limits                       watches.c  watchers
 *     copies.c  archives and followers
 *     fresh.c   clients that bring new keys                          versions.c  nodes of other versions
 *     load.c    clients, and what they were told                     fault.c  what goes wrong, and how often
 *     twin.c    every dot that anybody ever published                check.c  what must hold, and check_*.c, one thing each
 *     hostile.c a peer that means harm                               schedule.c  days written by hand
 *
 * Over it campaign.c lives through many seeds, and shrink.c searches for the least of one that fails.
 */
#ifndef TALLY_TESTS_SIM_SIM_H
#define TALLY_TESTS_SIM_SIM_H

#include "service/engine/engine.h"
#include "tests/support/rng.h"

#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_S UINT64_C(1000000000)
#define SIM_MIN (60 * SIM_S)
#define SIM_WALL_START UINT64_C(1800000000000000000)
#define SIM_NODES_MAX 128
#define SIM_KEYS_MAX 32
#define SIM_VALUE_BYTES 4096
/* Seeds from here on have the wider days: what came into the simulator later, so that the days of earlier ones stay as they were. */
#define SIM_WIDE_FROM UINT64_C(3000000000)
/* … and from here on some have members that count alone and are forgotten. */
#define SIM_LONE_FROM UINT64_C(10000000000000)

/* What goes wrong. X(NAME, "word", weight): how often, among all that goes wrong, before a seed has its say. */
#define SIM_FAULTS(X)                 \
    X(KILL, "killed", 10)             \
    X(POWER_CUT, "power cut", 5)      \
    X(STOP, "stopped", 8)             \
    X(PAUSE, "paused", 8)             \
    X(CUT, "connection cut", 20)      \
    X(CLOG, "one way clogged", 12)    \
    X(BLACKHOLE, "link lost", 8)      \
    X(PARTITION, "partition", 6)      \
    X(THIN, "thin link", 5)           \
    X(DISK_FAILS, "disk fails", 6)    \
    X(OLD_DISK, "older disk", 2)      \
    X(CLOCK_STEP, "clock stepped", 5) \
    X(FORGET, "member forgotten", 1)  \
    X(COMPACT, "compaction", 12)      \
    X(HARM, "hostile peer", 20)       \
    X(STRANGER, "stranger", 0)        \
    X(LONE, "alone and forgotten", 0)

enum sim_fault {
#define SIM_FAULT_ENUM(name, word, weight) SIM_##name,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
        SIM_FAULT_COUNT
};

extern const char *const sim_fault_words[SIM_FAULT_COUNT];

/* What n0 is, where it is not like the others. */
enum sim_odd {
    SIM_ODD_VERSION_1 = 1,
    SIM_ODD_NO_REPAIR = 2,
    SIM_ODD_NO_RESUME = 4,
    SIM_ODD_NO_NEWS = 8,
    SIM_ODD_NO_COLUMNS = 16,
    SIM_ODD_NEWER = 32 /* speaks versions that are still to come, too */
};

/* What kind of days a seed has. */
struct sim_knobs {
    uint64_t seed;
    char how[96]; /* the options with which it is lived through */
    size_t nodes;
    uint64_t trouble_ns;   /* how long things go wrong */
    uint64_t settle_ns;    /* in which the healed must agree */
    uint64_t write_gap_ns; /* between two writes of one node, on average */
    uint64_t fault_gap_ns; /* between two things that go wrong; 0: nothing does */
    uint64_t delay_ns;     /* of a link, one way */
    uint64_t jitter_ns;    /* more of it, at most */
    uint64_t disk_ns;      /* until what is appended is written */
    uint64_t skew_ns;      /* of a wall clock, at most */
    uint32_t grace_ms;     /* tombstone_grace */
    uint64_t forget_after_ms;
    size_t memory_max;
    size_t mesh_max;    /* 0: the engine's, which is more than there are */
    bool minority_gone; /* at the end, for good */
    size_t value_bytes; /* of a register, at most; 0: its key */
    bool harmed;        /* there is a hostile peer */
    unsigned keys;      /* of each kind */
    bool fsync_always;
    bool files; /* the daemon's store, not the model of one */
    bool hard;  /* clients ask hard limits too: */
    uint64_t hard_limit, hard_window_ms;
    unsigned fresh;       /* new keys in one turn of a client, at most */
    bool refuses_full;    /* on_full */
    uint64_t link_budget; /* bytes/s of each connection, one way; 0: no end. A slack there is not (D105) */
    unsigned odd;         /* sim_odd, added up */
    bool watches;         /* on each node */
    bool copies;          /* archives, and a follower of the feed */
    bool limits;          /* clients ask limits of all kinds */
    unsigned weights[SIM_FAULT_COUNT];
};

struct sim_knobs sim_knobs_of(uint64_t seed);
void sim_knobs_print(const struct sim_knobs *k);
/* So many members are linked all to all, and more stand in a ring. */
void sim_knobs_ring(struct sim_knobs *knobs, size_t mesh_max);
/* Nothing of the wider days. */
void sim_knobs_narrow(struct sim_knobs *knobs);
/* The pace at which design 6.2 asks for so many simulated hours an hour, on links as good as any; the time is shared out. */
void sim_knobs_pace(struct sim_knobs *knobs);

/* ---- what happens ---- */

enum sim_event_kind {
    SIM_EV_ACCEPT,  /* a: conn */
    SIM_EV_CONNECT, /* a: conn */
    SIM_EV_REFUSED, /* a: the engine's number of the dial */
    SIM_EV_ARRIVE,  /* a: conn, b: direction */
    SIM_EV_QUEUED,  /* a: conn, b: direction */
    SIM_EV_CLOSED,  /* a: the engine's number of the connection */
    SIM_EV_WRITTEN, /* the disk has it */
    SIM_EV_SYNCED,  /* b: how many records */
    SIM_EV_LEASED,  /* b: the lease */
    SIM_EV_IMAGE,   /* another slice of a compaction */
    SIM_EV_STORE,   /* b: which turn of the store's */
    SIM_EV_CLIENT,
    SIM_EV_FAULT,
    SIM_EV_HEAL, /* a: what; b, c: of whom */
    SIM_EV_START,
    SIM_EV_STOPPED, /* a clean stop has had its time */
    SIM_EV_LOOK
};

struct sim_event {
    uint64_t at, seq;
    enum sim_event_kind kind;
    size_t node;
    uint64_t process; /* of the node, for which it is meant; 0: whichever */
    uint64_t a, b, c;
};

struct sim_batch {
    uint8_t *bytes;
    size_t n;
};

struct sim_batches {
    struct sim_batch *list;
    size_t count, capacity;
};

struct test_disk;

/*
 * What of a node outlives its process: batches that were written, some of them synced, behind an image; or files, of which the numbers of the
 * batches that this process has written and synced are known, and what they said at its start.
 */
struct sim_disk {
    struct sim_batches image, log;
    size_t written, synced; /* of the log */
    /* Something replaces all before, as soon as it is written to its end: batches of the log. */
    bool installs;
    size_t install_from, install_end; /* end 0: more of it comes */
    size_t taken;                     /* … up to here it has said that it has its parts */
    uint64_t origin, lease;
    bool clean;
    struct test_disk *files; /* NULL: the model */
};

/* What a client was told, until it is durable. */
struct sim_promise {
    unsigned key;
    int64_t delta;
    uint64_t ticket;
    size_t batches; /* of the log that hold it; 0: not written yet */
    bool is_copied; /* the copy of the disk has it */
    unsigned fresh; /* number + 1 of a new register; 0: it is none */
};

/* What a process has said of forgetting. */
struct sim_floors {
    uint64_t process, f, forgotten, brought;
};

/* The newest version that a process has made below its lease on the disk, and the newest of all before it. */
struct sim_made {
    uint64_t process, newest, before;
};

/* What a process has told clients that there is no room for; and whether it has been below its ceiling since it began. */
struct sim_full {
    uint64_t process, writes, refused, uncounted;
    bool fits;
};

/* What has gone one way on a connection and not leaked from a bucket of its budget yet. */
struct sim_level {
    uint64_t bytes, at;
};

/* The kinds of limits that limits.c asks, and so many keys of each. */
enum sim_limit {
    SIM_LIMIT_BUCKET,
    SIM_LIMIT_SLOW_BUCKET,
    SIM_LIMIT_QUOTA,
    SIM_LIMIT_CAPPED,
    SIM_LIMIT_SPARED, /* something of it is given back */
    SIM_LIMIT_SLIDING,
    SIM_LIMIT_KINDS
};
#define SIM_LIMIT_KEYS 3
#define SIM_FLIGHT_LIMIT 5

/* What a process has admitted of one of those, since it began or since it was given a snapshot. */
struct sim_spent {
    uint64_t process, epoch, admitted; /* of a window */
    uint64_t level_ns, at_ns;          /* of a bucket: until it is full again */
    /* Of a capped window and a life: what it found counted when it first looked, or has counted while it was alone. */
    uint64_t found_epoch, found_life, found;
};

/* What a key read as when a watcher was told; print 0: it was not there. */
struct sim_reading {
    uint64_t print, deadline_ms;
};
#define SIM_WATCHED 3 /* kinds of keys */

/* What a process has admitted of a limit. */
struct sim_window {
    uint64_t process, epoch, admitted;
};

/* What all together have admitted of one; so many of the newest of a key are kept, which is more than clocks lie apart. */
#define SIM_EPOCHS 256

struct sim_counted {
    uint64_t epoch, admitted;
};

struct sim_node {
    struct tly_engine *engine;   /* NULL: no process */
    uint64_t process;            /* counts the processes */
    bool paused, stopping, gone; /* gone: for good */
    bool was_forgotten;          /* by some node, once */
    uint64_t fell_at;            /* last, and lost what its disk had not written */
    uint64_t due;
    bool is_due_known;
    int64_t offset_ns; /* of the wall clock */
    int64_t drift_ppb;
    struct sim_event *waiting; /* while it is paused */
    size_t waiting_count, waiting_capacity;

    struct sim_disk disk, copy; /* copy: of an earlier day */
    bool has_copy, disk_fails, write_due;
    uint64_t copied_at;
    struct sim_store *store; /* of files */
    uint64_t batch_base;     /* of the log, before this process's first */
    struct tly_image *image;
    struct sim_batches staged;
    size_t image_from;
    bool image_walked;
    uint64_t image_ticket;

    struct sim_promise *promises;
    size_t promise_count, promise_capacity;
    struct sim_floors floors;
    struct sim_made made;
    uint64_t brought;              /* times that others brought what is forgotten */
    uint64_t installed_at, source; /* the last snapshot, and the life that gave it */
    struct sim_window windows[SIM_KEYS_MAX];
    struct sim_spent spent[SIM_LIMIT_KINDS][SIM_LIMIT_KEYS];
    int64_t seen[SIM_KEYS_MAX]; /* of each counter, by a client of this process */
    struct sim_full full;
    struct tly_watch *watches[SIM_WATCHED];
    struct sim_reading told[SIM_WATCHED][SIM_KEYS_MAX];
    uint64_t watched; /* print of what it holds of the watched key */
};

/* Faults that are left out, by their number from 1 on. */
#define SIM_SKIPS_MAX 4096

struct sim_skips {
    uint8_t bits[SIM_SKIPS_MAX / 8];
};

void sim_skip(struct sim_skips *skips, uint64_t fault);
bool sim_is_skipped(const struct sim_skips *skips, uint64_t fault);

struct sim;

/* ---- sim.c ---- */

#define SIM_STAT_NAME(name, help) SIM_STAT_##name,
enum { TLY_STATS(SIM_STAT_NAME) SIM_STATS };
#undef SIM_STAT_NAME

struct sim {
    struct sim_knobs knobs;
    const char *watched; /* a key of which all changes are told; NULL: none. To look may move versions. */
    struct test_rng rng, looks; /* looks: of the checkers, so that another one changes nothing */
    uint64_t now, seq;
    int64_t most_ahead_ns; /* of all clocks, before one was set */
    struct sim_event *queue;
    size_t queue_count, queue_capacity;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_net *net;
    struct sim_twin *twin;
    struct sim_ledger *ledger;
    struct sim_hard *hard;
    struct sim_limits *limits;
    struct sim_copies *copies;
    struct sim_counted counted[SIM_KEYS_MAX][SIM_EPOCHS];
    unsigned fresh_count; /* new keys so far */
    size_t dot_bytes_max; /* of all that was made */
    bool troubled;        /* things still go wrong */
    bool rolled_back;     /* some disk was */
    bool was_one_forgotten;
    bool is_one_alone; /* or was until just now */
    uint64_t next_origin;
    uint64_t steps;
    struct sim_skips skips;
    uint64_t fault_number; /* of the last one */
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t stats[SIM_STATS]; /* of ended processes, in the order of TLY_STATS */
    uint64_t traces[TLY_TRACE_COUNT];
};

/* Ends the program when something does not hold: says what, the seed, and what happened last. */
#define sim_claim(sim, holds, ...) ((holds) ? (void)0 : sim_fail((sim), __VA_ARGS__))
_Noreturn void sim_fail(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line of what happens; kept, and shown at once with --trace. */
void sim_tell(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_tell_all(bool all);
/* Of every line since sim_new. */
uint64_t sim_told_print(void);

struct sim *sim_new(const struct sim_knobs *knobs);
void sim_free(struct sim *sim);
void sim_push(struct sim *sim, uint64_t in_ns, struct sim_event event);
void sim_run(struct sim *sim, uint64_t until);
void *sim_grow(void *list, size_t *capacity, size_t count, size_t item_bytes);

uint64_t sim_below(struct sim *sim, uint64_t n);
bool sim_chance(struct sim *sim, unsigned percent);
/* Around the mean, with a long tail. */
uint64_t sim_gap(struct sim *sim, uint64_t mean);

/* ---- node.c ---- */

struct tly_time sim_time(const struct sim *sim, size_t i);
void sim_step(struct sim *sim, size_t i, struct tly_event event);
enum tly_result sim_ask(struct sim *sim, size_t i, struct tly_request *request, struct tly_reply *reply);
void sim_start(struct sim *sim, size_t i);
/* Without a word. power: what was not synced is lost, or some of it, and peers notice nothing. */
void sim_kill(struct sim *sim, size_t i, bool power);
void sim_stop(struct sim *sim, size_t i);
void sim_stopped(struct sim *sim, size_t i);
void sim_pause(struct sim *sim, size_t i, bool paused);
bool sim_is_up(const struct sim *sim, size_t i);
/* The process goes; its numbers are kept. */
void sim_end_process(struct sim *sim, size_t i);

/* ---- link.c ---- */

struct sim_net *sim_net_new(void);
void sim_net_free(struct sim_net *net);
void sim_dial(struct sim *sim, size_t from, uint64_t id, struct tly_slice address);
void sim_send(struct sim *sim, size_t node, uint64_t id, struct tly_slice bytes);
void sim_close(struct sim *sim, size_t node, uint64_t id);
/* For a connection that no link carries; and whether the node has closed the last such. */
uint64_t sim_net_id(struct sim *sim);
bool sim_was_closed(uint64_t id);
void sim_net_event(struct sim *sim, const struct sim_event *event);
/* All connections of a node end; silent: the others are not told. */
void sim_tear_node(struct sim *sim, size_t node, bool silent);
void sim_tear_pair(struct sim *sim, size_t a, size_t b);
/* Bytes from a to b wait. */
void sim_clog(struct sim *sim, size_t a, size_t b, bool clogged);
/* No dial from a to b comes through; and what waits on it never does, or ends. */
void sim_block(struct sim *sim, size_t a, size_t b, bool blocked);
void sim_rate(struct sim *sim, size_t a, size_t b, uint64_t bytes_per_s);
void sim_heal_links(struct sim *sim);
uint64_t sim_net_bytes(const struct sim *sim);

/* ---- disk.c ---- */

/* A batch, or a part of what replaces all before. */
void sim_disk_take(struct sim *sim, size_t i, const struct tly_effect *effect);
void sim_disk_lease(struct sim *sim, size_t i, uint64_t lease);
void sim_disk_event(struct sim *sim, const struct sim_event *event);
void sim_disk_fail(struct sim *sim, size_t i, bool fails);
/* Before the start: what the disk says of the life before; then what is there goes into the engine; then the new life is said to it. */
void sim_disk_open(struct sim *sim, size_t i);
void sim_disk_replay(struct sim *sim, size_t i);
void sim_disk_begin(struct sim *sim, size_t i, uint64_t origin, uint64_t lease);
/* A clean stop: all is written and synced, and the process may go. */
void sim_disk_stop(struct sim *sim, size_t i);
/* Before the process ends in the midst of something. */
void sim_disk_die(struct sim *sim, size_t i);
/* The process ended; power: so did the machine. */
void sim_disk_crash(struct sim *sim, size_t i, bool power);
void sim_disk_compact(struct sim *sim, size_t i);
void sim_disk_copy(struct sim_disk *to, const struct sim_disk *from);
void sim_disk_free(struct sim_disk *disk);
/* The process ends. */
void sim_disk_let_go(struct sim_node *node);

/* ---- store.c: as the functions of disk.c ---- */

void sim_store_take(struct sim *sim, size_t i, const struct tly_effect *effect);
void sim_store_lease(struct sim *sim, size_t i, uint64_t lease);
void sim_store_event(struct sim *sim, const struct sim_event *event);
void sim_store_fail(struct sim *sim, size_t i, bool fails);
/* From now on no sync succeeds, as long as this process lives. */
void sim_store_unsynced(struct sim *sim, size_t i);
void sim_store_compact(struct sim *sim, size_t i);
void sim_store_open(struct sim *sim, size_t i);
void sim_store_replay(struct sim *sim, size_t i);
void sim_store_begin(struct sim *sim, size_t i, uint64_t origin, uint64_t lease);
/* All that waits; then it is synced, and, clean, the mark is set. */
void sim_store_write(struct sim *sim, size_t i);
void sim_store_close(struct sim_node *node, bool clean);
void sim_store_die(struct sim *sim, size_t i);
void sim_store_drop(struct sim_node *node);
void sim_files_cut(struct sim *sim, struct sim_disk *disk);
struct test_disk *sim_files_copy(struct test_disk *files);
void sim_files_free(struct test_disk *files);

/* ---- load.c ---- */

struct sim_ledger *sim_ledger_new(void);
void sim_ledger_free(struct sim_ledger *ledger);
void sim_client(struct sim *sim, size_t i);
/* Promises that the disk keeps by now are kept; at a crash the others are open. */
void sim_promises_stored(struct sim *sim, size_t i);
void sim_promises_broken(struct sim *sim, size_t i, bool power);
/* The disk is copied, as it is written now; and the node goes on with that copy. */
void sim_promises_copied(struct sim *sim, size_t i);
void sim_promises_rolled_back(struct sim *sim, size_t i);
/* What a counter may read once all is known, on this node. */
void sim_ledger_bounds(struct sim *sim, size_t at, unsigned key, int64_t *least, int64_t *most);
struct tly_slice sim_some_bytes(struct sim *sim, uint8_t *bytes, size_t n);
/* It was told that this was counted. */
void sim_promise(struct sim *sim, size_t i, unsigned key, int64_t delta);
/* The same of a new register (fresh.c). */
void sim_promise_fresh(struct sim *sim, size_t i, unsigned number);
/* One more to a counter, by a client. */
void sim_write_plain(struct sim *sim, size_t i, unsigned key);
const char *sim_key(char kind, unsigned key, char text[24]);

/* ---- twin.c ---- */

struct sim_twin *sim_twin_new(void);
void sim_twin_free(struct sim_twin *twin);
/* Every dot of a batch; one version has one payload. */
void sim_twin_learn(struct sim *sim, size_t node, struct tly_slice batch);
/* So many of the dots, chosen by chance: whoever claims one by its mark has it, or something that makes it redundant. */
void sim_twin_check_marks(struct sim *sim, size_t node, size_t count);
/* Tells what a node holds of a key when that is no longer what it was. */
void sim_twin_watch(struct sim *sim, size_t node, const char *name);
void sim_twin_tell_differences(struct sim *sim, size_t a, size_t b);
void sim_twin_installed(struct sim *sim, size_t node, struct tly_slice source);
/* When its node began another life, or (that it did not) this one; 0: nothing was heard of it. */
uint64_t sim_twin_ended_at(const struct sim *sim, uint64_t origin);
bool sim_twin_has_installed(const struct sim *sim, uint64_t origin);
bool sim_twin_went_at_install(const struct sim *sim, struct tly_version version);
/* Whether the key is not on this node because a life of which it has the word was settled without its PUT. */
bool sim_twin_was_settled_without(struct sim *sim, size_t node, struct tly_slice key);
/*
 * Whether the key is not on this node, and its PUT, of which no other that was there had heard, was older than what had been forgotten when its own
 * node installed a snapshot (D29).
 */
bool sim_twin_went_unheard(struct sim *sim, size_t node, struct tly_slice key);
/* Some other has no room for all that the lives of this node have written. */
void sim_twin_note_left_out(struct sim *sim, size_t node);
/* This node has settled that life. */
void sim_twin_note_settled(struct sim *sim, size_t node, uint64_t origin);
/* Whether the mark of that life says what is here: where something did not fit, that of a settled one says what is gone (D222). */
bool sim_twin_asks(const struct sim *sim, const struct tly_life *life);
/*
 * Whether that life is settled and nobody has this dot of it (index + 1): who had was lost, or its disk, and the mark is above by a dot that came
 * ahead of it or in an archive. Or who was forgotten may have it alone, which comes later.
 */
bool sim_twin_went_with_who_had_it(struct sim *sim, size_t at, const struct tly_life *life, size_t dot);
/* Whether a dot of a life that was made up was first heard of when some node had forgotten that REMOVE. */
bool sim_twin_came_too_late(const struct sim *sim, struct tly_version put, uint64_t remove);
/*
 * Whether a dot is covered by what the source of a snapshot said of its own life beside it, and another life's had taken its place there before the end,
 * which comes with the first round behind it (DESIGN.md, limits).
 */
bool sim_twin_comes_with_a_round(const struct sim *sim, size_t node, size_t dot);
size_t sim_twin_count(const struct sim *sim);
size_t sim_twin_keys(const struct sim *sim);
struct tly_slice sim_twin_key(const struct sim *sim, size_t key);
/* The dots of a key, from the newest learnt on: numbers, 0 behind the last. */
size_t sim_twin_newest(const struct sim *sim, size_t key);
size_t sim_twin_before(const struct sim *sim, size_t dot);
const struct tly_dot *sim_twin_dot(const struct sim *sim, size_t dot);
struct tly_slice sim_twin_key_of(const struct sim *sim, size_t dot);
const struct tly_strategy *sim_twin_strategy(const struct sim *sim, size_t dot);

/* ---- hard.c ---- */

struct sim_hard *sim_hard_new(void);
void sim_hard_free(struct sim_hard *hard);
void sim_hard_rules(struct sim *sim, struct tly_rules *rules);
void sim_hard_once(struct sim *sim, size_t i);
/* Once all is known. */
void sim_hard_end(struct sim *sim, size_t i);

/* ---- limits.c ---- */

struct sim_limits *sim_limits_new(void);
void sim_limits_free(struct sim_limits *limits);
void sim_add_rule(struct sim *sim, struct tly_rules *rules, const char *name, const char *mode,
                  struct tly_rate rate);
/* A node has begun: it is told the limits, hard ones too. */
void sim_limits_begin(struct sim *sim, size_t i);
void sim_limits_once(struct sim *sim, size_t i);
/* Once all is known, and long over. */
void sim_limits_end(struct sim *sim, size_t i);

/* ---- watches.c ---- */

void sim_watch_begin(struct sim *sim, size_t i);
/* Its watchers read on, and then know what is there. */
void sim_watch_look(struct sim *sim, size_t i);
void sim_watch_end(struct sim *sim, size_t i);

/* ---- copies.c ---- */

struct sim_copies *sim_copies_new(void);
void sim_copies_free(struct sim_copies *copies);
void sim_copies_once(struct sim *sim, size_t i);
/* The follower asks that node until there is no more; whether it holds the same then. */
bool sim_follows(struct sim *sim, size_t i, bool tells);
/* Whether a node that is started from what it has kept reads the same; at the time of node i. */
void sim_check_kept(struct sim *sim, size_t i);

/* ---- fresh.c ---- */

/* As a key of the ledger: all counters and registers of new keys together. */
#define SIM_FRESH SIM_KEYS_MAX
/* Of a new register. */
#define SIM_FRESH_BYTES 65536
void sim_fresh_once(struct sim *sim, size_t i);
int64_t sim_fresh_sum(struct sim *sim, size_t i);
/* Whether a new register is not on this node, being one of a life that was settled without it, or gone unheard at an install. */
bool sim_fresh_was_left(struct sim *sim, size_t at, unsigned number);

/* ---- fault.c ---- */

void sim_fault(struct sim *sim);
void sim_heal(struct sim *sim, const struct sim_event *event);
/* The end of all trouble: a core is mended, the others stay away for good. */
void sim_mend(struct sim *sim);
/* No link to anybody, or all of them again. */
void sim_keep_out(struct sim *sim, size_t i, bool out);
/* One says of another that it is gone for good. */
void sim_forget(struct sim *sim, size_t by, size_t whom);

/* ---- hostile.c ---- */

/* Something that harms, said to a node by a peer that is none. */
void sim_hostile(struct sim *sim, size_t node);
void sim_hostile_begin(void);
/* One of those that it made up. */
bool sim_hostile_made(uint64_t origin);
void sim_hostile_hears(struct tly_slice bytes);
/* A node has closed a connection that no link carries. */
void sim_hostile_closed(size_t node, uint64_t id);
/* Nobody waits for it for ever. */
void sim_check_hostile(struct sim *sim);

/* ---- versions.c ---- */

/* What a node says first to another, as it is said where one of them is odd; false: as it is. */
bool sim_odd_greeting(struct sim *sim, size_t from, size_t to, struct tly_slice frame, struct tly_buf *out);
/* Nothing is said to an older one, nor by it, that it has not said it knows. */
void sim_check_spoken(struct sim *sim, size_t from, size_t to, struct tly_slice frame);
/* Somebody comes whom a node must refuse. */
void sim_stranger(struct sim *sim, size_t node);

/* ---- schedule.c ---- */

/* The i-th of those that are replayed; NULL: no more. */
const char *sim_schedule_name(size_t i);
/* Its name; NULL: there is none of that name. */
const char *sim_schedule_find(const char *name);
void sim_schedule_knobs(const char *name, struct sim_knobs *knobs);
/* To its end, in place of chance. */
void sim_schedule_run(struct sim *sim, const char *name);

/* ---- check_*.c ---- */

/* So many keys, by chance. */
void sim_check_returns(struct sim *sim, size_t node, size_t count);
/* Whether something stands in the key that a life which was made up said. */
bool sim_hostile_said(struct sim *sim, size_t node, const char *text);
void sim_check_floors(struct sim *sim, size_t node);
void sim_check_audit(struct sim *sim, size_t node);
/* Of a dot that it has just made. */
void sim_check_order(struct sim *sim, size_t i, uint64_t ts);
/* Of a life that it has just settled. */
void sim_check_settled(struct sim *sim, size_t node, uint64_t origin);
void sim_check_admitted(struct sim *sim, size_t node, unsigned key, const struct tly_verdict *verdict,
                        uint32_t hits);
/* Of those that limits.c asks. */
void sim_check_spent(struct sim *sim, size_t node, enum sim_limit kind, unsigned key,
                     const struct tly_check *check, const struct tly_verdict *verdict);
/* Asks them, with a look before and one after. */
void sim_check_several(struct sim *sim, size_t i, enum tly_request_kind kind, struct tly_checked *checks,
                       size_t count);
/* By all nodes together, of one window of a hard limit. */
void sim_check_hard(struct sim *sim, uint64_t admitted, unsigned key);
void sim_forget_admitted(struct sim_node *node);
void sim_check_memory(struct sim *sim, size_t node);
/* Of a key that was counted here and is not to be counted on. */
void sim_check_crowded(struct sim *sim, size_t node, const char *kind, unsigned key);
/* Of an answer. */
void sim_check_full(struct sim *sim, size_t node, const struct tly_request *request, enum tly_result result,
                    const struct tly_reply *reply);
/* Before a process ends. */
void sim_check_refused(struct sim *sim, size_t node);
/* A frame goes out. */
void sim_check_budget(struct sim *sim, size_t node, struct sim_level *level, struct tly_slice frame);
/* Once all is mended and all agree. */
void sim_check_quiet(struct sim *sim);

/* ---- check.c ---- */

void sim_look(struct sim *sim);
/* Only that all come to read the same; how long that took. */
uint64_t sim_check_readings(struct sim *sim);
/* Runs until all that are there agree; how long that took. */
uint64_t sim_check_end(struct sim *sim);

#endif
