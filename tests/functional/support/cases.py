"""The reliability cases: what they are, how one is put to a gateway, and what counts as right.

A case is a line of JSON. ``raw_b64``, ``raw`` (latin-1, with ``fill``) or ``raw_segments`` ([base64, pause]) is what the client
sends; ``expect`` is the verdict wanted:

reject          nothing reaches the upstream, one answer whose status is in ``status`` (0: closed without one), the connection
                closes. Where 200 is in ``status`` a clean forward without ``hasnot`` and with ``body_b64`` is accepted instead.
reject-body     the head may have been relayed, but the upstream never sees a complete message; the connection closes.
forward-once    exactly one request reaches the upstream; forward-n: ``n`` of them, answered in order.
local           answered by the gateway, the upstream sees nothing.
either-no-desync  any of ``status``; never more requests upstream than answers to the client.

``has`` / ``hasnot`` are regexes over the bytes that reached the upstream, ``close`` wants the client's connection closed, ``half``
makes the client half-close after sending, ``hold`` lets the gateway wait for more. A request for /evil that the upstream completes
needs an answer of its own at the client, always.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .client import Client, Disconnected
from .http1 import Malformed, Message, Request, Response, client_reader, request_reader
from .origin import RecordingOrigin, Seen, ok

HOP_BY_HOP = {"keep-alive", "proxy-connection", "upgrade", "http2-settings", "proxy", "trailer", "transfer_encoding"}
REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
FOLLOW, SENTINEL = "/follow-", "/sentinel-"
CLOSE_WAIT_S = 8.0


@dataclass
class Case:
    """A line of the data file, decoded. ``data`` keeps what only single kinds of cases use."""

    id: str
    group: str
    expect: str
    statuses: list[int]
    segments: list[tuple[bytes, float]]
    data: dict[str, Any]

    @property
    def raw(self) -> bytes:
        return b"".join(piece for piece, _ in self.segments)

    @property
    def body(self) -> bytes | None:
        return base64.b64decode(self.data["body_b64"]) if "body_b64" in self.data else None

    def flag(self, name: str) -> bool:
        return bool(self.data.get(name))


def load(path: Path) -> list[Case]:
    """Cases of one file, in order. Ids are unique."""
    cases = [_case(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]
    assert len({case.id for case in cases}) == len(cases), "an id came twice"
    return cases


def _case(line: dict[str, Any]) -> Case:
    if "raw_segments" in line:
        segments = [(base64.b64decode(piece), float(pause)) for piece, pause in line["raw_segments"]]
    elif "raw" in line:
        segments = [(_filled(line).encode("latin-1"), 0.0)]
    else:
        segments = [(base64.b64decode(line.get("raw_b64") or line["req_b64"]), 0.0)]
    return Case(line["id"], line["group"], line["expect"], line.get("status", []), segments, line)


@dataclass
class Bench:
    """A gateway in front of two origins: webapp.test is routed to ``webapp``, admin.test to ``admin``."""

    port: int
    webapp: RecordingOrigin
    admin: RecordingOrigin
    close_wait_s: float = CLOSE_WAIT_S

    def prepare(self) -> None:
        for origin in (self.webapp, self.admin):
            origin.answer = plain_answer(origin.name)
            origin.on_head = None

    def barrier(self) -> None:
        """A request of its own through the gateway, then both records settled: what was sent upstream before is recorded now.

        It also shows that the worker is alive and that nothing poisons the next client's answer.
        """
        target = SENTINEL + uuid.uuid4().hex
        with Client(self.port) as client:
            answer = client.get(target, "webapp.test", "Connection: close")
        assert answer.status == 200, f"a plain request after the case got {answer.status}"
        assert answer.value("x-target") == target, f"a plain request after the case got the answer to {answer.value('x-target')}"
        self.webapp.settle()
        self.admin.settle()


def plain_answer(name: str) -> Any:
    """200 with the request's number and target in fields and body, so that an answer can be matched to its request."""

    def answer(seen: Seen) -> bytes:
        target = seen.message.target
        return ok(
            f"{name} {seen.sequence} {target}".encode("latin-1"),
            f"X-Origin: {name}",
            f"X-Seq: {seen.sequence}",
            f"X-Target: {target}",
        )

    return answer


