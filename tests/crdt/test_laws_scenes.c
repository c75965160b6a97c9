/* Short scenes of relays, joiners and forged rounds, one claim each; what is random or exhaustive stands in the others. */
#include "tests/crdt/law.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

enum { RELAY, D, THIRD };

static struct world world;

static int begin(void **state)
{
    world = world_of();
    return 0;
}

static int end(void **state)
{
    world_end(&world);
    return 0;
}

static struct tly_slice max_key(void)
{
    return tly_slice_text("m:a");
}

static void relay_learns(struct tly_dot dot)
{
    claim(world_apply(world.node[RELAY], max_key(), &dot) == TLY_APPLIED);
}

static void d_reads(uint64_t epoch, int64_t count)
{
    struct tly_value value = world_read(world.node[D], max_key(), (struct tly_moment){0});
    assert_true(value.present && value.epoch == epoch && value.count == count);
}

/* Law L5: a mark is one origin's; a dot of another that is older than what was acknowledged still comes. */
static void an_acknowledged_newer_dot_hides_no_older_one(void **state)
{
    relay_learns(put_of(20, 11, 1, 0));
    claim(tly_ormap_raise_mark(world.node[RELAY], 11, 20) == TLY_OK);
    assert_int_equal(world_round(world.node[RELAY], world.node[D], NULL), 1);
    d_reads(1, 0);
    relay_learns(put_of(10, 12, 5, 100));
    assert_int_equal(world_round(world.node[RELAY], world.node[D], NULL), 1);
    d_reads(5, 100);
}

/* Laws L5, EM2: a REMOVE that the relay learns late cuts at D as it did there, without a new write. */
static void a_remove_learned_late_cuts_everywhere(void **state)
{
    relay_learns(put_of(60, 11, 7, 99));
    relay_learns(put_of(70, 11, 6, 1));
    claim(tly_ormap_raise_mark(world.node[RELAY], 11, 70) == TLY_OK);
    assert_int_equal(world_round(world.node[RELAY], world.node[D], NULL), 2);
    d_reads(7, 99);
    relay_learns(remove_of(65, 12));
    assert_int_equal(world_round(world.node[RELAY], world.node[D], NULL), 1);
    d_reads(6, 1);
    assert_int_equal(tly_ormap_digest(world.node[D]), tly_ormap_digest(world.node[RELAY]));
}

static struct tly_slice numbered_key(char *text, size_t size, size_t number)
{
    int n = snprintf(text, size, "m:%zu", number);
    return tly_slice_of(text, (size_t)n);
}

static void write_number(struct tly_ormap *map, size_t number, uint64_t epoch)
{
    char text[32];
    struct tly_dot dot = {.num = {epoch, number}};
    claim(tly_ormap_put(map, numbered_key(text, sizeof text, number), &dot) == TLY_OK);
}

/* Laws M1, L3: whatever was replaced, a joiner has every key, and no dominated dot is served. */
static void a_joiner_has_every_key(void **state)
{
    size_t keys = law_is_full() ? 1000000 : 30000;
    struct tly_ormap *map = world.node[RELAY];
    for (size_t i = 0; i < keys; i++)
        write_number(map, i, 1);
    for (size_t i = 0; i < keys; i += 3)
        write_number(map, i, 2);
    for (size_t i = 0; i < keys; i += 2)
        write_number(map, i, 3);
    assert_int_equal(tly_ormap_log_size(map), keys);
    struct tly_ormap *joiner = world_map(&world.mem, world.registry, 9);
    assert_int_equal(world_round(map, joiner, NULL), keys);
    assert_int_equal(tly_ormap_count(joiner), keys);
    for (size_t i = 0; i < keys; i++) {
        char text[32];
        struct tly_value value =
            world_read(joiner, numbered_key(text, sizeof text, i), (struct tly_moment){0});
        claim(value.count == (int64_t)i && value.epoch == (i % 2 == 0 ? 3u : i % 3 == 0 ? 2u : 1u));
    }
    assert_true(tly_ormap_digest(joiner) == tly_ormap_digest(map));
    tly_ormap_free(joiner);
}

