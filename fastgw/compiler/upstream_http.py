"""Which HTTP a cluster is spoken to, and how (statement Q16): its port's protocol, unless connectionPool.http says otherwise."""

from __future__ import annotations

import msgspec

from fastgw.compiler.registry import PortRecord, upstream_protocol
from fastgw.model.duration import parse_ms
from fastgw.model.kinds.destination_rule import Http2KeepAlive, HttpPool
from fastgw.model.plan import Cluster, UpstreamTls

MAX_MS = 0xFFFF_FFFF
_ALPN = {"http2": ("h2",), "client": ("h2", "http/1.1")}


def set_protocol(cluster: Cluster, port: PortRecord | None, http: HttpPool | None) -> None:
    """protocol, max_streams and the times of PING; what TLS offers by ALPN is set by ``with_alpn``."""
    cluster.protocol = _protocol(port, http)
    if http is None or cluster.protocol == "http1":
        return
    cluster.max_streams = max(http.max_concurrent_streams, 0)
    if http.http2_keep_alive is not None:
        cluster.ping_interval_ms, cluster.ping_timeout_ms = _ping(http.http2_keep_alive)


def with_alpn(tls: UpstreamTls, protocol: str) -> UpstreamTls:
    """HTTP/2 is spoken over TLS only after it was agreed on (RFC 9113 section 3.2), so it has to be offered."""
    wanted = _ALPN.get(protocol)
    return msgspec.structs.replace(tls, alpn=(*wanted, *tls.alpn)) if wanted else tls


def _protocol(port: PortRecord | None, http: HttpPool | None) -> str:
    if http is not None and http.use_client_protocol:
        return "client"
    if http is not None and http.h2_upgrade_policy == "UPGRADE":
        return "http2"
    return upstream_protocol(port)


def _ping(alive: Http2KeepAlive) -> tuple[int, int]:
    """(interval, time-out) in milliseconds; (0, 0) unless both are there."""
    interval, timeout = (parse_ms(text) if text else 0 for text in (alive.interval, alive.timeout))
    return (min(interval, MAX_MS), min(timeout, MAX_MS)) if interval > 0 and timeout > 0 else (0, 0)
