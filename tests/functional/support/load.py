"""Steady load from several keep-alive clients in threads: every answer is checked, every failure remembered."""

from __future__ import annotations

import threading
import time
from collections import Counter

from .client import Client, Disconnected, request_bytes
from .http1 import Malformed

PATIENCE_S = 0.5
"""A worker that ends waits for a second on a kept connection for one more request. A client that a busy machine has held up for
more than half of it must know that the connection may be gone."""


class Quiet:
    """How long a client was silent before its last request, on a connection that is made now."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()
        self._seconds = 0.0

    def ends(self) -> None:
        """A request has been sent."""
        now_s = time.monotonic()
        self._since_s, self._seconds = now_s, now_s - self._since_s

    def too_long(self, error: Disconnected | OSError) -> bool:
        """Does that explain an end without any answer to it?"""
        if isinstance(error, Disconnected):
            return error.partial is None and self._seconds > PATIENCE_S
        return max(self._seconds, time.monotonic() - self._since_s) > PATIENCE_S


class Load:
    """A context manager. ``failures`` holds what went wrong, ``reconnects`` how often a connection had to be made anew.

    ``close_is_cut`` False, for workers that end: an answer with ``connection: close`` is as good as any, and a connection on which
    the client was silent for too long may end. ``cut_is_failure`` False: a connection that ends before or in the middle of an
    answer is counted in ``cuts`` and made anew.
    """

    def __init__(self, port: int, host: str, *, clients: int = 4, cut_is_failure: bool = True, close_is_cut: bool = True):
        self.port, self.host, self.cut_is_failure, self.close_is_cut = port, host, cut_is_failure, close_is_cut
        self.failures: list[str] = []
        self.reconnects = 0
        self.cuts = 0
        self.origins: Counter[str | None] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.more(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        assert not [t for t in self._threads if t.is_alive()], "a client of the load hangs"

    @property
    def answers(self) -> int:
        return self.origins.total()

    def more(self, count: int, seconds: float = 60) -> None:
        """Wait until that many further answers have come."""
        wanted, deadline = self.answers + count, time.monotonic() + seconds
        while self.answers < wanted:
            assert time.monotonic() < deadline, f"the load stands still; {self.failures[:3]}"
            time.sleep(0.01)

    def _work(self, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            quiet = Quiet()
            try:
                with Client(self.port) as client:
                    while not self._stop.is_set():
                        turn += 1
                        if not self._one(client, f"/load-{number}-{turn}", quiet):
                            break
            except (Disconnected, ConnectionError) as error:
                if self.close_is_cut or not quiet.too_long(error):
                    self._cut(f"{type(error).__name__}: {error}")
            except (Malformed, TimeoutError, AssertionError) as error:
                self._fail(f"{type(error).__name__}: {error}")

    def _one(self, client: Client, target: str, quiet: Quiet) -> bool:
        """False when the gateway said with its answer that the connection ends."""
        client.send(request_bytes("GET", target, self.host, [f"X-Load: {target}"]))
        quiet.ends()
        answer = client.response()
        assert answer.status == 200, f"{answer.status} {answer.text[:100]}"
        assert f'"{target}"' in answer.text, f"the answer to another request: {answer.text[:200]}"
        with self._lock:
            self.origins[answer.value("x-origin")] += 1
        closes = (answer.value("connection") or "").lower() == "close"
        if closes and self.close_is_cut:
            raise ConnectionError("the gateway said close")
        return not closes

    def _cut(self, text: str) -> None:
        with self._lock:
            self.reconnects += 1
            self.cuts += 1
        if self.cut_is_failure:
            self._fail(text)

    def _fail(self, text: str) -> None:
        with self._lock:
            self.failures.append(text)
