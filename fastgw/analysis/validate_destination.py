"""Rules of destinations and their weights, the same for http, tls and tcp routes (fields.md, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_port
from fastgw.model.kinds.http_route import Destination
from fastgw.model.names import is_dns_label, is_ip, wildcard_problem


class Weighted(Protocol):
    """A route entry of either kind."""

    @property
    def destination(self) -> Destination | None: ...
    @property
    def weight(self) -> int: ...


def check_destination(findings: Findings, path: str, destination: Destination | None) -> None:
    if destination is None or not destination.host:
        findings.error(path, "a destination needs a host")
        return
    if destination.host == "*":
        findings.error(f"{path}.host", '"*" is no destination, a destination is one host')
    else:
        problem = wildcard_problem(destination.host)
        # Istio knows services only; without a registry an address is as good a destination as a name
        findings.problem(f"{path}.host", "" if problem and is_ip(destination.host) else problem)
    if destination.port is not None:
        check_port(findings, f"{path}.port.number", destination.port.number)
    if destination.subset and not is_dns_label(destination.subset):
        findings.error(f"{path}.subset", f'"{destination.subset}" is no name of a subset (a DNS label)')


def check_weights(findings: Findings, path: str, entries: Sequence[Weighted]) -> None:
    """``path`` is that of the list."""
    for index, entry in enumerate(entries):
        if entry.weight < 0:
            findings.error(f"{path}[{index}].weight", f"a weight is not negative, got {entry.weight}")
        check_destination(findings, f"{path}[{index}].destination", entry.destination)
    if len(entries) > 1 and sum(max(entry.weight, 0) for entry in entries) == 0:
        findings.error(path, "the weights of several destinations add up to 0")
