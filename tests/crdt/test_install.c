/* A snapshot that is installed replaces what was here, whole or not at all. */
#include "crdt/epoch_sum.h"
#include "crdt/install.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#define NOTED "l:noted"

static struct world world;
static struct tly_installed report;

static int begin(void **state)
{
    world = world_of();
    return 0;
}

static int end(void **state)
{
    for (size_t i = 0; i < WORLD_NODES; i++)
        tly_ormap_check(world.node[i]);
    world_end(&world);
    return 0;
}

static struct tly_slice key(const char *text)
{
    return tly_slice_text(text);
}

static void put_text(size_t node, const char *name, const char *text)
{
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_slice_text(text)};
    claim(tly_ormap_put(world.node[node], key(name), &dot) == TLY_OK);
}

static void remove_key(size_t node, const char *name)
{
    claim(tly_ormap_remove(world.node[node], key(name)) == TLY_OK);
}

static void hit(size_t node, const char *name, uint64_t window, uint64_t epoch, int64_t units)
{
    struct tly_hit what = {.window = window, .epoch = epoch, .units = units, .keeps_aux = true};
    world_hit(world.node[node], key(name), what);
}

static int64_t read_at(size_t node, const char *name, uint64_t window, uint64_t epoch)
{
    return world_read(world.node[node], key(name), (struct tly_moment){.window = window, .epoch = epoch})
        .count;
}

static void sync_nodes(size_t from, size_t to)
{
    (void)world_round(world.node[from], world.node[to], NULL);
}

static void forget_all(size_t node)
{
    claim(tly_ormap_seal(world.node[node]) == TLY_OK);
    claim(tly_ormap_forget(world.node[node], UINT64_MAX, SIZE_MAX).done);
    claim(tly_ormap_removes(world.node[node]) == 0);
}

/* Everything of `from`, staged for `to`. NULL: there was no memory. */
static struct tly_install *staged(size_t from, size_t to)
{
    struct tly_ormap *source = world.node[from];
    claim(tly_ormap_seal(source) == TLY_OK);
    struct tly_install *install = tly_install_new(world.node[to]);
    if (install == NULL) return NULL;
    enum tly_result result = TLY_OK;
    for (size_t i = 0; result == TLY_OK && i < tly_ormap_lives(source); i++) {
        struct tly_life life = tly_ormap_life_kept(source, i);
        result = tly_install_life(install, &life);
    }
    tly_install_bounds(install, tly_ormap_bounds(source));
    size_t cursor = 0;
    for (const struct tly_entry *entry;
         result == TLY_OK && (entry = tly_ormap_each(source, &cursor)) != NULL;) {
        size_t count;
        const struct tly_dot *dots = tly_entry_dots(source, entry, &count);
        for (size_t i = 0; result == TLY_OK && i < count; i++) {
            enum tly_outcome outcome;
            result = tly_install_add(install, tly_entry_key(entry), &dots[i], &outcome);
            claim(result != TLY_OK || outcome == TLY_APPLIED);
        }
    }
    if (result == TLY_OK) return install;
    claim(result == TLY_NOMEM);
    tly_install_free(install);
    return NULL;
}

static void install(size_t from, size_t to, uint64_t former)
{
    struct tly_install *install = staged(from, to);
    if (former != 0) claim(tly_install_former(install, former, key(NOTED), UINT64_MAX) == TLY_OK);
    claim(tly_install_finish(install, &report) == TLY_OK);
    tly_install_free(install);
    tly_ormap_check(world.node[to]);
    world_claim_tallies(world.node[to]);
}

static void settle_life(size_t node, uint64_t origin)
{
    uint64_t mark = tly_ormap_mark(world.node[node], origin);
    claim(tly_ormap_settle_life(world.node[node], origin, mark) == TLY_OK);
}

/* ---- what stays ---- */

static void what_was_deleted_and_forgotten_goes_and_what_is_new_stays(void **state)
{
    put_text(0, "l:a", "x");
    put_text(0, "l:b", "x");
    sync_nodes(0, 1);
    remove_key(0, "l:a");
    forget_all(0);
    put_text(1, "l:a", "unheard, and older than what was forgotten");
    put_text(1, "l:b", "y");
    install(0, 1, 0);
    assert_int_equal(report.dropped, 1);
    assert_int_equal(report.kept, 1);
    assert_null(tly_ormap_find(world.node[1], key("l:a")));
    assert_true(
        tly_slice_equal(world_read(world.node[1], key("l:b"), (struct tly_moment){0}).bytes, key("y")));
    assert_int_equal(tly_ormap_mark(world.node[1], 1), tly_ormap_mark(world.node[0], 1));
    assert_int_equal(tly_ormap_origin(world.node[1]), 2);
    /* It goes on as ever: what it has alone is heard by the source. */
    sync_nodes(1, 0);
    assert_int_equal(tly_ormap_digest(world.node[0]), tly_ormap_digest(world.node[1]));
}

/* What a third node counted goes here, for nobody can tell whether it was deleted; that one can, and must be free to say it again. */
static void a_mark_does_not_outlive_what_it_stood_for(void **state)
{
    hit(1, "s:a", 0, 0, 5);
    sync_nodes(1, 2);
    put_text(0, "l:a", "x");
    for (size_t i = 0; i < 10; i++)
        put_text(0, "l:a", "until its clock is ahead");
    remove_key(0, "l:a");
    forget_all(0);
    claim(tly_ormap_bounds(world.node[0]).forgotten > tly_ormap_mark(world.node[2], 2));
    install(0, 2, 0);
    assert_int_equal(report.dropped, 1);
    assert_int_equal(read_at(2, "s:a", 0, 0), 0);
    assert_int_equal(tly_ormap_mark(world.node[2], 2), 0);
    sync_nodes(1, 2);
    assert_int_equal(read_at(2, "s:a", 0, 0), 5);
    assert_int_equal(tly_ormap_mark(world.node[2], 2), tly_ormap_mark(world.node[1], 2));
}

