"""The command line that the benchmarks of whole proxies share: their options, and a folder that is gone afterwards."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def make_parser(description: str | None, names: Sequence[str], seconds: float) -> argparse.ArgumentParser:
    """The options that all have. ``names``: the proxies that can be measured; ``seconds``: the usual stretch of load."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=seconds, help="of load, for each proxy in each round")
    parser.add_argument("--only", nargs="+", choices=list(names), default=list(names))
    parser.add_argument("--fastgw", default="fastgw", help="the program, to compare builds")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def run_in_folder(run: Callable[[argparse.Namespace, Path], dict[str, Any]], options: argparse.Namespace) -> int:
    """Let ``run`` measure in a temporary folder and write the figures that it answers where ``--json`` says."""
    with tempfile.TemporaryDirectory(prefix="fastgw-bench-") as directory:
        # daemons that drop root must reach their files
        os.chmod(directory, 0o755)
        figures = run(options, Path(directory))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0
