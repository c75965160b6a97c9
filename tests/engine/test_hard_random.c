/*
 * Hard limits under everything at once, by seeds: links that are cut, silent or late, nodes that fall, come back with all, part or
 * nothing of their disks, go on after a clean stop, join late, with clocks apart.  In no window is more admitted than the limit.
 * TALLY_SEEDS: how many seeds; TALLY_SEED: the first.
 */
#include "tests/engine/support_hard.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define NODES_MAX 6
#define WINDOWS_MAX 512
#define SKEW_NS (3 * S)

struct story {
    struct test_rng rng;
    struct net *net;
    size_t nodes;
    bool up[NODES_MAX];
    uint64_t life[NODES_MAX]; /* of a node that is down: the one that it may go on with; 0: none */
    bool silent[NODES_MAX][NODES_MAX], blocked[NODES_MAX][NODES_MAX];
    uint64_t limit, window_ms, lives, forget_after_ms;
    size_t mesh_max; /* some are in a ring */
    bool is_quota;   /* of a minute, which some nodes' zone begins half a minute before the others' */
    uint64_t slower; /* all goes on so much slower */
    uint64_t first_epoch, admitted[WINDOWS_MAX];
};

/* What became of all seeds. */
static struct {
    uint64_t asked, admitted, refused, windows, quotas, full, given, taken;
    uint64_t forgotten, falls, clean_stops, empty_disks, lost_batches, joins, cuts, holes, steps;
} sum;

static uint64_t below(struct story *story, uint64_t n)
{
    return test_rng_below(&story->rng, n);
}

static bool is_early(size_t node)
{
    return node % 2 == 1;
}

static uint64_t epoch_of(struct story *story, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(story->net, node), false, &view);
    uint64_t phase_ms = story->is_quota && is_early(node) ? story->window_ms / 2 : 0;
    return (view.cluster_ns / MS + phase_ms) / story->window_ms;
}

static void use(struct story *story, size_t node)
{
    char rate[24];
    (void)snprintf(rate, sizeof rate, "%zu/m", (size_t)story->limit);
    if (story->is_quota)
        hard_use_quota(story->net, node, rate, is_early(node) ? "<E>-00:00:30" : "UTC0");
    else
        hard_use(story->net, node, story->limit, story->window_ms);
}

static void ask_one(struct story *story, size_t node)
{
    uint32_t hits = (uint32_t)(1 + below(story, story->limit > 20 ? 1 + story->limit / 20 : 1));
    struct tly_verdict verdict = hard_ask(story->net, node, hits);
    uint64_t at = epoch_of(story, node) - story->first_epoch;
    claim(at < WINDOWS_MAX);
    sum.asked++;
    if (verdict.code != TLY_CODE_OK) {
        sum.refused++;
        return;
    }
    sum.admitted += hits;
    story->admitted[at] += hits;
    if (story->admitted[at] > story->limit)
        print_error("window %zu: %zu of %zu, at node %zu\n", (size_t)at, (size_t)story->admitted[at],
                    (size_t)story->limit, node);
    claim(story->admitted[at] <= story->limit);
}

/* ---- what happens ---- */

static uint64_t next_life(struct story *story)
{
    return 0x1000 + below(story, 1 << 20) * 256 + ++story->lives;
}

static unsigned all_but(const struct story *story, size_t node)
{
    return ((1u << story->nodes) - 1) & ~(1u << node);
}

static void fall(struct story *story, size_t node)
{
    bool clean = below(story, 3) == 0;
    struct tly_node_view view;
    story->life[node] = 0;
    if (clean) {
        tly_engine_node(net_node(story->net, node), false, &view);
        if (!view.life_in_question) story->life[node] = view.origin;
        net_event(story->net, node, (struct tly_event){.kind = TLY_LEAVE});
        net_run(story->net, 50 * MS);
        sum.clean_stops++;
    }
    sum.falls += !clean;
    net_kill(story->net, node);
    story->up[node] = false;
}

