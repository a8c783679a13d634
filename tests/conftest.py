"""Shared by all tests: Hypothesis runs the same examples each time and has no deadline, for the machine may be busy."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fastgw", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("fastgw")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fuzz targets, half a minute each, are spread between the other files: in a row they would all fall to one process at the
    end of a parallel run, while the others have nothing left to do."""
    long = [item for item in items if item.path.parent.name == "fuzz"]
    rest = [item for item in items if item.path.parent.name != "fuzz"]
    if not long or not rest:
        return
    starts = [at for at in range(len(rest)) if at == 0 or rest[at].path != rest[at - 1].path]
    places = [starts[at * len(starts) // len(long)] for at in range(len(long))]
    for at, item in reversed(list(zip(places, long, strict=True))):
        rest.insert(at, item)
    items[:] = rest
