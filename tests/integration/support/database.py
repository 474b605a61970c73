"""The module's database as the tests see it: made by socialauthctl, emptied between
tests, asked directly. SQL is written with ? for parameters and runs on both kinds."""
import json
import os
import select
import shutil
import sqlite3
import subprocess

import psycopg2

from . import paths

# Rows of these are the schema's own, not data.
_KEPT = ("sa_schema",)


class CtlFailed(Exception):
    def __init__(self, arguments, status, output):
        super().__init__("socialauthctl %s: status %d: %s" % (" ".join(arguments), status, output))
        self.status, self.output = status, output


def run_ctl(arguments, stdin=None, check=True, env=None):
    if os.environ.get("SA_SANITIZE") and "-f" in arguments:     # Debian's apachectl empties the environment
        arguments = ["--httpd", paths.HTTPD, *arguments]
    done = subprocess.run([paths.CTL, *arguments], input=stdin, text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=paths.server_environment(env))
    if check and done.returncode != 0:
        raise CtlFailed(arguments, done.returncode, done.stdout)
    return done


class Database:
    driver = params = None

    def ctl(self, *arguments, stdin=None, check=True):
        return run_ctl(["--driver", self.driver, "--params", self.params, *arguments], stdin, check)

    def connect(self):
        raise NotImplementedError

    def _sql(self, sql):
        return sql

    def query(self, sql, *args):
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(self._sql(sql), args)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return [tuple(row) for row in rows]
        finally:
            connection.close()

    def one(self, sql, *args):
        rows = self.query(sql, *args)
        assert len(rows) == 1, (sql, args, rows)
        return rows[0]

    def value(self, sql, *args):
        return self.one(sql, *args)[0]

    def data_tables(self):
        """The one that triggers write into comes last."""
        return sorted((t for t in self.tables() if t.startswith("sa_") and t not in _KEPT),
                      key=lambda t: (t == "sa_revocations", t))

    def counts(self):
        """{table: rows}; what "0 rows" in a threat row is checked with."""
        tables = self.data_tables()
        if not tables:
            return {}
        parts = ["SELECT '%s', count(*) FROM %s" % (t, t) for t in tables]
        return dict(self.query(" UNION ALL ".join(parts)))

    def dump(self):
        """Every row of every table as sorted text."""
        out = []
        for table in self.data_tables():
            for row in self.query("SELECT * FROM %s" % table):
                out.append(table + " " + json.dumps(row, default=str, ensure_ascii=False))
        return "\n".join(sorted(out))

    def broken_invariants(self):
        """What must hold whatever happens; [] or sentences."""
        problems = []
        for what, sql in INVARIANTS:
            rows = self.query(sql)
            if rows:
                problems.append("%s: %r" % (what, rows[:5]))
        return problems


INVARIANTS = (
    ("two users with one e-mail",
     "SELECT lower(email) FROM sa_users WHERE email IS NOT NULL GROUP BY lower(email)"
     " HAVING count(*) > 1"),
    ("one identity linked twice",
     "SELECT issuer, subject FROM sa_links GROUP BY issuer, subject HAVING count(*) > 1"),
    ("a user with two identities of one issuer",
     "SELECT user_id, issuer FROM sa_links GROUP BY user_id, issuer HAVING count(*) > 1"),
    ("a link without a user",
     "SELECT l.user_id FROM sa_links l LEFT JOIN sa_users u ON u.id = l.user_id WHERE u.id IS NULL"),
    ("a session without a user",
     "SELECT s.sid FROM sa_sessions s LEFT JOIN sa_users u ON u.id = s.user_id WHERE u.id IS NULL"),
    ("a user nobody can be: no link, no usable password",
     "SELECT u.id FROM sa_users u LEFT JOIN sa_links l ON l.user_id = u.id"
     " WHERE l.user_id IS NULL AND (u.password IS NULL OR u.password = '' OR u.password LIKE '!%')"),
)


