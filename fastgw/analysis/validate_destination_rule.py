"""Rules of a DestinationRule (fields.md, section 3). Load balancing and locality have a file of their own."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_export_to, check_labels, check_ms, check_percent, check_port
from fastgw.analysis.validate_load_balancer import check_load_balancer
from fastgw.model.kinds.destination_rule import (
    ClientTls,
    ConnectionPool,
    DestinationRule,
    HttpPool,
    OutlierDetection,
    TcpPool,
    TrafficPolicy,
    Tunnel,
)
from fastgw.model.names import domain_problem, is_dns_label, is_ip, wildcard_problem

_FOUR = ("load_balancer", "connection_pool", "outlier_detection", "tls")
_OTHERS = ("port_level_settings", "tunnel", "proxy_protocol", "retry_budget")
_COUNTS = (
    "http1_max_pending_requests",
    "http2_max_requests",
    "max_requests_per_connection",
    "max_retries",
    "max_concurrent_streams",
)
_COUNT_NAMES = ("http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries", "maxConcurrentStreams")


def validate_destination_rule(findings: Findings) -> None:
    rule: DestinationRule = findings.spec
    findings.problem("spec.host", wildcard_problem(rule.host))
    _check_policy(findings, "spec.trafficPolicy", rule.traffic_policy)
    seen: set[str] = set()
    for index, subset in enumerate(rule.subsets):
        path = f"spec.subsets[{index}]"
        if not is_dns_label(subset.name):
            findings.error(f"{path}.name", f'"{subset.name}" is no name of a subset (a DNS label)')
        elif subset.name in seen:
            findings.error(f"{path}.name", f'subset "{subset.name}" is there twice')
        seen.add(subset.name)
        check_labels(findings, f"{path}.labels", subset.labels)
        _check_policy(findings, f"{path}.trafficPolicy", subset.traffic_policy)
    _check_scope(findings, rule)


def _check_scope(findings: Findings, rule: DestinationRule) -> None:
    check_export_to(findings, rule.export_to)
    if rule.workload_selector is None:
        return
    if not rule.workload_selector.match_labels:
        findings.warn("spec.workloadSelector", "a selector without labels selects everything in its namespace")
    check_labels(findings, "spec.workloadSelector.matchLabels", rule.workload_selector.match_labels)
    if any(entry not in (".", findings.resource.namespace) for entry in rule.export_to):
        findings.error("spec.exportTo", "with a workloadSelector the rule is for its own namespace only")


def _check_policy(findings: Findings, path: str, policy: TrafficPolicy | None) -> None:
    if policy is None:
        return
    if not any(getattr(policy, field) for field in (*_FOUR, *_OTHERS)):
        findings.error(path, "a traffic policy has to set something")
    _check_four(findings, path, policy.load_balancer, policy.connection_pool, policy.outlier_detection, policy.tls)
    for index, port in enumerate(policy.port_level_settings):
        here = f"{path}.portLevelSettings[{index}]"
        if port.port is None or not port.port.number:
            findings.error(here, "an entry of portLevelSettings needs a port")
        else:
            check_port(findings, f"{here}.port.number", port.port.number)
        if not any(getattr(port, field) for field in _FOUR):
            findings.error(here, "an entry of portLevelSettings has to set something")
        _check_four(findings, here, port.load_balancer, port.connection_pool, port.outlier_detection, port.tls)
    if policy.tunnel is not None:
        _check_tunnel(findings, f"{path}.tunnel", policy.tunnel)
        if policy.proxy_protocol is not None:
            findings.error(f"{path}.proxyProtocol", "tunnel and proxyProtocol exclude each other")
    if policy.retry_budget is not None and policy.retry_budget.percent is not None:
        check_percent(findings, f"{path}.retryBudget.percent", policy.retry_budget.percent)


def _check_four(
    findings: Findings,
    path: str,
    balancer: object,
    pool: ConnectionPool | None,
    outliers: OutlierDetection | None,
    tls: ClientTls | None,
) -> None:
    check_load_balancer(findings, f"{path}.loadBalancer", balancer, outliers is not None)
    if pool is not None:
        _check_pool(findings, f"{path}.connectionPool", pool)
    if outliers is not None:
        _check_outliers(findings, f"{path}.outlierDetection", outliers)
    if tls is not None:
        _check_tls(findings, f"{path}.tls", tls)


def _check_pool(findings: Findings, path: str, pool: ConnectionPool) -> None:
    if pool.tcp is None and pool.http is None:
        findings.error(path, "a connection pool has to set tcp or http")
    if pool.tcp is not None:
        _check_tcp_pool(findings, f"{path}.tcp", pool.tcp)
    if pool.http is not None:
        _check_http_pool(findings, f"{path}.http", pool.http)


def _check_tcp_pool(findings: Findings, path: str, tcp: TcpPool) -> None:
    if tcp.max_connections < 0:
        findings.error(f"{path}.maxConnections", "maxConnections is not negative")
    check_ms(findings, f"{path}.connectTimeout", tcp.connect_timeout)
    check_ms(findings, f"{path}.maxConnectionDuration", tcp.max_connection_duration)
    check_ms(findings, f"{path}.idleTimeout", tcp.idle_timeout, zero=True)
    if tcp.tcp_keepalive is not None:
        check_ms(findings, f"{path}.tcpKeepalive.time", tcp.tcp_keepalive.time)
        check_ms(findings, f"{path}.tcpKeepalive.interval", tcp.tcp_keepalive.interval)


def _check_http_pool(findings: Findings, path: str, http: HttpPool) -> None:
    for field, name in zip(_COUNTS, _COUNT_NAMES, strict=True):
        if getattr(http, field) < 0:
            findings.error(f"{path}.{name}", f"{name} is not negative")
    check_ms(findings, f"{path}.idleTimeout", http.idle_timeout)
    if http.h2_upgrade_policy == "UPGRADE" and http.use_client_protocol:
        findings.error(f"{path}.useClientProtocol", "an upgrade to HTTP/2 and the client's protocol exclude each other")
    alive = http.http2_keep_alive
    if alive is not None:
        if alive.interval is None or alive.timeout is None:
            findings.error(f"{path}.http2KeepAlive", "interval and timeout are needed both")
        check_ms(findings, f"{path}.http2KeepAlive.interval", alive.interval)
        check_ms(findings, f"{path}.http2KeepAlive.timeout", alive.timeout)


def _check_outliers(findings: Findings, path: str, outliers: OutlierDetection) -> None:
    check_ms(findings, f"{path}.interval", outliers.interval)
    check_ms(findings, f"{path}.baseEjectionTime", outliers.base_ejection_time)
    check_percent(findings, f"{path}.maxEjectionPercent", outliers.max_ejection_percent)
    check_percent(findings, f"{path}.minHealthPercent", outliers.min_health_percent)
    if outliers.consecutive_local_origin_failures and not outliers.split_external_local_origin_errors:
        message = "local failures are counted apart only with splitExternalLocalOriginErrors"
        findings.error(f"{path}.consecutiveLocalOriginFailures", message)
    if outliers.consecutive_errors:
        findings.warn(f"{path}.consecutiveErrors", "consecutiveErrors has no effect any more, use consecutive5xxErrors")


def _check_tls(findings: Findings, path: str, tls: ClientTls) -> None:
    files = [
        name
        for name, value in (
            ("clientCertificate", tls.client_certificate),
            ("privateKey", tls.private_key),
            ("caCertificates", tls.ca_certificates),
            ("caCrl", tls.ca_crl),
        )
        if value
    ]
    if tls.mode == "ISTIO_MUTUAL" and (files or tls.credential_name or tls.sni):
        findings.error(path, "ISTIO_MUTUAL takes its certificates from the mesh")
    elif tls.mode in ("SIMPLE", "MUTUAL") and tls.credential_name and files:
        findings.error(f"{path}.{files[0]}", f"credentialName and {files[0]} exclude each other")
    elif tls.mode == "MUTUAL" and not tls.credential_name and not (tls.client_certificate and tls.private_key):
        findings.error(path, "MUTUAL needs clientCertificate and privateKey, or credentialName")
    if tls.insecure_skip_verify:
        _check_skip_verify(findings, path, tls)
    if tls.credential_name.startswith("configmap://"):
        namespace, slash, _ = tls.credential_name.removeprefix("configmap://").partition("/")
        if slash and namespace != findings.resource.namespace:
            findings.error(f"{path}.credentialName", "a ConfigMap has to be in the namespace of the DestinationRule")


def _check_skip_verify(findings: Findings, path: str, tls: ClientTls) -> None:
    conflicts = (
        ("caCertificates", tls.ca_certificates),
        ("credentialName", tls.credential_name if tls.mode == "SIMPLE" else ""),
        ("subjectAltNames", tls.subject_alt_names),
    )
    for field, value in conflicts:
        if value:
            findings.error(f"{path}.{field}", f"{field} makes no sense with insecureSkipVerify")


def _check_tunnel(findings: Findings, path: str, tunnel: Tunnel) -> None:
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        findings.error(f"{path}.protocol", f'"{tunnel.protocol}" is neither CONNECT nor POST')
    if not tunnel.target_host:
        findings.error(path, "a tunnel needs a targetHost")
    elif not is_ip(tunnel.target_host):
        findings.problem(f"{path}.targetHost", domain_problem(tunnel.target_host))
    check_port(findings, f"{path}.targetPort", tunnel.target_port)
