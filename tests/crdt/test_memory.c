/*
 * Memory may end at any allocation.  A story of every operation is told again and again, and each time the next allocation
 * fails: the operation says so, nothing has changed, the same operation then succeeds, and not a byte is left at the end.
 */
#include "crdt/counter.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <string.h>

struct story {
    struct tly_mem mem;
    struct tly_registry *registry;
    struct tly_ormap *map;
};

/* ---- what must be as before ---- */

struct reading {
    size_t keys;
    uint64_t digest; /* of every read of every key */
};

static uint64_t mixed(uint64_t digest, uint64_t word)
{
    return (digest ^ word) * UINT64_C(0x9e3779b97f4a7c15) + (digest >> 29);
}

static uint64_t digest_of(uint64_t digest, const struct tly_value *value)
{
    digest = mixed(mixed(digest, value->present), value->epoch);
    digest = mixed(mixed(digest, (uint64_t)value->count), (uint64_t)value->previous);
    digest = mixed(digest, value->deadline_ms);
    for (size_t i = 0; i < value->bytes.n; i++)
        digest = mixed(digest, value->bytes.p[i]);
    return digest;
}

static struct reading reading_of(const struct story *story)
{
    static const struct tly_moment moments[] = {{.now_ms = 10}, {.window = 1000, .epoch = 5}};
    struct reading reading = {0};
    if (story->map == NULL) return reading;
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(story->map, &cursor)) != NULL;)
        for (size_t i = 0; i < 2; i++) {
            struct tly_value value;
            tly_entry_read(story->map, entry, &moments[i], &value);
            reading.digest += digest_of(tly_entry_key(entry).n, &value);
        }
    reading.keys = tly_ormap_count(story->map);
    return reading;
}

/* The whole state; sealing alone may be half done. */
static uint64_t state_of(const struct story *story)
{
    if (story->map == NULL) return 0;
    uint64_t digest = mixed(tly_ormap_digest(story->map), tly_ormap_log_size(story->map));
    digest = mixed(mixed(digest, tly_ormap_clock(story->map)->last), tly_ormap_origin(story->map));
    return mixed(digest, tly_ormap_mark(story->map, tly_ormap_origin(story->map)));
}

/* ---- the operations ---- */

static enum tly_result make_registry(struct story *story, size_t i)
{
    static const char *const prefixes[] = {"l:", "m:", "s:"};
    if (i == 0) {
        story->registry = tly_registry_new(&story->mem);
        return story->registry != NULL ? TLY_OK : TLY_NOMEM;
    }
    struct tly_registry *next;
    enum tly_result result =
        tly_registry_with(story->registry, tly_slice_text(prefixes[i - 1]), tly_strategy_at(i - 1), &next);
    if (result != TLY_OK) return result;
    tly_registry_free(story->registry);
    story->registry = next;
    return TLY_OK;
}

static enum tly_result make_map(struct story *story, size_t i)
{
    story->map = world_map(&story->mem, story->registry, 0);
    return story->map != NULL ? TLY_OK : TLY_NOMEM;
}

static enum tly_result begin_life(struct story *story, size_t i)
{
    return tly_ormap_begin_life(story->map, 1 + i);
}

static struct tly_slice name(char text[32], char prefix, size_t i)
{
    return tly_slice_of(text, (size_t)snprintf(text, 32, "%c:a name %zu", prefix, i));
}

static enum tly_result put(struct story *story, size_t i)
{
    char text[32];
    struct tly_dot texts = {.bytes = tly_slice_text("some bytes")}, max = {.num = {100 - i}};
    if (i % 2 == 0) return tly_ormap_put(story->map, name(text, 'l', i), &texts);
    return tly_ormap_put(story->map, name(text, 'm', i % 3), &max);
}

static enum tly_result apply(struct story *story, size_t i)
{
    char text[32];
    bool remove = i % 5 == 4;
    struct tly_dot dot = {.version = {1000 + i, 9 + i % 6}, .op = remove ? TLY_REMOVE : TLY_PUT};
    if (!remove) dot.num[1] = i;
    enum tly_outcome outcome;
    enum tly_result result =
        tly_ormap_apply(story->map, name(text, i % 3 ? 's' : 'm', i % 4), &dot, &outcome);
    if (result == TLY_OK)
        claim(outcome == TLY_APPLIED || outcome == TLY_DOMINATED || outcome == TLY_DUPLICATE);
    return result;
}

static enum tly_result hit(struct story *story, size_t i)
{
    char text[32];
    struct tly_entry *entry;
    struct tly_hit hit = {.window = i % 3 == 2 ? 7 : 1000, .epoch = 5, .units = 1};
    enum tly_result result = tly_ormap_need(story->map, name(text, 's', i % 8), &entry);
    if (result != TLY_OK) return result;
    if (i % 4 == 3) result = tly_entry_need_local(story->map, &entry);
    if (result == TLY_OK) result = tly_ormap_hit(story->map, &entry, &hit);
    if (result != TLY_OK) tly_ormap_tidy(story->map, entry);
    return result;
}

