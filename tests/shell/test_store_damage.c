/* Files that were cut, flipped, swapped and lost: a prefix of what was appended comes back and is reported, or nothing does. */
#include "service/shell/manifest.h"
#include "service/shell/segment.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include "service/shell/libc_mem.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORDS 6

/* A store that was stopped cleanly, and its files. */
struct sample {
    struct test_user user;
    struct tly_slice manifest;
    struct tly_slice log;
    /* Of the records of log-1.tly; each begins with what was synced before it. */
    uint64_t ends[RECORDS];
    uint64_t inner[RECORDS];
};

/* Where the batch of a group begins: behind the record of what was synced. */
static void find_inner(struct sample *sample)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf record;
    tly_buf_init(&record, &mem, 64);
    for (size_t i = 0; i < RECORDS; i++) {
        uint64_t from = i > 0 ? sample->ends[i - 1] : TLY_SEGMENT_HEADER_BYTES;
        tly_buf_clear(&record);
        tly_segment_put_synced(&record, from);
        assert_memory_equal(sample->log.p + from, record.p, record.n);
        sample->inner[i] = from + record.n;
    }
    tly_buf_fini(&record);
}

static void make_sample(struct sample *sample, bool clean)
{
    struct test_user *user = &sample->user;
    test_user_init(user, NULL, TLY_FSYNC_ALWAYS);
    user->limits.segment_bytes = 1 << 20;
    test_user_open(user);
    for (size_t i = 0; i < RECORDS; i++) {
        test_user_append(user);
        test_user_wait_stored(user);
        assert_int_equal(tly_storage_size(user->faults.inner, "log-1.tly", &sample->ends[i]), TLY_OK);
    }
    test_user_close(user, clean);
    sample->manifest = test_user_read(user, TLY_MANIFEST_NAME);
    sample->log = test_user_read(user, "log-1.tly");
    find_inner(sample);
}

static void free_bytes(struct tly_slice bytes)
{
    free((void *)(uintptr_t)bytes.p);
}

static void free_sample(struct sample *sample)
{
    free_bytes(sample->manifest);
    free_bytes(sample->log);
    test_user_fini(&sample->user);
}

static void restore(struct sample *sample, struct tly_slice log)
{
    test_user_write(&sample->user, TLY_MANIFEST_NAME, sample->manifest);
    test_user_write(&sample->user, "log-1.tly", log);
}

static void assert_bytes(struct test_user *user, const char *name, struct tly_slice expected)
{
    struct tly_slice found = test_user_read(user, name);
    assert_int_equal(found.n, expected.n);
    if (found.n > 0) assert_memory_equal(found.p, expected.p, found.n);
    free_bytes(found);
}

static void assert_says(const struct test_user *user, const char *words)
{
    if (strstr(user->notice, words) == NULL) fail_msg("'%s' does not say '%s'", user->notice, words);
}

/* Refused, and nothing was touched. */
static void assert_refused(struct sample *sample, struct tly_slice log, enum tly_result expected,
                           const char *words)
{
    enum tly_result result = test_user_try_open(&sample->user);
    if (result != expected) fail_msg("%s: %s", tly_result_name(result), sample->user.notice);
    assert_says(&sample->user, words);
    assert_bytes(&sample->user, TLY_MANIFEST_NAME, sample->manifest);
    assert_bytes(&sample->user, "log-1.tly", log);
}

static size_t records_up_to(const struct sample *sample, uint64_t bytes)
{
    size_t count = 0;
    while (count < RECORDS && sample->ends[count] <= bytes)
        count++;
    return count;
}

static uint64_t start_of(const struct sample *sample, size_t record)
{
    return record > 0 ? sample->ends[record - 1] : TLY_SEGMENT_HEADER_BYTES;
}

/* The first `count` records are back, and the store works. */
static void assert_goes_on_after(struct sample *sample, size_t count)
{
    struct test_user *user = &sample->user;
    test_user_open(user);
    assert_int_equal(user->id_at_open, count);
    char notice[sizeof user->notice];
    memcpy(notice, user->notice, sizeof notice);
    bool may_continue = tly_store_identity(user->store)->may_continue;
    test_user_append(user);
    test_user_close(user, true);
    test_user_open(user);
    assert_int_equal(user->id_at_open, count + 1);
    assert_string_equal(user->notice, "");
    test_user_close(user, false);
    memcpy(user->notice, notice, sizeof notice);
    if (may_continue) assert_string_equal(notice, "");
    if (count < RECORDS) assert_false(may_continue);
}

