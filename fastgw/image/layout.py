"""Record layouts of the route image, taken from the C headers through cffi: nothing here repeats a size or an offset.

``Record`` packs and unpacks one C struct as a flat tuple. The names of its fields are listed here and compared with the header at
import, so that a change of the header cannot pass unnoticed.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from typing import Any

from fastgw.model.values import OPERATIONS

_native: Any = importlib.import_module("fastgw.native._native")
ffi: Any = _native.ffi
lib: Any = _native.lib

NONE: int = lib.FGW_NONE
SINGLE: int = lib.FGW_SINGLE
MAGIC = int.from_bytes(b"FGWIMAGE", "little")
_CODES = {("uint8_t", 1): "B", ("uint16_t", 2): "H", ("uint32_t", 4): "I", ("uint64_t", 8): "Q"}


class ImageError(ValueError):
    """The Plan cannot be written as an image, or the bytes are not an image."""


def _flatten(ctype: Any, prefix: str = "", base: int = 0) -> Iterator[tuple[str, int, str]]:
    """(name, offset, struct code) of every scalar in a struct; arrays of bytes are one "Ns", other arrays one value an element."""
    for name, field in ctype.fields:
        kind, offset, dotted = field.type, base + field.offset, prefix + name
        if kind.kind == "struct":
            yield from _flatten(kind, f"{dotted}.", offset)
        elif kind.kind == "array" and kind.item.cname == "uint8_t":
            yield dotted, offset, f"{kind.length}s"
        elif kind.kind == "array" and kind.item.kind == "struct":
            for i in range(kind.length):
                yield from _flatten(kind.item, f"{dotted}[{i}].", offset + i * ffi.sizeof(kind.item))
        elif kind.kind == "array":
            item = ffi.sizeof(kind.item)
            for i in range(kind.length):
                yield f"{dotted}[{i}]", offset + i * item, _CODES[kind.item.cname, item]
        else:
            yield dotted, offset, _CODES[kind.cname, ffi.sizeof(kind)]


def _is_padding(name: str) -> bool:
    return name.rpartition(".")[2].split("[")[0] in ("pad", "reserved")


class Record:
    """One record type. ``names``: dotted field names in order, without padding; ``pack`` takes and ``unpack`` gives them flat."""

    def __init__(self, ctype: str, names: str) -> None:
        fields = list(_flatten(ffi.typeof(ctype)))
        self.names = tuple(name for name, _, _ in fields if not _is_padding(name))
        if self.names != tuple(names.split()):
            raise ImageError(f"{ctype}: the header has the fields {' '.join(self.names)}")
        self.size: int = ffi.sizeof(ctype)
        self._offsets = {name: offset for name, offset, _ in fields}
        self._struct = struct.Struct(self._format(fields))
        self.pack = self._struct.pack
        self.pack_into = self._struct.pack_into
        self.unpack_from = self._struct.unpack_from

    def offset(self, name: str) -> int:
        """Of a field from the record's begin; of a span or range that of its first word."""
        found = self._offsets.get(name)
        return self._offsets[f"{name}.off"] if found is None else found

    def _format(self, fields: list[tuple[str, int, str]]) -> str:
        parts, at = ["<"], 0
        for name, offset, code in fields:
            if _is_padding(name):
                continue
            parts.append(f"{offset - at}x{code}")
            at = offset + struct.calcsize(f"<{code}")
        parts.append(f"{self.size - at}x")
        return "".join(parts)


_HOSTS = "hosts.exact.off hosts.exact.count hosts.suffix.off hosts.suffix.count hosts.default_value hosts.label_suffixes_only"
_HOSTS += " hosts.suffix_max " + " ".join(f"hosts.suffix_lengths[{i}]" for i in range(8))
_EDITS = "edits.request.off edits.request.count edits.response.off edits.response.count edits.authority.off edits.authority.len"

