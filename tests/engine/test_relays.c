/* Where many are: who hands on what another did not hear, and what it costs when all heard it. */
#include "service/engine/impl.h"
#include "service/engine/ring.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

/* When marks have been told, two hand on; the rest after so much more. */
#define TOLD (600 * MS)
#define REST (500 * MS)

static struct net *mesh(size_t nodes)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < nodes; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 45 * S); /* who had just met is thought to be cut off for a while */
    return net;
}

/* Of so many nodes, as they stand in the ring. */
static void in_the_order_of_the_ring(size_t *order, size_t n)
{
    uint64_t hash[16];
    for (size_t i = 0; i < n; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "n%zu", i);
        uint64_t own = tly_ring_hash(tly_slice_text(name));
        size_t at = i;
        for (; at > 0 && hash[at - 1] > own; at--) {
            hash[at] = hash[at - 1];
            order[at] = order[at - 1];
        }
        hash[at] = own;
        order[at] = i;
    }
}

static uint64_t mark_of(struct net *net, size_t node, uint64_t life)
{
    return tly_ormap_mark(net_node(net, node)->map, life);
}

static uint64_t taken(struct net *net, size_t node)
{
    return net_stats(net, node).dots_received;
}

/* Eight, and what the last of the ring writes the first does not hear of him. */
enum { NODES = 8, RELAYS = 2, FROM = NODES - 1, TO = 0 };

static struct net *one_link_silent(size_t order[NODES])
{
    struct net *net = mesh(NODES);
    in_the_order_of_the_ring(order, NODES);
    net_hole(net, order[FROM], order[TO], true);
    return net;
}

static void two_relay_when_all_are_told_and_the_rest_when_they_cannot(void **state)
{
    size_t order[NODES];
    struct net *net = one_link_silent(order);
    uint64_t before = taken(net, order[TO]);
    net_add_to(net, order[FROM], "k", 1);
    net_run(net, TOLD);
    assert_int_equal(net_read(net, order[TO], "k"), 1);
    net_run(net, 2 * S); /* … and the rest not at all */
    assert_in_range(taken(net, order[TO]) - before, 1, RELAYS);
    for (size_t i = 1; i <= RELAYS; i++)
        net_hole(net, order[i], order[TO], true);
    net_add_to(net, order[FROM], "k", 1);
    net_run(net, TOLD);
    assert_int_equal(net_read(net, order[TO], "k"), 1);
    net_run(net, REST);
    assert_int_equal(net_read(net, order[TO], "k"), 2);
    net_free(net);
}

/* Once it was seen that a link is silent nobody waits for it, until it is tried again. */
static void behind_a_silent_link_one_waits_once(void **state)
{
    size_t order[NODES];
    struct net *net = one_link_silent(order);
    net_add_to(net, order[FROM], "k", 1);
    net_run(net, TOLD + 100 * MS);
    for (int64_t i = 2; i < 10; i++) {
        net_add_to(net, order[FROM], "k", 1);
        net_run(net, 100 * MS);
        assert_int_equal(net_read(net, order[TO], "k"), i);
    }
    net_hole(net, order[FROM], order[TO], false);
    for (size_t i = 0; i < 20; i++) {
        net_run(net, 5 * S);
        net_add_to(net, order[FROM], "k", 1);
    }
    net_run(net, 5 * S);
    uint64_t before = taken(net, order[TO]);
    net_add_to(net, order[FROM], "k", 1);
    net_run(net, 2 * S);
    assert_int_equal(net_read(net, order[TO], "k"), 30);
    assert_int_equal(taken(net, order[TO]) - before, 1);
    net_free(net);
}

/*
 * What one wrote another deletes, or writes anew, and a third hears neither from whom it is: the mark of the first is due earlier, and rests on
 * what the other did, which goes along.
 */
