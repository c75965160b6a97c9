#include "tools/link/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
    TAILQ_ENTRY(client) next;
    struct tly_control *control;
    struct bufferevent *io;
};

struct tly_control {
    struct event_base *base;
    struct tly_relay *relay;
    struct evconnlistener *listener;
    TAILQ_HEAD(, client) clients;
    size_t client_count;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static void client_free(struct client *client)
{
    TAILQ_REMOVE(&client->control->clients, client, next);
    client->control->client_count--;
    bufferevent_free(client->io);
    free(client);
}

static void answer(struct client *client, const char *line)
{
    struct evbuffer *out = bufferevent_get_output(client->io);
    struct tly_link_command command;
    char *text = NULL;
    size_t bytes = 0;
    const char *why = tly_link_command_parse(line, &command);
    FILE *said = open_memstream(&text, &bytes);
    if (said == NULL && why == NULL) why = "out of memory";
    if (why == NULL) why = tly_relay_do(client->control->relay, &command, said);
    if (said != NULL) fclose(said);
    if (why != NULL)
        evbuffer_add_printf(out, "error: %s\n", why);
    else if (bytes > 0)
        evbuffer_add(out, text, bytes);
    else
        evbuffer_add(out, "ok\n", 3);
    free(text);
}

static void on_lines(struct bufferevent *io, void *argument)
{
    struct client *client = argument;
    struct evbuffer *in = bufferevent_get_input(io);
    for (char *line; (line = evbuffer_readln(in, NULL, EVBUFFER_EOL_LF)) != NULL; free(line))
        answer(client, line);
    if (evbuffer_get_length(in) > TLY_CONTROL_LINE_MAX) client_free(client);
}

static void on_gone(struct bufferevent *io, short what, void *argument)
{
    (void)io;
    (void)what;
    client_free(argument);
}

static void on_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int from_bytes, void *argument)
{
    struct tly_control *control = argument;
    (void)listener;
    (void)from;
    (void)from_bytes;
    struct client *client =
        control->client_count < TLY_CONTROL_CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;
    struct bufferevent *io = bufferevent_socket_new(control->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (client == NULL || io == NULL) {
        if (io != NULL)
            bufferevent_free(io);
        else
            close(fd);
        free(client);
        return;
    }
    *client = (struct client){.control = control, .io = io};
    TAILQ_INSERT_TAIL(&control->clients, client, next);
    control->client_count++;
    bufferevent_setcb(io, on_lines, NULL, on_gone, client);
    bufferevent_setwatermark(io, EV_READ, 0, (size_t)4 * TLY_CONTROL_LINE_MAX);
    (void)bufferevent_enable(io, EV_READ | EV_WRITE);
}

struct tly_control *tly_control_new(struct event_base *base, struct tly_relay *relay, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    struct tly_control *control = calloc(1, sizeof *control);
    if (control == NULL) return NULL;
    control->base = base;
    control->relay = relay;
    TAILQ_INIT(&control->clients);
    memcpy(control->path, path, strlen(path) + 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    control->listener =
        evconnlistener_new_bind(base, on_client, control, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1,
                                (const struct sockaddr *)&address, (int)sizeof address);
    if (control->listener != NULL) return control;
    free(control);
    return NULL;
}

void tly_control_free(struct tly_control *control)
{
    if (control == NULL) return;
    for (struct client *client; (client = TAILQ_FIRST(&control->clients)) != NULL;)
        client_free(client); // NOLINT(clang-analyzer-unix.Malloc): it does not see that the head moves on
    evconnlistener_free(control->listener);
    (void)unlink(control->path);
    free(control);
}
