/* What we remember: the questions the rest may ask, in the domain's words.
 *
 * A caller opens a work (one pooled connection), asks, and closes it; nothing slow
 * (HTTP, password hashing) happens in between. A call outside sa_work_begin/_commit is a
 * unit of work of its own: all or nothing, one round trip on PostgreSQL. Times are
 * seconds since the epoch. Results live in the pool given to sa_work_open.
 *
 * Failures: SA_E_UNAVAILABLE (unreachable, too slow, schema missing, disk full; the work is then
 * dead and only sa_work_close may follow) and SA_E_CONFLICT (a unique constraint, a
 * serialization failure or a deadlock: roll back and look again, at most 3 times). */
#ifndef SA_STORE_STORE_H
#define SA_STORE_STORE_H

#include "core/error.h"
#include <apr_time.h>

/* ---- where connections come from (filled by httpd/dbd, or by ctl) ---- */
typedef struct {
    const char *driver;         /* "pgsql" or "sqlite3" */
    void *native;               /* PGconn * or sqlite3 * */
    apr_pool_t *pool;           /* lives as long as the pooled connection */
    void *handle;               /* the giver's own */
} sa_connection_t;

typedef struct {
    void *ctx;
    /* Waits until `deadline` (of sa_steady_time) at most. SA_E_UNAVAILABLE with Retry-After
     * otherwise. */
    sa_error_t *(*acquire)(void *ctx, apr_pool_t *p, apr_time_t deadline, sa_connection_t *out);
    /* broken: the connection is unusable and should not be given out again as it is. */
    void (*release)(void *ctx, sa_connection_t *connection, int broken);
    int timeout_ms;             /* SocialAuthDBTimeout: acquire + all statements of one work */
} sa_db_source_t;

/* ---- the site's user table ---- */
typedef struct {
    const char *table;          /* NULL = our own sa_users; "schema.table" allowed */
    const char *id, *email, *username, *first_name, *last_name, *password, *is_active,
               *is_staff, *is_superuser, *email_verified, *date_joined, *last_login;
                                /* column names; NULL = the Django default of the same name where
                                 * it is standard, "" = the table has none */
    const char *deleted;        /* SocialAuthUserDeletedField; NULL = none (own table: deleted_at) */
} sa_user_map_t;

typedef struct sa_store_t sa_store_t;

/* Builds all statements for one mapping and driver ("pgsql" or "sqlite3"). NULL and *why when a name
 * is not an identifier ([A-Za-z_][A-Za-z0-9_$]{0,62}, quoted in SQL) or the driver is unknown. */
sa_store_t *sa_store_make(apr_pool_t *p, const char *driver, const sa_user_map_t *map,
                          const char **why);
int sa_store_is_own(const sa_store_t *store);    /* 1 = users live in sa_users */

typedef struct sa_work_t sa_work_t;

sa_error_t *sa_work_open(sa_work_t **work, const sa_store_t *store, const sa_db_source_t *source,
                         apr_pool_t *p);
sa_error_t *sa_work_begin(sa_work_t *work);     /* SQLite: BEGIN IMMEDIATE */
sa_error_t *sa_work_commit(sa_work_t *work);
void sa_work_rollback(sa_work_t *work);
/* Rolls back what is open and gives the connection back. Safe to call twice; also run by p's
 * cleanup. */
void sa_work_close(sa_work_t *work);

/* ---- records ---- */
typedef struct {
    const char *id;             /* text form of the key */
    int id_is_integer;
    const char *email;          /* NULL when none */
    const char *username, *first_name, *last_name;      /* "" when none */
    const char *password;       /* stored hash, "" when none */
    int usable;                 /* active and not deleted */
    int email_verified, is_staff, is_superuser;
    int was_new;                /* last_login was NULL before this call */
} sa_user_t;

typedef struct {                /* a session: one family of refresh tokens */
    const char *sid;            /* UUID */
    const char *user_id;
    const char *jti;            /* of the live refresh token */
    apr_int64_t iat, exp;       /* of the live refresh token; exp 0 in the row: it was ended */
    apr_int64_t expires;        /* absolute end of the family */
    apr_int64_t auth_time;
    const char *amr;            /* "pwd", "google", … */
    const char *mount;          /* mount path that made it */
    const char *client_id;      /* NULL for the REST dialect */
    const char *scope;          /* NULL when none */
    int third_party;            /* of its client, as that is now; not stored */
} sa_session_t;

