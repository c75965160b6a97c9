#include "tests/engine/support_hard.h"

#include "tests/engine/support_zone.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

static struct tly_rules *no_rules(void)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    claim(rules != NULL);
    return rules;
}

static void add(struct tly_rules *rules, const struct tly_rate *rate)
{
    struct tly_rule rule = {.name = "hard", .field_count = 1, .field = {"who"}, .rate = *rate};
    claim(tly_mode_parse(tly_slice_text("hard"), &rule.rate) == TLY_OK);
    claim(tly_rules_add(rules, &rule) == TLY_OK);
}

struct tly_rules *hard_rules(uint64_t limit, uint64_t window_ms)
{
    struct tly_rules *rules = no_rules();
    struct tly_rate rate = {.limit = limit, .window_ms = window_ms, .algorithm = TLY_FIXED_WINDOW};
    add(rules, &rate);
    return rules;
}

void hard_use_quota(struct net *net, size_t node, const char *rate, const char *zone)
{
    struct tly_rules *rules = no_rules();
    struct tly_rate quota = {.algorithm = TLY_QUOTA};
    claim(tly_rate_parse(tly_slice_text(rate), &quota) == TLY_OK);
    quota.zone = tly_rules_keep_zone(rules, zone, zone_of(zone));
    add(rules, &quota);
    tly_engine_use_rules(net_node(net, node), rules);
}

void hard_use(struct net *net, size_t node, uint64_t limit, uint64_t window_ms)
{
    tly_engine_use_rules(net_node(net, node), hard_rules(limit, window_ms));
}

void hard_use_counter(struct net *net, size_t node, int64_t min, uint64_t max)
{
    struct tly_rules *rules = no_rules();
    struct tly_rate counter = {.algorithm = TLY_COUNTER, .limit = max, .min = min};
    add(rules, &counter);
    tly_engine_use_rules(net_node(net, node), rules);
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
