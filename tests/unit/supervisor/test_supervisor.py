"""The supervisor as a whole, with the real compile child and fake workers: from files to acknowledged images."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from supervisor_tools import PATIENCE_S, fake_compiler, fake_worker, lines_of, until

from fastgw.model.values import FormatError
from fastgw.supervisor import generations
from fastgw.supervisor.dns_lookup import Answer, NameNotFound
from fastgw.supervisor.settings import Settings, SettingsError
from fastgw.supervisor.supervisor import Supervisor

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g{port}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*.example"], bind: 127.0.0.1}}]
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.example]
  gateways: [g80]
  http: [{route: [{destination: {host: up.example, port: {number: 8080}}}]}]
"""


async def lookup(name: str, kind: str) -> Answer:
    if name == "up.example":
        return Answer((b"\x0a\0\0\1",), 300)
    raise NameNotFound("no such name")


class Scene:
    def __init__(self, tmp_path: Path, mode: str, **settings: object) -> None:
        self.config = tmp_path / "config"
        self.config.mkdir(exist_ok=True)
        self.journal = tmp_path / "journal"
        self.settings = Settings(
            paths=[str(self.config)],
            workers=2,
            listen_map={80: 0, 81: 0, 82: 0},
            drain_time=PATIENCE_S,
            **settings,  # type: ignore[arg-type]
        )
        self.mode = mode
        self.code: int | None = None

    def write(self, name: str, text: str) -> None:
        (self.config / name).write_text(text)

    def told(self, what: str) -> int:
        """How many messages of this kind the workers have got."""
        return sum(what in line for line in lines_of(self.journal))

    async def ready(self) -> None:
        await until(lambda: self.supervisor.not_ready_reason() == "", "ready")

    async def serving(self, generation: int) -> None:
        await until(lambda: self.supervisor.generations.outcome.serving >= generation, f"generation {generation}")


def play(scene: Scene, act: Callable[[Scene], Awaitable[None]]) -> Scene:
    async def main() -> None:
        scene.supervisor = Supervisor(scene.settings, lookup=lookup, worker_command=fake_worker(scene.mode, scene.journal))
        running = asyncio.create_task(scene.supervisor.run())
        try:
            await act(scene)
        finally:
            if not scene.supervisor.draining:
                scene.supervisor.drain()
            scene.code = await asyncio.wait_for(running, PATIENCE_S)

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert set(os.listdir("/proc/self/fd")) == before
    return scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path, "good")
    made.write("gateway.yaml", GATEWAY.format(port=80))
    made.write("route.yaml", ROUTE)
    return made


def test_it_is_ready_only_when_all_workers_serve_and_ends_with_zero(scene: Scene) -> None:
    async def act(scene: Scene) -> None:
        assert "first configuration" in scene.supervisor.not_ready_reason()
        await scene.ready()
        supervisor = scene.supervisor
        assert [slot.generation for slot in supervisor.fleet.slots] == [1, 1]
        assert all(slot.listening == ["127.0.0.1_80"] for slot in supervisor.fleet.slots)
        assert [name.status for name in supervisor.resolver.statuses()] == ["ok"]
        assert scene.told("Image") == 2
        supervisor.drain()
        assert supervisor.not_ready_reason() == "draining"

    assert play(scene, act).code == 0


def test_a_changed_file_is_a_new_image_for_the_same_workers(scene: Scene) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        pids = [slot.pid for slot in scene.supervisor.fleet.slots]
        scene.write("route.yaml", ROUTE.replace("a.example", "b.example"))
        await scene.serving(2)
        assert [slot.pid for slot in scene.supervisor.fleet.slots] == pids
        assert scene.told("Image") == 4 and scene.told("Listen") == 2
        current = scene.supervisor.generations.current
        assert current and b"b.example" in await scene.supervisor.generations.plan_json()
        assert 0 < scene.supervisor.generations.outcome.apply_seconds < PATIENCE_S

    play(scene, act)


