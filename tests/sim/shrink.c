/*
 * From a seed that fails to less that fails: faults are left out in halves, quarters and so on while it still fails by the same claim (ddmin).
 * What is left out changes what chance brings later, so this finds something small, not the smallest.
 */
#include "tests/sim/campaign.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SAID_BYTES ((size_t)512 * 1024)

/* What it says when it fails, without numbers: those differ from run to run. */
static void claim_of(const char *said, char claim[160])
{
    size_t n = 0;
    const char *at = strstr(said, "FAILED: ");
    if (at == NULL) at = strstr(said, "aborted");
    for (; at != NULL && *at != '\0' && *at != '\n' && n < 159; at++)
        if (*at < '0' || *at > '9') claim[n++] = *at;
    claim[n] = '\0';
}

static bool fails_alike(const struct sim_wish *wish, const char *claim)
{
    static char said[SAID_BYTES];
    char here[160];
    struct sim_sums sums = {0};
    if (sim_holds(wish, &sums, said, sizeof said)) return false;
    claim_of(said, here);
    /* The first words: what follows may name another key or node. */
    return claim[0] == '\0' || strncmp(here, claim, 24) == 0;
}

static uint64_t last_fault(const struct sim_wish *wish, char claim[160])
{
    static char said[SAID_BYTES];
    struct sim_sums sums = {0};
    if (sim_holds(wish, &sums, said, sizeof said)) return 0;
    claim_of(said, claim);
    uint64_t last = 0;
    for (const char *at = said; (at = strstr(at, "  fault ")) != NULL; at++) {
        uint64_t number = 0;
        if (sscanf(at, "  fault %" SCNu64, &number) == 1 && number > last) last = number;
    }
    return last;
}

/* Leaves out as many of [from, to) as can be; asks about the whole, then about its halves. */
static void leave_out(struct sim_wish *wish, const char *claim, uint64_t from, uint64_t to)
{
    if (from >= to) return;
    struct sim_wish less = *wish;
    for (uint64_t i = from; i < to; i++)
        sim_skip(&less.skips, i);
    if (fails_alike(&less, claim)) {
        *wish = less;
        return;
    }
    if (to - from == 1) return;
    uint64_t middle = from + (to - from) / 2;
    leave_out(wish, claim, middle, to);
    leave_out(wish, claim, from, middle);
}

static void print_skips(const struct sim_skips *skips)
{
    const char *before = " --skip ";
    for (uint64_t i = 0; i < SIM_SKIPS_MAX; i++) {
        if (!sim_is_skipped(skips, i)) continue;
        uint64_t last = i;
        while (last + 1 < SIM_SKIPS_MAX && sim_is_skipped(skips, last + 1))
            last++;
        printf("%s%" PRIu64, before, i);
        if (last > i) printf("-%" PRIu64, last);
        before = ",";
        i = last;
    }
}

static uint64_t kept(const struct sim_skips *skips, uint64_t last)
{
    uint64_t count = 0;
    for (uint64_t i = 1; i <= last; i++)
        if (!sim_is_skipped(skips, i)) count++;
    return count;
}

bool sim_shrink(struct sim_wish *wish)
{
    char claim[160] = "";
    uint64_t last = last_fault(wish, claim);
    if (claim[0] == '\0') return false;
    printf("seed %" PRIu64 " fails at fault %" PRIu64 ":%s\n", wish->seed, last, claim + 7);
    leave_out(wish, claim, last + 1, SIM_SKIPS_MAX);
    leave_out(wish, claim, 1, last + 1);
    /* Once more: what was needed for another may not be any more. */
    leave_out(wish, claim, 1, last + 1);
    printf("%" PRIu64 " faults of %" PRIu64 " are enough; again: tallysim --seed %" PRIu64,
           kept(&wish->skips, last), last, wish->seed);
    if (wish->nodes != 0) printf(" --nodes %" PRIu64, wish->nodes);
    if (wish->mesh != 0) printf(" --mesh %" PRIu64, wish->mesh);
    if (wish->minutes != 0) printf(" --minutes %" PRIu64, wish->minutes);
    print_skips(&wish->skips);
    printf(" --trace\n");
    return true;
}
