/* The log alone against a plain list, then as the map keeps it: what a scan yields, what compaction keeps. */
#include "crdt/oplog.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS 400

/* ---- the log alone ---- */

/* Which records live: by ts, of which there are few, so that some stand twice. */
struct list {
    struct tly_record records[RECORDS];
    size_t count;
    size_t held[RECORDS]; /* by ts: dots of that version */
};

static bool is_live(const void *context, const struct tly_record *record, size_t nth)
{
    const struct list *list = context;
    return nth < list->held[record->ts];
}

static int by_ts(const void *a, const void *b)
{
    const struct tly_record *x = a, *y = b;
    return x->ts < y->ts ? -1 : x->ts > y->ts;
}

/* The live ones beyond every ts are those of the list, ascending. */
static void claim_log_equals(struct tly_oplog *log, struct list *list)
{
    qsort(list->records, list->count, sizeof list->records[0], by_ts);
    for (uint64_t after = 0; after < RECORDS; after += 37) {
        size_t at = tly_oplog_after(log, after), expected = 0, found = 0;
        claim(at == log->count || log->records[at].ts > after);
        claim(at == 0 || log->records[at - 1].ts <= after);
        for (uint64_t ts = after + 1; ts < RECORDS; ts++)
            expected += list->held[ts];
        for (size_t nth = 0; at < log->count; at++) {
            claim(at == 0 || log->records[at - 1].ts <= log->records[at].ts);
            nth = at > 0 && log->records[at - 1].ts == log->records[at].ts ? nth + 1 : 0;
            found += is_live(list, &log->records[at], nth);
        }
        claim(found == expected);
    }
}

static size_t walk(uint64_t seed, const struct tly_mem *mem, unsigned in_order_percent, size_t deaths_max)
{
    struct test_rng rng = test_rng_of(seed);
    struct tly_oplog log = {0};
    struct list list = {0};
    size_t live = 0, compactions = 0;
    for (uint64_t step = 1; step < RECORDS; step++) {
        uint64_t ts = test_rng_chance(&rng, in_order_percent) ? step : 1 + test_rng_below(&rng, RECORDS - 1);
        claim(tly_oplog_reserve(&log, mem));
        tly_oplog_append(&log, (struct tly_record){ts, (uint32_t)ts});
        list.records[list.count++] = (struct tly_record){ts, (uint32_t)ts};
        list.held[ts]++;
        live++;
        size_t before = log.count;
        for (size_t deaths = (size_t)test_rng_below(&rng, deaths_max + 1); deaths > 0 && live > 0; deaths--) {
            do
                ts = 1 + test_rng_below(&rng, RECORDS - 1);
            while (list.held[ts] == 0);
            list.held[ts]--;
            live--;
            tly_oplog_died(&log, is_live, &list);
        }
        compactions += log.count < before;
        claim(log.count - log.dead == live);
        claim(log.dead <= (live > 64 ? live : 64) + 1);
        if (test_rng_chance(&rng, 5)) claim_log_equals(&log, &list);
    }
    claim_log_equals(&log, &list);
    tly_oplog_fini(&log, mem);
    return compactions;
}

static void the_log_holds_what_a_list_holds_in_order(void **state)
{
    struct tly_mem mem = test_mem();
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 3000 : 300;
    size_t compactions = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++)
        compactions += walk(seed, &mem, seed % 4 == 0 ? 0 : 90, 1 + seed % 2);
    print_message("%zu compactions\n", compactions);
    claim(compactions > rounds);
    claim(test_mem_live() == 0);
}

static void an_empty_log_has_nothing_beyond(void **state)
{
    struct tly_oplog log = {0};
    struct tly_mem mem = test_mem();
    assert_int_equal(tly_oplog_after(&log, 0), 0);
    assert_int_equal(tly_oplog_after(&log, UINT64_MAX), 0);
    tly_oplog_fini(&log, &mem);
}

