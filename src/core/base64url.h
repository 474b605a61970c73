/* RFC 4648 section 5 without padding, decoded strictly: no padding, no white
 * space, no other alphabet, no non-zero trailing bits (one spelling per value). */
#ifndef SA_CORE_BASE64URL_H
#define SA_CORE_BASE64URL_H

#include <apr_pools.h>

/* NUL-terminated text of `len` bytes of data, in p. */
char *sa_base64url_encode(apr_pool_t *p, const void *data, apr_size_t len);

/* Decodes into p (one NUL byte is added behind the data and not counted).
 * APR_EINVAL when `text` is not canonical base64url. */
apr_status_t sa_base64url_decode(unsigned char **data, apr_size_t *len, apr_pool_t *p,
                                 const char *text, apr_size_t text_len);

#endif
