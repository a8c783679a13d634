"""``fastgw drain``: begin the end of a running gateway, or ask how far it is."""

from __future__ import annotations

import json
from typing import Any

import click

from fastgw.cli.config_view import DEFAULT_ADMIN, ask, fetch


def _options(function: Any) -> Any:
    for option in (
        click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output."),
        click.option(
            "--admin", default=DEFAULT_ADMIN, show_default=True, metavar="ADDR:PORT|unix:PATH", help="The gateway's admin API."
        ),
    ):
        function = option(function)
    return function


@click.group(name="drain")
def command() -> None:
    """Take a running gateway out of service without losing a request."""


@command.command(name="start")
@_options
def start(admin: str, output: str) -> None:
    """Not ready from now on, then finish what is under way and end, as SIGTERM does."""
    status, body = ask(admin, "POST", "/drain", b"")
    answer = json.loads(body)
    if status != 200:
        raise click.ClickException(f"the gateway at {admin} answered {status}: {answer.get('error', '')}")
    click.echo(json.dumps(answer, indent=2) if output == "json" else f"draining, at the most {answer['seconds']:g} s")


@command.command(name="status")
@_options
def status(admin: str, output: str) -> None:
    """How many connections and requests there still are, and how long the gateway waits for them."""
    answer = json.loads(fetch(admin, "/drain/status"))
    text = answer.pop("text")
    click.echo(json.dumps(answer, indent=2) if output == "json" else text)
