#include "tests/engine/support_hard.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

struct tly_rules *hard_rules(uint64_t limit, uint64_t window_ms)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "hard", .field_count = 1, .field = {"who"}};
    claim(rules != NULL && tly_mode_parse(tly_slice_text("hard"), &rule.rate) == TLY_OK);
    rule.rate.limit = limit;
    rule.rate.window_ms = window_ms;
    rule.rate.algorithm = TLY_FIXED_WINDOW;
    claim(tly_rules_add(rules, &rule) == TLY_OK);
    return rules;
}

void hard_use(struct net *net, size_t node, uint64_t limit, uint64_t window_ms)
{
    tly_engine_use_rules(net_node(net, node), hard_rules(limit, window_ms));
}

struct tly_verdict hard_ask(struct net *net, size_t node, uint32_t hits)
{
    struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    struct tly_reply reply;
    request.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = hits};
    claim(net_ask(net, node, request, &reply) == TLY_OK);
    claim(reply.verdict.bound == 0 && reply.verdict.mode == TLY_HARD);
    return reply.verdict;
}
