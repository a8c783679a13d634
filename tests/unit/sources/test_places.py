"""Looking up where a field stands."""

from __future__ import annotations

import pickle

import pytest

from fastgw.sources.documents import read_text
from fastgw.sources.places import DocumentPlaces

TEXT = b"""kind: A
metadata:
  labels:
    app.kubernetes.io/name: x
    plain: y
  annotations: {a.b.c: "1"}
spec:
  http:
  - match:
    - uri:
        prefix: /a
  - route: []
base: &b {x: 1}
other: *b
"""


@pytest.fixture(scope="module")
def places() -> DocumentPlaces:
    return read_text("f.yaml", TEXT, json=False).documents[0].places


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("", "1:1", "1:1"),
        ("kind", "1:7", "1:1"),
        ("spec.http[0].match[0].uri.prefix", "11:17", "11:9"),
        ("spec.http[1]", "12:5", "12:5"),
        ("spec.http[1].route", "12:12", "12:5"),
        ("spec.http[7].route", "9:3", "8:3"),
        ("spec.http.name", "9:3", "8:3"),
        ('metadata.labels["app.kubernetes.io/name"]', "4:29", "4:5"),
        ("metadata.labels.app.kubernetes.io/name", "4:29", "4:5"),
        ("metadata.annotations.a.b.c", "6:24", "6:17"),
        ("metadata.labels.missing", "4:5", "3:3"),
        ("other.x", "14:8", "14:1"),
        ("nothing.here", "1:1", "1:1"),
    ],
)
def test_find(places: DocumentPlaces, path: str, value: str, key: str) -> None:
    assert str(places.find(path)) == f"f.yaml:{value}"
    assert str(places.find_key(path)) == f"f.yaml:{key}"


def test_has(places: DocumentPlaces) -> None:
    assert places.has("spec.http[1].route")
    assert places.has("")
    assert not places.has("spec.http[2]")
    assert not places.has("spec.tcp")
    assert not places.has("kind.x")


def test_items(places: DocumentPlaces) -> None:
    first, second = places.items("spec.http")
    assert str(first.find("match[0].uri")) == "f.yaml:11:9"
    assert str(second.find_key("route")) == "f.yaml:12:5"
    assert places.items("spec.tcp") == []


def test_pickle(places: DocumentPlaces) -> None:
    assert str(pickle.loads(pickle.dumps(places)).find("kind")) == "f.yaml:1:7"


@pytest.mark.parametrize("table", [b"", b"x" * 23])
def test_a_table_has_whole_records(table: bytes) -> None:
    with pytest.raises(ValueError, match="whole records"):
        DocumentPlaces("f", table)
