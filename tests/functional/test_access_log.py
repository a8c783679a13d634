"""The access log: Istio's default line, JSON, formats of one's own, where it goes, what it does with hostile bytes."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.client import Client, request_bytes
from .support.config import simple
from .support.gateway import Gateway, run_cli
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.ports import free_port

HOST = "webapp.test"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def logging_gateway(start: StartGateway, port: int, log: Path | str, form: str | None = None, **options: object) -> Gateway:
    words = ["--access-log", str(log), *(["--access-log-format", form] if form else [])]
    return start(simple(HOST, port), options=words, **options)


def lines(log: Path, count: int) -> list[str]:
    """Exactly ``count`` lines, once they are there."""

    def enough() -> list[str]:
        text = log.read_text(encoding="latin-1") if log.exists() else ""
        found = text.splitlines()
        assert len(found) >= count and text.endswith("\n"), text
        return found

    found = eventually(enough, f"{count} lines in the log")
    assert len(found) == count, found
    return found


def test_default_line(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log)
    with gateway.client() as client:
        answer = client.request(
            request_bytes("POST", "/a?b=c", HOST, ["User-Agent: test/1", "X-Forwarded-For: 1.2.3.4"], body=b"hello")
        )
        request_id = dict(json.loads(answer.body)["headers"])["x-request-id"]
        port = client.local_port
    (line,) = lines(log, 1)
    wanted = (
        rf'\[{TIME}\] "POST /a\?b=c HTTP/1\.1" 200 - via_upstream - "-" 5 {len(answer.body)} \d+ \d+ '
        r'"1\.2\.3\.4,127\.0\.0\.1" "test/1" '
        rf'"{request_id}" "webapp\.test" "127\.0\.0\.1:{origin.port}" (\S*\|8080\|\|webapp\S*) 127\.0\.0\.1:\d+ '
        rf"127\.0\.0\.1:{gateway.port()} 127\.0\.0\.1:{port} - (\S+)"
    )
    assert re.fullmatch(wanted, line), line


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (request_bytes("GET", "/x", "nobody.test"), r'"GET /x HTTP/1\.1" 404 NR route_not_found '),
        (b"GET / HTTP/1.0\r\nHost: webapp.test\r\n\r\n", r'"GET / HTTP/1\.0" 426 DPE '),
        (b"GET / HTTP/1.1\r\nHost: webapp.test\r\nBad Name: x\r\n\r\n", r" 400 DPE "),
        (b"NONSENSE\r\n\r\n", r" 400 DPE "),
    ],
)
def test_own_answers_are_logged_with_their_flag(
    start_gateway: StartGateway, origin: RecordingOrigin, log: Path, raw: bytes, wanted: str
) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log, workers=1)
    with gateway.client() as client:
        client.request(raw, method="GET")
    (line,) = lines(log, 1)
    assert re.search(wanted, line), line


@pytest.mark.parametrize(
    ("endpoints", "flags"), [("none", "UH no_healthy_upstream"), ("refused", "UF"), ("gone", "UC"), ("timeout", "UT")]
)
def test_upstream_faults_are_logged_with_their_flag(
    start_gateway: StartGateway, origin: RecordingOrigin, log: Path, endpoints: str, flags: str
) -> None:
    from .support.config import gateway as gateway_document
    from .support.config import route, service_entry, virtual_service
    from .support.origin import Reply

    ports = {"none": [], "refused": [free_port()], "gone": [origin.port], "timeout": [origin.port]}[endpoints]
    origin.answer = lambda seen: Reply(close=endpoints == "gone")
    documents = [
        gateway_document(hosts=[HOST]),
        virtual_service("v", [HOST], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", p) for p in ports]),
    ]
    settings = {"upstream-response-timeout": 0.5} if endpoints == "timeout" else {}
    gateway = start_gateway(documents, options=["--access-log", str(log)], settings=settings, workers=1)
    assert gateway.get("/", HOST).status in (503, 504)
    (line,) = lines(log, 1)
    found = re.search(r'HTTP/1\.1" 50[34] (\S+ \S+)', line)
    assert found and found[1].startswith(flags), line


def test_json_lines(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log, "json")
    gateway.get('/q?"x"', HOST, 'User-Agent: a"b\\c')
    gateway.get("/", "nobody.test")
    first, second = sorted((json.loads(line) for line in lines(log, 2)), key=lambda entry: entry["response_code"])
    keys = (
        "start_time route_name method path protocol response_code response_flags response_code_details "
        "connection_termination_details bytes_received bytes_sent duration upstream_service_time x_forwarded_for user_agent "
        "request_id authority upstream_host upstream_cluster upstream_local_address downstream_local_address "
        "downstream_remote_address requested_server_name "
        "upstream_transport_failure_reason"
    )
    assert set(first) == set(second) == set(keys.split())
    assert (first["method"], first["response_code"], first["bytes_received"], first["authority"]) == ("GET", 200, 0, HOST)
    assert first["upstream_host"] == f"127.0.0.1:{origin.port}"
    assert re.fullmatch(TIME, first["start_time"]) and re.fullmatch(UUID, first["request_id"])
    assert 'a"b' in first["user_agent"]
    assert (second["response_code"], second["response_flags"], second["response_code_details"]) == (404, "NR", "route_not_found")


def test_a_format_of_ones_own(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    form = "%REQ(:METHOD)% %REQ(X-A?X-B)% %RESP(X-ORIGIN)% %RESPONSE_CODE% 100%% %PROTOCOL% "
    form += "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(NONE)%"
    gateway = logging_gateway(start_gateway, origin.port, log, form)
    gateway.get("/", HOST, "X-B: two")
    assert lines(log, 1) == ["GET two webapp 200 100% HTTP/1.1 127.0.0.1 -"]


def test_a_format_that_cannot_be_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    done = run_cli("run", str(tmp_path), "--access-log", "-", "--access-log-format", "%NO_SUCH_OPERATOR%")
    assert done.returncode == 2
    assert "NO_SUCH_OPERATOR" in done.stderr and "Traceback" not in done.stderr


def test_hostile_bytes_are_escaped(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log, workers=1)
    with gateway.client() as client:
        client.get('/"quoted"', HOST, 'User-Agent: x" 200 - "\xe9\\n\t')
    with gateway.client() as client:
        client.request(b"GET /\x1b[31m HTTP/1.1\r\nHost: webapp.test\r\nUser-Agent: \x1b]0;x\x07\r\n\r\n", method="GET")
    for line in lines(log, 2):
        assert re.fullmatch(r"[\x20-\x7e]*", line), line
        # the seven quoted strings of the default line, none of them broken out of
        assert len(re.findall(r'(?<!\\)"', line)) == 14, line


def test_a_long_path_does_not_make_an_endless_line(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log, workers=1)
    gateway.get("/" + "a" * 15_000, HOST)
    (line,) = lines(log, 1)
    assert len(line) < 20_000


def test_every_request_has_one_line(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log, "%REQ(:PATH)%")
    with gateway.client() as one, gateway.client() as two:
        for client, name in ((one, "one"), (two, "two")):
            client.send(b"".join(request_bytes("GET", f"/{name}{i}", HOST) for i in range(100)))
        for client in (one, two):
            for _ in range(100):
                client.response()
    assert sorted(lines(log, 200)) == sorted(f"/{name}{i}" for name in ("one", "two") for i in range(100))


def test_standard_output(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = logging_gateway(start_gateway, origin.port, "-", "line %REQ(:PATH)%")
    gateway.get("/out", HOST)
    eventually(lambda: "line /out\n" in gateway.stdout.read_text())


def test_off_is_the_default(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    gateway.get("/quiet-path", HOST)
    gateway.stop()
    assert "quiet-path" not in gateway.stdout.read_text() + gateway.said()


def test_rotation(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log, "%REQ(:PATH)%")
    gateway.get("/before", HOST)
    assert lines(log, 1) == ["/before"]
    rotated = log.with_suffix(".1")
    log.rename(rotated)
    gateway.signal(signal.SIGUSR1)
    eventually(log.exists, "a new file is there")
    with Client(gateway.port()) as client:

        def in_the_new_file() -> bool:
            client.get("/after", HOST)
            return "/after" in log.read_text()

        eventually(in_the_new_file)
    assert rotated.read_text().splitlines()[0] == "/before"


def test_lines_of_a_stopping_gateway_are_not_lost(start_gateway: StartGateway, origin: RecordingOrigin, log: Path) -> None:
    gateway = logging_gateway(start_gateway, origin.port, log, "%REQ(:PATH)%")
    for i in range(50):
        gateway.get(f"/{i}", HOST)
    gateway.stop()
    assert sorted(log.read_text().splitlines()) == sorted(f"/{i}" for i in range(50))
