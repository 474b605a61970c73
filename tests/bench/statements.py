"""The module's own SQL, taken from what it sends, for pgbench and the bare SQLite loop.

PostgreSQL logs the statements of one request with their parameters. Parameters whose values
this program knows (the session of the token it just got, …) become expressions that
change from one execution to the next; all others stay parameters with the value they had."""
import re
import sqlite3
import time

import psycopg2

SLOTS = 64                              # sessions each pgbench client refreshes in turn
CLIENTS = 16
SESSIONS = 1024                         # CLIENTS * SLOTS, and SLOTS of sqlite_loop.c
FIRST_ID = 1000000                      # of the rows made here
ISSUER = "https://accounts.google.com"
DAY = 86400

# kind -> pgbench expression; the names agree with make_rows and with sqlite_loop.c
EXPRESSIONS = {
    "uid": "%d + :u" % FIRST_ID,
    "sid": "'00000000-0000-4000-8000-' || lpad(CAST(:u AS text), 12, '0')",
    "subject": "'s-' || lpad(CAST(:u AS text), 20, '0')",
    "email": "'bench' || CAST(:u AS text) || '@gmail.com'",
    "session": "'00000000-0000-4000-9' || lpad(CAST(:round AS text), 3, '0') || '-'"
               " || lpad(CAST(:slot AS text), 12, '0')",
    "jti": "lpad(CAST(:turn AS text), 32, '0')",
    "next": "lpad(CAST(:turn + 1 AS text), 32, '0')",
    "fresh": "'00000000-' || lpad(CAST(:a AS text), 26, '0')",
    "new_subject": "'n-' || lpad(CAST(:a AS text), 20, '0')",
    "new_email": "'n' || CAST(:a AS text) || '@gmail.com'",
    "new_name": "'n' || CAST(:a AS text)",
    "new_id": ":n_id",
}
SETTINGS = {
    "u": r"\set u random(1, :users)",
    "a": r"\set a random(1, 4000000000000000000)",
    "n": "\\set n :n + 1\n\\set slot :client_id * %d + :n %% %d\n\\set turn :n / %d"
         % (SLOTS, SLOTS, SLOTS),
}


# ---- rows to work on

def _user(u):
    return (FIRST_ID + u, "bench%d@gmail.com" % u, "bench%d" % u)


def _link(u, now):
    return (ISSUER, "s-%020d" % u, FIRST_ID + u, "google", "bench%d@gmail.com" % u, now)


def _session(sid, u, jti, now):
    return (sid, FIRST_ID + u, jti, now, now + DAY, now + 30 * DAY, now, "google",
            "/api/social-auth")


def make_rows(connection, mark, users, rounds):
    """Users with a link and a session each, and SESSIONS sessions to refresh for each round."""
    now, cursor = int(time.time()), connection.cursor()

    def insert(table, columns, rows):
        cursor.executemany("INSERT INTO %s (%s) VALUES (%s)" % (
            table, columns, ", ".join([mark] * (columns.count(",") + 1))), list(rows))
    on = "TRUE" if mark == "%s" else "1"
    cursor.executemany(
        "INSERT INTO sa_users (id, email, username, email_verified, password, date_joined,"
        " last_login) VALUES (%s, %s, %s, %s, '!none', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
        % (mark, mark, mark, on), [_user(u) for u in range(1, users + 1)])
    insert("sa_links", "issuer, subject, user_id, provider, email, linked_at",
           (_link(u, now) for u in range(1, users + 1)))
    columns = "sid, user_id, jti, iat, exp, expires, auth_time, amr, mount"
    insert("sa_sessions", columns,
           (_session("00000000-0000-4000-8000-%012d" % u, u, "%032d" % 0, now)
            for u in range(1, users + 1)))
    insert("sa_sessions", columns,
           (_session("00000000-0000-4000-9%03d-%012d" % (r, s), 1 + s % users, "%032d" % 0, now)
            for r in range(rounds) for s in range(SESSIONS)))
    connection.commit()


def fill_postgres(dsn, users, rounds):
    connection = psycopg2.connect(dsn)
    make_rows(connection, "%s", users, rounds)
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()


def fill_sqlite(path, users, rounds):
    connection = sqlite3.connect(path, timeout=20)
    make_rows(connection, "?", users, rounds)
    connection.execute("ANALYZE")
    connection.commit()
    connection.close()


# ---- what the module sends

_EXECUTED = re.compile(r"^LOG:  (?:execute [^:]*|statement): (.*)$")
_PARAMETER = re.compile(r"\$(\d+) = (NULL|'((?:[^']|'')*)')")


def _parse_log(text):
    found = []
    for line in text.splitlines():
        match = _EXECUTED.match(line)
        if match:
            found.append((match.group(1), {}))
        elif line.startswith("DETAIL:  parameters: ") and found:
            for number, whole, value in _PARAMETER.findall(line):
                found[-1][1][int(number)] = None if whole == "NULL" else value.replace("''", "'")
    return found


