#include "tests/engine/support_net_impl.h"

#include "tests/support/cmocka.h"

/* ---- time ---- */

void net_jitter(struct net *net, uint64_t ns, uint64_t seed)
{
    net->jitter = ns;
    net->rng = test_rng_of(seed);
}

uint64_t net_arrival(struct net *net, struct wire *wire, int end, uint64_t at)
{
    if (net->jitter == 0) return at;
    at += test_rng_below(&net->rng, net->jitter + 1);
    if (at < wire->lands_at[end]) at = wire->lands_at[end];
    wire->lands_at[end] = at;
    return at;
}

/* ---- cuts ---- */

void net_cut_after(struct net *net, const struct net_cut_plan *plan)
{
    net->cut = *plan;
    net->cut_waits = true;
    net->was_cut = false;
}

bool net_was_cut(struct net *net)
{
    net->cut_waits = false;
    return net->was_cut;
}

size_t net_before_cut(struct net *net, const struct wire *wire, int end, size_t n)
{
    struct net_cut_plan *cut = &net->cut;
    if (!net->cut_waits || wire->node[end] != cut->from || wire->node[1 - end] != cut->to) return n;
    size_t passes = n <= cut->bytes ? n : (size_t)cut->bytes;
    cut->bytes -= passes;
    return passes;
}

/* All flights are put in their order anew, since some of them come later now. */
static void sort_flights(struct net *net)
{
    size_t count = net->flight_count;
    net->flight_count = 0;
    for (size_t i = 0; i < count; i++)
        net_push_flight(net, net->flights[i]);
}

void net_cut_now(struct net *net, struct wire *wire, int from)
{
    const struct net_cut_plan *cut = &net->cut;
    net->cut_waits = false;
    net->was_cut = true;
    for (int end = 0; end < 2; end++) {
        uint64_t late = cut->late_ns[end == from ? 0 : 1];
        for (size_t i = 0; i < net->flight_count; i++) {
            struct flight *flight = &net->flights[i];
            if (flight->what != DATA || flight->node != wire->node[end] || flight->conn != wire->id[end])
                continue;
            if (cut->bytes_late)
                flight->at += late;
            else if (end == from)
                flight->conn = UINT64_MAX; /* nobody has this number */
        }
        struct flight close = {.what = CLOSE, .node = wire->node[end], .conn = wire->id[end]};
        net_send_off(net, close, net_arrival(net, wire, end, net->now + net->delay) + late);
    }
    sort_flights(net);
    *wire = net->wires[--net->wire_count];
}

void net_hole(struct net *net, size_t a, size_t b, bool hole)
{
    net->hole[a][b] = net->hole[b][a] = hole;
}

/* ---- who listens ---- */

void net_listen(struct net *net, net_tap *tap, void *context)
{
    net->tap = tap;
    net->tap_context = context;
}

void net_hold_store(struct net *net, size_t node, bool held)
{
    struct node *it = &net->nodes[node];
    it->store_held = held;
    uint64_t given = it->batch_count - it->batches_before;
    if (!held && given > 0) net_event(net, node, (struct tly_event){.kind = TLY_STORED, .number = given});
}
