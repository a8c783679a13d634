"""gateway.fastgw.io RouteTest: requests and what the gateway has to do with them, kept beside the configuration.

Nothing of it is served; ``fastgw test`` runs it. A field of ``expect`` that is not given is not compared.
"""

from __future__ import annotations

import msgspec

from fastgw.model.kinds.base import Spec, UInt32


class CaseRequest(Spec):
    """``url`` with scheme and host; ``headers``: name -> value or list of values; ``port``: the Gateway's number, 0: by the URL.

    ``listener``: the name or address of one (``unix:///run/gateway.sock``), "": by the port.
    """

    method: str = "GET"
    url: str = ""
    headers: dict[str, str | tuple[str, ...]] = msgspec.field(default_factory=dict)
    sni: str = ""
    source_ip: str = ""
    port: UInt32 = 0
    listener: str = ""


class ExpectedDestination(Spec):
    """``host`` in full or as a VirtualService would write it. ``subset`` "" means: without one."""

    host: str | None = None
    subset: str | None = None
    port: UInt32 | None = None


class Expectation(Spec):
    """``virtual_service``: "namespace/name", or "name" in whatever namespace. ``route``: the name of the http route.

    ``status``: of the gateway's own answer; a request that reaches an endpoint counts as 200. ``path`` (its query counts where one
    is written) and ``authority`` are those that the upstream sees; headers are compared after all edits, null means "none".
    """

    virtual_service: str | None = None
    route: str | None = None
    destination: ExpectedDestination | None = None
    status: UInt32 | None = None
    location: str | None = None
    path: str | None = None
    authority: str | None = None
    request_headers: dict[str, str | None] = msgspec.field(default_factory=dict)
    response_headers: dict[str, str | None] = msgspec.field(default_factory=dict)


class Case(Spec):
    """``name`` "" stands for the method and URL of its request."""

    name: str = ""
    request: CaseRequest = msgspec.field(default_factory=CaseRequest)
    expect: Expectation = msgspec.field(default_factory=Expectation)


class RouteTest(Spec):
    tests: tuple[Case, ...] = ()
