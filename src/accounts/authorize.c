#include "accounts/internal.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "core/state.h"
#include "core/text.h"
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

#define CODE_LIFETIME 60        /* seconds; RFC 6749 section 4.1.2 allows ten minutes */
#define CODE_BYTES 32
#define CONSENT_LIFETIME 600    /* seconds */

static sa_error_t *refuse(sa_call_t *call, sa_error_kind_t kind, const char *text)
{
    sa_error_t *error = sa_error(call->pool, kind, NULL, NULL);

    error->text = text ? text : error->text;
    return error;
}

/* ---- redirect URIs ---- */

/* What follows the port of a loopback address (RFC 8252 section 7.3), NULL for any other URI. */
static const char *behind_port(const char *uri)
{
    static const char *const hosts[] = { "http://127.0.0.1", "http://[::1]" };

    for (int i = 0; i < 2; i++) {
        size_t n = strlen(hosts[i]);
        if (!strncmp(uri, hosts[i], n)) {
            const char *rest = uri + n;
            size_t digits = *rest == ':' ? strspn(rest + 1, "0123456789") : 0;
            return digits <= 5 ? rest + (digits ? digits + 1 : 0) : NULL;
        }
    }
    return NULL;
}

/* RFC 9700 section 2.1: byte for byte, but for the port on the user's own machine. */
static int is_same(const char *registered, const char *uri)
{
    const char *ours = behind_port(registered), *theirs = behind_port(uri);

    if (!ours || !theirs) {
        return !strcmp(registered, uri);
    }
    return registered[7] == uri[7] && !strcmp(ours, theirs);    /* the host's first character */
}

static int is_registered(apr_pool_t *p, const char *uris, const char *uri)
{
    char *last = NULL;

    for (char *word = apr_strtok(apr_pstrdup(p, uris), " ", &last); word;
         word = apr_strtok(NULL, " ", &last)) {
        if (is_same(word, uri)) {
            return 1;
        }
    }
    return 0;
}

/* The address that a request without one means: the only one. */
static const char *only_one(const char *uris)
{
    return *uris && !strchr(uris, ' ') ? uris : NULL;
}

/* ---- requests ---- */

sa_error_t *sa_authorize_client(sa_call_t *call, const sa_authorization_t *request,
                                sa_application_t **application, const char **redirect)
{
    *redirect = NULL;
    if (!request->client_id) {
        return refuse(call, SA_E_INVALID_REQUEST, "client_id is missing.");
    }
    sa_error_t *error = sa_client_find(call, request->client_id, application);
    if (error) {
        return error;
    }
    if (!*application) {
        return refuse(call, SA_E_INVALID_REQUEST, "There is no application of this client_id.");
    }
    const char *uris = (*application)->redirect_uris;
    if (!request->redirect_uri) {
        *redirect = only_one(uris);
        return *redirect ? NULL : refuse(call, SA_E_INVALID_REQUEST, "redirect_uri is missing.");
    }
    if (!is_registered(call->pool, uris, request->redirect_uri)) {
        return refuse(call, SA_E_INVALID_REQUEST,
                      "redirect_uri is not one that the application has registered.");
    }
    *redirect = request->redirect_uri;
    return NULL;
}

/* RFC 7636 section 4.3; "plain" would show the verifier to whoever sees the request. */
static const char *pkce_problem(const sa_authorization_t *request, int is_public)
{
    if (!request->code_challenge) {
        return request->code_challenge_method ? "code_challenge is missing."
               : is_public ? "A public client must send a code_challenge." : NULL;
    }
    if (!request->code_challenge_method || strcmp(request->code_challenge_method, "S256")) {
        return "code_challenge_method must be S256.";
    }
    return sa_pkce_challenge_valid(request->code_challenge) ? NULL
           : "code_challenge must be a SHA-256 digest in base64url.";
}

sa_error_t *sa_authorize_check(sa_call_t *call, const sa_authorization_t *request,
                               const sa_application_t *application, sa_client_t *client)
{
    if (!request->response_type) {
        return refuse(call, SA_E_INVALID_REQUEST, "response_type is missing.");
    }
    if (strcmp(request->response_type, "code")) {
        return refuse(call, SA_E_UNSUPPORTED_RESPONSE_TYPE, NULL);
    }
    if (request->response_mode && strcmp(request->response_mode, "query")) {
        return refuse(call, SA_E_INVALID_REQUEST, "response_mode must be query.");
    }
    sa_error_t *error = sa_client_grant(call, application, SA_GRANT_CODE, request->scope, client);
    const char *why = pkce_problem(request, !application->secret);
    return error ? error : why ? refuse(call, SA_E_INVALID_REQUEST, why) : NULL;
}

/* ---- codes ---- */

/* What is stored of a code, which is good at this mount only. */
static const char *digest_of(sa_call_t *call, const char *code)
{
    const char *text = apr_pstrcat(call->pool, call->settings->mount, "\n", code, NULL);
    unsigned char digest[SA_SHA256_LEN];

    sa_sha256(text, strlen(text), digest);
    return sa_base64url_encode(call->pool, digest, sizeof(digest));
}

