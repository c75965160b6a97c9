/*
 * Some nodes write a few keys at once, links fall silent and come back, and at no moment has any a mark of a life without all of that life up to
 * there, or what dominates it.
 */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

enum { KEYS = 6, NODES_MAX = 9, WRITTEN_MAX = 600, STEPS = 4000 };

static const char *const keys[KEYS] = {"k:0", "k:1", "kv:0", "kv:1", "k:2", "kv:2"};

static bool is_register(size_t key)
{
    return keys[key][1] == 'v';
}

/* The latest dots that stood anywhere. */
struct scene {
    struct net *net;
    struct test_rng rng;
    size_t nodes, keys;
    struct written {
        size_t key;
        struct tly_dot dot;
    } written[WRITTEN_MAX];
    size_t count, next;
};

struct dots {
    const struct tly_strategy *strategy;
    const struct tly_dot *dots;
    size_t count;
};

static struct dots dots_at(const struct scene *scene, size_t node, size_t key)
{
    struct dots found = {0};
    struct tly_ormap *map = net_node(scene->net, node)->map;
    const struct tly_entry *entry = tly_ormap_find(map, tly_slice_text(keys[key]));
    if (entry == NULL) return found;
    found.strategy = tly_entry_strategy(entry);
    found.dots = tly_entry_dots(map, entry, &found.count);
    return found;
}

static uint64_t mark_at(const struct scene *scene, size_t node, uint64_t life)
{
    return tly_ormap_mark(net_node(scene->net, node)->map, life);
}

static bool is_noted(const struct scene *scene, size_t key, const struct tly_dot *dot)
{
    for (size_t i = 0; i < scene->count; i++)
        if (scene->written[i].key == key &&
            tly_version_compare(scene->written[i].dot.version, dot->version) == 0)
            return true;
    return false;
}

static void note_what_stands(struct scene *scene, size_t node, size_t key)
{
    struct dots found = dots_at(scene, node, key);
    for (size_t i = 0; i < found.count; i++) {
        const struct tly_dot *dot = &found.dots[i];
        bool is_sealed = dot->version.ts != 0 && dot->version.ts <= mark_at(scene, node, dot->version.origin);
        if (!is_sealed || is_noted(scene, key, dot)) continue;
        struct written *written = &scene->written[scene->next];
        *written = (struct written){key, *dot};
        written->dot.bytes = tly_slice_of(NULL, 0);
        scene->next = (scene->next + 1) % WRITTEN_MAX;
        if (scene->count < WRITTEN_MAX) scene->count++;
    }
}

static bool has(const struct scene *scene, size_t node, const struct written *written)
{
    struct dots found = dots_at(scene, node, written->key);
    for (size_t i = 0; i < found.count; i++)
        if (tly_version_compare(found.dots[i].version, written->dot.version) == 0 ||
            tly_dominates(found.strategy, &found.dots[i], &written->dot))
            return true;
    return false;
}

/* What a node counts further of its own is not sealed, and stands for what was. */
static void claim_marks_are_true(const struct scene *scene)
{
    for (size_t node = 0; node < scene->nodes; node++)
        for (size_t i = 0; i < scene->count; i++) {
            struct tly_version version = scene->written[i].dot.version;
            if (version.origin == net_origin(scene->net, node)) continue;
            claim(version.ts > mark_at(scene, node, version.origin) || has(scene, node, &scene->written[i]));
        }
}

static void write_something(struct scene *scene)
{
    struct test_rng *rng = &scene->rng;
    size_t node = (size_t)test_rng_below(rng, scene->nodes), key = (size_t)test_rng_below(rng, scene->keys);
    struct tly_request request = {.kind = TLY_ASK_ADD, .key = tly_slice_text(keys[key]), .number = 1};
    if (is_register(key)) {
        request.kind = TLY_ASK_PUT;
        request.bytes = tly_slice_text("v");
    } else if (test_rng_chance(rng, 30)) {
        request.kind = TLY_ASK_SET;
    }
    if (test_rng_chance(rng, 10)) request.kind = TLY_ASK_REMOVE;
    struct tly_reply reply;
    enum tly_result result = net_ask(scene->net, node, request, &reply);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
}

/* What a silent link has lost comes again with the next connection only. */
static void disturb(struct scene *scene)
{
    struct test_rng *rng = &scene->rng;
    size_t a = (size_t)test_rng_below(rng, scene->nodes), b = (size_t)test_rng_below(rng, scene->nodes);
    bool is_silent = test_rng_chance(rng, 67);
    if (a == b) return;
    if (!is_silent) net_cut(scene->net, a, b);
    net_hole(scene->net, a, b, is_silent);
}

static void begin(struct scene *scene, uint64_t seed)
{
    struct test_rng *rng = &scene->rng;
    static const uint64_t delays[] = {MS / 2, 3 * MS, 15 * MS};
    *rng = test_rng_of(seed);
    scene->nodes = 3 + (size_t)test_rng_below(rng, NODES_MAX - 2);
    scene->keys = 1 + (size_t)test_rng_below(rng, KEYS);
    scene->net = net_new(delays[test_rng_below(rng, 3)]);
    struct tly_engine_config config = {.mesh_max = scene->nodes > 4 && test_rng_chance(rng, 50) ? 4 : 0};
    for (size_t i = 0; i < scene->nodes; i++)
        net_add_with(scene->net, config, i == 0 ? 0 : 1);
    net_run(scene->net, (5 + test_rng_below(rng, 40)) * S);
    if (test_rng_chance(rng, 50)) net_jitter(scene->net, 20 * MS, seed);
    for (size_t i = 0; i < scene->nodes; i++)
        if (test_rng_chance(rng, 50))
            net_shift_wall(scene->net, i, (int64_t)test_rng_below(rng, 60 * MS) - (int64_t)(30 * MS));
}

static void no_mark_is_before_what_it_stands_for(void **state)
{
    uint64_t first = test_seed_first(), seeds = test_is_long() ? 200 : 15;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        struct scene scene = {0};
        begin(&scene, seed);
        for (size_t step = 0; step < STEPS; step++) {
            if (test_rng_chance(&scene.rng, 8)) write_something(&scene);
            if (test_rng_below(&scene.rng, 60) == 0) disturb(&scene);
            net_run(scene.net, MS / 2);
            for (size_t node = 0; node < scene.nodes; node++)
                for (size_t key = 0; key < KEYS; key++)
                    note_what_stands(&scene, node, key);
            claim_marks_are_true(&scene);
        }
        net_free(scene.net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_mark_is_before_what_it_stands_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
