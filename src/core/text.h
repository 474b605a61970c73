/* Text rules that must be the same everywhere: UTF-8, e-mail addresses, names. */
#ifndef SA_CORE_TEXT_H
#define SA_CORE_TEXT_H

#include <apr_pools.h>

/* Strict RFC 3629 UTF-8 without NUL. */
int sa_utf8_valid(const char *text, apr_size_t len);
/* `text`, or NULL when it is NULL or no UTF-8: a site's table may hold any bytes, JSON may not. */
const char *sa_utf8_or_null(const char *text);

/* The character at *text, which is not at its end, and *text moved behind it. A byte that is
 * no UTF-8 counts as a character of its own. */
apr_uint32_t sa_utf8_next(const char **text);
/* Writes a character, 1..4 bytes and no NUL, and returns what follows it. */
char *sa_utf8_put(char *out, apr_uint32_t code);

/* The one canonical form of an e-mail address: ASCII lower case, one '@', a local
 * part of 1..64 bytes of RFC 5322 dot-atom characters (UTF-8 allowed), a domain of
 * letters, digits, '-' and '.' (non-ASCII
 * ones only as their A-label, xn--…), no trailing dot, at most 254 bytes. NULL when it
 * is not an address. Non-ASCII letters are never case-folded, so confusables stay
 * distinct (CVE-2019-19844). In p. */
char *sa_email_canonical(apr_pool_t *p, const char *email);

/* The domain part of a canonical address, inside it. */
const char *sa_email_domain(const char *canonical);

/* A user name made of an address's local part: characters outside [A-Za-z0-9._+@-]
 * become '_', at most 140 bytes, never empty, reserved words (admin, administrator, root,
 * system, support, webmaster, postmaster, …) get a "_user" suffix. In p. */
char *sa_username_from_email(apr_pool_t *p, const char *canonical);

/* 1 for a name that people would take for the site's own (admin, root, support, …), in any case. */
int sa_username_reserved(const char *name);
/* What people may choose: Django's characters, of ASCII, so that no two names look alike. */
int sa_username_valid(const char *name);

/* A person's name as a provider gave it: invalid UTF-8, control and bidi-override
 * characters removed, trimmed, cut to max bytes on a character boundary. In p, never NULL. */
char *sa_clean_name(apr_pool_t *p, const char *name, apr_size_t max);

/* Bytes of the first `max` characters of valid UTF-8; less when it has fewer. */
apr_size_t sa_utf8_prefix(const char *text, int max);

/* 1 when the space-separated list has the word of len bytes. */
int sa_words_have(const char *words, const char *word, apr_size_t len);

/* For log lines: control characters, non-ASCII and '"' '\\' as \xHH, cut to max bytes. In p. */
char *sa_log_safe(apr_pool_t *p, const char *text, apr_size_t max);

/* Seconds since the epoch as "2026-11-21T06:30:00Z" (RFC 3339). In p. */
char *sa_iso_time(apr_pool_t *p, apr_int64_t seconds);

#endif
