#include "crdt/result.h"

#include <stddef.h>

static const struct {
    const char *name;
    const char *text;
} results[TLY_RESULT_COUNT] = {
#define ROW(name, word, text) [TLY_##name] = {word, text},
    TLY_RESULTS(ROW)
#undef ROW
};

const char *tly_result_name(enum tly_result result)
{
    return (size_t)result < TLY_RESULT_COUNT ? results[result].name : "unknown";
}

const char *tly_result_text(enum tly_result result)
{
    return (size_t)result < TLY_RESULT_COUNT ? results[result].text : "unknown result";
}
