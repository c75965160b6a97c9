/*
 * What outlives the process before it is in the log: what was promised is read back after a crash, in order and without a gap, and nothing
 * is read that may not be.
 */
#include "service/shell/recent.h"
#include "tests/shell/support_disk.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define HALF 512u
#define LIST_MAX 256u

static const struct tly_recent_owner owner = {.boot = 11, .origin = 22};

/* A batch says its number, and is as long as that asks for. */
struct batch {
    uint8_t bytes[2 * HALF];
    size_t n;
};

static struct batch batch_of(uint64_t number)
{
    struct test_rng rng = test_rng_of(number);
    struct batch batch = {.n = 8 + test_rng_below(&rng, number % 29 == 0 ? 2 * HALF - 8 : 60)};
    memset(batch.bytes, (int)(number % 251), batch.n);
    memcpy(batch.bytes, &number, sizeof number);
    return batch;
}

struct list {
    uint64_t numbers[LIST_MAX];
    size_t count;
};

static struct list read_as(struct test_disk *disk, const struct tly_recent_owner *who)
{
    struct tly_storage *other = test_disk_open(disk);
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    struct list list = {.count = 0};
    tly_buf_init(&out, &mem, 1 << 20);
    claim(tly_recent_read(other, who, &out) == TLY_OK);
    for (size_t at = 0; at < out.n; list.count++) {
        uint32_t n;
        memcpy(&n, out.p + at, sizeof n);
        claim(n >= 8 && list.count < LIST_MAX);
        memcpy(&list.numbers[list.count], out.p + at + sizeof n, 8);
        struct batch batch = batch_of(list.numbers[list.count]);
        claim(batch.n == n && memcmp(batch.bytes, out.p + at + sizeof n, n) == 0);
        at += sizeof n + n;
    }
    tly_buf_fini(&out);
    tly_storage_close(other);
    return list;
}

static bool add(struct tly_recent *recent, uint64_t number, uint64_t logged)
{
    struct batch batch = batch_of(number);
    return tly_recent_add(recent, number, tly_slice_of(batch.bytes, batch.n), logged);
}

/* Of what was begun last. */
static struct tly_storage *storage;

static struct tly_recent *begin(struct test_disk *disk)
{
    storage = test_disk_open(disk);
    struct tly_recent *recent = tly_recent_new(storage, &owner, HALF);
    claim(recent != NULL);
    return recent;
}

static void end(struct tly_recent *recent)
{
    tly_recent_free(recent);
    tly_storage_close(storage);
}

static bool is_from_to(const struct list *list, uint64_t first, uint64_t last)
{
    if (list->count != last + 1 - first) return false;
    for (size_t i = 0; i < list->count; i++)
        if (list->numbers[i] != first + i) return false;
    return true;
}

static void what_was_added_is_read_by_its_owner_alone(void **state)
{
    (void)state;
    struct test_disk *disk = test_disk_new();
    struct tly_recent *recent = begin(disk);
    for (uint64_t i = 1; i <= 4; i++)
        claim(add(recent, i, 0) && tly_recent_last(recent, 0) == i);
    struct list list = read_as(disk, &owner);
    claim(is_from_to(&list, 1, 4));
    const struct tly_recent_owner others[] = {{12, 22}, {11, 23}, {0, 22}};
    for (size_t i = 0; i < 3; i++)
        claim(read_as(disk, &others[i]).count == 0);
    end(recent);
    recent = begin(disk);
    claim(read_as(disk, &owner).count == 0);
    end(recent);
    test_disk_free(disk);
}

/* Whatever a byte says instead, what is before it is read, and nothing else is. */
static void a_damaged_record_ends_what_is_read(void **state)
{
    (void)state;
    struct test_disk *disk = test_disk_new();
    struct tly_recent *recent = begin(disk);
    size_t ends[4], n, cuts = 0;
    for (uint64_t i = 1; i <= 4; i++) {
        claim(add(recent, i, 0));
        ends[i - 1] = (i > 1 ? ends[i - 2] : 0) + 20 + batch_of(i).n;
    }
    for (size_t at = 0; at < ends[3]; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t *bytes = test_disk_bytes(disk, TLY_RECENT_NAME, &n);
            bytes[at] ^= (uint8_t)(1u << bit);
            uint64_t whole = 0;
            while (ends[whole] <= at)
                whole++;
            struct list list = read_as(disk, &owner);
            claim(is_from_to(&list, 1, whole));
            cuts++;
            bytes[at] ^= (uint8_t)(1u << bit);
        }
    claim(cuts == 8 * ends[3]);
    end(recent);
    test_disk_free(disk);
}

