"""The shapes of names: DNS labels, domain names, wildcards, label keys, ports, addresses. Pure functions of text.

Each returns what is wrong in words, "" when nothing is. Istio allows upper case in DNS labels (fields.md, conventions).
"""

from __future__ import annotations

import ipaddress
import re

LABEL_BYTES = 63
NAME_BYTES = 255
OBJECT_NAME_BYTES = 253

_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?")
_WILDCARD_LABEL = re.compile(r"\*|(\*-?)?[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_ORDINARY = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MESH_SNI = re.compile(r"outbound_\.\d+_\.[^.]*_\.(.+)")


def is_dns_label(text: str) -> bool:
    """A label of a domain name: letters, digits and inner hyphens, at most 63."""
    return len(text) <= LABEL_BYTES and _LABEL.fullmatch(text) is not None


def is_object_name(text: str) -> bool:
    """A name or namespace of an object: what Kubernetes allows, upper case and underscores besides; never a slash or a blank."""
    return len(text) <= OBJECT_NAME_BYTES and _QUALIFIED.fullmatch(text) is not None


def is_ip(text: str) -> bool:
    """An IPv4 or IPv6 address, without a zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_ip_or_network(text: str) -> bool:
    """An address, or one with a prefix length."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_token(text: str) -> bool:
    """A field name or method of HTTP (RFC 9110, 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def domain_problem(text: str) -> str:
    """A domain name without a wildcard; one trailing dot is tolerated."""
    return _labels_problem(text, _LABEL, "a domain name")


def wildcard_problem(text: str) -> str:
    """A domain name whose first label may be or begin with a star; ``*`` alone."""
    return _labels_problem(text, _WILDCARD_LABEL, "a domain name (a star may stand in the first label only)")


def mesh_sni_host(text: str) -> str:
    """The host of ``outbound_.15010_._.istiod.istio-system.svc``, "" for any other name."""
    found = _MESH_SNI.fullmatch(text)
    return found.group(1) if found else ""


def _labels_problem(text: str, first: re.Pattern[str], what: str) -> str:
    if len(text) <= NAME_BYTES and _ORDINARY.fullmatch(text) is not None:
        return ""
    if not text:
        return "the name is empty"
    if len(text) > NAME_BYTES:
        return f"a name of more than {NAME_BYTES} characters"
    labels = text.removesuffix(".").split(".")
    ok = len(labels[0]) <= LABEL_BYTES and first.fullmatch(labels[0]) is not None
    if not ok or not all(is_dns_label(label) for label in labels[1:]):
        return f'"{text}" is not {what}'
    if len(labels) > 1 and labels[-1].isdigit():
        return f'"{text}" is not {what}: its last label has digits only'
    return ""


def label_key_problem(key: str) -> str:
    """A label key of Kubernetes: ``[prefix/]name``."""
    prefix, slash, name = key.rpartition("/")
    if slash and domain_problem(prefix):
        return f'"{key}" is no label key: its prefix is not a domain name'
    if len(name) > LABEL_BYTES or not _QUALIFIED.fullmatch(name):
        return f'"{key}" is no label key'
    return ""


def label_value_problem(value: str) -> str:
    """A label value of Kubernetes; the empty one is allowed."""
    if value and (len(value) > LABEL_BYTES or not _QUALIFIED.fullmatch(value)):
        return f'"{value}" is no label value'
    return ""
