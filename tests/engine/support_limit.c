#include "tests/engine/support_limit.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

struct scene scene_new(uint64_t origin)
{
    struct scene scene = {.mem = test_mem()};
    struct tly_registry *none = tly_registry_new(&scene.mem);
    assert_non_null(none);
    struct tly_slice prefix = tly_slice_text("rl:");
    assert_int_equal(tly_registry_with(none, prefix, tly_epoch_sum(), &scene.registry), TLY_OK);
    tly_registry_free(none);
    struct tly_time now = {START, 1};
    struct tly_ormap_config config = {
        .mem = scene.mem,
        .registry = scene.registry,
        .keys_max = 1000,
        .clock = tly_clock_of(0, now, TLY_MAX_SKEW_NS),
    };
    scene.map = tly_ormap_new(&config);
    assert_non_null(scene.map);
    assert_int_equal(tly_ormap_begin_life(scene.map, origin), TLY_OK);
    return scene;
}

void scene_free(struct scene *scene)
{
    tly_ormap_check(scene->map);
    tly_ormap_free(scene->map);
    tly_registry_free(scene->registry);
}

struct tly_verdict check_at(struct scene *scene, const struct tly_rate *rate, uint32_t hits, uint64_t now_ns)
{
    struct tly_verdict verdict;
    struct tly_limit_ask ask = {.seek = tly_seek_of(scene->map, tly_slice_text("rl:k")),
                                .rate = rate,
                                .hits = hits,
                                .now_ns = now_ns};
    assert_int_equal(tly_limit_check(scene->map, &ask, &scene->span, &verdict), TLY_OK);
    return verdict;
}

void hand_over(struct scene *from, struct scene *to, uint64_t now_ns)
{
    assert_int_equal(tly_ormap_seal(from->map), TLY_OK);
    uint64_t origin = tly_ormap_origin(from->map);
    struct tly_scan scan = tly_scan_of(from->map, 0, tly_ormap_mark(to->map, origin));
    for (struct tly_scanned row; tly_scan_next(from->map, &scan, &row);) {
        enum tly_outcome outcome;
        int64_t before = tly_limit_units(to->map, row.key, &row.dot);
        assert_int_equal(tly_ormap_apply(to->map, row.key, &row.dot, &outcome), TLY_OK);
        if (outcome == TLY_APPLIED && tly_limit_is_bucket(row.key, &row.dot))
            tly_limit_learned(to->map, row.key, &row.dot, before, now_ns);
    }
    assert_int_equal(tly_ormap_raise_mark(to->map, origin, tly_ormap_mark(from->map, origin)), TLY_OK);
}
