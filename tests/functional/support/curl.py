"""curl, as people use it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass


@dataclass
class Answer:
    """``status`` of the last response, its header fields by lower-case name, its body."""

    status: int
    headers: dict[str, str]
    body: str


def curl_fails(*words: str) -> int:
    """The exit code of a curl that must fail, such as 35 (TLS handshake), 56 (ended while receiving), 60 (server's certificate)."""
    done = subprocess.run(["curl", "-sS", "--max-time", "60", *words], capture_output=True, check=False)
    assert done.returncode != 0, done.stdout.decode(errors="replace")
    return done.returncode


def curl(*words: str) -> Answer:
    """Runs curl; a failure of curl itself fails the test with its message."""
    done = subprocess.run(["curl", "-sS", "-i", "--max-time", "60", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    head, rest = b"", done.stdout
    while rest.startswith(b"HTTP/"):
        head, _, rest = rest.partition(b"\r\n\r\n")
        if not head.split(b" ")[1].startswith(b"1"):
            break
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(int(lines[0].split(" ")[1]), fields, rest.decode("latin-1"))
