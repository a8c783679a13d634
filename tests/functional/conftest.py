"""Fixtures of the functional tests: gateways and upstreams that are torn down and inspected whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from .support.certificates import Authority, make_authority
from .support.config import Document, gateway, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.tls_world import TlsWorld, mount_policies, policy_documents

StartGateway = Callable[..., Gateway]


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Starts gateways for one test. Those still running at its end must stop cleanly, with nothing alive inside or left."""
    started: list[Gateway] = []

    def start(documents: Sequence[Document] | str = (), *, wait: bool = True, **options: Any) -> Gateway:
        made = Gateway(tmp_path / f"gateway-{len(started)}", documents, **options)
        started.append(made)
        return made.start(wait=wait)

    try:
        yield start
        for made in started:
            if made.process is not None and made.process.poll() is None:
                made.assert_no_leaks()
                made.stop()
    finally:
        for made in started:
            if made.process is not None:
                made.kill()


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA that signs servers' certificates, of this test process."""
    return make_authority("servers' CA")


@pytest.fixture(scope="session")
def client_authority() -> Authority:
    """The CA that signs clients' certificates."""
    return make_authority("clients' CA")


@pytest.fixture
def origin() -> Iterator[RecordingOrigin]:
    """An upstream that echoes what it got."""
    with RecordingOrigin("webapp") as made:
        yield made
        made.settle()
        assert not made.faults(), made.faults()


@pytest.fixture
def make_origin() -> Iterator[Callable[..., RecordingOrigin]]:
    """More upstreams, by name."""
    made: list[RecordingOrigin] = []

    def make(name: str, **options: Any) -> RecordingOrigin:
        made.append(RecordingOrigin(name, **options))
        return made[-1]

    yield make
    for origin in made:
        origin.stop()


@pytest.fixture(scope="module")
def shared_origin() -> Iterator[RecordingOrigin]:
    """The echoing upstream of ``shared_gateway``."""
    with RecordingOrigin("webapp") as made:
        yield made


@pytest.fixture(scope="module")
def shared_gateway(shared_origin: RecordingOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for a whole file: webapp.test goes to the echoing upstream."""
    documents = [
        gateway(hosts=["webapp.test"]),
        virtual_service("webapp", ["webapp.test"], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", shared_origin.port)]),
    ]
    with Gateway(tmp_path_factory.mktemp("shared"), documents) as running:
        yield running


@pytest.fixture
def web(shared_gateway: Gateway, shared_origin: RecordingOrigin) -> Iterator[Gateway]:
    """``shared_gateway`` for one test, which must leave nothing alive in it; the upstream echoes again."""
    shared_origin.answer = shared_origin.echo
    shared_origin.on_head = None
    yield shared_gateway
    shared_gateway.assert_no_leaks()


StartTls = Callable[..., TlsWorld]


@pytest.fixture
def start_tls(start_gateway: StartGateway, authority: Authority, client_authority: Authority, tmp_path: Path) -> StartTls:
    """Starts gateways with ``--secrets`` for one test; ``prepare(secrets)`` puts credentials there first."""

    def start(documents: Sequence[Document], prepare: Callable[[Path], object], **options: Any) -> TlsWorld:
        secrets = tmp_path / "secrets"
        secrets.mkdir(exist_ok=True)
        prepare(secrets)
        ports = options.pop("ports", (443,))
        words = ["--secrets", str(secrets), *options.pop("options", ())]
        made = start_gateway(documents, ports=ports, options=words, **options)
        return TlsWorld(made, authority, client_authority, tmp_path, secrets)

    return start


@pytest.fixture(scope="module")
def shared_tls(
    shared_origin: RecordingOrigin,
    authority: Authority,
    client_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TlsWorld]:
    """One gateway for a whole file, with a host of each client-certificate policy."""
    home = tmp_path_factory.mktemp("tls")
    secrets = home / "secrets"
    mount_policies(secrets, authority, client_authority)
    documents = policy_documents(shared_origin)
    with Gateway(home / "gateway", documents, ports=(443,), options=["--secrets", str(secrets)]) as running:
        yield TlsWorld(running, authority, client_authority, home, secrets)


@pytest.fixture
def tls(shared_tls: TlsWorld, shared_origin: RecordingOrigin) -> Iterator[TlsWorld]:
    """``shared_tls`` for one test, which must leave nothing alive in it."""
    shared_origin.answer = shared_origin.echo
    shared_origin.on_head = None
    yield shared_tls
    shared_tls.gateway.assert_no_leaks()
