"""``fastgw check``: what it prints in each form, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastgw.cli.main import group

QUICKSTART = """apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: coolstore-gateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["webapp.istioinaction.io"]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: webapp-vs-from-gw}
spec:
  hosts: ["webapp.istioinaction.io"]
  gateways: [coolstore-gateway]
  http:
  - route:
    - destination: {host: webapp, port: {number: 8080}}
"""


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["check", *map(str, arguments)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(QUICKSTART)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(QUICKSTART.replace("hosts: [", "hostz: [", 2).replace("hostz: [", "hosts: [", 1))
    return path


def test_quickstart_is_accepted(good: Path) -> None:
    result = check(good)
    assert result.exit_code == 0
    assert "error" not in result.stdout
    assert result.stderr == "2 resources in 1 file: 1 warning\n"


def test_resolve_is_an_answer(good: Path) -> None:
    result = check(good, "--resolve", "webapp=127.0.0.1:9000")
    assert result.exit_code == 0
    assert "warning" not in result.stdout


def test_labels_select_the_gateway(good: Path) -> None:
    result = check(good, "--labels", "istio=egress,app=x")
    assert "is for another gateway" in result.stdout


def test_error_line_and_exit_code(bad: Path) -> None:
    result = check(bad)
    assert result.exit_code == 1
    assert (
        f"{bad}:14:3: error[IST0106]: VirtualService default/webapp-vs-from-gw: "
        'spec.hostz: unknown field "hostz", did you mean "hosts"?' in result.stdout.splitlines()
    )


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 1), ("info", 1)])
def test_fail_on(good: Path, fail_on: str, code: int) -> None:
    assert check(good, "--fail-on", fail_on).exit_code == code


def test_json_has_stable_keys(bad: Path) -> None:
    result = check(bad, "-o", "json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert next(one for one in found if one["severity"] == "error") == {
        "severity": "error",
        "code": "IST0106",
        "message": 'unknown field "hostz", did you mean "hosts"?',
        "kind": "VirtualService",
        "namespace": "default",
        "name": "webapp-vs-from-gw",
        "path": "spec.hostz",
        "file": str(bad),
        "line": 14,
        "column": 3,
    }
    assert result.stderr == ""


def test_json_of_nothing_is_an_empty_list(good: Path) -> None:
    result = check(good, "-o", "json", "--resolve", "webapp=127.0.0.1")
    assert [found for found in json.loads(result.stdout) if found["severity"] != "info"] == []


def test_github_annotations(bad: Path) -> None:
    lines = check(bad, "-o", "github").stdout.splitlines()
    assert (
        f"::error file={bad},line=14,col=3,title=IST0106::VirtualService default/webapp-vs-from-gw: "
        'spec.hostz: unknown field "hostz", did you mean "hosts"?' in lines
    )


def test_a_path_that_is_missing_beside_a_good_one(good: Path, tmp_path: Path) -> None:
    result = check(good, tmp_path / "nope")
    assert result.exit_code == 1
    assert f"{tmp_path}/nope: error[FGW0001]: no such file or directory" in result.stdout.splitlines()
    assert "webapp" in result.stdout


def test_usage_errors_exit_2(good: Path) -> None:
    assert check().exit_code == 2
    assert check(good, "-o", "xml").exit_code == 2
    assert check(good, "--labels", "novalue").exit_code == 2
    assert check(good, "--resolve", "a").exit_code == 2
    assert check(good, "--resolve", "a=b:99999").exit_code == 2


def test_secrets_directory(tmp_path: Path) -> None:
    gateway = QUICKSTART.replace(
        "  - port: {number: 80, name: http, protocol: HTTP}",
        "  - port: {number: 443, name: https, protocol: HTTPS}\n    tls: {mode: SIMPLE, credentialName: web}",
    )
    (tmp_path / "a.yaml").write_text(gateway)
    assert 'Secret "istio-system/web" not found' in check(tmp_path / "a.yaml").stdout
    (tmp_path / "secrets" / "web").mkdir(parents=True)
    (tmp_path / "secrets" / "web" / "tls.crt").write_text("x")
    result = check(tmp_path / "a.yaml", "--secrets", tmp_path / "secrets")
    assert 'Secret "istio-system/web": tls.crt and tls.key are needed both' in result.stdout


def test_color_only_when_asked_for(bad: Path) -> None:
    assert "\x1b[" not in check(bad).stdout
    assert "\x1b[" in check(bad, "--color", "always").stdout


def test_on_a_terminal_the_line_is_shown(bad: Path) -> None:
    """As a person sees it: through a pseudo terminal."""
    parent, child = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastgw.cli.main", "check", str(bad), "--color", "never"], stdout=child, stderr=subprocess.DEVNULL
    )
    os.close(child)
    with open(parent, "rb", buffering=0) as terminal:
        text = b""
        while True:
            try:
                more = terminal.read(65536)
            except OSError:
                break
            if not more:
                break
            text += more
    assert process.wait() == 1
    lines = text.decode().replace("\r", "").split("\n")
    shown = next(index for index, line in enumerate(lines) if 'unknown field "hostz"' in line)
    assert lines[shown + 1 : shown + 3] == ['      hostz: ["webapp.istioinaction.io"]', "      ^"]
