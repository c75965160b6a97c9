#include "tests/sim/campaign.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const stat_names[] = {
#define STAT_NAME(name, help) #name,
    TLY_STATS(STAT_NAME)
#undef STAT_NAME
};

/* ---- one seed ---- */

/* What is said when a seed aborts: a signal's handler may only write it. */
static char abort_text[200];
static volatile sig_atomic_t abort_text_n;

static void on_abort(int signal_number)
{
    (void)!write(STDOUT_FILENO, abort_text, (size_t)abort_text_n);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static void say_if_it_aborts(const struct sim_knobs *knobs)
{
    abort_text_n = 0;
    abort_text_n = snprintf(abort_text, sizeof abort_text,
                            "seed %" PRIu64 ": aborted; again: tallysim --seed %" PRIu64 "%s --trace\n",
                            knobs->seed, knobs->seed, knobs->how);
    (void)signal(SIGABRT, on_abort);
    (void)signal(SIGSEGV, on_abort);
}

static void add_all(uint64_t *to, const uint64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += from[i];
}

static void add_sums(struct sim_sums *to, const struct sim_sums *from)
{
    uint64_t worst_ns = to->worst_ns > from->worst_ns ? to->worst_ns : from->worst_ns;
    to->seeds += from->seeds;
    to->failed += from->failed;
    to->virtual_ns += from->virtual_ns;
    to->steps += from->steps;
    to->dots += from->dots;
    to->bytes += from->bytes;
    to->worst_ns = worst_ns;
    to->print += from->print;
    add_all(to->faults, from->faults, SIM_FAULT_COUNT);
    add_all(to->stats, from->stats, SIM_STATS);
    add_all(to->traces, from->traces, TLY_TRACE_COUNT);
}

static void put_how(const struct sim_wish *wish, char *how, size_t room)
{
    size_t n = 0;
    how[0] = '\0';
    if (wish->schedule != NULL) n += (size_t)snprintf(how, room, " --schedule %s", wish->schedule);
    if (wish->paced && n < room) n += (size_t)snprintf(how + n, room - n, " --paced");
    if (wish->nodes != 0 && n < room)
        n += (size_t)snprintf(how + n, room - n, " --nodes %" PRIu64, wish->nodes);
    if (wish->mesh != 0 && n < room) n += (size_t)snprintf(how + n, room - n, " --mesh %" PRIu64, wish->mesh);
    if (wish->minutes != 0 && n < room)
        (void)snprintf(how + n, room - n, " --minutes %" PRIu64, wish->minutes);
}

void sim_live(const struct sim_wish *wish, struct sim_sums *sums)
{
    struct sim_knobs knobs = sim_knobs_of(wish->seed);
    if (wish->nodes != 0) knobs.nodes = wish->nodes;
    if (wish->mesh != 0) sim_knobs_ring(&knobs, wish->mesh);
    if (wish->minutes != 0) knobs.trouble_ns = wish->minutes * SIM_MIN;
    if (wish->schedule != NULL) sim_schedule_knobs(wish->schedule, &knobs);
    if (wish->paced) sim_knobs_pace(&knobs);
    put_how(wish, knobs.how, sizeof knobs.how);
    say_if_it_aborts(&knobs);
    sim_tell_all(wish->trace);
    if (wish->trace) sim_knobs_print(&knobs);
    struct sim *sim = sim_new(&knobs);
    sim->watched = wish->watched;
    sim->skips = wish->skips;
    if (wish->schedule != NULL)
        sim_schedule_run(sim, wish->schedule);
    else
        sim_run(sim, sim->now + knobs.trouble_ns);
    sim_mend(sim);
    uint64_t took = wish->paced ? sim_check_readings(sim) : sim_check_end(sim);
    for (size_t i = 0; i < knobs.nodes; i++)
        if (sim->nodes[i].engine != NULL) sim_end_process(sim, i);
    *sums = (struct sim_sums){.seeds = 1,
                              .virtual_ns = sim->now,
                              .steps = sim->steps,
                              .dots = sim_twin_count(sim),
                              .bytes = sim_net_bytes(sim),
                              .worst_ns = took,
                              .print = sim_told_print()};
    add_all(sums->faults, sim->faults, SIM_FAULT_COUNT);
    add_all(sums->stats, sim->stats, SIM_STATS);
    add_all(sums->traces, sim->traces, TLY_TRACE_COUNT);
    sim_free(sim);
}

/* ---- processes ---- */

struct job {
    pid_t pid; /* 0: none */
    int sums;  /* a pipe, which has room for them */
    FILE *said;
    uint64_t seed;
};

static _Noreturn void live_in_child(const struct sim_wish *wish, int to, FILE *said)
{
    struct sim_sums sums;
    if (!wish->trace) (void)dup2(fileno(said), STDOUT_FILENO);
    sim_live(wish, &sums);
    bool all = write(to, &sums, sizeof sums) == (ssize_t)sizeof sums;
    exit(all ? 0 : 1); /* not _exit: what was reached is written down by a build for coverage */
}

static void begin(const struct sim_wish *wish, struct job *job)
{
    int pipes[2];
    FILE *said = tmpfile();
    (void)fflush(stdout);
    if (said == NULL || pipe(pipes) != 0) abort();
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) live_in_child(wish, pipes[1], said);
    (void)close(pipes[1]);
    *job = (struct job){.pid = pid, .sums = pipes[0], .said = said, .seed = wish->seed};
}

