"""An image linked from kept pieces is, byte for byte, the one that a fresh writer makes; and what is kept does not pile up."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_builders import plan, rule, vhost
from image_plans import LISTENER, plan_match, some_plan, some_request

from fastgw.image.layout import ImageError
from fastgw.image.matcher import Matcher
from fastgw.image.numbers import QUARANTINE, Numbers, StateNumbers
from fastgw.image.reader import ImageReader
from fastgw.image.writer import ImageWriter, write_image
from fastgw.model.plan import (
    Action,
    Chain,
    Cluster,
    Endpoint,
    Listener,
    PathMatch,
    Plan,
    RouteTable,
    Sticky,
    VirtualHost,
    WeightedDestination,
)


def fresh(plan_: Plan, numbers: StateNumbers, generation: int) -> bytes:
    """By a writer that knows nothing, with the same numbers."""
    return write_image(plan_, StateNumbers.from_json(msgspec.json.decode(msgspec.json.encode(numbers.to_json()))), generation)


def some_hosts(random: Random, crowded: bool) -> list[VirtualHost]:
    return some_plan(random, crowded).route_tables["http.80"].virtual_hosts


def edited_hosts(random: Random, hosts: list[VirtualHost], spare: list[VirtualHost]) -> list[VirtualHost]:
    """Another list: hosts that come, go, change places, are exchanged or get the rules of another one."""
    hosts = list(hosts)
    for _ in range(random.randint(1, 3)):
        what = random.choice(["add", "remove", "swap", "replace", "share"])
        place = random.randrange(len(hosts) + 1)
        if what == "add" or not hosts:
            hosts.insert(place, msgspec.structs.replace(random.choice(spare)))
            continue
        place = min(place, len(hosts) - 1)
        if what == "remove":
            del hosts[place]
        elif what == "swap":
            other = random.randrange(len(hosts))
            hosts[place], hosts[other] = hosts[other], hosts[place]
        elif what == "replace":
            hosts[place] = msgspec.structs.replace(random.choice(spare), domains=hosts[place].domains)
        else:
            hosts[place] = msgspec.structs.replace(hosts[place], rules=random.choice(hosts).rules)
    return hosts


def edited_clusters(random: Random, clusters: dict[str, Cluster]) -> dict[str, Cluster]:
    clusters = dict(clusters)
    name = f"cluster-{random.randrange(6)}"
    if name in clusters and random.random() < 0.5:
        del clusters[name]
    else:
        port = random.randint(1, 3)
        dns = random.random() < 0.3
        clusters[name] = (
            Cluster(name, name, 80, discovery="dns", endpoints=[Endpoint("10.0.0.2", port), Endpoint(name, port, lookup="all")])
            if dns
            else Cluster(name, name, 80, endpoints=[Endpoint("10.0.0.1", port), Endpoint("unix:/run/a", 0)])
        )
    return clusters


def edited(random: Random, before: Plan, spare: list[VirtualHost]) -> Plan:
    tables = {
        name: RouteTable(name, edited_hosts(random, table.virtual_hosts, spare)) for name, table in before.route_tables.items()
    }
    return Plan(before.listeners, tables, edited_clusters(random, before.clusters))


def agree(random: Random, plan_: Plan, image: bytes) -> None:
    """The matcher, the reader and the plan itself say the same."""
    matcher, reader = Matcher(image), ImageReader(image)
    listener = reader.listener(LISTENER)
    assert listener is not None
    for _ in range(4):
        request = some_request(random, plan_)
        said = matcher.match(listener, request)
        assert (said.verdict, said.vhost, said.rule) == reader.match(listener, request)
        assert said.verdict == plan_match(plan_, request)[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.booleans())
def test_random_edits_link_to_the_bytes_of_a_fresh_image(random: Random, crowded: bool) -> None:
    numbers = StateNumbers()
    writer = ImageWriter(numbers)
    current = some_plan(random, crowded)
    current.route_tables["http.81"] = RouteTable("http.81", some_hosts(random, False))
    current.listeners.append(Listener("0.0.0.0_81", "", 81, "HTTP", [], [Chain("http.81", route_table="http.81")]))
    spare = [*some_hosts(random, crowded), *some_hosts(random, False)]
    for generation in range(1, 6):
        image = writer.link(current, generation).to_bytes()
        assert image == fresh(current, numbers, generation)
        if any(current.route_tables["http.80"].virtual_hosts):
            agree(random, current, image)
        current = edited(random, current, spare)


def test_hosts_with_the_same_rules_share_them() -> None:
    shared = [rule("a", PathMatch("prefix", "/a")), rule("b", PathMatch("prefix", "/ab"))]
    one, two = vhost(["a.com"], *shared), vhost(["b.com"], *shared)
    reader = ImageReader(write_image(plan(one, two), StateNumbers(), 1))
    assert reader.header["rules.count"] == 2
    roots = [reader.row("nodes", index) for index in range(2)]
    assert roots[0] == roots[1]


def test_one_object_cannot_be_two_virtual_hosts() -> None:
    twice = vhost(["a.com"], rule("a"))
    with pytest.raises(ValueError, match="twice"):
        write_image(plan(twice, twice), StateNumbers(), 1)


def test_an_image_that_cannot_be_written_leaves_nothing_behind() -> None:
    numbers = StateNumbers()
    writer = ImageWriter(numbers)
    good, bad = vhost(["a.com"], rule("a")), vhost(["a" * 600], rule("b"))
    writer.link(plan(good), 1)
    with pytest.raises(ImageError, match="600 bytes"):
        writer.link(plan(good, bad), 2)
    assert writer.link(plan(good), 3).to_bytes() == fresh(plan(good), numbers, 3)


def test_hosts_that_are_gone_are_forgotten() -> None:
    writer = ImageWriter(StateNumbers())
    for generation in range(1, 40):
        writer.link(plan(*[vhost([f"h{i}.com"], rule("a")) for i in range(100)]), generation)
    assert len(writer._hosts) <= 1300
    assert len(writer._rule_sets) <= 1300


def test_a_cluster_that_stays_keeps_its_numbers_without_being_written() -> None:
    numbers = StateNumbers()
    numbers._cells = Numbers("things", 2, on_shortage=numbers._shortage)
    writer = ImageWriter(numbers)
    stays = Cluster("stays", "stays", 80, endpoints=[Endpoint("10.0.0.1", 80)])

    def cells(generation: int, *clusters: Cluster) -> list[int | bytes]:
        reader = ImageReader(writer.link(plan(clusters=[stays, *clusters]), generation).to_bytes())
        return [row["cell"] for row in reader.rows("endpoints")]

    one, two = (Cluster(name, name, 80, endpoints=[Endpoint("10.0.0.2", 80)]) for name in ("one", "two"))
    assert cells(1, one) == [0, 1]
    assert cells(2) == [0]
    assert cells(3 + QUARANTINE, two) == [0, 1]


def test_a_piece_that_was_given_up_leaves_nothing_behind() -> None:
    """Builders write one piece after another into the same tables."""
    good = vhost(["b.com"], rule("b", PathMatch("prefix", "/b")))
    keeps = Action("route", (WeightedDestination("outbound|80||a.example", 100),), sticky=Sticky("header", "x" * 200))
    bad_rules = vhost(["a.com"], rule("a", PathMatch("regex", "/a.*/long-label-of-a-node")), rule("s", None, action=keeps))
    bad_name = vhost(["x" * 600], rule("a", PathMatch("exact", "/a")))
    numbers = StateNumbers()
    writer = ImageWriter(numbers)
    for generation, bad in enumerate((bad_rules, bad_name), 1):
        with pytest.raises(ImageError):
            writer.link(plan(bad, good), generation)
        assert writer.link(plan(good), generation).to_bytes() == fresh(plan(good), numbers, generation)
