/*
 * A peer that means harm: noise, what others said again and damaged, greetings that are never finished, and rounds that say things of
 * others' lives and times. It has no engine and no place in the list of members; whatever it says goes straight into a node. The honest
 * ones must keep among themselves all that they keep without it.
 */
#include "service/engine/impl.h"
#include "tests/sim/sim.h"
#include "tests/support/mem.h"
#include "wire/frame.h"
#include "wire/message.h"

#include <stdlib.h>
#include <string.h>

#define HEARD_BYTES 2048
#define LIFE UINT64_C(0xe711e711e711e711)

/* What some honest node sent last. */
static uint8_t heard[HEARD_BYTES];
static size_t heard_n;

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

/* As somebody who has all that the node has, in protocol version 1. */
static void put_greeting(const struct tly_engine *e, struct tly_buf *body)
{
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
                              .wall_ns = e->now.wall_ns,
                              .delta = true,
                              .snapshot = true};
    tly_hello_put(body, &hello, e->registry, marks, count);
}

/* A dot in the node's own name, or one from the far future in that of another; both must be kept out. */
static void put_lies(struct sim *sim, struct tly_engine *e, struct tly_buf *body)
{
    struct tly_mem mem = test_mem();
    struct tly_round_writer writer;
    struct tly_mark_list none = {0};
    uint64_t last = tly_ormap_clock(e->map)->last, year = UINT64_C(31536000) * SIM_S;
    bool own = sim_chance(sim, 50);
    struct tly_dot dot = {
        .op = sim_chance(sim, 50) ? TLY_PUT : TLY_REMOVE,
        .version = {own ? last + 1 : last + year, own ? tly_ormap_origin(e->map) : LIFE + 1}};
    tly_round_writer_init(&writer, &mem);
    char text[24];
    struct tly_slice key = tly_slice_text(sim_key('k', (unsigned)sim_below(sim, sim->knobs.keys), text));
    (void)tly_round_writer_add(&writer, key, tly_lww(), &dot);
    tly_round_writer_finish(&writer, TLY_ROUND_FIRST | TLY_ROUND_LAST, none, none, body);
    tly_round_writer_fini(&writer);
}

static void say_lies(struct sim *sim, size_t node, uint64_t id)
{
    struct tly_engine *e = sim->nodes[node].engine;
    struct tly_mem mem = test_mem();
    struct tly_buf body, out;
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    put_greeting(e, &body);
    put_frame(&out, TLY_FRAME_HELLO, &body);
    put_lies(sim, e, &body);
    put_frame(&out, TLY_FRAME_ROUND, &body);
    sim_claim(sim, out.result == TLY_OK, "the hostile peer has no words");
    struct tly_stats before, after;
    tly_engine_stats(e, &before);
    say(sim, node, id, tly_buf_slice(&out));
    tly_engine_stats(e, &after);
    sim_tell(sim, "n%zu was lied to: %llu forged, %llu refused", node,
             (unsigned long long)(after.dots_forged - before.dots_forged),
             (unsigned long long)(after.naks_sent - before.naks_sent));
    sim_claim(sim, after.dots_applied == before.dots_applied, "n%zu believes the hostile peer", node);
    tly_buf_fini(&out);
    tly_buf_fini(&body);
}

void sim_hostile(struct sim *sim, size_t node)
{
    if (!sim_is_up(sim, node)) return;
    uint64_t id = sim_net_id(sim);
    sim_step(sim, node, (struct tly_event){.kind = TLY_ACCEPTED, .conn = id});
    switch (sim_below(sim, 4)) {
    case 0: say_noise(sim, node, id); break;
    case 1: say_again(sim, node, id); break;
    case 2: say_lies(sim, node, id); break;
    default:
        say(sim, node, id, tly_slice_of((const uint8_t[]){0x7f}, 1)); /* a frame begins and never goes on */
        return;
    }
    if (sim->nodes[node].engine != NULL)
        sim_step(sim, node, (struct tly_event){.kind = TLY_CLOSED, .conn = id});
}
