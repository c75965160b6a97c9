/* Inside libtally: a node, and how work comes to whoever runs its loop. */
#ifndef TALLY_SERVICE_LIBRARY_INTERNAL_H
#define TALLY_SERVICE_LIBRARY_INTERNAL_H

#include "service/library/tally.h"
#include "service/shell/app_internal.h"

#include <pthread.h>
#include <semaphore.h>

/* Work that a caller waits for: on its stack. */
struct tally_job {
    struct tally_job *next;
    void (*run)(struct tally *tally, void *argument);
    void *argument;
    sem_t done;
};

struct tally {
    struct tly_app app;
    enum tally_drive drive;
    pthread_t thread;
    pthread_mutex_t mutex;           /* of the two below */
    struct tally_job *first, **last; /* oldest first */
    int fd;                          /* written to when the first of them comes; -1: there is no thread */
    struct event *called;
    struct event *turn_end;
};

/* Runs it where the loop runs, and returns when it is done. */
void tly_library_perform(struct tally *tally, void (*run)(struct tally *tally, void *argument),
                         void *argument);

#endif
