/* The rules: what may happen, in which order. Knows providers and store, no httpd.
 *
 * Every call takes an sa_call_t, made per request by the caller. */
#ifndef SA_ACCOUNTS_ACCOUNTS_H
#define SA_ACCOUNTS_ACCOUNTS_H

#include "core/error.h"
#include "core/hash_gate.h"
#include "core/jwt.h"
#include "core/password_policy.h"
#include "core/shared.h"
#include "core/state.h"
#include "providers/provider.h"
#include "store/store.h"

typedef enum { SA_LINKING_VERIFIED, SA_LINKING_RECLAIM, SA_LINKING_ALWAYS, SA_LINKING_NEVER }
    sa_email_linking_t;
typedef enum { SA_USER_LIST_OFF, SA_USER_LIST_STAFF, SA_USER_LIST_AUTHENTICATED, SA_USER_LIST_PUBLIC }
    sa_user_list_t;
typedef enum { SA_REVOCATION_SHARED, SA_REVOCATION_DATABASE, SA_REVOCATION_OFF }
    sa_revocation_check_t;
typedef enum { SA_BINDING_AUTO, SA_BINDING_REQUIRED, SA_BINDING_OFF } sa_state_binding_t;

typedef enum { SA_VERIFICATION_OFF, SA_VERIFICATION_OPTIONAL, SA_VERIFICATION_REQUIRED }
    sa_email_verification_t;

/* One mount's rules; const after start-up, defaults filled in. */
typedef struct {
    const char *mount;          /* "/api/social-auth" */
    const char *url;            /* its public address; names it in the outbox of mails */
    const char *database;       /* names it: mounts of equal ones have the same accounts */
    const char *issuer, *audience;
    sa_keyset_t *keys;          /* ours: the first that can sign, signs */
    apr_array_header_t *auth_header_types;      /* const char *: "Bearer" */
    int access_lifetime, refresh_lifetime, session_lifetime;    /* seconds */
    int leeway;                 /* seconds */
    int rotate, blacklist_after_rotation, reuse_interval;
    int accept_simplejwt;
    sa_revocation_check_t revocation_check;
    unsigned char state_key[SA_STATE_KEY_LEN];
    int state_max_age;          /* seconds */
    sa_state_binding_t state_binding;
    int shared_state_in_database;
    int max_token_age;          /* seconds, ID tokens without a state */
    sa_email_linking_t email_linking;
    int linked_email_update;
    int password_login;
    int unlink_requires_password;
    sa_password_policy_t password_policy;
    int registration, registration_login;
    sa_user_list_t user_list;
    sa_rate_t throttle, password_throttle, account_throttle;
    apr_array_header_t *providers;      /* sa_provider_t *, enabled and disabled */
    const char *webhook_targets;        /* space-separated URLs, NULL = none */
    int notify;
    int mails;                  /* 1 = somebody sends what is queued (SocialAuthSMTP) */
    sa_email_verification_t email_verification;
    int security_mails;
    int verify_lifetime, reset_lifetime;        /* seconds, of links in mails */
    sa_rate_t mail_throttle;    /* mails to one address */
} sa_settings_t;

typedef struct sa_call_t {
    apr_pool_t *pool;
    apr_int64_t now;            /* seconds */
    const sa_settings_t *settings;
    const sa_store_t *store;
    const sa_db_source_t *db;
    const sa_provider_env_t *env;
    sa_shared_t *shared;
    sa_hash_gate_t *gate;       /* NULL = passwords are hashed without limit */
    const char *address;        /* client address, for events */
    const char *client;         /* its network, as a throttle counts; NULL = not known */
    const char *request_id;
    void *who;                  /* the caller's own (request_rec) */
    /* After commit, for each event; may be NULL. user may be NULL. */
    void (*on_event)(struct sa_call_t *call, const sa_event_t *event, const char *user_id);
    /* Operator log; level as APLOG_ (3 err, 4 warning, 6 info, 7 debug). May be NULL. */
    void (*log)(struct sa_call_t *call, int level, const char *text);
} sa_call_t;

typedef struct {
    const char *access, *refresh;       /* refresh NULL when none is handed out */
    const char *scope;          /* of the access token, NULL without a client */
    int expires_in;             /* of the access token, seconds */
    const sa_user_t *user;      /* NULL for a client of its own */
    const char *sid;            /* NULL as well then */
} sa_tokens_t;

/* An application that has proven who it is, and what it may have this time. */
typedef struct {
    const char *id;             /* client_id */
    const char *scope;          /* granted, space-separated, "" when none */
    int third_party;            /* it may be somebody else's: its tokens leave the account as it is */
} sa_client_t;

