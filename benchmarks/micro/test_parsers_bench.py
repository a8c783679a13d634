"""One browser request through our parser and through others, as Python calls them: ``pytest benchmarks/micro --benchmark-enable``.

Every parser pays for its binding: cffi (ours, pycohttpparser), an extension module (gunicorn_h1c, httptools). Ours checks and
classifies; the others only split. For the C code alone see bench_http1.c.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools
import pytest
from gunicorn_h1c import parse_request_fast
from pycohttpparser.api import Parser

from fastgw.native._native import ffi, lib

REQUEST = (
    b"GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg HTTP/1.1\r\n"
    b"Host: www.kittyhell.com\r\n"
    b"User-Agent: Mozilla/5.0 (Macintosh; U; Intel Mac OS X 10.6; ja-JP-mac; rv:1.9.2.3) Gecko/20100401 Firefox/3.6.3 "
    b"Pathtraq/0.9\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: ja,en-us;q=0.7,en;q=0.3\r\n"
    b"Accept-Encoding: gzip,deflate\r\n"
    b"Accept-Charset: Shift_JIS,utf-8;q=0.7,*;q=0.7\r\n"
    b"Keep-Alive: 115\r\n"
    b"Connection: keep-alive\r\n"
    b"Cookie: wp_ozh_wsa_visits=2; wp_ozh_wsa_visit_lasttime=xxxxxxxxxx; "
    b"__utma=xxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.x; "
    b"__utmz=xxxxxxxxx.xxxxxxxxxx.x.x.utmccn=(referral)|utmcsr=reader.livedoor.com|utmcct=/reader/|utmcmd=referral\r\n"
    b"\r\n"
)


def fastgw_parser(scalar: bool) -> Callable[[], int]:
    """Our parser on memory that stays, as in the data plane."""
    data = ffi.from_buffer(REQUEST)
    limits, out, fields = ffi.new("fgw_limits *"), ffi.new("fgw_request *"), ffi.new("fgw_field[101]")
    parse = lib.fgw_parse_request_scalar if scalar else lib.fgw_parse_request
    return lambda: parse(data, len(REQUEST), 0, limits, out, fields, 101)


def httptools_parser() -> Callable[[], object]:
    class Nothing:
        """No callbacks: only the parse is paid for."""

    def parse() -> object:
        parser = httptools.HttpRequestParser(Nothing())
        parser.feed_data(REQUEST)
        return parser

    return parse


def pycohttpparser_parser() -> Callable[[], object]:
    parser, view = Parser(), memoryview(REQUEST)
    return lambda: parser.parse_request(view)


PARSERS: dict[str, Callable[[], object]] = {
    f"fastgw-{ffi.string(lib.fgw_simd_name()).decode()}": fastgw_parser(False),
    "fastgw-twin": fastgw_parser(True),
    "pycohttpparser": pycohttpparser_parser(),
    "gunicorn_h1c": lambda: parse_request_fast(REQUEST),
    "httptools": httptools_parser(),
}


@pytest.mark.parametrize("name", PARSERS)
def test_browser_request(benchmark: Callable[[Callable[[], object]], object], name: str) -> None:
    assert benchmark(PARSERS[name])
