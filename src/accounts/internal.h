/* What the rooms of accounts/ share among themselves. */
#ifndef SA_ACCOUNTS_INTERNAL_H
#define SA_ACCOUNTS_INTERNAL_H

#include "accounts/accounts.h"
#include "core/password.h"

/* Uses up the attempt's state (when there is one), then asks the provider who it
 * is. bearer_user: the signed-in user of a link, NULL for a login. */
sa_error_t *sa_prove(sa_call_t *call, const sa_provider_t *provider, sa_attempt_t *attempt,
                     const char *bearer_user, sa_identity_t **identity);

/* Asks a provider that takes tokens whose the token is. */
sa_error_t *sa_prove_token(sa_call_t *call, const sa_provider_t *provider, const char *token,
                           sa_identity_t **identity);

/* The address the provider calls verified; NULL when there is none. No other is stored. */
const char *sa_verified_email(const sa_identity_t *identity);

/* Checks the attempt's state and its binding and spends it. The nonce derived from it,
 * for ID tokens, is set in *nonce. */
sa_error_t *sa_state_use(sa_call_t *call, const sa_provider_t *provider, sa_attempt_t *attempt,
                         const char *bearer_user, const char **nonce);
/* Marks a 32-byte id as used until `expires` (seconds), in shared memory or the database. */
sa_error_t *sa_spend_once(sa_call_t *call, const unsigned char id[32], apr_int64_t expires,
                          int *first);

/* A new family of refresh tokens that starts now, a client's unless NULL. NULL when no random bytes
 * could be had. */
sa_session_t *sa_session_new(sa_call_t *call, const char *amr, const sa_client_t *client);
/* Signs the access token and the refresh token of a session. */
sa_error_t *sa_tokens_issue(sa_call_t *call, const sa_user_t *user, const sa_session_t *session,
                            sa_tokens_t *tokens);

/* The words of `wanted`, each once, when all of them are in `allowed`; else NULL. Both are
 * space-separated (RFC 6749 section 3.3). */
const char *sa_scope_within(apr_pool_t *p, const char *wanted, const char *allowed);
/* The words that are in both. */
const char *sa_scope_common(apr_pool_t *p, const char *scope, const char *allowed);

typedef enum { SA_TOKEN_ACCESS, SA_TOKEN_REFRESH } sa_token_kind_t;
/* NULL when the token is one of ours, of this kind, and in time; else why not. No database. */
const char *sa_token_refused(sa_call_t *call, const char *token, sa_token_kind_t kind,
                             sa_jwt_t *jwt);

/* Signs the identity in by the rules of CONTRACT, "Login decides". */
sa_error_t *sa_login_identity(sa_call_t *call, const sa_provider_t *provider,
                              const sa_identity_t *identity, const sa_client_t *client,
                              sa_tokens_t *tokens);

/* What people may call themselves; members may be NULL. What is wrong is added to *errors. */
void sa_profile_check(sa_call_t *call, const sa_profile_t *profile, sa_error_t **errors);
void sa_username_taken(sa_call_t *call, sa_error_t **errors);
/* Whether the session behind a good token lives, as the database says; jti NULL for access tokens. */
sa_error_t *sa_session_alive(sa_call_t *call, const char *sid, const char *jti);
/* NULL when the session of an access token with these claims has not ended, as far as was heard. */
sa_error_t *sa_check_revocation(sa_call_t *call, const char *sid, const json_t *claims);
/* This call has ended the session: its children know at once, other servers by the database. */
void sa_session_ended(sa_call_t *call, const char *sid);

/* Fills an event of this call; its id is random. */
void sa_event_fill(sa_call_t *call, sa_event_t *event, const char *type, const char *provider);
/* After commit: NOTIFY for n events, then their hooks, which others wrote: work is closed before, so
 * that they hold no connection. */
void sa_events_publish(sa_call_t *call, sa_work_t *work, const sa_event_t *events, int n,
                       const char *user_id);

/* The user of an access token and its links; SA_E_TOKEN_NOT_VALID when session or user is gone. */
sa_error_t *sa_bearer_user(sa_call_t *call, const sa_bearer_t *bearer, sa_user_t **user,
                           apr_array_header_t **links);

