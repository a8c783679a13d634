"""Host names: short names, wildcards, and the intersection of a server's hosts with a VirtualService's. Pure functions.

A pattern is an exact name, ``*``, or a name with one leading ``*``; what follows the star is its suffix.
Statements A9, B6, B7, B8, B10.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence, Set

CLUSTER_DOMAIN = "svc.cluster.local"


def full_name(host: str, namespace: str) -> str:
    """A name without a dot is a service of ``namespace``; patterns, IPv6 addresses and dotted names stay as they are."""
    if "." in host or ":" in host or host.startswith("*"):
        return host
    return f"{host}.{namespace}.{CLUSTER_DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Does ``pattern`` stand for all that ``host`` stands for? A star needs at least one character (B7, D2)."""
    if not pattern.startswith("*"):
        return pattern == host
    suffix = pattern[1:]
    if host.startswith("*"):
        return host.endswith(suffix)
    return host.endswith(suffix) and len(host) > len(suffix)


def narrowest_around(host: str, wide: Set[str]) -> str:
    """The longest wildcard of ``wide`` that is wider than ``host``, "" when none is."""
    own = 2 if host.startswith("*") else 1
    return next((pattern for at in range(own, len(host) + 1) if (pattern := f"*{host[at:]}") in wide), "")


def split_namespace(host: str, gateway_namespace: str) -> tuple[str, str]:
    """``ns/name`` of a server's host as (namespace, name); "" for any namespace, ``.`` is the Gateway's own (A9)."""
    namespace, slash, name = host.partition("/")
    if not slash:
        return "", host
    if namespace == ".":
        return gateway_namespace, name
    return ("" if namespace == "*" else namespace), name


def normalise_server_hosts(hosts: Sequence[str], gateway_namespace: str) -> tuple[str, ...]:
    """The hosts as Istio keeps them: ``./h`` with the namespace, ``*/h`` without; ``*/*`` swallows the whole list (A9)."""
    if "*/*" in hosts:
        return ("*",)
    split = (split_namespace(host, gateway_namespace) for host in hosts)
    return tuple(f"{namespace}/{name.lower()}" if namespace else name.lower() for namespace, name in split)


class HostIndex:
    """The hosts of one server that one namespace may bind, ready for many intersections."""

    __slots__ = ("_exact", "_odd", "_reversed", "_suffixes", "_wildcards")

    def __init__(self, hosts: Iterable[str]) -> None:
        names = set(hosts)
        self._wildcards = sorted((name[1:] for name in names if name.startswith("*")), key=lambda suffix: (-len(suffix), suffix))
        self._suffixes = frozenset(self._wildcards)
        self._odd = tuple(suffix for suffix in self._wildcards if not suffix.startswith("."))
        self._exact = frozenset(name for name in names if not name.startswith("*"))
        self._reversed: list[str] | None = None

    def intersect(self, host: str) -> list[str]:
        """What ``host`` (lower case) and the index have in common, the narrower of each overlapping pair (B6)."""
        if not host.startswith("*"):
            return [host] if host in self._exact or self._covered(host) else []
        suffix = host[1:]
        found = {"*" + (own if len(own) > len(suffix) else suffix) for own in self._wildcards if _nested(own, suffix)}
        return sorted(found) + self._exact_below(suffix)

    def _covered(self, host: str) -> bool:
        if not self._suffixes:
            return False
        if any(covers("*" + suffix, host) for suffix in self._odd):
            return True
        dot = host.find(".", 1)
        while dot > 0:
            if host[dot:] in self._suffixes:
                return True
            dot = host.find(".", dot + 1)
        return False

    def _exact_below(self, suffix: str) -> list[str]:
        """The exact names that end in ``suffix``: neighbours when names are sorted from the right."""
        if self._reversed is None:
            self._reversed = sorted(name[::-1] for name in self._exact)
        wanted = suffix[::-1]
        found = []
        for position in range(bisect_left(self._reversed, wanted), len(self._reversed)):
            name = self._reversed[position]
            if not name.startswith(wanted):
                break
            if len(name) > len(wanted):
                found.append(name[::-1])
        return found


class ServerHosts:
    """The hosts of a Gateway's server, by the namespace whose VirtualServices may bind them (B8)."""

    __slots__ = ("_by_namespace", "_for_any", "_indexes", "names")

    def __init__(self, hosts: Sequence[str], gateway_namespace: str) -> None:
        self.names = normalise_server_hosts(hosts, gateway_namespace)
        self._for_any: list[str] = []
        self._by_namespace: dict[str, list[str]] = {}
        for host in self.names:
            namespace, name = split_namespace(host, gateway_namespace)
            own = self._by_namespace.setdefault(namespace, []) if namespace else self._for_any
            own.append(name)
        self._indexes: dict[str, HostIndex] = {}

    def domains(self, hosts: Iterable[str], namespace: str) -> tuple[str, ...]:
        """Domains that a VirtualService of ``namespace`` with these ``hosts`` (full names) gets here; () when it does not bind."""
        index = self._index(namespace)
        found: dict[str, None] = {}
        for host in hosts:
            found.update(dict.fromkeys(index.intersect(host.lower())))
        return tuple(found)

    def plain_names(self) -> tuple[str, ...]:
        """All names without their namespaces."""
        return tuple(dict.fromkeys(name.rpartition("/")[2] for name in self.names))

    def _index(self, namespace: str) -> HostIndex:
        key = namespace if namespace in self._by_namespace else ""
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = HostIndex([*self._for_any, *self._by_namespace.get(key, ())])
        return index


def _nested(one: str, other: str) -> bool:
    return one.endswith(other) or other.endswith(one)
