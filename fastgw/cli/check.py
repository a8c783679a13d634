"""``fastgw check``: everything that can be said about a configuration without serving it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from fastgw.cli.options import color_option, gateway_options, paths_argument, wants_color
from fastgw.model.diagnostic import ERROR, INFO, SEVERITIES, WARNING, Diagnostic


@click.command(name="check")
@paths_argument
@click.option("-o", "--output", type=click.Choice(["text", "json", "github"]), default="text", help="Form of the output.")
@click.option(
    "--fail-on",
    type=click.Choice([ERROR, WARNING, INFO]),
    default=ERROR,
    show_default=True,
    help="The least severity that makes the exit code 1.",
)
@gateway_options
@color_option
def command(
    paths: tuple[str, ...],
    output: str,
    fail_on: str,
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    secrets: tuple[str, ...],
    color: str,
) -> None:
    """Validate and analyse the resources in PATH... without serving them.

    Exits 0 when nothing is at or above --fail-on, else 1; 2 for a usage error.
    """
    from fastgw.analysis.examine import ExamineOptions, examine_paths

    options = ExamineOptions(
        labels=labels,
        namespace=namespace,
        resolve={host: (address, port) for host, address, port in resolve},
        secret_directories=list(secrets),
    )
    examined = examine_paths(list(paths), options)
    _print(examined.diagnostics, output, wants_color(color))
    if output == "text":
        click.echo(_summary(examined.diagnostics, len(examined.resources), len(examined.files)), err=True)
    sys.exit(1 if fails(examined.diagnostics, fail_on) else 0)


def fails(diagnostics: Iterable[Diagnostic], fail_on: str) -> bool:
    """Whether any finding is at or above ``fail_on``."""
    least = SEVERITIES.index(fail_on)
    return any(SEVERITIES.index(found.severity) >= least for found in diagnostics)


def _print(diagnostics: list[Diagnostic], output: str, color: bool) -> None:
    from fastgw.cli.output import SourceLines, diagnostic_text, diagnostics_as_json, github_annotation, print_json

    if output == "json":
        print_json(diagnostics_as_json(diagnostics))
        return
    source = SourceLines() if sys.stdout.isatty() else None
    for found in diagnostics:
        # click would strip colours that were asked for when the output is no terminal
        text = github_annotation(found) if output == "github" else diagnostic_text(found, color=color, source=source)
        click.echo(text, color=color)


def _summary(diagnostics: list[Diagnostic], resources: int, files: int) -> str:
    counts = [(severity, sum(found.severity == severity for found in diagnostics)) for severity in (ERROR, WARNING, INFO)]
    found = ", ".join(_plural(count, severity) for severity, count in counts if count and severity != INFO)
    notes = next(count for severity, count in counts if severity == INFO)
    return f"{_plural(resources, 'resource')} in {_plural(files, 'file')}: {found or 'no problem found'}" + (
        f", {_plural(notes, 'note')}" if notes else ""
    )


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
