/*
 * Rights: whoever knows however little of what the others did never holds what another holds too.  Lives that each know their own
 * dots and any part of the others' give stretches of the line and units of windows, and use them up.
 */
#include "crdt/epoch_sum.h"
#include "crdt/escrow.h"
#include "tests/crdt/law.h"
#include "tests/crdt/sample.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>
#include <string.h>

#define LIVES 3
#define FACTS_MAX 64
#define WINDOW UINT64_C(1000)
#define LIMIT UINT64_C(7)
#define EPOCHS 3

struct view {
    struct tly_dot dot[FACTS_MAX];
    size_t count;
};

/* Everything that was ever said, and what each life knows of it. */
struct scene {
    struct tly_dot said[FACTS_MAX];
    size_t count;
    bool knows[LIVES][FACTS_MAX];
    uint64_t now_ms[LIVES]; /* each has its own clock, which never goes back */
    uint64_t last_ts[LIVES];
    uint64_t spent[LIVES][EPOCHS];
    size_t gifts, moves, spendings;
    size_t changes;
};

static uint64_t life_of(size_t i)
{
    return i + 1;
}

static struct view view_of(const struct scene *scene, size_t life)
{
    struct view view = {.count = 0};
    for (size_t i = 0; i < scene->count; i++)
        if (scene->knows[life][i]) view.dot[view.count++] = scene->said[i];
    view.count = tly_join(tly_escrow(), view.dot, view.count);
    return view;
}

/* Said with a version above all that its life knows. */
static void say(struct scene *scene, size_t life, uint64_t window, uint64_t epoch, uint64_t peer,
                uint64_t units)
{
    uint64_t ts = scene->last_ts[life] + 1;
    claim(scene->count < FACTS_MAX);
    struct tly_dot dot = {{ts, life_of(life)}, TLY_PUT, {window, epoch, peer, units}, {0}};
    claim(tly_dot_check(tly_escrow(), &dot) == TLY_OK);
    scene->last_ts[life] = ts;
    scene->changes++;
    scene->said[scene->count] = dot;
    scene->knows[life][scene->count++] = true;
}

static void hear(struct scene *scene, size_t life, size_t fact)
{
    scene->changes += !scene->knows[life][fact];
    scene->knows[life][fact] = true;
    if (scene->said[fact].version.ts > scene->last_ts[life])
        scene->last_ts[life] = scene->said[fact].version.ts;
}

static struct scene founded(void)
{
    struct scene scene = {.count = 0};
    for (size_t i = 0; i < LIVES; i++)
        scene.now_ms[i] = 100;
    say(&scene, 0, TLY_RIGHTS_TAKEN, 0, 0, tly_stretch_pack((struct tly_stretch){0, TLY_LINE_END}));
    return scene;
}

static struct tly_piece pieces[TLY_LINE_PIECES_MAX];

static uint64_t share_of(const struct view *view, uint64_t life, uint64_t start_ms, uint64_t limit)
{
    uint64_t share = 0;
    size_t n = tly_line_read(view->dot, view->count, start_ms, pieces);
    for (size_t i = 0; i < n; i++)
        if (pieces[i].life == life) share += tly_stretch_units(pieces[i].stretch, limit);
    return share;
}

/* What it may still spend of that epoch, as it knows. */
static uint64_t left_of(const struct scene *scene, size_t life, uint64_t epoch)
{
    struct view view = view_of(scene, life);
    struct tly_moment at = {.window = WINDOW, .epoch = epoch};
    struct tly_moved moved = tly_rights_moved(view.dot, view.count, &at, life_of(life));
    uint64_t has = share_of(&view, life_of(life), epoch * WINDOW, LIMIT) + moved.in;
    uint64_t gone = moved.out + scene->spent[life][epoch];
    return has > gone ? has - gone : 0;
}

/* Gives the next life a part of the last piece that it holds, for windows that it has not begun. */
static void give_stretch(struct scene *scene, size_t life, size_t to, unsigned part)
{
    struct view view = view_of(scene, life);
    size_t n = tly_line_read(view.dot, view.count, UINT64_MAX, pieces);
    while (n > 0 && pieces[n - 1].life != life_of(life))
        n--;
    if (n == 0) return;
    struct tly_stretch stretch = pieces[n - 1].stretch;
    uint64_t from = scene->now_ms[life] + 1;
    if (pieces[n - 1].since_ms > from) from = pieces[n - 1].since_ms;
    if (part == 1) stretch.begin += (stretch.end - stretch.begin) / 2;
    if (part == 2) stretch.end -= (stretch.end - stretch.begin) / 3;
    if (stretch.begin >= stretch.end) return;
    say(scene, life, TLY_RIGHTS_STANDING, from, life_of(to), tly_stretch_pack(stretch));
    scene->gifts++;
}

