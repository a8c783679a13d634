"""A second reading of the route image, in plain Python, as a second opinion on writer and matcher.

It knows the records but none of the matcher's structures: tries, candidate lists and hashes are passed over; the first rule of the
virtual host whose conditions all hold is the answer, and regexes are Python's.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator

from fastgw.image.layout import HEADER, NONE, TABLES, lib
from fastgw.image.matcher import RouteRequest

Row = dict[str, int | bytes]


class ImageReader:
    """Rows of an image by table and index; field names are those of the C structs (``name.off`` and so on)."""

    def __init__(self, image: bytes) -> None:
        self.image = image
        self.header = dict(zip(HEADER.names, HEADER.unpack_from(image), strict=True))

    def number(self, row: Row, name: str) -> int:
        value = row[name]
        assert isinstance(value, int)
        return value

    def row(self, table: str, index: int) -> Row:
        record = TABLES[table]
        if not 0 <= index < self.header[f"{table}.count"]:
            raise IndexError(f"{table}[{index}]")
        return dict(
            zip(record.names, record.unpack_from(self.image, self.header[f"{table}.off"] + index * record.size), strict=True)
        )

    def rows(self, table: str, first: int = 0, count: int | None = None) -> Iterator[Row]:
        """Rows ``first`` .. of a table; all by default."""
        last = self.header[f"{table}.count"] if count is None else first + count
        return (self.row(table, i) for i in range(first, last))

    def range(self, row: Row, name: str) -> range:
        """Indexes of an embedded fgw_table."""
        first = self.number(row, f"{name}.off")
        return range(first, first + self.number(row, f"{name}.count"))

    def bytes_of(self, row: Row, name: str) -> bytes:
        """The bytes of an embedded span."""
        return self.string(self.number(row, f"{name}.off"), self.number(row, f"{name}.len"))

    def text(self, row: Row, name: str) -> str:
        return self.bytes_of(row, name).decode("utf-8", "replace")

    def string(self, offset: int, length: int) -> bytes:
        start = self.header["strings.off"] + offset
        return self.image[start : start + length]

    def candidates(self) -> tuple[int, ...]:
        return struct.unpack_from(f"<{self.header['candidates.count']}I", self.image, self.header["candidates.off"])

    def address(self, endpoint: Row) -> str:
        """ "10.0.0.1:80", "[::1]:80", "unix:/path" or "name:80"."""
        ip, family, port = endpoint["ip"], endpoint["family"], self.number(endpoint, "port")
        assert isinstance(ip, bytes)
        if family == lib.FGW_FAMILY_UNIX:
            return f"unix:{self.text(endpoint, 'path')}"
        if family == lib.FGW_FAMILY_NAME:
            return f"{self.text(endpoint, 'path')}:{port}"
        if family == lib.FGW_FAMILY_IPV4:
            return f"{socket.inet_ntop(socket.AF_INET, ip[:4])}:{port}"
        return f"[{socket.inet_ntop(socket.AF_INET6, ip)}]:{port}"

    # --- matching ---

    def listener(self, name: str) -> int | None:
        """Index of the listener with this name."""
        for i, row in enumerate(self.rows("listeners")):
            if self.text(row, "name") == name:
                return i
        return None

    def match(self, listener: int, request: RouteRequest) -> tuple[str, int | None, int | None]:
        """(verdict, virtual host, rule) of a request without TLS, in the words of fastgw.image.matcher."""
        return self.match_in(self.route_table(listener), request)

    def match_in(self, table: int, request: RouteRequest) -> tuple[str, int | None, int | None]:
        """The same of a request that goes by a route table; NONE for none."""
        vhost = None if table == NONE else self.virtual_host(self.row("route_tables", table), request.host)
        if vhost is None:
            return "no_virtual_host", None, None
        row = self.row("vhosts", vhost)
        redirects = bool(self.number(row, "flags") & lib.FGW_VHOST_REQUIRE_TLS) and not request.secure
        if redirects and not re.match(rb"/\.well-known/acme-challenge/.", request.path, re.DOTALL):
            return "require_tls", vhost, None
        for rule in self.range(row, "rules"):
            if self.rule_holds(self.row("rules", rule), request):
                return "match", vhost, rule
        return "require_tls" if redirects else "no_rule", vhost, None

    def route_table(self, listener: int) -> int:
        """Of the listener's chain for connections without TLS; NONE without one."""
        plain = self.number(self.row("listeners", listener), "plain")
        return NONE if plain == NONE else self.number(self.row("chains", plain), "route_table")

    def chain_of_sni(self, listener: int, sni: bytes) -> int | None:
        """Index of the chain for a server name, b"" for none; None when no chain takes it."""
        table = self.number(self.row("listeners", listener), "sni")
        return None if table == NONE else self._named(self.row("sni_tables", table), sni)

    def request_table(self, listener: int, chain: int, host: bytes) -> tuple[str, int | None]:
        """Whose the host is on a connection of a chain, and the route table that decides; in the words of fastgw.image.matcher."""
        own = self.row("chains", chain)
        owner = self.chain_of_sni(listener, host) if own["tls"] == lib.FGW_TLS_TERMINATE else chain
        if owner is None:
            return "none", None
        row = self.row("chains", owner)
        if owner == chain:
            return "self", self.number(row, "route_table")
        if row["kind"] == lib.FGW_CHAIN_HTTP and row["tls"] == own["tls"] and row["identity"] == own["identity"]:
            return "twin", self.number(row, "route_table")
        return "other", None

    def domains(self, table: Row, kind: str) -> dict[bytes, int]:
        """Keys of the ``exact`` or ``suffix`` table (without "*"), with their virtual hosts or chains."""
        found: dict[bytes, int] = {}
        for index in self.range(table, f"hosts.{kind}"):
            slot = self.row("slots", index)
            if self.number(slot, "value") == NONE:
                continue
            length, key = self.number(slot, "key_len"), slot["key"]
            assert isinstance(key, bytes)
            whole = key[:length] if length <= lib.FGW_SLOT_INLINE else self.string(self.number(slot, "key_off"), length)
            found[whole] = self.number(slot, "value")
        return found

    def virtual_host(self, table: Row, host: bytes) -> int | None:
        return self._named(table, host)

    def _named(self, table: Row, host: bytes) -> int | None:
        """Statement D2: exact, then the longest suffix that leaves a character over, then "*"."""
        lower = host.lower()
        exact = self.domains(table, "exact").get(lower)
        if exact is not None:
            return exact
        fitting = [(len(s), v) for s, v in self.domains(table, "suffix").items() if lower.endswith(s) and len(lower) > len(s)]
        if fitting:
            return max(fitting)[1]
        default = self.number(table, "hosts.default_value")
        return None if default == NONE else default

    def rule_holds(self, rule: Row, request: RouteRequest) -> bool:
        first = self.number(rule, "predicates")
        predicates = self.rows("predicates", first, self.number(rule, "predicate_count"))
        return self.path_holds(rule, request.path) and all(self.predicate_holds(p, request) for p in predicates)

    def path_holds(self, rule: Row, path: bytes) -> bool:
        kind, want = rule["path_kind"], self.bytes_of(rule, "path")
        if rule["ignore_case"]:
            path = path.lower()
        if kind == lib.FGW_PATH_EXACT:
            return path == want
        if kind == lib.FGW_PATH_PREFIX:
            return path.startswith(want)
        if kind == lib.FGW_PATH_SEGMENT_PREFIX:
            segment = want[:-1] if want.endswith(b"/") else want
            return path == segment or path.startswith(segment + b"/")
        if kind == lib.FGW_PATH_REGEX:
            return self.regex_holds(self.number(rule, "regex"), path)
        return True

    def regex_holds(self, index: int, text: bytes) -> bool:
        return re.fullmatch(self.bytes_of(self.row("regexes", index), "pattern"), text) is not None

    def predicate_holds(self, predicate: Row, request: RouteRequest) -> bool:
        """Statements G6 to G13."""
        if predicate["target"] == lib.FGW_ON_NEVER:
            return False
        value = self.looked_at(predicate, request)
        inverted = bool(predicate["invert"])
        if predicate["op"] == lib.FGW_OP_PRESENT:
            return (value is not None) != inverted
        if value is None:
            if not inverted:
                return False
            value = b""
        return self._compare(predicate, value) != inverted

    def _compare(self, predicate: Row, value: bytes) -> bool:
        want = self.bytes_of(predicate, "value")
        if predicate["op"] == lib.FGW_OP_EXACT:
            return value == want
        if predicate["op"] == lib.FGW_OP_PREFIX:
            return value.startswith(want)
        return self.regex_holds(self.number(predicate, "regex"), value)

    def looked_at(self, predicate: Row, request: RouteRequest) -> bytes | None:
        """What the predicate compares: a repeated header joined with ","; None when there is nothing."""
        target, name = predicate["target"], self.bytes_of(predicate, "name")
        if target == lib.FGW_ON_HEADER:
            values = [value for key, value in request.headers if key.lower() == name]
            return b",".join(values) if values else None
        if target == lib.FGW_ON_QUERY:
            return _query_value(request.query, name)
        plain = {
            lib.FGW_ON_METHOD: request.method,
            lib.FGW_ON_SCHEME: request.scheme,
            lib.FGW_ON_AUTHORITY: request.authority,
            lib.FGW_ON_RAW_PATH: request.raw_path,
        }
        return plain[target]


def _query_value(query: bytes | None, name: bytes) -> bytes | None:
    """Statement G13: the first occurrence, undecoded; "key" alone is present and empty."""
    for pair in query.removesuffix(b"&").split(b"&") if query else []:
        key, _, value = pair.partition(b"=")
        if key == name:
            return value
    return None