/* ---- guesses.c ---- */
/* One try of a password for an account (user id, or "?" and the name as typed). */
typedef struct {
    const char *account;
    apr_uint64_t key;           /* of the counter it counts on */
} sa_guess_t;
/* SA_E_THROTTLED when too many were wrong lately. Otherwise it counts, and ends as one of: wrong
 * (nothing is called), right, or not checked at all. */
sa_error_t *sa_guess_count(sa_call_t *call, const char *account, sa_guess_t *guess);
void sa_guess_unchecked(sa_call_t *call, const sa_guess_t *guess);
void sa_guess_right(sa_call_t *call, const sa_guess_t *guess);

/* ---- passwords.c: all hashing goes through the gate; no work may be open meanwhile ---- */
/* Checks a password of `user` (NULL: of nobody, in the same time) as a guess that counts against
 * `account`. A user who is not usable is a mismatch. *verdict is never SA_PASSWORD_UNKNOWN.
 * SA_E_THROTTLED, SA_E_BUSY. */
sa_error_t *sa_password_guess(sa_call_t *call, const char *account, const sa_user_t *user,
                              const char *password, sa_password_verdict_t *verdict);
/* A new hash in *hash. SA_E_BUSY. */
sa_error_t *sa_password_make(sa_call_t *call, const char *password, const char **hash);
/* Adds what the policy finds wrong with a new password under `field` to *errors. */
void sa_password_policy_check(sa_call_t *call, const char *password,
                              const sa_password_owner_t *owner, const char *field,
                              sa_error_t **errors);
/* Checks new_password (policy; what is wrong is a field error under `field`), hashes it, stores it
 * if user->password is still the stored hash, ends all families but keep_sid (NULL = all), stores
 * and publishes password_changed. SA_E_CONFLICT when the hash changed meanwhile. */
sa_error_t *sa_password_set(sa_call_t *call, const sa_user_t *user, const char *new_password,
                            const char *field, const char *keep_sid);

/* Counts one mail to an address (canonical, known or not). */
sa_error_t *sa_mail_throttle(sa_call_t *call, const char *email);
/* Queues one mail inside work's unit of work; nothing where mails cannot be sent, or not of this kind
 * (SocialAuthSecurityMails). data: sa_mail_binding for mails with a link, the provider's label for
 * SA_MAIL_NEW_LINK, else NULL. user_id and email may be NULL: nobody is written to without an address. */
sa_error_t *sa_mail_queue(sa_call_t *call, sa_work_t *work, sa_mail_kind_t kind,
                          const char *user_id, const char *email, const char *data);
/* What costs the same, for an address that is nobody's. */
sa_error_t *sa_mail_queue_nothing(sa_call_t *call, sa_work_t *work, sa_mail_kind_t kind);
/* What a link depends on: it dies with the password or the e-mail, whoever changes them. */
const char *sa_mail_binding(apr_pool_t *p, const char *stored_password, const char *stored_email);
/* NULL and *mail's id, kind and user when `token` is one of ours for one of two kinds; SA_E_LINK_INVALID. */
sa_error_t *sa_mail_token_check(sa_call_t *call, const char *token, sa_mail_kind_t kind,
                                sa_mail_kind_t or_kind, sa_mail_t *mail);
sa_error_t *sa_link_invalid(sa_call_t *call, const char *why);
/* SocialAuthEmailVerification required: SA_E_EMAIL_NOT_CONFIRMED, and a new mail, while it is not. */
sa_error_t *sa_require_verified_email(sa_call_t *call, const sa_user_t *user);

/* The signed-in user's own password, typed again; SA_E_WRONG_PASSWORD. */
sa_error_t *sa_check_password(sa_call_t *call, const sa_user_t *user, const char *password);

sa_error_t *sa_open(sa_call_t *call, sa_work_t **work);
sa_error_t *sa_session_gone(sa_call_t *call);    /* SA_E_TOKEN_NOT_VALID */
sa_error_t *sa_no_random(sa_call_t *call);

#define SA_TRIES 3              /* of a unit of work that lost a race */

#endif
