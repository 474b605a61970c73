#include "httpd/request.h"

#include <apr_strings.h>

#include "core/crypto.h"

/* A whole /64 for IPv6. r->useragent_addr follows mod_remoteip and nothing else. */
const char *sa_client_network(const request_rec *r)
{
    const apr_sockaddr_t *address = r->useragent_addr;

#if APR_HAVE_IPV6
    if (address->family == APR_INET6
        && !IN6_IS_ADDR_V4MAPPED((struct in6_addr *) address->ipaddr_ptr)) {
        const unsigned char *b = address->ipaddr_ptr;
        return apr_psprintf(r->pool, "net:%02x%02x:%02x%02x:%02x%02x:%02x%02x", b[0], b[1], b[2],
                            b[3], b[4], b[5], b[6], b[7]);
    }
#endif
    return apr_pstrcat(r->pool, "ip:", r->useragent_ip, NULL);
}

/* The client as the throttle counts it: the user when signed in, else the address. */
static const char *client(const sa_request_t *req)
{
    return req->bearer.user_id ? apr_pstrcat(req->r->pool, "user:", req->bearer.user_id, NULL)
                               : req->call.client;
}

sa_error_t *sa_throttle(sa_request_t *req, const char *kind, const sa_rate_t *rate)
{
    sa_shared_t *shared = req->call.shared;

    if (!rate->count) {
        return NULL;
    }
    const char *key = apr_pstrcat(req->r->pool, req->mount->base_url, req->mount->path, "|", kind,
                                  "|", client(req), NULL);
    apr_int64_t wait = sa_throttle_hit(shared, sa_keyed_hash(sa_shared_key(shared), key,
                                                             strlen(key)), rate);
    return wait ? sa_error_retry(req->r->pool, SA_E_THROTTLED, (int) ((wait + 999) / 1000),
                                 "over the %s rate", kind)
                : NULL;
}
