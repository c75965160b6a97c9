/* The log alone against a plain list, then as the map keeps it: what a scan yields. */
#include "crdt/oplog.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS 1500

/* ---- the log alone ---- */

/* The dots that stand. */
struct list {
    struct tly_timed dots[RECORDS];
    size_t count;
};

static bool has_hash(const struct tly_chunk *chunk, uint32_t hash)
{
    for (uint32_t i = 0; i < chunk->count; i++)
        if (chunk->hashes[i] == hash) return true;
    return false;
}

static size_t list_dots(const void *context, const struct tly_chunk *chunk, uint64_t from, uint64_t to,
                        struct tly_timed *out, size_t room)
{
    const struct list *list = context;
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct tly_timed dot = list->dots[i];
        if (dot.ts < from || dot.ts > to || !has_hash(chunk, dot.hash)) continue;
        if (count < room) out[count] = dot;
        count++;
    }
    return count;
}

static void add(struct tly_oplog *log, const struct tly_mem *mem, struct list *list, struct tly_timed dot)
{
    struct tly_dots dots = {list_dots, list};
    claim(tly_oplog_reserve(log, mem, dot.ts, &dots));
    tly_oplog_add(log, dot.ts, dot.hash);
    list->dots[list->count++] = dot;
}

static void drop(struct tly_oplog *log, const struct tly_mem *mem, struct list *list, size_t i)
{
    tly_oplog_remove(log, mem, list->dots[i].ts, list->dots[i].hash);
    list->dots[i] = list->dots[--list->count];
}

/* Every chunk has a record for each dot of its range and no other, and the ranges follow each other. */
static void claim_log_equals(const struct tly_oplog *log, const struct list *list)
{
    size_t found = 0, chunks = 0;
    uint64_t from = 0, to = 0;
    tly_oplog_check(log);
    struct tly_chunk_at at = {0};
    for (const struct tly_chunk *chunk; (chunk = tly_oplog_chunk(log, at, &to)) != NULL; chunks++) {
        struct tly_timed dots[RECORDS];
        claim(chunk->from > from && chunk->from <= to);
        from = chunk->from;
        size_t count = list_dots(list, chunk, from, to, dots, RECORDS);
        claim(count == chunk->live);
        for (size_t i = 0; i < count; i++) {
            struct tly_chunk_at place = tly_oplog_find(log, dots[i].ts);
            claim(place.block == at.block && place.chunk == at.chunk);
        }
        found += count;
        at = tly_oplog_after(log, at);
    }
    claim(found == list->count && log->count == list->count);
    /* Neighbours that are low are joined, so chunks are a quarter full on the whole. */
    claim(chunks <= 3 + list->count / (TLY_CHUNK_RECORDS / 4));
}

static size_t walk(uint64_t seed, const struct tly_mem *mem, unsigned in_order_percent,
                   unsigned death_percent)
{
    struct test_rng rng = test_rng_of(seed);
    struct tly_oplog log = {0};
    static struct list list;
    size_t most = 0;
    list.count = 0;
    for (uint64_t step = 1; step < RECORDS; step++) {
        uint64_t ts = test_rng_chance(&rng, in_order_percent) ? step : 1 + test_rng_below(&rng, RECORDS - 1);
        /* Few hashes, so that some stand twice in a chunk. */
        add(&log, mem, &list, (struct tly_timed){ts, 1 + (uint32_t)test_rng_below(&rng, RECORDS / 4)});
        if (list.count > most) most = list.count;
        while (list.count > 0 && test_rng_chance(&rng, death_percent))
            drop(&log, mem, &list, (size_t)test_rng_below(&rng, list.count));
        if (test_rng_chance(&rng, 2)) claim_log_equals(&log, &list);
    }
    claim_log_equals(&log, &list);
    while (list.count > 0)
        drop(&log, mem, &list, (size_t)test_rng_below(&rng, list.count));
    claim(log.block_count == 0 && log.last == 0 && log.blocks == NULL);
    tly_oplog_fini(&log, mem);
    return most;
}

static void the_log_holds_what_a_list_holds_in_order(void **state)
{
    struct tly_mem mem = test_mem();
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 600 : 60;
    size_t most = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        size_t reached = walk(seed, &mem, seed % 4 == 0 ? 0 : 90, (unsigned)(seed % 3 * 25));
        if (reached > most) most = reached;
    }
    claim(most == RECORDS - 1);
    claim(test_mem_live() == 0);
}

