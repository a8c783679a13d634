"""gRPC through the gateway with grpcio's client and server: every kind of call, its end, and who serves it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from .conftest import StartGateway, StartTls
from .support.certificates import Authority, mount
from .support.config import Document, gateway, gateway_of, https_server, route, virtual_service
from .support.gateway import Gateway
from .support.grpc_peers import SERVICE, Echo, EchoServer, Turns, status_of
from .support.poll import eventually, in_time
from .support.ports import free_port

HOST = "grpc.test"
Code = grpc.StatusCode


def api(ports: list[int], name: str = "api.test", **traffic: object) -> list[Document]:
    """A service of gRPC on ports of this machine."""
    spec = {
        "hosts": [name],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 9000, "name": "grpc", "protocol": "GRPC"}],
        "endpoints": [{"address": "127.0.0.1", "ports": {"grpc": port}} for port in ports],
    }
    kind = "networking.istio.io/v1"
    found: list[Document] = [{"apiVersion": kind, "kind": "ServiceEntry", "metadata": {"name": name}, "spec": spec}]
    if traffic:
        rule = {"host": name, "trafficPolicy": traffic}
        found.append({"apiVersion": kind, "kind": "DestinationRule", "metadata": {"name": name}, "spec": rule})
    return found


def documents(*ports: int, rules: list[Document] | None = None) -> list[Document]:
    return [
        gateway(hosts=["*"]),
        virtual_service("grpc", [HOST], rules or [route("api.test", 9000)]),
        *api(list(ports)),
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with EchoServer() as made:
        yield made


@pytest.fixture(scope="module")
def running(server: EchoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    log = "%REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %GRPC_STATUS% %GRPC_STATUS_NUMBER%\n"
    options = ["--access-log", "-", "--access-log-format", log]
    with Gateway(tmp_path_factory.mktemp("grpc"), documents(server.port), options=options) as made:
        yield made


@pytest.fixture
def echo(running: Gateway) -> Iterator[Echo]:
    """A channel to the module's gateway, in which no exchange may be left."""
    with Echo(running.port(), HOST) as made:
        yield made
    running.assert_no_leaks()


# ---- kinds of calls


@pytest.mark.parametrize("size", [0, 1, 16384, 1_000_000, 3_900_000])
def test_unary(echo: Echo, size: int) -> None:
    assert echo.unary(b"x" * size, timeout=60) == b"echo|" + b"x" * size


def test_client_streaming(echo: Echo) -> None:
    assert echo.collect(iter([b"a", b"", b"c" * 100_000]), timeout=60) == b"a,," + b"c" * 100_000
    assert echo.collect(iter([]), timeout=60) == b""


def test_server_streaming(echo: Echo) -> None:
    assert list(echo.count(b"500", timeout=60)) == [b"%d" % i for i in range(500)]
    assert list(echo.count(b"0", timeout=60)) == []


def test_bidirectional_streaming_one_by_one(echo: Echo) -> None:
    """Each answer is there before the next question is asked."""
    turns = Turns()
    answers = echo.chat(iter(turns), timeout=60)
    for i in range(20):
        turns.say(b"%d" % i)
        assert next(answers) == b"re: %d" % i
    turns.say(None)
    assert list(answers) == [] and answers.code() == Code.OK


def test_metadata_both_ways(echo: Echo) -> None:
    answer, call = echo.meta.with_call(b"", metadata=(("x-mine", "1"), ("x-mine", "2"), ("x-mine-bin", b"\x01\x00")), timeout=60)
    seen = answer.decode().splitlines()
    assert "x-mine='1'" in seen and "x-mine='2'" in seen and "x-mine-bin=b'\\x01\\x00'" in seen
    assert any(line.startswith("x-request-id=") for line in seen) and "x-forwarded-proto='http'" in seen
    initial, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (initial["x-initial"], initial["x-initial-bin"], initial["server"]) == ("1", b"\x00\xff", "fastgw")
    assert (last["x-last"], last["x-last-bin"]) == ("2", b"\xfe\x01")


