"""Last pass: the clusters that rules point at, with their endpoints. Clusters that nothing points at are never built."""

from __future__ import annotations

from collections.abc import Iterable

from fastgw.compiler.destination_rules import DestinationRules, HostRules
from fastgw.compiler.destinations import ClusterKey, Finder
from fastgw.compiler.endpoint_annotations import endpoint_wishes, health_check_of
from fastgw.compiler.endpoints import LOOKUPS, EndpointIndex, Labelled
from fastgw.compiler.inventory import is_subset
from fastgw.compiler.localities import arrange, locality_setting, prefers_close
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.policies import balancer_of, policy_of
from fastgw.compiler.registry import ServiceRecord
from fastgw.compiler.report import Report
from fastgw.compiler.upstream_http import set_protocol, with_alpn
from fastgw.compiler.upstream_tls import upstream_tls
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.destination_rule import Subset
from fastgw.model.names import is_ip
from fastgw.model.origin import Origin
from fastgw.model.plan import DEFAULTS, Cluster, Endpoint
from fastgw.model.resource import Resource

NO_RESOLUTION = frozenset({"NONE", "DYNAMIC_DNS"})


class Use:
    """A cluster that is wanted, and the first place that wants it, for messages. ``layer4``: for connections, not for requests."""

    __slots__ = ("key", "layer4", "path", "user")

    def __init__(self, key: ClusterKey, user: Resource, path: str, layer4: bool = False) -> None:
        self.key = key
        self.user = user
        self.path = path
        self.layer4 = layer4

    @property
    def failure(self) -> str:
        """How messages call what becomes of traffic to a cluster that does not exist."""
        return f"{self.answer} (NC)"

    @property
    def answer(self) -> str:
        """What is done with traffic that has no endpoint."""
        return "connections are closed" if self.layer4 else "answered 503"


