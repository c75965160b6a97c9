/*
 * One way in: a dot is the same dot, with the same bytes, reads and events, whether it was written here, came in a round, over a
 * third node, or from the disk.  And the log of a node has all of it for whoever comes late.
 */
#include "crdt/ormap_impl.h"
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define WAYS 4 /* written here, round, relay, disk */
#define ORIGIN 100
#define EVENTS_MAX ((size_t)1 << 20)

struct way {
    struct tly_engine *engine;
    struct tly_watch *watch;
    char *events;
    size_t n;
};

struct scene {
    struct net *net;
    struct way way[WAYS];
    size_t replayed;
};

static void watch_all(struct way *way, struct tly_engine *engine)
{
    way->engine = engine;
    way->events = malloc(EVENTS_MAX);
    assert_non_null(way->events);
    way->events[0] = '\0';
    assert_int_equal(tly_engine_watch(engine, tly_slice_of(NULL, 0), &way->watch), TLY_OK);
}

/* What is told of keys that are not the nodes' own, without where it was done. */
static void listen(struct way *way)
{
    struct tly_change change;
    while (tly_watch_next(way->engine, way->watch, &change)) {
        assert_false(change.resync);
        if (change.key.n > 4 && memcmp(change.key.p, "sys:", 4) == 0) continue;
        assert_int_equal(change.origin, ORIGIN);
        int n = snprintf(way->events + way->n, EVENTS_MAX - way->n, "%.*s %d %llu %lld %llu %.*s\n",
                         (int)change.key.n, (const char *)change.key.p, change.value.present,
                         (unsigned long long)change.value.epoch, (long long)change.value.count,
                         (unsigned long long)change.value.deadline_ms, (int)change.value.bytes.n,
                         (const char *)change.value.bytes.p);
        assert_true(n > 0 && (size_t)n < EVENTS_MAX - way->n);
        way->n += (size_t)n;
    }
}

static struct scene scene_of(void)
{
    struct scene scene = {.net = net_new(MS)};
    net_add_with(scene.net, (struct tly_engine_config){.has_store = true}, 0);
    net_add(scene.net, 1);
    net_add(scene.net, 2);
    net_block(scene.net, 0, 2, true);
    net_run(scene.net, 30 * S);
    for (size_t i = 0; i < 3; i++)
        watch_all(&scene.way[i], net_node(scene.net, i));
    struct tly_engine_config config = {.mem = test_mem(),
                                       .name = tly_slice_text("disk"),
                                       .cluster = tly_slice_text("test"),
                                       .now = net_time(scene.net, 0)};
    struct tly_engine *disk;
    memset(config.hash_key.secret, 0x3c, sizeof config.hash_key.secret);
    assert_int_equal(tly_engine_new(&config, &disk), TLY_OK);
    watch_all(&scene.way[3], disk);
    return scene;
}

static void scene_end(struct scene *scene)
{
    struct tly_engine *disk = scene->way[3].engine;
    assert_int_equal(tly_engine_start(disk, 103, net_time(scene->net, 0)), TLY_OK);
    tly_engine_check(disk);
    tly_engine_free(disk);
    for (size_t i = 0; i < WAYS; i++)
        free(scene->way[i].events);
    net_free(scene->net);
}

static void listen_everywhere(struct scene *scene)
{
    net_run(scene->net, 100 * MS);
    for (; scene->replayed < net_batches(scene->net, 0); scene->replayed++) {
        struct tly_slice batch = net_batch(scene->net, 0, scene->replayed);
        assert_int_equal(tly_engine_replay(scene->way[3].engine, batch), TLY_OK);
    }
    for (size_t i = 0; i < WAYS; i++)
        listen(&scene->way[i]);
}

