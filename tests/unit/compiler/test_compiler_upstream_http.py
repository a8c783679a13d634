"""connectionPool.http of DestinationRules: what is spoken to a cluster (the combinations are in tests/golden, Q16)."""

from __future__ import annotations

from typing import Any

import pytest
from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler.compile import compile_plan
from fastgw.model.plan import Cluster


def cluster_under(http: dict[str, Any], port_name: str = "grpc") -> tuple[Cluster, list[str]]:
    """Of a service whose DestinationRule has this block, and the paths that have no effect."""
    service = resource("Service", "web", {"ports": [{"name": port_name, "port": 80}]})
    rule = resource("DestinationRule", "web", {"host": "web", "trafficPolicy": {"connectionPool": {"http": http}}})
    result = compile_plan([gateway(), virtual_service("vs", "a.com", to("web")), service, rule])
    (cluster,) = result.plan.clusters.values()
    return cluster, [found.path for found in result.diagnostics if found.code == "FGW0105"]


@pytest.mark.parametrize(
    ("alive", "expected_ms"),
    [
        ({"interval": "2s", "timeout": "500ms"}, (2000, 500)),
        ({"interval": "2s"}, (0, 0)),
        ({"timeout": "2s"}, (0, 0)),
        ({"interval": "0s", "timeout": "1s"}, (0, 0)),
        ({"interval": "9000h", "timeout": "9000h"}, (0xFFFF_FFFF, 0xFFFF_FFFF)),
    ],
)
def test_times_of_ping(alive: dict[str, str], expected_ms: tuple[int, int]) -> None:
    cluster, _ = cluster_under({"http2KeepAlive": alive})
    assert (cluster.ping_interval_ms, cluster.ping_timeout_ms) == expected_ms


def test_what_is_for_http2_alone_leaves_http1_as_it_was() -> None:
    cluster, ignored = cluster_under({"maxConcurrentStreams": 5, "http2KeepAlive": {"interval": "2s", "timeout": "1s"}}, "http")
    assert (cluster.protocol, cluster.max_streams, cluster.ping_interval_ms, ignored) == ("http1", 0, 0, [])


def test_the_clients_protocol_comes_before_that_of_the_port() -> None:
    assert cluster_under({"useClientProtocol": True})[0].protocol == "client"
    assert cluster_under({"h2UpgradePolicy": "DO_NOT_UPGRADE"})[0].protocol == "http2", "a port of HTTP/2 is none to upgrade"
