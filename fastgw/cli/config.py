"""``fastgw config``: the configurations that a running gateway has served, and going back to one of them."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from fastgw.cli.config_view import DEFAULT_ADMIN, ask


def admin_options(function: Any) -> Any:
    """``--admin`` and ``-o``."""
    for option in (
        click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output."),
        click.option(
            "--admin", default=DEFAULT_ADMIN, show_default=True, metavar="ADDR:PORT|unix:PATH", help="The gateway's admin API."
        ),
    ):
        function = option(function)
    return function


@click.group(name="config")
def command() -> None:
    """What a running gateway has served: the last 20 generations are kept."""


@command.command(name="history")
@admin_options
def history(admin: str, output: str) -> None:
    """All that are kept, the newest first."""
    from fastgw.cli.output import print_json, table

    entries = answer_of(admin, "GET", "/config/history")
    if output == "json":
        print_json(entries)
        return
    header = ("GENERATION", "SERVED AT", "LISTENERS", "HOSTS", "RULES", "CONTENT", "FROM")
    rows = [
        (
            f"{entry['generation']}{' *' if entry['serving'] else ''}", time_text(entry["servedAt"]), entry["listeners"],
            entry["hosts"], entry["rules"], entry["plan"][:12] or "not kept", entry["source"],
        )
        for entry in entries
    ]  # fmt: skip
    click.echo(table(header, rows))


@command.command(name="show")
@click.argument("generation", type=int)
@admin_options
def show(generation: int, admin: str, output: str) -> None:
    """The hosts and rules of one generation; with -o json all of its plan."""
    from fastgw.cli.output import print_json, table

    entry = answer_of(admin, "GET", f"/config/history/{generation}")
    if output == "json":
        print_json(entry)
        return
    click.echo(f"generation {generation}, served at {time_text(entry['servedAt'])}, from the {entry['source']}")
    rows = [
        (name, ", ".join(host["domains"][:3]), len(host["rules"]), place_of(host))
        for name, routes in entry["content"]["route_tables"].items()
        for host in routes["virtual_hosts"]
    ]
    click.echo(table(("ROUTE TABLE", "DOMAINS", "RULES", "FIRST RULE AT"), rows))


@command.command(name="rollback")
@click.argument("generation", type=int)
@admin_options
def rollback(generation: int, admin: str, output: str) -> None:
    """Serve a kept generation again, until the files change or are read again (SIGHUP)."""
    answer = answer_of(admin, "POST", f"/config/rollback?generation={generation}")
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo(f"generation {generation} is served again, as generation {answer['generation']}, until the files change")


def answer_of(admin: str, method: str, path: str, body: bytes | None = None, timeout_s: float = 320.0) -> Any:
    """The JSON of a good answer. Ends the command with the gateway's own words for any other."""
    status, data = ask(admin, method, path, body if body is not None or method == "GET" else b"", timeout_s)
    try:
        found = json.loads(data)
    except ValueError:
        found = {"error": data.decode(errors="replace").strip()}
    if status not in (200, 202):
        raise click.ClickException(f"{found.get('error') or f'the gateway at {admin} answered {status}'}")
    return found


def time_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def place_of(host: dict[str, Any]) -> str:
    """Where the first rule of a virtual host is written."""
    for rule in host["rules"]:
        origin = rule.get("origin") or {}
        if origin.get("file"):
            return f"{origin['file']}:{origin.get('line', 0)}"
    return "-"