/* What this node wrote on top while it was forgotten goes, and what lay under that is neither here nor known to the source. */
static void a_mark_does_not_cover_what_was_hidden_by_what_goes(void **state)
{
    put_text(1, "l:b", "x");
    sync_nodes(1, 0);
    settle_life(0, 2);
    put_text(2, "l:a", "of a member");
    sync_nodes(2, 1);
    put_text(1, "l:a", "of who was forgotten");
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    claim(tly_ormap_begin_life(world.node[1], 9) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.dropped, 1);
    assert_false(report.own_unsure);
    assert_int_equal(tly_ormap_mark(world.node[1], 3), 0);
    sync_nodes(2, 1);
    assert_true(tly_slice_equal(world_read(world.node[1], key("l:a"), (struct tly_moment){0}).bytes,
                                key("of a member")));
}

/* Nor where that life was settled further on than all of it had come: the source need not have had what lies between. */
static void a_mark_does_not_cover_what_was_hidden_by_what_was_left_out(void **state)
{
    put_text(1, "l:b", "x");
    sync_nodes(1, 0);
    uint64_t whole = tly_ormap_mark(world.node[0], 2);
    put_text(2, "l:a", "of a member");
    sync_nodes(2, 1);
    put_text(1, "l:a", "of who was forgotten, and left out");
    put_text(1, "l:b", "ahead of that");
    struct tly_dot newest = world_dots(world.node[1], key("l:b"), &(size_t){0})[0];
    claim(world_apply(world.node[0], key("l:b"), &newest) == TLY_APPLIED);
    claim(tly_ormap_raise_mark(world.node[0], 2, newest.version.ts) == TLY_OK);
    settle_life(0, 2);
    claim(tly_ormap_begin_life(world.node[1], 9) == TLY_OK);
    struct tly_install *install = staged(0, 1);
    claim(tly_install_former(install, 2, key(NOTED), whole) == TLY_OK);
    claim(tly_install_finish(install, &report) == TLY_OK);
    tly_install_free(install);
    assert_int_equal(report.dropped, 1);
    assert_int_equal(tly_ormap_mark(world.node[1], 3), 0);
    sync_nodes(2, 1);
    assert_true(tly_slice_equal(world_read(world.node[1], key("l:a"), (struct tly_moment){0}).bytes,
                                key("of a member")));
}

/* The same of what this node wrote itself: nobody need have it, and so that the others ask for what they may have of it another life begins. */
static void a_life_whose_words_were_hidden_by_what_goes_is_unsure(void **state)
{
    put_text(2, "l:b", "x");
    sync_nodes(2, 0);
    settle_life(0, 3);
    put_text(1, "l:a", "own");
    sync_nodes(1, 2);
    put_text(2, "l:a", "of who was forgotten");
    sync_nodes(2, 1);
    install(0, 1, 0);
    assert_int_equal(report.dropped, 1);
    assert_true(report.own_unsure);
    assert_int_equal(report.own_known, 0);
}

/* … but up to where the source had it. */
static void a_mark_falls_to_that_of_the_source(void **state)
{
    hit(1, "s:a", 0, 0, 5);
    sync_nodes(1, 0);
    uint64_t known = tly_ormap_mark(world.node[0], 2);
    hit(1, "s:a", 0, 0, 2);
    put_text(1, "l:b", "unheard by the source");
    sync_nodes(1, 2);
    for (size_t i = 0; i < 10; i++)
        put_text(0, "l:a", "until its clock is ahead");
    remove_key(0, "l:a");
    forget_all(0);
    install(0, 2, 0);
    assert_int_equal(report.dropped, 2);
    assert_int_equal(read_at(2, "s:a", 0, 0), 5);
    assert_int_equal(tly_ormap_mark(world.node[2], 2), known);
    sync_nodes(1, 2);
    assert_int_equal(read_at(2, "s:a", 0, 0), 7);
}

static void joining_alone_would_revive(void **state)
{
    put_text(0, "l:a", "x");
    sync_nodes(0, 1);
    remove_key(0, "l:a");
    forget_all(0);
    sync_nodes(0, 1);
    assert_non_null(tly_ormap_find(world.node[1], key("l:a")));
}

static void floors_ends_of_lives_and_the_lost_mark_come_with_it(void **state)
{
    put_text(1, "l:a", "x");
    sync_nodes(1, 0);
    remove_key(0, "l:a");
    forget_all(0);
    uint64_t mark = tly_ormap_mark(world.node[0], 2), floor = tly_ormap_mark(world.node[0], 1);
    settle_life(0, 2);
    put_text(0, "l:b", "y");
    tly_ormap_retire_life(world.node[0], 2, (struct tly_version){floor + 1, 1});
    install(0, 2, 0);
    struct tly_dot old = text_of(mark, 2, "x"), newer = text_of(mark + 1, 2, "x");
    assert_int_equal(world_apply(world.node[2], key("l:a"), &old), TLY_DROPPED);
    assert_int_equal(world_apply(world.node[2], key("l:a"), &newer), TLY_REFUSED);
    assert_int_equal(tly_ormap_life(world.node[2], 0).floor, floor + 1);
    assert_true(tly_ormap_drop_life(world.node[0], 2));
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    install(0, 1, 0);
    assert_int_equal(tly_ormap_bounds(world.node[1]).lost, mark);
    for (size_t i = 0; i < tly_ormap_lives(world.node[1]); i++)
        assert_int_not_equal(tly_ormap_life(world.node[1], i).origin, 2);
}

