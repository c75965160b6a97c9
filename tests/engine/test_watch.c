/* Watchers: told when a read changed, by whomever, once, and never kept in the dark. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

struct scene {
    struct net *net;
};

static struct tly_watch *watch_on(struct net *net, size_t node, const char *prefix)
{
    struct tly_watch *watch;
    assert_int_equal(tly_engine_watch(net_node(net, node), tly_slice_text(prefix), &watch), TLY_OK);
    return watch;
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->net = net_new(MS);
    net_add(scene->net, 0);
    net_add(scene->net, 1);
    net_run(scene->net, 2 * S);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    net_free(scene->net);
    free(scene);
    return 0;
}

/* The next change as text, such as "k=5 local", "k=null from 100", "resync"; "" when there is none. */
static const char *next(struct net *net, size_t node, struct tly_watch *watch)
{
    static char text[256];
    struct tly_change change;
    if (!tly_watch_next(net_node(net, node), watch, &change)) return "";
    if (change.resync) return "resync";
    int n = snprintf(text, sizeof text, "%.*s=", (int)change.key.n, (const char *)change.key.p);
    if (!change.value.present)
        n += snprintf(text + n, sizeof text - (size_t)n, "null");
    else if (change.strategy->id == TLY_LWW)
        n += snprintf(text + n, sizeof text - (size_t)n, "%.*s", (int)change.value.bytes.n,
                      (const char *)change.value.bytes.p);
    else
        n += snprintf(text + n, sizeof text - (size_t)n, "%llu:%lld", (unsigned long long)change.value.epoch,
                      (long long)change.value.count);
    if (change.local)
        snprintf(text + n, sizeof text - (size_t)n, " local");
    else
        snprintf(text + n, sizeof text - (size_t)n, " from %llu", (unsigned long long)change.origin);
    return text;
}

static enum tly_result put(struct net *net, size_t node, const char *key, const char *text)
{
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = tly_slice_text(text)};
    return net_ask(net, node, request, &reply);
}

static enum tly_result put_max(struct net *net, size_t node, const char *key, uint64_t epoch, int64_t count)
{
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_PUT_MAX, .key = tly_slice_text(key), .epoch = epoch, .number = count};
    return net_ask(net, node, request, &reply);
}

static enum tly_result del(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    return net_ask(net, node, (struct tly_request){.kind = TLY_ASK_REMOVE, .key = tly_slice_text(key)},
                   &reply);
}

static void a_change_is_told_on_every_node_alike_but_for_its_source(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *here = watch_on(net, 0, ""), *there = watch_on(net, 1, "");
    static const struct {
        const char *at_home, *elsewhere;
    } told[] = {{"kv:a=x local", "kv:a=x from 100"},
                {"em:a=6:0 local", "em:a=6:0 from 100"},
                {"k=0:5 local", "k=0:5 from 100"},
                {"kv:a=null local", "kv:a=null from 100"}};
    for (int i = 0; i < 4; i++) {
        if (i == 0) assert_int_equal(put(net, 0, "kv:a", "x"), TLY_OK);
        if (i == 1) assert_int_equal(put_max(net, 0, "em:a", 6, 0), TLY_OK);
        if (i == 2) assert_int_equal(net_add_to(net, 0, "k", 5), 5);
        if (i == 3) assert_int_equal(del(net, 0, "kv:a"), TLY_OK);
        net_run(net, 50 * MS);
        assert_string_equal(next(net, 0, here), told[i].at_home);
        assert_string_equal(next(net, 0, here), "");
        assert_string_equal(next(net, 1, there), told[i].elsewhere);
        assert_string_equal(next(net, 1, there), "");
    }
}

static void what_changes_no_read_is_not_told(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *here = watch_on(net, 0, ""), *there = watch_on(net, 1, "");
    assert_int_equal(put_max(net, 0, "em:a", 6, 0), TLY_OK);
    net_run(net, 50 * MS);
    assert_string_equal(next(net, 0, here), "em:a=6:0 local");
    assert_string_equal(next(net, 1, there), "em:a=6:0 from 100");
    /* A lower value is another dot, an equal one a newer version; neither reads otherwise. */
    assert_int_equal(put_max(net, 0, "em:a", 5, 100), TLY_OK);
    assert_int_equal(put_max(net, 0, "em:a", 6, 0), TLY_OK);
    assert_int_equal(put(net, 0, "kv:a", "x"), TLY_OK);
    assert_int_equal(del(net, 0, "kv:a"), TLY_OK);
    net_add_to(net, 0, "k", 0);
    (void)net_check(net, 0, "limit", "5/1s", TLY_FIXED_WINDOW);
    (void)net_check(net, 0, "bucket", "5/1s", TLY_TOKEN_BUCKET);
    net_run(net, 50 * MS);
    /* A counter of 0 is there, which it was not. */
    assert_string_equal(next(net, 0, here), "k=0:0 local");
    assert_string_equal(next(net, 0, here), "");
    assert_string_equal(next(net, 1, there), "k=0:0 from 100");
    assert_string_equal(next(net, 1, there), "");
}

