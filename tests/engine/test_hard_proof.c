/* Hard limits: who may have been given up has stopped by the time others take what it held; and nobody else stops. */
#include "service/engine/impl.h"
#include "tests/engine/support_hard.h"
#include "tests/support/cmocka.h"
#include "wire/pack.h"

#include <string.h>

#define LIMIT 2400
#define AFTER_MS 40000
#define SKEW_MS 5000

static struct net *cluster(size_t nodes, size_t mesh_max, uint64_t forget_after_ms)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < nodes; i++) {
        struct tly_engine_config config = {
            .mesh_max = mesh_max, .forget_after_ms = forget_after_ms, .max_skew_ns = SKEW_MS * MS};
        (void)net_add_with(net, config, i == 0 ? 0 : 1);
        hard_use(net, i, LIMIT, 1000);
    }
    net_run(net, 60 * S); /* the connections by which a ring met are closed again */
    return net;
}

static uint64_t admitted_by(struct net *net, size_t node)
{
    uint64_t admitted = 0;
    for (uint32_t hits = 1024; hits > 0;)
        if (hard_ask(net, node, hits).code == TLY_CODE_OK)
            admitted += hits;
        else
            hits /= 2;
    return admitted;
}

/* What all admit at once of the window that begins next, those that are marked in `out` left out. */
static uint64_t admitted_without(struct net *net, size_t nodes, uint64_t out)
{
    uint64_t admitted = 0;
    net_run(net, S - (NET_WALL_START + net_now(net)) % S);
    for (size_t i = 0; i < nodes; i++)
        if ((out >> i & 1) == 0) admitted += admitted_by(net, i);
    if (admitted > LIMIT)
        fail_msg("%zu of %d, after %zu s", (size_t)admitted, LIMIT, (size_t)(net_now(net) / S));
    return admitted;
}

/* From now on those that are marked hear only each other, as do the others. */
static void split(struct net *net, size_t nodes, uint64_t out, bool apart)
{
    for (size_t i = 0; i < nodes; i++)
        for (size_t j = 0; j < i; j++)
            if ((out >> i & 1) != (out >> j & 1)) net_block(net, i, j, apart);
}

static void forget(struct net *net, size_t node, const char *name)
{
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text(name)};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

/* ---- a ring ---- */

/* Most have no connection to most, and there is nothing to say. */
static void a_ring_at_rest_admits_all_there_is(void **state)
{
    enum { NODES = 24 };
    struct net *net = cluster(NODES, 4, 120000);
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(admitted_without(net, NODES, 0), LIMIT);
        net_run(net, 100 * S);
    }
    net_free(net);
}

static void in_a_ring_one_that_fell_stops_nobody_else(void **state)
{
    enum { NODES = 12 };
    struct net *net = cluster(NODES, 4, 120000);
    net_kill(net, NODES - 1);
    for (size_t i = 0; i < 12; i++) {
        assert_true(admitted_without(net, NODES, 1 << (NODES - 1)) >= LIMIT / NODES * (NODES - 2));
        net_run(net, 60 * S);
    }
    net_free(net);
}

/* A few, or one, which are given up as soon as may be: by an operator. */
static void in_a_ring_who_is_cut_off_stops_before_others_have_its_share(void **state)
{
    enum { NODES = 12 };
    for (size_t several = 0; several < 2; several++) {
        struct net *net = cluster(NODES, 4, AFTER_MS);
        uint64_t out = several == 1 ? 7 << 4 : 1 << 5, after = 0;
        split(net, NODES, out, true);
        for (; after < AFTER_MS / 4000; after++)
            assert_int_equal(admitted_without(net, NODES, 0), LIMIT);
        forget(net, 0, "n5");
        if (several == 1) forget(net, 0, "n4");
        if (several == 1) forget(net, 0, "n6");
        for (; after <= AFTER_MS / 2000; after++)
            (void)admitted_without(net, NODES, 0);
        for (; after < 3 * AFTER_MS / 1000; after++) {
            (void)admitted_without(net, NODES, 0);
            for (size_t i = 4; i < 7; i++)
                assert_true((out >> i & 1) == 0 || hard_ask(net, i, 0).held == 0);
        }
        assert_int_equal(admitted_without(net, NODES, out), LIMIT);
        split(net, NODES, out, false);
        for (; after < 5 * AFTER_MS / 1000; after++)
            (void)admitted_without(net, NODES, 0);
        if (several == 0) assert_int_equal(admitted_without(net, NODES, 0), LIMIT);
        net_free(net);
    }
}

