"""Upstreams that flap, answer slowly, cut answers and close kept-alive connections: every request has an answer, none a wrong one,
and failures are there only where the policy says so."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .conftest import StartGateway
from .support.client import Client, Disconnected
from .support.config import destination, gateway, service_entry, virtual_service
from .support.origin import RecordingOrigin, Reply, Seen, ok

HOST = "chaos.test"
CLIENTS, REQUESTS_A_CLIENT = 8, 1250
ATTEMPTS = 3  # after the first
MOODS = {"well": 70, "closes": 12, "slow": 5, "refuses": 5, "silent": 5, "cut": 3}


class Moods:
    """What the origins did with each request, in order."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = defaultdict(list)
        self._lock = threading.Lock()
        self._random = random.Random(7)

    def draw(self, name: str) -> str:
        with self._lock:
            mood = self._random.choices(list(MOODS), list(MOODS.values()))[0]
            self.of[name].append(mood)
            return mood

    def answer(self, seen: Seen) -> Reply:
        name = seen.message.target
        body = name.encode() * 40
        mood = self.draw(name)
        whole = ok(body)
        return {
            "well": Reply(whole),
            "closes": Reply(whole, close=True),
            "slow": Reply(segments=[(whole[:60], 0.02), (whole[60:], 0.0)]),
            "refuses": Reply(ok(b"busy", status="503 Service Unavailable")),
            "silent": Reply(close=True),
            "cut": Reply(whole[:-20], close=True),
        }[mood]


def outcome(client: Client, method: str, name: str) -> str:
    """ "right", "wrong", "cut" after the head, "nothing", or the status."""
    client.send(f"{method} {name} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {4 if method == 'POST' else 0}\r\n\r\n")
    if method == "POST":
        client.send("data")
    try:
        answer = client.response()
    except Disconnected as end:
        return "nothing" if end.partial is None else "cut"
    if answer.value("connection") == "close":
        client.close()
    if answer.status != 200:
        return str(answer.status)
    return "right" if answer.text == name * 40 else "wrong"


def one_client(port: int, number: int) -> dict[str, tuple[str, str]]:
    found = {}
    client = Client(port)
    for turn in range(REQUESTS_A_CLIENT):
        method, name = ("POST" if turn % 5 == 0 else "GET"), f"/{number}-{turn}"
        found[name] = method, outcome(client, method, name)
        if found[name][1] in ("cut", "nothing"):
            client.close()
        if client.socket.fileno() < 0:
            client = Client(port)
    client.close()
    return found


def judge(method: str, result: str, moods: list[str]) -> str:
    """What is wrong with it, "" if nothing is."""
    if result in ("wrong", "nothing"):
        return "no answer, or another request's"
    if method == "POST" and len(moods) > 1:
        return "not idempotent, and sent twice"
    if len(moods) > 1 + ATTEMPTS + 1:  # one more for a connection that had gone stale
        return "tried too often"
    last = moods[-1] if moods else "never seen"
    if result == "right":
        return "" if last in ("well", "closes", "slow") else "the origin did not say so"
    if result == "cut":
        return "" if last == "cut" else "cut without a reason"
    if result == "503":
        return "" if last in ("refuses", "silent") or method == "POST" else "a failure that is nobody's"
    return "not a status of this policy"


def test_ten_thousand_requests(start_gateway: StartGateway, make_origin: Callable[..., RecordingOrigin]) -> None:
    moods = Moods()
    origins = [make_origin(f"o{number}") for number in range(3)]
    for origin in origins:
        origin.answer = moods.answer
    retries = {"attempts": ATTEMPTS, "retryOn": "5xx,reset,connect-failure", "backoff": "1ms"}
    running = start_gateway(
        [
            gateway(hosts=["*"]),
            virtual_service("chaos", [HOST], [{"route": [destination("backend")], "retries": retries, "timeout": "10s"}]),
            service_entry("backend", [("127.0.0.1", origin.port) for origin in origins]),
        ]
    )
    found: dict[str, tuple[str, str]] = {}
    with ThreadPoolExecutor(CLIENTS) as pool:
        for some in pool.map(lambda number: one_client(running.port(), number), range(CLIENTS)):
            found |= some
    faults = [(name, *said, moods.of[name], judge(*said, moods.of[name])) for name, said in found.items()]
    faults = [fault for fault in faults if fault[-1]]
    assert len(found) == CLIENTS * REQUESTS_A_CLIENT
    assert not faults, (len(faults), faults[:10])
    gets = Counter(result for method, result in found.values() if method == "GET")
    assert gets["right"] > 0.9 * sum(gets.values()), gets
    running.assert_no_leaks()
