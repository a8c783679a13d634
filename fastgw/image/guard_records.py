"""The records of guards. Few rules have any, so they are written from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastgw.image.layout import lib
from fastgw.model.plan import Guards, SourceList

if TYPE_CHECKING:
    from fastgw.image.tables import Tables


def add_guards(tables: Tables, guards: Guards) -> int:
    """Index of the record."""
    return tables["guards"].add(*_add_sources(tables, guards.sources), guards.max_request_bytes)


def _add_sources(tables: Tables, sources: tuple[SourceList, ...]) -> tuple[int, int]:
    table = tables["source_lists"]
    first = table.count
    for each in sources:
        otherwise = lib.FGW_SOURCE_DENIED if each.closed else lib.FGW_SOURCE_ALLOWED
        table.add(*tables.networks_span(each.allow, each.deny), *tables.span(each.policy), otherwise)
    return first, len(sources)
