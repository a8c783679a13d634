"""``fastgw explain``: which listener, virtual host, rule and destination a request takes, and why other rules do not match."""

from __future__ import annotations

import sys

import click

from fastgw.cli.config_view import admin_option, view_files, view_running
from fastgw.cli.live_view import live_clusters, live_destinations
from fastgw.cli.options import color_option, gateway_options, wants_color
from fastgw.image.asked import Asked, ask

EXIT_NO_MATCH = 3


@click.command(name="explain")
@click.argument("words", metavar="PATH... METHOD URL", nargs=-1, required=True)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request (repeatable).")
@click.option("--sni", metavar="NAME", help="The server name of the TLS handshake.")
@click.option("--port", type=click.IntRange(1, 65535), help="The Gateway's port number (default: by the URL).")
@click.option("--listener", metavar="NAME", help="A listener by its name or address, such as a Unix socket (default: by the port).")
@click.option("--source-ip", metavar="ADDRESS", help="The address of the client.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
@admin_option
@gateway_options
@color_option
def command(
    words: tuple[str, ...],
    headers: tuple[str, ...],
    sni: str | None,
    port: int | None,
    listener: str | None,
    source_ip: str | None,
    output: str,
    admin: str | None,
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    secrets: tuple[str, ...],
    color: str,
) -> None:
    """Say which rule and destination a request takes with the configuration in PATH... (or of the gateway at --admin).

    Exits 0 when a rule matched, 3 when nothing did (the answer would be a 404), 2 for a usage error.
    """
    from fastgw.image.decide import NOTHING, Decider

    connection = {"sni": sni or "", "source_ip": source_ip or "", "listener": listener or ""}
    paths, asked = _split_words(words, headers, connection, admin)
    view = view_running(admin, with_image=True) if admin else view_files(paths, labels, namespace, resolve)
    answer = Decider(view.plan, view.image_bytes()).decide(asked, port or 0)
    if admin:
        live_destinations(answer, live_clusters(admin))
    if output == "json":
        from fastgw.cli.output import print_json

        print_json(answer)
    else:
        view.print_errors()
        from fastgw.cli.explain_text import as_text

        click.echo(as_text(answer, asked.method, asked.url, wants_color(color)))
    sys.exit(EXIT_NO_MATCH if answer["action"] in NOTHING else 0)


def _split_words(
    words: tuple[str, ...], headers: tuple[str, ...], connection: dict[str, str], admin: str | None
) -> tuple[list[str], Asked]:
    if len(words) < (2 if admin else 3):
        raise click.UsageError("METHOD and URL are needed" if admin else "at least one PATH, METHOD and URL are needed")
    *paths, method, url = words
    if admin and paths:
        raise click.UsageError("either PATH... or --admin, not both")
    pairs = [_header(text) for text in headers]
    try:
        return paths, ask(method, url, pairs, **connection)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"\"{text}\" is not of the form 'name: value'")
    return name.strip().lower(), value.strip()
