"""Descriptors run out gently: a tenth is left over when connections are not accepted any more."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

DESCRIPTORS = """
    import os, resource, socket
    from dataplane_support import Gateway

    def in_use():
        return len(os.listdir("/proc/self/fd")) - 1

    DESCRIPTORS = 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    gateway = Gateway()
    gateway.serve(gateway.upstream())
    crowd = [socket.socket() for _ in range(40)]
    others = [socket.socket() for _ in range(160 - in_use())]
    admission = gateway.server.admission
    admission.count_descriptors()  # both ends of the connections are ours here
    for sock in crowd:
        sock.connect(gateway.addresses["0.0.0.0_80"])
    gateway.settle()
    assert gateway.alive()["clients"] == 20 and admission.holds == DESCRIPTORS
    assert gateway.counter("FGW_G_DESCRIPTORS") == in_use() == 180, "counted as they are"
    assert gateway.counter("FGW_G_ACCEPT_HELD") == DESCRIPTORS
    assert gateway.counter("FGW_C_ACCEPT_PAUSED") == 1 and gateway.counter("FGW_C_ACCEPT_ERRORS") == 0
    assert gateway.turn(0) == 0, "no spinning"
    gateway.pass_ms(500)
    assert gateway.alive()["clients"] == 20

    def end(first, last):
        for sock in crowd[first:last]:
            sock.shutdown(socket.SHUT_RDWR)
        gateway.settle()

    end(0, 10)
    assert gateway.alive()["clients"] == 10 and admission.holds == DESCRIPTORS, "170 are not few enough"
    end(10, 11)
    assert gateway.alive()["clients"] == 20 and admission.holds == DESCRIPTORS, "what became free has been filled up"
    assert gateway.counter("FGW_C_ACCEPT_PAUSED") == 2
    end(11, 40)
    gateway.pass_ms(300)
    assert gateway.alive()["clients"] == 0 and admission.holds == 0 and gateway.bugs == []
    assert gateway.loop.timers == 0, "nothing is looked at any more"
    for sock in crowd + others:
        sock.close()
    gateway.close()
"""


def test_connections_wait_before_the_last_descriptor_is_taken() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    code = textwrap.dedent(DESCRIPTORS)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
