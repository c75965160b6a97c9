/*
 * The application as the doors see it: a real engine without peers, a clock that moves only when it is told to, a store that
 * is done when it is told so, and no loop of its own.
 */
#ifndef TALLY_TESTS_SHELL_SUPPORT_FAKE_APP_H
#define TALLY_TESTS_SHELL_SUPPORT_FAKE_APP_H

#include "service/shell/app.h"

/* 2026-01-01T00:00:00Z, a whole number of every window that tests use. */
#define FAKE_WALL_MS UINT64_C(1767225600000)
/* The same as a line of HTTP. */
#define FAKE_DATE "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"

/* base may be NULL when nothing listens. */
struct tly_app *fake_app_new(struct event_base *base);
void fake_app_free(struct tly_app *app);

/* The engine looks what is due. */
void fake_app_tick(struct tly_app *app);
void fake_app_advance(struct tly_app *app, uint64_t ms);
/* The machine's clock is set back. */
void fake_app_set_back(struct tly_app *app, uint64_t ms);
/* The next `count` requests answer so and reach nobody. */
void fake_app_fail(struct tly_app *app, enum tly_result result, size_t count);
/* A named limit; fields is a list ended by NULL. */
void fake_app_limit(struct tly_app *app, const char *name, const char *rate, enum tly_algorithm algorithm,
                    const char *const *fields);
/* Sets one setting, as on the command line. */
void fake_app_set(struct tly_app *app, const char *assignment);
/* Answers wait for this batch; 0: for none. Batches up to `stored` are. */
void fake_app_batches(struct tly_app *app, uint64_t pending, uint64_t stored);
void fake_app_unready(struct tly_app *app, const char *reasons);
/* Envoy's rate limit service with this configuration; yaml NULL: with none yet. */
void fake_app_rls(struct tly_app *app, const struct tly_rls_settings *settings, const char *yaml);
void fake_app_clients(struct tly_app *app, uint64_t open);

#endif
