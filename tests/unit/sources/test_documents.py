"""The documents of a file: one bad document never costs the others, every problem has its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgw.model.paths import join_index, join_key
from fastgw.sources import documents, jsondoc, yamldoc
from fastgw.sources.documents import FileText, read_text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text("aü\u2028 \\\"'", max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz.-/", min_size=1, max_size=5), inner, max_size=4),
    max_leaves=20,
)


def texts(found: FileText) -> list[str]:
    return [diagnostic.text() for diagnostic in found.diagnostics]


def test_documents_around_a_bad_one_count() -> None:
    data = b"a: 1\n---\nb: [\n---\nc: 3\n---\nd: : :\n--- \ne: 5\n"
    found = read_text("x.yaml", data, json=False)
    assert [document.value for document in found.documents] == [{"a": 1}, {"c": 3}, {"e": 5}]
    assert [(diagnostic.code, diagnostic.origin.line) for diagnostic in found.diagnostics] == [("FGW0006", 4), ("FGW0006", 7)]
    assert str(found.documents[2].places.find("e")) == "x.yaml:9:4"


def test_problem_of_content_costs_its_document_only() -> None:
    found = read_text("x.yaml", b"a: 1\na: 2\nmore: text\n---\nb: 1\n", json=False)
    assert [document.value for document in found.documents] == [{"b": 1}]
    assert texts(found) == ['x.yaml:2:1: error[FGW0006]: key "a" appears twice in one mapping']


def test_alias_bomb_is_a_limit() -> None:
    bomb = "a: &a [" + "1," * 500 + "]\nb: &b [" + "*a," * 500 + "]\nc: [*b]\n---\nok: 1\n"
    found = read_text("x.yaml", bomb.encode(), json=False)
    assert [diagnostic.code for diagnostic in found.diagnostics] == ["FGW0007"]
    assert [document.value for document in found.documents] == [{"ok": 1}]


def test_list_of_yaml() -> None:
    data = b"apiVersion: v1\nkind: List\nitems:\n- kind: A\n- kind: B\n  x: [1, 2]\n-\n"
    found = read_text("x.yaml", data, json=False)
    assert [document.value["kind"] for document in found.documents] == ["A", "B"]
    assert str(found.documents[1].places.find("x[1]")) == "x.yaml:6:10"


@pytest.mark.parametrize(
    "data",
    [
        b'{"kind": "List", "items": [{"kind": "A"}, {"kind": "B"}]}',
        b'{"kind": "A"}\n{"kind": "B"}\n',
        b'{"kind": "A"}\n---\n{"kind": "B"}',
        b'---\n{"kind": "A"}\n\n---\n---\n{\n "kind": "B"\n}\n',
        b'\xef\xbb\xbf{"kind": "A"} {"kind": "B"}',
    ],
)
def test_several_documents_of_json(data: bytes) -> None:
    found = read_text("x.json", data, json=True)
    assert [document.value for document in found.documents] == [{"kind": "A"}, {"kind": "B"}]
    assert found.diagnostics == []


def test_places_in_json() -> None:
    data = '{"kind": "A",\n  "näme": "ü", "spec": {"list": [1,\n {"x": null}]}}'.encode()
    places = read_text("x.json", data, json=True).documents[0].places
    assert str(places.find("spec.list[1].x")) == "x.json:3:8"
    assert str(places.find_key("spec.list[1].x")) == "x.json:3:3"
    assert str(places.find_key("spec")) == "x.json:2:16"
    assert str(places.find("spec.list[1].none")) == "x.json:3:2"


def test_large_list_of_json_has_places() -> None:
    items = [{"kind": "A", "metadata": {"name": f"n{number}"}, "text": "x" * 100} for number in range(2000)]
    data = json.dumps({"items": items, "kind": "List"}, indent=1).encode()
    found = read_text("x.json", data, json=True)
    assert [document.value for document in found.documents] == items
    line = found.documents[1999].places.find("metadata.name").line
    assert data.split(b"\n")[line - 1].strip() == b'"name": "n1999"'


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a": 1,\n "a": 2}\n{"b": 1}', 'x.json:2:2: error[FGW0006]: key "a" appears twice in one object'),
        (b'{"a": 1,\n "c" 2}\n{"b": 1}', "x.json:2:6: error[FGW0006]: not valid JSON: a colon was expected"),
        (b'{"a": 1,\n "c": 01}\n{"b": 1}', "x.json:2:7: error[FGW0006]: not valid JSON: invalid number"),
        (b'{"a": tru}\n{"b": 1}', "x.json:1:10: error[FGW0006]: not valid JSON: invalid character"),
        (b'{"a": "open\n{"b": 1}', "x.json:1:7: error[FGW0006]: not valid JSON: a string is not closed in its line"),
        (b'nonsense here\n{"b": 1}', None),
    ],
)
def test_bad_json_costs_its_document_only(data: bytes, text: str | None) -> None:
    found = read_text("x.json", data, json=True)
    assert {"b": 1} in [document.value for document in found.documents]
    assert len(found.diagnostics) >= 1
    if text is not None:
        assert texts(found) == [text]


def test_json_that_ends_early() -> None:
    found = read_text("x.json", b'{"a": [1, 2', json=True)
    assert found.documents == []
    assert [diagnostic.code for diagnostic in found.diagnostics] == ["FGW0006"]


def test_json_depth_and_size() -> None:
    deep = read_text("x.json", b"[" * 200_000, json=True)
    assert [diagnostic.code for diagnostic in deep.diagnostics] == ["FGW0007"]
    long = read_text("x.json", b'{"a": "' + b"x" * (5 << 20) + b'"}', json=True)
    assert [diagnostic.code for diagnostic in long.diagnostics] == ["FGW0007"]
    item = read_text("x.json", b'{"kind": "List", "items": [{"a": "' + b"x" * (5 << 20) + b'"}, {"kind": "B"}]}', json=True)
    assert [diagnostic.code for diagnostic in item.diagnostics] == ["FGW0007"]
    assert [document.value for document in item.documents] == [{"kind": "B"}]


def test_binary_and_other_encodings() -> None:
    assert texts(read_text("x.yaml", b"a: 1\nb: \x00\xff", json=False)) == [
        "x.yaml:2:4: error[FGW0005]: not text: it holds a zero byte"
    ]
    assert texts(read_text("x.yaml", "a: ü".encode("latin-1"), json=False)) == [
        "x.yaml:1:4: error[FGW0005]: not UTF-8 text: byte 0xfc"
    ]
    assert [one.code for one in read_text("x.yaml", "a: 1".encode("utf-16"), json=False).diagnostics] == ["FGW0005"]


def test_byte_order_mark_is_no_harm() -> None:
    assert read_text("x.yaml", b"\xef\xbb\xbfa: 1", json=False).documents[0].value == {"a": 1}


def test_empty_documents_are_nothing() -> None:
    found = read_text("x.yaml", b"---\n# nothing\n---\n\n---\n", json=False)
    assert (found.documents, found.diagnostics) == ([], [])


def test_many_bad_documents_are_read_in_linear_time() -> None:
    found = read_text("x.yaml", b"a: b: c\n---\n" * 20_000, json=False)
    assert len(found.diagnostics) == 20_000


@given(st.binary(max_size=200) | st.text('{}[]",:\\ \n-0a\u00fc', max_size=80).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_as_json_end(data: bytes) -> None:
    found = read_text("x.json", data, json=True)
    assert found.documents or found.diagnostics or not data.strip(b" \t\r\n-\xef\xbb\xbf")


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_places_of_json_follow_the_values(value: object) -> None:
    """Every path of a value is found in its places, and nothing is found where there is no value."""
    text = json.dumps(value, indent=1)
    (document,) = read_text("x.json", text.encode(), json=True).documents
    lines = text.split("\n")

    def visit(part: object, path: str) -> None:
        assert document.places.has(path)
        place = document.places.find(path)
        shown = json.dumps(part)
        begin = "{" if isinstance(part, dict) else "[" if isinstance(part, list) else shown
        assert lines[place.line - 1][place.column - 1 :].startswith(begin)
        for key, item in part.items() if isinstance(part, dict) else ():
            visit(item, join_key(path, key))
        for index, item in enumerate(part) if isinstance(part, list) else ():
            visit(item, join_index(path, index))

    visit(value, "")
    assert not document.places.has('["no such key"]')


def test_utf8_is_checked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_PIECE_BYTES", 5)
    assert read_text("x.yaml", "a: \u20ac\U0001f600\u00fc\u20ac\u20ac".encode(), json=False).diagnostics == []
    for text in (b"a: \xe2\x82\xac \xe2\x82\xac \xff", b"a: \xe2\x82\xac\xe2\x82"):
        (found,) = read_text("x.yaml", text, json=False).diagnostics
        assert found.code == "FGW0005"
        assert found.origin.column == (12 if text.endswith(b"\xff") else 7)


@pytest.mark.parametrize("json_form", [True, False])
def test_too_many_values(json_form: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = jsondoc if json_form else yamldoc
    monkeypatch.setattr(module, "VALUES", 50)
    few, many = b"[" + b"1," * 40 + b"1]", b'{"items": [' + b"1," * 60 + b"1]}"
    assert read_text("x", few, json=json_form).diagnostics == []
    found = read_text("x", many, json=json_form)
    assert found.diagnostics[0].text().endswith("holds more than 50 values")
    assert found.diagnostics[0].code == "FGW0007"
