"""Small database servers that real drivers talk to: MySQL's protocol, in which the server speaks first, and Redis'."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from fakeredis import TcpFakeServer
from mysql_mimic import MysqlServer, Session

from .ports import free_port


class Mysql:
    """Answers every query with one row: its own name and the text of the query."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = MysqlServer(session_factory=lambda: _session(name))
        self._run(self._server.start_server(host="127.0.0.1", port=self.port))

    def __enter__(self) -> Mysql:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._run(self._server.wait_closed())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


def _session(name: str) -> Session:
    class Answers(Session):
        async def query(self, expression: Any, sql: str, attrs: Any) -> Any:
            return [(name, sql)], ["server", "query"]

        async def schema(self) -> Any:
            return {}

    return Answers()


class Redis:
    """A Redis in memory."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server = TcpFakeServer(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
