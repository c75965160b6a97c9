/* tallysim: lives through bad days, one seed each, and says what it saw. */
#include "tests/sim/campaign.h"

#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct options {
    struct sim_campaign campaign;
    bool shrink, marks;
};

static double cpu_s(void)
{
    double sum = 0;
    const int of[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (size_t i = 0; i < 2; i++) {
        struct rusage used = {0};
        (void)getrusage(of[i], &used);
        sum += (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    }
    return sum;
}

static void help(void)
{
    puts(
        "tallysim [OPTION...]\n"
        "  lives through bad days, one a seed, and ends with 1 when something did not hold\n"
        "  --seed N         the first seed (1)\n"
        "  --count N        so many seeds (1)\n"
        "  --until-failure  one seed after the other until one fails\n"
        "  --go-on          also after a seed that failed\n"
        "  --seconds S      begin no seed after so many\n"
        "  --jobs J         so many seeds at a time (1)\n"
        "  --minutes M      of trouble, whatever the seed says\n"
        "  --mixed          a minute of trouble in fifteen seeds of sixteen\n"
        "  --nodes N        whatever the seed says\n"
        "  --mesh M         mesh_max, whatever the seed says\n"
        "  --paced          nothing goes wrong, each node has a write a second; minutes of all nodes together\n"
        "  --schedule NAME  one written by hand in place of chance; --schedules names them\n"
        "  --skip A-B,C     leave those faults out; a trace numbers them\n"
        "  --marks          end with 1 also when a rare branch was never come through\n"
        "  --shrink         search for less of --seed that fails\n"
        "  --trace          tell all that happens\n"
        "  --watch KEY      tell what each node holds of it whenever that changes (to look may change the course)\n"
        "  --quiet          no word for progress");
}

static _Noreturn void refuse(const char *text, const char *why)
{
    fprintf(stderr, "tallysim: \"%s\" %s\n", text, why);
    exit(2);
}

static uint64_t number_of(const char *text, uint64_t most)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0' || number > most) refuse(text, "is no number, or too large");
    return number;
}

static const char *schedule_of(const char *text)
{
    const char *name = sim_schedule_find(text);
    if (name == NULL) refuse(text, "is no schedule");
    return name;
}

static void list_schedules(void)
{
    const char *name = NULL;
    for (size_t i = 0; (name = sim_schedule_name(i)) != NULL; i++)
        puts(name);
}

static void skip_all(const char *text, struct sim_skips *skips)
{
    for (const char *at = text; *at != '\0';) {
        char *end;
        uint64_t from = strtoull(at, &end, 10), to = from;
        if (end != at && *end == '-') to = strtoull(end + 1, &end, 10);
        if (end == at || (*end != ',' && *end != '\0') || from > to || to >= SIM_SKIPS_MAX)
            refuse(text, "is no list of faults");
        for (uint64_t i = from; i <= to; i++)
            sim_skip(skips, i);
        at = *end == ',' ? end + 1 : end;
    }
}

static const struct option names[] = {
    {"seed", required_argument, NULL, 's'},
    {"count", required_argument, NULL, 'c'},
    {"until-failure", no_argument, NULL, 'u'},
    {"go-on", no_argument, NULL, 'g'},
    {"seconds", required_argument, NULL, 'S'},
    {"jobs", required_argument, NULL, 'j'},
    {"minutes", required_argument, NULL, 'm'},
    {"nodes", required_argument, NULL, 'n'},
    {"skip", required_argument, NULL, 'k'},
    {"shrink", no_argument, NULL, 'r'},
    {"mixed", no_argument, NULL, 'x'},
    {"marks", no_argument, NULL, 'M'},
    {"paced", no_argument, NULL, 'p'},
    {"trace", no_argument, NULL, 't'},
    {"watch", required_argument, NULL, 'w'},
    {"schedule", required_argument, NULL, 'y'},
    {"schedules", no_argument, NULL, 'Y'},
    {"quiet", no_argument, NULL, 'q'},
    {"mesh", required_argument, NULL, 'e'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static void take(struct options *options, int c)
{
    struct sim_campaign *campaign = &options->campaign;
    struct sim_wish *wish = &campaign->wish;
    switch (c) {
    case 's': wish->seed = number_of(optarg, UINT64_MAX); break;
    case 'c': campaign->count = number_of(optarg, UINT64_MAX); break;
    case 'u': campaign->count = 0; break;
    case 'g': campaign->go_on = true; break;
    case 'S': campaign->seconds = number_of(optarg, 1000000); break;
    case 'j': campaign->jobs = number_of(optarg, SIM_JOBS_MAX); break;
    case 'm': wish->minutes = number_of(optarg, 1000000); break;
    case 'n': wish->nodes = number_of(optarg, SIM_NODES_MAX); break;
    case 'e': wish->mesh = number_of(optarg, SIM_NODES_MAX); break;
    case 'k': skip_all(optarg, &wish->skips); break;
    case 'x': campaign->mixed = true; break;
    case 'M': options->marks = true; break;
    case 'p': wish->paced = true; break;
    case 'r': options->shrink = true; break;
    case 't': wish->trace = true; break;
    case 'w': wish->watched = optarg; break;
    case 'y': wish->schedule = schedule_of(optarg); break;
    case 'Y': list_schedules(); exit(0);
    case 'q': campaign->quiet = true; break;
    case 'h': help(); exit(0);
    default: help(); exit(2);
    }
}

static struct options parse(int argc, char **argv)
{
    struct options options = {.campaign = {.count = 1, .jobs = 1, .wish = {.seed = 1}}};
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;)
        take(&options, c);
    if (options.campaign.jobs == 0) options.campaign.jobs = 1;
    if (options.campaign.wish.nodes != 1 && optind == argc) return options;
    help();
    exit(2);
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    struct sim_sums sums = {0};
    /* A node has large tables, and lives for seconds: to give their pages back each time is a sixth of all. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    if (options.shrink) {
        if (sim_shrink(&options.campaign.wish)) return 1;
        puts("it does not fail");
        return 0;
    }
    uint64_t failed = 0;
    if (options.campaign.count == 1)
        sim_live(&options.campaign.wish, &sums); /* here, where a debugger sees it */
    else
        failed = sim_campaign(&options.campaign, &sums);
    sim_report(&sums, cpu_s());
    uint64_t missed = options.marks ? sim_marks_missed(&sums) : 0;
    return failed + missed > 0 ? 1 : 0;
}