typedef struct {
    const char *id;             /* unique, "evt_" + random */
    const char *type;           /* "login_successful", … */
    const char *provider;       /* NULL when none */
    const char *address, *request_id;
    apr_int64_t time;
    const char *targets;        /* space-separated webhook URLs to deliver to; NULL = no outbox row */
} sa_event_t;

typedef struct {
    const char *provider, *issuer, *subject;
    const char *email;          /* NULL when none */
    apr_int64_t linked_at;
} sa_link_t;

/* ---- sign-in ---- */
/* The returning login, in one statement: if (issuer, subject) is linked and its user usable, sets
 * last_login, updates the link's email when `email` is not NULL and update_email, stores
 * the session and the event, and `registered` as well when the user never signed in before (user->was_new;
 * may be NULL). *user NULL when nothing is linked; user->usable 0 when the account may not sign in
 * (nothing was written then). session->user_id need not be set. */
sa_error_t *sa_store_login_linked(sa_work_t *work, const char *issuer, const char *subject,
                                  const char *email, int update_email,
                                  const sa_session_t *session, const sa_event_t *event,
                                  const sa_event_t *registered, sa_user_t **user);

typedef struct {
    int count;                  /* users with this canonical e-mail: 0, 1, or 2 for more */
    sa_user_t *user;            /* the one, when count == 1 */
    int has_issuer;             /* it has an identity of `issuer` already */
} sa_email_match_t;
/* Locks the row on PostgreSQL when inside begin/commit. issuer may be NULL. */
sa_error_t *sa_store_user_by_email(sa_work_t *work, const char *email, const char *issuer,
                                   sa_email_match_t *match);

typedef struct {
    const char *email;          /* canonical, NULL when none */
    const char *username;       /* cut where username and suffix are too long for its column */
    const char *first_name, *last_name; /* cut where they are too long for their columns */
    const char *password;
    int email_verified, is_active, is_staff, is_superuser;
    const char *username_suffix;        /* appended; NULL = none */
    apr_int64_t last_login;     /* 0 = has never signed in */
} sa_new_user_t;
/* Whether somebody has the e-mail (canonical; may be NULL) or the user name already, or both. */
typedef struct { int email, username, both; } sa_taken_t;
sa_error_t *sa_store_taken(sa_work_t *work, const char *email, const char *username,
                           sa_taken_t *taken);
/* *taken is set to "email" or "username" (and *id NULL) when the value is in use; the surrounding
 * transaction stays usable (ON CONFLICT DO NOTHING). */
sa_error_t *sa_store_create_user(sa_work_t *work, const sa_new_user_t *user, apr_int64_t now,
                                 const char **id, const char **taken);
/* SA_E_CONFLICT when (issuer, subject) or (user, issuer) exists. */
sa_error_t *sa_store_create_link(sa_work_t *work, const char *user_id, const sa_link_t *link);
/* Stores the session, sets last_login, stores the events. *user: as sa_store_login_linked; NULL when
 * the user is gone. Nothing is written unless usable. */
sa_error_t *sa_store_start_session(sa_work_t *work, const char *user_id,
                                   const sa_session_t *session, const sa_event_t *events, int n,
                                   sa_user_t **user);
/* Pre-hijacking (reclaim): password := unusable, links, sessions removed, e-mail verified. */
sa_error_t *sa_store_reclaim_user(sa_work_t *work, const char *user_id, const char *unusable,
                                  apr_int64_t now);

/* The user that an imported link without a subject was waiting for, and it waits no more; *user_id NULL
 * when there is none, or the user has an identity of this issuer by now. Of two that ask at once one
 * gets it. */
sa_error_t *sa_store_take_pending(sa_work_t *work, const char *issuer, const char *email,
                                  const char **user_id);

/* ---- passwords ---- */
/* By canonical e-mail or by exact user name. *user NULL when there is none (or more than one). */
sa_error_t *sa_store_user_by_login(sa_work_t *work, const char *email, const char *username,
                                   sa_user_t **user);
sa_error_t *sa_store_user_by_id(sa_work_t *work, const char *user_id, sa_user_t **user);
/* Replaces old_hash by new_hash if old_hash is still there (old_hash NULL: whatever is there). *done 0/1. */
sa_error_t *sa_store_set_password(sa_work_t *work, const char *user_id, const char *old_hash,
                                  const char *new_hash, int *done);

