/* SQLite 3.35 and later. An operation of several parts runs in one BEGIN IMMEDIATE
 * transaction: nobody writes between its parts, so a part may decide from what an earlier one
 * saw. A SELECT part that finds nothing ends the operation; the last part that returns rows
 * gives the result. */
#include "store/sql.h"

#define EVENT(user, from)                                                                       \
    "INSERT INTO sa_outbox (id, type, user_id, provider, address, request_id, at, targets, "    \
    "next_attempt) SELECT ?1, ?2, " user ", ?3, ?4, ?5, ?6, ?7, ?6 FROM " from                  \
    " AND ?7 IS NOT NULL"

#define SESSION(user, from)                                                                     \
    "INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time, amr, mount, "    \
    "client_id, scope) SELECT ?8, " user ", ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17 FROM "   \
    from

/* Timestamps as Django writes them, in UTC and without a fraction of zero. */
#define TIME(number) "strftime('%Y-%m-%d %H:%M:%S', " number ", 'unixepoch')"

#define LINKED                                                                                  \
    "sa_links l JOIN {users} AS u ON {u.id} = l.user_id WHERE l.issuer = ?18 AND l.subject = ?19"

/* The user ?8 behind an access token of session ?9 (NULL: of none) at ?10. */
#define BEARER                                                                                  \
    "({u.id} = ?8 AND (?9 IS NULL OR EXISTS (SELECT 1 FROM sa_sessions s WHERE s.sid = ?9 "     \
    "AND s.user_id = {u.id} AND s.revoked_at IS NULL AND s.expires > ?10)))"

#define CREATE                                                                                  \
    "INSERT INTO {users} {insert id=?1|email=?2|username=?3|first_name=?4|last_name=?5|"        \
    "password=?6|is_active=?7|is_staff=?8|is_superuser=?9|email_verified=?10|"                  \
    "date_joined=" TIME("?11") "|deleted=?12|last_login=" TIME("NULLIF(?14, 0)") "} "           \
    "WHERE NOT EXISTS (SELECT 1 FROM {users} AS u WHERE {email_is ?13}) "                       \
    "ON CONFLICT DO NOTHING RETURNING {id}"

#define FAMILY "sa_sessions s JOIN {users} AS u ON {u.id} = s.user_id WHERE s.sid = ?8"
#define VERDICT                                                                                 \
    "CASE WHEN s.expires <= ?10 THEN 4 WHEN s.revoked_at IS NOT NULL OR s.exp = 0 THEN 3 "      \
    "WHEN NOT {usable} THEN 5 WHEN s.jti = ?9 THEN 0 "                                          \
    "WHEN s.prev_jti = ?9 AND ?11 > 0 AND ?10 - s.rotated_at BETWEEN -?11 AND ?11 THEN 1 "      \
    "WHEN ?13 = 1 THEN 2 ELSE 0 END"
#define ROTATES "(v.verdict = 0 AND ?12 = 1)"

/* A link that works: its mail was neither used nor has it expired. */
#define MAIL "id = ?1 AND kind = ?2 AND used_at IS NULL AND expires > ?3"

#define OTHER_WAY                                                                               \
    "((?12 = 1 AND {has_password}) OR EXISTS (SELECT 1 FROM sa_links o "                        \
    "WHERE o.user_id = {u.id} AND o.issuer <> ?11 "                                             \
    "AND instr(char(10) || ?13 || char(10), char(10) || o.issuer || char(10)) > 0))"
#define HELD                                                                                    \
    "EXISTS (SELECT 1 FROM sa_links h WHERE h.user_id = {u.id} AND h.issuer = ?11)"

#define APPLICATION "client_id, name, client_secret, grants, scopes, redirect_uris, owner_id, " \
    "created, trusted"
#define SESSION_OUT                                                                             \
    "SELECT sid, user_id, jti, iat, exp, expires, auth_time, amr, mount, client_id, scope "     \
    "FROM sa_sessions "
#define CODE "sa_codes c JOIN {users} AS u ON {u.id} = c.user_id WHERE c.id = ?8"
/* Whoever used it first; then the client, and last what else it is bound to: a wrong try of its own
 * client spends it (used_by is then ''). */