static void nothing_is_seen_of_it_before_it_is_whole(void **state)
{
    put_text(0, "l:a", "x");
    put_text(1, "l:b", "y");
    uint64_t digest = tly_ormap_digest(world.node[1]);
    struct tly_install *install = staged(0, 1);
    assert_int_equal(tly_ormap_digest(world.node[1]), digest);
    tly_install_free(install);
    assert_int_equal(tly_ormap_digest(world.node[1]), digest);
    assert_int_equal(tly_ormap_mark(world.node[1], 1), 0);
}

static void writes_go_on_while_it_is_staged(void **state)
{
    put_text(0, "l:a", "x");
    struct tly_install *install = staged(0, 1);
    put_text(1, "l:a", "y");
    hit(1, "s:a", 0, 0, 3);
    put_text(0, "l:b", "z");
    sync_nodes(0, 1); /* its rounds as well */
    assert_int_equal(tly_install_finish(install, &report), TLY_OK);
    tly_install_free(install);
    assert_int_equal(read_at(1, "s:a", 0, 0), 3);
    assert_non_null(tly_ormap_find(world.node[1], key("l:b")));
    sync_nodes(1, 0);
    assert_int_equal(tly_ormap_digest(world.node[0]), tly_ormap_digest(world.node[1]));
}

static void without_memory_the_map_is_as_it_was(void **state)
{
    struct test_failing failing = {.countdown = SIZE_MAX};
    struct tly_mem mem = test_failing_mem(&failing);
    tly_ormap_free(world.node[1]);
    world.node[1] = world_map(&mem, world.registry, 2);
    put_text(2, "l:c", "x");
    sync_nodes(2, 1);
    settle_life(1, 3);
    put_text(2, "l:c", "past its end");
    sync_nodes(2, 0);
    for (int i = 0; i < 40; i++) {
        hit(0, "s:a", 0, 0, 1);
        put_text(0, i % 2 == 0 ? "l:a" : "l:b", "x");
        hit(1, "s:b", 1000, 7, 1);
        put_text(1, "l:a", "y");
    }
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    uint64_t digest = tly_ormap_digest(world.node[1]);
    size_t failures = 0;
    for (size_t nth = 0;; nth++) {
        failing = (struct test_failing){.countdown = nth};
        struct tly_install *install = staged(0, 1);
        enum tly_result result = install != NULL ? tly_install_finish(install, &report) : TLY_NOMEM;
        claim(failing.failed == (result != TLY_OK));
        tly_install_free(install);
        failing.countdown = SIZE_MAX;
        tly_ormap_check(world.node[1]);
        if (!failing.failed) break;
        failures++;
        assert_int_equal(tly_ormap_digest(world.node[1]), digest);
    }
    assert_true(failures > 10);
    assert_int_equal(read_at(1, "s:a", 0, 0), 40);
    assert_int_equal(read_at(1, "s:b", 1000, 7), 40);
}

static void a_source_with_an_old_disk_revives_nothing(void **state)
{
    put_text(0, "l:a", "x");
    put_text(0, "l:b", "x");
    sync_nodes(0, 1);
    sync_nodes(0, 2); /* this one has heard nothing since */
    remove_key(0, "l:a");
    put_text(0, "l:b", "y");
    sync_nodes(0, 1);
    forget_all(1);
    install(2, 1, 0);
    assert_int_equal(report.stale, 1);
    assert_null(tly_ormap_find(world.node[1], key("l:a")));
    assert_true(
        tly_slice_equal(world_read(world.node[1], key("l:b"), (struct tly_moment){0}).bytes, key("y")));
}

/* ---- what is refused ---- */

static bool reads(size_t node, const char *name, const char *text)
{
    return tly_slice_equal(world_read(world.node[node], key(name), (struct tly_moment){0}).bytes, key(text));
}

/* What n1 says of a key comes to this node by itself, with no mark. */
static void hear_ahead(size_t node, const char *name)
{
    size_t count;
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    const struct tly_dot *dots = world_dots(world.node[1], key(name), &count);
    for (size_t i = 0; i < count; i++)
        if (dots[i].version.origin == 2)
            claim(world_apply(world.node[node], key(name), &dots[i]) == TLY_APPLIED);
}

/* n1 is forgotten; what it said of these keys after the end of its life takes the place of what all have. The end. */
static uint64_t take_places(void)
{
    hit(1, "s:counted-on", 0, 0, 10);
    sync_nodes(1, 0);
    uint64_t end = tly_ormap_mark(world.node[0], 2);
    put_text(0, "l:put", "of a member");
    put_text(0, "l:removed", "x");
    remove_key(0, "l:removed");
    hit(0, "s:set", 0, 0, 5);
    hit(0, "s:removed", 0, 0, 7);
    sync_nodes(0, 1);
    sync_nodes(0, 2);
    claim(tly_ormap_mark(world.node[2], 2) == end);
    hit(1, "s:counted-on", 0, 0, 2);
    hit(1, "s:set", 0, 9, 1);
    put_text(1, "l:put", "of who was forgotten");
    put_text(1, "l:removed", "of who was forgotten");
    remove_key(1, "s:removed");
    return end;
}

static const char *const taken[] = {"l:put", "l:removed", "s:counted-on", "s:set", "s:removed"};
enum { TAKEN = sizeof taken / sizeof taken[0] };

