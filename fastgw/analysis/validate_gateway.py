"""Rules of a Gateway (fields.md, section 1)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import HTTP_PROTOCOLS, PROTOCOLS, TLS_PROTOCOLS, check_port
from fastgw.analysis.validate_server_tls import check_server_tls
from fastgw.model.kinds.gateway import Gateway, Port, Server
from fastgw.model.names import domain_problem, is_dns_label, is_ip


def validate_gateway(findings: Findings) -> None:
    gateway: Gateway = findings.spec
    if not is_dns_label(findings.resource.name):
        findings.error("metadata.name", "the name of a Gateway has to be a DNS label, without dots")
    if not gateway.servers:
        findings.error("spec.servers", "a Gateway needs at least one server")
    port_names: dict[str, int] = {}
    for index, server in enumerate(gateway.servers):
        path = f"spec.servers[{index}]"
        _check_server(findings, path, server)
        name = server.port.name if server.port else ""
        if name and port_names.setdefault(name, index) != index:
            findings.error(f"{path}.port.name", f'"{name}" is the port name of server {port_names[name]} already')


def _check_server(findings: Findings, path: str, server: Server) -> None:
    if not server.hosts:
        findings.error(f"{path}.hosts" if findings.given(f"{path}.hosts") else path, "a server needs at least one host")
    for index, host in enumerate(server.hosts):
        findings.problem(f"{path}.hosts[{index}]", server_host_problem(host))
    if server.port is None:
        findings.error(path, "a server needs a port")
        return
    _check_port(findings, f"{path}.port", server.port, server.bind)
    _check_bind(findings, path, server)
    protocol = server.port.protocol.upper()
    if protocol in PROTOCOLS:
        _check_tls_block(findings, path, server, protocol)


def server_host_problem(host: str) -> str:
    """What is wrong with a server's host: ``name``, ``*.name``, ``*``, an IP, each also behind ``namespace/`` (A9)."""
    namespace, slash, name = host.rpartition("/")
    if slash and namespace not in ("*", ".") and not is_dns_label(namespace):
        return f'"{namespace}" before the slash is neither a namespace nor "*" nor "."'
    if name == "*" or is_ip(name):
        return ""
    plain = name.removeprefix("*.")
    if "*" in plain:
        return f'"{name}": a star stands alone or as the whole first label ("*.example.com")'
    if "." not in name.removesuffix("."):
        return f'"{name}" is a short name, hosts of a Gateway need a dot'
    return domain_problem(plain)


def _check_port(findings: Findings, path: str, port: Port, bind: str) -> None:
    if not findings.given(f"{path}.number"):
        findings.error(path, "a port needs a number")
    elif bind.startswith("unix://"):
        if port.number:
            findings.error(f"{path}.number", "a Unix socket takes port number 0")
    else:
        check_port(findings, f"{path}.number", port.number)
    if not port.name:
        findings.error(path, "a port needs a name")
    if port.protocol.upper() not in PROTOCOLS:
        known = ", ".join(sorted(PROTOCOLS))
        findings.error(f"{path}.protocol", f'"{port.protocol}" is no protocol of a Gateway, known are {known}')
    if port.target_port:
        findings.error(f"{path}.targetPort", "targetPort has no effect at a Gateway; use --listen-map")


def _check_bind(findings: Findings, path: str, server: Server) -> None:
    bind = server.bind
    if bind.startswith("unix://"):
        socket = bind.removeprefix("unix://")
        if not socket.startswith(("/", "@")) or socket.endswith("/") or len(socket) == 1:
            findings.error(f"{path}.bind", "the path of a Unix socket is absolute, or begins with @")
    elif bind and not is_ip(bind):
        findings.error(f"{path}.bind", f'"{bind}" is neither an IP address nor unix:///path')


def _check_tls_block(findings: Findings, path: str, server: Server, protocol: str) -> None:
    tls = server.tls
    if protocol in TLS_PROTOCOLS:
        if tls is None:
            findings.error(path, f"a server with protocol {protocol} needs a tls block")
            return
    elif tls is None:
        return
    elif protocol not in HTTP_PROTOCOLS:
        findings.error(f"{path}.tls", f"a server with protocol {protocol} takes no tls block, the protocol for that is TLS")
        return
    elif tls.mode != "PASSTHROUGH" or tls.server_certificate or tls.private_key or tls.ca_certificates or tls.tls_certificates:
        findings.error(f"{path}.tls", f"a server with protocol {protocol} takes nothing but httpsRedirect in its tls block")
        return
    if tls.https_redirect and protocol in TLS_PROTOCOLS:
        findings.warn(f"{path}.tls.httpsRedirect", "httpsRedirect has an effect on plaintext HTTP servers only")
    check_server_tls(findings, f"{path}.tls", tls)