static void a_prefix_is_all_that_is_watched(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *watch = watch_on(net, 0, "kv:a");
    size_t woken = net_woken(net, 0);
    assert_int_equal(put(net, 0, "kv:b", "x"), TLY_OK);
    assert_int_equal(put(net, 0, "kv:", "x"), TLY_OK);
    net_run(net, 50 * MS);
    assert_int_equal(net_woken(net, 0), woken);
    assert_int_equal(put(net, 0, "kv:a", "x"), TLY_OK);
    assert_int_equal(put(net, 1, "kv:ab", "y"), TLY_OK);
    net_run(net, 50 * MS);
    assert_in_range(net_woken(net, 0), woken + 1, woken + 2);
    assert_string_equal(next(net, 0, watch), "kv:a=x local");
    assert_string_equal(next(net, 0, watch), "kv:ab=y from 101");
    assert_string_equal(next(net, 0, watch), "");
    tly_engine_unwatch(net_node(net, 0), watch);
    assert_int_equal(put(net, 0, "kv:a", "z"), TLY_OK);
    net_run(net, 50 * MS);
    assert_in_range(net_woken(net, 0), woken + 1, woken + 2);
}

static void a_hot_key_is_one_change_per_look(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *watch = watch_on(net, 1, "k");
    size_t woken = net_woken(net, 1);
    for (int i = 0; i < 10000; i++) {
        net_add_to(net, (size_t)i % 2, "k", 1);
        if (i % 100 == 99) net_run(net, MS);
    }
    net_run(net, 50 * MS);
    assert_string_equal(next(net, 1, watch), "k=0:10000 from 100");
    assert_string_equal(next(net, 1, watch), "");
    assert_in_range(net_woken(net, 1) - woken, 5, 20); /* in about 150 ms, one in 10 ms */
}

static void what_is_counted_on_is_told_each_time(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *watch = watch_on(net, 0, "k");
    for (int64_t count = 1; count <= 3; count++) {
        char told[32];
        snprintf(told, sizeof told, "k=0:%lld local", (long long)count);
        net_add_to(net, 0, "k", 1);
        net_run(net, 50 * MS);
        assert_string_equal(next(net, 0, watch), told);
        assert_string_equal(next(net, 0, watch), "");
    }
}

static void who_falls_behind_is_told_so_and_then_misses_nothing(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *slow = watch_on(net, 1, "k"), *other = watch_on(net, 1, "kv:");
    struct tly_node_view before, after;
    tly_engine_node(net_node(net, 1), false, &before);
    char key[32];
    for (int i = 0; i < TLY_WATCH_KEYS_MAX + 1; i++) {
        snprintf(key, sizeof key, "k%d", i);
        net_add_to(net, 0, key, 1);
    }
    assert_int_equal(put(net, 0, "kv:a", "x"), TLY_OK);
    net_run(net, 100 * MS);
    tly_engine_node(net_node(net, 1), false, &after);
    assert_true(after.memory_used - after.bytes < before.memory_used - before.bytes + 512u * 1024u);
    assert_string_equal(next(net, 1, slow), "resync");
    assert_string_equal(next(net, 1, slow), "");
    assert_string_equal(next(net, 1, other), "kv:a=x from 100");
    net_add_to(net, 0, "k7", 1);
    net_run(net, 100 * MS);
    assert_string_equal(next(net, 1, slow), "k7=0:2 from 100");
    assert_string_equal(next(net, 1, slow), "");
}

static void who_keeps_up_is_told_of_every_key(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *watch = watch_on(net, 1, "k");
    static bool seen[5 * TLY_WATCH_KEYS_MAX];
    memset(seen, 0, sizeof seen);
    char key[64];
    size_t told = 0;
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        snprintf(key, sizeof key, "k%zu", i);
        net_add_to(net, 0, key, 1);
        if (i % 97 == 0) net_run(net, 15 * MS);
        /* Looks now and then and never takes all: the room of what was told is used again. */
        for (int look = 0; look < 200 && i % 97 == 0; look++) {
            const char *text = next(net, 1, watch);
            if (text[0] == '\0') break;
            size_t number = strtoul(text + 1, NULL, 10);
            assert_true(number < sizeof seen / sizeof *seen && !seen[number]);
            seen[number] = true;
            told++;
        }
    }
    net_run(net, 100 * MS);
    for (const char *text; (text = next(net, 1, watch))[0] != '\0'; told++)
        assert_memory_equal(text, "k", 1);
    assert_int_equal(told, sizeof seen / sizeof *seen);
}

