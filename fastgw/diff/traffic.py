"""The same requests through two configurations: those that fare differently, grouped by what is different."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastgw.diff.changes import FieldChange, Outcome, TrafficChanges, TrafficGroup
from fastgw.diff.samples import Samples
from fastgw.image.asked import Asked
from fastgw.image.decide import Decider
from fastgw.model.plan_text import conditions_text

Fields = tuple[FieldChange, ...]


def compare_traffic(old: Decider, new: Decider, samples: Samples) -> TrafficChanges:
    """Groups by number of requests, largest first."""
    groups: dict[Fields, tuple[int, Asked]] = {}
    for asked, count in samples.counts.items():
        fields = tuple(_differences(outcome(old, asked), outcome(new, asked)))
        if fields:
            sofar, example = groups.get(fields, (0, asked))
            groups[fields] = (sofar + count, example)
    listed = [TrafficGroup(count, fields, example) for fields, (count, example) in groups.items()]
    listed.sort(key=lambda group: -group.count)
    total = sum(samples.counts.values())
    return TrafficChanges(total, sum(group.count for group in listed), listed, samples.skipped, samples.first_skipped)


def outcome(decider: Decider, asked: Asked) -> Outcome:
    """A rule is named by its VirtualService and its name, or its condition: numbers shift when a rule is inserted."""
    answer = decider.decide(asked, considered=False)
    rule = decider.rule_of(answer)
    routed = answer["action"] == "route"
    return Outcome(
        action=f"{answer['action']} ({answer['detail']})" if answer["detail"] else answer["action"],
        statuses=tuple(decider.statuses(answer)),
        rule=f"{rule.virtual_service.key} {rule.name or conditions_text(rule)}" if rule is not None else _layer4_rule(answer),
        destinations=tuple(_destination(each) for each in answer["destinations"] if each["weight"]),
        location=answer["location"] or "",
        path=answer["request"]["path"] if routed else "",
        authority=answer["request"]["authority"] if routed else "",
    )


def _layer4_rule(answer: dict[str, Any]) -> str:
    """A VirtualService that relays is named alone."""
    matched = answer["matched"]
    return matched["virtualService"] if matched is not None and answer["action"] == "tcp" else "none"


def _destination(entry: dict[str, object]) -> str:
    subset = f" subset {entry['subset']}" if entry["subset"] else ""
    share = "" if entry["share"] == 1 else f" {float(str(entry['share'])) * 100:.4g} %"
    return f"{entry['host']}:{entry['port']}{subset}{share}"


def _differences(old: Outcome, new: Outcome) -> Iterator[FieldChange]:
    if old == new:
        return
    pairs = [
        ("status", " or ".join(map(str, old.statuses)), " or ".join(map(str, new.statuses))),
        ("action", old.action, new.action),
        ("rule", old.rule, new.rule),
        ("destination", ", ".join(old.destinations), ", ".join(new.destinations)),
        ("location", old.location, new.location),
    ]
    if old.path and new.path:
        # what is not forwarded on one side has no path there, which is no finding of its own
        pairs += [("path", old.path, new.path), ("authority", old.authority, new.authority)]
    for field, before, after in pairs:
        if before != after:
            yield FieldChange(field, before, after)
