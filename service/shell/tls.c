#include "service/shell/tls.h"

#include "service/shell/filewatch.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 9113, 9.2.2: of TLS 1.2 only what is ephemeral and authenticated. */
#define CIPHERS_OF_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define FILES 3

struct tly_tls {
    SSL_CTX *context;
    struct tly_tls_files files;
    enum tly_tls_side side;
    struct tly_log *log;
    struct tly_filewatch *watch[FILES];
};

struct tly_tls_link {
    SSL *ssl;
    bool is_open; /* both sides know each other */
    bool is_broken;
    bool wants_write;
    char problem[256];
};

static const unsigned char h2[] = "\2h2";
#define H2_BYTES (sizeof h2 - 1)

/* ---- certificates ---- */

static bool fail(struct tly_tls_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* With what OpenSSL has to say, if it has: the first is the cause. */
static bool fail(struct tly_tls_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    unsigned long code = ERR_peek_error();
    const char *why = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    if (code != 0 && why != NULL && n >= 0 && (size_t)n < sizeof error->text)
        (void)snprintf(error->text + n, sizeof error->text - (size_t)n, ": %s", why);
    ERR_clear_error();
    return false;
}

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                     unsigned in_n, void *context)
{
    (void)ssl, (void)context;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_n, h2, H2_BYTES, in, in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* OpenSSL would ask who is at the terminal, and the loop would wait for the answer. */
static int refuse_passphrase(char *to, int size, int is_writing, void *is_asked)
{
    (void)to, (void)size, (void)is_writing;
    if (is_asked != NULL) *(bool *)is_asked = true;
    return -1;
}

static bool load_key(SSL_CTX *context, const char *path, struct tly_tls_error *error)
{
    bool is_encrypted = false;
    SSL_CTX_set_default_passwd_cb_userdata(context, &is_encrypted);
    bool ok = SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (!is_encrypted) return ok || fail(error, "key %s", path);
    ERR_clear_error();
    return fail(error, "key %s: it is encrypted, and nobody is asked for a passphrase", path);
}

static bool load_own(SSL_CTX *context, const struct tly_tls_files *files, struct tly_tls_error *error)
{
    if (files->certificate[0] == '\0') return true;
    SSL_CTX_set_default_passwd_cb(context, refuse_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, files->certificate) != 1)
        return fail(error, "certificate %s", files->certificate);
    return load_key(context, files->key, error);
}

static bool set_name(SSL_CTX *context, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (name[0] == '\0' || X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) return true;
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

/* Who vouches for the other side, and what it has to be called. */
static bool load_others(SSL_CTX *context, const struct tly_tls_files *files, enum tly_tls_side side,
                        struct tly_tls_error *error)
{
    bool is_client = side == TLY_TLS_CLIENT;
    if (files->ca[0] != '\0') {
        if (SSL_CTX_load_verify_file(context, files->ca) != 1) return fail(error, "ca %s", files->ca);
        /* What a client is told of whom it may come from. */
        STACK_OF(X509_NAME) *names = is_client ? NULL : SSL_load_client_CA_file(files->ca);
        if (!is_client) SSL_CTX_set_client_CA_list(context, names);
    } else if (is_client) {
        if (SSL_CTX_set_default_verify_paths(context) != 1) return fail(error, "the system's certificates");
    } else {
        return true;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return set_name(context, files->name) || fail(error, "name %s", files->name);
}

static bool set_up(SSL_CTX *context, enum tly_tls_side side, struct tly_tls_error *error)
{
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context, CIPHERS_OF_1_2) != 1 || SSL_CTX_set_num_tickets(context, 0) != 1)
        return fail(error, "TLS");
    /* HTTP/2 knows by itself when something is missing at the end. A session that is resumed would pass by certificates that have changed since. */
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(context, TLY_TLS_CERTIFICATES_BYTES_MAX);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS);
    /* Who changes keys again and again would keep one read going; so each read takes one such change, and others have their turn. */
    (void)SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    if (side == TLY_TLS_SERVER)
        SSL_CTX_set_alpn_select_cb(context, choose_h2, NULL);
    else if (SSL_CTX_set_alpn_protos(context, h2, H2_BYTES) != 0)
        return fail(error, "TLS");
    return true;
}

