/*
 * The map is the join of every dot it was given: all small histories of dots from elsewhere, and random ones.  A history is
 * a sequence of dots, so every order and every repetition is one of its own; how it is cut into batches, and what becomes of the
 * map between them, are the ways below.
 */
#include "tests/crdt/law.h"
#include "tests/crdt/rules.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#define WINDOW 1000
#define CALENDAR ((UINT64_C(1) << 63) + 3)
#define LENGTH_MAX 24
#define ORIGINS 3
/* Later than every other dot but those at the end of time. */
#define CHURNED (UINT64_C(1) << 40)

static struct tly_mem mem;
static struct tly_registry *registry;

static int begin(void **state)
{
    struct tly_mem kept = test_mem();
    mem = law_mem();
    registry = world_registry(&kept);
    return 0;
}

static int end(void **state)
{
    tly_registry_free(registry);
    claim(test_mem_live() == 0 && law_mem_live() == 0);
    return 0;
}

/* A history: dots of the keys of one strategy, in the order of arrival. */
struct history {
    size_t strategy;
    size_t key[LENGTH_MAX];
    struct tly_dot dot[LENGTH_MAX];
    size_t length;
};

/* ---- what it must be ---- */

static void claim_key_is_fold(const struct history *history, struct tly_ormap *map, size_t key)
{
    static const struct tly_moment moments[] = {{.now_ms = 999},
                                                {.now_ms = 1000},
                                                {.window = WINDOW, .epoch = 1},
                                                {.window = WINDOW, .epoch = UINT64_MAX},
                                                {.window = CALENDAR, .epoch = 2}};
    struct tly_dot dots[LENGTH_MAX];
    size_t n = 0, count;
    for (size_t i = 0; i < history->length; i++)
        if (history->key[i] == key) dots[n++] = history->dot[i];
    n = rule_fold(world_strategy(key), dots, n);
    const struct tly_dot *held = world_dots(map, world_key(key), &count);
    if (!dots_equal(dots, n, held, count)) {
        dots_print("the history:", history->dot, history->length);
        dots_print("its fold:", dots, n);
        dots_print("the map's dots:", held, count);
        claim(dots_equal(dots, n, held, count));
    }
    for (size_t i = 0; n > 0 && i < sizeof moments / sizeof moments[0]; i++) {
        struct tly_value value = world_read(map, world_key(key), moments[i]),
                         expected = rule_read(world_strategy(key), dots, n, &moments[i]);
        claim(values_equal(&value, &expected));
    }
}

static void claim_is_fold(const struct history *history, struct tly_ormap *map)
{
    for (size_t key = history->strategy; key < SAMPLE_STRATEGIES * WORLD_KEYS; key += SAMPLE_STRATEGIES)
        claim_key_is_fold(history, map, key);
    log_claim_complete(map);
    tly_ormap_check(map);
}

static void apply_part(const struct history *history, struct tly_ormap *map, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        (void)world_apply(map, world_key(history->key[i]), &history->dot[i]);
}

static void claim_nothing_new(const struct history *history, struct tly_ormap *map)
{
    uint64_t digest = tly_ormap_digest(map);
    for (size_t i = 0; i < history->length; i++)
        claim(world_apply(map, world_key(history->key[i]), &history->dot[i]) != TLY_APPLIED);
    claim(tly_ormap_digest(map) == digest);
}

/* ---- ways to run one; bit i of cuts: a batch ends after dot i ---- */

static size_t batch_end(const struct history *history, size_t from, unsigned cuts)
{
    while (from + 1 < history->length && !(cuts >> from & 1))
        from++;
    return from + 1;
}

