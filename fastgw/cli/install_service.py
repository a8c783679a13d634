"""``fastgw install-service``: writes the systemd units of a gateway, and says what to do next."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

import fastgw
from fastgw.cli.service_units import Socket, Units

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_PORT_NAME = re.compile(r"[A-Za-z0-9_.-]+")
HIDDEN = ("/root", "/home", "/run/user", "/tmp", "/var/tmp")
"""Of the file system, what ProtectHome= and PrivateTmp= of the unit take away from the service."""


@click.command(name="install-service")
@click.option("--root", default="/", metavar="DIR", help="Write below this directory instead of /.")
@click.option("--name", default="fastgw", show_default=True, metavar="NAME", help="Of the unit, its user and its directories.")
@click.option("--command", "program", metavar="PATH", help="The fastgw program [default: this one].")
@click.option("--config", metavar="FILE", help="Settings of run [default: /etc/NAME/fastgw.yaml].")
@click.option(
    "--socket",
    "sockets",
    multiple=True,
    metavar="NAME=PORT",
    help="A socket unit for the Gateway's port of that name (repeatable).",
)
@click.option(
    "--credential", "credentials", multiple=True, metavar="NAME=PATH",
    help="Certificates that only root can read: a directory with tls.crt and tls.key (repeatable).",
)  # fmt: skip
@click.option("--no-low-ports", is_flag=True, help="The gateway opens no port below 1024 itself: no capability is given.")
@click.option("--print", "only_print", is_flag=True, help="Print the files instead of writing them.")
def command(
    root: str, name: str, program: str | None, config: str | None, sockets: tuple[str, ...], credentials: tuple[str, ...],
    no_low_ports: bool, only_print: bool,
) -> None:  # fmt: skip
    """Write systemd units (service, sockets, user, directories) for a gateway, hardened and ready for upgrades without loss."""
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"--name {name}: wanted lower-case letters, digits, - and _")
    units = Units(
        name=name,
        command=program or own_command(),
        config=config or f"/etc/{name}/fastgw.yaml",
        sockets=tuple(map(parse_socket, sockets)),
        credentials=tuple(map(parse_credential, credentials)),
        low_ports=not no_low_ports,
    )
    for path in hidden_from_service([program] if program else own_places()):
        click.echo(f"warning: {path} is hidden from the service, which cannot start then: install below /opt, say", err=True)
    files = units.files()
    if only_print:
        click.echo("\n".join(f"# /{path}\n{text}" for path, text in files.items()), nl=False)
        return
    for path, text in files.items():
        write(Path(root) / path, text)
    starter = Path(root) / units.config.lstrip("/")
    if not starter.exists():
        write(starter, f"# Settings of `fastgw run`; every option without its dashes.\npaths: [/etc/{name}/resources]\n")
    units_to_start = " ".join([*(f"{name}-{one.name}.socket" for one in units.sockets), f"{name}.service"])
    click.echo(
        f"next: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload && systemctl enable --now {units_to_start}"
    )


def own_command() -> str:
    """The program that runs now, by an absolute path."""
    return os.path.abspath(sys.argv[0]) if os.path.basename(sys.argv[0]) == "fastgw" else f"{sys.executable} -m fastgw.cli.main"


def own_places() -> list[str]:
    """Where this program, its packages and its Python lie, which may be at three different places."""
    return [own_command().split()[0], os.path.dirname(fastgw.__file__), os.path.realpath(sys.executable), sys.base_prefix]


def hidden_from_service(paths: list[str]) -> list[str]:
    """Those of them that the unit's sandbox does not let it see."""
    return [path for path in dict.fromkeys(paths) if path in HIDDEN or path.startswith(tuple(f"{place}/" for place in HIDDEN))]


def parse_socket(text: str) -> Socket:
    name, _, port = text.partition("=")
    if not _PORT_NAME.fullmatch(name) or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise click.UsageError(f"--socket {text}: wanted NAME=PORT, such as http=80")
    return Socket(name, int(port))


def parse_credential(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not _PORT_NAME.fullmatch(name) or not path.startswith("/"):
        raise click.UsageError(f"--credential {text}: wanted NAME=PATH with an absolute path")
    return name, path


def write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    click.echo(f"wrote {path}")
