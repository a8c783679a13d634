"""h2spec, the conformance test of HTTP/2, where it is installed: ``go install github.com/summerwind/h2spec/cmd/h2spec@latest``."""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgw" / "bin"
"""Where ``./bootstrap.sh test`` builds it."""


@dataclass(frozen=True)
class Verdict:
    """One of h2spec's cases. ``problem``: "" when it passed, else what was seen; ``skipped`` is a case that could not be asked."""

    section: str
    what: str
    problem: str
    skipped: bool

    @property
    def name(self) -> str:
        return f"{self.section} {self.what}"


def find_h2spec() -> str | None:
    return shutil.which("h2spec") or shutil.which("h2spec", path=CACHE)


def run_h2spec(program: str, port: int, directory: Path, *, tls: bool) -> list[Verdict]:
    """All its cases against 127.0.0.1, with five seconds for an answer that does not come."""
    report = directory / "h2spec.xml"
    words = [program, "--strict", "--host", "127.0.0.1", "--port", str(port), "--timeout", "15", "--junit-report", str(report)]
    done = subprocess.run([*words, *(["--tls", "--insecure"] if tls else [])], capture_output=True, text=True, timeout=400)
    assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    return [verdict_of(case) for case in ElementTree.parse(report).iter("testcase")]


def verdict_of(case: ElementTree.Element) -> Verdict:
    wrong = [part for part in case if part.tag in ("failure", "error")]
    problem = " ".join((part.text or part.get("message") or part.tag).strip() for part in wrong)
    skipped = case.find("skipped") is not None
    return Verdict(case.get("package", ""), case.get("classname", ""), problem, skipped)
