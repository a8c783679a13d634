"""The virtual hosts of a Plan as the checks look at them: whose rules they hold, and how messages name hosts and rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastgw.analysis.path_cover import ANYTHING, shape_of
from fastgw.model.plan import Plan, Rule, VirtualHost

NAMED = 3
"""Hosts that one message names; the others are counted."""


def virtual_hosts(plan: Plan) -> Iterator[tuple[str, VirtualHost]]:
    """(name of the route table, virtual host), in order."""
    for table in plan.route_tables.values():
        for host in table.virtual_hosts:
            yield table.name, host


def is_shared(host: VirtualHost) -> bool:
    """Whether the rules are of more than one VirtualService."""
    if len(host.rules) < 2:
        return False
    first = host.rules[0].virtual_service
    return any(rule.virtual_service is not first and rule.virtual_service.key != first.key for rule in host.rules)


def ends_in_catch_all(host: VirtualHost) -> bool:
    """Whether no request falls through all rules: what takes everything comes last (E4)."""
    return bool(host.rules) and takes_everything(host.rules[-1])


def takes_everything(rule: Rule) -> bool:
    return not rule.predicates and shape_of(rule.path) == ANYTHING


def place_of(rule: Rule) -> str:
    """The rule, for a message about another one."""
    where = f" ({rule.origin.file}:{rule.origin.line})" if rule.origin.line else ""
    return f"spec.http[{rule.route_index}] of VirtualService {rule.virtual_service.key}{where}"


def enumerate_hosts(hosts: Iterable[str]) -> str:
    """``"a.test", "b.test" and 3 more``; doubles are left out."""
    names = list(dict.fromkeys(hosts))
    shown = ", ".join(f'"{name}"' for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def owners(rules: Sequence[Rule]) -> list[str]:
    """Keys of the VirtualServices that the rules stand in, in order of their first rule."""
    return list(dict.fromkeys(rule.virtual_service.key for rule in rules))