@pytest.mark.parametrize("number", range(1, 17))
def test_errors_of_the_upstream(echo: Echo, number: int) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        echo.fail(f"{number} what happened, é".encode(), timeout=60)
    error = failed.value
    assert (error.code().value[0], error.details()) == (number, "what happened, é")
    assert ("x-trailer", "seen") in error.trailing_metadata() and ("x-trailer-bin", bytes(range(8))) in error.trailing_metadata()


# ---- ends


def test_deadlines_reach_the_upstream_and_end_the_call(echo: Echo, server: EchoServer) -> None:
    def left() -> float:
        """Seconds, as the upstream saw them; 0: the call was not there before they were over."""
        server.cancelled.clear()
        server.deadlines.clear()
        assert status_of(lambda: echo.wait(b"", timeout=0.5))[0] == Code.DEADLINE_EXCEEDED
        return (server.deadlines or [0])[0] or 0

    assert in_time(left, late=lambda seconds: seconds <= 0) <= 0.5
    assert server.cancelled.wait(60), "the upstream's call ends as well"


def test_a_cancelled_call_is_cancelled_at_the_upstream(echo: Echo, server: EchoServer) -> None:
    server.cancelled.clear()
    before = server.calls.get("Wait", 0)
    call = echo.wait.future(b"", timeout=30)
    eventually(lambda: server.calls.get("Wait", 0) > before, "the call is there")
    call.cancel()
    assert server.cancelled.wait(60)


def test_a_cancelled_stream(echo: Echo) -> None:
    answers = echo.count(b"100000000", timeout=30)
    assert next(answers) == b"0"
    answers.cancel()
    with pytest.raises(grpc.RpcError) as failed:
        list(answers)
    assert failed.value.code() == Code.CANCELLED


# ---- answers of the gateway


def test_no_route_is_unimplemented(running: Gateway) -> None:
    with Echo(running.port(), "other.test") as other:
        assert status_of(lambda: other.unary(b"", timeout=60))[0] == Code.UNIMPLEMENTED
    eventually(lambda: "/test.Echo/Unary HTTP/2 200 NR Unimplemented 12\n" in running.stdout.read_text(), "its line in the log")


def test_a_method_that_the_upstream_does_not_have(echo: Echo) -> None:
    code, details = status_of(lambda: echo.missing(b"", timeout=60))
    assert code == Code.UNIMPLEMENTED and "fastgw" not in details


def test_nobody_there_is_unavailable(start_gateway: StartGateway, server: EchoServer) -> None:
    running = start_gateway(documents(free_port()))
    with Echo(running.port(), HOST) as echo:
        code, details = status_of(lambda: echo.unary(b"", timeout=60))
        assert code == Code.UNAVAILABLE and "remote connection failure" in details
        assert status_of(lambda: list(echo.count(b"3", timeout=60)))[0] == Code.UNAVAILABLE


def test_an_upstream_that_stops(start_gateway: StartGateway) -> None:
    with EchoServer() as server:
        running = start_gateway(documents(server.port))
        with Echo(running.port(), HOST) as echo:
            turns = Turns()
            answers = echo.chat(iter(turns), timeout=30)
            turns.say(b"hello")
            assert next(answers) == b"re: hello"
            server.server.stop(None).wait(60)
            with pytest.raises(grpc.RpcError) as failed:
                next(answers)
            assert failed.value.code() in (Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL)
            turns.say(None)
            assert status_of(lambda: echo.unary(b"", timeout=60))[0] == Code.UNAVAILABLE


