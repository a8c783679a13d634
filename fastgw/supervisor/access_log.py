"""The access log's file: opened here, written by the workers, opened again on request (log rotation)."""

from __future__ import annotations

import os

from fastgw.model.log_program import Program
from fastgw.supervisor.log_format import compile_format
from fastgw.supervisor.settings import OFF, Settings, SettingsError


class AccessLog:
    """``fd`` is -1 while the log is off. Raises SettingsError (file), FormatError (format)."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.access_log
        self.program: Program = [] if self._path == OFF else compile_format(settings.access_log_format)
        self.fd = self._open()

    @property
    def on(self) -> bool:
        return self.fd >= 0

    def reopen(self) -> int:
        """The new descriptor. Raises SettingsError, and the old one stays."""
        fresh = self._open()
        old, self.fd = self.fd, fresh
        if old >= 0:
            os.close(old)
        return fresh

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _open(self) -> int:
        if self._path == OFF:
            return -1
        if self._path == "-":
            return os.dup(1)
        try:
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise SettingsError(f"--access-log {self._path}: {error.strerror}") from None
