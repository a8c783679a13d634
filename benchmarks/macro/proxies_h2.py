"""The proxies as HTTPS gateways with HTTP/2: the HTTP/1.1 origin of ``make bench`` behind them, and a gRPC service over HTTP/2."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any, ClassVar

import proxies
import proxies_tls

BULK_BYTES = 16384
STALLED_BYTES = 1_000_000
BULK_PATH, STALLED_PATH, SILENT_PATH = "/api/bulk/42", "/api/stalled/42", "/api/silent/42"
ORIGIN_BODIES = [f"/api/bulk/={BULK_BYTES}", f"/api/stalled/={STALLED_BYTES}", "/api/silent/=-1"]
GRPC_PATH = "/bench.Greeter/SayHello"
GRPC_BYTES = 105
"""Of a request's and of an answer's message, with the five bytes before it."""


def listens(port: int) -> bool:
    """True when something accepts connections."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@dataclass
class Edge(proxies_tls.Edge):
    """Starts proxies in front of both origins."""

    kind: ClassVar[str] = "h2"
    grpc_port: int = field(default_factory=proxies.free_port)

    def start_origins(self, bench: proxies.Bench) -> None:
        proxies.start_origin(bench, *ORIGIN_BODIES)
        program = proxies.compile_c("grpc_origin", bench.directory)
        bench.start("grpc_origin", self.grpc_port, [program, str(self.grpc_port)], bench.load_core, probe=listens)

    def values(self, bench: proxies.Bench, port: int) -> dict[str, object]:
        return {**super().values(bench, port), "GRPC": self.grpc_port}

    def documents(self, bench: proxies.Bench) -> list[dict[str, Any]]:
        """Those of HTTPS; the host that is asked has one rule more, for the gRPC service."""
        documents = super().documents(bench)
        service = proxies.service_entry("greeter", "greeter.bench", "GRPC", self.grpc_port)
        rule = {
            "match": [{"uri": {"prefix": "/bench.Greeter/"}}],
            "route": [{"destination": {"host": "greeter.bench", "port": {"number": 8080}}}],
        }
        asked = next(document for document in documents if document["spec"].get("hosts") == [proxies.HOST])
        asked["spec"]["http"].insert(0, rule)
        return [*documents, service]
