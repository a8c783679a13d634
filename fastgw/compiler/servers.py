"""Second pass: servers of Gateways -> listeners, with Istio's rules for several servers on one port (C1-C6, C10, A10).

The server that loses is reported with the place of the one that won. What connections of the others meet is chains.py's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastgw.compiler.hosts import ServerHosts
from fastgw.compiler.report import Report, place
from fastgw.model.kinds.gateway import Server
from fastgw.model.names import is_ip
from fastgw.model.plan import ObjectRef, ServerRef
from fastgw.model.resource import Resource

HTTP_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
TLS_PROTOCOLS = frozenset({"HTTPS", "TLS"})
TCP_PROTOCOLS = frozenset({"TCP", "MONGO", "MYSQL", "REDIS", "UDP"})

MAX_UNIX_PATH_BYTES = 107
"""sun_path of unix(7), without the byte that ends it."""

HTTP, TLS, TCP = "HTTP", "TLS", "TCP"
PASSTHROUGH_MODES = frozenset({"PASSTHROUGH", "AUTO_PASSTHROUGH"})


class PlacedServer:
    """A server of a Gateway at the port that it opens. ``number`` is the Gateway's, ``port`` the one after translation.

    ``mode``: of its tls block, "" for a server without TLS.
    """

    __slots__ = ("family", "gateway", "hosts", "index", "mode", "number", "port", "protocol", "redirects", "server")

    def __init__(self, gateway: Resource, index: int, server: Server, port: int, hosts: ServerHosts) -> None:
        assert server.port is not None
        self.gateway = gateway
        self.index = index
        self.server = server
        self.number = server.port.number
        self.port = port
        self.protocol = server.port.protocol.upper()
        self.family = family(self.protocol)
        self.mode = server.tls.mode if server.tls is not None and self.family == TLS else ""
        self.hosts = hosts
        self.redirects = server.tls is not None and server.tls.https_redirect and self.family == HTTP

    @property
    def terminates(self) -> bool:
        """TLS ends here."""
        return self.family == TLS and self.mode not in PASSTHROUGH_MODES

    @property
    def carries_requests(self) -> bool:
        """HTTP with or without TLS, not bytes."""
        return self.family == HTTP or (self.protocol == "HTTPS" and self.terminates)

    @property
    def path(self) -> str:
        """The server's field inside its Gateway."""
        return f"spec.servers[{self.index}]"

    @property
    def key(self) -> str:
        """How the Plan calls it: ``namespace/gateway#index``."""
        return f"{self.gateway.key}#{self.index}"

    def label(self) -> str:
        """How messages call it."""
        return f"{self.server.port.name if self.server.port else ''} ({self.protocol} {self.number}) of Gateway {self.gateway.key}"

    def ref(self) -> ServerRef:
        """The Plan's form."""
        assert self.server.port is not None
        gateway = ObjectRef("Gateway", self.gateway.key, self.gateway.origin)
        return ServerRef(gateway, self.index, self.number, self.server.port.name, self.protocol, self.hosts.names)


class PlacedListener:
    """One (bind, port) and the servers that share it. ``secure_names``: the hosts of its TLS servers, with the server of each.

    ``firsts``: the first server of each family, in order.
    """

    __slots__ = ("bind", "firsts", "port", "secure_names", "servers")

    def __init__(self, bind: str, port: int) -> None:
        self.bind = bind
        self.port = port
        self.servers: list[PlacedServer] = []
        self.firsts: dict[str, PlacedServer] = {}
        self.secure_names: dict[str, PlacedServer] = {}

    @property
    def name(self) -> str:
        """Istio's listener name: ``0.0.0.0_80``."""
        return f"{self.bind or '0.0.0.0'}_{self.port}"

    @property
    def plain_table(self) -> str:
        """Istio's route name: ``http.80``, with a bind ``http.80.10.0.0.1`` (fields.md 1.1)."""
        return f"http.{self.port}.{self.bind}" if self.bind else f"http.{self.port}"

    def secure_name(self, server: PlacedServer) -> str:
        """Of the chain of a TLS server; for HTTPS Istio's route name: ``https.443.https.gw.ns``, with a bind at its end."""
        word = "https" if server.carries_requests else "tls"
        port, gateway = server.server.port, server.gateway
        assert port is not None
        name = f"{word}.{server.number}.{port.name}.{gateway.name}.{gateway.namespace}"
        return f"{name}.{self.bind}" if self.bind else name

    def tables(self) -> list[tuple[str, list[PlacedServer]]]:
        """Route tables and the servers that share each: plain HTTP ones one (C1), HTTPS ones never (C9)."""
        plain = [server for server in self.servers if server.family == HTTP]
        secure = [server for server in self.servers if server.family == TLS and server.carries_requests]
        shared = [(self.plain_table, plain)] if plain else []
        return shared + [(self.secure_name(server), [server]) for server in secure]


def family(protocol: str) -> str:
    """HTTP, TLS or TCP of an upper-case protocol; "" for one that Istio does not know at a gateway."""
    if protocol in HTTP_PROTOCOLS:
        return HTTP
    if protocol in TLS_PROTOCOLS:
        return TLS
    return TCP if protocol in TCP_PROTOCOLS else ""


