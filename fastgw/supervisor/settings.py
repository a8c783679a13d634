"""The settings of ``fastgw run``: one typed structure, filled from the command line, a file (``--config``) or both.

Names in a file are the option names without the dashes. Command line wins over file, file over default.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fastgw.model.cidr import cidr_set, parse_network
from fastgw.model.names import is_ip
from fastgw.model.worker_protocol import Limits
from fastgw.native._native import lib
from fastgw.supervisor.control_groups import usable_cores

LENIENCIES = {
    "lf-in-head": lib.FGW_LENIENT_LF_IN_HEAD,
    "fragment": lib.FGW_LENIENT_FRAGMENT,
    "equal-lengths": lib.FGW_LENIENT_EQUAL_LENGTHS,
    "absolute-host": lib.FGW_LENIENT_ABSOLUTE_HOST,
}
PATH_NORMALIZATIONS = {
    "none": lib.FGW_PATH_NONE,
    "base": lib.FGW_PATH_BASE,
    "merge-slashes": lib.FGW_PATH_MERGE_SLASHES,
    "decode-and-merge-slashes": lib.FGW_PATH_DECODE_AND_MERGE,
}
MISDIRECTED = (421, 404)
"""The status of a request for a host that another server's certificate is for, on a connection of this one's."""
UNDERSCORES = ("drop", "allow", "reject")
OFF = "off"
DNS_PORT = 53
MAX_TRUSTED_PROXIES = 2_000
MAX_WORKERS = lib.FGW_STATE_WORKERS
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?=[A-Za-z0-9._-]*")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class SettingsError(ValueError):
    """A setting that cannot be used; the text names it and says what is wanted."""


class Settings(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """Everything ``fastgw run`` can be told. Times are seconds; 0 switches a time-out or a limit of counts off."""

    paths: list[str] = []
    workers: int = 0
    labels: dict[str, str] = msgspec.field(default_factory=lambda: {"istio": "ingressgateway"})
    namespace: str = "istio-system"
    bind: list[str] = []
    listen_map: dict[int, int] = {}
    proxy_protocol: list[int] = []
    admin: str = "127.0.0.1:15000"
    admin_insecure: bool = False
    status: str = "0.0.0.0:15021"
    secrets: list[str] = []
    mesh_cert: str = ""
    ticket_keys: str = ""
    ticket_rotation: float = 28_800.0
    access_log: str = OFF
    access_log_format: str = "text"
    resolve: dict[str, str] = {}
    resolver: list[str] = []
    drain_time: float = 45.0
    lame_duck: float = 0.0
    state_dir: str = ""

    server_header: str = "fastgw"
    http10: bool = False
    lenient: list[str] = []
    underscores: str = "drop"
    path_normalization: str = "base"
    trusted_hops: int = 0
    trusted_proxies: list[str] = []
    misdirected: int = 421

    head_bytes: int = 61_440
    target_bytes: int = 16_384
    fields: int = 100
    max_connections: int = 10_000
    max_connections_per_source: int = 0
    max_requests_per_connection: int = 0
    max_connection_age: float = 0.0
    http2_streams: int = 100
    memory_limit: str = ""
    shed_target: int = 100
    spare_path: list[str] = []
    http2_websockets: bool = False
    connect_attempts: int = 3
    retry_budget: int = 20
    retry_any_method: bool = False
    rate_limit_buckets: int = 65_536

    hello_timeout: float = 5.0
    handshake_timeout: float = 15.0
    head_timeout: float = 10.0
    idle_timeout: float = 75.0
    http2_idle_timeout: float = 300.0
    body_timeout: float = 60.0
    body_min_rate: int = 240
    write_timeout: float = 60.0
    request_timeout: float = 0.0
    upstream_idle_timeout: float = 60.0
    upstream_response_timeout: float = 0.0
    stream_idle_timeout: float = 0.0

    def worker_count(self) -> int:
        return self.workers or min(usable_cores(), MAX_WORKERS)

    def bind_addresses(self) -> list[str]:
        """Addresses of a listener that names none."""
        return self.bind or ["0.0.0.0", "::"]

    def resolve_table(self) -> dict[str, tuple[str, int | None]]:
        """Fixed answers: name -> (address, port or None)."""
        return {name: split_resolve(value) for name, value in self.resolve.items()}

    def name_servers(self) -> list[str] | None:
        """ "ADDR:PORT" of each; None: those of the system."""
        return [_with_port(*split_resolve(server)) for server in self.resolver] or None

    def trusted_networks(self) -> bytes:
        """A set of networks for ``ext/src/cidr.c``; empty when none is given."""
        networks = [parse_network(text) for text in self.trusted_proxies]
        return cidr_set((network, 1) for network in networks) if networks else b""

    def sources(self) -> dict[str, Any]:
        """What the compile child is told (compile_protocol.Configure)."""
        return {
            "paths": self.paths,
            "labels": self.labels,
            "namespace": self.namespace,
            "resolve": self.resolve_table(),
            "secrets": self.secrets,
            "mesh_cert": self.mesh_cert,
            "proxy_protocol": self.proxy_protocol,
        }

    def limits(self) -> Limits:
        """What a worker is told."""
        return Limits(
            head_bytes=self.head_bytes,
            target_bytes=self.target_bytes,
            fields=self.fields,
            leniency=sum(LENIENCIES[name] for name in set(self.lenient)),
            http10=self.http10,
            underscores=self.underscores,
            path_normalization=PATH_NORMALIZATIONS[self.path_normalization],
            head_timeout_ms=_ms(self.head_timeout),
            idle_timeout_ms=_ms(self.idle_timeout),
            body_timeout_ms=_ms(self.body_timeout),
            body_min_bytes_per_s=self.body_min_rate,
            write_timeout_ms=_ms(self.write_timeout),
            request_timeout_ms=_ms(self.request_timeout),
            upstream_idle_timeout_ms=_ms(self.upstream_idle_timeout),
            upstream_response_timeout_ms=_ms(self.upstream_response_timeout),
            stream_idle_timeout_ms=_ms(self.stream_idle_timeout),
            max_connections=self.max_connections,
            max_connections_per_source=self.max_connections_per_source,
            max_requests_per_connection=self.max_requests_per_connection,
            max_connection_age_ms=_ms(self.max_connection_age),
            http2_streams=self.http2_streams,
            http2_idle_timeout_ms=_ms(self.http2_idle_timeout),
            http2_websockets=self.http2_websockets,
            trusted_hops=self.trusted_hops,
            trusted_proxies=self.trusted_networks(),
            server_name=self.server_header,
            connect_attempts=self.connect_attempts,
            retry_budget_percent=self.retry_budget,
            retry_any_method=self.retry_any_method,
            hello_timeout_ms=_ms(self.hello_timeout),
            handshake_timeout_ms=_ms(self.handshake_timeout),
            misdirected_status=self.misdirected,
            shed_target_ms=self.shed_target,
            spare_paths=self.spare_path,
        )


def load(path: str | None, overrides: dict[str, Any]) -> Settings:
    """File and command line merged and checked. ``overrides`` has field names as keys. Raises SettingsError."""
    values = _read_file(path) if path else {}
    known = {field.name: field.encode_name for field in msgspec.structs.fields(Settings)}
    values.update({known[name]: value for name, value in overrides.items()})
    try:
        settings = msgspec.convert(values, Settings, str_keys=True)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path or 'settings'}: {error}") from None
    check(settings)
    return settings


def _read_file(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if any(isinstance(found, dict) and "apiVersion" in found and "kind" in found for found in documents):
        raise SettingsError(f"{path}: holds resources, not settings: give it as PATH, without --config")
    if len(documents) > 1:
        raise SettingsError(f"{path}: wanted one YAML document with settings, got {len(documents)}")
    document = documents[0] if documents else None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: wanted settings as `name: value` lines")
    # YAML reads `80: 8080` as numbers, msgspec wants text keys in a JSON-like document
    listen_map = document.get("listen-map")
    if isinstance(listen_map, dict):
        document["listen-map"] = {str(key): value for key, value in listen_map.items()}
    return document


def check(settings: Settings) -> None:
    """Everything that the types alone cannot say. Raises SettingsError with the option's name."""
    if not settings.paths:
        raise SettingsError("no PATH given: name the files or directories that hold the resources")
    if not 0 <= settings.workers <= MAX_WORKERS:
        raise SettingsError(f"--workers: wanted 1 to {MAX_WORKERS}, got {settings.workers}")
    if not settings.namespace:
        raise SettingsError("--namespace: must not be empty")
    _check_addresses(settings)
    _check_words(settings)
    _check_numbers(settings)


