/*
 * Several limits in one check, at one moment: of ALL each is charged with its hits or none is, of EACH those that admit. What is used of each is
 * asked before and after; one that is named twice is charged twice.
 */
#include "tests/sim/sim.h"

static uint64_t used_now(struct sim *sim, size_t i, const struct tly_check *check)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = *check};
    request.check.hits = 0;
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK, "n%zu does not peek at %.*s: %s", i, (int)check->key.n,
              (const char *)check->key.p, tly_result_text(result));
    return reply.verdict.used;
}

/* By all of them that charge this key. */
static uint64_t charged(const struct tly_checked *checks, size_t count, const struct tly_slice *key, bool all)
{
    uint64_t sum = 0;
    for (size_t j = 0; j < count; j++)
        if (tly_slice_equal(checks[j].check.key, *key) && !checks[j].verdict.full &&
            (all || tly_verdict_counts(&checks[j].verdict)))
            sum += checks[j].check.hits;
    return sum;
}

void sim_check_several(struct sim *sim, size_t i, enum tly_request_kind kind, struct tly_checked *checks,
                       size_t count)
{
    uint64_t before[TLY_CHECK_ALL_MAX];
    struct tly_reply reply;
    struct tly_request request = {.kind = kind, .checked = checks, .checked_count = count};
    for (size_t j = 0; j < count; j++)
        before[j] = used_now(sim, i, &checks[j].check);
    enum tly_result result = sim_ask(sim, i, &request, &reply);
    sim_claim(sim, result == TLY_OK, "n%zu does not check several: %s", i, tly_result_text(result));
    bool all = kind == TLY_ASK_CHECK_ALL;
    for (size_t j = 0; j < count; j++) {
        const struct tly_slice *key = &checks[j].check.key;
        if (checks[j].verdict.full) return; /* it is counted nowhere */
        uint64_t now = used_now(sim, i, &checks[j].check);
        uint64_t hits = all && reply.is_over ? 0 : charged(checks, count, key, all);
        sim_claim(sim, now == before[j] + hits,
                  "n%zu checks %zu limits at once%s: of %.*s %llu were used and %llu are, %llu were charged",
                  i, count, reply.is_over ? ", which is too much" : "", (int)key->n, (const char *)key->p,
                  (unsigned long long)before[j], (unsigned long long)now, (unsigned long long)hits);
    }
}
