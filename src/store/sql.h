/* The questions as SQL. Both dialects answer the same operations with the same parameters
 * in the same order and the same result columns; how is their own affair. Private to store/.
 *
 * A template is SQL in which {...} stands for the site's user table:
 *   {users}             the table, quoted              {id}    its key column, bare
 *   {u.email} …         a column of alias u, or a constant where the table has none
 *   {user}              the columns of sa_user_t, named as in {out}
 *   {usable}            active and not deleted         {has_password}
 *   {is_new}            has never signed in            {table}     its bare name
 *   {email_is $1}       the canonical e-mail equals $1          {is username $1}
 *   {insert a=x|b=y}    ("a", "b") SELECT x, y         leaving out roles the table has not
 *   {set a=x|b=y}       "a" = x, "b" = y               (the key = itself when none is left)
 *   {key_type}          SQL type of the key (migrations only)
 */
#ifndef SA_STORE_SQL_H
#define SA_STORE_SQL_H

#include "store/db.h"

/* Parameter blocks that several operations begin with:
 *   event   1 id, 2 type, 3 provider, 4 address, 5 request id, 6 time, 7 targets (NULL: no row)
 *   session 8 sid, 9 jti, 10 iat, 11 exp, 12 expires, 13 auth_time, 14 amr, 15 mount,
 *           16 client_id, 17 scope
 *   application  client id, name, secret, grants, scopes, redirect URIs, owner, created,
 *                trusted */