static enum tly_result seal(struct story *story, size_t i)
{
    return tly_ormap_seal(story->map);
}

static enum tly_result count(struct story *story, size_t i)
{
    char text[32];
    int64_t value;
    struct tly_slice key = name(text, 's', 20 + i / 4);
    switch (i % 4) {
    case 0: return tly_counter_add(story->map, key, 3, 10, &value);
    case 1: return tly_counter_expire(story->map, key, 50, 10);
    case 2: return tly_counter_set(story->map, key, 7, 0);
    default: return tly_counter_add(story->map, key, 1, 10, &value);
    }
}

static enum tly_result remove_some(struct story *story, size_t i)
{
    char text[32];
    return tly_ormap_remove(story->map, name(text, "lms"[i % 3], i % 3 == 2 ? 20 : 0));
}

static enum tly_result raise_mark(struct story *story, size_t i)
{
    return tly_ormap_raise_mark(story->map, 100 + i, i);
}

static bool is_text(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                    const struct tly_dot *put)
{
    return strategy->id == TLY_LWW;
}

static enum tly_result sweep(struct story *story, size_t i)
{
    size_t cursor = 0;
    claim(tly_ormap_sweep(story->map, &cursor, 1000, is_text, NULL) > 0);
    return TLY_OK;
}

/* ---- the story ---- */

static const struct {
    enum tly_result (*operation)(struct story *story, size_t i);
    size_t times;
    bool seals;
} chapters[] = {
    {make_registry, 4, false}, {make_map, 1, false}, {begin_life, 1, false},  {put, 24, false},
    {apply, 40, false},        {hit, 16, false},     {count, 12, false},      {seal, 1, true},
    {hit, 16, false},          {apply, 60, false},   {seal, 1, true},         {hit, 3, false},
    {begin_life, 2, true},     {hit, 6, false},      {remove_some, 3, false}, {raise_mark, 9, false},
    {sweep, 1, false},         {put, 24, false},     {seal, 1, true},
};

static bool tell_operation(struct story *story, size_t chapter, size_t i)
{
    struct reading before = reading_of(story);
    uint64_t state = state_of(story);
    enum tly_result result = chapters[chapter].operation(story, i);
    if (story->map != NULL) tly_ormap_check(story->map);
    if (result == TLY_OK) return false;
    claim(result == TLY_NOMEM);
    struct reading after = reading_of(story);
    claim(before.keys == after.keys && before.digest == after.digest);
    claim(chapters[chapter].seals || state == state_of(story));
    claim(chapters[chapter].operation(story, i) == TLY_OK);
    return true;
}

/* How many operations said that there was no memory. */
static size_t tell(const struct tly_mem *mem, uint64_t *state)
{
    struct story story = {.mem = *mem};
    size_t refusals = 0;
    for (size_t chapter = 0; chapter < sizeof chapters / sizeof chapters[0]; chapter++)
        for (size_t i = 0; i < chapters[chapter].times; i++)
            refusals += tell_operation(&story, chapter, i);
    *state = tly_ormap_digest(story.map);
    tly_ormap_free(story.map);
    tly_registry_free(story.registry);
    return refusals;
}

static void every_allocation_may_fail_once(void **state)
{
    struct tly_mem plain = test_mem();
    uint64_t expected, reached;
    claim(tell(&plain, &expected) == 0);
    claim(test_mem_live() == 0);
    size_t faults = 0;
    for (;; faults++) {
        struct test_failing failing = {.countdown = faults};
        struct tly_mem mem = test_failing_mem(&failing);
        size_t refusals = tell(&mem, &reached);
        claim(test_mem_live() == 0);
        claim(refusals == failing.failed);
        claim(reached == expected);
        if (!failing.failed) break;
    }
    print_message("%zu allocations failed, one by one\n", faults);
    claim(faults > 60);
}

static void an_array_that_would_not_fit_in_memory_is_refused(void **state)
{
    struct tly_mem mem = test_mem();
    size_t capacity = 4, live = test_mem_live();
    void *items = tly_mem_new(&mem, 4 * sizeof(uint64_t));
    assert_null(tly_mem_reserve(&mem, items, &capacity, SIZE_MAX, sizeof(uint64_t)));
    assert_null(tly_mem_reserve(&mem, items, &capacity, SIZE_MAX / 4, sizeof(uint64_t)));
    assert_int_equal(capacity, 4);
    assert_ptr_equal(tly_mem_reserve(&mem, items, &capacity, 4, sizeof(uint64_t)), items);
    items = tly_mem_reserve(&mem, items, &capacity, 5, sizeof(uint64_t));
    assert_non_null(items);
    assert_int_equal(capacity, 8);
    tly_mem_free(&mem, items, capacity * sizeof(uint64_t));
    assert_int_equal(test_mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail_once),
        cmocka_unit_test(an_array_that_would_not_fit_in_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
