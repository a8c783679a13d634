"""The cases in which the upstream misbehaves (group ``resp``): the same data file, other fields.

``upstream_b64`` or ``upstream_segments`` is what the upstream answers, ``upstream_close`` ends its connection afterwards. ``has``
and ``hasnot`` are regexes over what the client received. ``expect``: bad-gateway (502, nothing of the upstream's bytes), relay (the
answer arrives whole), truncate (the client can tell that the answer is cut, or gets 502), either. ``burn``: the upstream connection
is never used again. ``special``: ``unsolicited`` sends bytes on the idle kept-alive connection; ``early`` answers before the body.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass

from .cases import Bench, Case, plain_answer
from .client import Client, Disconnected
from .http1 import Malformed, Request, Response
from .origin import Connection, RecordingOrigin, Reply, Seen, ok
from .poll import eventually

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npoison!"


@dataclass
class Outcome:
    """``connection`` is the upstream connection of the case's request; what was recorded later is numbered above ``after``."""

    received: str
    response: Response | None
    cut: str
    connection: int
    after: int


def observe_response(case: Case, bench: Bench) -> Outcome:
    """Play the case: one request on a connection of its own, the upstream answering as the case says."""
    bench.prepare()
    origin = bench.webapp
    used: list[int] = []
    if case.data.get("special") == "early":
        origin.on_head = _early(case, used)
    else:
        origin.answer = _scripted(case, used)
    with Client(bench.port) as client:
        client.send_segments(case.segments)
        method = case.raw.split(b" ")[0].decode()
        response: Response | None
        try:
            response, cut = client.response(method), ""
        except Disconnected as error:
            response, cut = error.partial, "cut"
        except Malformed as error:
            response, cut = None, f"malformed: {error}"
        if case.data.get("special") == "unsolicited":
            _send_unsolicited(origin, used[0])
        origin.on_head = None
        after = origin.mark()
        origin.answer = plain_answer(origin.name)
        _drain_stray_bytes(bench)
        return Outcome(client.received.decode("latin-1"), response, cut, used[0], after)


def _reply_of(case: Case) -> Reply:
    if "upstream_segments" in case.data:
        return Reply(
            segments=[(base64.b64decode(piece), pause) for piece, pause in case.data["upstream_segments"]],
            close=case.flag("upstream_close"),
        )
    data = base64.b64decode(case.data["upstream_b64"]) if case.data.get("upstream_b64") else ok(b"hello")
    return Reply(data, close=case.flag("upstream_close"))


def _scripted(case: Case, used: list[int]) -> Callable[[Seen], Reply]:
    def answer(seen: Seen) -> Reply:
        used.append(seen.connection)
        return _reply_of(case)

    return answer


def _early(case: Case, used: list[int]) -> Callable[[Connection, Request], Reply]:
    def on_head(connection: Connection, message: Request) -> Reply:
        used.append(connection.number)
        return _reply_of(case)

    return on_head


def _send_unsolicited(origin: RecordingOrigin, number: int) -> None:
    (connection,) = [c for c in origin.connections if c.number == number]
    origin.call(lambda: origin.send(connection, POISON))


def _drain_stray_bytes(bench: Bench) -> None:
    """Several clients after the case: each gets the answer to its own request."""
    for _ in range(3):
        bench.barrier()


def judge_response(case: Case, outcome: Outcome, bench: Bench) -> list[str]:
    """What is wrong; empty when all is right."""
    faults = RESPONSE_VERDICTS[case.expect](case, outcome)
    if outcome.cut.startswith("malformed"):
        faults.append(outcome.cut)
    faults += [f"the client got {p}" for p in case.data.get("hasnot", []) if re.search(p, outcome.received, re.I | re.S)]
    if case.flag("burn"):
        faults += _burn_faults(outcome, bench)
    return faults


def _missing(case: Case, outcome: Outcome) -> list[str]:
    return [f"the client did not get {p}" for p in case.data.get("has", []) if not re.search(p, outcome.received, re.I | re.S)]


def _judge_bad_gateway(case: Case, outcome: Outcome) -> list[str]:
    response = outcome.response
    if response is None or outcome.cut:
        return [f"no whole answer ({outcome.cut}): {outcome.received[:200]!r}"]
    faults = [] if response.status == 502 else [f"status {response.status}, wanted 502"]
    if "hello" in outcome.received or "raw" in outcome.received:
        faults.append("bytes of the broken answer reached the client")
    return faults


def _judge_relay(case: Case, outcome: Outcome) -> list[str]:
    if outcome.response is None or outcome.cut:
        return [f"no whole answer ({outcome.cut}): {outcome.received[:200]!r}"]
    if outcome.response.status == 502:
        return ["502 for an answer that is to be relayed"]
    return _missing(case, outcome)


def _judge_truncate(case: Case, outcome: Outcome) -> list[str]:
    if outcome.cut == "cut" or (outcome.response is not None and outcome.response.status == 502):
        return []
    return [f"the client took the cut answer for whole: {outcome.received[:200]!r}"]


def _judge_response_either(case: Case, outcome: Outcome) -> list[str]:
    if outcome.response is None or outcome.cut == "cut":
        return [] if case.flag("upstream_close") else [f"no whole answer ({outcome.cut})"]
    return [] if outcome.response.status == 502 else _missing(case, outcome)


RESPONSE_VERDICTS = {
    "bad-gateway": _judge_bad_gateway,
    "relay": _judge_relay,
    "truncate": _judge_truncate,
    "either": _judge_response_either,
}


def _burn_faults(outcome: Outcome, bench: Bench) -> list[str]:
    """The connection is closed by the gateway, and no request came on it after the case's own."""
    origin = bench.webapp
    (connection,) = [c for c in origin.connections if c.number == outcome.connection]
    try:
        eventually(lambda: connection.ended, "the upstream connection is closed")
    except AssertionError as error:
        return [str(error)]
    later = [s for s in origin.since(outcome.after) if s.connection == outcome.connection]
    return [] if not later else ["the burnt connection was used again"]
