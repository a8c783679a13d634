"""The ``fastgw`` command: finds the file of a sub-command and runs it. Sub-commands are imported only when they are used."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS = {
    "run": "Serve the resources found in files and directories.",
    "check": "Validate and analyse files and directories without serving them.",
    "explain": "Say which rule and destination a request takes, and why the others do not match.",
    "proxy-config": "Show listeners, routes, clusters, endpoints and secrets.",
    "test": "Run the route tests (kind RouteTest) found beside the configuration.",
    "diff": "Say what changes for traffic between two configurations.",
    "config": "What a running gateway has served: history, show, rollback.",
    "apply": "Have a running gateway serve given files, by a few workers first when wanted.",
    "drain": "Begin to end a running gateway, or say how far it is.",
    "install-service": "Write the systemd units of a gateway.",
    "certs": "Make a CA and certificates for development.",
    "echo": "A small upstream that answers with what it saw.",
    "version": "Print the version, the build and the libraries linked.",
}
"""Name -> one line of help; each is ``command`` in fastgw/cli/<name>.py."""


class LazyGroup(click.Group):
    """A group whose commands are modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fastgw.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        from fastgw.model.nearest import did_you_mean

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f'no such command "{args[0]}"{did_you_mean(args[0], COMMANDS)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def group() -> None:
    """fastgw: an edge gateway that serves Istio's Gateway and VirtualService resources without a cluster."""


def main(args: list[str] | None = None, **extra: Any) -> Any:
    """Entry point of the console script. Exits 2 for a usage error."""
    return group.main(args=args, prog_name="fastgw", **extra)


if __name__ == "__main__":
    main()