/* One late record, a few, many; each where it belongs. */
static void late_records_take_their_places(void **state)
{
    struct tly_mem mem = test_mem();
    static const size_t late_counts[] = {1, 2, 31, 32, 33, 34, 200};
    for (size_t l = 0; l < 7; l++)
        for (uint64_t first_late = 0; first_late <= 2000; first_late += 400) {
            struct tly_oplog log = {0};
            for (uint64_t i = 0; i < 1000 + late_counts[l]; i++) {
                uint64_t ts = i < 1000 ? i * 2 + 2 : first_late + 1 + (late_counts[l] - (i - 999)) * 2;
                assert_true(tly_oplog_reserve(&log, &mem));
                tly_oplog_append(&log, (struct tly_record){ts, 0});
            }
            size_t beyond = tly_oplog_after(&log, first_late + 1);
            assert_true(log.records[beyond - 1].ts == first_late + 1);
            for (size_t i = 1; i < log.count; i++)
                assert_true(log.records[i - 1].ts <= log.records[i].ts);
            assert_int_equal(log.ordered, log.count);
            tly_oplog_fini(&log, &mem);
        }
    assert_int_equal(test_mem_live(), 0);
}

static void every_small_order_of_records_is_sorted(void **state)
{
    struct tly_mem mem = test_mem();
    size_t order[] = {0, 1, 2, 3, 4, 5, 6}, orders = 0;
    do {
        struct tly_oplog log = {0};
        for (size_t i = 0; i < 7; i++) {
            assert_true(tly_oplog_reserve(&log, &mem));
            tly_oplog_append(&log, (struct tly_record){order[i] / 2 + 1, (uint32_t)(order[i] % 2)});
        }
        assert_int_equal(tly_oplog_after(&log, 2), 4);
        for (uint32_t i = 0; i < 7; i++) {
            assert_int_equal(log.records[i].ts, i / 2 + 1);
            assert_int_equal(log.records[i].entry, i % 2);
        }
        tly_oplog_fini(&log, &mem);
        orders++;
    } while (next_order(order, 7));
    assert_int_equal(orders, 5040);
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
static void five_hundred_puts_of_one_key_are_one_dot_and_few_dead_records(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    for (size_t key = 0; key < SAMPLE_STRATEGIES; key++) {
        struct tly_ormap *map = world_map(&mem, registry, 1);
        size_t live, dead, yielded = 0;
        struct tly_scanned row = {0};
        for (uint64_t i = 1; i <= 500; i++) {
            struct tly_dot dot = {.num = {key == 2 ? 0 : i, i}};
            if (key == 0) dot.num[1] = 0;
            assert_int_equal(tly_ormap_put(map, world_key(key), &dot), TLY_OK);
            tly_ormap_log_size(map, &live, &dead);
            assert_true(live == 1 && dead <= 65);
        }
        struct tly_scan scan = tly_scan_of(map, 0, 0);
        for (struct tly_scanned next; tly_scan_next(map, &scan, &next); yielded++)
            row = next;
        assert_true(yielded == 1 && row.dot.version.ts == 500 && row.dot.num[key == 2] == 500);
        tly_ormap_free(map);
    }
    tly_registry_free(registry);
    assert_int_equal(test_mem_live(), 0);
}

/* Laws L3, M1: Many keys, so that compaction has many live ones to keep: each is still there for a joiner. */
static void compaction_drops_no_live_dot(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    struct tly_ormap *map = world_map(&mem, registry, 1), *joiner = world_map(&mem, registry, 2);
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t keys = 3000, compactions = 0, live, dead, dead_before = 0;
    for (size_t i = 0; i < keys * 10; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "m:%zu", (size_t)test_rng_below(&rng, keys));
        struct tly_dot dot = {.num = {i, 0}};
        claim(tly_ormap_put(map, tly_slice_of(key, (size_t)n), &dot) == TLY_OK);
        tly_ormap_log_size(map, &live, &dead);
        claim(live == tly_ormap_count(map) && dead <= (live > 64 ? live : 64) + 1);
        compactions += dead < dead_before;
        dead_before = dead;
    }
    claim(compactions > 3);
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
        cmocka_unit_test(an_empty_log_has_nothing_beyond),
        cmocka_unit_test(late_records_take_their_places),
        cmocka_unit_test(every_small_order_of_records_is_sorted),
        cmocka_unit_test(a_scan_yields_exactly_the_live_dots_beyond_in_order),
        cmocka_unit_test(a_delta_then_join_equals_the_full_join),
        cmocka_unit_test(five_hundred_puts_of_one_key_are_one_dot_and_few_dead_records),
        cmocka_unit_test(compaction_drops_no_live_dot),
        cmocka_unit_test(a_dot_taken_again_after_a_sweep_is_yielded_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