/* The bearer of a verified access token. */
typedef struct {
    const char *user_id;        /* sub */
    const char *sid;            /* NULL for a SimpleJWT token */
    const char *client_id;      /* NULL when none */
    int third_party;            /* of a client that may be somebody else's */
    sa_jwt_t jwt;
} sa_bearer_t;

/* ---- state.c: GET …/state/ and its use ---- */
typedef struct { const char *state, *nonce, *cookie_name, *cookie_value; } sa_new_state_t;
/* nonce is set for providers with an ID-token flow. challenge and user may be NULL. The cookie value proves
 * the browser: HMAC of the state. cookie_name is the 8 hex digits only. */
sa_error_t *sa_accounts_new_state(sa_call_t *call, const sa_provider_t *provider,
                                  const char *challenge, const char *user,
                                  sa_new_state_t *state);

/* Sends a browser to the provider: *location is where, and the state belongs to the redirect flow
 * alone. next, at most SA_STATE_NEXT_MAX bytes, may be NULL. Fails as a login where the provider
 * must be asked for its endpoint. */
sa_error_t *sa_accounts_start_redirect(sa_call_t *call, const sa_provider_t *provider,
                                       const char *redirect_uri, const char *next,
                                       sa_new_state_t *state, const char **location);

/* What a login or link request brought besides its credential. */
typedef struct {
    const char *code, *token, *state, *code_verifier, *redirect_uri;    /* NULL = absent */
    const char *(*cookie)(void *who, const char *hex8); /* value of …-sa-state-<hex8>, NULL */
    void *who;
    int binding_exempt;         /* an allowed origin without credentials (auto) */
    const char *spent_cookie;   /* out: hex8 of the cookie to clear, NULL */

    int redirect;               /* 1 = it is a browser that the provider sent back: its cookie is
                                 * demanded, and we know the code_verifier */
    const char *error, *issuer; /* what it brought instead of the code, or with it; NULL = absent */
    const char *next;           /* out: as when it was sent there, once the state is accepted */
} sa_attempt_t;

/* In all calls below `client` is NULL in the REST dialect. */

/* ---- login.c ---- */
sa_error_t *sa_accounts_login(sa_call_t *call, const sa_provider_t *provider,
                              sa_attempt_t *attempt, sa_tokens_t *tokens);
/* Signs in by a token that a front end got from the provider for our own application there; only
 * where sa_provider_takes_tokens. */
sa_error_t *sa_accounts_convert(sa_call_t *call, const sa_provider_t *provider, const char *token,
                                const sa_client_t *client, sa_tokens_t *tokens);
/* ---- link.c ---- */
sa_error_t *sa_accounts_link(sa_call_t *call, const sa_provider_t *provider,
                             const sa_bearer_t *bearer, sa_attempt_t *attempt);
/* association NULL: whatever link there is; else SA_E_NOT_LINKED unless it is the link's id. password
 * NULL when not sent. */
sa_error_t *sa_accounts_unlink(sa_call_t *call, const sa_provider_t *provider,
                               const sa_bearer_t *bearer, const apr_int64_t *association,
                               const char *password);
/* *providers: [{"label","is_linked","name","email","linked_at"},…], owned by the pool. A client of
 * the OAuth2 dialect also gets "association_id", the id of the link, where there is one. */
sa_error_t *sa_accounts_linked(sa_call_t *call, const sa_bearer_t *bearer, json_t **providers);

/* ---- tokens.c ---- */
/* Access token of a header value; SA_E_TOKEN_NOT_VALID. Whether its session has ended is looked up in
 * shared memory, and in the database only when that does not know: then it may be SA_E_UNAVAILABLE. */
sa_error_t *sa_accounts_bearer(sa_call_t *call, const char *token, sa_bearer_t *bearer);
/* RFC 6749 section 6. scope NULL = as before; no more than before. SA_E_REFRESH_OF_ANOTHER
 * for a token of another client. */
sa_error_t *sa_accounts_refresh(sa_call_t *call, const char *refresh, const sa_client_t *client,
                                const char *scope, sa_tokens_t *tokens);
/* RFC 6749 section 4.4: an access token of the client itself, without user and session. */
sa_error_t *sa_accounts_client_token(sa_call_t *call, const sa_client_t *client,
                                     sa_tokens_t *tokens);
sa_error_t *sa_accounts_verify(sa_call_t *call, const char *token);
sa_error_t *sa_accounts_blacklist(sa_call_t *call, const char *refresh);

