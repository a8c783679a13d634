"""What the supervisor and the compile child say to each other: one JSON message a packet, large parts in memory files.

The child is started as ``python -m fastgw.supervisor.compile_job --control FD``, is told Configure once, and answers each
Compile with Compiled or Failed and each AskPlan with PlanAnswer. When nothing has been asked for a while it says Findings about
the last generation. It ends when its socket does.
"""

from __future__ import annotations

import msgspec

from fastgw.credentials.status import Status
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import HealthCheck, UpstreamTls
from fastgw.supervisor.listeners import Wanted


class Configure(msgspec.Struct, tag="configure"):
    """What stays the same for the life of the child. fds: what a predecessor left: [numbers], then [credentials block] when there
    is one."""

    paths: list[str]
    labels: dict[str, str]
    namespace: str
    resolve: dict[str, tuple[str, int | None]] = {}
    secrets: list[str] = []
    mesh_cert: str = ""
    proxy_protocol: list[int] = []


class Compile(msgspec.Struct, tag="compile"):
    """Read the sources and compile them. ``changed``: the only files that have changed since the last time; None: any may have.

    ``credentials_changed`` False: no file of a certificate, key or CA has. ``has_plan``: fds are [a Plan as JSON], which is to be
    served instead of what the sources say; they give Secrets only.
    """

    generation: int
    changed: list[str] | None = None
    credentials_changed: bool = True
    has_plan: bool = False


class AskPlan(msgspec.Struct, tag="ask_plan"):
    """The plan of one of the last generations is wanted: seldom, so it is only then put into words."""

    generation: int


class Counts(msgspec.Struct):
    """The size of a generation, for the log and the metrics."""

    listeners: int = 0
    hosts: int = 0
    rules: int = 0
    clusters: int = 0
    image_bytes: int = 0


class Timings(msgspec.Struct):
    """Seconds of each phase."""

    load: float = 0.0
    compile: float = 0.0
    write: float = 0.0
    credentials: float = 0.0


class DnsTarget(msgspec.Struct, frozen=True):
    """A name that has to be resolved into this slot of the state segment, for this cluster.

    ``lookup``: all, first, srv (see plan.Endpoint). ``weight`` is that of each address; ``endpoint`` the name's place among the
    cluster's endpoints.
    """

    slot: int
    name: str
    port: int
    cluster: str
    lookup: str = "all"
    weight: int = 1
    endpoint: int = 0


class HealthTarget(msgspec.Struct, frozen=True):
    """The endpoints of a cluster that are to be checked. ``endpoints``: (address, port, cell) of those without a name; ``slot``
    holds the others, -1 without any. ``host`` is asked for; ``http2``: they speak nothing else."""

    cluster: str
    check: HealthCheck
    host: str
    http2: bool
    tls: UpstreamTls | None = None
    endpoints: tuple[tuple[str, int, int], ...] = ()
    slot: int = -1


class MetricLabels(msgspec.Struct, frozen=True):
    """The service behind a metric id."""

    host: str
    name: str
    namespace: str


class RateLimitLabels(msgspec.Struct, frozen=True):
    """The rate limit behind an index of its counts."""

    policy: str
    name: str


class Report(msgspec.Struct):
    """Beside the image: what the supervisor has to act on. Encoded with msgpack in a memory file.

    None between the processes: the same as in the child's report before. A Result has no None. ``watched``: files and directories
    that hold the credentials; ``pages``: files of error pages and their stamps when they were read (sources.page_files).
    """

    listeners: list[Wanted] = []
    watched: list[str] = []
    pages: dict[str, tuple[int, ...]] = {}
    diagnostics: list[Diagnostic] | None = []
    credentials: list[Status] | None = []
    dns: list[DnsTarget] | None = []
    health: list[HealthTarget] | None = []
    metric_labels: dict[int, MetricLabels] | None = {}
    rate_limits: dict[int, RateLimitLabels] | None = {}


class Compiled(msgspec.Struct, tag="compiled"):
    """fds: [sealed image, Report], [sealed credentials block] when there are credentials, and [numbers for a successor] when they
    have changed."""

    generation: int
    counts: Counts
    timings: Timings
    has_credentials: bool = False


class Failed(msgspec.Struct, tag="failed"):
    """No image came of it; ``message`` is one line, ``traceback`` for the log."""

    generation: int
    message: str
    traceback: str = ""


class PlanAnswer(msgspec.Struct, tag="plan_answer"):
    """fds: [plan as JSON], or none: the child does not have that generation's any more."""

    generation: int


class Findings(msgspec.Struct, tag="findings"):
    """What the whole picture of a generation shows, beyond its Report's diagnostics. fds: [Diagnostics with msgpack]."""

    generation: int


ToChild = Configure | Compile | AskPlan
FromChild = Compiled | Failed | PlanAnswer | Findings

encode = msgspec.json.Encoder().encode
decode_to_child = msgspec.json.Decoder(ToChild).decode
decode_from_child = msgspec.json.Decoder(FromChild).decode
encode_report = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(Report).decode
encode_findings = msgspec.msgpack.Encoder().encode
decode_findings = msgspec.msgpack.Decoder(list[Diagnostic]).decode
MAX_MESSAGE_BYTES = 1 << 20
