"""Rules that several kinds share: durations, ports, selectors, exportTo, percentages, string matches, headers' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastgw.analysis.findings import Findings
from fastgw.compiler.regexes import regex_problem
from fastgw.model.duration import parse_ns
from fastgw.model.kinds.base import LabelSelector, StringMatch
from fastgw.model.names import is_dns_label, label_key_problem, label_value_problem
from fastgw.model.paths import join_key

PORT_MAX = 65_535
MS_NS = 1_000_000
MANY = 256

PROTOCOLS = frozenset(("HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY", "HTTPS", "TLS", "TCP", "MONGO", "MYSQL", "REDIS", "UDP"))
HTTP_PROTOCOLS = frozenset(("HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"))
TLS_PROTOCOLS = frozenset(("HTTPS", "TLS"))


def check_ms(findings: Findings, path: str, duration: str | None, *, zero: bool = False) -> None:
    """The ms rule: at least one millisecond (or 0 where ``zero``) and a whole number of them."""
    if duration is None:
        return
    value_ns = parse_ns(duration)
    if value_ns == 0 and zero:
        return
    if value_ns < MS_NS:
        meant = "; without the field the default counts" if value_ns == 0 else ""
        findings.error(path, f'"{duration}" is too short, the least is 1ms{meant}')
    elif value_ns % MS_NS:
        findings.error(path, f'"{duration}" is not a whole number of milliseconds')


def check_port(findings: Findings, path: str, number: int) -> None:
    if not 1 <= number <= PORT_MAX:
        findings.error(path, f"{number} is no port, they go from 1 to {PORT_MAX}")


def check_percent(findings: Findings, path: str, value: float, least: float = 0.0) -> None:
    if not 0 <= value <= 100 or 0 < value < least:
        findings.error(path, f"{value:g} is no percentage, they go from {f'{least:f}'.rstrip('0') if least else '0'} to 100")


def check_labels(findings: Findings, path: str, labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        findings.problem(join_key(path, key), label_key_problem(key) or label_value_problem(value))


def check_selector(findings: Findings, path: str, selector: LabelSelector | None) -> None:
    """``matchLabels`` of the policy kinds: no patterns, no empty key (CRD)."""
    if selector is None:
        return
    for key, value in selector.match_labels.items():
        here = join_key(f"{path}.matchLabels", key)
        if "*" in key or "*" in value:
            findings.error(here, "a selector takes no patterns")
        else:
            findings.problem(here, label_key_problem(key) or label_value_problem(value))


def check_export_to(findings: Findings, export_to: Sequence[str], *, nowhere: bool = False) -> None:
    """``nowhere``: a lone ``~`` is allowed (ServiceEntry)."""
    seen: set[str] = set()
    own = findings.resource.namespace
    for index, entry in enumerate(export_to):
        path = f"spec.exportTo[{index}]"
        namespace = own if entry == "." else entry
        if entry == "~" and not (nowhere and len(export_to) == 1):
            findings.error(path, '"~" (nowhere) is not allowed here')
        elif entry not in (".", "*", "~") and not is_dns_label(entry):
            findings.error(path, f'"{entry}" is no name of a namespace')
        elif namespace in seen:
            findings.error(path, f'"{entry}" names a namespace a second time')
        elif entry == "*" and len(export_to) > 1:
            findings.error(path, '"*" (everywhere) stands alone')
        seen.add(namespace)


def check_many(findings: Findings, path: str, items: Sequence[object] | Mapping[str, object], most: int = MANY) -> None:
    if len(items) > most:
        findings.error(path, f"{len(items)} entries, the most is {most}")


def check_match(
    findings: Findings, path: str, match: StringMatch | None, *, empty_prefix: bool = False, star: bool = False
) -> None:
    """One of exact, prefix and regex; a regex is RE2. ``star``: the regex ``*`` stands for any value (withoutHeaders)."""
    if match is None:
        return
    given = [name for name in ("exact", "prefix", "regex") if getattr(match, name) is not None]
    if len(given) > 1:
        findings.error(path, f"{' and '.join(given)} exclude each other")
    if match.prefix == "" and not empty_prefix:
        findings.error(f"{path}.prefix", "an empty prefix")
    if match.regex is not None and not (star and match.regex == "*"):
        findings.problem(f"{path}.regex", regex_problem(match.regex))


def one_of(findings: Findings, path: str, fields: Mapping[str, object]) -> None:
    """At most one of the fields may be set."""
    given = [name for name, value in fields.items() if value is not None and value != () and value != ""]
    if len(given) > 1:
        findings.error(f"{path}.{given[1]}", f"{' and '.join(given)} exclude each other")
