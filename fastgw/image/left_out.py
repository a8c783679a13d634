"""Matches that the compiler left out of a virtual host (port, gateways, sourceLabels, sourceNamespace), put where they would stand.

The image does not hold them, since they can never match there; whoever asks why a rule did not match still has to be told.
"""

from __future__ import annotations

from typing import Any

from fastgw.model.plan import LeftOut

Entry = dict[str, Any]


def with_left_out(considered: list[Entry], matched: Entry | None, left_out: list[LeftOut]) -> list[Entry]:
    """``considered`` with those of ``left_out`` that stand before ``matched`` (all of them when nothing matched), in match order:
    each before the first entry of its VirtualService that follows it there, else behind the VirtualService's last one."""
    found = list(considered)
    for each in left_out:
        if matched is not None and not _before(each, matched):
            continue
        service = each.virtual_service.key
        places = [at for at, entry in enumerate(found) if entry["virtualService"] == service]
        following = [at for at in places if _before(each, found[at])]
        at = following[0] if following else (places[-1] + 1 if places else len(found))
        found.insert(at, _entry(each))
    return found


def _before(each: LeftOut, entry: Entry) -> bool:
    if entry["virtualService"] != each.virtual_service.key:
        return True
    return (each.route_index, each.match_index) < (entry["route"], entry["match"])


def _entry(each: LeftOut) -> Entry:
    return {
        "virtualService": each.virtual_service.key,
        "route": each.route_index,
        "match": each.match_index,
        "name": each.name,
        "file": each.origin.file,
        "line": each.origin.line,
        "failed": each.failed,
    }
