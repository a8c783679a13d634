"""The compile child from outside: results, failures, death, hanging; the next try always has a child."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from supervisor_tools import fake_compiler, until

from fastgw.supervisor.background import NICENESS
from fastgw.supervisor.compile_protocol import Configure
from fastgw.supervisor.compiler_client import CompileError, Compiler
from fastgw.supervisor.image_check import ImageRefused, check_image

CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.example]
  gateways: [g]
  http: [{route: [{destination: {host: up.example, port: {number: 8080}}}]}]
"""


def play(compiler: Callable[[], Compiler], act: Callable[[Compiler], Awaitable[None]]) -> None:
    async def main() -> None:
        made = compiler()
        try:
            await act(made)
        finally:
            await made.stop()

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert set(os.listdir("/proc/self/fd")) == before


def scripted(tmp_path: Path, what: str, hang_s: float = 30.0) -> Callable[[], Compiler]:
    script = tmp_path / "script"
    script.write_text(what)
    return lambda: Compiler(Configure(["x"], {}, "ns"), fake_compiler(script), hang_s)


def test_a_result_holds_image_plan_and_report(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        result = await compiler.compile(3)
        assert (result.generation, await compiler.plan_json(3), result.counts.listeners) == (3, b'{"plan": 1}', 1)
        assert [listener.port for listener in result.report.listeners] == [1080]
        assert check_image(result.image_fd) == os.fstat(result.image_fd).st_size
        result.close()

    play(scripted(tmp_path, "good"), act)


@pytest.mark.parametrize(("what", "said"), [("fail", "ValueError: no"), ("nonsense", "nonsense"), ("die", "exit status 7")])
def test_a_failure_is_one_line_and_the_next_try_works(tmp_path: Path, what: str, said: str) -> None:
    async def act(compiler: Compiler) -> None:
        with pytest.raises(CompileError, match=said):
            await compiler.compile(1)
        (tmp_path / "script").write_text("good")
        (await compiler.compile(2)).close()

    play(scripted(tmp_path, what), act)


def test_a_child_that_hangs_is_replaced(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        compiler.start()
        first = compiler.pid
        with pytest.raises(CompileError, match="given up"):
            await compiler.compile(1)
        (tmp_path / "script").write_text("good")
        compiler._hang_s = 30.0
        (await compiler.compile(2)).close()
        assert compiler.pid != first

    play(scripted(tmp_path, "hang", hang_s=0.2), act)


@pytest.mark.parametrize(("what", "said"), [("unsealed", "not sealed"), ("torn", "image")])
def test_an_image_that_cannot_be_trusted_is_refused(tmp_path: Path, what: str, said: str) -> None:
    async def act(compiler: Compiler) -> None:
        result = await compiler.compile(1)
        with pytest.raises(ImageRefused, match=said):
            check_image(result.image_fd)
        result.close()

    play(scripted(tmp_path, what), act)


def real(tmp_path: Path, text: str = CONFIG) -> Callable[[], Compiler]:
    (tmp_path / "config.yaml").write_text(text)
    return lambda: Compiler(Configure([str(tmp_path)], {"istio": "ingressgateway"}, "istio-system"))


def test_the_real_child_compiles_files(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        result = await compiler.compile(1)
        assert check_image(result.image_fd) > 0
        assert [(listener.port, listener.bind) for listener in result.report.listeners] == [(80, "")]
        assert [(target.name, target.port) for target in result.dns] == [("up.example", 8080)]
        assert "up.example" in {labels.host for labels in result.metric_labels.values()}
        assert (result.counts.listeners, result.counts.hosts, result.counts.rules) == (1, 1, 1)
        assert "http.80" in msgspec.json.decode(await compiler.plan_json(1))["route_tables"]
        with pytest.raises(CompileError, match="not kept"):
            await compiler.plan_json(7)
        result.close()

    play(real(tmp_path), act)


def test_the_child_lets_traffic_go_first(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        (await compiler.compile(1)).close()
        (await compiler.compile(2)).close()
        assert os.sched_getscheduler(compiler.pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, compiler.pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)

    play(real(tmp_path), act)


def test_slots_and_metric_ids_outlive_a_child_that_dies(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        first = await compiler.compile(1)
        assert compiler._child
        compiler._child.kill()
        await until(lambda: compiler.pid == 0)
        other = (
            CONFIG.replace("metadata: {name: v}", "metadata: {name: a}")
            .replace("up.example", "aa.example")
            .replace("a.example]", "b.example]")
        )
        (tmp_path / "a.yaml").write_text(other.partition("---")[2])
        second = await compiler.compile(2)
        assert first.dns[0] in second.dns and len({target.slot for target in second.dns}) == len(second.dns)
        assert first.metric_labels.items() <= second.metric_labels.items()
        first.close()
        second.close()

    play(real(tmp_path), act)


def test_broken_files_are_diagnostics_not_failures(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        result = await compiler.compile(1)
        errors = [found for found in result.diagnostics if found.severity == "error"]
        assert errors and errors[0].origin.file.endswith("broken.yaml")
        assert len(result.report.listeners) == 1
        result.close()

    (tmp_path / "broken.yaml").write_text("a: [b\n")
    play(real(tmp_path), act)


def test_the_child_inherits_no_socket_but_its_own(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        (await compiler.compile(1)).close()
        links = [os.readlink(f"/proc/{compiler.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{compiler.pid}/fd")]
        assert len([link for link in links if link.startswith("socket:")]) == 1

    play(real(tmp_path), act)


def test_only_what_is_new_is_sent_again_and_every_report_is_whole(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        results = [await compiler.compile(1), await compiler.compile(2, [])]
        (tmp_path / "broken.yaml").write_text("a: [b\n")
        results.append(await compiler.compile(3))
        first, second, third = results
        assert first.dns and (first.dns, first.diagnostics) == (second.dns, second.diagnostics)
        assert first.metric_labels == second.metric_labels
        assert second.report.diagnostics is first.report.diagnostics
        assert len(third.diagnostics) > len(first.diagnostics) and third.dns == first.dns
        for result in results:
            result.close()

    play(real(tmp_path), act)


def test_a_plan_is_gone_with_its_process(tmp_path: Path) -> None:
    async def act(compiler: Compiler) -> None:
        (await compiler.compile(1)).close()
        assert compiler._child
        compiler._child.kill()
        await until(lambda: compiler.pid == 0)
        with pytest.raises(CompileError, match="is gone"):
            await compiler.plan_json(1)

    play(real(tmp_path), act)
