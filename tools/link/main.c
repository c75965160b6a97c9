/* tally-link: the command line, the script, the signals. */
#include "tools/link/control.h"

#include "crdt/version.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

#define SCRIPT_MAX 256
#define NS_PER_US 1000

static const char usage[] =
    "usage: tally-link [-hV] [-c path] [-r rate] [-d delay] [-j jitter] [-q queue] [-s seed]\n"
    "                  [-a 'time command']... [-R listen=target]... listen=target...\n"
    "  -r, --rate     bits per second, such as 256k or 1.5M; 0, the default: no limit\n"
    "  -d, --delay    of everything, one way, such as 100ms; default 0\n"
    "  -j, --jitter   up to so much more delay, such as 20ms; default 0\n"
    "  -q, --queue    bytes that may wait for their turn, such as 16k, the default\n"
    "                 each of the four may be given as up/down\n"
    "  -s, --seed     of the jitter; default 1\n"
    "  -c, --control  take commands on a socket at this path\n"
    "  -a, --at       do a command after a time, such as '5s cut rst'\n"
    "  -R, --reverse  a pair that dials the other way over the same line\n"
    "  -h, --help     print this and exit\n"
    "  -V, --version  print the version and exit\n"
    "commands: set rate|delay|jitter|queue VALUE; cut rst|fin|blackhole; after up|down BYTES rst|fin|blackhole;\n"
    "          clog [up|down]; release [up|down]; close; open; stats; quit\n"
    "SIGUSR1 prints statistics, SIGUSR2 resets every connection; see tally-link(1)\n";

struct step {
    uint64_t after_ns;
    struct tly_link_command command;
    struct tly_relay *relay;
};

struct options {
    uint64_t value[TLY_LINK_WHATS][TLY_LINK_WAYS];
    uint64_t seed;
    const char *control;
    struct step script[SCRIPT_MAX];
    size_t step_count;
    const char *reversed[TLY_RELAY_PAIRS_MAX];
    size_t reversed_count;
};

/* ---- options ---- */

static const char *parse_step(const char *text, struct options *options)
{
    char time[32];
    size_t n = strcspn(text, " ");
    if (options->step_count == SCRIPT_MAX) return "too many commands";
    struct step *step = &options->script[options->step_count++];
    if (text[n] == '\0' || n >= sizeof time)
        return "a time and a command were expected, such as '5s cut rst'";
    memcpy(time, text, n);
    time[n] = '\0';
    if (!tly_link_time_parse(time, &step->after_ns)) return "a time such as 5s or 100ms was expected first";
    return tly_link_command_parse(text + n, &step->command);
}

static const char *parse_seed(const char *text, struct options *options)
{
    char *end;
    errno = 0;
    options->seed = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *text != '-' ? NULL : "a number was expected";
}

static const char *parse_reversed(const char *text, struct options *options)
{
    if (options->reversed_count == TLY_RELAY_PAIRS_MAX) return "too many addresses";
    options->reversed[options->reversed_count++] = text;
    return NULL;
}

/* NULL, or what is wrong with the option's value. */
static const char *take_option(int option, const char *value, struct options *options)
{
    switch (option) {
    case 'r': return tly_link_value_parse(TLY_LINK_RATE, value, options->value[TLY_LINK_RATE]);
    case 'd': return tly_link_value_parse(TLY_LINK_DELAY, value, options->value[TLY_LINK_DELAY]);
    case 'j': return tly_link_value_parse(TLY_LINK_JITTER, value, options->value[TLY_LINK_JITTER]);
    case 'q': return tly_link_value_parse(TLY_LINK_QUEUE, value, options->value[TLY_LINK_QUEUE]);
    case 's': return parse_seed(value, options);
    case 'a': return parse_step(value, options);
    case 'R': return parse_reversed(value, options);
    default: options->control = value; return NULL;
    }
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"rate", required_argument, NULL, 'r'},
        {"delay", required_argument, NULL, 'd'},
        {"jitter", required_argument, NULL, 'j'},
        {"queue", required_argument, NULL, 'q'},
        {"seed", required_argument, NULL, 's'},
        {"control", required_argument, NULL, 'c'},
        {"at", required_argument, NULL, 'a'},
        {"reverse", required_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "r:d:j:q:s:c:a:R:hV", names, NULL)) != -1;) {
        switch (option) {
        case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
        case 'V': printf("tally-link %s\n", TLY_VERSION); return EXIT_SUCCESS;
        case '?': fputs(usage, stderr); return EXIT_USAGE;
        default: break;
        }
        const char *why = take_option(option, optarg, options);
        if (why == NULL) continue;
        fprintf(stderr, "tally-link: -%c %s: %s\n", option, optarg, why);
        return EXIT_USAGE;
    }
    if (optind < argc || options->reversed_count > 0) return -1;
    fprintf(stderr, "tally-link: nowhere to listen\n%s", usage);
    return EXIT_USAGE;
}

