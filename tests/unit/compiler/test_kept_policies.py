"""A policy that breaks while it is served: what was last good holds, and where nothing was, nobody is let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgw.compiler.compile import CompileCache, compile_plan
from fastgw.compiler.options import CompileOptions
from fastgw.model.plan_text import guards_text
from fastgw.sources.files import FileCache, load_paths

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""
DENIED = "clients of default/{}: all, not 192.0.2.0/24"
NOBODY = "clients of default/{}: none"


def service(name: str, annotations: str = "{}") -> str:
    return (
        f"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, annotations: {annotations}}}\n"
        f"spec: {{hosts: [{name}.test], gateways: [gw], http: [{{name: all, directResponse: {{status: 200}}}}]}}\n"
    )


def policy(name: str = "p", target: str = "a", spec: str = "sources: {deny: [192.0.2.0/24]}", head: str = "") -> str:
    top = head or f"apiVersion: gateway.fastgw.io/v1\nkind: EdgePolicy\nmetadata: {{name: {name}}}"
    return f"---\n{top}\nspec:\n  targetRefs: [{{kind: VirtualService, name: {target}}}]\n  {spec}\n"


class Sources:
    """A folder, compiled again and again as the gateway does it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files, self._cache = FileCache(), CompileCache()
        self.said: list[str] = []
        self.write("main.yaml", GATEWAY + service("a") + service("b"))

    def write(self, name: str, text: str | bytes) -> None:
        (self.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    def guards(self) -> dict[str, list[str]]:
        """What is asked at each VirtualService now."""
        loaded = load_paths([str(self.folder)], "istio-system", self._files)
        options = CompileOptions(labels={"istio": "ingressgateway"}, namespace="istio-system")
        result = compile_plan(loaded.resources, options, self._cache, loaded.doubtful)
        self.said = [found.text() for found in (*loaded.diagnostics, *result.diagnostics) if found.code == "FGW0120"]
        hosts = [host for table in result.plan.route_tables.values() for host in table.virtual_hosts]
        return {host.domains[0].removesuffix(".test"): guards_text(host.rules[0].action.guards) for host in hosts}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


BROKEN = {
    "unknown field": policy(spec="source: {deny: [192.0.2.0/24]}"),
    "one limit of two": policy(spec="rateLimits: [{name: x, requests: 1, per: 1s}, {name: y, requests: 0, per: 1s}]"),
    "two limits of a name": policy(spec="rateLimits: [{name: x, requests: 1, per: 1s}, {name: x, requests: 2, per: 1s}]"),
    "a network of deny": policy(spec="sources: {deny: [192.0.2.0/24, 192.0.2.0/33]}"),
    "a size": policy(spec="maxRequestBytes: -1"),
    "no target": "---\napiVersion: gateway.fastgw.io/v1\nkind: EdgePolicy\nmetadata: {name: p}\nspec: {maxRequestBytes: 1}\n",
    "metadata": policy(head="apiVersion: gateway.fastgw.io/v1\nkind: EdgePolicy\nmetadata: {name: p, labels: 5}"),
    "no name": policy(head="apiVersion: gateway.fastgw.io/v1\nkind: EdgePolicy\nmetadata: {nmae: p}"),
    "another name": policy("q", spec="source: {}") + "---\na: [b\n",
    "version": policy(head="apiVersion: gateway.fastgw.io/v9\nkind: EdgePolicy\nmetadata: {name: p}"),
    "kind": policy(head="apiVersion: gateway.fastgw.io/v1\nkind: EdgePolicyy\nmetadata: {name: p}"),
    "no apiVersion": policy(head="kind: EdgePolicy\nmetadata: {name: p}"),
    "syntax": policy(spec="sources: {deny: [192.0.2.0/24}"),
    "no text": policy() + "\0",
}
UNTOLD = ("no target", "kind", "syntax", "no text")
"""Of these it cannot be told what they are for."""


@pytest.mark.parametrize("how", BROKEN)
def test_what_was_good_holds_until_it_is_mended(sources: Sources, how: str) -> None:
    sources.write("p.yaml", policy())
    assert sources.guards() == {"a": [DENIED.format("p")], "b": []}
    for _ in range(2):
        sources.write("p.yaml", BROKEN[how])
        assert sources.guards() == {"a": [DENIED.format("p")], "b": []}
        assert sources.said
    sources.write("p.yaml", policy(spec="maxRequestBytes: 5"))
    assert (sources.guards(), sources.said) == ({"a": ["request body: at most 5 bytes"], "b": []}, [])


@pytest.mark.parametrize("how", [name for name in BROKEN if name not in UNTOLD])
def test_nobody_is_let_in_where_nothing_good_is_known(sources: Sources, how: str) -> None:
    sources.write("p.yaml", BROKEN[how])
    found = sources.guards()
    assert (len(found["a"]), found["b"]) == (1, [])
    assert found["a"][0].endswith(": none")
    assert any("nobody is let in at VirtualService default/a" in text for text in sources.said)


def test_what_cannot_be_told_is_said(sources: Sources) -> None:
    sources.write("p.yaml", BROKEN["no target"])
    assert sources.guards() == {"a": [], "b": []}
    assert "IT KEEPS NOBODY OUT" in sources.said[0]
    sources.write("p.yaml", policy(target="c", spec="source: {}"))
    sources.guards()
    assert "does not exist in namespace default: IT KEEPS NOBODY OUT" in sources.said[0]


def test_a_policy_that_is_deleted_is_gone(sources: Sources) -> None:
    sources.write("p.yaml", policy())
    # a mistake in an object that is known hides nothing
    sources.write("q.yaml", policy("q", "b") + "---\na: [b\n")
    assert sources.guards() == {"a": [DENIED.format("p")], "b": [DENIED.format("q")]}
    (sources.folder / "p.yaml").unlink()
    assert sources.guards() == {"a": [], "b": [DENIED.format("q")]}
    sources.write("q.yaml", "---\na: [b\n")
    assert sources.guards() == {"a": [], "b": [DENIED.format("q")]}
    assert "cannot be read as a whole: it goes on to count" in sources.said[0]
    sources.write("q.yaml", service("c").replace("hosts", "hots"))
    assert (sources.guards(), sources.said) == ({"a": [], "b": []}, [])


def test_a_file_that_cannot_be_read_hides_a_policy(sources: Sources) -> None:
    place = sources.folder / "p.yaml"
    place.write_text(policy())
    sources.guards()
    place.unlink()
    place.symlink_to(place)
    assert sources.guards()["a"] == [DENIED.format("p")]
    place.unlink()
    assert sources.guards()["a"] == []


def test_a_broken_policy_is_for_something_new(sources: Sources) -> None:
    sources.write("p.yaml", policy())
    sources.guards()
    sources.write("p.yaml", policy(target="b", spec="source: {}"))
    assert sources.guards() == {"a": [DENIED.format("p")], "b": [NOBODY.format("p")]}


def test_what_was_good_of_one_policy_says_nothing_of_another(sources: Sources) -> None:
    sources.write("p.yaml", policy())
    sources.guards()
    sources.write("p.yaml", BROKEN["unknown field"] + policy("q", spec="source: {}"))
    assert sources.guards()["a"] == [NOBODY.format("q"), DENIED.format("p")]


@pytest.mark.parametrize(
    ("good", "bad", "shown"),
    [
        ("gateway.fastgw.io/deny-from: 192.0.2.0/24", "gateway.fastgw.io/deny-from: 192.0.2", DENIED.format("a")),
        ("gateway.fastgw.io/max-request-bytes: '7'", "gateway.fastgw.io/max-request-bytes: many", "request body: at most 7 bytes"),
    ],
)
def test_an_annotation(sources: Sources, good: str, bad: str, shown: str) -> None:
    def now(annotation: str) -> list[str]:
        sources.write("main.yaml", GATEWAY + service("a", f"{{{annotation}}}") + service("b"))
        found = sources.guards()
        assert found["b"] == []
        return found["a"]

    assert now(bad) == [NOBODY.format("a")]
    assert now(good) == [shown]
    for _ in range(2):
        assert now(bad) == [shown]
        assert "what it said before" in sources.said[0]
    assert now("") == []
    assert now(bad) == [NOBODY.format("a")]
