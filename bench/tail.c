/*
 * bench/tail PORT SECONDS [RATE [incr]]: checks (CL.THROTTLE) on 50 connections of a RESP door, for so long; or INCR, which redis knows, too.
 *
 * Without a rate each connection asks again when it is answered: it prints how many a second that were, the peak of this client and that
 * server.  With one a check is due every 1/RATE seconds whether or not the others are answered, and what is measured is the time from when
 * it was due to its answer, so that a stall counts for all that it held up.  Prints "checks p50_us p99_us p999_us max_us away_us": how long
 * the client, which spins, had no processor, which is nobody's fault but the machine's. A rate that begins
 * with a tilde, as in ~2000, is that of somebody who sleeps between two checks: a load, not a measurement.
 */
#include "bench/support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 50
#define KEYS 100000
#define WAITING_MAX 4096
#define BUCKET_NS 1000
#define BUCKETS 1000000

struct connection {
    int fd;
    unsigned lines;            /* of the answer that is on its way */
    uint64_t due[WAITING_MAX]; /* of those that are not answered, a ring */
    size_t first, count;
};

/* What is asked: its parts around the key, and how many lines its answer has. */
struct question {
    const char *before, *after;
    unsigned lines;
};

/* The answer is "*5" and five numbers. */
static const struct question throttle = {"*5\r\n$11\r\nCL.THROTTLE\r\n",
                                         "$3\r\n100\r\n$3\r\n100\r\n$2\r\n60\r\n", 6};
static const struct question incr = {"*2\r\n$4\r\nINCR\r\n", "", 1};

struct run {
    const struct question *question;
    struct connection connection[CONNECTIONS];
    struct pollfd polled[CONNECTIONS];
    uint64_t asked, answered, most_ns, seed;
    uint32_t buckets[BUCKETS]; /* of BUCKET_NS each */
    bool is_paced, sleeps;
};

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

static void open_all(struct run *run, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        const int on = 1;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
            tly_bench_fail("cannot connect: %s", strerror(errno));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        run->connection[i].fd = fd;
        run->polled[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
}

static void ask(struct run *run, struct connection *connection, uint64_t due)
{
    char key[32], text[128];
    if (connection->count == WAITING_MAX) tly_bench_fail("%d checks on one connection wait", WAITING_MAX);
    (void)snprintf(key, sizeof key, "%012u", (unsigned)tly_bench_below(&run->seed, KEYS));
    int n = snprintf(text, sizeof text, "%s$%zu\r\n%s\r\n%s", run->question->before, strlen(key), key,
                     run->question->after);
    if (send(connection->fd, text, (size_t)n, MSG_NOSIGNAL) != n) tly_bench_fail("cannot ask");
    connection->due[(connection->first + connection->count++) % WAITING_MAX] = due;
    run->asked++;
}

static void note_answer(struct run *run, struct connection *connection, uint64_t at)
{
    uint64_t took = at - connection->due[connection->first];
    connection->first = (connection->first + 1) % WAITING_MAX;
    connection->count--;
    run->answered++;
    run->buckets[took / BUCKET_NS < BUCKETS ? took / BUCKET_NS : BUCKETS - 1]++;
    if (took > run->most_ns) run->most_ns = took;
}

static void take_answers(struct run *run, struct connection *connection)
{
    char bytes[16384];
    ssize_t n = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        tly_bench_fail("the node has closed a connection");
    uint64_t at = now_ns();
    for (ssize_t i = 0; i < n; i++) {
        if (bytes[i] == '-' && connection->lines == 0) tly_bench_fail("an error in place of an answer");
        if (bytes[i] != '\n' || ++connection->lines < run->question->lines) continue;
        connection->lines = 0;
        if (connection->count == 0) tly_bench_fail("an answer to nothing");
        note_answer(run, connection, at);
        if (!run->is_paced) ask(run, connection, at);
    }
}

static void take_all(struct run *run, uint64_t wait_ns)
{
    const struct timespec wait = {.tv_nsec = (long)(wait_ns < 999999999 ? wait_ns : 999999999)};
    if (ppoll(run->polled, CONNECTIONS, &wait, NULL) <= 0) return;
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (run->polled[i].revents != 0) take_answers(run, &run->connection[i]);
}

/* Everything that is due by now, in turn over the connections; how long it is until the next one. */
static uint64_t ask_due(struct run *run, uint64_t begin, double rate)
{
    uint64_t now = now_ns();
    for (;;) {
        uint64_t due = begin + (uint64_t)((double)run->asked * 1e9 / rate);
        if (due > now) return due - now;
        ask(run, &run->connection[run->asked % CONNECTIONS], due);
    }
}

static double percentile_us(const struct run *run, double share)
{
    uint64_t below = 0, wanted = (uint64_t)((double)run->answered * share);
    for (size_t i = 0; i < BUCKETS; i++) {
        below += run->buckets[i];
        if (below > wanted) return (double)(i + 1) * BUCKET_NS / 1000;
    }
    return (double)run->most_ns / 1000;
}

/* Asks at that rate until the end; how long it had no processor. */
static uint64_t keep_asking(struct run *run, uint64_t begin, uint64_t end, double rate)
{
    uint64_t ran = read_ns(CLOCK_PROCESS_CPUTIME_ID), from = now_ns();
    while (now_ns() < end) {
        uint64_t wait = ask_due(run, begin, rate);
        take_all(run, run->sleeps ? wait : 0);
    }
    uint64_t took = now_ns() - from;
    ran = read_ns(CLOCK_PROCESS_CPUTIME_ID) - ran;
    return took > ran ? took - ran : 0;
}

static void ask_when_answered(struct run *run, uint64_t begin, uint64_t end)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        ask(run, &run->connection[i], begin);
    while (now_ns() < end)
        take_all(run, 0);
}

int main(int argc, char **argv)
{
    static struct run run = {.question = &throttle, .seed = 42};
    if (argc < 3) tly_bench_fail("usage: tail PORT SECONDS [[~]RATE [incr]]");
    if (argc > 4 && strcmp(argv[4], "incr") == 0) run.question = &incr;
    run.sleeps = argc > 3 && argv[3][0] == '~';
    double seconds = strtod(argv[2], NULL), rate = argc > 3 ? strtod(argv[3] + run.sleeps, NULL) : 0;
    run.is_paced = rate > 0;
    open_all(&run, (uint16_t)strtoul(argv[1], NULL, 10));
    uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9), away = 0;
    if (run.is_paced)
        away = keep_asking(&run, begin, end, rate);
    else
        ask_when_answered(&run, begin, end);
    uint64_t in_time = run.answered;
    run.is_paced = true; /* no more are asked */
    for (end += UINT64_C(10000000000); run.answered < run.asked && now_ns() < end;)
        take_all(&run, 0);
    tly_bench_equal(run.answered, run.asked, "answers");
    if (rate > 0)
        printf("%llu %.0f %.0f %.0f %.0f %llu\n", (unsigned long long)run.answered, percentile_us(&run, 0.5),
               percentile_us(&run, 0.99), percentile_us(&run, 0.999), (double)run.most_ns / 1000,
               (unsigned long long)(away / 1000));
    else
        printf("%.0f\n", (double)in_time / seconds);
    return 0;
}
