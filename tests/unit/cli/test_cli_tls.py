"""explain, test, proxy-config and diff of TLS servers and of those that relay bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Json = Callable[..., tuple[Any, int]]
Run = Callable[..., Result]

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com], tls: {mode: SIMPLE, credentialName: pair}}
  - {port: {number: 443, name: api, protocol: HTTPS}, hosts: [api.example.com], tls: {mode: SIMPLE, credentialName: pair}}
  - {port: {number: 443, name: admin, protocol: HTTPS}, hosts: [admin.example.com], tls: {mode: MUTUAL, credentialName: pair}}
  - {port: {number: 443, name: pass, protocol: TLS}, hosts: ["*.pass.example.com"], tls: {mode: PASSTHROUGH}}
  - {port: {number: 3306, name: mysql, protocol: MYSQL}, hosts: ["*"]}
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com], tls: {httpsRedirect: true}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [shop.example.com, api.example.com, admin.example.com]
  gateways: [gw]
  http:
  - match: [{uri: {prefix: /.well-known/acme-challenge/}}]
    route: [{destination: {host: acme.example.org, port: {number: 80}}}]
  - match: [{uri: {prefix: /web}}]
    route: [{destination: {host: web.example.org, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes}
spec:
  hosts: ["*.pass.example.com", db.example.com]
  gateways: [gw]
  tls:
  - match: [{sniHosts: [a.pass.example.com, b.pass.example.com]}]
    route:
    - {destination: {host: one.example.org, port: {number: 443}}, weight: 1}
    - {destination: {host: two.example.org, port: {number: 443}}, weight: 3}
  tcp:
  - match: [{port: 3306}]
    route: [{destination: {host: db.example.org, port: {number: 3306}}}]
"""


