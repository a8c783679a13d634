"""What the supervisor and the compile child say to each other: one JSON message a packet, large parts in memory files.

The child is started as ``python -m fastgw.supervisor.compile_job --control FD``, is told Configure once, and answers each
Compile with Compiled or Failed. It ends when its socket does.
"""

from __future__ import annotations

import msgspec

from fastgw.model.diagnostic import Diagnostic
from fastgw.supervisor.listeners import Wanted


class Configure(msgspec.Struct, tag="configure"):
    """What stays the same for the life of the child. fds: [numbers of a predecessor] or none."""

    paths: list[str]
    labels: dict[str, str]
    namespace: str
    resolve: dict[str, tuple[str, int | None]] = {}


class Compile(msgspec.Struct, tag="compile"):
    """Read the sources and compile them."""

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


class DnsTarget(msgspec.Struct, frozen=True):
    """A name that has to be resolved into this slot of the state segment, for this cluster."""

    slot: int
    name: str
    port: int
    cluster: str


class MetricLabels(msgspec.Struct, frozen=True):
    """The service behind a metric id."""

    host: str
    name: str
    namespace: str


class Report(msgspec.Struct):
    """Beside the image: what the supervisor has to act on. Encoded with msgpack in a memory file."""

    listeners: list[Wanted] = []
    diagnostics: list[Diagnostic] = []
    dns: list[DnsTarget] = []
    metric_labels: dict[int, MetricLabels] = {}


class Compiled(msgspec.Struct, tag="compiled"):
    """fds: [sealed image, Report, plan as JSON, numbers for a successor]."""

    generation: int
    counts: Counts
    timings: Timings


class Failed(msgspec.Struct, tag="failed"):
    """No image came of it; ``message`` is one line, ``traceback`` for the log."""

    generation: int
    message: str
    traceback: str = ""


ToChild = Configure | Compile
FromChild = Compiled | Failed

encode = msgspec.json.Encoder().encode
decode_to_child = msgspec.json.Decoder(ToChild).decode
decode_from_child = msgspec.json.Decoder(FromChild).decode
encode_report = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(Report).decode
MAX_MESSAGE_BYTES = 1 << 20