static void claim_all_is_back(size_t node)
{
    size_t count;
    assert_true(reads(node, "l:put", "of a member"));
    const struct tly_dot *dots = world_dots(world.node[node], key("l:removed"), &count);
    assert_int_equal(count, 1);
    assert_int_equal(dots[0].op, TLY_REMOVE);
    assert_int_equal(read_at(node, "s:counted-on", 0, 0), 10);
    assert_int_equal(read_at(node, "s:set", 0, 0), 5);
    assert_int_equal(read_at(node, "s:removed", 0, 0), 7);
}

static void what_is_refused_takes_nothing_along(bool is_settled_there)
{
    uint64_t end = take_places();
    for (size_t i = 0; i < TAKEN; i++)
        hear_ahead(2, taken[i]);
    claim(tly_ormap_settle_life(world.node[0], 2, end) == TLY_OK);
    if (is_settled_there) claim(tly_ormap_settle_life(world.node[2], 2, end) == TLY_OK);
    assert_true(reads(2, "l:put", "of who was forgotten"));
    install(2, 0, 0);
    assert_int_equal(report.stale, TAKEN);
    assert_int_equal(report.dropped, 0);
    claim_all_is_back(0);
    install(0, 2, 0);
    claim_all_is_back(2);
    assert_int_equal(tly_ormap_digest(world.node[0]), tly_ormap_digest(world.node[2]));
}

static void what_lay_under_a_refused_row_stays(void **state)
{
    what_is_refused_takes_nothing_along(false);
}

static void what_lay_under_a_row_past_both_ends_stays(void **state)
{
    what_is_refused_takes_nothing_along(true);
}

/* What it hid is not here either: it stands for that until another snapshot comes. */
static void a_row_past_an_end_that_is_here_too_is_not_refused(void **state)
{
    uint64_t end = take_places();
    hear_ahead(0, "l:put");
    hear_ahead(2, "l:put");
    hear_ahead(2, "l:removed");
    claim(tly_ormap_settle_life(world.node[0], 2, end) == TLY_OK);
    install(2, 0, 0);
    assert_int_equal(report.stale, 1);
    assert_true(reads(0, "l:put", "of who was forgotten"));
}

/* It was never here, so who has it must be free to say it. */
static void a_mark_does_not_cover_what_a_refused_row_hid_there(void **state)
{
    uint64_t end = take_places();
    struct tly_dot third = text_of(end + 1, 4, "of a third");
    claim(world_apply(world.node[2], key("l:third"), &third) == TLY_APPLIED);
    claim(tly_ormap_raise_mark(world.node[2], 4, end + 1) == TLY_OK);
    put_text(1, "l:third", "of who was forgotten");
    hear_ahead(2, "l:third");
    claim(tly_ormap_settle_life(world.node[0], 2, end) == TLY_OK);
    install(2, 0, 0);
    assert_int_equal(tly_ormap_mark(world.node[0], 4), 0);
    claim(world_apply(world.node[0], key("l:third"), &third) == TLY_APPLIED);
    assert_true(reads(0, "l:third", "of a third"));
}

/* Nobody can tell whether it was deleted as well; but what the life itself counted on was not. */
static void what_is_older_than_what_was_forgotten_there_does_not_come_back(void **state)
{
    uint64_t end = take_places();
    for (size_t i = 0; i < TAKEN; i++)
        hear_ahead(2, taken[i]);
    claim(tly_ormap_settle_life(world.node[0], 2, end) == TLY_OK);
    put_text(2, "l:gone", "x");
    remove_key(2, "l:gone");
    claim(tly_ormap_forget(world.node[2], UINT64_MAX, SIZE_MAX).dropped > 0);
    install(2, 0, 0);
    assert_null(tly_ormap_find(world.node[0], key("l:put")));
    assert_null(tly_ormap_find(world.node[0], key("l:removed")));
    assert_int_equal(read_at(0, "s:counted-on", 0, 0), 10);
}

/* ---- own counts ---- */

static void own_counts_survive_sealed_or_not(void **state)
{
    hit(1, "s:a", 0, 0, 2);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    hit(1, "s:a", 0, 0, 3);
    hit(0, "s:a", 0, 0, 10);
    install(0, 1, 0);
    assert_int_equal(read_at(1, "s:a", 0, 0), 15);
    hit(1, "s:a", 0, 0, 1);
    sync_nodes(1, 0);
    assert_int_equal(read_at(0, "s:a", 0, 0), 16);
}

/* Somebody may not have forgotten yet what the source has: there it would be below that. */
static void own_counts_older_than_what_was_forgotten_are_said_anew(void **state)
{
    hit(0, "s:a", 0, 0, 5);
    sync_nodes(0, 2);
    hit(1, "s:a", 0, 0, 7);
    hit(1, "s:b", 10, 4, 3);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    for (size_t i = 0; i < 10; i++)
        put_text(0, "l:a", "until its clock is ahead");
    remove_key(0, "s:a");
    sync_nodes(0, 2);
    forget_all(0);
    uint64_t forgotten = tly_ormap_bounds(world.node[0]).forgotten;
    claim(forgotten > tly_ormap_mark(world.node[1], 2));
    install(0, 1, 0);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    size_t count;
    assert_true(world_dots(world.node[1], key("s:a"), &count)[0].version.ts > forgotten);
    assert_true(world_dots(world.node[1], key("s:b"), &count)[0].version.ts > forgotten);
    sync_nodes(1, 0);
    sync_nodes(1, 2);
    forget_all(2);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(read_at(i, "s:a", 0, 0), 7);
        assert_int_equal(read_at(i, "s:b", 10, 4), 3);
    }
}

