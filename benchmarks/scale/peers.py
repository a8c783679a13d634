"""The same 10,000 prefix rules on one host in fastgw, nginx and Envoy: processor time a request for the first and the last.

nginx gets them as locations, Envoy as routes of a static virtual host, each as its users would write them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import procfs
import proxies
import worlds

ROOT = Path(__file__).resolve().parents[2]
FIRST = proxies.PATH


def prefixes(count: int) -> list[str]:
    """The benchmark's own path first, so that readiness is asked of the first rule."""
    return ["/api/", *(f"/team-{i % 97}/service-{i}/" for i in range(1, count))]


def last_path(count: int) -> str:
    return prefixes(count)[-1] + "orders"


def nginx_text(count: int, directory: Path, port: int, origin_port: int) -> str:
    """The macro benchmark's configuration with its one location repeated."""
    text = Path(proxies.fill_template("nginx.conf.in", directory, {"PORT": port, "ORIGIN": origin_port})).read_text()
    head, _, rest = text.partition("        location /api/ {")
    body, _, tail = rest.partition("        }\n")
    locations = "".join(f"        location {prefix} {{{body}        }}\n" for prefix in prefixes(count))
    return head + locations + tail


def envoy_text(count: int, directory: Path, port: int, origin_port: int) -> str:
    text = Path(proxies.fill_template("envoy.yaml.in", directory, {"PORT": port, "ORIGIN": origin_port})).read_text()
    one = "                        - match: {prefix: /api/}\n                          route: {cluster: webapp}\n"
    return text.replace(one, "".join(one.replace("/api/", prefix) for prefix in prefixes(count)))


def start_nginx(bench: proxies.Bench, count: int) -> proxies.Server:
    port, program = proxies.free_port(), proxies.find_program("nginx")
    config = bench.directory / "nginx-many.conf"
    config.write_text(nginx_text(count, bench.directory, port, bench.origin_port))
    return bench.start("nginx", port, [program, "-c", str(config)], bench.proxy_core, [program, "-v"])


def start_envoy(bench: proxies.Bench, count: int) -> proxies.Server:
    port, program = proxies.free_port(), proxies.find_program("envoy")
    config = bench.directory / "envoy-many.yaml"
    config.write_text(envoy_text(count, bench.directory, port, bench.origin_port))
    command = [program, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return bench.start("envoy", port, command, bench.proxy_core, [program, "--version"])


def start_fastgw(bench: proxies.Bench, count: int) -> proxies.Server:
    port = proxies.free_port()
    folder = bench.directory / "many"
    folder.mkdir()
    rules = [{"match": [{"uri": {"prefix": prefix}}], "route": [worlds.to(0)]} for prefix in prefixes(count)]
    many = worlds.resource("VirtualService", "many", worlds.http_of(proxies.HOST, rules))
    (folder / "many.json").write_text(worlds.as_text([*worlds.base(bench.origin_port), many], "json"))
    command = [sys.executable, "-m", "fastgw.cli.main", "run", str(folder), "--workers", "1", "--bind", "127.0.0.1"]
    command += ["--listen-map", f"80={port}", "--admin", f"127.0.0.1:{proxies.free_port()}"]
    command += ["--status", f"127.0.0.1:{proxies.free_port()}"]
    server = bench.start("fastgw", port, command, bench.load_core)
    for pid in procfs.process_tree(server.process.pid):
        if b"fastgw.dataplane.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            proxies.pin_process(pid, bench.proxy_core)
    return server


STARTS: dict[str, Callable[[proxies.Bench, int], proxies.Server]] = {
    "fastgw": start_fastgw,
    "nginx": start_nginx,
    "envoy": start_envoy,
}


def cpu_us(server: proxies.Server, bench: proxies.Bench, path: str, seconds: float) -> tuple[float, float]:
    """(processor time a request in microseconds, requests/s). Raises RuntimeError when anything but a 2xx came back."""
    command = ["taskset", "-c", str(bench.load_core), proxies.find_program("wrk"), "-t1", "-c32", f"-d{seconds:g}s"]
    command += ["-s", str(proxies.PEERS / "summary.lua"), "-H", f"Host: {proxies.HOST}", f"http://127.0.0.1:{server.port}{path}"]
    before = server.cpu_time()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used_ns = (server.cpu_time() - before).total_ns
    summary = json.loads(next(line for line in output.splitlines() if line.startswith("SUMMARY")).removeprefix("SUMMARY "))
    if summary["non_2xx"] or summary["socket_errors"] or not summary["requests"]:
        raise RuntimeError(f"{server.name}: not every request was answered with 2xx: {summary}")
    return used_ns / 1e3 / summary["requests"], summary["requests"] / summary["duration_us"] * 1e6


def compare(directory: Path, cores: tuple[int, int], count: int, seconds: float, rounds: int = 3) -> list[dict[str, Any]]:
    """One row a proxy that is installed; the best of the rounds, which visit all proxies in turn."""
    bench = proxies.Bench(directory, *cores)
    rows: dict[str, dict[str, Any]] = {}
    try:
        proxies.start_origin(bench)
        servers = [server for name in STARTS if (server := _started(bench, name, count)) is not None]
        for _ in range(rounds):
            for server in servers:
                row = rows.setdefault(server.name, {"proxy": server.name, "version": server.version, "rules": count})
                for place, path in (("first", FIRST), ("last", last_path(count))):
                    us, per_s = cpu_us(server, bench, path, seconds)
                    row[f"{place}_us"] = min(round(us, 2), row.get(f"{place}_us", 1e9))
                    row[f"{place}_per_s"] = max(round(per_s), row.get(f"{place}_per_s", 0))
    finally:
        bench.stop()
    return list(rows.values())


def _started(bench: proxies.Bench, name: str, count: int) -> proxies.Server | None:
    try:
        return STARTS[name](bench, count)
    except (proxies.NotInstalled, RuntimeError) as reason:
        print(f"{name}: left out: {reason}", file=sys.stderr)
        return None
