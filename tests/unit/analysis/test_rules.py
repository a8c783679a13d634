"""Rules that the validation cases leave out: header formats, CEL, overlaps, localities, prime numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastgw.analysis.findings import Findings
from fastgw.analysis.validate import validate
from fastgw.analysis.validate_gateway import server_host_problem
from fastgw.analysis.validate_headers import format_problem
from fastgw.analysis.validate_telemetry import cel_problem
from fastgw.model.kinds.virtual_service import VirtualService
from fastgw.model.origin import NOWHERE
from fastgw.model.resource import Resource

Parse = Callable[[str], list[Resource]]


@pytest.mark.parametrize("value", ["", "plain", "100%%", "%REQ(x-a)%", "%REQ(x?y):10% and %PROTOCOL%", "%%%START_TIME(%s)%", "\t"])
def test_formats(value: str) -> None:
    assert format_problem(value) == ""


@pytest.mark.parametrize("value", ["100%", "%", "%req%", "%REQ(x", "%REQ(x)", "% %", "%%%", "a\r\nb: c", "\0", "\x7f"])
def test_no_formats(value: str) -> None:
    assert format_problem(value)


@pytest.mark.parametrize("text", ["response.code >= 400", "has(request.headers['x'])", "'(' == \"[\"", 'a["b\\"("]'])
def test_cel(text: str) -> None:
    assert cel_problem(text) == ""


@pytest.mark.parametrize("text", ["", " ", "(", ")", "a &&", "f(]", "'open", "[1, 2"])
def test_no_cel(text: str) -> None:
    assert cel_problem(text)


@pytest.mark.parametrize("host", ["*", "*.a.b", "a.b", "ns/a.b", "./*.a.b", "*/*", "10.0.0.1", "a.b."])
def test_server_hosts(host: str) -> None:
    assert server_host_problem(host) == ""


@pytest.mark.parametrize("host", ["", "a", "*a.b", "a*.b", "*.*.b", "/a.b", "~/a.b", "a/b/c.d", "ns/", "a_b.c", "a.b/c.d"])
def test_no_server_hosts(host: str) -> None:
    assert server_host_problem(host)


def overlaps(*hosts: str) -> list[int]:
    spec = VirtualService(hosts=hosts, gateways=("g",), http=())
    resource = Resource(kind="VirtualService", api_version="v1", namespace="n", name="v", spec=spec, origin=NOWHERE)
    found = [one.path for one in validate(resource) if one.path.startswith("spec.hosts[")]
    return [int(path.removeprefix("spec.hosts[").rstrip("]")) for path in found]


def test_hosts_of_one_service_do_not_overlap() -> None:
    assert overlaps("a.b.c", "*.b.d", "x.y") == []
    assert overlaps("a.b.c", "*.b.c") == [0]
    assert overlaps("*.b.c", "*.a.b.c", "*.c") == [0, 1]
    assert overlaps("*", "a.b") == [1]
    assert overlaps("a.b", "A.B") == [1]
    assert overlaps("*ab.c", "xab.c", "ab.c") == [1]
    assert overlaps("*.b.c", "b.c") == []


def test_many_hosts_are_no_burden() -> None:
    assert overlaps(*(f"*.a{number}.b.c" for number in range(20_000))) == []


def locality(parse: Callable[[str], list[Resource]], block: str) -> list[str]:
    text = f"""apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d}}
spec:
  host: a.b
  trafficPolicy:
    outlierDetection: {{}}
    loadBalancer:
      localityLbSetting: {block}
"""
    from fastgw.sources.assemble import assemble
    from fastgw.sources.documents import read_text

    found = [assemble(document, "ns") for document in read_text("t.yaml", text.encode(), json=False).documents]
    return [one.message for one in found[0].diagnostics]


def test_localities(parse: Parse) -> None:
    assert locality(parse, "{distribute: [{from: r/z/*, to: {r/z: 60, r2: 40}}, {from: r/y, to: {r: 100}}]}") == []
    assert locality(parse, "{distribute: [{from: '*', to: {r: 100}}, {from: r/y, to: {r: 100}}]}") == ['"r/y" and "*" overlap']
    assert locality(parse, "{distribute: [{from: r, to: {r: 50, q: 40}}]}") == ["the shares do not add up to 100"]
    assert locality(parse, "{distribute: [{from: r, to: {r: 0, q: 100}}]}") == ["0 is no share, they go from 1 to 100"]
    assert locality(parse, "{failover: [{from: r, to: r}]}") == ["a region cannot fall back to itself"]
    assert locality(parse, "{distribute: [{from: r, to: {r: 100}}], failoverPriority: [a]}") == [
        "distribute excludes failover and failoverPriority"
    ]
    assert len(locality(parse, "{distribute: [{from: a/b/c/d, to: {'a//b': 100}}]}")) == 2


def test_given_sees_what_was_written_out(parse: Parse) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ClusterIP}\n"
    findings = Findings(parse(text)[0])
    assert findings.given("spec.type")
    assert not findings.given("spec.selector")


def test_kinds_without_rules_are_fine(parse: Parse) -> None:
    assert validate(parse("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n")[0]) == []
