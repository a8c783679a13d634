"""What explain and proxy-config look at: the Plan and image of files, or those that a running gateway serves right now."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from fastgw.model.diagnostic import ERROR, Diagnostic
from fastgw.model.plan import Plan
from fastgw.model.resource import Resource

F = TypeVar("F", bound=Callable[..., Any])

ADMIN_TIMEOUT_S = 10.0
DEFAULT_ADMIN = "127.0.0.1:15000"
"""Where ``run`` has its admin API when not told otherwise."""


class ConfigView(msgspec.Struct):
    """``image`` None: not made yet. ``resources``: of files only; a running gateway does not hand them out."""

    plan: Plan
    image: bytes | None = None
    resources: list[Resource] = []
    diagnostics: list[Diagnostic] = []

    def image_bytes(self) -> bytes:
        """The route image, written now when the view was made of files."""
        if self.image is None:
            from fastgw.image.numbers import StateNumbers
            from fastgw.image.writer import write_image

            self.image = write_image(self.plan, StateNumbers(), 1)
        return self.image

    def print_errors(self) -> None:
        """What was left out could be the answer to the question, so it is said on standard error."""
        for found in self.diagnostics:
            if found.severity == ERROR:
                click.echo(found.text(), err=True)


def admin_option(function: F) -> F:
    """``--admin``: ask a running gateway instead of reading files."""
    return click.option("--admin", metavar="ADDR:PORT|unix:PATH", help="Ask the gateway that runs there instead of reading files.")(
        function
    )


def view_files(
    paths: list[str],
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    proxy_protocol: tuple[int, ...] = (),
) -> ConfigView:
    """Load and compile. Ends the command with a usage error when there is nothing to look at."""
    from fastgw.compiler.compile import CompileOptions, compile_plan
    from fastgw.sources.files import load_paths

    loaded = load_paths(paths, namespace)
    options = CompileOptions(
        labels=labels,
        namespace=namespace,
        resolve={host: (address, port or None) for host, address, port in resolve},
        proxy_protocol=proxy_protocol,
    )
    compiled = compile_plan(loaded.resources, options)
    view = ConfigView(compiled.plan, None, loaded.resources, [*loaded.diagnostics, *compiled.diagnostics])
    if not loaded.resources:
        view.print_errors()
        raise click.UsageError(f"no resources in {', '.join(paths)}")
    return view


def view_running(admin: str, with_image: bool) -> ConfigView:
    """Download from the admin API. Ends the command with a message when nobody answers there."""
    plan = msgspec.json.decode(fetch(admin, "/config/plan"), type=Plan)
    return ConfigView(plan, fetch(admin, "/config/image") if with_image else None)


def fetch(admin: str, path: str) -> bytes:
    """Body of a GET at a running gateway's admin API. Ends the command with a message for any other status than 200."""
    status, body = ask(admin, "GET", path)
    if status != http.HTTPStatus.OK:
        raise click.ClickException(f"the gateway at {admin} answered {status} to {path}")
    return body


def ask(admin: str, method: str, path: str, body: bytes | None = None, timeout_s: float = ADMIN_TIMEOUT_S) -> tuple[int, bytes]:
    """(status, body) of a request to a running gateway's admin API. Ends the command with a message when nobody answers."""
    connection = _connection(admin, timeout_s)
    try:
        connection.request(method, path, body, headers={"host": "localhost"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(f"no gateway answers at {admin}: {error or type(error).__name__}") from error
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect("\0" + self._path[1:] if self._path.startswith("@") else self._path)


def _connection(admin: str, timeout_s: float) -> http.client.HTTPConnection:
    if admin.startswith("unix:"):
        return _UnixConnection(admin.removeprefix("unix:").removeprefix("//"), timeout_s)
    from fastgw.cli.options import split_address

    address, port = split_address(admin)
    if not 1 <= port <= 65535:
        raise click.UsageError(f'"{admin}" is neither ADDR:PORT nor unix:PATH')
    return http.client.HTTPConnection(address, port, timeout=timeout_s)