static void expect_no_mark_before_what_it_rests_on(void (*makes_redundant)(struct net *net, size_t node))
{
    enum { OTHER = NODES - 2 };
    size_t order[NODES];
    struct net *net = one_link_silent(order);
    net_hole(net, order[OTHER], order[TO], true);
    size_t to = order[TO];
    uint64_t writer = net_origin(net, order[FROM]), other = net_origin(net, order[OTHER]);
    put(net, order[FROM], "kv:k", "old");
    net_run(net, 300 * MS);
    makes_redundant(net, order[OTHER]);
    net_run(net, 20 * MS);
    uint64_t written = mark_of(net, order[1], writer), done = mark_of(net, order[1], other);
    size_t looks = 0;
    for (; mark_of(net, to, writer) < written && looks < 1000; looks++)
        net_run(net, MS);
    assert_in_range(looks, 100, 999);             /* it was waited for … */
    assert_true(mark_of(net, to, other) >= done); /* … and the other was not */
    net_free(net);
}

static void deletes(struct net *net, size_t node)
{
    del(net, node, "kv:k");
}

static void writes_anew(struct net *net, size_t node)
{
    put(net, node, "kv:k", "new");
}

static void no_mark_overtakes_what_it_rests_on(void **state)
{
    expect_no_mark_before_what_it_rests_on(deletes);
    expect_no_mark_before_what_it_rests_on(writes_anew);
}

/*
 * … nor does a mark of one's own, of a dot that was on its way when another deleted it: one that has just sent waits a flush before it sends
 * again, and hears the delete meanwhile.
 */
static void no_own_mark_overtakes_what_made_its_dots_redundant(void **state)
{
    enum { RELAY = 1, OTHER = 2, BY = 3 };
    size_t order[NODES];
    struct net *net = one_link_silent(order);
    size_t to = order[TO], relay = order[RELAY], by = order[BY];
    uint64_t deleter = net_origin(net, by), own = net_origin(net, relay);
    net_hole(net, order[OTHER], to, true);
    net_hole(net, by, to, true);
    net_add_to(net, order[FROM], "first", 1);
    size_t looks = 0;
    for (; net_read(net, to, "first") != 1 && looks < 4000; looks++)
        net_run(net, MS / 4);
    assert_in_range(looks, 2000, 3999); /* it was relayed, just now */
    net_add_to(net, relay, "k", 1);
    net_run(net, MS);
    del(net, by, "k");
    net_run(net, 2 * MS);
    uint64_t written = mark_of(net, relay, own), deleted = mark_of(net, relay, deleter);
    assert_int_equal(net_read(net, relay, "k"), INT64_MIN);
    assert_true(mark_of(net, to, own) < written); /* it is on its way */
    for (looks = 0; mark_of(net, to, own) < written && looks < 1000; looks++)
        net_run(net, MS);
    assert_in_range(looks, 1, 100);
    assert_true(mark_of(net, to, deleter) >= deleted);
    net_free(net);
}

/* Few, where what the writer makes comes to all others over one way, and has begun to. */
enum { WRITER, WAY, OTHER, THIRD, LAST, ROUND_COUNT };

static struct net *one_way_round(void)
{
    struct net *net = mesh(ROUND_COUNT);
    net_hole(net, WRITER, OTHER, true);
    net_hole(net, WRITER, THIRD, true);
    net_hole(net, WRITER, LAST, true);
    net_hole(net, WAY, LAST, true);
    put(net, WRITER, "kv:j", "1");
    return net;
}

static void expect_the_last_to_have_what_the_mark_rests_on(struct net *net)
{
    uint64_t writer = net_origin(net, WRITER), other = net_origin(net, OTHER);
    uint64_t written = mark_of(net, THIRD, writer), done = mark_of(net, THIRD, other);
    assert_int_equal(written, mark_of(net, WAY, writer));
    assert_true(mark_of(net, LAST, writer) < written && mark_of(net, LAST, other) < done);
    size_t looks = 0;
    for (; mark_of(net, LAST, writer) < written && looks < 1000; looks++)
        net_run(net, MS / 4);
    assert_in_range(looks, 10, 999);
    assert_true(mark_of(net, LAST, other) >= done);
}

/*
 * What one wrote another has replaced on the way to a third, which has only the other's, where nobody else stands in its key, and hears of the
 * first what its mark is, without a row. Then the mark is due earlier at a fourth than what it rests on: that goes along.
 */
