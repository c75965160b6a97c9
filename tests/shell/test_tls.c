/* TLS between two ends of a pair of sockets: who is believed, what is refused, and that every byte comes. */
#include "service/shell/door_internal.h"
#include "service/shell/tls.h"
#include "tests/shell/support_street.h"
#include "tests/support/cmocka.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char directory[] = "/tmp/tally-test-tls-XXXXXX";
static const char *const names[] = {"server", "client", "other"};

static void path_of(const char *name, const char *suffix, char *to, size_t size)
{
    assert_true(snprintf(to, size, "%s/%s.%s", directory, name, suffix) < (int)size);
}

/* ---- certificates: each vouches for itself ---- */

static void add_extension(X509 *certificate, int what, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, what, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void write_pair(const char *name, const char *alternative)
{
    char path[256];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_true(key != NULL && certificate != NULL);
    assert_int_equal(X509_set_version(certificate, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -86400));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 86400));
    X509_NAME *subject = X509_get_subject_name(certificate);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(certificate, subject), 1);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate, NID_subject_alt_name, alternative);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    path_of(name, "pem", path, sizeof path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fclose(file), 0);
    path_of(name, "key", path, sizeof path);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int make_certificates(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL || signal(SIGPIPE, SIG_IGN) == SIG_ERR) return -1; /* as tallyd does */
    write_pair("server", "DNS:node.example,IP:127.0.0.1");
    write_pair("client", "DNS:envoy.example");
    write_pair("other", "DNS:node.example");
    return 0;
}

static int remove_certificates(void **state)
{
    char path[256];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(names[i], "pem", path, sizeof path);
        (void)unlink(path);
        path_of(names[i], "key", path, sizeof path);
        (void)unlink(path);
    }
    return rmdir(directory);
}

/* own: its name; ca: who is believed, or NULL. */
static struct tly_tls_files files_of(const char *own, const char *ca, const char *name)
{
    struct tly_tls_files files = {.name = ""};
    if (own != NULL) {
        path_of(own, "pem", files.certificate, sizeof files.certificate);
        path_of(own, "key", files.key, sizeof files.key);
    }
    if (ca != NULL) path_of(ca, "pem", files.ca, sizeof files.ca);
    (void)snprintf(files.name, sizeof files.name, "%s", name);
    return files;
}

static struct tly_tls *tls_of(struct tly_tls_files files, enum tly_tls_side side)
{
    struct tly_tls_error error;
    struct tly_tls *tls = tly_tls_new(&files, side, &error);
    if (tls == NULL) fail_msg("%s", error.text);
    return tls;
}

/* ---- two ends ---- */

struct pair {
    int fd[2];
    struct tly_tls *tls[2];
    struct tly_tls_link *link[2]; /* server, client */
};

static struct pair pair_of(struct tly_tls *server, struct tly_tls *client, const char *host)
{
    struct pair pair = {.tls = {server, client}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.fd), 0);
    pair.link[0] = tly_tls_open(server, pair.fd[0], NULL);
    pair.link[1] = tly_tls_open(client, pair.fd[1], host);
    assert_true(pair.link[0] != NULL && pair.link[1] != NULL);
    return pair;
}

static void end_pair(struct pair *pair)
{
    for (size_t i = 0; i < 2; i++) {
        tly_tls_close(pair->link[i]);
        (void)close(pair->fd[i]);
        tly_tls_free(pair->tls[i]);
    }
}

/* Says "ping" and hears it on the other side: whether that comes to pass. */
static bool is_heard(struct pair *pair)
{
    char got[8];
    bool is_said = false;
    for (int i = 0; i < 100; i++) {
        if (!is_said) {
            ssize_t sent = tly_tls_send(pair->link[1], "ping", 4);
            if (sent < 0 && errno != EAGAIN) return false;
            is_said = sent == 4;
        }
        ssize_t n = tly_tls_recv(pair->link[0], got, sizeof got);
        if (n == 4) return memcmp(got, "ping", 4) == 0 && is_said;
        if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
        if (!is_said && tly_tls_recv(pair->link[1], got, sizeof got) == 0) return false;
    }
    fail_msg("neither heard nor refused");
    return false;
}