static void move_units(struct scene *scene, size_t life, size_t to, uint64_t units)
{
    uint64_t epoch = scene->now_ms[life] / WINDOW;
    if (epoch >= EPOCHS || left_of(scene, life, epoch) < units) return;
    struct view view = view_of(scene, life);
    struct tly_moment at = {.window = WINDOW, .epoch = epoch};
    uint64_t before = tly_rights_given(view.dot, view.count, &at, life_of(life), life_of(to));
    say(scene, life, WINDOW, epoch, life_of(to), before + units);
    scene->moves++;
}

static void spend(struct scene *scene, size_t life, uint64_t units)
{
    uint64_t epoch = scene->now_ms[life] / WINDOW;
    if (epoch >= EPOCHS || left_of(scene, life, epoch) < units) return;
    scene->spent[life][epoch] += units;
    scene->spendings++;
    scene->changes++;
}

/* Laws EC5, EC6: in no window is more held, moved or spent than there is, whatever each life knows. */
static void claim_safe(const struct scene *scene)
{
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        uint64_t shares = 0, spent = 0;
        for (size_t i = 0; i < LIVES; i++) {
            struct view view = view_of(scene, i);
            shares += share_of(&view, life_of(i), epoch * WINDOW, LIMIT);
            spent += scene->spent[i][epoch] + left_of(scene, i, epoch);
        }
        claim(shares <= LIMIT);
        claim(spent <= LIMIT);
    }
}

static void go_on(struct scene *scene, size_t life)
{
    scene->now_ms[life] += 700;
    scene->changes++;
}

/* One of everything that can happen next; false: there is no such thing. */
static bool happens(struct scene *scene, size_t what)
{
    size_t life = what % LIVES, kind = what / LIVES;
    if (kind < 2)
        give_stretch(scene, life, (life + 1) % LIVES, (unsigned)kind);
    else if (kind == 2)
        move_units(scene, life, (life + 1) % LIVES, 1);
    else if (kind == 3)
        spend(scene, life, 2);
    else if (kind == 4)
        go_on(scene, life);
    else if (kind < 5 + FACTS_MAX && kind - 5 < scene->count)
        hear(scene, life, kind - 5);
    else
        return false;
    return true;
}

static size_t all_from(const struct scene *scene, size_t depth)
{
    size_t cases = 1;
    claim_safe(scene);
    if (depth == 0) return cases;
    for (size_t what = 0;; what++) {
        struct scene next = *scene;
        if (!happens(&next, what)) break;
        if (next.changes == scene->changes) continue; /* it could not happen, or changes nothing */
        cases += all_from(&next, depth - 1);
    }
    return cases;
}

/* Laws EC5, EC6: every history of a few steps, from the first holder on. */
static void no_small_history_makes_two_hold_the_same(void **state)
{
    struct scene scene = founded();
    size_t cases = all_from(&scene, law_is_full() ? 7 : 5);
    claim(cases > 1000);
    law_covered("EC5 EC6", "escrow", 0, cases);
}

/* Laws EC5, EC6 */
static void no_random_history_makes_two_hold_the_same(void **state)
{
    uint64_t first = test_seed_first(), rounds = law_rounds(3000);
    size_t gifts = 0, moves = 0, spendings = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct scene scene = founded();
        for (size_t step = 0; step < 60; step++) {
            size_t life = (size_t)test_rng_below(&rng, LIVES), to = (size_t)test_rng_below(&rng, LIVES);
            switch (test_rng_below(&rng, 6)) {
            case 0:
                if (to != life) give_stretch(&scene, life, to, (unsigned)test_rng_below(&rng, 3));
                break;
            case 1:
                if (to != life) move_units(&scene, life, to, 1 + test_rng_below(&rng, 3));
                break;
            case 2: spend(&scene, life, 1 + test_rng_below(&rng, 3)); break;
            case 3: scene.now_ms[life] += test_rng_below(&rng, 500); break;
            default: hear(&scene, life, (size_t)test_rng_below(&rng, scene.count)); break;
            }
        }
        claim_safe(&scene);
        gifts += scene.gifts;
        moves += scene.moves;
        spendings += scene.spendings;
    }
    claim(gifts > rounds && moves > rounds && spendings > rounds);
    law_covered("EC5 EC6", "escrow", first, (size_t)rounds);
}