#define CODE_VERDICT                                                                            \
    "CASE WHEN c.used_by <> '' THEN 1 WHEN c.client_id <> ?9 THEN 2 WHEN c.used_by = '' "       \
    "OR c.expires <= ?12 OR c.redirect_uri NOT IN ('', COALESCE(?10, '')) "                     \
    "OR c.challenge IS NOT ?11 THEN 3 WHEN NOT {usable} OR (c.sid IS NOT NULL "                 \
    "AND NOT EXISTS (SELECT 1 FROM sa_sessions s WHERE s.sid = c.sid AND s.revoked_at IS NULL " \
    "AND s.expires > ?12)) THEN 4 ELSE 0 END"
#define NOW "CAST(strftime('%s', 'now') AS INTEGER)"
/* How many there have ever been: writers come one after the other, so ids are in order of commit. */
#define REVOCATIONS_MADE                                                                        \
    "COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'sa_revocations'), 0)"

const sa_template_t sa_templates_sqlite[SA_OP_COUNT] = {
    [SA_OP_SCHEMA_EXISTS] = { "schema version", SA_STATEMENT_READS,
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'sa_schema'" },
    [SA_OP_SCHEMA_VERSION] = { "schema version", SA_STATEMENT_READS,
        "SELECT max(version), EXISTS (SELECT 1 FROM pragma_foreign_key_list('sa_links') "
        "WHERE lower(\"table\") <> lower('{table}')) FROM sa_schema" },
    [SA_OP_SCHEMA_LOCK] = { "schema lock", 0, "" },
    [SA_OP_COLUMNS] = { "user table columns", SA_STATEMENT_READS,
        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL OR (pk = 1 "
        "AND upper(type) = 'INTEGER') FROM pragma_table_info(?2, COALESCE(?3, 'main'))" },

    [SA_OP_LOGIN_LINKED] = { "linked login", 0,
        "SELECT {user} FROM " LINKED "; "
        "INSERT INTO sa_outbox (id, type, user_id, provider, address, request_id, at, targets, "
        "next_attempt) SELECT ?22, ?23, {u.id}, ?24, ?25, ?26, ?27, ?28, ?27 FROM " LINKED
        " AND {usable} AND {is_new} AND ?28 IS NOT NULL; "
        "UPDATE {users} AS u SET {set last_login=" TIME("?10") "} WHERE {u.id} = "
        "(SELECT user_id FROM sa_links WHERE issuer = ?18 AND subject = ?19) AND {usable}; "
        "UPDATE sa_links SET email = ?20 WHERE issuer = ?18 AND subject = ?19 AND ?21 = 1 "
        "AND ?20 IS NOT NULL AND email IS NOT ?20 AND EXISTS (SELECT 1 FROM {users} AS u "
        "WHERE {u.id} = sa_links.user_id AND {usable}); "
        SESSION("{u.id}", LINKED) " AND {usable}; "
        EVENT("{u.id}", LINKED) " AND {usable}" },
    [SA_OP_EMAIL_LOCK] = { "e-mail lock", 0, "" },
    [SA_OP_USER_BY_EMAIL] = { "user by e-mail", SA_STATEMENT_READS,
        "SELECT {user}, EXISTS (SELECT 1 FROM sa_links l WHERE l.user_id = {u.id} "
        "AND l.issuer = ?2) FROM {users} AS u WHERE {email_is ?1} ORDER BY {u.id} LIMIT 2" },
    [SA_OP_CREATE_USER] = { "new user", 0, CREATE },
    [SA_OP_CREATE_USER_KEYED] = { "new user", 0, CREATE },
    [SA_OP_TAKEN] = { "taken", SA_STATEMENT_READS,
        "SELECT EXISTS (SELECT 1 FROM {users} AS u WHERE {email_is ?1}), "
        "EXISTS (SELECT 1 FROM {users} AS u WHERE {is username ?2}), "
        "EXISTS (SELECT 1 FROM {users} AS u WHERE {is username ?2} AND {email_is ?1})" },
    [SA_OP_CREATE_LINK] = { "new link", 0,
        "INSERT INTO sa_links (user_id, provider, issuer, subject, email, linked_at) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6)" },
    [SA_OP_START_SESSION] = { "new session", SA_STATEMENT_KEYED,
        "SELECT {user} FROM {users} AS u WHERE {u.id} = ?18; "
        "UPDATE {users} AS u SET {set last_login=" TIME("?10") "} WHERE {u.id} = ?18 "
        "AND {usable}; "
        SESSION("{u.id}", "{users} AS u") " WHERE {u.id} = ?18 AND {usable}; "
        EVENT("{u.id}", "{users} AS u WHERE {u.id} = ?18 AND {usable}") "; "
        "INSERT INTO sa_outbox (id, type, user_id, provider, address, request_id, at, targets, "
        "next_attempt) SELECT ?19, ?20, {u.id}, ?21, ?22, ?23, ?24, ?25, ?24 FROM {users} AS u "
        "WHERE {u.id} = ?18 AND {usable} AND ?25 IS NOT NULL" },
    [SA_OP_RECLAIM_USER] = { "reclaimed user", SA_STATEMENT_KEYED,
        "SELECT 1 FROM {users} AS u WHERE {u.id} = ?1; "
        "UPDATE {users} AS u SET {set password=?2|email_verified=1} WHERE {u.id} = ?1; "
        "DELETE FROM sa_links WHERE user_id = ?1; "
        "DELETE FROM sa_sessions WHERE user_id = ?1" },

    [SA_OP_USER_BY_LOGIN] = { "user by login", SA_STATEMENT_READS,
        "SELECT {user}, ({email_is ?1}) IS 1 AS by_email FROM {users} AS u "
        "WHERE {email_is ?1} OR {is username ?2} ORDER BY by_email DESC LIMIT 3" },
    [SA_OP_USER_BY_ID] = { "user by id", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        "SELECT {user} FROM {users} AS u WHERE {u.id} = ?1" },
    [SA_OP_SET_PASSWORD] = { "new password", SA_STATEMENT_KEYED,
        "UPDATE {users} AS u SET {set password=?3} WHERE {u.id} = ?1 "
        "AND (?2 IS NULL OR {u.password} = ?2) RETURNING 1" },

    [SA_OP_SET_PROFILE] = { "profile", SA_STATEMENT_KEYED,
        "UPDATE {users} AS u SET {set username=?2|first_name=?3|last_name=?4} WHERE {u.id} = ?1 "
        "AND NOT EXISTS (SELECT 1 FROM {users} AS u WHERE {is username ?2} AND {u.id} <> ?1) "
        "RETURNING 1" },

    [SA_OP_REFRESH] = { "refresh", 0,
        "SELECT verdict, sid, user_id, CASE WHEN " ROTATES " THEN ?14 ELSE jti END, "
        "CASE WHEN " ROTATES " THEN ?10 ELSE iat END, "
        "CASE WHEN " ROTATES " THEN min(?15, expires) ELSE exp END, "
        "expires, auth_time, amr, mount, client_id, scope, {out} "
        "FROM (SELECT s.*, {user}, " VERDICT " AS verdict FROM " FAMILY ") AS v; "
        EVENT("s.user_id", FAMILY " AND (" VERDICT ") = 2") "; "
        "UPDATE sa_sessions AS t SET jti = CASE WHEN " ROTATES " THEN ?14 ELSE t.jti END, "
        "iat = CASE WHEN " ROTATES " THEN ?10 ELSE t.iat END, "
        "exp = CASE WHEN " ROTATES " THEN min(?15, t.expires) ELSE t.exp END, "
        "prev_jti = CASE WHEN " ROTATES " THEN t.jti ELSE t.prev_jti END, "
        "rotated_at = CASE WHEN " ROTATES " THEN ?10 ELSE t.rotated_at END, "
        "revoked_at = CASE WHEN " ROTATES " THEN NULL ELSE ?10 END "
        "FROM (SELECT " VERDICT " AS verdict FROM " FAMILY ") AS v "
        "WHERE t.sid = ?8 AND (" ROTATES " OR v.verdict IN (2, 5))" },
    [SA_OP_SESSION_LIVE] = { "live session", SA_STATEMENT_READS,
        "SELECT s.revoked_at IS NULL AND s.expires > ?3 AND {usable}, "
        "?2 IS NULL OR (s.jti = ?2 AND s.exp <> 0), s.revoked_at IS NOT NULL "
        "FROM sa_sessions s JOIN {users} AS u ON {u.id} = s.user_id WHERE s.sid = ?1" },
    [SA_OP_REVOKE_SESSION] = { "end of a session", 0,
        "UPDATE sa_sessions SET revoked_at = ?2 WHERE sid = ?1 AND revoked_at IS NULL; "
        "SELECT changes(), (SELECT count(*) FROM sa_sessions WHERE sid = ?1)" },
    [SA_OP_REVOKE_USER] = { "end of sessions", SA_STATEMENT_KEYED,
        "UPDATE sa_sessions SET revoked_at = ?3 WHERE user_id = ?1 AND revoked_at IS NULL "
        "AND (?2 IS NULL OR sid <> ?2); "
        "SELECT changes()" },

    [SA_OP_END_CLIENT_SESSIONS] = { "end of a client's sessions", SA_STATEMENT_KEYED,
        "UPDATE sa_sessions SET revoked_at = ?3 WHERE user_id = ?1 AND client_id = ?2 "
        "AND revoked_at IS NULL" },
    [SA_OP_END_CLIENT_REFRESH] = { "end of a client's refresh tokens", SA_STATEMENT_KEYED,
        "UPDATE sa_sessions SET exp = 0 WHERE user_id = ?1 AND client_id = ?2 "
        "AND revoked_at IS NULL" },

    [SA_OP_APPLICATION] = { "application", SA_STATEMENT_READS,
        "SELECT " APPLICATION " FROM sa_applications WHERE client_id = ?1" },
    [SA_OP_CREATE_APPLICATION] = { "new application", SA_STATEMENT_KEYED,
        "INSERT INTO sa_applications (" APPLICATION ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) "
        "ON CONFLICT DO NOTHING RETURNING 1" },
    [SA_OP_LIST_APPLICATIONS] = { "list of applications", SA_STATEMENT_READS,
        "SELECT " APPLICATION " FROM sa_applications WHERE client_id > ?1 OR ?1 IS NULL "
        "ORDER BY client_id LIMIT ?2" },
    [SA_OP_SET_CLIENT_SECRET] = { "new client secret", 0,
        "UPDATE sa_applications SET client_secret = ?3 WHERE client_id = ?1 "
        "AND client_secret = COALESCE(?2, client_secret) RETURNING 1" },
    [SA_OP_DELETE_APPLICATION] = { "end of an application", 0,
        "SELECT 1 FROM sa_applications WHERE client_id = ?1; "
        "DELETE FROM sa_applications WHERE client_id = ?1; "
        "UPDATE sa_sessions SET revoked_at = ?2 WHERE client_id = ?1 AND revoked_at IS NULL" },

    [SA_OP_CREATE_CODE] = { "new code", SA_STATEMENT_KEYED,
        "INSERT INTO sa_codes (id, client_id, user_id, redirect_uri, scope, challenge, "
        "auth_time, amr, expires, sid) SELECT ?1, ?2, {u.id}, ?4, ?5, ?6, ?7, ?8, ?9, ?10 "
        "FROM {users} AS u WHERE {u.id} = ?3 "
        "AND {usable} AND (?10 IS NULL OR EXISTS (SELECT 1 FROM sa_sessions s WHERE s.sid = ?10 "
        "AND s.user_id = {u.id} AND s.revoked_at IS NULL AND s.expires > ?11)) RETURNING 1" },
    [SA_OP_USE_CODE] = { "use of a code", 0,
        "SELECT " CODE_VERDICT ", c.used_by, c.auth_time, c.amr, c.scope, {user} FROM " CODE "; "
        EVENT("c.user_id", CODE " AND (" CODE_VERDICT ") = 1") "; "
        "INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time, amr, mount, "
        "client_id, scope) SELECT ?13, c.user_id, ?14, ?12, ?15, ?16, c.auth_time, c.amr, ?17, "
        "c.client_id, c.scope FROM " CODE " AND (" CODE_VERDICT ") = 0; "
        "UPDATE sa_codes SET used_by = CASE changes() WHEN 1 THEN ?13 ELSE '' END WHERE id = ?8 "
        "AND used_by IS NULL AND client_id = ?9" },

    [SA_OP_REVOCATIONS_ALL] = { "ended sessions", SA_STATEMENT_READS,
        "SELECT " REVOCATIONS_MADE ", r.sid, ?1 - (" NOW " - r.at) FROM (SELECT 1) "
        "LEFT JOIN sa_revocations r ON r.at > " NOW " - ?1" },
    [SA_OP_REVOCATIONS] = { "ended sessions", SA_STATEMENT_READS,
        "SELECT CASE WHEN " REVOCATIONS_MADE " >= CAST(?2 AS INTEGER) THEN " REVOCATIONS_MADE " END, "
        "r.sid, ?1 - (" NOW " - r.at) FROM (SELECT 1) "
        "LEFT JOIN sa_revocations r ON r.id > CAST(?2 AS INTEGER)" },

    [SA_OP_LINKS] = { "links", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        "SELECT {user}, l.provider, l.issuer, l.subject, l.email, l.linked_at "
        "FROM {users} AS u LEFT JOIN sa_sessions s ON s.sid = ?2 AND s.user_id = {u.id} "
        "AND s.revoked_at IS NULL AND s.expires > ?3 "
        "LEFT JOIN sa_links l ON l.user_id = {u.id} "
        "WHERE {u.id} = ?1 AND (?2 IS NULL OR s.sid IS NOT NULL)" },
    [SA_OP_LINK] = { "link", SA_STATEMENT_KEYED,
        "SELECT CASE WHEN NOT {usable} THEN 3 WHEN EXISTS (SELECT 1 FROM sa_links l "
        "WHERE (l.issuer = ?12 AND l.subject = ?13) OR (l.user_id = {u.id} "
        "AND l.issuer = ?12)) THEN 1 ELSE 0 END FROM {users} AS u WHERE " BEARER "; "
        "INSERT INTO sa_links (user_id, provider, issuer, subject, email, linked_at) "
        "SELECT {u.id}, ?11, ?12, ?13, ?14, ?15 FROM {users} AS u WHERE " BEARER
        " AND {usable} ON CONFLICT DO NOTHING; "
        EVENT("{u.id}", "{users} AS u WHERE changes() = 1 AND {u.id} = ?8") },
    [SA_OP_UNLINK] = { "unlink", SA_STATEMENT_KEYED,
        "SELECT CASE WHEN NOT " HELD " THEN 1 WHEN " OTHER_WAY " THEN 0 ELSE 2 END "
        "FROM {users} AS u WHERE " BEARER " AND {usable}; "
        "DELETE FROM sa_links WHERE issuer = ?11 AND user_id IN (SELECT {u.id} FROM {users} AS u "
        "WHERE " BEARER " AND {usable} AND " OTHER_WAY "); "
        EVENT("{u.id}", "{users} AS u WHERE changes() = 1 AND {u.id} = ?8") },

    [SA_OP_TAKE_PENDING] = { "pending link", 0,
        "DELETE FROM sa_pending_links AS p WHERE p.issuer = ?1 AND p.email = ?2 "
        "AND NOT EXISTS (SELECT 1 FROM sa_links l WHERE l.user_id = p.user_id "
        "AND l.issuer = p.issuer) RETURNING user_id" },
    [SA_OP_IMPORT_BEGIN] = { "import", SA_STATEMENT_READS,
        "SELECT COALESCE(max(id), 0) FROM sa_users" },
    [SA_OP_IMPORT_END] = { "import", 0, "" },
    [SA_OP_IMPORTED_USER] = { "imported user", SA_STATEMENT_READS,
        "SELECT id FROM sa_users WHERE (id = ?1 OR username = ?2) "
        "AND CAST(strftime('%s', date_joined) AS INTEGER) = ?3 "
        "ORDER BY (id = ?1) IS TRUE DESC LIMIT 1" },
    [SA_OP_LINK_HELD] = { "link", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        "SELECT (SELECT user_id FROM sa_links WHERE issuer = ?1 AND subject = ?2), "
        "(SELECT subject FROM sa_links WHERE user_id = ?3 AND issuer = ?1)" },
    [SA_OP_CREATE_PENDING] = { "pending link", SA_STATEMENT_KEYED,
        "INSERT INTO sa_pending_links (issuer, email, user_id, provider) "
        "VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING RETURNING 1" },
    [SA_OP_PENDING] = { "pending link", SA_STATEMENT_READS,
        "SELECT user_id FROM sa_pending_links WHERE issuer = ?1 AND email = ?2" },

    [SA_OP_SPEND] = { "spent id", 0,
        "INSERT INTO sa_spent (id, expires) VALUES (?1, ?2) ON CONFLICT DO NOTHING RETURNING 1" },
    [SA_OP_CLIENT_TOKEN_LIVE] = { "token of a client", SA_STATEMENT_READS,
        "SELECT EXISTS (SELECT 1 FROM sa_applications WHERE client_id = ?1) "
        "AND NOT EXISTS (SELECT 1 FROM sa_spent WHERE id = ?2)" },

    [SA_OP_OUTBOX_CLAIM] = { "outbox claim", 0,
        "UPDATE sa_outbox SET leased_until = ?2, attempts = attempts + 1 WHERE id IN "
        "(WITH RECURSIVE known (url, rest) AS (SELECT '', ?4 || ' ' UNION ALL "
        "SELECT substr(rest, 1, instr(rest, ' ') - 1), substr(rest, instr(rest, ' ') + 1) "
        "FROM known WHERE rest <> '') "
        "SELECT id FROM sa_outbox o WHERE dead = 0 AND next_attempt <= ?1 "
        "AND (leased_until IS NULL OR leased_until <= ?1) AND EXISTS (SELECT 1 FROM known "
        "WHERE url <> '' AND instr(' ' || o.targets || ' ', ' ' || url || ' ') > 0) "
        "ORDER BY next_attempt, id LIMIT ?3) "
        "RETURNING id, type, user_id, provider, address, request_id, at, targets, attempts" },
    [SA_OP_OUTBOX_SETTLE] = { "outbox settle", 0,
        "DELETE FROM sa_outbox WHERE id = ?1 AND ?2 IS NULL; "
        "UPDATE sa_outbox SET targets = ?2, next_attempt = ?3, leased_until = NULL, dead = ?4 "
        "WHERE id = ?1 AND ?2 IS NOT NULL" },
    [SA_OP_QUEUE_MAIL] = { "new mail", SA_STATEMENT_KEYED,
        "INSERT INTO sa_mails (id, kind, user_id, email, mount, data, created, expires, used_at, "
        "next_attempt) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?7)" },
    [SA_OP_MAIL] = { "mail", SA_STATEMENT_READS,
        "SELECT user_id, email, data FROM sa_mails WHERE " MAIL },
    [SA_OP_USE_MAIL] = { "use of a mail", 0,
        "UPDATE sa_mails SET used_at = ?3 WHERE " MAIL " RETURNING user_id, email, data" },
    [SA_OP_MAILS_CLAIM] = { "mails claim", 0,
        "UPDATE sa_mails SET leased_until = ?2, attempts = attempts + 1 WHERE id IN "
        "(SELECT id FROM sa_mails WHERE sent_at IS NULL AND dead = 0 AND next_attempt <= ?1 "
        "AND used_at IS NULL AND expires > ?1 AND (leased_until IS NULL OR leased_until <= ?1) "
        "AND instr(char(10) || ?3 || char(10), char(10) || mount || char(10)) > 0 "
        "ORDER BY next_attempt, id LIMIT 1) "
        "RETURNING id, kind, user_id, email, mount, data, expires, attempts" },
    [SA_OP_ADDRESS_MAIL] = { "address of a mail", SA_STATEMENT_KEYED,
        "UPDATE sa_mails SET user_id = ?2, email = ?3, data = ?4 WHERE id = ?1" },
    [SA_OP_DROP_MAIL] = { "mail to nobody", 0,
        "DELETE FROM sa_mails WHERE id = ?1" },
    [SA_OP_MAILS_SETTLE] = { "mails settle", 0,
        "UPDATE sa_mails SET sent_at = ?2, next_attempt = ?3, leased_until = NULL, dead = ?4 "
        "WHERE id = ?1" },
    [SA_OP_VERIFY_EMAIL] = { "verified e-mail", SA_STATEMENT_KEYED,
        "SELECT 1 FROM {users} AS u WHERE {u.id} = ?1 AND {u.email} = ?2; "
        "UPDATE {users} AS u SET {set email_verified=1} WHERE {u.id} = ?1 AND {u.email} = ?2; "
        "DELETE FROM sa_links WHERE user_id = ?1 AND changes() = 1 AND (?3 = 2 OR (?3 = 1 "
        "AND lower(COALESCE(email, '')) <> lower(?2)))" },
    [SA_OP_SET_EMAIL] = { "new e-mail", SA_STATEMENT_KEYED,
        "UPDATE {users} AS t SET {set email=?2|email_verified=1} WHERE t.{id} = ?1 AND NOT EXISTS "
        "(SELECT 1 FROM {users} AS u WHERE {email_is ?3} AND {u.id} <> t.{id}) RETURNING 1" },
    [SA_OP_NOTIFY] = { "notify", 0, "" },
    [SA_OP_EVENT] = { "event", SA_STATEMENT_KEYED,
        "INSERT INTO sa_outbox (id, type, provider, address, request_id, at, targets, user_id, "
        "next_attempt) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?6)" },

    [SA_OP_PURGE_SESSIONS] = { "purge of sessions", 0,
        "DELETE FROM sa_sessions WHERE sid IN (SELECT sid FROM sa_sessions WHERE expires <= ?1 "
        "ORDER BY expires LIMIT ?2); "
        "SELECT changes()" },
    [SA_OP_PURGE_SPENT] = { "purge of spent ids", 0,
        "DELETE FROM sa_spent WHERE id IN (SELECT id FROM sa_spent WHERE expires <= ?1 "
        "ORDER BY expires LIMIT ?2); "
        "SELECT changes()" },

    [SA_OP_PURGE_OUTBOX] = { "purge of the outbox", 0,
        "DELETE FROM sa_outbox WHERE id IN (SELECT id FROM sa_outbox WHERE at <= ?1 "
        "ORDER BY at LIMIT ?2); "
        "SELECT changes()" },

    [SA_OP_PURGE_MAILS] = { "purge of mails", 0,
        "DELETE FROM sa_mails WHERE id IN (SELECT id FROM sa_mails WHERE expires <= ?1 "
        "ORDER BY expires LIMIT ?2); "
        "SELECT changes()" },

    [SA_OP_PURGE_REVOCATIONS] = { "purge of revocations", 0,
        "DELETE FROM sa_revocations WHERE id IN (SELECT id FROM sa_revocations WHERE at <= " NOW
        " - ?1 ORDER BY at LIMIT ?2); "
        "SELECT changes()" },

    [SA_OP_PURGE_CODES] = { "purge of codes", 0,
        "DELETE FROM sa_codes WHERE id IN (SELECT id FROM sa_codes WHERE expires <= ?1 "
        "ORDER BY expires LIMIT ?2); "
        "SELECT changes()" },

    [SA_OP_LIST_USERS] = { "list of users", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        "SELECT {user} FROM {users} AS u WHERE {u.id} > ?1 OR ?1 IS NULL "
        "ORDER BY {u.id} LIMIT ?2" },
    [SA_OP_SET_ACTIVE] = { "activation", SA_STATEMENT_KEYED,
        "SELECT 1 FROM {users} AS u WHERE {u.id} = ?1; "
        "UPDATE {users} AS u SET {set is_active=?2} WHERE {u.id} = ?1; "
        "UPDATE sa_sessions SET revoked_at = ?3 WHERE user_id = ?1 AND revoked_at IS NULL "
        "AND ?4 = 0" },
    [SA_OP_SET_STAFF] = { "staff", SA_STATEMENT_KEYED,
        "UPDATE {users} AS u SET {set is_staff=?2} WHERE {u.id} = ?1 RETURNING 1" },
    [SA_OP_SET_SUPERUSER] = { "superuser", SA_STATEMENT_KEYED,
        "UPDATE {users} AS u SET {set is_superuser=?2} WHERE {u.id} = ?1 RETURNING 1" },
    [SA_OP_MARK_DELETED] = { "deletion", SA_STATEMENT_KEYED,
        "SELECT 1 FROM {users} AS u WHERE {u.id} = ?1; "
        "UPDATE {users} AS u SET {set deleted=?2} WHERE {u.id} = ?1; "
        "UPDATE sa_sessions SET revoked_at = ?3 WHERE user_id = ?1 AND revoked_at IS NULL" },
    [SA_OP_REMOVE_USER] = { "removal of a user", SA_STATEMENT_KEYED,
        "DELETE FROM {users} AS u WHERE {u.id} = ?1 RETURNING 1" },
    [SA_OP_DELETE_LINK] = { "end of a link", SA_STATEMENT_KEYED,
        "SELECT 1 FROM sa_links WHERE user_id = ?8 AND issuer = ?9; "
        EVENT("user_id", "sa_links WHERE user_id = ?8 AND issuer = ?9") "; "
        "DELETE FROM sa_links WHERE user_id = ?8 AND issuer = ?9" },
    [SA_OP_SESSION] = { "session", SA_STATEMENT_READS, SESSION_OUT "WHERE sid = ?1" },
    [SA_OP_SESSIONS] = { "sessions", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        SESSION_OUT "WHERE user_id = ?1 AND revoked_at IS NULL AND expires > ?2 "
        "ORDER BY auth_time DESC, sid" },
    [SA_OP_REVOKE_ALL] = { "end of all sessions", 0,
        "UPDATE sa_sessions SET revoked_at = ?1 WHERE sid IN (SELECT sid FROM sa_sessions "
        "WHERE sid > ?2 AND revoked_at IS NULL ORDER BY sid LIMIT ?3) RETURNING sid" },
    [SA_OP_OUTBOX_LIST] = { "outbox", SA_STATEMENT_READS,
        "SELECT id, type, user_id, provider, address, request_id, at, targets, attempts, "
        "next_attempt, dead FROM sa_outbox WHERE dead = 1 OR ?1 = 0 ORDER BY at, id LIMIT ?2" },
    [SA_OP_OUTBOX_RETRY] = { "outbox retry", 0,
        "UPDATE sa_outbox SET dead = 0, next_attempt = ?2, "
        "attempts = CASE dead WHEN 1 THEN 0 ELSE attempts END "
        "WHERE CASE WHEN ?1 IS NULL THEN dead = 1 ELSE id = ?1 END; "
        "SELECT changes()" },
    [SA_OP_HEALTH] = { "health", SA_STATEMENT_READS,
        "SELECT CAST(strftime('%s', 'now') AS INTEGER), "
        "(SELECT count(*) FROM sa_sessions WHERE expires <= ?1) "
        "+ (SELECT count(*) FROM sa_spent WHERE expires <= ?1) "
        "+ (SELECT count(*) FROM sa_codes WHERE expires <= ?2) "
        "+ (SELECT count(*) FROM sa_mails WHERE expires <= ?1), "
        "(SELECT count(*) FROM sa_outbox WHERE dead = 1), "
        "(SELECT count(*) FROM sa_outbox WHERE dead = 0 AND next_attempt <= ?1), "
        "(SELECT count(*) FROM sa_mails WHERE dead = 1), "
        "(SELECT count(*) FROM sa_mails WHERE dead = 0 AND sent_at IS NULL "
        "AND next_attempt <= ?1)" },
};

const sa_dialect_t sa_dialect_sqlite = {
    .backend = &sa_backend_sqlite,
    .templates = sa_templates_sqlite,
    .migrations = sa_migrations_sqlite,
    .yes = "1",
    .no = "0",
    .truthy = "(COALESCE(CAST(%s AS TEXT), '') NOT IN ('', 'false', '0'))",
    .email_is = "lower(%s) = %s",
    .time_zone = "",
};
