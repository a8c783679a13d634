"""``fastgw echo``: a small upstream for demos and tests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import click

from fastgw.cli.echo_server import EchoServer
from fastgw.supervisor.port_holder import find_holder


@click.command(name="echo")
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Port to listen on; 0 chooses one and prints it.")
@click.option("--name", default="echo", show_default=True, help="The service name in the answers.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
def command(port: int, name: str, address: str) -> None:
    """A small upstream that answers with what it saw, as JSON.

    /status/503, /delay/0.2, /bytes/1000000, /chunked/5, /stream/1000000, /drip/5/0.1, /headers, /close and /abort do what they say.
    """
    try:
        asyncio.run(_serve(name, address, port))
    except OSError as error:
        holder = find_holder(port)
        reason = f"in use by {holder}" if holder else os.strerror(error.errno or 0)
        click.echo(f"fastgw echo: {address}:{port}: {reason}", err=True)
        sys.exit(1)


async def _serve(name: str, address: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = EchoServer(name)
    host, bound = await server.start(address, port)
    click.echo(f"{name} on {host}:{bound}")
    await stop.wait()
    await server.stop()