/* ---- one segment ---- */

static void cut_everywhere(bool clean)
{
    struct sample sample;
    make_sample(&sample, clean);
    for (size_t n = 0; n <= sample.log.n; n++) {
        struct tly_slice log = tly_slice_of(sample.log.p, n);
        restore(&sample, log);
        if (n < TLY_SEGMENT_HEADER_BYTES) {
            assert_refused(&sample, log, TLY_BAD_FRAME, "log-1.tly is damaged at byte 0");
            continue;
        }
        size_t count = records_up_to(&sample, n);
        bool is_torn = n > start_of(&sample, count) && n != sample.inner[count];
        assert_goes_on_after(&sample, count);
        if (is_torn) assert_says(&sample.user, "torn");
        if (!is_torn && clean && count < RECORDS) assert_says(&sample.user, "begins a new life");
        if (!is_torn && !(clean && count < RECORDS)) assert_string_equal(sample.user.notice, "");
    }
    free_sample(&sample);
}

static void a_log_cut_anywhere_comes_back_up_to_there(void **state)
{
    (void)state;
    cut_everywhere(false);
}

static void after_a_clean_stop_what_is_missing_is_noticed(void **state)
{
    (void)state;
    cut_everywhere(true);
}

static void check_flip(struct sample *sample, struct tly_slice log, size_t at)
{
    char words[64];
    size_t record = records_up_to(sample, at);
    restore(sample, log);
    if (at < TLY_SEGMENT_HEADER_BYTES) {
        bool is_newer = log.p[10] + 256u * log.p[11] > TLY_SEGMENT_FORMAT;
        assert_refused(sample, log, is_newer ? TLY_UNKNOWN_FRAME : TLY_BAD_FRAME,
                       is_newer ? "log-1.tly is of a newer format" : "log-1.tly is damaged at byte 0");
    } else if (record + 1 < RECORDS || at < sample->inner[record]) {
        uint64_t start = at < sample->inner[record] ? start_of(sample, record) : sample->inner[record];
        (void)snprintf(words, sizeof words, "log-1.tly is damaged at byte %llu (valid records follow at",
                       (unsigned long long)start);
        assert_refused(sample, log, TLY_BAD_CHECKSUM, words);
    } else {
        assert_goes_on_after(sample, RECORDS - 1);
        assert_says(&sample->user, "torn");
    }
}

static void a_byte_flipped_anywhere_is_never_silently_wrong(void **state)
{
    (void)state;
    static const uint8_t masks[] = {0x01, 0x10, 0x80, 0xff};
    struct sample sample;
    make_sample(&sample, true);
    uint8_t *log = malloc(sample.log.n);
    assert_non_null(log);
    for (size_t at = 0; at < sample.log.n; at++) {
        for (size_t i = 0; i < sizeof masks; i++) {
            memcpy(log, sample.log.p, sample.log.n);
            log[at] ^= masks[i];
            check_flip(&sample, tly_slice_of(log, sample.log.n), at);
        }
    }
    free(log);
    free_sample(&sample);
}

/* What a power cut may leave of a file that was growing. */
static void what_follows_the_last_record_and_is_none_is_cut_off(void **state)
{
    (void)state;
    struct sample sample;
    make_sample(&sample, true);
    static const uint8_t bytes[] = {0xff, 0x80, 0x02, 0x22, 'a'};
    size_t extra = 300000;
    uint8_t *log = malloc(sample.log.n + extra);
    assert_non_null(log);
    memcpy(log, sample.log.p, sample.log.n);
    for (size_t i = 0; i < sizeof bytes; i++) {
        memset(log + sample.log.n, bytes[i], extra);
        restore(&sample, tly_slice_of(log, sample.log.n + extra));
        assert_goes_on_after(&sample, RECORDS);
        assert_says(&sample.user, "300000 bytes at its end were torn");
    }
    free(log);
    free_sample(&sample);
}