/* All dots of the writer's life in one part, as a follower without any gets them. */
static void rows_of(struct tly_engine *e, struct tly_buf *out)
{
    struct tly_follower follower;
    struct tly_round_writer writer;
    struct tly_part_wish wish = {.rows_bytes_max = TLY_ROUND_ROWS_BYTES_MAX / 2, .only_origin = ORIGIN};
    struct tly_mem mem = test_mem();
    assert_int_equal(tly_ormap_seal(e->map), TLY_OK);
    tly_follower_init(&follower, &mem, e->map);
    tly_round_writer_init(&writer, &mem);
    tly_buf_clear(out);
    struct tly_pens pens = {.writer = &writer};
    assert_true(tly_follower_next(&follower, &wish, &pens, out).rows > 0);
    tly_round_writer_fini(&writer);
    tly_follower_fini(&follower);
}

static void claim_same(struct scene *scene)
{
    struct tly_buf first, other;
    struct tly_mem mem = test_mem();
    tly_buf_init(&first, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&other, &mem, TLY_FRAME_BODY_MAX);
    rows_of(scene->way[0].engine, &first);
    for (size_t i = 1; i < WAYS; i++) {
        rows_of(scene->way[i].engine, &other);
        assert_int_equal(other.n, first.n);
        assert_memory_equal(other.p, first.p, first.n);
        size_t at = 0;
        while (at < scene->way[0].n && scene->way[i].events[at] == scene->way[0].events[at])
            at++;
        if (at < scene->way[0].n || at < scene->way[i].n) {
            size_t from = at > 100 ? at - 100 : 0;
            fail_msg("way %zu tells otherwise: ...%.200s\n instead of ...%.200s", i,
                     scene->way[i].events + from, scene->way[0].events + from);
        }
    }
    tly_buf_fini(&first);
    tly_buf_fini(&other);
}

/* One random write of the first node. */
static void write_something(struct scene *scene, struct test_rng *rng)
{
    static const char *const keys[] = {"kv:a", "kv:b", "em:a", "em:b", "a", "b"};
    const char *key = keys[test_rng_below(rng, 6)];
    struct tly_reply reply;
    struct tly_request request = {.key = tly_slice_text(key),
                                  .number = (int64_t)test_rng_below(rng, 7) - 3,
                                  .epoch = test_rng_below(rng, 4),
                                  .bytes = tly_slice_text(&"some text"[test_rng_below(rng, 4)])};
    request.kind = key[0] == 'k'                 ? TLY_ASK_PUT
                   : key[0] == 'e'               ? TLY_ASK_PUT_MAX
                   : test_rng_below(rng, 3) == 0 ? TLY_ASK_SET
                                                 : TLY_ASK_ADD;
    if (test_rng_below(rng, 4) == 0) request.kind = TLY_ASK_REMOVE;
    enum tly_result result = net_ask(scene->net, 0, request, &reply);
    assert_true(result == TLY_OK || result == TLY_NOT_FOUND);
    if (test_rng_below(rng, 5) == 0) (void)net_check(scene->net, 0, "k", "100/1d", TLY_FIXED_WINDOW);
}

static void a_dot_is_the_same_by_every_way_in(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct scene scene = scene_of();
    for (int i = 0; i < 300; i++) {
        write_something(&scene, &rng);
        listen_everywhere(&scene);
        if (i % 50 == 0) claim_same(&scene);
    }
    claim_same(&scene);
    assert_true(scene.way[0].n > 1000);
    scene_end(&scene);
}

/* ---- repair and snapshot ---- */

#define SOME_KEYS 60
#define GRACE_MS 1000

static const char *some_key(size_t i)
{
    static const char *const prefixes[] = {"kv:", "em:", "ctr:", "rl:a:"};
    static char key[32];
    (void)snprintf(key, sizeof key, "%s%zu", prefixes[i % 4], i);
    return key;
}

/* Each key is written once, so that each is one event whenever it comes. */
static void write_some(struct net *net)
{
    for (size_t i = 0; i < SOME_KEYS; i++) {
        static const enum tly_request_kind kinds[] = {TLY_ASK_PUT, TLY_ASK_PUT_MAX, TLY_ASK_ADD};
        struct tly_request request = {.key = tly_slice_text(some_key(i)), .number = (int64_t)i, .epoch = i};
        struct tly_reply reply;
        if (i % 4 == 3) {
            (void)net_check(net, 0, some_key(i) + 5, "100/1d", TLY_FIXED_WINDOW);
            continue;
        }
        request.kind = kinds[i % 4];
        request.bytes = tly_slice_text("some text");
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    }
    net_run(net, 200 * MS);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a text in the order of their keys; which of them is told first is nobody's claim. */
static size_t sort_lines(char *text, char **lines, size_t most)
{
    size_t count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        assert_true(count < most);
        lines[count++] = line;
    }
    qsort(lines, count, sizeof *lines, compare_lines);
    return count;
}