TABLES = {
    "listeners": Record(
        "fgw_img_listener",
        "name.off name.len bind.off bind.len port plain sni origin flags max_connections max_per_source chains.off chains.count",
    ),
    "chains": Record(
        "fgw_img_chain",
        "name.off name.len kind tls grpc_web tls_context route_table action idle_timeout_ms virtual_service origin guard identity",
    ),
    "sni_tables": Record("fgw_img_sni_table", _HOSTS),
    "tls_contexts": Record(
        "fgw_img_tls_context",
        "name.off name.len certificates[0].off certificates[0].len certificates[1].off certificates[1].len ca.off ca.len"
        " client_auth min_version max_version alpn ciphers.off ciphers.len curves.off curves.len sans.off sans.count spki.off"
        " spki.count hashes.off hashes.count origin",
    ),
    "upstream_tls": Record(
        "fgw_img_upstream_tls",
        "certificate.off certificate.len ca.off ca.len sni.off sni.len verify min_version max_version alpn sans.off"
        " sans.count identity",
    ),
    "texts": Record("fgw_span", "off len"),
    "route_tables": Record(
        "fgw_img_route_table",
        "name.off name.len vhosts.off vhosts.count pages.off pages.count " + _HOSTS,
    ),
    "vhosts": Record(
        "fgw_img_vhost",
        "name.off name.len rules.off rules.count flags own_pages origin root_fold guard pages.off pages.count",
    ),
    "rules": Record(
        "fgw_img_rule",
        "name.off name.len path.off path.len path_kind ignore_case predicate_count predicates regex action virtual_service origin"
        " route_index match_index",
    ),
    "predicates": Record("fgw_img_predicate", "name.off name.len value.off value.len target op invert header_id regex"),
    "actions": Record(
        "fgw_img_action",
        "kind sticky sticky_header_id total_weight destinations.off destinations.count sticky_name.off sticky_name.len"
        f" sticky_ttl_s answer policy guard {_EDITS}",
    ),
    "destinations": Record("fgw_img_destination", f"cluster weight cumulative_weight cluster_name.off cluster_name.len {_EDITS}"),
    "answers": Record("fgw_img_answer", "text.off text.len scheme.off scheme.len authority.off authority.len status port new_path"),
    "route_policies": Record(
        "fgw_img_route_policy",
        "rewrite_text.off rewrite_text.len regex rewrite abort_grpc abort_status timeout_ms delay_ms delay_per_million"
        " abort_per_million retry cors mirrors.off mirrors.count pages.off pages.count",
    ),
    "retries": Record(
        "fgw_img_retry",
        "attempts on on_grpc per_try_timeout_ms backoff_ms avoid_tried other_localities "
        + " ".join(f"statuses[{i}]" for i in range(lib.FGW_STATUS_SETS)),
    ),
    "cors": Record(
        "fgw_img_cors",
        "origins.off origins.count allow_methods.off allow_methods.len allow_headers.off allow_headers.len expose_headers.off"
        " expose_headers.len max_age.off max_age.len credentials ignore_unmatched",
    ),
    "mirrors": Record("fgw_img_mirror", "cluster per_million"),
    "pages": Record("fgw_img_page", "content_type.off content_type.len body.off body.len low high"),
    "guards": Record(
        "fgw_img_guard",
        "sources.off sources.count rate_limits.off rate_limits.count rate_policies.off rate_policies.len max_request_bytes",
    ),
    "source_lists": Record("fgw_img_source_list", "networks.off networks.len policy.off policy.len otherwise"),
    "rate_limits": Record("fgw_img_rate_limit", "name.off name.len identity interval_ns burst number keys.off keys.count"),
    "rate_keys": Record("fgw_img_rate_key", "name.off name.len kind header_id v4_bits v6_bits"),
    "edits": Record("fgw_img_edit", "name.off name.len value.off value.count kind header_id"),
    "parts": Record("fgw_img_part", "code header_id other_id limit text.off text.len other.off other.len"),
    "clusters": Record(
        "fgw_img_cluster",
        "name.off name.len host.off host.len service_name.off service_name.len service_namespace.off service_namespace.len"
        " subset.off subset.len port discovery lb protocol weighted endpoints.off endpoints.count dns_slot connect_timeout_ms tls"
        " metric_id max_streams ping_interval_ms ping_timeout_ms policy state origin ring.off ring.count maglev.off maglev.count",
    ),
    "endpoints": Record("fgw_img_endpoint", "family flags port weight priority ip cell path.off path.len"),
    "policies": Record(
        "fgw_img_policy",
        "flags hash_on hash_header_id proxy_protocol priorities max_ejection_percent min_health_percent hash_name.off hash_name.len"
        " cookie_rest.off cookie_rest.len max_connections max_pending max_requests max_retries max_requests_per_connection"
        " idle_timeout_ms max_connection_ms keepalive_time_s keepalive_interval_s keepalive_probes consecutive_errors"
        " consecutive_gateway_errors consecutive_local_errors outlier_interval_ms base_ejection_ms warmup_ms "
        + " ".join((*(f"warmup_curve[{i}]" for i in range(17)), "retry_share", *(f"error_codes[{i}]" for i in range(8)))),
    ),
    "ring_points": Record("fgw_img_ring_point", "hash endpoint"),
    "maglev_places": Record("fgw_img_maglev_place", "endpoint"),
    "regexes": Record("fgw_img_regex", "pattern.off pattern.len literal_prefix.off literal_prefix.len flags"),
    "origins": Record("fgw_img_origin", "file.off file.len kind.off kind.len name.off name.len line column"),
    "slots": Record("fgw_img_slot", "hash value hint key_len key_off key"),
    "nodes": Record(
        "fgw_img_node",
        "children[0] children[1] children[2] children[3] label label_len label_off rank first_child below at_end",
    ),
    "lists": Record("fgw_img_list", "first count group regex_set next"),
    "groups": Record("fgw_img_group", "target header_id name.off name.len slots.off slots.count"),
    "regex_sets": Record("fgw_img_regex_set", "members.off members.count target header_id name.off name.len"),
}
HEADER = Record(
    "fgw_image_header",
    "magic version header_bytes total_bytes generation "
    + " ".join(f"{name}.off {name}.count" for name in (*TABLES, "candidates", "strings")),
)