/* The log, cut off after n bytes, and room behind it; how many records that leaves whole. */
static size_t leave_room(struct sample *sample, uint64_t n, size_t room)
{
    size_t size = (size_t)n + room, whole = 0;
    uint8_t *bytes = calloc(1, size + 1);
    assert_non_null(bytes);
    memcpy(bytes, sample->log.p, (size_t)n);
    while (whole < RECORDS && sample->ends[whole] <= size &&
           memcmp(bytes, sample->log.p, (size_t)sample->ends[whole]) == 0)
        whole++;
    restore(sample, tly_slice_of(bytes, size));
    free(bytes);
    return whole;
}

static void room_behind_the_log_is_no_damage(void **state)
{
    (void)state;
    static const size_t rooms[] = {1, 2, 20, 4096, 1 << 20, 9 << 20};
    for (int clean = 0; clean < 2; clean++) {
        struct sample sample;
        make_sample(&sample, clean != 0);
        for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
            assert_int_equal(leave_room(&sample, sample.log.n, rooms[i]), RECORDS);
            test_user_open(&sample.user);
            assert_string_equal(sample.user.notice, "");
            assert_int_equal(sample.user.id_at_open, RECORDS);
            assert_int_equal(tly_store_identity(sample.user.store)->may_continue, clean);
            assert_bytes(&sample.user, "log-1.tly", sample.log);
            test_user_close(&sample.user, false);
            (void)leave_room(&sample, sample.log.n, rooms[i]);
            assert_goes_on_after(&sample, RECORDS);
        }
        free_sample(&sample);
    }
}

/* What a crash leaves of a log with room. */
static void a_log_cut_anywhere_before_its_room_comes_back_up_to_there(void **state)
{
    (void)state;
    struct sample sample;
    size_t torn = 0;
    make_sample(&sample, false);
    for (uint64_t n = TLY_SEGMENT_HEADER_BYTES; n <= sample.log.n; n++) {
        size_t whole = leave_room(&sample, n, 500);
        assert_goes_on_after(&sample, whole);
        bool is_cut = whole < RECORDS &&
                      n > sample.inner[whole]; /* in a batch, not only in what was said ahead of it */
        torn += is_cut;
        if (is_cut) assert_says(&sample.user, "torn by a crash and are cut off");
    }
    assert_in_range(torn, sample.log.n / 2, sample.log.n);
    free_sample(&sample);
}

/* A group of three batches was written and not synced when the power went; the disk had got to the last one first. */
static void what_was_never_synced_is_torn_also_if_it_got_there_out_of_order(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    user.limits.segment_bytes = 1 << 20;
    test_user_open(&user);
    test_user_append(&user);
    test_user_wait_synced(&user);
    test_user_close(&user, false);
    user.limits.interval_ms = 3600 * 1000;
    test_user_open(&user);
    uint64_t durable = 0, first = 0;
    assert_int_equal(tly_storage_size(user.faults.inner, "log-1.tly", &durable), TLY_OK);
    for (size_t i = 0; i < 3; i++) {
        test_user_append(&user);
        test_user_wait_stored(&user);
        if (i == 0) assert_int_equal(tly_storage_size(user.faults.inner, "log-1.tly", &first), TLY_OK);
    }
    struct tly_slice log = test_user_read(&user, "log-1.tly"),
                     manifest = test_user_read(&user, TLY_MANIFEST_NAME);
    test_user_close(&user, false);
    uint8_t *bytes = malloc(log.n);
    assert_non_null(bytes);
    for (size_t at = 0; at < first; at++) {
        memcpy(bytes, log.p, log.n);
        bytes[at] ^= 0x55;
        test_user_write(&user, "log-1.tly", tly_slice_of(bytes, log.n));
        test_user_write(&user, TLY_MANIFEST_NAME, manifest);
        enum tly_result result = test_user_try_open(&user);
        /* Whether the disk lost what it had said was there can be told only while the record that says so is whole. */
        if (at < durable) assert_int_not_equal(result, TLY_OK);
        if (at < durable) continue;
        assert_int_equal(result, TLY_OK);
        assert_says(&user, "torn by a crash and are cut off; the disk had written some of them out of order");
        assert_in_range(user.id_at_open, 1, 1);
        test_user_close(&user, false);
    }
    free(bytes);
    free_bytes(log);
    free_bytes(manifest);
    test_user_fini(&user);
}

