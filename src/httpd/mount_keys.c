/* One mount's keys: what signs and verifies its tokens and states, and signs its webhooks. */
#include "httpd/dir_conf.h"
#include "core/crypto.h"

#include <apr_strings.h>

#define DEFAULT_STATE_SALT "social-auth-state-salt"

static int is_pem(const sa_key_conf_t *key)
{
    return strstr(key->text, "-----BEGIN ") != NULL;
}

static sa_key_t *key_for(apr_pool_t *p, const sa_key_conf_t *conf, sa_alg_t alg, const char **why)
{
    if (alg == SA_ALG_HS256) {
        if (is_pem(conf)) {
            *why = "SocialAuthJWTAlgorithm HS256 signs with a shared secret of 32 bytes or more, "
                   "not with a PEM key";
            return NULL;
        }
        return sa_key_from_secret(p, conf->text, conf->len, alg, conf->kid, why);
    }
    return sa_key_from_pem(p, conf->text, conf->len, alg, conf->kid, why);
}

/* A key that only verifies may be of another algorithm, so that a site can change it: it is bound
 * to the configured one when it fits, else to the usual one of its kind. */
static sa_key_t *old_key_for(apr_pool_t *p, const sa_key_conf_t *conf, sa_alg_t configured,
                             const char **why)
{
    const sa_alg_t algs[] = {
        configured, SA_ALG_RS256, SA_ALG_ES256, SA_ALG_ES384, SA_ALG_EDDSA
    };
    const char *ignored;

    if (!is_pem(conf)) {
        return key_for(p, conf, SA_ALG_HS256, why);
    }
    sa_key_t *key = key_for(p, conf, algs[0], why);
    for (apr_size_t i = 1; !key && i < sizeof(algs) / sizeof(*algs); i++) {
        key = key_for(p, conf, algs[i], &ignored);
    }
    return key;
}

static void add_configured_keys(sa_check_t *check, sa_keyset_t *set, const sa_dir_conf_t *conf,
                                sa_alg_t alg)
{
    for (int i = 0; i < conf->jwt_keys->nelts; i++) {
        const sa_key_conf_t *key_conf = &SA_AT(conf->jwt_keys, i, sa_key_conf_t);
        const char *why = "unusable";
        sa_key_t *key = i == 0 ? key_for(check->p, key_conf, alg, &why)
                               : old_key_for(check->p, key_conf, alg, &why);

        if (!key) {
            sa_check_problem(check, key_conf->defn, "SocialAuthJWTKey: %s%s", why, i == 0
                             ? apr_psprintf(check->ptemp, " (the first key signs, and must fit "
                                            "SocialAuthJWTAlgorithm %s)", sa_alg_name(alg)) : "");
        }
        else if (i == 0 && !sa_key_can_sign(key)) {
            sa_check_problem(check, key_conf->defn, "SocialAuthJWTKey: the first key signs, and "
                             "must be a private key");
        }
        else if (sa_keyset_add(set, key) != APR_SUCCESS) {
            sa_check_problem(check, key_conf->defn, "SocialAuthJWTKey: another key has the same "
                             "kid; each needs its own");
        }
    }
}

static void add_secret_as_key(sa_check_t *check, sa_keyset_t *set, const sa_mount_t *mount,
                              const sa_dir_conf_t *conf)
{
    const char *why = "unusable";
    sa_key_t *key = sa_key_from_secret(check->p, conf->secret, conf->secret_len, SA_ALG_HS256,
                                       NULL, &why);

    if (!key || sa_keyset_add(set, key) != APR_SUCCESS) {
        sa_check_problem(check, mount->defn, "SocialAuthSecret cannot sign tokens: %s", why);
    }
}

static void fill_keys(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    sa_alg_t alg = conf->algorithm != -1 ? (sa_alg_t)conf->algorithm : SA_ALG_HS256;

    mount->settings.keys = sa_keyset_make(check->p);
    if (conf->jwt_keys) {
        add_configured_keys(check, mount->settings.keys, conf, alg);
    }
    else if (alg != SA_ALG_HS256) {
        sa_check_problem(check, mount->defn, "SocialAuthJWTAlgorithm %s needs a key: add "
                         "SocialAuthJWTKey file:/path/of/private-key.pem", sa_alg_name(alg));
    }
    else if (conf->secret) {
        add_secret_as_key(check, mount->settings.keys, mount, conf);
    }
    if (mount->settings.accept_simplejwt && alg != SA_ALG_HS256) {
        sa_check_problem(check, mount->defn, "SocialAuthAcceptSimpleJWT On needs "
                         "SocialAuthJWTAlgorithm HS256, not %s", sa_alg_name(alg));
    }
}

static void fill_state_key(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    if (!conf->secret) {
        sa_check_problem(check, mount->defn, "SocialAuthSecret is missing: add "
                         "SocialAuthSecret file:/path with 32 random bytes or more in the file "
                         "('openssl rand -base64 48' makes them)");
        return;
    }
    if (sa_hkdf(conf->secret, conf->secret_len,
                conf->state_salt ? conf->state_salt : DEFAULT_STATE_SALT, "state",
                mount->settings.state_key, SA_STATE_KEY_LEN) != APR_SUCCESS) {
        sa_check_problem(check, mount->defn, "OpenSSL could not derive the state key");
    }
}

static void fill_webhooks(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    const char *targets = NULL;

    mount->webhooks = conf->webhooks ? conf->webhooks
                                     : apr_array_make(check->p, 1, sizeof(sa_webhook_t));
    for (int i = 0; i < mount->webhooks->nelts; i++) {
        const char *url = SA_AT(mount->webhooks, i, sa_webhook_t).url;
        targets = targets ? apr_pstrcat(check->p, targets, " ", url, NULL) : url;
    }
    mount->settings.webhook_targets = targets;
}

void sa_mount_keys(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    fill_keys(check, mount, conf);
    fill_state_key(check, mount, conf);
    fill_webhooks(check, mount, conf);
}
