"""What a worker tells outlier detection: answers, lost connections, time-outs, connects at layer 4 (Q8 to Q10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dataplane_support import GET, OK, Gateway, Upstream
from http2_upstream_support import accept

from fastgw.image.layout import lib
from fastgw.model.plan import Outlier, Policy

BAD = b"HTTP/1.1 %d Bad\r\nContent-Length: 0\r\n\r\n"
THREE = Outlier(consecutive_errors=3, base_ejection_ms=1000, interval_ms=1000, max_ejection_percent=100)


def ejected(gateway: Gateway, up: Upstream) -> bool:
    return bool(gateway.cell(up.port).flags & lib.FGW_CELL_EJECTED)


def exchange(gateway: Gateway, up: Upstream, answer: bytes) -> int:
    """One request on a new connection each side."""
    client = gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    peer.send(answer)
    status = client.response().status
    client.close()
    peer.close()
    return status


def serve(gateway: Gateway, up: Upstream, outlier: Outlier = THREE, **options: Any) -> None:
    gateway.serve(up, policy=Policy(outlier=outlier), **options)


def test_errors_in_a_row_eject_and_time_brings_the_endpoint_back(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up)
    assert [exchange(gateway, up, BAD % 500) for _ in range(2)] == [500, 500] and not ejected(gateway, up)
    assert exchange(gateway, up, OK) == 200
    assert [exchange(gateway, up, BAD % status) for status in (500, 503, 599)] == [500, 503, 599]
    assert ejected(gateway, up)
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.body) == (503, b"no healthy upstream")
    gateway.pass_ms(1100)
    assert exchange(gateway, up, OK) == 200
    assert gateway.counter("FGW_C_EJECTIONS") == 1


def test_four_hundreds_are_no_errors(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up)
    assert [exchange(gateway, up, BAD % 429) for _ in range(6)] == [429] * 6
    assert not ejected(gateway, up)


def test_the_others_go_on_while_one_is_ejected(gateway: Gateway) -> None:
    ups = [gateway.upstream(), gateway.upstream()]
    gateway.serve(*ups, policy=Policy(outlier=THREE), lb="round_robin")
    gateway.cell(ups[1].port).flags = lib.FGW_CELL_UNHEALTHY
    for _ in range(3):
        exchange(gateway, ups[0], BAD % 502)
    gateway.cell(ups[1].port).flags = 0
    assert [exchange(gateway, ups[1], OK) for _ in range(4)] == [200] * 4
    assert not ups[0].has_connection(gateway)


def test_connections_that_cannot_be_made_count(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"connect_attempts": 1})
    up = gateway.upstream()
    up.close()
    serve(gateway, up)
    statuses = [gateway.client().send(GET).response() for _ in range(3)]
    assert {each.status for each in statuses} == {503} and b"connection failure" in statuses[-1].body
    assert ejected(gateway, up)


def test_with_split_they_count_by_themselves(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"connect_attempts": 1})
    up = gateway.upstream()
    outlier = Outlier(consecutive_errors=2, split_local=True, consecutive_local_errors=4, max_ejection_percent=100)
    serve(gateway, up, outlier)
    up.close()
    for _ in range(3):
        gateway.client().send(GET).response()
    assert not ejected(gateway, up)
    gateway.client().send(GET).response()
    assert ejected(gateway, up)


SPLIT = Outlier(consecutive_errors=2, split_local=True, consecutive_local_errors=2, max_ejection_percent=100)


def test_with_split_a_connection_ends_the_row(gateway: Gateway) -> None:
    """Be it a new one or one that is open."""
    up = gateway.upstream()
    serve(gateway, up, SPLIT)
    client = gateway.client()
    peer = None
    for _ in range(3):
        gateway.cell(up.port).local_errors_in_a_row = 1
        client.send(GET)
        peer = peer or up.accept(gateway)
        peer.request()
        assert gateway.cell(up.port).local_errors_in_a_row == 0
        peer.send(OK)
        assert client.response().status == 200


def test_with_split_a_stream_of_http2_ends_the_row(gateway: Gateway) -> None:
    """The first on a new connection, the others on the same; what is reset once it has been got does not make a row."""
    up = gateway.upstream()
    serve(gateway, up, SPLIT, protocol="http2")
    peer = None
    for number in range(4):
        gateway.cell(up.port).local_errors_in_a_row = 1
        client = gateway.client().send(GET)
        peer = peer or accept(gateway, up)
        stream, _ = peer.request()
        assert gateway.cell(up.port).local_errors_in_a_row == 0
        if number % 2:
            peer.answer(stream, b"")
        else:
            peer.h2.reset_stream(stream, 2)
            peer.flush()
        assert client.response().status == (200 if number % 2 else 503)
    assert not ejected(gateway, up)


def test_a_connection_that_is_lost_before_the_answer_counts(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up)
    for _ in range(3):
        client = gateway.client().send(GET)
        peer = up.accept(gateway)
        peer.request()
        peer.close()
        assert client.response().status == 503
    assert ejected(gateway, up)


def test_the_end_of_an_idle_connection_does_not_count(gateway: Gateway) -> None:
    """The request is repeated on a new one, and the endpoint is as good as before."""
    up = gateway.upstream()
    serve(gateway, up, Outlier(consecutive_errors=1, max_ejection_percent=100))
    client = gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    peer.send(OK)
    assert client.response().status == 200
    client.send(GET)
    peer.request()
    peer.reset()
    again = up.accept(gateway)
    again.request()
    again.send(OK)
    assert client.response().status == 200 and not ejected(gateway, up)


def test_a_client_that_leaves_says_nothing_of_the_endpoint(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, Outlier(consecutive_errors=1, max_ejection_percent=100))
    client = gateway.client().send(GET)
    up.accept(gateway).request()
    client.close()
    gateway.settle()
    assert not ejected(gateway, up)


def test_without_outlier_detection_nothing_is_ejected(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.serve(up)
    assert [exchange(gateway, up, BAD % 500) for _ in range(20)] == [500] * 20
    assert not ejected(gateway, up)


@pytest.mark.parametrize("percent", [1, 100])
def test_one_may_always_be_ejected_unless_none_may(gateway: Gateway, percent: int) -> None:
    up = gateway.upstream()
    serve(gateway, up, Outlier(consecutive_errors=1, max_ejection_percent=percent))
    exchange(gateway, up, BAD % 500)
    assert ejected(gateway, up)


def test_layer_4_counts_connects(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"connect_attempts": 1})
    up = gateway.upstream()
    gateway.relay(up, policy=Policy(outlier=Outlier(consecutive_errors=2, max_ejection_percent=100)))
    up.close()
    gateway.client().until_end()
    assert not ejected(gateway, up)
    gateway.client().until_end()
    assert ejected(gateway, up)


def test_a_connect_at_layer_4_ends_the_row(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"connect_attempts": 1})
    up = gateway.upstream()
    gateway.relay(up, policy=Policy(outlier=Outlier(consecutive_errors=2, max_ejection_percent=100)))
    gateway.cell(up.port).errors_in_a_row = 1
    client = gateway.client()
    up.accept(gateway)
    gateway.settle()
    assert gateway.cell(up.port).errors_in_a_row == 0
    client.close()
