"""The journal's native protocol: log lines with fields, one datagram each (systemd's JOURNAL_NATIVE_PROTOCOL).

Used when standard error is the journal already ($JOURNAL_STREAM names its device and inode), so that priorities and fields are not
lost: ``journalctl -u fastgw FASTGW_CODE=IST0101``.
"""

from __future__ import annotations

import array
import logging
import os
import socket
import struct
from collections.abc import Mapping

from fastgw.model.diagnostic import ERROR, WARNING, Diagnostic
from fastgw.supervisor import memfd

SOCKET = "/run/systemd/journal/socket"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
DEBUG_PRIORITY = 7


def is_journal(environment: Mapping[str, str] = os.environ, fd: int = 2) -> bool:
    """Is this descriptor the journal's? Somebody may have redirected it since the variable was set."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    if not (device.isdigit() and inode.isdigit()):
        return False
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (int(device), int(inode))


class JournalHandler(logging.Handler):
    """Sends records as entries. A record's ``fields`` (a dict, by ``extra``) become fields of the entry."""

    def __init__(self, path: str = SOCKET) -> None:
        super().__init__()
        self._path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(encode(self._fields(record)))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._sock.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        return {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority_of(record.levelno)),
            "SYSLOG_IDENTIFIER": "fastgw",
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            **getattr(record, "fields", {}),
        }

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendto(data, socket.MSG_NOSIGNAL, self._path)
        except OSError as error:
            if not isinstance(error, OSError) or error.errno not in (90, 105):  # EMSGSIZE, ENOBUFS
                raise
            # what no datagram carries goes as a sealed memory file
            fd = memfd.make_sealed("fastgw-journal", data)
            try:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                self._sock.sendmsg([b""], rights, socket.MSG_NOSIGNAL, self._path)
            finally:
                os.close(fd)


def priority_of(level: int) -> int:
    """syslog's number of a level."""
    return next((priority for least, priority in _PRIORITIES if level >= least), DEBUG_PRIORITY)


def encode(fields: Mapping[str, str]) -> bytes:
    """``NAME=value`` lines; a value with a line end has its length in front instead."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "surrogateescape")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def log_diagnostics(found: list[Diagnostic]) -> None:
    """Each as an entry of its own, with its place and code as fields."""
    log = logging.getLogger("fastgw.diagnostic")
    for one in found:
        level = {ERROR: logging.ERROR, WARNING: logging.WARNING}.get(one.severity, logging.INFO)
        fields = {
            "FASTGW_CODE": one.code,
            "FASTGW_KIND": one.kind,
            "FASTGW_RESOURCE": f"{one.namespace}/{one.name}",
            "FASTGW_FILE": one.origin.file,
            "FASTGW_LINE": str(one.origin.line),
        }
        log.log(level, "%s", one.text(), extra={"fields": fields})
