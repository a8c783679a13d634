"""TCP servers of a Gateway: databases with their own drivers, ends and faults of connections, log, metrics, reload and drain."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
import redis

from .conftest import StartGateway
from .support.config import Document, gateway_of, virtual_service
from .support.databases import Mysql, Redis
from .support.gateway import Gateway
from .support.layer4 import (
    Handed,
    connect,
    drink,
    in_background,
    pour,
    read_exactly,
    read_to_end,
    reset,
    tcp_entry,
    tcp_route,
    tcp_server,
    tcp_service,
    visit,
)
from .support.log import whole_lines
from .support.metrics import Metrics
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.ports import free_port

DATA = Path(__file__).with_name("data")
PORT = 9000


@pytest.fixture
def handed() -> Iterator[Handed]:
    with Handed() as made:
        yield made


def relaying(start: StartGateway, *targets: int, **options: object) -> Gateway:
    """A gateway whose port 9000 is relayed to these ports."""
    documents = [
        gateway_of("gw", [tcp_server(PORT)]),
        tcp_service("db", tcp=[tcp_route("db.test", port=9000, match=[{"port": PORT}])]),
        tcp_entry("db.test", *targets),
    ]
    return start(documents, ports=[PORT], **options)


# ---- databases


def test_mysql_behind_the_gateway_of_two_teams(start_gateway: StartGateway) -> None:
    """The example's Gateway as it is; its MySQL port goes to two servers by weight."""
    with Mysql("one") as one, Mysql("two") as two, Redis() as other:
        routes = [
            tcp_service(
                "mysql",
                tcp=[tcp_route("one.test", "two.test", port=9000, weights=[80, 20], match=[{"port": 3306}])],
                gateways=["istio-system/l4"],
            ),
            tcp_service("mongo", tcp=[tcp_route("other.test", port=9000, match=[{"port": 27017}])], gateways=["istio-system/l4"]),
            *(tcp_entry(f"{name}.test", server.port) for name, server in (("one", one), ("two", two), ("other", other))),
        ]
        gateway = start_gateway(routes, ports=[80, 443, 3306, 9443, 27017], wait=False)
        gateway.write("two-teams.yaml", (DATA / "two-teams.yaml").read_text())
        eventually(lambda: gateway.ready() and sum(one["open"] for one in gateway.admin("/listeners")) >= 3)
        seen: Counter[str] = Counter()
        for number in range(40):
            seen[ask_mysql(gateway.port(3306), f"select {number} from t")] += 1
        assert set(seen) == {"one", "two"} and seen["one"] > seen["two"]
        assert redis.Redis(port=gateway.port(27017)).ping()


def ask_mysql(port: int, query: str) -> str:
    """The name of the server that answered."""
    with contextlib.closing(pymysql.connect(host="127.0.0.1", port=port, user="app")) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        ((name, text),) = cursor.fetchall()
        assert query in text or text in query
        return str(name)


def test_redis(start_gateway: StartGateway) -> None:
    with Redis() as server:
        documents = [
            gateway_of("gw", [tcp_server(6379, "REDIS")]),
            tcp_service("cache", tcp=[tcp_route("cache.test", port=9000)]),
            tcp_entry("cache.test", server.port),
        ]
        gateway = start_gateway(documents, ports=[6379])
        with redis.Redis(port=gateway.port(6379)) as client:
            assert client.ping()
            large = b"0123456789abcdef" * 300_000
            client.set("large", large)
            assert client.get("large") == large
            pipeline = client.pipeline()
            for number in range(500):
                pipeline.rpush("list", number)
            assert pipeline.execute()[-1] == 500
            subscription = client.pubsub()
            subscription.subscribe("news")
            eventually(lambda: client.publish("news", "here"), "a subscriber")
            messages = eventually(lambda: [m for m in [subscription.get_message(timeout=1)] if m and m["type"] == "message"])
            assert messages[0]["data"] == b"here"
            subscription.close()


# ---- bytes and their ends


