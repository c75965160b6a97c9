/* What proxies say of the request that they ask about: who sent it, and what for. */
#include "service/shell/http.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>

/* The value of the first of these headers that is there. */
static struct tly_slice first_header(const struct tly_http_request *request, const char *const *names)
{
    struct tly_slice value = {0};
    for (size_t i = 0; value.p == NULL && names[i] != NULL; i++)
        value = tly_http_header(request, names[i]);
    return value;
}

/* ---- the address ---- */

/* Takes the last item off a list with commas between, without the blanks around it. */
static struct tly_slice take_last(struct tly_slice *list)
{
    size_t n = list->n;
    while (n > 0 && list->p[n - 1] != ',')
        n--;
    struct tly_slice item = tly_http_trimmed(tly_slice_of(list->p + n, list->n - n));
    list->n = n > 0 ? n - 1 : 0;
    return item;
}

/*
 * What the hop that far from us said: every proxy on the way adds whom it hears at the end, some in a line of its own. What stands
 * further left than the hops that are trusted is anybody's word. p NULL: nothing is said.
 */
static struct tly_slice forwarded_for(const struct tly_http_request *request, uint32_t hops)
{
    struct tly_slice said = {0};
    for (size_t i = request->header_count; i-- > 0 && hops > 0;) {
        struct tly_slice list = request->header[i].value;
        if (!tly_http_is(request->header[i].name, "x-forwarded-for")) continue;
        while (list.n > 0 && hops > 0) {
            struct tly_slice item = take_last(&list);
            if (item.n == 0) continue;
            said = item;
            hops--;
        }
    }
    return said;
}

static struct tly_slice ip_said(const struct tly_exchange *x, const struct tly_config *config)
{
    struct tly_slice said = {0};
    if (config->client_ip == TLY_CLIENT_IP_FORWARDED) said = forwarded_for(x->request, config->trusted_hops);
    if (config->client_ip == TLY_CLIENT_IP_REAL_IP) said = tly_http_header(x->request, "x-real-ip");
    return said.n > 0 ? said : tly_slice_text(tly_client_peer(x->client));
}

/* "127.0.0.1" of "127.0.0.1:53412", "::1" of "[::1]:53412" and "[::1]"; the rest is an address already, or none. */
static struct tly_slice without_port(struct tly_slice text)
{
    const uint8_t *colon = memchr(text.p, ':', text.n);
    const uint8_t *bracket = text.n > 0 && text.p[0] == '[' ? memchr(text.p, ']', text.n) : NULL;
    if (bracket != NULL) return tly_slice_of(text.p + 1, (size_t)(bracket - text.p) - 1);
    bool is_v4 = colon != NULL && memchr(colon + 1, ':', text.n - (size_t)(colon - text.p) - 1) == NULL;
    return is_v4 ? tly_slice_of(text.p, (size_t)(colon - text.p)) : text;
}

/* Whoever has one address of a network has all of them. */
static void write_v6(const struct in6_addr *address, uint32_t prefix, char *text)
{
    struct in6_addr network = *address;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t kept = prefix > i * 8 ? prefix - i * 8 : 0;
        if (kept < 8) network.s6_addr[i] &= (uint8_t)(0xff00u >> kept);
    }
    (void)inet_ntop(AF_INET6, &network, text, INET6_ADDRSTRLEN);
    size_t n = strlen(text);
    if (prefix < 128) (void)snprintf(text + n, TLY_HTTP_IP_BYTES - n, "/%" PRIu32, prefix);
}

/* One way to write each address, so that another spelling is no other client. What is none ("unix", a name) stays as it is. */
static struct tly_slice canonical(struct tly_slice said, uint32_t prefix, char *text)
{
    struct tly_slice bare = without_port(said);
    struct in_addr v4;
    struct in6_addr v6;
    if (bare.n >= INET6_ADDRSTRLEN) return said;
    memcpy(text, bare.p, bare.n);
    text[bare.n] = '\0';
    if (inet_pton(AF_INET, text, &v4) == 1) return bare;
    if (inet_pton(AF_INET6, text, &v6) != 1) return said;
    if (IN6_IS_ADDR_V4MAPPED(&v6))
        (void)inet_ntop(AF_INET, &v6.s6_addr[12], text, INET6_ADDRSTRLEN);
    else
        write_v6(&v6, prefix, text);
    return tly_slice_text(text);
}

/* ---- the rest ---- */

static struct tly_slice ip_of(const struct tly_exchange *x, char *text)
{
    const struct tly_config *config = tly_app_config(x->app);
    return canonical(ip_said(x, config), config->ipv6_prefix, text);
}

static struct tly_slice host_of(const struct tly_exchange *x, char *text)
{
    (void)text;
    struct tly_slice host = tly_http_header(x->request, "x-forwarded-host");
    return host.p != NULL ? host : x->request->host;
}

/* Without its query. */
static struct tly_slice path_of(const struct tly_exchange *x, char *text)
{
    static const char *const names[] = {"x-original-uri", "x-forwarded-uri", NULL};
    (void)text;
    struct tly_slice uri = first_header(x->request, names);
    const uint8_t *mark = uri.n > 0 ? memchr(uri.p, '?', uri.n) : NULL;
    return mark != NULL ? tly_slice_of(uri.p, (size_t)(mark - uri.p)) : uri;
}

static struct tly_slice method_of(const struct tly_exchange *x, char *text)
{
    static const char *const names[] = {"x-forwarded-method", "x-original-method", NULL};
    (void)text;
    struct tly_slice method = first_header(x->request, names);
    return method.p != NULL ? method : x->request->method;
}

static struct tly_slice scheme_of(const struct tly_exchange *x, char *text)
{
    (void)text;
    struct tly_slice scheme = tly_http_header(x->request, "x-forwarded-proto");
    return scheme.p != NULL ? scheme : tly_slice_text("http");
}

static const struct {
    const char *name;
    struct tly_slice (*get)(const struct tly_exchange *x, char *text);
} known[] = {
    {"ip", ip_of}, {"host", host_of}, {"path", path_of}, {"method", method_of}, {"scheme", scheme_of}};

bool tly_http_said(const struct tly_exchange *x, const char *name, char *text, struct tly_slice *value)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) != 0) continue;
        *value = known[i].get(x, text);
        return true;
    }
    return false;
}