typedef enum {
    SA_OP_SCHEMA_EXISTS,        /* -> 1 or 0 */
    SA_OP_SCHEMA_VERSION,       /* -> version, made for another user table */
    SA_OP_SCHEMA_LOCK,          /* one migration at a time, until the transaction ends */
    SA_OP_COLUMNS,              /* 1 table quoted, 2 table, 3 schema
                                 * -> name, type, not null, has a default */
    SA_OP_LOGIN_LINKED,         /* event, session, 18 issuer, 19 subject, 20 email, 21 update it,
                                 * 22..28 another event, of a user's first sign-in -> user */
    SA_OP_EMAIL_LOCK,           /* 1 email: nobody else makes a user of it meanwhile */
    SA_OP_USER_BY_EMAIL,        /* 1 email, 2 issuer -> user, has one of issuer (at most 2 rows) */
    SA_OP_CREATE_USER,          /* 1 id, 2 email as stored, 3 username, 4 first, 5 last,
                                 * 6 password, 7 active, 8 staff, 9 superuser, 10 verified,
                                 * 11 now, 12 deleted, 13 canonical email, 14 last login
                                 * -> id, or no row */
    SA_OP_CREATE_USER_KEYED,    /* the same, 1 is used */
    SA_OP_TAKEN,                /* 1 email, 2 username -> email is there, username is there,
                                 * one user has both */
    SA_OP_CREATE_LINK,          /* 1 user, 2 provider, 3 issuer, 4 subject, 5 email, 6 linked_at */
    SA_OP_START_SESSION,        /* event, session, 18 user, 19..25 another event -> user */
    SA_OP_RECLAIM_USER,         /* 1 user, 2 unusable password */
    SA_OP_USER_BY_LOGIN,        /* 1 email, 2 username -> user, e-mail matched (at most 3 rows) */
    SA_OP_USER_BY_ID,           /* 1 user -> user */
    SA_OP_SET_PASSWORD,         /* 1 user, 2 old, 3 new -> 1 when done */
    SA_OP_SET_PROFILE,          /* 1 user, 2 username, 3 first, 4 last -> 1 when done */
    SA_OP_REFRESH,              /* event, 8 sid, 9 jti, 10 now, 11 reuse interval, 12 rotate,
                                 * 13 blacklist, 14 next jti, 15 next exp
                                 * -> verdict, session, user */
    SA_OP_SESSION_LIVE,         /* 1 sid, 2 jti, 3 now -> live, jti is live, revoked */
    SA_OP_REVOKE_SESSION,       /* 1 sid, 2 now -> ended now, known */
    SA_OP_REVOKE_USER,          /* 1 user, 2 kept sid, 3 now -> how many */
    SA_OP_END_CLIENT_SESSIONS,  /* 1 user, 2 client id, 3 now */
    SA_OP_END_CLIENT_REFRESH,   /* 1 user, 2 client id */
    SA_OP_APPLICATION,          /* 1 client id -> application */
    SA_OP_CREATE_APPLICATION,   /* application -> 1 when done */
    SA_OP_LIST_APPLICATIONS,    /* 1 after, 2 limit -> application */
    SA_OP_SET_CLIENT_SECRET,    /* 1 client id, 2 old, 3 new -> 1 when done */
    SA_OP_DELETE_APPLICATION,   /* 1 client id, 2 now -> 1 when done */
    SA_OP_CREATE_CODE,          /* 1 id, 2 client id, 3 user, 4 redirect URI, 5 scope, 6 challenge,
                                 * 7 auth_time, 8 amr, 9 expires, 10 sid (NULL: of none), 11 now
                                 * -> 1 when done */
    SA_OP_USE_CODE,             /* event, 8 id, 9 client id, 10 redirect URI, 11 challenge, 12 now,
                                 * 13 sid, 14 jti, 15 exp, 16 expires, 17 mount
                                 * -> verdict, used by, auth_time, amr, scope, user */
    SA_OP_REVOCATIONS_ALL,      /* 1 memory in seconds -> cursor, sid, seconds left; at least one row */
    SA_OP_REVOCATIONS,          /* 1 memory, 2 cursor -> the same; cursor NULL: made in another past */
    SA_OP_LINKS,                /* 1 user, 2 sid, 3 now
                                 * -> user, provider, issuer, subject, email, linked_at */
    SA_OP_LINK,                 /* event, 8 user, 9 sid, 10 now, 11 provider, 12 issuer,
                                 * 13 subject, 14 email, 15 linked_at -> verdict */
    SA_OP_UNLINK,               /* event, 8 user, 9 sid, 10 now, 11 issuer, 12 password counts,
                                 * 13 issuers that count, a line each -> verdict */
    SA_OP_TAKE_PENDING,         /* 1 issuer, 2 email -> user; the row is gone */
    SA_OP_IMPORT_BEGIN,         /* -> largest key of sa_users */
    SA_OP_IMPORT_END,           /* keys that the table makes are larger than all there are */
    SA_OP_IMPORTED_USER,        /* 1 id, 2 username, 3 date joined -> id of who has both the third
                                 * and one of the others */
    SA_OP_LINK_HELD,            /* 1 issuer, 2 subject, 3 user -> user of the two, subject of the
                                 * third's */
    SA_OP_CREATE_PENDING,       /* 1 issuer, 2 email, 3 user, 4 provider -> 1 when done */
    SA_OP_PENDING,              /* 1 issuer, 2 email -> user */
    SA_OP_SPEND,                /* 1 id, 2 expires -> 1 when first */
    SA_OP_CLIENT_TOKEN_LIVE,    /* 1 client id, 2 id -> the client is there, the id is not */
    SA_OP_OUTBOX_CLAIM,         /* 1 now, 2 leased until, 3 max, 4 known targets -> id, type, user, provider,
                                 * address, request id, time, targets, attempts */
    SA_OP_OUTBOX_SETTLE,        /* 1 id, 2 targets, 3 next attempt, 4 dead */
    SA_OP_QUEUE_MAIL,           /* 1 id, 2 kind, 3 user, 4 email, 5 mount, 6 data, 7 created,
                                 * 8 expires, 9 used at */
    SA_OP_MAIL,                 /* 1 id, 2 kind, 3 now -> user, email, data */
    SA_OP_USE_MAIL,             /* the same, once */
    SA_OP_MAILS_CLAIM,          /* 1 now, 2 leased until, 3 known mounts, a line each
                                 * -> id, kind, user, email, mount, data, expires, attempts */
    SA_OP_ADDRESS_MAIL,         /* 1 id, 2 user, 3 email, 4 data */
    SA_OP_DROP_MAIL,            /* 1 id */
    SA_OP_MAILS_SETTLE,         /* 1 id, 2 sent at, 3 next attempt, 4 dead */
    SA_OP_VERIFY_EMAIL,         /* 1 user, 2 email, 3 which links go -> 1 when done */
    SA_OP_SET_EMAIL,            /* 1 user, 2 email, 3 canonical email -> 1 when done */
    SA_OP_NOTIFY,               /* 1 id, 2 type */
    SA_OP_EVENT,                /* event, 8 user */
    SA_OP_PURGE_SESSIONS,       /* 1 now, 2 limit -> how many */
    SA_OP_PURGE_SPENT,          /* 1 now, 2 limit -> how many */
    SA_OP_PURGE_OUTBOX,         /* 1 older than, 2 limit -> how many */
    SA_OP_PURGE_MAILS,          /* 1 now, 2 limit -> how many */
    SA_OP_PURGE_REVOCATIONS,    /* 1 seconds kept, 2 limit -> how many */
    SA_OP_PURGE_CODES,          /* 1 older than, 2 limit -> how many */
    SA_OP_LIST_USERS,           /* 1 after, 2 limit -> user */
    SA_OP_SET_ACTIVE,           /* 1 user, 2 active, 3 now, 4 active as a number -> 1 when done */
    SA_OP_SET_STAFF,            /* 1 user, 2 staff -> 1 when done */
    SA_OP_SET_SUPERUSER,        /* 1 user, 2 superuser -> 1 when done */
    SA_OP_MARK_DELETED,         /* 1 user, 2 mark, 3 now -> 1 when done */
    SA_OP_REMOVE_USER,          /* 1 user -> 1 when done */
    SA_OP_DELETE_LINK,          /* event, 8 user, 9 issuer -> 1 when done */
    SA_OP_SESSION,              /* 1 sid -> session */
    SA_OP_SESSIONS,             /* 1 user, 2 now -> session, those that live, newest first */
    SA_OP_REVOKE_ALL,           /* 1 now, 2 after this sid, 3 limit -> sid of each */
    SA_OP_OUTBOX_LIST,          /* 1 only the dead, 2 limit -> as SA_OP_OUTBOX_CLAIM, next attempt, dead */
    SA_OP_OUTBOX_RETRY,         /* 1 id (NULL: all that are dead), 2 now -> how many */
    SA_OP_HEALTH,               /* 1 long ago -> the database's clock, expired rows, dead events, late ones */
    SA_OP_COUNT
} sa_op_t;