/* ---- what proves nothing ---- */

static bool has_just_pinged(struct net *net, size_t node)
{
    const struct tly_engine *e = net_node(net, node);
    for (size_t i = 0; i < e->conn_count; i++)
        if (net_now(net) - e->conns[i]->last_ping < MS) return true;
    return false;
}

/* It is given up, wakes, and all that was on its way to it when it was stopped comes at once: the answer to a ping. */
static void who_was_stopped_for_long_hears_old_news(void **state)
{
    struct net *net = cluster(3, 0, AFTER_MS);
    while (!has_just_pinged(net, 2))
        net_run(net, MS / 2);
    net_pause(net, 2, true);
    net_run(net, 12 * S);
    forget(net, 0, "n2");
    net_run(net, 60 * S);
    assert_int_equal(admitted_without(net, 2, 0), LIMIT);
    for (size_t i = 0; i < 2; i++)
        net_hole(net, 2, i, true);
    net_pause(net, 2, false);
    for (size_t i = 0; i < 20; i++)
        (void)admitted_without(net, 3, 0);
    for (size_t i = 0; i < 2; i++)
        net_hole(net, 2, i, false);
    net_run(net, 60 * S);
    assert_int_equal(admitted_without(net, 3, 0), LIMIT);
    net_free(net);
}

/* They answer its pings while they bring it up, whatever they know of its life. */
static void who_brings_a_node_up_vouches_for_nothing(void **state)
{
    struct net *net = cluster(3, 0, AFTER_MS);
    struct tly_engine *e = net_node(net, 2);
    for (size_t i = 0; i < e->conn_count; i++)
        e->conns[i]->is_cold = true;
    net_run(net, AFTER_MS / 2 * MS);
    assert_int_equal(net_peers_up(net, 2), 2);
    net_run(net, S);
    assert_int_equal(hard_ask(net, 2, 0).held, 0);
    assert_true(hard_ask(net, 0, 0).held > 0);
    net_free(net);
}

/* ---- words ---- */

static struct peer *peer_of(struct net *net, size_t node, size_t other)
{
    char name[] = {'n', (char)('0' + other), '\0'};
    struct peer *peer = tly_peer_find(net_node(net, node), tly_slice_text(name));
    assert_non_null(peer);
    return peer;
}

/* Those that node 0 is linked to do not hold as much of the line as it needs; one of the others. */
static struct net *ring(size_t *far)
{
    struct net *net = cluster(12, 4, AFTER_MS);
    *far = 1;
    while (peer_of(net, 0, *far)->conn != NULL)
        ++*far;
    return net;
}

/* The far one says that to the question of this life it has heard so much; in a dot of that life. */
static void put_word(struct net *net, size_t far, uint64_t life, uint64_t asked, struct tly_version version)
{
    struct tly_engine *e = net_node(net, 0);
    char key[] = "sys:proof:n?";
    key[11] = (char)('0' + far);
    struct tly_buf buf;
    tly_buf_init(&buf, &e->mem, 1024);
    tly_put_array(&buf, 3);
    tly_put_uint(&buf, 0);
    tly_put_uint(&buf, life);
    tly_put_uint(&buf, asked);
    struct tly_dot dot = {.version = version, .op = TLY_PUT, .bytes = tly_buf_slice(&buf)};
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_repair(e->map, tly_slice_text(key), &dot, &outcome), TLY_OK);
    tly_buf_fini(&buf);
    e->proof.is_news = true;
    tly_proof_step(e, TLY_NEVER);
}

