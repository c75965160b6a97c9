/*
 * A text as a file of envoyproxy/ratelimit.  Claims: it loads, or an error says why; what was loaded is found again under its own names, and
 * memory comes back.
 */
#include "service/shell/rls_yaml.h"
#include "tests/fuzz/fuzz_mem.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_around(const struct tly_rls_config *config)
{
    static const char *const words[] = {"", "a", "key", "value", "*"};
    struct tly_rls_match match;
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 5; j++) {
            struct tly_rls_entry entry[2] = {{tly_slice_text(words[i]), tly_slice_text(words[j])},
                                             {tly_slice_text(words[j]), tly_slice_text(words[i])}};
            struct tly_rls_descriptor descriptor = {.entry = entry, .entry_count = 1 + (i & 1)};
            tly_rls_config_find(config, tly_slice_text("a"), &descriptor, &match);
            assert(match.limit == NULL || match.is_domain_known);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tly_mem mem = fuzz_mem();
    struct tly_rls_error error = {""};
    struct tly_buf out;
    struct tly_rls_config *config = tly_rls_config_new(&mem);
    assert(config != NULL);
    bool good = tly_rls_yaml_load(config, "f", tly_slice_of(data, size), false, &error);
    assert(good == (error.text[0] == '\0'));
    if (good) {
        assert(tly_rls_config_domain_count(config) == 1 &&
               tly_rls_config_rule_count(config) <= TLY_RLS_RULES_MAX);
        look_around(config);
        tly_buf_init(&out, &mem, (size_t)1 << 24);
        tly_rls_config_dump(config, &out);
        tly_buf_fini(&out);
    }
    tly_rls_config_free(config);
    return 0;
}
