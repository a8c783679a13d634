"""Guards in images: what is shared, and what stays the same from generation to generation."""

from __future__ import annotations

import msgspec
import pytest
from image_builders import rule, vhost

from fastgw.image.layout import lib
from fastgw.image.numbers import StateNumbers
from fastgw.image.reader import ImageReader, Row
from fastgw.image.writer import ImageWriter, write_image
from fastgw.model.plan import Action, DirectResponse, Guards, Plan, RateKey, RateLimit, RouteTable, Rule, SourceList

NETWORKS = ", ".join(f"10.{i}.0.0/16" for i in range(0, 200, 2))
LIST = SourceList("default/edge", NETWORKS, "10.4.0.1/32", closed=True)
LIMIT = RateLimit("default/edge", "Gateway gw", "per-client", 100, 1_000_000_000, 200, (RateKey("source", "", 32, 64),))


def plan_of(guards: Guards, hosts: int = 1) -> Plan:
    action = Action("direct_response", answer=DirectResponse(200), guards=guards)
    tables = {"http.80": RouteTable("http.80", [vhost([f"h{i}.com"], ruled(action)) for i in range(hosts)])}
    return Plan([], tables, {})


def ruled(action: Action) -> Rule:
    return msgspec.structs.replace(rule("r"), action=action)


def limits_of(image: bytes) -> list[Row]:
    return list(ImageReader(image).rows("rate_limits"))


def test_a_list_is_once_in_an_image() -> None:
    image = write_image(plan_of(Guards((LIST,)), hosts=50), StateNumbers(), 1)
    assert image.count(b"FGWC") == 1


def test_a_limit_keeps_its_number_and_its_buckets() -> None:
    numbers = StateNumbers()
    writer = ImageWriter(numbers)
    other = msgspec.structs.replace(LIMIT, name="other")
    images = [
        writer.link(plan_of(Guards(rate_limits=limits)), generation).to_bytes()
        for generation, limits in enumerate([(LIMIT,), (other, LIMIT), (LIMIT,)], 1)
    ]
    [first], [_, second], [third] = map(limits_of, images)
    assert first["identity"] == second["identity"] == third["identity"]
    assert first["number"] == second["number"] == third["number"]
    assert numbers.rate_limit_names() == {0: ("default/edge", "per-client"), 1: ("default/edge", "other")}
    assert (first["interval_ns"], first["burst"]) == (10_000_000, 200)


@pytest.mark.parametrize(
    "change",
    [{"requests": 99}, {"per_ns": 2_000_000_000}, {"burst": 100}, {"target": "Gateway other"}, {"by": ()}, {"policy": "default/b"}],
)
def test_with_other_numbers_buckets_are_others(change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(LIMIT, **change)
    [one], [other] = (limits_of(write_image(plan_of(Guards(rate_limits=(each,))), StateNumbers(), 1)) for each in (LIMIT, changed))
    assert one["identity"] != other["identity"]


def test_numbers_are_handed_on() -> None:
    numbers = StateNumbers()
    assert numbers.rate_limit_of("default/a", "one") == 0
    data = numbers.to_json()
    assert StateNumbers.from_json(data).rate_limit_names() == {0: ("default/a", "one")}
    del data["rate_limits"]  # as a predecessor without rate limits has it
    assert StateNumbers.from_json(data).rate_limit_names() == {}


def test_so_many_limits_as_a_request_can_be_asked_for() -> None:
    most = int(lib.FGW_RATE_LIMITS_MAX)
    limits = tuple(msgspec.structs.replace(LIMIT, name=f"n{i}") for i in range(most + 1))
    image = write_image(plan_of(Guards(rate_limits=limits)), StateNumbers(), 1)
    assert len(limits_of(image)) == most
    assert lib.fgw_image_check(image, len(image)) == 1
