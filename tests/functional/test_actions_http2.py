"""Actions and policies of routes for clients that speak HTTP/2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .support.config import Document, destination, gateway, service_entry, virtual_service
from .support.curl import Answer, curl
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "actions.test"
LARGE = "0123456789abcdef" * 40_000
WEBAPP = [destination("webapp", 8080)]


def documents(origin: RecordingOrigin, mirror: RecordingOrigin) -> list[Document]:
    def rule(path: str, **rest: object) -> Document:
        return {"match": [{"uri": {"prefix": path}}], **rest}

    abort = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    rules = [
        rule("/moved", redirect={"prefixRewrite": "/new", "scheme": "https"}),
        rule("/large", directResponse={"status": 200, "body": {"string": LARGE}}),
        rule("/abort", fault=abort, route=WEBAPP),
        rule("/cors", corsPolicy={"allowOrigins": [{"exact": "*"}]}, route=WEBAPP),
        rule("/mirror", mirror={"host": "mirror", "port": {"number": 8080}}, rewrite={"uri": "/copy"}, route=WEBAPP),
    ]
    service = virtual_service("actions", [HOST], rules)
    pages = '{"503": {"text/html": "<p>Back soon"}, "404": {"text/html": "<p>Lost"}}'
    service["metadata"]["annotations"] = {"gateway.fastgw.io/error-pages": pages}
    entries = [service_entry("webapp", [("127.0.0.1", origin.port)]), service_entry("mirror", [("127.0.0.1", mirror.port)])]
    return [gateway(hosts=[HOST]), service, *entries]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, RecordingOrigin, RecordingOrigin]]:
    with (
        RecordingOrigin("webapp") as origin,
        RecordingOrigin("mirror") as mirror,
        Gateway(tmp_path_factory.mktemp("h2"), documents(origin, mirror)) as running,
    ):
        yield running, origin, mirror
        running.assert_no_bugs()


def ask(gateway: Gateway, target: str, *options: str) -> Answer:
    return curl("--http2-prior-knowledge", "--connect-to", f"::127.0.0.1:{gateway.port()}", *options, f"http://{HOST}{target}")


Served = tuple[Gateway, RecordingOrigin, RecordingOrigin]


def test_a_redirect(served: Served) -> None:
    answer = ask(served[0], "/moved/x?q")
    assert (answer.status, answer.headers["location"]) == (301, f"https://{HOST}/new/x?q")


def test_a_large_direct_response(served: Served) -> None:
    answer = ask(served[0], "/large")
    assert (answer.status, answer.headers["content-type"], answer.body == LARGE) == (200, "text/plain", True)


def test_an_abort_with_an_error_page(served: Served) -> None:
    answer = ask(served[0], "/abort")
    assert (answer.status, answer.headers["content-type"], answer.body) == (503, "text/html", "<p>Back soon")


@pytest.mark.parametrize("version", ["--http2-prior-knowledge", "--http1.1"])
def test_the_page_of_a_host_where_no_rule_matches(served: Served, version: str) -> None:
    answer = ask(served[0], "/nowhere", version)
    assert (answer.status, answer.headers["content-type"], answer.body) == (404, "text/html", "<p>Lost")


def test_cors(served: Served) -> None:
    origin = ("-H", "Origin: http://a.test")
    for options in (("-X", "OPTIONS", "-H", "Access-Control-Request-Method: GET", *origin), origin):
        answer = ask(served[0], "/cors", *options)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "http://a.test")


def test_a_mirror_gets_the_body_as_well(served: Served) -> None:
    mark = served[2].mark()
    assert ask(served[0], "/mirror", "-d", "abc").status == 200
    eventually(lambda: len(served[2].since(mark)) == 1, "the copy")
    (seen,) = served[2].since(mark)
    assert (seen.message.target, seen.message.body) == ("/copy", b"abc")
