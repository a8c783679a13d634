"""The journal's native protocol, read back by an independent decoder."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest
from wire.journal import receive

from fastgw.model.diagnostic import Diagnostic
from fastgw.model.origin import Origin
from fastgw.supervisor.journal import JournalHandler, is_journal, log_diagnostics


@pytest.fixture
def journal(tmp_path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "journal"))
    sock.settimeout(5)
    return sock


def test_lines_and_diagnostics_have_fields(journal: socket.socket, tmp_path: Path) -> None:
    handler = JournalHandler(str(tmp_path / "journal"))
    log = logging.getLogger("fastgw")
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        log.warning("two\nlines: %s", "ä")
        entry = receive(journal)
        assert entry["MESSAGE"] == "two\nlines: ä" and entry["PRIORITY"] == "4" and entry["SYSLOG_IDENTIFIER"] == "fastgw"
        assert entry["CODE_FILE"] == __file__ and entry["LOGGER"] == "fastgw"
        origin = Origin("config/a.yaml", 3, 5)
        log_diagnostics([Diagnostic("error", "IST0101", "not found", "VirtualService", "default", "v", "spec", origin)])
        entry = receive(journal)
        assert entry["MESSAGE"].startswith("config/a.yaml:3:5: error[IST0101]") and entry["PRIORITY"] == "3"
        wanted = {"CODE": "IST0101", "KIND": "VirtualService", "RESOURCE": "default/v", "FILE": "config/a.yaml", "LINE": "3"}
        assert {name: entry[f"FASTGW_{name}"] for name in wanted} == wanted
        log.info("x" * 600_000)
        assert receive(journal)["MESSAGE"] == "x" * 600_000, "too long for a datagram: as a memory file"
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
        handler.close()
        journal.close()


def test_a_journal_that_is_gone_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = JournalHandler(str(tmp_path / "nobody"))
    handler.handle(logging.LogRecord("fastgw", logging.INFO, __file__, 1, "lost", (), None))
    handler.close()


def test_only_when_the_descriptor_is_the_journals(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        assert is_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, stream.fileno())
        assert not is_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}, stream.fileno())
        assert not is_journal({"JOURNAL_STREAM": "nonsense"}, stream.fileno())
        assert not is_journal({}, stream.fileno())