static void a_remove_in_the_snapshot_restarts_own_counts(void **state)
{
    hit(1, "s:a", 1000, 6, 2);
    hit(1, "s:a", 1000, 7, 2);
    sync_nodes(1, 0);
    remove_key(0, "s:a");
    put_text(1, "l:a", "later");
    hit(1, "s:a", 1000, 7, 3);
    install(0, 1, 0);
    assert_int_equal(read_at(1, "s:a", 1000, 7), 0);
    assert_int_equal(read_at(1, "s:a", 1000, 6), 0);
    hit(1, "s:a", 1000, 7, 4);
    sync_nodes(1, 0);
    assert_int_equal(read_at(0, "s:a", 1000, 7), 4);
    assert_int_equal(read_at(0, "s:a", 1000, 6), 0);
}

static void a_settled_life_that_lives_must_begin_anew_first(void **state)
{
    hit(1, "s:a", 0, 0, 2);
    sync_nodes(1, 0);
    settle_life(0, 2);
    struct tly_install *install = staged(0, 1);
    assert_int_equal(tly_install_finish(install, &report), TLY_STALE);
    tly_install_free(install);
    assert_int_equal(read_at(1, "s:a", 0, 0), 2);
}

/* Two parts that each forgot the other settled it on their own: what came behind the earlier mark was never here, so nobody deleted it. */
static void what_lies_behind_the_own_end_of_a_life_and_before_theirs_comes(void **state)
{
    hit(1, "s:a", 0, 0, 2);
    put_text(1, "l:gone", "x");
    sync_nodes(1, 0);
    settle_life(0, 2);
    remove_key(0, "l:gone");
    forget_all(0);
    hit(1, "s:a", 0, 0, 5);
    hit(1, "s:b", 0, 0, 3);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    settle_life(1, 2);
    install(1, 0, 0);
    assert_int_equal(read_at(0, "s:a", 0, 0), 7);
    assert_int_equal(read_at(0, "s:b", 0, 0), 3);
    assert_int_equal(report.stale, 1);
    assert_null(tly_ormap_find(world.node[0], key("l:gone")));
}

/* A disk from before that life: what all had is here alone. */
static void a_life_that_the_source_never_had_is_not_everybodys_any_more(void **state)
{
    put_text(0, "l:gone", "x");
    remove_key(0, "l:gone");
    sync_nodes(0, 2);
    forget_all(0);
    hit(2, "s:a", 0, 0, 3);
    sync_nodes(2, 1);
    settle_life(1, 3);
    tly_ormap_retire_life(world.node[1], 3, (struct tly_version){UINT64_MAX, 3});
    install(0, 1, 0);
    assert_int_equal(read_at(1, "s:a", 0, 0), 3);
    size_t number = tly_ormap_life_number(world.node[1], 3);
    struct tly_life life = tly_ormap_life(world.node[1], number);
    assert_int_equal(life.state, TLY_LIFE_SETTLED); /* so that it is said */
    assert_int_equal(life.mark, life.last);
}

/* ---- carrying over ---- */

static void what_nobody_had_heard_is_carried_over_and_nothing_else(void **state)
{
    hit(1, "s:a", 0, 0, 10);
    hit(1, "s:b", 1000, 7, 20);
    sync_nodes(1, 0);
    settle_life(0, 2);
    hit(1, "s:a", 0, 0, 1);
    hit(1, "s:b", 1000, 7, 2);
    hit(1, "s:b", 1000, 8, 4);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.carried, 3);
    assert_int_equal(report.carried_units, 7);
    assert_int_equal(read_at(1, "s:a", 0, 0), 11);
    assert_int_equal(read_at(1, "s:b", 1000, 7), 22);
    assert_int_equal(read_at(1, "s:b", 1000, 8), 4);
    sync_nodes(1, 0);
    assert_int_equal(read_at(0, "s:a", 0, 0), 11);
    assert_int_equal(read_at(0, "s:b", 1000, 7), 22);
    assert_int_equal(read_at(0, "s:b", 1000, 8), 4);
    assert_int_equal(tly_ormap_digest(world.node[0]), tly_ormap_digest(world.node[1]));
    /* A second time there is nothing left to carry. */
    install(0, 1, 2);
    assert_int_equal(report.carried, 0);
    assert_int_equal(read_at(1, "s:a", 0, 0), 11);
}

/* The disk of before comes back: it has the former life's counts once more. */
static void what_was_carried_over_once_is_not_again(void **state)
{
    hit(1, "s:a", 0, 0, 10);
    sync_nodes(1, 0);
    sync_nodes(1, 2);
    settle_life(0, 2);
    hit(1, "s:a", 0, 0, 5);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    struct tly_dot old = world_dots(world.node[1], key("s:a"), &(size_t){0})[0];
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.carried_units, 5);
    sync_nodes(1, 0);
    assert_int_equal(read_at(0, "s:a", 0, 0), 15);
    claim(world_apply(world.node[2], key("s:a"), &old) == TLY_APPLIED);
    claim(tly_ormap_begin_life(world.node[2], 33) == TLY_OK);
    install(0, 2, 2);
    assert_int_equal(report.carried, 0);
    assert_int_equal(read_at(2, "s:a", 0, 0), 15);
}

static void of_a_life_that_is_not_settled_the_dots_themselves_stay(void **state)
{
    hit(1, "s:a", 0, 0, 10);
    sync_nodes(1, 0);
    claim(tly_ormap_close_life(world.node[0], 2) == TLY_OK);
    hit(1, "s:a", 0, 0, 1);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.carried, 0);
    assert_int_equal(report.kept, 1);
    assert_int_equal(read_at(1, "s:a", 0, 0), 11);
    sync_nodes(1, 0);
    assert_int_equal(read_at(0, "s:a", 0, 0), 11);
}

