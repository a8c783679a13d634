"""Destinations that are names: a real DNS server whose answers change while requests run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import StartGateway
from .support.config import Document, dns_entry, gateway, route, service_entry, virtual_service
from .support.gateway import Gateway, run_cli
from .support.name_server import NameServer
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "webapp.test"
MakeOrigin = Callable[..., RecordingOrigin]


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


@pytest.fixture
def trio(make_origin: MakeOrigin) -> list[RecordingOrigin]:
    """Three upstreams with one port at three addresses."""
    first = make_origin("one", address="127.0.0.1")
    return [first, *(make_origin(name, address=ip, port=first.port) for name, ip in (("two", "127.0.0.2"), ("three", "127.0.0.3")))]


def routed(entry: Document) -> list[Document]:
    host = entry["spec"]["hosts"][0]
    return [gateway(hosts=[HOST]), virtual_service("webapp", [HOST], [route(host, 8080)]), entry]


@pytest.fixture
def start_resolved(start_gateway: StartGateway) -> StartGateway:
    """Names have been asked for when it returns; a gateway that starts waits a second for that."""

    def start(*documents: Any, **options: Any) -> Gateway:
        running = start_gateway(*documents, **options)
        eventually(lambda: all(name["addresses"] or name["error"] for name in running.admin("/dns")), "names are known")
        return running

    return start


def answering(running: Gateway, requests: int = 20) -> Counter[str]:
    """Who answers; every request has to be."""
    with running.client() as client:
        answers = [client.get("/", HOST) for _ in range(requests)]
    assert {answer.status for answer in answers} == {200}, Counter(answer.text for answer in answers)
    return Counter(json.loads(answer.body)["origin"] for answer in answers)


def test_several_names_and_an_address(start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]) -> None:
    dns.zone |= {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.2"]}
    port = trio[0].port
    entry = dns_entry("app.example", "a.example", port)
    entry["spec"]["endpoints"] += [
        {"address": "b.example", "ports": {"http": port}},
        {"address": "127.0.0.3", "ports": {"http": port}},
    ]
    running = start_resolved(routed(entry), options=dns.option)
    assert set(answering(running, 60)) == {"one", "two", "three"}


def test_subsets_of_names(start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]) -> None:
    dns.zone |= {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.2"]}
    entry = dns_entry("app.example", "a.example", trio[0].port)
    entry["spec"]["endpoints"][0]["labels"] = {"version": "v1"}
    entry["spec"]["endpoints"].append({"address": "b.example", "ports": {"http": trio[0].port}, "labels": {"version": "v2"}})
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "app"},
        "spec": {"host": "app.example", "subsets": [{"name": "v2", "labels": {"version": "v2"}}]},
    }
    documents = routed(entry)
    documents[1]["spec"]["http"][0]["route"][0]["destination"]["subset"] = "v2"
    assert set(answering(start_resolved([*documents, rule], options=dns.option))) == {"two"}


def test_a_changed_answer_is_followed_and_no_request_fails(
    start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]
) -> None:
    dns.zone["app.example"] = ["127.0.0.1", "127.0.0.2"]
    running = start_resolved(routed(dns_entry("app.example", "app.example", trio[0].port)), options=dns.option)
    assert set(answering(running, 40)) == {"one", "two"}
    pids, generation = running.worker_pids(), running.metrics().total("fastgw_config_generation")
    dns.zone["app.example"] = ["127.0.0.2", "127.0.0.3"]
    eventually(lambda: set(answering(running, 40)) == {"two", "three"})
    assert (running.worker_pids(), running.metrics().total("fastgw_config_generation")) == (pids, generation)
    two = [connection for connection in trio[1].connections if connection.ended]
    assert not two, "connections to an address that stays are kept"


def test_the_last_good_answer_outlives_the_server(
    start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]
) -> None:
    dns.zone["app.example"] = ["127.0.0.1"]
    running = start_resolved(routed(dns_entry("app.example", "app.example", trio[0].port)), options=dns.option)
    assert set(answering(running)) == {"one"}
    dns.zone["app.example"] = None
    eventually(lambda: running.admin("/dns")[0]["error"] != "")
    assert set(answering(running)) == {"one"}
    dns.zone["app.example"] = ["127.0.0.2"]
    eventually(lambda: set(answering(running)) == {"two"})


def test_time_to_live_is_respected(start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]) -> None:
    dns.zone |= {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.2"]}
    dns.ttl_s = 3600
    entry = dns_entry("app.example", "a.example", trio[0].port)
    entry["spec"]["endpoints"].append({"address": "b.example", "ports": {"http": trio[0].port}})
    running = start_resolved(routed(entry), options=dns.option, workers=2)
    answering(running, 40)
    asked = {name["name"]: (name["asked"], name["ttl_s"]) for name in running.admin("/dns")}
    assert asked == {"a.example": (1, 300.0), "b.example": (1, 300.0)}, "once for both workers, and the ceiling"


def test_dns_round_robin_uses_one_address_at_a_time(
    start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]
) -> None:
    dns.zone["app.example"] = ["127.0.0.2", "127.0.0.1"]
    entry = dns_entry("app.example", "app.example", trio[0].port)
    entry["spec"]["resolution"] = "DNS_ROUND_ROBIN"
    running = start_resolved(routed(entry), options=dns.option)
    assert set(answering(running)) == {"two"}
    dns.zone["app.example"] = ["127.0.0.3", "127.0.0.2"]
    eventually(lambda: set(answering(running)) == {"three"})


def test_srv_records_bring_ports_and_weights(start_resolved: StartGateway, dns: NameServer, make_origin: MakeOrigin) -> None:
    heavy, light, spare = (make_origin(name) for name in ("heavy", "light", "spare"))
    dns.zone |= {
        "_http._tcp.example": [
            f"10 9 {heavy.port} here.example",
            f"10 1 {light.port} here.example",
            f"20 1 {spare.port} here.example",
        ],
        "here.example": ["127.0.0.1"],
    }
    entry = service_entry("app.example", [])
    entry["metadata"]["annotations"] = {"gateway.fastgw.io/srv": "_http._tcp.example"}
    entry["spec"] |= {"resolution": "DNS"}
    del entry["spec"]["endpoints"]
    running = start_resolved(routed(entry), options=dns.option)
    assert set(answering(running, 40)) <= {"heavy", "light"}
    listed = run_cli("proxy-config", "endpoints", "--admin", f"127.0.0.1:{running.admin_port}", "-o", "json")
    weights = {entry["port"]: entry["weight"] for entry in json.loads(listed.stdout)}
    assert weights == {heavy.port: 9 * 64, light.port: 64, spare.port: 64}


def test_srv_records_of_a_lower_priority_help_out(start_resolved: StartGateway, dns: NameServer, make_origin: MakeOrigin) -> None:
    first, spare = make_origin("first"), make_origin("spare")
    dns.zone |= {
        "_http._tcp.example": [f"1 1 {first.port} here.example", f"2 1 {spare.port} here.example"],
        "here.example": ["127.0.0.1"],
    }
    entry = service_entry("app.example", [])
    entry["metadata"]["annotations"] = {
        "gateway.fastgw.io/srv": "_http._tcp.example",
        "gateway.fastgw.io/health-check": "tcp;interval=100ms;timeout=5s;unhealthy=1",
    }
    entry["spec"] |= {"resolution": "DNS"}
    del entry["spec"]["endpoints"]
    running = start_resolved(routed(entry), options=dns.option)
    assert set(answering(running)) == {"first"}
    first.stop()
    eventually(lambda: set(answering(running)) == {"spare"})


def test_a_name_that_appears_later(start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]) -> None:
    running = start_resolved(routed(dns_entry("app.example", "late.example", trio[0].port)), options=dns.option)
    answer = running.get("/", HOST)
    assert (answer.status, answer.text) == (503, "no healthy upstream")
    dns.zone["late.example"] = ["127.0.0.1"]
    eventually(lambda: running.get("/", HOST).status == 200)


def test_other_names_of_a_destination_take_over(start_resolved: StartGateway, dns: NameServer, trio: list[RecordingOrigin]) -> None:
    dns.zone |= {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.2"]}
    running = start_resolved(routed(dns_entry("app.example", "a.example", trio[0].port)), options=dns.option)
    assert set(answering(running)) == {"one"}
    for name, origin in (("b.example", "two"), ("a.example", "one")):
        running.write("main.yaml", routed(dns_entry("app.example", name, trio[0].port)))
        eventually(lambda origin=origin: set(answering(running)) == {origin})  # type: ignore[misc]