/* Law EC5: all shares of all holders are the limit, to the unit, however the line is cut. */
static void the_shares_of_a_cut_line_are_the_limit(void **state)
{
    static const uint64_t limits[] = {1, 2, 3, 7, 100, 999, UINT64_C(1) << 40, INT64_MAX};
    struct test_rng rng = test_rng_of(test_seed_first());
    struct scene scene = founded();
    for (size_t i = 0; i < 40; i++) {
        size_t from = (size_t)test_rng_below(&rng, LIVES);
        give_stretch(&scene, from, (from + 1) % LIVES, (unsigned)test_rng_below(&rng, 3));
        for (size_t fact = 0; fact < scene.count; fact++)
            for (size_t life = 0; life < LIVES; life++)
                hear(&scene, life, fact);
        struct view view = view_of(&scene, 0);
        for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++) {
            uint64_t sum = 0;
            for (size_t life = 0; life < LIVES; life++)
                sum += share_of(&view, life_of(life), UINT64_MAX, limits[l]);
            assert_int_equal(sum, limits[l]);
        }
    }
    assert_true(scene.gifts > 10);
}

/* Law EC5: hostile facts about what another holds move nothing. */
static void nobody_gives_what_another_holds(void **state)
{
    struct scene scene = founded();
    give_stretch(&scene, 0, 1, 1);
    hear(&scene, 1, 1);
    hear(&scene, 2, 0);
    hear(&scene, 2, 1);
    struct view before = view_of(&scene, 2);
    uint64_t all = tly_stretch_pack((struct tly_stretch){0, TLY_LINE_END});
    say(&scene, 2, TLY_RIGHTS_STANDING, 0, 3, all);          /* of what it does not hold */
    say(&scene, 2, TLY_RIGHTS_TAKEN, 0, 0, all);             /* a second beginning */
    say(&scene, 2, TLY_RIGHTS_TAKEN, 0, 999, all);           /* from a life that holds nothing */
    say(&scene, 2, TLY_RIGHTS_STANDING, UINT64_MAX, 1, all); /* for a time that does not come */
    struct view after = view_of(&scene, 2);
    assert_int_equal(after.count, before.count + 4);
    for (size_t life = 0; life < LIVES; life++)
        assert_int_equal(share_of(&after, life_of(life), 5000, 100),
                         share_of(&before, life_of(life), 5000, 100));
}

/* Law EC7: of what a REMOVE took back nothing can be told, so there is nothing. */
static void under_a_remove_nobody_holds_anything(void **state)
{
    struct tly_dot dots[] = {remove_of(5, 9),
                             {{7, 2}, TLY_PUT, {WINDOW, 1, 1, 5}, {0}},
                             {{8, 1}, TLY_PUT, {TLY_RIGHTS_TAKEN, 0, 0, 1}, {0}}};
    struct tly_moment at = {.window = WINDOW, .epoch = 1};
    assert_int_equal(tly_line_read(dots, 3, 5000, pieces), 0);
    struct tly_moved moved = tly_rights_moved(dots, 3, &at, 1);
    assert_int_equal(moved.in, 0);
    assert_int_equal(moved.out, INT64_MAX);
}

/* Law EC7: a life that gave in a later epoch has no more of an earlier one, of which it said what it gave only until then. */
static void who_went_on_holds_nothing_of_before(void **state)
{
    struct tly_dot dots[] = {{{5, 1}, TLY_PUT, {WINDOW, 1, 2, 5}, {0}},
                             {{6, 1}, TLY_PUT, {WINDOW, 2, 2, 1}, {0}}};
    struct tly_moment at = {.window = WINDOW, .epoch = 1};
    assert_int_equal(tly_join(tly_escrow(), dots, 2), 1);
    assert_int_equal(tly_rights_moved(dots, 1, &at, 1).out, INT64_MAX);
    at.epoch = 2;
    assert_int_equal(tly_rights_moved(dots, 1, &at, 1).out, 1);
    assert_int_equal(tly_rights_moved(dots, 1, &at, 2).in, 1);
}