def test_silence_within_a_stream(start_gateway: StartGateway, server: EchoServer) -> None:
    """--stream-idle-timeout, over HTTP/2 on both sides; a stream in which something moves goes on for longer."""
    options = ["--access-log", "-"]
    running = start_gateway(documents(server.port), settings={"stream-idle-timeout": 1}, options=options)

    def talk(echo: Echo) -> int:
        """The number of answers before the cut."""
        turns = Turns()
        answers = echo.chat(iter(turns), timeout=60)
        heard = 0
        with pytest.raises(grpc.RpcError):
            for i in range(6):
                turns.say(b"%d" % i)
                assert next(answers) == b"re: %d" % i
                heard += 1
                time.sleep(0.3)
            next(answers)
        turns.say(None)
        return heard

    with Echo(running.port(), HOST) as echo:
        in_time(lambda: talk(echo), late=lambda heard: heard < 6)
    eventually(lambda: " SI stream_idle_timeout " in running.stdout.read_text(), "the flag in the log")


# ---- routes and endpoints


def test_metadata_and_methods_choose_the_route(start_gateway: StartGateway) -> None:
    with EchoServer("blue") as blue, EchoServer("green") as green:
        rules = [
            route("green.test", 9000, match=[{"headers": {"x-version": {"exact": "green"}}}]),
            route("green.test", 9000, match=[{"uri": {"exact": f"/{SERVICE}/Meta"}}]),
            route("api.test", 9000, match=[{"uri": {"prefix": f"/{SERVICE}/"}}]),
        ]
        running = start_gateway([*documents(blue.port, rules=rules), *api([green.port], "green.test")])
        with Echo(running.port(), HOST) as echo:
            assert echo.unary(b"", timeout=60) == b"blue|"
            assert echo.unary(b"", metadata=(("x-version", "green"),), timeout=60) == b"green|"
            echo.meta(b"", timeout=60)
            assert (blue.calls, green.calls) == ({"Unary": 1}, {"Unary": 1, "Meta": 1})
            assert status_of(lambda: echo.missing(b"", timeout=60))[0] == Code.UNIMPLEMENTED


def test_each_call_is_balanced(start_gateway: StartGateway) -> None:
    """One channel, one connection: its calls go round all endpoints."""
    with EchoServer("one") as one, EchoServer("two") as two, EchoServer("three") as three:
        running = start_gateway(documents(one.port, two.port, three.port), workers=1)
        with Echo(running.port(), HOST) as echo:
            seen = Counter(echo.unary(b"", timeout=60) for _ in range(60))
        assert set(seen) == {b"one|", b"two|", b"three|"} and min(seen.values()) >= 10, seen
        assert running.metrics().total("fastgw_client_connections_total") <= 2


def test_the_health_service(echo: Echo, server: EchoServer) -> None:
    stub = health_pb2_grpc.HealthStub(echo.channel)
    assert stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60).status == health_pb2.HealthCheckResponse.SERVING
    changes = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60)
    assert next(changes).status == health_pb2.HealthCheckResponse.SERVING
    server.health.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
    assert next(changes).status == health_pb2.HealthCheckResponse.NOT_SERVING
    server.health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    assert next(changes).status == health_pb2.HealthCheckResponse.SERVING
    changes.cancel()


def test_reflection(echo: Echo) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(echo.channel)
    request: Message = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = list(stub.ServerReflectionInfo(iter([request]), timeout=60))
    assert SERVICE in {one.name for one in answers[0].list_services_response.service}


# ---- many, and for long


def test_a_thousand_calls_at_once(start_gateway: StartGateway) -> None:
    """1,000 calls that are all under way at the same time, over ten channels."""
    with EchoServer(workers=1100) as server:
        running = start_gateway(documents(server.port))
        channels = [Echo(running.port(), HOST, **{"grpc.use_local_subchannel_pool": 1}) for _ in range(10)]
        turns = [Turns() for _ in range(1000)]
        try:
            calls = [channels[i % 10].chat(iter(turns[i]), timeout=120) for i in range(1000)]
            for i, one in enumerate(turns):
                one.say(b"%d" % i)
            with ThreadPoolExecutor(50) as pool:
                assert list(pool.map(next, calls)) == [b"re: %d" % i for i in range(1000)]
            assert running.metrics().total("fastgw_exchanges_active") == 1000
            for one in turns:
                one.say(None)
            with ThreadPoolExecutor(50) as pool:
                assert list(pool.map(list, calls)) == [[]] * 1000
            assert all(call.code() == Code.OK for call in calls)
        finally:
            for channel in channels:
                channel.channel.close()
        total = running.metrics().total("istio_requests_total", request_protocol="grpc", grpc_response_status="0")
        assert total == 1000


