/*
 * TLS by OpenSSL, for HTTP/2: version 1.2 or later, ALPN "h2" or nothing.  It reads and writes a socket that does not block, as recv and send do, and
 * waits for nothing; who owns the socket asks what it waits for.
 *
 * A tly_tls is one side's certificates.  They are read again when a file has changed; what cannot be read, or does not belong together, is logged
 * and changes nothing. Connections go on with what they began with.
 */
#ifndef TALLY_SERVICE_SHELL_TLS_H
#define TALLY_SERVICE_SHELL_TLS_H

#include "service/shell/log.h"
#include "service/shell/tls_files.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TLY_TLS_HANDSHAKE_BYTES (48u * 1024u)
#define TLY_TLS_RECORD_BYTES (17u * 1024u)
/* A chain that the other side shows may be so long. */
#define TLY_TLS_CERTIFICATES_BYTES_MAX (32u * 1024u)

struct event_base;
struct tly_tls;      /* certificates; loop thread only */
struct tly_tls_link; /* one connection */

enum tly_tls_side {
    TLY_TLS_SERVER, /* with a ca: clients need a certificate of it */
    TLY_TLS_CLIENT  /* without a ca: those of the system vouch */
};

struct tly_tls_error {
    char text[512];
};

/* NULL: error says which file is wrong and how. */
struct tly_tls *tly_tls_new(const struct tly_tls_files *files, enum tly_tls_side side,
                            struct tly_tls_error *error);
void tly_tls_free(struct tly_tls *tls);
/* Looks after the files from now on; false: no memory. */
bool tly_tls_watch(struct tly_tls *tls, struct event_base *base, struct tly_log *log);
/* Reads them again; false: error says why not, and what there was stays. */
bool tly_tls_reload(struct tly_tls *tls, struct tly_tls_error *error);

/* The descriptor stays the caller's. host: of a client, whom it dialled (NULL: no name is known). NULL: no memory. */
struct tly_tls_link *tly_tls_open(struct tly_tls *tls, int fd, const char *host);
/* Says goodbye, if it can be said at once. */
void tly_tls_close(struct tly_tls_link *link);
/* As recv and send, EAGAIN included: then tly_tls_wants_write tells what it waits for. Other errors have a text. */
ssize_t tly_tls_recv(struct tly_tls_link *link, void *to, size_t n);
ssize_t tly_tls_send(struct tly_tls_link *link, const void *bytes, size_t n);
/* Hands are shaken: from here on what is sent goes out. */
bool tly_tls_is_open(const struct tly_tls_link *link);
/* It goes on when the socket can be written, whatever was tried; it was reading otherwise. */
bool tly_tls_wants_write(const struct tly_tls_link *link);
/* Bytes are here, or their end, that the socket will not tell of. */
bool tly_tls_has_more(const struct tly_tls_link *link);
/* What OpenSSL holds for it now beyond what it does for one at rest, as good as it is known: half a handshake, half a record. */
size_t tly_tls_bytes(const struct tly_tls_link *link);
/* Why it is broken; NULL: it is not, or there is nothing to say. */
const char *tly_tls_problem(const struct tly_tls_link *link);

#endif
