"""Why a request goes where it goes: the C matcher's answer, and every rule before it with the condition that failed, in words."""

from __future__ import annotations

import msgspec

from fastgw.image.arrival import Head
from fastgw.image.layout import ACTIONS, NONE, ffi, lib
from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.image.reader import ImageReader, Row


class ExplainRequest(msgspec.Struct, frozen=True):
    """A request in words. ``authority``: with port, as sent; ``path``: normalised here as traffic's is; ``query``: without "?".

    ``sni``: the server name of the handshake under https, "" for none.
    """

    method: str
    authority: str
    path: str
    query: str | None = None
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()
    source_ip: str = ""
    sni: str = ""


class ExplainedRule(msgspec.Struct, frozen=True):
    """A rule that was looked at. ``failed``: which condition did not hold, "" for the rule that matched. Indexes count from 0."""

    virtual_service: str
    route: int
    match: int
    name: str
    file: str
    line: int
    failed: str = ""


class ExplainedDestination(msgspec.Struct, frozen=True):
    """A destination. ``weight`` is 1 for the only one. ``known``: the cluster exists. ``endpoints``: "address:port"."""

    cluster: str
    host: str
    subset: str
    port: int
    weight: int
    known: bool
    endpoints: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """``verdict``: match, no_rule, no_virtual_host, require_tls, misdirected, tcp (bytes go to a destination), no_chain (the
    connection is closed), no_listener, or a rejection's name (bad_escape, ...).

    ``chain`` serves the connection; ``owner`` is that of the request's host, "" for none. ``route_table`` has decided.
    ``kept``: position of the destination that this client keeps (sticky), None when it is drawn by weight.
    ``denied``: the policy that keeps a client out.
    ``preflight``: a question of CORS that the gateway answers.
    ``location``: of a redirect. ``target``: path and query that the upstream gets, None when the rewritten path is too long.
    """

    verdict: str
    virtual_host: str = ""
    matched: ExplainedRule | None = None
    action: str = ""
    destinations: tuple[ExplainedDestination, ...] = ()
    considered: tuple[ExplainedRule, ...] = ()
    path: str = ""
    kept: int | None = None
    chain: str = ""
    owner: str = ""
    route_table: str = ""
    sni: str = ""
    location: str = ""
    denied: str = ""
    target: str | None = ""
    preflight: bool = False


def explain(image: bytes, listener: str, request: ExplainRequest) -> Explanation:
    """Explain one request on a listener. Raises ImageError for bytes that are not an image."""
    return Explainer(image).explain(listener, request)


