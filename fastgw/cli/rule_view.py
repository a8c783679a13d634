"""A rule of the Plan as JSON, for proxy-config and diff."""

from __future__ import annotations

from typing import Any

from fastgw.model.plan import PathMatch, Predicate, Rule, Sticky
from fastgw.model.plan_text import action_text, conditions_text, guards_text, policy_text


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
        "answer": action_text(rule.action) if rule.action.kind in ("redirect", "direct_response") else None,
        "guards": guards_text(rule.action.guards),
        "policy": policy_text(rule.action.policy),
        "sticky": None if rule.action.sticky is None else _sticky_entry(rule.action.sticky),
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


def _sticky_entry(sticky: Sticky) -> dict[str, Any]:
    return {"kind": sticky.kind, "name": sticky.name, "ttlSeconds": sticky.ttl_s}


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
