"""Several Gateways, ports and addresses; selectors, namespaces, what binds to what."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from .conftest import StartGateway
from .support.client import Client, fetch, request_bytes
from .support.config import Document, gateway, gateway_of, http_server, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.ports import free_port, listening_inodes


@pytest.fixture
def services(make_origin: Callable[..., RecordingOrigin]) -> list[Document]:
    origins = [make_origin(name) for name in ("alpha", "beta")]
    return [service_entry(o.name, [("127.0.0.1", o.port)], namespace="default") for o in origins]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def served(gateway: Gateway, host: str, wanted: int = 80) -> str | None:
    return gateway.get("/", host, wanted=wanted).value("x-origin")


def test_two_gateways_share_a_port(start_gateway: StartGateway, services: list[Document]) -> None:
    running = start_gateway(
        [
            gateway("a", ["a.test"]),
            gateway("b", ["b.test"]),
            virtual_service("a", ["a.test"], [route("alpha")], gateways=["a"]),
            virtual_service("b", ["b.test"], [route("beta")], gateways=["b"]),
            virtual_service("wrong", ["b.test"], [route("alpha", match=[{"uri": {"prefix": "/"}}])], gateways=["a"]),
            *services,
        ]
    )
    assert (served(running, "a.test"), served(running, "b.test"), served(running, "c.test")) == ("alpha", "beta", None)


def test_each_port_has_its_own_hosts(start_gateway: StartGateway, services: list[Document]) -> None:
    running = start_gateway(
        [
            gateway_of("gw", [http_server(["a.test"], 80), http_server(["b.test"], 8081)]),
            virtual_service("v", ["a.test", "b.test"], [route("alpha")]),
            *services,
        ],
        ports=(80, 8081),
    )
    assert (served(running, "a.test"), served(running, "b.test")) == ("alpha", None)
    assert (served(running, "a.test", 8081), served(running, "b.test", 8081)) == (None, "alpha")


def test_a_port_without_a_virtual_service_answers_404(start_gateway: StartGateway, services: list[Document]) -> None:
    running = start_gateway(
        [
            gateway_of("gw", [http_server(["*"], 80), http_server(["none.test"], 8081)]),
            virtual_service("v", ["a.test"], [route("alpha")]),
            *services,
        ],
        ports=(80, 8081),
    )
    answer = running.get("/", "none.test", wanted=8081)
    assert (answer.status, answer.text) == (404, "")


def test_bind_addresses_of_servers(start_gateway: StartGateway, services: list[Document]) -> None:
    port = free_port("127.0.0.2")
    servers = [{**http_server(["*"], port), "bind": "127.0.0.2"}, http_server(["*"], 80)]
    rules = [route("beta", match=[{"port": port}]), route("alpha")]
    running = start_gateway([gateway_of("gw", servers), virtual_service("v", ["*"], rules), *services])
    assert fetch(port, "/", "x.test", address="127.0.0.2").value("x-origin") == "beta"
    assert served(running, "x.test") == "alpha"
    with pytest.raises(ConnectionRefusedError):
        Client(port, "127.0.0.1")


def test_the_same_port_on_two_addresses(start_gateway: StartGateway, services: list[Document]) -> None:
    port = free_port("127.0.0.2")
    servers = [{**http_server(["*"], port), "bind": f"127.0.0.{n}"} for n in (2, 3)]
    servers[1]["port"] = {**servers[1]["port"], "name": "http-second"}
    documents = [
        gateway_of("two", [servers[0]]),
        gateway_of("three", [servers[1]]),
        virtual_service("v2", ["*"], [route("alpha")], gateways=["two"]),
        virtual_service("v3", ["*"], [route("beta")], gateways=["three"]),
        *services,
    ]
    start_gateway(documents, ports=())
    assert [fetch(port, "/", "x", address=f"127.0.0.{n}").value("x-origin") for n in (2, 3)] == ["alpha", "beta"]


def test_the_default_is_every_address_of_both_families(start_gateway: StartGateway, services: list[Document]) -> None:
    running = start_gateway([gateway(hosts=["*"]), virtual_service("v", ["*"], [route("alpha")]), *services], bind=None)
    for address in ("127.0.0.1", "127.0.0.9", *(["::1"] if has_ipv6() else [])):
        answer = fetch(running.port(), "/", "x.test", address=address)
        assert answer.value("x-origin") == "alpha"
        headers = dict(json.loads(answer.body)["headers"])
        assert headers["x-forwarded-for"] == headers["x-envoy-external-address"] == {"::1": "::1"}.get(address, "127.0.0.1")


def test_gateways_for_others_are_left_alone(start_gateway: StartGateway, services: list[Document]) -> None:
    running = start_gateway(
        [
            gateway_of("mine", [http_server(["a.test"], 80)], selector={"istio": "edge", "zone": "x"}),
            gateway_of("theirs", [http_server(["b.test"], 8081)], selector={"istio": "other"}),
            virtual_service("v", ["*"], [route("alpha")], gateways=["mine", "theirs"]),
            *services,
        ],
        ports=(80, 8081),
        options=["--labels", "istio=edge,zone=x,more=y"],
    )
    assert served(running, "a.test") == "alpha"
    assert not listening_inodes(running.port(8081))


def test_namespaces_are_part_of_a_gateways_name(start_gateway: StartGateway, services: list[Document]) -> None:
    running = start_gateway(
        [
            gateway("gw", ["*"], namespace="infra"),
            virtual_service("bare", ["bare.test"], [route("alpha")], gateways=["gw"]),
            virtual_service("full", ["full.test"], [route("alpha")], gateways=["infra/gw"]),
            *services,
        ]
    )
    assert (served(running, "full.test"), served(running, "bare.test")) == ("alpha", None)


def test_hosts_with_a_namespace_admit_only_its_virtual_services(start_gateway: StartGateway, services: list[Document]) -> None:
    running = start_gateway(
        [
            gateway("gw", ["team/*.test", "./own.example"], namespace="infra"),
            virtual_service("in", ["in.test"], [route("alpha.default.svc.cluster.local")], gateways=["infra/gw"], namespace="team"),
            virtual_service("out", ["out.test"], [route("alpha")], gateways=["infra/gw"]),
            virtual_service("own", ["own.example"], [route("beta")], gateways=["gw"], namespace="infra"),
            *(
                service_entry(
                    f"{s['spec']['hosts'][0]}.default.svc.cluster.local",
                    [("127.0.0.1", s["spec"]["endpoints"][0]["ports"]["http"])],
                    name=f"full-{i}",
                )
                for i, s in enumerate(services)
            ),
            *services,
        ]
    )
    assert served(running, "out.test") is None
    assert served(running, "in.test") == "alpha"
    assert served(running, "own.example") == "beta"


def test_a_broken_server_leaves_the_other_servers(start_gateway: StartGateway, services: list[Document]) -> None:
    servers = [http_server(["short"], 8081), http_server(["a.test"], 80)]
    running = start_gateway([gateway_of("gw", servers), virtual_service("v", ["a.test"], [route("alpha")]), *services])
    assert served(running, "a.test") == "alpha"
    (found,) = [d for d in running.admin("/config/diagnostics") if d["severity"] == "error"]
    assert found["path"].startswith("spec.servers[0]")


def test_a_virtual_service_for_the_mesh_only_is_not_served(start_gateway: StartGateway, services: list[Document]) -> None:
    mesh = virtual_service("mesh", ["a.test"], [route("alpha")])
    del mesh["spec"]["gateways"]
    running = start_gateway([gateway(hosts=["*"]), mesh, virtual_service("b", ["b.test"], [route("beta")]), *services])
    assert (served(running, "a.test"), served(running, "b.test")) == (None, "beta")


def test_many_hosts(start_gateway: StartGateway, services: list[Document]) -> None:
    rules = [virtual_service(f"v{i}", [f"h{i}.test"], [route(("alpha", "beta")[i % 2])]) for i in range(500)]
    running = start_gateway([gateway(hosts=["*"]), *rules, *services], workers=1)
    with running.client() as client:
        for i in range(0, 500, 7):
            assert client.request(request_bytes("GET", "/", f"h{i}.test")).value("x-origin") == ("alpha", "beta")[i % 2]
    eventually(lambda: running.metrics().total("fastgw_config_hosts") >= 500)