#define SA_USER_COLUMNS 11      /* of {user} */
#define SA_SESSION_COLUMNS 11

typedef struct {
    const char *name;
    int flags;                  /* SA_STATEMENT_ */
    const char *sql;
} sa_template_t;

/* One numbered step of the schema; `own` makes the user table of a site that has none. */
typedef struct {
    int version;
    const char *own, *common;
} sa_migration_t;

typedef struct {
    const sa_backend_t *backend;
    const sa_template_t *templates;     /* SA_OP_COUNT */
    const sa_migration_t *migrations;   /* ends with version 0 */
    const char *yes, *no;       /* constants of absent columns */
    const char *truthy;         /* of any column type; %s is the column */
    const char *email_is;       /* on a mapped table; %s column, %s value */
    const char *time_zone;      /* behind a time in UTC that is written out */
} sa_dialect_t;

extern const sa_dialect_t sa_dialect_pgsql;
extern const sa_dialect_t sa_dialect_sqlite;
extern const sa_template_t sa_templates_pgsql[SA_OP_COUNT];
extern const sa_template_t sa_templates_sqlite[SA_OP_COUNT];
extern const sa_migration_t sa_migrations_pgsql[];
extern const sa_migration_t sa_migrations_sqlite[];

/* ---- a mapping, checked and with its defaults filled in ---- */
typedef enum {
    SA_ROLE_ID, SA_ROLE_EMAIL, SA_ROLE_USERNAME, SA_ROLE_FIRST_NAME, SA_ROLE_LAST_NAME,
    SA_ROLE_PASSWORD, SA_ROLE_IS_ACTIVE, SA_ROLE_IS_STAFF, SA_ROLE_IS_SUPERUSER,
    SA_ROLE_EMAIL_VERIFIED, SA_ROLE_DATE_JOINED, SA_ROLE_LAST_LOGIN, SA_ROLE_DELETED,
    SA_ROLE_COUNT
} sa_role_t;

typedef struct {
    const sa_dialect_t *dialect;
    int own;
    const char *schema;         /* NULL when not given */
    const char *table;          /* without quotes */
    const char *users;          /* quoted, with its schema */
    const char *columns[SA_ROLE_COUNT];         /* without quotes; NULL = the table has none */
    const char *key_type;       /* for migrations, else NULL */
} sa_mapping_t;

/* NULL when fine, else a phrase that says what is not an identifier. */
const char *sa_mapping_make(sa_mapping_t *mapping, apr_pool_t *p, const sa_dialect_t *dialect,
                            const sa_user_map_t *map);
const char *sa_role_name(sa_role_t role);
/* The SQL of a template for one mapping. */
const char *sa_sql_expand(const sa_mapping_t *mapping, apr_pool_t *p, const char *template);
sa_statement_t *sa_sql_statement(const sa_mapping_t *mapping, apr_pool_t *p,
                                 const sa_template_t *template);

#endif