static void of_a_deleted_key_nothing_is_carried_over(void **state)
{
    hit(0, "s:a", 0, 0, 1);
    hit(0, "s:b", 0, 0, 1);
    sync_nodes(0, 1);
    hit(1, "s:a", 0, 0, 10);
    hit(1, "s:b", 0, 0, 10);
    sync_nodes(1, 0);
    settle_life(0, 2);
    remove_key(0, "s:a");
    forget_all(0);
    remove_key(0, "s:b"); /* this one is still known */
    hit(1, "s:a", 0, 0, 5);
    hit(1, "s:b", 0, 0, 5);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.carried, 0);
    assert_int_equal(read_at(1, "s:a", 0, 0), 0);
    assert_int_equal(read_at(1, "s:b", 0, 0), 0);
}

/* Its life was settled at what came last, where there had been no room for all: what is not there need not have been deleted. */
static void what_was_left_out_below_the_mark_is_carried_over(void **state)
{
    hit(0, "s:shared", 0, 0, 1);
    sync_nodes(0, 1);
    hit(1, "s:a", 0, 0, 10);
    sync_nodes(1, 0);
    uint64_t whole = tly_ormap_mark(world.node[0], 2);
    hit(1, "s:b", 0, 0, 20);
    hit(1, "s:shared", 0, 0, 5);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    hit(1, "s:a", 0, 0, 1);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    struct tly_dot newest = world_dots(world.node[1], key("s:a"), &(size_t){0})[0];
    claim(world_apply(world.node[0], key("s:a"), &newest) == TLY_APPLIED);
    remove_key(0, "s:shared");
    forget_all(0);
    claim(tly_ormap_raise_mark(world.node[0], 2, newest.version.ts) == TLY_OK);
    settle_life(0, 2);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    struct tly_install *install = staged(0, 1);
    claim(tly_install_former(install, 2, key(NOTED), whole) == TLY_OK);
    claim(tly_install_finish(install, &report) == TLY_OK);
    tly_install_free(install);
    assert_int_equal(report.carried, 1);
    assert_int_equal(report.carried_units, 20);
    assert_int_equal(read_at(1, "s:a", 0, 0), 11);
    assert_int_equal(read_at(1, "s:b", 0, 0), 20);
    assert_int_equal(read_at(1, "s:shared", 0, 0), 0);
}

/* A life that ends at a dot which came ahead of all else in it, on node 0. */
static uint64_t settle_at_what_came_ahead(uint64_t origin, const char *name)
{
    uint64_t whole = tly_ormap_mark(world.node[0], origin);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    hit(1, name, 0, 0, 1);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    struct tly_dot ahead = world_dots(world.node[1], key(name), &(size_t){0})[0];
    claim(world_apply(world.node[0], key(name), &ahead) == TLY_APPLIED);
    claim(tly_ormap_raise_mark(world.node[0], origin, ahead.version.ts) == TLY_OK);
    settle_life(0, origin);
    return whole;
}

/* What one life counted in a key, and nobody had room for, shows nobody that the key was deleted before another life counted there. */
static void what_was_left_out_of_two_lives_is_carried_over(void **state)
{
    hit(1, "s:a", 0, 0, 14);
    uint64_t first = settle_at_what_came_ahead(2, "s:b");
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    hit(1, "s:a", 0, 0, 5);
    uint64_t second = settle_at_what_came_ahead(22, "s:c");
    claim(tly_ormap_begin_life(world.node[1], 222) == TLY_OK);
    struct tly_install *install = staged(0, 1);
    claim(tly_install_former(install, 2, key(NOTED), first) == TLY_OK);
    claim(tly_install_former(install, 22, key(NOTED "2"), second) == TLY_OK);
    claim(tly_install_finish(install, &report) == TLY_OK);
    tly_install_free(install);
    assert_int_equal(report.carried_units, 19);
    assert_int_equal(read_at(1, "s:a", 0, 0), 19);
}

/* A disk from before that life's last dots: up to where it ends the others may lack some, but of this shard they have what came later. */
static void what_is_newer_there_takes_no_counts_away(void **state)
{
    hit(1, "s:a", 0, 0, 10);
    hit(1, "s:b", 1000, 7, 20);
    sync_nodes(1, 0);
    uint64_t whole = tly_ormap_mark(world.node[0], 2);
    hit(1, "s:a", 0, 0, 1);
    hit(1, "s:b", 1000, 7, 2);
    hit(1, "s:c", 0, 0, 4);
    sync_nodes(1, 2);
    hit(1, "s:a", 0, 0, 5);
    hit(1, "s:b", 1000, 7, 6);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    const char *const ahead[] = {"s:a", "s:b"};
    for (size_t i = 0; i < sizeof ahead / sizeof ahead[0]; i++) {
        struct tly_dot newest = world_dots(world.node[1], key(ahead[i]), &(size_t){0})[0];
        claim(world_apply(world.node[0], key(ahead[i]), &newest) == TLY_APPLIED);
    }
    claim(tly_ormap_raise_mark(world.node[0], 2, tly_ormap_mark(world.node[1], 2)) == TLY_OK);
    settle_life(0, 2);
    claim(tly_ormap_begin_life(world.node[2], 33) == TLY_OK);
    struct tly_install *install = staged(0, 2);
    claim(tly_install_former(install, 2, key(NOTED), whole) == TLY_OK);
    claim(tly_install_finish(install, &report) == TLY_OK);
    tly_install_free(install);
    assert_int_equal(report.carried_units, 4);
    assert_int_equal(read_at(2, "s:a", 0, 0), 16);
    assert_int_equal(read_at(2, "s:b", 1000, 7), 28);
    assert_int_equal(read_at(2, "s:c", 0, 0), 4);
}

/*
 * Of a life that has ended it has some of what came after that, and so not what this took the place of; those who refuse it have that, and it counts
 * beside what is carried over.
 */
