"""The shared vector files. A file that is missing is an error with SA_REQUIRE_VECTORS=1, a skip that
says so otherwise."""
import json
import os

import pytest

from . import paths


def load(name):
    path = os.path.join(paths.VECTORS, name)
    if not os.path.exists(path):
        if os.environ.get("SA_REQUIRE_VECTORS") == "1":
            raise FileNotFoundError(path)
        return None
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def cases(name, *groups):
    """pytest parameters of a file's cases, all or those of some groups."""
    data = load(name)
    if data is None:
        return [pytest.param(None, id="missing", marks=pytest.mark.skip(
            reason="the vector file %s is not there" % name))]
    return [pytest.param(case, id=case["id"]) for case in data["cases"]
            if not groups or case["group"] in groups]