static void no_mark_without_a_row_overtakes_the_register_it_rests_on(void **state)
{
    struct net *net = one_way_round();
    net_run(net, 53 * MS);
    put(net, OTHER, "kv:x", "1"); /* its word that it has this tells that it has the other's from elsewhere */
    net_run(net, MS);
    net_hole(net, OTHER, LAST, true);
    net_run(net, 6 * MS);
    put(net, WRITER, "kv:k", "old");
    net_run(net, 4 * MS);
    put(net, OTHER, "kv:k", "new");
    net_run(net, 30 * MS);
    expect_the_last_to_have_what_the_mark_rests_on(net);
    net_free(net);
}

static void set(struct net *net, size_t node, const char *key, int64_t number)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_SET, .key = tly_slice_text(key), .number = number};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

/*
 * The same of a counter that was set anew, of which a third heard nothing when it counted: what stands at the new generation does not make
 * redundant what is newer, and what is counted next at that generation does.
 */
static void no_mark_without_a_row_overtakes_the_count_it_rests_on(void **state)
{
    struct net *net = one_way_round();
    net_run(net, 3 * MS);
    net_hole(net, WRITER, WAY, true);
    set(net, OTHER, "k", 10);
    net_run(net, 50 * MS);
    net_add_to(net, OTHER, "x", 1);
    net_run(net, MS);
    net_hole(net, OTHER, LAST, true);
    net_run(net, 6 * MS);
    net_hole(net, WRITER, WAY, false);
    net_add_to(net, WRITER, "k", 1);
    net_run(net, MS);
    net_hole(net, WRITER, WAY, true);
    net_run(net, 3 * MS);
    net_add_to(net, OTHER, "k", 1);
    net_run(net, 30 * MS);
    expect_the_last_to_have_what_the_mark_rests_on(net);
    net_free(net);
}

/*
 * What one wrote another has written anew before, for its clock is behind: at a third the newer stands there already, and the mark of the older
 * is due earlier. It rests on the newer, which goes along.
 */
static void no_mark_overtakes_the_register_that_took_its_dots_place(void **state)
{
    enum { NEWER = NODES - 2 };
    size_t order[NODES];
    struct net *net = one_link_silent(order);
    size_t to = order[TO], older = order[FROM], newer = order[NEWER], relay = order[1];
    uint64_t life = net_origin(net, older), other = net_origin(net, newer);
    net_hole(net, newer, to, true);
    net_hole(net, newer, older, true);
    put(net, older, "kv:a", "1");
    net_run(net, TOLD + 100 * MS);
    assert_true(holds(net, to, "kv:a")); /* from now on nobody waits for that link */
    net_shift_wall(net, older, -(int64_t)(300 * MS));
    put(net, newer, "kv:k", "newer");
    net_run(net, 2 * MS);
    put(net, older, "kv:k", "older");
    net_run(net, 20 * MS);
    uint64_t written = mark_of(net, relay, life), above = mark_of(net, relay, other);
    assert_true(written < above && mark_of(net, to, life) < written && mark_of(net, to, other) < above);
    size_t looks = 0;
    for (; mark_of(net, to, life) < written && looks < 1000; looks++)
        net_run(net, MS);
    assert_in_range(looks, 10, 300);
    assert_true(mark_of(net, to, other) >= above);
    net_free(net);
}

/* Over a long way: by when the word is here that a peer has it, nobody has relayed it. */
static void a_register_that_takes_nobodys_place_waits_for_its_own_link(void **state)
{
    enum { FEW = 3 };
    struct net *net = net_new(30 * MS);
    for (size_t i = 0; i < FEW; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 45 * S);
    char key[16];
    uint64_t redundant = 0;
    for (size_t i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof key, "kv:%zu", i);
        put(net, i % FEW, key, "v");
        net_run(net, 500 * MS);
        for (size_t at = 0; at < FEW; at++)
            assert_true(holds(net, at, key));
    }
    for (size_t i = 0; i < FEW; i++)
        redundant += net_stats(net, i).dots_redundant;
    assert_in_range(redundant, 0, 4); /* 40 were taken */
    net_free(net);
}