static void late_records_take_their_places(void **state)
{
    struct tly_mem mem = test_mem();
    static struct list list;
    for (size_t late = 1; late <= 400; late += 57)
        for (uint64_t first_late = 0; first_late <= 1400; first_late += 200) {
            struct tly_oplog log = {0};
            list.count = 0;
            for (uint32_t i = 0; i < 700; i++)
                add(&log, &mem, &list, (struct tly_timed){i * 2 + 2, i + 1});
            for (size_t i = late; i-- > 0;)
                add(&log, &mem, &list, (struct tly_timed){first_late + 1 + i * 2, 7000});
            claim_log_equals(&log, &list);
            tly_oplog_fini(&log, &mem);
        }
    assert_int_equal(test_mem_live(), 0);
}

/* More dots of one ts than a chunk takes can only be forged; they stand together. */
static void dots_of_one_ts_are_never_divided(void **state)
{
    struct tly_mem mem = test_mem();
    static struct list list;
    struct tly_oplog log = {0};
    list.count = 0;
    for (uint32_t i = 0; i < 900; i++)
        add(&log, &mem, &list, (struct tly_timed){i % 3 == 0 ? 1 + i : 500, i + 1});
    claim_log_equals(&log, &list);
    for (size_t i = 0; list.count > 10; i++)
        drop(&log, &mem, &list, i * 31 % list.count);
    claim_log_equals(&log, &list);
    tly_oplog_fini(&log, &mem);
    assert_int_equal(test_mem_live(), 0);
}

static void records_in_order_take_little_more_than_four_bytes(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_oplog log = {0};
    struct list none = {.count = 0};
    struct tly_dots dots = {list_dots, &none};
    size_t live = test_mem_live(), count = 200000;
    for (size_t i = 1; i <= count; i++) {
        assert_true(tly_oplog_reserve(&log, &mem, i, &dots));
        tly_oplog_add(&log, i, (uint32_t)i);
    }
    assert_true((test_mem_live() - live) * 10 < count * 43);
    tly_oplog_check(&log);
    tly_oplog_fini(&log, &mem);
    assert_int_equal(test_mem_live(), live);
}

static void a_log_without_memory_is_as_it_was(void **state)
{
    static struct list list;
    size_t failures = 0;
    for (size_t countdown = 0;; countdown++) {
        struct test_failing failing = {.countdown = countdown};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_dots dots = {list_dots, &list};
        struct tly_oplog log = {0};
        list.count = 0;
        for (uint32_t i = 0; i < 1000; i++) {
            struct tly_timed dot = {i % 2 == 0 ? 1000 + i : i, i + 1};
            bool room = tly_oplog_reserve(&log, &mem, dot.ts, &dots);
            if (!room) claim_log_equals(&log, &list);
            failures += !room;
            add(&log, &mem, &list, dot);
        }
        claim_log_equals(&log, &list);
        tly_oplog_fini(&log, &mem);
        claim(test_mem_live() == 0);
        if (!failing.failed) break;
    }
    claim(failures > 20);
}

/* Reserved and not used, again and again: what comes then finds its place. */
static void room_that_is_not_used_is_used_later(void **state)
{
    struct tly_mem mem = test_mem();
    static struct list list;
    struct tly_dots dots = {list_dots, &list};
    struct tly_oplog log = {0};
    list.count = 0;
    for (uint32_t i = 1; i <= 600; i++) {
        for (uint64_t ahead = 900; ahead > i; ahead -= 100)
            assert_true(tly_oplog_reserve(&log, &mem, ahead, &dots));
        tly_oplog_check(&log);
        add(&log, &mem, &list, (struct tly_timed){i, i});
    }
    tly_oplog_check(&log);
    assert_int_equal(log.count, 600);
    tly_oplog_fini(&log, &mem);
    assert_int_equal(test_mem_live(), 0);
}

/* Who has all up to a ts looks at those that came since, and at fifteen more at most. */
static void what_came_last_stands_at_the_end(void **state)
{
    struct tly_mem mem = test_mem();
    static struct list list;
    struct tly_oplog log = {0};
    list.count = 0;
    for (uint32_t i = 1; i <= 1000; i++) {
        add(&log, &mem, &list, (struct tly_timed){i, i});
        for (uint32_t back = 0; back < log.newest->count; back += 7) {
            uint32_t from = tly_oplog_newer_from(&log, i - back);
            assert_true(from + back <= log.newest->count && log.newest->count - from < back + TLY_MILE + 1);
        }
    }
    tly_oplog_fini(&log, &mem);
    assert_int_equal(test_mem_live(), 0);
}

