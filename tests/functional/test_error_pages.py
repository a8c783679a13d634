"""ErrorPages from configuration to answers: files and texts, by status, target and what is accepted, over both HTTP versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from .conftest import StartGateway
from .support.config import Document, destination, gateway, gateway_of, http_server, service_entry, virtual_service
from .support.curl import Answer, curl
from .support.gateway import Gateway, run_cli
from .support.poll import eventually

SHOP, PLAIN, OTHER = "shop.pages.test", "plain.pages.test", "other.test"
DOWN = [destination("down", 8080)]
VERSIONS = ["--http1.1", "--http2-prior-knowledge"]
BIG = "<p>" + "x" * 65_533


def pages(name: str, *targets: Document, **by_status: list[Document]) -> Document:
    """``_503``: for 503."""
    spec = {"targetRefs": list(targets), "pages": {status.lstrip("_"): listed for status, listed in by_status.items()}}
    return {"apiVersion": "gateway.fastgw.io/v1", "kind": "ErrorPages", "metadata": {"name": name}, "spec": spec}


def html(body: str = "", **rest: str) -> Document:
    return {"contentType": "text/html; charset=utf-8", **({"body": body} if body else {}), **rest}


def json_page(body: str) -> Document:
    return {"contentType": "application/json", "body": body}


def at(path: str, **rest: Any) -> Document:
    return {"name": path.strip("/"), "match": [{"uri": {"prefix": path}}], **(rest or {"route": DOWN})}


def service(name: str = "shop", **rest: Any) -> Document:
    return {"kind": "VirtualService", "name": name, **rest}


def edge(**rest: Any) -> Document:
    return {"kind": "Gateway", "name": "edge", **rest}


def documents() -> list[Document]:
    abort = {"abort": {"httpStatus": 404, "percentage": {"value": 100}}}
    rules = [
        at("/route"),
        at("/direct", directResponse={"status": 503, "body": {"string": "word by word"}}),
        at("/abort", route=DOWN, fault=abort),
        at("/guarded", redirect={"uri": "/elsewhere"}),
        at("/down"),
    ]
    shop = virtual_service("shop", [SHOP, "www." + SHOP], rules, gateways=["edge"])
    shop["metadata"]["annotations"] = {"gateway.fastgw.io/error-pages": '{"404": {"text/plain": "annotated"}}'}
    guard = {"targetRefs": [service(routes=["guarded"])], "sources": {"deny": ["0.0.0.0/0"]}}
    return [
        gateway_of("edge", [http_server(["*.pages.test"])]),
        gateway("bare", hosts=["*.test"], port=81),
        shop,
        virtual_service("plain", [PLAIN], [at("/down")], gateways=["edge", "bare"]),
        service_entry("down", []),
        {"apiVersion": "gateway.fastgw.io/v1", "kind": "EdgePolicy", "metadata": {"name": "guard"}, "spec": guard},
        pages("edge", edge(), _404=[html(file="pages/404.html"), json_page('{"error":404}')], _5xx=[html("edge 5xx")]),
        pages("edge-host", edge(hosts=["www." + SHOP]), _503=[html("edge for www")]),
        pages("whole", service(), _503=[html("whole 503"), json_page("{}")], _403=[html("keep out")]),
        pages("host", service(hosts=["www." + SHOP]), _403=[html("keep out of www")]),
        pages("route", service(routes=["route"]), _5xx=[html(file="pages/big.html")]),
    ]


class World:
    def __init__(self, running: Gateway) -> None:
        self.gateway = running

    def ask(self, version: str, target: str, host: str = SHOP, *words: str, port: int = 80) -> Answer:
        there = f"{host}:{self.gateway.port(port)}"
        return curl(version, "--resolve", f"{there}:127.0.0.1", *words, f"http://{there}{target}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = Gateway(tmp_path_factory.mktemp("error-pages"), documents(), ports=[80, 81])
    (running.config / "pages").mkdir()
    (running.config / "pages/404.html").write_text("<p>Nothing here")
    (running.config / "pages/big.html").write_text(BIG)
    with running:
        yield World(running)
        running.assert_no_leaks()
        running.assert_no_bugs()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("host", "target", "status", "body"),
    [
        (SHOP, "/route", 503, BIG),
        (SHOP, "/down", 503, "whole 503"),
        ("www." + SHOP, "/down", 503, "whole 503"),
        (SHOP, "/direct", 503, "word by word"),
        (SHOP, "/abort", 404, "annotated"),
        (SHOP, "/nowhere", 404, "annotated"),
        (SHOP, "/guarded", 403, "keep out"),
        ("www." + SHOP, "/guarded", 403, "keep out of www"),
        (PLAIN, "/down", 503, "edge 5xx"),
        (PLAIN, "/nowhere", 404, "<p>Nothing here"),
        ("unknown.pages.test", "/", 404, "<p>Nothing here"),
        (OTHER, "/", 404, "<p>Nothing here"),
    ],
)
def test_the_most_specific_page_counts(world: World, version: str, host: str, target: str, status: int, body: str) -> None:
    answer = world.ask(version, target, host)
    assert (answer.status, answer.body) == (status, body)
    assert int(answer.headers["content-length"]) == len(body)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("host", "target", "status", "body"), [(PLAIN, "/down", 503, "no healthy upstream"), (OTHER, "/", 404, "")]
)
def test_a_gateway_without_pages(world: World, version: str, host: str, target: str, status: int, body: str) -> None:
    """The same VirtualService has the pages of one of its Gateways there alone."""
    answer = world.ask(version, target, host, port=81)
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ((), "<p>Nothing here"),
        (("application/json",), '{"error":404}'),
        (("text/html;q=0.4, application/json;q=0.5",), '{"error":404}'),
        (("text/html;q=0.5, application/json;q=0.4",), "<p>Nothing here"),
        (("text/*;q=0.1, */*;q=0.2",), '{"error":404}'),
        (("text/html;q=0",), "<p>Nothing here"),
        (("text/html;q=0, application/*;q=0.001",), '{"error":404}'),
        (("image/png",), "<p>Nothing here"),
        (("image/png", "application/json"), '{"error":404}'),
    ],
)
def test_what_the_client_accepts(world: World, version: str, accept: tuple[str, ...], body: str) -> None:
    words = [word for value in accept or ("",) for word in ("-H", f"accept: {value}" if value else "accept:")]
    answer = world.ask(version, "/nowhere", PLAIN, *words)
    assert (answer.status, answer.body) == (404, body)
    assert answer.headers["content-type"] == ("application/json" if body.startswith("{") else "text/html; charset=utf-8")
    assert answer.headers["vary"] == "accept"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_head_of_a_page(world: World, version: str) -> None:
    answer = world.ask(version, "/nowhere", PLAIN, "--head")
    assert (answer.status, answer.body) == (404, "")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-length"] == str(len("<p>Nothing here"))
    alone = world.ask(version, "/down", PLAIN, "--head")
    assert (alone.status, alone.headers["content-length"], alone.headers.get("vary")) == (503, str(len("edge 5xx")), None)


def test_a_message_that_is_no_request_has_no_page(world: World) -> None:
    answer = world.ask("--http1.1", "/%zz", PLAIN)
    assert (answer.status, answer.body) == (400, "")


def test_calls_of_grpc_are_not_touched(world: World) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{world.gateway.port()}", options=[("grpc.default_authority", SHOP)])
    with channel, pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/down/Call")(b"", timeout=30)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.UNAVAILABLE, "no healthy upstream")


def test_explain_and_check(world: World) -> None:
    config = str(world.gateway.config)
    done = run_cli("explain", config, "GET", f"http://{SHOP}/route")
    assert "error page 5xx: text/html; charset=utf-8 of default/route, pages/big.html, 65536 bytes, sha256 " in done.stdout
    assert "error page 404: text/plain, 9 bytes" in done.stdout and "whole" in done.stdout
    done = run_cli("explain", config, "GET", "http://unknown.pages.test/")
    assert "404 Not Found, with an error page" in done.stdout and "of default/edge, pages/404.html" in done.stdout
    done = run_cli("proxy-config", "routes", config, "-o", "json")
    assert '"gatewayErrorPages": [\n' in done.stdout and "pages/404.html" in done.stdout
    assert run_cli("check", config).returncode == 0


def ask_page(running: Gateway) -> str:
    return running.get("/", "unknown.test").body.decode()


def one(file: str) -> list[Document]:
    return [gateway("edge", hosts=["a.test"]), pages("edge", edge(), _404=[html(file=file)])]


def test_a_changed_file_is_served_and_an_old_generation_keeps_its_own(start_gateway: StartGateway, tmp_path: Path) -> None:
    folder = tmp_path / "gateway-0/config"
    folder.mkdir(parents=True)
    (folder / "404.html").write_text("one")
    running = start_gateway(one("404.html"))
    assert ask_page(running) == "one"
    for text in ("two", "three"):  # in place, and exchanged
        new = tmp_path / "new.html"
        new.write_text(text)
        if text == "three":
            new.rename(folder / "404.html")
        else:
            (folder / "404.html").write_text(text)
        eventually(lambda text=text: ask_page(running) == text, f"{text} is served")  # type: ignore[misc]
    admin = ("--admin", f"127.0.0.1:{running.admin_port}")
    eventually(lambda: '"generation": 2' in run_cli("config", "history", "-o", "json", *admin).stdout, "it is kept")
    done = run_cli("config", "rollback", "1", *admin)
    assert done.returncode == 0, done.stderr
    assert ask_page(running) == "one"
    (folder / "404.html").write_text("four")
    eventually(lambda: ask_page(running) == "four", "the sources are served again")


def test_a_file_that_goes_and_comes(start_gateway: StartGateway, tmp_path: Path) -> None:
    """What is wrong with it is said with its place; the gateway's own words come back meanwhile."""
    folder = tmp_path / "gateway-0/config"
    folder.mkdir(parents=True)
    running = start_gateway(one("pages/404.html"))
    assert ask_page(running) == ""
    found = [line for line in running.stderr.read_text().splitlines() if "FGW0018" in line]
    assert len(found) == 1 and "main.yaml:" in found[0] and "is not there" in found[0], found
    (folder / "pages").mkdir()
    (folder / "pages/404.html").write_text("here")
    eventually(lambda: ask_page(running) == "here", "the page is served")
    (folder / "pages/404.html").write_text("x" * 65_537)
    eventually(lambda: ask_page(running) == "", "a page that is too large is not served")
    eventually(lambda: "has 65537 bytes, more than 65536" in running.stderr.read_text(), "it is said why")
    (folder / "pages/404.html").write_text("again")
    eventually(lambda: ask_page(running) == "again", "the page is served again")
