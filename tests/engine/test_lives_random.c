/*
 * Lives at random: nodes count, are stopped, killed, frozen and cut off, and come back with the disk they had or with one that was
 * put back from before.  Whatever happened, once all are up and may meet they do, hold the same, and every count stands once: a disk
 * is only put back when all have what was counted, so somebody always knows it.
 */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define NODES_MAX 5
#define KEYS 4
#define STEPS 60
#define SEEDS 300

/* What MANIFEST says, and a copy of a directory. */
struct directory {
    uint64_t origin;
    bool clean;
    struct net_disk *disk;
};

static struct test_rng rng;
static struct net *net;
static uint64_t lives;
static size_t nodes;
static struct directory data[NODES_MAX], copies[NODES_MAX];
static bool up[NODES_MAX], frozen[NODES_MAX], apart[NODES_MAX][NODES_MAX];
static int64_t counted[KEYS];
static size_t resumed, went_on, killed_in_question, stopped_in_question, put_back;

static uint64_t below(uint64_t n)
{
    return test_rng_below(&rng, n);
}

static const char *key_of(size_t key)
{
    static const char *const keys[KEYS] = {"a", "b", "c", "d"};
    return keys[key];
}

/* Every node is given the others to join, but some are not. */
static unsigned joins_of(size_t node)
{
    return below(4) == 0 ? 0 : ((1u << nodes) - 1) & ~(1u << node);
}

static struct tly_node_view view_of(size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view;
}

/* What is answered is stored. */
static void count_at(size_t node)
{
    size_t key = (size_t)below(KEYS);
    int64_t units = (int64_t)below(5) + 1;
    (void)net_add_to(net, node, key_of(key), units);
    net_event(net, node, (struct tly_event){.kind = TLY_TICK});
    counted[key] += units;
}

/* Registers are written and deleted, too: all shall read the same of them. */
static void write_at(size_t node)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = below(3) == 0 ? TLY_ASK_REMOVE : TLY_ASK_PUT,
                                  .key = tly_slice_text(below(2) == 0 ? "kv:x" : "kv:y"),
                                  .bytes = tly_slice_text("text")};
    enum tly_result result = net_ask(net, node, request, &reply);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
    net_event(net, node, (struct tly_event){.kind = TLY_TICK});
}

static void freeze(size_t node, bool on)
{
    frozen[node] = on;
    net_pause(net, node, on);
}

static void fall(size_t node)
{
    if (frozen[node]) freeze(node, false);
    net_kill(net, node);
    up[node] = false;
}

static void kill_node(size_t node)
{
    killed_in_question += view_of(node).life_in_question;
    fall(node);
}

/* A stop is clean if the life is that in MANIFEST. */
static void stop_node(size_t node)
{
    if (frozen[node]) freeze(node, false);
    stopped_in_question += view_of(node).life_in_question;
    net_event(net, node, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, below(3) * MS);
    net_event(net, node, (struct tly_event){.kind = TLY_TICK});
    data[node].clean = view_of(node).origin == data[node].origin;
    fall(node);
}

static void start_node(size_t node)
{
    struct directory *at = &data[node];
    bool goes_on = at->clean;
    at->clean = false;
    resumed += goes_on;
    if (goes_on) {
        net_go_on(net, node, at->origin, joins_of(node));
    } else {
        at->origin = ++lives;
        net_revive(net, node, at->origin, joins_of(node));
    }
    up[node] = true;
}

static void set_apart(size_t a, size_t b, bool on)
{
    apart[a][b] = apart[b][a] = on;
    net_block(net, a, b, on);
}