/* Each batch is joined by a relay first, which hands on what stands there. */
static void run_relayed(const struct history *history, unsigned cuts)
{
    struct tly_ormap *map = world_map(&mem, registry, 9);
    for (size_t from = 0, to; from < history->length; from = to) {
        to = batch_end(history, from, cuts);
        struct tly_ormap *relay = world_map(&mem, registry, 0);
        apply_part(history, relay, from, to);
        (void)world_round(relay, map, NULL);
        tly_ormap_free(relay);
    }
    claim(tly_ormap_seal(map) == TLY_OK);
    claim_is_fold(history, map);
    tly_ormap_free(map);
}

/* Between batches the map is left for one that was given its live dots only, and so it is in the end. */
static void run_copied(const struct history *history, unsigned cuts)
{
    struct tly_ormap *map = world_map(&mem, registry, 0);
    for (size_t from = 0, to; from < history->length; from = to) {
        to = batch_end(history, from, cuts);
        apply_part(history, map, from, to);
        struct tly_ormap *copy = world_copy(&mem, registry, map, 0, NULL);
        tly_ormap_free(map);
        map = copy;
    }
    claim_is_fold(history, map);
    claim_nothing_new(history, map);
    tly_ormap_free(map);
}

/* More than a chunk of the log takes. */
#define FILLERS 140

/*
 * So many dots of one origin come elsewhere, the newest first, that the chunks of its log are divided around what the history
 * wrote; as they take the places of those that came before, the chunks of those are joined again.
 */
static void churn(struct tly_ormap *map, size_t strategy, uint64_t ts, uint64_t origin)
{
    for (size_t i = 0; i < FILLERS; i++) {
        char key[] = {"lmse"[strategy], ':', 'f', 'i', 'l', 'l', (char)('0' + i)};
        struct tly_dot remove = remove_of(ts + FILLERS - i, origin);
        claim(world_apply(map, tly_slice_of(key, sizeof key), &remove) == TLY_APPLIED);
    }
}

static bool is_filler(struct tly_slice key)
{
    return key.n > 3;
}

static void claim_a_record_each(struct tly_ormap *map)
{
    size_t dots = 0, count, cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL; dots += count)
        (void)tly_entry_dots(map, entry, &count);
    claim(tly_ormap_log_size(map) == dots);
}

static void run_churned(const struct history *history)
{
    struct tly_ormap *map = world_map(&mem, registry, 0), *other = world_map(&mem, registry, 0);
    for (size_t i = 0; i < history->length; i++) {
        apply_part(history, map, i, i + 1);
        churn(map, history->strategy, CHURNED + i * 1000, history->dot[i].version.origin);
        claim_a_record_each(map);
    }
    for (size_t i = 0; i < tly_ormap_lives(map); i++) {
        struct tly_scan scan = tly_scan_of(map, i, 0);
        for (struct tly_scanned row; tly_scan_next(map, &scan, &row);)
            if (!is_filler(row.key)) claim(world_apply(other, row.key, &row.dot) == TLY_APPLIED);
    }
    for (size_t key = history->strategy; key < SAMPLE_STRATEGIES * WORLD_KEYS; key += SAMPLE_STRATEGIES)
        claim_key_is_fold(history, map, key);
    claim_is_fold(history, other);
    tly_ormap_free(map);
    tly_ormap_free(other);
}

/* A peer hears of each dot from its origin and knows then all up to it; at each cut it brings the map up by a round. */
static void run_marked(const struct history *history, unsigned cuts)
{
    struct tly_ormap *peer = world_map(&mem, registry, 0), *map = world_map(&mem, registry, 0);
    struct twin twin = {0};
    for (size_t from = 0, to; from < history->length; from = to) {
        to = batch_end(history, from, cuts);
        for (size_t i = from; i < to; i++) {
            apply_part(history, peer, i, i + 1);
            struct tly_version version = history->dot[i].version;
            claim(tly_ormap_raise_mark(peer, version.origin, version.ts) == TLY_OK);
            twin_learn(&twin, history->key[i], &history->dot[i]);
        }
        (void)world_round(peer, map, NULL);
        twin_claim_marks(&twin, map);
        claim(tly_ormap_digest(map) == tly_ormap_digest(peer));
        claim(world_round(peer, map, NULL) == 0);
    }
    claim_is_fold(history, map);
    claim_nothing_new(history, map);
    twin_free(&twin);
    tly_ormap_free(peer);
    tly_ormap_free(map);
}

