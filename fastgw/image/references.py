"""Which fields of the image's records refer to what: the linker moves them when pieces are joined.

A field that refers to nothing in its piece (numbers, enums, places in the state segment) is not listed. Whoever adds a field that
holds an index, a span or a range adds it here.
"""

from __future__ import annotations

from fastgw.image.layout import TABLES, ImageError
from fastgw.image.link import KINDS, Format

LIST = "list"
"""A list reference, see fgw_img_list."""
SHARED = "shared"
"""A symbol: a string, a regex or a cluster that many pieces name."""
RULES_OF = "rules of: "
"""Of a virtual host into the piece of its rules."""

_EDITS = {"edits.request": "edits", "edits.response": "edits", "edits.authority": "strings"}

REFERENCES: dict[str, dict[str, str]] = {
    "listeners": {
        "name": "strings",
        "bind": "strings",
        "origin": "origins",
        "sni": "sni_tables",
        "chains": "chains",
        "plain": "chains",
    },
    "chains": {
        "name": "strings",
        "tls_context": "tls_contexts",
        "action": "actions",
        "virtual_service": "origins",
        "origin": "origins",
        "guard": "guards",
    },
    "sni_tables": {},
    "tls_contexts": {
        "name": "strings",
        "certificates[0]": "strings",
        "certificates[1]": "strings",
        "ca": "strings",
        "ciphers": "strings",
        "curves": "strings",
        "sans": "texts",
        "spki": "texts",
        "hashes": "texts",
        "origin": "origins",
    },
    "upstream_tls": {"certificate": "strings", "ca": "strings", "sni": "strings", "sans": "texts"},
    "texts": {"off": "strings"},
    "route_tables": {"name": "strings", "pages": "pages"},
    "vhosts": {
        "name": "strings",
        "rules": RULES_OF + "rules",
        "origin": "origins",
        "root_fold": RULES_OF + "nodes",
        "guard": "guards",
        "pages": "pages",
    },
    "rules": {
        "name": "strings",
        "path": "strings",
        "predicates": "predicates",
        "regex": SHARED,
        "action": "actions",
        "virtual_service": "origins",
        "origin": "origins",
    },
    "predicates": {"name": "strings", "value": "strings", "regex": SHARED},
    "actions": {
        "destinations": "destinations",
        "sticky_name": "strings",
        "answer": "answers",
        "policy": "route_policies",
        "guard": "guards",
        **_EDITS,
    },
    "destinations": {"cluster": SHARED, "cluster_name": SHARED, **_EDITS},
    "answers": {"text": "strings", "scheme": "strings", "authority": "strings"},
    "route_policies": {
        "rewrite_text": "strings",
        "regex": SHARED,
        "retry": "retries",
        "cors": "cors",
        "mirrors": "mirrors",
        "pages": "pages",
    },
    "retries": {},
    "cors": {
        "origins": "predicates",
        "allow_methods": "strings",
        "allow_headers": "strings",
        "expose_headers": "strings",
        "max_age": "strings",
    },
    "mirrors": {"cluster": SHARED},
    "pages": {"content_type": "strings", "body": SHARED},
    "guards": {"sources": "source_lists", "rate_limits": "rate_limits", "rate_policies": "strings"},
    "source_lists": {"networks": SHARED, "policy": "strings"},
    "rate_limits": {"name": "strings", "keys": "rate_keys"},
    "rate_keys": {"name": "strings"},
    "edits": {"name": "strings", "value": "parts"},
    "parts": {"text": "strings", "other": "strings"},
    "clusters": {
        "name": SHARED,
        "host": SHARED,
        "service_name": SHARED,
        "service_namespace": SHARED,
        "subset": SHARED,
        "endpoints": "endpoints",
        "tls": "upstream_tls",
        "origin": "origins",
        "policy": "policies",
        "ring": "ring_points",
        "maglev": "maglev_places",
    },
    "endpoints": {"path": "strings"},
    "policies": {"hash_name": "strings", "cookie_rest": "strings"},
    "ring_points": {},
    "maglev_places": {},
    "regexes": {},
    "origins": {"file": SHARED, "kind": SHARED, "name": "strings"},
    "slots": {"value": LIST, "key_off": "strings"},
    "nodes": {"label_off": "strings", "first_child": "nodes", "below": LIST, "at_end": LIST},
    "lists": {"first": "candidates", "group": "groups", "regex_set": "regex_sets", "next": LIST},
    "regex_sets": {"members": "candidates", "name": "strings"},
    "groups": {"name": "strings", "slots": "slots"},
    "candidates": {"": "rules"},
    "strings": {},
}
"""Table -> field (without ".off") -> table. What listeners, route tables and SNI tables do not list counts for the whole image."""

NUMBERS = {name: number for number, name in enumerate((*TABLES, "candidates", "strings"))}
"""Tables in the order of the image's header."""


def _field(table: str, name: str, target: str) -> tuple[int, int, int]:
    """(offset in the record, kind, number of the target table)"""
    record = TABLES.get(table)
    offset = record.offset(name) if record is not None else 0
    if target in (LIST, SHARED):
        return offset, KINDS["list" if target == LIST else "symbol"], 0
    if target.startswith(RULES_OF):
        return offset, KINDS["foreign"], NUMBERS[target.removeprefix(RULES_OF)]
    return offset, KINDS["index"], NUMBERS[target]


def _format() -> Format:
    unlisted = {name for name in NUMBERS if name not in REFERENCES}
    if unlisted:
        raise ImageError(f"tables without a list of references: {', '.join(sorted(unlisted))}")
    sizes = {**{name: record.size for name, record in TABLES.items()}, "candidates": 4, "strings": 1}
    return Format([(sizes[t], [_field(t, *entry) for entry in REFERENCES[t].items()]) for t in NUMBERS], NUMBERS)


FORMAT = _format()
