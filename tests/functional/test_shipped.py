"""What is shipped with the project works as it stands: quickstart, settings file, examples; and what is not served yet says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import StartGateway
from .support.config import gateway_of, http_server, https_server, route, service_entry, simple, text_of, virtual_service
from .support.curl import curl
from .support.gateway import run_cli
from .support.origin import RecordingOrigin
from .support.poll import eventually

CONFIG = Path(__file__).resolve().parents[2] / "config"
HOST = "webapp.istioinaction.io"


def checked(path: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = run_cli("check", str(path), "-o", "json", *words)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_quickstart(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    shutil.copytree(CONFIG / "quickstart", tmp_path / "quickstart")
    certificates = tmp_path / "dev-certs"
    assert run_cli("certs", "dev", str(certificates), "--host", HOST, "--credential", "webapp-credential").returncode == 0
    secrets = ["--secrets", str(certificates / "secrets")]
    words = [str(tmp_path / "quickstart"), *secrets, "--resolve", f"webapp=127.0.0.1:{origin.port}"]
    gateway = start_gateway(options=words, ports=(80, 443))
    assert json.loads(gateway.get("/api/catalog", HOST).body)["origin"] == "webapp"
    assert (gateway.get("/", "other").status, checked(CONFIG / "quickstart", *secrets)[0]) == (404, 0)
    port = gateway.port(443)
    trust = ["--cacert", str(certificates / "ca.crt"), "--resolve", f"{HOST}:{port}:127.0.0.1"]
    answer = curl(f"https://{HOST}:{port}/api/catalog", *trust)
    assert (answer.status, json.loads(answer.body)["origin"]) == (200, "webapp")


def test_the_example_with_client_certificates(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    certificates = tmp_path / "dev-certs"
    for credential in ("webapp-credential", "webapp-credential-mtls"):
        words = ["certs", "dev", str(certificates), "--host", HOST, "--credential", credential, "--client", "alice"]
        assert run_cli(*words).returncode == 0
    example = (CONFIG / "examples" / "https.yaml").read_text()
    assert example.count("address: 10.0.3.1") == 1
    example = example.replace("address: 10.0.3.1", f"address: 127.0.0.1, ports: {{http: {origin.port}}}")
    gateway = start_gateway(example, options=["--secrets", str(certificates / "secrets")], ports=(80, 443, 8443))
    assert gateway.get("/a", HOST).value("location") == f"https://{HOST}/a"
    alice = certificates / "clients" / "alice"
    shown = ["--cert", str(alice / "tls.crt"), "--key", str(alice / "tls.key")]
    for wanted, words in ((443, []), (8443, shown)):
        port = gateway.port(wanted)
        trust = ["--cacert", str(certificates / "ca.crt"), "--resolve", f"{HOST}:{port}:127.0.0.1"]
        assert curl(f"https://{HOST}:{port}/", *trust, *words).status == 200


def test_the_settings_file_can_be_used_as_it_is(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    documented = yaml.safe_load((CONFIG / "fastgw.yaml").read_text()) or {}
    kept = {
        name: value
        for name, value in documented.items()
        if name not in ("paths", "listen-map", "admin", "status", "workers", "bind")
    }
    gateway = start_gateway(simple(HOST, origin.port), settings=kept)
    assert gateway.get("/", HOST).status == 200


@pytest.mark.parametrize("example", sorted(p.name for p in (CONFIG / "examples").glob("*.yaml")))
def test_examples_have_no_unknown_field(example: str) -> None:
    _, found = checked(CONFIG / "examples" / example)
    assert not [d for d in found if d["severity"] == "error" and "unknown field" in d["message"].lower()]


def test_https_redirect_answers_instead_of_routing(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    documents = simple(HOST, origin.port)
    documents[0]["spec"]["servers"][0]["tls"] = {"httpsRedirect": True}
    gateway = start_gateway(documents, workers=1)
    answer = gateway.get("/a/b?c=d", f"{HOST}:8080")
    assert (answer.status, answer.text) == (301, "")
    assert answer.value("location") == f"https://{HOST}:8080/a/b?c=d"
    assert not origin.seen


def test_a_server_without_its_certificate_does_not_stop_the_others(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    servers = [http_server([HOST]), https_server([HOST], "c")]
    gateway = start_gateway([gateway_of("gw", servers), *simple(HOST, origin.port)[1:]], ports=(80, 443))
    assert gateway.get("/", HOST).status == 200
    (found,) = eventually(
        lambda: [d for d in gateway.admin("/config/diagnostics") if d["severity"] == "error"],
        "the missing Secret is told of",
    )
    assert (found["path"], found["code"]) == ("spec.servers[1].tls.credentialName", "IST0101")


def two_teams(binding: str) -> str:
    documents = [
        gateway_of("my-gateway", [http_server(["dev.example.com"])], namespace="istio-system"),
        virtual_service("bookinfo", ["dev.example.com"], [route("reviews", 9080)], gateways=[binding], namespace="default"),
        service_entry("reviews", [("127.0.0.1", 9)], port=9080, namespace="default"),
    ]
    return text_of(documents)


def test_a_binding_without_its_namespace_is_found_and_mended(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(two_teams("my-gateway"))
    code, found = checked(tmp_path)
    assert code == 1
    (finding,) = [d for d in found if d["code"] == "IST0101"]
    assert (finding["kind"], finding["name"], finding["path"]) == ("VirtualService", "bookinfo", "spec.gateways[0]")
    assert "istio-system/my-gateway" in finding["message"]
    (tmp_path / "a.yaml").write_text(two_teams("istio-system/my-gateway"))
    assert checked(tmp_path)[0] == 0


def test_check_says_where_a_destination_comes_from(tmp_path: Path) -> None:
    gateway = gateway_of("gw", [http_server(["*"])])
    rules = [route(host, 8080, match=[{"uri": {"prefix": f"/{host}"}}]) for host in ("known", "given", "hoped")]
    documents = [gateway, virtual_service("v", ["*"], rules), service_entry("known", [("127.0.0.1", 9)])]
    (tmp_path / "a.yaml").write_text(text_of(documents))
    code, found = checked(tmp_path, "--resolve", "given=127.0.0.1")
    assert code == 0
    about = {
        name: [d["severity"] for d in found if name in d["message"] and "destination" in d["path"]]
        for name in ("known", "given", "hoped")
    }
    assert about["known"] == ["info"] and about["given"] == ["info"] and about["hoped"] == ["warning"], found


@pytest.mark.parametrize(
    ("match", "words", "word"),
    [
        ({"method": {"exact": "POST"}}, [], "method"),
        ({"scheme": {"exact": "https"}}, [], "scheme"),
        ({"authority": {"exact": "other"}}, [], "authority"),
        ({"uri": {"exact": "/other"}}, [], "uri"),
        ({"port": 81}, [], "port"),
        ({"gateways": ["other"]}, [], "gateways"),
        ({"headers": {"x-tenant": {"exact": "a"}}}, ["-H", "x-tenant: b"], "x-tenant"),
        ({"withoutHeaders": {"x-tenant": {}}}, ["-H", "x-tenant: b"], "x-tenant"),
        ({"queryParams": {"version": {"exact": "a"}}}, [], "version"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_explain_names_what_failed(tmp_path: Path, match: dict[str, Any], words: list[str], word: str) -> None:
    servers = [http_server(["*"], 80), http_server(["*"], 81)]
    rules = [route("webapp", 8080, match=[match]), route("webapp", 8080)]
    other = gateway_of("other", [http_server(["*"], 80)])
    documents = [
        gateway_of("gw", servers),
        other,
        virtual_service("v", ["h.test"], rules),
        service_entry("webapp", [("127.0.0.1", 9)]),
    ]
    (tmp_path / "a.yaml").write_text(text_of(documents))
    done = run_cli("explain", str(tmp_path), "GET", "http://h.test/", "-o", "json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert (answer["matched"]["route"], answer["matched"]["match"]) == (1, 0)
    (first,) = [entry for entry in answer["considered"] if entry["route"] == 0]
    assert word in first["failed"], first
    assert first["line"] > 0 and first["file"].endswith("a.yaml")


def test_run_with_nothing_usable_names_each_file(start_gateway: StartGateway) -> None:
    gateway = start_gateway("kind: [", wait=False)
    gateway.kill()
    (gateway.config / "second.yaml").write_text("kind: Gateway\nmetadata: {name: x}\n")
    gateway.start(wait=False)
    assert gateway.wait_exit() == 1
    assert "main.yaml" in gateway.said() and "second.yaml" in gateway.said()
