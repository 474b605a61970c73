"""For all of pytest here: counts for tests/run, and a limit on every test's time."""
import os
import signal

import pytest

LIMIT = int(os.environ.get("SA_LIMIT", "120"))      # seconds; @pytest.mark.limit(n) for one test
SLOW_BUILD = 4 if os.environ.get("SA_SANITIZE") else 1


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): this test may take so long")


class TookTooLong(BaseException):
    pass


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    marker = item.get_closest_marker("limit")
    seconds = (marker.args[0] if marker else LIMIT) * SLOW_BUILD

    def ring(number, frame):
        pytest.fail("took longer than %d seconds" % seconds)
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pytest_terminal_summary(terminalreporter):
    path = os.environ.get("SA_COUNTS")
    if not path:
        return
    stats = terminalreporter.stats
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    lines = ["passed %d" % len(stats.get("passed", [])), "failed %d" % failed]
    for report in stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        lines.append("skipped %s: %s" % (report.nodeid.split("::")[-1],
                                         " ".join(reason.replace("Skipped: ", "").split())))
    for kind in ("xfailed", "xpassed"):
        lines += ["skipped %s: %s" % (kind, report.nodeid) for report in stats.get(kind, [])]
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
