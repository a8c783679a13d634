"""A match that is said to be covered is never reached: measured against a slow evaluation of both."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgw.analysis.picture import PictureOptions, check_picture
from fastgw.analysis.unreachable import unreachable_rules
from fastgw.model.kinds.base import StringMatch
from fastgw.model.kinds.http_route import Delegate, HttpMatch, HttpRoute
from fastgw.model.kinds.virtual_service import VirtualService
from fastgw.model.origin import NOWHERE
from fastgw.model.resource import Resource


def service(*routes: tuple[HttpMatch, ...]) -> Resource:
    spec = VirtualService(hosts=("a.b",), http=tuple(HttpRoute(match=matches) for matches in routes))
    return Resource(kind="VirtualService", api_version="v1", namespace="n", name="v", spec=spec, origin=NOWHERE)


def findings(*routes: tuple[HttpMatch, ...]) -> dict[str, str]:
    return {one.path: one.code for one in unreachable_rules(service(*routes))}


def uri(**condition: str) -> HttpMatch:
    return HttpMatch(uri=StringMatch(**condition))


def test_whole_rules_and_single_matches() -> None:
    narrow, wide = uri(prefix="/a/b"), uri(prefix="/a")
    assert findings((wide,), (narrow,)) == {"spec.http[1]": "IST0130"}
    assert findings((wide, narrow)) == {"spec.http[0].match[1]": "IST0131"}
    assert findings((narrow,), (wide,)) == {}
    assert findings((wide,), (narrow, uri(prefix="/b"))) == {"spec.http[1].match[0]": "IST0131"}


def test_case() -> None:
    folded = msgspec.structs.replace(uri(prefix="/A"), ignore_uri_case=True)
    assert findings((folded,), (uri(exact="/abc"),)) == {"spec.http[1]": "IST0130"}
    assert findings((uri(prefix="/A"),), (folded,)) == {}


def test_everything_is_left_to_the_compiler() -> None:
    for everything in (HttpMatch(), uri(prefix="/"), uri(regex=".*")):
        assert findings((everything,), (uri(prefix="/x"),)) == {}
    assert findings((HttpMatch(port=80),), (HttpMatch(port=80, uri=StringMatch(prefix="/x")),)) == {"spec.http[1]": "IST0130"}


def test_regexes_that_are_prefixes() -> None:
    assert findings((uri(regex="/a.*"),), (uri(prefix="/ab"),)) == {"spec.http[1]": "IST0130"}
    assert findings((uri(prefix="/a"),), (uri(regex="/ab[0-9]+"),)) == {"spec.http[1]": "IST0130"}
    assert findings((uri(regex="/a[0-9]+"),), (uri(exact="/a12"),)) == {"spec.http[1]": "IST0130"}
    assert findings((uri(regex="/a[0-9]+"),), (uri(exact="/a12b"),), (uri(prefix="/a1"),)) == {}
    assert findings((uri(regex="/a(/.*)?"),), (uri(prefix="/a"),), (uri(prefix="/a/b"),)) == {"spec.http[2]": "IST0130"}


def test_a_rule_that_delegates_covers_nothing_for_certain() -> None:
    root = service((uri(prefix="/a"),), (uri(prefix="/a/b"),))
    delegating = msgspec.structs.replace(root.spec.http[0], delegate=Delegate(name="d"))
    root.spec = msgspec.structs.replace(root.spec, http=(delegating, root.spec.http[1]))
    assert unreachable_rules(root) == []


def test_whole_segments() -> None:
    resource = service((uri(prefix="/a"),), (uri(prefix="/ab"),), (uri(prefix="/a/b"),))
    assert [one.path for one in unreachable_rules(resource)] == ["spec.http[1]", "spec.http[2]"]
    resource.annotations = {"gateway.fastgw.io/path-match": "segment"}
    assert [one.path for one in unreachable_rules(resource)] == ["spec.http[2]"]


def test_a_delegate_may_be_read_by_segments() -> None:
    resource = service((uri(prefix="/a"),), (uri(prefix="/ab"),), (uri(prefix="/a/b"),))
    resource.spec = msgspec.structs.replace(resource.spec, hosts=())
    assert [one.path for one in unreachable_rules(resource)] == ["spec.http[2]"]


def test_a_broken_match_covers_nothing() -> None:
    resource = service((uri(prefix="/a"), uri(prefix="/b")), (uri(prefix="/a/b"),))
    resource.broken = frozenset({"spec.http[0].match[0]"})
    assert unreachable_rules(resource) == []


def test_many_matches_on_one_header_are_no_burden() -> None:
    routes = [(HttpMatch(headers={"x-user": StringMatch(exact=str(number))}),) for number in range(20_000)]
    assert findings(*routes) == {}
    assert findings(*routes[:100], routes[5]) == {"spec.http[100]": "IST0130"}


def test_many_rules_are_no_burden() -> None:
    routes = [(uri(prefix=f"/svc-{number}/"),) for number in range(20_000)]
    assert findings(*routes) == {}


def test_part_of_the_whole_picture() -> None:
    resource = service((uri(prefix="/a/"),), (uri(exact="/a/b"),))
    found = check_picture([resource], PictureOptions({}, "istio-system"))
    assert [(one.code, one.kind, one.name) for one in found] == [("IST0130", "VirtualService", "v")]


texts = st.sampled_from(["/", "/a", "/a/b", "/A", "b", ""])
conditions = st.one_of(
    st.builds(lambda text: StringMatch(exact=text), texts),
    st.builds(lambda text: StringMatch(prefix=text), texts),
    st.sampled_from([StringMatch(regex="/a.*"), StringMatch(regex=".*"), StringMatch()]),
)
maps = st.dictionaries(st.sampled_from(["x", "y"]), conditions, max_size=2)
matches = st.builds(
    HttpMatch,
    uri=st.none() | conditions,
    method=st.none() | conditions,
    headers=maps,
    without_headers=maps,
    query_params=maps,
    port=st.sampled_from([0, 80]),
    gateways=st.sampled_from([(), ("g",), ("g", "h")]),
    ignore_uri_case=st.booleans(),
)
requests = st.fixed_dictionaries(
    {
        "uri": texts,
        "method": texts,
        "headers": st.dictionaries(st.sampled_from(["x", "y"]), texts),
        "query_params": st.dictionaries(st.sampled_from(["x", "y"]), texts),
        "port": st.sampled_from([80, 81]),
        "gateway": st.sampled_from(["g", "h"]),
    }
)


def text_holds(wanted: StringMatch | None, text: str | None, fold: bool = False) -> bool:
    """Section G in the plainest words; None is a header that is not there."""
    if wanted is None:
        return True
    if text is None:
        return False
    if wanted.regex is not None:
        return re.fullmatch(wanted.regex, text) is not None
    same, begins = (str.lower(text), str.lower) if fold else (text, str)
    if wanted.exact is not None:
        return same == begins(wanted.exact)
    return wanted.prefix is None or same.startswith(begins(wanted.prefix))


def holds(match: HttpMatch, request: dict[str, Any]) -> bool:
    def without(name: str, wanted: StringMatch) -> bool:
        value = request["headers"].get(name)
        if wanted == StringMatch():
            return value is None
        return not text_holds(wanted, value if value is not None else "")

    return (
        text_holds(match.uri, request["uri"], match.ignore_uri_case)
        and text_holds(match.method, request["method"])
        and all(text_holds(wanted, request["headers"].get(name)) for name, wanted in match.headers.items())
        and all(text_holds(wanted, request["query_params"].get(name)) for name, wanted in match.query_params.items())
        and all(without(name, wanted) for name, wanted in match.without_headers.items())
        and match.port in (0, request["port"])
        and (not match.gateways or request["gateway"] in match.gateways)
    )


@given(st.lists(matches, min_size=2, max_size=4), st.lists(requests, min_size=5, max_size=20))
@settings(max_examples=200, deadline=None)
def test_what_is_covered_is_never_reached(rules: list[HttpMatch], asked: list[dict[str, Any]]) -> None:
    dead = {int(path.removeprefix("spec.http[").split("]")[0]) for path in findings(*((rule,) for rule in rules))}
    for request in asked:
        first = next((index for index, rule in enumerate(rules) if holds(rule, request)), None)
        assert first not in dead