def _check_addresses(settings: Settings) -> None:
    for address in settings.bind:
        parse_ip("--bind", address)
    for wanted, opened in settings.listen_map.items():
        if not (1 <= wanted <= 65535 and 0 <= opened <= 65535):
            raise SettingsError(f"--listen-map {wanted}={opened}: ports are 1 to 65535")
    for number in settings.proxy_protocol:
        if not 1 <= number <= 65535:
            raise SettingsError(f"--proxy-protocol {number}: ports are 1 to 65535")
    for name, value in settings.resolve.items():
        _check_resolve(name, value)
    _check_trusted_proxies(settings.trusted_proxies)
    for server in settings.resolver:
        host, port = split_resolve(server)
        if not is_ip(host) or (port is not None and not 1 <= port <= 65535):
            raise SettingsError(f"--resolver {server}: wanted ADDR[:PORT] of a DNS server")
    if settings.status != OFF:
        parse_address("--status", settings.status)
    if settings.admin != OFF:
        _check_admin(settings)


def _check_trusted_proxies(networks: list[str]) -> None:
    if len(networks) > MAX_TRUSTED_PROXIES:
        raise SettingsError(f"--trusted-proxies: {len(networks)} networks, more than {MAX_TRUSTED_PROXIES}")
    for text in networks:
        try:
            network = parse_network(text)
        except ValueError as error:
            raise SettingsError(f"--trusted-proxies {text}: {error}") from None
        if network.length == 0:
            raise SettingsError(f"--trusted-proxies {text}: everybody is no proxy; whoever connects could claim any address")


