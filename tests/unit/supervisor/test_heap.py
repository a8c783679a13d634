"""What the supervisor asks of the C heap, seen in processes of their own: the settings are for good."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import ctypes
from fastgw.supervisor.heap import keep_compact

class Mallinfo2(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
HEAP
libc.free(libc.malloc(1 << 20))
before = libc.mallinfo2().hblks
libc.malloc(256 << 10)
print(libc.mallinfo2().hblks - before)
"""


def own_pages(settings: str) -> int:
    """How many blocks of their own pages a block of 256 KiB takes after a larger one has come and gone."""
    program = LOOK.replace("HEAP", settings)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return int(run.stdout)


def test_large_blocks_stay_out_of_the_heap() -> None:
    assert own_pages("") == 0, "glibc learns to cut them out of the heap"
    assert own_pages("keep_compact()") == 1
