"""``fastgw run``: options become settings, usage errors exit with 2 before anything is opened."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from fastgw.cli import run
from fastgw.supervisor.settings import Settings


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(run.command, list(arguments))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    seen: list[Settings] = []

    async def serve(settings: Settings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(run, "serve", serve)
    return seen


def test_options_become_settings(served: list[Settings]) -> None:
    result = invoke(
        *[
            "a",
            "b",
            "--workers",
            "2",
            "--labels",
            "x=y,z=w",
            "--namespace",
            "ns",
            "--bind",
            "127.0.0.1",
            "--bind",
            "::1",
            "--listen-map",
            "80=8080",
            "--listen-map",
            "443=8443",
            "--proxy-protocol",
            "80",
            "--proxy-protocol",
            "443",
            "--trusted-proxies",
            "10.0.0.0/8, ::1",
            "--trusted-proxies",
            "192.0.2.1",
        ],
        *[
            "--admin",
            "unix:/tmp/s",
            "--status",
            "off",
            "--resolve",
            "W=10.0.0.1:81",
            "--resolve",
            "v=::1",
            "--access-log",
            "-",
            "--access-log-format",
            "json",
        ],
        *[
            "--drain-time",
            "3.5",
            "--server-header",
            "edge",
            "--http10",
            "--lenient",
            "fragment",
            "--lenient",
            "lf-in-head",
            "--head-timeout",
            "2",
            "--fields",
            "50",
        ],
    )
    assert result.exit_code == 0, result.output
    expected = Settings(
        paths=["a", "b"], workers=2, labels={"x": "y", "z": "w"}, namespace="ns", bind=["127.0.0.1", "::1"],
        listen_map={80: 8080, 443: 8443}, proxy_protocol=[80, 443],
        trusted_proxies=["10.0.0.0/8", "::1", "192.0.2.1"],
        admin="unix:/tmp/s", status="off", resolve={"w": "10.0.0.1:81", "v": "::1"},
        access_log="-", access_log_format="json", drain_time=3.5, server_header="edge", http10=True,
        lenient=["fragment", "lf-in-head"], head_timeout=2.0, fields=50,
    )  # fmt: skip
    assert served == [expected]


def test_without_options_there_are_the_defaults(served: list[Settings]) -> None:
    assert invoke("x").exit_code == 0
    assert served == [Settings(paths=["x"])]


def test_every_setting_has_an_option() -> None:
    options = {parameter.name for parameter in run.command.params}
    assert options - {"config"} == set(msgspec.structs.asdict(Settings()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no PATH given"),
        (["x", "--admin", "0.0.0.0:1"], "--admin-insecure"),
        (["x", "--labels", "nope"], "--labels"),
        (["x", "--listen-map", "80"], "--listen-map"),
        (["x", "--resolve", "web"], "--resolve"),
        (["x", "--lenient", "all"], "lf-in-head"),
        (["x", "--no-such-option"], "no-such-option"),
        (["x", "--config", "/no/such/file"], "/no/such/file"),
        (["x", "--access-log", "-", "--access-log-format", "%NOPE%"], "%NOPE%"),
    ],
)
def test_usage_errors(arguments: list[str], said: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2 and said in result.output


def test_help_names_every_option_once() -> None:
    text = invoke("--help").output
    names: Any = [option for parameter in run.command.params for option in parameter.opts if option.startswith("--")]
    assert all(name in text for name in names) and len(names) == len(set(names))


def test_the_state_directory_is_the_service_managers(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/fastgw:/var/lib/other")
    assert invoke("x").exit_code == 0 and invoke("x", "--state-dir", "/srv/mine").exit_code == 0
    assert [settings.state_dir for settings in served] == ["/var/lib/fastgw", "/srv/mine"]
