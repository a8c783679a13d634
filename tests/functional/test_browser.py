"""A browser: headless Chromium loads a page with a hundred resources over HTTP/2, and says itself by which protocol they came."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from .conftest import StartTls
from .support.certificates import Authority, mount
from .support.config import gateway_of, https_server
from .support.origin import RecordingOrigin, Reply, Seen, ok
from .support.tls_world import PLAIN, upstreams

RESOURCES = 100
IMAGES = "\n".join(f'<img src="/image/{number}.svg">' for number in range(RESOURCES))
SCRIPT = """
addEventListener("load", () => {
  const protocols = {};
  for (const entry of performance.getEntriesByType("resource"))
    protocols[entry.nextHopProtocol] = (protocols[entry.nextHopProtocol] || 0) + 1;
  const images = [...document.images].filter((image) => image.complete && image.naturalWidth > 0).length;
  document.getElementById("said").textContent = JSON.stringify({protocols, images});
});
"""
PAGE = f'<!doctype html><title>page</title><pre id="said"></pre>{IMAGES}<script>{SCRIPT}</script>'
IMAGE = b'<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"><rect width="2" height="2"/></svg>'


def answer(seen: Seen) -> Reply:
    if seen.message.target.startswith("/image/"):
        return Reply(ok(IMAGE, "Content-Type: image/svg+xml"))
    return Reply(ok(PAGE.encode(), "Content-Type: text/html"))


def test_a_page_with_a_hundred_resources(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program is not None, "chromium is not installed; ./bootstrap.sh test installs it"
    origin.answer = answer
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", authority.issue(PLAIN)))
    done = subprocess.run(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--ignore-certificate-errors",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--host-resolver-rules=MAP {PLAIN} 127.0.0.1",
            "--virtual-time-budget=20000",
            "--dump-dom",
            f"https://{PLAIN}:{world.port}/",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = re.search(r'<pre id="said">(\{.*?\})</pre>', done.stdout)
    assert said is not None, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads(said.group(1)) == {"protocols": {"h2": RESOURCES}, "images": RESOURCES}
    asked = [seen.message.target for seen in origin.seen if seen.message.target.startswith("/image/")]
    assert len(asked) == len(set(asked)) == RESOURCES
