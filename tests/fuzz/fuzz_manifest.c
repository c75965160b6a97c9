/* A MANIFEST.  Claims: what is refused says why, and what is taken is written and read again as it was. */
#include "service/shell/manifest.h"
#include "tests/fuzz/fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_same(const struct tly_manifest *a, const struct tly_manifest *b)
{
    assert(a->writings == b->writings + 1 && a->origin == b->origin && a->lease == b->lease);
    assert(a->clean == b->clean && a->snapshot == b->snapshot && a->segment_count == b->segment_count);
    assert(strcmp(a->name, b->name) == 0 && strcmp(a->place, b->place) == 0);
    for (size_t i = 0; i < a->segment_count; i++)
        assert(a->segments[i].number == b->segments[i].number &&
               a->segments[i].bytes == b->segments[i].bytes);
    assert(a->change_count == b->change_count && a->prefix_count == b->prefix_count);
    for (size_t i = 0; i < a->change_count; i++)
        assert(strcmp(a->changes[i], b->changes[i]) == 0);
    for (size_t i = 0; i < a->prefix_count; i++) {
        const struct tly_manifest_prefix *x = &a->prefixes[i], *y = &b->prefixes[i];
        assert(tly_slice_equal(tly_manifest_prefix_of(x), tly_manifest_prefix_of(y)));
        assert(x->word == y->word && x->from == y->from);
    }
}

static void load(struct tly_slice input)
{
    static struct tly_manifest manifest, again;
    char error[512] = "";
    struct tly_storage *storage = fuzz_storage(TLY_MANIFEST_NAME, input);
    enum tly_result result = tly_manifest_load(storage, &manifest, error, sizeof error);
    assert((result == TLY_OK) == (error[0] == '\0'));
    assert(result != TLY_NOT_FOUND);
    if (result == TLY_OK && manifest.writings < UINT64_MAX) {
        struct tly_manifest before = manifest;
        result = tly_manifest_save(storage, &manifest);
        assert(result == TLY_OK);
        result = tly_manifest_load(storage, &again, error, sizeof error);
        assert(result == TLY_OK);
        assert_same(&again, &before);
        assert(again.revision == manifest.revision);
    }
    tly_storage_close(storage);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_sealed_too(tly_slice_of(data, size), 0, load);
    return 0;
}
