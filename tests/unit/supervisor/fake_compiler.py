"""A stand-in for the compile child. Not a test.

Its first argument is a file whose text says what the next Compile does: good, fail, die, hang, nonsense, unsealed, torn.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Plan
from fastgw.supervisor import compile_protocol as protocol
from fastgw.supervisor import memfd
from fastgw.supervisor.control import receive
from fastgw.supervisor.listeners import Wanted


def unsealed(data: bytes) -> int:
    fd = os.memfd_create("unsealed")
    os.write(fd, data)
    return fd


def respond(sock: socket.socket, generation: int, what: str) -> None:
    image = write_image(Plan(), StateNumbers(), generation)
    if what == "torn":
        image = image[: len(image) // 2]
    image_fd = unsealed(image) if what == "unsealed" else memfd.make_sealed("image", image)
    report = protocol.Report(listeners=[Wanted("127.0.0.1_1080", "127.0.0.1", 1080)])
    rest = [memfd.make_sealed("x", data) for data in (protocol.encode_report(report), b"{}")]
    compiled = protocol.Compiled(generation, protocol.Counts(listeners=1), protocol.Timings())
    socket.send_fds(sock, [protocol.encode(compiled)], [image_fd, *rest])


def main() -> None:
    script, _, fd = sys.argv[1:]
    sock = socket.socket(fileno=int(fd))
    while True:
        data, _ = receive(sock, protocol.MAX_MESSAGE_BYTES)
        if not data:
            return
        message = protocol.decode_to_child(data)
        if isinstance(message, protocol.Configure):
            continue
        if isinstance(message, protocol.AskPlan):
            plan = memfd.make_sealed("x", b'{"plan": 1}')
            socket.send_fds(sock, [protocol.encode(protocol.PlanAnswer(message.generation))], [plan])
            continue
        what = Path(script).read_text().strip()
        if what == "die":
            os._exit(7)
        elif what == "hang":
            time.sleep(60)
        elif what == "nonsense":
            sock.send(b"?")
        elif what == "fail":
            sock.send(protocol.encode(protocol.Failed(message.generation, "ValueError: no")))
        else:
            respond(sock, message.generation, what)


if __name__ == "__main__":
    main()
