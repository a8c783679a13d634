"""A rule of the Plan as JSON, and its conditions in one line as istioctl prints them."""

from __future__ import annotations

from typing import Any

from fastgw.model.plan import PathMatch, Predicate, Rule


def rule_entry(rule: Rule) -> dict[str, Any]:
    """``route`` and ``match`` count from 0 within the VirtualService; ``conditions`` is the one-line form."""
    return {
        "name": rule.name,
        "virtualService": rule.virtual_service.key,
        "route": rule.route_index,
        "match": rule.match_index,
        "conditions": conditions_text(rule),
        "path": None if rule.path is None else _path_entry(rule.path),
        "predicates": [_predicate_entry(predicate) for predicate in rule.predicates],
        "action": rule.action.kind,
        "detail": rule.action.detail,
        "destinations": [
            {
                "host": destination.host,
                "subset": destination.subset,
                "port": destination.port,
                "weight": destination.weight,
                "cluster": destination.cluster,
            }
            for destination in rule.action.destinations
        ],
        "file": rule.origin.file,
        "line": rule.origin.line,
    }


def conditions_text(rule: Rule) -> str:
    """``/api*``, ``/exact``, ``regex ...`` and the predicates after it; ``/*`` for everything."""
    words = [_path_text(rule.path)]
    words += [_predicate_text(predicate) for predicate in rule.predicates]
    return " ".join(words)


def _path_entry(path: PathMatch) -> dict[str, Any]:
    return {"kind": path.kind, "value": path.value, "ignoreCase": path.ignore_case}


def _predicate_entry(predicate: Predicate) -> dict[str, Any]:
    return {
        "on": predicate.target,
        "name": predicate.name,
        "op": predicate.op,
        "value": predicate.value,
        "not": predicate.invert,
    }


def _path_text(path: PathMatch | None) -> str:
    if path is None:
        return "/*"
    if path.kind == "regex":
        return f"regex {path.value}"
    text = path.value if path.kind == "exact" else f"{path.value}*"
    return f"{text} (any case)" if path.ignore_case else text


def _predicate_text(predicate: Predicate) -> str:
    if predicate.target == "never":
        return f"never ({predicate.name})"
    subject = f"{predicate.target} {predicate.name}" if predicate.name else predicate.target
    condition = "present" if predicate.op == "present" else f"{predicate.op} {predicate.value}"
    return f"[{subject} {'not ' if predicate.invert else ''}{condition}]"
