"""What the unit promises, each tried on the running service. In this order: a quick look first."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from functional.support.certificates import Authority
from functional.support.client import Client, fetch, request_bytes
from functional.support.config import Document
from functional.support.origin import RecordingOrigin, Reply
from functional.support.poll import eventually
from functional.support.processes import alive
from functional.support.tls_client import client_context, fetch_tls
from service import (
    CREDENTIALS,
    HOST,
    LONG_S,
    RESOURCES,
    UNIT,
    Callers,
    configure,
    drop_in,
    journal,
    main_pid,
    mark,
    run,
    said,
    shown,
    status,
    wait_said,
    worker_pids,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("service")
EXPOSURE = 2.0
CAP_NET_BIND_SERVICE = 1 << 10


def fact(pid: int, name: str) -> str:
    """A line of /proc/PID/status."""
    return re.findall(rf"^{name}:\s*(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M)[0]


def test_the_start_returned_when_it_was_ready() -> None:
    assert (shown("ActiveState"), shown("SubState"), shown("NRestarts")) == ("active", "running", "0")
    assert status().startswith("serving 2 listeners, 2 hosts, generation ")
    assert fetch(80, "/item/7", HOST).status == 200


def test_it_is_nobody_with_one_capability_and_filtered_calls() -> None:
    user = run("id", "--user", "fastgw").strip()
    for pid in (main_pid(), *worker_pids()):
        assert fact(pid, "Uid").split() == [user] * 4 and user != "0"
        assert {int(fact(pid, name), 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {CAP_NET_BIND_SERVICE}
        assert (fact(pid, "NoNewPrivs"), fact(pid, "Seccomp")) == ("1", "2")


def test_systemd_finds_it_little_exposed() -> None:
    text = run("systemd-analyze", "security", "--no-pager", UNIT)
    exposure = re.search(r"exposure level for \S+ ([0-9.]+)", text.replace(":", ""))
    assert exposure is not None and float(exposure[1]) <= EXPOSURE, text
    run("systemd-analyze", "verify", "--man=no", UNIT)


def test_no_call_of_it_is_one_that_the_filter_refuses(authority: Authority) -> None:
    """With the refusal a deadly one: starting, serving, reloading and upgrading go on."""
    with drop_in("SystemCallErrorNumber=kill"):
        assert fetch(80, "/item/8", HOST).status == 200
        assert fetch_tls(443, HOST, client_context(authority)).status == 200
        run("systemctl", "reload", UNIT)
        since, before = mark(), worker_pids()
        run("systemctl", "kill", "--signal=USR2", "--kill-who=main", UNIT)
        wait_said("upgraded from", since)
        eventually(lambda: not any(map(alive, before)), "the old workers end", LONG_S)
        assert fetch(80, "/item/9", HOST).status == 200
        assert shown("NRestarts") == "0" and "SIGSYS" not in said(since)


def test_certificates_that_root_alone_can_read(authority: Authority) -> None:
    assert (CREDENTIALS / "web/tls.key").stat().st_mode & 0o077 == 0
    assert fetch_tls(443, HOST, client_context(authority), "/item/1").status == 200


def test_diagnostics_are_entries_with_fields(wanted: list[Document]) -> None:
    since = mark()
    broken = [wanted[0], {**wanted[1], "spec": {**wanted[1]["spec"], "gateways": ["nowhere"]}}, wanted[2]]
    configure(broken)
    wait_said("VirtualService default/shop", since)
    entry = journal(since, FASTGW_RESOURCE="default/shop")[0]
    assert entry["FASTGW_FILE"] == str(RESOURCES) and int(entry["FASTGW_LINE"]) > 0 and entry["FASTGW_KIND"] == "VirtualService"
    assert entry["SYSLOG_IDENTIFIER"] == "fastgw" and entry["PRIORITY"] in "346" and entry["FASTGW_CODE"] in entry["MESSAGE"]


def test_a_reload_and_one_that_is_refused() -> None:
    generation = int(status().rpartition(" ")[2])
    run("systemctl", "reload", UNIT)
    assert shown("ActiveState") == "active" and int(status().rpartition(" ")[2]) > generation
    RESOURCES.write_text("")
    run("systemctl", "reload", UNIT)
    eventually(lambda: "the last change is not served: " in status(), "it is told", LONG_S)
    assert fetch(80, "/", HOST).status == 200


def test_a_restart_fails_no_connection_and_keeps_counting() -> None:
    with Callers() as callers:
        for _ in range(2):
            run("systemctl", "restart", UNIT)
            callers.each_once_more()
    assert not callers.failures, callers.failures[:5]
    assert int(status().rpartition(" ")[2]) > 2, "generations go on where the last start ended"


def test_an_upgrade_fails_no_connection() -> None:
    since, before, first = mark(), worker_pids(), main_pid()
    with Callers() as callers:
        run("systemctl", "kill", "--signal=USR2", "--kill-who=main", UNIT)
        wait_said("upgraded from", since)
        eventually(lambda: not any(map(alive, before)), "the old workers end", LONG_S)
        callers.each_once_more()
    assert not callers.failures, callers.failures[:5]
    assert (main_pid(), shown("NRestarts"), shown("ActiveState")) == (first, "0", "active")
    assert fact(first, "Name") == "fastgw"


def test_a_start_without_usable_files_serves_what_was_served() -> None:
    RESOURCES.write_text("kind: [")
    since = mark()
    run("systemctl", "restart", UNIT)
    assert "starts with the snapshot of generation" in said(since)
    assert fetch(80, "/", HOST).status == 200


def test_a_frozen_worker_is_replaced() -> None:
    frozen = worker_pids()[0]
    since = mark()
    os.kill(frozen, signal.SIGSTOP)
    eventually(lambda: frozen not in worker_pids() and len(worker_pids()) > 0, "it is replaced", LONG_S)
    wait_said("started again", since)
    assert fetch(80, "/", HOST).status == 200 and shown("NRestarts") == "0"


def test_a_frozen_supervisor_is_replaced_by_systemd() -> None:
    with drop_in("WatchdogSec=8"):
        first = main_pid()
        since = mark()
        os.kill(first, signal.SIGSTOP)
        assert fetch(80, "/", HOST).status == 200, "the workers serve on"
        eventually(lambda: main_pid() not in (0, first) and shown("ActiveState") == "active", "it is started again", LONG_S)
        assert "Watchdog timeout" in said(since) and shown("NRestarts") == "1"
        assert fetch(80, "/", HOST).status == 200


def test_a_stop_waits_for_what_is_under_way(origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply() if seen.message.target == "/held" else origin.echo(seen)
    seen_before = origin.mark()
    with Client(80, timeout_s=LONG_S) as client:
        client.send(request_bytes("GET", "/held", HOST))
        (held,) = eventually(lambda: [seen for seen in origin.since(seen_before) if seen.message.target == "/held"])
        run("systemctl", "stop", "--no-block", UNIT)
        eventually(lambda: "1 requests under way" in status(), "it is shown", LONG_S)
        assert shown("ActiveState") == "deactivating"
        (connection,) = [known for known in origin.connections if known.number == held.connection]
        origin.call(lambda: origin.send(connection, origin.echo(held)))
        assert client.response().status == 200
    eventually(lambda: shown("ActiveState") == "inactive", "it has ended", LONG_S)
    assert shown("Result") == "success" and shown("NFileDescriptorStore") == "0"
    assert run("pgrep", "--uid", "fastgw", check=False) == ""


def test_settings_that_cannot_be_used_are_not_tried_again() -> None:
    file = Path("/etc/fastgw/fastgw.yaml")
    before = file.read_text()
    since = mark()
    try:
        file.write_text(f"{before}worker: 3\n")
        run("systemctl", "restart", UNIT, check=False)
        eventually(lambda: shown("ActiveState") == "failed", "it has failed")
        assert "worker" in said(since)
        time.sleep(3)
        assert (shown("ActiveState"), shown("NRestarts"), shown("ExecMainStatus")) == ("failed", "0", "2")
    finally:
        file.write_text(before)


def test_a_credential_that_comes_late_is_waited_for(authority: Authority) -> None:
    away = CREDENTIALS / "away"
    (CREDENTIALS / "web").rename(away)
    try:
        run("systemctl", "restart", UNIT, check=False)
        eventually(lambda: int(shown("NRestarts")) > 6, "more than systemd's limit of starts", LONG_S)
    finally:
        away.rename(CREDENTIALS / "web")
    eventually(lambda: shown("ActiveState") == "active", "it starts after all", LONG_S)
    assert fetch_tls(443, HOST, client_context(authority)).status == 200
