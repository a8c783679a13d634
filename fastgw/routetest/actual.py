"""What this version of the gateway does with a request, as far as it can be told without an upstream.

Made from an explanation. Whatever cannot be performed yet (rewrites, header edits) shows as what happens instead.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.image.asked import Asked


class Actual(msgspec.Struct):
    """``statuses``: several where destinations of a route differ. ``path``, ``authority``: None when nothing is forwarded.

    ``request_headers`` are those that the upstream gets of the client's (repeated ones joined); ``response_headers`` those that the
    gateway itself puts into the answer. Names in lower case.
    """

    virtual_service: str | None
    route: str | None
    destinations: list[dict[str, Any]]
    statuses: list[int]
    location: str | None = None
    path: str | None = None
    authority: str | None = None
    request_headers: dict[str, str] = {}
    response_headers: dict[str, str] = {}


def actual_of(asked: Asked, answer: dict[str, Any], statuses: list[int]) -> Actual:
    """``answer`` and ``statuses``: of fastgw.image.decide for this request."""
    matched, location = answer["matched"], answer["location"]
    actual = Actual(
        virtual_service=matched["virtualService"] if matched else None,
        route=matched["name"] if matched else None,
        destinations=[each for each in answer["destinations"] if each["weight"]],
        statuses=statuses,
        location=location,
        response_headers={"location": location} if location else {},
    )
    if answer["action"] == "route":
        actual.path, actual.authority = answer["request"]["path"], answer["request"]["authority"]
        actual.request_headers = _joined(asked.headers) | {"host": answer["request"]["authority"]}
    return actual


def _joined(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
