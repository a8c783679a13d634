"""Third pass: which VirtualServices stand behind which Gateway (section B), and what is said about those that stand behind none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fastgw.compiler.hosts import ServerHosts
from fastgw.compiler.http_routes import BoundService
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.report import Report

MESH = "mesh"


class Bindings:
    """The VirtualServices of each Gateway (by key), in order of precedence."""

    __slots__ = ("_by_gateway", "_report")

    def __init__(self, services: Iterable[BoundService], inventory: Inventory, report: Report) -> None:
        self._report = report
        self._by_gateway: dict[str, list[BoundService]] = {gateway.key: [] for gateway in inventory.gateways}
        by_name: dict[str, list[str]] = {}
        for gateway in inventory.all_gateways.values():
            by_name.setdefault(gateway.name, []).append(gateway.key)
        for service in services:
            self._bind(service, inventory, by_name)

    def of(self, gateway: str) -> Sequence[BoundService]:
        """The VirtualServices bound to a Gateway."""
        return self._by_gateway.get(gateway, ())

    def _bind(self, service: BoundService, inventory: Inventory, by_name: dict[str, list[str]]) -> None:
        for gateway in service.gateways:
            own = self._by_gateway.get(gateway)
            if own is not None:
                own.append(service)
            elif gateway != MESH and gateway not in inventory.all_gateways:
                _report_missing(service, gateway, by_name, self._report)
        if not service.gateways or service.gateways == (MESH,):
            message = "binds to the mesh only (B1), so this gateway does not serve it; name a Gateway in spec.gateways"
            self._report.info("FGW0023", service.resource, "spec.gateways" if service.gateways else "", message)


def report_unbound(bindings: Bindings, hosts: Mapping[str, Sequence[ServerHosts]], report: Report) -> None:
    """IST0132: a VirtualService that shares no host with any server of a Gateway that it names (B9)."""
    for gateway, servers in hosts.items():
        for service in bindings.of(gateway):
            if not any(service.domains_at(server) for server in servers):
                own = ", ".join(service.resource.spec.hosts)
                theirs = ", ".join(dict.fromkeys(name for server in servers for name in server.names))
                message = f"no host of [{own}] is among the hosts of Gateway {gateway} [{theirs}]: not served there"
                report.warning("IST0132", service.resource, "spec.hosts", message)


def report_layer4(services: Iterable[BoundService], report: Report) -> None:
    """tls and tcp blocks are read and not served yet."""
    for service in services:
        for block in service.layer4:
            message = f"{block} routes are not supported yet: not served"
            report.warning("FGW0105", service.resource, f"spec.{block}", message)


def _report_missing(service: BoundService, gateway: str, by_name: dict[str, list[str]], report: Report) -> None:
    index = next((position for position, name in enumerate(service.resource.spec.gateways) if _names(name, gateway)), 0)
    elsewhere = by_name.get(gateway.rpartition("/")[2], [])
    mend = f"; {elsewhere[0]} exists: write gateways: [{elsewhere[0]}]" if elsewhere else ""
    report.error("IST0101", service.resource, f"spec.gateways[{index}]", f'Gateway "{gateway}" not found{mend}')


def _names(written: str, gateway: str) -> bool:
    return written == gateway or gateway.endswith("/" + written) or written.partition(".")[0] == gateway.rpartition("/")[2]