static void a_chain_begins_only_where_all_before_it_is_logged(void **state)
{
    (void)state;
    struct test_disk *disk = test_disk_new();
    struct tly_recent *recent = begin(disk);
    claim(!add(recent, 3, 1) && tly_recent_last(recent, 1) == 1);
    claim(add(recent, 3, 2) && tly_recent_last(recent, 2) == 3);
    claim(!add(recent, 5, 3)); /* 4 went another way, and is not in the log */
    claim(tly_recent_last(recent, 3) == 3);
    claim(add(recent, 5, 4));
    struct list list = read_as(disk, &owner);
    claim(is_from_to(&list, 5, 5));
    end(recent);
    test_disk_free(disk);
}

static void settled_it_is_empty_unless_the_log_lacks_something(void **state)
{
    (void)state;
    struct test_disk *disk = test_disk_new();
    struct tly_recent *recent = begin(disk);
    for (uint64_t i = 1; i <= 3; i++)
        claim(add(recent, i, 0));
    claim(tly_recent_settle(recent, 2) == TLY_OK);
    struct list list = read_as(disk, &owner);
    claim(is_from_to(&list, 1, 3));
    claim(tly_recent_settle(recent, 3) == TLY_OK && read_as(disk, &owner).count == 0);
    claim(add(recent, 4, 2)); /* who adds has not heard yet that 3 is in the log */
    list = read_as(disk, &owner);
    claim(is_from_to(&list, 4, 4));
    end(recent);
    test_disk_free(disk);
}

/* What stands in the file then is not known, so it goes before anything is published. */
static void what_is_lost_keeps_nothing_and_is_removed(void **state)
{
    (void)state;
    struct test_disk *disk = test_disk_new();
    struct tly_recent *recent = begin(disk);
    claim(add(recent, 1, 0));
    test_disk_lose_map(disk);
    claim(!add(recent, 2, 0) && tly_recent_last(recent, 0) == 1);
    claim(tly_recent_settle(recent, 0) == TLY_OK && read_as(disk, &owner).count == 1);
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_REMOVE, .times = SIZE_MAX});
    claim(tly_recent_settle(recent, 1) == TLY_IO);
    test_disk_fail(disk, &(struct test_disk_fault){0});
    size_t n;
    claim(tly_recent_settle(recent, 1) == TLY_OK && test_disk_bytes(disk, TLY_RECENT_NAME, &n) == NULL);
    claim(!add(recent, 2, 1) && tly_recent_last(recent, 1) == 1);
    end(recent);
    test_disk_free(disk);
}

/* ---- a process that ends between two writings of its memory ---- */

#define PAGE 4096u

/* Where this process has the file mapped. */
static uint8_t *mapped(void)
{
    char line[512];
    unsigned long at = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    claim(maps != NULL);
    while (at == 0 && fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "/recent\n") != NULL) at = strtoul(line, NULL, 16);
    (void)fclose(maps);
    claim(at != 0);
    return (uint8_t *)at; /* NOLINT(performance-no-int-to-ptr): it is an address */
}

/* Half 0 has the older records, half 1 the newer ones, of which the log lacks the last. Its number. */
static uint64_t fill_both(struct tly_recent *recent)
{
    static const uint8_t bytes[PAGE / 2 - 100];
    uint64_t number = 0;
    while (number < 3) {
        number++;
        claim(tly_recent_add(recent, number, tly_slice_of(bytes, sizeof bytes), number - 1));
    }
    return number;
}

