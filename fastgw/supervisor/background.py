"""How the compile child shares processors with traffic: it gets its part of the time, but never first.

A worker that wakes has an event to answer, and ordinarily it waits until the process that it finds on the processor has used up its
slice, as much as a tick of the clock. Two things change that for a process that says it is in no hurry: the batch policy (it does
not interrupt others when it wakes itself), and a long slice (since Linux 6.12 whoever asks for shorter ones interrupts it at once).
Neither takes processor time away from it, as the idle policy would: under full load a change must still be compiled.
"""

from __future__ import annotations

import ctypes
import os
import platform

NICENESS = 10
SLICE_NS = 20_000_000
_SYSCALLS = {"x86_64": 314, "aarch64": 274}
"""sched_setattr, which the C library has only lately a function for."""


class _SchedAttr(ctypes.Structure):
    """struct sched_attr, sched_setattr(2). The slice is ``runtime``; kernels that know none for this policy pass it over."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def yield_to_traffic() -> None:
    """For the calling thread and all that it starts. Where the kernel refuses, the process is only nice."""
    os.nice(NICENESS)
    attributes = _SchedAttr(
        size=ctypes.sizeof(_SchedAttr), policy=os.SCHED_BATCH, nice=os.getpriority(os.PRIO_PROCESS, 0), runtime=SLICE_NS
    )
    number = _SYSCALLS.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, 0, ctypes.byref(attributes), 0)
