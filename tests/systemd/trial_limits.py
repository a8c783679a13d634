"""Limits of the service's control groups: the gateway heeds them before the kernel has to."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import documents
from functional.support.client import Disconnected, fetch
from functional.support.poll import eventually
from functional.test_overload import HOST as UPLOADS_HOST
from functional.test_overload import push, unreachable
from service import HOST, LONG_S, UNIT, configure, drop_in, main_pid, mark, metrics, run, said, shown, wait_said, worker_pids

from fastgw.supervisor.control_groups import folders
from fastgw.supervisor.memory_group import find_group

pytestmark = pytest.mark.usefixtures("service")
MIB = 1 << 20
ROOM = 96 * MIB
"""For connections, above what the processes need for themselves."""


def group_of(pid: int, controller: str) -> Path:
    """Of the service: the first that has this controller's files."""
    return next(folder for _, folder in folders(controller, f"/proc/{pid}/cgroup") if any(folder.glob(f"{controller}.*")))


def killed_for_memory(group: Path) -> int:
    file = next(path for name in ("memory.events", "memory.oom_control") if (path := group / name).exists())
    return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])


@pytest.fixture
def unlimited_again() -> Iterator[None]:
    yield
    run("systemctl", "set-property", "--runtime", UNIT, "MemoryMax=infinity")


@pytest.mark.usefixtures("unlimited_again")
def test_memory_runs_out_and_comes_back() -> None:
    """MemoryMax= while it runs; uploads wait for an upstream that does not answer, until no more are taken."""
    run("systemctl", "set-property", "--runtime", UNIT, "MemoryMax=8G")  # in a group of its own, with figures
    group = find_group(f"/proc/{main_pid()}/cgroup")
    assert group is not None and group.limit == 8 << 30
    with unreachable() as port, contextlib.ExitStack() as uploads:
        stuck = documents(port)
        stuck[1]["spec"]["hosts"] = [UPLOADS_HOST]
        configure(stuck)
        eventually(lambda: fetch(80, "/", HOST).status == 404, "it is served")
        time.sleep(5)  # for what is looked at after a change
        since, workers = mark(), worker_pids()
        limit = (group.used()[0] + ROOM) // MIB * MIB
        run("systemctl", "set-property", "--runtime", UNIT, f"MemoryMax={limit}")
        wait_said(f"memory limit of the control group, from now on: {limit // MIB} MiB", since)
        count, enough = 0, 5000
        while count < enough:
            for _ in range(20):
                sock = uploads.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", 80))
                push(sock)
                count += 1
            time.sleep(0.1)  # a flood that is faster than the looks is not what this is about
            if steps_taken(since)["refuse"] and enough == 5000:
                enough = count + 500  # and then some more
        steps = steps_taken(since)
        assert steps["shrink"] and steps["part"] and steps["refuse"], (steps, count, group.used(), limit)
    eventually(lambda: metrics().total("fastgw_worker_memory_step") == 0, "there is enough again", LONG_S)
    assert killed_for_memory(group_of(main_pid(), "memory")) == 0
    assert worker_pids() == workers and f"of {limit // MIB} MiB of the control group" in said(since)


def steps_taken(since: str) -> dict[str, float]:
    try:
        return {sample.labels["step"]: sample.value for sample in metrics().find("fastgw_memory_steps_total")}
    except (Disconnected, OSError) as error:
        raise AssertionError(f"{error}: {said(since)}") from None


def test_the_quota_of_processors_bounds_the_workers() -> None:
    with drop_in("CPUQuota=100%"):
        assert group_of(main_pid(), "cpu").name == UNIT
        assert len(worker_pids()) == 1 and shown("CPUQuotaPerSecUSec") == "1s"