class ClusterBuilder:
    """Builds each cluster from the records, endpoints and rules of the registry, once as long as those stay the same."""

    __slots__ = ("_endpoints", "_finder", "_known", "_labels", "_namespace", "_report", "_rules")

    def __init__(self, finder: Finder, endpoints: EndpointIndex, rules: DestinationRules, options: CompileOptions) -> None:
        self._finder = finder
        self._endpoints = endpoints
        self._namespace = options.namespace
        self._labels = options.labels
        self._rules = rules
        self._known: dict[str, tuple[Use, Cluster | None, list[Diagnostic]]] = {}
        self._report = Report()

    def build(self, uses: Iterable[Use]) -> dict[str, Cluster]:
        """The clusters by name; one that cannot exist is left out, so that its requests are answered 503 NC (H3)."""
        clusters: dict[str, Cluster] = {}
        known: dict[str, tuple[Use, Cluster | None, list[Diagnostic]]] = {}
        for use in uses:
            name = use.key.name
            if name in known:
                continue
            entry = self._known.get(name)
            if entry is None or entry[0] is not use:
                entry = self._entry(use)
            known[name] = entry
            if entry[1] is not None:
                clusters[name] = entry[1]
        self._known = known
        return clusters

    def exchange(self, uses: Iterable[tuple[Use, Use]], clusters: dict[str, Cluster]) -> tuple[dict[str, Cluster], bool] | None:
        """``clusters`` with other uses of the same names, old and new; whether everything that is said stays the same.

        None when a cluster comes or goes: then all are to be built.
        """
        clusters, same = dict(clusters), True
        for old, new in uses:
            known = self._known[new.key.name]
            if known[0] is not old:
                continue
            entry = self._known[new.key.name] = self._entry(new)
            same = same and entry[2] == known[2]
            if entry[1] is not None and known[1] is not None:
                clusters[new.key.name] = entry[1]
            elif entry[1] is not known[1]:
                return None
        return clusters, same

    def idle_timeout_ms(self, key: ClusterKey) -> int:
        """Of connections that are relayed to a cluster; 0 for none."""
        return self._rules.of(key.record).idle_timeout_ms(key.port, key.subset)

    def subsets(self, record: ServiceRecord) -> list[str]:
        """Names of the subsets that DestinationRules define for a service."""
        return list(self._rules.of(record).subsets)

    def diagnostics(self) -> list[Diagnostic]:
        """What is to be said about the clusters that were built last."""
        return [found for _, _, said in self._known.values() for found in said]

    def _entry(self, use: Use) -> tuple[Use, Cluster | None, list[Diagnostic]]:
        self._report = Report()
        return use, self._cluster(use), self._report.diagnostics

    def _cluster(self, use: Use) -> Cluster | None:
        key, record = use.key, use.key.record
        rules = self._rules.of(record)
        subset = rules.subsets.get(key.subset)
        if key.subset and subset is None:
            message = f'no DestinationRule defines subset "{key.subset}" of {record.host}: {use.failure}'
            self._report.error("IST0101", use.user, use.path, message)
            return None
        tls = upstream_tls(rules.tls(key.port, key.subset), key, self._namespace)
        if isinstance(tls, str):
            # Plain text to an endpoint that was to be spoken to over TLS would give away what TLS was to protect.
            message = f"tls of DestinationRule {rules.name} cannot be used: {tls}: {record.host}: {use.failure}"
            self._report.error("FGW0106", use.user, use.path, message)
            return None
        cluster = _empty_cluster(key, rules, record.source.origin if record.source else use.user.at(use.path))
        cluster.health_check = health_check_of(record.source, rules.rules)
        if use.layer4:
            cluster.protocol = "tcp"
        else:
            set_protocol(cluster, record.port(key.port), rules.http(key.port, key.subset))
        cluster.tls = with_alpn(tls, cluster.protocol) if tls is not None else None
        self._fill(cluster, use, subset)
        if not all(map(_is_usable, cluster.endpoints)):
            # such a number cannot be connected to, and would not fit into the image
            cluster.endpoints = [entry for entry in cluster.endpoints if _is_usable(entry)]
            message = f"endpoints of {record.host} whose port is not between 1 and 65535 are left out"
            self._report.error("FGW0104", use.user, use.path, message)
        cluster.discovery = "dns" if cluster.names() else "static"
        return cluster

    def _fill(self, cluster: Cluster, use: Use, subset: Subset | None) -> None:
        """Endpoints, or the name that the resolver has to ask for."""
        record = use.key.record
        if record.source is None:
            self._fill_hearsay(cluster, use)
        elif record.source.kind == "ServiceEntry":
            self._fill_entry(cluster, use, subset)
            self._found(use, f"{record.source.kind} {record.source.key}")
            return
        else:
            self._fill_service(cluster, use, subset)
            return
        if subset is not None and subset.labels:
            cluster.endpoints = []
            message = f"labels of {record.host} are not known, so subset {subset.name} is empty; list endpoints in a ServiceEntry"
            self._report.warning("FGW0107", use.user, use.path, message)

    def _fill_service(self, cluster: Cluster, use: Use, subset: Subset | None) -> None:
        record = use.key.record
        port = record.port(use.key.port)
        assert port is not None
        if not self._endpoints.describes(record) and self._fill_answer(cluster, use):
            # A Service without any object about its endpoints, as manifests without a cluster have it.
            self._found(use, "--resolve")
            return
        found = _select(self._endpoints.of(record, port), subset)
        cluster.endpoints = self._arranged(use, found)
        self._found(use, f"Service {record.namespace}/{record.name}")
        if not found:
            what = f"subset {subset.name} of {record.host}" if subset else f"Service {record.namespace}/{record.name}"
            mend = "" if self._endpoints.describes(record) else f"; --resolve {use.key.written}=ADDRESS names one"
            message = f"{what} has no endpoints on port {port.number}: {use.answer} (UH){mend}"
            self._report.warning("FGW0108", use.user, use.path, message)

    def _fill_entry(self, cluster: Cluster, use: Use, subset: Subset | None) -> None:
        record = use.key.record
        entry, port = record.source, record.port(use.key.port)
        assert entry is not None and port is not None
        resolution = entry.spec.resolution
        if resolution in NO_RESOLUTION:
            words = "is not supported yet" if resolution == "DYNAMIC_DNS" else "gives a gateway no endpoints"
            message = f"resolution {resolution} of ServiceEntry {entry.key} {words}: {use.answer} (UH)"
            self._report.warning("FGW0108", use.user, use.path, message)
            return
        named = entry.spec.endpoints or entry.spec.workload_selector
        if not named and resolution != "STATIC":
            srv = endpoint_wishes(entry).srv if resolution == "DNS" else ""
            lookup = "srv" if srv else LOOKUPS.get(resolution, "all")
            cluster.endpoints = [Endpoint(srv or record.host, port.target, lookup=lookup)]
            return
        cluster.endpoints = self._arranged(use, _select(self._endpoints.of(record, port), subset))
        if not cluster.endpoints:
            self._report.warning("FGW0108", use.user, use.path, f"{record.host} has no endpoints: {use.answer} (UH)")

    def _arranged(self, use: Use, found: list[Labelled]) -> list[Endpoint]:
        """With the levels and weights that localities give them (Q7)."""
        key = use.key
        rules = self._rules.of(key.record)
        may_fail_over = rules.block("outlier_detection", key.port, key.subset) is not None or prefers_close(key.record)
        return arrange(found, locality_setting(rules.block("load_balancer", key.port, key.subset)), may_fail_over, self._labels)

    def _fill_hearsay(self, cluster: Cluster, use: Use) -> None:
        """A name of which only --resolve or DNS knows."""
        written = use.key.written
        if self._fill_answer(cluster, use):
            self._found(use, "--resolve")
        elif is_ip(written):
            cluster.endpoints = [Endpoint(written, use.key.port)]
            self._found(use, "its own address")
        else:
            cluster.endpoints = [Endpoint(written, use.key.port, lookup="all")]
            message = f'"{written}" is in no Service or ServiceEntry: DNS is asked for it; --resolve {written}=ADDRESS fixes it'
            self._report.warning("FGW0020", use.user, use.path, message)

    def _fill_answer(self, cluster: Cluster, use: Use) -> bool:
        """The address given by --resolve, whose port overrides the destination's."""
        answer = self._finder.answer(use.key.written) or self._finder.answer(use.key.record.host)
        if answer is None:
            return False
        address, port = answer
        number = port or use.key.port
        cluster.found_in = "resolve"
        if is_ip(address) or address.startswith("unix:"):
            unix = "unix:" + address.removeprefix("unix:").removeprefix("//") if address.startswith("unix:") else address
            cluster.endpoints = [Endpoint(unix, 0 if unix.startswith("unix:") else number)]
        else:
            cluster.endpoints = [Endpoint(address, number, lookup="all")]
        return True

    def _found(self, use: Use, where: str) -> None:
        self._report.info("FGW0021", use.user, use.path, f"{use.key.record.host} found by {where}")


def _is_port(number: int) -> bool:
    return 1 <= number <= 65535


def _is_usable(endpoint: Endpoint) -> bool:
    return endpoint.address.startswith("unix:") or _is_port(endpoint.port)


def _select(endpoints: list[Labelled], subset: Subset | None) -> list[Labelled]:
    """Those that carry the subset's labels; all without a subset or with an empty one (R5)."""
    if subset is None or not subset.labels:
        return endpoints
    return [entry for entry in endpoints if is_subset(subset.labels, entry.labels)]


def _empty_cluster(key: ClusterKey, rules: HostRules, origin: Origin) -> Cluster:
    record = key.record
    return Cluster(
        name=key.name,
        host=record.host,
        port=key.port,
        subset=key.subset,
        service_name=record.name,
        service_namespace=record.namespace,
        found_in=record.found_in,
        lb=balancer_of(rules.block("load_balancer", key.port, key.subset)),
        connect_timeout_ms=rules.connect_timeout_ms(key.port, key.subset),
        policy=policy_of(rules, key.port, key.subset) if rules.name else DEFAULTS,
        origin=origin,
        destination_rule=rules.name,
    )
