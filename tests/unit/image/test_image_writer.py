"""What the writer puts into an image, and what it shares."""

from __future__ import annotations

import pytest
from image_builders import LISTENER, image, plan, rule, taken, vhost

from fastgw.image.layout import NONE, ImageError, lib
from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.image.numbers import StateNumbers
from fastgw.image.reader import ImageReader, Row
from fastgw.image.writer import write_image
from fastgw.model.plan import Action, Cluster, Endpoint, PathMatch, Plan, Predicate, WeightedDestination


def written(plan_: Plan, numbers: StateNumbers | None = None, generation: int = 1) -> ImageReader:
    data = write_image(plan_, numbers or StateNumbers(), generation)
    Matcher(data)
    return ImageReader(data)


def only(reader: ImageReader, table: str) -> Row:
    rows = list(reader.rows(table))
    assert len(rows) == 1
    return rows[0]


def test_an_empty_plan_is_an_image() -> None:
    assert written(Plan()).header["listeners.count"] == 0


def test_the_same_plan_gives_the_same_bytes() -> None:
    hosts = [vhost(["a.com"], rule("r", PathMatch("regex", "/a.*")))]
    assert image(*hosts) == image(*hosts)


def test_listener_and_generation() -> None:
    reader = written(plan(vhost(["a.com"], rule("r"))), generation=77)
    row = only(reader, "listeners")
    assert (reader.text(row, "name"), row["port"], row["plain"], row["sni"]) == (LISTENER, 80, 0, NONE)
    assert reader.header["generation"] == 77
    assert reader.row("origins", reader.number(row, "origin"))["line"] == 7


def test_virtual_hosts_with_the_same_rules_share_them() -> None:
    rules = [rule(f"r{i}", PathMatch("prefix", f"/{i}/")) for i in range(50)]
    shared = written(plan(*(vhost([f"{i}.com"], *rules) for i in range(20))))
    assert shared.header["rules.count"] == 50
    data = shared.image
    for i in (0, 19):
        assert taken(data, RouteRequest(f"{i}.com".encode(), b"/42/")) == "r42"


def test_weights() -> None:
    destinations = [WeightedDestination(f"c{i}", weight) for i, weight in enumerate([75, 0, 25])]
    action = Action("route", tuple(destinations))
    reader = written(plan(vhost(["a.com"], rule("r", action=action)), clusters=[Cluster("c0", "h", 80)]))
    rows = list(reader.rows("destinations"))
    assert [(reader.text(r, "cluster_name"), r["weight"], r["cumulative_weight"]) for r in rows] == [
        ("c0", 75, 75),
        ("c2", 25, 100),
    ]
    assert [r["cluster"] for r in rows] == [0, NONE]
    assert only(reader, "actions")["total_weight"] == 100


@pytest.mark.parametrize("weights", [[0], [100], [0, 0], [0, 50]])
def test_h5_one_destination_gets_everything(weights: list[int]) -> None:
    action = Action("route", tuple(WeightedDestination(f"c{i}", weight) for i, weight in enumerate(weights)))
    reader = written(plan(vhost(["a.com"], rule("r", action=action))))
    row = only(reader, "destinations")
    assert (row["weight"], only(reader, "actions")["total_weight"]) == (1, 1)


def test_an_action_without_destinations_is_answered_not_passed_over() -> None:
    reader = written(plan(vhost(["a.com"], rule("r", action=Action("unsupported", detail="redirect")))))
    assert only(reader, "actions")["kind"] == lib.FGW_ACTION_UNSUPPORTED
    assert taken(reader.image, RouteRequest(b"a.com", b"/")) == "r"


def test_clusters_and_endpoints() -> None:
    endpoints = [Endpoint("10.1.2.3", 81, 5, False), Endpoint("fd00::7", 82), Endpoint("unix:/run/x.sock", 0)]
    by_name = Cluster("dns", "b", 80, discovery="dns", endpoints=[Endpoint("b", 80, lookup="all")])
    clusters = [Cluster("static", "a", 80, endpoints=endpoints), by_name]
    numbers = StateNumbers()
    reader = written(plan(clusters=clusters), numbers)
    static, dns = reader.rows("clusters")
    assert (static["dns_slot"], dns["dns_slot"]) == (NONE, numbers.dns_slot_of(by_name))
    assert [reader.address(row) for row in reader.rows("endpoints")] == [
        "10.1.2.3:81",
        "[fd00::7]:82",
        "unix:/run/x.sock",
        "b:80",
    ]
    first = reader.row("endpoints", 0)
    assert (first["flags"], first["weight"], first["cell"]) == (
        lib.FGW_ENDPOINT_UNHEALTHY,
        5,
        numbers.cell_of("static", "10.1.2.3", 81),
    )
    assert static["metric_id"] == numbers.metric_id_of("a", "", "")


def test_a_regex_is_written_once() -> None:
    pattern = Predicate("header", "regex", "x", "/a.*")
    reader = written(plan(vhost(["a.com"], rule("r", PathMatch("regex", "/a.*"), pattern), rule("s", None, pattern))))
    assert reader.bytes_of(only(reader, "regexes"), "literal_prefix") == b"/a"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (plan(vhost(["a" * 600], rule("r"))), "600 bytes, more than 511"),
        (plan(clusters=[Cluster("c", "h", 80, endpoints=[Endpoint("10.0.0", 80)])]), "c: '10.0.0' is not an IP address"),
    ],
)
def test_what_does_not_fit_is_named(broken: Plan, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        write_image(broken, StateNumbers(), 1)


def test_a_lone_surrogate_does_not_stop_a_compile() -> None:
    data = image(vhost(["a.com"], rule("r", PathMatch("prefix", "/\ud800")), rule("rest")))
    assert taken(data, RouteRequest(b"a.com", b"/")) == "rest"


def test_the_image_stays_below_a_kilobyte_a_route() -> None:
    count = 3000
    hosts = [vhost([f"host-{i}.shop.example.com"], rule(f"route-{i}", PathMatch("prefix", "/"))) for i in range(count)]
    assert len(image(*hosts)) / count < 500


def test_prefixes_below_many_conditional_rules_do_not_multiply_them() -> None:
    """1,000 conditional rules at "/" and 1,000 prefixes below: merged lists would hold a million candidates."""
    conditional = [rule(f"c{i}", PathMatch("prefix", "/"), Predicate("header", "prefix", f"x-{i}", "a")) for i in range(1000)]
    prefixes = [rule(f"p{i}", PathMatch("prefix", f"/{i}/")) for i in range(1000)]
    data = image(vhost(["a.com"], *conditional, *prefixes))
    assert ImageReader(data).header["candidates.count"] < 3000
    assert taken(data, RouteRequest(b"a.com", b"/77/x")) == "p77"
    assert taken(data, RouteRequest(b"a.com", b"/77/x", headers=((b"x-999", b"a"),))) == "c999"


def test_rules_behind_a_rule_without_conditions_take_no_place_in_lists() -> None:
    conditions = [[Predicate("query", "present", f"q{i}")] for i in range(100)]
    conditions[3] = []
    rules = [rule(f"r{i}", PathMatch("prefix", "/"), *own) for i, own in enumerate(conditions)]
    assert ImageReader(image(vhost(["a.com"], *rules))).header["candidates.count"] == 4
