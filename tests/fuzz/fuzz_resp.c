/*
 * A stream of RESP requests.  Claims: nothing is consumed that is not there, every argument lies in the request (or, unquoted, in
 * the scratch), a request that comes in two pieces reads as in one, and what is read in the frame of the request before it is what is
 * read without: all that may be, and nothing else.
 */
#include "service/shell/resp_parse.h"
#include "tests/fuzz/fuzz_mem.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_within(struct tly_slice part, struct tly_slice whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_arguments(const struct tly_resp_request *request, struct tly_slice in,
                            struct tly_slice unquoted)
{
    assert(request->bytes > 0 && request->bytes <= in.n && request->count <= TLY_RESP_ARGS_MAX);
    for (size_t i = 0; i < request->count; i++)
        assert(lies_within(request->arg[i], in) || lies_within(request->arg[i], unquoted));
}

/* Where the input is cut depends on the input alone. */
static void read_in_two_pieces(struct tly_slice in, const struct tly_resp_request *whole,
                               struct tly_buf *scratch)
{
    static struct tly_slice arg[TLY_RESP_ARGS_MAX];
    static struct tly_resp_request request = {.arg = arg};
    struct tly_resp_scan scan = {0};
    size_t cut = whole->bytes > 1 ? in.p[whole->bytes / 2] % whole->bytes : 0;
    size_t count = whole->count, bytes = whole->bytes;
    enum tly_result result = tly_resp_parse(tly_slice_of(in.p, cut), &scan, scratch, &request);
    assert(result == TLY_MORE);
    result = tly_resp_parse(in, &scan, scratch, &request);
    assert(result == TLY_OK && request.count == count && request.bytes == bytes);
    check_arguments(&request, in, tly_buf_slice(scratch));
}

/* Whether a request says what the one before it said, but for its argument of that number, which is short. */
static bool is_again(const struct tly_resp_request *before, const struct tly_resp_request *request,
                     size_t number)
{
    if (request->is_inline || request->count != before->count || request->arg[number].n > 99) return false;
    for (size_t i = 0; i < request->count; i++)
        if (i != number && !tly_slice_equal(request->arg[i], before->arg[i])) return false;
    return true;
}

/* `in` begins with what is to be read in the frame, if it is that and whole. */
static void read_in_frame(const struct tly_resp_frame *frame, const struct tly_resp_request *before,
                          size_t number, struct tly_slice in)
{
    static struct tly_slice arg[TLY_RESP_ARGS_MAX];
    static struct tly_resp_request request = {.arg = arg};
    struct tly_mem mem = fuzz_mem();
    struct tly_buf scratch;
    tly_buf_init(&scratch, &mem, TLY_RESP_LINE_BYTES_MAX);
    struct tly_resp_scan scan = {0};
    struct tly_slice own = {0};
    size_t bytes = tly_resp_parse_framed(in, frame, &own);
    bool is_read = in.n > 0 && tly_resp_parse(in, &scan, &scratch, &request) == TLY_OK;
    assert((bytes != 0) == (is_read && is_again(before, &request, number)));
    if (bytes != 0) {
        assert(bytes == request.bytes);
        assert(own.p == arg[number].p && own.n == arg[number].n);
    }
    tly_buf_fini(&scratch);
}

/* What stands behind a request, the request itself, and a part of that, which by itself is none; all by each of its arguments. */
static void read_in_frames(struct tly_slice in, const struct tly_resp_request *request)
{
    struct tly_slice rest = tly_slice_of(in.p + request->bytes, in.n - request->bytes);
    size_t cut = in.p[request->bytes / 2] % request->bytes;
    for (size_t number = 0; number < request->count && number < 9; number++) {
        struct tly_resp_frame frame = tly_resp_frame_of(in.p, request, number);
        bool is_short = request->bytes <= 256 && request->arg[number].n <= 99;
        assert((frame.head.n > 0) == (is_short && !request->is_inline));
        if (frame.head.n == 0) continue;
        read_in_frame(&frame, request, number, rest);
        read_in_frame(&frame, request, number, tly_slice_of(in.p, request->bytes));
        read_in_frame(&frame, request, number, tly_slice_of(in.p, cut));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tly_slice arg[TLY_RESP_ARGS_MAX];
    static struct tly_resp_request request = {.arg = arg};
    struct tly_mem mem = fuzz_mem();
    struct tly_buf scratch;
    tly_buf_init(&scratch, &mem, TLY_RESP_LINE_BYTES_MAX);
    struct tly_slice rest = tly_slice_of(data, size);
    for (;;) {
        struct tly_resp_scan scan = {0};
        enum tly_result result = tly_resp_parse(rest, &scan, &scratch, &request);
        assert(result == TLY_OK || result == TLY_MORE || result == TLY_BAD_MESSAGE);
        if (result != TLY_OK) break;
        check_arguments(&request, rest, tly_buf_slice(&scratch));
        read_in_two_pieces(rest, &request, &scratch);
        read_in_frames(rest, &request);
        rest = tly_slice_of(rest.p + request.bytes, rest.n - request.bytes);
    }
    tly_buf_fini(&scratch);
    return 0;
}
