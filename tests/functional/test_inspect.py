"""check, explain and proxy-config: on files and on the running gateway, and both say what live traffic does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .support.config import gateway_of, http_server, route, service_entry, virtual_service
from .support.gateway import Gateway, run_cli
from .support.origin import RecordingOrigin

HOST = "webapp.test"


def documents(port: int) -> list[dict[str, Any]]:
    rules = [
        route("webapp", 8080, match=[{"uri": {"prefix": "/api"}, "headers": {"x-user": {"exact": "a"}}}], name="for-a"),
        route("webapp", 8080, match=[{"uri": {"prefix": "/api"}, "queryParams": {"v": {"exact": "2"}}}]),
        route("webapp", 8080, match=[{"uri": {"exact": "/"}}, {"uri": {"prefix": "/static/"}}]),
        route("empty", 8080, match=[{"uri": {"prefix": "/empty"}}]),
    ]
    return [
        gateway_of("gw", [http_server([HOST]), http_server(["*.wild.test"], 8081)]),
        virtual_service("webapp", [HOST, "*.wild.test"], rules),
        service_entry("webapp", [("127.0.0.1", port)]),
        service_entry("empty", []),
    ]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with (
        RecordingOrigin("webapp") as origin,
        Gateway(tmp_path_factory.mktemp("inspect"), documents(origin.port), ports=(80, 8081)) as gateway,
    ):
        yield gateway


def views(gateway: Gateway, *words: str) -> Iterator[tuple[str, Any, int]]:
    """The same question to the files and to the running gateway: (which, JSON, exit code)."""
    for which, place in (("files", [str(gateway.config)]), ("running", [])):
        admin = ["--admin", f"127.0.0.1:{gateway.admin_port}"] if which == "running" else []
        head, *rest = words
        inner = [head, *(rest[:1] if head == "proxy-config" else []), *place, *(rest[1:] if head == "proxy-config" else rest)]
        done = run_cli(*inner, *admin, "-o", "json")
        assert done.returncode in (0, 3), done.stderr
        yield which, json.loads(done.stdout), done.returncode


def both(gateway: Gateway, *words: str) -> Any:
    """The one answer of files and running gateway."""
    (_, files, code), (_, live, live_code) = views(gateway, *words)
    assert code == live_code
    assert files == live
    return files


@pytest.mark.parametrize(
    ("path", "headers", "matched", "exit_code"),
    [
        ("/api/x", ["x-user: a"], (0, 0), 0),
        ("/api/x?v=2", ["x-user: b"], (1, 0), 0),
        ("/", [], (2, 0), 0),
        ("/static/a.css", [], (2, 1), 0),
        ("/empty", [], (3, 0), 0),
        ("/api/x", [], None, 3),
        ("/none", [], None, 3),
    ],
)
def test_explain(running: Gateway, path: str, headers: list[str], matched: tuple[int, int] | None, exit_code: int) -> None:
    words = ["explain", "GET", f"http://{HOST}{path}", *(word for h in headers for word in ("-H", h))]
    for _, answer, code in views(running, *words):
        assert code == exit_code
        live = running.get(path, HOST, *headers)
        if matched is None:
            assert (answer["matched"], live.status) == (None, 404)
            continue
        found = answer["matched"]
        assert (found["virtualService"], found["route"], found["match"]) == ("default/webapp", *matched)
        assert Path(found["file"]).samefile(running.config / "main.yaml")
        assert answer["destinations"][0]["cluster"].startswith("outbound|8080||")
        wanted = 503 if path == "/empty" else 200
        assert live.status == wanted


def test_explain_points_at_the_line_of_the_rule(running: Gateway) -> None:
    lines = (running.config / "main.yaml").read_text().splitlines()
    for _, answer, _ in views(running, "explain", "GET", f"http://{HOST}/api", "-H", "x-user: a"):
        start = answer["matched"]["line"]
        assert lines[start - 1].lstrip().startswith("- "), lines[start - 1]
        assert "for-a" in "\n".join(lines[start - 1 : start + 12])


def test_explain_says_what_failed(running: Gateway) -> None:
    for _, answer, _ in views(running, "explain", "GET", f"http://{HOST}/api/x", "-H", "x-user: b"):
        failed = [entry["failed"].lower() for entry in answer["considered"]]
        assert "x-user" in failed[0] and '"a"' in failed[0] and '"b"' in failed[0]
        assert "v" in failed[1]
        assert all("uri" in text for text in failed[2:])


def test_explain_by_port(running: Gateway) -> None:
    for _, answer, code in views(running, "explain", "GET", "http://x.wild.test/", "--port", "8081"):
        assert (code, answer["listener"]["port"], answer["virtualHost"]) == (0, 8081, "*.wild.test")
    for _, answer, code in views(running, "explain", "GET", "http://x.wild.test/"):
        assert (code, answer["matched"]) == (3, None)


def test_explain_as_text(running: Gateway) -> None:
    done = run_cli("explain", str(running.config), "GET", f"http://{HOST}/api", "-H", "x-user: a")
    assert done.returncode == 0
    for word in ("default/webapp", "main.yaml", "webapp", "8080"):
        assert word in done.stdout


def test_routes(running: Gateway) -> None:
    hosts = both(running, "proxy-config", "routes")
    entry = next(one for one in hosts if HOST in json.dumps(one["domains"]))
    rules = entry.get("rules") or entry["routes"]
    assert len(rules) == 5, "each match is a rule of its own, in order"
    assert all(rule["virtualService"] == "default/webapp" and rule["file"].endswith("main.yaml") and rule["line"] for rule in rules)
    assert [rule["line"] for rule in rules] == sorted(rule["line"] for rule in rules)


def test_listeners(running: Gateway) -> None:
    (_, files, _), (_, live, _) = views(running, "proxy-config", "listeners")
    own = {"maxConnections": 10_000, "maxConnectionsPerSource": 0, "trustedProxies": []}
    assert [entry | own for entry in files] == live, "what run is told is known of the running gateway alone"
    assert {entry["port"] for entry in live} == {80, 8081}


def test_clusters_and_endpoints(running: Gateway) -> None:
    text = json.dumps(both(running, "proxy-config", "clusters"))
    assert "webapp" in text and "8080" in text and "empty" in text
    (_, files, _), (_, live, _) = views(running, "proxy-config", "endpoints")
    for answer in (files, live):
        assert "127.0.0.1" in json.dumps(answer)


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        ("listeners", ["ADDRESS", "PORT"]),
        ("routes", ["NAME", "DOMAINS", "MATCH"]),
        ("clusters", ["SERVICE FQDN", "PORT", "SUBSET"]),
        ("endpoints", ["ENDPOINT", "STATUS", "CLUSTER"]),
    ],
)
def test_tables_have_istioctls_columns(running: Gateway, what: str, columns: list[str]) -> None:
    done = run_cli("proxy-config", what, str(running.config))
    assert done.returncode == 0, done.stderr
    assert all(column in done.stdout.upper() for column in columns), done.stdout


def test_check_as_json(running: Gateway, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text((running.config / "main.yaml").read_text().replace("gateways:\n  - gw", "gateways:\n  - nope"))
    done = run_cli("check", str(tmp_path), "-o", "json")
    assert done.returncode == 1
    found = [d for d in json.loads(done.stdout) if d["severity"] == "error"]
    assert found and set(found[0]) == {"severity", "code", "message", "kind", "namespace", "name", "path", "file", "line", "column"}
    assert (found[0]["kind"], found[0]["name"], found[0]["code"]) == ("VirtualService", "webapp", "IST0101")
    assert run_cli("check", str(running.config)).returncode == 0


def test_check_fails_at_the_severity_that_is_asked_for(running: Gateway, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        (running.config / "main.yaml").read_text()
        + "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x}\n"
    )
    assert run_cli("check", str(tmp_path)).returncode == 0
    assert run_cli("check", str(tmp_path), "--fail-on", "info").returncode == 1


def test_admin_that_is_not_there() -> None:
    done = run_cli("proxy-config", "routes", "--admin", "127.0.0.1:1")
    assert done.returncode not in (0, 3)
    assert "127.0.0.1:1" in done.stderr and "Traceback" not in done.stderr


def test_version() -> None:
    done = run_cli("version")
    assert done.returncode == 0 and "fastgw" in done.stdout.lower()
    assert json.loads(run_cli("version", "-o", "json").stdout)["version"]


def test_admin_answers(running: Gateway) -> None:
    assert [w["running"] for w in running.admin("/workers")] == [True, True]
    assert running.admin("/config/generation")["generation"] >= 1
    assert {entry["port"] for entry in running.admin("/listeners")} == {80, 8081} or {
        entry["port"] for entry in running.admin("/listeners")
    } == set(running.ports.values())
