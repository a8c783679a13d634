"""The trial: a real systemd as process 1 of namespaces of its own, fastgw installed in it as users do, and every promise tried.

    python tests/systemd/run.py [arguments of pytest]      (make systemd-trial)

Needs root, Linux with overlay file systems, and systemd 250 or later installed; the machine itself need not be run by it. All that
is written goes to memory, the network is a loopback of its own, and the kernel ends every process of it when this one ends. What it
looks at stands in ``trial_*.py`` beside this file, which pytest runs inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
SYSTEMD = Path("/lib/systemd/systemd")
GROUPS = Path("/sys/fs/cgroup")
BOOT_S = 60.0
PR_SET_PDEATHSIG = 1


class CannotRun(Exception):
    """What this machine lacks."""


def check() -> None:
    """Raises CannotRun."""
    if os.geteuid() != 0:
        raise CannotRun("wanted root: it makes namespaces, mounts and control groups")
    if not SYSTEMD.exists():
        raise CannotRun(f"{SYSTEMD} is not there: apt-get install systemd")
    for program in ("unshare", "nsenter", "mount", "pivot_root", "ip"):
        if shutil.which(program) is None:
            raise CannotRun(f"{program} is not there: apt-get install util-linux mount iproute2")
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        raise CannotRun("the kernel has no overlay file system (modprobe overlay)")
    if not hierarchies():
        raise CannotRun(f"no control groups are mounted below {GROUPS}, or they cannot be written")
    unshared = subprocess.run(
        ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "true"], capture_output=True, check=False
    )
    if unshared.returncode:
        raise CannotRun(f"no namespaces: {unshared.stderr.decode().strip()}")


def hierarchies() -> list[Path]:
    """Where control groups are mounted, and can be made."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2") and os.access(f"{where}/cgroup.procs", os.W_OK):
            found.append(Path(where))
    return found


@contextlib.contextmanager
def control_groups(name: str) -> Iterator[list[Path]]:
    """One of this name in every hierarchy, beside everybody else's; gone afterwards with all that was made below."""
    groups = [where / name for where in hierarchies()]
    for group in groups:
        group.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):  # a new one of version 1 has no processors
            if (group / file).exists() and not (group / file).read_text().strip():
                (group / file).write_text((group.parent / file).read_text())
    try:
        yield groups
    finally:
        for group in groups:
            remove(group)


def remove(group: Path) -> None:
    """With what is below. Its processes have been killed; the kernel may need a moment."""
    for folder, _, _ in os.walk(group, topdown=False):
        for _ in range(100):
            try:
                os.rmdir(folder)
                break
            except OSError:
                time.sleep(0.05)


@contextlib.contextmanager
def machine() -> Iterator[int]:
    """The process id of its systemd, seen from here."""
    name = f"fastgw-trial-{os.getpid()}"
    libc = ctypes.CDLL(None)

    def enter() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    with tempfile.TemporaryDirectory(prefix="fastgw-trial-") as base, control_groups(name) as groups:
        home = subprocess.run(
            [TREE / ".venv/bin/python", "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, check=True
        ).stdout.strip()
        log = Path(base) / "console"
        root = Path(base) / "machine"
        root.mkdir()
        words = ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--propagation", "private"]
        words += ["--kill-child", "bash", str(HERE / "init.sh"), str(TREE), home, str(root)]
        with log.open("wb") as console:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=enter, start_new_session=True
            )
        try:
            first = wait_booted(process, log)
            yield first
        finally:
            process.kill()  # and with it process 1, and with that all others
            process.wait()


def wait_booted(process: subprocess.Popen[bytes], log: Path) -> int:
    """Raises CannotRun with what was said when it does not come up."""
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            state = inside(int(children[0]), ["systemctl", "is-system-running"], capture_output=True, text=True)
            if state.stdout.strip() in ("running", "degraded"):
                return int(children[0])
        time.sleep(0.1)
    raise CannotRun(f"systemd did not come up:\n{log.read_text(errors='replace')[-4000:]}")


def inside(first: int, words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in the machine."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
    enter = ["nsenter", f"--target={first}", "--all", "env", "--chdir=/opt/fastgw"]
    return subprocess.run([*enter, *words], env=environment, check=False, **options)  # type: ignore[call-overload,no-any-return]


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        check()
        with machine() as first:
            if arguments[:1] == ["--shell"]:
                return inside(first, arguments[1:] or ["bash"]).returncode
            inside(first, ["ip", "link", "set", "lo", "up"])
            words = ["/opt/fastgw/.venv/bin/python", "-m", "pytest", "-v", "--rootdir=/opt/fastgw", "-o", "python_files=trial_*.py"]
            return inside(first, [*words, "-p", "no:cacheprovider", "/opt/fastgw/tests/systemd", *arguments]).returncode
    except CannotRun as error:
        print(f"the trial cannot run here: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
