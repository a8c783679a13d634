"""``fastgw drain``: begin the end of a running gateway, or ask how far it is."""

from __future__ import annotations

import json

import click

from fastgw.cli.config import admin_options, answer_of


@click.group(name="drain")
def command() -> None:
    """Take a running gateway out of service without losing a request."""


@command.command(name="start")
@admin_options
def start(admin: str, output: str) -> None:
    """Not ready from now on, then finish what is under way and end, as SIGTERM does."""
    answer = answer_of(admin, "POST", "/drain")
    click.echo(json.dumps(answer, indent=2) if output == "json" else f"draining, at the most {answer['seconds']:g} s")


@command.command(name="status")
@admin_options
def status(admin: str, output: str) -> None:
    """How many connections and requests there still are, and how long the gateway waits for them."""
    answer = answer_of(admin, "GET", "/drain/status")
    text = answer.pop("text")
    click.echo(json.dumps(answer, indent=2) if output == "json" else text)