static void watchers_are_bounded(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_watch *watch = NULL;
    for (int i = 0; i < TLY_WATCHERS_MAX; i++)
        watch = watch_on(net, 0, "");
    struct tly_watch *more;
    assert_int_equal(tly_engine_watch(net_node(net, 0), tly_slice_of(NULL, 0), &more), TLY_FULL);
    tly_engine_unwatch(net_node(net, 0), watch);
    static const uint8_t longer[TLY_KEY_BYTES_MAX + 1];
    assert_int_equal(tly_engine_watch(net_node(net, 0), tly_slice_of(longer, sizeof longer), &more),
                     TLY_BAD_KEY);
    (void)watch_on(net, 0, "");
}

static void export_all(struct net *net, size_t node, struct tly_buf *out)
{
    struct tly_export *export;
    bool done = false;
    assert_int_equal(tly_export_new(net_node(net, node), tly_slice_of(NULL, 0), net_time(net, node), &export),
                     TLY_OK);
    while (!done)
        assert_int_equal(tly_export_next(export, out, &done), TLY_OK);
    tly_export_free(export);
}

static void what_an_archive_brings_is_told(void **state)
{
    struct net *net = ((struct scene *)*state)->net;
    struct tly_mem mem = test_mem();
    struct tly_buf archive;
    struct tly_reply reply;
    tly_buf_init(&archive, &mem, 1 << 20);
    assert_int_equal(put(net, 0, "kv:old", "one"), TLY_OK);
    net_run(net, S);
    struct tly_watch *watch = watch_on(net, 1, "");
    assert_int_equal(put(net, 0, "kv:new", "two"), TLY_OK);
    export_all(net, 0, &archive);
    struct tly_request request = {.kind = TLY_ASK_APPLY, .bytes = tly_buf_slice(&archive)};
    assert_int_equal(net_ask(net, 1, request, &reply), TLY_OK);
    assert_int_equal(reply.applied.applied, 1);
    assert_string_equal(next(net, 1, watch), "kv:new=two from 100");
    assert_string_equal(next(net, 1, watch), "");
    tly_buf_fini(&archive);
}

/* Without memory for the key there is a mark in its place. */
static void no_memory_is_no_gap(void **state)
{
    (void)state;
    size_t resyncs = 0;
    bool failed = true;
    for (size_t n = 0; failed; n++) {
        struct test_failing failing = {.countdown = SIZE_MAX};
        struct tly_engine_config config = {.mem = test_failing_mem(&failing),
                                           .name = tly_slice_text("n0"),
                                           .cluster = tly_slice_text("test"),
                                           .now = {NET_WALL_START, S}};
        struct tly_engine *engine;
        struct tly_watch *watch = NULL;
        struct tly_reply reply;
        struct tly_change change;
        assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
        assert_int_equal(tly_engine_start(engine, 7, config.now), TLY_OK);
        failing = (struct test_failing){.countdown = n};
        enum tly_result result = tly_engine_watch(engine, tly_slice_of(NULL, 0), &watch);
        struct tly_request request = {
            .kind = TLY_ASK_ADD, .now = config.now, .key = tly_slice_text("k"), .number = 1};
        if (result == TLY_OK && tly_engine_ask(engine, &request, &reply) == TLY_OK) {
            assert_true(tly_watch_next(engine, watch, &change));
            assert_true(change.resync || change.value.count == 1);
            resyncs += change.resync;
            assert_false(tly_watch_next(engine, watch, &change));
        }
        failed = failing.failed;
        tly_engine_free(engine);
        assert_int_equal(test_mem_live(), 0);
    }
    assert_true(resyncs > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_change_is_told_on_every_node_alike_but_for_its_source, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_changes_no_read_is_not_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_prefix_is_all_that_is_watched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hot_key_is_one_change_per_look, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_counted_on_is_told_each_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_falls_behind_is_told_so_and_then_misses_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_keeps_up_is_told_of_every_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(watchers_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_an_archive_brings_is_told, set_up, tear_down),
        cmocka_unit_test(no_memory_is_no_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
