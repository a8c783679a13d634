"""Checks that need all objects at once. Each is a function of the Picture in a file of its own; codes are Istio's if they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from fastgw.credentials.keeper import Keeper
from fastgw.credentials.places import PlaceOptions, Places
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import Plan
from fastgw.model.resource import Resource


class PictureOptions(msgspec.Struct, frozen=True):
    """Who this gateway is, and where certificates are mounted beside Secret documents. ``serving``: this is the machine that serves
    the configuration, so that its files have to be here."""

    labels: dict[str, str]
    namespace: str
    secret_directories: list[str] = []
    mesh_directory: str = ""
    serving: bool = False


class Interrupted(Exception):
    """The round was given up because something more urgent has come."""


class Memory:
    """What was found about things that have not changed since; for configurations that are examined again and again.

    Things are told by identity and held, so that their identity cannot pass to others. What the last round did not ask is dropped.
    ``is_urgent``: is there something that cannot wait for the end of a round? Asked now and then.
    """

    def __init__(self, is_urgent: Callable[[], bool] | None = None) -> None:
        self._is_urgent = is_urgent
        self._last: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._next: dict[tuple[str, int], tuple[Any, Any]] = {}

    def recall(self, check: str, thing: Any, find: Callable[[Any], Any]) -> Any:
        """``find(thing)``, made once."""
        key = (check, id(thing))
        known = self._last.get(key)
        if known is None:
            self.look_up()
            known = (thing, find(thing))
        self._next[key] = known
        return known[1]

    def look_up(self) -> None:
        """Raises Interrupted when something is urgent. What this round has found is not lost."""
        if self._is_urgent is not None and self._is_urgent():
            self._last |= self._next
            self._next = {}
            raise Interrupted

    def finish(self) -> None:
        """This round is done."""
        self._last, self._next = self._next, {}


class Picture:
    """All usable resources, by kind, the Gateways that are for this gateway, and what is served."""

    def __init__(
        self,
        resources: Iterable[Resource],
        options: PictureOptions,
        plan: Plan | None = None,
        memory: Memory | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        resources = list(resources)
        self.options = options
        self.keeper = keeper or new_keeper(resources, options)
        self.plan = plan or Plan()
        self.memory = memory or Memory()
        self.by_kind: dict[str, list[Resource]] = {}
        for resource in resources:
            self.by_kind.setdefault(resource.kind, []).append(resource)
        self.gateways = [gateway for gateway in self.of("Gateway") if self.selects_us(gateway.spec.selector)]
        self.services = {service.key: service for service in self.of("VirtualService")}

    def of(self, kind: str) -> list[Resource]:
        return self.by_kind.get(kind, [])

    def selects_us(self, selector: dict[str, str]) -> bool:
        """A1: every label of the selector is one of this gateway's."""
        return all(self.options.labels.get(key) == value for key, value in selector.items())

    def each(self, kind: str, check: str, find: Callable[[Resource], list[Diagnostic]]) -> list[Diagnostic]:
        """What ``find`` says of each object of a kind; it must look at nothing but the object."""
        return [found for resource in self.of(kind) for found in self.memory.recall(check, resource, find)]


def new_keeper(resources: Sequence[Resource], options: PictureOptions) -> Keeper:
    """Knows the credentials as they are now."""
    places = PlaceOptions(options.namespace, tuple(options.secret_directories), options.mesh_directory)
    return Keeper(Places(places, resources))


def check_picture(
    resources: Sequence[Resource],
    options: PictureOptions,
    plan: Plan | None = None,
    memory: Memory | None = None,
    keeper: Keeper | None = None,
) -> list[Diagnostic]:
    """What is wrong between the objects, and with what comes of them in ``plan``. The compiler's own findings are not repeated.

    ``keeper``: of the credentials that are served; without one they are read.

    Raises Interrupted when the memory says so.
    """
    from fastgw.analysis.conditions import check_conditions
    from fastgw.analysis.credentials import check_credentials
    from fastgw.analysis.delegation import check_delegation
    from fastgw.analysis.gateways import check_gateways
    from fastgw.analysis.reachable_hosts import check_reachable_hosts
    from fastgw.analysis.scope import check_scope
    from fastgw.analysis.services import check_services
    from fastgw.analysis.shadowed import check_shadowed
    from fastgw.analysis.shared_hosts import check_shared_hosts
    from fastgw.analysis.unreachable import check_unreachable
    from fastgw.analysis.upstream_tls import check_upstream_tls

    picture = Picture(resources, options, plan, memory, keeper)
    diagnostics: list[Diagnostic] = []
    for check in (
        check_gateways,
        check_credentials,
        check_services,
        check_unreachable,
        check_upstream_tls,
        check_conditions,
        check_scope,
        check_delegation,
        check_shadowed,
        check_shared_hosts,
        check_reachable_hosts,
    ):
        picture.memory.look_up()
        diagnostics += check(picture)
    picture.memory.finish()
    return diagnostics
