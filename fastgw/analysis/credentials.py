"""IST0101, IST0161, FGW0033, FGW0034, FGW0041: credentials that Gateways and DestinationRules name and that are missing, unusable,
not valid now or soon, or for other names than the server's hosts.

What is looked at is what would be served: the same functions read and check credentials here and for the workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from fastgw.analysis.certificates import check_names
from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.credentials.names import (
    CA_SUFFIX,
    CONFIG_MAP,
    FILE_CA,
    FILE_CERTIFICATE,
    KUBERNETES,
    MESH,
    SYSTEM,
    Need,
    file_ca,
    file_certificate,
    names_of_upstream,
    split_owner,
)
from fastgw.credentials.pem import validity_problem
from fastgw.credentials.status import Status
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.gateway import Server, ServerTls

MISSING, UNUSABLE, VALIDITY, ORDER = "IST0101", "IST0161", "FGW0033", "FGW0041"
SOON_DAYS = 31
"""Less than this is soon: the last day counts as one left."""
_ASKS_CLIENTS = ("MUTUAL", "OPTIONAL_MUTUAL")


class Mention(NamedTuple):
    """``path``: the field that names the credential."""

    path: str
    name: str
    need: Need


def check_credentials(picture: Picture) -> list[Diagnostic]:
    diagnostics: list[Diagnostic] = []
    for gateway in picture.gateways:
        findings = Findings(gateway)
        for index, server in enumerate(gateway.spec.servers):
            _check_server(findings, f"spec.servers[{index}].tls", server, picture)
        diagnostics += findings.diagnostics
    return diagnostics + _check_upstreams(picture)


def _check_server(findings: Findings, path: str, server: Server, picture: Picture) -> None:
    if server.tls is None:
        return
    hosts = [host.rpartition("/")[2] for host in server.hosts]
    missing: set[str] = set()
    for mention in _mentions(path, server.tls, picture.options.namespace):
        if mention.name.removesuffix(CA_SUFFIX) in missing:
            continue
        status = picture.keeper.status(mention.name, mention.need)
        _report(findings, mention, status, picture)
        if status.missing:
            missing.add(mention.name)
        if status.facts is not None and status.facts.certificate is not None and mention.name != MESH:
            what = picture.keeper.places.describe(mention.name, certificate=True)
            check_names(findings, mention.path, what, status.facts.certificate, hosts)


def _mentions(path: str, tls: ServerTls, namespace: str) -> Iterator[Mention]:
    """What a server names, in the words of the credentials block; forms that mean nothing here are the compiler's to report."""
    if tls.mode == "ISTIO_MUTUAL":
        yield Mention(f"{path}.mode", MESH, Need.PAIR | Need.CA)
    if tls.mode not in ("SIMPLE", *_ASKS_CLIENTS):
        return
    named = [(f"{path}.credentialName", tls.credential_name)] if tls.credential_name else []
    named += [(f"{path}.credentialNames[{index}]", name) for index, name in enumerate(tls.credential_names)]
    found = [(place, name) for place, reference in named if (name := _full_name(reference, namespace))]
    yield from (Mention(place, name, Need.PAIR) for place, name in found)
    if not named:
        yield from _file_mentions(path, tls)
    if tls.mode not in _ASKS_CLIENTS or tls.insecure_skip_verify:
        return
    if tls.ca_cert_credential_name:
        name = _full_name(tls.ca_cert_credential_name, namespace)
        if name:
            yield Mention(f"{path}.caCertCredentialName", name, Need.CA)
    elif found:
        yield Mention(found[0][0], found[0][1] + CA_SUFFIX, Need.CA)
    elif not named and tls.ca_certificates:
        yield Mention(f"{path}.caCertificates", file_ca(tls.ca_certificates, tls.ca_crl), Need.CA)


def _file_mentions(path: str, tls: ServerTls) -> Iterator[Mention]:
    if tls.server_certificate and tls.private_key:
        yield Mention(f"{path}.serverCertificate", file_certificate(tls.server_certificate, tls.private_key), Need.PAIR)
    for index, pair in enumerate(tls.tls_certificates):
        if pair.server_certificate and pair.private_key:
            name = file_certificate(pair.server_certificate, pair.private_key)
            yield Mention(f"{path}.tlsCertificates[{index}].serverCertificate", name, Need.PAIR)


def _full_name(reference: str, namespace: str) -> str:
    """ "" for what is no Secret or ConfigMap of this namespace."""
    for scheme in (KUBERNETES, CONFIG_MAP):
        if reference.startswith(scheme):
            owner, name = split_owner(reference, scheme, namespace)
            # a Secret elsewhere is the compiler's to report
            return f"{scheme}{owner}/{name}" if name and (owner == namespace or scheme == CONFIG_MAP) else ""
    return "" if "://" in reference else f"{KUBERNETES}{namespace}/{reference}"


def _check_upstreams(picture: Picture) -> list[Diagnostic]:
    """Each credential of each DestinationRule once, however many clusters it is for."""
    rules = {f"{rule.name}.{rule.namespace}": rule for rule in picture.of("DestinationRule")}
    found: dict[str, Findings] = {}
    seen, missing = set(), set()
    for cluster in picture.plan.clusters.values():
        rule = rules.get(cluster.destination_rule)
        if cluster.tls is None or rule is None:
            continue
        for name, need in names_of_upstream(cluster.tls):
            key = (cluster.destination_rule, name, need)
            if not name or name == SYSTEM or key in seen or (cluster.destination_rule, name.removesuffix(CA_SUFFIX)) in missing:
                continue
            seen.add(key)
            findings = found.setdefault(cluster.destination_rule, Findings(rule))
            mention = Mention("spec.trafficPolicy.tls" if findings.given("spec.trafficPolicy.tls") else "", name, need)
            status = picture.keeper.status(name, need)
            _report(findings, mention, status, picture)
            if status.missing:
                missing.add((cluster.destination_rule, name))
    return [each for findings in found.values() for each in findings.diagnostics]


def _report(findings: Findings, mention: Mention, status: Status, picture: Picture) -> None:
    what = picture.keeper.places.describe(mention.name)
    if status.problem:
        if status.missing and not picture.options.serving and mention.name.startswith((FILE_CERTIFICATE, FILE_CA)):
            # it may be on the machine that serves
            findings.warn(mention.path, status.problem, MISSING)
        elif not status.missing or picture.options.serving or mention.name != MESH:
            # the name of a file that cannot be read is part of its problem
            named = status.missing or status.problem.startswith("/")
            text = status.trouble() if named else f"{what}: {status.trouble()}"
            findings.error(mention.path, text, MISSING if status.missing else UNUSABLE)
    if status.facts is None:
        return
    what, now = picture.keeper.places.describe(mention.name, certificate=True), datetime.now(UTC)
    for certificate, kind in ((status.facts.certificate, "the certificate"), (status.facts.ca, "the CA")):
        problem = validity_problem(certificate, now, SOON_DAYS) if certificate is not None else ""
        if problem:
            findings.warn(mention.path, f"{what}: {kind} {problem}", VALIDITY)
    if status.facts.crl_until is not None and status.facts.crl_until < now:
        until = f"{status.facts.crl_until:%Y-%m-%d}"
        findings.warn(mention.path, f"{what}: a list of revoked certificates is out of date since {until}", VALIDITY)
    for note in status.facts.notes:
        findings.warn(mention.path, f"{what}: {note}", ORDER)
