"""One health check of one endpoint: a connection, a question, the answer in a word.

HTTP is read by h11 and h2. Each check makes a connection of its own: that one can be made is part of what is to be found out.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

from fastgw.model.plan import HealthCheck
from fastgw.supervisor.health_tls import ClientContext, NotVerified

AGENT = "fastgw-health-check"
GRPC_PATH = "/grpc.health.v1.Health/Check"
SERVING = 1
_STATUS_WORDS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
READ_BYTES = 16_384
MAX_ANSWER_BYTES = 65_536
_TLS_CLOSE_S = 1.0


class Asked(NamedTuple):
    """``address``: an IP address or "unix:/path". ``host``: what is asked for. ``http2``: the endpoint speaks HTTP/2, without a
    choice; over TLS it may also be agreed on. ``tls`` None: plain text."""

    address: str
    port: int
    check: HealthCheck
    host: str
    http2: bool = False
    tls: ClientContext | None = None


class Failed(Exception):
    """The endpoint is not well; the text says why."""


class Stream:
    """A connection of which only so much is read: whatever an upstream sends, the supervisor has other things to do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._left = MAX_ANSWER_BYTES

    async def read(self) -> bytes:
        """Some bytes, none at the end. Raises Failed."""
        data = await self._reader.read(READ_BYTES)
        self._left -= len(data)
        if self._left < 0:
            raise Failed(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        return data


async def probe(asked: Asked) -> str:
    """ "" when the endpoint is well, else why it is not."""
    seconds = asked.check.timeout_ms / 1000
    try:
        async with asyncio.timeout(seconds):
            return await _probe(asked)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except (Failed, NotVerified) as error:
        return str(error)
    except ssl.SSLError as error:
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    except (h11.ProtocolError, h2.exceptions.ProtocolError) as error:
        return f"the answer is not HTTP: {error}"
    except OSError as error:
        return (error.strerror or str(error) or type(error).__name__).lower()


async def _probe(asked: Asked) -> str:
    stream = await _connect(asked)
    try:
        if asked.tls is not None:
            asked.tls.verify_names(stream.writer.get_extra_info("peercert"))
        return await _QUESTIONS[asked.check.kind](asked, stream)
    finally:
        stream.writer.close()


async def _connect(asked: Asked) -> Stream:
    tls: dict[str, Any] = {}
    if asked.tls is not None:
        tls = {"ssl": asked.tls.context, "server_hostname": asked.tls.server_name, "ssl_shutdown_timeout": _TLS_CLOSE_S}
    if asked.address.startswith("unix:"):
        return Stream(*await asyncio.open_unix_connection(asked.address.removeprefix("unix:"), **tls))
    return Stream(*await asyncio.open_connection(asked.address, asked.port, **tls))


async def _tcp(asked: Asked, stream: Stream) -> str:
    return ""


async def _http(asked: Asked, stream: Stream) -> str:
    tls = stream.writer.get_extra_info("ssl_object")
    http2 = asked.http2 or (tls is not None and tls.selected_alpn_protocol() == "h2")
    status = await (_http2_status(asked, stream) if http2 else _http1_status(asked, stream))
    if any(low <= status <= high for low, high in asked.check.expected):
        return ""
    wanted = ",".join(f"{low}-{high}" if low != high else f"{low}" for low, high in asked.check.expected)
    return f"status {status}, wanted {wanted}"


async def _http1_status(asked: Asked, stream: Stream) -> int:
    """Of the final answer; its body is not read."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=READ_BYTES)
    headers = [("Host", asked.host), ("User-Agent", AGENT), ("Accept", "*/*"), ("Connection", "close")]
    request = h11.Request(method="GET", target=asked.check.path, headers=headers)
    stream.writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.read())
        elif isinstance(event, h11.Response):
            return event.status_code
        elif isinstance(event, h11.ConnectionClosed):
            raise Failed("the connection was closed without an answer")


class Answer:
    """An HTTP/2 answer, as far as it has come."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.body = b""
        self.ended = False

    @property
    def status(self) -> int:
        text = self.headers.get(":status", "")
        return int(text) if text.isdigit() else 0

    def take(self, event: h2.events.Event, connection: h2.connection.H2Connection) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.headers = _texts(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = _texts(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            raise Failed(f"the stream was reset ({int(event.error_code)})")
        elif isinstance(event, h2.events.ConnectionTerminated):
            raise Failed(f"the connection was ended (GOAWAY {int(event.error_code or 0)})")


def _texts(headers: object) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}  # type: ignore[attr-defined]


async def _exchange(stream: Stream, headers: Mapping[str, str], body: bytes | None, enough: Callable[[Answer], bool]) -> Answer:
    """One HTTP/2 request, until ``enough`` of its answer has come."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    connection.send_headers(1, list(headers.items()), end_stream=body is None)
    if body is not None:
        connection.send_data(1, body, end_stream=True)
    answer = Answer()
    while not enough(answer):
        stream.writer.write(connection.data_to_send())
        data = await stream.read()
        if not data or answer.ended:
            raise Failed("the connection was closed without an answer")
        for event in connection.receive_data(data):
            answer.take(event, connection)
    return answer


def _request(asked: Asked, method: str, path: str) -> dict[str, str]:
    scheme = "https" if asked.tls is not None else "http"
    return {":method": method, ":scheme": scheme, ":path": path, ":authority": asked.host, "user-agent": AGENT}


async def _http2_status(asked: Asked, stream: Stream) -> int:
    answer = await _exchange(stream, _request(asked, "GET", asked.check.path), None, lambda answer: bool(answer.headers))
    return answer.status


async def _grpc(asked: Asked, stream: Stream) -> str:
    """grpc.health.v1: unary Check, whose answer has to say SERVING."""
    headers = _request(asked, "POST", GRPC_PATH) | {"content-type": "application/grpc", "te": "trailers"}
    message = health_request(asked.check.service)
    answer = await _exchange(stream, headers, len(message).to_bytes(5, "big") + message, lambda answer: answer.ended)
    if answer.status != 200:
        return f"status {answer.status}, wanted 200"
    code = (answer.trailers or answer.headers).get("grpc-status", "")
    if code != "0":
        text = (answer.trailers or answer.headers).get("grpc-message", "")
        return f"grpc-status {code or 'missing'}{f': {text}' if text else ''}"
    status = health_answer(answer.body)
    return "" if status == SERVING else f"{_STATUS_WORDS.get(status, status)}, wanted SERVING"


def health_request(service: str) -> bytes:
    """HealthCheckRequest: ``service`` is field 1."""
    text = service.encode()
    return b"\x0a" + _varint(len(text)) + text if text else b""


def health_answer(body: bytes) -> int:
    """``status``, field 1 of HealthCheckResponse, out of one uncompressed message. Raises Failed."""
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise Failed("the answer is not one uncompressed gRPC message")
    message, at, status = body[5:], 0, 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        if tag & 7 == 0:
            value, at = _read_varint(message, at)
            status = value if tag >> 3 == 1 else status
        elif tag & 7 == 2:
            size, at = _read_varint(message, at)
            at += size
        else:
            raise Failed("the answer is no HealthCheckResponse")
    return status


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        number |= (message[at] & 0x7F) << shift
        at += 1
        if not message[at - 1] & 0x80:
            return number, at
    raise Failed("the answer is no HealthCheckResponse")


_QUESTIONS: dict[str, Callable[[Asked, Stream], Awaitable[str]]] = {"tcp": _tcp, "http": _http, "grpc": _grpc}