/* ---- events ---- */

static void on_step(evutil_socket_t fd, short what, void *argument)
{
    struct step *step = argument;
    (void)fd;
    (void)what;
    const char *why = tly_relay_do(step->relay, &step->command, stdout);
    if (why != NULL) fprintf(stderr, "tally-link: %s\n", why);
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct tly_link_command command = {.verb = TLY_LINK_QUIT};
    (void)what;
    if (number == SIGUSR1) command.verb = TLY_LINK_STATS;
    if (number == SIGUSR2) command.verb = TLY_LINK_CUT;
    (void)tly_relay_do(argument, &command, stdout);
}

static bool start_script(struct event_base *base, struct options *options, struct tly_relay *relay)
{
    for (size_t i = 0; i < options->step_count; i++) {
        struct step *step = &options->script[i];
        uint64_t us = step->after_ns / NS_PER_US;
        struct timeval wait = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
        step->relay = relay;
        if (event_base_once(base, -1, EV_TIMEOUT, on_step, step, &wait) != 0) return false;
    }
    return true;
}

/* ---- the whole ---- */

/* NULL, or what is wrong. */
static const char *listen_all(struct tly_relay *relay, const struct options *options, char **pairs, int count)
{
    const char *why = NULL;
    for (int i = 0; i < count && why == NULL; i++)
        why = tly_relay_add(relay, pairs[i], false);
    for (size_t i = 0; i < options->reversed_count && why == NULL; i++)
        why = tly_relay_add(relay, options->reversed[i], true);
    return why;
}

static int run(struct event_base *base, struct tly_relay *relay, struct options *options)
{
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    static const struct tly_link_command stats = {.verb = TLY_LINK_STATS};
    struct event *on[sizeof signals / sizeof signals[0]] = {NULL};
    struct tly_control *control = NULL;
    int status = EXIT_FAILURE;
    if (options->control != NULL && (control = tly_control_new(base, relay, options->control)) == NULL) {
        fprintf(stderr, "tally-link: %s: %s\n", options->control, strerror(errno));
        return EXIT_FAILURE;
    }
    bool good = start_script(base, options, relay);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0] && good; i++) {
        on[i] = evsignal_new(base, signals[i], on_signal, relay);
        good = on[i] != NULL && event_add(on[i], NULL) == 0;
    }
    if (good) {
        tly_relay_print_ready(relay, stdout);
        status = event_base_dispatch(base) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        (void)tly_relay_do(relay, &stats, stdout);
    }
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (on[i] != NULL) event_free(on[i]);
    tly_control_free(control);
    return status;
}

/* To the microsecond: at a rate a segment's turn is short. */
static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL) return NULL;
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int main(int argc, char **argv)
{
    static struct options options = {
        .value[TLY_LINK_QUEUE] = {16000, 16000},
        .seed = 1,
    };
    int status = parse_options(argc, argv, &options);
    if (status >= 0) return status;
    struct tly_pipe_shape shapes[TLY_LINK_WAYS];
    for (int way = 0; way < TLY_LINK_WAYS; way++)
        shapes[way] = (struct tly_pipe_shape){
            options.value[TLY_LINK_RATE][way], options.value[TLY_LINK_DELAY][way],
            options.value[TLY_LINK_JITTER][way], (size_t)options.value[TLY_LINK_QUEUE][way]};
    (void)signal(SIGPIPE, SIG_IGN);
    struct event_base *base = make_base();
    struct tly_relay *relay = base != NULL ? tly_relay_new(base, shapes, options.seed) : NULL;
    const char *why =
        relay != NULL ? listen_all(relay, &options, argv + optind, argc - optind) : "out of memory";
    status = EXIT_FAILURE;
    if (why != NULL)
        fprintf(stderr, "tally-link: %s\n", why);
    else
        status = run(base, relay, &options);
    tly_relay_free(relay);
    if (base != NULL) event_base_free(base);
    return status;
}