def _filled(line: dict[str, Any]) -> str:
    """``raw`` with its place-holders: "fill": {"{big}": ["a", 60000]} stands for 60000 times "a"."""
    raw: str = line["raw"]
    for name, (piece, times) in line.get("fill", {}).items():
        raw = raw.replace(name, piece * times)
    return raw


@dataclass
class Observation:
    """What both ends saw of one case; the case's own follow-up and sentinel requests are taken out."""

    responses: list[Response] = field(default_factory=list)
    interim: int = 0
    broken: str = ""
    ended: str = ""
    received: bytes = b""
    follow: Response | None = None
    upstream: list[Seen] = field(default_factory=list)
    begun: list[Request] = field(default_factory=list)
    still_open: list[int] = field(default_factory=list)
    admin: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Status of the first final answer, 0 without one."""
        return self.responses[0].status if self.responses else 0

    @property
    def upstream_bytes(self) -> str:
        whole = b"".join(bytes(seen.message.raw) for seen in self.upstream)
        return (whole + b"".join(bytes(request.raw) for request in self.begun)).decode("latin-1")


def observe(case: Case, bench: Bench) -> Observation:
    """Put the case to the gateway. Raises AssertionError when the gateway does not serve the sentinel afterwards."""
    bench.prepare()
    marks = bench.webapp.mark(), bench.admin.mark()
    seen = Observation()
    with Client(bench.port, timeout_s=bench.close_wait_s) as client:
        client.send_segments(case.segments)
        if case.flag("half"):
            client.half_close()
        _gather(case, client, seen)
        seen.received = bytes(client.received)
        seen.ended = client.ended
    bench.barrier()
    _collect_upstream(bench, marks, seen)
    return seen


def _gather(case: Case, client: Client, seen: Observation) -> None:
    methods = methods_of(case.raw)
    try:
        if case.expect.startswith("reject") or case.flag("half"):
            _read_refusal(case, client, methods, seen)
            return
        for _ in range(case.data.get("n", 1) if case.expect == "forward-n" else 1):
            _read_one(client, methods, seen)
        if case.flag("close"):
            client.wait_closed()
        else:
            _follow_up(client, methods, seen)
    except Disconnected as error:
        if error.partial is not None:
            seen.broken = str(error)
    except Malformed as error:
        seen.broken = f"malformed answer: {error}"
    except TimeoutError:
        if not case.flag("hold"):
            seen.broken = "no answer"


def _read_one(client: Client, methods: list[str], seen: Observation) -> Response:
    response = client.response(methods.pop(0) if methods else "GET")
    seen.responses.append(response)
    seen.interim += len(response.interim)
    return response


def _read_refusal(case: Case, client: Client, methods: list[str], seen: Observation) -> None:
    """All answers up to the close; an answer that is no refusal is already the verdict and is not waited on."""
    first = _read_one(client, methods, seen)
    if case.expect == "reject" and first.status < 300:
        _follow_up(client, methods, seen)
        return
    while client.rest() or not client.ended:
        _read_one(client, methods, seen)


def _follow_up(client: Client, methods: list[str], seen: Observation) -> None:
    """One more request on the same connection: unless the gateway closed it, its answer must come, and be its own."""
    target = FOLLOW + uuid.uuid4().hex
    request = f"GET {target} HTTP/1.1\r\nHost: webapp.test\r\nConnection: close\r\n\r\n"
    client.send_segments([(request.encode(), 0.0)])
    methods += ["GET"] * 3
    while client.rest() or not client.ended:
        response = _read_one(client, methods, seen)
        if response.value("x-target") == target:
            seen.follow = seen.responses.pop()


def methods_of(raw: bytes) -> list[str]:
    """Methods of the requests in a client's bytes, as far as a strict reader can tell."""
    found: list[Message] = []
    with contextlib.suppress(Malformed):
        client_reader(found.append).feed(raw)
    if not found and raw.startswith(b"HEAD "):
        return ["HEAD"]
    return [message.method for message in found if isinstance(message, Request)]


