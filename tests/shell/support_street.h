/*
 * A door on a real socket, clients in front of it, and one loop around both.  The protocol is one of lines:
 *
 *     WORD      answered with the line itself
 *     close     answered, and the connection ends
 *     big N     answered with N times 'x' and a line end
 *     wait      eaten, not answered
 *
 * The clock of timeouts is the application's and moves when it is told to.
 */
#ifndef TALLY_TESTS_SHELL_SUPPORT_STREET_H
#define TALLY_TESTS_SHELL_SUPPORT_STREET_H

#include "tests/shell/support_fake_app.h"

#include "service/shell/door.h"

#include <event2/event.h>

#define STREET_IN_MAX 4096
#define STREET_IDLE_MS 30000

struct street {
    struct event_base *base;
    struct tly_app *app;
    struct tly_door *door;
    char address[128];
};

struct visitor;

int street_setup(void **state);
int street_teardown(void **state);
#define STREET(name) cmocka_unit_test_setup_teardown(name, street_setup, street_teardown)

/* Lines, with an idle time or (patient) without one; one that refuses everybody. */
const struct tly_protocol *street_lines(void);
const struct tly_protocol *street_patient_lines(void);
const struct tly_protocol *street_refusing(void);
/* Opens the street's door anew with this protocol. */
void street_open(struct street *street, const struct tly_protocol *protocol);

/* Turns the loop until holds(context) does; fails the test after ten real seconds. */
typedef bool street_claim(void *context);
void street_until(struct street *street, street_claim *holds, void *context);
/* Turns it as long as there is something to do at once. */
void street_settle(struct street *street);
/* Moves the clock by at least TLY_LINGER_MS, and turns the loop until the door has looked for whose time is over. */
void street_advance(struct street *street, uint64_t ms);
struct tly_door_stats street_stats(const struct street *street);
/* A claim about a street: its door has no connections. */
bool street_is_empty(void *context);

/* Connects, without waiting for the door to accept. */
struct visitor *visitor_new(struct street *street);
void visitor_free(struct visitor *visitor);
/* Sends all of it now; the test fails when the socket does not take it. */
void visitor_say(struct visitor *visitor, const char *text);
/* Sends as much as the socket takes; how much. */
size_t visitor_push(struct visitor *visitor, const char *bytes, size_t n);
/* Does not read any more, or again. */
void visitor_listen(struct visitor *visitor, bool listens);
void visitor_end(struct visitor *visitor); /* sends no more, still reads */
int visitor_fd(const struct visitor *visitor);
/* All that was read. */
const char *visitor_heard(const struct visitor *visitor);
size_t visitor_heard_bytes(const struct visitor *visitor);
/* The door has closed: in good order, or with a reset. */
bool visitor_is_over(const struct visitor *visitor);
bool visitor_was_reset(const struct visitor *visitor);

/* Turn the loop until … */
void visitor_hears(struct visitor *visitor, const char *text); /* … exactly this was read since the start */
void visitor_hears_end(struct visitor *visitor);

#endif
