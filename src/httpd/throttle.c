#include "httpd/request.h"

#include <apr_strings.h>

#include "core/crypto.h"

/* The client as the throttle counts it: the user when signed in, else the address; a whole /64
 * for IPv6. r->useragent_addr follows mod_remoteip and nothing else. */
static const char *client(const sa_request_t *req)
{
    const apr_sockaddr_t *address = req->r->useragent_addr;
    apr_pool_t *p = req->r->pool;

    if (req->bearer.user_id) {
        return apr_pstrcat(p, "user:", req->bearer.user_id, NULL);
    }
#if APR_HAVE_IPV6
    if (address->family == APR_INET6
        && !IN6_IS_ADDR_V4MAPPED((struct in6_addr *) address->ipaddr_ptr)) {
        const unsigned char *b = address->ipaddr_ptr;
        return apr_psprintf(p, "net:%02x%02x:%02x%02x:%02x%02x:%02x%02x", b[0], b[1], b[2], b[3],
                            b[4], b[5], b[6], b[7]);
    }
#endif
    return apr_pstrcat(p, "ip:", req->r->useragent_ip, NULL);
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
