"""Servers of a Gateway on Unix sockets: served like ports, by every worker, through changes and deaths."""

from __future__ import annotations

import json
import socket
import uuid
from http.client import HTTPConnection
from pathlib import Path

from .conftest import StartGateway
from .support.config import Document, gateway_of, http_server, route, service_entry, virtual_service
from .support.gateway import run_cli
from .support.origin import RecordingOrigin
from .support.poll import eventually


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket; a name that begins with NUL is abstract."""

    def __init__(self, path: str):
        super().__init__("a.test", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def ask(path: str, target: str = "/") -> tuple[int, str | None]:
    """(status, origin that answered) on a connection of its own."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("x-origin")
    finally:
        connection.close()


def server(bind: str, name: str = "unix") -> Document:
    return {"bind": bind, "port": {"number": 0, "name": name, "protocol": "HTTP"}, "hosts": ["*"]}


def documents(origin: RecordingOrigin, *servers: Document) -> list[Document]:
    rules = [route("webapp", 8080, match=[{"uri": {"prefix": "/"}}])]
    return [
        gateway_of("gw", [http_server(["*"]), *servers]),
        virtual_service("web", ["a.test"], rules),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]


def test_a_path_and_an_abstract_name_are_served(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    path, name = tmp_path / "s", f"fastgw-{uuid.uuid4()}"
    running = start_gateway(documents(origin, server(f"unix://{path}"), server(f"unix://@{name}", "abstract")))
    for address in (str(path), f"\0{name}"):
        assert [ask(address) for _ in range(20)] == [(200, "webapp")] * 20
    assert running.get("/", "a.test").status == 200
    listed = {entry["bind"]: entry["addresses"] for entry in running.admin("/listeners")}
    assert listed[f"unix://{path}"] == [f"unix://{path}"]
    assert listed[f"unix://@{name}"] == [f"unix://@{name}"]


def test_explain_asks_a_socket_by_its_address(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    path = tmp_path / "s"
    running = start_gateway(documents(origin, server(f"unix://{path}")))
    words = ("GET", "http://a.test/x", "--listener", f"unix://{path}", "-o", "json")
    on_files = run_cli("explain", str(running.config), *words)
    on_gateway = run_cli("explain", "--admin", f"127.0.0.1:{running.admin_port}", *words)
    assert (on_files.returncode, on_gateway.returncode) == (0, 0)
    answer = json.loads(on_gateway.stdout)
    assert answer == json.loads(on_files.stdout)
    assert answer["listener"]["server"].endswith("gw#1")
    assert answer["destinations"][0]["endpoints"] == [f"127.0.0.1:{origin.port}"]
    assert ask(str(path), "/x") == (200, "webapp")


def test_the_socket_comes_and_goes_with_its_server(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    path = tmp_path / "s"
    running = start_gateway(documents(origin))
    assert not path.exists()
    running.write("main.yaml", documents(origin, server(f"unix://{path}")))
    eventually(path.exists, "the socket is there")
    assert ask(str(path)) == (200, "webapp")
    running.write("main.yaml", documents(origin))
    eventually(lambda: not path.exists(), "the socket is gone")
    running.write("main.yaml", documents(origin, server(f"unix://{path}")))
    eventually(path.exists, "the socket is there again")
    eventually(lambda: ask(str(path)) == (200, "webapp"), "it is served")
    running.stop()
    assert not path.exists()


def test_a_killed_gateway_leaves_nothing_in_the_way(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = start_gateway(documents(origin, server(f"unix://{path}")))
    first.kill()
    assert path.exists()
    start_gateway(documents(origin, server(f"unix://{path}")))
    assert ask(str(path)) == (200, "webapp")


def test_a_path_in_use_is_reported_and_the_rest_served(
    start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        running = start_gateway(documents(origin, server(f"unix://{path}")))
        assert running.get("/", "a.test").status == 200
        assert f"unix://{path} is in use" in running.said()
