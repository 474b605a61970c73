/* PostgreSQL 13 and later. Every operation is one statement, so that it is one round trip and
 * all or nothing by itself. Rows are locked in one order everywhere: user, links, session.
 *
 * A CTE with FOR UPDATE sees the newest version of the rows it locks, while the rest of
 * its statement sees the snapshot taken at the start: every decision below is made from locked
 * rows only. */
#include "store/sql.h"

#define EVENT(user, from)                                                                     \
    "INSERT INTO sa_outbox (id, type, user_id, provider, address, request_id, at, targets, "  \
    "next_attempt) SELECT $1, $2, " user ", $3, $4, $5, $6, $7, $6 FROM " from                \
    " WHERE $7 IS NOT NULL"

#define SESSION(user, from)                                                                   \
    "INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time, amr, mount, "  \
    "client_id, scope) SELECT $8, " user ", $9, $10, $11, $12, $13, $14, $15, $16, $17 FROM " \
    from

/* An event of the user l.uid with its own parameters. */
#define EVENT2(id, type, provider, address, request, time, targets)                           \
    "INSERT INTO sa_outbox (id, type, user_id, provider, address, request_id, at, targets, "  \
    "next_attempt) SELECT " id ", " type ", l.uid, " provider ", " address ", " request ", "  \
    time ", " targets ", " time " FROM l WHERE " targets " IS NOT NULL AND l.usable"

/* The user $8 behind an access token of session $9 (NULL: of none) at $10. */
#define BEARER                                                                                \
    "({u.id} = $8 AND ($9 IS NULL OR EXISTS (SELECT 1 FROM sa_sessions s WHERE s.sid = $9 "    \
    "AND s.user_id = {u.id} AND s.revoked_at IS NULL AND s.expires > $10)))"

/* A link that works: its mail was neither used nor has it expired. */
#define MAIL "id = $1 AND kind = $2 AND used_at IS NULL AND expires > $3"

#define CREATE(id)                                                                            \
    "INSERT INTO {users} {insert " id "email=$2|username=$3|first_name=$4|last_name=$5|"      \
    "password=$6|is_active=$7|is_staff=$8|is_superuser=$9|email_verified=$10|"                \
    "date_joined=to_timestamp($11)|deleted=$12|last_login=to_timestamp(NULLIF($14, 0))} "                                             \
    "WHERE NOT EXISTS (SELECT 1 FROM {users} u WHERE {email_is $13}) "                        \
    "ON CONFLICT DO NOTHING RETURNING {id}"

#define APPLICATION "client_id, name, client_secret, grants, scopes, redirect_uris, owner_id, " \
    "created, trusted"
#define SESSION_OUT                                                                           \
    "SELECT sid, user_id, jti, iat, exp, expires, auth_time, amr, mount, client_id, scope "   \
    "FROM sa_sessions "
/* Whoever used it first; then the client, and last what else it is bound to: a wrong try of its own
 * client spends it. */
#define CODE_VERDICT                                                                          \
    "CASE WHEN c.used_by <> '' THEN 1 WHEN c.client_id <> $9 THEN 2 WHEN c.used_by = '' "     \
    "OR c.expires <= $12 OR c.redirect_uri NOT IN ('', COALESCE($10, '')) "                   \
    "OR c.challenge IS DISTINCT FROM $11 THEN 3 "                                             \
    "WHEN NOT usable OR (c.sid IS NOT NULL AND NOT EXISTS (SELECT 1 FROM s)) THEN 4 ELSE 0 END"
#define REVOCATION_LEFT "$1 - (extract(epoch FROM now())::bigint - r.at)"

