/* The memory that a node gives its engine. */
#include "bench/support.h"
#include "service/shell/heap.h"
#include "service/shell/libc_mem.h"

struct tly_mem tly_bench_heap(void)
{
    static struct tly_heap *heap;
    if (!tly_bench_large_pages()) return tly_libc_mem();
    if (heap == NULL) heap = tly_heap_new();
    if (heap == NULL) tly_bench_fail("no memory for a heap");
    return tly_heap_mem(heap);
}