class Sqlite(Database):
    driver = "sqlite3"

    def __init__(self, path):
        self.params = self.path = path

    def connect(self):
        return sqlite3.connect(self.path, timeout=20)

    def tables(self):
        return [r[0] for r in self.query("SELECT name FROM sqlite_master WHERE type = 'table'"
                                         " AND name NOT LIKE 'sqlite_%' ORDER BY name")]

    def clean(self):
        connection = self.connect()
        try:
            connection.execute("PRAGMA foreign_keys = OFF")
            with connection:
                for table in self.data_tables():
                    connection.execute("DELETE FROM %s" % table)
        finally:
            connection.close()


class Listener:
    """Hears what is notified."""

    def __init__(self, connection):
        self._connection = connection
        connection.autocommit = True
        connection.cursor().execute("LISTEN social_auth")

    def heard(self):
        """All that was notified since: what is committed later comes later."""
        own, said = "the end %d" % id(self), []
        self._connection.cursor().execute("NOTIFY social_auth, '%s'" % own)
        while own not in said:
            select.select([self._connection], [], [], 0.1)
            self._connection.poll()
            said += [notice.payload for notice in self._connection.notifies]
            self._connection.notifies.clear()
        return [json.loads(payload) for payload in said if payload != own]

    def close(self):
        self._connection.close()


class Pgsql(Database):
    driver = "pgsql"

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.params = cluster.dsn(name)

    def connect(self):
        return psycopg2.connect(self.params)

    def listen(self):
        return Listener(self.connect())

    def _sql(self, sql):
        return sql.replace("%", "%%").replace("?", "%s")

    def tables(self):
        return [r[0] for r in self.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
                                         " ORDER BY 1")]

    def clean(self):
        connection = self.connect()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET session_replication_role = replica")
                for table in self.data_tables():
                    cursor.execute("DELETE FROM %s" % table)
        finally:
            connection.close()


class Databases:
    """Makes databases that already hold the schema, fast: the schema is installed once per kind."""

    def __init__(self):
        self._cluster = self._pg_template = self._sqlite_template = None
        self._made = 0
        self._clusters = []

    def cluster(self, name=None, **options):
        """The run's cluster, or with a name one of its own for a test that hurts it."""
        from .pgcluster import Cluster
        if name is None:
            if self._cluster is None:
                self._cluster = self.cluster("pg")
            return self._cluster
        cluster = Cluster(name, **options)
        self._clusters.append(cluster)
        return cluster.start()

    def make(self, kind, cluster=None, migrated=True):
        self._made += 1
        return self._make_sqlite(migrated) if kind == "sqlite3" else self._make_pg(cluster, migrated)

    def _make_sqlite(self, migrated):
        # SQLite writes beside its file: the children's user must own the directory.
        directory = paths.make_dir("db%d" % self._made)
        path = os.path.join(directory, "social.db")
        if migrated:
            if self._sqlite_template is None:
                template = os.path.join(paths.make_dir("db-template"), "social.db")
                Sqlite(template).ctl("migrate")
                with sqlite3.connect(template) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._sqlite_template = template
            shutil.copy(self._sqlite_template, path)
        else:
            sqlite3.connect(path).close()
            open(path, "ab").close()
        if os.geteuid() == 0:
            shutil.chown(directory, "www-data", "www-data")
            shutil.chown(path, "www-data", "www-data")
        return Sqlite(path)

    def _make_pg(self, cluster, migrated):
        if cluster is not None or not migrated:
            cluster = cluster or self.cluster()
            database = Pgsql(cluster, cluster.create_database())
            if migrated:
                database.ctl("migrate")
            return database
        cluster = self.cluster()
        if self._pg_template is None:
            template = Pgsql(cluster, cluster.create_database())
            template.ctl("migrate")
            self._pg_template = template.name
        return Pgsql(cluster, cluster.create_database(self._pg_template))

    def close(self):
        for cluster in self._clusters:
            cluster.stop("immediate")
