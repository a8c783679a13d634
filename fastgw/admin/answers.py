"""JSON answers of the admin API."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web


def answer(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return web.Response(body=body, status=status, content_type="application/json")


def nothing_yet() -> web.Response:
    return answer({"error": "no configuration is served yet"}, status=503)