static void an_answer_is_to_the_last_question_of_this_life(void **state)
{
    size_t far;
    struct net *net = ring(&far);
    struct tly_engine *e = net_node(net, 0);
    struct peer *peer = peer_of(net, 0, far);
    uint64_t own = net_origin(net, 0), life = net_origin(net, far), other = net_origin(net, far + 1);
    uint64_t ts = tly_ormap_mark(e->map, life) + 1000, asked = e->proof.asked;
    assert_true(asked != 0 && tly_proof_of(peer, life) != 0);
    peer->proven_at = 0;
    put_word(net, far, own, asked - 1, (struct tly_version){ts + 1, life});
    put_word(net, far, other, asked, (struct tly_version){ts + 2, life});
    put_word(net, far, own, asked, (struct tly_version){ts + 3, other});
    assert_int_equal(tly_proof_of(peer, life), 0);
    put_word(net, far, own, asked, (struct tly_version){ts + 4, life});
    assert_int_equal(tly_proof_of(peer, life), e->proof.asked_at);
    assert_int_equal(tly_proof_of(peer, other), 0);
    net_free(net);
}

/* How often a node's word names that life. */
static size_t names(struct net *net, size_t node, uint64_t life)
{
    struct tly_engine *e = net_node(net, node);
    char key[] = "sys:proof:n?";
    key[11] = (char)('0' + node); /* of the first ten */
    const struct tly_entry *entry = tly_ormap_find(e->map, tly_slice_text(key));
    size_t count = 0, names = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    if (count != 1) return 0;
    struct tly_cursor cursor = tly_cursor_of(dots[0].bytes);
    size_t elements = tly_get_array(&cursor, 64);
    for (size_t i = 0; i < elements; i++)
        names += tly_get_uint(&cursor) == life && i % 2 == 1;
    return names;
}

static void nobody_answers_who_knows_that_life_to_be_over(void **state)
{
    size_t far;
    struct net *net = ring(&far);
    struct tly_engine *e = net_node(net, far);
    uint64_t own = net_origin(net, 0);
    assert_int_equal(names(net, far, own), 1);
    assert_int_equal(names(net, far, net_origin(net, far)), 0);
    assert_int_equal(tly_lives_close(e, own, tly_slice_text("n0")), TLY_OK);
    assert_int_equal(peer_of(net, far, 0)->state, MEMBER_ALIVE);
    for (size_t i = 0; i < e->peer_count; i++)
        e->peers[i]->answered = 0;
    e->proof.said_at = 0; /* as if the last word were older */
    tly_proof_step(e, TLY_NEVER);
    assert_int_equal(names(net, far, own), 0);
    net_free(net);
}

/* Its rules name no hard limit any more. */
static void who_has_no_hard_limit_answers_too(void **state)
{
    size_t far;
    struct net *net = ring(&far);
    struct tly_engine *e = net_node(net, far);
    tly_engine_use_rules(e, NULL);
    e->escrow.is_used = false; /* as after a start */
    uint64_t said_at = e->proof.said_at;
    net_run(net, AFTER_MS / 2 * MS);
    assert_true(e->proof.said_at > said_at);
    net_free(net);
}

/* Where all are linked, pings are enough. */
static void in_a_mesh_nobody_says_anything(void **state)
{
    struct net *net = cluster(4, 0, 120000);
    uint64_t met_at = net_now(net);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(admitted_without(net, 4, 0), LIMIT);
        net_run(net, 60 * S);
    }
    for (size_t i = 0; i < 4; i++)
        assert_true(net_node(net, i)->proof.said_at < met_at);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_at_rest_admits_all_there_is),
        cmocka_unit_test(in_a_ring_one_that_fell_stops_nobody_else),
        cmocka_unit_test(in_a_ring_who_is_cut_off_stops_before_others_have_its_share),
        cmocka_unit_test(who_was_stopped_for_long_hears_old_news),
        cmocka_unit_test(who_brings_a_node_up_vouches_for_nothing),
        cmocka_unit_test(an_answer_is_to_the_last_question_of_this_life),
        cmocka_unit_test(nobody_answers_who_knows_that_life_to_be_over),
        cmocka_unit_test(who_has_no_hard_limit_answers_too),
        cmocka_unit_test(in_a_mesh_nobody_says_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