static void the_notice_says_where_to_cut(void **state)
{
    (void)state;
    struct sample sample;
    make_sample(&sample, true);
    uint8_t *log = malloc(sample.log.n);
    assert_non_null(log);
    memcpy(log, sample.log.p, sample.log.n);
    log[sample.ends[1] + 3] ^= 1; /* in the record of what was synced */
    char words[64];
    (void)snprintf(words, sizeof words, "truncate -s %llu log-1.tly", (unsigned long long)sample.ends[1]);
    restore(&sample, tly_slice_of(log, sample.log.n));
    assert_refused(&sample, tly_slice_of(log, sample.log.n), TLY_BAD_CHECKSUM, words);
    assert_int_equal(tly_storage_truncate(sample.user.faults.inner, "log-1.tly", sample.ends[1]), TLY_OK);
    assert_goes_on_after(&sample, 2);
    free(log);
    free_sample(&sample);
}

/* ---- several segments ---- */

static void make_segments(struct test_user *user)
{
    test_user_init(user, NULL, TLY_FSYNC_ALWAYS);
    user->limits.segment_bytes = 400;
    test_user_open(user);
    for (size_t i = 0; i < 14; i++) {
        test_user_append(user);
        test_user_wait_stored(user);
    }
    test_user_close(user, true);
    assert_true(test_user_has(user, "log-3.tly"));
}

static void assert_log_refused(struct test_user *user, const char *words)
{
    enum tly_result result = test_user_try_open(user);
    if (result == TLY_OK) fail_msg("was opened; expected '%s'", words);
    assert_says(user, words);
}

static void an_earlier_segment_is_as_it_was_or_refused(void **state)
{
    (void)state;
    struct test_user user;
    make_segments(&user);
    struct tly_slice first = test_user_read(&user, "log-1.tly");
    uint8_t *changed = malloc(first.n);
    assert_non_null(changed);
    for (size_t at = 0; at < first.n; at++) {
        memcpy(changed, first.p, first.n);
        changed[at] ^= 0x40;
        test_user_write(&user, "log-1.tly", tly_slice_of(changed, first.n));
        assert_log_refused(&user, "log-1.tly is ");
        test_user_write(&user, "log-1.tly", tly_slice_of(first.p, at));
        assert_log_refused(&user, "log-1.tly is damaged at byte ");
    }
    test_user_write(&user, "log-1.tly", first);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 14);
    free(changed);
    free_bytes(first);
    test_user_fini(&user);
}

static void a_missing_segment_is_named(void **state)
{
    (void)state;
    struct test_user user;
    make_segments(&user);
    assert_int_equal(tly_storage_remove(user.faults.inner, "log-2.tly"), TLY_OK);
    assert_log_refused(&user, "log-2.tly is missing");
    test_user_fini(&user);
}

static void segments_in_each_others_place_are_refused(void **state)
{
    (void)state;
    struct test_user user;
    make_segments(&user);
    struct tly_slice first = test_user_read(&user, "log-1.tly"), second = test_user_read(&user, "log-2.tly");
    test_user_write(&user, "log-1.tly", second);
    test_user_write(&user, "log-2.tly", first);
    assert_log_refused(&user, "log-1.tly is damaged at byte 0");
    free_bytes(first);
    free_bytes(second);
    test_user_fini(&user);
}

/* ---- MANIFEST ---- */

static void a_manifest_that_is_not_whole_is_refused_and_stays(void **state)
{
    (void)state;
    struct sample sample;
    make_sample(&sample, true);
    struct tly_slice good = sample.manifest;
    uint8_t *bytes = malloc(good.n + 1);
    assert_non_null(bytes);
    for (size_t at = 0; at < good.n; at++) {
        memcpy(bytes, good.p, good.n);
        bytes[at] ^= 0x21;
        sample.manifest = tly_slice_of(bytes, good.n);
        restore(&sample, sample.log);
        enum tly_result result = test_user_try_open(&sample.user);
        assert_int_not_equal(result, TLY_OK);
        assert_refused(&sample, sample.log, result, "MANIFEST is damaged");
        sample.manifest = tly_slice_of(good.p, at);
        restore(&sample, sample.log);
        assert_refused(&sample, sample.log, TLY_BAD_FRAME, "move it away");
    }
    memcpy(bytes, good.p, good.n);
    bytes[good.n] = 0;
    sample.manifest = tly_slice_of(bytes, good.n + 1);
    restore(&sample, sample.log);
    assert_refused(&sample, sample.log, TLY_BAD_FRAME, "MANIFEST is damaged");
    free(bytes);
    sample.manifest = good;
    free_sample(&sample);
}