/* ---- all small histories ---- */

/* Two values of a strategy; several pairs for those whose payloads differ in more ways than one. */
struct pair {
    bool usual; /* stands for the others where all of them would take too long */
    size_t strategy;
    const char *text[2];
    uint64_t num[2][TLY_NUMS_MAX];
};

#define MIN64 ((uint64_t)INT64_MIN)
#define MAX64 ((uint64_t)INT64_MAX)

static const struct pair pairs[] = {
    {.usual = true, .strategy = 0, .text = {"a", "b"}},
    {.strategy = 0, .text = {"", ""}, .num = {{0}, {1000}}},
    {.usual = true, .strategy = 1, .num = {{1, 5}, {1, 6}}},
    {.strategy = 1, .num = {{0, 100}, {UINT64_MAX, MIN64}}},
    {.strategy = 1, .num = {{0, UINT64_MAX}, {0, 0}}}, /* -1 and 0 */
    {.usual = true, .strategy = 2, .num = {{0, 0, 3, 0}, {0, 1, 5, 7}}},
    {.strategy = 2, .num = {{0, 1, MAX64, 0}, {0, 1, 1, 1000}}},
    {.strategy = 2, .num = {{0, 0, MIN64, MAX64}, {0, UINT64_MAX, MAX64, MIN64}}},
    {.strategy = 2, .num = {{WINDOW, 1, 3, 1}, {WINDOW, 1, 2, 9}}},
    {.strategy = 2, .num = {{WINDOW, 1, 3, UINT64_MAX}, {WINDOW, 1, 3, 0}}},
    {.usual = true, .strategy = 2, .num = {{WINDOW, 1, 3, 1}, {WINDOW, 2, 2, 3}}},
    {.strategy = 2, .num = {{WINDOW, 0, MIN64, MAX64}, {WINDOW, UINT64_MAX, MAX64, MIN64}}},
    {.strategy = 2, .num = {{WINDOW, 1, 3, 1}, {CALENDAR, 1, 2, 9}}},
    {.strategy = 2, .num = {{WINDOW, 1, 3, 1}, {0, 1, 2, 9}}},
    {.usual = true, .strategy = 3, .num = {{WINDOW, 1, 7, 3}, {WINDOW, 2, 7, 1}}},
    {.strategy = 3, .num = {{WINDOW, 1, 7, 3}, {WINDOW, 1, 7, 5}}},
    {.strategy = 3, .num = {{WINDOW, 1, 7, 3}, {WINDOW, 1, 0, 5}}},
    {.strategy = 3, .num = {{0, 1, 7, 0xffffffff}, {UINT64_MAX, 1, 0, 0xffffffff}}},
    {.strategy = 3, .num = {{UINT64_MAX - 1, 0, 7, 0}, {UINT64_MAX - 1, 0, 8, 0}}},
};

#define PAIRS (sizeof pairs / sizeof pairs[0])

static struct tly_dot dot_of(const struct pair *pair, size_t what, uint64_t ts, uint64_t origin)
{
    struct tly_dot dot = remove_of(ts, origin);
    if (what == 2) return dot;
    dot.op = TLY_PUT;
    memcpy(dot.num, pair->num[what], sizeof dot.num);
    if (pair->text[what] != NULL) dot.bytes = tly_slice_text(pair->text[what]);
    return dot;
}

/* What is enumerated: sequences of `length` dots of `origins` lives on `keys` keys. */
struct space {
    const struct pair *pair;
    size_t length, keys;
    uint64_t origins;
    bool usual;  /* of histories of four only those of usual values */
    bool honest; /* each origin's dots come in the order of their versions, which are its own */
    void (*run)(const struct history *history, size_t *count);
};

