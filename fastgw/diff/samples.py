"""Sample requests from a file: ``METHOD URL`` a line, or an access log in JSON (Istio's keys). Both may be mixed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fastgw.image.asked import Asked, ask


class Samples(msgspec.Struct):
    """How often each request is there, in order. ``first_skipped``: the first line that is none, counted from 1."""

    counts: dict[Asked, int]
    skipped: int = 0
    first_skipped: int = 0


def read_samples(lines: Iterable[bytes]) -> Samples:
    """Empty lines and those that begin with ``#`` are passed over; any other that is no request is counted."""
    samples = Samples({})
    for number, raw in enumerate(lines, 1):
        line = raw.decode("utf-8", "replace").strip()
        if not line or line.startswith("#"):
            continue
        try:
            asked = _from_log(line) if line.startswith("{") else _from_words(line)
        except ValueError:
            samples.skipped += 1
            samples.first_skipped = samples.first_skipped or number
            continue
        samples.counts[asked] = samples.counts.get(asked, 0) + 1
    return samples


def _from_words(line: str) -> Asked:
    method, url = line.split()
    return ask(method, url)


def _from_log(line: str) -> Asked:
    """Keys method, path and authority; of use are also user_agent, requested_server_name (it was TLS then) and the local port."""
    entry = msgspec.json.decode(line, type=dict[str, Any])
    method, path, authority = (_value(entry, key) for key in ("method", "path", "authority"))
    if not (method and path and authority):
        raise ValueError("no request")
    sni, agent = _value(entry, "requested_server_name"), _value(entry, "user_agent")
    scheme = "https" if sni else "http"
    headers = [("host", authority), *([("user-agent", agent)] if agent else [])]
    target = path if path.startswith("/") else f"/{path}"
    asked = ask(method, f"{scheme}://{authority}{target}", headers, sni=sni)
    port = _value(entry, "downstream_local_address").rpartition(":")[2]
    # the port that the request came in at says more than the one that the client wrote
    return msgspec.structs.replace(asked, url_port=int(port)) if port.isascii() and port.isdigit() else asked


def _value(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) and value != "-" else ""