def _check_admin(settings: Settings) -> None:
    if settings.admin.startswith("unix:"):
        if settings.admin == "unix:":
            raise SettingsError("--admin: wanted unix:PATH")
        return
    host, _ = parse_address("--admin", settings.admin)
    if not settings.admin_insecure and host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise SettingsError(
            f"--admin {settings.admin}: only loopback or unix:PATH, because whoever reaches it "
            "commands the gateway; --admin-insecure allows it"
        )


def _check_resolve(name: str, value: str) -> None:
    if not name:
        raise SettingsError(f"--resolve ={value}: wanted HOST=ADDR[:PORT]")
    host, port = split_resolve(value)
    if not is_ip(host) or (port is not None and not 1 <= port <= 65535):
        raise SettingsError(f"--resolve {name}={value}: wanted HOST=ADDR[:PORT] with an IP address")


def split_resolve(value: str) -> tuple[str, int | None]:
    """ "10.0.0.1", "10.0.0.1:80", "::1", "[::1]:80" -> (address, port or None); the address is not checked."""
    if is_ip(value):
        return value, None
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", value)
    if found is None:
        return value, None
    return found[1] or found[2], int(found[3]) if found[3] else None


def _with_port(host: str, port: int | None) -> str:
    return f"[{host}]:{port or DNS_PORT}" if ":" in host else f"{host}:{port or DNS_PORT}"


def _check_words(settings: Settings) -> None:
    for name in settings.lenient:
        _check_choice("--lenient", name, LENIENCIES)
    _check_choice("--underscores", settings.underscores, UNDERSCORES)
    _check_choice("--path-normalization", settings.path_normalization, PATH_NORMALIZATIONS)
    _check_choice("--misdirected", settings.misdirected, MISDIRECTED)
    parse_size("--memory-limit", settings.memory_limit)
    for path in settings.spare_path:
        if not re.fullmatch(r"/[\x21-\x22\x24-\x3e\x40-\x7e]*", path):
            raise SettingsError(f"--spare-path {path}: wanted a path such as /healthz, without a query")
    if not _HEADER_VALUE.fullmatch(settings.server_header):
        raise SettingsError("--server-header: wanted printable ASCII without blanks at the ends")


