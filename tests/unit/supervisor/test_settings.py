"""Settings of ``fastgw run``: file and options merged, every wrong value named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from fastgw.model.worker_protocol import Limits
from fastgw.native._native import lib
from fastgw.supervisor.settings import (
    Settings,
    SettingsError,
    check,
    load,
    parse_labels,
    parse_listen_map,
    parse_resolve,
    parse_size,
    split_resolve,
)

ROOT = Path(__file__).resolve().parents[3]


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "fastgw.yaml"
    path.write_text(text)
    return str(path)


def test_the_shipped_file_documents_every_setting_with_its_default() -> None:
    documented = yaml.safe_load((ROOT / "config/fastgw.yaml").read_text())
    paths = documented.pop("paths")
    assert documented == {k: v for k, v in msgspec.to_builtins(Settings(), str_keys=True).items() if k != "paths"}
    assert load(str(ROOT / "config/fastgw.yaml"), {}) == Settings(paths=paths)


def test_defaults_are_those_of_the_worker_protocol() -> None:
    assert Settings().limits() == Limits()


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "paths: [a]\nworkers: 3\nlisten-map: {80: 8080}\ndrain-time: 5\n")
    settings = load(file, {"workers": 2, "access_log": "-"})
    assert (settings.paths, settings.workers, settings.listen_map) == (["a"], 2, {80: 8080})
    assert (settings.drain_time, settings.access_log, settings.worker_count()) == (5.0, "-", 2)


def test_an_empty_file_leaves_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "# nothing\n"), {"paths": ["x"]}) == Settings(paths=["x"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("paths: [a]\nworker: 3\n", "worker"),
        ("paths: [a]\nworkers: many\n", "workers"),
        ("paths: [a\n", "not YAML"),
        ("- a\n", "name: value"),
        ("paths: [a]\n---\nworkers: 2\n", "one YAML document"),
        ("apiVersion: v1\nkind: Secret\n---\napiVersion: v1\nkind: Secret\n", "give it as PATH, without --config"),
        ("paths: [a]\nlisten-map: {x: 80}\n", "listen-map"),
    ],
)
def test_a_wrong_file_is_named_with_the_setting(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert said in str(caught.value) and file in str(caught.value)


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(SettingsError, match=r"^/no/such: No such file or directory$"):
        load("/no/such", {})


def test_an_address_to_listen_on_may_name_its_interface() -> None:
    check(Settings(paths=["x"], bind=["fe80::1%eth0"]))


def test_dns_servers_have_a_port() -> None:
    assert Settings().name_servers() is None
    servers = ["10.0.0.1", "10.0.0.2:5353", "fd00::1", "[fd00::2]:54"]
    assert Settings(resolver=servers).name_servers() == ["10.0.0.1:53", "10.0.0.2:5353", "[fd00::1]:53", "[fd00::2]:54"]


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"paths": []}, "PATH"),
        ({"workers": 65}, "--workers"),
        ({"namespace": ""}, "--namespace"),
        ({"bind": ["example.com"]}, "--bind"),
        ({"listen_map": {80: 65536}}, "--listen-map"),
        ({"listen_map": {0: 80}}, "--listen-map"),
        ({"max_connections_per_source": -1}, "--max-connections-per-source"),
        ({"proxy_protocol": [80, 65536]}, "--proxy-protocol 65536"),
        ({"trusted_proxies": ["10.0.0.0/33"]}, "--trusted-proxies 10.0.0.0/33"),
        ({"trusted_proxies": ["::/0"]}, "everybody is no proxy"),
        ({"trusted_proxies": ["10.0.0.1"] * 2_001}, "more than 2000"),
        ({"resolve": {"webapp": "other"}}, "--resolve"),
        ({"resolve": {"webapp": "1.2.3.4:99999"}}, "--resolve"),
        ({"resolve": {"": "1.2.3.4"}}, "--resolve"),
        ({"resolve": {"webapp": "fe80::1%eth0"}}, "--resolve"),
        ({"resolver": ["ns.test"]}, "--resolver"),
        ({"resolver": ["10.0.0.1:0"]}, "--resolver"),
        ({"status": "15021"}, "--status"),
        ({"admin": "0.0.0.0:15000"}, "--admin-insecure"),
        ({"admin": "[::]:15000"}, "--admin-insecure"),
        ({"admin": "unix:"}, "--admin"),
        ({"lenient": ["everything"]}, "--lenient"),
        ({"underscores": "maybe"}, "--underscores"),
        ({"path_normalization": "all"}, "--path-normalization"),
        ({"server_header": "a\r\nb"}, "--server-header"),
        ({"server_header": ""}, "--server-header"),
        ({"head_timeout": -1.0}, "--head-timeout"),
        ({"drain_time": float("nan")}, "--drain-time"),
        ({"connect_attempts": 0}, "--connect-attempts"),
        ({"fields": 100_000}, "--fields"),
        ({"misdirected": 400}, "--misdirected"),
        ({"ticket_rotation": 0}, "--ticket-rotation"),
        ({"handshake_timeout": -1.0}, "--handshake-timeout"),
        ({"memory_limit": "much"}, "--memory-limit"),
        ({"memory_limit": "0"}, "--memory-limit"),
        ({"shed_target": -1}, "--shed-target"),
        ({"spare_path": ["healthz"]}, "--spare-path"),
        ({"spare_path": ["/a?b"]}, "--spare-path"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_option(values: dict[str, object], option: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check(Settings(**{"paths": ["x"], **values}))  # type: ignore[arg-type]
    assert option in str(caught.value)


@pytest.mark.parametrize("admin", ["127.0.0.1:15000", "[::1]:0", "localhost:15000", "unix:/run/fastgw.sock", "off"])
def test_the_admin_address_may_be_local(admin: str) -> None:
    check(Settings(paths=["x"], admin=admin))


def test_the_admin_address_may_be_open_when_asked_for() -> None:
    check(Settings(paths=["x"], admin="0.0.0.0:15000", admin_insecure=True))


def test_limits_carry_units_and_flags() -> None:
    limits = Settings(
        head_timeout=0.0004,
        idle_timeout=1.5,
        request_timeout=0,
        lenient=["fragment", "lf-in-head", "fragment"],
        path_normalization="merge-slashes",
    ).limits()
    assert (limits.head_timeout_ms, limits.idle_timeout_ms, limits.request_timeout_ms) == (1, 1500, 0)
    assert limits.leniency == lib.FGW_LENIENT_FRAGMENT | lib.FGW_LENIENT_LF_IN_HEAD
    assert limits.path_normalization == lib.FGW_PATH_MERGE_SLASHES


def test_words_of_the_command_line() -> None:
    assert parse_labels("istio=ingressgateway, app.kubernetes.io/name=x") == {
        "istio": "ingressgateway",
        "app.kubernetes.io/name": "x",
    }
    assert parse_listen_map("80=8080") == (80, 8080)
    assert parse_resolve("WebApp.=10.0.0.1:80") == ("webapp", "10.0.0.1:80")
    for wrong in ("istio", "=x", "a b=c"):
        with pytest.raises(SettingsError):
            parse_labels(wrong)
    for wrong in ("80", "80=", "80=x", "80:8080"):
        with pytest.raises(SettingsError):
            parse_listen_map(wrong)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", None)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("::1", ("::1", None)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", None)),
    ],
)
def test_fixed_answers(value: str, expected: tuple[str, int | None]) -> None:
    check(Settings(paths=["x"], resolve={"a": value}))
    assert split_resolve(value) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("1048576", 1 << 20), ("512M", 512 << 20), ("2g", 2 << 30), ("1.5GiB", 3 << 29), ("64KB", 64 << 10), ("1T", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size("--memory-limit", text) == size
