"""The dashboard of one process, put together: its routes, and the hub that somebody must run and close."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends

from sipua.calls_up import CallsUp
from sipua.feed import Feed
from sipua.fleet_view import TrunkView
from sipua.machine_zone import machine_zone
from sipua.ports import Clock
from sipua.recording_store import bucket_origin
from sipua.settings import Settings
from sipua.web import dashboard_view as view
from sipua.web.dashboard import dashboard_router
from sipua.web.dashboard_board import Board
from sipua.web.dashboard_ledger import ledger_router
from sipua.web.dashboard_sessions import CookieSessions, SessionBook
from sipua.web.dashboard_static import Pages
from sipua.web.dashboard_stream import Hub
from sipua.web.guard import Guard, TokenSource
from sipua.web.health import Check, Part
from sipua.web.problem import Problem
from sipua.web.recordings import RecordingLinks
from storage.call_reads import live_calls
from storage.errors import StoreError
from storage.reading import ReadPool
from storage.trunk_reads import trunk_states

TRUNKS_EVERY_S = 2.0
STATE_EVERY_S = 4.0
OTHERS_EVERY_S = 3.0
DRILLS_EVERY_S = 30.0
CHECK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Agent:
    """What is known of the process around it. ``voice``: "ok", "unknown", or why there was no session."""

    node: str
    calls: CallsUp
    trunks: Callable[[], Sequence[TrunkView]]
    checks: Mapping[str, Check]
    voice: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Surface:
    """What it shares with the routes for programs."""

    guard: Guard
    tokens: TokenSource
    pool: ReadPool
    links: RecordingLinks


@dataclass(frozen=True, slots=True)
class Dashboard:
    """``hub`` is somebody's to run, and to close when the process ends."""

    routers: tuple[APIRouter, ...]
    hub: Hub


def build_dashboard(
    settings: Settings, agent: Agent, surface: Surface, feed: Feed, clock: Clock
) -> Dashboard:
    """Sets ``surface.guard.sessions``."""
    own = settings.dashboard
    zone = ZoneInfo(settings.timezone) if settings.timezone else machine_zone()
    book = SessionBook(own.idle_s, own.longest_s)
    sessions = CookieSessions(book, surface.tokens, clock, secure=own.secure_cookie)
    surface.guard.sessions = sessions
    hub = _hub(own.streams_max, agent, surface.pool, feed, clock)
    pages = Pages(bucket_origin(settings.recording))
    about = {"node": agent.node, "zone": zone.key}
    page = dashboard_router(surface.guard, sessions, hub, pages, about, agent.calls.hang_up)
    ledger = ledger_router(surface.guard, surface.pool, surface.links, clock, zone, settings.currency)
    return Dashboard((page, ledger), hub)


def no_dashboard(guard: Guard) -> APIRouter:
    """Its address where there is none: says which setting has switched it off."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(guard.must_be_on)])

    @router.get("/dashboard")
    @router.get("/dashboard/")
    async def why() -> None:
        raise Problem(404, "this part is off: dashboard.enabled = false", reason="off")

    return router


def _hub(streams_max: int, agent: Agent, pool: ReadPool, feed: Feed, clock: Clock) -> Hub:
    board = Board()
    parts = {name: Part(check, CHECK_TIMEOUT_S) for name, check in agent.checks.items()}

    async def state() -> None:
        texts = await asyncio.gather(*(part.told() for part in parts.values()))
        board.show("state", {**dict(zip(parts, texts, strict=True)), "voice": agent.voice()})

    async def trunks() -> None:
        board.show("trunks", [view.trunk(each.as_dict()) for each in agent.trunks()])

    async def others() -> None:
        found = await live_calls(pool)
        board.see_others([view.live(row) for row in found.calls])

    async def drills() -> None:
        board.show("drills", (await trunk_states(pool))["drills"])

    looks = (
        (TRUNKS_EVERY_S, trunks),
        (STATE_EVERY_S, state),
        (OTHERS_EVERY_S, _patient(others)),
        (DRILLS_EVERY_S, _patient(drills)),
    )
    return Hub(board, feed, clock, agent.calls.call_ids, looks, streams_max)


def _patient(look: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """While the database is away the page shows what it had; the part ``database`` says why."""

    async def looked() -> None:
        with contextlib.suppress(StoreError):
            await look()

    return looked