/* ---- applications: OAuth 2.0 clients ---- */
typedef struct {
    const char *client_id;
    const char *name;
    const char *secret;         /* as core/secret stores it; NULL = a public client */
    const char *grants, *scopes, *redirect_uris;        /* space-separated */
    const char *owner_id;       /* NULL when none */
    apr_int64_t created;
    int trusted;                /* the site's own: nobody is asked before it gets a code */
} sa_application_t;
/* *application NULL when there is none. */
sa_error_t *sa_store_application(sa_work_t *work, const char *client_id,
                                 sa_application_t **application);
/* *done 0 when the client_id is in use. */
sa_error_t *sa_store_create_application(sa_work_t *work, const sa_application_t *application,
                                        int *done);
sa_error_t *sa_store_list_applications(sa_work_t *work, const char *after_id, int limit,
                                       apr_array_header_t **applications /* sa_application_t */);
/* As sa_store_set_password. */
sa_error_t *sa_store_set_client_secret(sa_work_t *work, const char *client_id, const char *old_hash,
                                       const char *new_hash, int *done);
/* Its codes go and its sessions end with it. */
sa_error_t *sa_store_delete_application(sa_work_t *work, const char *client_id, apr_int64_t now,
                                        int *done);

/* ---- authorization codes (RFC 6749 section 4.1) ---- */
typedef struct {
    const char *id;             /* a digest of the code, which is not stored */
    const char *client_id, *user_id;
    const char *redirect_uri;   /* "" = the authorization request named none */
    const char *scope;
    const char *challenge;      /* RFC 7636, S256; NULL when none */
    apr_int64_t auth_time;      /* when the user signed in, and how */
    const char *amr;
    apr_int64_t expires;
} sa_code_t;
/* sid: the session of the user who allows it, NULL for a token without one. *done 0 when that is
 * over or the user not usable. */
sa_error_t *sa_store_create_code(sa_work_t *work, const sa_code_t *code, const char *sid,
                                 apr_int64_t now, int *done);

typedef enum {
    SA_CODE_GOOD,               /* used now: the session is stored */
    SA_CODE_REUSED,             /* it was used before: that session is ended now */
    SA_CODE_FOREIGN,            /* another client's; its own can still use it */
    SA_CODE_WRONG,              /* too late, or another redirect URI or verifier: now or at an earlier
                                 * try, which spent it */
    SA_CODE_USER_GONE,          /* user deleted, inactive or signed out */
    SA_CODE_UNKNOWN
} sa_code_verdict_t;
typedef struct {
    const char *id, *client_id;
    const char *redirect_uri, *challenge;       /* NULL when the request has none */
    apr_int64_t now;
    const sa_event_t *reuse_event;      /* stored when SA_CODE_REUSED */
} sa_code_use_t;
/* One statement (SQLite: one short write transaction), a second one when SA_CODE_REUSED. session: the
 * new one; its auth_time, amr and scope are set to the code's. *used_by: the sid of an earlier use, NULL when there was none. */
sa_error_t *sa_store_use_code(sa_work_t *work, const sa_code_use_t *use, sa_session_t *session,
                              sa_code_verdict_t *verdict, const char **used_by, sa_user_t **user);

/* ---- profile ---- */
typedef struct {
    const char *username, *first_name, *last_name;
} sa_profile_t;
/* All three are written. *done 0: there is no such user, or the name is somebody else's. SA_E_CONFLICT: it became
 * so just now. */
sa_error_t *sa_store_set_profile(sa_work_t *work, const char *user_id, const sa_profile_t *profile,
                                 int *done);

/* ---- refresh tokens ---- */
typedef enum {
    SA_REFRESH_ROTATED,         /* next's jti is live now (or rotation was not asked for: kept) */
    SA_REFRESH_SUCCESSOR,       /* within the reuse interval: *session holds the live successor */
    SA_REFRESH_REUSED,          /* a dead token came back: the family is revoked now */
    SA_REFRESH_REVOKED,         /* the family had been revoked */
    SA_REFRESH_UNKNOWN,         /* no such family, or it expired */
    SA_REFRESH_USER_GONE        /* user deleted or inactive; the family is revoked now */
} sa_refresh_verdict_t;

