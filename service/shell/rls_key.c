#include "service/shell/rls_key.h"

#include "crdt/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Two hashes whose keys everybody knows: all nodes have to come to the same. Made anew for each part that does not fit. */
struct key {
    uint8_t *out;
    size_t n; /* more than TLY_RLS_KEY_BYTES_MAX: it did not fit */
};

static void add(struct key *key, const void *bytes, size_t n)
{
    if (key->n > TLY_RLS_KEY_BYTES_MAX || n > TLY_RLS_KEY_BYTES_MAX - key->n) {
        key->n = TLY_RLS_KEY_BYTES_MAX + 1;
        return;
    }
    if (n > 0) memcpy(key->out + key->n, bytes, n);
    key->n += n;
}

/* ':' divides parts, so in a part it is escaped, and '%' is what escapes. */
static void add_part(struct key *key, struct tly_slice part)
{
    add(key, ":", 1);
    for (size_t i = 0, from = 0; i <= part.n; i++) {
        bool is_special = i < part.n && (part.p[i] == ':' || part.p[i] == '%');
        if (i < part.n && !is_special) continue;
        add(key, part.p + from, i - from);
        if (is_special) add(key, part.p[i] == ':' ? "%3A" : "%25", 3);
        from = i + 1;
    }
}

/* 128 bits over all parts, each with its length. */
static size_t hash_all(const char *prefix, struct tly_slice domain,
                       const struct tly_rls_descriptor *descriptor, const struct tly_slice *shared,
                       uint8_t *out)
{
    static const char words[2][20] = {"tally envoy key one", "tally envoy key two"};
    uint64_t sum[2];
    for (size_t which = 0; which < 2; which++) {
        struct tly_hash_key secret;
        tly_hash_key_from(&secret, tly_slice_text(words[which]));
        uint64_t state[3] = {0, tly_hash(&secret, tly_slice_text(prefix)), tly_hash(&secret, domain)};
        state[0] = tly_hash(&secret, tly_slice_of(state, sizeof state));
        for (size_t i = 0; i < descriptor->entry_count; i++) {
            const struct tly_rls_entry *entry = &descriptor->entry[i];
            bool is_shared = shared != NULL && shared[i].n > 0;
            state[1] = tly_hash(&secret, entry->key);
            state[2] = tly_hash(&secret, is_shared ? shared[i] : entry->value);
            state[0] = tly_hash(&secret, tly_slice_of(state, sizeof state));
        }
        sum[which] = state[0];
    }
    return (size_t)snprintf((char *)out, TLY_KEY_BYTES_MAX, "e#%016" PRIx64 "%016" PRIx64, sum[0], sum[1]);
}

struct tly_slice tly_rls_key(const char *prefix, struct tly_slice domain,
                             const struct tly_rls_descriptor *descriptor, const struct tly_slice *shared,
                             uint8_t out[TLY_KEY_BYTES_MAX])
{
    struct key key = {out, 0};
    add(&key, "e", 1);
    add(&key, prefix, strlen(prefix));
    add_part(&key, domain);
    for (size_t i = 0; i < descriptor->entry_count && key.n <= TLY_RLS_KEY_BYTES_MAX; i++) {
        bool is_shared = shared != NULL && shared[i].n > 0;
        add_part(&key, descriptor->entry[i].key);
        add_part(&key, is_shared ? shared[i] : descriptor->entry[i].value);
    }
    if (key.n > TLY_RLS_KEY_BYTES_MAX) key.n = hash_all(prefix, domain, descriptor, shared, out);
    return tly_slice_of(out, key.n);
}
