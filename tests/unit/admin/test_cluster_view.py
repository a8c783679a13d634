"""Clusters of an image with the live state of their endpoints."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from fastgw.admin.cluster_view import endpoint_text, view_clusters
from fastgw.admin.metrics import render
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Cluster, Endpoint, Plan, Policy, Pool
from fastgw.native._native import lib
from fastgw.supervisor import memfd
from fastgw.supervisor.settings import Settings
from fastgw.supervisor.state import UPPER_CELLS_FROM, DnsAddress, StateSegment
from fastgw.supervisor.supervisor import Supervisor

NAME = "outbound|80||web.example"
OVER_DNS = "outbound|8080||dns.example"


RESOLVED = Cluster(OVER_DNS, "dns.example", 8080, discovery="dns", endpoints=[Endpoint("dns.example", 8080, lookup="all")])


@pytest.fixture
def numbers() -> StateNumbers:
    return StateNumbers()


@pytest.fixture
def image_fd(numbers: StateNumbers) -> Iterator[int]:
    endpoints = [Endpoint("10.0.0.1", 81), Endpoint("2001:db8::1", 82, healthy=False), Endpoint("unix:/run/web.sock", 0)]
    clusters = {
        NAME: Cluster(NAME, "web.example", 80, subset="v1", endpoints=endpoints, lb="round_robin"),
        OVER_DNS: RESOLVED,
    }
    fd = memfd.make_sealed("image", write_image(Plan(clusters=clusters), numbers, 1))
    yield fd
    os.close(fd)


@pytest.fixture
def state() -> Iterator[StateSegment]:
    made = StateSegment(1)
    yield made
    made.close()


def test_static_endpoints_with_their_cells(image_fd: int, numbers: StateNumbers, state: StateSegment) -> None:
    cell = state._state.cells[numbers.cell_of(NAME, "10.0.0.1", 81)]
    cell.active, cell.requests, cell.failures, cell.flags = 2, 9, 1, lib.FGW_CELL_EJECTED
    (web,) = [cluster for cluster in view_clusters(image_fd, state, {}) if cluster["name"] == NAME]
    assert (web["host"], web["port"], web["subset"], web["lb"], web["discovery"]) == (
        "web.example",
        80,
        "v1",
        "round_robin",
        "static",
    )
    found = {endpoint_text(endpoint): endpoint for endpoint in web["endpoints"]}
    assert list(found) == ["10.0.0.1:81", "[2001:db8::1]:82", "unix:/run/web.sock"]
    first = found["10.0.0.1:81"]
    assert (first["active"], first["requests"], first["failures"], first["ejected"], first["healthy"]) == (2, 9, 1, True, False)
    assert (found["[2001:db8::1]:82"]["healthy"], found["unix:/run/web.sock"]["healthy"]) == (False, True)


def test_resolved_endpoints_come_from_their_slot(image_fd: int, numbers: StateNumbers, state: StateSegment) -> None:
    def seen() -> tuple[str, list[str]]:
        (cluster,) = [cluster for cluster in view_clusters(image_fd, state, {}) if cluster["name"] == OVER_DNS]
        return cluster["dnsStatus"], [endpoint_text(endpoint) for endpoint in cluster["endpoints"]]

    assert seen() == ("unknown", [])
    slot = numbers.dns_slot_of(RESOLVED)
    state.write_dns(slot, lib.FGW_DNS_OK, [DnsAddress(b"\x0a\0\0\5", 8080, UPPER_CELLS_FROM)])
    assert seen() == ("ok", ["10.0.0.5:8080"])
    state.write_dns(slot, lib.FGW_DNS_FAILED, [])
    assert seen() == ("failed", [])


def test_only_used_endpoints_are_metrics(image_fd: int, numbers: StateNumbers) -> None:
    async def main() -> None:
        supervisor = Supervisor(Settings(paths=["x"], workers=1))
        cell = supervisor.state._state.cells[numbers.cell_of(NAME, "10.0.0.1", 81)]
        cell.active, cell.requests = 3, 5
        lines = [line for line in render(supervisor, image_fd).decode().splitlines() if line.startswith("fastgw_endpoint_")]
        labels = f'{{cluster="{NAME}",endpoint="10.0.0.1:81"}}'
        assert lines == [
            f"fastgw_endpoint_requests_active{labels} 3.0",
            f"fastgw_endpoint_requests_total{labels} 5.0",
            f"fastgw_endpoint_failures_total{labels} 0.0",
            f"fastgw_endpoint_healthy{labels} 1.0",
            f"fastgw_endpoint_ejected{labels} 0.0",
        ]
        await supervisor._close()

    asyncio.run(main())


def test_what_a_cluster_with_limits_has_under_way(numbers: StateNumbers, state: StateSegment) -> None:
    limited = Cluster(NAME, "web.example", 80, policy=Policy(pool=Pool(max_connections=5)))
    fd = memfd.make_sealed("image", write_image(Plan(clusters={NAME: limited}), numbers, 1))
    counts = state._state.clusters[numbers.cluster_of(NAME)]
    counts.all.connections, counts.all.pending, counts.all.requests, counts.all.retries = 4, 3, 2, 1
    counts.overflows, counts.ejections = 7, 6
    (web,) = view_clusters(fd, state, {})
    os.close(fd)
    assert web["counts"] == {"connections": 4, "pending": 3, "requests": 2, "retries": 1, "overflows": 7, "ejections": 6}