/* How it ended. */
static bool end(const struct job *job, int status, struct sim_sums *sums)
{
    struct sim_sums one = {0};
    bool holds = status == 0 && read(job->sums, &one, sizeof one) == (ssize_t)sizeof one;
    if (!holds) one = (struct sim_sums){.seeds = 1, .failed = 1};
    add_sums(sums, &one);
    (void)close(job->sums);
    return holds;
}

bool sim_holds(const struct sim_wish *wish, struct sim_sums *sums, char *said, size_t room)
{
    struct job job;
    int status = 0;
    begin(wish, &job);
    (void)waitpid(job.pid, &status, 0);
    bool holds = end(&job, status, sums);
    rewind(job.said);
    size_t n = 0;
    if (room > 0) n = fread(said, 1, room - 1, job.said);
    if (room > 0) said[n] = '\0';
    (void)fclose(job.said);
    return holds;
}

static void show(const struct job *job)
{
    char text[4096];
    rewind(job->said);
    for (size_t n; (n = fread(text, 1, sizeof text, job->said)) > 0;)
        (void)fwrite(text, 1, n, stdout);
    (void)fflush(stdout);
}

/* The next to end of those that run. */
static struct job *await(struct job *jobs, size_t count, int *status)
{
    pid_t pid = waitpid(-1, status, 0);
    for (size_t i = 0; i < count; i++)
        if (pid > 0 && jobs[i].pid == pid) return &jobs[i];
    abort();
}

/* ---- many ---- */

#define LONG_EVERY 16 /* seeds, when they are mixed */