static SSL_CTX *load(const struct tly_tls_files *files, enum tly_tls_side side, struct tly_tls_error *error)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(side == TLY_TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (context != NULL && set_up(context, side, error) && load_own(context, files, error) &&
        load_others(context, files, side, error))
        return context;
    if (context == NULL) (void)fail(error, "TLS");
    SSL_CTX_free(context);
    return NULL;
}

struct tly_tls *tly_tls_new(const struct tly_tls_files *files, enum tly_tls_side side,
                            struct tly_tls_error *error)
{
    struct tly_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        (void)snprintf(error->text, sizeof error->text, "out of memory");
        return NULL;
    }
    tls->files = *files;
    tls->side = side;
    tls->context = load(files, side, error);
    if (tls->context != NULL) return tls;
    tly_tls_free(tls);
    return NULL;
}

void tly_tls_free(struct tly_tls *tls)
{
    if (tls == NULL) return;
    for (size_t i = 0; i < FILES; i++)
        tly_filewatch_free(tls->watch[i]);
    SSL_CTX_free(tls->context);
    free(tls);
}

bool tly_tls_reload(struct tly_tls *tls, struct tly_tls_error *error)
{
    SSL_CTX *context = load(&tls->files, tls->side, error);
    if (context == NULL) return false;
    SSL_CTX_free(tls->context);
    tls->context = context;
    return true;
}

static void on_change(void *context, bool exists)
{
    (void)exists;
    struct tly_tls *tls = context;
    struct tly_tls_error error;
    const char *own = tls->files.certificate[0] != '\0' ? tls->files.certificate : tls->files.ca;
    if (tly_tls_reload(tls, &error))
        tly_log(tls->log, TLY_LEVEL_INFO, "certificates loaded again from %s", own);
    else
        tly_log(tls->log, TLY_LEVEL_ERROR,
                "certificates stay as they are, for they cannot be loaded again: %s", error.text);
}

bool tly_tls_watch(struct tly_tls *tls, struct event_base *base, struct tly_log *log)
{
    const char *paths[FILES] = {tls->files.certificate, tls->files.key, tls->files.ca};
    tls->log = log;
    for (size_t i = 0; i < FILES; i++) {
        if (paths[i][0] == '\0') continue;
        tls->watch[i] = tly_filewatch_new(base, paths[i], on_change, tls);
        if (tls->watch[i] == NULL) return false;
    }
    return true;
}

/* ---- a connection ---- */

/* A client says whom it wants, and if no setting does, that is who has to answer. */
static bool expect_host(struct tly_tls *tls, SSL *ssl, const char *host)
{
    const char *name = tls->files.name[0] != '\0' ? tls->files.name : host;
    if (name == NULL) return true;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) return true;
    /* Its macro takes a pointer without const. */
    return SSL_set_tlsext_host_name(ssl, (char *)(uintptr_t)name) == 1 &&
           X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

struct tly_tls_link *tly_tls_open(struct tly_tls *tls, int fd, const char *host)
{
    struct tly_tls_link *link = calloc(1, sizeof *link);
    if (link == NULL) return NULL;
    ERR_clear_error();
    link->ssl = SSL_new(tls->context);
    bool is_client = tls->side == TLY_TLS_CLIENT;
    if (link->ssl == NULL || SSL_set_fd(link->ssl, fd) != 1 ||
        (is_client && !expect_host(tls, link->ssl, host))) {
        tly_tls_close(link);
        return NULL;
    }
    if (is_client)
        SSL_set_connect_state(link->ssl);
    else
        SSL_set_accept_state(link->ssl);
    return link;
}

