"""DestinationRules over real workers: hashing, outlier detection, limits, PROXY headers, localities (sections Q and R)."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from .conftest import StartGateway
from .support.client import Client, Disconnected, Response
from .support.config import Document, destination, gateway, service_entry, virtual_service
from .support.curl import Answer, curl
from .support.gateway import Gateway, run_cli
from .support.origin import RecordingOrigin, Reply, Seen, ok
from .support.poll import eventually

HOST = "backend"
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
MakeOrigin = Callable[..., RecordingOrigin]
T = TypeVar("T")


def documents(origins: list[RecordingOrigin], policy: Document, **rule: Any) -> list[Document]:
    """One host with these endpoints, under a DestinationRule with this policy."""
    return [
        gateway(hosts=["*"]),
        virtual_service("to-backend", ["a.test"], [{"route": [destination(HOST)]}]),
        service_entry(HOST, [("127.0.0.1", origin.port) for origin in origins]),
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "backend"},
            "spec": {"host": HOST, "trafficPolicy": policy, **rule},
        },
    ]


def named(make_origin: MakeOrigin, count: int) -> list[RecordingOrigin]:
    return [make_origin(f"o{number}") for number in range(count)]


def ask(running: Gateway, *headers: str, target: str = "/") -> Response:
    """On a connection of its own, so that all workers get their turn."""
    return running.get(target, "a.test", *headers)


def asked(client: Client) -> Response:
    client.send(GET)
    return client.response()


def who(answer: Response) -> str:
    assert answer.status == 200, answer.text
    return answer.value("x-origin") or ""


def endpoints(running: Gateway) -> dict[int, dict[str, Any]]:
    """What ``proxy-config endpoints`` says, by port."""
    done = run_cli("proxy-config", "endpoints", "--admin", f"127.0.0.1:{running.admin_port}", "-o", "json")
    assert done.returncode == 0, done.stderr
    return {entry["port"]: entry for entry in json.loads(done.stdout)}


# --- consistentHash ---


@pytest.mark.parametrize("algorithm", [{}, {"maglev": {"tableSize": 101}}, {"ringHash": {"minimumRingSize": 4096}}])
def test_a_key_has_one_endpoint_in_every_worker_and_after_a_restart(
    start_gateway: StartGateway, make_origin: MakeOrigin, algorithm: Document
) -> None:
    origins = named(make_origin, 3)
    policy = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", **algorithm}}}
    running = start_gateway(documents(origins, policy), workers=3)
    found = {user: {who(ask(running, f"x-user: {user}")) for _ in range(4)} for user in range(40)}
    assert all(len(names) == 1 for names in found.values()) and len(set.union(*found.values())) == 3
    running.stop()
    again = start_gateway(documents(list(reversed(origins)), policy), workers=2)
    assert {user: {who(ask(again, f"x-user: {user}"))} for user in found} == found


def test_a_cookie_keeps_a_browser_where_it_is(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    cookie = {"name": "who", "path": "/", "ttl": "60s"}
    policy = {"loadBalancer": {"consistentHash": {"httpCookie": cookie}}}
    running = start_gateway(documents(named(make_origin, 3), policy))
    for _ in range(6):
        first = ask(running)
        given = (first.value("set-cookie") or "").partition(";")
        assert given[2] == " Max-Age=60; Path=/; HttpOnly"
        back = [ask(running, f"cookie: {given[0]}") for _ in range(4)]
        assert {who(answer) for answer in back} == {who(first)}
        assert all(answer.values("set-cookie") == [] for answer in back)


def test_few_keys_move_when_an_endpoint_leaves(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    origins = named(make_origin, 4)
    policy = {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "user"}}}
    running = start_gateway(documents(origins, policy))
    users = [f"/?user={n}" for n in range(60)]
    before = {user: who(ask(running, target=user)) for user in users}
    running.write("main.yaml", documents(origins[:3], policy))
    eventually(lambda: "o3" not in {who(ask(running, target=user)) for user in users}, "o3 is out of use")
    after = {user: who(ask(running, target=user)) for user in users}
    assert all(after[user] == name for user, name in before.items() if name != "o3")


# --- outlierDetection ---


def failing(status: str) -> Callable[[Seen], Reply | bytes]:
    return lambda seen: ok(b"no", status=status)


def ejecting(origins: list[RecordingOrigin], base_ejection_time: str) -> list[Document]:
    """After three failures in a row."""
    detection = {"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": base_ejection_time, "maxEjectionPercent": 50}
    return documents(origins, {"loadBalancer": {"simple": "ROUND_ROBIN"}, "outlierDetection": detection})


def test_an_endpoint_that_fails_is_ejected_for_all_workers(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    good, bad = origins = named(make_origin, 2)
    running = start_gateway(ejecting(origins, "10m"), workers=3)
    bad.answer = failing("500 Broken")
    eventually(lambda: ask(running) and endpoints(running)[bad.port]["outlierCheck"] == "FAILED", "ejection")
    assert endpoints(running)[bad.port]["status"] == "UNHEALTHY" and endpoints(running)[good.port]["status"] == "HEALTHY"
    before = len(bad.seen)
    assert {ask(running).status for _ in range(20)} == {200}
    assert len(bad.seen) == before, "no worker asks it"
    assert running.metrics().total("fastgw_outlier_ejections_total") == 1


def test_an_endpoint_that_was_ejected_comes_back(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    """Its ejection begins after its third failure, and lasts 3 s."""
    _, bad = origins = named(make_origin, 2)
    running = start_gateway(ejecting(origins, "3s"), workers=3)
    failures: list[float] = []
    returns: list[float] = []

    def fail(seen: Seen) -> bytes:
        failures.append(time.monotonic())
        return ok(b"no", status="500 Broken")

    def be_well(seen: Seen) -> bytes:
        returns.append(time.monotonic())
        return bad.echo(seen)

    bad.answer = fail
    eventually(lambda: ask(running) and running.metrics().total("fastgw_outlier_ejections_total"), "ejection")
    bad.answer = be_well
    eventually(lambda: ask(running).status == 200 and returns, "it is asked again")
    assert returns[0] - failures[2] > 1


def test_one_endpoint_may_always_be_ejected_and_no_more_than_the_percentage(
    start_gateway: StartGateway, make_origin: MakeOrigin
) -> None:
    origins = named(make_origin, 4)
    detection = {"consecutive5xxErrors": 1, "baseEjectionTime": "1m"}
    running = start_gateway(documents(origins, {"outlierDetection": detection}), workers=2)
    for origin in origins:
        origin.answer = failing("503 No")
    for _ in range(60):
        ask(running)
    states = Counter(entry["outlierCheck"] for entry in endpoints(running).values())
    assert states == {"FAILED": 1, "OK": 3}


def test_when_all_are_ejected_the_answer_is_uh(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    origins = named(make_origin, 2)
    detection = {"consecutive5xxErrors": 1, "baseEjectionTime": "1m", "maxEjectionPercent": 100}
    running = start_gateway(documents(origins, {"outlierDetection": detection}))
    for origin in origins:
        origin.answer = failing("500 No")
    eventually(lambda: ask(running).text == "no healthy upstream", "all are ejected")
    running.write("main.yaml", documents(origins, {"outlierDetection": {**detection, "minHealthPercent": 50}}))
    eventually(lambda: ask(running).status == 500, "too few are healthy, so all count")


def test_connections_that_fail_count(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    origins = named(make_origin, 2)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        all_of = documents(origins, {"outlierDetection": {"consecutive5xxErrors": 2, "baseEjectionTime": "1m"}})
        all_of[2]["spec"]["endpoints"].append({"address": "127.0.0.1", "ports": {"http": port}})
        running = start_gateway(all_of)
        eventually(lambda: ask(running).status == 200 and endpoints(running)[port]["outlierCheck"] == "FAILED", "ejection")


# --- connectionPool ---


def slow(seconds: float) -> Callable[[Seen], Reply]:
    return lambda seen: Reply(segments=[(b"", seconds), (ok(b"slow", "x-origin: slow"), 0.0)])


def at_once(running: Gateway, count: int) -> list[Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(running), range(count)))


def while_held(origin: RecordingOrigin, work: Callable[[], T], count: int, refused: int) -> list[T]:
    """So often at once; the upstream answers when so many have been refused."""
    held: list[Seen] = []

    def hold(seen: Seen) -> Reply:
        held.append(seen)
        return Reply()

    origin.answer = hold
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(work) for _ in range(count)]
        try:
            eventually(lambda: sum(one.done() for one in asked) >= refused, f"{refused} are refused")
        finally:
            origin.answer = origin.echo
            origin.call(lambda: None)  # no request is being taken by ``hold`` any more
            origin.answer_late(*held)
        return [one.result() for one in asked]


def most_open(origin: RecordingOrigin) -> int:
    origin.settle()
    return len(origin.connections)


def test_max_connections_holds_over_all_workers(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    (origin,) = named(make_origin, 1)
    origin.answer = slow(0.02)
    running = start_gateway(documents([origin], {"connectionPool": {"tcp": {"maxConnections": 2}}}), workers=4)
    open_at_once, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            now = sum(not connection.ended for connection in list(origin.connections))
            open_at_once[0] = max(open_at_once[0], now)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answers = at_once(running, 24)
    stop.set()
    watcher.join()
    assert {answer.status for answer in answers} == {200}, "everybody waits in line"
    # a connection that was closed for another one may be seen a moment longer than it lives
    assert open_at_once[0] <= 4
    assert running.metrics().total("fastgw_upstream_overflow_connections_total") > 0


def test_what_is_too_much_is_answered_overflow(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    (origin,) = named(make_origin, 1)
    pool = {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}
    running = start_gateway(documents([origin], {"connectionPool": pool}), workers=2)
    answers = while_held(origin, lambda: ask(running), 8, 5)
    refused = [answer for answer in answers if answer.status == 503]
    assert 200 in {answer.status for answer in answers} and len(refused) >= 5
    for answer in refused:
        assert answer.value("x-envoy-overloaded") == "true"
        assert answer.text == "upstream connect error or disconnect/reset before headers. reset reason: overflow"
    eventually(lambda: running.metrics().total("istio_requests_total", response_flags="UO") == len(refused), "all are counted")


def test_max_requests_holds_over_all_workers(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    (origin,) = named(make_origin, 1)
    running = start_gateway(documents([origin], {"connectionPool": {"http": {"http2MaxRequests": 3}}}), workers=4)
    statuses = Counter(answer.status for answer in while_held(origin, lambda: ask(running), 12, 9))
    assert statuses == {200: 3, 503: 9}


def test_a_dead_workers_share_is_given_back(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    (origin,) = named(make_origin, 1)
    origin.answer = lambda seen: Reply()  # never
    running = start_gateway(documents([origin], {"connectionPool": {"http": {"http2MaxRequests": 1}}}), workers=1)
    with running.client() as client:
        client.send(GET)
        eventually(lambda: len(origin.seen) == 1, "the request is there")
        assert ask(running).status == 503
        os.kill(running.worker_pids()[0], signal.SIGKILL)
        with pytest.raises(Disconnected):
            client.response()
    origin.answer = origin.echo
    eventually(lambda: ask(running).status == 200, "the place is free")


def test_a_connection_for_one_request(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    (origin,) = named(make_origin, 1)
    running = start_gateway(documents([origin], {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}), workers=1)
    with running.client() as client:
        for _ in range(3):
            client.send(GET)
            client.response()
    assert most_open(origin) == 3 and {seen.message.value("connection") for seen in origin.seen} == {"close"}


# --- with clients of HTTP/2 ---


def over_http2(running: Gateway, *words: str) -> Answer:
    return curl("--http2-prior-knowledge", "-H", "Host: a.test", *words, f"http://127.0.0.1:{running.port()}/")


def test_clients_of_http2_get_cookies_too(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    policy = {"loadBalancer": {"consistentHash": {"httpCookie": {"name": "who", "ttl": "0s"}}}}
    running = start_gateway(documents(named(make_origin, 3), policy))
    first = over_http2(running)
    given, _, rest = first.headers["set-cookie"].partition(";")
    assert rest == " HttpOnly"
    for _ in range(4):
        back = over_http2(running, "-H", f"Cookie: {given}")
        assert back.headers["x-origin"] == first.headers["x-origin"] and "set-cookie" not in back.headers


def test_clients_of_http2_are_told_of_overflow(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    (origin,) = named(make_origin, 1)
    running = start_gateway(documents([origin], {"connectionPool": {"http": {"http2MaxRequests": 1}}}), workers=2)
    answers = while_held(origin, lambda: over_http2(running), 4, 3)
    assert sorted(answer.status for answer in answers) == [200, 503, 503, 503]
    assert {answer.headers.get("x-envoy-overloaded") for answer in answers if answer.status == 503} == {"true"}


# --- proxyProtocol ---


def test_the_upstream_is_told_who_the_client_is(start_gateway: StartGateway) -> None:
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as reader:
                    lines.append(reader.readline())
                    while reader.readline() not in (b"\r\n", b""):
                        pass
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        worker = threading.Thread(target=serve)
        worker.start()
        all_of = documents([], {"proxyProtocol": {"version": "V1"}})
        all_of[2] = service_entry(HOST, [("127.0.0.1", server.getsockname()[1])])
        running = start_gateway(all_of)
        assert [ask(running).text for _ in range(2)] == ["ok", "ok"]
        worker.join(20)
    own = running.port()
    assert all(line.startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ") and line.endswith(b" %d\r\n" % own) for line in lines)


# --- localities, subsets ---


def test_failover_goes_to_the_next_locality_while_the_own_one_is_ejected(
    start_gateway: StartGateway, make_origin: MakeOrigin
) -> None:
    near, far = named(make_origin, 2)
    detection = {"consecutive5xxErrors": 1, "baseEjectionTime": "1m", "maxEjectionPercent": 100}
    all_of = documents([far, near], {"outlierDetection": detection})
    for endpoint, place in zip(all_of[2]["spec"]["endpoints"], ["us/us-1", "eu/eu-1"], strict=True):
        endpoint["locality"] = place
    running = start_gateway(all_of, settings={"labels": {"istio": "ingressgateway", "istio-locality": "eu.eu-1"}})
    assert {who(ask(running)) for _ in range(20)} == {"o0"}
    near.answer = failing("500 No")
    eventually(lambda: ask(running).status == 200, "failover")
    assert {who(ask(running)) for _ in range(20)} == {"o1"}


def test_retries_go_to_another_locality(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    """retryRemoteLocalities: two attempts in the own one, then the other."""
    near, far = named(make_origin, 2)
    all_of = documents([far, near], {"outlierDetection": {"consecutive5xxErrors": 1000}})
    for endpoint, place in zip(all_of[2]["spec"]["endpoints"], ["us/us-1", "eu/eu-1"], strict=True):
        endpoint["locality"] = place
    retries, to = {"attempts": 2, "retryOn": "5xx", "backoff": "1ms"}, [destination(HOST)]
    far_too = {"match": [{"uri": {"prefix": "/any"}}], "retries": {**retries, "retryRemoteLocalities": True}, "route": to}
    all_of[1] = virtual_service("to-backend", ["a.test"], [far_too, {"retries": retries, "route": to}])
    running = start_gateway(all_of, settings={"labels": {"istio": "ingressgateway", "istio-locality": "eu.eu-1"}})
    near.answer = failing("503 No")
    assert {who(ask(running, target="/any")) for _ in range(5)} == {"o1"}
    assert {ask(running, target="/own").status for _ in range(5)} == {503}
    assert (len(near.seen), len(far.seen)) == (5 * 2 + 5 * 3, 5)


def test_shares_of_localities(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    """5 standard deviations of a binomial with 400 draws and p 0.8 are 40."""
    origins = named(make_origin, 3)
    setting = {"distribute": [{"from": "eu/*", "to": {"eu/*": 80, "us/*": 20}}]}
    all_of = documents(origins, {"loadBalancer": {"simple": "LEAST_REQUEST", "localityLbSetting": setting}})
    for endpoint, place in zip(all_of[2]["spec"]["endpoints"], ["eu/1", "eu/2", "us/1"], strict=True):
        endpoint["locality"] = place
    running = start_gateway(all_of, settings={"labels": {"istio": "ingressgateway", "istio-locality": "eu.1"}})
    with running.client() as client:
        found = Counter(who(asked(client)) for _ in range(400))
    assert 280 <= found["o0"] + found["o1"] <= 360 and 40 <= found["o2"] <= 120


def test_check_says_what_cannot_be_done(make_origin: MakeOrigin, tmp_path: Any) -> None:
    rule = documents(named(make_origin, 1), {"loadBalancer": {"simple": "PASSTHROUGH"}})
    (tmp_path / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": rule}))
    done = run_cli("check", str(tmp_path / "all.json"), "-o", "json")
    codes = {found["code"] for found in json.loads(done.stdout)}
    assert "FGW0130" in codes and "FGW0105" not in codes
