/* Who someone is, according to someone else: the provider vtable.
 *
 * A provider is configured once (const afterwards), and turns a credential that a
 * front end brought (an authorization code or an ID token) into an identity. It
 * knows no database and no httpd; it may call out over HTTP. */
#ifndef SA_PROVIDERS_PROVIDER_H
#define SA_PROVIDERS_PROVIDER_H

#include "core/error.h"
#include "core/jwk.h"
#include "core/shared.h"
#include "core/state.h"
#include "providers/http_client.h"

typedef struct sa_provider_t sa_provider_t;
typedef struct sa_provider_type_t sa_provider_type_t;

typedef struct {
    const char *issuer;         /* with subject the key of an identity, byte-exact */
    const char *subject;        /* 1..255 bytes of valid UTF-8 */
    const char *email;          /* canonical (sa_email_canonical), NULL when none or malformed */
    int email_verified;         /* the provider says so (JSON true only) */
    int email_vouched;          /* and is authoritative for it, by CONTRACT "vouches" */
    const char *first_name;     /* sa_clean_name, "" when none */
    const char *last_name;
} sa_identity_t;

typedef enum { SA_FLOW_CODE = 1, SA_FLOW_ID_TOKEN = 2 } sa_flow_t;

/* What the front end brought. */
typedef struct {
    sa_flow_t flow;
    const char *code;           /* SA_FLOW_CODE */
    const char *redirect_uri;   /* checked by the caller; NULL = do not send one */
    const char *code_verifier;  /* forwarded to the provider; NULL = none */
    const char *id_token;       /* SA_FLOW_ID_TOKEN */
    const char *token;          /* identify_token: an access token or an ID token */
    const char *nonce;          /* required in the ID token when not NULL (ID-token flow);
                                 * code flow: compared only when the ID token carries one, unless … */
    int nonce_sent;             /* 1 = we wrote the authorization request, with the nonce in it */
    apr_int64_t now;            /* seconds */
    int max_token_age;          /* seconds since iat; 0 = no limit (a state's nonce proves freshness) */
} sa_credential_t;

/* Seconds that our clock and a provider's may differ. */
#define SA_PROVIDER_LEEWAY 60

/* What a verified ID token leaves to the caller: spent-once bookkeeping. */
typedef struct {
    unsigned char id_token_hash[32];    /* SHA-256 of header.payload (not the signature) */
    apr_int64_t id_token_exp, id_token_iat;     /* seconds; 0 when no ID token was posted */
} sa_proof_t;

/* What every provider needs of its surroundings; one per child, copied for a login's deadline. */
typedef struct {
    sa_http_t *http;
    sa_shared_t *shared;        /* cached JWKS and discovery documents */
    struct sa_jwks_cache_t *jwks;       /* parsed key sets of this child */
    apr_int64_t deadline;       /* of this login, by sa_http_clock: all its calls together end by
                                 * then; 0 = each call has its limits' total time-out */
} sa_provider_env_t;

struct sa_provider_type_t {
    const char *name;           /* "github", "facebook", "oidc": the value of type= */
    int flows;                  /* sa_flow_t bits it can do at all */
    /* Fills defaults for options left unset and checks the whole; a phrase when the
     * combination is wrong. Missing credentials are not an error: disabled_because is set. */
    const char *(*finish)(sa_provider_t *provider, apr_pool_t *p);
    /* Failures: SA_E_PROVIDER_REJECTED/_UNAVAILABLE/_TIMEOUT, SA_E_ID_TOKEN_INVALID, SA_E_BUSY. */
    sa_error_t *(*identify)(const sa_provider_t *provider, const sa_provider_env_t *env,
                            apr_pool_t *p, const sa_credential_t *credential,
                            sa_identity_t **identity, sa_proof_t *proof);
    /* Who is named by credential->token, an access token that the provider issued to our own
     * application or, where it has those, an ID token; flow, code and id_token are not looked at.
     * Whether it was issued to us is asked before anything else, and when it was not nothing else
     * is. Failures: as identify; a foreign or expired access token is SA_E_PROVIDER_REJECTED, such
     * an ID token SA_E_ID_TOKEN_INVALID. NULL: the provider cannot tell, or nobody may ask. */
    sa_error_t *(*identify_token)(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const sa_credential_t *credential,
                                  sa_identity_t **identity, sa_proof_t *proof);
    /* For the background worker: renews in time what is cached of the provider. NULL: nothing is. */
    void (*keep)(const sa_provider_t *provider, const sa_provider_env_t *env, apr_pool_t *p);
};

