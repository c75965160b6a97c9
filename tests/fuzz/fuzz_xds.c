/*
 * Bytes as a DiscoveryResponse of a management server.  Claims: it is taken or refused with a reason, never both; a configuration that was made can be shown; nothing
 * is left behind.
 */
#include "service/shell/xds_message.h"
#include "tests/fuzz/fuzz_mem.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tly_mem mem = fuzz_mem();
    struct tly_xds_response response;
    struct tly_rls_error error;
    struct tly_buf out;
    if (!tly_xds_response_get(tly_slice_of(data, size), &response)) return 0;
    for (int merges = 0; merges < 2; merges++) {
        struct tly_rls_config *config = tly_xds_response_config(&response, merges != 0, &mem, &error);
        assert((config == NULL) == (error.text[0] != '\0'));
        if (config == NULL) continue;
        tly_buf_init(&out, &mem, 1u << 24);
        tly_rls_config_dump(config, &out);
        tly_buf_fini(&out);
        tly_rls_config_free(config);
    }
    return 0;
}
