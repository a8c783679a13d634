"""What a ServiceEntry or a DestinationRule may ask for beyond Istio, by annotations.

- ``gateway.fastgw.io/health-check``, of both: ``http:PATH``, ``tcp``, ``grpc[:SERVICE]`` or ``off``, then parameters, each after a
  ";": ``interval``, ``timeout``, ``healthy``, ``unhealthy``, ``port``; of http ``host`` and ``expect`` ("200-299,304"). A
  DestinationRule's word counts before that of a ServiceEntry.
- ``gateway.fastgw.io/srv``, of a ServiceEntry that is resolved by DNS: the name whose SRV records tell its endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import msgspec

from fastgw.compiler.annotations import FAMILY
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.report import Report
from fastgw.model.duration import parse_ns
from fastgw.model.plan import HealthCheck
from fastgw.model.resource import Resource

HEALTH_CHECK = FAMILY + "health-check"
SRV = FAMILY + "srv"
KNOWN = {"ServiceEntry": (HEALTH_CHECK, SRV), "DestinationRule": (HEALTH_CHECK,)}

OFF = "off"
SHORTEST_MS, LONGEST_MS = 100, 3_600_000
MAX_THRESHOLD = 1000
_PATH = re.compile(r"/[\x21-\x7e]*")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_SERVICE = re.compile(r"[A-Za-z0-9._/-]{0,255}")
_NUMBER = re.compile(r"[0-9]{1,6}")
_RANGE = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_SRV_NAME = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class EndpointWishes(msgspec.Struct, frozen=True):
    """The annotations of one object, understood. ``speaks``: it says whether there is a health check, be it that there is none."""

    speaks: bool = False
    health_check: HealthCheck | None = None
    srv: str = ""


NONE = EndpointWishes()


def endpoint_wishes(resource: Resource | None, report: Report | None = None) -> EndpointWishes:
    """What is not understood is reported and counts as not there."""
    found: dict[str, object] = {}
    for name, text in resource.annotations.items() if resource is not None else ():
        if not name.startswith(FAMILY) or resource is None:
            continue
        try:
            found |= _understand(resource.kind, name, text.strip())
        except ValueError as problem:
            if report is not None:
                field = f"metadata.annotations[{name}]"
                report.warning("FGW0110", resource, field, f"{name}: {problem}: it has no effect")
    return msgspec.structs.replace(NONE, **found) if found else NONE


def health_check_of(entry: Resource | None, rules: Iterable[Resource]) -> HealthCheck | None:
    """The check of a service's endpoints: as the first DestinationRule says that says anything, else as its ServiceEntry does.

    ``entry``: where the service comes from.
    """
    for resource in (*rules, entry):
        wishes = endpoint_wishes(resource if resource is None or resource.kind in KNOWN else None)
        if wishes.speaks:
            return wishes.health_check
    return None


def report_endpoint_annotations(inventory: Inventory, report: Report) -> None:
    """One warning for each annotation that has no effect."""
    for kind in KNOWN:
        for resource in inventory.of(kind):
            wishes = endpoint_wishes(resource, report)
            if wishes.srv and (resource.spec.endpoints or resource.spec.workload_selector or resource.spec.resolution != "DNS"):
                message = f"{SRV} is for a ServiceEntry with resolution DNS and without endpoints: it has no effect"
                report.warning("FGW0110", resource, f"metadata.annotations[{SRV}]", message)


def _understand(kind: str, name: str, text: str) -> dict[str, object]:
    if name not in KNOWN[kind]:
        raise ValueError(f"a {kind} has {' and '.join(KNOWN[kind])}")
    if name == HEALTH_CHECK:
        return {"speaks": True, "health_check": parse_health_check(text)}
    if not _SRV_NAME.fullmatch(text):
        raise ValueError(f'"{text}" is no name')
    return {"srv": text.lower()}


def parse_health_check(text: str) -> HealthCheck | None:
    """None: off. Raises ValueError."""
    word, *parameters = (part.strip() for part in text.split(";"))
    kind, colon, argument = word.partition(":")
    if kind not in _ARGUMENTS or (colon and kind in (OFF, "tcp")):
        raise ValueError(f'"{word}" is none of http:PATH, tcp, grpc, grpc:SERVICE and off')
    values: dict[str, object] = _ARGUMENTS[kind](argument)
    for parameter in parameters:
        name, equals, value = (part.strip() for part in parameter.partition("="))
        if not equals or name not in _PARAMETERS or kind == OFF or (name in ("host", "expect") and kind != "http"):
            raise ValueError(f'"{parameter}" is no parameter of {kind}')
        values |= _PARAMETERS[name](value)
    return None if kind == OFF else msgspec.structs.replace(HealthCheck(kind), **values)


def _path(text: str) -> dict[str, object]:
    if not _PATH.fullmatch(text):
        raise ValueError(f'"{text}" is no path')
    return {"path": text}


def _service(text: str) -> dict[str, object]:
    if not _SERVICE.fullmatch(text):
        raise ValueError(f'"{text}" is no name of a gRPC service')
    return {"service": text}


def _nothing(text: str) -> dict[str, object]:
    return {}


def _host(text: str) -> dict[str, object]:
    if not _HOST.fullmatch(text):
        raise ValueError(f'"{text}" cannot be a host')
    return {"host": text}


def _expected(text: str) -> dict[str, object]:
    ranges = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise ValueError(f'"{text}": statuses are written as 200-299,304')
        ranges.append((int(found[1]), int(found[2] or found[1])))
    return {"expected": tuple(ranges)}


def _duration(field: str) -> Callable[[str], dict[str, object]]:
    def parse(text: str) -> dict[str, object]:
        ms = parse_ns(text) // 1_000_000
        if not SHORTEST_MS <= ms <= LONGEST_MS:
            raise ValueError(f'"{text}" is not between 100ms and 1h')
        return {field: ms}

    return parse


def _number(field: str, most: int) -> Callable[[str], dict[str, object]]:
    def parse(text: str) -> dict[str, object]:
        if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
            raise ValueError(f'"{text}" is not between 1 and {most}')
        return {field: int(text)}

    return parse


_ARGUMENTS: dict[str, Callable[[str], dict[str, object]]] = {"http": _path, "grpc": _service, "tcp": _nothing, OFF: _nothing}
_PARAMETERS: dict[str, Callable[[str], dict[str, object]]] = {
    "interval": _duration("interval_ms"),
    "timeout": _duration("timeout_ms"),
    "healthy": _number("healthy", MAX_THRESHOLD),
    "unhealthy": _number("unhealthy", MAX_THRESHOLD),
    "port": _number("port", 65535),
    "host": _host,
    "expect": _expected,
}