static void both_sides_have_to_be_whom_they_should_be(void **state)
{
    static const struct {
        const char *client, *client_ca, *client_name; /* whom the server wants; ca NULL: anybody */
        const char *server_ca, *host, *server_name;
        bool is_heard;
        const char *server_says;
    } cases[] = {
        {NULL, NULL, "", "server", "node.example", "", true, NULL},
        {NULL, NULL, "", "server", "127.0.0.1", "", true, NULL},
        {NULL, NULL, "", "server", "elsewhere.example", "node.example", true, NULL},
        {NULL, NULL, "", "server", "elsewhere.example", "", false, NULL},
        {NULL, NULL, "", "server", "127.0.0.2", "", false, NULL},
        {NULL, NULL, "", "other", "node.example", "", false, NULL},
        {"client", "client", "", "server", "node.example", "", true, NULL},
        {"client", "client", "envoy.example", "server", "node.example", "", true, NULL},
        {"client", "client", "another.example", "server", "node.example", "", false, "hostname mismatch"},
        {"other", "client", "", "server", "node.example", "", false, "self-signed certificate"},
        {NULL, "client", "", "server", "node.example", "", false, "peer did not return a certificate"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair = pair_of(
            tls_of(files_of("server", cases[i].client_ca, cases[i].client_name), TLY_TLS_SERVER),
            tls_of(files_of(cases[i].client, cases[i].server_ca, cases[i].server_name), TLY_TLS_CLIENT),
            cases[i].host);
        if (is_heard(&pair) != cases[i].is_heard) fail_msg("case %zu", i);
        const char *says = tly_tls_problem(pair.link[0]);
        if (cases[i].server_says != NULL && (says == NULL || strstr(says, cases[i].server_says) == NULL))
            fail_msg("case %zu: %s", i, says != NULL ? says : "nothing");
        end_pair(&pair);
    }
}

static void a_pair_that_is_wrong_is_named(void **state)
{
    static const char *const words[] = {"No such file", "nothing.pem", "nothing.key", "key values mismatch"};
    struct tly_tls_files files[4];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        files[i] = files_of("server", NULL, "");
    path_of("nothing", "pem", files[0].certificate, sizeof files[0].certificate);
    path_of("nothing", "pem", files[1].ca, sizeof files[1].ca);
    path_of("nothing", "key", files[2].key, sizeof files[2].key);
    path_of("other", "key", files[3].key, sizeof files[3].key);
    for (size_t i = 0; i < 4; i++) {
        struct tly_tls_error error = {""};
        assert_null(tly_tls_new(&files[i], TLY_TLS_SERVER, &error));
        if (strstr(error.text, words[i]) == NULL) fail_msg("case %zu: %s", i, error.text);
    }
}

/* Who is at the terminal is not asked, in the middle of a turn of the loop. */
static void a_key_with_a_passphrase_is_refused(void **state)
{
    char path[256], was[256];
    struct tly_tls_error error = {""};
    struct tly_tls_files files = files_of("other", NULL, "");
    (void)state;
    path_of("other", "key", path, sizeof path);
    path_of("kept", "key", was, sizeof was);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_int_equal(rename(path, was), 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(
        PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), (const unsigned char *)"word", 4, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    struct tly_tls *tls = tly_tls_new(&files, TLY_TLS_SERVER, &error);
    assert_int_equal(rename(was, path), 0);
    assert_null(tls);
    assert_non_null(strstr(error.text, "other.key: it is encrypted"));
    EVP_PKEY_free(key);
}

/* New connections have what is in the files now, unless that is nothing. */
static void certificates_change_while_it_runs(void **state)
{
    struct tly_tls_error error;
    struct tly_tls *server = tls_of(files_of("server", NULL, ""), TLY_TLS_SERVER);
    char from[256], to[256];
    (void)state;
    struct pair old = pair_of(server, tls_of(files_of(NULL, "server", ""), TLY_TLS_CLIENT), "node.example");
    assert_true(is_heard(&old));
    path_of("server", "pem", from, sizeof from);
    path_of("kept", "pem", to, sizeof to);
    assert_int_equal(rename(from, to), 0);
    assert_false(tly_tls_reload(server, &error));
    struct pair same = pair_of(server, tls_of(files_of(NULL, NULL, ""), TLY_TLS_CLIENT), "node.example");
    assert_false(is_heard(&same)); /* the system vouches for none of ours */
    same.tls[0] = NULL;
    end_pair(&same);
    assert_int_equal(rename(to, from), 0);
    write_pair("server", "DNS:node.example,IP:127.0.0.1");
    assert_true(tly_tls_reload(server, &error));
    struct pair new = pair_of(server, tls_of(files_of(NULL, "server", ""), TLY_TLS_CLIENT), "node.example");
    assert_true(is_heard(&new));
    assert_true(is_heard(&old));
    new.tls[0] = NULL;
    end_pair(&new);
    end_pair(&old);
}

/* A megabyte and more each way through sockets that hold little, in pieces that fit no record. */
static void every_byte_comes(void **state)
{
    enum { BYTES = 1500000, PIECE = 40961 };
    uint8_t *bytes = malloc(BYTES), *got = malloc(BYTES);
    size_t sent = 0, n = 0;
    (void)state;
    assert_true(bytes != NULL && got != NULL);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    struct pair pair = pair_of(tls_of(files_of("server", NULL, ""), TLY_TLS_SERVER),
                               tls_of(files_of(NULL, "server", ""), TLY_TLS_CLIENT), "node.example");
    const int small = 4096;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(setsockopt(pair.fd[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    while (n < BYTES) {
        size_t piece = BYTES - sent < PIECE ? BYTES - sent : PIECE;
        ssize_t step = piece > 0 ? tly_tls_send(pair.link[1], bytes + sent, piece) : 0;
        assert_true(step >= 0 || errno == EAGAIN);
        if (step < 0 && sent > 0) assert_true(tly_tls_wants_write(pair.link[1]));
        sent += step > 0 ? (size_t)step : 0;
        step = tly_tls_recv(pair.link[0], got + n, BYTES - n < 1000 ? BYTES - n : 1000);
        assert_true(step > 0 || (step < 0 && errno == EAGAIN));
        n += step > 0 ? (size_t)step : 0;
        if (sent == 0) assert_true(tly_tls_recv(pair.link[1], got + n, 1) < 0 && errno == EAGAIN);
    }
    assert_memory_equal(bytes, got, BYTES);
    assert_false(tly_tls_has_more(pair.link[0]));
    tly_tls_close(pair.link[1]);
    pair.link[1] = NULL;
    assert_int_equal(tly_tls_recv(pair.link[0], got, 1), 0);
    end_pair(&pair);
    free(bytes);
    free(got);
}

/* What is no TLS, and a client that does not say h2. */
static void nonsense_is_refused(void **state)
{
    char got[8];
    (void)state;
    struct pair pair = pair_of(tls_of(files_of("server", NULL, ""), TLY_TLS_SERVER),
                               tls_of(files_of(NULL, "server", ""), TLY_TLS_CLIENT), "node.example");
    const char http[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_int_equal(send(pair.fd[1], http, sizeof http - 1, MSG_NOSIGNAL), sizeof http - 1);
    assert_int_equal(tly_tls_recv(pair.link[0], got, sizeof got), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_non_null(tly_tls_problem(pair.link[0]));
    end_pair(&pair);
}

/* ---- a client of OpenSSL's own, which can do what ours never does ---- */

struct stranger {
    SSL_CTX *context;
    SSL *ssl;
    int fd[2];
    struct tly_tls *tls;
    struct tly_tls_link *link; /* the server's */
};

static struct stranger stranger_of(void)
{
    char got[8];
    struct stranger stranger = {.tls = tls_of(files_of("server", NULL, ""), TLY_TLS_SERVER)};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, stranger.fd), 0);
    stranger.link = tly_tls_open(stranger.tls, stranger.fd[0], NULL);
    stranger.context = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_set_alpn_protos(stranger.context, (const unsigned char *)"\2h2", 3), 0);
    stranger.ssl = SSL_new(stranger.context);
    assert_int_equal(SSL_set_fd(stranger.ssl, stranger.fd[1]), 1);
    while (SSL_connect(stranger.ssl) != 1) {
        assert_int_equal(tly_tls_recv(stranger.link, got, sizeof got), -1);
        assert_int_equal(errno, EAGAIN);
    }
    assert_int_equal(tly_tls_recv(stranger.link, got, sizeof got), -1);
    assert_true(tly_tls_is_open(stranger.link));
    return stranger;
}

static void stranger_end(struct stranger *stranger)
{
    SSL_free(stranger->ssl);
    SSL_CTX_free(stranger->context);
    tly_tls_close(stranger->link);
    tly_tls_free(stranger->tls);
    (void)close(stranger->fd[0]);
    (void)close(stranger->fd[1]);
}

/* One read takes one of them at most: between two of them others have their turn. */
static void new_keys_without_end_hold_up_nobody(void **state)
{
    enum { KEYS = 20 };
    char got[8];
    int turns = 0;
    (void)state;
    struct stranger stranger = stranger_of();
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(SSL_key_update(stranger.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(stranger.ssl), 1);
    }
    assert_int_equal(SSL_write(stranger.ssl, "ping", 4), 4);
    while (tly_tls_recv(stranger.link, got, sizeof got) < 0 && turns < 4 * KEYS) {
        assert_int_equal(errno, EAGAIN);
        turns++;
    }
    assert_in_range(turns, KEYS, 4 * KEYS - 1);
    assert_memory_equal(got, "ping", 4);
    stranger_end(&stranger);
}

/* Behind the last words, and with the socket left open: no event would tell of it. */
static void a_goodbye_behind_words_is_heard(void **state)
{
    char got[8];
    (void)state;
    struct stranger stranger = stranger_of();
    assert_int_equal(SSL_write(stranger.ssl, "ping", 4), 4);
    assert_int_equal(SSL_shutdown(stranger.ssl), 0);
    assert_int_equal(tly_tls_recv(stranger.link, got, sizeof got), 4);
    assert_true(tly_tls_has_more(stranger.link));
    assert_int_equal(tly_tls_recv(stranger.link, got, sizeof got), 0);
    stranger_end(&stranger);
}

#define CROWD 40

/* Who began to shake hands and does not go on holds memory, of which a door has so much; who is there already is served. */
static void half_a_handshake_counts_in_what_a_door_holds(void **state)
{
    struct visitor *crowd[CROWD];
    assert_int_equal(street_setup(state), 0);
    struct street *street = *state;
    struct tly_tls *tls = tls_of(files_of("server", NULL, ""), TLY_TLS_SERVER);
    street->door->bytes_max = 20 * TLY_TLS_HANDSHAKE_BYTES;
    struct visitor *honest = visitor_new(street);
    street_settle(street);
    tly_door_encrypt(street->door, tls);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = visitor_new(street);
        street_settle(street);
        assert_int_equal(visitor_push(crowd[i], "\x16\x03\x01\x3f\x00\x01", 6), 6);
        street_settle(street);
        assert_true(street->door->bytes <= street->door->bytes_max);
    }
    assert_int_equal(street_stats(street).crowded, CROWD - 20);
    assert_int_equal(street_stats(street).open, 20 + 1);
    visitor_say(honest, "one\n");
    visitor_hears(honest, "one\n");
    for (size_t i = 0; i < CROWD; i++)
        visitor_free(crowd[i]);
    visitor_free(honest);
    street_until(street, street_is_empty, street);
    assert_int_equal(street->door->bytes, 0);
    assert_int_equal(street_teardown(state), 0);
    tly_tls_free(tls);
}

/* ---- a door whose protocol speaks first, as HTTP/2 does ---- */

static void *open_greeting(struct tly_app *app, struct tly_client *client)
{
    tly_client_stream(client);
    return app;
}

static size_t feed_nothing(void *state, struct tly_client *client, struct tly_slice in)
{
    (void)state, (void)client;
    return in.n;
}

static void close_nothing(void *state)
{
    (void)state;
}

static bool greet(void *state, struct tly_client *client, bool is_idle)
{
    (void)state, (void)is_idle;
    struct tly_buf *out = tly_client_out(client);
    if (out->n == 0) tly_buf_put(out, "hello", 5);
    return false;
}

static const struct tly_protocol greeting = {.name = "greeting",
                                             .in_max = STREET_IN_MAX,
                                             .idle_ms = 1000,
                                             .open = open_greeting,
                                             .feed = feed_nothing,
                                             .close = close_nothing,
                                             .wake = greet};

static struct tly_tls *encrypt(struct street *street)
{
    struct tly_tls *tls = tls_of(files_of("server", NULL, ""), TLY_TLS_SERVER);
    street_open(street, &greeting);
    tly_door_encrypt(street->door, tls);
    return tls;
}

static int street_end(struct street *street, struct tly_tls *tls)
{
    void *state = street;
    int ended = street_teardown(&state);
    tly_tls_free(tls);
    return ended;
}

/* What there is to say before hands are shaken wakes nobody, and no byte more of a handshake buys more time. */
static void a_handshake_takes_ten_seconds_and_no_turn(void **state)
{
    assert_int_equal(street_setup(state), 0);
    struct street *street = *state;
    struct tly_tls *tls = encrypt(street);
    struct visitor *silent = visitor_new(street), *slow = visitor_new(street);
    street_settle(street);
    tly_door_wake(street->door);
    struct tly_client *client;
    for (size_t waiting = 0; waiting < TLY_WAITING_COUNT; waiting++)
        TAILQ_FOREACH(client, &street->door->waiting[waiting], in_waiting)
    assert_false(client->writing);
    assert_int_equal(visitor_push(slow, "\x16\x03\x01", 3), 3);
    street_advance(street, TLY_HALF_MS - 1);
    assert_int_equal(street_stats(street).open, 2);
    assert_int_equal(visitor_push(slow, "\x3f\x00\x01", 3), 3);
    street_settle(street);
    fake_app_advance(street->app, 1);
    street_until(street, street_is_empty, street);
    assert_int_equal(street_stats(street).timed_out, 2);
    visitor_free(silent);
    visitor_free(slow);
    assert_int_equal(street_end(street, tls), 0);
}

/* Once hands are shaken it is said, though the client says nothing. */
static void what_was_to_be_said_follows_the_handshake(void **state)
{
    char got[16];
    ssize_t n = -1;
    assert_int_equal(street_setup(state), 0);
    struct street *street = *state;
    struct tly_tls *tls = encrypt(street), *own = tls_of(files_of(NULL, "server", ""), TLY_TLS_CLIENT);
    struct visitor *visitor = visitor_new(street);
    visitor_listen(visitor, false);
    street_settle(street);
    tly_door_wake(street->door);
    struct tly_tls_link *link = tly_tls_open(own, visitor_fd(visitor), "node.example");
    for (int i = 0; i < 100 && n < 0; i++) {
        n = tly_tls_recv(link, got, sizeof got);
        assert_true(n >= 0 || errno == EAGAIN);
        (void)event_base_loop(street->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    assert_true(n >= 5);
    assert_memory_equal(got, "hello", 5);
    tly_tls_close(link);
    visitor_free(visitor);
    street_until(street, street_is_empty, street);
    assert_int_equal(street_end(street, tls), 0);
    tly_tls_free(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_have_to_be_whom_they_should_be),
        cmocka_unit_test(a_pair_that_is_wrong_is_named),
        cmocka_unit_test(a_key_with_a_passphrase_is_refused),
        cmocka_unit_test(certificates_change_while_it_runs),
        cmocka_unit_test(every_byte_comes),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(new_keys_without_end_hold_up_nobody),
        cmocka_unit_test(a_goodbye_behind_words_is_heard),
        cmocka_unit_test(half_a_handshake_counts_in_what_a_door_holds),
        cmocka_unit_test(a_handshake_takes_ten_seconds_and_no_turn),
        cmocka_unit_test(what_was_to_be_said_follows_the_handshake),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