typedef enum {
    SA_EMAIL_TRUST_DEFAULT,     /* by type: google and github as CONTRACT says, others none */
    SA_EMAIL_TRUST_NONE,        /* never vouches */
    SA_EMAIL_TRUST_VERIFIED,    /* vouches for every address it calls verified */
    SA_EMAIL_TRUST_DOMAINS      /* … only in email-trust=domain,domain */
} sa_email_trust_t;

struct sa_provider_t {
    const char *name;           /* path segment: letters, digits, '-', '_' */
    const char *label;          /* "GitHub" */
    const sa_provider_type_t *type;
    const char *disabled_because;       /* NULL = enabled; else "client-id is missing", … */
    const char *issuer;
    apr_array_header_t *client_ids;     /* const char *; the first is sent, all are accepted as aud */
    const char *client_secret;  /* wiped with the configuration pool */
    apr_array_header_t *redirect_uris;  /* const char *, byte-exact list */
    const char *scope;
    const char *authorize_url, *token_url, *userinfo_url, *emails_url, *jwks_url, *discovery_url;
    const char *token_check_url;        /* says whom an access token was issued to */
    const char *base_url;       /* github: of an Enterprise server; NULL = github.com */
    const char *api_version;    /* facebook: of the Graph API in the default endpoints */
    const char *profile_params; /* facebook: what /me is asked for; finish makes it a query */
    const char *hosted_domain;  /* required hd claim, NULL = any */
    sa_email_trust_t email_trust;
    apr_array_header_t *email_domains;  /* const char *, for SA_EMAIL_TRUST_DOMAINS */
    int email_required;         /* 0 = email-required=off; default 1, for facebook 0 */
    sa_alg_t id_token_alg;      /* the one algorithm ID tokens must use; RS256 by default */
    int allow_http;             /* 1 = endpoints may be http:// to any host (tests, intranets) */
    sa_http_limits_t limits;    /* time-outs, size, CA bundle, proxy: set by the configuration */
    const char *defn;           /* "file:line" of its directive */
};

/* A provider with nothing but its name; type and defaults come from the name (github, google,
 * facebook; google-oauth2 is an alias and becomes google) or from type=. NULL and *why when the
 * name is not allowed. */
sa_provider_t *sa_provider_make(apr_pool_t *p, const char *name, const char **why);
/* 1 when `name` names this provider, aliases included (google-oauth2 = google). */
int sa_provider_is_named(const sa_provider_t *provider, const char *name);
/* One key=value option. NULL, or a phrase that says the key or value and what is allowed. */
const char *sa_provider_set(sa_provider_t *provider, apr_pool_t *p, const char *key,
                            const char *value);
/* After the last option: type->finish and the checks common to all. NULL or a phrase. */
const char *sa_provider_finish(sa_provider_t *provider, apr_pool_t *p);
/* Flows usable with this configuration (e.g. no code flow without a client secret). */
int sa_provider_flows(const sa_provider_t *provider);
/* ---- authorize.c: the browser on its way to the provider and back ---- */
typedef struct {
    const char *redirect_uri, *state;
    const char *challenge;      /* S256 */
    const char *nonce;          /* sent to providers that have ID tokens */
} sa_authorization_request_t;
/* The authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3) as a URL for the browser.
 * Fails as identify where the endpoint must be discovered first. */
sa_error_t *sa_provider_authorize(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const sa_authorization_request_t *request,
                                  const char **url);
/* The failure that came back instead of a code (`error`, RFC 6749 section 4.1.2.1) or with one, from
 * somebody else (`iss`, RFC 9207; when it must be discovered whether that was promised, fails as
 * identify too). Both may be NULL. SA_E_PROVIDER_REJECTED, _UNAVAILABLE. */
sa_error_t *sa_provider_came_back(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const char *error, const char *issuer);
/* 1 when it takes tokens that front ends got from the provider: identify_token may be called. */
int sa_provider_takes_tokens(const sa_provider_t *provider);
/* The failure for an identity whose e-mail is missing or unverified (CONTRACT §1's two texts). */
sa_error_t *sa_provider_email_error(const sa_provider_t *provider, apr_pool_t *p,
                                    const sa_identity_t *identity);

extern const sa_provider_type_t sa_provider_github;
extern const sa_provider_type_t sa_provider_facebook;
extern const sa_provider_type_t sa_provider_oidc;       /* google is one of these with presets */

#endif
