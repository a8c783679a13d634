"""What an error page may be: its statuses, its content type, its size; and which pages count when several are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fastgw.model.plan import ErrorPage

MAX_PAGE_BYTES = 65_536
MAX_TYPE_BYTES = 128
_STATUS = re.compile(r"[45](xx|[0-9]{2})")
_MEDIA_TYPE = re.compile(r"[!#$&^_.+0-9A-Za-z-]+/[!#$&^_.+0-9A-Za-z-]+(; ?charset=[0-9A-Za-z-]+)?")


def statuses_of(text: str) -> tuple[int, int]:
    """The lowest and the highest of "503" or "5xx". Raises ValueError."""
    if not _STATUS.fullmatch(text):
        raise ValueError(f'"{text}" is neither a status from 400 to 599 nor 4xx or 5xx')
    return (int(text[0]) * 100, int(text[0]) * 100 + 99) if text.endswith("xx") else (int(text), int(text))


def content_type_of(text: str) -> str:
    """In lower case. Raises ValueError."""
    if not _MEDIA_TYPE.fullmatch(text) or len(text) > MAX_TYPE_BYTES:
        raise ValueError(f'"{text}" is no content type')
    return text.lower()


def is_too_large(body: str) -> bool:
    return len(body) > MAX_PAGE_BYTES or len(body.encode("utf-8", "surrogatepass")) > MAX_PAGE_BYTES


def in_order(pages: Iterable[ErrorPage]) -> tuple[ErrorPage, ...]:
    """Of one who asks: single statuses before classes, content types as they are listed."""
    return tuple(sorted(pages, key=lambda page: page.high - page.low))


def merged(asked: Iterable[Sequence[ErrorPage]]) -> tuple[ErrorPage, ...]:
    """Of several who ask, the first one first: for a status the pages of the first that has any count, be it by its class."""
    found: list[ErrorPage] = []
    for pages in asked:
        known = {(page.low, page.high) for page in found}
        found += [page for page in pages if not any(low <= page.low and page.high <= high for low, high in known)]
    return tuple(found)
