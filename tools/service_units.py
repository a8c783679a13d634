"""config/systemd/ as ``fastgw install-service`` would write it. ``python tools/service_units.py`` writes it; a test compares."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "config/systemd"
sys.path.insert(0, str(ROOT))


def files() -> dict[str, str]:
    """Name in the folder -> text."""
    from fastgw.cli.service_units import Socket, Units

    units = Units()
    return {
        "fastgw.service": units.service(),
        "fastgw-http.socket": units.socket(Socket("http", 80)),
        "fastgw-https.socket": units.socket(Socket("https", 443)),
        "fastgw.sysusers": units.sysusers(),
        "fastgw.tmpfiles": units.tmpfiles(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