def _check_choice(option: str, value: str | int, choices: Any) -> None:
    if value not in choices:
        raise SettingsError(f"{option} {value}: wanted one of {', '.join(map(str, choices))}")


def _check_numbers(settings: Settings) -> None:
    for name in ("hello_timeout", "handshake_timeout", "head_timeout", "idle_timeout", "body_timeout", "write_timeout",
                 "request_timeout", "upstream_idle_timeout", "upstream_response_timeout",
                 "stream_idle_timeout", "http2_idle_timeout", "max_connection_age", "drain_time", "lame_duck"):  # fmt: skip
        _check_range(name, getattr(settings, name), 0, 86_400 * 7)
    _check_range("ticket_rotation", settings.ticket_rotation, 1, 86_400 * 7)
    _check_range("head_bytes", settings.head_bytes, 1_024, 61_440)
    _check_range("target_bytes", settings.target_bytes, 128, 61_440)
    _check_range("fields", settings.fields, 8, 1_000)
    _check_range("max_connections", settings.max_connections, 0, 10_000_000)
    _check_range("max_connections_per_source", settings.max_connections_per_source, 0, 10_000_000)
    _check_range("max_requests_per_connection", settings.max_requests_per_connection, 0, 2**31)
    _check_range("http2_streams", settings.http2_streams, 1, 10_000)
    _check_range("shed_target", settings.shed_target, 0, 60_000)
    _check_range("connect_attempts", settings.connect_attempts, 1, 10)
    _check_range("retry_budget", settings.retry_budget, 0, 1_000)
    _check_range("rate_limit_buckets", settings.rate_limit_buckets, 64, lib.FGW_STATE_RATE_SLOTS)
    _check_range("body_min_rate", settings.body_min_rate, 0, 2**31)
    _check_range("trusted_hops", settings.trusted_hops, 0, 100)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"--{name.replace('_', '-')}: wanted {low} to {high}, got {value:g}")


def parse_labels(text: str) -> dict[str, str]:
    """ "k=v,k=v". Raises SettingsError."""
    labels = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not _LABEL.fullmatch(part):
            raise SettingsError(f"--labels {text}: wanted k=v,...; {part!r} is not that")
        key, _, value = part.partition("=")
        labels[key] = value
    return labels


def parse_size(option: str, text: str) -> int:
    """ "" -> 0, "1048576", "512M", "1.5GiB" -> bytes. Raises SettingsError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if text and (found is None or not float(found[1])):
        raise SettingsError(f"{option} {text}: wanted a size such as 512M or 2G")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")) if found else 0


def parse_listen_map(text: str) -> tuple[int, int]:
    """ "80=8080". Raises SettingsError."""
    wanted, _, opened = text.partition("=")
    if not (re.fullmatch(r"[0-9]{1,5}", wanted) and re.fullmatch(r"[0-9]{1,5}", opened)):
        raise SettingsError(f"--listen-map {text}: wanted PORT=PORT, such as 80=8080")
    return int(wanted), int(opened)


def parse_resolve(text: str) -> tuple[str, str]:
    """ "HOST=ADDR[:PORT]" split at the first "="; the address is checked later. Raises SettingsError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"--resolve {text}: wanted HOST=ADDR[:PORT]")
    return name.lower().rstrip("."), value


def parse_address(option: str, text: str) -> tuple[str, int]:
    """ADDR:PORT or [ADDR]:PORT; the address "localhost" or an IP. Raises SettingsError."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise SettingsError(f"{option} {text}: wanted ADDR:PORT")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare != "localhost":
        parse_ip(option, bare)
    return bare, int(port)


def parse_ip(option: str, text: str) -> None:
    """Raises SettingsError when the text is no IP address."""
    # an address of this machine may name its interface: fe80::1%eth0
    if not is_ip(text.partition("%")[0]):
        raise SettingsError(f"{option} {text}: wanted an IP address")


def _ms(seconds: float) -> int:
    # a tiny time-out must not become 0, which means none
    return max(1, round(seconds * 1000)) if seconds else 0
