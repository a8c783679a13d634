"""The units of systemd: current in config/, accepted by systemd's own tools, and written where they are wanted."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastgw.cli.install_service import command, hidden_from_service
from fastgw.cli.service_units import Socket, Units

ROOT = Path(__file__).resolve().parents[3]
EXPOSURE = 2.0


def test_the_units_in_config_are_current() -> None:
    spec = importlib.util.spec_from_file_location("service_units_tool", ROOT / "tools/service_units.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = {path.name: path.read_text() for path in (ROOT / "config/systemd").iterdir()}
    assert found == tool.files(), "run: python tools/service_units.py"


@pytest.mark.parametrize("sockets", [(), (Socket("http", 80), Socket("https", 443))])
def test_systemd_accepts_them(tmp_path: Path, sockets: tuple[Socket, ...]) -> None:
    units = Units(command=sys.executable, sockets=sockets, credentials=(("web", "/etc/fastgw/credentials/web"),))
    files = [tmp_path / Path(path).name for path in units.files() if path.endswith((".service", ".socket"))]
    for path, text in units.files().items():
        (tmp_path / Path(path).name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line or "fastgw" in line], done.stderr
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", files[0]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure is not None and float(exposure[1]) <= EXPOSURE, done.stdout + done.stderr


def test_a_gateway_on_sockets_of_systemd_needs_no_capability() -> None:
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in Units().service()
    assert "AmbientCapabilities=\n" in Units(sockets=(Socket("http", 80),)).service()
    assert "AmbientCapabilities=\n" in Units(low_ports=False).service()


def test_files_are_written_below_a_root_and_settings_kept(tmp_path: Path) -> None:
    words = ["--root", str(tmp_path), "--name", "edge", "--command", "/opt/fastgw", "--socket", "http=8080"]
    words += ["--credential", "web=/etc/edge/web"]
    first = CliRunner().invoke(command, words)
    assert first.exit_code == 0, first.output
    service = (tmp_path / "etc/systemd/system/edge.service").read_text()
    assert "ExecStart=/opt/fastgw run --config /etc/edge/fastgw.yaml\n" in service and "User=edge\n" in service
    assert "LoadCredential=web:/etc/edge/web\n" in service and "Sockets=edge-http.socket\n" in service
    assert "FileDescriptorName=http\n" in (tmp_path / "etc/systemd/system/edge-http.socket").read_text()
    settings = tmp_path / "etc/edge/fastgw.yaml"
    assert settings.read_text().endswith("paths: [/etc/edge/resources]\n")
    settings.write_text("paths: [/srv]\n")
    assert CliRunner().invoke(command, words).exit_code == 0
    assert settings.read_text() == "paths: [/srv]\n"


def test_a_program_that_the_sandbox_hides_is_told() -> None:
    said = CliRunner().invoke(command, ["--print", "--command", "/home/me/.venv/bin/fastgw"]).stderr
    assert (
        said == "warning: /home/me/.venv/bin/fastgw is hidden from the service, which cannot start then: install below /opt, say\n"
    )
    assert CliRunner().invoke(command, ["--print", "--command", "/opt/home/fastgw"]).stderr == ""
    assert hidden_from_service(["/usr/bin/x", "/root/.pyenv/bin/python", "/tmp", "/tmpfs/x", "/root/.pyenv/bin/python"]) == [
        "/root/.pyenv/bin/python", "/tmp",
    ]  # fmt: skip


def test_a_service_is_restarted_for_ever_but_for_bad_settings() -> None:
    text = Units().service()
    assert "StartLimitIntervalSec=0\n" in text and "Restart=always\n" in text and "RestartPreventExitStatus=2\n" in text


@pytest.mark.parametrize("words", [["--name", "a b"], ["--socket", "http"], ["--socket", "x=99999"], ["--credential", "w=rel"]])
def test_usage_errors(words: list[str]) -> None:
    result = CliRunner().invoke(command, [*words, "--print"])
    assert result.exit_code == 2 and words[0] in result.output


def test_printing_writes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--print", "--root", str(tmp_path)])
    assert "# /etc/systemd/system/fastgw.service\n" in result.output and list(tmp_path.iterdir()) == []