/* ---- revocations.c ---- */
/* How long, in seconds, the end of a session must be remembered where access tokens live so long. */
apr_int64_t sa_revocation_memory(int access_lifetime);

/* ---- password_login.c ---- */
/* login: e-mail or user name as typed; is_email as the field was called, or -1 for either. */
sa_error_t *sa_accounts_password_login(sa_call_t *call, const char *login, int is_email,
                                       const char *password, const sa_client_t *client,
                                       sa_tokens_t *tokens);

/* ---- register.c ---- */
typedef struct {
    const char *email, *username, *first_name, *last_name, *password;
} sa_registration_t;
/* A new account; it signs in at once when tokens is not NULL. What is wrong, weak or in use is a field
 * error. SocialAuthEmailVerification required: no tokens, and nobody is told that an address is in
 * use but its owner. */
sa_error_t *sa_accounts_register(sa_call_t *call, const sa_registration_t *given,
                                 const sa_client_t *client, sa_tokens_t *tokens);

/* ---- profile.c: of the bearer's account; SA_E_TOKEN_NOT_VALID when it, or its session, is gone ---- */
sa_error_t *sa_accounts_profile(sa_call_t *call, const sa_bearer_t *bearer, sa_user_t **user);
/* Members of `changes` may be NULL: as before. *user: as it is then. */
sa_error_t *sa_accounts_change_profile(sa_call_t *call, const sa_bearer_t *bearer,
                                       const sa_profile_t *changes, sa_user_t **user);
/* Marks the account as deleted; password NULL when not sent: needed where the account has one. */
sa_error_t *sa_accounts_delete_own(sa_call_t *call, const sa_bearer_t *bearer,
                                   const char *password);
/* SA_E_NOT_FOUND, _NOT_AUTHENTICATED, _FORBIDDEN by settings->user_list. */
sa_error_t *sa_accounts_list(sa_call_t *call, const sa_bearer_t *bearer, const char *after,
                             int limit, apr_array_header_t **users /* sa_user_t */);
/* [{"id","created","last_used","expires","method","client_id","current"},…], newest first. */
sa_error_t *sa_accounts_sessions(sa_call_t *call, const sa_bearer_t *bearer, json_t **list);
/* SA_E_NOT_FOUND when it is not one of the bearer's. */
sa_error_t *sa_accounts_end_session(sa_call_t *call, const sa_bearer_t *bearer, const char *sid);
/* {"id","email","username","first_name","last_name"}, a new reference; NULL without memory. */
json_t *sa_user_describe(const sa_user_t *user);

/* ---- introspection.c ---- */
/* Whose tokens may be revoked, or looked into; NULL members: anybody's. */
typedef struct { const char *client_id, *user_id; } sa_owner_t;
/* RFC 7009: ends the session of an access or refresh token of `owner`. Of any other token: nothing. */
sa_error_t *sa_accounts_revoke(sa_call_t *call, const char *token, const sa_owner_t *owner);
/* Ends the session of a token that a browser brought along, when other tokens take its place there. */
sa_error_t *sa_accounts_replace(sa_call_t *call, const char *token, const sa_tokens_t *tokens);
/* Ends what the client was given for the bearer; SA_E_TOKEN_NOT_VALID when the bearer's session is over, a
 * field error when there is no such client. */
sa_error_t *sa_accounts_end_client(sa_call_t *call, const sa_bearer_t *bearer,
                                   const char *client_id, sa_end_t what);
/* RFC 7662 section 2.2: *answer is {"active":false} alone unless the token is good and owner's. */
sa_error_t *sa_accounts_introspect(sa_call_t *call, const char *token, const sa_owner_t *owner,
                                   json_t **answer);

/* ---- clients.c: applications as OAuth 2.0 clients ---- */
/* RFC 6749 section 2.3: SA_E_INVALID_CLIENT unless the application exists and `secret` is its own (NULL or
 * "" for a public one). Takes as long for an unknown one. */
sa_error_t *sa_client_authenticate(sa_call_t *call, const char *client_id, const char *secret,
                                   sa_application_t **application);
#define SA_GRANT_CODE "authorization_code"
/* The application as a client that asks for `grant` and `scope` (RFC 6749 section 3.3; NULL: all
 * it may have). SA_E_UNAUTHORIZED_CLIENT, SA_E_INVALID_SCOPE. */
sa_error_t *sa_client_grant(sa_call_t *call, const sa_application_t *application,
                            const char *grant, const char *scope, sa_client_t *client);
/* What is stored of a secret that was made at random; NULL when there was no memory. */
const char *sa_client_secret_hash(apr_pool_t *p, const char *secret);

