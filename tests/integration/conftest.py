"""Fixtures of the integration tests, and the matrix they run on.

SA_MATRIX=all runs every test on all four cells (event, prefork x pgsql, sqlite3); a
list such as "prefork-sqlite3" runs on those; otherwise each test runs on one cell, tests
marked `db` on both databases and tests marked `process` on both MPMs."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from support import paths                                                   # noqa: E402
from support.database import Databases                                      # noqa: E402
from support.fake_provider import FakeProvider                              # noqa: E402
from support.site import Pool, Settings                                     # noqa: E402

ALL = [("event", "pgsql"), ("event", "sqlite3"), ("prefork", "pgsql"), ("prefork", "sqlite3")]
HOME = ("event", "pgsql")


def pytest_configure(config):
    config.addinivalue_line("markers", "db: runs on both databases")
    config.addinivalue_line("markers", "process: runs on both MPMs")
    config.addinivalue_line("markers", "cell(mpm, db): runs on this cell only, whatever the matrix")
    config.addinivalue_line("markers", "threaded: not on prefork, where mod_http2 does not work")
    config.addinivalue_line("markers", "own_malloc: not under a sanitizer, which replaces malloc")
    config.addinivalue_line("markers", "slow: takes over ten seconds")
    config.addinivalue_line("markers", "soak: only with tests/run --soak")


def pytest_collection_modifyitems(config, items):
    out = {name for name, wanted in (("soak", os.environ.get("SA_SOAK")),
                                     ("own_malloc", not os.environ.get("SA_SANITIZE"))) if not wanted}
    away = [item for item in items if any(item.get_closest_marker(name) for name in out)]
    if away:
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]


def _cells(markers):
    return [cell for cell in _matrix(markers) if cell[0] != "prefork" or "threaded" not in markers]


def _matrix(markers):
    matrix = os.environ.get("SA_MATRIX", "")
    fixed = markers.get("cell")
    if fixed:
        return [tuple(fixed.args)]
    if matrix == "all":
        return ALL
    if matrix:
        return [tuple(cell.split("-", 1)) for cell in matrix.split(",")]
    if "db" in markers and "process" in markers:
        return ALL
    if "db" in markers:
        return [("event", "pgsql"), ("event", "sqlite3")]
    if "process" in markers:
        return [("event", "pgsql"), ("prefork", "sqlite3")]
    return [HOME]


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        markers = {m.name: m for m in reversed(list(metafunc.definition.iter_markers()))}
        metafunc.parametrize("cell", _cells(markers), scope="session",
                             ids=lambda cell: "-".join(cell))


@pytest.fixture(scope="session", autouse=True)
def _everything_ends():
    """Ctrl-C and kill end what was started."""
    def end(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, end)
    yield
    paths.forget_scratch()


@pytest.fixture(scope="session")
def databases(_everything_ends):
    made = Databases()
    yield made
    made.close()


@pytest.fixture(scope="session")
def _provider(_everything_ends):
    made = FakeProvider()
    yield made
    made.close()


@pytest.fixture
def provider(_provider):
    """GitHub and Google. Fresh for each test."""
    _provider.reset()
    yield _provider
    _provider.reset()


@pytest.fixture(scope="session")
def _pool(databases, _provider):
    pool = Pool(databases, _provider)
    yield pool
    pool.close()


class _Watch:
    """The servers that one test uses; after it their error logs are read."""

    def __init__(self):
        self.sites = []
        self.owned = []

    def add(self, site):
        if site not in self.sites:
            self.sites.append(site)
        return site

    def complaints(self):
        out = []
        for site in self.sites:
            out += ["%s: %s" % (site.httpd.name, line) for line in site.httpd.unexpected_log()]
        return out


@pytest.fixture
def make_site(cell, provider, databases, _pool):
    """make_site(mount="…", …) -> a Site running these Settings with an empty database. Servers of equal
    settings are shared between tests; private=True gives one of its own."""
    mpm, db = cell
    watch = _Watch()

    def make(private=False, database=None, **settings):
        settings = Settings(**settings)
        if private or database is not None:
            database = database or databases.make(db)
            site = _pool.make(mpm, database, settings)
            watch.owned.append(site)
        else:
            site = _pool.get(mpm, db, settings)
            site.db.clean()
        return watch.add(site)

    make.pool = _pool
    make.watch = watch
    yield make
    complaints = watch.complaints()
    for site in watch.owned:
        site.httpd.stop()
    assert not complaints, "the error log holds unexpected lines:\n" + "\n".join(complaints[:20])


@pytest.fixture
def site(make_site):
    """The ordinary installation: GitHub and Google, no throttle."""
    return make_site()


@pytest.fixture
def browser(site):
    made = site.browser()
    yield made
    made.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of its servers' error logs."""
    outcome = yield
    report = outcome.get_result()
    make = getattr(item, "funcargs", {}).get("make_site")
    if report.failed and make is not None:
        for site in make.watch.sites:
            report.sections.append(("error log of " + site.httpd.name, site.httpd.recent_log()[-4000:]))
