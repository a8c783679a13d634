"""Numbers are stable over generations, restarts and are reused only after a quarantine."""

from __future__ import annotations

import json

import msgspec
import pytest

from fastgw.image.numbers import CELLS, QUARANTINE, Numbers, NumbersExhausted, StateNumbers
from fastgw.model.plan import Cluster, Endpoint


def test_the_same_thing_has_the_same_number_in_every_generation() -> None:
    numbers = StateNumbers()
    numbers.begin(1)
    a = numbers.cell_of("c", "10.0.0.1", 80)
    others = {numbers.cell_of("c", "10.0.0.2", 80), numbers.cell_of("d", "10.0.0.1", 80), numbers.cell_of("c", "10.0.0.1", 81)}
    assert len({a, *others}) == 4
    numbers.begin(1000)
    assert numbers.cell_of("c", "10.0.0.1", 80) == a


def test_metric_ids_begin_at_one_and_have_names() -> None:
    numbers = StateNumbers()
    number = numbers.metric_id_of("a.example", "a", "default")
    assert number == 1
    assert numbers.metric_names() == {1: ("a.example", "a", "default")}


NAMED = Cluster("c", "c", 80, discovery="dns", endpoints=[Endpoint("c.test", 80, lookup="all")])


def test_a_cluster_with_other_names_has_another_slot() -> None:
    numbers = StateNumbers()
    name = NAMED.endpoints[0]
    others = [
        [Endpoint("d.test", 80, lookup="all")],
        [Endpoint("c.test", 81, lookup="all")],
        [Endpoint("c.test", 80, weight=2, lookup="all")],
        [Endpoint("c.test", 80, lookup="first")],
        [Endpoint("10.0.0.1", 80), name],
        [name, Endpoint("d.test", 80, lookup="all")],
    ]
    slots = [numbers.dns_slot_of(msgspec.structs.replace(NAMED, endpoints=each)) for each in ([name], *others)]
    assert len(set(slots)) == len(slots)
    addresses = [name, Endpoint("10.0.0.1", 80)]
    assert numbers.dns_slot_of(msgspec.structs.replace(NAMED, endpoints=addresses)) == slots[0], "addresses have no place in it"


def test_a_restart_continues() -> None:
    numbers = StateNumbers()
    numbers.begin(7)
    expected = (numbers.cell_of("c", "10.0.0.1", 80), numbers.dns_slot_of(NAMED), numbers.metric_id_of("h", "s", "n"))
    again = StateNumbers.from_json(json.loads(json.dumps(numbers.to_json())))
    assert again.generation == 7
    assert (again.cell_of("c", "10.0.0.1", 80), again.dns_slot_of(NAMED), again.metric_id_of("h", "s", "n")) == expected
    assert again.cell_of("new", "10.0.0.1", 80) not in expected[:1]


def test_a_number_is_reused_only_after_its_quarantine() -> None:
    numbers = Numbers("things", 2)
    assert (numbers.of(("a",), 1), numbers.of(("b",), 1)) == (0, 1)
    numbers.of(("b",), 1 + QUARANTINE)
    with pytest.raises(NumbersExhausted, match="more than 2 things"):
        numbers.of(("c",), 1 + QUARANTINE)
    assert numbers.of(("c",), 2 + QUARANTINE) == 0
    assert numbers.of(("b",), 2 + QUARANTINE) == 1


def test_cells_stay_in_the_lower_half() -> None:
    numbers = StateNumbers()
    cells = {numbers.cell_of("c", "10.0.0.1", port) for port in range(CELLS)}
    assert cells == set(range(131_072))
    with pytest.raises(NumbersExhausted, match="131072 static endpoints"):
        numbers.cell_of("c", "10.0.0.1", CELLS)
