"""What this version of the gateway does with a request, as far as it can be told without an upstream.

Made from an explanation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.image.edited import Outcome


class Actual(msgspec.Struct):
    """``statuses``: several where destinations of a route differ. ``path``: None when nothing is forwarded.

    ``outcomes``: authority, the headers that the upstream gets of the client's and of edits, and those that the gateway puts into
    the answer, one each for ``destinations``. ``response_headers`` are those of an answer that no destination has a part in.
    """

    virtual_service: str | None
    route: str | None
    destinations: list[dict[str, Any]]
    statuses: list[int]
    location: str | None = None
    path: str | None = None
    response_headers: dict[str, str] = {}
    outcomes: list[Outcome] = []


def actual_of(answer: dict[str, Any], statuses: list[int]) -> Actual:
    """``answer`` and ``statuses``: of fastgw.image.decide for this request."""
    matched, location = answer["matched"], answer["location"]
    aborted = answer["action"] == "route" and answer["status"] is not None
    actual = Actual(
        virtual_service=matched["virtualService"] if matched else None,
        route=matched["name"] if matched else None,
        destinations=[] if aborted else [each for each in answer["destinations"] if each["weight"]],
        statuses=statuses,
        location=location,
        response_headers=answer.get("responseHeaders") or ({"location": location} if location else {}),
    )
    if answer["action"] == "route" and not aborted:
        actual.path = answer["request"]["path"]
        actual.outcomes = [
            Outcome(each["authority"], each["requestHeaders"], each["responseHeaders"]) for each in actual.destinations
        ]
    return actual
