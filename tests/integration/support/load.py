"""Requests that go on in the background while a test hurts something."""
import http.client
import threading
import time


class Sample:
    """One request: when, and what came of it. answer is an Answer or the exception."""

    def __init__(self, began, ended, answer, what):
        self.began, self.ended, self.answer, self.what = began, ended, answer, what

    @property
    def status(self):
        return getattr(self.answer, "status", None)

    def __repr__(self):
        return "<%s %.3f..%.3f %r>" % (self.what, self.began, self.ended, self.answer)


class Load:
    """`threads` clients; each calls action(browser) over and over until the block ends.

    action returns an Answer, or a list of (what, Answer); a dropped connection is a sample too.
    pause: seconds between two calls of one client."""

    def __init__(self, site, action, threads=4, pause=0.0):
        self.site, self.action, self.pause = site, action, pause
        self.samples = []
        self.broken = []                # what is not a matter of the network
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _once(self, browser):
        began = time.monotonic()
        try:
            got = self.action(browser)
        except (OSError, http.client.HTTPException) as e:
            browser.close()
            got = e
        ended = time.monotonic()
        if not isinstance(got, list):
            got = [("request", got)]
        with self._lock:
            self.samples += [Sample(began, ended, answer, what) for what, answer in got]

    def _run(self):
        browser = self.site.browser()
        try:
            while not self._end.wait(self.pause):
                self._once(browser)
        except Exception as e:
            self.broken.append(e)
        finally:
            browser.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self):
        self._end.set()
        for thread in self._threads:
            thread.join(60)
        if self.broken:
            raise self.broken[0]

    def count(self):
        with self._lock:
            return len(self.samples)

    def wait_for(self, n, seconds=30):
        """Until n more samples are there."""
        goal, deadline = self.count() + n, time.monotonic() + seconds
        while self.count() < goal:
            assert time.monotonic() < deadline, "the load stands still: %r" % self.samples[-5:]
            assert not self.broken, self.broken
            time.sleep(0.01)
