"""Worker processes: told in order, started again at once, aborted when they hang, gone when drained. With a fake worker."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from supervisor_tools import PATIENCE_S, fake_worker, lines_of, until

from fastgw.model.worker_protocol import Image, Limits, Listen, ListenerSpec, Start, TicketKeys
from fastgw.supervisor import backoff
from fastgw.supervisor import fleet as fleet_module
from fastgw.supervisor import worker as worker_module
from fastgw.supervisor.fleet import Fleet, ImageNacked
from fastgw.supervisor.state import StateSegment


class Briefing:
    """Two listening sockets a slot and an image of nothing."""

    def __init__(self, state: StateSegment) -> None:
        self.state = state
        self.sockets = [[socket.create_server(("127.0.0.1", 0)) for _ in range(2)] for _ in range(state.workers)]
        self.generation = 1

    def start(self, slot: int) -> tuple[Start, list[int]]:
        return Start(slot, self.state.total_bytes, Limits()), [self.state.fd]

    def listen(self, slot: int) -> tuple[Listen, list[int]]:
        return Listen([ListenerSpec("a"), ListenerSpec("b")]), [sock.fileno() for sock in self.sockets[slot]]

    def image(self) -> tuple[Image, list[int]]:
        return Image(self.generation, 1), [self.state.fd]

    def ticket_keys(self) -> TicketKeys:
        return TicketKeys([bytes(80)])


class Scene:
    def __init__(self, tmp_path: Path, mode: str, workers: int = 2) -> None:
        self.journal = tmp_path / "journal"
        self.state = StateSegment(workers)
        self.briefing = Briefing(self.state)
        self.fleet = Fleet(workers, self.state, self.briefing, fake_worker(mode, self.journal))

    def messages_of(self, pid: int) -> list[str]:
        return [line.partition(" ")[2] for line in lines_of(self.journal) if line.startswith(f"{pid} ")]


def play(tmp_path: Path, mode: str, act: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, mode)
        scene.fleet.start()
        try:
            await act(scene)
        finally:
            await scene.fleet.kill()
        for row in scene.briefing.sockets:
            for sock in row:
                sock.close()
        scene.state.close()

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert set(os.listdir("/proc/self/fd")) == before


async def serving(scene: Scene) -> None:
    assert await scene.fleet.wait_image(scene.briefing.generation, PATIENCE_S)
    assert await scene.fleet.wait_listening({"a", "b"}, PATIENCE_S)


def test_a_worker_is_told_start_then_listen_then_image(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        pids = {slot.pid for slot in scene.fleet.slots}
        assert len(pids) == 2
        for pid in pids:
            assert scene.messages_of(pid) == ["Start 1", "TicketKeys 0", "Listen 2", "Image 1"]

    play(tmp_path, "good", act)


def test_a_new_image_is_acknowledged_by_all(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        scene.briefing.generation = 2
        scene.fleet.tell_image()
        assert await scene.fleet.wait_image(2, PATIENCE_S)
        assert [slot.generation for slot in scene.fleet.slots] == [2, 2]
        assert not await scene.fleet.wait_image(3, 0.05)

    play(tmp_path, "good", act)


def test_a_killed_worker_is_replaced_with_the_same_sockets(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        slot, other = scene.fleet.slots
        before, other_pid = slot.pid, other.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: slot.restarts == 1)
        await serving(scene)
        assert slot.pid not in (0, before) and other.pid == other_pid
        assert scene.messages_of(slot.pid) == ["Start 1", "TicketKeys 0", "Listen 2", "Image 1"]
        assert scene.fleet.restarts == 1

    play(tmp_path, "good", act)


def test_only_the_listening_sockets_of_its_slot_reach_a_worker(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        for slot in scene.fleet.slots:
            links = [os.readlink(f"/proc/{slot.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{slot.pid}/fd")]
            # the fake closes what it was sent, so all that is left is its own control socket
            assert len([link for link in links if link.startswith("socket:")]) == 1

    play(tmp_path, "good", act)


def test_a_worker_that_keeps_dying_waits_longer_and_does_not_hold_up_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_DELAY_S", 60.0)

    async def act(scene: Scene) -> None:
        await until(lambda: all(slot.backing_off for slot in scene.fleet.slots), "back-off")
        assert [slot.restarts for slot in scene.fleet.slots] == [6, 6]
        assert lines_of(scene.journal).__len__() == 12
        assert await scene.fleet.wait_image(1, 0.05)

    play(tmp_path, "crash", act)


def test_requests_in_flight_of_a_dead_worker_are_taken_off(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        state = scene.state._state
        state.cells[7].active = 5
        state.workers[0].active[7] = 3
        os.kill(scene.fleet.slots[0].pid, signal.SIGKILL)
        await until(lambda: scene.fleet.restarts == 1)
        assert scene.state.cell(7).active == 2

    play(tmp_path, "good", act)


def test_a_worker_that_never_beats_is_aborted_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "START_S", 0.2)
    monkeypatch.setattr(fleet_module, "LATE_TICK_S", 600.0)

    async def act(scene: Scene) -> None:
        slot = scene.fleet.slots[0]
        first = slot.pid
        await asyncio.sleep(0.25)
        scene.fleet.check_heartbeats()
        scene.fleet.check_heartbeats()
        await until(lambda: slot.pid not in (0, first))
        assert slot.restarts == 1

    play(tmp_path, "mute", act)


def test_a_stopped_worker_is_killed_after_the_abort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "ABORT_GRACE_S", 0.05)

    async def act(scene: Scene) -> None:
        await serving(scene)
        slot = scene.fleet.slots[0]
        first = slot.pid
        os.kill(first, signal.SIGSTOP)
        slot.abort("stands still")
        await until(lambda: slot.restarts == 1)
        await serving(scene)
        assert slot.pid != first

    play(tmp_path, "good", act)


def test_a_fresh_heartbeat_is_trusted_and_an_old_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(fleet_module, "LATE_TICK_S", 600.0)

    async def act(scene: Scene) -> None:
        await serving(scene)
        good, silent = scene.fleet.slots
        await asyncio.sleep(0.3)
        state = scene.state._state
        state.workers[0].pid, state.workers[1].pid = good.pid, silent.pid
        state.workers[0].heartbeat_ns = (1 << 63) - 1
        good_pid, silent_pid = good.pid, silent.pid
        scene.fleet.check_heartbeats()
        await until(lambda: silent.restarts == 1)
        assert good.pid == good_pid and silent.pid != silent_pid and good.restarts == 0

    play(tmp_path, "good", act)


def test_nobody_is_aborted_right_after_the_supervisor_itself_stood_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "START_S", 0.0)
    monkeypatch.setattr(fleet_module, "LATE_TICK_S", 0.05)

    async def act(scene: Scene) -> None:
        await asyncio.sleep(0.1)
        scene.fleet.check_heartbeats()
        scene.fleet.check_heartbeats()
        await asyncio.sleep(0.02)
        assert scene.fleet.restarts == 0 and all(slot.running for slot in scene.fleet.slots)

    play(tmp_path, "mute", act)


def test_an_image_that_a_worker_refuses_is_raised(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        scene.briefing.generation = 2
        scene.fleet.tell_image()
        with pytest.raises(ImageNacked, match="out of memory"):
            await scene.fleet.wait_image(2, PATIENCE_S)

    play(tmp_path, "nack", act)


def test_drained_workers_are_not_started_again(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        await scene.fleet.drain(PATIENCE_S)
        assert not any(slot.running for slot in scene.fleet.slots) and scene.fleet.restarts == 0

    play(tmp_path, "good", act)


def test_a_worker_that_does_not_drain_is_killed_after_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "LATE_S", 0.2)

    async def act(scene: Scene) -> None:
        await until(lambda: len(lines_of(scene.journal)) == 8)
        await scene.fleet.drain(0.1)
        assert not any(slot.running for slot in scene.fleet.slots)

    play(tmp_path, "mute", act)


def test_leak_counts_are_asked_of_the_worker(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        assert await scene.fleet.slots[0].leaks() == {"connections": 0}

    play(tmp_path, "good", act)


def test_a_worker_ends_when_the_supervisor_is_gone(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await serving(scene)
        slot = scene.fleet.slots[0]
        slot._draining = True
        assert slot._channel
        slot._channel.close()
        await until(lambda: not slot.running)

    play(tmp_path, "good", act)
