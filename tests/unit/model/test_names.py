"""Shapes of names, paths, and the nearest name."""

from __future__ import annotations

import pytest

from fastgw.model import names
from fastgw.model.nearest import did_you_mean, nearest
from fastgw.model.paths import join_index, join_key, split_path


@pytest.mark.parametrize("text", ["a", "A-b", "a" * 63, "1", "0-0"])
def test_labels(text: str) -> None:
    assert names.is_dns_label(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "a.b", "a_b", "a" * 64, "ä", "a\n"])
def test_no_labels(text: str) -> None:
    assert not names.is_dns_label(text)


@pytest.mark.parametrize("text", ["a", "a.b", "a.b.", "a-b.c1.d", "1.a", ".".join(["a" * 60] * 4)])
def test_domains(text: str) -> None:
    assert names.domain_problem(text) == ""
    assert names.wildcard_problem(text) == ""


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "a.b..", "-a.b", "a_b.c", "a.1", "1.2.3.4", "x." * 130, "a" * 64 + ".b", "a.b\n"]
)
def test_no_domains(text: str) -> None:
    assert names.domain_problem(text)
    assert names.wildcard_problem(text)


@pytest.mark.parametrize("text", ["*", "*.a.b", "*-a.b", "*a.b"])
def test_wildcards(text: str) -> None:
    assert names.wildcard_problem(text) == ""
    assert names.domain_problem(text)


@pytest.mark.parametrize("text", ["a.*", "a*.b", "**", "*.*", "a.*.b"])
def test_no_wildcards(text: str) -> None:
    assert names.wildcard_problem(text)


def test_addresses() -> None:
    assert names.is_ip("10.0.0.1")
    assert names.is_ip("::1")
    assert not names.is_ip("10.0.0.0/8")
    assert not names.is_ip("fe80::1%eth0")
    assert not names.is_ip("a")
    assert names.is_ip_or_network("10.1.2.3/8")
    assert not names.is_ip_or_network("1.2.3")


@pytest.mark.parametrize("key", ["app", "app.kubernetes.io/name", "a_b", "A.b-c", "x" * 63])
def test_label_keys(key: str) -> None:
    assert names.label_key_problem(key) == ""


@pytest.mark.parametrize("key", ["", "-a", "a b", "/a", "a/", "a_b/c", "*", "x" * 64])
def test_no_label_keys(key: str) -> None:
    assert names.label_key_problem(key)


def test_label_values() -> None:
    assert [names.label_value_problem(value) for value in ("", "a", "1.2_3-x")] == ["", "", ""]
    assert all(names.label_value_problem(value) for value in ("-", "a b", "x" * 64, "x*"))


def test_mesh_sni() -> None:
    assert names.mesh_sni_host("outbound_.80_.v1_.a.b") == "a.b"
    assert names.mesh_sni_host("outbound_.80_._.a.b") == "a.b"
    assert names.mesh_sni_host("a.b") == ""


def test_tokens() -> None:
    assert names.is_token("x-Request_id")
    assert not names.is_token("")
    assert not names.is_token("a b")
    assert not names.is_token("a:b")


@pytest.mark.parametrize(
    ("word", "found"),
    [("hostz", "hosts"), ("GATEWAYS", "gateways"), ("export_to", "exportTo"), ("zzzz", ""), ("gatways", "gateways")],
)
def test_nearest(word: str, found: str) -> None:
    known = ["hosts", "gateways", "exportTo", "http"]
    assert nearest(word, known) == found
    assert did_you_mean(word, known) == (f', did you mean "{found}"?' if found else "")


@pytest.mark.parametrize("steps", [("a", 0, "b"), ("a.b/c", "d"), ('q"uo\\te', 12), ("a", 1, 2, "c-d"), ()])
def test_paths_there_and_back(steps: tuple[str | int, ...]) -> None:
    path = ""
    for step in steps:
        path = join_index(path, step) if isinstance(step, int) else join_key(path, step)
    assert split_path(path) == steps