/* Of times, and of lives, only the order matters: they are 1 to k without a gap. */
static bool has_no_gap(const struct history *history, size_t word)
{
    unsigned used = 0;
    for (size_t i = 0; i < history->length; i++)
        used |= 1u << (word == 0 ? history->dot[i].version.ts : history->dot[i].version.origin);
    return ((used >> 1) & ((used >> 1) + 1)) == 0;
}

static bool is_honest(const struct history *history)
{
    for (size_t i = 0; i < history->length; i++)
        for (size_t j = 0; j < i; j++)
            if (history->dot[j].version.origin == history->dot[i].version.origin &&
                history->dot[j].version.ts >= history->dot[i].version.ts)
                return false;
    return true;
}

static size_t power(size_t base, size_t exponent)
{
    return exponent == 0 ? 1 : base * power(base, exponent - 1);
}

static struct history history_number(const struct space *space, size_t number)
{
    size_t lives = (size_t)space->origins, kinds = 3 * lives * space->keys;
    struct history history = {.strategy = space->pair->strategy, .length = space->length};
    for (size_t i = 0; i < space->length; i++, number /= kinds * space->length) {
        size_t kind = number % kinds, time = number / kinds % space->length;
        history.dot[i] = dot_of(space->pair, kind % 3, 1 + time, 1 + kind / 3 % lives);
        history.key[i] = space->pair->strategy + SAMPLE_STRATEGIES * (kind / 3 / lives);
    }
    return history;
}

static size_t run_space(const struct space *space)
{
    size_t kinds = 3 * (size_t)space->origins * space->keys, count = 0;
    for (size_t number = 0; number < power(kinds * space->length, space->length); number++) {
        struct history history = history_number(space, number);
        if (!has_no_gap(&history, 0) || !has_no_gap(&history, 1)) continue;
        if (!space->honest || is_honest(&history)) space->run(&history, &count);
    }
    return count;
}

/* Runs the space for every pair and every length, and says how much that was. */
static void run_spaces(const char *laws, struct space space, size_t length_max)
{
    size_t count[SAMPLE_STRATEGIES] = {0};
    for (size_t pair = 0; pair < PAIRS; pair++)
        for (size_t length = 1; length <= length_max; length++) {
            if (length > 3 && space.usual && !pairs[pair].usual) continue;
            space.pair = &pairs[pair];
            space.length = length;
            count[pairs[pair].strategy] += run_space(&space);
        }
    for (size_t i = 0; i < SAMPLE_STRATEGIES; i++)
        law_covered(laws, tly_strategy_at(i)->name, 0, count[i]);
}

/* How many ways there are to cut a history in pieces, in its order. */
static unsigned ways_to_cut(const struct history *history)
{
    assert_true(history->length > 0);
    return 1u << (history->length - 1) % 32;
}

static void relayed_in_every_way(const struct history *history, size_t *count)
{
    for (unsigned cuts = 0; cuts < ways_to_cut(history); cuts++, ++*count)
        run_relayed(history, cuts);
}

static void copied_in_every_way(const struct history *history, size_t *count)
{
    for (unsigned cuts = 0; cuts < ways_to_cut(history); cuts++, ++*count)
        run_copied(history, cuts);
}

static void marked_in_every_way(const struct history *history, size_t *count)
{
    for (unsigned cuts = 0; cuts < ways_to_cut(history); cuts++, ++*count)
        run_marked(history, cuts);
}

static void churned(const struct history *history, size_t *count)
{
    run_churned(history);
    ++*count;
}

/* Laws L2, L1: every order, repetition and split into batches. */
static void every_small_history_is_its_join(void **state)
{
    run_spaces("L1 L2", (struct space){.keys = 1, .origins = ORIGINS, .run = relayed_in_every_way},
               law_is_full() ? 4 : 3);
}