typedef struct {
    const char *sid, *jti;      /* as presented */
    apr_int64_t now;
    int reuse_interval;         /* seconds */
    int rotate;                 /* 0 = only check */
    int blacklist;              /* 0 = rotated-out tokens stay valid until they expire */
    const char *next_jti;       /* of the successor */
    apr_int64_t next_exp;       /* capped by the family's end inside */
    const sa_event_t *reuse_event;      /* stored when SA_REFRESH_REUSED */
} sa_refresh_t;
/* One statement (SQLite: one short write transaction). *session: what is live afterwards (ROTATED,
 * SUCCESSOR), *user: its owner. */
sa_error_t *sa_store_refresh(sa_work_t *work, const sa_refresh_t *refresh,
                             sa_refresh_verdict_t *verdict, sa_session_t **session,
                             sa_user_t **user);
/* token/verify: 1 in *live when sid is known, not revoked, not expired and its user usable; for a refresh
 * token jti must be the live one (jti NULL: access token). *revoked: it was blacklisted. */
sa_error_t *sa_store_session_live(sa_work_t *work, const char *sid, const char *jti,
                                  apr_int64_t now, int *live, int *revoked);
/* Ends one family. *found 0 when unknown; *was_live 0 when it was revoked already. */
sa_error_t *sa_store_revoke_session(sa_work_t *work, const char *sid, apr_int64_t now, int *found,
                                    int *was_live);
/* Ends all families of a user, except `keep_sid` (NULL = none kept). *n: how many. */
sa_error_t *sa_store_revoke_user(sa_work_t *work, const char *user_id, const char *keep_sid,
                                 apr_int64_t now, int *n);

typedef enum {
    SA_END_SESSIONS,            /* access tokens die as well */
    SA_END_REFRESH_TOKENS
} sa_end_t;
/* Ends a user's families, or their refresh tokens only, that `client_id` was given. */
sa_error_t *sa_store_end_client(sa_work_t *work, const char *user_id, const char *client_id,
                                sa_end_t what, apr_int64_t now);
/* ---- sessions that ended before their time, whoever ended them ---- */
#define SA_REVOCATION_MEMORY_MAX (86400 + 600)  /* seconds: longer they are not kept for sure */
typedef struct {
    const char *sid;
    apr_int64_t left;           /* seconds until it need not be remembered */
} sa_revocation_t;
/* All that ended within the last `memory` seconds (cursor NULL), or what has been committed since the call
 * that made `cursor`: each at least once. *next: the cursor for the next call. */
sa_error_t *sa_store_revocations(sa_work_t *work, apr_int64_t memory, const char *cursor,
                                 apr_array_header_t **ended /* sa_revocation_t */,
                                 const char **next);

/* ---- links of a signed-in user ---- */
/* sid: the access token's session, checked in the same statement (NULL = a token without one). *user
 * NULL when the user or the session is gone or revoked; else its links, in no order. */
sa_error_t *sa_store_links(sa_work_t *work, const char *user_id, const char *sid, apr_int64_t now,
                           sa_user_t **user, apr_array_header_t **links /* sa_link_t */);

typedef enum {
    SA_LINK_DONE,
    SA_LINK_TAKEN,              /* (issuer, subject) is linked, or the user has one of this issuer */
    SA_LINK_NO_USER,            /* the user or session is gone or revoked */
    SA_LINK_UNAVAILABLE         /* the user is inactive or deleted */
} sa_link_verdict_t;
sa_error_t *sa_store_link(sa_work_t *work, const char *user_id, const char *sid,
                          const sa_link_t *link, const sa_event_t *event, apr_int64_t now,
                          sa_link_verdict_t *verdict);

typedef enum {
    SA_UNLINK_DONE, SA_UNLINK_NOT_LINKED, SA_UNLINK_LAST, SA_UNLINK_NO_USER
} sa_unlink_verdict_t;
/* Removes the user's link of `issuer` unless it is the last way in: no link of another of `issuers` (those
 * that people can sign in with, a line each) and no password that can be right (password_counts 0
 * when password login is off). Serialised per user (row lock). */
sa_error_t *sa_store_unlink(sa_work_t *work, const char *user_id, const char *sid,
                            const char *issuer, const char *issuers, int password_counts,
                            const sa_event_t *event, apr_int64_t now,
                            sa_unlink_verdict_t *verdict);