/* ---- the map's log ---- */

/* What the scan must yield, found without the log. */
static size_t dots_beyond(struct tly_ormap *map, uint64_t origin, uint64_t after)
{
    size_t found = 0, cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;) {
        size_t count;
        const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
        for (size_t i = 0; i < count; i++)
            found += dots[i].version.origin == origin && dots[i].version.ts > after;
    }
    return found;
}

static size_t claim_scan(struct tly_ormap *map, size_t life, uint64_t after)
{
    uint64_t origin = tly_ormap_life(map, life).origin;
    struct tly_scan scan = tly_scan_of(map, life, after);
    struct tly_dot last = {0};
    char last_key[8] = "";
    size_t yielded = 0;
    for (struct tly_scanned row; tly_scan_next(map, &scan, &row); yielded++) {
        claim(row.dot.version.origin == origin && row.dot.version.ts > after);
        claim(yielded == 0 || row.dot.version.ts >= last.version.ts);
        claim(!tly_dot_equal(&row.dot, &last) || strncmp(last_key, (const char *)row.key.p, row.key.n) != 0);
        memcpy(last_key, row.key.p, row.key.n);
        size_t count;
        bool stands = false;
        last = row.dot;
        last.bytes = sample_kept(row.dot.bytes);
        const struct tly_dot *dots = world_dots(map, row.key, &count);
        for (size_t i = 0; i < count; i++)
            stands = stands || tly_dot_equal(&dots[i], &last);
        claim(stands && row.strategy == tly_registry_find(tly_ormap_registry(map), row.key));
    }
    claim(yielded == dots_beyond(map, origin, after));
    return yielded;
}

static bool is_gone(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                    const struct tly_dot *put)
{
    return test_rng_chance(context, 10);
}

/* Law M1 */
static void a_scan_yields_exactly_the_live_dots_beyond_in_order(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 20000 : 2000;
    size_t yielded = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct tly_ormap *map = world_map(&mem, registry, 0);
        for (size_t i = 0; i < 80; i++) {
            size_t key = (size_t)test_rng_below(&rng, 6), cursor = 0;
            struct tly_dot dot = sample_dot(&rng, world_strategy(key));
            (void)world_apply(map, world_key(key), &dot);
            if (test_rng_chance(&rng, 5)) (void)tly_ormap_sweep(map, &cursor, 100, is_gone, &rng);
            if (!test_rng_chance(&rng, 10)) continue;
            tly_ormap_check(map);
            for (size_t life = 0; life < tly_ormap_lives(map); life++)
                for (uint64_t after = 0; after < 10; after += 3)
                    yielded += claim_scan(map, life, after);
        }
        tly_ormap_free(map);
    }
    tly_registry_free(registry);
    print_message("%zu dots yielded\n", yielded);
    claim(yielded > rounds * 10);
    claim(test_mem_live() == 0);
}

/* Law L5: What the second has not, by the first's scans beyond its marks, makes it what a join of everything makes it. */
static void a_delta_then_join_equals_the_full_join(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 20000 : 2000;
    size_t handed = 0, skipped = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct twin twin = {0};
        struct tly_ormap *map[2] = {world_map(&mem, registry, 8), world_map(&mem, registry, 9)};
        for (size_t rest = 3; rest > 0; rest--) {
            for (size_t i = 0; i < 20; i++) {
                /* A second life of the sender's own, honest; versions are unique. */
                size_t key = (size_t)test_rng_below(&rng, 6);
                struct tly_dot dot = sample_write(&rng, world_strategy(key), 75);
                if (dot.op == TLY_REMOVE)
                    (void)!tly_ormap_remove(map[0], world_key(key));
                else
                    claim(tly_ormap_put(map[0], world_key(key), &dot) == TLY_OK);
                claim(tly_ormap_seal(map[0]) == TLY_OK);
            }
            (void)twin_learn_life(&twin, map[0], 8, 0);
            size_t now = world_round(map[0], map[1], &rng);
            handed += now;
            skipped += dots_beyond(map[0], 8, 0) - now;
            twin_claim_equal(&twin, map[1]);
            twin_claim_marks(&twin, map[1]);
            claim(world_round(map[0], map[1], &rng) == 0);
        }
        claim(tly_ormap_digest(map[0]) == tly_ormap_digest(map[1]));
        tly_ormap_free(map[0]);
        tly_ormap_free(map[1]);
        twin_free(&twin);
    }
    tly_registry_free(registry);
    print_message("%zu dots handed over, %zu were there\n", handed, skipped);
    claim(handed > 0 && skipped > 0);
}

