"""An EdgePolicy that breaks must not open the gate: neither while it is served, nor at a start that knows nothing of before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .conftest import StartGateway
from .support.client import fetch
from .support.config import Document, destination, gateway_of, http_server, service_entry, virtual_service
from .support.gateway import Gateway, run_cli
from .support.layer4 import tcp_entry, tcp_route, tcp_server, tcp_service, visit
from .support.log import whole_lines
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "guarded.test"
OPTIONS = ["--trusted-hops", "1", "--access-log-format", '["%REQ(:PATH)%","%RESPONSE_CODE_DETAILS%"]\n']


def documents(origin: RecordingOrigin) -> list[Document]:
    rules = [{"name": "all", "route": [destination("webapp", 8080)]}]
    return [
        gateway_of("gw", [http_server([HOST]), tcp_server(9000)]),
        virtual_service("guarded", [HOST], rules),
        tcp_service("relayed", tcp=[tcp_route("tcp.up", port=9000, match=[{"port": 9000}])]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
        tcp_entry("tcp.up", origin.port),
    ]


def policy(sources: str = "sources", target: str = "guarded") -> str:
    return (
        "apiVersion: gateway.fastgw.io/v1\nkind: EdgePolicy\nmetadata: {name: lists}\n"
        f"spec:\n  targetRefs: [{{kind: VirtualService, name: {target}}}]\n  {sources}: {{deny: [192.0.2.0/24]}}\n"
    )


def asker(gateway: Gateway) -> Callable[[str], int]:
    def ask(client: str) -> int:
        return fetch(gateway.port(), "/", HOST, f"x-forwarded-for: {client}").status

    return ask


def test_a_slip_in_a_change_lifts_nothing(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    running = start_gateway(documents(origin), ports=[80, 9000], options=OPTIONS)
    ask = asker(running)
    running.write("policy.yaml", policy())
    eventually(lambda: ask("192.0.2.1") == 403, "the policy holds")
    running.everywhere()
    for number, text in enumerate((policy("source"), policy().replace("]", ""), policy("sourced"))):
        running.write("policy.yaml", text)
        eventually(lambda number=number: running.said().count("FGW0120") > number, "it is said that the policy is broken")  # type: ignore[misc]
        assert (ask("192.0.2.1"), ask("198.51.100.1")) == (403, 200)
    (running.config / "policy.yaml").unlink()
    eventually(lambda: ask("192.0.2.1") == 200, "a policy that is deleted is gone")


def test_a_start_with_a_broken_policy_lets_nobody_in(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    running = start_gateway(documents(origin), ports=[80, 9000], options=[*OPTIONS, "--access-log", str(log)])
    ask = asker(running)
    with running.client(9000) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert client.response().status == 200
    running.write("policy.yaml", policy("source") + "---\n" + policy("source", "relayed").replace("name: lists", "name: relays"))
    eventually(lambda: ask("198.51.100.1") == 403, "nobody is let in")
    running.everywhere()
    assert visit(running.port(9000)) == (b"", "reset")
    running.stop()
    running.start()
    assert [ask("198.51.100.1"), ask("192.0.2.1")] == [403, 403]
    assert visit(running.port(9000)) == (b"", "reset")
    for target, name in (("/", "lists"), ("-", "relays")):
        wanted = [target, f"rbac_access_denied_matched_policy[default/{name}]"]
        eventually(lambda wanted=wanted: wanted in [json.loads(line) for line in whole_lines(log)], f"a line {wanted}")  # type: ignore[misc]
    checked = run_cli("check", str(running.config))
    assert checked.returncode != 0
    assert "FGW0120" in checked.stdout + checked.stderr
    told = run_cli("explain", str(running.config), "GET", f"http://{HOST}/", "--source-ip", "198.51.100.1")
    assert "clients of default/lists: none" in told.stdout
    running.write("policy.yaml", policy())
    eventually(lambda: ask("198.51.100.1") == 200, "the policy is mended")
    assert ask("192.0.2.1") == 403
    running.assert_no_bugs()
