"""What a row should reach. judge() -> (what was measured, what was wanted, whether it is met)"""
import statistics

def median(values):
    return statistics.median(values)


def spread(values):
    return "%.2f [%.2f..%.2f]" % (median(values), min(values), max(values))


class Ratio:
    """At least so much of another row, within the rounds."""

    def __init__(self, base, least=None):
        self.least, self.base = least, base

    def judge(self, results, row):
        values = [a.rate / b.rate for a, b in zip(results[row.name], results.get(self.base, []))
                  if b.rate]
        if not values:
            return "not measured of " + self.base, "", None
        said = "%s of %s" % (spread(values), self.base)
        if self.least is None:
            return said, "", None
        return said, "≥ %.2f" % self.least, median(values) >= self.least


class Seed:
    """At least so many times the seed's rate, which was measured elsewhere."""

    def __init__(self, least, rate, what="the seed"):
        self.least, self.rate, self.what = least, rate, what

    def judge(self, results, row):
        value = median([s.rate for s in results[row.name]]) / self.rate
        return ("%.1f × %s's %g/s" % (value, self.what, self.rate), "≥ %g ×" % self.least,
                value >= self.least)


class Cpu:
    """At most so many µs in httpd and PostgreSQL."""

    def __init__(self, most):
        self.most = most

    def judge(self, results, row):
        value = median([sum(s.cpu.values()) for s in results[row.name]])
        return "%.0f µs CPU" % value, "≤ %g µs" % self.most, value <= self.most


class Slower:
    """A percentile at most so much above that of another row: factor × or + ms."""

    def __init__(self, percentile, base, factor=1.0, ms=0.0):
        self.percentile, self.base, self.factor, self.ms = percentile, base, factor, ms

    def judge(self, results, row):
        value, base = (median([getattr(s, self.percentile) for s in results[name]])
                       for name in (row.name, self.base))
        wanted = "≤ %g ×" % self.factor if self.factor != 1 else "≤ + %g ms" % self.ms
        return ("%s %.1f ms beside %.1f of %s" % (self.percentile, value, base, self.base), wanted,
                value <= base * self.factor + self.ms)


class Either:
    def __init__(self, *targets):
        self.targets = targets

    def judge(self, results, row):
        said, wanted, met = zip(*(t.judge(results, row) for t in self.targets))
        return " or ".join(said), " or ".join(wanted), any(met)
