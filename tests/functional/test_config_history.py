"""What was served is kept: going back, trying on one worker first, starting without sources. All by the commands of people."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import gateway, route, service_entry, simple, text_of, virtual_service
from .support.gateway import Gateway, command, environment, run_cli
from .support.load import Load
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "webapp.test"


def ask(running: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    return run_cli(*words, "--admin", f"127.0.0.1:{running.admin_port}")


def ask_json(running: Gateway, *words: str) -> Any:
    done = ask(running, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(status: int) -> list[dict[str, Any]]:
    """A configuration that answers by itself."""
    rule = {"directResponse": {"status": status, "body": {"string": f"status {status}"}}}
    return [gateway(hosts=[HOST]), virtual_service("v", [HOST], [rule])]


def serving(running: Gateway, status: int) -> None:
    eventually(lambda: running.get("/", HOST).status == status, f"{status} is served")


def history(running: Gateway, count: int) -> list[dict[str, Any]]:
    return eventually(lambda: found if len(found := ask_json(running, "config", "history")) >= count else [])


def test_history_show_and_rollback(start_gateway: StartGateway) -> None:
    running = start_gateway(answers(201))
    for status in (202, 203, 201):
        running.write("main.yaml", answers(status))
        serving(running, status)
    entries = history(running, 4)
    assert [entry["generation"] for entry in entries] == [4, 3, 2, 1] and entries[0]["serving"]
    assert entries[0]["plan"] == entries[3]["plan"] != entries[1]["plan"], "equal content is kept once"
    text = ask(running, "config", "history").stdout.splitlines()
    assert text[0].split()[0] == "GENERATION" and text[1].startswith("4 *")
    shown = ask(running, "config", "show", "2").stdout
    assert HOST in shown and "main.yaml:" in shown
    assert "202" in json.dumps(ask_json(running, "config", "show", "2")["content"])

    workers = running.worker_pids()
    done = ask(running, "config", "rollback", "2")
    assert done.returncode == 0 and "served again, as generation 5" in done.stdout, done.stderr
    assert running.get("/", HOST).status == 202 and running.worker_pids() == workers
    assert [found["code"] for found in running.admin("/config/diagnostics")].count("FGW0202") == 1
    assert history(running, 5)[0]["source"] == "rollback to generation 2"

    running.write("main.yaml", answers(203))
    serving(running, 203)
    assert "FGW0202" not in [found["code"] for found in running.admin("/config/diagnostics")]
    missing = ask(running, "config", "rollback", "99")
    assert missing.returncode == 1 and "generation 99 is not kept; these are: 1, 2, 3, 4, 5, 6" in missing.stderr


def test_a_rollback_outlives_the_compile_process_and_upgrades(start_gateway: StartGateway) -> None:
    running = start_gateway(answers(201))
    running.write("main.yaml", answers(202))
    serving(running, 202)
    history(running, 2)
    assert ask(running, "config", "rollback", "1").returncode == 0
    running.signal(signal.SIGUSR2)
    eventually(lambda: "upgraded from" in running.said(), running.tail())
    assert running.get("/", HOST).status == 201
    running.signal(signal.SIGHUP)
    serving(running, 202)


def test_the_last_twenty_are_kept_on_disk(start_gateway: StartGateway, tmp_path: Path) -> None:
    state = tmp_path / "state"
    running = start_gateway(answers(201), options=["--state-dir", str(state)])
    for turn in range(25):
        running.write("main.yaml", answers(210 + turn))
        serving(running, 210 + turn)
    entries = eventually(lambda: found if (found := ask_json(running, "config", "history"))[0]["generation"] == 26 else [])
    assert [entry["generation"] for entry in entries] == list(range(26, 6, -1))
    files = sorted(path.name for path in (state / "history").glob("*.gz"))
    assert files == sorted({f"{entry['plan']}.json.gz" for entry in entries})
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state / "history").iterdir())
    second = run_cli("run", str(running.config), "--state-dir", str(state), "--admin", "off", "--status", "off")
    assert second.returncode == 2 and "another gateway uses it" in second.stderr


@pytest.mark.parametrize("damage", ["gone", "broken", "empty"])
def test_a_snapshot_starts_the_gateway_when_the_sources_cannot(start_gateway: StartGateway, tmp_path: Path, damage: str) -> None:
    state = ["--state-dir", str(tmp_path / "state")]
    first = start_gateway(answers(201), options=state)
    history(first, 1)
    first.stop()
    shutil.rmtree(first.config)
    if damage != "gone":
        first.config.mkdir()
        first.write("main.yaml", "kind: [" if damage == "broken" else "")
    second = start_gateway((), options=state, wait=False)
    second.ports = first.ports
    second.kill()
    second.config = first.config
    second.start()
    assert second.get("/", HOST).status == 201
    assert "the gateway starts with the snapshot of generation 1 from" in second.said()
    if damage == "gone":
        second.config.mkdir()
    second.write("main.yaml", answers(202))
    serving(second, 202)
    assert second.admin("/config/generation")["generation"] > 1


def test_without_a_snapshot_there_is_nothing_to_serve(start_gateway: StartGateway, tmp_path: Path) -> None:
    running = start_gateway("kind: [", options=["--state-dir", str(tmp_path / "state")], wait=False)
    assert running.wait_exit() == 1


def apply_later(running: Gateway, directory: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command(), "apply", str(directory), *words, "--admin", f"127.0.0.1:{running.admin_port}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def candidate(tmp_path: Path, documents: list[dict[str, Any]]) -> Path:
    directory = tmp_path / "candidate"
    directory.mkdir(exist_ok=True)
    (directory / "main.yaml").write_text(text_of(documents))
    return directory


def test_apply_at_once(start_gateway: StartGateway, tmp_path: Path) -> None:
    running = start_gateway(answers(201))
    done = ask(running, "apply", str(candidate(tmp_path, answers(202))))
    assert done.returncode == 0 and "served as generation 2" in done.stdout, done.stderr
    assert running.get("/", HOST).status == 202
    bad = [
        *answers(203),
        {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "w"}, "spec": {"hosst": []}},
    ]
    refused = ask(running, "apply", str(candidate(tmp_path, bad)))
    assert refused.returncode == 1 and "not applied" in refused.stderr and "hosst" in refused.stderr
    assert running.get("/", HOST).status == 202
    assert ask(running, "apply", "--force", str(candidate(tmp_path, bad))).returncode == 0
    assert running.get("/", HOST).status == 203


def test_apply_keeps_the_ports_that_are_behind_a_proxy(start_gateway: StartGateway, tmp_path: Path) -> None:
    """They are said to ``run``, not by the files."""
    running = start_gateway(answers(201), options=["--proxy-protocol", "80"])
    done = ask(running, "apply", str(candidate(tmp_path, answers(202))))
    assert done.returncode == 0, done.stderr
    with running.client() as client:
        client.send(b"PROXY TCP4 192.0.2.7 198.51.100.3 4711 80\r\n" + request_bytes("GET", "/", HOST))
        assert client.response().status == 202


def on_trial(running: Gateway) -> int:
    """The pid of the one worker of two that has the second configuration, once it has said so; the phase begins before."""

    def found() -> int:
        assert running.admin("/config/trial")["phase"] == "canary"
        pids = {worker["generation"]: worker["pid"] for worker in running.admin("/workers")}
        assert set(pids) == {1, 2}
        return int(pids[2])

    return eventually(found)


def marked(origin: RecordingOrigin) -> list[dict[str, Any]]:
    """As before, and answers tell of it."""
    documents = simple(HOST, origin.port)
    documents[1]["spec"]["http"][0]["headers"] = {"response": {"set": {"x-version": "new"}}}
    return documents


def test_a_canary_is_one_worker(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    """The other one has the old configuration. The gateway may end meanwhile."""
    running = start_gateway(simple(HOST, origin.port))
    with Load(running.port(), HOST, clients=4) as load:
        trying = apply_later(running, candidate(tmp_path, marked(origin)), "--canary", "1", "--for", "600s", "--max-5xx", "1%")
        assert on_trial(running)
        assert {running.get("/", HOST).value("x-version") for _ in range(40)} == {None, "new"}
    assert not load.failures, load.failures[:3]
    running.stop()
    trying.communicate(timeout=60)
    assert trying.returncode != 0


def test_a_good_canary_is_promoted(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    """First one worker has the new configuration, then both have it. No request fails."""
    running = start_gateway(simple(HOST, origin.port))
    with Load(running.port(), HOST, clients=4) as load:
        trying = apply_later(running, candidate(tmp_path, marked(origin)), "--canary", "1", "--for", "2s", "--max-5xx", "1%")
        out, err = trying.communicate(timeout=60)
        assert trying.returncode == 0 and "served as generation 2" in out, err
        load.more(20)
    assert not load.failures, load.failures[:3]
    assert {worker["generation"] for worker in running.admin("/workers")} == {2}
    assert {running.get("/", HOST).value("x-version") for _ in range(20)} == {"new"}


def test_a_bad_canary_is_taken_back(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    running = start_gateway(simple(HOST, origin.port))
    broken = [gateway(hosts=[HOST]), virtual_service("webapp", [HOST], [route("webapp", 8080)]), service_entry("webapp", [])]
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            running.get("/", HOST)

    asking = threading.Thread(target=ask_on)
    asking.start()
    try:
        trying = apply_later(running, candidate(tmp_path, broken), "--canary", "1", "--for", "60s", "--max-5xx", "10%")
        out, err = trying.communicate(timeout=60)
    finally:
        stop.set()
        asking.join(20)
    assert trying.returncode == 1 and "answers were 5xx, more than 0.1 of them" in err, (out, err)
    eventually(lambda: {worker["generation"] for worker in running.admin("/workers")} == {1})
    assert [running.get("/", HOST).status for _ in range(20)] == [200] * 20
    assert "5xx" in running.admin("/config/generation")["error"]
    running.write("more.yaml", [service_entry("other", [("127.0.0.1", origin.port)])])
    eventually(lambda: running.admin("/config/generation")["generation"] > 2)
    assert running.get("/", HOST).status == 200, "the next change builds on what is served"


def test_a_canary_whose_worker_dies_is_taken_back(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    running = start_gateway(simple(HOST, origin.port))
    trying = apply_later(running, candidate(tmp_path, answers(202)), "--canary", "1", "--for", "60s")
    os.kill(on_trial(running), signal.SIGKILL)
    _, err = trying.communicate(timeout=60)
    assert trying.returncode == 1 and "a worker that had it ended" in err
    eventually(lambda: [worker["generation"] for worker in running.admin("/workers")] == [1, 1])
    assert running.get("/", HOST).status == 200


def test_refusals_of_a_trial(start_gateway: StartGateway, tmp_path: Path) -> None:
    running = start_gateway(answers(201))
    directory = candidate(tmp_path, answers(202))
    too_many = ask(running, "apply", str(directory), "--canary", "2")
    assert too_many.returncode == 1 and "of 2 workers, 1 to 1 can try" in too_many.stderr
    first = apply_later(running, directory, "--canary", "1", "--for", "600s")
    eventually(lambda: running.admin("/config/trial")["phase"] == "canary")
    busy = ask(running, "config", "rollback", "1")
    assert busy.returncode == 1 and "another configuration is on trial" in busy.stderr
    assert ask(running, "apply", str(directory), "--for", "soon").returncode == 2
    running.stop()
    first.communicate(timeout=60)
    assert first.returncode != 0
