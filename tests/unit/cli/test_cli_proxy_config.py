"""proxy-config: istioctl's columns, JSON, filters, and the same answers from a running gateway's admin API."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastgw.cli.config_view import view_files

Json = Callable[..., tuple[Any, int]]
Run = Callable[..., Result]


WILD = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""
SERVICE = """\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: s%d}
spec: {hosts: ["%s"], gateways: [gw], http: [{route: [{destination: {host: x.test, port: {number: 80}}}]}]}
"""


def rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [[cell.strip() for cell in line.split("     ") if cell.strip()] for line in result.stdout.splitlines()]


def test_listeners(config: str, run: Run) -> None:
    assert rows(run("proxy-config", "listeners", config)) == [
        ["ADDRESSES", "PORT", "MATCH", "DESTINATION"],
        ["0.0.0.0", "80", "ALL", "Route: http.80"],
        ["0.0.0.0", "8080", "ALL", "Route: http.8080"],
    ]


def test_routes(config: str, run: Run) -> None:
    table = rows(run("proxy-config", "routes", config, "--name", "http.80"))
    assert table[0] == ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]
    assert [row[3:] for row in table[1:]] == [
        ["/cart* [header x-user exact ann] [query v exact 2]", "shop.default"],
        ["/cart*", "shop.default"],
        ["/basket [method exact POST]", "shop.default"],
        ["/old*", "shop.default"],
    ]
    redirecting = rows(run("proxy-config", "routes", config, "--name", "http.8080"))
    assert redirecting[-1] == ["http.8080", "*.example.com:8080", "*.example.com", "/*", "301 to https"]


def test_routes_as_json(config: str, run_json: Json) -> None:
    (entry,), code = run_json("proxy-config", "routes", config, "--name", "http.80")
    assert code == 0
    assert (entry["virtualHost"], entry["domains"]) == ("shop.example.com:80", ["shop.example.com"])
    assert [(rule["virtualService"], rule["route"], rule["match"], rule["line"]) for rule in entry["rules"]] == [
        ("default/shop", 0, 0, 19),
        ("default/shop", 1, 0, 26),
        ("default/shop", 1, 1, 26),
        ("default/shop", 2, 0, 33),
    ]
    assert {rule["file"] for rule in entry["rules"]} == {config}


def test_clusters_and_their_filters(config: str, run: Run, run_json: Json) -> None:
    table = rows(run("proxy-config", "clusters", config))
    assert table == [
        ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"],
        ["cart.default.svc.cluster.local", "80", "-", "outbound", "EDS"],
        ["fixed.default.svc.cluster.local", "9000", "-", "outbound", "STRICT_DNS"],
    ]
    for words in (("--port", "9000"), ("--fqdn", "fixed.default.svc.cluster.local"), ("--fqdn", "Fixed.default")):
        (entry,), _ = run_json("proxy-config", "clusters", config, *words)
        assert (entry["fqdn"], entry["dnsName"]) == ("fixed.default.svc.cluster.local", "fixed")
    assert run_json("proxy-config", "clusters", config, "--subset", "v2") == ([], 0)


def test_endpoints(config: str, run: Run, run_json: Json) -> None:
    assert rows(run("proxy-config", "endpoints", config))[1:] == [
        ["10.0.0.1:8080", "HEALTHY", "OK", "outbound|80||cart.default.svc.cluster.local"],
        ["10.0.0.2:8080", "UNHEALTHY", "OK", "outbound|80||cart.default.svc.cluster.local"],
        ["fixed:9000", "UNKNOWN", "OK", "outbound|9000||fixed.default.svc.cluster.local"],
    ]
    (entry,), _ = run_json("proxy-config", "endpoints", config, "--address", "10.0.0.2")
    assert (entry["status"], entry["port"]) == ("UNHEALTHY", 8080)


def certificate(name: str) -> tuple[bytes, bytes, int]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(0xABC).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = builder.sign(key, hashes.SHA256())
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), text, made.serial_number


def test_secrets(config: str, tmp_path: Path, run_json: Json) -> None:
    chain, key, serial = certificate("a.example.com")
    mounted = tmp_path / "mounted" / "good"
    mounted.mkdir(parents=True)
    for name, data in (("tls.crt", chain), ("tls.key", key), ("ca.crt", chain)):
        (mounted / name).write_bytes(data)
    keyless = tmp_path / "secret.json"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keyless"}, "stringData": {"tls.crt": chain.decode()}}
    keyless.write_bytes(msgspec.json.encode(secret))
    entries, code = run_json("proxy-config", "secrets", config, str(keyless), "--secrets", str(tmp_path / "mounted"))
    assert code == 0
    assert [(entry["name"], entry["type"], entry["status"], entry["valid"]) for entry in entries] == [
        ("kubernetes://good", "Cert Chain", "ACTIVE", True),
        ("kubernetes://good-cacert", "CA", "ACTIVE", True),
        ("kubernetes://keyless", "Cert Chain", "WARMING", False),
    ]
    assert entries[0]["serialNumber"] == f"{serial:x}"
    assert entries[0]["dnsNames"] == ["a.example.com"]


def test_usage(config: str, run: Run) -> None:
    assert run("proxy-config", "nonsense", config).exit_code == 2
    assert run("proxy-config", "listeners", config, "--admin", "127.0.0.1:1").exit_code == 2
    assert run("proxy-config", "listeners", "--admin", "nonsense").exit_code == 2


# --- a running gateway ---


class UnixServer(HTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(str(self.server_address))
        self.server_name, self.server_port = "localhost", 0


def live_endpoint(address: str, port: int, **state: Any) -> dict[str, Any]:
    return {"address": address, "port": port, "healthy": True, "ejected": False, "active": 0, "requests": 0, "failures": 0} | state


def live_cluster(host: str, port: int, endpoints: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    full = f"{host}.default.svc.cluster.local"
    common = {"name": f"outbound|{port}||{full}", "host": full, "subset": "", "port": port, "lb": "least_request"}
    return common | {"discovery": "static", "endpoints": endpoints} | more


@pytest.fixture
def clusters() -> list[dict[str, Any]]:
    """The answer of GET /clusters; tests change it."""
    cart = live_cluster("cart", 80, [live_endpoint("10.0.0.1", 8080), live_endpoint("10.0.0.2", 8080, healthy=False)])
    return [live_cluster("fixed", 9000, [], discovery="dns", dnsStatus="unknown"), cart]


@pytest.fixture(params=["tcp", "unix"])
def admin(request: pytest.FixtureRequest, config: str, tmp_path: Path, clusters: list[dict[str, Any]]) -> Iterator[str]:
    """The documents that a gateway's admin API hands out, served from the same files."""
    view = view_files([config], {"istio": "ingressgateway"}, "istio-system", ())
    documents = {"/config/plan": msgspec.json.encode(view.plan), "/config/image": view.image_bytes(), "/config/options": b"{}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(clusters).encode() if self.path == "/clusters" else documents.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *words: object) -> None:
            pass

        def address_string(self) -> str:
            return "test"

    path = str(tmp_path / "admin.sock")
    server = UnixServer(path, Handler) if request.param == "unix" else HTTPServer(("127.0.0.1", 0), Handler)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"unix:{path}" if request.param == "unix" else f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_running_gateway_answers_the_same(admin: str, config: str, run: Run) -> None:
    for what in ("listeners", "routes", "clusters", "endpoints"):
        assert run("proxy-config", what, "--admin", admin).stdout == run("proxy-config", what, config).stdout
    request = ("GET", "http://shop.example.com/cart", "-o", "json")
    assert run("explain", "--admin", admin, *request).stdout == run("explain", config, *request).stdout


def test_live_endpoints(admin: str, clusters: list[dict[str, Any]], run: Run, run_json: Json) -> None:
    entries, _ = run_json("proxy-config", "endpoints", "--admin", admin)
    assert [(entry["endpoint"], entry["status"]) for entry in entries] == [
        ("10.0.0.1:8080", "HEALTHY"),
        ("10.0.0.2:8080", "UNHEALTHY"),
        ("fixed:9000", "UNKNOWN"),
    ]
    assert (entries[0]["active"], entries[0]["weight"], "requests" in entries[2]) == (0, 1, False)


def test_endpoints_as_they_are_now(admin: str, clusters: list[dict[str, Any]], run_json: Json) -> None:
    clusters[0] |= {"dnsStatus": "ok", "endpoints": [live_endpoint("::1", 9001, requests=7, name="fixed")]}
    clusters[1]["endpoints"][0] |= {"healthy": False, "ejected": True}
    entries, _ = run_json("proxy-config", "endpoints", "--admin", admin)
    assert [(entry["endpoint"], entry["status"], entry["outlierCheck"]) for entry in entries] == [
        ("10.0.0.1:8080", "UNHEALTHY", "FAILED"),
        ("10.0.0.2:8080", "UNHEALTHY", "OK"),
        ("[::1]:9001", "HEALTHY", "OK"),
    ]
    answer, code = run_json("explain", "--admin", admin, "GET", "http://shop.example.com/cart")
    assert (code, [each["endpoints"] for each in answer["destinations"]]) == (
        0,
        [["10.0.0.1:8080", "10.0.0.2:8080"], ["[::1]:9001"]],
    )


def test_a_name_that_dns_does_not_know(admin: str, clusters: list[dict[str, Any]], run_json: Json) -> None:
    clusters[0]["dnsStatus"] = "failed"
    entries, _ = run_json("proxy-config", "endpoints", "--admin", admin, "--status", "unhealthy")
    assert [entry["endpoint"] for entry in entries] == ["10.0.0.2:8080", "fixed:9000"]


def test_without_a_path_the_gateway_on_this_machine_is_meant(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgw.cli.proxy_config.DEFAULT_ADMIN", "unix:/nowhere/admin.sock")
    result = run("proxy-config", "routes")
    assert result.exit_code == 1
    assert "no gateway answers at unix:/nowhere/admin.sock" in result.output


def test_filters_of_endpoints_and_secrets(config: str, run_json: Json) -> None:
    entries, _ = run_json("proxy-config", "endpoints", config, "--cluster", "outbound|9000||fixed.default.svc.cluster.local")
    assert [entry["endpoint"] for entry in entries] == ["fixed:9000"]
    assert run_json("proxy-config", "endpoints", config, "--status", "HEALTHY", "--port", "8080")[0][0]["address"] == "10.0.0.1"
    assert run_json("proxy-config", "listeners", config, "--address", "0.0.0.0", "--port", "80")[0][0]["route"] == "http.80"
    assert run_json("proxy-config", "listeners", config, "--address", "10.0.0.9") == ([], 0)


def test_virtual_hosts_are_in_the_order_in_which_they_are_looked_up(tmp_path: Path, run_json: Json) -> None:
    hosts = ["*", "*.example.com", "a.example.com", "*.b.example.com"]
    (tmp_path / "a.yaml").write_text(WILD + "".join(SERVICE % each for each in enumerate(hosts)))
    entries, _ = run_json("proxy-config", "routes", str(tmp_path))
    assert [entry["domains"] for entry in entries] == [["a.example.com"], ["*.b.example.com"], ["*.example.com"], ["*"]]


def test_nobody_answers(run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result = run("proxy-config", "listeners", "--admin", f"127.0.0.1:{free.getsockname()[1]}")
    assert result.exit_code == 1
    assert "no gateway answers" in result.output
