#include "core/trust.h"

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>

struct sa_trust_t {
    X509_STORE *store;
};

static apr_status_t release(void *data)
{
    sa_trust_t *trust = data;
    X509_STORE_free(trust->store);
    return APR_SUCCESS;
}

static int fill(X509_STORE *store, const char *file, const char *directory)
{
    if (file == NULL && directory == NULL) {
        return X509_STORE_set_default_paths(store);
    }
    return (file == NULL || X509_STORE_load_file(store, file))
        && (directory == NULL || X509_STORE_load_path(store, directory));
}

const sa_trust_t *sa_trust_load(apr_pool_t *p, const char *file, const char *directory,
                                const char **why)
{
    const char *key = apr_pstrcat(p, "sa-trust:", file != NULL ? file : "", ":",
                                  directory != NULL ? directory : "", NULL);
    void *known = NULL;
    apr_pool_userdata_get(&known, key, p);
    if (known != NULL) {
        return known;
    }
    sa_trust_t *trust = apr_palloc(p, sizeof(*trust));
    trust->store = X509_STORE_new();
    /* A certificate in the file is trusted whether it signed itself or not, as libcurl has it. */
    if (trust->store == NULL || !fill(trust->store, file, directory)
        || !X509_STORE_set_flags(trust->store,
                                 X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN)) {
        X509_STORE_free(trust->store);
        ERR_clear_error();
        *why = "not a readable file with certificates in PEM form";
        return NULL;
    }
    apr_pool_cleanup_register(p, trust, release, apr_pool_cleanup_null);
    apr_pool_userdata_setn(trust, key, NULL, p);
    return trust;
}

int sa_trust_serves(const char *library)
{
    static const char name[] = "OpenSSL/";
    return library != NULL && strncmp(library, name, sizeof(name) - 1) == 0
        && strcmp(library + sizeof(name) - 1, OpenSSL_version(OPENSSL_VERSION_STRING)) == 0;
}

void sa_trust_use(const sa_trust_t *trust, void *ssl_ctx)
{
    SSL_CTX_set1_cert_store(ssl_ctx, trust->store);
}
