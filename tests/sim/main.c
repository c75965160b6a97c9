/* tallysim: lives through bad days, one seed each, and says what it saw. */
#include "tests/sim/sim.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct sums {
    uint64_t seeds, virtual_ns, steps, dots, bytes, worst_ns;
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t stats[SIM_STATS];
    uint64_t traces[TLY_TRACE_COUNT];
};

static const char *const stat_names[] = {
#define STAT_NAME(name, help) #name,
    TLY_STATS(STAT_NAME)
#undef STAT_NAME
};

/* What is said when a seed aborts: a signal's handler may only write it. */
static char abort_text[100];
static volatile sig_atomic_t abort_text_n;

static void on_abort(int signal_number)
{
    (void)!write(STDOUT_FILENO, abort_text, (size_t)abort_text_n);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

struct options {
    uint64_t seed, count, seconds, minutes, nodes;
    const char *watched;
    bool trace, quiet;
};

static void live(const struct options *options, uint64_t seed, struct sums *sums)
{
    unsigned long long number = seed;
    abort_text_n = 0;
    abort_text_n = snprintf(abort_text, sizeof abort_text,
                            "seed %llu: aborted; again: tallysim --seed %llu --trace\n", number, number);
    struct sim_knobs knobs = sim_knobs_of(seed);
    if (options->nodes != 0) knobs.nodes = options->nodes;
    if (options->minutes != 0) knobs.trouble_ns = options->minutes * SIM_MIN;
    if (options->trace) sim_knobs_print(&knobs);
    struct sim *sim = sim_new(&knobs);
    sim->watched = options->watched;
    sim_run(sim, sim->now + knobs.trouble_ns);
    sim_mend(sim);
    uint64_t took = sim_check_end(sim);
    for (size_t i = 0; i < knobs.nodes; i++)
        if (sim->nodes[i].engine != NULL) sim_end_process(sim, i);
    sums->seeds++;
    sums->virtual_ns += sim->now;
    sums->steps += sim->steps;
    sums->dots += sim_twin_count(sim);
    sums->bytes += sim_net_bytes(sim);
    if (took > sums->worst_ns) sums->worst_ns = took;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        sums->faults[i] += sim->faults[i];
    for (size_t i = 0; i < SIM_STATS; i++)
        sums->stats[i] += sim->stats[i];
    for (size_t i = 0; i < TLY_TRACE_COUNT; i++)
        sums->traces[i] += sim->traces[i];
    sim_free(sim);
}

static double cpu_s(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void report(const struct sums *sums, double cpu)
{
    double hours = (double)sums->virtual_ns / 3.6e12;
    printf("%llu seeds: %.1f hours in %.1f CPU s, which is %.0f hours an hour; %llu events, %llu dots, "
           "%llu bytes sent; agreement took %.1f s at most\n",
           (unsigned long long)sums->seeds, hours, cpu, cpu > 0 ? hours / cpu * 3600 : 0.0,
           (unsigned long long)sums->steps, (unsigned long long)sums->dots, (unsigned long long)sums->bytes,
           (double)sums->worst_ns / 1e9);
    printf("went wrong:");
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        printf(" %s %llu;", sim_fault_words[i], (unsigned long long)sums->faults[i]);
    printf("\ncounted:");
    for (size_t i = 0; i < SIM_STATS; i++)
        if (sums->stats[i] > 0) printf(" %s %llu;", stat_names[i], (unsigned long long)sums->stats[i]);
    printf("\nnever seen:");
    for (size_t i = 0; i < SIM_STATS; i++)
        if (sums->stats[i] == 0) printf(" %s;", stat_names[i]);
    printf("\n");
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (*text != '\0' && *end == '\0') return number;
    fprintf(stderr, "tallysim: \"%s\" is no number\n", text);
    exit(2);
}

static void help(void)
{
    puts(
        "tallysim [--seed N] [--count N | --seconds S] [--minutes M] [--nodes N] [--trace]\n"
        "  lives through bad days, one a seed, and ends with 1 when something did not hold\n"
        "  --seed N     the first seed (1)\n"
        "  --count N    so many seeds (1)\n"
        "  --seconds S  as many seeds as so many seconds of the CPU are enough for\n"
        "  --minutes M  of trouble, whatever the seed says\n"
        "  --nodes N    whatever the seed says\n"
        "  --trace      tell all that happens\n"
        "  --watch KEY  tell what each node holds of it whenever that changes (to look may change the course)\n"
        "  --quiet      no dots for progress");
}

static struct options parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},    {"count", required_argument, NULL, 'c'},
        {"minutes", required_argument, NULL, 'm'}, {"nodes", required_argument, NULL, 'n'},
        {"trace", no_argument, NULL, 't'},         {"quiet", no_argument, NULL, 'q'},
        {"watch", required_argument, NULL, 'w'},   {"seconds", required_argument, NULL, 'S'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    struct options options = {.seed = 1, .count = 1};
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (c) {
        case 's': options.seed = number_of(optarg); break;
        case 'c': options.count = number_of(optarg); break;
        case 'S': options.seconds = number_of(optarg); break;
        case 'm': options.minutes = number_of(optarg); break;
        case 'n': options.nodes = number_of(optarg); break;
        case 't': options.trace = true; break;
        case 'q': options.quiet = true; break;
        case 'w': options.watched = optarg; break;
        case 'h': help(); exit(0);
        default: help(); exit(2);
        }
    }
    if (options.nodes == 1 || options.nodes > SIM_NODES_MAX || optind != argc) {
        help();
        exit(2);
    }
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    struct sums sums = {0};
    (void)signal(SIGABRT, on_abort);
    (void)signal(SIGSEGV, on_abort);
    sim_tell_all(options.trace);
    double from = cpu_s();
    for (uint64_t i = 0; options.seconds > 0 ? cpu_s() < (double)options.seconds : i < options.count; i++) {
        live(&options, options.seed + i, &sums);
        if (!options.quiet && options.count > 1 && i % 100 == 99) {
            printf("%llu of %llu seeds\n", (unsigned long long)i + 1, (unsigned long long)options.count);
            (void)fflush(stdout);
        }
    }
    report(&sums, cpu_s() - from);
    return 0;
}
