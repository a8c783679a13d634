"""``fastgw apply``: have a running gateway serve given files, by a few of its workers first when that is wanted."""

from __future__ import annotations

import re
import sys
import time
from typing import Any
from urllib.parse import urlencode

import click
import msgspec

from fastgw.cli.config import admin_options, answer_of

REFUSED = 1
POLL_S = 0.2


@click.command(name="apply")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--canary", type=click.IntRange(min=0), default=0, metavar="N", help="So many workers try it first [default: 0].")
@click.option("--for", "duration", default="30s", show_default=True, metavar="TIME", help="How long they try it: 30s, 5m.")
@click.option(
    "--max-5xx", default="1%", show_default=True, metavar="SHARE", help="More 5xx among their answers, and it is given up."
)
@click.option("--force", is_flag=True, help="Also when the files have errors: the wrong parts are left out.")
@admin_options
def command(paths: tuple[str, ...], canary: int, duration: str, max_5xx: str, force: bool, admin: str, output: str) -> None:
    """Compile the resources in PATH... and have the gateway at --admin serve them, until its own files change.

    With --canary the new configuration is taken back when too many answers are 5xx, or a worker that has it ends. Exits 0 when it
    is served, 1 when it is not.
    """
    seconds, share = parse_duration(duration), parse_share(max_5xx)
    plan = compile_for(paths, admin, force)
    query = {"source": f"configuration in {', '.join(paths)}", "canary": canary, "seconds": seconds, "max5xx": share}
    answer = answer_of(admin, "POST", f"/config/apply?{urlencode(query)}", plan)
    if canary:
        answer = follow_trial(admin, canary, quiet=output == "json")
    report(answer, output)


def compile_for(paths: tuple[str, ...], admin: str, force: bool) -> bytes:
    """The plan of these files, with the gateway's labels, namespace, fixed answers and ports behind proxies.

    Ends the command on errors in them.
    """
    from fastgw.cli.config_view import view_files
    from fastgw.model.diagnostic import ERROR
    from fastgw.supervisor.settings import split_resolve

    options = answer_of(admin, "GET", "/config/options")
    resolve = tuple((host, *_address(split_resolve(value))) for host, value in options["resolve"].items())
    proxied = tuple(options["proxyProtocol"])
    view = view_files(list(paths), options["labels"], options["namespace"], resolve, proxied)
    view.print_errors()
    if not force and any(found.severity == ERROR for found in view.diagnostics):
        click.echo("not applied: there are errors; --force leaves the wrong parts out", err=True)
        sys.exit(REFUSED)
    return msgspec.json.encode(view.plan)


def _address(split: tuple[str, int | None]) -> tuple[str, int]:
    return split[0], split[1] or 0


def follow_trial(admin: str, workers: int, quiet: bool) -> dict[str, Any]:
    """Wait for the end of it. The last answer about it; phase "none" from a process that knows nothing of it."""
    phase = ""
    while True:
        trial: dict[str, Any] = answer_of(admin, "GET", "/config/trial")
        if not quiet and trial["phase"] == "canary" != phase:
            on = "1 worker" if workers == 1 else f"{workers} workers"
            click.echo(f"generation {trial['generation']} is tried by {on} for {trial['secondsLeft']:.0f} s", err=True)
        phase = trial["phase"]
        if phase not in ("compiling", "canary"):
            return trial
        time.sleep(POLL_S)


def report(answer: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    elif answer.get("phase") == "none":
        click.echo(
            "the gateway was upgraded or started anew as the trial ended: `fastgw config history` tells what it serves", err=True
        )
    elif answer.get("phase") == "refused":
        click.echo(f"not served, everything is as before: {answer['error']}", err=True)
    else:
        tried = f"; {answer['errors']} of {answer['requests']} answers on trial were 5xx" if "requests" in answer else ""
        click.echo(f"served as generation {answer['generation']}, until the files change{tried}")
    if answer.get("phase") in ("refused", "none"):
        sys.exit(REFUSED)


def parse_duration(text: str) -> float:
    """ "30s", "5m", "1.5h", "30" -> seconds."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)", text)
    if found is None or not float(found[1]):
        raise click.UsageError(f"--for {text}: wanted a time such as 30s or 5m")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


def parse_share(text: str) -> float:
    """ "1%" -> 0.01, "0.01" -> 0.01."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", text)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share <= 1:
        raise click.UsageError(f"--max-5xx {text}: wanted a share such as 1% or 0.01")
    return share
