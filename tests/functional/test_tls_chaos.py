"""Certificates change while clients come and go: no handshake and no request fails, and no connection that is open notices."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import StartTls
from .support.certificates import Authority, Identity, mount
from .support.client import request_bytes
from .support.config import gateway_of, https_server
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.tls_client import TlsClient, client_context
from .support.tls_world import PLAIN, TlsWorld, upstreams

ROTATIONS = 8
REQUESTS_A_CONNECTION = 3


class HandshakeLoad:
    """Threads that connect anew for every few requests, each with a check of certificate and answer. A context manager."""

    def __init__(self, world: TlsWorld, authority: Authority, clients: int = 4):
        self.world = world
        self.context = client_context(authority)
        self.failures: list[str] = []
        self.shown: set[str] = set()
        self.answers = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(clients)]

    def __enter__(self) -> HandshakeLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        assert not [thread for thread in self._threads if thread.is_alive()], "a client hangs"

    def more(self, count: int) -> None:
        wanted = self.answers + count
        eventually(lambda: self.answers >= wanted or self.failures, f"{count} more answers", 60)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with TlsClient(self.world.port, PLAIN, self.context) as client:
                    der = client.tls.getpeercert(binary_form=True) or b""
                    for turn in range(REQUESTS_A_CONNECTION):
                        assert client.request(request_bytes("GET", f"/{turn}", PLAIN)).status == 200
                with self._lock:
                    self.shown.add(hashlib.sha256(der).hexdigest())
                    self.answers += REQUESTS_A_CONNECTION
            except (OSError, ssl.SSLError, AssertionError) as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")


def swapped(secrets: Path, identity: Identity) -> None:
    """As kubelet does it: all files at once."""
    mount(secrets, "web", identity)


def renamed(secrets: Path, identity: Identity) -> None:
    """As many tools do it: each file is replaced, so that certificate and key do not match for a moment."""
    for name, text in {"tls.crt": identity.chain, "tls.key": identity.key}.items():
        fresh = secrets / "web" / f".{name}.new"
        fresh.write_text(text)
        fresh.rename(secrets / "web" / name)


def overwritten(secrets: Path, identity: Identity) -> None:
    """As people do it: written in place."""
    (secrets / "web" / "tls.key").write_text(identity.key)
    (secrets / "web" / "tls.crt").write_text(identity.chain)


@pytest.mark.parametrize("rotate", [swapped, renamed, overwritten])
def test_certificates_rotate_under_load(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, rotate: Callable[[Path, Identity], None]
) -> None:
    first = authority.issue(PLAIN)
    identities = [authority.issue(PLAIN, key="rsa" if turn % 4 == 3 else "ec") for turn in range(ROTATIONS)]

    def prepare(secrets: Path) -> None:
        if rotate is swapped:
            mount(secrets, "web", first)
        else:
            (secrets / "web").mkdir()
            overwritten(secrets, first)

    world = start_tls([gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])], prepare)
    pids = world.gateway.worker_pids(443)
    with TlsClient(world.port, PLAIN, client_context(authority)) as kept, HandshakeLoad(world, authority) as load:
        load.more(30)
        for identity in identities:
            rotate(world.secrets, identity)
            load.more(12)
        eventually(lambda: identities[-1].sha256 in load.shown, "the last certificate is served")
        assert kept.get("/", PLAIN).status == 200
    assert load.failures == []
    assert load.shown <= {identity.sha256 for identity in (first, *identities)}
    assert world.gateway.worker_pids(443) == pids
