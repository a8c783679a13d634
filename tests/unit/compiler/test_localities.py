"""Levels of failover and shares of localities (Q7)."""

from __future__ import annotations

import pytest

from fastgw.compiler.endpoints import Labelled
from fastgw.compiler.localities import arrange, matches, place_of, place_of_labels
from fastgw.model.kinds.destination_rule import LocalityDistribute, LocalityFailover, LocalityLbSetting
from fastgw.model.plan import Endpoint

HERE = {"istio-locality": "eu.eu-1.a"}


def placed(**places: str) -> list[Labelled]:
    """name=locality; names are the addresses."""
    return [Labelled(Endpoint(name, 80, locality=place), {}) for name, place in places.items()]


def levels(endpoints: list[Endpoint]) -> dict[str, int]:
    return {each.address: each.priority for each in endpoints}


def weights(endpoints: list[Endpoint]) -> dict[str, int]:
    return {each.address: each.weight for each in endpoints}


EVERYWHERE = placed(far="us/us-1/a", zone="eu/eu-1/b", same="eu/eu-1/a", region="eu/eu-2/a", nowhere="")


def test_nearer_endpoints_are_on_better_levels() -> None:
    found = arrange(EVERYWHERE, LocalityLbSetting(), True, HERE)
    assert levels(found) == {"same": 0, "zone": 1, "region": 2, "far": 3, "nowhere": 3}
    assert [each.priority for each in found] == sorted(each.priority for each in found)


def test_levels_without_anybody_are_left_out() -> None:
    assert levels(arrange(placed(a="us/1", b="eu/eu-2"), LocalityLbSetting(), True, HERE)) == {"b": 0, "a": 1}
    assert levels(arrange(placed(a="us/1", b="ap/2"), LocalityLbSetting(), True, HERE)) == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    ("setting", "may", "gateway"),
    [
        (LocalityLbSetting(), False, HERE),
        (None, True, HERE),
        (LocalityLbSetting(), True, {"app": "gw"}),
    ],
)
def test_without_outlier_detection_or_a_place_or_when_switched_off_there_are_no_levels(
    setting: LocalityLbSetting | None, may: bool, gateway: dict[str, str]
) -> None:
    assert set(levels(arrange(EVERYWHERE, setting, may, gateway)).values()) == {0}


def test_failover_names_the_next_region() -> None:
    setting = LocalityLbSetting(failover=(LocalityFailover("eu", "ap"), LocalityFailover("us", "eu")))
    found = levels(arrange(placed(here="eu/eu-1/a", us="us/1", ap="ap/1", no=""), setting, True, HERE))
    assert found == {"here": 0, "ap": 1, "us": 2, "no": 2}


def test_a_zone_alone_is_enough_to_be_near() -> None:
    """As EndpointSlices name them."""
    found = levels(arrange(placed(a="/eu-1", b="/eu-2"), LocalityLbSetting(), True, HERE))
    assert found == {"a": 0, "b": 1}


def test_failover_priority_counts_labels_that_agree_from_the_first_on() -> None:
    def endpoint(name: str, place: str, **labels: str) -> Labelled:
        return Labelled(Endpoint(name, 80, locality=place), labels)

    setting = LocalityLbSetting(failover_priority=("rack", "topology.kubernetes.io/region", "tier=gold"))
    known = [
        endpoint("all", "eu/x", rack="7", tier="gold"),
        endpoint("two", "eu/x", rack="7", tier="tin"),
        endpoint("one", "us/x", rack="7", tier="gold"),
        endpoint("none", "eu/x", rack="8", tier="gold"),
    ]
    found = levels(arrange(known, setting, True, {**HERE, "rack": "7"}))
    assert found == {"all": 0, "two": 1, "one": 2, "none": 3}


def test_distribute_gives_shares_that_endpoints_divide_by_weight() -> None:
    setting = LocalityLbSetting(
        distribute=(
            LocalityDistribute("us/*", {"us/*": 100}),
            LocalityDistribute("eu/eu-1/*", {"eu/eu-1/*": 70, "eu/*": 20, "us": 10}),
        )
    )
    known = [
        Labelled(Endpoint("a", 80, 1, locality="eu/eu-1/a"), {}),
        Labelled(Endpoint("b", 80, 3, locality="eu/eu-1/b"), {}),
        Labelled(Endpoint("c", 80, 1, locality="eu/eu-2/a"), {}),
        Labelled(Endpoint("d", 80, 1, locality="us/1"), {}),
        Labelled(Endpoint("e", 80, 1, locality="ap/1"), {}),
    ]
    found = weights(arrange(known, setting, True, HERE))
    total = sum(found.values())
    assert {name: round(100 * weight / total, 1) for name, weight in found.items()} == {"a": 17.5, "b": 52.5, "c": 20, "d": 10}
    elsewhere = weights(arrange(known, setting, True, {"istio-locality": "ap.1"}))
    assert elsewhere == {"a": 1, "b": 3, "c": 1, "d": 1, "e": 1}


def test_a_label_of_the_workload_says_where_it_is() -> None:
    known = [Labelled(Endpoint("a", 80, locality="us/1"), {"istio-locality": "eu.eu-1.a"}), *placed(b="us/1")]
    found = arrange(known, LocalityLbSetting(), True, HERE)
    assert levels(found) == {"a": 0, "b": 1} and found[0].locality == "eu/eu-1/a"


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({"istio-locality": "r.z.s"}, "r/z/s"),
        ({"istio-locality": "r.x/z.y"}, "r.x/z.y"),
        ({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}, "r/z"),
        ({"topology.kubernetes.io/zone": "z"}, "/z"),
        ({"topology.kubernetes.io/region": "r", "topology.istio.io/subzone": "s"}, "r//s"),
        ({}, ""),
    ],
)
def test_the_gateways_place_is_among_its_labels(labels: dict[str, str], place: str) -> None:
    assert place_of_labels(labels) == place


@pytest.mark.parametrize(
    ("place", "pattern", "fits"),
    [
        ("eu/1/a", "eu/1/a", True),
        ("eu/1/a", "eu/1/*", True),
        ("eu/1/a", "eu/1", True),
        ("eu/1/a", "eu/*", True),
        ("eu/1/a", "*", True),
        ("", "*", True),
        ("eu/1/a", "eu/2/*", False),
        ("eu", "eu/1", False),
    ],
)
def test_patterns_of_places(place: str, pattern: str, fits: bool) -> None:
    assert matches(place_of(place), pattern) is fits