def test_much_data_both_ways(start_gateway: StartGateway, handed: Handed) -> None:
    size = 96 << 20
    gateway = relaying(start_gateway, handed.port)
    client = connect(gateway.port(PORT))
    up = handed.take()
    there, back = in_background(lambda: pour(client, 1, size)), in_background(lambda: pour(up, 2, size))
    arrived, returned = in_background(lambda: drink(up)), in_background(lambda: drink(client))
    assert arrived() == (there(), size) and returned() == (back(), size)
    client.close()
    metrics = eventually(lambda: closed(gateway, 1), "the connection is counted")
    assert metrics.total("istio_tcp_sent_bytes_total") == metrics.total("istio_tcp_received_bytes_total") == size


def closed(gateway: Gateway, count: int) -> Metrics | None:
    """The metrics, once so many connections have ended."""
    metrics = gateway.metrics()
    return metrics if metrics.total("istio_tcp_connections_closed_total") >= count else None


def test_half_closes_and_resets(start_gateway: StartGateway, handed: Handed) -> None:
    gateway = relaying(start_gateway, handed.port)
    client = connect(gateway.port(PORT))
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    up = handed.take()
    assert read_to_end(up) == (b"question", "fin")
    up.sendall(b"answer")
    up.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == (b"answer", "fin")

    client = connect(gateway.port(PORT))  # the server ends first
    up = handed.take()
    up.sendall(b"hello")
    up.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == (b"hello", "fin")
    client.sendall(b"late")
    assert read_exactly(up, 4) == b"late"
    client.close()
    assert read_to_end(up) == (b"", "fin")

    for breaks in ("client", "upstream"):
        client = connect(gateway.port(PORT))
        up = handed.take()
        client.sendall(b"x")
        assert read_exactly(up, 1) == b"x"
        pair = (client, up) if breaks == "client" else (up, client)
        reset(pair[0])
        assert read_to_end(pair[1])[1] == "reset"
    metrics = eventually(lambda: closed(gateway, 4), "four connections are counted")
    flags = {s.labels["response_flags"]: s.value for s in metrics.find("istio_tcp_connections_closed_total")}
    assert flags == {"-": 4}


def test_nobody_is_there(start_gateway: StartGateway, tmp_path: Path) -> None:
    """No listening endpoint, no healthy one, no route: each is in the log and the metrics, and the client is told at once."""
    gone = free_port()
    log = tmp_path / "log"
    documents = [
        gateway_of("gw", [tcp_server(PORT), tcp_server(9001), tcp_server(9002)]),
        tcp_service("gone", tcp=[tcp_route("gone.test", port=9000, match=[{"port": PORT}])]),
        tcp_service("unknown", tcp=[tcp_route("unknown.test", port=9000, match=[{"port": 9001}])]),
        tcp_entry("gone.test", gone),
    ]
    words = ["--access-log", str(log), "--access-log-format", "%RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%\n"]
    gateway = start_gateway(documents, ports=[PORT, 9001, 9002], options=words)
    for port in (PORT, 9001):
        assert visit(gateway.port(port)) == (b"", "reset")
    lines = eventually(lambda: found if len(found := whole_lines(log)) == 2 else None)
    refused = f"UF,URX 127.0.0.1:{gone} outbound|9000||gone.test"
    unknown = "UH - outbound|9000||unknown.test"  # asked of DNS, which knows no such name
    assert sorted(lines) == [refused, unknown]  # each worker writes its own lines when it is due
    with contextlib.suppress(ConnectionRefusedError):  # a server without a route may not be listened for at all
        assert visit(gateway.port(9002))[0] == b""


def test_the_default_line(start_gateway: StartGateway, handed: Handed, tmp_path: Path) -> None:
    log = tmp_path / "log"
    gateway = relaying(start_gateway, handed.port, options=["--access-log", str(log)])
    client = connect(gateway.port(PORT))
    me = "{}:{}".format(*client.getsockname())
    client.sendall(b"12345")
    up = handed.take()
    local = "{}:{}".format(*up.getpeername())
    read_exactly(up, 5)
    up.sendall(b"123")
    read_exactly(client, 3)
    client.shutdown(socket.SHUT_WR)
    up.shutdown(socket.SHUT_WR)
    client.close()
    (text,) = eventually(lambda: whole_lines(log), "a line in the log")
    wanted = (
        rf'\[[^\]]+\] "- - -" 0 - - - "-" 5 3 \d+ - "-" "-" "-" "-" "127\.0\.0\.1:{handed.port}" outbound\|9000\|\|db\.test '
        rf"{re.escape(local)} 127\.0\.0\.1:{gateway.port(PORT)} {re.escape(me)} - \S+"
    )
    assert re.fullmatch(wanted, text), text


