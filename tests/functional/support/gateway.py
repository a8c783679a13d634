"""Runs the real ``fastgw run`` with a configuration of the test's, and makes sure that nothing of it is left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import fastgw

from .client import Client, Disconnected, fetch
from .config import Document, text_of
from .http1 import Response
from .metrics import Metrics
from .poll import eventually
from .ports import free_port, listening_inodes
from .processes import command_of, holders, in_session

START_S = 120.0
# these may be there without a client: kept-alive upstream connections and the image in use
MAY_LIVE = {"idle_upstream_connections", "images"}


def command() -> list[str]:
    """The console script beside this interpreter, or the same entry point by module."""
    script = Path(sys.executable).with_name("fastgw")
    return [str(script)] if script.exists() else [sys.executable, "-m", "fastgw.cli.main"]


def environment() -> dict[str, str]:
    """The tests' own environment; without a console script, the package is found where the tests found it."""
    root = Path(fastgw.__file__).resolve().parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])}


def run_cli(*arguments: str, timeout_s: float = 120, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One run of a short command."""
    return subprocess.run(
        [*command(), *arguments], capture_output=True, text=True, timeout=timeout_s, cwd=cwd, env=environment(), check=False
    )


class Gateway:
    """A running gateway. ``directory`` holds its files: ``config/`` is what it serves, ``stderr`` what it said.

    ``settings`` are the names of a ``--config`` file; ``options`` are command-line words. ``ports`` are mapped to free ones.
    ``prefix`` is a command that runs the gateway by exec, such as prlimit; ``variables`` go into its environment.
    """

    def __init__(
        self,
        directory: Path,
        documents: Sequence[Document] | str = (),
        *,
        workers: int = 2,
        ports: Sequence[int] = (80,),
        settings: dict[str, Any] | None = None,
        options: Sequence[str] = (),
        bind: str | None = "127.0.0.1",
        prefix: Sequence[str] = (),
        variables: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ):
        self.directory = directory
        self.config = directory / "config"
        self.config.mkdir(parents=True, exist_ok=True)
        self.workers_wanted = workers
        self.ports = {port: free_port() for port in ports}
        self.settings = {"workers": workers, **(settings or {})}
        self.options = list(options)
        self.bind = bind
        self.prefix = list(prefix)
        self.variables = dict(variables or {})
        self.pass_fds = list(pass_fds)
        self.admin_port = free_port()
        self.status_port = free_port()
        self.stderr = directory / "stderr"
        self.stdout = directory / "stdout"
        self.process: subprocess.Popen[bytes] | None = None
        if documents:
            self.write("main.yaml", documents)

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    # --- configuration files

    def write(self, name: str, documents: Sequence[Document] | str) -> Path:
        """Put a file in place atomically, as careful editors do."""
        path = self.config / name
        temporary = self.directory / f".{name}.new"
        temporary.write_text(documents if isinstance(documents, str) else text_of(list(documents)))
        temporary.rename(path)
        return path

    # --- life

    def start(self, *, wait: bool = True) -> Gateway:
        settings = self.directory / "settings.yaml"
        settings.write_text(yaml.safe_dump(self.settings))
        words = [*self.prefix, *command(), "run", str(self.config), "--config", str(settings)]
        words += ["--admin", f"127.0.0.1:{self.admin_port}", "--status", f"127.0.0.1:{self.status_port}"]
        for wanted, opened in self.ports.items():
            words += ["--listen-map", f"{wanted}={opened}"]
        if self.bind:
            words += ["--bind", self.bind]
        words += self.options
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**environment(), **self.variables},
                start_new_session=True, pass_fds=self.pass_fds,
            )  # fmt: skip
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()
                raise
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.ready():
            assert self.process is not None
            assert self.process.poll() is None, f"exited {self.process.returncode} at start:\n{self.tail()}"
            assert time.monotonic() < deadline, f"not ready after {START_S} s:\n{self.tail()}"
            time.sleep(0.02)

    def ready(self) -> bool:
        return self.health() == 200

    def health(self, path: str = "/healthz/ready") -> int:
        """Status of the health endpoint; 0 when nobody answers there."""
        try:
            return fetch(self.status_port, path, "localhost").status
        except (OSError, Disconnected):
            return 0

    def said(self) -> str:
        return self.stderr.read_text(errors="replace")

    def tail(self) -> str:
        """The end of what it said, for messages."""
        return self.said()[-3000:]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_exit(self, seconds: float = 60.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> None:
        """SIGTERM, exit 0, no process and no listening port left, no bug reported. Anything else is a failure of the test."""
        assert self.process is not None
        if self.process.poll() is None:
            if self.ready():
                self.assert_no_bugs()
            self.signal(signal.SIGTERM)
        try:
            code = self.wait_exit()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not exit after SIGTERM:\n{self.tail()}") from None
        try:
            self.assert_nothing_left()
        finally:
            self.kill()
        assert code == 0, f"exit code {code}:\n{self.tail()}"
        assert "Traceback" not in self.said(), self.tail()

    def assert_nothing_left(self) -> None:
        def gone() -> bool:
            left = {pid: command_of(pid) for pid in in_session(self.pid)}
            assert not left, f"processes left: {left}"
            open_ports = [p for p in (*self.ports.values(), self.admin_port, self.status_port) if listening_inodes(p)]
            assert not open_ports, f"ports still listening: {open_ports}"
            return True

        eventually(gone, "the gateway is gone without a trace")

    def kill(self) -> None:
        """End everything of the gateway's session, whatever state it is in."""
        assert self.process is not None
        for _ in range(50):
            left = in_session(self.process.pid)
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)
        self.process.wait(60)

    # --- talking to it

    def port(self, wanted: int = 80) -> int:
        return self.ports.get(wanted, wanted)

    def client(self, wanted: int = 80, **options: Any) -> Client:
        return Client(self.port(wanted), **options)

    def get(self, target: str, host: str, *headers: str, wanted: int = 80) -> Response:
        """One GET on a connection of its own."""
        return fetch(self.port(wanted), target, host, *headers)

    def metrics(self) -> Metrics:
        answer = fetch(self.status_port, "/stats/prometheus", "localhost")
        assert answer.status == 200, answer.text
        return Metrics(answer.text)

    def admin(self, path: str, method: str = "GET") -> Any:
        """A JSON answer of the admin API."""
        answer = fetch(self.admin_port, path, "localhost", method=method, body=b"" if method == "POST" else None)
        assert answer.status == 200, (path, answer.status, answer.text)
        return json.loads(answer.body)

    def everywhere(self) -> None:
        """Waits until all workers serve the last configuration: one alone may have answered with it."""

        def same() -> bool:
            generation = self.admin("/config/generation")["generation"]
            return {worker["generation"] for worker in self.admin("/workers")} == {generation}

        eventually(same, "all workers have the last configuration")

    def worker_pids(self, wanted: int = 80) -> list[int]:
        """Children that hold a listening socket of that port."""
        return [pid for pid in holders(self.port(wanted), self.pid) if pid != self.pid]

    def living(self) -> dict[str, int]:
        """Living objects by kind, over all workers."""
        counts: dict[str, int] = {}
        for worker in self.admin("/leaks", "POST").values():
            for name, count in worker.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def leaks(self) -> dict[str, int]:
        """Living objects that should be gone when no client is connected; empty when there are none."""
        return {name: count for name, count in self.living().items() if count and name not in MAY_LIVE}

    def assert_no_leaks(self) -> None:
        """Polls: connections that a test has just closed take a turn of the worker's loop to go."""

        def none() -> bool:
            leaks = self.leaks()
            assert not leaks, f"still alive: {leaks}"
            return True

        eventually(none, "no living objects in the workers")

    def assert_no_bugs(self) -> None:
        """No exception was caught in a worker's loop."""
        assert self.metrics().total("fastgw_bugs_total") == 0, self.tail()
