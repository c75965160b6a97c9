/*
 * Inside the application.
 *
 *     main.c    the command line          start.c   bringing it up and down
 *     app.c     the loop's turns          net.c     connections between nodes
 */
#ifndef TALLY_SERVICE_SHELL_APP_INTERNAL_H
#define TALLY_SERVICE_SHELL_APP_INTERNAL_H

#include "service/shell/app.h"
#include "service/shell/compact.h"
#include "service/shell/door.h"
#include "service/shell/heap.h"
#include "service/shell/net.h"
#include "service/shell/reload.h"
#include "service/shell/rls_files.h"
#include "service/shell/seeds.h"
#include "service/shell/tls.h"
#include "service/shell/wall.h"
#include "service/shell/xds.h"

#define TLY_ADDRESS_TEXT_MAX 320

enum { DOOR_RESP, DOOR_HTTP, DOOR_GRPC, DOOR_DEBUG, DOOR_COUNT };

struct tly_app {
    struct event_base *base;
    struct tly_config config;
    struct tly_log *log;
    struct tly_engine *engine;
    struct tly_heap *heap;       /* the engine's memory; NULL: it is libc's */
    struct tly_store *store;     /* NULL: none */
    struct tly_compact *compact; /* NULL: no store */
    struct tly_net *net;
    struct tly_reload *reload;
    struct tly_seeds *seeds; /* NULL: none is looked up by name */
    struct tly_rls *rls;
    struct tly_rls_files *rls_files;                    /* NULL: there is no directory to look at */
    struct tly_xds *xds;                                /* NULL: there is no management server */
    struct tly_tls *grpc_tls;                           /* NULL: none */
    struct tly_door *doors[DOOR_COUNT];                 /* NULL: none */
    char address[DOOR_COUNT + 1][TLY_ADDRESS_TEXT_MAX]; /* the last one: peers */
    struct event *tick, *wakeup, *terminate, *interrupt, *hangup, *give_up, *look, *log_turn;
    bool tick_active; /* it runs in this turn */
    bool acked;       /* somebody who waits for other nodes is done */
    bool has_lock;
    bool took_writes; /* since somebody last wanted to know */
    bool stopping;
    bool in_turn; /* what is asked is asked at the time `turn` */
    struct tly_time turn;
    struct tly_wall wall;
    uint64_t started_ns;
    struct tly_store_report report;
};

/* app.c */
struct tly_time tly_app_read_time(void);
/* Steps the engine and does what it wants. */
void tly_app_step(struct tly_app *app, struct tly_event *event);
/* Has the engine look for what is due, in this turn of the loop. */
void tly_app_tick_soon(struct tly_app *app);
void tly_app_on_tick(int fd, short what, void *argument);
void tly_app_on_store(int fd, short what, void *argument);
void tly_app_on_net(void *context, struct tly_event *event);

/* start.c */
/* Everything up to the ready line; app->config and the rules are what the sources say. False: error says why. */
bool tly_app_start(struct tly_app *app, const struct tly_config_sources *sources, struct tly_rules *rules,
                   struct tly_config_error *error);
/* Takes in changed limits; a bad file changes nothing. */
void tly_app_reload(struct tly_app *app);
/* The first call drains, the second one stops now. */
void tly_app_stop(struct tly_app *app);
/* Looks whether everything is drained; ends the loop then. */
void tly_app_check_drained(struct tly_app *app);
void tly_app_close(struct tly_app *app);

#endif
