"""Checks that need all objects at once. Each is a function of the Picture in a file of its own; codes are Istio's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fastgw.model.diagnostic import Diagnostic
from fastgw.model.resource import Resource


class PictureOptions(msgspec.Struct, frozen=True):
    """Who this gateway is, and where certificates are mounted beside Secret documents."""

    labels: dict[str, str]
    namespace: str
    secret_directories: list[str] = []


class Picture:
    """All usable resources, by kind, and the Gateways that are for this gateway."""

    def __init__(self, resources: Sequence[Resource], options: PictureOptions) -> None:
        self.options = options
        self.by_kind: dict[str, list[Resource]] = {}
        for resource in resources:
            self.by_kind.setdefault(resource.kind, []).append(resource)
        self.gateways = [gateway for gateway in self.of("Gateway") if self.selects_us(gateway.spec.selector)]

    def of(self, kind: str) -> list[Resource]:
        return self.by_kind.get(kind, [])

    def selects_us(self, selector: dict[str, str]) -> bool:
        """A1: every label of the selector is one of this gateway's."""
        return all(self.options.labels.get(key) == value for key, value in selector.items())


def check_picture(resources: Sequence[Resource], options: PictureOptions) -> list[Diagnostic]:
    """What is wrong between the objects. What the compiler finds on its own way is not repeated here."""
    from fastgw.analysis.credentials import check_credentials
    from fastgw.analysis.gateways import check_gateways
    from fastgw.analysis.services import check_services
    from fastgw.analysis.unreachable import check_unreachable
    from fastgw.analysis.upstream_tls import check_upstream_tls

    picture = Picture(resources, options)
    diagnostics: list[Diagnostic] = []
    for check in (check_gateways, check_credentials, check_services, check_unreachable, check_upstream_tls):
        diagnostics += check(picture)
    return diagnostics