static void carry_past_a_source_with_more(bool is_settled_there)
{
    hit(1, "s:a", 0, 0, 10);
    sync_nodes(1, 0);
    sync_nodes(1, 2);
    uint64_t end = tly_ormap_mark(world.node[0], 2);
    settle_life(0, 2);
    hit(1, "s:a", 0, 0, 5);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    struct tly_dot ahead = world_dots(world.node[1], key("s:a"), &(size_t){0})[0];
    hit(1, "s:b", 0, 0, 7);
    claim(tly_ormap_close_life(world.node[2], 2) == TLY_OK);
    claim(world_apply(world.node[2], key("s:a"), &ahead) == TLY_APPLIED);
    if (is_settled_there) settle_life(2, 2);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    claim(tly_ormap_settle_life(world.node[1], 2, end) == TLY_OK);
    install(2, 1, 2);
    assert_int_equal(report.carried, 0);
    assert_int_equal(read_at(1, "s:a", 0, 0), 15);
    assert_int_equal(read_at(1, "s:b", 0, 0), 7);
    install(0, 1, 2);
    assert_int_equal(report.carried_units, 12);
    sync_nodes(1, 0);
    for (size_t node = 0; node < 2; node++) {
        assert_int_equal(read_at(node, "s:a", 0, 0), 15);
        assert_int_equal(read_at(node, "s:b", 0, 0), 7);
    }
    assert_int_equal(tly_ormap_digest(world.node[0]), tly_ormap_digest(world.node[1]));
}

static void nothing_is_carried_over_by_who_has_not_settled_it_yet(void **state)
{
    carry_past_a_source_with_more(false);
}

static void nothing_is_carried_over_by_who_has_more_than_its_end(void **state)
{
    carry_past_a_source_with_more(true);
}

/* A counter that was deleted, which is forgotten there, and that the life counted in again: what it had counted before is gone. */
static void what_began_anew_past_an_end_went_on_from_nothing(void **state)
{
    hit(1, "s:anew", 0, 0, 10);
    sync_nodes(1, 0);
    sync_nodes(1, 2);
    uint64_t end = tly_ormap_mark(world.node[0], 2);
    remove_key(2, "s:anew");
    sync_nodes(2, 1);
    size_t count;
    const struct tly_dot *removed = world_dots(world.node[1], key("s:anew"), &count);
    assert_int_equal(count, 1);
    hit(1, "s:anew", 0, removed[0].version.ts + (UINT64_C(1) << 16), 2);
    hear_ahead(2, "s:anew");
    claim(tly_ormap_settle_life(world.node[0], 2, end) == TLY_OK);
    claim(tly_ormap_forget(world.node[2], UINT64_MAX, SIZE_MAX).dropped > 0);
    assert_int_equal(read_at(0, "s:anew", 0, 0), 10);
    install(2, 0, 0);
    assert_int_equal(report.stale, 1);
    assert_null(tly_ormap_find(world.node[0], key("s:anew")));
}

/* What it has more of is no count. */
static void a_register_past_its_end_keeps_no_count_back(void **state)
{
    hit(1, "s:a", 0, 0, 10);
    sync_nodes(1, 0);
    uint64_t end = tly_ormap_mark(world.node[0], 2);
    hit(1, "s:a", 0, 0, 5);
    put_text(1, "l:a", "x");
    hear_ahead(0, "l:a");
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    claim(tly_ormap_settle_life(world.node[0], 2, end) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.carried_units, 5);
    sync_nodes(1, 0);
    assert_int_equal(read_at(0, "s:a", 0, 0), 15);
    assert_int_equal(read_at(1, "s:a", 0, 0), 15);
}

/*
 * Of what came before its end it has a part only, and gets the rest from those who agreed on it: what it lacks yet is nothing that nobody had heard.
 */
static void nothing_is_carried_over_past_a_source_that_has_less_than_the_end(void **state)
{
    hit(1, "s:a", 0, 0, 10);
    sync_nodes(1, 0);
    sync_nodes(1, 2);
    hit(1, "s:a", 0, 0, 3);
    hit(1, "s:c", 0, 0, 2);
    sync_nodes(1, 0);
    uint64_t end = tly_ormap_mark(world.node[0], 2);
    settle_life(0, 2);
    hit(1, "s:a", 0, 0, 5);
    hit(1, "s:b", 0, 0, 7);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    claim(tly_ormap_settle_life(world.node[1], 2, end) == TLY_OK);
    install(2, 1, 2);
    assert_int_equal(report.carried, 0);
    assert_int_equal(read_at(1, "s:a", 0, 0), 18);
    assert_int_equal(read_at(1, "s:b", 0, 0), 7);
    assert_int_equal(read_at(1, "s:c", 0, 0), 2);
    install(0, 1, 2);
    assert_int_equal(report.carried_units, 12);
    sync_nodes(0, 2);
    sync_nodes(1, 0);
    sync_nodes(1, 2);
    for (size_t node = 0; node < 3; node++) {
        assert_int_equal(read_at(node, "s:a", 0, 0), 18);
        assert_int_equal(read_at(node, "s:b", 0, 0), 7);
        assert_int_equal(read_at(node, "s:c", 0, 0), 2);
    }
}

/* It has it not yet as one that is settled, but all of it. */
static void what_nobody_had_heard_is_carried_over_past_a_source_that_has_all_up_to_the_end(void **state)
{
    hit(1, "s:a", 0, 0, 10);
    sync_nodes(1, 0);
    uint64_t end = tly_ormap_mark(world.node[0], 2);
    hit(1, "s:a", 0, 0, 5);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    claim(tly_ormap_settle_life(world.node[1], 2, end) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.carried_units, 5);
    assert_int_equal(read_at(1, "s:a", 0, 0), 15);
}

