/*
 * A peer that means harm: noise, what others said again, damaged or whole, greetings and frames that are never finished, floods of new keys,
 * and rounds that say things of others' lives, marks, epochs and times. It has no engine and no place in the list of members; whatever it
 * says goes straight into a node. The honest ones must keep among themselves all that they keep without it.
 */
#include "crdt/epoch_sum.h"
#include "service/engine/impl.h"
#include "tests/sim/sim.h"
#include "tests/support/mem.h"
#include "wire/frame.h"
#include "wire/message.h"

#include <stdio.h>
#include <stdlib.h>

#define HEARD_BYTES 2048
#define LIFE UINT64_C(0xe711e711e711e711)
#define THIRD_LIVES 4
#define REPLAYED 64 /* dots in one round */
#define FLOOD 400   /* keys in one round */
#define YEAR (UINT64_C(31536000) * SIM_S)
/* A connection that does not go on with what it has begun is closed within this. */
#define PATIENCE (70 * SIM_S)

/* What some honest node sent last. */
static uint8_t heard[HEARD_BYTES];
static size_t heard_n;

/* Connections that have begun something and never go on. */
static struct slow {
    size_t node;
    uint64_t process, id, since;
} slow[64];
static size_t slow_count;

void sim_hostile_begin(void)
{
    heard_n = 0;
    slow_count = 0;
}

bool sim_hostile_made(uint64_t origin)
{
    return origin >= LIFE && origin < LIFE + 2 + THIRD_LIVES;
}

void sim_hostile_hears(struct tly_slice bytes)
{
    heard_n = bytes.n < sizeof heard ? bytes.n : sizeof heard;
    memcpy(heard, bytes.p, heard_n);
}

static void say(struct sim *sim, size_t node, uint64_t id, struct tly_slice bytes)
{
    if (sim->nodes[node].engine == NULL) return;
    sim_step(sim, node, (struct tly_event){.kind = TLY_BYTES, .conn = id, .bytes = bytes});
}

static void say_noise(struct sim *sim, size_t node, uint64_t id)
{
    uint8_t bytes[256];
    size_t n = 1 + sim_below(sim, sizeof bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)test_rng_next(&sim->rng);
    say(sim, node, id, tly_slice_of(bytes, n));
}

static void say_again(struct sim *sim, size_t node, uint64_t id)
{
    static uint8_t bytes[HEARD_BYTES];
    size_t n = heard_n;
    memcpy(bytes, heard, n);
    if (n == 0) return;
    if (sim_chance(sim, 50)) bytes[sim_below(sim, n)] ^= (uint8_t)(1u << sim_below(sim, 8));
    say(sim, node, id, tly_slice_of(bytes, n));
}

static void put_frame(struct tly_buf *out, enum tly_frame_type type, struct tly_buf *body)
{
    tly_frame_put(out, type, tly_buf_slice(body));
    tly_buf_clear(body);
}

/* ---- rounds ---- */

/* One round of it, in protocol version 1. */
struct words {
    struct sim *sim;
    size_t node;
    struct tly_engine *engine;
    uint64_t wall_ns; /* by its own clock */
    struct tly_round_writer rows;
    struct tly_mark marks[2]; /* at the end */
    size_t mark_count;
};

static void words_init(struct words *words, struct sim *sim, size_t node)
{
    struct tly_mem mem = test_mem();
    struct tly_engine *engine = sim->nodes[node].engine;
    *words = (struct words){.sim = sim, .node = node, .engine = engine, .wall_ns = engine->now.wall_ns};
    tly_round_writer_init(&words->rows, &mem);
}

static void add_dot(struct words *words, const char *key, const struct tly_strategy *strategy,
                    const struct tly_dot *dot)
{
    (void)tly_round_writer_add(&words->rows, tly_slice_text(key), strategy, dot);
}

/* As somebody who has all that the node has. */
static void put_greeting(const struct words *words, struct tly_buf *body)
{
    const struct tly_engine *e = words->engine;
    struct tly_mark marks[TLY_MARKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < tly_ormap_lives(e->map) && count < TLY_MARKS_MAX; i++) {
        struct tly_life life = tly_ormap_life_kept(e->map, i);
        if (life.origin != 0 && life.state < TLY_LIFE_SETTLED)
            marks[count++] = (struct tly_mark){life.origin, life.mark};
    }
    struct tly_hello hello = {.version_oldest = 1,
                              .version_newest = 1,
                              .cluster = tly_slice_text("sim"),
                              .name = tly_slice_text("hostile"),
                              .origin = LIFE,
                              .wall_ns = words->wall_ns,
                              .delta = true,
                              .snapshot = true};
    tly_hello_put(body, &hello, e->registry, marks, count);
}

struct effect {
    uint64_t applied, forged, refused;
};

