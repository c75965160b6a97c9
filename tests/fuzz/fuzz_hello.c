/* The body of a HELLO.  Claims: what is taken is within the bounds and its lists are as long as they say. */
#include "wire/message.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_marks(struct tly_marks marks)
{
    struct tly_mark mark;
    size_t left = marks.left;
    assert(left <= TLY_MARKS_MAX);
    for (; tly_marks_next(&marks, &mark); left--)
        assert(mark.origin != 0);
    assert(left == 0);
}

static void check_prefixes(struct tly_prefixes prefixes)
{
    struct tly_slice prefix, before = {0};
    uint64_t id = 0;
    size_t left = prefixes.left, count = left;
    assert(left <= TLY_PREFIXES_MAX);
    for (; tly_prefixes_next(&prefixes, &prefix, &id); left--) {
        assert(prefix.n <= TLY_PREFIX_BYTES_MAX);
        assert(left == count || tly_slice_compare(before, prefix) < 0);
        before = prefix;
    }
    assert(left == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tly_hello hello;
    if (tly_hello_get(tly_slice_of(data, size), &hello) != TLY_OK) return 0;
    assert(hello.version_oldest >= 1 && hello.version_oldest <= hello.version_newest);
    assert(hello.cluster.n >= 1 && hello.cluster.n <= TLY_NAME_BYTES_MAX);
    assert(hello.name.n >= 1 && hello.name.n <= TLY_NAME_BYTES_MAX);
    assert(hello.address.n <= TLY_ADDRESS_BYTES_MAX && hello.origin != 0);
    check_prefixes(hello.prefixes);
    check_marks(hello.marks);
    return 0;
}