def test_istios_metrics_of_an_open_connection(start_gateway: StartGateway, handed: Handed) -> None:
    gateway = relaying(start_gateway, handed.port)
    client = connect(gateway.port(PORT))
    client.sendall(b"12345")
    assert read_exactly(handed.take(), 5) == b"12345"
    opened = gateway.metrics().find("istio_tcp_connections_opened_total")
    assert [one.value for one in opened] == [1]
    labels = opened[0].labels
    assert (labels["destination_service"], labels["request_protocol"], labels["reporter"]) == ("db.test", "tcp", "source")
    assert "response_code" not in labels
    eventually(lambda: gateway.metrics().total("istio_tcp_received_bytes_total") == 5, "bytes of an open connection")
    assert gateway.metrics().total("istio_tcp_connections_closed_total") == 0
    client.close()


# ---- changes and ends of the gateway


def test_connections_outlive_changes(start_gateway: StartGateway, handed: Handed) -> None:
    gateway = start_gateway(moved(handed.port), ports=[PORT, 9001])
    client = connect(gateway.port(PORT))
    client.sendall(b"one")
    up = handed.take()
    assert read_exactly(up, 3) == b"one"
    with Handed() as second:
        gateway.write("main.yaml", moved(second.port))
        served = eventually(lambda: reaches(gateway, second), "new connections go to the new upstream")
        served.close()
        client.sendall(b"two")
        assert read_exactly(up, 3) == b"two"
        gateway.write("main.yaml", moved(second.port, 9001))
        eventually(lambda: refused(gateway.port(PORT)), "the listener is gone")
        up.sendall(b"still here")
        assert read_exactly(client, 10) == b"still here"
        client.close()


def moved(target: int, port: int = PORT) -> list[Document]:
    return [
        gateway_of("gw", [tcp_server(port)]),
        tcp_service("db", tcp=[tcp_route("db.test", port=9000, match=[{"port": port}])]),
        tcp_entry("db.test", target),
    ]


def reaches(gateway: Gateway, handed: Handed) -> socket.socket | None:
    sock = connect(gateway.port(PORT))
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        if handed.accepted:
            return sock
        time.sleep(0.01)
    sock.close()
    return None


def refused(port: int) -> bool:
    try:
        connect(port).close()
    except OSError:
        return True
    return False


def test_a_drain_waits_for_connections(start_gateway: StartGateway, handed: Handed) -> None:
    gateway = relaying(start_gateway, handed.port, options=["--drain-time", "600"])
    client = connect(gateway.port(PORT))
    up = handed.take()
    gateway.signal(signal.SIGTERM)
    eventually(lambda: gateway.health() != 200, "draining")
    client.sendall(b"12345")
    assert read_exactly(up, 5) == b"12345"
    client.close()
    up.close()
    assert gateway.wait_exit() == 0


def test_a_drain_cuts_connections_at_its_time(start_gateway: StartGateway, handed: Handed, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ["--access-log", str(log), "--drain-time", "1", "--access-log-format", "%BYTES_RECEIVED% %RESPONSE_CODE_DETAILS%\n"]
    gateway = relaying(start_gateway, handed.port, options=words)
    client = connect(gateway.port(PORT))
    up = handed.take()
    client.sendall(b"12345")
    assert read_exactly(up, 5) == b"12345"
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    assert read_to_end(client)[0] == read_to_end(up)[0] == b""
    assert log.read_text() == "5 drained\n"


def test_plain_http_beside_tcp(start_gateway: StartGateway, handed: Handed, origin: RecordingOrigin) -> None:
    documents = [
        gateway_of("gw", [tcp_server(PORT), {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]),
        tcp_service("db", tcp=[tcp_route("db.test", port=9000, match=[{"port": PORT}])]),
        tcp_entry("db.test", handed.port),
        virtual_service("web", ["web.test"], [tcp_route("web.test", port=9000)]),
        tcp_entry("web.test", origin.port),
    ]
    gateway = start_gateway(documents, ports=[80, PORT])
    assert gateway.get("/", "web.test").status == 200
    with connect(gateway.port(PORT)) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert read_exactly(handed.take(), 18) == b"GET / HTTP/1.1\r\n\r\n"