/* With what is on its disk: all of it, a part, or nothing. */
static void rise(struct story *story, size_t node)
{
    uint64_t lost = below(story, 4);
    size_t batches = net_batches(story->net, node);
    if (story->life[node] != 0) {
        net_go_on(story->net, node, story->life[node], all_but(story, node));
    } else {
        if (lost == 0) net_shorten(story->net, node, 0);
        if (lost == 1) net_shorten(story->net, node, (size_t)below(story, batches + 1));
        sum.empty_disks += lost == 0;
        sum.lost_batches += lost == 1;
        net_revive(story->net, node, next_life(story), all_but(story, node));
    }
    use(story, node);
    story->up[node] = true;
}

static struct tly_engine_config config_of(const struct story *story)
{
    return (struct tly_engine_config){.has_store = true,
                                      .max_skew_ns = SKEW_NS,
                                      .forget_after_ms = story->forget_after_ms,
                                      .mesh_max = story->mesh_max};
}

/* An operator gives up a member, that may be there or not. */
static void forget(struct story *story, size_t node, size_t other)
{
    char name[24];
    struct tly_reply reply;
    (void)snprintf(name, sizeof name, "n%zu", other);
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text(name)};
    if (node == other || !story->up[node]) return;
    sum.forgotten += net_ask(story->net, node, request, &reply) == TLY_OK;
}

static void join(struct story *story)
{
    size_t node = story->nodes;
    if (node == NODES_MAX) return;
    struct tly_engine_config config = config_of(story);
    claim(net_add_with(story->net, config, (1u << node) - 1) == node);
    story->nodes++;
    use(story, node);
    story->up[node] = true;
    sum.joins++;
}

static void toggle_link(struct story *story, size_t a, size_t b)
{
    if (below(story, 3) > 0) {
        story->blocked[a][b] = !story->blocked[a][b];
        net_block(story->net, a, b, story->blocked[a][b]);
        if (story->blocked[a][b]) net_cut(story->net, a, b);
        sum.cuts += story->blocked[a][b];
    } else {
        story->silent[a][b] = !story->silent[a][b];
        net_hole(story->net, a, b, story->silent[a][b]);
        sum.holes += story->silent[a][b];
    }
}

static void something_happens(struct story *story)
{
    size_t node = (size_t)below(story, story->nodes), other = (size_t)below(story, story->nodes);
    switch (below(story, 12)) {
    case 0:
        if (story->up[node])
            fall(story, node);
        else
            rise(story, node);
        break;
    case 1:
        if (!story->up[node]) rise(story, node);
        break;
    case 2:
    case 3:
        if (node < other) toggle_link(story, node, other);
        break;
    case 4:
        if (below(story, 4) == 0) join(story);
        break;
    case 5:
        net_shift_wall(story->net, node, (int64_t)(below(story, 600) * MS) - (int64_t)(300 * MS));
        sum.steps++;
        break;
    case 6:
        if (below(story, 6) == 0) forget(story, node, other);
        break;
    default: break;
    }
}

static void heal(struct story *story)
{
    for (size_t a = 0; a < story->nodes; a++) {
        for (size_t b = a + 1; b < story->nodes; b++) {
            net_block(story->net, a, b, false);
            net_hole(story->net, a, b, false);
        }
        if (!story->up[a]) rise(story, a);
    }
}

/* ---- a seed ---- */