def test_streams_survive_changes_of_the_configuration(start_gateway: StartGateway, server: EchoServer) -> None:
    running = start_gateway(documents(server.port))
    with Echo(running.port(), HOST) as echo, Echo(running.port(), "extra4.test") as extra:
        turns = Turns()
        answers = echo.chat(iter(turns), timeout=60)
        for i in range(5):
            running.write("extra.yaml", [virtual_service("extra", [f"extra{i}.test"], [route("api.test", 9000)])])
            turns.say(b"%d" % i)
            assert next(answers) == b"re: %d" % i
        eventually(lambda: works(extra), "the last change serves")
        running.write("main.yaml", [gateway(hosts=["gone.test"]), *api([server.port])])
        eventually(lambda: not works(echo), "the route is gone")
        turns.say(b"still here")
        assert next(answers) == b"re: still here"
        turns.say(None)
        assert list(answers) == []


def works(echo: Echo) -> bool:
    try:
        return bool(echo.unary(b"", timeout=60))
    except grpc.RpcError:
        return False


def test_calls_over_tls(start_tls: StartTls, authority: Authority, server: EchoServer) -> None:
    served = [gateway_of("gw", [https_server([HOST], "web")]), *documents(server.port)[1:]]
    world = start_tls(served, lambda secrets: mount(secrets, "web", authority.issue(HOST)))
    with open(world.ca_file(), "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with Echo(world.port, HOST, credentials) as echo:
        assert echo.unary(b"x" * 100_000, timeout=60) == b"echo|" + b"x" * 100_000
        assert b"x-forwarded-proto='https'" in echo.meta(b"", timeout=60)
        assert list(echo.count(b"50", timeout=60)) == [b"%d" % i for i in range(50)]


def test_an_upstream_with_tls(start_gateway: StartGateway, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("grpc-tls")
    identity = authority.issue("api.test")
    with EchoServer(credentials=grpc.ssl_server_credentials([(identity.key.encode(), identity.chain.encode())])) as server:
        tls = {"mode": "SIMPLE", "caCertificates": str(authority.write(home / "ca.pem")), "sni": "api.test"}
        running = start_gateway([*documents()[:2], *api([server.port], tls=tls)])
        with Echo(running.port(), HOST) as echo:
            assert echo.unary(b"secret", timeout=60) == b"echo|secret"
            assert list(echo.count(b"50", timeout=60)) == [b"%d" % i for i in range(50)]


def test_statuses_are_counted(echo: Echo, running: Gateway) -> None:
    def counted(status: str) -> float:
        return running.metrics().total("istio_requests_total", request_protocol="grpc", grpc_response_status=status)

    before = {status: counted(status) for status in ("0", "5")}
    echo.unary(b"", timeout=60)
    status_of(lambda: echo.fail(b"5 not here", timeout=60))
    eventually(lambda: counted("0") == before["0"] + 1 and counted("5") == before["5"] + 1, "both are counted")
    eventually(lambda: "/test.Echo/Fail HTTP/2 200 - NotFound 5\n" in running.stdout.read_text(), "and logged")


def test_one_channel_from_many_threads(echo: Echo) -> None:
    wrong: list[bytes] = []

    def work(number: int) -> None:
        for i in range(40):
            message = b"%d-%d" % (number, i)
            if echo.unary(message, timeout=60) != b"echo|" + message:
                wrong.append(message)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and time.monotonic() - started < 60
