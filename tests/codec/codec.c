/*
 * codec: reads rate limit requests from standard input, each behind its length (four bytes, low byte first), and tells of each what our
 * codec finds in it, a line each:
 *
 *     ok DOMAIN HITS [ENTRIES LIMIT HITS BACK]...      bad      large
 *
 * texts in hex, what is not there as '-'.  tests/codec/compare asks a real protobuf the same.
 */
#include "service/shell/rls_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES_MAX (1u << 20)

static void print_hex(struct tly_slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        printf("%02x", bytes.p[i]);
}

static void print_descriptor(const struct tly_rls_descriptor *descriptor)
{
    printf(" [");
    for (size_t i = 0; i < descriptor->entry_count; i++) {
        print_hex(descriptor->entry[i].key);
        putchar('=');
        print_hex(descriptor->entry[i].value);
        putchar(';');
    }
    if (descriptor->has_limit)
        printf(" %" PRIu32 "/%" PRId32, descriptor->requests_per_unit, (int32_t)descriptor->unit);
    else
        printf(" -");
    if (descriptor->has_hits)
        printf(" %" PRIu64, descriptor->hits);
    else
        printf(" -");
    printf(" %d]", descriptor->gives_back);
}

static void print(struct tly_slice message)
{
    static struct tly_rls_request request;
    enum tly_result result = tly_rls_request_get(message, &request);
    if (result != TLY_OK) {
        puts(result == TLY_TOO_LARGE ? "large" : "bad");
        return;
    }
    printf("ok ");
    print_hex(request.domain);
    printf(" %" PRIu32, request.hits_addend);
    for (size_t i = 0; i < request.descriptor_count; i++)
        print_descriptor(&request.descriptor[i]);
    putchar('\n');
}

int main(void)
{
    uint8_t head[4], *bytes = malloc(BYTES_MAX);
    while (bytes != NULL && fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t n = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        if (n > BYTES_MAX || fread(bytes, 1, n, stdin) != n) {
            free(bytes);
            return EXIT_FAILURE;
        }
        /* In a block of its own size, so that a sanitizer sees one byte too many. */
        uint8_t *copy = malloc(n > 0 ? n : 1);
        if (copy == NULL) break;
        for (size_t i = 0; i < n; i++)
            copy[i] = bytes[i];
        print(tly_slice_of(copy, n));
        free(copy);
    }
    free(bytes);
    return EXIT_SUCCESS;
}
