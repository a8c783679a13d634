"""Of which DestinationRule's policies a block counts, and what it comes to."""

from __future__ import annotations

import msgspec
import pytest

from fastgw.compiler.destination_rules import HostRules
from fastgw.compiler.policies import policy_of
from fastgw.model.kinds.destination_rule import DestinationRule
from fastgw.model.origin import Origin
from fastgw.model.plan import RetryBudget
from fastgw.model.resource import Resource


def rules_of(spec: dict[str, object]) -> HostRules:
    rule = msgspec.convert({"host": "s", **spec}, DestinationRule)
    origin = Origin("a.yaml", 1, 1)
    return HostRules([Resource(kind="DestinationRule", api_version="", namespace="ns", name="r", origin=origin, spec=rule)])


@pytest.mark.parametrize(
    ("budget", "wanted"),
    [
        ({}, RetryBudget(20.0, 3)),
        ({"percent": 0}, RetryBudget(0.0, 3)),
        ({"percent": 12.5, "minRetryConcurrency": 0}, RetryBudget(12.5, 0)),
        ({"minRetryConcurrency": 7, "budgetInterval": "10s"}, RetryBudget(20.0, 7)),
    ],
)
def test_retry_budget(budget: dict[str, object], wanted: RetryBudget) -> None:
    rules = rules_of({"trafficPolicy": {"retryBudget": budget}})
    assert policy_of(rules, 80, "").pool.retry_budget == wanted


def test_the_retry_budget_of_a_subset_comes_first_and_ports_have_none() -> None:
    policy = {
        "retryBudget": {"percent": 50},
        "portLevelSettings": [{"port": {"number": 80}, "connectionPool": {"http": {"maxRetries": 2}}}],
    }
    subsets = [{"name": "own", "trafficPolicy": {"retryBudget": {"percent": 10}}}, {"name": "none"}]
    rules = rules_of({"trafficPolicy": policy, "subsets": subsets})
    found = {name: policy_of(rules, 80, name).pool for name in ("", "own", "none")}
    percents = {name: pool.retry_budget.percent for name, pool in found.items() if pool.retry_budget}
    assert percents == {"": 50, "own": 10, "none": 50}
    assert all(pool.max_retries == 2 for pool in found.values())
