#include "service/shell/volley.h"

#include "service/shell/libc_mem.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

#define FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

static void do_one(struct tly_shot *shot)
{
    ssize_t n = shot->is_send ? send(shot->fd, shot->bytes, shot->n, FLAGS)
                              : recv(shot->fd, shot->bytes, shot->n, MSG_DONTWAIT);
    shot->result = n < 0 ? -errno : n;
}

static void do_all(struct tly_shot *shots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        do_one(&shots[i]);
}

#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif

#ifdef IORING_SETUP_SUBMIT_ALL

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct tly_volley {
    int fd;
    void *rings, *entries; /* memory of the kernel's */
    size_t rings_bytes, entries_bytes;
    unsigned *sq_head, *sq_tail, sq_mask, *sq_index;
    unsigned *cq_head, *cq_tail, cq_mask;
    const struct io_uring_cqe *done;
};

static unsigned read_shared(const unsigned *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static void write_shared(unsigned *at, unsigned number)
{
    __atomic_store_n(at, number, __ATOMIC_RELEASE);
}

/* Whether the kernel's memory is ours to use. */
static bool map(struct tly_volley *volley, const struct io_uring_params *params)
{
    size_t sq = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    size_t cq = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    const int access = PROT_READ | PROT_WRITE, kind = MAP_SHARED | MAP_POPULATE;
    volley->rings_bytes = sq > cq ? sq : cq;
    volley->entries_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
    volley->rings = mmap(NULL, volley->rings_bytes, access, kind, volley->fd, IORING_OFF_SQ_RING);
    volley->entries = mmap(NULL, volley->entries_bytes, access, kind, volley->fd, IORING_OFF_SQES);
    if (volley->rings == MAP_FAILED || volley->entries == MAP_FAILED) return false;
    uint8_t *rings = volley->rings;
    volley->sq_head = (unsigned *)(void *)(rings + params->sq_off.head);
    volley->sq_tail = (unsigned *)(void *)(rings + params->sq_off.tail);
    volley->sq_mask = *(unsigned *)(void *)(rings + params->sq_off.ring_mask);
    volley->sq_index = (unsigned *)(void *)(rings + params->sq_off.array);
    volley->cq_head = (unsigned *)(void *)(rings + params->cq_off.head);
    volley->cq_tail = (unsigned *)(void *)(rings + params->cq_off.tail);
    volley->cq_mask = *(unsigned *)(void *)(rings + params->cq_off.ring_mask);
    volley->done = (const struct io_uring_cqe *)(void *)(rings + params->cq_off.cqes);
    return true;
}

static int enter(const struct tly_volley *volley, size_t submit, size_t wait)
{
    return (int)syscall(SYS_io_uring_enter, volley->fd, (unsigned)submit, (unsigned)wait,
                        wait > 0 ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

struct tly_volley *tly_volley_new(void)
{
    struct tly_mem mem = tly_libc_mem();
    /* A kernel without it, before 5.18, may leave what cannot be done now for later in spite of MSG_DONTWAIT. */
    struct io_uring_params params = {.flags = IORING_SETUP_SUBMIT_ALL};
    struct tly_volley *volley = tly_mem_zeroed(&mem, sizeof *volley);
    if (volley == NULL) return NULL;
    volley->rings = volley->entries = MAP_FAILED;
    volley->fd = (int)syscall(SYS_io_uring_setup, TLY_VOLLEY_MAX, &params);
    bool is_open = volley->fd >= 0 && enter(volley, 0, 0) == 0;
    if (is_open && (params.features & IORING_FEAT_SINGLE_MMAP) != 0 && map(volley, &params)) return volley;
    tly_volley_free(volley);
    return NULL;
}

void tly_volley_free(struct tly_volley *volley)
{
    if (volley == NULL) return;
    if (volley->rings != MAP_FAILED) (void)munmap(volley->rings, volley->rings_bytes);
    if (volley->entries != MAP_FAILED) (void)munmap(volley->entries, volley->entries_bytes);
    if (volley->fd >= 0) (void)close(volley->fd);
    struct tly_mem mem = tly_libc_mem();
    tly_mem_free(&mem, volley, sizeof *volley);
}

static void load(struct tly_volley *volley, const struct tly_shot *shots, size_t count)
{
    unsigned tail = *volley->sq_tail;
    for (size_t i = 0; i < count; i++, tail++) {
        unsigned slot = tail & volley->sq_mask;
        struct io_uring_sqe *entry = (struct io_uring_sqe *)volley->entries + slot;
        *entry = (struct io_uring_sqe){
            .opcode = shots[i].is_send ? IORING_OP_SEND : IORING_OP_RECV,
            .fd = shots[i].fd,
            .addr = (uintptr_t)shots[i].bytes,
            .len = (uint32_t)shots[i].n,
            .msg_flags = FLAGS,
            .user_data = i,
        };
        volley->sq_index[slot] = slot;
    }
    write_shared(volley->sq_tail, tail);
}

static size_t take_results(struct tly_volley *volley, struct tly_shot *shots)
{
    unsigned head = *volley->cq_head, tail = read_shared(volley->cq_tail);
    size_t n = tail - head;
    for (; head != tail; head++) {
        const struct io_uring_cqe *done = &volley->done[head & volley->cq_mask];
        shots[done->user_data].result = done->res;
    }
    write_shared(volley->cq_head, head);
    return n;
}

void tly_volley_fire(struct tly_volley *volley, struct tly_shot *shots, size_t count)
{
    assert(count <= TLY_VOLLEY_MAX);
    if (volley == NULL || count < 2) {
        do_all(shots, count);
        return;
    }
    load(volley, shots, count);
    (void)enter(volley, count, 0);
    /* What was not taken is taken back. */
    size_t left = *volley->sq_tail - read_shared(volley->sq_head);
    if (left > 0) write_shared(volley->sq_tail, *volley->sq_tail - (unsigned)left);
    size_t taken = count - left, done = take_results(volley, shots);
    while (done < taken) {
        int waited = enter(volley, 0, taken - done);
        assert(waited >= 0 || errno == EINTR || errno == EAGAIN || errno == EBUSY);
        done += take_results(volley, shots);
    }
    do_all(shots + taken, left);
}

#else

struct tly_volley *tly_volley_new(void)
{
    return NULL;
}

void tly_volley_free(struct tly_volley *volley)
{
    (void)volley;
}

void tly_volley_fire(struct tly_volley *volley, struct tly_shot *shots, size_t count)
{
    (void)volley;
    do_all(shots, count);
}

#endif
