"""The manual page fastgw(1), made from the commands themselves: ``python tools/man_page.py PATH`` writes it, bootstrap.sh does.

It is not kept: whoever adds an option has it in the page, and the words for defaults depend on click's version.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

ABOUT = """\
fastgw serves Istio's gateway API (Gateway, VirtualService, DestinationRule, ServiceEntry, Secret) on a Linux machine without a
cluster. A supervisor owns the listening sockets and the configuration; worker processes carry the traffic. Changes of files take
effect by themselves.
"""
SIGNALS = (
    ("SIGHUP", "Read the files again now, ticket keys too."),
    ("SIGTERM, SIGINT", "Not ready any more, drain, exit 0. A second one ends at once."),
    ("SIGUSR1", "Open log files again."),
    ("SIGUSR2", "Upgrade to the program on disk without losing a connection; also the way to new values of options in a file."),
)
EXITS = (
    ("0", "Drained; or the command found nothing to complain of."),
    ("1", "Nothing could be served at the start; or findings, a refusal, a gateway that does not answer."),
    ("2", "Usage."),
    ("3", "explain: no rule matched."),
)
VARIABLES = (
    ("NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS, LISTEN_FDNAMES", "systemd's protocols; see systemd.service(5), systemd.socket(5)."),
    ("CREDENTIALS_DIRECTORY", "Certificates by LoadCredential=NAME:DIRECTORY, and ticket-keys."),
    ("STATE_DIRECTORY", "Where --state-dir is when it is not given."),
    ("JOURNAL_STREAM", "Log lines go to the journal with fields when standard error is that stream."),
)
FILES = (
    ("/etc/fastgw/fastgw.yaml", "Settings, in the units that install-service writes."),
    ("/etc/fastgw/resources/", "Gateways, VirtualServices and the rest."),
    ("/var/lib/fastgw/", "The configurations that were served."),
)


def page() -> str:
    from fastgw import __version__
    from fastgw.cli.main import COMMANDS, group

    lines = [f'.TH FASTGW 1 "" "fastgw {__version__}" "User Commands"', ".SH NAME"]
    lines += ["fastgw \\- an edge gateway that serves Istio's Gateway and VirtualService resources", ".SH SYNOPSIS"]
    lines += [".B fastgw", ".I COMMAND", "[\\fIOPTIONS\\fR] ..."]
    lines += [".SH DESCRIPTION", *paragraph(ABOUT), ".SH COMMANDS"]
    root = click.Context(group, info_name="fastgw")
    for name in COMMANDS:
        command = group.get_command(root, name)
        assert command is not None
        lines += section(command, f"fastgw {name}", root)
    for title, entries in (("SIGNALS", SIGNALS), ("EXIT STATUS", EXITS), ("ENVIRONMENT", VARIABLES), ("FILES", FILES)):
        lines.append(f".SH {title}")
        lines += [line for term, text in entries for line in item(bold(term), text)]
    return "\n".join(lines) + "\n"


def section(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    """A command, its options, and its sub-commands after it."""
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    usage = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f".SS {escape(name)} " + " ".join(["[\\fIOPTIONS\\fR]", *(f"\\fI{escape(piece)}\\fR" for piece in usage)])
    yield from paragraph(command.help or "")
    for parameter in command.params:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield from item(bold(record[0]), record[1])
    if isinstance(command, click.Group) and name != "fastgw":
        for sub in sorted(command.commands):
            yield from section(command.commands[sub], f"{name} {sub}", context)


def paragraph(text: str) -> Iterator[str]:
    for part in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        yield escape(" ".join(part.split()))


def item(term: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield term
    yield escape(" ".join(text.split()))


def bold(text: str) -> str:
    return f"\\fB{escape(text)}\\fR"


def escape(text: str) -> str:
    """roff has a meaning for backslashes, and for dots and quotes at the beginning of a line; a hyphen is to stay one."""
    found = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{found}" if found.startswith((".", "'")) else found


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page())
