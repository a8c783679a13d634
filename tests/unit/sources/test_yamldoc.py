"""YAML text to values and places."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgw.sources.limits import ALIAS_NODES, DEPTH
from fastgw.sources.yamldoc import YamlProblem, YamlReader, library_version


def read(text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    found = YamlReader("f.yaml", data).read_document()
    assert found is not None
    return found[0]


def problem(text: str) -> tuple[str, int, int]:
    with pytest.raises(YamlProblem) as caught:
        read(text)
    message, line, column = caught.value.args
    return message, line, column


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("y", True),
        ("On", True),
        ("TRUE", True),
        ("no", False),
        ("off", False),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("", None),
        ("'yes'", "yes"),
        ('"1"', "1"),
        ("yEs", "yEs"),
        ("80", 80),
        ("+5", 5),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("0b101", 5),
        ("1_000", 1000),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-2.5E-1", -0.25),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("1.2.3", "1.2.3"),
        ("10s", "10s"),
        ("1.5h", "1.5h"),
        ("2024-01-02", "2024-01-02"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("12:30:45", "12:30:45"),
        ("089", 89.0),
        ("a: b", {"a": "b"}),
        ("!!str 80", "80"),
        ("!!int 80", 80),
        ("!!float 80", 80.0),
        ("! 80", "80"),
        ("!mine text", "text"),
        ("on: 1", {"true": 1}),
        ("8080: http", {"8080": "http"}),
        ("? a\n: 1", {"a": 1}),
        ("|\n  two\n  lines", "two\nlines\n"[:-1]),
        ("# only a comment", None),
    ],
)
def test_scalars_are_what_kubernetes_users_see(text: str, value: object) -> None:
    if text in ("", "# only a comment"):
        assert YamlReader("f", text.encode()).read_document() is None
        return
    found = read(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(read(".nan"))


def test_huge_integers_are_cheap() -> None:
    assert read("123456789012345678901234567890") == 1.2345678901234568e29


def test_anchors_aliases_and_merges() -> None:
    text = "base: &b {x: 1, w: 2}\none:\n  <<: *b\n  w: 3\nlist: [*b]\nboth:\n  <<: [*b, {z: 4, x: 9}]\n"
    assert read(text) == {
        "base": {"x": 1, "w": 2},
        "one": {"w": 3, "x": 1},
        "list": [{"x": 1, "w": 2}],
        "both": {"x": 1, "w": 2, "z": 4},
    }


def test_scalar_anchor_as_value_and_key() -> None:
    assert read("a: &n name\nb: *n\n*n : 1\n") == {"a": "name", "b": "name", "name": 1}


def test_alias_without_anchor() -> None:
    assert problem("a: *nope") == ("alias *nope has no anchor &nope before it", 1, 4)


def test_alias_to_itself_ends() -> None:
    assert "has no anchor" in problem("a: &x [*x]")[0]


def test_alias_bomb() -> None:
    lines = ['a0: &a0 ["x","x","x","x","x","x","x","x","x","x"]']
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    message, line, _ = problem("\n".join(lines))
    assert message == f"aliases expand to more than {ALIAS_NODES} values"
    assert line <= 7


def test_merge_of_something_else() -> None:
    assert problem("a:\n  <<: 3\n")[0] == "<< merges mappings only"


def test_duplicate_key() -> None:
    assert problem("a: 1\nb:\n  c: 1\n  c: 2\n") == ('key "c" appears twice in one mapping', 4, 3)


def test_complex_key() -> None:
    assert problem("? [a]\n: 1")[0].startswith("a key has to be text")


def test_null_key() -> None:
    assert problem("~: 1")[0] == "a key has to be text"


@pytest.mark.parametrize("text", ["[" * (DEPTH + 2), "a: " + "{a: " * (DEPTH + 2), "- " * (DEPTH + 2) + "x"])
def test_depth(text: str) -> None:
    assert problem(text)[0] == f"nested more than {DEPTH} levels deep"


def test_depth_that_is_allowed() -> None:
    assert read("[" * DEPTH + "]" * DEPTH) is not None


def test_very_deep_nesting_costs_nothing() -> None:
    assert problem("[" * 1_000_000)[0] == f"nested more than {DEPTH} levels deep"


def test_document_too_long() -> None:
    text = "a:\n" + "- xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 200_000
    assert problem(text)[0] == "the document is longer than 4 MiB"


def test_items_of_a_list_are_documents_of_their_own() -> None:
    text = "kind: List\nitems:\n" + "- " + "x" * 60 + "\n"
    many = "kind: List\nitems:\n" + ("- " + "x" * 60 + "\n") * 100_000
    assert len(read(many)["items"]) == 100_000
    assert len(read(text)["items"]) == 1


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("a:\n\tb: 1\n", "a tab cannot be used for indentation, use blanks", 2),
        ("a: b: c", "mapping values are not allowed in this context", 1),
        ("a: [1, 2\nb: 3\n", "did not find expected ',' or ']'", 2),
        ('a: "open\n', "found unexpected end of stream", 2),
        ("a: 1\n b: 2\n", "mapping values are not allowed", 2),
        ("a: @x\n", "found character that cannot start any token", 1),
        ("a: \x01\n", "control characters are not allowed", 1),
        ("!!binary aGk=", "the tag !!binary is not supported", 1),
        ("!!int x", "is not what its tag !!int says", 1),
    ],
)
def test_syntax_says_what_and_where(text: str, words: str, line: int) -> None:
    message, at, _ = problem(text)
    assert words in message
    assert at == line


def test_several_documents_and_places() -> None:
    reader = YamlReader("f.yaml", b"a: 1\n---\n---\n- x\n- b:  {c: 2}\n...\n")
    documents = []
    while (found := reader.read_document()) is not None:
        documents.append(found)
    assert [value for value, _ in documents] == [{"a": 1}, None, ["x", {"b": {"c": 2}}]]
    places = documents[2][1]
    assert (str(places.find("")), str(places.find("[0]")), str(places.find("[1].b.c"))) == (
        "f.yaml:4:1",
        "f.yaml:4:3",
        "f.yaml:5:11",
    )
    assert str(places.find_key("[1].b.c")) == "f.yaml:5:8"


def test_lines_count_from_the_start_that_was_given() -> None:
    text = b"broken: [\n---\na: 1\n"
    found = YamlReader("f", text, 10, 2).read_document()
    assert found is not None
    assert str(found[1].find("a")) == "f:3:4"


def test_start_behind_the_text() -> None:
    with pytest.raises(ValueError, match="behind"):
        YamlReader("f", b"a", 5)


def test_version() -> None:
    assert library_version().count(".") == 2


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(st.characters(blacklist_categories=["Cs", "Cc", "Cn", "Co", "Cf", "Zl", "Zp"]), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz-./", min_size=1, max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_json_is_yaml(value: Any) -> None:
    """JSON text means the same in both readers, except where YAML has no way to say it."""
    assert read(json.dumps(value, ensure_ascii=False)) == value


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_a_value_or_a_problem(data: bytes) -> None:
    reader = YamlReader("f", data)
    try:
        while reader.read_document() is not None:
            pass
    except (YamlProblem, UnicodeDecodeError) as error:
        assert error.args