def test_an_image_that_is_torn_reaches_no_worker(scene: Scene, tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        supervisor, script = scene.supervisor, tmp_path / "script"
        script.write_text("torn")
        await supervisor.compiler.pause()
        good, supervisor.compiler._command = supervisor.compiler._command, fake_compiler(script)
        scene.write("route.yaml", ROUTE.replace("a.example", "b.example"))
        await until(lambda: "the image" in supervisor.generations.outcome.error, "refused")
        assert supervisor.generations.outcome.serving == 1 and scene.told("Image") == 2
        await supervisor.compiler.pause()
        supervisor.compiler._command = good
        supervisor.generations.request()
        await until(lambda: scene.told("Image") == 4, "and then a good one")

    play(scene, act)


def test_a_replaced_image_is_let_go_after_a_moment_and_never_more_than_one_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def images() -> int:
        links = [os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
        return sum("fastgw-image" in os.readlink(link) for link in links if os.path.lexists(link))

    async def act(scene: Scene) -> None:
        await scene.ready()
        monkeypatch.setattr(generations, "RETIRED_S", 3600.0)
        for generation in (2, 3):
            scene.write("route.yaml", ROUTE.replace("a.example", f"b{generation}.example"))
            await scene.serving(generation)
            assert images() == 2
        monkeypatch.setattr(generations, "RETIRED_S", 0.01)
        scene.write("route.yaml", ROUTE)
        await scene.serving(4)
        await until(lambda: images() == 1, "the replaced image is closed")

    play(scene, act)


def test_listeners_come_and_go_with_the_files(scene: Scene) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        kept = scene.supervisor.listeners.of_slot(0)[1]
        scene.write("more.yaml", GATEWAY.format(port=81))
        await scene.serving(2)
        assert list(scene.supervisor.listeners.open) == ["127.0.0.1_80", "127.0.0.1_81"]
        assert scene.supervisor.listeners.of_slot(0)[1][:1] == kept
        assert all(len(slot.listening) == 2 for slot in scene.supervisor.fleet.slots)
        (scene.config / "more.yaml").unlink()
        await scene.serving(3)
        assert list(scene.supervisor.listeners.open) == ["127.0.0.1_80"]
        assert scene.supervisor.listeners.of_slot(0)[1] == kept
        await until(lambda: all(slot.listening == ["127.0.0.1_80"] for slot in scene.supervisor.fleet.slots))

    play(scene, act)


def test_a_broken_new_file_leaves_the_rest_served_and_is_said_once(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.write("broken.yaml", "a: [b\n")
        await scene.serving(2)
        scene.write("route.yaml", ROUTE + "\n# again\n")
        await scene.serving(3)
        assert scene.supervisor.generations.outcome.error == ""
        assert list(scene.supervisor.listeners.open) == ["127.0.0.1_80"]

    play(scene, act)
    errors = [line for line in capsys.readouterr().err.splitlines() if "broken.yaml" in line]
    assert len(errors) == 1 and ": error[FGW0006]: " in errors[0]


def test_a_change_that_leaves_nothing_to_serve_is_not_taken_over(scene: Scene) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        (scene.config / "gateway.yaml").unlink()
        generations = scene.supervisor.generations
        await until(lambda: generations.outcome.error)
        assert generations.outcome.serving == 1 and "no listener" in generations.outcome.error
        assert list(scene.supervisor.listeners.open) == ["127.0.0.1_80"] and scene.supervisor.not_ready_reason() == ""
        scene.write("gateway.yaml", GATEWAY.format(port=80))
        await scene.serving(3)
        assert generations.outcome.error == ""

    play(scene, act)


def test_reload_waits_for_an_attempt_that_began_after_it(scene: Scene) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        outcomes = await asyncio.gather(*(scene.supervisor.generations.reload() for _ in range(10)))
        assert all(outcome.serving >= 2 for outcome in outcomes)
        assert scene.supervisor.generations.outcome.attempts <= 4

    play(scene, act)


def test_a_compile_child_that_is_killed_costs_nothing(scene: Scene) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        os.kill(scene.supervisor.compiler.pid, signal.SIGKILL)
        await until(lambda: scene.supervisor.compiler.pid == 0)
        assert (await scene.supervisor.generations.reload()).serving == 2

    play(scene, act)


def test_a_worker_that_dies_gets_the_newest_image(scene: Scene) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        await scene.supervisor.generations.reload()
        os.kill(scene.supervisor.fleet.slots[0].pid, signal.SIGKILL)
        await until(lambda: scene.supervisor.fleet.restarts == 1)
        await until(lambda: scene.supervisor.fleet.slots[0].generation == 2)
        assert scene.supervisor.not_ready_reason() == ""

    play(scene, act)


def test_an_image_that_a_worker_refuses_is_taken_back(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        outcome = await scene.supervisor.generations.reload()
        assert (outcome.serving, outcome.failures) == (1, 1) and "out of memory" in outcome.error
        current = scene.supervisor.generations.current
        assert current and current.generation == 1

    scene = Scene(tmp_path, "nack")
    scene.write("gateway.yaml", GATEWAY.format(port=80))
    play(scene, act)


def test_a_worker_that_does_not_take_an_image_over_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "ACK_S", 0.3)

    async def act(scene: Scene) -> None:
        await scene.ready()
        pids = {slot.pid for slot in scene.supervisor.fleet.slots}
        assert (await scene.supervisor.generations.reload()).serving == 2
        await until(lambda: [slot.generation for slot in scene.supervisor.fleet.slots] == [2, 2], "the successors serve it")
        assert pids.isdisjoint(slot.pid for slot in scene.supervisor.fleet.slots)

    scene = Scene(tmp_path, "deaf")
    scene.write("gateway.yaml", GATEWAY.format(port=80))
    scene.settings.drain_time = 0.1
    play(scene, act)


@pytest.mark.parametrize("text", ["", "a: [b\n", "kind: Nonsense\n"])
def test_nothing_to_serve_at_the_start_is_exit_code_one(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def act(scene: Scene) -> None:
        await until(lambda: scene.supervisor.generations.diagnostics)
        await until(lambda: scene.supervisor.compiler._stopped)

    scene = Scene(tmp_path, "good")
    scene.write("config.yaml", text)
    assert play(scene, act).code == 1
    assert scene.told("Start") == 0
    said = capsys.readouterr().err
    assert "error[FGW0" in said and str(scene.config) in said


def test_a_port_in_use_at_the_start_is_a_diagnostic_and_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Scene(tmp_path / "other", "good") if (tmp_path / "other").mkdir() is None else None
    assert other
    other.write("gateway.yaml", GATEWAY.format(port=80))

    async def act(first: Scene) -> None:
        await first.ready()
        port = first.supervisor.listeners.of_slot(0)[0][0].port
        second = Scene(tmp_path, "good")
        second.settings.listen_map[80] = port
        second.write("gateway.yaml", GATEWAY.format(port=80))
        supervisor = Supervisor(second.settings, lookup=lookup, worker_command=fake_worker("good", second.journal))
        assert await asyncio.wait_for(supervisor.run(), PATIENCE_S) == 1

    play(other, act)
    assert "error[FGW0201]: Listener 127.0.0.1_80: port" in capsys.readouterr().err


def test_the_access_log_is_opened_anew_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    scene = Scene(tmp_path, "good", access_log=str(path))
    scene.write("gateway.yaml", GATEWAY.format(port=80))

    async def act(scene: Scene) -> None:
        await scene.ready()
        path.rename(tmp_path / "access.log.1")
        scene.supervisor.reopen_logs()
        assert path.exists()
        await until(lambda: scene.told("ReopenLog 1") == 2)

    play(scene, act)
    assert scene.told("Start 2") == 2


def test_settings_that_cannot_be_used_are_refused_before_anything_starts(tmp_path: Path) -> None:
    async def make(**settings: object) -> None:
        Supervisor(Scene(tmp_path, "good", **settings).settings)

    with pytest.raises(SettingsError, match="--access-log /no/such/dir/log: No such file or directory"):
        asyncio.run(make(access_log="/no/such/dir/log"))
    with pytest.raises(FormatError, match="PROTOCOL"):
        asyncio.run(make(access_log="-", access_log_format="%PROTOCO%"))