def place_servers(
    gateways: Sequence[Resource], ports: dict[int, int], hosts: dict[str, list[ServerHosts]], report: Report
) -> list[PlacedListener]:
    """Listeners in order of (port, bind). ``hosts``: the prepared hosts of each Gateway's servers, by its key."""
    listeners: dict[tuple[str, int], PlacedListener] = {}
    names: dict[str, PlacedServer] = {}
    for gateway in gateways:
        port_names: set[str] = set()
        for index, server in enumerate(gateway.spec.servers):
            if f"spec.servers[{index}]" in gateway.broken:
                continue  # reported when it was loaded
            problem = _problem(server, port_names)
            if problem:
                report.error("FGW0101", gateway, f"spec.servers[{index}]{problem[0]}", f"server left out: {problem[1]}")
                continue
            number = server.port.number
            placed = PlacedServer(gateway, index, server, ports.get(number, number), hosts[gateway.key][index])
            port_names.add(server.port.name)
            bind = normalise_bind(server.bind)
            listener = listeners.setdefault((bind, placed.port), PlacedListener(bind, placed.port))
            _join(listener, placed, names, report)
    return sorted(listeners.values(), key=lambda listener: (listener.port, listener.bind))


def normalise_bind(bind: str) -> str:
    """The wildcard addresses are one and the same listener as no bind at all."""
    return "" if bind in ("0.0.0.0", "::", "[::]") else bind


def _problem(server: Server, port_names: set[str]) -> tuple[str, str] | None:
    """What makes a server unusable, as (field, words)."""
    if server.port is None:
        return "", "it has no port"
    if not family(server.port.protocol.upper()):
        return ".port.protocol", f'"{server.port.protocol}" is no protocol of a Gateway'
    if server.port.name in port_names:
        return ".port.name", f'the name "{server.port.name}" is taken by an earlier server of this Gateway'
    if not server.hosts:
        return "", "it has no hosts"
    if server.tls is None and family(server.port.protocol.upper()) == TLS:
        return "", f"{server.port.protocol} needs a tls block"
    return _bind_problem(server.bind, server.port.number)


def _bind_problem(bind: str, number: int) -> tuple[str, str] | None:
    if bind.startswith("unix://"):
        name = bind.removeprefix("unix://")
        if number:
            return ".port.number", "a Unix socket takes port number 0"
        if not name.startswith(("/", "@")) or name.endswith("/"):
            return ".bind", f'"{bind}" is no absolute path of a Unix socket'
        if len(name.encode()) > MAX_UNIX_PATH_BYTES:
            return ".bind", f"the path of a Unix socket has at most {MAX_UNIX_PATH_BYTES} bytes"
        return None
    if not 1 <= number <= 65535:
        return ".port.number", f"{number} is no port number"
    if bind and not is_ip(bind):
        return ".bind", f'"{bind}" is neither an IP address nor a unix:// path'
    return None


def _join(listener: PlacedListener, server: PlacedServer, names: dict[str, PlacedServer], report: Report) -> None:
    """Add a server to its listener unless an earlier one excludes it, and say so. ``names``: of the chains of all TLS servers."""
    lost = _excluded_by(listener, server, names)
    if lost is not None:
        where = f"server {lost.winner.label()} at {place(lost.winner.gateway, lost.winner.path)}"
        words = f"server left out: {lost.why.replace('{}', where)}"
        report.error(lost.code, server.gateway, server.path + lost.field, words)
        return
    if server.protocol == "UDP":
        report.info("FGW0103", server.gateway, server.path, "UDP opens no port at a gateway, as in Istio")
        return
    listener.servers.append(server)
    listener.firsts.setdefault(server.family, server)
    if server.family == TLS:
        listener.secure_names.update(dict.fromkeys(server.hosts.names, server))
        names[listener.secure_name(server)] = server


class _Lost(NamedTuple):
    """Why a server is left out: words with a place for the earlier server that excludes it."""

    winner: PlacedServer
    why: str
    code: str = "FGW0102"
    field: str = ""


def _excluded_by(listener: PlacedListener, server: PlacedServer, names: dict[str, PlacedServer]) -> _Lost | None:
    """HTTP servers merge (C1), TLS ones coexist by SNI and let plaintext HTTP in after them (C5); all else collides (C2-C4).

    A TLS server that names a host, namespace and all, which another one of the listener has named is left out as a whole (C6).
    """
    for other in listener.firsts.values():
        same = server.family == other.family and server.family != TCP
        if not same and not (other.family == TLS and server.family == HTTP):
            words = f"port {server.number} is taken by {{}}, and {other.protocol} and {server.protocol} do not share a port"
            return _Lost(other, words)
    if server.family != TLS:
        return None
    for index, host in enumerate(server.hosts.names):
        if host in listener.secure_names:
            words = f'"{host}" on port {server.number} is taken by {{}}'
            return _Lost(listener.secure_names[host], words, "IST0145", f".hosts[{index}]")
    namesake = names.get(listener.secure_name(server))
    return _Lost(namesake, "it would have the same name as {}") if namesake is not None else None
