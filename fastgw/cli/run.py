"""``fastgw run``: the gateway. Options become Settings; the supervisor and the two HTTP servers are put together here."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from fastgw.admin.admin_server import AdminServer
from fastgw.admin.status_server import StatusServer
from fastgw.model.values import FormatError
from fastgw.supervisor import rehearsal
from fastgw.supervisor.access_log import AccessLog
from fastgw.supervisor.compiler_client import CompileError
from fastgw.supervisor.fleet import ImageNacked
from fastgw.supervisor.generations import NothingToServe
from fastgw.supervisor.handed import OWN, Handed, from_systemd
from fastgw.supervisor.handover import receive
from fastgw.supervisor.heap import keep_compact
from fastgw.supervisor.image_check import ImageRefused
from fastgw.supervisor.journal import JournalHandler, is_journal, log_diagnostics
from fastgw.supervisor.notify import Notifier
from fastgw.supervisor.settings import (
    LENIENCIES,
    PATH_NORMALIZATIONS,
    UNDERSCORES,
    Settings,
    SettingsError,
    load,
    parse_labels,
    parse_listen_map,
    parse_resolve,
)
from fastgw.supervisor.supervisor import Supervisor

USAGE = 2
PR_SET_NAME = 15
TICKET_KEYS_CREDENTIAL = "ticket-keys"
REHEARSAL = rehearsal.VARIABLE
log = logging.getLogger("fastgw")


def _seconds(name: str, text: str) -> Any:
    return click.option(name, type=float, metavar="S", help=text)


def _count(name: str, text: str) -> Any:
    return click.option(name, type=int, metavar="N", help=text)


OPTIONS = [
    click.option("--config", metavar="FILE", help="Settings from a file; options given here win."),
    _count("--workers", "Worker processes [default: the usable cores]."),
    click.option("--labels", metavar="K=V,...", help="What Gateway selectors are matched against [default: istio=ingressgateway]."),
    click.option("--namespace", metavar="NS", help="The namespace of this gateway [default: istio-system]."),
    click.option("--bind", multiple=True, metavar="ADDR", help="Address of listeners that name none [default: 0.0.0.0 and ::]."),
    click.option("--listen-map", multiple=True, metavar="80=8080", help="Open this port instead of the one a Gateway names."),
    click.option("--proxy-protocol", multiple=True, type=int, metavar="PORT", help="A Gateway's port behind a PROXY protocol."),
    click.option("--admin", metavar="ADDR:PORT", help="Admin API, loopback or unix:PATH, or off [default: 127.0.0.1:15000]."),
    click.option("--admin-insecure", is_flag=True, default=None, help="Allow --admin on an address that others reach."),
    click.option("--status", metavar="ADDR:PORT", help="Health and metrics, or off [default: 0.0.0.0:15021]."),
    click.option("--secrets", multiple=True, metavar="DIR", help="Certificates: DIR/<credentialName>/{tls.crt,tls.key,ca.crt}."),
    click.option("--mesh-cert", metavar="DIR", help="cert-chain.pem, key.pem and root-cert.pem of the mesh [default: /etc/certs]."),
    click.option("--ticket-keys", metavar="FILE", help="Keys of TLS session tickets, 80 bytes each [default: made at the start]."),
    _seconds("--ticket-rotation", "Between two new ticket keys, without --ticket-keys [default: 28800]."),
    click.option("--access-log", metavar="PATH|-|off", help="Where access log lines go [default: off]."),
    click.option("--access-log-format", metavar="text|json|'FORMAT'", help="Envoy's format strings [default: text]."),
    click.option("--resolve", multiple=True, metavar="HOST=ADDR[:PORT]", help="Fixed answer for an upstream name."),
    click.option("--resolver", multiple=True, metavar="ADDR[:PORT]", help="DNS server to ask [default: the system's]."),
    _seconds("--drain-time", "How long connections may finish after SIGTERM [default: 45]."),
    _seconds("--lame-duck", "After SIGTERM, not ready any more but serving as before, ahead of the drain [default: 0]."),
    click.option("--state-dir", metavar="DIR", help="Keeps what was served, to go back to [default: $STATE_DIRECTORY]."),
    click.option("--server-header", metavar="TEXT", help="Value of the server header [default: fastgw]."),
    click.option("--http10", is_flag=True, default=None, help="Serve HTTP/1.0 clients instead of answering 426."),
    click.option("--lenient", multiple=True, type=click.Choice(list(LENIENCIES)), help="Accept what is refused by default."),
    click.option("--underscores", type=click.Choice(UNDERSCORES), help="Header names with an underscore [default: drop]."),
    click.option("--path-normalization", type=click.Choice(list(PATH_NORMALIZATIONS)), help="Of request paths [default: base]."),
    click.option("--trusted-proxies", multiple=True, metavar="CIDR[,CIDR...]", help="Proxies in front that are believed."),
    _count("--trusted-hops", "Proxies in front whose x-forwarded-for is trusted [default: 0]."),
    click.option("--misdirected", type=int, metavar="421|404", help="For a host of another server's certificate [default: 421]."),
    _count("--head-bytes", "Longest request head [default: 61440]."),
    _count("--target-bytes", "Longest request target [default: 16384]."),
    _count("--fields", "Most header fields of a message [default: 100]."),
    _count("--max-connections", "Client connections of a listener, 0: no limit [default: 10000]."),
    _count("--max-connections-per-source", "Of one source address at a listener, 0: no limit [default: 0]."),
    _count("--max-requests-per-connection", "0: no limit [default: 0]."),
    _seconds("--max-connection-age", "Of a client connection, give or take a tenth, 0: no limit [default: 0]."),
    _count("--http2-streams", "Open at once on a client's HTTP/2 connection [default: 100]."),
    click.option("--memory-limit", metavar="SIZE", help="Of all workers together, such as 2G [default: the control group's]."),
    click.option("--shed-target", type=int, metavar="MS", help="Longest wait for the loop before shedding, 0: any [default: 100]."),
    click.option("--spare-path", multiple=True, metavar="PATH", help="Requests for exactly this are never shed."),
    click.option("--http2-websockets", is_flag=True, default=None, help="Let clients open WebSockets on HTTP/2 (RFC 8441)."),
    _count("--connect-attempts", "Tries of a request whose route has no retries of its own [default: 3]."),
    click.option("--retry-budget", type=int, metavar="PERCENT", help="Of a cluster's requests, 0: no bound [default: 20]."),
    click.option("--retry-any-method", is_flag=True, default=None, help="Send POST and the like again as Istio does."),
    _count("--rate-limit-buckets", "Of rate limits, in use at a time [default: 65536]."),
    _seconds("--hello-timeout", "For the first bytes of a TLS connection [default: 5]."),
    _seconds("--handshake-timeout", "For a whole TLS handshake [default: 15]."),
    _seconds("--head-timeout", "For a complete request head [default: 10]."),
    _seconds("--idle-timeout", "Of a kept-alive client connection [default: 75]."),
    _seconds("--http2-idle-timeout", "The same of an HTTP/2 connection without streams [default: 300]."),
    _seconds("--body-timeout", "Between two reads of a request body [default: 60]."),
    click.option("--body-min-rate", type=int, metavar="BYTES/S", help="Slowest request body [default: 240]."),
    _seconds("--write-timeout", "A client that does not read [default: 60]."),
    _seconds("--request-timeout", "For a whole request, 0: none [default: 0]."),
    _seconds("--upstream-idle-timeout", "Of a kept-alive upstream connection [default: 60]."),
    _seconds("--upstream-response-timeout", "For the head of the answer, 0: none [default: 0]."),
    _seconds("--stream-idle-timeout", "Of an answer or a WebSocket under way, 0: none [default: 0]."),
]


def _with_options(function: Any) -> Any:
    for option in reversed(OPTIONS):
        function = option(function)
    return click.argument("paths", nargs=-1, metavar="PATH...")(function)


@click.command(name="run")
@_with_options
def command(config: str | None, **options: Any) -> None:
    """Serve the resources found in files and directories (*.yaml, *.yml, *.json, directories with all below)."""
    try:
        settings = with_service_directories(load(config, overrides(options)), os.environ)
        if os.environ.pop(REHEARSAL, ""):
            sys.exit(rehearse(settings))
        set_up_logging()
        keep_compact()
        sys.exit(asyncio.run(serve(settings)))
    except (SettingsError, FormatError) as error:
        click.echo(f"fastgw run: {error}", err=True)
        sys.exit(USAGE)


def overrides(options: dict[str, Any]) -> dict[str, Any]:
    """Only what was given on the command line, as fields of Settings."""
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    if "labels" in given:
        given["labels"] = parse_labels(given["labels"])
    if "listen_map" in given:
        given["listen_map"] = {str(wanted): opened for wanted, opened in map(parse_listen_map, given["listen_map"])}
    if "trusted_proxies" in given:
        given["trusted_proxies"] = [text.strip() for words in given["trusted_proxies"] for text in words.split(",")]
    if "resolve" in given:
        given["resolve"] = dict(map(parse_resolve, given["resolve"]))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def with_service_directories(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """What systemd has made for the service: StateDirectory= (the first one), and what LoadCredential= brings."""
    if not settings.state_dir:
        settings = msgspec.structs.replace(settings, state_dir=environment.get("STATE_DIRECTORY", "").partition(":")[0])
    return with_service_credentials(settings, environment.get("CREDENTIALS_DIRECTORY", ""))


def with_service_credentials(settings: Settings, directory: str) -> Settings:
    """What is in ``directory`` ("": nothing): certificates, after those of --secrets, and ticket keys in a file of that name."""
    if not directory:
        return settings
    keys = os.path.join(directory, TICKET_KEYS_CREDENTIAL)
    return msgspec.structs.replace(
        settings,
        secrets=[*settings.secrets, directory],
        ticket_keys=settings.ticket_keys or (keys if os.path.isfile(keys) else ""),
    )


def rehearse(settings: Settings) -> int:
    """Could this version start with these settings? The exit code; what is against it is printed."""
    try:
        AccessLog(settings).close()
        asyncio.run(rehearsal.rehearse(settings))
    except (CompileError, ImageRefused, ImageNacked, NothingToServe) as error:
        click.echo(f"nothing can be served: {error}", err=True)
        return 1
    return 0


async def serve(settings: Settings) -> int:
    """The exit code. Health answers from the very start, so that "not ready yet" can be told from "not there"."""
    name_process()
    handover = receive()
    handed = Handed(handover.named if handover else from_systemd())
    supervisor = Supervisor(settings, handed=handed, notifier=Notifier(), handover=handover)
    if is_journal():
        supervisor.generations.on_diagnostics = log_diagnostics
    status = StatusServer(supervisor)
    admin = AdminServer(supervisor)
    supervisor.servers = [status, admin]
    for server, where in ((status, settings.status), (admin, settings.admin)):
        await server.start(where, handed.server(server.what), handed.sockets(OWN + server.what))
    try:
        return await supervisor.run()
    finally:
        await admin.stop()
        await status.stop()


def name_process() -> None:
    """For ps and ``systemctl status``: after an upgrade we would be called as the interpreter is."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"fastgw", 0, 0, 0)


def set_up_logging() -> None:
    """One line an event on stderr: UTC time, level, logger, text. Entries with fields where that is systemd's journal."""
    handler: logging.Handler
    if is_journal():
        handler = JournalHandler()
    else:
        handler = logging.StreamHandler()
        formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger("fastgw")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
