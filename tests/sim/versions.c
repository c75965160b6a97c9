/*
 * Nodes of other versions. One of the members may be older or newer than the rest: what it and the others say of themselves when they greet
 * is changed on the way to what such a node would say and hear, so that both ends of each of its links speak as they do to one. And strangers
 * come, with whom no version is in common, or who have come to the wrong door: each is refused with its word, and nothing it says is taken.
 */
#include "service/engine/impl.h"
#include "tests/sim/sim.h"
#include "tests/support/mem.h"
#include "wire/frame.h"
#include "wire/message.h"
#include "wire/snapshot.h"

#include <stdio.h>

#define LIFE UINT64_C(0x57a27a27a27a27a2)

/* ---- an odd member ---- */

static bool has(const struct sim *sim, enum sim_odd what)
{
    return (sim->knobs.odd & what) != 0;
}

static void make_odd(const struct sim *sim, struct tly_hello *hello, bool is_its_own)
{
    if (has(sim, SIM_ODD_NEWER)) {
        if (is_its_own) hello->version_newest = TLY_PROTOCOL_NEWEST + 7;
        return;
    }
    if (has(sim, SIM_ODD_VERSION_1)) hello->version_newest = 1;
    if (has(sim, SIM_ODD_NO_REPAIR)) hello->repair = false;
    if (has(sim, SIM_ODD_NO_RESUME)) hello->resume = false;
    if (has(sim, SIM_ODD_NO_NEWS)) hello->news = false;
    if (has(sim, SIM_ODD_NO_COLUMNS)) hello->columns = false;
}

static void put_greeting(const struct tly_engine *engine, const struct tly_hello *hello, struct tly_buf *out)
{
    struct tly_mem mem = test_mem();
    struct tly_mark list[TLY_MARKS_MAX];
    struct tly_marks marks = hello->marks;
    struct tly_buf body;
    size_t count = 0;
    while (count < TLY_MARKS_MAX && tly_marks_next(&marks, &list[count]))
        count++;
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_hello_put(&body, hello, engine->registry, list, count);
    tly_frame_put(out, TLY_FRAME_HELLO, tly_buf_slice(&body));
    tly_buf_fini(&body);
}

bool sim_odd_greeting(struct sim *sim, size_t from, size_t to, struct tly_slice frame, struct tly_buf *out)
{
    if (sim->knobs.odd == 0 || (from != 0 && to != 0)) return false;
    struct tly_mem mem = test_mem();
    struct tly_buf scratch;
    struct tly_frame greeting;
    struct tly_hello hello;
    size_t consumed;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    bool is_one = tly_frame_get(frame, &scratch, &greeting, &consumed) == TLY_OK &&
                  greeting.type == TLY_FRAME_HELLO && tly_hello_get(greeting.body, &hello) == TLY_OK;
    if (is_one) {
        make_odd(sim, &hello, from == 0);
        put_greeting(sim->nodes[from].engine, &hello, out);
        sim_claim(sim, consumed == frame.n && out->result == TLY_OK, "a greeting is no frame of its own");
    }
    tly_buf_fini(&scratch);
    return is_one;
}

/* Whether a frame says something of which the older of two knows nothing. */
static bool is_beyond(const struct sim *sim, const struct tly_frame *frame)
{
    struct tly_snap_chunk chunk;
    struct tly_cold asked;
    switch (frame->type) {
    case TLY_FRAME_PART: return has(sim, SIM_ODD_VERSION_1);
    case TLY_FRAME_NEWS: return has(sim, SIM_ODD_VERSION_1) || has(sim, SIM_ODD_NO_NEWS);
    case TLY_FRAME_COMPARE:
    case TLY_FRAME_TREE:
    case TLY_FRAME_OPEN:
    case TLY_FRAME_LEAVES: return has(sim, SIM_ODD_NO_REPAIR);
    case TLY_FRAME_SNAP_CHUNK:
        if (!has(sim, SIM_ODD_VERSION_1) && !has(sim, SIM_ODD_NO_COLUMNS)) return false;
        return tly_snap_chunk_get(frame->body, &chunk) != TLY_OK || tly_snap_chunk_has_columns(&chunk);
    case TLY_FRAME_SNAP_ASK:
        if (!has(sim, SIM_ODD_NO_RESUME)) return false;
        return tly_cold_get(frame->body, &asked) != TLY_OK || asked.resumes;
    default: return false;
    }
}