static void claim_same_events(struct way *first, struct way *other)
{
    char *lines[2][SOME_KEYS + 1];
    size_t count = sort_lines(first->events, lines[0], SOME_KEYS + 1);
    assert_int_equal(count, SOME_KEYS * 3 / 4); /* a limit's window is read by checks alone */
    assert_int_equal(sort_lines(other->events, lines[1], SOME_KEYS + 1), count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(lines[0][i], lines[1][i]);
}

static void claim_same_rows(struct tly_engine *a, struct tly_engine *b)
{
    struct tly_buf rows[2];
    struct tly_mem mem = test_mem();
    tly_buf_init(&rows[0], &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&rows[1], &mem, TLY_FRAME_BODY_MAX);
    rows_of(a, &rows[0]);
    rows_of(b, &rows[1]);
    assert_int_equal(rows[0].n, rows[1].n);
    assert_memory_equal(rows[0].p, rows[1].p, rows[0].n);
    tly_buf_fini(&rows[0]);
    tly_buf_fini(&rows[1]);
}

static bool any(void *context, const struct tly_dot *dot)
{
    return true;
}

/* What was there goes without a trace, and every mark says that it is there. */
static void lose_all(struct tly_engine *e)
{
    for (size_t i = 0; i < SOME_KEYS; i++) {
        struct tly_entry *entry = tly_ormap_find(e->map, tly_slice_text(some_key(i)));
        assert_non_null(entry);
        assert_int_equal(tly_map_drop_if(e->map, entry, any, NULL), 1);
    }
}

/* Two nodes that have forgotten a REMOVE: who joins needs a snapshot. */
static struct net *with_a_floor(void)
{
    struct tly_engine_config stored = {.has_store = true, .tombstone_grace_ms = GRACE_MS};
    struct net *net = net_new(MS);
    net_add_with(net, stored, 0);
    net_add_with(net, stored, 1);
    net_run(net, 3 * S);
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_PUT, .key = tly_slice_text("kv:gone")};
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    request.kind = TLY_ASK_REMOVE;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    net_run(net, 10 * S);
    assert_int_equal(net_stats(net, 0).removes_forgotten, 1);
    return net;
}

static void a_dot_is_the_same_by_repair(void **state)
{
    struct net *net = with_a_floor();
    struct way written = {0}, repaired = {0};
    watch_all(&written, net_node(net, 0));
    write_some(net);
    listen(&written);
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    lose_all(net_node(net, 1));
    watch_all(&repaired, net_node(net, 1));
    net_node(net, 0)->conns[0]->repair_at = net_now(net);
    net_run(net, 5 * S);
    assert_int_equal(net_stats(net, 1).dots_repaired, SOME_KEYS);
    listen(&repaired);
    claim_same_events(&written, &repaired);
    claim_same_rows(net_node(net, 0), net_node(net, 1));
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    free(written.events);
    free(repaired.events);
    net_free(net);
}

/* Watchers are not told of each of perhaps millions: one mark stands for all, and what they then read is the same. */
static void a_dot_is_the_same_by_snapshot(void **state)
{
    struct net *net = with_a_floor();
    write_some(net);
    size_t joiner =
        net_add_with(net, (struct tly_engine_config){.has_store = true, .tombstone_grace_ms = GRACE_MS}, 1);
    struct tly_watch *watch;
    struct tly_change change;
    assert_int_equal(tly_engine_watch(net_node(net, joiner), tly_slice_of(NULL, 0), &watch), TLY_OK);
    net_run(net, 10 * S);
    assert_int_equal(net_stats(net, joiner).snapshots_installed, 1);
    assert_true(tly_watch_next(net_node(net, joiner), watch, &change));
    assert_true(change.resync);
    while (tly_watch_next(net_node(net, joiner), watch, &change))
        assert_false(change.resync);
    claim_same_rows(net_node(net, 0), net_node(net, joiner));
    assert_int_equal(net_digest(net, joiner), net_digest(net, 0));
    for (size_t i = 0; i < SOME_KEYS; i++)
        assert_int_equal(net_read(net, joiner, some_key(i)), net_read(net, 0, some_key(i)));
    net_free(net);
}

