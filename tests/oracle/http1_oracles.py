"""What other HTTP/1 parsers say about a head: h11, llhttp (through httptools), picohttpparser (through pycohttpparser).

An answer is ``None`` (the head is not whole), ``False`` (refused) or the list of fields, names in lower case, values without
surrounding white space.
"""

from __future__ import annotations

from collections.abc import Callable

import h11
import httptools
from pycohttpparser.api import ParseError, Parser

Fields = list[tuple[bytes, bytes]]
Answer = Fields | None | bool

OWS = b" \t"


def _normal(fields: list[tuple[bytes, bytes]]) -> Fields:
    return [(bytes(name).lower(), bytes(value).strip(OWS)) for name, value in fields]


def h11_request(data: bytes) -> Answer:
    """h11, as a server."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return False
    return _normal(list(event.headers)) if isinstance(event, h11.Request) else None


def h11_response(data: bytes) -> Answer:
    """h11, as a client that has sent a GET."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return False
    return _normal(list(event.headers)) if isinstance(event, h11.Response | h11.InformationalResponse) else None


class _Collector:
    def __init__(self) -> None:
        self.fields: Fields = []
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.done:  # trailers come the same way
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.done = True


def _llhttp(parser_class: Callable[[_Collector], object], data: bytes) -> Answer:
    collector = _Collector()
    parser = parser_class(collector)
    try:
        parser.feed_data(data)  # type: ignore[attr-defined]
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        if not collector.done:
            return False
    return _normal(collector.fields) if collector.done else None


def llhttp_request(data: bytes) -> Answer:
    return _llhttp(httptools.HttpRequestParser, data)


def llhttp_response(data: bytes) -> Answer:
    return _llhttp(httptools.HttpResponseParser, data)


def _pico(parse: Callable[[memoryview], object], data: bytes) -> Answer:
    try:
        message = parse(memoryview(data))
    except ParseError:
        return False
    return None if message is None else _normal([(bytes(name), bytes(value)) for name, value in message.headers])  # type: ignore[attr-defined]


def pico_request(data: bytes) -> Answer:
    return _pico(Parser().parse_request, data)


def pico_response(data: bytes) -> Answer:
    return _pico(Parser().parse_response, data)


REQUEST = {"h11": h11_request, "llhttp": llhttp_request, "pico": pico_request}
RESPONSE = {"h11": h11_response, "llhttp": llhttp_response, "pico": pico_response}
