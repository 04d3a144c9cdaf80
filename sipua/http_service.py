"""The HTTP surface of one process, put together as the settings want it: guard, reads, routers, dashboard, server.

It shows and steers what ``Process`` names; who builds that is ``sipua.app``.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sipua.call_voice import VoiceService
from sipua.calls_up import CallsUp
from sipua.config_file import secret_file
from sipua.dial_service import DialService
from sipua.feed import Feed
from sipua.fleet import Fleet
from sipua.http import running
from sipua.http_measure import measured
from sipua.ingest.health import health
from sipua.ingest_service import told_calls, trunk_standings, voice_standing
from sipua.ledger import Ledger
from sipua.metrics import Metrics
from sipua.openai_service import SignedLine
from sipua.ports import Clock
from sipua.readings import reads_of
from sipua.realtime.backend import OpenAIBackend
from sipua.recording_store import Shelf
from sipua.settings import Settings
from sipua.texts import TextFiles
from sipua.trunk_files import TrunkFiles
from sipua.voice_standing import WatchedBackend
from sipua.web.calls import calls_router, live_router
from sipua.web.dashboard_service import Agent, Surface, build_dashboard, no_dashboard
from sipua.web.dashboard_stream import Hub
from sipua.web.guard import Guard
from sipua.web.health import Check, health_router
from sipua.web.ingest import ingest_router
from sipua.web.limits import rate_of
from sipua.web.links import Links
from sipua.web.openai_webhook import openai_webhook_router
from sipua.web.placing import placing_router
from sipua.web.recordings import RecordingLinks, recordings_router
from sipua.web.site import build_site
from sipua.web.tokens import TokenFile
from sipua.web.trunks import trunks_router
from sipua.web.twilio import twilio_router
from sipua.web.whatsapp import whatsapp_router
from sipua.webhook import WhatsAppWebhook
from storage.reading import ReadPool
from storage.writer import LedgerWriter

if TYPE_CHECKING:
    from fastapi import APIRouter


@dataclass(frozen=True, slots=True)
class Process:
    """What the surface shows and steers; ``dialling`` is None before SIP is up."""

    node: str
    dsn: str
    files: TrunkFiles
    texts: TextFiles
    ledger: Ledger
    writer: LedgerWriter
    calls: CallsUp
    fleet: Fleet
    backend: OpenAIBackend
    standing: WatchedBackend
    voice: VoiceService
    whatsapp: WhatsAppWebhook | None
    at_openai: SignedLine | None
    dialling: Callable[[], DialService | None]
    checks: Mapping[str, Check]
    metrics: Metrics
    feed: Feed
    clock: Clock

    def refresh(self) -> None:
        self.metrics.standing.take()
        self.metrics.show_trunks(self.fleet.views())


@dataclass(frozen=True, slots=True)
class HttpService:
    """Where it listens; ``hub``, of the dashboard if there is one, is somebody's to run, and to close at the end."""

    address: tuple[str, int]
    hub: Hub | None


@asynccontextmanager
async def http_service(
    settings: Settings, process: Process, tokens: TokenFile | None, sock: socket.socket
) -> AsyncIterator[HttpService]:
    """For as long as the process serves HTTP at ``sock``. Raises ConfigError."""
    http, clock, calls, fleet = settings.http, process.clock, process.calls, process.fleet
    rate = rate_of(http.rate_per_s)
    guard = Guard(tokens, clock, rate)
    links = RecordingLinks(Links(http.public_url), clock)
    signed = _signed(settings, process)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(ReadPool(process.dsn))
        process.metrics.standing.reads(reads_of(pool))
        told = await stack.enter_async_context(
            told_calls(
                settings,
                process.backend,
                process.standing,
                process.texts,
                process.voice,
                process.ledger,
                process.writer,
                pool,
                calls,
                clock,
            )
        )
        dashboard = None
        if tokens is not None and settings.dashboard.enabled:
            surface = Surface(guard, tokens, pool, links)
            dashboard = build_dashboard(settings, _agent(process), surface, process.feed, clock)

        def whole_health(database: str, spool: str) -> tuple[int, dict[str, Any]]:
            trunks = trunk_standings(fleet.views(), process.files.trunks)
            return health(
                clock.now().wall, trunks, voice_standing(settings, process.standing), database, spool
            )

        checks, is_open = process.checks, http.metrics_are_open
        site = build_site(
            guard,
            clock,
            routers=[
                health_router(process.metrics, checks, process.refresh, guard, is_open=is_open),
                placing_router(guard, pool, process.dialling, calls.hang_up),
                calls_router(guard, pool, links, settings.currency),
                recordings_router(guard, pool, links, Shelf(settings)),
                trunks_router(guard, pool, fleet.views),
                *(dashboard.routers if dashboard is not None else (no_dashboard(guard),)),
            ],
            prefixed=[
                live_router(guard, pool, clock),
                ingest_router(guard, told, whole_health, checks),
                *signed,
            ],
            path_prefix=http.path_prefix,
            rate=rate,
        )
        app = measured(site, process.metrics, clock)
        address = await stack.enter_async_context(running(app, sock, trusted_proxies=http.trusted_proxies))
        yield HttpService(address, None if dashboard is None else dashboard.hub)


def _signed(settings: Settings, process: Process) -> list[APIRouter]:
    """Routes of those who sign what they send."""
    routers = []
    if process.whatsapp is not None:
        routers.append(whatsapp_router(process.whatsapp))
    if (line := process.at_openai) is not None:
        routers.append(
            openai_webhook_router(line.secrets, line.line.received, process.metrics, process.clock)
        )
    if settings.twilio.auth_token_file:
        token = secret_file("twilio.auth_token_file", settings.twilio.auth_token_file)
        public_url, put = settings.http.public_url, process.ledger.put
        routers.append(twilio_router(settings.twilio, token, public_url, put, process.clock))
    return routers


def _agent(process: Process) -> Agent:
    views = process.fleet.views
    return Agent(process.node, process.calls, views, process.checks, process.standing.told)
