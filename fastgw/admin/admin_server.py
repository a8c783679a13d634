"""The admin server (``--admin``): what the gateway is doing, and three commands. Loopback or a UNIX socket; see guards."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web

import fastgw
from fastgw.admin.answers import answer, nothing_yet
from fastgw.admin.cluster_view import view_clusters
from fastgw.admin.config_routes import add_config_routes
from fastgw.admin.guards import make_guard
from fastgw.admin.http import Server
from fastgw.admin.status_server import metrics_response
from fastgw.credentials.view import secret_entries
from fastgw.native._native import lib
from fastgw.supervisor import memfd
from fastgw.supervisor.compiler_client import CompileError
from fastgw.supervisor.supervisor import Supervisor

PLAN_BYTES = 1 << 28
"""The largest body of a request: a whole plan."""
CLIENT_ACTIVE = int(lib.FGW_G_CLIENT_ACTIVE)
CLIENT_REQUESTS = int(lib.FGW_C_CLIENT_REQUESTS)


class AdminServer(Server):
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        guard = make_guard(supervisor.settings.admin.startswith("unix:"))
        application = web.Application(middlewares=[guard], client_max_size=PLAN_BYTES)
        add_config_routes(application, supervisor)
        for path, handler in (
            ("/", self._index),
            ("/version", self._version),
            ("/config/plan", self._plan),
            ("/config/image", self._image),
            ("/config/diagnostics", self._diagnostics),
            ("/config/generation", self._generation),
            ("/workers", self._workers),
            ("/listeners", self._listeners),
            ("/clusters", self._clusters),
            ("/dns", self._dns),
            ("/drain/status", self._drain_progress),
            ("/secrets", self._secrets),
            ("/stats/prometheus", self._metrics),
        ):
            application.router.add_get(path, handler)
        application.router.add_post("/reload", self._reload)
        application.router.add_post("/drain", self._drain)
        application.router.add_post("/reopen-logs", self._reopen_logs)
        application.router.add_post("/leaks", self._leaks)
        self._paths = sorted({route.resource.canonical for route in application.router.routes() if route.resource})
        super().__init__("admin", application)

    async def _index(self, request: web.Request) -> web.Response:
        return web.Response(text="".join(f"{path}\n" for path in self._paths))

    async def _version(self, request: web.Request) -> web.Response:
        return answer({"version": fastgw.__version__, "uptimeSeconds": round(time.time() - self._supervisor.started_at, 3)})

    async def _plan(self, request: web.Request) -> web.Response:
        try:
            plan = await self._supervisor.generations.plan_json()
        except CompileError as error:
            return answer({"error": str(error)}, status=503)
        return web.Response(body=plan, content_type="application/json")

    async def _image(self, request: web.Request) -> web.Response:
        current = self._supervisor.generations.current
        if current is None:
            return nothing_yet()
        return web.Response(body=memfd.read_all(current.image_fd), content_type="application/octet-stream")

    async def _diagnostics(self, request: web.Request) -> web.Response:
        return answer([found.to_json() for found in self._supervisor.generations.all_diagnostics()])

    async def _generation(self, request: web.Request) -> web.Response:
        return answer(self._generation_view())

    async def _workers(self, request: web.Request) -> web.Response:
        return answer([self._worker_view(index) for index in range(len(self._supervisor.fleet.slots))])

    async def _listeners(self, request: web.Request) -> web.Response:
        listeners = self._supervisor.listeners
        found = [
            {"name": name, "port": one.wanted.port, "bind": one.wanted.bind, "open": True, "addresses": one.addresses, "error": ""}
            for name, one in listeners.open.items()
        ]
        failed = [
            {"name": name, "port": wanted.port, "bind": wanted.bind, "open": False, "addresses": [], "error": reason}
            for name, (wanted, reason) in listeners.failures.items()
        ]
        return answer([*found, *failed])

    async def _clusters(self, request: web.Request) -> web.Response:
        with self._supervisor.generations.borrow_image() as image_fd:
            if image_fd < 0:
                return nothing_yet()
            return answer(
                await asyncio.to_thread(view_clusters, image_fd, self._supervisor.state, self._supervisor.health.by_cell())
            )

    async def _dns(self, request: web.Request) -> web.Response:
        return answer(self._supervisor.resolver.statuses())

    async def _secrets(self, request: web.Request) -> web.Response:
        """Certificates without their keys."""
        supervisor = self._supervisor
        statuses = supervisor.generations.credentials
        return answer(await asyncio.to_thread(secret_entries, statuses, supervisor.settings.namespace))

    async def _metrics(self, request: web.Request) -> web.Response:
        return await metrics_response(request, self._supervisor)

    async def _reload(self, request: web.Request) -> web.Response:
        if not self._supervisor.ready_once or self._supervisor.draining:
            return answer({"error": self._supervisor.not_ready_reason()}, status=503)
        outcome = await self._supervisor.reload()
        return answer(self._generation_view(), status=409 if outcome.error else 200)

    async def _drain(self, request: web.Request) -> web.Response:
        # the answer goes out before the end begins
        asyncio.get_running_loop().call_soon(self._supervisor.drain)
        return answer({"draining": True, "seconds": self._supervisor.settings.drain_time})

    async def _drain_progress(self, request: web.Request) -> web.Response:
        progress = self._supervisor.drain_progress()
        return answer({**msgspec.to_builtins(progress), "text": progress.text()})

    async def _reopen_logs(self, request: web.Request) -> web.Response:
        self._supervisor.reopen_logs()
        return answer({"reopened": self._supervisor.access_log.on})

    async def _leaks(self, request: web.Request) -> web.Response:
        """Living objects by worker, for tests: all zero when nothing is connected."""
        slots = [slot for slot in self._supervisor.fleet.slots if slot.running]
        try:
            counts = await asyncio.gather(*(slot.leaks() for slot in slots))
        except ConnectionError as error:
            return answer({"error": str(error)}, status=503)
        return answer({str(slot.slot): count for slot, count in zip(slots, counts, strict=True)})

    def _generation_view(self) -> dict[str, Any]:
        generations = self._supervisor.generations
        outcome = generations.outcome
        view: dict[str, Any] = {
            "generation": outcome.serving,
            "lastAttempt": outcome.generation,
            "error": outcome.error,
            "applySeconds": outcome.apply_seconds,
            "appliedAt": outcome.applied_at,
        }
        if generations.current:
            view["counts"] = msgspec.to_builtins(generations.current.counts)
            view["seconds"] = msgspec.to_builtins(generations.current.timings)
        return view

    def _worker_view(self, index: int) -> dict[str, Any]:
        slot = self._supervisor.fleet.slots[index]
        state = self._supervisor.state.worker(slot.stripe)
        counters = self._supervisor.state.counters(slot.stripe)
        age_s = time.monotonic() - state.heartbeat_ns / 1e9
        return {
            "slot": index,
            "pid": slot.pid,
            "running": slot.running,
            "restarts": slot.restarts,
            "generation": slot.generation,
            "listeners": sorted(set(slot.listening)),
            "connections": counters[CLIENT_ACTIVE],
            "requests": counters[CLIENT_REQUESTS],
            "heartbeatAgeSeconds": round(age_s, 3) if state.pid == slot.pid and slot.pid else None,
            "draining": state.draining,
        }