/* ---- who comes late ---- */

/* Writes, overwrites and deletes so many keys: of each a third. */
static void fill(struct net *net, size_t keys)
{
    char key[32];
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_ADD, .number = 1};
    for (size_t i = 0; i < keys * 2; i++) {
        size_t number = i % keys;
        if (i >= keys && number % 3 == 0) continue;
        request.kind = i >= keys && number % 3 == 1 ? TLY_ASK_REMOVE : TLY_ASK_ADD;
        snprintf(key, sizeof key, "k%zu", number);
        request.key = tly_slice_text(key);
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
        if (i % 1000 == 0) net_run(net, 15 * MS);
    }
    net_run(net, 100 * MS);
}

static void claim_joiner_has_all(size_t keys)
{
    struct net *net = net_new(MS);
    /* A second node is fed all the while, so that what is overwritten has been sealed. */
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, S);
    fill(net, keys);
    struct tly_stats before = net_stats(net, 0);
    struct tly_node_view node, joiner;
    net_block(net, 1, 2, true);
    net_add(net, 1);
    net_run(net, 20 * S);
    tly_engine_node(net_node(net, 0), true, &node);
    tly_engine_node(net_node(net, 2), true, &joiner);
    assert_int_equal(joiner.digest, node.digest);
    assert_int_equal(joiner.keys, node.keys);
    char key[32];
    for (size_t i = 0; i < keys; i++) {
        static const int64_t value[] = {1, INT64_MIN, 2};
        snprintf(key, sizeof key, "k%zu", i);
        assert_int_equal(net_read(net, 2, key), value[i % 3]);
    }
    /* One dot for each key, and who the nodes are; what is dominated was served to nobody. */
    assert_in_range(net_stats(net, 0).dots_sent - before.dots_sent, keys, keys + 10);
    assert_int_equal(node.log_records, node.keys);
    net_free(net);
}

static void a_joiner_has_all_and_nothing_dominated(void **state)
{
    (void)state;
    claim_joiner_has_all(30000);
    if (test_is_long()) claim_joiner_has_all(1000000);
}

/* Two that are parted, each with 40 values that no other of them replaces: together they are more than one node may make. */
static void what_two_made_beyond_a_frontiers_room_is_taken_whole_and_told(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, S);
    net_block(net, 0, 1, true);
    net_block(net, 1, 0, true);
    net_cut(net, 0, 1);
    struct tly_request put = {.kind = TLY_ASK_PUT_MAX, .key = tly_slice_text("em:both")};
    struct tly_reply reply;
    for (uint64_t i = 0; i < 80; i++) {
        put.epoch = 1000 - i;
        assert_int_equal(net_ask(net, i / 40, put, &reply), TLY_OK);
        net_run(net, MS);
    }
    assert_int_equal(net_stats(net, 0).dots_overlong + net_stats(net, 1).dots_overlong, 0);
    net_block(net, 0, 1, false);
    net_block(net, 1, 0, false);
    net_run(net, 40 * S);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(net_stats(net, i).dots_overlong, 80 - TLY_FRONTIER_MAX);
        assert_int_equal(net_ask(net, i, put, &reply), TLY_FRONTIER_FULL);
    }
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dot_is_the_same_by_every_way_in),
        cmocka_unit_test(a_dot_is_the_same_by_repair),
        cmocka_unit_test(a_dot_is_the_same_by_snapshot),
        cmocka_unit_test(a_joiner_has_all_and_nothing_dominated),
        cmocka_unit_test(what_two_made_beyond_a_frontiers_room_is_taken_whole_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
