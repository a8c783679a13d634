"""DNS: what workers read from the slots, with a name server on loopback and with a scripted lookup."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from supervisor_tools import until
from virtual_clock import run_virtual

from fastgw.native._native import lib
from fastgw.supervisor import resolver as resolver_module
from fastgw.supervisor.cells import CellPool, CellsExhausted
from fastgw.supervisor.compile_protocol import DnsTarget
from fastgw.supervisor.dns_lookup import (
    ADDRESSES,
    SERVICES,
    Answer,
    CaresLookup,
    LookupFailed,
    NameNotFound,
    Service,
    choose_family,
)
from fastgw.supervisor.resolver import Resolver
from fastgw.supervisor.state import UPPER_CELLS_FROM, DnsAddress, StateSegment

A, AAAA, SRV = 1, 28, 33
OK, FAILED, UNKNOWN = lib.FGW_DNS_OK, lib.FGW_DNS_FAILED, lib.FGW_DNS_UNKNOWN


Entry = tuple[int, list[str]] | str


class NameServer(asyncio.DatagramProtocol):
    """Answers from ``zone``: name -> (ttl, records), "nxdomain", "servfail" or "silent". A record is an address, or
    "priority weight port target" for SRV."""

    def __init__(self) -> None:
        self.zone: dict[str, Entry] = {}
        self.asked: Counter[str] = Counter()
        self.address = ""

    async def start(self) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.transport = transport
        self.address = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        labels, position = [], 12
        while data[position]:
            labels.append(data[position + 1 : position + 1 + data[position]].decode())
            position += 1 + data[position]
        kind = struct.unpack_from("!H", data, position + 1)[0]
        name = ".".join(labels).lower()
        self.asked[name] += 1
        entry = self.zone.get(name, "nxdomain")
        if entry != "silent":
            self.transport.sendto(self.reply(data[: position + 5], kind, entry), peer)

    def reply(self, question: bytes, kind: int, entry: Entry) -> bytes:
        rcode = {"nxdomain": 3, "servfail": 2}[entry] if isinstance(entry, str) else 0
        records = []
        for text in entry[1] if not isinstance(entry, str) else []:
            record_kind, packed = record_data(text)
            if record_kind == kind:
                records.append(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, int(entry[0]), len(packed)) + packed)
        header = question[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 1, len(records), 0, 0)
        return header + question[12:] + b"".join(records)


def record_data(text: str) -> tuple[int, bytes]:
    """Type and data of a record."""
    if " " not in text:
        address = ipaddress.ip_address(text)
        return (A if address.version == 4 else AAAA), address.packed
    *numbers, target = text.split()
    labels = [bytes([len(label)]) + label.encode() for label in target.split(".") if label]
    return SRV, struct.pack("!3H", *map(int, numbers)) + b"".join(labels) + b"\0"


def ask(zone: dict[str, Entry], name: str, deadline_s: float = 4.5, kind: str = ADDRESSES) -> Answer:
    async def main() -> Answer:
        server = NameServer()
        await server.start()
        server.zone = zone
        lookup = CaresLookup([server.address], deadline_s)
        try:
            return await lookup(name, kind)
        finally:
            lookup.close()
            server.transport.close()

    return asyncio.run(main())


def packed(*texts: str) -> tuple[bytes, ...]:
    return tuple(ipaddress.ip_address(text).packed for text in texts)


def test_addresses_come_sorted_with_the_least_ttl() -> None:
    found = ask({"a.test": (30, ["10.0.0.2", "10.0.0.1"])}, "a.test")
    assert found == Answer(packed("10.0.0.1", "10.0.0.2"), 30, packed("10.0.0.2", "10.0.0.1"))


def test_ipv4_is_used_where_there_is_any_and_ipv6_where_not() -> None:
    assert ask({"a.test": (30, ["10.0.0.2", "2001:db8::1"])}, "a.test").addresses == packed("10.0.0.2")
    assert ask({"a.test": (30, ["2001:db8::1"])}, "a.test").addresses == packed("2001:db8::1")
    assert choose_family([(socket.AF_INET, "1.1.1.1", 9), (socket.AF_INET, "1.1.1.1", 5)]) == Answer(packed("1.1.1.1"), 5)


def test_addresses_are_also_known_in_the_order_of_the_server() -> None:
    listed = ["10.0.0.2", "10.9.9.9", "127.0.0.1", "10.0.0.1"]
    assert ask({"a.test": (30, listed)}, "a.test").in_order == packed(*listed)


SRV_ZONE: dict[str, Entry] = {
    "_http._tcp.test": (30, ["10 3 81 two.test", "10 1 80 one.test", "20 1 80 spare.test", "10 0 80 none.test"]),
    "one.test": (20, ["10.0.0.1"]),
    "two.test": (30, ["10.0.0.2", "10.0.0.3"]),
    "spare.test": (5, ["10.0.0.9"]),
}


def test_services_are_the_targets_with_their_share_and_level() -> None:
    found = ask(SRV_ZONE, "_http._tcp.test", kind=SERVICES)
    one, two, three = packed("10.0.0.1", "10.0.0.2", "10.0.0.3")
    (spare,) = packed("10.0.0.9")
    assert found.services == (Service(one, 80, 64), Service(two, 81, 96), Service(three, 81, 96), Service(spare, 80, 64, 1))
    assert (found.addresses, found.ttl_s) == ((one, two, three, spare), 5)


def test_services_of_the_next_priority_when_the_best_have_no_address() -> None:
    zone = SRV_ZONE | {"one.test": "nxdomain", "two.test": "servfail"}
    found = ask(zone, "_http._tcp.test", kind=SERVICES)
    assert (found.services, found.ttl_s) == ((Service(*packed("10.0.0.9"), 80, 64),), 0), "asked again soon: two.test may be back"


def test_priorities_of_services_are_levels() -> None:
    numbers = [70, 5, 1000, 20, 400, 70]
    zone: dict[str, Entry] = {"_http._tcp.test": (30, [f"{number} 1 {8000 + number} one.test" for number in numbers])}
    found = ask(zone | {"one.test": (20, ["10.0.0.1"])}, "_http._tcp.test", kind=SERVICES)
    assert [(each.port, each.priority) for each in found.services] == [(8005, 0), (8020, 1), (8070, 2), (8400, 3), (9000, 3)]


@pytest.mark.parametrize("records", [[], ["0 0 0 ."], ["1 1 80 none.test"]])
def test_services_that_lead_nowhere(records: list[str]) -> None:
    with pytest.raises(NameNotFound):
        ask({"_http._tcp.test": (30, records)}, "_http._tcp.test", kind=SERVICES)


def test_localhost_and_the_hosts_file_need_no_server() -> None:
    assert ask({}, "localhost").addresses == packed("127.0.0.1")


@pytest.mark.parametrize("entry", ["nxdomain", (30, [])])
def test_a_name_that_does_not_exist(entry: Entry) -> None:
    with pytest.raises(NameNotFound):
        ask({"a.test": entry}, "a.test")


def test_a_name_no_server_could_have_is_not_found() -> None:
    with pytest.raises(LookupFailed):
        ask({}, "x" * 300)


def test_a_silent_server_is_a_failure_within_the_deadline() -> None:
    with pytest.raises(LookupFailed, match="in time"):
        ask({"a.test": "silent"}, "a.test", deadline_s=0.3)


def test_a_server_that_fails_is_not_a_missing_name() -> None:
    with pytest.raises(LookupFailed) as caught:
        ask({"a.test": "servfail"}, "a.test")
    assert not isinstance(caught.value, NameNotFound)


# --- the resolver over a scripted lookup ---


class Script:
    """A lookup that answers from ``zone``; an exception there is raised."""

    def __init__(self) -> None:
        self.zone: dict[str, Answer | Exception] = {}
        self.asked: Counter[str] = Counter()

    async def __call__(self, name: str, kind: str) -> Answer:
        self.asked[name] += 1
        found = self.zone.get(name, NameNotFound("no such name"))
        if isinstance(found, Exception):
            raise found
        return found


class Scene:
    def __init__(self) -> None:
        self.state = StateSegment(1)
        self.script = Script()
        self.resolver = Resolver(self.state, self.script)

    def ips(self, slot: int) -> list[bytes]:
        return [each.ip for each in self.state.read_dns(slot)[1]]

    def cells(self, slot: int) -> dict[bytes, int]:
        return {each.ip: each.cell for each in self.state.read_dns(slot)[1]}

    def addresses(self, slot: int) -> list[str]:
        return [str(ipaddress.ip_address(ip)) for ip in self.ips(slot)]

    def status(self, slot: int) -> int:
        return self.state.read_dns(slot)[0]


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = Scene()
        try:
            await act(scene)
        finally:
            scene.resolver.close()
            await asyncio.sleep(0)
            scene.state.close()

    asyncio.run(main())


def target(slot: int, name: str = "a.test", port: int = 80, **more: Any) -> DnsTarget:
    return DnsTarget(slot, name, port, f"c{slot}", **more)


@pytest.fixture(autouse=True)
def quick_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MIN_TTL_S", 0.02)
    monkeypatch.setattr(resolver_module, "MAX_RETRY_S", 0.02)


def test_a_slot_holds_the_answer_with_port_and_cells_of_the_upper_half() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1", "10.0.0.2"), 300)
        assert scene.status(3) == UNKNOWN
        scene.resolver.follow([target(3, port=8080)])
        await scene.resolver.wait_known(5.0)
        one, two = packed("10.0.0.1", "10.0.0.2")
        cells = [UPPER_CELLS_FROM, UPPER_CELLS_FROM + 1]
        assert scene.state.read_dns(3) == (OK, [DnsAddress(one, 8080, cells[0]), DnsAddress(two, 8080, cells[1])])

    play(act)


def test_a_name_is_asked_once_for_all_clusters_that_want_it() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1"), 300)
        scene.resolver.follow([target(1), target(2)])
        await scene.resolver.wait_known(5.0)
        scene.resolver.follow([target(1), target(2), target(3)])
        assert scene.addresses(1) == scene.addresses(2) == scene.addresses(3) == ["10.0.0.1"]
        assert scene.script.asked == {"a.test": 1}
        assert len({scene.state.read_dns(slot)[1][0].cell for slot in (1, 2, 3)}) == 3

    play(act)


def test_an_answer_is_refreshed_after_its_ttl_and_cells_stay_with_their_address() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1", "10.0.0.2"), 0)
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(5.0)
        before = scene.cells(1)
        scene.script.zone["a.test"] = Answer(packed("10.0.0.2", "10.0.0.3"), 0)
        await until(lambda: scene.addresses(1) == ["10.0.0.2", "10.0.0.3"])
        after = scene.cells(1)
        kept, new = packed("10.0.0.2", "10.0.0.3")
        assert after[kept] == before[kept] and after[new] not in before.values()
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1", "10.0.0.2"), 300)
        await until(lambda: scene.addresses(1) == ["10.0.0.1", "10.0.0.2"])
        assert scene.cells(1) == before

    play(act)


def test_a_refresh_that_fails_keeps_the_last_good_answer() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1"), 0)
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(5.0)
        for failure in (LookupFailed("server failure"), NameNotFound("no such name")):
            scene.script.zone["a.test"] = failure
            asked = scene.script.asked["a.test"]
            await until(lambda asked=asked: scene.script.asked["a.test"] > asked + 2)  # type: ignore[misc]
            assert (scene.status(1), scene.addresses(1)) == (OK, ["10.0.0.1"])
        assert scene.resolver.statuses()[0].error == "no such name"

    play(act)


def test_a_name_that_stays_gone_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "GONE_AFTER_S", 0.1)

    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1"), 0)
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(5.0)
        scene.script.zone["a.test"] = NameNotFound("no such name")
        await until(lambda: scene.status(1) == FAILED)
        assert scene.addresses(1) == []
        scene.script.zone["a.test"] = Answer(packed("10.0.0.9"), 300)
        await until(lambda: scene.status(1) == OK)
        assert scene.addresses(1) == ["10.0.0.9"]

    play(act)


@pytest.mark.parametrize("failure", [NameNotFound("no such name"), LookupFailed("no answer in time")])
def test_a_name_that_was_never_resolved_is_failed_and_recovers(failure: Exception) -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = failure
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(5.0)
        assert scene.status(1) == FAILED
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1"), 300)
        await until(lambda: scene.status(1) == OK)

    play(act)


def test_an_address_as_name_is_its_own_answer() -> None:
    async def act(scene: Scene) -> None:
        scene.resolver.follow([target(1, "192.0.2.7"), target(2, "2001:db8::7")])
        await scene.resolver.wait_known(5.0)
        assert (scene.addresses(1), scene.addresses(2)) == (["192.0.2.7"], ["2001:db8::7"])
        assert not scene.script.asked

    play(act)


def test_more_addresses_than_a_slot_holds_are_cut_always_the_same() -> None:
    async def act(scene: Scene) -> None:
        many = [f"10.0.0.{number}" for number in range(1, 201)]
        scene.script.zone["a.test"] = Answer(packed(*many), 300)
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(5.0)
        assert scene.addresses(1) == sorted(many, key=ipaddress.ip_address)[: lib.FGW_STATE_DNS_ADDRESSES]

    play(act)


def test_a_slot_holds_the_addresses_of_all_names_of_a_cluster() -> None:
    async def act(scene: Scene) -> None:
        one, two, both = packed("10.0.0.1", "10.0.0.2", "10.0.0.9")
        scene.script.zone |= {"a.test": Answer((two, both), 300), "b.test": Answer((one, both), 300)}
        scene.resolver.follow([target(1, weight=3), target(1, "b.test", 81, endpoint=2), target(1, "c.test", 81, endpoint=3)])
        await scene.resolver.wait_known(5.0)
        status, found = scene.state.read_dns(1)
        assert status == OK, "one of the names has no address, the others have"
        assert [(each.ip, each.port, each.weight, each.endpoint) for each in found] == [
            (two, 80, 3, 0),
            (both, 80, 3, 0),
            (one, 81, 1, 2),
            (both, 81, 1, 2),
        ]
        assert len({each.cell for each in found}) == 4
        scene.resolver.retain([target(1, "b.test", 81, endpoint=2)])
        assert scene.addresses(1) == ["10.0.0.1", "10.0.0.9"]

    play(act)


def test_an_address_that_two_names_have_counts_once() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone |= {"a.test": Answer(packed("10.0.0.1"), 300), "b.test": Answer(packed("10.0.0.1"), 0)}
        scene.resolver.follow([target(1), target(1, "b.test", weight=2, endpoint=1)])
        await scene.resolver.wait_known(5.0)
        (found,) = scene.state.read_dns(1)[1]
        scene.script.zone["b.test"] = Answer(packed("10.0.0.2"), 0)
        await until(lambda: scene.addresses(1) == ["10.0.0.1", "10.0.0.2"])
        assert scene.state.read_dns(1)[1][0].cell == found.cell

    play(act)


def test_nothing_is_known_while_one_name_has_not_been_asked_and_none_answered() -> None:
    async def act(scene: Scene) -> None:
        release = asyncio.Event()

        async def slow(name: str, kind: str) -> Answer:
            if name == "a.test":
                raise NameNotFound("no such name")
            await release.wait()
            raise NameNotFound("no such name")

        scene.resolver._lookup = slow
        scene.resolver.follow([target(1), target(1, "b.test")])
        await until(lambda: scene.resolver.statuses()[0].status == "failed")
        assert scene.status(1) == UNKNOWN
        release.set()
        await until(lambda: scene.status(1) == FAILED)

    play(act)


def test_of_a_round_robin_name_the_first_address_counts() -> None:
    async def act(scene: Scene) -> None:
        one, two = packed("10.0.0.1", "10.0.0.2")
        scene.script.zone["a.test"] = Answer((one, two), 0, (two, one))
        scene.resolver.follow([target(1, lookup="first"), target(2)])
        await scene.resolver.wait_known(5.0)
        assert (scene.addresses(1), scene.addresses(2)) == (["10.0.0.2"], ["10.0.0.1", "10.0.0.2"])
        assert scene.script.asked == {"a.test": 1}
        scene.script.zone["a.test"] = Answer((one, two), 0)
        await until(lambda: scene.addresses(1) == ["10.0.0.1"])

    play(act)


def test_services_bring_ports_and_weights() -> None:
    async def act(scene: Scene) -> None:
        ip = packed("10.0.0.1")
        scene.script.zone["_http._tcp.test"] = Answer(ip, 300, services=(Service(ip[0], 81, 2), Service(ip[0], 82, 1, 2)))
        scene.resolver.follow([target(1, "_http._tcp.test", lookup="srv", weight=5)])
        await scene.resolver.wait_known(5.0)
        found = [(each.port, each.weight, each.priority) for each in scene.state.read_dns(1)[1]]
        assert found == [(81, 10, 0), (82, 5, 2)]
        (status,) = scene.resolver.statuses()
        assert (status.kind, status.addresses) == ("srv", ["10.0.0.1:81", "10.0.0.1:82"])

    play(act)


def test_a_slot_keeps_what_it_has_until_the_new_image_is_in_use() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone |= {"a.test": Answer(packed("10.0.0.1"), 300), "b.test": Answer(packed("10.0.0.2"), 300)}
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(5.0)
        scene.resolver.follow([target(1, "b.test")])
        assert (scene.status(1), scene.addresses(1)) == (OK, ["10.0.0.1"])
        await until(lambda: scene.addresses(1) == ["10.0.0.1", "10.0.0.2"])
        scene.resolver.retain([target(1, "b.test")])
        assert scene.addresses(1) == ["10.0.0.2"]

    play(act)


def test_an_answer_like_the_one_before_writes_nothing() -> None:
    async def act(scene: Scene) -> None:
        changes: list[int] = []
        scene.resolver.on_change = changes.append
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1"), 0)
        scene.resolver.follow([target(1)])
        await until(lambda: scene.script.asked["a.test"] > 3)
        assert (changes, scene.addresses(1)) == ([1, 1], ["10.0.0.1"]), "before the first answer, and with it"
        scene.resolver.close()
        assert (scene.status(1), scene.addresses(1)) == (OK, ["10.0.0.1"]), "a successor goes on with it"

    play(act)


def test_the_answers_of_a_predecessor_are_good_until_those_of_our_own() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone |= {"a.test": Answer(packed("10.0.0.1"), 300), "b.test": Answer(packed("10.0.0.2"), 300)}
        targets = [target(1), target(1, "b.test", 81, endpoint=1), target(2, "b.test")]
        scene.resolver.follow(targets)
        await scene.resolver.wait_known(5.0)
        cells, before = scene.resolver.cells_json(), scene.state.read_dns(1)
        scene.resolver.close()
        scene.script.zone.clear()
        successor = scene.resolver = Resolver(scene.state, scene.script)
        successor.restore_cells(cells)
        elsewhere = DnsTarget(2, "b.test", 80, "another cluster")
        successor.follow([*targets[:2], elsewhere])
        assert (scene.state.read_dns(1), scene.status(2)) == (before, OK)
        assert scene.addresses(2) == ["10.0.0.2"], "of a name that is known, not of the slot"
        await successor.wait_known(5.0)
        assert scene.state.read_dns(1) == before, "kept although it cannot be resolved any more"
        assert [status.error for status in successor.statuses()] == ["no such name"] * 2

    play(act)


def test_what_another_cluster_had_in_a_slot_is_not_inherited() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = Answer(packed("10.0.0.1"), 300)
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(5.0)
        cells = scene.resolver.cells_json()
        scene.resolver.close()
        scene.resolver = Resolver(scene.state, scene.script)
        scene.resolver.restore_cells(cells)
        scene.resolver.follow([DnsTarget(1, "b.test", 80, "another cluster"), target(3)])
        assert (scene.status(1), scene.addresses(1), scene.status(3)) == (UNKNOWN, [], UNKNOWN)

    play(act)


def test_slots_of_one_cluster_share_its_cells() -> None:
    """Two configurations with other names of a cluster are in use side by side."""

    async def act(scene: Scene) -> None:
        scene.script.zone |= {"a.test": Answer(packed("10.0.0.1"), 300), "b.test": Answer(packed("10.0.0.1", "10.0.0.2"), 300)}
        old, new = DnsTarget(1, "a.test", 80, "c"), DnsTarget(2, "b.test", 80, "c")
        scene.resolver.follow([old])
        await scene.resolver.wait_known(5.0)
        scene.resolver.follow([new])
        await until(lambda: scene.status(2) == OK)
        assert (scene.addresses(1), scene.addresses(2)) == (["10.0.0.1"], ["10.0.0.1", "10.0.0.2"])
        shared = packed("10.0.0.1")[0]
        assert scene.cells(1)[shared] == scene.cells(2)[shared]
        scene.resolver.retain([new])
        assert (scene.status(1), scene.addresses(2)) == (UNKNOWN, ["10.0.0.1", "10.0.0.2"])
        assert scene.resolver._cells.has(("c", shared, 80), scene.cells(2)[shared])
        assert ("c", shared, 80) in scene.resolver._cells._used
        scene.resolver.retain([])
        assert not scene.resolver._cells._used

    play(act)


def test_forgotten_names_are_asked_no_more_and_their_slots_cleared() -> None:
    async def act(scene: Scene) -> None:
        scene.script.zone["a.test"] = scene.script.zone["b.test"] = Answer(packed("10.0.0.1"), 0)
        scene.resolver.follow([target(1), target(2, "b.test"), target(3)])
        await scene.resolver.wait_known(5.0)
        scene.resolver.retain([target(3)])
        assert (scene.status(1), scene.status(2), scene.status(3)) == (UNKNOWN, UNKNOWN, OK)
        asked = dict(scene.script.asked)
        await until(lambda: scene.script.asked["a.test"] > asked["a.test"] + 2)
        assert scene.script.asked["b.test"] == asked["b.test"]

    play(act)


def test_waiting_for_names_is_bounded() -> None:
    async def act(scene: Scene) -> None:
        async def never(name: str, kind: str) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

        scene.resolver._lookup = never
        scene.resolver.follow([target(1)])
        await scene.resolver.wait_known(0.02)
        assert scene.status(1) == UNKNOWN

    play(act)


def test_cells_are_reused_only_when_none_is_fresh_and_never_while_busy() -> None:
    busy: set[int] = set()
    cleared: list[int] = []
    pool = CellPool(10, 12, lambda cell: cell not in busy, cleared.append)
    a, b, c = (("c", bytes([n]), 80) for n in range(3))
    assert (pool.take(a), pool.take(b), pool.take(a)) == (10, 11, 10)
    pool.release(a)
    busy.add(10)
    with pytest.raises(CellsExhausted):
        pool.take(c)
    busy.clear()
    assert (pool.take(c), cleared) == (10, [10])
    pool.release(b)
    assert pool.take(b) == 11 and cleared == [10]
    pool.release(("x", b"", 1))


def test_a_missing_name_is_asked_again_although_the_zone_allows_to_remember() -> None:
    async def main() -> None:
        server = NameServer()
        await server.start()
        server.reply = with_soa  # type: ignore[method-assign]
        lookup = CaresLookup([server.address])
        with pytest.raises(NameNotFound):
            await lookup("late.test")
        asked = server.asked["late.test"]
        lookup._made_s -= 10.0
        with pytest.raises(NameNotFound):
            await lookup("late.test")
        assert server.asked["late.test"] > asked
        lookup.close()
        server.transport.close()

    def with_soa(question: bytes, kind: int, entry: object) -> bytes:
        data = b"\0\0" + struct.pack("!5I", 1, 3600, 3600, 3600, 3600)
        record = b"\0" + struct.pack("!HHIH", 6, 1, 3600, len(data)) + data
        return question[:2] + struct.pack("!HHHHH", 0x8583, 1, 0, 1, 0) + question[12:] + record

    asyncio.run(main())


# --- times, on a clock that does not wait ---


def asked_at(answers: Callable[[int], Answer], until_s: float) -> list[float]:
    """Seconds after the start at which a name is asked, when question number n is answered so."""
    times: list[float] = []

    async def main() -> None:
        state = StateSegment(1)

        async def lookup(name: str, kind: str) -> Answer:
            times.append(round(asyncio.get_running_loop().time() - began_s, 3))
            return answers(len(times) - 1)

        began_s = asyncio.get_running_loop().time()
        resolver = Resolver(state, lookup)
        resolver.follow([target(1)])
        await asyncio.sleep(until_s)
        resolver.close()
        await asyncio.sleep(0)
        state.close()

    run_virtual(main())
    return times


@pytest.fixture
def real_times(monkeypatch: pytest.MonkeyPatch, quick_times: None) -> None:
    monkeypatch.setattr(resolver_module, "MIN_TTL_S", 1.0)
    monkeypatch.setattr(resolver_module, "MAX_RETRY_S", 30.0)


@pytest.mark.parametrize(("ttl_s", "every_s"), [(0, 1), (1, 1), (45, 45), (300, 300), (86_400, 300)])
def test_names_are_asked_again_when_their_time_is_over(real_times: None, ttl_s: int, every_s: int) -> None:
    times = asked_at(lambda n: Answer(packed("10.0.0.1"), ttl_s), every_s * 3.5)
    assert times == [0, every_s, every_s * 2, every_s * 3]


def test_failures_are_repeated_ever_more_seldom(real_times: None) -> None:
    def fail(n: int) -> Answer:
        if n == 8:
            return Answer(packed("10.0.0.1"), 10)
        raise LookupFailed("server failure")

    assert asked_at(fail, 145) == [0, 1, 3, 7, 15, 31, 61, 91, 121, 131, 132, 134, 138]


def test_a_name_is_gone_after_a_minute_of_being_gone(real_times: None) -> None:
    async def main() -> None:
        state, gone = StateSegment(1), False

        async def lookup(name: str, kind: str) -> Answer:
            if gone:
                raise NameNotFound("no such name")
            return Answer(packed("10.0.0.1"), 5)

        resolver = Resolver(state, lookup)
        resolver.follow([target(1)])
        await asyncio.sleep(1)
        gone = True
        await asyncio.sleep(60)
        assert state.read_dns(1)[0] == OK
        await asyncio.sleep(35)
        assert state.read_dns(1) == (FAILED, [])
        resolver.close()
        await asyncio.sleep(0)
        state.close()

    run_virtual(main())