/* Bytes that a write costs all links together when nothing fails. */
static uint64_t bytes_each(bool deletes)
{
    enum { MANY = 16, WRITES = 400 };
    struct net *net = mesh(MANY);
    uint64_t bytes = net_bytes(net);
    net_run(net, 10 * S);
    uint64_t idle = net_bytes(net) - bytes;
    bytes = net_bytes(net);
    for (size_t i = 0; i < WRITES; i++) {
        net_add_to(net, i % MANY, "k", 1);
        if (deletes) del(net, i % MANY, "k");
        net_run(net, 25 * MS);
    }
    uint64_t each = (net_bytes(net) - bytes - idle) / WRITES;
    net_run(net, S);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(net_read(net, i, "k"), deletes ? INT64_MIN : WRITES);
    net_free(net);
    return each;
}

/* Each answers each with what has come together by then: all at once it would be 2,710 bytes, and more of deletes. */
static void a_mesh_of_sixteen_says_little_of_each_dot(void **state)
{
    uint64_t counted = bytes_each(false), deleted = bytes_each(true);
    print_message("%llu bytes a dot, %llu a delete\n", (unsigned long long)counted,
                  (unsigned long long)deleted);
    assert_true(counted < 15 * 80);
    assert_true(deleted < 15 * 100);
}

/* Where ways differ a peer may tell of what has not come here yet: then it is not lacking. */
static void who_had_it_first_is_sent_nothing(void **state)
{
    enum { WRITES = 200 };
    struct net *net = mesh(NODES);
    net_jitter(net, 60 * MS, 1);
    for (size_t i = 0; i < WRITES; i++) {
        net_add_to(net, i % NODES, "k", 1);
        net_run(net, 40 * MS);
    }
    net_run(net, 2 * S);
    uint64_t redundant = 0;
    for (size_t i = 0; i < NODES; i++) {
        assert_int_equal(net_read(net, i, "k"), WRITES);
        redundant += net_stats(net, i).dots_redundant;
    }
    print_message("%llu dots came twice\n", (unsigned long long)redundant);
    assert_in_range(redundant, 0, WRITES / 10);
    net_free(net);
}

/* ---- where not all are linked to all ---- */

static struct net *ring_of(size_t nodes)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < nodes; i++)
        net_add_with(net, (struct tly_engine_config){.mesh_max = 4}, i == 0 ? 0 : 1);
    net_run(net, 90 * S); /* who had just met is thought to be cut off for a while */
    return net;
}

static const struct peer *peer_of(struct net *net, size_t at, size_t about)
{
    const struct tly_engine *e = net_node(net, at);
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->member_origin == net_origin(net, about)) return e->peers[i];
    fail_msg("n%zu does not know n%zu", at, about);
    return NULL;
}

static bool are_linked(struct net *net, size_t a, size_t b)
{
    return peer_of(net, a, b)->is_linked;
}

/* Who is on his turn to bring one what another makes, of those that could; SIZE_MAX: nobody. More than one must not be. */
static size_t on_turn(struct net *net, size_t nodes, size_t from, size_t to, enum turn turn)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < nodes; i++) {
        if (i == from || i == to || !are_linked(net, i, to)) continue;
        const struct tly_engine *e = net_node(net, i);
        size_t place = tly_ring_place(e, net_origin(net, from));
        assert_int_not_equal(place, TLY_NOWHERE);
        if (tly_ring_turn(e, peer_of(net, i, to), place) != turn) continue;
        assert_int_equal(found, SIZE_MAX);
        found = i;
    }
    return found;
}

/*
 * All compute it alike: one brings each what another makes, one more when he does not, and the way back over the first of each ends there. None
 * has more to bring than another.
 */
