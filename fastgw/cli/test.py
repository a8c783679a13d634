"""``fastgw test``: the RouteTest documents beside a configuration, run without sockets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgw.cli.config_view import view_files
from fastgw.cli.options import color_option, gateway_options, paths_argument, wants_color

if TYPE_CHECKING:
    from fastgw.routetest.results import CaseResult, CoveredRule, Report


@click.command(name="test")
@paths_argument
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the results as JUnit XML, too."
)
@gateway_options
@color_option
def command(
    paths: tuple[str, ...],
    output: str,
    junit: Path | None,
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    secrets: tuple[str, ...],
    color: str,
) -> None:
    """Run the tests of the RouteTest documents in PATH... against the configuration in PATH...

    Exits 0 when all pass, 1 when one fails or cannot be read, 2 when there is nothing to run or for a usage error.
    """
    from fastgw.routetest.runner import run_tests

    view = view_files(list(paths), labels, namespace, resolve)
    view.print_errors()
    report = run_tests(view.resources, view.diagnostics, view.plan, view.image_bytes())
    if junit is not None:
        _write_junit(junit, report)
    if not report.results and not any(found.kind == "RouteTest" for found in report.broken):
        raise click.UsageError(f"no tests in {', '.join(paths)}: write a RouteTest (gateway.fastgw.io/v1)")
    if output == "json":
        from fastgw.cli.output import print_json

        print_json(report_entry(report))
    else:
        from fastgw.cli.routetest_text import as_text

        shown = wants_color(color)
        click.echo(as_text(report, shown), color=shown)
    sys.exit(0 if report.good else 1)


def _write_junit(path: Path, report: Report) -> None:
    from fastgw.routetest.junit import junit_xml

    try:
        path.write_bytes(junit_xml(report))
    except OSError as error:
        raise click.UsageError(f"--junit: {path} cannot be written: {error.strerror}") from error


def report_entry(report: Report) -> dict[str, Any]:
    """The JSON form; keys are stable."""
    return {
        "tests": [_result_entry(result) for result in report.results],
        "broken": [found.to_json() for found in report.broken],
        "summary": {"passed": report.passed, "failed": report.failed, "broken": report.unread},
        "coverage": {
            "rules": len(report.rules),
            "touched": len(report.rules) - len(report.untouched),
            "percent": report.percent,
            "untouched": [_rule_entry(rule) for rule in report.untouched],
        },
    }


def _result_entry(result: CaseResult) -> dict[str, Any]:
    return {
        "document": result.document,
        "name": result.name,
        "passed": result.passed,
        "method": result.method,
        "url": result.url,
        "differences": [{"field": each.field, "expected": each.expected, "actual": each.actual} for each in result.differences],
        "matched": result.answer["matched"],
        "action": result.answer["action"],
        "status": result.answer["status"],
        "destinations": result.answer["destinations"],
        "file": result.origin.file,
        "line": result.origin.line,
    }


def _rule_entry(rule: CoveredRule) -> dict[str, Any]:
    return {
        "virtualService": rule.virtual_service,
        "route": rule.route,
        "match": rule.match,
        "name": rule.name,
        "file": rule.origin.file,
        "line": rule.origin.line,
    }