/* Greets, says its round, and how that was taken. */
static struct effect say_words(struct words *words, uint64_t id)
{
    struct tly_mem mem = test_mem();
    struct tly_buf body, out;
    struct tly_mark_list none = {0}, end = {words->marks, words->mark_count};
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&out, &mem, 2 * TLY_FRAME_BODY_MAX);
    put_greeting(words, &body);
    put_frame(&out, TLY_FRAME_HELLO, &body);
    tly_round_writer_finish(&words->rows, TLY_ROUND_FIRST | TLY_ROUND_LAST, none, end, &body);
    put_frame(&out, TLY_FRAME_ROUND, &body);
    sim_claim(words->sim, out.result == TLY_OK, "the hostile peer has no words");
    struct tly_stats before, after;
    tly_engine_stats(words->engine, &before);
    say(words->sim, words->node, id, tly_buf_slice(&out));
    tly_engine_stats(words->engine, &after);
    tly_buf_fini(&out);
    tly_buf_fini(&body);
    tly_round_writer_fini(&words->rows);
    return (struct effect){after.dots_applied - before.dots_applied, after.dots_forged - before.dots_forged,
                           after.naks_sent - before.naks_sent};
}

/* Nothing of it may be believed. */
static void say_in_vain(struct words *words, uint64_t id, const char *what)
{
    struct effect effect = say_words(words, id);
    sim_tell(words->sim, "n%zu was told %s: %llu applied, %llu forged, %llu refused", words->node, what,
             (unsigned long long)effect.applied, (unsigned long long)effect.forged,
             (unsigned long long)effect.refused);
    sim_claim(words->sim, effect.applied == 0, "n%zu believes the hostile peer: %s", words->node, what);
}

static const char *some_key(struct sim *sim, char kind, char text[24])
{
    return sim_key(kind, (unsigned)sim_below(sim, sim->knobs.keys), text);
}

/* Of the node itself; of others from the far future; of an epoch or a generation that no clock has reached. */
static void say_lies(struct sim *sim, size_t node, uint64_t id)
{
    static const char *const what[] = {"its own dots", "dots of the future", "generations of the future",
                                       "windows longer than any"};
    struct words words;
    words_init(&words, sim, node);
    uint64_t now = words.wall_ns, last = tly_ormap_clock(words.engine->map)->last, lie = sim_below(sim, 4);
    struct tly_dot dot = {.op = TLY_PUT, .version = {now, LIFE}};
    char text[24];
    switch (lie) {
    case 0:
    case 1:
        if (sim_chance(sim, 50)) dot.op = TLY_REMOVE;
        dot.version = (struct tly_version){lie == 0 ? last + 1 : last + YEAR,
                                           lie == 0 ? tly_ormap_origin(words.engine->map) : LIFE + 1};
        add_dot(&words, some_key(sim, 'k', text), tly_lww(), &dot);
        break;
    case 2:
        dot.num[TLY_SUM_EPOCH] = last + YEAR;
        dot.num[TLY_SUM_COUNT] = 1;
        add_dot(&words, some_key(sim, 'c', text), tly_epoch_sum(), &dot);
        break;
    default:
        dot.num[TLY_SUM_WINDOW] = UINT64_C(1) << (50 + sim_below(sim, 14));
        dot.num[TLY_SUM_COUNT] = 1;
        add_dot(&words, some_key(sim, 'w', text), tly_epoch_sum(), &dot);
        break;
    }
    say_in_vain(&words, id, what[lie]);
}

/* What honest nodes have said before, and this one knows: it stands here, or what took its place was here, forgotten or not. */
static void say_what_was_said(struct sim *sim, size_t node, uint64_t id)
{
    struct words words;
    words_init(&words, sim, node);
    size_t dots = sim_twin_count(sim);
    for (size_t i = 0; i < REPLAYED && dots > 0; i++) {
        size_t number = 1 + sim_below(sim, dots);
        const struct tly_dot *dot = sim_twin_dot(sim, number);
        if (dot->version.ts > tly_ormap_mark(words.engine->map, dot->version.origin)) continue;
        (void)tly_round_writer_add(&words.rows, sim_twin_key_of(sim, number), sim_twin_strategy(sim, number),
                                   dot);
    }
    say_in_vain(&words, id, "what was said before");
}

/* That the node has all of its own life up to some later time; or of another up to next year. */
static void say_marks(struct sim *sim, size_t node, uint64_t id)
{
    struct words words;
    words_init(&words, sim, node);
    uint64_t own = tly_ormap_origin(words.engine->map), mark = tly_ormap_mark(words.engine->map, own);
    words.marks[words.mark_count++] = (struct tly_mark){own, words.wall_ns + SIM_S};
    size_t lives = tly_ormap_lives(words.engine->map);
    struct tly_life other = tly_ormap_life_kept(words.engine->map, sim_below(sim, lives));
    bool far = sim_chance(sim, 50) && other.origin != 0 && other.origin != own;
    if (far) words.marks[words.mark_count++] = (struct tly_mark){other.origin, words.wall_ns + YEAR};
    say_in_vain(&words, id, far ? "marks of the future" : "its own mark");
    sim_claim(sim, tly_ormap_mark(words.engine->map, own) == mark,
              "n%zu believes the hostile peer's mark of it", node);
    sim_claim(
        sim,
        !far || tly_ormap_life_kept(words.engine->map, tly_ormap_life_number(words.engine->map, other.origin))
                        .mark == other.mark,
        "n%zu believes a mark of the future", node);
}