/* Law M1 */
static void five_hundred_puts_of_one_key_are_one_dot_and_one_record(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    for (size_t key = 0; key < SAMPLE_STRATEGIES; key++) {
        struct tly_ormap *map = world_map(&mem, registry, 1);
        size_t yielded = 0;
        struct tly_scanned row = {0};
        for (uint64_t i = 1; i <= 500; i++) {
            struct tly_dot dot = {.num = {key == 2 ? 0 : key == 3 ? 7 : i, i}};
            if (key == 0) dot.num[1] = 0;
            assert_int_equal(tly_ormap_put(map, world_key(key), &dot), TLY_OK);
            assert_int_equal(tly_ormap_log_size(map), 1);
        }
        struct tly_scan scan = tly_scan_of(map, 0, 0);
        for (struct tly_scanned next; tly_scan_next(map, &scan, &next); yielded++)
            row = next;
        assert_true(yielded == 1 && row.dot.version.ts == 500 && row.dot.num[key >= 2] == 500);
        tly_ormap_free(map);
    }
    tly_registry_free(registry);
    assert_int_equal(test_mem_live(), 0);
}

/* Laws L3, M1: many keys, written again and again in any order: each is still there for a joiner, and the log is no longer for it. */
static void chunks_that_join_drop_no_live_dot(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    struct tly_ormap *map = world_map(&mem, registry, 1), *joiner = world_map(&mem, registry, 2);
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t keys = 3000, bytes = 0;
    for (size_t i = 0; i < keys * 10; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "m:%zu", (size_t)test_rng_below(&rng, keys));
        struct tly_dot dot = {.num = {i, 0}};
        claim(tly_ormap_put(map, tly_slice_of(key, (size_t)n), &dot) == TLY_OK);
        claim(tly_ormap_log_size(map) == tly_ormap_count(map));
        if (i == keys * 3) bytes = tly_ormap_bytes(map);
    }
    claim(tly_ormap_bytes(map) < bytes + bytes / 10);
    claim(world_round(map, joiner, &rng) == tly_ormap_count(map));
    claim(tly_ormap_digest(map) == tly_ormap_digest(joiner));
    tly_ormap_check(map);
    tly_ormap_check(joiner);
    tly_ormap_free(map);
    tly_ormap_free(joiner);
    tly_registry_free(registry);
    claim(test_mem_live() == 0);
}

static void a_dot_taken_again_after_a_sweep_is_yielded_once(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    struct tly_ormap *map = world_map(&mem, registry, 1);
    struct tly_dot boundary = remove_of(3, 2), dot = put_of(5, 2, 1, 1);
    struct test_rng always = test_rng_of(0);
    size_t sweeps = 0;
    assert_int_equal(world_apply(map, world_key(1), &boundary), TLY_APPLIED);
    for (size_t i = 0; i < 500; i++) {
        assert_int_equal(world_apply(map, world_key(1), &dot), TLY_APPLIED);
        tly_ormap_check(map);
        assert_int_equal(claim_scan(map, 1, 0), 2);
        for (size_t cursor = 0, dropped = 0; dropped == 0; sweeps++)
            dropped = tly_ormap_sweep(map, &cursor, 100, is_gone, &always);
        tly_ormap_check(map);
        assert_int_equal(claim_scan(map, 1, 0), 1);
    }
    assert_true(sweeps >= 500);
    tly_ormap_free(map);
    tly_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_holds_what_a_list_holds_in_order),
        cmocka_unit_test(late_records_take_their_places),
        cmocka_unit_test(dots_of_one_ts_are_never_divided),
        cmocka_unit_test(records_in_order_take_little_more_than_four_bytes),
        cmocka_unit_test(a_log_without_memory_is_as_it_was),
        cmocka_unit_test(room_that_is_not_used_is_used_later),
        cmocka_unit_test(what_came_last_stands_at_the_end),
        cmocka_unit_test(a_scan_yields_exactly_the_live_dots_beyond_in_order),
        cmocka_unit_test(a_delta_then_join_equals_the_full_join),
        cmocka_unit_test(five_hundred_puts_of_one_key_are_one_dot_and_one_record),
        cmocka_unit_test(chunks_that_join_drop_no_live_dot),
        cmocka_unit_test(a_dot_taken_again_after_a_sweep_is_yielded_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
