"""Every reliability case against the running gateway: what clients and upstreams must never be able to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .support.cases import Bench, Case, judge, load, observe
from .support.config import gateway, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.response_cases import judge_response, observe_response

DATA = Path(__file__).with_name("data")
CASES = load(DATA / "reliability_cases.jsonl") + load(DATA / "strict_cases.jsonl")
REQUEST_CASES = [case for case in CASES if case.group != "resp"]
RESPONSE_CASES = [case for case in CASES if case.group == "resp"]


@pytest.fixture(scope="module")
def bench_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Bench]]:
    """One worker, so that one request through it is a barrier for what it did before."""
    with RecordingOrigin("webapp") as webapp, RecordingOrigin("admin") as admin:
        documents = [gateway(hosts=["webapp.test", "admin.test"])]
        for origin in (webapp, admin):
            host = f"{origin.name}.test"
            documents += [
                virtual_service(origin.name, [host], [route(origin.name, 8080)]),
                service_entry(origin.name, [("127.0.0.1", origin.port)]),
            ]
        with Gateway(tmp_path_factory.mktemp("reliability"), documents, workers=1) as running:
            yield running, Bench(running.port(), webapp, admin)


@pytest.fixture
def bench(bench_gateway: tuple[Gateway, Bench]) -> Iterator[Bench]:
    running, made = bench_gateway
    pids = [worker["pid"] for worker in running.admin("/workers")]
    yield made
    assert [worker["pid"] for worker in running.admin("/workers")] == pids, f"the worker died: {running.said()}"
    running.assert_no_leaks()


@pytest.mark.parametrize("case", REQUEST_CASES, ids=lambda case: case.id)
def test_request(case: Case, bench: Bench) -> None:
    faults = judge(case, observe(case, bench))
    assert not faults, f"{case.data.get('why')}: {faults}"


@pytest.mark.parametrize("case", RESPONSE_CASES, ids=lambda case: case.id)
def test_response(case: Case, bench: Bench) -> None:
    outcome = observe_response(case, bench)
    faults = judge_response(case, outcome, bench)
    assert not faults, f"{case.data.get('why')}: {faults}"


def test_the_data_is_whole() -> None:
    assert len(load(DATA / "reliability_cases.jsonl")) == 279
