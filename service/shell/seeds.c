#include "service/shell/seeds.h"

#include <ares.h>
#include <arpa/inet.h>
#include <event2/event.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define PREFIX "dns:"
#define AGAIN_S 30
#define RETRY_S 1
#define TRIES 2
#define TIMEOUT_MS 2000

/* One socket of c-ares on the loop. */
struct watch {
    TAILQ_ENTRY(watch) entry;
    struct tly_seeds *seeds;
    ares_socket_t fd;
    struct event *event;
};

struct source {
    TAILQ_ENTRY(source) entry;
    struct tly_seeds *seeds;
    unsigned number;
    char name[TLY_ADDRESS_BYTES_MAX + 1];
    char port[8]; /* empty: SRV */
    unsigned retry_s;
    bool failing; /* and it was said */
    struct event *again;
};

struct tly_seeds {
    struct tly_seeds_config config;
    ares_channel channel;
    struct event *timer;
    TAILQ_HEAD(watch_list, watch) watches;
    TAILQ_HEAD(source_list, source) sources;
};

bool tly_seed_is_dns(const char *text)
{
    if (strncmp(text, PREFIX, strlen(PREFIX)) != 0) return false;
    const char *name = text + strlen(PREFIX), *colon = strrchr(name, ':');
    size_t n = colon != NULL ? (size_t)(colon - name) : strlen(name);
    if (n == 0 || n > TLY_ADDRESS_BYTES_MAX - 8 || memchr(name, ':', n) != NULL) return false;
    if (colon == NULL) return true;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    return colon[1] >= '0' && colon[1] <= '9' && *end == '\0' && port > 0 && port <= 65535;
}

/* ---- c-ares on the loop ---- */

static void set_timer(struct tly_seeds *seeds)
{
    struct timeval most = {.tv_sec = AGAIN_S}, at;
    (void)evtimer_add(seeds->timer, ares_timeout(seeds->channel, &most, &at));
}

static void on_timer(int fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct tly_seeds *seeds = argument;
    ares_process_fd(seeds->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(seeds);
}

static void on_socket(int fd, short what, void *argument)
{
    struct watch *watch = argument;
    struct tly_seeds *seeds = watch->seeds; /* the watch may go while c-ares works */
    ares_process_fd(seeds->channel, (what & EV_READ) != 0 ? fd : ARES_SOCKET_BAD,
                    (what & EV_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
    set_timer(seeds);
}

static void drop_watch(struct tly_seeds *seeds, ares_socket_t fd)
{
    struct watch *watch, *next;
    for (watch = TAILQ_FIRST(&seeds->watches); watch != NULL; watch = next) {
        next = TAILQ_NEXT(watch, entry);
        if (watch->fd != fd) continue;
        TAILQ_REMOVE(&seeds->watches, watch, entry);
        event_free(watch->event);
        free(watch);
    }
}

static void on_state(void *argument, ares_socket_t fd, int readable, int writable)
{
    struct tly_seeds *seeds = argument;
    drop_watch(seeds, fd);
    if (!readable && !writable) return;
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) return; /* c-ares runs into its timeout and asks again */
    watch->seeds = seeds;
    watch->fd = fd;
    short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0) | EV_PERSIST);
    watch->event = event_new(seeds->config.base, fd, what, on_socket, watch);
    if (watch->event == NULL) {
        free(watch);
        return;
    }
    TAILQ_INSERT_TAIL(&seeds->watches, watch, entry);
    (void)event_add(watch->event, NULL);
}

/* ---- answers ---- */

struct answer {
    char text[TLY_SEED_ANSWERS_MAX][TLY_ADDRESS_BYTES_MAX + 1];
    struct tly_slice address[TLY_SEED_ANSWERS_MAX];
    size_t count;
};

static void add_answer(struct answer *answer, const char *host, const char *port)
{
    if (answer->count == TLY_SEED_ANSWERS_MAX) return;
    char *text = answer->text[answer->count];
    bool is_v6 = strchr(host, ':') != NULL;
    int n = snprintf(text, sizeof answer->text[0], is_v6 ? "[%s]:%s" : "%s:%s", host, port);
    if (n <= 0 || (size_t)n >= sizeof answer->text[0]) return;
    answer->address[answer->count++] = tly_slice_of(text, (size_t)n);
}

static void ask_in(struct source *source, unsigned seconds)
{
    struct timeval delay = {.tv_sec = (time_t)seconds};
    (void)evtimer_add(source->again, &delay);
}

static void failed(struct source *source, const char *why)
{
    if (!source->failing)
        tly_log(source->seeds->config.log, TLY_LEVEL_WARN,
                "join: dns:%s cannot be resolved (%s); the last answer stays, asking again", source->name,
                why);
    source->failing = true;
    ask_in(source, source->retry_s);
    source->retry_s = source->retry_s < AGAIN_S / 2 ? source->retry_s * 2 : AGAIN_S;
}

