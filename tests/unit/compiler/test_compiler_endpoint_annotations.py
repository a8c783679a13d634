"""Values of the annotations on ServiceEntries and DestinationRules."""

from __future__ import annotations

import pytest
from made_resources import resource

from fastgw.compiler.endpoint_annotations import (
    HEALTH_CHECK,
    SRV,
    EndpointWishes,
    endpoint_wishes,
    health_check_of,
    parse_health_check,
)
from fastgw.compiler.report import Report
from fastgw.model.plan import HealthCheck
from fastgw.model.resource import Resource


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("http:/", HealthCheck("http", "/")),
        ("http:/healthz?full=1", HealthCheck("http", "/healthz?full=1")),
        ("http:/h; interval = 1m ; timeout=1s", HealthCheck("http", "/h", interval_ms=60_000, timeout_ms=1_000)),
        ("http:/h;healthy=1;unhealthy=10;port=9000", HealthCheck("http", "/h", healthy=1, unhealthy=10, port=9000)),
        ("http:/h;host=app.test:80;expect=200,301-399", HealthCheck("http", "/h", "app.test:80", "", ((200, 200), (301, 399)))),
        ("tcp", HealthCheck("tcp")),
        ("tcp;interval=100ms", HealthCheck("tcp", interval_ms=100)),
        ("grpc", HealthCheck("grpc")),
        ("grpc:shop.v1.Cart;timeout=1h", HealthCheck("grpc", service="shop.v1.Cart", timeout_ms=3_600_000)),
        ("off", None),
    ],
)
def test_health_checks(text: str, check: HealthCheck | None) -> None:
    assert parse_health_check(text) == check


@pytest.mark.parametrize(
    "text",
    [
        "", "http", "http:", "http:healthz", "http:/a b", "http:/a\r\nx: y", "https:/", "tcp:", "tcp:80", "off:",
        "off;interval=1s", "exec", "grpc:a b", "http:/;interval", "http:/;interval=", "http:/;interval=5",
        "http:/;interval=99ms", "http:/;timeout=2h", "http:/;healthy=0", "http:/;unhealthy=1001", "http:/;unhealthy=-1",
        "http:/;port=65536", "http:/;port=http", "http:/;expect=", "http:/;expect=99", "http:/;expect=600",
        "http:/;expect=299-200", "http:/;expect=2xx", "http:/;host=", "http:/;host=a b", "tcp;host=a", "grpc;expect=200",
        "tcp;path=/", "http:/;;", "HTTP:/",
    ],
)  # fmt: skip
def test_what_is_no_health_check(text: str) -> None:
    with pytest.raises(ValueError):
        parse_health_check(text)


def annotated(kind: str, **annotations: str) -> Resource:
    spec = {"host": "a.test"} if kind == "DestinationRule" else {"hosts": ["a.test"]}
    names = {"check": HEALTH_CHECK, "srv": SRV}
    return resource(kind, "a", spec, annotations={names.get(key, key): value for key, value in annotations.items()})


def test_a_rule_has_its_say_before_the_service_entry() -> None:
    entry, silent = annotated("ServiceEntry", check="tcp"), annotated("DestinationRule")
    grpc, off = annotated("DestinationRule", check="grpc"), annotated("DestinationRule", check="off")
    assert health_check_of(entry, [silent]) == HealthCheck("tcp")
    assert health_check_of(entry, [silent, grpc, off]) == HealthCheck("grpc")
    assert health_check_of(entry, [off, grpc]) is None
    assert health_check_of(None, []) is None


def test_what_is_not_understood_is_reported_and_counts_as_not_there() -> None:
    report = Report()
    wishes = endpoint_wishes(annotated("ServiceEntry", check="http:healthz", srv="_a._tcp.B.test"), report)
    assert wishes == EndpointWishes(srv="_a._tcp.b.test")
    [found] = report.diagnostics
    assert (found.severity, found.code, found.path) == ("warning", "FGW0110", f"metadata.annotations[{HEALTH_CHECK}]")


def test_a_rule_has_no_srv() -> None:
    report = Report()
    assert endpoint_wishes(annotated("DestinationRule", srv="_a._tcp.b.test"), report) == EndpointWishes()
    assert "a DestinationRule has" in report.diagnostics[0].message
