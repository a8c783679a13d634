"""Names, ports and protocols of services, and endpoint objects of the odd kinds."""

from __future__ import annotations

import pytest
from made_resources import gateway, inventory, resource, to, virtual_service

from fastgw.compiler.compile import CompileOptions, compile_plan
from fastgw.compiler.destinations import Finder
from fastgw.compiler.registry import Registry, port_protocol
from fastgw.model.plan import Cluster, Endpoint
from fastgw.model.resource import Resource


@pytest.mark.parametrize(
    ("app_protocol", "name", "protocol"),
    [
        (None, "http-web", "http"),
        (None, "grpc", "grpc"),
        (None, "grpc-web-x", "grpc-web"),
        (None, "web", ""),
        ("kubernetes.io/h2c", "http", "http2"),
        ("kubernetes.io/ws", "tcp", "http"),
        ("GRPC", "", "grpc"),
        ("example.com/own", "http2-x", "http2"),
    ],
)
def test_protocol_of_a_port(app_protocol: str | None, name: str, protocol: str) -> None:
    assert port_protocol(app_protocol, name) == protocol


def one_cluster(*others: Resource, host: str = "web", port: int = 80) -> Cluster:
    result = compile_plan([gateway(), virtual_service("vs", "a.com", to(host, port)), *others])
    (cluster,) = result.plan.clusters.values()
    return cluster


def service(**spec: object) -> Resource:
    return resource("Service", "web", {"ports": [{"name": "http", "port": 80}], **spec})


def test_not_ready_endpoints_of_a_service_that_publishes_them() -> None:
    spec = {
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}],
    }
    entry = resource("EndpointSlice", "web-1", spec, labels={"kubernetes.io/service-name": "web"})
    assert not one_cluster(service(), entry).endpoints[0].healthy
    assert one_cluster(service(publishNotReadyAddresses=True), entry).endpoints[0].healthy


def test_slices_of_names_are_not_read() -> None:
    spec = {"addressType": "FQDN", "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["a.example.org"]}]}
    entry = resource("EndpointSlice", "web-1", spec, labels={"kubernetes.io/service-name": "web"})
    assert one_cluster(service(), entry).endpoints == []


def test_an_unnamed_port_has_unnamed_slices() -> None:
    spec = {"addressType": "IPv6", "ports": [{"port": 8080}], "endpoints": [{"addresses": ["fd00::1"]}]}
    entry = resource("EndpointSlice", "web-1", spec, labels={"kubernetes.io/service-name": "web"})
    cluster = one_cluster(resource("Service", "web", {"ports": [{"port": 80}]}), entry)
    assert cluster.endpoints == [Endpoint("fd00::1", 8080)]


def test_endpoints_objects_count_only_without_slices() -> None:
    subsets = [{"addresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "http", "port": 9090}]}]
    older = resource("Endpoints", "web", {"subsets": subsets})
    assert one_cluster(service(), older).endpoints == [Endpoint("10.0.0.9", 9090)]
    spec = {"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": []}
    newer = resource("EndpointSlice", "web-1", spec, labels={"kubernetes.io/service-name": "web"})
    assert one_cluster(service(), older, newer).endpoints == []


def test_an_address_needs_no_resolver() -> None:
    cluster = one_cluster(host="10.0.0.7", port=8080)
    assert (cluster.discovery, cluster.endpoints) == ("static", [Endpoint("10.0.0.7", 8080)])


def test_an_external_name_without_ports_leads_on() -> None:
    alias = resource("Service", "web", {"type": "ExternalName", "externalName": "Api.Example.org"})
    cluster = one_cluster(alias)
    assert (cluster.name, cluster.endpoints) == ("outbound|80||api.example.org", [Endpoint("api.example.org", 80, lookup="all")])


def test_a_visible_entry_comes_before_a_hidden_one() -> None:
    spec = {"hosts": ["x.org"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "STATIC"}
    hidden = resource("ServiceEntry", "hidden", {**spec, "exportTo": ["."], "endpoints": [{"address": "10.0.0.1"}]})
    shown = resource("ServiceEntry", "shown", {**spec, "endpoints": [{"address": "10.0.0.2"}]})
    assert one_cluster(hidden, shown, host="x.org").endpoints == [Endpoint("10.0.0.2", 80)]


def test_names_are_looked_up_in_any_case() -> None:
    finder = Finder(Registry(inventory(service()), "istio-system"), {"Fixed": ("10.0.0.1", None)})
    found = finder.find("WEB.default.svc.cluster.local", "other")
    assert found is not None and found.records[0].source is not None
    assert finder.find("fixed", "a") is not finder.find("fixed", "b"), "a short name belongs to its namespace"
    assert finder.find("fixed.x", "a") is finder.find("FIXED.x", "b")


def test_unix_socket_as_a_fixed_answer() -> None:
    result = compile_plan(
        [gateway(), virtual_service("vs", "a.com", to("web"))], CompileOptions(resolve={"web": ("unix:/run/x.sock", None)})
    )
    (cluster,) = result.plan.clusters.values()
    assert cluster.endpoints == [Endpoint("unix:/run/x.sock", 0)]