static uint64_t wall_s(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

struct progress {
    uint64_t begun, running, failed, from_s;
};

static bool begins_another(const struct sim_campaign *campaign, const struct progress *at)
{
    if (campaign->count != 0 && at->begun >= campaign->count) return false;
    if (campaign->seconds != 0 && wall_s() - at->from_s >= campaign->seconds) return false;
    return at->failed == 0 || campaign->go_on;
}

static void fill(const struct sim_campaign *campaign, struct job *jobs, struct progress *at)
{
    for (size_t i = 0; i < campaign->jobs && begins_another(campaign, at); i++) {
        if (jobs[i].pid != 0) continue;
        struct sim_wish wish = campaign->wish;
        wish.seed += at->begun++;
        if (campaign->mixed && wish.seed % LONG_EVERY != 0) wish.minutes = 1;
        begin(&wish, &jobs[i]);
        at->running++;
    }
}

uint64_t sim_campaign(const struct sim_campaign *campaign, struct sim_sums *sums)
{
    struct job jobs[SIM_JOBS_MAX] = {0};
    struct progress at = {.from_s = wall_s()};
    for (;;) {
        fill(campaign, jobs, &at);
        if (at.running == 0) return at.failed;
        int status;
        struct job *job = await(jobs, campaign->jobs, &status);
        if (!end(job, status, sums)) {
            at.failed++;
            show(job);
        }
        (void)fclose(job->said);
        *job = (struct job){0};
        at.running--;
        if (!campaign->quiet && sums->seeds % 100 == 0) {
            printf("%" PRIu64 " seeds, %" PRIu64 " failed\n", sums->seeds, at.failed);
            (void)fflush(stdout);
        }
    }
}

/* ---- marks ---- */

/* Rare branches that so many seeds must have come through; each has a number that it raises. */
static const size_t marks[] = {
    SIM_STAT_checks_over,
    SIM_STAT_dots_stale,
    SIM_STAT_dots_expired,
    SIM_STAT_dots_refused,
    SIM_STAT_dots_ended,
    SIM_STAT_refutations,
    SIM_STAT_verdicts,
    SIM_STAT_pauses,
    SIM_STAT_removes_forgotten,
    SIM_STAT_lives_settled,
    SIM_STAT_members_forgotten,
    SIM_STAT_cold_starts_floor,
    SIM_STAT_cold_starts_forgotten,
    SIM_STAT_snapshots_installed,
    SIM_STAT_units_carried,
    SIM_STAT_repairs_audited,
    SIM_STAT_rights_given,
    SIM_STAT_rights_taken,
    SIM_STAT_holds_returned,
    SIM_STAT_leases_ended,
    SIM_STAT_checks_uncounted,
    SIM_STAT_checks_refused_full,
    SIM_STAT_writes_refused_full,
    SIM_STAT_dots_held_back,
    SIM_STAT_sessions_refused,
};

uint64_t sim_marks_missed(const struct sim_sums *sums)
{
    uint64_t missed = 0;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (sums->stats[marks[i]] > 0) continue;
        printf("a mark was never hit: %s\n", stat_names[marks[i]]);
        missed++;
    }
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (sums->faults[i] > 0) continue;
        printf("never went wrong: %s\n", sim_fault_words[i]);
        missed++;
    }
    printf("marks: %zu, never hit: %" PRIu64 "\n", sizeof marks / sizeof marks[0] + SIM_FAULT_COUNT, missed);
    return missed;
}

/* ---- report ---- */

void sim_report(const struct sim_sums *sums, double cpu)
{
    double hours = (double)sums->virtual_ns / 3.6e12;
    printf("%" PRIu64 " seeds, %" PRIu64
           " failed: %.1f hours in %.1f CPU s, which is %.1f hours an hour; %" PRIu64 " events, %" PRIu64
           " dots, %" PRIu64 " bytes sent; agreement took %.1f s at most\n",
           sums->seeds, sums->failed, hours, cpu, cpu > 0 ? hours / cpu * 3600 : 0.0, sums->steps, sums->dots,
           sums->bytes, (double)sums->worst_ns / 1e9);
    printf("went wrong:");
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        printf(" %s %" PRIu64 ";", sim_fault_words[i], sums->faults[i]);
    printf("\ncounted:");
    for (size_t i = 0; i < SIM_STATS; i++)
        if (sums->stats[i] > 0) printf(" %s %" PRIu64 ";", stat_names[i], sums->stats[i]);
    printf("\nnever seen:");
    for (size_t i = 0; i < SIM_STATS; i++)
        if (sums->stats[i] == 0) printf(" %s;", stat_names[i]);
    printf("\nprint of what happened: %016" PRIx64 "\n", sums->print);
}
