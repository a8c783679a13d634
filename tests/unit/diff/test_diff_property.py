"""What compare_plans calls no change is none: the same requests get the same answers from both images."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from image_plans import LISTENER, some_plan, some_request, some_rule

from fastgw.diff.plans import compare_plans
from fastgw.image.explain import Explainer, ExplainRequest, Explanation
from fastgw.image.matcher import RouteRequest
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Plan, Rule, VirtualHost

PLANS, REQUESTS = 60, 40


def changed(random: Random, plan: Plan) -> Plan:
    """A copy with a few rules moved to another place, sometimes with a rule that is new, gone or different."""
    copy = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    for host in copy.route_tables["http.80"].virtual_hosts:
        for _ in range(random.randint(0, 2)):
            edit(random, host)
    return copy


def edit(random: Random, host: VirtualHost) -> None:
    choice = random.random()
    if host.rules and choice < 0.6:
        host.rules.insert(random.randint(0, len(host.rules) - 1), host.rules.pop(random.randrange(len(host.rules))))
    elif host.rules and choice < 0.7:
        host.rules.pop(random.randrange(len(host.rules)))
    elif choice < 0.8:
        host.rules.insert(random.randint(0, len(host.rules)), renamed(some_rule(random, 99, ["a"], 0.4)))
    elif host.rules:
        position = random.randrange(len(host.rules))
        host.rules[position] = renamed(host.rules[position])


def renamed(rule: Rule) -> Rule:
    return msgspec.structs.replace(rule, name="another", route_index=rule.route_index + 100)


def meaning(explanation: Explanation) -> tuple[object, ...]:
    return (explanation.verdict, explanation.virtual_host, explanation.action, explanation.destinations)


def explain_request(request: RouteRequest) -> ExplainRequest:
    return ExplainRequest(
        method=request.method.decode(),
        authority=request.authority.decode(),
        path=request.path.decode(),
        query=None if request.query is None else request.query.decode(),
        scheme=request.scheme.decode(),
        headers=tuple((name.decode(), value.decode()) for name, value in request.headers),
    )


def same_traffic(random: Random, old: Plan, new: Plan) -> bool:
    explainers = [Explainer(write_image(plan, StateNumbers(), 1)) for plan in (old, new)]
    for _ in range(REQUESTS):
        request = explain_request(some_request(random, random.choice([old, new])))
        before, after = (explainer.explain(LISTENER, request, considered=False) for explainer in explainers)
        if meaning(before) != meaning(after):
            return False
    return True


@pytest.mark.parametrize("seed", range(4))
def test_no_change_means_no_difference(seed: int) -> None:
    random = Random(seed)
    silent = 0
    for _ in range(PLANS):
        old = some_plan(random)
        new = changed(random, old)
        if not compare_plans(old, new):
            silent += 1
            assert same_traffic(random, old, new)
    assert silent > PLANS // 20, "too few pairs were found equal for this to show anything"


def test_a_plan_does_not_differ_from_itself() -> None:
    random = Random(7)
    for _ in range(20):
        plan = some_plan(random, crowded=True)
        assert not compare_plans(plan, msgspec.json.decode(msgspec.json.encode(plan), type=Plan))
