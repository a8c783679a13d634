"""Every test of the data plane is a leak test: its gateways are closed and must leave nothing behind."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dataplane_support import Gateway

from fastgw.dataplane import context


@pytest.fixture(scope="session", autouse=True)
def _quick_collections() -> Iterator[None]:
    """What is imported by now is never garbage: collections look at the tests' own objects only."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def make_gateway() -> Iterator[Callable[..., Gateway]]:
    """Gateway(**options); at the end nothing may be alive and no bug may have been caught."""
    made: list[Gateway] = []

    def make(**options: Any) -> Gateway:
        made.append(Gateway(**options))
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()
        assert gateway.bugs == []
    gc.collect()
    assert context.images_alive() == 0


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    return make_gateway()
