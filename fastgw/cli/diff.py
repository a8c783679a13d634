"""``fastgw diff``: what changes for traffic between two configurations."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any

import click

from fastgw.cli.config_view import ConfigView, view_files
from fastgw.cli.options import color_option, gateway_options, wants_color

if TYPE_CHECKING:
    from fastgw.diff.changes import FieldChange, PlanChanges, RuleChange, ThingChange, TrafficChanges
    from fastgw.model.origin import Origin
    from fastgw.model.plan import Rule


@click.command(name="diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option(
    "--traffic",
    type=click.File("rb"),
    metavar="FILE",
    help="Sample requests: METHOD URL a line, or an access log in JSON; - for standard input.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
@gateway_options
@color_option
def command(
    old: str,
    new: str,
    traffic: IO[bytes] | None,
    output: str,
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    secrets: tuple[str, ...],
    color: str,
) -> None:
    """Say what changes for traffic from the configuration in OLD to that in NEW, each a file or a directory.

    Exits 0 when nothing changes, 1 when something does, 2 for a usage error.
    """
    from fastgw.diff.plans import compare_plans

    before, after = (view_files([path], labels, namespace, resolve) for path in (old, new))
    for view in (before, after):
        view.print_errors()
    changes = compare_plans(before.plan, after.plan)
    effects = _traffic(before, after, traffic) if traffic is not None else None
    if output == "json":
        from fastgw.cli.output import print_json

        print_json(as_entry(changes, effects))
    else:
        from fastgw.cli.diff_text import as_text

        shown = wants_color(color)
        click.echo(as_text(changes, effects, shown), color=shown)
    sys.exit(1 if changes or (effects is not None and effects.changed) else 0)


def _traffic(before: ConfigView, after: ConfigView, lines: IO[bytes]) -> TrafficChanges:
    from fastgw.diff.samples import read_samples
    from fastgw.diff.traffic import compare_traffic
    from fastgw.image.decide import Decider

    samples = read_samples(lines)
    if not samples.counts:
        at = f", the first line that is none is {samples.first_skipped}" if samples.skipped else ""
        raise click.UsageError(f"--traffic: no request in {lines.name}{at}")
    old, new = (Decider(view.plan, view.image_bytes()) for view in (before, after))
    return compare_traffic(old, new, samples)


def as_entry(changes: PlanChanges, effects: TrafficChanges | None) -> dict[str, Any]:
    """The JSON form; keys are stable, ``traffic`` is null without --traffic."""
    return {
        "changed": bool(changes) or bool(effects and effects.changed),
        "listeners": [_thing(change) for change in changes.listeners],
        "hosts": [_thing(change) for change in changes.hosts],
        "rules": [_rule(change) for change in changes.rules],
        "clusters": [_thing(change) for change in changes.clusters],
        "traffic": None if effects is None else _effects(effects),
    }


def _thing(change: ThingChange) -> dict[str, Any]:
    return {
        "change": change.change,
        "name": change.name,
        "detail": change.detail,
        "fields": _fields(change.fields),
        "old": _place(change.old_origin),
        "new": _place(change.new_origin),
    }


def _rule(change: RuleChange) -> dict[str, Any]:
    from fastgw.cli.rule_view import rule_entry

    def entry(rule: Rule | None) -> dict[str, Any] | None:
        return None if rule is None else rule_entry(rule)

    return {
        "change": change.change,
        "virtualHosts": list(change.virtual_hosts),
        "fields": _fields(change.fields),
        "old": entry(change.old),
        "new": entry(change.new),
        "over": entry(change.over),
    }


def _effects(effects: TrafficChanges) -> dict[str, Any]:
    return {
        "requests": effects.requests,
        "changed": effects.changed,
        "skipped": effects.skipped,
        "groups": [
            {
                "count": group.count,
                "fields": _fields(group.fields),
                "example": {"method": group.example.method, "url": group.example.url},
            }
            for group in effects.groups
        ],
    }


def _fields(fields: tuple[FieldChange, ...]) -> list[dict[str, str]]:
    return [{"field": each.field, "old": each.old, "new": each.new} for each in fields]


def _place(origin: Origin) -> dict[str, Any] | None:
    return {"file": origin.file, "line": origin.line} if origin.file else None
