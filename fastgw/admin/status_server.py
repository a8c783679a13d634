"""The status server (``--status``): readiness, liveness, metrics. Read-only, meant for probes and scrapers from outside."""

from __future__ import annotations

from aiohttp import web

from fastgw.admin.http import Server
from fastgw.admin.metrics import CONTENT_TYPE, exposition
from fastgw.supervisor.supervisor import Supervisor


class StatusServer(Server):
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        application = web.Application()
        application.router.add_get("/healthz/ready", self._ready)
        application.router.add_get("/healthz/live", self._live)
        application.router.add_get("/stats/prometheus", self._metrics)
        super().__init__("status", application)

    async def _ready(self, request: web.Request) -> web.Response:
        reason = self._supervisor.not_ready_reason()
        return web.Response(status=503, text=f"not ready: {reason}\n") if reason else web.Response(text="ready\n")

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        return await metrics_response(request, self._supervisor)


async def metrics_response(request: web.Request, supervisor: Supervisor) -> web.Response:
    """The exposition in Prometheus' text format, gzipped for those who take it: label sets repeat themselves."""
    zipped = "gzip" in request.headers.get("Accept-Encoding", "")
    headers = {"Content-Type": CONTENT_TYPE, "Vary": "Accept-Encoding", **({"Content-Encoding": "gzip"} if zipped else {})}
    return web.Response(body=await exposition(supervisor, zipped), headers=headers)