static void rights_are_checked_at_the_edge(void **state)
{
    static const uint64_t bad[][TLY_NUMS_MAX] = {
        {TLY_RIGHTS_STANDING, 1, 0, 5},
        {TLY_RIGHTS_STANDING, 1, 2, 0},
        {TLY_RIGHTS_STANDING, 1, 2, UINT64_C(5) << 32},
        {TLY_RIGHTS_STANDING, 1, 2, UINT64_C(5) << 32 | 5},
        {TLY_RIGHTS_TAKEN, 1, 2, UINT64_C(5) << 32},
        {TLY_RIGHTS_VOTE, 0, 0, 0},
        {TLY_RIGHTS_VOTE, 1, 2, 0},
        {TLY_RIGHTS_VOTE, 0, 2, 1},
        {WINDOW, 1, 2, (uint64_t)INT64_MAX + 1},
        {TLY_RIGHTS_UP, 1, 2, (uint64_t)INT64_MAX + 1},
        {TLY_RIGHTS_TOOK_DOWN - 1, 1, 2, 1},
        {TLY_WINDOW_CALENDAR, 1, 2, 1},
        {TLY_WINDOW_MS_MAX + 1, 1, 2, 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tly_dot dot = shard_of(1, 1, bad[i]);
        assert_int_equal(tly_dot_check(tly_escrow(), &dot), TLY_BAD_PAYLOAD);
    }
}

/* Law EC8 */
static void moves_end_with_their_window_and_the_line_never(void **state)
{
    uint64_t move[] = {WINDOW, 10, 2, 5}, gift[] = {TLY_RIGHTS_STANDING, 10, 2, 5};
    uint64_t vote[] = {TLY_RIGHTS_VOTE, 0, 2, 0}, end = 13 * WINDOW + 300;
    struct tly_dot dots[] = {shard_of(1, 1, move), shard_of(2, 1, gift), shard_of(3, 1, vote)};
    assert_false(tly_escrow()->expired(&dots[0], end, 300));
    assert_true(tly_escrow()->expired(&dots[0], end + 1, 300));
    assert_false(tly_escrow()->expired(&dots[1], UINT64_MAX, 300));
    assert_false(tly_escrow()->expired(&dots[2], UINT64_MAX, 300));
    for (uint64_t window = TLY_RIGHTS_TOOK_DOWN; window <= TLY_RIGHTS_UP; window++) {
        struct tly_dot lasting = shard_of(4, 1, (uint64_t[]){window, 0, 2, 5});
        assert_false(tly_escrow()->expired(&lasting, UINT64_MAX, 300));
    }
}

/* Law EC9 */
static void what_all_hold_of_a_counter_is_what_was_nobodys(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    for (int round = 0; round < 1000; round++) {
        struct tly_dot dots[24];
        size_t count = 0;
        struct tly_moment at = {.window = TLY_RIGHTS_UP, .epoch = 3};
        for (; count < 24; count++) {
            static const uint64_t windows[] = {TLY_RIGHTS_UP, TLY_RIGHTS_DOWN, TLY_RIGHTS_TOOK_UP,
                                               TLY_RIGHTS_TOOK_DOWN};
            uint64_t origin = 1 + test_rng_below(&rng, 4), peer = test_rng_below(&rng, 5);
            uint64_t num[] = {windows[test_rng_below(&rng, 4)], 2 + test_rng_below(&rng, 2), peer,
                              test_rng_below(&rng, 100)};
            if (peer == origin) num[2] = 0;
            dots[count] = shard_of(count + 1, origin, num);
        }
        count = tly_join(tly_escrow(), dots, count);
        int64_t all = 0;
        bool is_known = true;
        for (uint64_t life = 1; life <= 4; life++) {
            struct tly_tenure tenure = tly_rights_tenure(dots, count, &at, life);
            is_known = is_known && tenure.rights != INT64_MIN;
            all += is_known ? tenure.rights : 0;
        }
        if (is_known) assert_int_equal(all, tly_rights_born(dots, count, &at));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_small_history_makes_two_hold_the_same),
        cmocka_unit_test(no_random_history_makes_two_hold_the_same),
        cmocka_unit_test(the_shares_of_a_cut_line_are_the_limit),
        cmocka_unit_test(nobody_gives_what_another_holds),
        cmocka_unit_test(under_a_remove_nobody_holds_anything),
        cmocka_unit_test(who_went_on_holds_nothing_of_before),
        cmocka_unit_test(rights_are_checked_at_the_edge),
        cmocka_unit_test(what_all_hold_of_a_counter_is_what_was_nobodys),
        cmocka_unit_test(moves_end_with_their_window_and_the_line_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
