"""Damaged messages from both sides at once: no worker dies, no exception is caught, nothing stays alive afterwards.

Seeds are fixed and the number of requests is bounded; what goes in are the reliability cases with bytes changed, cut, inserted and
spliced together, sent in odd pieces and ended in odd ways, to an upstream that answers in kind.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.config import simple
from .support.origin import ThreadedOrigin
from .support.poll import eventually

HOST = "webapp.test"
DATA = Path(__file__).parent / "data"
CLIENTS = 4
CONNECTIONS = 250
LONGEST = 20_000
RESET = struct.pack("ii", 1, 0)


def corpus(key: str) -> list[bytes]:
    """All messages that the case files have under ``key``."""
    lines = [json.loads(line) for path in sorted(DATA.glob("*.jsonl")) for line in path.read_text().splitlines() if line]
    return [base64.b64decode(line[key]) for line in lines if line.get(key)]


def mutate(draw: random.Random, message: bytes, others: list[bytes]) -> bytes:
    """``message`` with up to five changes."""
    data = bytearray(message)
    changes: list[Callable[[int], None]] = [
        lambda at: data.__setitem__(at, draw.randrange(256)),
        lambda at: data.__delitem__(slice(at, at + draw.randrange(1, 8))),
        lambda at: data.__setitem__(slice(at, at), bytes(draw.choices(b"\r\n \t:;,0aA/%?", k=draw.randrange(1, 4)))),
        lambda at: data.__setitem__(slice(at, at), piece(draw, draw.choice(others))),
        lambda at: data.__delitem__(slice(at, len(data))),
        lambda at: data.extend(draw.choice(others)),
    ]
    for _ in range(draw.choice([0, 1, 1, 2, 3, 5])):
        if data:
            draw.choice(changes)(draw.randrange(len(data)))
    return bytes(data[:LONGEST])


def piece(draw: random.Random, message: bytes) -> bytes:
    start = draw.randrange(len(message) + 1)
    return message[start : start + draw.randrange(1, 60)]


def hostile_answers(seed: int) -> Callable[[socket.socket], None]:
    """An upstream: half of its answers are right, the others damaged, cut or reset."""
    answers = corpus("upstream_b64")

    def serve(sock: socket.socket) -> None:
        draw = random.Random(seed + sock.fileno())
        sock.settimeout(5)
        while sock.recv(65536):
            kind = draw.random()
            if kind < 0.5:
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                continue
            if kind > 0.95:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            answer = mutate(draw, draw.choice(answers), answers)
            cut = draw.randrange(len(answer) + 1)
            sock.sendall(answer[:cut])
            sock.sendall(answer[cut:])
            if draw.random() < 0.5:
                return

    return serve


def hostile_client(port: int, seed: int, requests: list[bytes]) -> None:
    draw = random.Random(seed)
    for _ in range(CONNECTIONS):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.settimeout(0.02)
            for _ in range(draw.randrange(1, 4)):
                send_in_pieces(draw, sock, mutate(draw, draw.choice(requests), requests))
                with contextlib.suppress(TimeoutError):
                    sock.recv(65536)
            if draw.random() < 0.3:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def send_in_pieces(draw: random.Random, sock: socket.socket, message: bytes) -> None:
    at = 0
    while at < len(message):
        size = draw.choice([1, 7, 100, 5000, len(message)])
        sock.sendall(message[at : at + size])
        at += size


@pytest.mark.parametrize("seed", [1, 2])
def test_no_damage_harms_a_worker(start_gateway: StartGateway, seed: int) -> None:
    requests = [message for message in corpus("raw_b64") if len(message) < LONGEST]
    with ThreadedOrigin(hostile_answers(seed)) as origin:
        gateway = start_gateway(simple(HOST, origin.port), workers=2)
        before = gateway.worker_pids()
        clients = [threading.Thread(target=hostile_client, args=(gateway.port(), seed * 100 + n, requests)) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert gateway.worker_pids() == before
        gateway.assert_no_bugs()
        enough = CLIENTS * CONNECTIONS / 4
        eventually(lambda: gateway.metrics().total("fastgw_rejected_requests_total") > enough, "refusals")
        # start_gateway then proves that nothing is left alive inside
