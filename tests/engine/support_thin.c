#include "tests/engine/support_thin.h"

#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

struct key {
    char text[KEY_BYTES + 1];
};

static struct key key_of(char kind, size_t i)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    struct key key;
    struct test_rng rng = test_rng_of((uint64_t)kind << 32 | i);
    int n = snprintf(key.text, sizeof key.text, "%c%zu:", kind, i);
    for (size_t at = (size_t)n; at < KEY_BYTES; at++)
        key.text[at] = letters[test_rng_next(&rng) % 64];
    key.text[KEY_BYTES] = '\0';
    return key;
}

void thin_count(struct net *net, size_t node, char kind, size_t i)
{
    struct key key = key_of(kind, i);
    assert_int_equal(net_add_to(net, node, key.text, 1), 1);
}

bool thin_is_here(struct net *net, size_t node, char kind, size_t i)
{
    struct key key = key_of(kind, i);
    return net_read(net, node, key.text) == 1;
}

void thin_go_on(struct net *net, struct thin_stream *stream, uint64_t until)
{
    for (; stream->next <= net_now(net) && net_now(net) < until; stream->next += stream->every) {
        assert_true(stream->made < THIN_MADE_MAX);
        stream->at[stream->made] = net_now(net);
        thin_count(net, stream->from, stream->kind, stream->made++);
    }
    for (; stream->seen < stream->made && thin_is_here(net, 1 - stream->from, stream->kind, stream->seen);
         stream->seen++) {
        uint64_t age = net_now(net) - stream->at[stream->seen];
        if (age > stream->oldest_ns) stream->oldest_ns = age;
    }
}

size_t thin_old_here(struct net *net, size_t before, size_t old)
{
    while (before < old && thin_is_here(net, 1, 'o', before))
        before++;
    return before;
}