/* All are up and together for a while. */
static void come_to_rest(void)
{
    for (size_t i = 0; i < nodes; i++) {
        if (frozen[i]) freeze(i, false);
        if (!up[i]) start_node(i);
        for (size_t j = 0; j < i; j++)
            set_apart(i, j, false);
    }
    net_run(net, 90 * S);
    for (size_t i = 0; i < nodes; i++) {
        claim(net_peers_up(net, i) == nodes - 1);
        claim(net_digest(net, i) == net_digest(net, 0));
        claim(!view_of(i).life_in_question);
        for (size_t key = 0; key < KEYS; key++)
            claim(net_read(net, i, key_of(key)) == (counted[key] != 0 ? counted[key] : INT64_MIN));
    }
}

static void copy_disk(size_t node)
{
    if (up[node]) return;
    net_disk_free(copies[node].disk);
    copies[node] = data[node];
    copies[node].disk = net_disk_copy(net, node);
}

/* Of one node at a time, and of what it lacks then the others have all. */
static void put_disk_back(size_t node)
{
    if (copies[node].disk == NULL) return;
    come_to_rest();
    if (below(2) == 0)
        stop_node(node);
    else
        kill_node(node);
    net_disk_put(net, node, copies[node].disk);
    data[node] = (struct directory){.origin = copies[node].origin, .clean = copies[node].clean};
    put_back++;
    for (size_t i = 0; i < nodes; i++)
        if (i != node && below(3) == 0) set_apart(i, node, true);
}

static void step(void)
{
    size_t node = (size_t)below(nodes), other = (size_t)below(nodes);
    switch (below(20)) {
    case 0:
    case 1:
        if (up[node]) kill_node(node);
        break;
    case 2:
    case 3:
    case 4:
        if (up[node]) stop_node(node);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        if (!up[node]) start_node(node);
        break;
    case 9: copy_disk(node); break;
    case 10:
        if (below(2) == 0) put_disk_back(node);
        break;
    case 11:
        if (node != other) set_apart(node, other, !apart[node][other]);
        break;
    case 12:
        if (up[node]) freeze(node, !frozen[node]);
        break;
    case 13:
        for (size_t i = 0; i < nodes; i++)
            if (up[i] && below(8) != 0) kill_node(i);
        break;
    default:
        if (!up[node] || frozen[node]) break;
        if (below(3) == 0)
            write_at(node);
        else
            count_at(node);
        break;
    }
    net_run(net, below(6) == 0 ? below(12000) * MS : below(300) * MS);
}

static void run(uint64_t seed)
{
    rng = test_rng_of(seed);
    net = net_new(below(2) == 0 ? MS / 2 : 20 * MS);
    lives = 1000 * (seed + 1);
    nodes = 2 + (size_t)below(NODES_MAX - 1);
    memset(counted, 0, sizeof counted);
    memset(apart, 0, sizeof apart);
    for (size_t i = 0; i < nodes; i++) {
        net_add_with(net, (struct tly_engine_config){.has_store = true}, ((1u << nodes) - 1) & ~(1u << i));
        data[i] = (struct directory){.origin = view_of(i).origin};
        up[i] = true;
    }
    net_run(net, S);
    for (size_t i = 0; i < STEPS; i++)
        step();
    come_to_rest();
    for (size_t i = 0; i < nodes; i++) {
        went_on += view_of(i).origin == data[i].origin;
        net_disk_free(copies[i].disk);
        copies[i] = (struct directory){0};
    }
    net_free(net);
}

static void whoever_falls_and_returns_all_meet_and_every_count_stands_once(void **state)
{
    (void)state;
    size_t seeds = test_is_long() ? 20 * SEEDS : SEEDS;
    for (size_t i = 0; i < seeds; i++)
        run(test_seed_first() + i);
    print_message(
        "%zu histories: %zu lives resumed, %zu killed and %zu stopped in question, %zu disks put back\n",
        seeds, resumed, killed_in_question, stopped_in_question, put_back);
    claim(resumed > seeds && killed_in_question > seeds / 10 && stopped_in_question > seeds / 10 &&
          put_back > seeds / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_falls_and_returns_all_meet_and_every_count_stands_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