/* *application NULL when there is none. */
sa_error_t *sa_client_find(sa_call_t *call, const char *client_id,
                           sa_application_t **application);

/* ---- authorize.c: authorization codes (RFC 6749 section 4.1) with PKCE (RFC 7636) ---- */
typedef struct {                /* the request; NULL = absent */
    const char *client_id, *redirect_uri, *response_type, *response_mode, *scope, *state,
               *code_challenge, *code_challenge_method;
} sa_authorization_t;
/* Whose request it is, and in *redirect where its answer may go. A refusal is for the user's eyes
 * only: nobody is sent to an address that is not the client's. */
sa_error_t *sa_authorize_client(sa_call_t *call, const sa_authorization_t *request,
                                sa_application_t **application, const char **redirect);
/* What the client may have of it. A refusal goes to the client. */
sa_error_t *sa_authorize_check(sa_call_t *call, const sa_authorization_t *request,
                               const sa_application_t *application, sa_client_t *client);
/* A code for the bearer's account; SA_E_LOGIN_REQUIRED when it, or its session, is gone. */
sa_error_t *sa_authorize_code(sa_call_t *call, const sa_authorization_t *request,
                              const sa_client_t *client, const sa_bearer_t *bearer,
                              const char **code);
/* What a user was asked, signed: good for this user's session, for this question and for ten
 * minutes. */
const char *sa_consent_sign(sa_call_t *call, const sa_bearer_t *bearer, const char *question);
int sa_consent_verify(sa_call_t *call, const sa_bearer_t *bearer, const char *question,
                      const char *signature);
/* RFC 6749 section 4.1.3. redirect_uri and verifier may be NULL. SA_E_INVALID_GRANT; a code that
 * comes back ends what it has given. */
sa_error_t *sa_accounts_exchange(sa_call_t *call, const sa_client_t *client, const char *code,
                                 const char *redirect_uri, const char *verifier,
                                 sa_tokens_t *tokens);

/* ---- passwords.c ---- */
/* Ends all other sessions of the user. What is wrong is a field error under old_password (word
 * wrong_password, also for an account without a password) or new_password. */
sa_error_t *sa_accounts_change_password(sa_call_t *call, const sa_bearer_t *bearer,
                                        const char *old_password, const char *new_password);

/* ---- email.c: addresses and passwords proved by mail ---- */
/* The token of a "verify" or "email-change" mail; SA_E_LINK_INVALID. */
sa_error_t *sa_accounts_verify_email(sa_call_t *call, const char *token);
sa_error_t *sa_accounts_resend_verification(sa_call_t *call, const sa_bearer_t *bearer);
/* Writes to the new address; nothing changes before its answer. password NULL when not sent: needed
 * where the account has one. */
sa_error_t *sa_accounts_change_email(sa_call_t *call, const sa_bearer_t *bearer,
                                     const char *email, const char *password);
/* The same for known and unknown addresses, in answer and time. */
sa_error_t *sa_accounts_reset_password(sa_call_t *call, const char *email);
/* The token of a "reset" mail. A weak password leaves the link usable. */
sa_error_t *sa_accounts_confirm_reset(sa_call_t *call, const char *token,
                                      const char *new_password);

/* ---- mail.c ---- */
typedef enum {
    SA_MAIL_VERIFY, SA_MAIL_RESET, SA_MAIL_EMAIL_CHANGE,        /* these have a link */
    SA_MAIL_EXISTS, SA_MAIL_NEW_LINK, SA_MAIL_PASSWORD_CHANGED, SA_MAIL_EMAIL_CHANGED,
    SA_MAIL_KINDS
} sa_mail_kind_t;
/* "verify", …: in the database, of template files, of SocialAuthMailLink. */
const char *sa_mail_kind_name(sa_mail_kind_t kind);
/* SA_MAIL_KINDS when there is none of this name. */
sa_mail_kind_t sa_mail_kind(const char *name);
int sa_mail_has_link(sa_mail_kind_t kind);
/* Completes a claimed reset mail, which is queued with the address as somebody typed it and no user: it
 * gets the user and the address in the table. Nobody's is deleted, and its email then is NULL. Does
 * nothing to other mails. */
sa_error_t *sa_mail_find_user(sa_work_t *work, apr_pool_t *p, sa_mail_t *mail);
/* The token of a queued mail's link: only now, so that the database never holds it. NULL when signing
 * failed. */
const char *sa_mail_token(apr_pool_t *p, const sa_settings_t *settings, const sa_mail_t *mail,
                          apr_int64_t now);

#endif