/* Laws L3, L4: whenever only the live dots went on, the rest changes nothing, and nothing that fell comes back. */
static void every_small_history_survives_snapshots(void **state)
{
    run_spaces("L3 L4",
               (struct space){.keys = 1, .origins = ORIGINS, .usual = true, .run = copied_in_every_way},
               law_is_full() ? 4 : 3);
}

/* Laws L2, L3: two keys share the log of a life. */
static void every_small_history_of_two_keys_is_its_join(void **state)
{
    run_spaces("L2", (struct space){.keys = 2, .origins = 2, .run = relayed_in_every_way},
               law_is_full() ? 3 : 2);
    run_spaces("L3 L4", (struct space){.keys = 2, .origins = 2, .run = copied_in_every_way},
               law_is_full() ? 3 : 2);
}

/* Laws L3, M1: what is dead takes its record along, what is live never loses it. */
static void every_small_history_survives_churn(void **state)
{
    run_spaces("L3 M1", (struct space){.keys = 1, .origins = ORIGINS, .run = churned}, law_is_full() ? 3 : 2);
}

/* Laws L5, L6: brought up by a round it is what the sender is, and its marks are true. */
static void every_small_history_goes_on_by_rounds(void **state)
{
    run_spaces("L5 L6",
               (struct space){
                   .keys = 1, .origins = ORIGINS, .usual = true, .honest = true, .run = marked_in_every_way},
               law_is_full() ? 4 : 3);
}

/* ---- random histories ---- */

static struct history random_history(struct test_rng *rng, size_t strategy)
{
    struct history history = {.strategy = strategy, .length = 1 + (size_t)test_rng_below(rng, 14)};
    if (test_rng_chance(rng, 5)) history.length = LENGTH_MAX;
    for (size_t i = 0; i < history.length; i++) {
        bool again = i > 0 && test_rng_chance(rng, 10);
        size_t from = again ? (size_t)test_rng_below(rng, i) : i;
        if (!again) history.dot[i] = sample_dot(rng, tly_strategy_at(strategy));
        if (!again) history.key[i] = strategy + SAMPLE_STRATEGIES * (size_t)test_rng_below(rng, WORLD_KEYS);
        history.dot[i] = history.dot[from];
        history.key[i] = history.key[from];
    }
    return history;
}

static void run_random(size_t strategy)
{
    uint64_t first = test_seed_first(), rounds = law_rounds(5000);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct history history = random_history(&rng, strategy);
        unsigned cuts = (unsigned)test_rng_next(&rng);
        run_relayed(&history, cuts);
        run_copied(&history, cuts & (unsigned)test_rng_next(&rng));
        if (test_rng_chance(&rng, 1)) run_churned(&history);
    }
    law_covered("L1 L2 L3 L4", tly_strategy_at(strategy)->name, first, (size_t)rounds);
}

/* Laws L1, L2, L3, L4 */
static void random_histories_of_lww_are_their_joins(void **state)
{
    run_random(0);
}

/* Laws L1, L2, L3, L4 */
static void random_histories_of_epoch_max_are_their_joins(void **state)
{
    run_random(1);
}

/* Laws L1, L2, L3, L4 */
static void random_histories_of_epoch_sum_are_their_joins(void **state)
{
    run_random(2);
}

/* Laws L1, L2, L3, L4 */
static void random_histories_of_escrow_are_their_joins(void **state)
{
    run_random(3);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(every_small_history_is_its_join),
        scene(every_small_history_survives_snapshots),
        scene(every_small_history_of_two_keys_is_its_join),
        scene(every_small_history_survives_churn),
        scene(every_small_history_goes_on_by_rounds),
        scene(random_histories_of_lww_are_their_joins),
        scene(random_histories_of_epoch_max_are_their_joins),
        scene(random_histories_of_epoch_sum_are_their_joins),
        scene(random_histories_of_escrow_are_their_joins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
