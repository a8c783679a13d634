"""A request in words, as explain, route tests and samples of traffic give it: method, URL, headers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

DEFAULT_PORTS = {"http": 80, "https": 443}


class Asked(msgspec.Struct, frozen=True):
    """``url_port``: the port that the URL names, 0 for none. ``headers``: lower-case names, without host. ``query``: None for none.

    ``sni``, ``source_ip`` and ``listener`` (the name or address of one) describe the connection; "" where they were not given. The
    server name of an https URL is its host, as any client has it, whatever a header ``host`` says.
    """

    method: str
    scheme: str
    authority: str
    url_port: int
    path: str
    query: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    sni: str = ""
    source_ip: str = ""
    listener: str = ""

    @property
    def target(self) -> str:
        """Path and query as sent."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def ask(
    method: str, url: str, headers: Iterable[tuple[str, str]] = (), *, sni: str = "", source_ip: str = "", listener: str = ""
) -> Asked:
    """A URL without a scheme is http; a header ``host`` wins over the URL's. Raises ValueError in words for what is no request."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f'the URL has to begin with http:// or https://, not "{parts.scheme}://"')
    try:
        url_port = parts.port or 0
    except ValueError as error:
        raise ValueError(f'"{url}": {error}') from error
    lower = [(name.lower(), value) for name, value in headers]
    for name, value in (("the method", method), ("the URL", url), *lower):
        if any(char in name + value for char in "\r\n\0"):
            raise ValueError(f"{name.split(chr(13))[0].split(chr(10))[0]} holds a line break or NUL, which no request can carry")
    hosts = [value for name, value in lower if name == "host"]
    authority = hosts[-1] if hosts else parts.netloc.rpartition("@")[2]
    if not authority:
        raise ValueError(f'"{url}" names no host')
    if source_ip:
        ipaddress.ip_address(source_ip)
    others = tuple(pair for pair in lower if pair[0] != "host")
    sni = sni or (_server_name(parts.hostname or "") if scheme == "https" else "")
    query = parts.query if parts.query or "?" in url.partition("#")[0] else None
    return Asked(method.upper(), scheme, authority, url_port, parts.path or "/", query, others, sni, source_ip, listener)


def _server_name(host: str) -> str:
    """What a client sends: nothing for an address (RFC 6066 section 3)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return ""
