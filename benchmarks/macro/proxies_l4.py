"""The proxies as relays: plain TCP and TLS passthrough by SNI, each in front of an origin of long and one of short messages."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import proxies
import rounds

BULK_BYTES = 1_000_000
SMALL_BYTES = 1024
TCP_BULK, TCP_SMALL, TLS_BULK, TLS_SMALL = 9001, 9002, 9443, 9444
"""The Gateway's port numbers; templates know them as ``@TCP_BULK@`` and so on."""


def client_hello(name: str) -> bytes:
    """The first flight of a TLS client that asks for ``name``."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a peer")


def relays(port: int, opening: bytes) -> bool:
    """True when a short message that begins with ``opening`` is answered with one as long."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
            sock.sendall(opening.ljust(SMALL_BYTES, b"x"))
            got = 0
            while piece := sock.recv(65536):
                got += len(piece)
            return got == SMALL_BYTES
    except OSError:
        return False


@dataclass
class Relays:
    """Starts proxies in front of one origin. ``ports`` of a started proxy: what it opened for each of the Gateway's numbers."""

    hello: bytes
    origin_bulk: int = field(default_factory=proxies.free_port)
    origin_small: int = field(default_factory=proxies.free_port)
    ports: dict[str, dict[int, int]] = field(default_factory=dict)

    def start_origin(self, bench: proxies.Bench) -> proxies.Server:
        program = proxies.compile_c("stream_origin", bench.directory)
        command = [program, f"{self.origin_bulk}:{BULK_BYTES}", f"{self.origin_small}:{SMALL_BYTES}:close"]
        return bench.start("origin", self.origin_small, command, bench.load_core, probe=lambda port: relays(port, b""))

    def starters(self) -> dict[str, rounds.Starter]:
        return {
            "fastgw": self.fastgw,
            "nginx": self.nginx,
            "haproxy": self.haproxy,
            "haproxy-splice": self.haproxy_splice,
            "envoy": self.envoy,
        }

    def _open(self, name: str) -> dict[int, int]:
        self.ports[name] = {number: proxies.free_port() for number in (TCP_BULK, TCP_SMALL, TLS_BULK, TLS_SMALL)}
        return self.ports[name]

    def _template(self, template: str, bench: proxies.Bench, name: str, **more: object) -> str:
        ports = self._open(name)
        values = {
            "TCP_BULK": ports[TCP_BULK],
            "TCP_SMALL": ports[TCP_SMALL],
            "TLS_BULK": ports[TLS_BULK],
            "TLS_SMALL": ports[TLS_SMALL],
            "ORIGIN_BULK": self.origin_bulk,
            "ORIGIN_SMALL": self.origin_small,
            **more,
        }
        made = Path(proxies.fill_template(template, bench.directory, values))
        return str(made.rename(made.with_name(f"{name}-{made.name}")))

    def _serves(self, name: str) -> proxies.Probe:
        ports = self.ports[name]
        return lambda _: relays(ports[TCP_SMALL], b"") and relays(ports[TLS_SMALL], self.hello)

    def nginx(self, bench: proxies.Bench) -> proxies.Server:
        program = proxies.find_program("nginx")
        if not Path("/usr/lib/nginx/modules/ngx_stream_module.so").exists():
            raise proxies.NotInstalled("libnginx-mod-stream")
        config = self._template("nginx-l4.conf.in", bench, "nginx")
        return self._start("nginx", bench, [program, "-c", config], [program, "-v"])

    def haproxy(self, bench: proxies.Bench) -> proxies.Server:
        return self._haproxy("haproxy", bench, "")

    def haproxy_splice(self, bench: proxies.Bench) -> proxies.Server:
        return self._haproxy("haproxy-splice", bench, "option splice-auto")

    def _haproxy(self, name: str, bench: proxies.Bench, splice: str) -> proxies.Server:
        program = proxies.find_program("haproxy")
        config = self._template("haproxy-l4.cfg.in", bench, name, SPLICE=splice)
        return self._start(name, bench, [program, "-f", config], [program, "-v"])

    def envoy(self, bench: proxies.Bench) -> proxies.Server:
        program = proxies.find_program("envoy")
        config = self._template("envoy-l4.yaml.in", bench, "envoy")
        command = [program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        return self._start("envoy", bench, command, [program, "--version"])

    def _start(self, name: str, bench: proxies.Bench, command: list[str], version: list[str]) -> proxies.Server:
        first = self.ports[name][TCP_BULK]
        return bench.start(name, first, command, bench.proxy_core, version, probe=self._serves(name))

    def fastgw(self, bench: proxies.Bench) -> proxies.Server:
        ports = self._open("fastgw")
        documents = relay_documents(self.origin_bulk, self.origin_small)
        return proxies.run_fastgw(bench, documents, ports, [], self._serves("fastgw"))


def relay_documents(origin_bulk: int, origin_small: int) -> list[dict[str, object]]:
    """A Gateway with the four ports, and one VirtualService for each pair of them."""
    to_bulk = [{"destination": {"host": "bulk.bench", "port": {"number": 9000}}}]
    to_small = [{"destination": {"host": "small.bench", "port": {"number": 9000}}}]
    servers = [
        *(_server(number, f"tcp-{number}", "TCP", ["*"]) for number in (TCP_BULK, TCP_SMALL)),
        *(_server(number, f"tls-{number}", "TLS", [proxies.HOST]) for number in (TLS_BULK, TLS_SMALL)),
    ]
    for server in servers[2:]:
        server["tls"] = {"mode": "PASSTHROUGH"}
    tcp = [
        {"match": [{"port": TCP_BULK}], "route": to_bulk},
        {"match": [{"port": TCP_SMALL}], "route": to_small},
    ]
    tls = [
        {"match": [{"port": TLS_BULK, "sniHosts": [proxies.HOST]}], "route": to_bulk},
        {"match": [{"port": TLS_SMALL, "sniHosts": [proxies.HOST]}], "route": to_small},
    ]
    return [
        _resource("Gateway", "relays", {"selector": {"istio": "ingressgateway"}, "servers": servers}),
        _resource("VirtualService", "tcp", {"hosts": ["*"], "gateways": ["relays"], "tcp": tcp}),
        _resource("VirtualService", "tls", {"hosts": [proxies.HOST], "gateways": ["relays"], "tls": tls}),
        _origin("bulk.bench", origin_bulk),
        _origin("small.bench", origin_small),
    ]


def _server(number: int, name: str, protocol: str, hosts: list[str]) -> dict[str, object]:
    return {"port": {"number": number, "name": name, "protocol": protocol}, "hosts": hosts}


def _origin(host: str, port: int) -> dict[str, object]:
    spec = {
        "hosts": [host],
        "ports": [{"number": 9000, "name": "tcp", "protocol": "TCP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "127.0.0.1", "ports": {"tcp": port}}],
    }
    return _resource("ServiceEntry", host.replace(".", "-"), spec)


def _resource(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
