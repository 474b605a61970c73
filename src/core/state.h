/* The login state: signed, bound to a provider, a purpose and optionally a user
 * and a PKCE challenge, short-lived, and usable once.
 *
 * Text form: base64url(payload) "." base64url(HMAC-SHA-256), payload
 * compact JSON {"v":1,"p":provider,"u":purpose,"t":issued,"n":nonce,...}. */
#ifndef SA_CORE_STATE_H
#define SA_CORE_STATE_H

#include <apr_pools.h>
#include <apr_time.h>

#define SA_STATE_KEY_LEN 32
#define SA_STATE_MAX 1024       /* bytes of a state that are looked at at all */
#define SA_STATE_NEXT_MAX 512

typedef struct {
    const char *provider;       /* configured provider name */
    const char *purpose;        /* "login" for the state endpoint (also used by link), "redirect" … */
    apr_int64_t issued;         /* seconds */
    const char *nonce;          /* 22 base64url characters: 128 random bits */
    const char *challenge;      /* PKCE S256 challenge, NULL when none */
    const char *user;           /* user id it is bound to, NULL when none */
    const char *next;           /* "redirect": where the browser goes afterwards, NULL when none */
    unsigned char id[32];       /* SHA-256 of the whole text: what is spent */
} sa_state_t;

/* A new state; fills issued, nonce and id. NULL when no random bytes could be had, or it would be
 * longer than SA_STATE_MAX: a `next` of up to SA_STATE_NEXT_MAX bytes without '"' fits. */
char *sa_state_make(apr_pool_t *p, const unsigned char key[SA_STATE_KEY_LEN],
                    sa_state_t *state, apr_int64_t now);

/* Checks signature, version, provider, purpose and age (issued in [now-max_age, now+5]).
 * NULL when it holds and *state is filled, else a short log text. */
const char *sa_state_check(apr_pool_t *p, const unsigned char key[SA_STATE_KEY_LEN],
                           const char *text, const char *provider, const char *purpose,
                           apr_int64_t now, int max_age, sa_state_t *state);

/* 1 when S256(verifier) equals the challenge (RFC 7636 section 4.6; verifier 43..128 unreserved). */
int sa_pkce_matches(const char *verifier, const char *challenge);
/* S256 challenge of a verifier, in p. */
char *sa_pkce_challenge(apr_pool_t *p, const char *verifier);
/* 1 when text has the form of a verifier: 43 to 128 unreserved characters. */
int sa_pkce_verifier_valid(const char *text);
/* 1 when text has the form of an S256 challenge: 32 bytes in base64url. */
int sa_pkce_challenge_valid(const char *text);

#endif
