"""From the write of a file to the first answer by it, through a running gateway, while other requests go on.

Also what a worker's memory is, and how a burst of changes is taken.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import proxies
import worlds

ROOT = Path(__file__).resolve().parents[2]
PACE = Path(__file__).with_name("pace.py")
RATE = 200
PATIENCE_S = 120.0
POLL_S = 0.001


class Gateway:
    """fastgw with one worker in front of the origin, serving a folder."""

    def __init__(self, folder: Path, work: Path, start_timeout_s: float = 300.0) -> None:
        self.folder, self.port, self.admin = folder, proxies.free_port(), proxies.free_port()
        command = [
            sys.executable,
            "-m",
            "fastgw.cli.main",
            "run",
            str(folder),
            "--workers",
            "1",
            "--bind",
            "127.0.0.1",
            "--listen-map",
            f"80={self.port}",
        ]
        command += ["--admin", f"127.0.0.1:{self.admin}", "--status", f"127.0.0.1:{proxies.free_port()}"]
        with (work / "fastgw.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        began_s = time.monotonic()
        while self.status(worlds.STEADY_HOST, "/") != 200:
            if self.process.poll() is not None or time.monotonic() - began_s > start_timeout_s:
                raise RuntimeError("fastgw does not serve: " + (work / "fastgw.log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)
        self.start_s = time.monotonic() - began_s

    def status(self, host: str, path: str) -> int:
        """0 when there is no answer."""
        try:
            self._connection.request("GET", path, headers={"Host": host})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0
        return answer.status

    def await_status(self, host: str, path: str, wanted: int = 200) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while self.status(host, path) != wanted:
            if time.monotonic() > end_s:
                raise RuntimeError(f"{host}{path} is not answered {wanted} within {PATIENCE_S:g} s")
            time.sleep(POLL_S)

    def view(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def worker_memory_kb(self) -> dict[str, int]:
        """Rss, Pss, Private and Shared of the worker, from smaps_rollup."""
        pid = self.view("/workers")[0]["pid"]
        sums: dict[str, int] = {}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            sums[name.split("_")[0]] = sums.get(name.split("_")[0], 0) + int(rest.split()[0])
        return {name: sums[name] for name in ("Rss", "Pss", "Private", "Shared")}

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pace:
    """Steady requests from a process of their own, in a ``with``; ``result`` afterwards."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, str(PACE), str(port), worlds.STEADY_HOST, "/", str(RATE)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.result: dict[str, float] = {}

    def __enter__(self) -> Pace:
        return self

    def __exit__(self, *error: object) -> None:
        self.result = json.loads(self._process.communicate()[0])


def measure(folder: Path, work: Path, count: int, per_file: int, form: str, rounds: int, burst: int) -> dict[str, Any]:
    """One size. ``folder`` holds the world already."""
    gateway = Gateway(folder, work)
    try:
        gateway.await_status(worlds.host_of(worlds.MEASURED), "/v0/")
        time.sleep(2.0)
        with Pace(gateway.port) as steady:
            time.sleep(8.0)
        with Pace(gateway.port) as writes:
            write_elsewhere(gateway, work / "elsewhere", count, per_file, form, rounds, burst)
        with Pace(gateway.port) as meanwhile:
            took_ms = [one_change(gateway, folder, per_file, form, number) for number in range(rounds)]
            burst_result = many_changes(gateway, folder, count, per_file, form, burst)
        return {
            "virtual_services": count,
            "per_file": per_file,
            "start_s": round(gateway.start_s, 1),
            "change_ms": round(statistics.median(took_ms), 1),
            "change_worst_ms": round(max(took_ms), 1),
            **burst_result,
            "steady": steady.result,
            "writes": writes.result,
            "meanwhile": meanwhile.result,
            "worker_kb": gateway.worker_memory_kb(),
            "counts": gateway.view("/config/generation")["counts"],
        }
    finally:
        gateway.stop()


def one_change(gateway: Gateway, folder: Path, per_file: int, form: str, number: int) -> float:
    """Milliseconds from the end of the write to the first answer by the new rule."""
    version = f"v{number + 1}"
    worlds.change(folder, worlds.MEASURED, per_file, form, version)
    written_s = time.perf_counter()
    gateway.await_status(worlds.host_of(worlds.MEASURED), f"/{version}/")
    took_ms = (time.perf_counter() - written_s) * 1e3
    time.sleep(0.3)
    return took_ms


def write_elsewhere(gateway: Gateway, folder: Path, count: int, per_file: int, form: str, rounds: int, burst: int) -> None:
    """What the measuring itself does to traffic: the same writes and questions, with nobody who watches the folder."""
    folder.mkdir()
    for number in range(rounds):
        worlds.change(folder, worlds.MEASURED, per_file, form, f"v{number + 1}")
        for _ in range(20):
            gateway.status(worlds.host_of(worlds.MEASURED), "/v0/")
            time.sleep(POLL_S)
        time.sleep(0.3)
    for number in range(burst):
        worlds.change(folder, number % max(count // per_file, 1) * per_file, per_file, form, f"b{number}")


def many_changes(gateway: Gateway, folder: Path, count: int, per_file: int, form: str, burst: int) -> dict[str, Any]:
    """A burst of writes to as many files as there are; how many generations it became, and how soon the last write was served."""
    before = gateway.view("/config/generation")["generation"]
    files = max(count // per_file, 1)
    began_s = time.perf_counter()
    for number in range(burst):
        worlds.change(folder, number % files * per_file, per_file, form, f"b{number}")
    written_s = time.perf_counter()
    last = (burst - 1) % files * per_file
    gateway.await_status(worlds.host_of(last), f"/b{burst - 1}/")
    served_s = time.perf_counter()
    return {
        "burst": burst,
        "burst_written_s": round(written_s - began_s, 2),
        "burst_served_ms": round((served_s - written_s) * 1e3, 1),
        "burst_generations": gateway.view("/config/generation")["generation"] - before,
    }