const sa_template_t sa_templates_pgsql[SA_OP_COUNT] = {
    [SA_OP_SCHEMA_EXISTS] = { "schema version", SA_STATEMENT_READS,
        /* Locking pg_class makes the backend hear of tables made while it waited for a lock. */
        "SELECT EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass('sa_schema'))" },
    [SA_OP_SCHEMA_VERSION] = { "schema version", SA_STATEMENT_READS,
        "SELECT max(version), EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'f' "
        "AND conrelid = to_regclass('sa_links') AND confrelid IS DISTINCT FROM to_regclass('{users}')) "
        "FROM sa_schema" },
    [SA_OP_SCHEMA_LOCK] = { "schema lock", 0,
        "SELECT pg_advisory_xact_lock(hashtextextended('mod_social_auth schema', 0))" },
    [SA_OP_COLUMNS] = { "user table columns", SA_STATEMENT_READS,
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
        "a.atthasdef OR a.attidentity <> '' FROM pg_attribute a "
        "WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped" },

    [SA_OP_LOGIN_LINKED] = { "linked login", 0,
        "WITH l AS (SELECT {user} FROM sa_links l JOIN {users} u ON {u.id} = l.user_id "
        "WHERE l.issuer = $18 AND l.subject = $19 FOR NO KEY UPDATE OF u FOR KEY SHARE OF l), "
        "seen AS (UPDATE {users} u SET {set last_login=to_timestamp($10)} FROM l "
        "WHERE {u.id} = l.uid AND l.usable), "
        "mail AS (UPDATE sa_links k SET email = $20 FROM l WHERE k.issuer = $18 "
        "AND k.subject = $19 AND l.usable AND $21 = 1 AND k.email IS DISTINCT FROM $20 "
        "AND $20 IS NOT NULL), "
        "session AS (" SESSION("l.uid", "l") " WHERE l.usable), "
        "event AS (" EVENT("l.uid", "l") " AND l.usable), "
        "event2 AS (" EVENT2("$22", "$23", "$24", "$25", "$26", "$27", "$28") " AND l.u_new) "
        "SELECT {out} FROM l" },
    [SA_OP_EMAIL_LOCK] = { "e-mail lock", 0,
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 7721))" },
    [SA_OP_USER_BY_EMAIL] = { "user by e-mail", 0,
        "SELECT {user}, EXISTS (SELECT 1 FROM sa_links l WHERE l.user_id = {u.id} "
        "AND l.issuer = $2) FROM {users} u WHERE {email_is $1} "
        "ORDER BY {u.id} LIMIT 2 FOR NO KEY UPDATE OF u" },
    [SA_OP_CREATE_USER] = { "new user", 0, CREATE("") },
    [SA_OP_CREATE_USER_KEYED] = { "new user", 0, CREATE("id=$1|") },
    [SA_OP_TAKEN] = { "taken", SA_STATEMENT_READS,
        "SELECT EXISTS (SELECT 1 FROM {users} u WHERE {email_is $1}), "
        "EXISTS (SELECT 1 FROM {users} u WHERE {is username $2}), "
        "EXISTS (SELECT 1 FROM {users} u WHERE {is username $2} AND {email_is $1})" },
    [SA_OP_CREATE_LINK] = { "new link", 0,
        "INSERT INTO sa_links (user_id, provider, issuer, subject, email, linked_at) "
        "VALUES ($1, $2, $3, $4, $5, $6)" },
    [SA_OP_START_SESSION] = { "new session", SA_STATEMENT_KEYED,
        "WITH l AS (SELECT {user} FROM {users} u WHERE {u.id} = $18 FOR NO KEY UPDATE OF u), "
        "seen AS (UPDATE {users} u SET {set last_login=to_timestamp($10)} FROM l "
        "WHERE {u.id} = l.uid AND l.usable), "
        "session AS (" SESSION("l.uid", "l") " WHERE l.usable), "
        "event AS (" EVENT("l.uid", "l") " AND l.usable), "
        "event2 AS (" EVENT2("$19", "$20", "$21", "$22", "$23", "$24", "$25") ") "
        "SELECT {out} FROM l" },
    [SA_OP_RECLAIM_USER] = { "reclaimed user", SA_STATEMENT_KEYED,
        "WITH l AS (SELECT {u.id} AS uid FROM {users} u WHERE {u.id} = $1 FOR NO KEY UPDATE OF u), "
        "sealed AS (UPDATE {users} u SET {set password=$2|email_verified='1'} FROM l "
        "WHERE {u.id} = l.uid), "
        "links AS (DELETE FROM sa_links k USING l WHERE k.user_id = l.uid), "
        "sessions AS (DELETE FROM sa_sessions s USING l WHERE s.user_id = l.uid) "
        "SELECT 1 FROM l" },

    [SA_OP_USER_BY_LOGIN] = { "user by login", SA_STATEMENT_READS,
        "SELECT {user}, ({email_is $1}) IS TRUE AS by_email FROM {users} u "
        "WHERE {email_is $1} OR {is username $2} ORDER BY by_email DESC LIMIT 3" },
    [SA_OP_USER_BY_ID] = { "user by id", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        "SELECT {user} FROM {users} u WHERE {u.id} = $1" },
    [SA_OP_SET_PASSWORD] = { "new password", SA_STATEMENT_KEYED,
        "UPDATE {users} u SET {set password=$3} WHERE {u.id} = $1 "
        "AND ($2 IS NULL OR {u.password} = $2) RETURNING 1" },

    [SA_OP_SET_PROFILE] = { "profile", SA_STATEMENT_KEYED,
        "UPDATE {users} u SET {set username=$2|first_name=$3|last_name=$4} WHERE {u.id} = $1 "
        "AND NOT EXISTS (SELECT 1 FROM {users} u WHERE {is username $2} AND {u.id} <> $1) "
        "RETURNING 1" },

    [SA_OP_REFRESH] = { "refresh", 0,
        "WITH s AS (SELECT s.*, {user} FROM sa_sessions s JOIN {users} u ON {u.id} = s.user_id "
        "WHERE s.sid = $8 FOR NO KEY UPDATE OF s), "
        "v AS (SELECT s.*, CASE WHEN expires <= $10 THEN 4 "
        "WHEN revoked_at IS NOT NULL OR exp = 0 THEN 3 WHEN NOT usable THEN 5 WHEN jti = $9 THEN 0 "
        "WHEN prev_jti = $9 AND $11 > 0 AND $10 - rotated_at BETWEEN -$11 AND $11 THEN 1 "
        "WHEN $13 = 1 THEN 2 ELSE 0 END AS verdict FROM s), "
        "w AS (SELECT v.*, verdict = 0 AND $12 = 1 AS rotates FROM v), "
        "done AS (UPDATE sa_sessions t SET jti = CASE WHEN rotates THEN $14 ELSE t.jti END, "
        "iat = CASE WHEN rotates THEN $10 ELSE t.iat END, "
        "exp = CASE WHEN rotates THEN LEAST($15, t.expires) ELSE t.exp END, "
        "prev_jti = CASE WHEN rotates THEN t.jti ELSE t.prev_jti END, "
        "rotated_at = CASE WHEN rotates THEN $10 ELSE t.rotated_at END, "
        "revoked_at = CASE WHEN rotates THEN NULL ELSE $10 END "
        "FROM w WHERE t.sid = w.sid AND (rotates OR verdict IN (2, 5))), "
        "event AS (" EVENT("w.user_id", "w") " AND verdict = 2) "
        "SELECT verdict, sid, user_id, CASE WHEN rotates THEN $14 ELSE jti END, "
        "CASE WHEN rotates THEN $10 ELSE iat END, "
        "CASE WHEN rotates THEN LEAST($15, expires) ELSE exp END, "
        "expires, auth_time, amr, mount, client_id, scope, {out} FROM w" },
    [SA_OP_SESSION_LIVE] = { "live session", SA_STATEMENT_READS,
        "SELECT s.revoked_at IS NULL AND s.expires > $3 AND {usable}, "
        "$2 IS NULL OR (s.jti = $2 AND s.exp <> 0), s.revoked_at IS NOT NULL "
        "FROM sa_sessions s JOIN {users} u ON {u.id} = s.user_id WHERE s.sid = $1" },
    [SA_OP_REVOKE_SESSION] = { "end of a session", 0,
        "WITH done AS (UPDATE sa_sessions SET revoked_at = $2 WHERE sid = $1 "
        "AND revoked_at IS NULL RETURNING 1) "
        "SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM sa_sessions WHERE sid = $1)" },
    [SA_OP_REVOKE_USER] = { "end of sessions", SA_STATEMENT_KEYED,
        "WITH done AS (UPDATE sa_sessions SET revoked_at = $3 WHERE user_id = $1 "
        "AND revoked_at IS NULL AND ($2 IS NULL OR sid <> $2) RETURNING 1) "
        "SELECT count(*) FROM done" },

    [SA_OP_END_CLIENT_SESSIONS] = { "end of a client's sessions", SA_STATEMENT_KEYED,
        "UPDATE sa_sessions SET revoked_at = $3 WHERE user_id = $1 AND client_id = $2 "
        "AND revoked_at IS NULL" },
    [SA_OP_END_CLIENT_REFRESH] = { "end of a client's refresh tokens", SA_STATEMENT_KEYED,
        "UPDATE sa_sessions SET exp = 0 WHERE user_id = $1 AND client_id = $2 "
        "AND revoked_at IS NULL" },

    [SA_OP_APPLICATION] = { "application", SA_STATEMENT_READS,
        "SELECT " APPLICATION " FROM sa_applications WHERE client_id = $1" },
    [SA_OP_CREATE_APPLICATION] = { "new application", SA_STATEMENT_KEYED,
        "INSERT INTO sa_applications (" APPLICATION ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
        "ON CONFLICT DO NOTHING RETURNING 1" },
    [SA_OP_LIST_APPLICATIONS] = { "list of applications", SA_STATEMENT_READS,
        "SELECT " APPLICATION " FROM sa_applications WHERE client_id > $1 OR $1 IS NULL "
        "ORDER BY client_id LIMIT $2" },
    [SA_OP_SET_CLIENT_SECRET] = { "new client secret", 0,
        "UPDATE sa_applications SET client_secret = $3 WHERE client_id = $1 "
        "AND client_secret = COALESCE($2, client_secret) RETURNING 1" },
    [SA_OP_DELETE_APPLICATION] = { "end of an application", 0,
        "WITH gone AS (DELETE FROM sa_applications WHERE client_id = $1 RETURNING client_id), "
        "ended AS (UPDATE sa_sessions s SET revoked_at = $2 FROM gone "
        "WHERE s.client_id = gone.client_id AND s.revoked_at IS NULL) "
        "SELECT 1 FROM gone" },

    [SA_OP_CREATE_CODE] = { "new code", SA_STATEMENT_KEYED,
        "INSERT INTO sa_codes (id, client_id, user_id, redirect_uri, scope, challenge, "
        "auth_time, amr, expires, sid) SELECT $1, $2, {u.id}, $4, $5, $6, $7, $8, $9, $10 "
        "FROM {users} u WHERE {u.id} = $3 "
        "AND {usable} AND ($10 IS NULL OR EXISTS (SELECT 1 FROM sa_sessions s WHERE s.sid = $10 "
        "AND s.user_id = {u.id} AND s.revoked_at IS NULL AND s.expires > $11)) RETURNING 1" },
    [SA_OP_USE_CODE] = { "use of a code", 0,
        "WITH c AS (SELECT c.*, {user} FROM sa_codes c JOIN {users} u ON {u.id} = c.user_id "
        "WHERE c.id = $8 FOR NO KEY UPDATE OF u, c), "
        "s AS (SELECT s.sid FROM sa_sessions s JOIN c ON c.sid = s.sid WHERE s.revoked_at IS NULL "
        "AND s.expires > $12 FOR SHARE OF s), "
        "v AS (SELECT c.*, " CODE_VERDICT " AS verdict FROM c), "
        "used AS (UPDATE sa_codes t SET used_by = CASE verdict WHEN 0 THEN $13 ELSE '' END "
        "FROM v WHERE t.id = v.id "
        "AND v.used_by IS NULL AND v.client_id = $9), "
        "session AS (INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time, "
        "amr, mount, client_id, scope) SELECT $13, user_id, $14, $12, $15, $16, auth_time, amr, "
        "$17, client_id, scope FROM v WHERE verdict = 0), "
        "event AS (" EVENT("v.user_id", "v") " AND verdict = 1) "
        "SELECT verdict, used_by, auth_time, amr, scope, {out} FROM v" },

    [SA_OP_REVOCATIONS_ALL] = { "ended sessions", SA_STATEMENT_READS,
        "SELECT pg_current_snapshot()::text, r.sid, " REVOCATION_LEFT " FROM (SELECT 1) AS one "
        "LEFT JOIN sa_revocations r ON r.at > extract(epoch FROM now())::bigint - $1" },
    /* What a snapshot cannot see is what was committed after it, in whatever order it was written. */
    [SA_OP_REVOCATIONS] = { "ended sessions", SA_STATEMENT_READS,
        "SELECT CASE WHEN pg_snapshot_xmax(pg_current_snapshot()) >= pg_snapshot_xmax($2::pg_snapshot) "
        "THEN pg_current_snapshot()::text END, r.sid, " REVOCATION_LEFT " FROM (SELECT 1) AS one "
        "LEFT JOIN sa_revocations r ON r.xid >= pg_snapshot_xmin($2::pg_snapshot) "
        "AND NOT pg_visible_in_snapshot(r.xid, $2::pg_snapshot)" },

    [SA_OP_LINKS] = { "links", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        /* A join, not EXISTS: that one is planned for reading many sessions. */
        "SELECT {user}, l.provider, l.issuer, l.subject, l.email, l.linked_at FROM {users} u "
        "LEFT JOIN sa_sessions s ON s.sid = $2 AND s.user_id = {u.id} "
        "AND s.revoked_at IS NULL AND s.expires > $3 "
        "LEFT JOIN sa_links l ON l.user_id = {u.id} "
        "WHERE {u.id} = $1 AND ($2 IS NULL OR s.sid IS NOT NULL)" },
    [SA_OP_LINK] = { "link", SA_STATEMENT_KEYED,
        "WITH u AS (SELECT {u.id} AS uid, {usable} AS usable FROM {users} u WHERE {u.id} = $8 "
        "FOR NO KEY UPDATE OF u), "
        "s AS (SELECT s.sid FROM sa_sessions s JOIN u ON s.user_id = u.uid WHERE s.sid = $9 "
        "AND s.revoked_at IS NULL AND s.expires > $10 FOR SHARE OF s), "
        "b AS (SELECT u.* FROM u WHERE $9 IS NULL OR EXISTS (SELECT 1 FROM s)), "
        "made AS (INSERT INTO sa_links (user_id, provider, issuer, subject, email, linked_at) "
        "SELECT b.uid, $11, $12, $13, $14, $15 FROM b WHERE b.usable "
        "ON CONFLICT DO NOTHING RETURNING user_id), "
        "event AS (" EVENT("made.user_id", "made") ") "
        "SELECT CASE WHEN NOT usable THEN 3 WHEN EXISTS (SELECT 1 FROM made) THEN 0 ELSE 1 END "
        "FROM b" },
    [SA_OP_UNLINK] = { "unlink", SA_STATEMENT_KEYED,
        "WITH b AS (SELECT {u.id} AS uid, {has_password} AS has_password FROM {users} u WHERE "
        BEARER " AND {usable} FOR NO KEY UPDATE OF u), "
        "l AS (SELECT l.issuer FROM sa_links l JOIN b ON l.user_id = b.uid "
        "ORDER BY l.issuer FOR UPDATE OF l), "
        "v AS (SELECT b.uid, CASE WHEN NOT EXISTS (SELECT 1 FROM l WHERE issuer = $11) THEN 1 "
        "WHEN ($12 = 1 AND has_password) OR EXISTS (SELECT 1 FROM l WHERE issuer <> $11 "
        "AND issuer = ANY (string_to_array($13, chr(10)))) THEN 0 "
        "ELSE 2 END AS verdict FROM b), "
        "gone AS (DELETE FROM sa_links k USING v WHERE k.user_id = v.uid AND k.issuer = $11 "
        "AND v.verdict = 0), "
        "event AS (" EVENT("v.uid", "v") " AND v.verdict = 0) "
        "SELECT verdict FROM v" },

    [SA_OP_TAKE_PENDING] = { "pending link", 0,
        "DELETE FROM sa_pending_links p WHERE p.issuer = $1 AND p.email = $2 "
        "AND NOT EXISTS (SELECT 1 FROM sa_links l WHERE l.user_id = p.user_id "
        "AND l.issuer = p.issuer) RETURNING p.user_id" },
    [SA_OP_IMPORT_BEGIN] = { "import", SA_STATEMENT_READS,
        "SELECT COALESCE(max(id), 0) FROM sa_users" },
    [SA_OP_IMPORT_END] = { "import", 0,
        "SELECT setval(pg_get_serial_sequence('sa_users', 'id'), max(id)) FROM sa_users "
        "HAVING max(id) IS NOT NULL" },
    [SA_OP_IMPORTED_USER] = { "imported user", SA_STATEMENT_READS,
        "SELECT id FROM sa_users WHERE (id = $1 OR username = $2) "
        "AND date_trunc('second', date_joined) = to_timestamp($3) "
        "ORDER BY (id = $1) IS TRUE DESC LIMIT 1" },
    [SA_OP_LINK_HELD] = { "link", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        "SELECT (SELECT user_id FROM sa_links WHERE issuer = $1 AND subject = $2), "
        "(SELECT subject FROM sa_links WHERE user_id = $3 AND issuer = $1)" },
    [SA_OP_CREATE_PENDING] = { "pending link", SA_STATEMENT_KEYED,
        "INSERT INTO sa_pending_links (issuer, email, user_id, provider) "
        "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1" },
    [SA_OP_PENDING] = { "pending link", SA_STATEMENT_READS,
        "SELECT user_id FROM sa_pending_links WHERE issuer = $1 AND email = $2" },

    [SA_OP_SPEND] = { "spent id", 0,
        "INSERT INTO sa_spent (id, expires) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1" },
    [SA_OP_CLIENT_TOKEN_LIVE] = { "token of a client", SA_STATEMENT_READS,
        "SELECT EXISTS (SELECT 1 FROM sa_applications WHERE client_id = $1) "
        "AND NOT EXISTS (SELECT 1 FROM sa_spent WHERE id = $2)" },

    [SA_OP_OUTBOX_CLAIM] = { "outbox claim", 0,
        "WITH due AS (SELECT id FROM sa_outbox WHERE dead = 0 AND next_attempt <= $1 "
        "AND (leased_until IS NULL OR leased_until <= $1) "
        "AND string_to_array(targets, ' ') && string_to_array($4, ' ') "
        "ORDER BY next_attempt, id LIMIT $3 "
        "FOR UPDATE SKIP LOCKED) "
        "UPDATE sa_outbox o SET leased_until = $2, attempts = attempts + 1 FROM due "
        "WHERE o.id = due.id RETURNING o.id, o.type, o.user_id, o.provider, o.address, "
        "o.request_id, o.at, o.targets, o.attempts" },
    [SA_OP_OUTBOX_SETTLE] = { "outbox settle", 0,
        "WITH gone AS (DELETE FROM sa_outbox WHERE id = $1 AND $2 IS NULL) "
        "UPDATE sa_outbox SET targets = $2, next_attempt = $3, leased_until = NULL, dead = $4 "
        "WHERE id = $1 AND $2 IS NOT NULL" },
    [SA_OP_QUEUE_MAIL] = { "new mail", SA_STATEMENT_KEYED,
        "INSERT INTO sa_mails (id, kind, user_id, email, mount, data, created, expires, used_at, "
        "next_attempt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $7)" },
    [SA_OP_MAIL] = { "mail", SA_STATEMENT_READS,
        "SELECT user_id, email, data FROM sa_mails WHERE " MAIL },
    [SA_OP_USE_MAIL] = { "use of a mail", 0,
        "UPDATE sa_mails SET used_at = $3 WHERE " MAIL " RETURNING user_id, email, data" },
    [SA_OP_MAILS_CLAIM] = { "mails claim", 0,
        "WITH due AS (SELECT id FROM sa_mails WHERE sent_at IS NULL AND dead = 0 "
        "AND next_attempt <= $1 AND used_at IS NULL AND expires > $1 "
        "AND (leased_until IS NULL OR leased_until <= $1) "
        "AND mount = ANY (string_to_array($3, chr(10))) ORDER BY next_attempt, id LIMIT 1 "
        "FOR UPDATE SKIP LOCKED) "
        "UPDATE sa_mails m SET leased_until = $2, attempts = attempts + 1 FROM due "
        "WHERE m.id = due.id RETURNING m.id, m.kind, m.user_id, m.email, m.mount, m.data, "
        "m.expires, m.attempts" },
    [SA_OP_ADDRESS_MAIL] = { "address of a mail", SA_STATEMENT_KEYED,
        "UPDATE sa_mails SET user_id = $2, email = $3, data = $4 WHERE id = $1" },
    [SA_OP_DROP_MAIL] = { "mail to nobody", 0,
        "DELETE FROM sa_mails WHERE id = $1" },
    [SA_OP_MAILS_SETTLE] = { "mails settle", 0,
        "UPDATE sa_mails SET sent_at = $2, next_attempt = $3, leased_until = NULL, dead = $4 "
        "WHERE id = $1" },
    [SA_OP_VERIFY_EMAIL] = { "verified e-mail", SA_STATEMENT_KEYED,
        "WITH done AS (UPDATE {users} u SET {set email_verified='1'} WHERE {u.id} = $1 "
        "AND {u.email} = $2 RETURNING {u.id} AS uid), "
        "gone AS (DELETE FROM sa_links k USING done WHERE k.user_id = done.uid AND ($3 = 2 "
        "OR ($3 = 1 AND lower(COALESCE(k.email, '')) <> lower($2)))) "
        "SELECT 1 FROM done" },
    [SA_OP_SET_EMAIL] = { "new e-mail", SA_STATEMENT_KEYED,
        "UPDATE {users} t SET {set email=$2|email_verified='1'} WHERE t.{id} = $1 AND NOT EXISTS "
        "(SELECT 1 FROM {users} u WHERE {email_is $3} AND {u.id} <> t.{id}) RETURNING 1" },
    [SA_OP_NOTIFY] = { "notify", 0,
        "SELECT pg_notify('social_auth', json_build_object('id', $1, 'type', $2)::text)" },
    [SA_OP_EVENT] = { "event", SA_STATEMENT_KEYED,
        "INSERT INTO sa_outbox (id, type, provider, address, request_id, at, targets, user_id, "
        "next_attempt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $6)" },

    [SA_OP_PURGE_SESSIONS] = { "purge of sessions", 0,
        "WITH old AS (SELECT sid FROM sa_sessions WHERE expires <= $1 ORDER BY expires LIMIT $2 "
        "FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM sa_sessions s USING old WHERE s.sid = old.sid RETURNING 1) "
        "SELECT count(*) FROM gone" },
    [SA_OP_PURGE_SPENT] = { "purge of spent ids", 0,
        "WITH old AS (SELECT id FROM sa_spent WHERE expires <= $1 ORDER BY expires LIMIT $2 "
        "FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM sa_spent p USING old WHERE p.id = old.id RETURNING 1) "
        "SELECT count(*) FROM gone" },

    [SA_OP_PURGE_OUTBOX] = { "purge of the outbox", 0,
        "WITH old AS (SELECT id FROM sa_outbox WHERE at <= $1 ORDER BY at LIMIT $2 "
        "FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM sa_outbox o USING old WHERE o.id = old.id RETURNING 1) "
        "SELECT count(*) FROM gone" },

    [SA_OP_PURGE_MAILS] = { "purge of mails", 0,
        "WITH old AS (SELECT id FROM sa_mails WHERE expires <= $1 ORDER BY expires LIMIT $2 "
        "FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM sa_mails m USING old WHERE m.id = old.id RETURNING 1) "
        "SELECT count(*) FROM gone" },

    [SA_OP_PURGE_REVOCATIONS] = { "purge of revocations", 0,
        "WITH old AS (SELECT id FROM sa_revocations "
        "WHERE at <= extract(epoch FROM now())::bigint - $1 ORDER BY at LIMIT $2 "
        "FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM sa_revocations r USING old WHERE r.id = old.id RETURNING 1) "
        "SELECT count(*) FROM gone" },

    [SA_OP_PURGE_CODES] = { "purge of codes", 0,
        "WITH old AS (SELECT id FROM sa_codes WHERE expires <= $1 ORDER BY expires LIMIT $2 "
        "FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM sa_codes c USING old WHERE c.id = old.id RETURNING 1) "
        "SELECT count(*) FROM gone" },

    [SA_OP_LIST_USERS] = { "list of users", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        "SELECT {user} FROM {users} u WHERE {u.id} > $1 OR $1 IS NULL "
        "ORDER BY {u.id} LIMIT $2" },
    [SA_OP_SET_ACTIVE] = { "activation", SA_STATEMENT_KEYED,
        "WITH done AS (UPDATE {users} u SET {set is_active=$2} WHERE {u.id} = $1 "
        "RETURNING {u.id} AS uid), "
        "ended AS (UPDATE sa_sessions s SET revoked_at = $3 FROM done "
        "WHERE s.user_id = done.uid AND s.revoked_at IS NULL AND $4 = 0) "
        "SELECT 1 FROM done" },
    [SA_OP_SET_STAFF] = { "staff", SA_STATEMENT_KEYED,
        "UPDATE {users} u SET {set is_staff=$2} WHERE {u.id} = $1 RETURNING 1" },
    [SA_OP_SET_SUPERUSER] = { "superuser", SA_STATEMENT_KEYED,
        "UPDATE {users} u SET {set is_superuser=$2} WHERE {u.id} = $1 RETURNING 1" },
    [SA_OP_MARK_DELETED] = { "deletion", SA_STATEMENT_KEYED,
        "WITH done AS (UPDATE {users} u SET {set deleted=$2} WHERE {u.id} = $1 "
        "RETURNING {u.id} AS uid), "
        "ended AS (UPDATE sa_sessions s SET revoked_at = $3 FROM done "
        "WHERE s.user_id = done.uid AND s.revoked_at IS NULL) "
        "SELECT 1 FROM done" },
    [SA_OP_REMOVE_USER] = { "removal of a user", SA_STATEMENT_KEYED,
        "DELETE FROM {users} u WHERE {u.id} = $1 RETURNING 1" },
    [SA_OP_DELETE_LINK] = { "end of a link", SA_STATEMENT_KEYED,
        "WITH gone AS (DELETE FROM sa_links WHERE user_id = $8 AND issuer = $9 RETURNING user_id), "
        "event AS (" EVENT("gone.user_id", "gone") ") "
        "SELECT 1 FROM gone" },
    [SA_OP_SESSION] = { "session", SA_STATEMENT_READS, SESSION_OUT "WHERE sid = $1" },
    [SA_OP_SESSIONS] = { "sessions", SA_STATEMENT_READS | SA_STATEMENT_KEYED,
        SESSION_OUT "WHERE user_id = $1 AND revoked_at IS NULL AND expires > $2 "
        "ORDER BY auth_time DESC, sid" },
    [SA_OP_REVOKE_ALL] = { "end of all sessions", 0,
        "WITH live AS (SELECT sid FROM sa_sessions WHERE sid > $2 AND revoked_at IS NULL "
        "ORDER BY sid LIMIT $3 FOR NO KEY UPDATE) "
        "UPDATE sa_sessions s SET revoked_at = $1 FROM live WHERE s.sid = live.sid "
        "RETURNING s.sid" },
    [SA_OP_OUTBOX_LIST] = { "outbox", SA_STATEMENT_READS,
        "SELECT id, type, user_id, provider, address, request_id, at, targets, attempts, "
        "next_attempt, dead FROM sa_outbox WHERE dead = 1 OR $1 = 0 ORDER BY at, id LIMIT $2" },
    [SA_OP_OUTBOX_RETRY] = { "outbox retry", 0,
        "WITH again AS (UPDATE sa_outbox SET dead = 0, next_attempt = $2, "
        "attempts = CASE dead WHEN 1 THEN 0 ELSE attempts END "
        "WHERE CASE WHEN $1 IS NULL THEN dead = 1 ELSE id = $1 END RETURNING 1) "
        "SELECT count(*) FROM again" },
    [SA_OP_HEALTH] = { "health", SA_STATEMENT_READS,
        "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint, "
        "(SELECT count(*) FROM sa_sessions WHERE expires <= $1) "
        "+ (SELECT count(*) FROM sa_spent WHERE expires <= $1) "
        "+ (SELECT count(*) FROM sa_codes WHERE expires <= $2) "
        "+ (SELECT count(*) FROM sa_mails WHERE expires <= $1), "
        "(SELECT count(*) FROM sa_outbox WHERE dead = 1), "
        "(SELECT count(*) FROM sa_outbox WHERE dead = 0 AND next_attempt <= $1), "
        "(SELECT count(*) FROM sa_mails WHERE dead = 1), "
        "(SELECT count(*) FROM sa_mails WHERE dead = 0 AND sent_at IS NULL "
        "AND next_attempt <= $1)" },
};

const sa_dialect_t sa_dialect_pgsql = {
    .backend = &sa_backend_pgsql,
    .templates = sa_templates_pgsql,
    .migrations = sa_migrations_pgsql,
    .yes = "TRUE",
    .no = "FALSE",
    .truthy = "(COALESCE(%s::text, '') NOT IN ('', 'false', '0'))",
    .email_is = "lower(%s COLLATE \"C\") = %s",
    .time_zone = "+00",
};