static void answered(struct source *source, const struct answer *answer)
{
    const struct tly_seeds_config *config = &source->seeds->config;
    if (source->failing) tly_log(config->log, TLY_LEVEL_INFO, "join: dns:%s is resolved again", source->name);
    source->failing = false;
    source->retry_s = RETRY_S;
    config->found(config->context, source->number, answer->address, answer->count);
    ask_in(source, AGAIN_S);
}

static void on_addresses(void *argument, int status, int timeouts, struct ares_addrinfo *info)
{
    (void)timeouts;
    struct source *source = argument;
    struct answer *answer = calloc(1, sizeof *answer);
    if (status == ARES_SUCCESS && answer == NULL) status = ARES_ENOMEM;
    for (struct ares_addrinfo_node *node = status == ARES_SUCCESS ? info->nodes : NULL; node != NULL;
         node = node->ai_next) {
        char host[INET6_ADDRSTRLEN];
        if (getnameinfo(node->ai_addr, node->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0)
            add_answer(answer, host, source->port);
    }
    if (info != NULL) ares_freeaddrinfo(info);
    if (status == ARES_SUCCESS && answer->count > 0)
        answered(source, answer);
    else if (status != ARES_EDESTRUCTION)
        failed(source, status == ARES_SUCCESS ? "no address" : ares_strerror(status));
    free(answer);
}

static void on_services(void *argument, int status, int timeouts, unsigned char *bytes, int n)
{
    (void)timeouts;
    struct source *source = argument;
    struct ares_srv_reply *reply = NULL;
    struct answer *answer = calloc(1, sizeof *answer);
    if (status == ARES_SUCCESS && answer == NULL) status = ARES_ENOMEM;
    if (status == ARES_SUCCESS) status = ares_parse_srv_reply(bytes, n, &reply);
    for (struct ares_srv_reply *row = reply; row != NULL; row = row->next) {
        char port[8];
        (void)snprintf(port, sizeof port, "%u", (unsigned)row->port);
        if (row->port != 0) add_answer(answer, row->host, port);
    }
    if (reply != NULL) ares_free_data(reply);
    if (status == ARES_SUCCESS && answer->count > 0)
        answered(source, answer);
    else if (status != ARES_EDESTRUCTION)
        failed(source, status == ARES_SUCCESS ? "no service" : ares_strerror(status));
    free(answer);
}

static void ask(int fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct source *source = argument;
    ares_channel channel = source->seeds->channel;
    if (source->port[0] != '\0') {
        struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT};
        ares_getaddrinfo(channel, source->name, NULL, &hints, on_addresses, source);
    } else {
        ares_query(channel, source->name, 1 /* IN */, 33 /* SRV, RFC 2782 */, on_services, source);
    }
    set_timer(source->seeds);
}

/* ---- making and ending ---- */

struct tly_seeds *tly_seeds_new(const struct tly_seeds_config *config, char *why, size_t why_size)
{
    struct tly_seeds *seeds = calloc(1, sizeof *seeds);
    if (seeds == NULL) return NULL;
    seeds->config = *config;
    TAILQ_INIT(&seeds->watches);
    TAILQ_INIT(&seeds->sources);
    struct ares_options options = {
        .timeout = TIMEOUT_MS, .tries = TRIES, .sock_state_cb = on_state, .sock_state_cb_data = seeds};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status == ARES_SUCCESS) status = ares_init_options(&seeds->channel, &options, mask);
    if (status == ARES_SUCCESS && config->resolver[0] != '\0')
        status = ares_set_servers_ports_csv(seeds->channel, config->resolver);
    seeds->timer = evtimer_new(config->base, on_timer, seeds);
    if (status == ARES_SUCCESS && seeds->timer != NULL) return seeds;
    (void)snprintf(why, why_size, "DNS: %s",
                   status != ARES_SUCCESS ? ares_strerror(status) : "out of memory");
    tly_seeds_free(seeds);
    return NULL;
}

void tly_seeds_free(struct tly_seeds *seeds)
{
    if (seeds == NULL) return;
    if (seeds->channel != NULL) ares_destroy(seeds->channel); /* drops every watch */
    struct source *source;
    while ((source = TAILQ_FIRST(&seeds->sources)) != NULL) {
        TAILQ_REMOVE(&seeds->sources, source, entry);
        event_free(source->again);
        free(source);
    }
    if (seeds->timer != NULL) event_free(seeds->timer);
    ares_library_cleanup();
    free(seeds);
}

bool tly_seeds_add(struct tly_seeds *seeds, unsigned number, const char *text)
{
    struct source *source = calloc(1, sizeof *source);
    if (source == NULL) return false;
    source->seeds = seeds;
    source->number = number;
    source->retry_s = RETRY_S;
    source->again = evtimer_new(seeds->config.base, ask, source);
    if (source->again == NULL) {
        free(source);
        return false;
    }
    const char *name = text + strlen(PREFIX), *colon = strrchr(name, ':');
    size_t n = colon != NULL ? (size_t)(colon - name) : strlen(name);
    memcpy(source->name, name, n);
    if (colon != NULL) (void)snprintf(source->port, sizeof source->port, "%.5s", colon + 1);
    TAILQ_INSERT_TAIL(&seeds->sources, source, entry);
    ask_in(source, 0);
    return true;
}
