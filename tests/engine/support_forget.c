#include "tests/engine/support_forget.h"

#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

const struct tly_engine_config stored = {
    .has_store = true, .tombstone_grace_ms = GRACE_MS, .forget_after_ms = 600000};

struct net *some_nodes(size_t count)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < count; i++)
        net_add_with(net, stored, i == 0 ? 2 : 1);
    net_run(net, 3 * S);
    return net;
}

void put(struct net *net, size_t node, const char *key, const char *value)
{
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = tly_slice_text(value)};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

bool holds(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(key)};
    return net_ask(net, node, request, &reply) == TLY_OK;
}

void del(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text(key)};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

void forget_member(struct net *net, size_t node, const char *name)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text(name)};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

size_t removes(struct net *net, size_t node)
{
    struct tly_forget_view view;
    tly_engine_forgetting(net_node(net, node), &view);
    return view.removes;
}

void block_all(struct net *net, size_t node, size_t count, bool blocked)
{
    for (size_t i = 0; i < count; i++)
        if (i != node) net_block(net, node, i, blocked);
}

void claim_equal(struct net *net, size_t count)
{
    for (size_t i = 1; i < count; i++)
        assert_int_equal(net_digest(net, i), net_digest(net, 0));
}
