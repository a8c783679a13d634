"""Third pass: which VirtualServices stand behind which Gateway (section B), and what is said about those that stand behind none."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastgw.compiler.hosts import ServerHosts
from fastgw.compiler.http_routes import BoundService
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.report import Report

MESH = "mesh"
FEW_SERVERS = 8
"""A Gateway with more: its VirtualServices are looked up by host, since each server has few of them."""


class Bindings:
    """The VirtualServices of each Gateway (by key), in order of precedence."""

    __slots__ = ("_by_gateway", "_by_host", "_many", "_report")

    def __init__(self, services: Iterable[BoundService], inventory: Inventory, report: Report) -> None:
        self._report = report
        self._by_gateway: dict[str, list[BoundService]] = {gateway.key: [] for gateway in inventory.gateways}
        self._many = {gateway.key for gateway in inventory.gateways if len(gateway.spec.servers) > FEW_SERVERS}
        self._by_host: dict[str, _ByHost] = {}
        by_name: dict[str, list[str]] = {}
        for gateway in inventory.all_gateways.values():
            by_name.setdefault(gateway.name, []).append(gateway.key)
        for service in services:
            self._bind(service, inventory, by_name)

    def of(self, gateway: str) -> Sequence[BoundService]:
        """The VirtualServices bound to a Gateway."""
        return self._by_gateway.get(gateway, ())

    def at(self, gateway: str, server: ServerHosts) -> Sequence[BoundService]:
        """Those among them that may have hosts at a server; the others have none."""
        services = self.of(gateway)
        if gateway not in self._many or "*" in server.plain_names():
            return services
        found = self._by_host.get(gateway)
        if found is None:
            found = self._by_host[gateway] = _ByHost(services)
        return found.near(server.plain_names())

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


class _ByHost:
    """VirtualServices by their hosts, read from the right."""

    __slots__ = ("_by_name", "_reversed", "_services")

    def __init__(self, services: Sequence[BoundService]) -> None:
        self._services = services
        self._by_name: dict[str, list[int]] = {}
        for position, service in enumerate(services):
            for host in service.hosts:
                self._by_name.setdefault(host.lower(), []).append(position)
        self._reversed = sorted(name[::-1] for name in self._by_name)

    def near(self, names: Iterable[str]) -> list[BoundService]:
        """In order of precedence, those with a host that one of ``names`` covers or that covers one."""
        positions: set[int] = set()
        for name in names:
            for host in self._near(name):
                positions.update(self._by_name.get(host, ()))
        return [self._services[position] for position in sorted(positions)]

    def _near(self, name: str) -> Iterator[str]:
        tail = name.removeprefix("*")
        yield name
        yield from ("*" + tail[start:] for start in range(len(tail) + 1))
        if name.startswith("*"):
            wanted = tail[::-1]
            for position in range(bisect_left(self._reversed, wanted), len(self._reversed)):
                if not self._reversed[position].startswith(wanted):
                    return
                yield self._reversed[position][::-1]


def report_unbound(bindings: Bindings, hosts: Mapping[str, Sequence[ServerHosts]], report: Report) -> None:
    """IST0132: a VirtualService that shares no host with any server of a Gateway that it names (B9)."""
    for gateway, servers in hosts.items():
        bound = {id(service) for server in servers for service in bindings.at(gateway, server) if service.domains_at(server)}
        for service in bindings.of(gateway):
            if id(service) not in bound:
                own = ", ".join(service.resource.spec.hosts)
                theirs = ", ".join(dict.fromkeys(name for server in servers for name in server.names))
                message = f"no host of [{own}] is among the hosts of Gateway {gateway} [{theirs}]: not served there"
                report.warning("IST0132", service.resource, "spec.hosts", message)


def _report_missing(service: BoundService, gateway: str, by_name: dict[str, list[str]], report: Report) -> None:
    index = next((position for position, name in enumerate(service.resource.spec.gateways) if _names(name, gateway)), 0)
    elsewhere = by_name.get(gateway.rpartition("/")[2], [])
    mend = f"; {elsewhere[0]} exists: write gateways: [{elsewhere[0]}]" if elsewhere else ""
    report.error("IST0101", service.resource, f"spec.gateways[{index}]", f'Gateway "{gateway}" not found{mend}')


def _names(written: str, gateway: str) -> bool:
    return written == gateway or gateway.endswith("/" + written) or written.partition(".")[0] == gateway.rpartition("/")[2]