/* ---- single use across servers (SocialAuthSharedState database) ---- */
sa_error_t *sa_store_spend(sa_work_t *work, const unsigned char id[32], apr_int64_t expires,
                           int *first);
/* 1 in *live while the application is there and the id of its token has not been spent. */
sa_error_t *sa_store_client_token_live(sa_work_t *work, const char *client_id,
                                       const unsigned char id[32], int *live);

/* ---- outbox ---- */
typedef struct {
    sa_event_t event;
    const char *user_id;
    int attempts;
    apr_int64_t next_attempt;   /* these two: sa_store_outbox_list only */
    int dead;                   /* given up */
} sa_outbox_row_t;
/* Leases up to max due rows until now+lease seconds (FOR UPDATE SKIP LOCKED) that have one of the `known`
 * targets (space-separated) at least: those of others wait for a server that knows them. */
sa_error_t *sa_store_outbox_claim(sa_work_t *work, apr_int64_t now, int lease, int max,
                                  const char *known,
                                  apr_array_header_t **rows /* sa_outbox_row_t */);
/* After a round: targets still undelivered (NULL or "" = all done, row removed) and when to try again;
 * dead 1 = given up (kept for `events list/retry`). */
sa_error_t *sa_store_outbox_settle(sa_work_t *work, const char *event_id, const char *targets,
                                   apr_int64_t next_attempt, int dead);
/* pg_notify('social_auth', {"id","type"}); nothing on SQLite. */
sa_error_t *sa_store_notify(sa_work_t *work, const char *event_id, const char *type);
/* One event on its own (token_reuse_detected, user_deactivated, …). */
sa_error_t *sa_store_event(sa_work_t *work, const char *user_id, const sa_event_t *event);

/* ---- mails ---- */
/* One mail: to be sent, and the record of its link's single use. */
typedef struct {
    const char *id;             /* random: the link's jti */
    const char *kind;           /* "verify", … */
    const char *user_id;        /* NULL when none */
    const char *email;          /* where it goes */
    const char *mount;          /* public URL of the mount that wrote it */
    const char *data;           /* the writer's own, NULL = none */
    apr_int64_t created, expires;       /* later it is neither sent nor does its link work */
    int attempts;               /* this one included */
} sa_mail_t;
/* is_decoy 1: used already, so that nobody sends it; it is there so that an unknown address costs what a
 * known one costs. */
sa_error_t *sa_store_queue_mail(sa_work_t *work, const sa_mail_t *mail, int is_decoy);
/* The mail of this id and kind while its link works, *mail NULL otherwise; only user_id, email
 * and data are set. */
sa_error_t *sa_store_mail(sa_work_t *work, const char *id, const char *kind, apr_int64_t now,
                          sa_mail_t **mail);
/* The same for one caller only, whose link does not work again once it commits. */
sa_error_t *sa_store_use_mail(sa_work_t *work, const char *id, const char *kind, apr_int64_t now,
                              sa_mail_t **mail);
/* Leases one due mail of the `known` mounts (a line each) for `lease` seconds; *mail NULL when there is none. */
sa_error_t *sa_store_mails_claim(sa_work_t *work, apr_int64_t now, int lease, const char *known,
                                 sa_mail_t **mail);
/* Stores user_id, email and data of a claimed mail that was queued without a user. */
sa_error_t *sa_store_address_mail(sa_work_t *work, const sa_mail_t *mail);
/* Deletes a mail that has nobody to go to. */
sa_error_t *sa_store_drop_mail(sa_work_t *work, const char *id);
/* After an attempt: when it was sent (0 = it was not), else when to try again; dead 1 = given up. */
sa_error_t *sa_store_mails_settle(sa_work_t *work, const char *id, apr_int64_t sent_at,
                                  apr_int64_t next_attempt, int dead);

/* 1 when the user table can say that an e-mail is verified. */
int sa_store_can_verify(const sa_store_t *store);
typedef enum { SA_LINKS_STAY, SA_LINKS_OF_OTHER_EMAILS_GO, SA_LINKS_GO } sa_links_fate_t;
/* Marks `email` as verified if it is still the user's, byte for byte. *done 0/1. */
sa_error_t *sa_store_verify_email(sa_work_t *work, const char *user_id, const char *email,
                                  sa_links_fate_t links, int *done);