void sim_check_spoken(struct sim *sim, size_t from, size_t to, struct tly_slice frame)
{
    if (sim->knobs.odd == 0 || has(sim, SIM_ODD_NEWER) || (from != 0 && to != 0)) return;
    struct tly_mem mem = test_mem();
    struct tly_buf scratch;
    struct tly_frame said = {0};
    size_t consumed;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    bool is_one = tly_frame_get(frame, &scratch, &said, &consumed) == TLY_OK;
    sim_claim(sim, is_one && !is_beyond(sim, &said), "n%zu says frame %u to n%zu, which knows nothing of it",
              from, (unsigned)said.type, to);
    tly_buf_fini(&scratch);
}

/* ---- strangers ---- */

static struct tly_hello strange(struct sim *sim, size_t node, const char **what)
{
    struct tly_engine *engine = sim->nodes[node].engine;
    struct tly_hello hello = {.version_oldest = 1,
                              .version_newest = TLY_PROTOCOL_NEWEST,
                              .cluster = tly_slice_text("sim"),
                              .name = tly_slice_text("stranger"),
                              .origin = LIFE,
                              .wall_ns = engine->now.wall_ns,
                              .delta = true,
                              .snapshot = true};
    switch (sim_below(sim, 3)) {
    case 0:
        *what = "of a version to come";
        hello.version_oldest = TLY_PROTOCOL_NEWEST + 1 + sim_below(sim, 3);
        hello.version_newest = hello.version_oldest + sim_below(sim, 3);
        break;
    case 1:
        *what = "of another cluster";
        hello.cluster = tly_slice_text("simulation");
        break;
    default:
        *what = "of its own name";
        hello.name = tly_slice_text(engine->name);
        break;
    }
    return hello;
}

/* What it would have the node believe. */
static void put_round(struct sim *sim, size_t node, struct tly_buf *out)
{
    struct tly_mem mem = test_mem();
    struct tly_round_writer rows;
    struct tly_buf body;
    struct tly_mark_list none = {0};
    char text[24];
    struct tly_dot dot = {.op = TLY_REMOVE, .version = {sim->nodes[node].engine->now.wall_ns, LIFE}};
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_round_writer_init(&rows, &mem);
    (void)tly_round_writer_add(&rows, tly_slice_text(sim_key('k', 0, text)), tly_lww(), &dot);
    tly_round_writer_finish(&rows, TLY_ROUND_FIRST | TLY_ROUND_LAST, none, none, &body);
    tly_frame_put(out, TLY_FRAME_ROUND, tly_buf_slice(&body));
    tly_round_writer_fini(&rows);
    tly_buf_fini(&body);
}

void sim_stranger(struct sim *sim, size_t node)
{
    struct tly_mem mem = test_mem();
    struct tly_engine *engine = sim->nodes[node].engine;
    struct tly_stats before, after;
    struct tly_buf out;
    const char *what;
    uint64_t id = sim_net_id(sim);
    struct tly_hello hello = strange(sim, node, &what);
    tly_buf_init(&out, &mem, 2 * TLY_FRAME_BODY_MAX);
    put_greeting(engine, &hello, &out);
    put_round(sim, node, &out);
    tly_engine_stats(engine, &before);
    sim_step(sim, node, (struct tly_event){.kind = TLY_ACCEPTED, .conn = id});
    sim_step(sim, node, (struct tly_event){.kind = TLY_BYTES, .conn = id, .bytes = tly_buf_slice(&out)});
    tly_buf_fini(&out);
    tly_engine_stats(engine, &after);
    sim_tell(sim, "a stranger %s comes to n%zu", what, node);
    sim_claim(sim,
              after.sessions_refused == before.sessions_refused + 1 &&
                  after.sessions_up == before.sessions_up && after.dots_received == before.dots_received,
              "n%zu lets in a stranger %s", node, what);
    sim_claim(sim, sim_was_closed(id), "n%zu keeps the connection of a stranger %s", node, what);
}