/* Law L9: what is malformed stays out with the reason, and the dots beside it go in. */
static void a_malformed_dot_aborts_nothing(void **state)
{
    static const struct {
        struct tly_dot dot;
        enum tly_outcome outcome;
    } round[] = {{{.version = {5, 11}, .num = {1, 1}}, TLY_APPLIED},
                 {{.version = {0, 11}, .num = {9, 9}}, TLY_MALFORMED},
                 {{.version = {9, 0}, .num = {9, 9}}, TLY_MALFORMED},
                 {{.version = {9, 11}, .num = {9, 9, 9}}, TLY_MALFORMED},
                 {{.version = {9, 11}, .op = TLY_REMOVE, .num = {1}}, TLY_MALFORMED},
                 {{.version = {6, 12}, .num = {2, 2}}, TLY_APPLIED}};
    for (size_t i = 0; i < sizeof round / sizeof round[0]; i++)
        assert_int_equal(world_apply(world.node[D], max_key(), &round[i].dot), round[i].outcome);
    d_reads(2, 2);
    size_t count;
    (void)world_dots(world.node[D], max_key(), &count);
    assert_int_equal(count, 1);
}

/* Law L4: on every path, also where only a snapshot was seen, or the deleter's own dots alone. */
static void a_deleted_value_comes_back_on_no_path(void **state)
{
    for (size_t key = 0; key < SAMPLE_STRATEGIES; key++) {
        struct tly_dot old = {.version = {40, 11}, .num = {key == 0 ? 0 : 1, key == 0 ? 0 : 1}};
        if (key == 3) old.num[3] = 1;
        (void)world_apply(world.node[RELAY], world_key(key), &old);
        tly_clock_observe(tly_ormap_clock(world.node[RELAY]), 100);
        assert_int_equal(tly_ormap_remove(world.node[RELAY], world_key(key)), TLY_OK);
        (void)world_round(world.node[RELAY], world.node[D], NULL);
        struct tly_ormap *copy = world_copy(&world.mem, world.registry, world.node[D], 9, NULL);
        struct tly_ormap *paths[] = {world.node[RELAY], world.node[D], copy};
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(world_apply(paths[i], world_key(key), &old), TLY_DOMINATED);
            assert_false(world_read(paths[i], world_key(key), (struct tly_moment){0}).present);
        }
        tly_ormap_free(copy);
    }
}

/* Law L4: the copy holds the value and marks of before the REMOVE; what it hands on is dead, and what it hears makes it so here. */
static void a_node_back_on_an_older_disk_revives_nothing(void **state)
{
    for (size_t key = 0; key < SAMPLE_STRATEGIES; key++) {
        struct tly_dot value = {.num = {key == 1 || key == 3, 0, key == 2 || key == 3 ? 5 : 0}};
        claim(world_write(&world, RELAY, key, &value) == TLY_OK);
        world_settle(&world);
        struct tly_ormap *old = world_copy(&world.mem, world.registry, world.node[D], 0, NULL);
        claim(world_write(&world, THIRD, key, &(struct tly_dot){.op = TLY_REMOVE}) == TLY_OK);
        world_settle(&world);
        world_seal(&world, D);
        tly_ormap_free(world.node[D]);
        world.node[D] = old;
        world.origin[D] += WORLD_NODES;
        world.learned[D] = 0;
        claim(tly_ormap_begin_life(old, world.origin[D]) == TLY_OK);
        assert_true(world_read(old, world_key(key), (struct tly_moment){0}).present);
        world_sync(&world, D, RELAY, NULL);
        world_settle(&world);
        for (size_t node = 0; node < WORLD_NODES; node++)
            assert_false(world_read(world.node[node], world_key(key), (struct tly_moment){0}).present &&
                         world_read(world.node[node], world_key(key), (struct tly_moment){0}).count != 0);
    }
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(an_acknowledged_newer_dot_hides_no_older_one),
        scene(a_remove_learned_late_cuts_everywhere),
        scene(a_joiner_has_every_key),
        scene(a_malformed_dot_aborts_nothing),
        scene(a_deleted_value_comes_back_on_no_path),
        scene(a_node_back_on_an_older_disk_revives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