def _collect_upstream(bench: Bench, marks: tuple[int, int], seen: Observation) -> None:
    own = (FOLLOW, SENTINEL)
    seen.upstream = [s for s in bench.webapp.since(marks[0]) if not s.message.target.startswith(own)]
    seen.admin = len(bench.admin.since(marks[1])) + len(bench.admin.partials())
    deadline = time.monotonic() + bench.close_wait_s
    while any(not c.ended for c, _ in bench.webapp.partials()) and time.monotonic() < deadline:
        time.sleep(0.01)
        bench.webapp.settle()
    for connection, partial in bench.webapp.partials():
        if partial is not None:
            seen.begun.append(partial)
            if not connection.ended:
                seen.still_open.append(connection.number)
        elif not connection.fault and connection.reader.buffer:
            seen.faults.append(f"a cut head: {bytes(connection.reader.buffer[:80])!r}")
    seen.faults += bench.webapp.faults() + bench.admin.faults()
    bench.webapp.forget_ended()
    bench.admin.forget_ended()


# --- judging


def judge(case: Case, seen: Observation, *, own_headers: bool = True) -> list[str]:
    """What is wrong with it; empty when all is right. ``own_headers``: check also what fastgw itself adds and removes."""
    faults = [f"the upstream got bytes that a strict reader refuses: {fault}" for fault in seen.faults]
    if seen.admin:
        faults.append("the second virtual host was reached")
    if seen.broken:
        faults.append(seen.broken)
    if seen.interim > 1:
        faults.append(f"{seen.interim} interim answers")
    faults += _judge_patterns(case, seen) + _judge_answers(case, seen) + VERDICTS[case.expect](case, seen)
    if own_headers:
        faults += [fault for s in seen.upstream for fault in forwarded_faults(s.message)]
    return faults


def _status_faults(case: Case, seen: Observation) -> list[str]:
    return [] if seen.status in case.statuses else [f"status {seen.status}, wanted one of {case.statuses}"]


def _closed_faults(seen: Observation) -> list[str]:
    return [] if seen.ended else ["the connection stays open"]


def _judge_patterns(case: Case, seen: Observation) -> list[str]:
    text = seen.upstream_bytes
    faults = [f"reached the upstream: {p}" for p in case.data.get("hasnot", []) if re.search(p, text, re.I | re.S)]
    if text:
        faults += [f"missing upstream: {p}" for p in case.data.get("has", []) if not re.search(p, text, re.I | re.S)]
    if case.body is not None and seen.upstream and bytes(seen.upstream[0].message.body) != case.body:
        faults.append(f"upstream decoded the body {bytes(seen.upstream[0].message.body)[:200]!r}")
    return faults


def _judge_answers(case: Case, seen: Observation) -> list[str]:
    """Each request that the upstream completed has its own answer at the client, in order; a client that left may miss some."""
    wanted = [str(s.sequence) for s in seen.upstream]
    got = [r.value("x-seq") for r in seen.responses if r.value("x-seq")]
    # a client that half-closed may be taken for gone: the answers that it still gets are the first ones
    gone = case.flag("half") and got == wanted[: len(got)]
    faults = []
    if got != wanted and not gone:
        faults.append(f"the upstream completed requests {wanted}, the client got answers to {got}")
    evil = [s for s in seen.upstream if s.message.target.startswith("/evil")]
    if evil and len(got) < len(wanted):
        faults.append("a request for /evil reached the upstream without an answer of its own")
    return faults


def _judge_reject(case: Case, seen: Observation) -> list[str]:
    faults = _status_faults(case, seen)
    if seen.status == 200:
        return faults + _exactly(seen, 1)
    if len(seen.responses) > 1:
        faults.append(f"{len(seen.responses)} answers")
    if seen.upstream or seen.begun:
        faults.append(f"reached the upstream: {seen.upstream_bytes[:200]!r}")
    return faults + _closed_faults(seen)