static void put_frame(struct tly_buf *out, const struct tly_buf *body)
{
    assert_int_equal(body->result, TLY_OK);
    tly_frame_put(out, TLY_FRAME_HELLO, tly_buf_slice(body));
    assert_int_equal(out->result, TLY_OK);
}

/* It may look otherwise in every way but for its first two fields. */
static void a_newer_format_is_refused_untouched(void **state)
{
    (void)state;
    struct sample sample;
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf body, frame;
    make_sample(&sample, true);
    struct tly_slice good = sample.manifest;
    tly_buf_init(&body, &mem, 4096);
    tly_buf_init(&frame, &mem, 4096);
    tly_put_array(&body, 3);
    tly_put_text(&body, tly_slice_text("tally manifest"));
    tly_put_uint(&body, TLY_MANIFEST_FORMAT + 1);
    tly_put_text(&body, tly_slice_text("what nobody knows yet"));
    put_frame(&frame, &body);
    sample.manifest = tly_buf_slice(&frame);
    restore(&sample, sample.log);
    assert_refused(&sample, sample.log, TLY_UNKNOWN_FRAME, "newer format");
    assert_says(&sample.user, "start the version that wrote it");
    tly_buf_fini(&body);
    tly_buf_fini(&frame);
    sample.manifest = good;
    free_sample(&sample);
}

/* ---- long records ---- */

#define LONG_BYTES ((size_t)200000)

static struct tly_slice long_batch(uint64_t id, uint8_t *bytes)
{
    uint64_t mixed = id;
    for (size_t i = 0; i < LONG_BYTES; i++) {
        mixed = mixed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        bytes[i] = (uint8_t)(mixed >> 56);
    }
    return tly_slice_of(bytes, LONG_BYTES - id);
}

static enum tly_result take_long(void *context, struct tly_slice batch)
{
    static uint8_t bytes[LONG_BYTES];
    uint64_t *id = context;
    return tly_slice_equal(batch, long_batch(++*id, bytes)) ? TLY_OK : TLY_BAD_MESSAGE;
}

/* The reader sees the log through a window. */
static void records_across_every_window_come_back(void **state)
{
    (void)state;
    static uint8_t bytes[LONG_BYTES];
    struct test_user user;
    char text[512];
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    user.limits.segment_bytes = user.limits.kept_bytes = user.limits.waiting_bytes = 64 << 20;
    test_user_open(&user);
    for (user.number = 1; user.number <= 40; user.number++)
        assert_int_equal(tly_store_append(user.store, user.number, long_batch(user.number, bytes)), TLY_OK);
    test_user_close(&user, true);
    struct tly_storage *storage = test_fault_storage(&user.faults);
    assert_int_equal(tly_store_open(storage, TLY_FSYNC_ALWAYS, &user.store, text, sizeof text), TLY_OK);
    uint64_t id = 0;
    assert_int_equal(tly_store_replay(user.store, take_long, &id, text, sizeof text), TLY_OK);
    assert_int_equal(id, 40);
    test_user_fini(&user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_cut_anywhere_comes_back_up_to_there),
        cmocka_unit_test(after_a_clean_stop_what_is_missing_is_noticed),
        cmocka_unit_test(a_byte_flipped_anywhere_is_never_silently_wrong),
        cmocka_unit_test(what_follows_the_last_record_and_is_none_is_cut_off),
        cmocka_unit_test(room_behind_the_log_is_no_damage),
        cmocka_unit_test(a_log_cut_anywhere_before_its_room_comes_back_up_to_there),
        cmocka_unit_test(what_was_never_synced_is_torn_also_if_it_got_there_out_of_order),
        cmocka_unit_test(the_notice_says_where_to_cut),
        cmocka_unit_test(an_earlier_segment_is_as_it_was_or_refused),
        cmocka_unit_test(a_missing_segment_is_named),
        cmocka_unit_test(segments_in_each_others_place_are_refused),
        cmocka_unit_test(a_manifest_that_is_not_whole_is_refused_and_stays),
        cmocka_unit_test(a_newer_format_is_refused_untouched),
        cmocka_unit_test(records_across_every_window_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