/* The newer half has what a record of the older one was overruled by, and a snapshot that is published may have forgotten both. */
static void a_crash_leaves_no_older_half_alone(void **state)
{
    (void)state;
    char path[] = "/tmp/test_recent.XXXXXX", error[256] = "";
    claim(mkdtemp(path) != NULL && tly_storage_guard());
    storage = tly_storage_directory(path, error, sizeof error);
    claim(storage != NULL);
    struct tly_recent *recent = tly_recent_new(storage, &owner, PAGE);
    claim(recent != NULL);
    uint64_t last = fill_both(recent);
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)mprotect(mapped(), PAGE, PROT_READ); /* the older half: it ends here */
        (void)!tly_recent_settle(recent, last);
        _exit(0);
    }
    int status;
    claim(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, 1 << 20);
    claim(tly_recent_read(storage, &owner, &out) == TLY_OK);
    claim(out.n == 3 * (4 + PAGE / 2 - 100));
    tly_buf_fini(&out);
    end(recent);
    claim(test_remove_tree(path) == 0);
}

/* ---- any history ---- */

struct history {
    struct test_disk *disk;
    struct tly_recent *recent;
    struct test_rng rng;
    uint64_t handed, logged, promised;
    bool is_settled;                      /* since the last that was added */
    size_t kept, refused, read, both, of; /* what was met */
};

/* What the next process would have. */
static void check(struct history *h)
{
    struct list list = read_as(h->disk, &owner);
    uint64_t first = list.count > 0 ? list.numbers[0] : 0;
    uint64_t last = list.count > 0 ? list.numbers[list.count - 1] : 0;
    claim(list.count == 0 || is_from_to(&list, first, last));
    if (h->promised > h->logged) claim(first != 0 && first <= h->logged + 1 && last >= h->promised);
    if (h->is_settled) claim(list.count == 0);
    h->read += list.count > 0;
    h->both += list.count > HALF / 60;
    h->of++;
}

static void step(struct history *h)
{
    unsigned what = (unsigned)test_rng_below(&h->rng, 100);
    if (what < 60) {
        bool is_kept = what >= 4 && add(h->recent, ++h->handed, h->logged);
        h->handed += what < 4; /* something else has that number */
        h->kept += is_kept;
        h->refused += !is_kept && what >= 4;
        if (is_kept) h->is_settled = false;
    } else if (what < 85) {
        h->logged += test_rng_below(&h->rng, h->handed - h->logged + 1);
    } else if (what < 90) {
        claim(tly_recent_settle(h->recent, h->logged) == TLY_OK);
        h->is_settled = h->is_settled || tly_recent_last(h->recent, 0) <= h->logged;
    } else if (what < 92) {
        h->logged = h->handed;
    }
    h->promised = tly_recent_last(h->recent, h->logged);
    claim(h->promised >= h->logged && h->promised <= h->handed);
    check(h);
}

static void whatever_was_promised_is_read_back(void **state)
{
    (void)state;
    struct history sum = {.handed = 0};
    for (unsigned i = 0; i < (test_is_long() ? 20000u : 500u); i++) {
        struct history h = {.disk = test_disk_new(), .rng = test_rng_of(test_seed_first() + i)};
        h.recent = begin(h.disk);
        for (unsigned j = 0; j < 200; j++)
            step(&h);
        sum.kept += h.kept;
        sum.refused += h.refused;
        sum.read += h.read;
        sum.both += h.both;
        sum.of += h.of;
        end(h.recent);
        test_disk_free(h.disk);
    }
    print_message("  %zu crashes: %zu left something; %zu batches kept, %zu not; %zu from both halves\n",
                  sum.of, sum.read, sum.kept, sum.refused, sum.both);
    claim(sum.kept > 10000 && sum.refused > 1000 && sum.read > 10000 && sum.both > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_read_by_its_owner_alone),
        cmocka_unit_test(a_damaged_record_ends_what_is_read),
        cmocka_unit_test(a_chain_begins_only_where_all_before_it_is_logged),
        cmocka_unit_test(settled_it_is_empty_unless_the_log_lacks_something),
        cmocka_unit_test(what_is_lost_keeps_nothing_and_is_removed),
        cmocka_unit_test(a_crash_leaves_no_older_half_alone),
        cmocka_unit_test(whatever_was_promised_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