def _judge_reject_body(case: Case, seen: Observation) -> list[str]:
    faults = _status_faults(case, seen) + _closed_faults(seen)
    if seen.upstream:
        faults.append(f"the upstream saw a complete message: {seen.upstream_bytes[:200]!r}")
    if seen.still_open:
        faults.append("the upstream connection of the broken message stays open")
    return faults


def _exactly(seen: Observation, n: int) -> list[str]:
    faults = []
    if len(seen.upstream) != n:
        faults.append(f"{len(seen.upstream)} requests reached the upstream, wanted {n}")
    if len(seen.responses) != n:
        faults.append(f"{len(seen.responses)} answers, wanted {n}")
    if seen.begun:
        faults.append("a request was begun upstream and not completed")
    return faults


def _judge_forward(case: Case, seen: Observation) -> list[str]:
    faults = _exactly(seen, case.data.get("n", 1))
    faults += [f"status {r.status}" for r in seen.responses if r.status not in case.statuses]
    asked_to_close = re.search(rb"connection:[^\r\n]*close", case.raw, re.I)
    if case.flag("close"):
        faults += _closed_faults(seen)
    elif seen.follow is None and not asked_to_close:
        faults.append("the connection was not kept for the next request")
    return faults


def _judge_local(case: Case, seen: Observation) -> list[str]:
    faults = _status_faults(case, seen)
    return faults + (["reached the upstream"] if seen.upstream or seen.begun else [])


def _judge_either(case: Case, seen: Observation) -> list[str]:
    faults = _status_faults(case, seen)
    if "n" in case.data and len(seen.upstream) > case.data["n"]:
        faults.append(f"{len(seen.upstream)} requests reached the upstream, at most {case.data['n']} are there")
    if len(seen.upstream) > complete_requests(case.raw):
        faults.append("the upstream completed more requests than the client had sent")
    if seen.still_open:
        faults.append("the upstream connection of the unfinished message stays open")
    if case.flag("close"):
        faults += _closed_faults(seen)
    return faults


def complete_requests(raw: bytes) -> int:
    """How many whole requests a strict reader finds, or a bound when it refuses the bytes."""
    found: list[Message] = []
    try:
        request_reader(found.append).feed(raw)
    except Malformed:
        return raw.count(b" HTTP/1.")
    return len(found)


VERDICTS = {
    "reject": _judge_reject,
    "reject-body": _judge_reject_body,
    "forward-once": _judge_forward,
    "forward-n": _judge_forward,
    "local": _judge_local,
    "either-no-desync": _judge_either,
}


def forwarded_faults(message: Request) -> list[str]:
    """What every request that the gateway writes must be, whatever the client sent."""
    names = [name.decode("latin-1") for name, _ in message.fields]
    websocket = message.values("upgrade") == ["websocket"]
    wanted = {"upgrade"} if websocket else {"keep-alive"}
    unsafe = HOP_BY_HOP - wanted if websocket else HOP_BY_HOP
    faults = [f"upstream got the hop-by-hop or unsafe field {n}" for n in names if n.lower() in unsafe or "_" in n]
    faults += [f"field name {n} is not in lower case" for n in names if n != n.lower()]
    if message.version != "HTTP/1.1":
        faults.append(f"upstream got {message.version}")
    if len(message.values("host")) != 1:
        faults.append(f"upstream got host {message.values('host')}")
    if [v for v in message.values("te") if v.lower() != "trailers"] or {*message.values("connection")} - wanted:
        faults.append("te or connection was relayed")
    if message.trailers:
        faults.append("trailers were relayed")
    forwarded = ",".join(message.values("x-forwarded-for")).split(",")
    if forwarded[-1].strip() != "127.0.0.1":
        faults.append(f"x-forwarded-for {forwarded}")
    if message.values("x-forwarded-proto") != ["http"]:
        faults.append(f"x-forwarded-proto {message.values('x-forwarded-proto')}")
    ids = message.values("x-request-id")
    if len(ids) != 1 or not REQUEST_ID.fullmatch(ids[0]):
        faults.append(f"x-request-id {ids}")
    return faults
