"""The part of the admin API that is about configurations as wholes: what was served, going back, and trying a given one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web

from fastgw.admin.answers import answer
from fastgw.model.plan import Plan
from fastgw.supervisor.canary import Rules
from fastgw.supervisor.history import NotKept
from fastgw.supervisor.supervisor import Supervisor

MOST_SECONDS = 3600.0


class Refused(Exception):
    """A request that cannot be done; the text says why."""


def add_config_routes(application: web.Application, supervisor: Supervisor) -> None:
    routes = ConfigRoutes(supervisor)
    application.router.add_get("/config/history", routes.history)
    application.router.add_get("/config/history/{generation}", routes.show)
    application.router.add_get("/config/options", routes.options)
    application.router.add_get("/config/trial", routes.trial)
    application.router.add_post("/config/rollback", routes.rollback)
    application.router.add_post("/config/apply", routes.apply)


class ConfigRoutes:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._trying: asyncio.Task[None] | None = None

    async def history(self, request: web.Request) -> web.Response:
        """Newest first."""
        await self._supervisor.generations.kept()
        serving = self._supervisor.generations.outcome.serving
        entries = reversed(self._supervisor.history.entries)
        return answer([{**msgspec.to_builtins(entry), "serving": entry.generation == serving} for entry in entries])

    async def show(self, request: web.Request) -> web.Response:
        """The entry, and its plan under ``content``."""
        await self._supervisor.generations.kept()
        try:
            entry = self._supervisor.history.find(parse_generation(request.match_info["generation"]))
            plan = await asyncio.to_thread(self._supervisor.history.plan, entry)
        except (NotKept, Refused) as error:
            return answer({"error": str(error)}, status=404)
        return answer({**msgspec.to_builtins(entry), "content": msgspec.Raw(plan)})

    async def options(self, request: web.Request) -> web.Response:
        """What a configuration has to be compiled with to be this gateway's, and what listeners are told beside it."""
        settings = self._supervisor.settings
        return answer(
            {
                "labels": settings.labels,
                "namespace": settings.namespace,
                "resolve": settings.resolve,
                "proxyProtocol": settings.proxy_protocol,
                "maxConnections": settings.max_connections,
                "maxConnectionsPerSource": settings.max_connections_per_source,
                "trustedProxies": settings.trusted_proxies,
            }
        )

    async def rollback(self, request: web.Request) -> web.Response:
        supervisor = self._supervisor
        try:
            self._refuse_when_busy()
            await supervisor.generations.kept()
            entry = supervisor.history.find(parse_generation(request.query.get("generation", "")))
            plan = await asyncio.to_thread(supervisor.history.plan, entry)
        except NotKept as error:
            return answer({"error": str(error)}, status=404)
        except Refused as error:
            return answer({"error": str(error)}, status=409)
        outcome = await supervisor.generations.serve_plan(plan, f"rollback to generation {entry.generation}")
        view = {"generation": outcome.serving, "rolledBackTo": entry.generation, "error": outcome.error}
        return answer(view, status=409 if outcome.error else 200)

    async def apply(self, request: web.Request) -> web.Response:
        """The body is a Plan. With ``canary`` it is tried by so many workers first; GET /config/trial tells how it goes."""
        supervisor = self._supervisor
        plan = await request.read()
        source = " ".join(request.query.get("source", "given configuration").split())[:200]
        try:
            self._refuse_when_busy()
            rules = self._rules(*(request.query.get(name, "0") for name in ("canary", "seconds", "max5xx")))
            await asyncio.to_thread(msgspec.json.decode, plan, type=Plan)
        except msgspec.DecodeError as error:
            return answer({"error": f"not a plan of this version: {error}"}, status=400)
        except Refused as error:
            return answer({"error": str(error)}, status=409)
        if rules is None:
            outcome = await supervisor.generations.serve_plan(plan, source)
            return answer({"generation": outcome.serving, "error": outcome.error}, status=409 if outcome.error else 200)
        self._trying = asyncio.get_running_loop().create_task(
            supervisor.generations.try_plan(plan, source, supervisor.state, rules)
        )
        return answer({"phase": "compiling"}, status=202)

    async def trial(self, request: web.Request) -> web.Response:
        trial = self._supervisor.generations.trial
        view: dict[str, Any] = {
            "phase": trial.phase, "source": trial.source, "generation": trial.generation, "error": trial.error,
        }  # fmt: skip
        if trial.canary is not None:
            view |= msgspec.to_builtins(trial.canary.tally)
            view["secondsLeft"] = round(max(0.0, trial.canary.until_s - time.monotonic()), 1)
        return answer(view)

    def _refuse_when_busy(self) -> None:
        if not self._supervisor.ready_once or self._supervisor.draining:
            raise Refused(self._supervisor.not_ready_reason())
        if self._trying is not None and not self._trying.done():
            raise Refused("another configuration is on trial")

    def _rules(self, workers: str, seconds: str, max_5xx: str) -> Rules | None:
        """None: no trial is wanted. Raises Refused."""
        try:
            rules = Rules(int(workers), float(seconds), float(max_5xx))
        except ValueError:
            raise Refused("canary, seconds and max5xx: wanted numbers") from None
        count = len(self._supervisor.fleet.slots)
        if rules.workers == 0:
            return None
        if count < 2:
            raise Refused("a gateway with one worker has none that could try a configuration for the others")
        if not 1 <= rules.workers < count:
            raise Refused(f"of {count} workers, 1 to {count - 1} can try a configuration, not {rules.workers}")
        if not (0 < rules.seconds <= MOST_SECONDS and 0 <= rules.max_5xx <= 1):
            raise Refused(f"wanted a time of at most {MOST_SECONDS:g} s and a share of 0 to 1")
        return rules


def parse_generation(text: str) -> int:
    """Raises Refused."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(f'"{text}" is no generation; they are numbers')
    return int(text)
