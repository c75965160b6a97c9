/* What members without a connection say that they heard: when it counts, and that it is true. Nodes 0 and 2 are not linked, nor are 1 and 3. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "wire/pack.h"

#include <string.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define NODES 4

static struct net *ring(uint64_t delay_ms)
{
    struct net *net = net_new(delay_ms * MS);
    for (size_t i = 0; i < NODES; i++)
        (void)net_add_with(net, (struct tly_engine_config){.mesh_max = 2}, i == 0 ? 0 : 1);
    net_run(net, 60 * S);
    for (size_t i = 0; i < NODES; i++)
        assert_int_equal(net_peers_up(net, i), 2);
    return net;
}

/* The one that node 0 has no connection to. */
static size_t far_of(struct net *net, size_t node)
{
    const struct tly_engine *e = net_node(net, node);
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->conn == NULL) return (size_t)(e->peers[i]->name[1] - '0');
    fail();
    return 0;
}

/* PROTOCOL.md, 8. */
static uint64_t number_of(const uint64_t *origins, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t x = (origins[i] ^ origins[i] >> 31) * UINT64_C(0x9e3779b97f4a7c15);
        sum += x ^ x >> 29;
    }
    return sum;
}

struct word {
    uint64_t heard, lives;
    struct tly_version version;
};

static void put_word(struct net *net, size_t node, size_t about, struct word word)
{
    struct tly_engine *e = net_node(net, node);
    char key[] = "sys:heard:n?";
    key[11] = (char)('0' + about);
    struct tly_buf buf;
    tly_buf_init(&buf, &e->mem, 1024);
    tly_put_array(&buf, 3);
    tly_put_uint(&buf, 0);
    tly_put_uint(&buf, word.heard);
    tly_put_uint(&buf, word.lives);
    struct tly_dot dot = {.version = word.version, .op = TLY_PUT, .bytes = tly_buf_slice(&buf)};
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_repair(e->map, tly_slice_text(key), &dot, &outcome), TLY_OK);
    tly_buf_fini(&buf);
    e->hearsay.read_at = 0; /* as in the next step */
}

static void a_word_counts_if_it_is_of_these_lives_and_all_before_it_is_here(void **state)
{
    struct net *net = ring(1);
    struct tly_engine *e = net_node(net, 0);
    size_t far = far_of(net, 0);
    uint64_t origins[NODES];
    for (size_t i = 0; i < NODES; i++)
        origins[i] = net_origin(net, i);
    uint64_t life = origins[far], lives = number_of(origins, NODES);
    uint64_t ts = tly_ormap_mark(e->map, life), other = origins[far == 1 ? 2 : 1];
    assert_int_equal(tly_ormap_raise_mark(e->map, life, ts + 100), TLY_OK);
    assert_int_equal(tly_ormap_raise_mark(e->map, other, ts + 100), TLY_OK);
    put_word(net, 0, far, (struct word){77, lives, {ts + 1, life}});
    assert_int_equal(tly_hearsay_far(e), 77);
    put_word(net, 0, far, (struct word){78, lives + 1, {ts + 2, life}});
    assert_int_equal(tly_hearsay_far(e), 0);
    put_word(net, 0, far, (struct word){80, lives, {ts + 4, life}});
    assert_int_equal(tly_hearsay_far(e), 80);
    put_word(net, 0, far, (struct word){81, lives, {ts + 5, other}});
    assert_int_equal(tly_hearsay_far(e), 0);
    put_word(net, 0, far, (struct word){82, lives, {ts + 101, life}}); /* beyond the mark */
    assert_int_equal(tly_hearsay_far(e), 0);
    net_free(net);
}

/* A capped limit of which everybody asks all the time, so that everybody says all the time what it has heard. */
static void ask_everywhere(struct net *net)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    struct tly_reply reply;
    request.check.key = tly_slice_text("k");
    request.check.rate = (struct tly_rate){
        .limit = 100000, .window_ms = 100000, .cap = 1000, .mode = TLY_CAPPED, .algorithm = TLY_FIXED_WINDOW};
    request.check.hits = 1;
    for (size_t i = 0; i < NODES; i++)
        assert_int_equal(net_ask(net, i, request, &reply), TLY_OK);
}

/* What a node has said last, it has. */
static void has_what_it_said(struct net *net, size_t node)
{
    struct tly_engine *e = net_node(net, node);
    for (size_t i = 0; i < NODES; i++)
        assert_true(e->hearsay.said_heard <= tly_ormap_mark(e->map, net_origin(net, i)));
}

/* What each takes the one far from it to have heard, that one has; whether it takes it to have heard anything. */
static size_t look_at_all(struct net *net, const size_t *far_from)
{
    size_t heard = 0;
    for (size_t j = 0; j < NODES; j++) {
        const struct tly_engine *other = net_node(net, far_from[j]);
        uint64_t far = tly_hearsay_far(net_node(net, j));
        has_what_it_said(net, j);
        if (far == TLY_NEVER) continue;
        assert_true(far <= tly_ormap_mark(other->map, net_origin(net, j)));
        heard += far > 0;
    }
    return heard;
}

/* One of them hears nothing for a while, and is heard. */
static void what_is_still_on_its_way_has_not_been_heard(void **state)
{
    struct net *net = ring(100);
    size_t heard = 0, deaf = far_of(net, 0), far_from[NODES];
    for (size_t i = 0; i < NODES; i++)
        far_from[i] = far_of(net, i);
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < NODES && (i == 150 || i == 200); j++)
            if (j != deaf) net_hole(net, j, deaf, i == 150);
        ask_everywhere(net);
        net_run(net, 50 * MS);
        heard += look_at_all(net, far_from);
    }
    assert_true(heard > 1000);
    net_free(net);
}

/* A node whose life ends says nothing more of what it heard in it. */
static void a_word_of_a_former_life_does_not_count(void **state)
{
    struct net *net = ring(1);
    for (size_t i = 0; i < 100; i++) {
        ask_everywhere(net);
        net_run(net, 50 * MS);
    }
    size_t far = far_of(net, 0);
    assert_true(tly_hearsay_far(net_node(net, 0)) > 0);
    net_restart(net, far, 4711, SIZE_MAX);
    net_run(net, 60 * S);
    uint64_t after = tly_hearsay_far(net_node(net, 0));
    const struct tly_engine *other = net_node(net, far);
    assert_true(after <= tly_ormap_mark(other->map, net_origin(net, 0)));
    for (size_t i = 0; i < 100; i++) {
        ask_everywhere(net);
        net_run(net, 50 * MS);
    }
    assert_true(tly_hearsay_far(net_node(net, 0)) > after);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_counts_if_it_is_of_these_lives_and_all_before_it_is_here),
        cmocka_unit_test(what_is_still_on_its_way_has_not_been_heard),
        cmocka_unit_test(a_word_of_a_former_life_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
