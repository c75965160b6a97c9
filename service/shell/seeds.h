/*
 * Seeds by name: join=dns:NAME:PORT asks for A and AAAA records, join=dns:NAME for SRV records, and asks again every 30 s
 * (1 s doubling to 30 s after a failure, and the last answer stays).  Asked by c-ares on the loop, which never waits.
 */
#ifndef TALLY_SERVICE_SHELL_SEEDS_H
#define TALLY_SERVICE_SHELL_SEEDS_H

#include "service/shell/log.h"
#include "wire/message.h"

struct event_base;
struct tly_seeds;

/* Addresses that one answer may give; more are left out. */
#define TLY_SEED_ANSWERS_MAX 64

/* host:port each, of the source's newest answer. They are read during the call only. */
typedef void tly_seeds_found(void *context, unsigned source, const struct tly_slice *addresses, size_t count);

struct tly_seeds_config {
    struct event_base *base;
    struct tly_log *log;
    const char *resolver; /* host:port of a DNS server; empty: the system's */
    tly_seeds_found *found;
    void *context;
};

/* Whether the text is dns:NAME:PORT or dns:NAME. */
bool tly_seed_is_dns(const char *text);

/* NULL, with the reason in `why`. */
struct tly_seeds *tly_seeds_new(const struct tly_seeds_config *config, char *why, size_t why_size);
void tly_seeds_free(struct tly_seeds *seeds);
/* Asks from now on; the source is named by its number, from 1. False: no memory. */
bool tly_seeds_add(struct tly_seeds *seeds, unsigned source, const char *text);

#endif
