"""The generated parts of README.md, between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``, so that they cannot grow old.

``python tools/readme_blocks.py`` writes them; tests/unit/test_docs.py compares.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks/macro")]
RESULTS = ROOT / "benchmarks/results"
FIGURES = RESULTS / "reference.json"


def codes() -> str:
    """Every diagnostic code, its usual severity and meaning."""
    from fastgw.model.codes import CODES

    lines = ["| code | severity | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| {code.code} | {code.severity} | {escaped(code.meaning)} |" for code in sorted(CODES.values(), key=lambda c: c.code)
    ]
    return "\n".join(lines)


def fields() -> str:
    """The supported-field table, as the types print it."""
    done = subprocess.run([sys.executable, "-m", "fastgw.model.reference"], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def bench() -> str:
    """The recorded benchmark run with its machine."""
    import report

    figures = json.loads(FIGURES.read_text())
    rows = [report.Row(**row) for row in figures["proxies"]]
    versions = {row.proxy: row.version for row in rows}
    return f"{report.as_table(rows, figures['fastgw_cpu_ratio'])}\n\n{where(figures['machine'], versions)}"


def where(machine: dict[str, str], versions: dict[str, str]) -> str:
    """The machine of a run and the versions of its proxies."""
    virtual = "a virtual machine, " if machine["virtual"] == "yes" else ""
    system = f"Linux {machine['kernel']}, {machine['system']}, Python {machine['python']}"
    named = "; ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"{machine['cpu']}, {virtual}{machine['cores']} cores, {system}.\nVersions: {named}."


def bench_tls() -> str:
    """The recorded run of ``make bench-tls``."""
    import run_tls

    return scenes_of("tls.json", run_tls.SCENES)


def bench_l4() -> str:
    """The recorded run of ``make bench-l4``."""
    import run_l4

    return scenes_of("l4.json", run_l4.SCENES)


def bench_h2() -> str:
    """The recorded run of ``make bench-h2``."""
    import run_h2

    return scenes_of("h2.json", run_h2.SCENES)


def bench_policy() -> str:
    """The recorded run of ``make bench-policy``."""
    import run_policy

    figures = json.loads((RESULTS / "policy.json").read_text())
    versions = {row["proxy"]: row["version"] for row in figures["proxies"] if "-" not in row["proxy"]}
    return f"{run_policy.as_table(figures)}\n\n{where(figures['machine'], versions)}"


def endurance() -> str:
    """The recorded runs of ``make drill`` and ``make soak``."""
    drill, soak = (json.loads((RESULTS / name).read_text()) for name in ("drill.json", "soak.json"))
    rows = [
        f"{drill['reloads']} reloads, {drill['rotations']} rotations, {drill['upgrades']} upgrades | {figure(drill['seconds'])} s",
        f"requests, failed | {figure(sum(drill['requests'].values()))}, {figure(drill['failed'])}",
        f"connections made by clients | {figure(sum(drill['connections'].values()))}",
        f"kept connections ended by reloads and rotations, by upgrades | 0, {figure(sum(drill['ended_by_upgrades'].values()))}",
        f"the soak, with {soak['reloads']} reloads | {figure(soak['seconds'])} s",
        f"requests, failed | {figure(sum(soak['requests'].values()))}, {figure(soak['failed'])}",
        f"connections made by clients | {figure(sum(soak['connections'].values()))}",
    ]
    before, after = soak["after_warm_up"], soak["at_the_end"]
    for name in sorted(before):
        kib, descriptors = (f"{figure(before[name][what])} / {figure(after[name][what])}" for what in ("rss_kib", "descriptors"))
        rows.append(f"{name}: resident KiB, descriptors, after the warm-up / at the end | {kib}, {descriptors}")
    return "\n".join(["| what | figure |", "| --- | --- |", *(f"| {row} |" for row in rows)])


def figure(value: float) -> str:
    return f"{value:,.0f}"


def scenes_of(name: str, kinds: list[Any]) -> str:
    import scenes

    figures = json.loads((RESULTS / name).read_text())
    rows = [scenes.Row(**row) for row in figures["rows"]]
    return f"{scenes.as_tables(kinds, rows)}\n\n{where(figures['machine'], figures['versions'])}"


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


BLOCKS: dict[str, Callable[[], str]] = {
    "codes": codes,
    "fields": fields,
    "bench": bench,
    "bench-tls": bench_tls,
    "bench-l4": bench_l4,
    "bench-h2": bench_h2,
    "bench-policy": bench_policy,
    "endurance": endurance,
}


def pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.S)


def current(name: str) -> str:
    """What stands in README.md now. Raises ValueError when the marks are missing."""
    found = pattern(name).search(README.read_text())
    if found is None:
        raise ValueError(f"README.md has no block {name}")
    return found.group(2).strip()


def update(name: str) -> None:
    text = BLOCKS[name]()
    README.write_text(pattern(name).sub(lambda found: f"{found.group(1)}{text}\n{found.group(3)}", README.read_text()))


if __name__ == "__main__":
    for block in sys.argv[1:] or BLOCKS:
        update(block)
