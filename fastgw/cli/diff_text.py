"""The human form of a comparison: tables, details below each line; ``+`` added, ``-`` removed, ``~`` changed, ``>`` moved."""

from __future__ import annotations

import click

from fastgw.cli.output import table
from fastgw.diff.changes import ADDED, CHANGED, MOVED, REMOVED, FieldChange, PlanChanges, RuleChange, ThingChange, TrafficChanges
from fastgw.model.origin import NOWHERE, Origin
from fastgw.model.plan import Rule
from fastgw.model.plan_text import action_text, conditions_text, destinations_text, rule_name

_SIGNS = {ADDED: "+", REMOVED: "-", CHANGED: "~", MOVED: ">"}
_COLORS = {"+": "green", "-": "red", "~": "yellow", ">": "cyan"}
SHOWN_HOSTS = 3
LINE = 110
"""Characters in which both sides of a field may stand on one line."""

Entry = tuple[tuple[str, ...], list[str]]
"""Cells of a line (a sign first), and the lines of text below it."""


def as_text(changes: PlanChanges, effects: TrafficChanges | None, color: bool) -> str:
    """Sections that have something to say; one line when there is nothing."""
    where = ("WHAT", "WHERE")
    sections = [
        "" if changes else "nothing changes for traffic",
        _table(("", "LISTENER", *where), [_thing(each) for each in changes.listeners], color),
        _table(("", "VIRTUAL HOST", *where), [_thing(each) for each in changes.hosts], color),
        _table(("", "VIRTUAL HOST", "RULE", "WHERE"), [_rule(each) for each in changes.rules], color),
        _table(("", "CLUSTER", *where), [_thing(each) for each in changes.clusters], color),
        _traffic(effects, color) if effects is not None else "",
    ]
    return "\n\n".join(filter(None, sections))


def _table(header: tuple[str, ...], entries: list[Entry], color: bool) -> str:
    """Lines are coloured by their first column, after the columns were made."""
    if not entries:
        return ""
    head, *lines = table(header, [cells for cells, _ in entries]).split("\n")
    out = [head]
    for line, (_, details) in zip(lines, entries, strict=True):
        out.append(click.style(line, fg=_COLORS[line[0]]) if color and line[0] in _COLORS else line)
        out += [f"      {detail}" for detail in details]
    return "\n".join(out)


def _thing(change: ThingChange) -> Entry:
    cells = (_SIGNS[change.change], change.name, change.detail, _where(change.old_origin, change.new_origin))
    return cells, _fields(change.fields)


def _rule(change: RuleChange) -> Entry:
    rule = change.new or change.old
    assert rule is not None
    origins = [each.origin if each is not None else NOWHERE for each in (change.old, change.new)]
    cells = (_SIGNS[change.change], _hosts(change.virtual_hosts), rule_name(rule), _where(*origins))
    return cells, _fields(change.fields) or [_meaning(rule)]


def _hosts(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN_HOSTS
    shown = ", ".join(names[:SHOWN_HOSTS])
    return f"{shown} and {more} more" if more > 0 else shown


def _meaning(rule: Rule) -> str:
    where = destinations_text(rule.action.destinations) if rule.action.destinations else action_text(rule.action)
    return f"{conditions_text(rule)} -> {where}"


def _fields(fields: tuple[FieldChange, ...]) -> list[str]:
    lines = []
    for each in fields:
        old, new = each.old or "none", each.new or "none"
        if len(each.field) + len(old) + len(new) <= LINE:
            lines.append(f"{each.field}: {old} -> {new}")
        else:
            lines += [f"{each.field}: {old}", f"{'->':>{len(each.field) + 1}} {new}"]
    return lines


def _where(old: Origin, new: Origin) -> str:
    """``new.yaml:12 (was old.yaml:10)``."""
    places = [f"{origin.file}:{origin.line}" for origin in (new, old) if origin.file]
    return places[0] + (f" (was {places[1]})" if len(places) > 1 else "") if places else ""


def _traffic(effects: TrafficChanges, color: bool) -> str:
    entries: list[Entry] = [
        ((str(group.count), f"{group.example.method} {group.example.url}"), _fields(group.fields)) for group in effects.groups
    ]
    lines = [_table(("REQUESTS", "SUCH AS"), entries, color)] if entries else []
    lines.append(f"{effects.changed} of {effects.requests} requests fare differently")
    if effects.skipped:
        lines.append(f"lines that are no requests: {effects.skipped}, the first is line {effects.first_skipped}")
    return "\n".join(lines)
