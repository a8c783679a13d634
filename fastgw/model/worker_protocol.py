"""What the supervisor and a worker say to each other, over one SOCK_SEQPACKET pair: one JSON message a packet, descriptors by
SCM_RIGHTS.

The worker is started as ``python -m fastgw.dataplane.worker --control FD``. The first message is Start. A worker whose control
socket closes drains and exits. Nothing here is on the path of a request.
"""

from __future__ import annotations

import msgspec


class ListenerSpec(msgspec.Struct):
    """A listening socket handed over. ``name`` is the Plan's listener name; ``address`` is what it is bound to, for the log."""

    name: str
    address: str = ""
    port: int = 0


class Limits(msgspec.Struct):
    """Limits and time-outs of a worker. Bytes and milliseconds as the names say; 0 switches a time-out off.

    ``trusted_proxies``: a set of networks (fastgw.model.cidr), empty for none.
    """

    head_bytes: int = 61_440
    target_bytes: int = 16_384
    fields: int = 100
    leniency: int = 0
    http10: bool = False
    underscores: str = "drop"
    path_normalization: int = 1
    head_timeout_ms: int = 10_000
    idle_timeout_ms: int = 75_000
    body_timeout_ms: int = 60_000
    body_min_bytes_per_s: int = 240
    write_timeout_ms: int = 60_000
    request_timeout_ms: int = 0
    upstream_idle_timeout_ms: int = 60_000
    upstream_response_timeout_ms: int = 0
    stream_idle_timeout_ms: int = 0
    max_connections: int = 10_000
    max_connections_per_source: int = 0
    max_requests_per_connection: int = 0
    max_connection_age_ms: int = 0
    http2_streams: int = 100
    http2_idle_timeout_ms: int = 300_000
    http2_websockets: bool = False
    trusted_hops: int = 0
    trusted_proxies: bytes = b""
    server_name: str = "fastgw"
    connect_attempts: int = 3
    retry_budget_percent: int = 20
    retry_any_method: bool = False
    hello_timeout_ms: int = 5_000
    handshake_timeout_ms: int = 15_000
    misdirected_status: int = 421
    memory_bytes: int = 0
    """Private memory of one worker, 0: no bound."""
    shed_target_ms: int = 100
    spare_paths: list[str] = []


class Start(msgspec.Struct, tag="start"):
    """fds: [state memfd, access log (when access_log)]. ``access_log_format``: the program, see fastgw.model.log_program."""

    slot: int
    state_bytes: int
    limits: Limits
    access_log: bool = False
    access_log_format: list[tuple[str, str]] = []
    build_checked: bool = False


class Listen(msgspec.Struct, tag="listen"):
    """The full set of listeners from now on; fds in the same order. Sockets that are no longer named stop being accepted on."""

    listeners: list[ListenerSpec]


class Image(msgspec.Struct, tag="image"):
    """fds: [sealed image, sealed credentials block (when credentials_bytes)]. Answered with Ack, or Nack and the old ones stay.

    ``credentials_bytes`` 0: there are no credentials.
    """

    generation: int
    total_bytes: int
    credentials_bytes: int = 0


class TicketKeys(msgspec.Struct, tag="ticket_keys"):
    """The keys of TLS session tickets, 80 bytes each (16 of name, 32 for HMAC-SHA-256, 32 for AES-256): tickets are made with the
    first and accepted under all. Empty: no tickets are given."""

    keys: list[bytes]


class ReopenLog(msgspec.Struct, tag="reopen_log"):
    """fds: [access log]."""


class Drain(msgspec.Struct, tag="drain"):
    """Answer what is in flight and what still comes, with ``connection: close``; exit when nothing is left or after the time.

    ``patience_s``: idle connections stay open so long: a client that is about to send its next request gets its answer, and does
    not meet a connection that is being closed. ``stay``: when nothing is left say so, and accept until the time is over or the next
    Drain: nobody else serves our sockets. ``kept``: but somebody will, and what waits in them is not lost; then what is left is
    what there was when the drain began.
    """

    seconds: float
    patience_s: float = 0.0
    stay: bool = False
    kept: bool = False


class Leaks(msgspec.Struct, tag="leaks"):
    """Ask for the counts of living objects; answered with LeakCounts."""


class Ready(msgspec.Struct, tag="ready"):
    """The worker has mapped the state and waits."""


class Ack(msgspec.Struct, tag="ack"):
    generation: int


class Nack(msgspec.Struct, tag="nack"):
    generation: int
    message: str


class Listening(msgspec.Struct, tag="listening"):
    """Answer to Listen."""

    listeners: list[str]


class Drained(msgspec.Struct, tag="drained"):
    """Nothing is left to serve, or the time is over: the worker exits now, or waits when it is to stay. ``cut``: connections that
    had not finished in time."""

    cut: int = 0


class Bug(msgspec.Struct, tag="bug"):
    """An exception was caught in the loop's dispatch; one connection was closed for it."""

    traceback: str


class LeakCounts(msgspec.Struct, tag="leak_counts"):
    counts: dict[str, int]


ToWorker = Start | Listen | Image | TicketKeys | ReopenLog | Drain | Leaks
FromWorker = Ready | Ack | Nack | Listening | Drained | Bug | LeakCounts

encode = msgspec.json.Encoder().encode
decode_to_worker = msgspec.json.Decoder(ToWorker).decode
decode_from_worker = msgspec.json.Decoder(FromWorker).decode
MAX_MESSAGE_BYTES = 1 << 18
