/*
 * A volley: recv() or send() on many sockets by one call of the kernel, through a ring of io_uring that one thread uses.  To enter
 * the kernel takes as long as half of what it does for a small answer, where page tables are changed on the way or a hypervisor looks on,
 * and each time the processor forgets where our memory lies.
 *
 * Nothing is under way when tly_volley_fire returns: no bytes and no sockets are the kernel's then.
 */
#ifndef TALLY_SERVICE_SHELL_VOLLEY_H
#define TALLY_SERVICE_SHELL_VOLLEY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TLY_VOLLEY_MAX 16

struct tly_volley;

/* One of them, as recv() or send() would be called. */
struct tly_shot {
    bool is_send;
    int fd;
    void *bytes;
    size_t n;
    ssize_t result; /* … what that says; below 0: the error, negative */
};

/* NULL: the kernel has none, or we are not let. */
struct tly_volley *tly_volley_new(void);
void tly_volley_free(struct tly_volley *volley);

/*
 * Does up to TLY_VOLLEY_MAX of them, in order, and waits for none: what cannot be done now has -EAGAIN. What the ring does not take is
 * done call by call, and so is all of it where volley is NULL.
 */
void tly_volley_fire(struct tly_volley *volley, struct tly_shot *shots, size_t count);

#endif
