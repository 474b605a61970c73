#include "providers/provider.h"

#include "core/crypto.h"
#include "core/text.h"
#include "core/url.h"
#include "providers/common.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN 64
#define EMAIL_REQUIRED_UNSET (-1)

static const sa_provider_type_t *const types[] = {
    &sa_provider_github, &sa_provider_facebook, &sa_provider_oidc
};
#define TYPES "'github', 'facebook' or 'oidc'"

static const struct { const char *name, *label; const sa_provider_type_t *type; } presets[] = {
    { "github", "GitHub", &sa_provider_github },
    { "google", "Google", &sa_provider_oidc },
    { "facebook", "Facebook", &sa_provider_facebook },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- names ---- */

static const char *canonical_name(const char *name)
{
    return strcmp(name, "google-oauth2") ? name : "google";
}

sa_provider_t *sa_provider_make(apr_pool_t *p, const char *name, const char **why)
{
    if (!*name || strlen(name) > NAME_MAX_LEN) {
        *why = apr_psprintf(p, "a provider name has 1 to %d characters", NAME_MAX_LEN);
        return NULL;
    }
    for (const char *c = name; *c; ++c) {
        if (!strchr("-_", *c) && (!apr_isalnum(*c) || (unsigned char)*c > 0x7f)) {
            *why = apr_psprintf(p, "provider name '%s' may only have letters, digits, '-' and '_'",
                                name);
            return NULL;
        }
    }
    sa_provider_t *provider = apr_pcalloc(p, sizeof(*provider));
    provider->name = apr_pstrdup(p, canonical_name(name));
    for (apr_size_t i = 0; i < COUNT(presets); ++i) {
        if (!strcmp(provider->name, presets[i].name)) {
            provider->type = presets[i].type;
            provider->label = presets[i].label;
        }
    }
    provider->client_ids = apr_array_make(p, 1, sizeof(const char *));
    provider->redirect_uris = apr_array_make(p, 1, sizeof(const char *));
    provider->email_domains = apr_array_make(p, 1, sizeof(const char *));
    provider->email_required = EMAIL_REQUIRED_UNSET;
    provider->id_token_alg = SA_ALG_RS256;
    return provider;
}

int sa_provider_is_named(const sa_provider_t *provider, const char *name)
{
    return !strcmp(provider->name, canonical_name(name));
}

/* ---- options ---- */

typedef struct option_t {
    const char *key;
    /* NULL, or "" when value is not one of `allowed`, or a phrase of its own. */
    const char *(*set)(sa_provider_t *provider, apr_pool_t *p, const struct option_t *option,
                       const char *value);
    apr_size_t offset;          /* of the member, for the setters that need it */
    const char *allowed;
} option_t;

static void *member_of(sa_provider_t *provider, const option_t *option)
{
    return (char *)provider + option->offset;
}

static int is_plain_text(const char *value)
{
    for (const char *c = value; *c; ++c) {
        if (apr_iscntrl(*c)) {
            return 0;
        }
    }
    return sa_utf8_valid(value, strlen(value));
}

static const char *set_text(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                            const char *value)
{
    const char **member = member_of(provider, option);

    if (!is_plain_text(value)) {
        return "";
    }
    *member = *value ? apr_pstrdup(p, value) : NULL;
    return NULL;
}

/* Wiped with the configuration. */
static const char *set_secret(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                              const char *value)
{
    (void)option;
    if (!is_plain_text(value)) {
        return "";
    }
    provider->client_secret = *value ? sa_secret_keep(p, value, strlen(value)) : NULL;
    return NULL;
}

static const char *set_flag(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                            const char *value)
{
    int *member = member_of(provider, option);

    (void)p;
    if (strcasecmp(value, "on") && strcasecmp(value, "off")) {
        return "";
    }
    *member = !strcasecmp(value, "on");
    return NULL;
}

/* Appends the non-empty items of a comma list, trimmed. */
static void add_list(apr_pool_t *p, apr_array_header_t *list, const char *value)
{
    char *rest;
    char *copy = apr_pstrdup(p, value);

    for (char *item = apr_strtok(copy, ", \t", &rest); item;
         item = apr_strtok(NULL, ", \t", &rest)) {
        *(const char **)apr_array_push(list) = item;
    }
}

static const char *set_client_id(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                                 const char *value)
{
    (void)option;
    apr_array_clear(provider->client_ids);
    add_list(p, provider->client_ids, value);
    return NULL;
}

static const char *set_redirect_uri(sa_provider_t *provider, apr_pool_t *p,
                                    const option_t *option, const char *value)
{
    apr_size_t scheme = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789+-.");

    (void)option;
    if (!apr_isalpha(*value) || value[scheme] != ':' || strchr(value, '#')) {
        return "";
    }
    for (const char *c = value; *c; ++c) {
        if (!apr_isgraph(*c) || (unsigned char)*c > 0x7f) {
            return "";
        }
    }
    *(const char **)apr_array_push(provider->redirect_uris) = apr_pstrdup(p, value);
    return NULL;
}

static const char *set_type(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                            const char *value)
{
    (void)p;
    (void)option;
    for (apr_size_t i = 0; i < COUNT(types); ++i) {
        if (!strcmp(value, types[i]->name)) {
            provider->type = types[i];
            return NULL;
        }
    }
    return "";
}

static const char *set_base_url(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                                const char *value)
{
    apr_size_t len = strlen(value);

    (void)option;
    if (provider->type != &sa_provider_github) {
        return "base-url= is for GitHub Enterprise: it needs type=github before it";
    }
    while (len > 0 && value[len - 1] == '/') {
        --len;
    }
    provider->base_url = apr_pstrmemdup(p, value, len);
    return NULL;
}

/* The number of a version, "24.0"; it becomes part of a path. */
static const char *set_version(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                               const char *value)
{
    return value[strspn(value, "0123456789.")] ? "" : set_text(provider, p, option, value);
}

static int is_domain(const char *text)
{
    return *text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.")] &&
           strchr(text, '.');
}

static const char *set_email_trust(sa_provider_t *provider, apr_pool_t *p,
                                   const option_t *option, const char *value)
{
    (void)option;
    apr_array_clear(provider->email_domains);
    if (!strcmp(value, "none")) {
        provider->email_trust = SA_EMAIL_TRUST_NONE;
        return NULL;
    }
    if (!strcmp(value, "verified")) {
        provider->email_trust = SA_EMAIL_TRUST_VERIFIED;
        return NULL;
    }
    add_list(p, provider->email_domains, value);
    for (int i = 0; i < provider->email_domains->nelts; ++i) {
        if (!is_domain(sa_list_at(provider->email_domains, i))) {
            return "";
        }
    }
    provider->email_trust = SA_EMAIL_TRUST_DOMAINS;
    return provider->email_domains->nelts > 0 ? NULL : "";
}

static const char *set_domain(sa_provider_t *provider, apr_pool_t *p, const option_t *option,
                              const char *value)
{
    return *value && !is_domain(value) ? "" : set_text(provider, p, option, value);
}

/* Asymmetric only: an HMAC key would be the client secret, which is no proof of who signed. */
static const char *set_id_token_alg(sa_provider_t *provider, apr_pool_t *p,
                                    const option_t *option, const char *value)
{
    sa_alg_t alg = sa_alg_from_name(value);

    (void)p;
    (void)option;
    if (alg == SA_ALG_NONE || !strncmp(value, "HS", 2)) {
        return "";
    }
    provider->id_token_alg = alg;
    return NULL;
}

#define TEXT "UTF-8 text without control characters"
#define URL "an https:// URL (http:// for loopback hosts, or with allow-http=on)"
#define MEMBER(member) offsetof(sa_provider_t, member)

static const option_t options[] = {
    { "type", set_type, 0, TYPES },
    { "label", set_text, MEMBER(label), TEXT },
    { "client-id", set_client_id, 0, "one or more client ids, separated by commas" },
    { "client-secret", set_secret, 0, TEXT },
    { "redirect-uri", set_redirect_uri, 0, "an absolute URI without a fragment" },
    { "scope", set_text, MEMBER(scope), TEXT },
    { "issuer", set_text, MEMBER(issuer), URL },
    { "authorize-url", set_text, MEMBER(authorize_url), URL },
    { "token-url", set_text, MEMBER(token_url), URL },
    { "userinfo-url", set_text, MEMBER(userinfo_url), URL },
    { "emails-url", set_text, MEMBER(emails_url), URL },
    { "jwks-url", set_text, MEMBER(jwks_url), URL },
    { "discovery-url", set_text, MEMBER(discovery_url), URL },
    { "token-check-url", set_text, MEMBER(token_check_url), URL },
    { "base-url", set_base_url, 0, URL },
    { "api-version", set_version, MEMBER(api_version), "a version such as 24.0" },
    { "profile-params", set_text, MEMBER(profile_params), TEXT },
    { "hd", set_domain, MEMBER(hosted_domain), "a domain in lower case" },
    { "email-trust", set_email_trust, 0,
      "'none', 'verified' or domains in lower case, separated by commas" },
    { "email-required", set_flag, MEMBER(email_required), "'on' or 'off'" },
    { "id-token-alg", set_id_token_alg, 0,
      "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA" },
    { "allow-http", set_flag, MEMBER(allow_http), "'on' or 'off'" },
};

static const char *unknown_key(apr_pool_t *p, const char *key)
{
    const char *list = "";

    for (apr_size_t i = 0; i < COUNT(options); ++i) {
        list = apr_pstrcat(p, list, i ? ", '" : "'", options[i].key, "'", NULL);
    }
    return apr_psprintf(p, "unknown key '%s', must be one of %s", key, list);
}

const char *sa_provider_set(sa_provider_t *provider, apr_pool_t *p, const char *key,
                            const char *value)
{
    for (apr_size_t i = 0; i < COUNT(options); ++i) {
        if (strcmp(key, options[i].key)) {
            continue;
        }
        const char *problem = options[i].set(provider, p, &options[i], value);
        if (!problem || *problem) {
            return problem;
        }
        /* A secret is never repeated in a message. */
        return !strcmp(key, "client-secret")
                   ? apr_psprintf(p, "%s= must be %s", key, options[i].allowed)
                   : apr_psprintf(p, "%s='%s' must be %s", key, value, options[i].allowed);
    }
    return unknown_key(p, key);
}

/* ---- the whole ---- */

static const char *check_urls(const sa_provider_t *provider, apr_pool_t *p)
{
    const struct { const char *key, *url; } urls[] = {
        { "issuer", provider->issuer },
        { "authorize-url", provider->authorize_url },
        { "token-url", provider->token_url },
        { "userinfo-url", provider->userinfo_url },
        { "emails-url", provider->emails_url },
        { "jwks-url", provider->jwks_url },
        { "discovery-url", provider->discovery_url },
        { "token-check-url", provider->token_check_url },
    };

    for (apr_size_t i = 0; i < COUNT(urls); ++i) {
        const char *problem =
            urls[i].url
                ? sa_endpoint_problem(urls[i].url, provider->allow_http ? SA_URL_ALLOW_HTTP : 0)
                : NULL;
        if (problem) {
            return apr_psprintf(p, "%s='%s' %s", urls[i].key, urls[i].url, problem);
        }
    }
    return NULL;
}

/* An option that the provider's type does not have. */
static const char *check_foreign(const sa_provider_t *provider, apr_pool_t *p)
{
    const struct { const char *key, *value; const sa_provider_type_t *type; } own[] = {
        { "hd", provider->hosted_domain, &sa_provider_oidc },
        { "jwks-url", provider->jwks_url, &sa_provider_oidc },
        { "discovery-url", provider->discovery_url, &sa_provider_oidc },
        { "emails-url", provider->emails_url, &sa_provider_github },
        { "api-version", provider->api_version, &sa_provider_facebook },
        { "profile-params", provider->profile_params, &sa_provider_facebook },
    };

    for (apr_size_t i = 0; i < COUNT(own); ++i) {
        if (own[i].value && provider->type != own[i].type) {
            return apr_psprintf(p, "%s= is for type=%s", own[i].key, own[i].type->name);
        }
    }
    return NULL;
}

const char *sa_provider_finish(sa_provider_t *provider, apr_pool_t *p)
{
    if (!provider->type) {
        return "type= is missing, must be " TYPES;
    }
    sa_fill(&provider->label, provider->name);
    if (provider->email_required == EMAIL_REQUIRED_UNSET) {
        provider->email_required = provider->type != &sa_provider_facebook;
    }
    const char *problem = check_foreign(provider, p);
    if (!problem) {
        problem = provider->type->finish(provider, p);
    }
    return problem ? problem : check_urls(provider, p);
}

int sa_provider_flows(const sa_provider_t *provider)
{
    int flows = provider->type->flows;

    if (!provider->client_secret) {
        flows &= ~SA_FLOW_CODE;
    }
    return flows;
}

int sa_provider_takes_tokens(const sa_provider_t *provider)
{
    return provider->type->identify_token != NULL && !provider->disabled_because;
}

sa_error_t *sa_provider_email_error(const sa_provider_t *provider, apr_pool_t *p,
                                    const sa_identity_t *identity)
{
    sa_error_kind_t kind = identity->email ? SA_E_EMAIL_UNVERIFIED : SA_E_EMAIL_MISSING;
    sa_error_kind_t phrase =
        provider->type == &sa_provider_github ? SA_E_EMAIL_MISSING : SA_E_EMAIL_UNVERIFIED;
    sa_error_t *error = sa_error(p, kind, provider->label, "%s: the e-mail address is %s",
                                 provider->name, identity->email ? "not verified" : "missing");

    error->text = sa_error(p, phrase, provider->label, NULL)->text;
    return error;
}