class Log:
    """The statements of one database between start and stop."""

    def __init__(self, cluster, database):
        self._cluster, self._database = cluster, database

    def _switch(self, what):
        self._cluster.execute("ALTER SYSTEM SET log_statement = %s" % what)
        self._cluster.execute("SELECT pg_reload_conf()")
        time.sleep(0.3)

    def of(self, request):
        """-> ([(sql, {number: value})], what request returned)"""
        self._switch("'all'")
        before = len(self._cluster.log())
        result = request()
        time.sleep(0.2)
        text = self._cluster.log()[before:]
        self._switch("'none'")
        found = [(sql, params) for sql, params in _parse_log(text)
                 if "log_statement" not in sql and "pg_reload_conf" not in sql]
        if not found:
            raise RuntimeError("the module's statements were not found in PostgreSQL's log")
        return found, result


class Statement:
    """One captured statement: its SQL, and for each parameter a kind of EXPRESSIONS, or the
    constant it was."""

    def __init__(self, sql, params, kinds, types):
        self.sql, self.types = sql, types
        self.values = params
        self.kinds = {n: kinds.get(v, "constant") for n, v in params.items()}

    def sqlite_params(self):
        """Lines for sqlite_loop."""
        out = []
        for n, kind in sorted(self.kinds.items()):
            value = self.values[n]
            if kind != "constant":
                out.append("%d %s" % (n, kind))
            elif value is None:
                out.append("%d null" % n)
            else:
                is_int = self.types[n] in ("bigint", "integer", "double precision")
                out.append("%d %s %s" % (n, "int" if is_int else "text", value))
        return "\n".join(out) + "\n"


def _types(dsn, sql, params):
    """The types the module gives its parameters: numbers are bigint, all else text. Where that does
    not fit (a parameter that is a column's value has the column's type) PostgreSQL infers them."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    count = max(params, default=0)

    def guess(n):
        value = params.get(n)
        return "bigint" if value is not None and re.fullmatch(r"-?\d{1,18}", value) else "text"
    types = [guess(n) for n in range(1, count + 1)]
    try:
        for attempt in range(count + 1):
            try:
                cursor.execute("PREPARE probe (%s) AS %s" % (", ".join(types), sql) if count
                               else "PREPARE probe AS " + sql)
                break
            except psycopg2.Error as e:
                unknown = re.search(r"could not determine data type of parameter \$(\d+)", str(e))
                if unknown:
                    types[int(unknown.group(1)) - 1] = guess(int(unknown.group(1)))
                elif attempt:
                    raise RuntimeError("a statement of the module cannot be prepared: %s" % e)
                else:
                    types = ["unknown"] * count
        cursor.execute("SELECT parameter_types::text[] FROM pg_prepared_statements"
                       " WHERE name = 'probe'")
        return dict(enumerate(cursor.fetchone()[0], 1))
    finally:
        connection.close()


def captured(dsn, found, kinds):
    """kinds: {value: kind} -> [Statement or "BEGIN" …]; what only sets up the connection is
    left out."""
    out = []
    for sql, params in found:
        word = sql.split(None, 1)[0].rstrip(";").upper()
        if word in ("SET", "DEALLOCATE") or "sa_schema" in sql:
            continue
        if word in ("BEGIN", "COMMIT", "ROLLBACK", "START"):
            out.append(sql.rstrip(";"))
        else:
            out.append(Statement(sql, params, kinds, _types(dsn, sql, params)))
    return out


# ---- pgbench

def pgbench_script(statements):
    """-> (script, {variable: value}); constants are variables, so that they are parameters for
    PostgreSQL as they are when the module sends them."""
    lines, variables = [], {}

    def parameter(index, statement, n):
        kind = statement.kinds[n]
        if kind != "constant":
            return "CAST(%s AS %s)" % (EXPRESSIONS[kind], statement.types[n])
        name = "s%dp%d" % (index, n)
        value = statement.values[n]
        variables[name] = "-" if value is None else value
        return ("CAST(nullif(:%s, '-') AS %s)" if value is None else "CAST(:%s AS %s)") % (
            name, statement.types[n])

    for index, statement in enumerate(statements):
        if isinstance(statement, str):
            lines.append(statement + ";")
            continue
        sql = re.sub(r"\$(\d+)\b", lambda m: parameter(index, statement, int(m.group(1))),
                     statement.sql.rstrip(";"))
        makes_user = re.match(r'INSERT INTO "?sa_users"? .*RETURNING "?id"?$', sql)
        lines.append(sql + (" \\gset n_" if makes_user else ";"))
    body = "\n".join(lines)
    head = [SETTINGS["n"]] if re.search(r":(slot|turn)\b", body) else []
    head += [SETTINGS[name] for name in "ua" if re.search(r":%s\b" % name, body)]
    return "\n".join(head + [body]) + "\n", variables