/* Of lives that nobody lives: those are let in, as what any member passes on is, and all must agree on them. */
static void say_third_lives(struct sim *sim, size_t node, uint64_t id)
{
    struct words words;
    words_init(&words, sim, node);
    uint64_t origin = LIFE + 2 + sim_below(sim, THIRD_LIVES), ts = words.wall_ns;
    struct tly_dot put = {.op = TLY_PUT, .version = {ts, origin}};
    char text[24];
    add_dot(&words, some_key(sim, 'k', text), tly_lww(), &put);
    struct tly_dot count = {.op = TLY_PUT, .version = {ts + 1, origin}};
    count.num[TLY_SUM_COUNT] = sim_below(sim, 9);
    add_dot(&words, some_key(sim, 'c', text), tly_epoch_sum(), &count);
    struct tly_dot remove = {.op = TLY_REMOVE, .version = {ts + 2, origin}};
    add_dot(&words, some_key(sim, 'm', text), tly_epoch_max(), &remove);
    if (sim_chance(sim, 50)) words.marks[words.mark_count++] = (struct tly_mark){origin, ts + 2};
    struct effect effect = say_words(&words, id);
    sim_tell(sim, "n%zu was told of a third life: %llu applied", node, (unsigned long long)effect.applied);
}

/* By a clock that is years off, with a round in which there is nothing. */
static void say_times(struct sim *sim, size_t node, uint64_t id)
{
    struct words words;
    words_init(&words, sim, node);
    words.wall_ns = sim_chance(sim, 50) ? words.wall_ns + YEAR : sim_below(sim, YEAR);
    say_in_vain(&words, id, "another time");
}

/* More keys than there are, each of a window that is soon over. */
static void say_flood(struct sim *sim, size_t node, uint64_t id)
{
    struct words words;
    words_init(&words, sim, node);
    uint64_t ts = words.wall_ns;
    for (size_t i = 0; i < FLOOD; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "window:flood:%016llx", (unsigned long long)test_rng_next(&sim->rng));
        struct tly_dot dot = {.op = TLY_PUT, .version = {ts + i, LIFE}};
        dot.num[TLY_SUM_WINDOW] = 1000;
        dot.num[TLY_SUM_EPOCH] = ts / SIM_S;
        dot.num[TLY_SUM_COUNT] = 1;
        add_dot(&words, key, tly_epoch_sum(), &dot);
    }
    words.marks[words.mark_count++] = (struct tly_mark){LIFE, ts + FLOOD};
    struct effect effect = say_words(&words, id);
    sim_tell(sim, "n%zu was flooded: %llu of %d keys applied", node, (unsigned long long)effect.applied,
             FLOOD);
}

/* ---- connections ---- */

static void begin_and_stop(struct sim *sim, size_t node, uint64_t id)
{
    say(sim, node, id, tly_slice_of((const uint8_t[]){0x7f}, 1)); /* a frame begins and never goes on */
    if (slow_count == sizeof slow / sizeof slow[0] || sim->nodes[node].engine == NULL) return;
    slow[slow_count++] = (struct slow){node, sim->nodes[node].process, id, sim->now};
}

void sim_hostile_closed(size_t node, uint64_t id)
{
    for (size_t i = 0; i < slow_count; i++)
        if (slow[i].node == node && slow[i].id == id) slow[i--] = slow[--slow_count];
}

/* Those of a process that has ended are gone; while a node is stopped it closes nothing. */
void sim_check_hostile(struct sim *sim)
{
    for (size_t i = 0; i < slow_count; i++) {
        const struct sim_node *node = &sim->nodes[slow[i].node];
        if (node->engine == NULL || node->process != slow[i].process) {
            slow[i--] = slow[--slow_count];
            continue;
        }
        if (node->paused) slow[i].since = sim->now;
        sim_claim(sim, sim->now - slow[i].since <= PATIENCE, "n%zu waits for the hostile peer", slow[i].node);
    }
}

void sim_hostile(struct sim *sim, size_t node)
{
    static void (*const acts[])(struct sim * sim, size_t node, uint64_t id) = {
        say_noise, say_again,       say_lies,  say_lies,  say_what_was_said, say_what_was_said,
        say_marks, say_third_lives, say_times, say_flood, begin_and_stop,
    };
    if (!sim_is_up(sim, node)) return;
    uint64_t id = sim_net_id(sim), act = sim_below(sim, sizeof acts / sizeof acts[0]);
    sim_step(sim, node, (struct tly_event){.kind = TLY_ACCEPTED, .conn = id});
    acts[act](sim, node, id);
    if (acts[act] != begin_and_stop && sim->nodes[node].engine != NULL)
        sim_step(sim, node, (struct tly_event){.kind = TLY_CLOSED, .conn = id});
}
