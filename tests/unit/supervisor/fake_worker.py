"""A stand-in for a worker: speaks the protocol as told by its first argument. Not a test.

good: answers everything; deaf: answers nothing after its first image;
crash: ends with status 3 at once; nack: refuses every image but the first; mute: says nothing, ever.
Every message it gets is appended, as its type and some facts, to the file named by the second argument.
"""

from __future__ import annotations

import os
import socket
import sys

from fastgw.model import worker_protocol as protocol


def note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {text}\n")


def answer(sock: socket.socket, mode: str, message: protocol.ToWorker, images: int) -> None:
    if isinstance(message, protocol.Start):
        sock.send(protocol.encode(protocol.Ready()))
    elif isinstance(message, protocol.Listen):
        sock.send(protocol.encode(protocol.Listening([listener.name for listener in message.listeners])))
    elif isinstance(message, protocol.Image) and mode == "nack" and images > 1:
        sock.send(protocol.encode(protocol.Nack(message.generation, "out of memory")))
    elif isinstance(message, protocol.Image):
        sock.send(protocol.encode(protocol.Ack(message.generation)))
    elif isinstance(message, protocol.Leaks):
        sock.send(protocol.encode(protocol.LeakCounts({"connections": 0})))
    elif isinstance(message, protocol.Drain):
        sock.send(protocol.encode(protocol.Drained()))
        sys.exit(0)


def main() -> None:
    mode, journal, _, fd = sys.argv[1:]
    if mode == "crash":
        note(journal, "crash")
        sys.exit(3)
    sock = socket.socket(fileno=int(fd))
    images = 0
    while True:
        data, fds, _, _ = socket.recv_fds(sock, protocol.MAX_MESSAGE_BYTES, 253)
        if not data:
            sys.exit(0)
        message = protocol.decode_to_worker(data)
        images += isinstance(message, protocol.Image)
        note(journal, f"{type(message).__name__} {len(fds)}")
        if mode != "mute" and not (mode == "deaf" and images > 1):
            answer(sock, mode, message, images)
        for received in fds:
            os.close(received)


if __name__ == "__main__":
    main()
