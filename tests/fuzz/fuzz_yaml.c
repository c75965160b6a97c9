/*
 * tally.yaml, settings and limits.  Claims: it is taken whole or not at all, a refusal says why, and what was taken can be written down
 * and is taken again.
 */
#include "service/shell/config.h"
#include "service/shell/libc_mem.h"

#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rules(const struct tly_rules *rules)
{
    assert(tly_rules_count(rules) <= TLY_RULES_MAX);
    for (size_t i = 0; i < tly_rules_count(rules); i++) {
        const struct tly_rule *rule = tly_rules_at(rules, i);
        assert(rule->name[0] != '\0' && tly_rate_check(&rule->rate) == TLY_OK);
        assert(tly_rules_find(rules, tly_slice_text(rule->name)) == rule);
    }
}

/* Each setting as it is written is one that is understood. */
static void check_settings(const struct tly_config *config)
{
    char value[TLY_CONFIG_TEXT_MAX];
    for (size_t i = 0; tly_config_key(i) != NULL; i++)
        assert(tly_config_get(config, tly_config_key(i), value, sizeof value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tly_config config, before;
    struct tly_config_error error;
    struct tly_mem mem = tly_libc_mem();
    struct tly_rules *rules = NULL;
    char path[64];
    if (size > BYTES_MAX) return 0;
    int fd = memfd_create("tally.yaml", MFD_CLOEXEC);
    assert(fd >= 0);
    ssize_t written = write(fd, data, size);
    assert(written == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    tly_config_init(&config);
    memcpy(&before, &config, sizeof config);
    if (tly_config_load(&config, path, &mem, &rules, &error)) {
        if (rules != NULL) check_rules(rules);
        check_settings(&config);
        tly_rules_free(rules);
    } else {
        /* Copied byte for byte above, and not written to since. NOLINTNEXTLINE */
        assert(error.text[0] != '\0' && memcmp(&before, &config, sizeof config) == 0);
    }
    (void)close(fd);

    struct tly_slice text = tly_slice_of(data, size);
    rules = NULL;
    if (tly_config_parse_limits("config:limits", text, &mem, &rules, &error)) {
        check_rules(rules);
        tly_rules_free(rules);
    }
    return 0;
}
