"""``fastgw certs dev``: a CA for development and certificates of it, ready for ``run --secrets``."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_DIRECTORY = "dev-certs"


@click.group(name="certs")
def command() -> None:
    """Certificates for development."""


@command.command(name="dev")
@click.argument("directory", metavar="[DIR]", default=DEFAULT_DIRECTORY, type=click.Path(file_okay=False, path_type=Path))
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A name or address the certificate is for (repeatable).")
@click.option("--credential", metavar="NAME", help="The credentialName it is found by [default: the first host].")
@click.option("--client", "clients", multiple=True, metavar="NAME", help="Also a certificate for a client (repeatable).")
def dev(directory: Path, hosts: tuple[str, ...], credential: str | None, clients: tuple[str, ...]) -> None:
    """Make a CA in DIR (default: dev-certs) unless there is one, and certificates signed by it.

    The gateway gets them with --secrets DIR/secrets, clients trust DIR/ca.crt. What is there, for the same hosts and not about to
    expire, is left alone. For development only: the key of the CA lies beside it.
    """
    from fastgw.credentials.development import DevelopmentCa, DevelopmentError
    from fastgw.model.names import domain_problem

    if not hosts and not clients:
        raise click.UsageError("nothing to make: name hosts with --host, or clients with --client")
    name = credential or (hosts[0].replace("*", "wildcard") if hosts else "")
    for text, option in ((name, "--credential" if credential else "--host"), *((client, "--client") for client in clients)):
        if text and domain_problem(text):
            raise click.UsageError(f"{option} {text}: {domain_problem(text)}")
    try:
        ca = DevelopmentCa(directory)
        _tell(ca.made, f"{directory}/ca.crt", "the CA, for clients to trust")
        if hosts:
            _tell(ca.server(name, hosts), f"{directory}/secrets/{name}", f"credentialName {name}: {', '.join(hosts)}")
        for client in clients:
            _tell(ca.client(client), f"{directory}/clients/{client}", f"a client's certificate: {client}")
    except DevelopmentError as error:
        raise click.ClickException(str(error)) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{directory}: {error}") from None


def _tell(made: bool, path: str, what: str) -> None:
    click.echo(f"{'made' if made else 'kept'}  {path}  ({what})")