class Explainer:
    """The same for many requests on one image."""

    def __init__(self, image: bytes) -> None:
        self._matcher = Matcher(image)
        self._reader = ImageReader(image)

    def explain(self, listener: str, request: ExplainRequest, *, considered: bool = True) -> Explanation:
        """``considered``: with every rule before the one that matched, which costs time for each of them."""
        index = self._matcher.listener(listener)
        if index is None:
            return Explanation("no_listener")
        speaks_tls = request.scheme == "https" and self._reader.row("listeners", index)["sni"] != NONE
        sni = request.sni.lower() if speaks_tls else ""
        chain = self._matcher.chain_of_sni(index, sni.encode()) if speaks_tls else self._matcher.plain_chain(index)
        if chain is None:
            return Explanation("no_chain", sni=sni)
        row = self._reader.row("chains", chain)
        name = self._reader.text(row, "name")
        if row["kind"] == lib.FGW_CHAIN_TCP:
            return self._relayed(row, name, sni, request.source_ip)
        found = self._asked(index, chain, request, considered)
        return msgspec.structs.replace(found, chain=name, owner=found.owner or name, sni=sni)

    def _relayed(self, chain: Row, name: str, sni: str, source_ip: str) -> Explanation:
        if chain["action"] == NONE:
            return Explanation("no_chain", chain=name, owner=name, sni=sni)
        action = self._reader.row("actions", self._reader.number(chain, "action"))
        destinations, denied = self._destinations(action), self._denied(chain, source_ip)
        return Explanation("tcp", action="tcp", destinations=destinations, chain=name, owner=name, sni=sni, denied=denied)

    def _asked(self, listener: int, chain: int, request: ExplainRequest, want_considered: bool) -> Explanation:
        refused = _head_of(request).refused
        if refused:
            return Explanation(refused)
        path, host = _normal_path(request.path), _host_of(request.authority)
        for value in (path, host):
            if isinstance(value, int):
                return Explanation(ffi.string(lib.fgw_reason_name(value)).decode())
        assert isinstance(path, bytes) and isinstance(host, bytes)
        whose, table = self._matcher.request_table(listener, chain, host)
        owner = self._chain_name(chain if whose == "self" else self._matcher.chain_of_sni(listener, host))
        if whose == "other":
            return Explanation("misdirected", path=path.decode("utf-8", "replace"), owner=owner)
        found = self._matched(table, _route_request(request, host, path), request.source_ip, want_considered)
        name = "" if table is None else self._reader.text(self._reader.row("route_tables", table), "name")
        return msgspec.structs.replace(found, owner=owner, route_table=name)

    def _chain_name(self, chain: int | None) -> str:
        return "" if chain is None else self._reader.text(self._reader.row("chains", chain), "name")

    def _matched(self, table: int | None, request: RouteRequest, source_ip: str, want_considered: bool) -> Explanation:
        match = self._matcher.match_in(table, request)
        path = request.path.decode("utf-8", "replace")
        if match.vhost is None:
            return Explanation(match.verdict, path=path)
        vhost = self._reader.row("vhosts", match.vhost)
        name = self._reader.text(vhost, "name")
        if match.verdict == "require_tls":
            return Explanation(match.verdict, name, path=path, denied=self._denied(vhost, source_ip))
        considered = self._considered(vhost, match.rule, request) if want_considered else ()
        if match.rule is None or match.action is None:
            return Explanation(match.verdict, name, considered=considered, path=path, denied=self._denied(vhost, source_ip))
        action = self._reader.row("actions", match.action)
        found = Explanation(match.verdict, name, self._rule(match.rule, ""), _ACTION_WORDS[action["kind"]], (), considered, path)
        found = msgspec.structs.replace(found, denied=self._denied(action, source_ip))
        if found.action == "redirect":
            return msgspec.structs.replace(found, location=self._matcher.location(match.rule, request).decode("utf-8", "replace"))
        if found.action == "direct_response":
            return found
        kept = self._matcher.sticky_destination(match.action, request, source_ip)
        target = self._matcher.rewritten(match.rule, request)
        text = None if target is None else target.decode("utf-8", "replace")
        found = msgspec.structs.replace(found, destinations=self._destinations(action), kept=kept, target=text)
        return msgspec.structs.replace(found, preflight=self._is_answered(action, request))

    def _is_answered(self, action: Row, request: RouteRequest) -> bool:
        """A preflight of an allowed origin, or of any where IGNORE says so, is not forwarded (N7, N8)."""
        policy = self._reader.number(action, "policy")
        index = NONE if policy == NONE else self._reader.number(self._reader.row("route_policies", policy), "cors")
        fields = dict(request.headers)
        if index == NONE or request.method != b"OPTIONS" or not all(fields.get(name) for name in _PREFLIGHT_FIELDS):
            return False
        return bool(self._reader.row("cors", index)["ignore_unmatched"]) or self._matcher.allows_origin(index, request)

    def _denied(self, row: Row, source_ip: str) -> str:
        """The policy that keeps the client out of a virtual host, an action or a chain; "" when it is not known who asks."""
        guard = self._reader.number(row, "guard")
        found = self._matcher.denied(guard, source_ip) if guard != NONE and source_ip else None
        return "" if found is None else self._reader.text(self._reader.row("source_lists", found), "policy")

    # --- rules ---

    def _considered(self, vhost: Row, matched: int | None, request: RouteRequest) -> tuple[ExplainedRule, ...]:
        """The rules before the one that matched; all of them when none did."""
        rules = self._reader.range(vhost, "rules")
        stop = rules.stop if matched is None else matched
        return tuple(self._rule(i, self._failed(i, request)) for i in range(rules.start, stop))

    def _rule(self, index: int, failed: str) -> ExplainedRule:
        reader = self._reader
        row = reader.row("rules", index)
        owner = reader.row("origins", reader.number(row, "virtual_service"))
        place = reader.row("origins", reader.number(row, "origin"))
        return ExplainedRule(
            virtual_service=reader.text(owner, "name"),
            route=reader.number(row, "route_index"),
            match=reader.number(row, "match_index"),
            name=reader.text(row, "name"),
            file=reader.text(place, "file"),
            line=reader.number(place, "line"),
            failed=failed,
        )

    def _failed(self, index: int, request: RouteRequest) -> str:
        failing = self._matcher.failing(index, request)
        if failing is None:
            return ""
        row = self._reader.row("rules", index)
        if failing == 0:
            return self._failed_path(row, request)
        predicate = self._reader.row("predicates", self._reader.number(row, "predicates") + failing - 1)
        return self._failed_predicate(predicate, request)

    def _failed_path(self, rule: Row, request: RouteRequest) -> str:
        kind = _PATH_WORDS[self._reader.number(rule, "path_kind")]
        note = " (ignoring case)" if rule["ignore_case"] else ""
        return f"uri: want {kind} {_quoted(self._reader.bytes_of(rule, 'path'))}{note}, got {_quoted(request.path)}"

    def _failed_predicate(self, predicate: Row, request: RouteRequest) -> str:
        reader = self._reader
        target = reader.number(predicate, "target")
        if target == lib.FGW_ON_NEVER:
            return "match: it holds a condition that is never true at this gateway"
        what = _TARGET_WORDS[target].format(reader.text(predicate, "name"))
        value = reader.looked_at(predicate, request)
        got = "none" if value is None else _quoted(value)
        negation = "not " if predicate["invert"] else ""
        if predicate["op"] == lib.FGW_OP_PRESENT:
            return f"{what}: want it {'absent' if negation else 'present'}, got {got}"
        wanted = f"{_OP_WORDS[reader.number(predicate, 'op')]} {_quoted(reader.bytes_of(predicate, 'value'))}"
        return f"{what}: want {negation}{wanted}, got {got}"

    # --- destinations ---

    def _destinations(self, action: Row) -> tuple[ExplainedDestination, ...]:
        rows = (self._reader.row("destinations", i) for i in self._reader.range(action, "destinations"))
        return tuple(self._destination(row) for row in rows)

    def _destination(self, row: Row) -> ExplainedDestination:
        reader = self._reader
        name, weight, index = reader.text(row, "cluster_name"), reader.number(row, "weight"), reader.number(row, "cluster")
        if index == NONE:
            host, subset, port = _parts_of(name)
            return ExplainedDestination(name, host, subset, port, weight, known=False)
        cluster = reader.row("clusters", index)
        endpoints = tuple(reader.address(reader.row("endpoints", i)) for i in reader.range(cluster, "endpoints"))
        host, subset, port = reader.text(cluster, "host"), reader.text(cluster, "subset"), reader.number(cluster, "port")
        return ExplainedDestination(name, host, subset, port, weight, known=True, endpoints=endpoints)


