"""fastgw as a service of the systemd that runs here, and what systemd says of it. For ``trial_*.py``, in the machine of run.py."""

from __future__ import annotations

import collections
import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from functional.support.client import Client, Disconnected, fetch
from functional.support.config import Document, text_of
from functional.support.metrics import Metrics
from functional.support.poll import eventually

PROGRAM = "/opt/fastgw/.venv/bin/fastgw"
UNIT = "fastgw.service"
HOST = "shop.test"
CREDENTIALS = Path("/etc/fastgw/credentials")
RESOURCES = Path("/etc/fastgw/resources/main.yaml")
LONG_S = 60


def run(*words: str, check: bool = True) -> str:
    """Its standard output. A failure shows all that was said."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shown(name: str) -> str:
    """A property of the unit."""
    return run("systemctl", "show", "--property", name, "--value", UNIT).strip()


def status() -> str:
    return shown("StatusText")


def main_pid() -> int:
    return int(shown("MainPID"))


def worker_pids() -> list[int]:
    """Of the processes in the service's control group."""
    found = run("pgrep", "--full", "--parent", str(main_pid()), "fastgw[.]dataplane[.]worker", check=False)
    return [int(word) for word in found.split()]


def journal(since: str, **fields: str) -> list[dict[str, Any]]:
    """Entries of the unit, and of systemd about it, after a cursor of ``mark()``. Chosen here: journalctl leaves out the first one
    after a cursor when it is told to choose and the cursor's own is not one of them."""
    found = [json.loads(line) for line in run("journalctl", f"--after-cursor={since}", "--output=json").splitlines()]
    found = [entry for entry in found if UNIT in (entry.get("_SYSTEMD_UNIT"), entry.get("UNIT"))]
    return [entry for entry in found if all(entry.get(name) == value for name, value in fields.items())]


def said(since: str) -> str:
    return "\n".join(str(entry["MESSAGE"]) for entry in journal(since))


def wait_said(text: str, since: str) -> None:
    """With pauses: compilation has what others leave of the processors."""
    until_s = time.monotonic() + LONG_S
    while text not in (found := said(since)):
        assert time.monotonic() < until_s, f"{text!r} is not in:\n{found}"
        time.sleep(0.5)


def mark() -> str:
    run("journalctl", "--sync")
    return run("journalctl", "--lines=1", "--output=json").partition('"__CURSOR":"')[2].partition('"')[0]


def configure(documents: Sequence[Document]) -> None:
    """In one step."""
    new = RESOURCES.with_suffix(".new")
    new.write_text(text_of(list(documents)))
    new.rename(RESOURCES)


@contextlib.contextmanager
def drop_in(*lines: str) -> Iterator[None]:
    """More settings of the [Service] section; the service is restarted with and without them."""
    file = Path(f"/run/systemd/system/{UNIT}.d/trial.conf")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["[Service]", *lines, ""]))
    try:
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", UNIT)
        yield
    finally:
        file.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", UNIT, check=False)
        run("systemctl", "restart", UNIT)


def metrics() -> Metrics:
    return Metrics(fetch(15021, "/stats/prometheus", "localhost").body.decode())


class Callers:
    """Clients that open a connection for each request and never pause. A context manager; ``failures`` is what none should see."""

    def __init__(self, count: int = 6) -> None:
        self.failures: list[str] = []
        self.answered = collections.Counter[int]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        self.each_once_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(LONG_S)

    def each_once_more(self) -> None:
        before = self.answered.copy()
        wanted = range(len(self._threads))
        eventually(lambda: all(self.answered[number] > before[number] for number in wanted), "each is answered", LONG_S)

    def _ask(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.closing(Client(80, timeout_s=LONG_S)) as client:
                    answer = client.get("/", HOST)
                    assert answer.status == 200, answer
                self.answered[number] += 1
            except (AssertionError, Disconnected, OSError) as error:
                self.failures.append(repr(error))
            time.sleep(0.01)
