"""Thousands of bytes that nobody meant: mutated requests, and a strict reader's opinion of each.

Whatever is sent, the upstream sees only requests that the reader finds in the client's bytes, with the same methods and bodies in
the same order, well-formed; each has its own answer; the worker lives and keeps nothing.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support.cases import Bench, Case, Observation, forwarded_faults, load, observe
from .support.config import gateway, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.http1 import Malformed, Message, Request, client_reader
from .support.origin import RecordingOrigin

DATA = Path(__file__).with_name("data")
CASES = [case for case in load(DATA / "reliability_cases.jsonl") + load(DATA / "strict_cases.jsonl") if len(case.raw) < 1500]
# what is served is three times as likely to be the start as what is refused: most edits spoil it anyway
SEEDS = [case.raw for case in CASES for _ in range(3 if case.expect.startswith("forward") else 1)]
SPECIAL = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"\r\n\r\n",
    b"\x7f",
    b"\xff",
    b"0\r\n\r\n",
    b"Content-Length: 3\r\n",
]
SPECIAL += [
    b"Transfer-Encoding: chunked\r\n",
    b"Host: webapp.test\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"-",
    b"_",
    b"%",
    b"#",
]
ROUNDS, MUTATIONS_A_ROUND = 8, 300


@pytest.fixture(scope="module")
def mutated_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Bench]]:
    with RecordingOrigin("webapp") as webapp, RecordingOrigin("admin") as admin:
        documents = [gateway(hosts=["webapp.test", "admin.test"])]
        for origin in (webapp, admin):
            documents.append(virtual_service(origin.name, [f"{origin.name}.test"], [route(origin.name, 8080)]))
            documents.append(service_entry(origin.name, [("127.0.0.1", origin.port)]))
        with Gateway(tmp_path_factory.mktemp("differential"), documents, workers=1) as running:
            yield running, Bench(running.port(), webapp, admin)


def mutate(generator: random.Random) -> bytes:
    """One to four edits of a seed: flip, insert, delete, repeat, or the end of another seed."""
    raw = bytearray(generator.choice(SEEDS))
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(raw) + 1)
        kind = generator.randrange(5)
        if kind == 0 and at < len(raw):
            raw[at] = generator.randrange(256)
        elif kind == 1:
            raw[at:at] = generator.choice(SPECIAL)
        elif kind == 2:
            del raw[at : at + generator.randint(1, 8)]
        elif kind == 3:
            raw[at:at] = raw[at : at + generator.randint(1, 40)]
        else:
            other = generator.choice(SEEDS)
            raw[at:] = other[generator.randrange(len(other)) :]
    return bytes(raw)


def requests_in(raw: bytes) -> list[tuple[str, bytes]]:
    """Method and body of each request that the strict reader finds, up to the first that it refuses."""
    found: list[Message] = []
    with contextlib.suppress(Malformed):
        client_reader(found.append).feed(raw)
    return [(message.method, bytes(message.body)) for message in found if isinstance(message, Request)]


def faults_of(raw: bytes, seen: Observation) -> list[str]:
    faults = list(seen.faults)
    if seen.broken.startswith(("malformed", "no answer")):
        faults.append(seen.broken)
    upstream = [(s.message.method, bytes(s.message.body)) for s in seen.upstream]
    wanted = requests_in(raw)
    # some of them may have been answered by the gateway: the others are still the client's, in its order
    rest = iter(wanted)
    if not all(one in rest for one in upstream):
        faults.append(f"the upstream saw {upstream}, the client had sent {wanted}")
    answered = [r.value("x-seq") for r in seen.responses if r.value("x-seq")]
    if answered != [str(s.sequence) for s in seen.upstream][: len(answered)]:
        faults.append("an answer belongs to another request")
    return faults + [fault for s in seen.upstream for fault in forwarded_faults(s.message)]


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_the_upstream_sees_what_a_strict_reader_sees(mutated_gateway: tuple[Gateway, Bench], round_: int) -> None:
    running, bench = mutated_gateway
    generator = random.Random(round_)
    served = 0
    for _ in range(MUTATIONS_A_ROUND):
        raw = mutate(generator)
        seen = observe(Case("mutation", "mutation", "either-no-desync", [], [(raw, 0.005)], {"half": True}), bench)
        faults = faults_of(raw, seen)
        assert not faults, (raw, faults)
        served += bool(seen.upstream)
    assert served > MUTATIONS_A_ROUND // 30, "hardly anything got through: the mutations test nothing"
    running.assert_no_leaks()
    running.assert_no_bugs()