/* The user's new, verified e-mail (canonical) unless it is somebody else's, which is *done 0. Inside
 * begin/commit. */
sa_error_t *sa_store_set_email(sa_work_t *work, const char *user_id, const char *email, int *done);

/* ---- upkeep ---- */
/* Deletes at most `limit` expired rows of each kind (sessions, spent ids, mails, revocations, codes
 * after a day, events that nobody took for 30 days); *n: how many in all. */
sa_error_t *sa_store_purge(sa_work_t *work, apr_int64_t now, int limit, int *n);

/* ---- administration ---- */
sa_error_t *sa_store_list_users(sa_work_t *work, const char *after_id, int limit,
                                apr_array_header_t **users /* sa_user_t */);
/* *done 0, here and below: there is no such user, or the table has no such column. */
sa_error_t *sa_store_set_active(sa_work_t *work, const char *user_id, int active, int *done);
typedef enum { SA_RIGHT_STAFF, SA_RIGHT_SUPERUSER } sa_right_t;
sa_error_t *sa_store_set_right(sa_work_t *work, const char *user_id, sa_right_t right, int on,
                               int *done);
/* Marks a user as deleted: as true, or where the column holds times with `now`. Ends its sessions; its
 * links stay, so that their owner is told. */
sa_error_t *sa_store_delete_user(sa_work_t *work, const char *user_id, apr_int64_t now, int *done);
/* Removes the user's row, and with it its links and sessions. SA_E_CONFLICT when rows of the site's own
 * tables refer to it. */
sa_error_t *sa_store_remove_user(sa_work_t *work, const char *user_id, int *done);
/* Removes a link, even if it is the last way in. */
sa_error_t *sa_store_delete_link(sa_work_t *work, const char *user_id, const char *issuer,
                                 const sa_event_t *event, int *done);
/* *session NULL when sid is not known; it may have ended. */
sa_error_t *sa_store_session(sa_work_t *work, const char *sid, sa_session_t **session);
/* Those of a user that live, newest first. */
sa_error_t *sa_store_sessions(sa_work_t *work, const char *user_id, apr_int64_t now,
                              apr_array_header_t **sessions /* sa_session_t */);
/* Ends at most `limit` sessions of whomever, in the order of their sids, from *after ("" at first) on, which
 * is moved. *n: how many, 0 at the end. */
sa_error_t *sa_store_revoke_all(sa_work_t *work, apr_int64_t now, int limit, const char **after,
                                int *n);
/* The oldest `limit` events that are not delivered yet, or only those given up. */
sa_error_t *sa_store_outbox_list(sa_work_t *work, int only_dead, int limit,
                                 apr_array_header_t **rows /* sa_outbox_row_t */);
/* Makes an event (NULL: all that were given up) due now; those given up begin from the first attempt. *n:
 * how many. */
sa_error_t *sa_store_outbox_retry(sa_work_t *work, const char *event_id, apr_int64_t now, int *n);

typedef struct {
    apr_int64_t dead;           /* given up */
    apr_int64_t late;           /* due before `since` */
} sa_backlog_t;
typedef struct {
    apr_int64_t clock;          /* the database's, seconds */
    apr_int64_t expired;        /* rows that should have been purged before `since` */
    sa_backlog_t events, mails;
} sa_health_t;
sa_error_t *sa_store_health(sa_work_t *work, apr_int64_t since, sa_health_t *health);

/* ---- schema ---- */
#define SA_SCHEMA_VERSION 3
/* *version 0 = nothing installed; newer than SA_SCHEMA_VERSION is possible. */
sa_error_t *sa_store_schema_version(sa_work_t *work, int *version);
/* Applies the missing migrations, each in a transaction; dry_run: *sql gets the text, nothing runs, and
 * *to is where it would lead.
 * SA_E_FORBIDDEN when the schema is newer than this build. *from, *to: versions. Creates session and link
 * columns of the mapped user key's own type. Switches SQLite to WAL. */
sa_error_t *sa_store_migrate(sa_work_t *work, int dry_run, int *from, int *to, const char **sql);
/* Checks that the mapped table and columns exist. NULL in *problem when fine, else one sentence. */
sa_error_t *sa_store_check_mapping(sa_work_t *work, const char **problem);

#endif
