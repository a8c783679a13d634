"""``fastgw version``: what is installed and what it was built with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version

import click

import fastgw

_PACKAGES = ("msgspec", "click", "aiohttp", "prometheus-client", "cryptography", "pycares")


@click.command(name="version")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
def command(output: str) -> None:
    """Print the version, the build and the libraries linked."""
    facts = {
        "version": fastgw.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libraries": _libraries(),
    }
    if output == "json":
        from fastgw.cli.output import print_json

        print_json(facts)
        return
    click.echo(f"fastgw {facts['version']} (Python {facts['python']}, {facts['platform']})")
    for name, number in _libraries().items():
        click.echo(f"  {name} {number}")


def _libraries() -> dict[str, str]:
    """The C libraries that are linked, then the Python packages that do work while serving."""
    from fastgw.sources.yamldoc import library_version

    found = {"libyaml": library_version()}
    for package in _PACKAGES:
        try:
            found[package] = package_version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