/*
 * A source of which one has to wait for another brings the word that a key was deleted, or lacks what that took away: the next one does not show it any more.
 */
static void what_a_snapshot_shows_as_deleted_is_not_carried_over_by_the_next(void **state)
{
    hit(0, "s:a", 0, 0, 1);
    hit(0, "s:b", 0, 0, 1);
    hit(1, "s:a", 0, 0, 10);
    hit(1, "s:b", 0, 0, 10);
    hit(1, "s:c", 0, 0, 10);
    sync_nodes(0, 1);
    sync_nodes(1, 0);
    remove_key(0, "s:a");
    forget_all(0);
    remove_key(0, "s:b"); /* this one is still known */
    sync_nodes(0, 2);
    uint64_t end = tly_ormap_mark(world.node[0], 2);
    settle_life(0, 2);
    hit(1, "s:a", 0, 0, 5);
    hit(1, "s:b", 0, 0, 5);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    hit(1, "s:c", 0, 0, 5);
    claim(tly_ormap_seal(world.node[1]) == TLY_OK);
    struct tly_dot ahead = world_dots(world.node[1], key("s:c"), &(size_t){0})[0];
    claim(world_apply(world.node[2], key("s:c"), &ahead) == TLY_APPLIED);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    claim(tly_ormap_settle_life(world.node[1], 2, end) == TLY_OK);
    install(2, 1, 2);
    assert_int_equal(read_at(1, "s:c", 0, 0), 15);
    install(0, 1, 2);
    assert_int_equal(report.carried_units, 5);
    assert_int_equal(read_at(1, "s:a", 0, 0), 0);
    assert_int_equal(read_at(1, "s:b", 0, 0), 0);
    assert_int_equal(read_at(1, "s:c", 0, 0), 15);
}

static void of_an_older_generation_nothing_is_carried_over(void **state)
{
    hit(1, "s:a", 0, 3, 10);
    sync_nodes(1, 0);
    settle_life(0, 2);
    hit(0, "s:a", 0, 4, 1);
    hit(1, "s:a", 0, 3, 5);
    claim(tly_ormap_begin_life(world.node[1], 22) == TLY_OK);
    install(0, 1, 2);
    assert_int_equal(report.carried, 0);
    assert_int_equal(read_at(1, "s:a", 0, 0), 1);
}

static void local_words_stay(void **state)
{
    hit(1, "s:a", 0, 0, 1);
    struct tly_entry *entry = tly_ormap_find(world.node[1], key("s:a"));
    claim(tly_entry_need_local(world.node[1], &entry) == TLY_OK);
    tly_entry_local(entry)[1] = 42;
    install(0, 1, 0);
    entry = tly_ormap_find(world.node[1], key("s:a"));
    assert_int_equal(tly_entry_local(entry)[1], 42);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(what_was_deleted_and_forgotten_goes_and_what_is_new_stays),
        scene(a_mark_does_not_outlive_what_it_stood_for),
        scene(a_mark_does_not_cover_what_was_hidden_by_what_goes),
        scene(a_mark_does_not_cover_what_was_hidden_by_what_was_left_out),
        scene(a_life_whose_words_were_hidden_by_what_goes_is_unsure),
        scene(a_mark_falls_to_that_of_the_source),
        scene(joining_alone_would_revive),
        scene(floors_ends_of_lives_and_the_lost_mark_come_with_it),
        scene(nothing_is_seen_of_it_before_it_is_whole),
        scene(writes_go_on_while_it_is_staged),
        scene(without_memory_the_map_is_as_it_was),
        scene(a_source_with_an_old_disk_revives_nothing),
        scene(what_lay_under_a_refused_row_stays),
        scene(what_lay_under_a_row_past_both_ends_stays),
        scene(a_row_past_an_end_that_is_here_too_is_not_refused),
        scene(a_mark_does_not_cover_what_a_refused_row_hid_there),
        scene(what_is_older_than_what_was_forgotten_there_does_not_come_back),
        scene(own_counts_survive_sealed_or_not),
        scene(own_counts_older_than_what_was_forgotten_are_said_anew),
        scene(a_remove_in_the_snapshot_restarts_own_counts),
        scene(what_lies_behind_the_own_end_of_a_life_and_before_theirs_comes),
        scene(a_life_that_the_source_never_had_is_not_everybodys_any_more),
        scene(a_settled_life_that_lives_must_begin_anew_first),
        scene(what_nobody_had_heard_is_carried_over_and_nothing_else),
        scene(what_was_carried_over_once_is_not_again),
        scene(of_a_life_that_is_not_settled_the_dots_themselves_stay),
        scene(of_a_deleted_key_nothing_is_carried_over),
        scene(what_was_left_out_below_the_mark_is_carried_over),
        scene(what_was_left_out_of_two_lives_is_carried_over),
        scene(what_is_newer_there_takes_no_counts_away),
        scene(nothing_is_carried_over_by_who_has_not_settled_it_yet),
        scene(nothing_is_carried_over_by_who_has_more_than_its_end),
        scene(what_began_anew_past_an_end_went_on_from_nothing),
        scene(a_register_past_its_end_keeps_no_count_back),
        scene(nothing_is_carried_over_past_a_source_that_has_less_than_the_end),
        scene(what_nobody_had_heard_is_carried_over_past_a_source_that_has_all_up_to_the_end),
        scene(what_a_snapshot_shows_as_deleted_is_not_carried_over_by_the_next),
        scene(of_an_older_generation_nothing_is_carried_over),
        scene(local_words_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
