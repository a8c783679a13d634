"""proxy-config: istioctl's columns, JSON, filters, and the same answers from a running gateway's admin API."""

from __future__ import annotations

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
    assert redirecting[1] == ["http.8080", "*.example.com:8080", "*.example.com", "/*", "301 to https"]


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
    for words in (("--port", "9000"), ("--fqdn", "fixed.default.svc.cluster.local")):
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
    assert run("proxy-config", "listeners").exit_code == 2
    assert run("proxy-config", "nonsense", config).exit_code == 2
    assert run("proxy-config", "listeners", config, "--admin", "127.0.0.1:1").exit_code == 2
    assert run("proxy-config", "listeners", "--admin", "nonsense").exit_code == 2


# --- a running gateway ---


class UnixServer(HTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(str(self.server_address))
        self.server_name, self.server_port = "localhost", 0


@pytest.fixture(params=["tcp", "unix"])
def admin(request: pytest.FixtureRequest, config: str, tmp_path: Path) -> Iterator[str]:
    """The two documents that a gateway's admin API hands out, served from the same files."""
    view = view_files([config], {"istio": "ingressgateway"}, "istio-system", ())
    documents = {"/config/plan": msgspec.json.encode(view.plan), "/config/image": view.image_bytes()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = documents.get(self.path)
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


def test_nobody_answers(run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result = run("proxy-config", "listeners", "--admin", f"127.0.0.1:{free.getsockname()[1]}")
    assert result.exit_code == 1
    assert "no gateway answers" in result.output