static void of_a_members_neighbours_one_relays_first_and_one_second(void **state)
{
    static const size_t sizes[] = {6, 9, 20, 33};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s], longest = 0, brings[33] = {0};
        struct net *net = ring_of(n);
        for (size_t from = 0; from < n; from++)
            for (size_t to = 0; to < n; to++) {
                if (to == from) continue;
                size_t at = to, links = 1;
                for (; !are_linked(net, from, at); links++) {
                    at = on_turn(net, n, from, at, FIRST_TO_RELAY);
                    assert_in_range(at, 0, n - 1);
                    assert_in_range(links, 1, n);
                }
                size_t first = on_turn(net, n, from, to, FIRST_TO_RELAY);
                if (at == to) assert_int_equal(first, SIZE_MAX);
                brings[at == to ? from : first]++;
                assert_in_range(on_turn(net, n, from, to, SECOND_TO_RELAY), 0, n - 1);
                if (links > longest) longest = links;
            }
        assert_int_equal(longest, net_node(net, 0)->ring.most);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(brings[i], n - 1);
        net_free(net);
    }
}

enum { RING = 20 };

static void in_a_ring_a_dot_comes_to_each_once_and_waits_for_nobody(void **state)
{
    enum { WRITES = 60, HOP = 11 };
    struct net *net = ring_of(RING);
    size_t most = net_node(net, 0)->ring.most;
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < RING; i++)
        before += net_stats(net, i).dots_redundant;
    for (int64_t i = 0; i < WRITES; i++) {
        net_add_to(net, (size_t)i % RING, "k", 1);
        net_run(net, (most * HOP + 1) * MS);
        for (size_t at = 0; at < RING; at++)
            assert_int_equal(net_read(net, at, "k"), i + 1);
        net_run(net, 2 * S);
    }
    for (size_t i = 0; i < RING; i++)
        after += net_stats(net, i).dots_redundant;
    print_message("%zu dots came twice\n", (size_t)(after - before));
    assert_in_range(after - before, 0, WRITES * RING / 20);
    net_free(net);
}

static void in_a_ring_where_the_first_is_silent_the_second_relays_and_else_the_rest(void **state)
{
    enum { AWAY = 150 * MS }; /* the ways to who relays, and from who is not in its way */
    struct net *net = ring_of(RING);
    size_t to = 1;
    while (are_linked(net, 0, to))
        to++;
    size_t first = on_turn(net, RING, 0, to, FIRST_TO_RELAY),
           second = on_turn(net, RING, 0, to, SECOND_TO_RELAY);
    net_hole(net, first, to, true);
    net_add_to(net, 0, "k", 1);
    net_run(net, 400 * MS);
    assert_int_equal(net_read(net, to, "k"), INT64_MIN);
    net_run(net, TOLD - 400 * MS + AWAY);
    assert_int_equal(net_read(net, to, "k"), 1);
    net_add_to(net, 0, "k", 1); /* … and from then on he does not wait so long */
    net_run(net, 2 * AWAY);
    assert_int_equal(net_read(net, to, "k"), 2);
    net_hole(net, second, to, true);
    net_add_to(net, 0, "k", 1);
    net_run(net, TOLD + AWAY);
    assert_int_equal(net_read(net, to, "k"), 2);
    net_run(net, REST);
    assert_int_equal(net_read(net, to, "k"), 3);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_members_neighbours_one_relays_first_and_one_second),
        cmocka_unit_test(in_a_ring_a_dot_comes_to_each_once_and_waits_for_nobody),
        cmocka_unit_test(in_a_ring_where_the_first_is_silent_the_second_relays_and_else_the_rest),
        cmocka_unit_test(two_relay_when_all_are_told_and_the_rest_when_they_cannot),
        cmocka_unit_test(behind_a_silent_link_one_waits_once),
        cmocka_unit_test(no_mark_overtakes_what_it_rests_on),
        cmocka_unit_test(no_own_mark_overtakes_what_made_its_dots_redundant),
        cmocka_unit_test(no_mark_without_a_row_overtakes_the_register_it_rests_on),
        cmocka_unit_test(no_mark_without_a_row_overtakes_the_count_it_rests_on),
        cmocka_unit_test(no_mark_overtakes_the_register_that_took_its_dots_place),
        cmocka_unit_test(a_register_that_takes_nobodys_place_waits_for_its_own_link),
        cmocka_unit_test(who_had_it_first_is_sent_nothing),
        cmocka_unit_test(a_mesh_of_sixteen_says_little_of_each_dot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
