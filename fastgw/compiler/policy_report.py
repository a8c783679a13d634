"""What is to be said about DestinationRules as such: parts of a policy that have no effect, and settings that cannot hold."""

from __future__ import annotations

from collections.abc import Iterator

from fastgw.compiler.inventory import Inventory
from fastgw.compiler.localities import place_of_labels
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.policies import what_is_wrong
from fastgw.compiler.report import Report
from fastgw.model.kinds.destination_rule import LoadBalancer, PortTrafficPolicy, TrafficPolicy
from fastgw.model.resource import Resource

Policy = TrafficPolicy | PortTrafficPolicy


def report_policies(inventory: Inventory, options: CompileOptions, report: Report) -> None:
    """One warning for each part of a policy that does not do what it says."""
    for rule in inventory.of("DestinationRule"):
        for path, policy in _policies(rule):
            for field in _without_effect(policy):
                report.warning("FGW0105", rule, f"{path}.{field}", f"{field} is not supported yet: it has no effect")
            if policy.load_balancer is not None:
                _report_balancer(rule, f"{path}.loadBalancer", policy.load_balancer, options, report)


def _policies(rule: Resource) -> Iterator[tuple[str, Policy]]:
    """Every policy of a rule with its path."""
    found = [("spec.trafficPolicy", rule.spec.traffic_policy)]
    found += [(f"spec.subsets[{index}].trafficPolicy", subset.traffic_policy) for index, subset in enumerate(rule.spec.subsets)]
    for path, policy in found:
        if policy is None:
            continue
        yield path, policy
        for index, entry in enumerate(policy.port_level_settings):
            yield f"{path}.portLevelSettings[{index}]", entry


def _without_effect(policy: Policy) -> Iterator[str]:
    if policy.load_balancer is not None:
        yield from _balancer_without_effect(policy.load_balancer)
    if isinstance(policy, TrafficPolicy):
        if policy.tunnel is not None:
            yield "tunnel"
        if policy.retry_budget is not None and policy.retry_budget.budget_interval is not None:
            yield "retryBudget.budgetInterval"


def _balancer_without_effect(balancer: LoadBalancer) -> Iterator[str]:
    if balancer.zone_aware_lb_setting:
        yield "loadBalancer.zoneAwareLbSetting"


def _report_balancer(rule: Resource, path: str, balancer: LoadBalancer, options: CompileOptions, report: Report) -> None:
    if balancer.simple == "PASSTHROUGH":
        message = "PASSTHROUGH goes to the address that the client asked for, which is the gateway itself: LEAST_REQUEST is used"
        report.warning("FGW0130", rule, f"{path}.simple", message)
    ring = balancer.consistent_hash
    wrong = what_is_wrong(ring) if ring is not None else ""
    if wrong:
        report.warning("FGW0130", rule, f"{path}.consistentHash", f"consistentHash cannot be used: {wrong}: LEAST_REQUEST is used")
    setting = balancer.locality_lb_setting
    depends = setting is not None and setting.enabled is not False and (setting.distribute or setting.failover)
    if depends and not place_of_labels(options.labels):
        message = "the gateway does not know where it is: --labels istio-locality=region.zone.subzone says so"
        report.warning("FGW0131", rule, f"{path}.localityLbSetting", message)