_PREFLIGHT_FIELDS = (b"origin", b"access-control-request-method")
_ACTION_WORDS = {number: word for word, number in ACTIONS.items()}
_PATH_WORDS = {
    lib.FGW_PATH_EXACT: "exact",
    lib.FGW_PATH_PREFIX: "prefix",
    lib.FGW_PATH_REGEX: "regex",
    lib.FGW_PATH_SEGMENT_PREFIX: "path prefix",
}
_OP_WORDS = {lib.FGW_OP_EXACT: "exact", lib.FGW_OP_PREFIX: "prefix", lib.FGW_OP_REGEX: "regex"}
_TARGET_WORDS = {
    lib.FGW_ON_METHOD: "method",
    lib.FGW_ON_SCHEME: "scheme",
    lib.FGW_ON_AUTHORITY: "authority",
    lib.FGW_ON_HEADER: "header {}",
    lib.FGW_ON_QUERY: "query parameter {}",
    lib.FGW_ON_RAW_PATH: "uri with query",
}


def _quoted(value: bytes) -> str:
    return '"' + value.decode("utf-8", "replace") + '"'


def _head_of(request: ExplainRequest) -> Head:
    target = request.path if request.query is None else f"{request.path}?{request.query}"
    return Head(request.method, target, request.authority, request.headers)


def _normal_path(path: str) -> bytes | int:
    """The path as traffic's is normalised (Istio BASE), or the reason for which it would be refused."""
    raw = path.encode("utf-8", "surrogatepass")
    out = ffi.new("char[]", len(raw) + 2)
    length = lib.fgw_path_normalize(raw, len(raw), lib.FGW_PATH_BASE, out, len(raw) + 2)
    return bytes(ffi.buffer(out, length)) if length > 0 else -int(length)


def _host_of(authority: str) -> bytes | int:
    """The authority without its port, or the reason for which it would be refused."""
    raw = authority.encode("utf-8", "surrogatepass")
    host, port = ffi.new("fgw_span *"), ffi.new("uint32_t *")
    answer = lib.fgw_authority_split(raw, len(raw), host, port)
    return raw[host.off : host.off + host.len] if answer > 0 else -int(answer)


def _route_request(request: ExplainRequest, host: bytes, path: bytes) -> RouteRequest:
    return RouteRequest(
        host=host,
        path=path,
        query=None if request.query is None else request.query.encode(),
        method=request.method.encode(),
        scheme=request.scheme.encode(),
        authority=request.authority.encode(),
        headers=_head_of(request).seen(request.scheme, request.source_ip),
        secure=request.scheme == "https",
    )


def _parts_of(cluster_name: str) -> tuple[str, str, int]:
    """(host, subset, port) of "outbound|port|subset|host"; the name itself as host when it has another form."""
    parts = cluster_name.split("|")
    if len(parts) != 4:
        return cluster_name, "", 0
    return parts[3], parts[2], int(parts[1]) if parts[1].isdigit() else 0
