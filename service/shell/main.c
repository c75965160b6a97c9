/* tallyd: the command line, the loop, the signals. */
#include "service/shell/app_internal.h"

#include "crdt/version.h"
#include "service/shell/libc_mem.h"
#include "service/shell/rls_env.h"

#include <event2/event.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

static const char usage[] = "usage: tallyd [-dhnV] [-f tally.yaml] [-o key=value]...\n"
                            "  -d  log at level debug\n"
                            "  -h  print this and exit, as --help\n"
                            "  -n  check the configuration and exit\n"
                            "  -V  print the version and exit, as --version\n"
                            "  -f  read settings and limits from a file\n"
                            "  -o  a setting, such as resp=127.0.0.1:7379; see tallyd(8)\n";

struct options {
    bool debug, check_only;
    const char *file;
    const char **assignments; /* as many as there are arguments, and two more */
    size_t assignment_count;
};

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option words[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "dnVf:o:h", words, NULL)) != -1;) {
        switch (option) {
        case 'd': options->debug = true; break;
        case 'n': options->check_only = true; break;
        case 'f': options->file = optarg; break;
        case 'o': options->assignments[options->assignment_count++] = optarg; break;
        case 'V': printf("tallyd %s\n", TLY_VERSION); return EXIT_SUCCESS;
        case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
        default: fputs(usage, stderr); return EXIT_USAGE;
        }
    }
    if (options->debug) options->assignments[options->assignment_count++] = "log=debug";
    if (optind == argc) return -1;
    fprintf(stderr, "tallyd: %s: settings are given as -o key=value\n%s", argv[optind], usage);
    return EXIT_USAGE;
}

static void on_stop_signal(evutil_socket_t number, short what, void *argument)
{
    (void)number;
    (void)what;
    tly_app_stop(argument);
}

static void on_hangup(evutil_socket_t number, short what, void *argument)
{
    (void)number;
    (void)what;
    tly_app_reload(argument);
}

static bool watch_signals(struct tly_app *app)
{
    app->terminate = evsignal_new(app->base, SIGTERM, on_stop_signal, app);
    app->interrupt = evsignal_new(app->base, SIGINT, on_stop_signal, app);
    app->hangup = evsignal_new(app->base, SIGHUP, on_hangup, app);
    struct event *events[] = {app->terminate, app->interrupt, app->hangup};
    for (size_t i = 0; i < 3; i++)
        if (events[i] == NULL || event_add(events[i], NULL) != 0) return false;
    /* A file that may not grow further (ulimit -f) is a disk that fails. */
    return signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGXFSZ, SIG_IGN) != SIG_ERR;
}

/* Told to stop once more while it closes, it closes: without the events a signal would end it before all is on the disk. */
static void hold_signals(void)
{
    sigset_t held;
    (void)sigemptyset(&held);
    (void)sigaddset(&held, SIGTERM);
    (void)sigaddset(&held, SIGINT);
    (void)sigaddset(&held, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &held, NULL);
}

/* Every client and peer is a descriptor. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void tell_environment(struct tly_app *app)
{
    struct tly_rls_env_notes notes;
    tly_rls_env_look((const char *const *)environ, &notes);
    for (char *line = notes.text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        tly_log(app->log, TLY_LEVEL_INFO, "environment: %s", line);
    }
}

static int run(struct tly_app *app, const struct tly_config_sources *sources, struct tly_rules *rules)
{
    struct tly_config_error error = {"out of memory"};
    raise_descriptors();
    app->log = tly_log_new(stderr, app->config.level);
    app->base = event_base_new();
    bool started = app->log != NULL && app->base != NULL && watch_signals(app);
    if (started)
        started = tly_app_start(app, sources, rules, &error);
    else
        tly_rules_free(rules);
    if (started) {
        tell_environment(app);
        printf("ready resp=%s http=%s peers=%s", app->address[DOOR_RESP], app->address[DOOR_HTTP],
               app->address[DOOR_COUNT]);
        if (app->doors[DOOR_GRPC] != NULL) printf(" grpc=%s", app->address[DOOR_GRPC]);
        if (app->doors[DOOR_DEBUG] != NULL) printf(" debug=%s", app->address[DOOR_DEBUG]);
        printf("\n");
        fflush(stdout);
        tly_log(app->log, TLY_LEVEL_INFO, "tallyd %s is up as %s in cluster %s", TLY_VERSION,
                app->config.name, app->config.cluster);
        event_base_dispatch(app->base);
    } else {
        fprintf(stderr, "tallyd: %s\n", error.text);
    }
    hold_signals();
    tly_app_close(app);
    return started ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool check_tls(const struct tly_tls_files *files, enum tly_tls_side side, const char *whose,
                      struct tly_config_error *error)
{
    struct tly_tls_error why = {""};
    struct tly_tls *tls = tly_tls_new(files, side, &why);
    (void)snprintf(error->text, sizeof error->text, "TLS %s: %s", whose, why.text);
    tly_tls_free(tls);
    return tls != NULL;
}

/* What -n looks at besides: files that settings name. A start would miss them only then. */
static bool check_files(const struct tly_config *config, struct tly_config_error *error)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_rls_error rls_error = {""};
    if (config->grpc_tls.certificate[0] != '\0' &&
        !check_tls(&config->grpc_tls, TLY_TLS_SERVER, "of the gRPC door", error))
        return false;
    if (config->xds.uses_tls && !check_tls(&config->xds.tls, TLY_TLS_CLIENT, "to the xDS server", error))
        return false;
    if (config->rls_place.root[0] == '\0' || config->xds.server[0] != '\0') return true;
    struct tly_rls_config *limits = tly_rls_files_load(&config->rls_place, &mem, &rls_error);
    (void)snprintf(error->text, sizeof error->text, "ratelimit: %s", rls_error.text);
    if (limits == NULL) return false;
    tly_rls_config_free(limits);
    return true;
}

static int check(const struct tly_config *config, struct tly_rules *rules)
{
    struct tly_config_error error;
    bool is_good = check_files(config, &error);
    if (is_good)
        printf("configuration ok: %zu limits\n", tly_rules_count(rules));
    else
        fprintf(stderr, "tallyd: %s\n", error.text);
    tly_rules_free(rules);
    return is_good ? EXIT_SUCCESS : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static struct tly_app app;
    /* What is large goes back to the system when it is freed, and grows without a copy: memory_max counts on it. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    struct options options = {.assignments = calloc((size_t)argc + 2, sizeof *options.assignments)};
    struct tly_config_error error;
    struct tly_mem mem = tly_libc_mem();
    struct tly_rules *rules = NULL;
    if (options.assignments == NULL) return EXIT_FAILURE;
    int status = parse_options(argc, argv, &options);
    struct tly_config_sources sources = {
        .environment = (const char *const *)environ, .file = options.file, .options = options.assignments};
    if (status < 0 && !tly_config_read(&app.config, &sources, &mem, &rules, &error)) {
        fprintf(stderr, "tallyd: %s\n", error.text);
        status = EXIT_USAGE;
    }
    if (status < 0 && options.check_only) status = check(&app.config, rules);
    if (status < 0) {
        (void)tly_storage_guard(); /* without it an answer waits for the log */
        status = run(&app, &sources, rules);
    }
    free(options.assignments);
    return status;
}
