"""What ErrorPages ask for, each at its targets, and which pages a rule, a virtual host and a route table get of it.

For a status the most specific one counts that has a page for it: that of the route, of the host, of the whole VirtualService, then
the annotation ``gateway.fastgw.io/error-pages``, then what is asked for the Gateway (README, "ErrorPages").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastgw.compiler.edge_policies import GATEWAY, Asked, Found, find_target
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.report import Report
from fastgw.model.error_pages import content_type_of, in_order, merged, statuses_of
from fastgw.model.kinds.error_pages import ErrorPages, Page
from fastgw.model.paths import join_key
from fastgw.model.plan import ErrorPage
from fastgw.model.resource import Resource


def find_error_pages(inventory: Inventory, report: Report) -> Iterator[Found]:
    """In order of precedence; what names no target that exists is reported and left out."""
    for resource in inventory.of("ErrorPages"):
        spec: ErrorPages = resource.spec
        pages = in_order(_pages(resource))
        fields = {status: join_key("spec.pages", status) for status in spec.pages}
        for index, target in enumerate(spec.target_refs):
            path = f"spec.targetRefs[{index}]"
            asked = find_target(resource, target, path, inventory, report)
            if asked is not None and pages:
                yield Found(asked.with_pages(pages), resource, path, fields)


def _pages(resource: Resource) -> Iterator[ErrorPage]:
    """Files that cannot be used have been reported when they were read."""
    spec: ErrorPages = resource.spec
    for status, pages in spec.pages.items():
        low, high = statuses_of(status)
        for page in pages:
            body = _body(resource, page)
            if body is not None:
                yield ErrorPage(low, high, content_type_of(page.content_type), body, resource.key, page.file)


def _body(resource: Resource, page: Page) -> str | None:
    return page.body if not page.file else (resource.texts or {}).get(page.file)


def pages_of(asked: Iterable[Asked], owner: str, others: Sequence[ErrorPage]) -> tuple[ErrorPage, ...]:
    """Of the policies for VirtualServices that concern the same thing. ``owner``: the VirtualService that it stands in; ``others``
    come after them."""
    own = [each for each in asked if each.pages and each.kind != GATEWAY]
    own.sort(key=lambda each: (-each.level(), each.key != owner))
    return merged([*(each.pages for each in own), others]) if own else tuple(others)


def pages_of_gateways(asked: Iterable[Asked]) -> tuple[ErrorPage, ...]:
    """Of the policies for Gateways that concern the same thing, those of the first Gateway first."""
    by_gateway: dict[str, list[Asked]] = {}
    for each in asked:
        if each.kind == GATEWAY and each.pages:
            by_gateway.setdefault(each.key, []).append(each)
    groups = (sorted(group, key=lambda each: -each.level()) for group in by_gateway.values())
    return merged(each.pages for group in groups for each in group)
