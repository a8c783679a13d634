"""Options that several commands share, with their types."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    _LabelsType = click.ParamType[dict[str, str]]
    _ResolveType = click.ParamType[tuple[str, str, int]]
else:
    # click's class takes type arguments from 8.2 on
    _LabelsType = _ResolveType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_LABELS = "istio=ingressgateway"
DEFAULT_NAMESPACE = "istio-system"


class Labels(_LabelsType):
    """``k=v,k2=v2`` -> dict."""

    name = "k=v,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        labels = {}
        for part in filter(None, str(value).split(",")):
            key, equals, text = part.partition("=")
            if not key or not equals:
                self.fail(f'"{part}" is not of the form key=value', param, ctx)
            labels[key.strip()] = text.strip()
        return labels


class Resolve(_ResolveType):
    """``HOST=ADDR[:PORT]`` -> (host, address, port); port 0 when none is given. IPv6 with a port in brackets."""

    name = "HOST=ADDR[:PORT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, int]:
        if isinstance(value, tuple):
            return value
        host, equals, target = str(value).partition("=")
        if not host or not equals or not target:
            self.fail(f'"{value}" is not of the form HOST=ADDR[:PORT]', param, ctx)
        address, port = split_address(target)
        if not address or not 0 <= port <= 65535:
            self.fail(f'"{target}" is not ADDR or ADDR:PORT', param, ctx)
        return host.lower(), address, port


def split_address(target: str) -> tuple[str, int]:
    """("10.0.0.1", 80) of ``10.0.0.1:80``; ("::1", 0) of ``::1``; ("::1", 80) of ``[::1]:80``; port -1 when it is no number."""
    if target.startswith("["):
        address, _, rest = target[1:].partition("]")
        port = rest.removeprefix(":")
    elif target.count(":") > 1:
        return target, 0
    else:
        address, _, port = target.partition(":")
    if not port:
        return address, 0
    return address, int(port) if port.isascii() and port.isdigit() else -1


def paths_argument(function: F) -> F:
    return click.argument("paths", metavar="PATH...", nargs=-1, required=True)(function)


def gateway_options(function: F) -> F:
    """``--labels``, ``--namespace``, ``--resolve``, ``--secrets``: what a configuration is looked at with."""
    for option in (
        click.option("--secrets", multiple=True, metavar="DIR", help="Certificates as Kubernetes mounts them (repeatable)."),
        click.option("--resolve", multiple=True, type=Resolve(), help="Fixed answer for an upstream name (repeatable)."),
        click.option(
            "--namespace", default=DEFAULT_NAMESPACE, show_default=True, metavar="NS", help="The namespace of this gateway."
        ),
        click.option(
            "--labels",
            type=Labels(),
            default=DEFAULT_LABELS,
            show_default=True,
            help="The labels of this gateway that Gateway.spec.selector is matched against.",
        ),
    ):
        function = option(function)
    return function


def color_option(function: F) -> F:
    return click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colours in the output.")(
        function
    )


def wants_color(choice: str) -> bool:
    """Whether to colour standard output."""
    return choice == "always" or (choice == "auto" and sys.stdout.isatty())