void tly_tls_close(struct tly_tls_link *link)
{
    if (link == NULL) return;
    ERR_clear_error();
    if (link->is_open && !link->is_broken) (void)SSL_shutdown(link->ssl);
    SSL_free(link->ssl);
    free(link);
}

static void explain(struct tly_tls_link *link)
{
    unsigned long code = ERR_peek_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    long verified = SSL_get_verify_result(link->ssl);
    if (link->problem[0] != '\0' || why == NULL) return;
    bool is_verify = verified != X509_V_OK;
    (void)snprintf(link->problem, sizeof link->problem, "%s%s%s", why, is_verify ? ": " : "",
                   is_verify ? X509_verify_cert_error_string(verified) : "");
}

/* What recv or send would say. */
static ssize_t result_of(struct tly_tls_link *link, int result)
{
    int error = SSL_get_error(link->ssl, result);
    link->wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    errno = EAGAIN;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return -1;
    link->is_broken = true;
    explain(link);
    ERR_clear_error();
    errno = ECONNRESET;
    return -1;
}

/* 1: it is open. */
static ssize_t open_link(struct tly_tls_link *link)
{
    const unsigned char *protocol;
    unsigned n;
    ERR_clear_error();
    link->wants_write = false;
    if (link->is_open) return 1;
    int result = SSL_do_handshake(link->ssl);
    if (result != 1) return result_of(link, result);
    SSL_get0_alpn_selected(link->ssl, &protocol, &n);
    if (n == H2_BYTES - 1 && memcmp(protocol, h2 + 1, n) == 0) {
        link->is_open = true;
        return 1;
    }
    link->is_broken = true;
    (void)snprintf(link->problem, sizeof link->problem, "the other side did not choose h2 by ALPN");
    errno = ECONNRESET;
    return -1;
}

ssize_t tly_tls_recv(struct tly_tls_link *link, void *to, size_t n)
{
    ssize_t opened = open_link(link);
    size_t got, all = 0;
    if (opened != 1) return opened;
    /* A record at a time; what is left behind would lie here unseen. */
    while (all < n) {
        int result = SSL_read_ex(link->ssl, (unsigned char *)to + all, n - all, &got);
        if (result == 1) {
            all += got;
            continue;
        }
        ssize_t end = result_of(link, result);
        if (all == 0) return end;
        break;
    }
    return (ssize_t)all;
}

ssize_t tly_tls_send(struct tly_tls_link *link, const void *bytes, size_t n)
{
    size_t sent;
    ssize_t opened = open_link(link);
    if (opened == 0) errno = ECONNRESET;
    if (opened != 1) return -1;
    int result = SSL_write_ex(link->ssl, bytes, n, &sent);
    if (result == 1) return (ssize_t)sent;
    if (result_of(link, result) == 0) errno = ECONNRESET;
    return -1;
}

bool tly_tls_is_open(const struct tly_tls_link *link)
{
    return link->is_open;
}

bool tly_tls_wants_write(const struct tly_tls_link *link)
{
    return link->wants_write;
}

/* A goodbye, or what broke it, came behind what was read. */
static bool has_end(const struct tly_tls_link *link)
{
    return link->is_broken || (SSL_get_shutdown(link->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

bool tly_tls_has_more(const struct tly_tls_link *link)
{
    return SSL_has_pending(link->ssl) == 1 || has_end(link);
}

size_t tly_tls_bytes(const struct tly_tls_link *link)
{
    if (!link->is_open) return link->is_broken ? 0 : TLY_TLS_HANDSHAKE_BYTES;
    return SSL_has_pending(link->ssl) == 1 ? TLY_TLS_RECORD_BYTES : 0;
}

const char *tly_tls_problem(const struct tly_tls_link *link)
{
    return link->problem[0] != '\0' ? link->problem : NULL;
}