PATH_KINDS = {
    "exact": lib.FGW_PATH_EXACT,
    "prefix": lib.FGW_PATH_PREFIX,
    "regex": lib.FGW_PATH_REGEX,
    "segment": lib.FGW_PATH_SEGMENT_PREFIX,
}
TARGETS = {
    "method": lib.FGW_ON_METHOD,
    "scheme": lib.FGW_ON_SCHEME,
    "authority": lib.FGW_ON_AUTHORITY,
    "header": lib.FGW_ON_HEADER,
    "query": lib.FGW_ON_QUERY,
    "raw_path": lib.FGW_ON_RAW_PATH,
    "never": lib.FGW_ON_NEVER,
}
OPS = {"exact": lib.FGW_OP_EXACT, "prefix": lib.FGW_OP_PREFIX, "regex": lib.FGW_OP_REGEX, "present": lib.FGW_OP_PRESENT}
STICKY = {"cookie": lib.FGW_STICKY_COOKIE, "header": lib.FGW_STICKY_HEADER, "source_ip": lib.FGW_STICKY_SOURCE_IP}
EDITS = {"remove": lib.FGW_EDIT_REMOVE, "set": lib.FGW_EDIT_SET, "add": lib.FGW_EDIT_ADD}
VALUES: dict[str, int] = {name: getattr(lib, f"FGW_VALUE_{name.upper()}") for name in OPERATIONS}
ACTIONS = {
    "route": lib.FGW_ACTION_ROUTE,
    "unsupported": lib.FGW_ACTION_UNSUPPORTED,
    "redirect": lib.FGW_ACTION_REDIRECT,
    "direct_response": lib.FGW_ACTION_DIRECT,
}
NEW_PATHS = {"": lib.FGW_PATH_KEPT, "replace": lib.FGW_PATH_REPLACED, "prefix": lib.FGW_PATH_PREFIX_REPLACED}
AVOID_TRIED = {False: lib.FGW_AVOID_NEVER, True: lib.FGW_AVOID_ALWAYS, None: lib.FGW_AVOID_UNLESS_HASHED}
RETRY_ON = {
    "5xx": lib.FGW_RETRY_5XX,
    "gateway-error": lib.FGW_RETRY_GATEWAY_ERROR,
    "reset": lib.FGW_RETRY_RESET,
    "reset-before-request": lib.FGW_RETRY_RESET_BEFORE_REQUEST,
    "connect-failure": lib.FGW_RETRY_CONNECT_FAILURE,
    "envoy-ratelimited": lib.FGW_RETRY_RATELIMITED,
    "retriable-4xx": lib.FGW_RETRY_RETRIABLE_4XX,
    "refused-stream": lib.FGW_RETRY_REFUSED_STREAM,
}
CHAIN_KINDS = {"http": lib.FGW_CHAIN_HTTP, "tcp": lib.FGW_CHAIN_TCP}
CHAIN_TLS = {"none": lib.FGW_TLS_NONE, "terminate": lib.FGW_TLS_TERMINATE, "passthrough": lib.FGW_TLS_PASSTHROUGH}
CLIENT_AUTH = {
    "none": lib.FGW_CLIENT_AUTH_NONE,
    "optional": lib.FGW_CLIENT_AUTH_OPTIONAL,
    "require": lib.FGW_CLIENT_AUTH_REQUIRE,
    "unverified": lib.FGW_CLIENT_AUTH_UNVERIFIED,
    "require_unverified": lib.FGW_CLIENT_AUTH_REQUIRE_UNVERIFIED,
}
UPSTREAM_VERIFY = {"none": lib.FGW_VERIFY_NONE, "chain": lib.FGW_VERIFY_CHAIN, "names": lib.FGW_VERIFY_NAMES}
TLS_VERSIONS = {"1.0": lib.FGW_TLS10, "1.1": lib.FGW_TLS11, "1.2": lib.FGW_TLS12, "1.3": lib.FGW_TLS13}
ALPN = {"http/1.1": lib.FGW_ALPN_HTTP1, "h2": lib.FGW_ALPN_H2, "istio": lib.FGW_ALPN_ISTIO}
UPSTREAM_PROTOCOLS = {
    "http1": lib.FGW_UPSTREAM_HTTP1,
    "http2": lib.FGW_UPSTREAM_HTTP2,
    "tcp": lib.FGW_UPSTREAM_TCP,
    "client": lib.FGW_UPSTREAM_CLIENT,
}
BALANCERS = {"least_request": lib.FGW_LB_LEAST_REQUEST, "round_robin": lib.FGW_LB_ROUND_ROBIN, "random": lib.FGW_LB_RANDOM}
BALANCERS |= {"ring_hash": lib.FGW_LB_RING_HASH, "maglev": lib.FGW_LB_MAGLEV}
HASH_ON = {
    "": lib.FGW_HASH_NONE,
    "header": lib.FGW_HASH_HEADER,
    "cookie": lib.FGW_HASH_COOKIE,
    "source_ip": lib.FGW_HASH_SOURCE_IP,
    "query": lib.FGW_HASH_QUERY,
}
DISCOVERIES = {"static": lib.FGW_DISCOVERY_STATIC, "dns": lib.FGW_DISCOVERY_DNS}