static void begin(struct story *story, uint64_t seed)
{
    static const uint64_t limits[] = {1, 2, 7, 40, 500}, windows_ms[] = {400, 1000, 2500};
    *story = (struct story){.rng = test_rng_of(seed)};
    story->limit = limits[below(story, 5)];
    story->window_ms = windows_ms[below(story, 3)];
    story->is_quota = seed % 8 == 7;
    story->mesh_max = seed % 4 == 2 ? 2 : 0;
    story->slower = story->is_quota ? 20 : 1;
    if (story->is_quota) story->window_ms = 60000;
    story->forget_after_ms = below(story, 2) * 5000 * story->slower;
    story->net = net_new(MS + below(story, 20 * MS));
    story->first_epoch = NET_WALL_START / MS / story->window_ms - 16;
    size_t nodes = 2 + (size_t)below(story, 4);
    net_jitter(story->net, below(story, 10 * MS), seed);
    for (size_t i = 0; i < nodes; i++) {
        struct tly_engine_config config = config_of(story);
        (void)net_add_with(story->net, config, i == 0 ? 0 : (1u << i) - 1);
        story->nodes++;
        story->up[i] = true;
        use(story, i);
        net_run(story->net, below(story, 3) * 100 * MS);
    }
}

static void count(struct story *story)
{
    for (size_t i = 0; i < WINDOWS_MAX; i++) {
        if (story->admitted[i] == 0) continue;
        sum.windows++;
        sum.full += story->admitted[i] == story->limit;
        sum.quotas += story->is_quota;
    }
    for (size_t i = 0; i < story->nodes; i++) {
        sum.given += net_stats(story->net, i).rights_given;
        sum.taken += net_stats(story->net, i).rights_taken;
    }
}

static void run_seed(uint64_t seed)
{
    struct story story;
    begin(&story, seed);
    uint64_t until = net_now(story.net) + (8 + below(&story, 16)) * S * story.slower;
    size_t hot = (size_t)below(&story, story.nodes);
    while (net_now(story.net) < until) {
        for (size_t i = 0; i < 4; i++) {
            size_t node = below(&story, 2) == 0 ? hot : (size_t)below(&story, story.nodes);
            if (story.up[node]) ask_one(&story, node);
        }
        if (below(&story, 4) == 0) something_happens(&story);
        net_run(story.net, (1 + below(&story, 40)) * MS * story.slower);
    }
    heal(&story);
    count(&story);
    net_free(story.net);
}

static uint64_t seeds(void)
{
    const char *text = getenv("TALLY_SEEDS");
    return text != NULL ? strtoull(text, NULL, 10) : test_is_long() ? 2000 : 30;
}

static void no_window_admits_more_than_its_limit(void **state)
{
    uint64_t first = test_seed_first(), n = seeds();
    for (uint64_t seed = first; seed < first + n; seed++)
        run_seed(seed);
    print_message(
        "%zu seeds from %zu: %zu windows (%zu of quotas), %zu of them full; %zu checks, %zu refused; %zu units admitted, "
        "%zu units moved\n",
        (size_t)n, (size_t)first, (size_t)sum.windows, (size_t)sum.quotas, (size_t)sum.full,
        (size_t)sum.asked, (size_t)sum.refused, (size_t)sum.admitted, (size_t)sum.given);
    print_message(
        "    %zu falls, %zu clean stops, %zu empty disks, %zu that lost their end, %zu joins, %zu cuts, "
        "%zu links gone silent, %zu steps of a clock, %zu forgotten, %zu parts taken over\n",
        (size_t)sum.falls, (size_t)sum.clean_stops, (size_t)sum.empty_disks, (size_t)sum.lost_batches,
        (size_t)sum.joins, (size_t)sum.cuts, (size_t)sum.holes, (size_t)sum.steps, (size_t)sum.forgotten,
        (size_t)sum.taken);
    if (n < 30) return;
    assert_true(sum.full > n && sum.given > n && sum.refused > n && sum.quotas > n / 10);
    assert_true(sum.falls > n / 4 && sum.clean_stops > n / 4 && sum.empty_disks > n / 20 &&
                sum.lost_batches > n / 20);
    assert_true(sum.joins > n / 4 && sum.cuts > n && sum.holes > n / 4 && sum.steps > n &&
                sum.forgotten > n / 4 && sum.taken > n / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_window_admits_more_than_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
