/*
 * Bytes as a rate limit request.  Claims: all that was found lies in the message, what is counted was there, and what is written
 * of it reads as the same.
 */
#include "service/shell/rls_message.h"
#include "tests/fuzz/fuzz_mem.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_within(struct tly_slice part, struct tly_slice whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_found(const struct tly_rls_request *request, struct tly_slice whole)
{
    size_t entries = 0;
    assert(lies_within(request->domain, whole));
    for (size_t i = 0; i < request->descriptor_count; i++) {
        const struct tly_rls_descriptor *descriptor = &request->descriptor[i];
        assert(descriptor->entry == &request->entry[entries]);
        entries += descriptor->entry_count;
        for (size_t j = 0; j < descriptor->entry_count; j++)
            assert(lies_within(descriptor->entry[j].key, whole) &&
                   lies_within(descriptor->entry[j].value, whole));
    }
    assert(entries == request->entry_count);
}

static void put_entries(struct tly_buf *out, const struct tly_rls_descriptor *descriptor)
{
    for (size_t i = 0; i < descriptor->entry_count; i++) {
        size_t entry = tly_pb_begin(out, 1);
        tly_pb_put_bytes(out, 1, descriptor->entry[i].key);
        tly_pb_put_bytes(out, 2, descriptor->entry[i].value);
        tly_pb_end(out, entry);
    }
}

static void write_again(struct tly_buf *out, const struct tly_rls_request *request)
{
    tly_pb_put_bytes(out, 1, request->domain);
    tly_pb_put_varint(out, 3, request->hits_addend);
    for (size_t i = 0; i < request->descriptor_count; i++) {
        const struct tly_rls_descriptor *descriptor = &request->descriptor[i];
        size_t begun = tly_pb_begin(out, 2), inner;
        put_entries(out, descriptor);
        if (descriptor->has_limit) {
            inner = tly_pb_begin(out, 2);
            tly_pb_put_varint(out, 1, descriptor->requests_per_unit);
            tly_pb_put_varint(out, 2, descriptor->unit);
            tly_pb_end(out, inner);
        }
        if (descriptor->has_hits) {
            inner = tly_pb_begin(out, 3);
            tly_pb_put_varint(out, 1, descriptor->hits);
            tly_pb_end(out, inner);
        }
        tly_pb_put_varint(out, 4, descriptor->gives_back);
        tly_pb_end(out, begun);
    }
}

static void check_same(const struct tly_rls_request *a, const struct tly_rls_request *b)
{
    assert(tly_slice_equal(a->domain, b->domain) && a->hits_addend == b->hits_addend);
    assert(a->descriptor_count == b->descriptor_count && a->entry_count == b->entry_count);
    for (size_t i = 0; i < a->entry_count; i++)
        assert(tly_slice_equal(a->entry[i].key, b->entry[i].key) &&
               tly_slice_equal(a->entry[i].value, b->entry[i].value));
    for (size_t i = 0; i < a->descriptor_count; i++) {
        const struct tly_rls_descriptor *x = &a->descriptor[i], *y = &b->descriptor[i];
        assert(x->entry_count == y->entry_count && x->has_limit == y->has_limit &&
               x->has_hits == y->has_hits);
        assert(x->requests_per_unit == y->requests_per_unit && x->unit == y->unit && x->hits == y->hits);
        assert(x->gives_back == y->gives_back);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tly_rls_request request, again;
    struct tly_mem mem = fuzz_mem();
    struct tly_slice whole = tly_slice_of(data, size);
    struct tly_buf out;
    enum tly_result result = tly_rls_request_get(whole, &request);
    assert(result == TLY_OK || result == TLY_BAD_MESSAGE || result == TLY_TOO_LARGE);
    if (result != TLY_OK) return 0;
    check_found(&request, whole);
    tly_buf_init(&out, &mem, 1 << 24);
    write_again(&out, &request);
    assert(out.result == TLY_OK);
    result = tly_rls_request_get(tly_buf_slice(&out), &again);
    assert(result == TLY_OK);
    check_same(&request, &again);
    tly_buf_fini(&out);
    return 0;
}