@pytest.fixture
def secure(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_a_request_over_tls(secure: str, run_json: Json) -> None:
    answer, code = run_json("explain", secure, "GET", "https://shop.example.com/web")
    assert (code, answer["action"], answer["matched"]["route"]) == (0, "route", 1)
    expected = {"port": 443, "server": "default/gw#0", "chain": "https.443.https.gw.default", "tls": "terminate"}
    assert answer["listener"] == answer["listener"] | expected | {"sni": "shop.example.com"}


@pytest.mark.parametrize(
    ("host", "action", "status", "server"),
    [
        ("shop.example.com", "route", None, "default/gw#0"),
        ("api.example.com", "route", None, "default/gw#1"),
        ("admin.example.com", "misdirected", 421, "default/gw#2"),
        ("a.pass.example.com", "misdirected", 421, "default/gw#3"),
        ("nobody.example.com", "not_found", 404, "default/gw#0"),
    ],
)
def test_g5_a_host_that_the_server_name_did_not_ask_for(
    secure: str, run_json: Json, host: str, action: str, status: int | None, server: str
) -> None:
    answer, code = run_json("explain", secure, "GET", f"https://{host}/web", "--sni", "shop.example.com")
    assert (answer["action"], answer["status"], answer["listener"]["server"]) == (action, status, server)
    assert answer["listener"]["chain"] == "https.443.https.gw.default"
    assert code == (0 if action == "route" else 3)


@pytest.mark.parametrize(
    ("url", "sni", "words"),
    [
        ("https://nobody.example.com/", "", 'no server takes the server name "nobody.example.com"'),
        ("https://shop.example.com/", "c.pass.example.com", 'no server takes the server name "c.pass.example.com"'),
        ("https://10.0.0.1/", "", "no server takes clients without a server name"),
        ("http://shop.example.com:443/", "", "only TLS is spoken there"),
    ],
)
def test_p1_p2_connections_that_are_closed(secure: str, run_json: Json, url: str, sni: str, words: str) -> None:
    answer, code = run_json("explain", secure, "GET", url, *(["--sni", sni] if sni else []))
    assert (code, answer["action"], answer["detail"], answer["status"]) == (3, "closed", words, None)


def test_a_host_header_does_not_change_the_server_name(secure: str, run_json: Json) -> None:
    answer, _ = run_json("explain", secure, "GET", "https://shop.example.com/", "-H", "Host: admin.example.com")
    assert (answer["listener"]["sni"], answer["status"]) == ("shop.example.com", 421)


def test_p11_bytes_that_are_passed_through(secure: str, run_json: Json) -> None:
    answer, code = run_json("explain", secure, "GET", "https://b.pass.example.com/")
    assert (code, answer["action"], answer["status"]) == (0, "tcp", None)
    assert [(each["host"], each["port"], each["share"]) for each in answer["destinations"]] == [
        ("one.example.org", 443, 0.25),
        ("two.example.org", 443, 0.75),
    ]
    assert answer["matched"] == answer["matched"] | {"virtualService": "default/bytes", "route": 0, "match": 0, "line": 32}
    assert answer["listener"]["tls"] == "passthrough"


def test_p15_a_plain_relay(secure: str, run_json: Json) -> None:
    answer, code = run_json("explain", secure, "GET", "http://db.example.com:3306/")
    assert (code, answer["action"], answer["listener"]["server"]) == (0, "tcp", "default/gw#4")
    assert [each["cluster"] for each in answer["destinations"]] == ["outbound|3306||db.example.org"]


def test_m1_m3_redirect_and_challenge(secure: str, run_json: Json) -> None:
    answer, _ = run_json("explain", secure, "GET", "http://shop.example.com/web?a")
    assert (answer["action"], answer["location"]) == ("redirect", "https://shop.example.com/web?a")
    answer, _ = run_json("explain", secure, "GET", "http://shop.example.com/.well-known/acme-challenge/x")
    assert (answer["action"], answer["destinations"][0]["host"]) == ("route", "acme.example.org")
    answer, _ = run_json("explain", secure, "GET", "https://shop.example.com/web")
    assert answer["action"] == "route"


def test_text(secure: str, run: Run) -> None:
    shown = run("explain", secure, "GET", "https://a.pass.example.com/").stdout
    for part in ("passes TLS through", 'server name "a.pass.example.com"', "default/bytes tls[0].match[0]", "75 %"):
        assert part in shown
    assert "virtual host" not in shown
    shown = run("explain", secure, "GET", "https://shop.example.com/", "-H", "host: admin.example.com").stdout
    assert "421 Misdirected Request" in shown and "default/gw#2" in shown


def test_listeners(secure: str, run: Run, run_json: Json) -> None:
    rows = [line.split() for line in run("proxy-config", "listeners", secure).stdout.splitlines()]
    assert [" ".join(rest) for _, port, *rest in rows if port == "443"] == [
        "SNI: shop.example.com Route: https.443.https.gw.default",
        "SNI: api.example.com Route: https.443.api.gw.default",
        "SNI: admin.example.com Route: https.443.admin.gw.default",
        "SNI: a.pass.example.com,b.pass.example.com Cluster: outbound|443||one.example.org (1), outbound|443||two.example.org (3)",
    ]
    assert [" ".join(rest) for _, port, *rest in rows if port in ("80", "3306")] == [
        "ALL Route: http.80",
        "ALL Cluster: outbound|3306||db.example.org",
    ]
    entries, _ = run_json("proxy-config", "listeners", secure)
    chains = {chain["name"]: chain for entry in entries for chain in entry["chains"]}
    admin = chains["https.443.admin.gw.default"]
    assert (admin["tls"], admin["clientCertificates"], admin["certificates"]) == (
        "terminate",
        "require",
        ["kubernetes://istio-system/pair"],
    )


def test_route_tests(tmp_path: Path, secure: str, run: Run) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text("""\
apiVersion: gateway.fastgw.io/v1
kind: RouteTest
metadata: {name: tls}
spec:
  tests:
  - request: {url: "https://admin.example.com/", sni: shop.example.com}
    expect: {status: 421}
  - request: {url: "https://api.example.com/web", sni: shop.example.com}
    expect: {destination: {host: web.example.org}}
  - request: {url: "https://a.pass.example.com/"}
    expect: {virtualService: bytes, destination: {host: two.example.org}}
  - request: {url: "http://db.example.com/", port: 3306}
    expect: {destination: {host: db.example.org, port: 3306}}
""")
    result = run("test", secure, str(cases))
    assert result.exit_code == 0, result.stdout
    assert "4 passed" in result.stdout


def test_diff(tmp_path: Path, secure: str, run_json: Json) -> None:
    changed = tmp_path / "new.yaml"
    text = CONFIG.replace("mode: MUTUAL, credentialName: pair", "mode: SIMPLE, credentialName: other")
    text = text.replace("sniHosts: [a.pass.example.com, b.pass", "sniHosts: [c.pass")
    changed.write_text(text.replace("db.example.org", "db2.example.org"))
    answer, code = run_json("diff", secure, str(changed))
    fields = {each["field"]: (each["old"], each["new"]) for thing in answer["listeners"] for each in thing["fields"]}
    assert code == 1
    assert fields["chain https.443.admin.gw.default client_auth"] == ("require", "none")
    assert fields["chain https.443.admin.gw.default certificates"] == (
        '["kubernetes://istio-system/pair"]',
        '["kubernetes://istio-system/other"]',
    )
    relay = "chain tls.443.pass.gw.default.bytes.default.0.0"
    assert fields[f"{relay} server_names"] == ('["a.pass.example.com","b.pass.example.com"]', '["c.pass.example.com"]')
    assert fields["chain tcp.3306 destinations"] == ("db.example.org:3306", "db2.example.org:3306")
    assert run_json("diff", secure, secure)[1] == 0
