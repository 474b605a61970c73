"""Another project's test suite, case by case: which test here restates a case, and why the others have
none. A case is named file::class::function, as it is called there."""
import collections


class Suite:
    """files: {file: how many cases it has there}; elsewhere: {case: why no request can say it}."""

    def __init__(self, files, elsewhere):
        self.files, self.elsewhere = files, elsewhere
        self.restated = collections.Counter()

    def case(self, *names):
        """Says of a test what it restates."""
        def mark(test):
            self.restated.update(names)
            return test
        return mark

    def check(self):
        """Each case is here once, and none is forgotten or made up."""
        assert set(self.restated.values()) == {1} and not set(self.restated) & set(self.elsewhere)
        assert all(reason.strip() for reason in self.elsewhere.values())
        names = [*self.restated, *self.elsewhere]
        assert collections.Counter(name.split("::")[0] for name in names) == self.files
