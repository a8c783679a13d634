"""diff: exit codes as diff(1)'s, tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fastgw.cli.main import group

Json = Callable[..., tuple[Any, int]]
Run = Callable[..., Result]


@pytest.fixture
def changed(config: str, tmp_path: Path) -> Callable[..., str]:
    """The configuration with texts replaced."""

    def write(*pairs: tuple[str, str], name: str = "new.yaml") -> str:
        text = Path(config).read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / name).write_text(text)
        return str(tmp_path / "new")

    return write


def test_nothing_changes(config: str, changed: Callable[..., str], run: Run, run_json: Json) -> None:
    renamed = changed(
        ("metadata: {name: shop}", "metadata: {name: shop2}"), ("weight: 3}", "weight: 30}"), ("weight: 1}", "weight: 10}")
    )
    result = run("diff", config, renamed)
    assert (result.exit_code, result.stdout) == (0, "nothing changes for traffic\n")
    found, code = run_json("diff", config, renamed)
    assert code == 0
    assert found == {"changed": False, "listeners": [], "hosts": [], "rules": [], "clusters": [], "traffic": None}


def test_text(config: str, changed: Callable[..., str], run: Run) -> None:
    new = changed(
        ("weight: 3}", "weight: 1}"), ("10.0.0.1]", "10.0.0.7]"), ("hosts: [shop.example.com, plain", "hosts: [shop.example.com, x")
    )
    result = run("diff", config, new)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    rule = next(line for line in lines if "http[1].match[0]" in line)
    assert rule.startswith("~     shop.example.com:80")
    assert rule.endswith(f"{new}/new.yaml:26 (was {config}:26)")
    assert "75 %" in lines[lines.index(rule) + 1] and "50 %" in lines[lines.index(rule) + 2]
    assert "      endpoints: 10.0.0.1:8080 -> 10.0.0.7:8080" in lines


def test_added_removed_and_moved(config: str, changed: Callable[..., str], run: Run, run_json: Json) -> None:
    moved = """  - match:
    - uri: {prefix: /old}
    redirect: {uri: /new}
"""
    new = changed(
        (moved, ""), ("  - name: beta", moved.replace("/old", "/cart/old") + "  - name: beta"), ("number: 8080", "number: 8081")
    )
    found, code = run_json("diff", config, new)
    assert code == 1
    assert [(each["change"], each["name"], each["detail"]) for each in found["listeners"]] == [
        ("added", "0.0.0.0_8081", "HTTP, port 8081"),
        ("removed", "0.0.0.0_8080", "HTTP, port 8080"),
    ]
    assert {(each["change"], each["name"].partition(" ")[0]) for each in found["hosts"]} == {
        ("added", "http.8081"),
        ("removed", "http.8080"),
    }
    removed = next(each for each in found["hosts"] if each["change"] == "removed")
    assert (removed["new"], removed["old"]["file"]) == (None, config)
    assert [(each["change"], each["virtualHosts"]) for each in found["rules"]] == [
        ("added", ["shop.example.com:80"]),
        ("removed", ["shop.example.com:80"]),
    ]
    assert (found["rules"][0]["old"], found["rules"][0]["new"]["conditions"]) == (None, "/cart/old*")
    text = run("diff", config, new).stdout
    assert "+     0.0.0.0_8081     HTTP, port 8081" in text
    assert "      /cart/old* -> redirect 301 to <scheme>://<host>/new" in text


def test_an_order_that_matters(config: str, changed: Callable[..., str], run_json: Json) -> None:
    blocks = Path(config).read_text().split("  - name: beta")[1].split("  - match:\n    - uri: {prefix: /old}")[0]
    beta, cart = blocks.split("  - match:\n    - uri: {prefix: /cart}\n    - uri")
    new = changed(("  - name: beta" + blocks, "  - match:\n    - uri: {prefix: /cart}\n    - uri" + cart + "  - name: beta" + beta))
    found, code = run_json("diff", config, new)
    assert code == 1
    assert {each["change"] for each in found["rules"]} == {"moved"}
    assert all(each["over"] is not None and each["fields"][0]["field"] == "order" for each in found["rules"])


def test_traffic(config: str, changed: Callable[..., str], tmp_path: Path, run: Run, run_json: Json) -> None:
    new = changed(("exact: /basket", "exact: /bag"))
    log = tmp_path / "access.log"
    entry = {"method": "POST", "path": "/basket", "authority": "shop.example.com"}
    log.write_text(f"{json.dumps(entry)}\n" * 2 + "GET http://shop.example.com/cart\nPOST http://shop.example.com/bag\nwhat?\n")
    found, code = run_json("diff", config, new, "--traffic", str(log))
    assert code == 1
    traffic = found["traffic"]
    assert (traffic["requests"], traffic["changed"], traffic["skipped"]) == (4, 3, 1)
    assert [group["count"] for group in traffic["groups"]] == [2, 1]
    assert traffic["groups"][0]["example"] == {"method": "POST", "url": "http://shop.example.com/basket"}
    assert traffic["groups"][0]["fields"][0] == {"field": "status", "old": "200", "new": "404"}
    text = run("diff", config, new, "--traffic", str(log)).stdout
    assert text.endswith("3 of 4 requests fare differently\nlines that are no requests: 1, the first is line 5\n")
    result = CliRunner().invoke(group, ["diff", config, config, "--traffic", "-"], input="GET http://shop.example.com/cart\n")
    assert (result.exit_code, result.stdout) == (0, "nothing changes for traffic\n\n0 of 1 requests fare differently\n")


def test_usage(config: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty.log").write_text("what?\n")
    assert run("diff", config).exit_code == 2
    assert run("diff", config, str(tmp_path / "nope")).exit_code == 2
    assert run("diff", config, config, "--traffic", str(tmp_path / "nope")).exit_code == 2
    result = run("diff", config, config, "--traffic", str(tmp_path / "empty.log"))
    assert result.exit_code == 2
    assert "the first line that is none is 1" in result.stderr


def test_what_was_left_out_is_said(config: str, changed: Callable[..., str], run: Run) -> None:
    result = run("diff", config, changed(("exact: /basket", "exakt: /basket")))
    assert result.exit_code == 1
    assert 'unknown field "exakt", did you mean "exact"?' in result.stderr


def test_color_only_when_asked_for(config: str, changed: Callable[..., str], run: Run) -> None:
    new = changed(("weight: 3}", "weight: 1}"))
    assert "\x1b[" not in run("diff", config, new).stdout
    assert "\x1b[33m~" in run("diff", config, new, "--color", "always").stdout