/* When and how the bearer signed in; a SimpleJWT token knows only when it was made. */
static void describe_sign_in(const sa_bearer_t *bearer, sa_code_t *code)
{
    const json_t *claims = bearer->jwt.claims;
    const json_t *amr = json_array_get(json_object_get(claims, "amr"), 0);

    if (sa_claim_time(claims, "auth_time", &code->auth_time) != 1
        && sa_claim_time(claims, "iat", &code->auth_time) != 1) {
        code->auth_time = 0;
    }
    code->amr = json_is_string(amr) ? json_string_value(amr) : "pwd";
}

sa_error_t *sa_authorize_code(sa_call_t *call, const sa_authorization_t *request,
                              const sa_client_t *client, const sa_bearer_t *bearer,
                              const char **code)
{
    sa_work_t *work;
    int done = 0;

    *code = sa_random_text(call->pool, CODE_BYTES);
    if (!*code) {
        return sa_no_random(call);
    }
    sa_code_t row = {
        .id = digest_of(call, *code), .client_id = client->id, .user_id = bearer->user_id,
        .redirect_uri = request->redirect_uri ? request->redirect_uri : "",
        .scope = client->scope, .challenge = request->code_challenge,
        .expires = call->now + CODE_LIFETIME,
    };
    describe_sign_in(bearer, &row);
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_create_code(work, &row, bearer->sid, call->now, &done);
    }
    sa_work_close(work);
    return error || done ? error : refuse(call, SA_E_LOGIN_REQUIRED, NULL);
}

static const char *failure(sa_code_verdict_t verdict)
{
    switch (verdict) {
    case SA_CODE_REUSED: return "a code came back: what it gave is revoked";
    case SA_CODE_FOREIGN: return "a code of another client";
    case SA_CODE_WRONG: return "a code that expired, or with another redirect_uri or code_verifier";
    case SA_CODE_USER_GONE: return "a code of a user who is inactive or has signed out";
    default: return "no such code";
    }
}

static sa_error_t *use(sa_call_t *call, sa_code_use_t *given, sa_session_t *session,
                       sa_user_t **user)
{
    sa_code_verdict_t verdict = SA_CODE_UNKNOWN;
    const char *used_by = NULL;
    sa_event_t reuse;
    sa_work_t *work;

    sa_event_fill(call, &reuse, "token_reuse_detected", NULL);
    given->reuse_event = &reuse;
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_use_code(work, given, session, &verdict, &used_by, user);
    }
    if (!error && verdict == SA_CODE_REUSED) {
        sa_session_ended(call, used_by);
        sa_events_publish(call, work, &reuse, 1, *user ? (*user)->id : NULL);
    }
    sa_work_close(work);
    return error || verdict == SA_CODE_GOOD ? error
           : sa_error(call->pool, SA_E_INVALID_GRANT, NULL, "%s", failure(verdict));
}

sa_error_t *sa_accounts_exchange(sa_call_t *call, const sa_client_t *client, const char *code,
                                 const char *redirect_uri, const char *verifier,
                                 sa_tokens_t *tokens)
{
    sa_session_t *session = sa_session_new(call, NULL, client);
    sa_user_t *user = NULL;

    if (!session) {
        return sa_no_random(call);
    }
    if (verifier && !sa_pkce_verifier_valid(verifier)) {
        return refuse(call, SA_E_INVALID_REQUEST,
                      "code_verifier must be 43 to 128 letters, digits and -._~");
    }
    sa_code_use_t given = {
        .id = digest_of(call, code), .client_id = client->id, .redirect_uri = redirect_uri,
        .challenge = verifier ? sa_pkce_challenge(call->pool, verifier) : NULL, .now = call->now,
    };
    sa_error_t *error = use(call, &given, session, &user);
    for (int try = 1; try < SA_TRIES && error && error->kind == SA_E_CONFLICT; try++) {
        error = use(call, &given, session, &user);
    }
    return error ? error : sa_tokens_issue(call, user, session, tokens);
}

/* ---- consent ---- */

static const char *signature_of(sa_call_t *call, const sa_bearer_t *bearer, const char *question,
                                apr_int64_t expires)
{
    const char *text = apr_psprintf(call->pool, "consent\n%" APR_INT64_T_FMT "\n%s\n%s\n%s\n%s",
                                    expires, call->settings->mount, bearer->user_id,
                                    bearer->sid ? bearer->sid : "", question);
    unsigned char mac[SA_SHA256_LEN];

    sa_hmac_sha256(call->settings->state_key, SA_STATE_KEY_LEN, text, strlen(text), mac);
    return apr_psprintf(call->pool, "%" APR_INT64_T_FMT ".%s", expires,
                        sa_base64url_encode(call->pool, mac, sizeof(mac)));
}

const char *sa_consent_sign(sa_call_t *call, const sa_bearer_t *bearer, const char *question)
{
    return signature_of(call, bearer, question, call->now + CONSENT_LIFETIME);
}

int sa_consent_verify(sa_call_t *call, const sa_bearer_t *bearer, const char *question,
                      const char *signature)
{
    apr_int64_t expires = apr_atoi64(signature);
    const char *right = signature_of(call, bearer, question, expires);

    return sa_equal(signature, strlen(signature), right, strlen(right)) && expires > call->now
           && expires <= call->now + CONSENT_LIFETIME;
}
