"""``redirect`` and ``directResponse`` of an http route -> the answer that the gateway gives itself (statements M6 to M10)."""

from __future__ import annotations

import base64
import binascii

from fastgw.model.kinds.http_route import Body, DirectResponse, Redirect
from fastgw.model.plan import DirectResponse as PlannedResponse
from fastgw.model.plan import Redirect as PlannedRedirect

REDIRECT_CODES = (301, 302, 303, 307, 308)
MAX_BODY_BYTES = 1 << 20
_MAX_PORT = 65535


class InvalidAnswer(ValueError):
    """``field``: within the http route. ``severity``: a warning for what Istio's validation lets through."""

    def __init__(self, field: str, words: str, severity: str = "error") -> None:
        super().__init__(words)
        self.field = field
        self.severity = severity


def is_url_text(text: str) -> bool:
    """Can it stand in a request line or a Location? Blanks and control characters would end either."""
    return all(c > " " and c != "\x7f" for c in text)


def redirect_of(redirect: Redirect, server_port: int) -> PlannedRedirect:
    """``server_port``: of the Gateway's server, for derivePort. Raises InvalidAnswer."""
    code = redirect.redirect_code or 301
    if code not in REDIRECT_CODES:
        words = f"{code} is none of {', '.join(map(str, REDIRECT_CODES))}"
        raise InvalidAnswer(".redirect.redirectCode", words, "warning" if 300 <= code <= 399 else "error")  # M9
    for name, text in (("uri", redirect.uri), ("prefixRewrite", redirect.prefix_rewrite), ("authority", redirect.authority)):
        if not is_url_text(text):
            raise InvalidAnswer(f".redirect.{name}", f'"{text}" holds a blank or a control character')
    if redirect.scheme not in ("", "http", "https"):
        raise InvalidAnswer(".redirect.scheme", f'"{redirect.scheme}" is neither http nor https')
    port = redirect.port or 0
    if redirect.derive_port == "FROM_REQUEST_PORT":
        port = server_port
    if port > _MAX_PORT:
        raise InvalidAnswer(".redirect.port", f"{port} is no port")
    new_path = "replace" if redirect.uri else "prefix" if redirect.prefix_rewrite else ""
    path = redirect.uri or redirect.prefix_rewrite
    return PlannedRedirect(code, redirect.scheme, redirect.authority, port, new_path, path)


def direct_response_of(response: DirectResponse) -> PlannedResponse:
    """Raises InvalidAnswer."""
    if not 200 <= response.status <= 600:
        raise InvalidAnswer(".directResponse.status", f"{response.status} is no status, they go from 200 to 599")
    body = _body(response.body)
    if len(body) > MAX_BODY_BYTES:
        raise InvalidAnswer(".directResponse.body", f"a body of {len(body)} bytes, the most is 1 MiB")
    return PlannedResponse(response.status, body)


def _body(body: Body | None) -> bytes:
    if body is None:
        return b""
    if body.string is not None:
        return body.string.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body.bytes or "", validate=True)
    except binascii.Error:
        raise InvalidAnswer(".directResponse.body.bytes", "this is not base64") from None
