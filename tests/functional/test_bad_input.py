"""Bad input of ``run`` and ``check``: one clear line that says what and where, nothing else lost, never a traceback."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.config import simple, text_of
from .support.gateway import run_cli
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "webapp.test"
GOOD = text_of(simple(HOST, 9))


def bomb() -> str:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9 if i else ['x'] * 9)}]" for i in range(12)]
    return "\n".join(levels)


def unreadable(path: Path) -> None:
    """A file that even root cannot read: a link that leads to itself."""
    path.symlink_to(path.name)


def nested(path: Path) -> None:
    path.write_text("kind: " + "[" * 50_000 + "]" * 50_000)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def writes(text: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


BAD: dict[str, Callable[[Path], None]] = {
    "binary": writes(bytes(range(256)) * 40),
    "nul": writes("kind: Gateway\x00\n"),
    "latin-1": writes(b"kind: Gat\xe9way\n"),
    "utf-16": writes("kind: Gateway\n".encode("utf-16")),
    "unclosed": writes("kind: [Gateway\n"),
    "tab": writes("kind: Gateway\nmetadata:\n\tname: x\n"),
    "text": writes("hello, this is no manifest\n"),
    "list": writes("- 1\n- 2\n"),
    "number": writes("42\n"),
    "bomb": writes(bomb()),
    "merge": writes("a: &a {b: 1}\nkind: Gateway\n<<: *nothing\n"),
    "nested": nested,
    "no-kind": writes("apiVersion: networking.istio.io/v1\nmetadata: {name: x}\n"),
    "no-name": writes("apiVersion: networking.istio.io/v1\nkind: Gateway\nspec: {}\n"),
    "kind-number": writes("apiVersion: networking.istio.io/v1\nkind: 7\nmetadata: {name: x}\n"),
    "unknown-kind": writes("apiVersion: networking.istio.io/v1\nkind: Gatway\nmetadata: {name: x}\n"),
    "duplicate-key": writes("apiVersion: networking.istio.io/v1\nkind: Gateway\nkind: Gateway\nmetadata: {name: x}\n"),
    "python-tag": writes("kind: !!python/object/apply:os.system ['true']\n"),
    "huge": writes("# " + "x" * 6_000_000 + "\nkind: [\n"),
    "big-number": writes(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {servers: [{port: {number: 1"
        + "0" * 400
        + "}}]}\n"
    ),
    "loop": unreadable,
    "dangling": lambda path: path.symlink_to("nowhere.yaml"),
    "fifo": fifo,
}


def findings(output: str) -> list[str]:
    return [line for line in output.splitlines() if re.search(r"\b(error|warning)\[[A-Z]{3}[0-9]{4}\]: ", line)]


@pytest.mark.parametrize("name", BAD)
def test_check_names_the_bad_file_and_reads_the_others(tmp_path: Path, name: str) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "good.yaml").write_text(GOOD)
    BAD[name](config / "bad.yaml")
    done = run_cli("check", str(config), timeout_s=60)
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    assert done.returncode == 1, output
    about = [line for line in findings(output) if "bad.yaml" in line]
    assert 1 <= len(about) <= 3, output
    assert all(len(line) < 1000 and line.isprintable() for line in about), about
    assert not [line for line in findings(output) if "good.yaml" in line and "error[" in line], output


def test_run_serves_what_is_good_beside_all_that_is_bad(
    start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path
) -> None:
    config = tmp_path / "bad-ones"
    config.mkdir()
    for name, make in BAD.items():
        make(config / f"{name}.yaml")
    gateway = start_gateway(simple(HOST, origin.port), options=[str(config)])
    assert gateway.get("/", HOST).status == 200
    named = {Path(d["file"]).name for d in gateway.admin("/config/diagnostics")}
    assert named >= {f"{name}.yaml" for name in BAD}, {f"{name}.yaml" for name in BAD} - named
    said = gateway.said()
    assert "Traceback" not in said
    assert all(f"{name}.yaml" in said for name in BAD)


@pytest.mark.parametrize("name", ["binary", "unclosed", "loop", "bomb"])
def test_run_with_nothing_usable_exits_1_and_names_the_file(start_gateway: StartGateway, name: str) -> None:
    gateway = start_gateway(wait=False)
    gateway.kill()
    BAD[name](gateway.config / "bad.yaml")
    gateway.start(wait=False)
    assert gateway.wait_exit() == 1
    assert "bad.yaml" in gateway.said() and "Traceback" not in gateway.said()
    gateway.assert_nothing_left()


def test_run_without_any_file_exits_1(start_gateway: StartGateway) -> None:
    gateway = start_gateway(wait=False)
    assert gateway.wait_exit() == 1
    assert str(gateway.config) in gateway.said() and "Traceback" not in gateway.said()
    gateway.assert_nothing_left()


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_path_is_named(tmp_path: Path, command: str) -> None:
    missing = tmp_path / "not" / "there"
    done = run_cli(command, str(missing), *(["--admin", "off", "--status", "off"] if command == "run" else []))
    assert done.returncode in (1, 2)
    output = done.stdout + done.stderr
    assert len([line for line in output.splitlines() if str(missing) in line]) == 1, output
    assert "Traceback" not in output


def test_a_directory_that_appears_later_is_served(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    later = tmp_path / "later"
    gateway = start_gateway(simple("other.test", origin.port), options=[str(later)])
    later.mkdir()
    (later / "x.yaml").write_text(
        text_of([{**d, "metadata": {"name": "later"}} for d in simple(HOST, origin.port)[:2]]).replace("- gw", "- later")
    )
    eventually(lambda: gateway.get("/", HOST).status == 200, "the new directory is noticed")


def test_a_duplicate_resource_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    done = run_cli("check", str(tmp_path))
    about = [line for line in findings(done.stdout + done.stderr) if "Gateway default/gw" in line]
    assert len(about) == 1, done.stdout + done.stderr
    assert "a.yaml" in about[0] and "b.yaml" in about[0]


def test_an_unknown_field_is_reported_at_its_line_with_the_nearest_name(tmp_path: Path) -> None:
    lines = GOOD.replace("hosts:", "hots:", 1).splitlines()
    (tmp_path / "a.yaml").write_text("\n".join(lines) + "\n")
    wanted = next(number for number, line in enumerate(lines, 1) if "hots:" in line)
    done = run_cli("check", str(tmp_path))
    assert done.returncode == 1
    (line,) = [line for line in findings(done.stdout + done.stderr) if "hots" in line]
    assert f"a.yaml:{wanted}:" in line and "hosts" in line and "Gateway default/gw" in line


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("run", "--no-such-option", "x"),
        ("run", "x", "--workers", "0x"),
        ("run", "x", "--workers", "-1"),
        ("run", "x", "--listen-map", "80"),
        ("run", "x", "--resolve", "name"),
        ("run", "x", "--bind", "nowhere"),
        ("run", "x", "--admin", "nonsense"),
        ("run", "x", "--config", "/nonexistent/settings.yaml"),
        ("check",),
        ("explain", "x"),
        ("explain", "x", "GET", "ftp://h/"),
        ("proxy-config",),
        ("proxy-config", "nonsense", "x"),
        ("nonsense",),
        ("echo", "--port", "x"),
    ],
    ids=" ".join,
)
def test_usage_errors_exit_2_with_a_word(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run_cli(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.strip() and "Traceback" not in done.stderr


def test_a_wrong_setting_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("workerz: 3\n")
    done = run_cli("run", str(tmp_path), "--config", str(tmp_path / "s.yaml"))
    assert done.returncode == 2
    assert "workerz" in done.stderr and "Traceback" not in done.stderr


def test_fields_without_effect_are_warnings(tmp_path: Path) -> None:
    policy = {"loadBalancer": {"simple": "ROUND_ROBIN", "zoneAwareLbSetting": {"enabled": True}}}
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "backend"}}
    (tmp_path / "a.yaml").write_text(text_of([*simple(HOST, 9), {**rule, "spec": {"host": HOST, "trafficPolicy": policy}}]))
    done = run_cli("check", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in findings(done.stdout + done.stderr) if "warning[FGW" in line and "zoneAwareLbSetting" in line]


def test_kinds_without_effect_are_no_errors(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    for kind, version in (
        ("Deployment", "apps/v1"),
        ("EnvoyFilter", "networking.istio.io/v1alpha3"),
        ("ServiceAccount", "v1"),
        ("Sidecar", "networking.istio.io/v1"),
    ):
        (tmp_path / f"{kind}.yaml").write_text(
            f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{anything: [1, 2]}}\n"
        )
    done = run_cli("check", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "EnvoyFilter" in done.stdout + done.stderr


@pytest.mark.parametrize("form", ["list", "lines", "documents"])
def test_json_comes_in_three_forms(tmp_path: Path, form: str) -> None:
    import json

    documents = simple(HOST, 9)
    text = {
        "list": json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}),
        "lines": "\n".join(json.dumps(d) for d in documents),
        "documents": "\n---\n".join(json.dumps(d, indent=1) for d in documents),
    }[form]
    (tmp_path / "a.json").write_text(text + "\n")
    done = run_cli("explain", str(tmp_path), "GET", f"http://{HOST}/", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
