"""A chat out of its parts, as the settings want them: database, tools, voice service; taken down in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from sipua import __version__
from sipua.chat import ReadLine, chat, opening_of_chat
from sipua.chat_screen import Screen, View
from sipua.clock import SystemClock
from sipua.database import ledger_writer, open_database, spent_today
from sipua.desk import Desk
from sipua.desk_service import callback_notifier
from sipua.errors import ConfigError, LocalError
from sipua.identity import Identity
from sipua.ledger import Ledger
from sipua.metrics import Metrics
from sipua.outcome import Ending
from sipua.realtime.config import AudioFormat
from sipua.settings import Settings
from sipua.sole import SoleWorker
from sipua.talk_service import platform_catalogue, talk_tools, voice_service
from sipua.texts import TextFiles
from sipua.tools.files import ToolFiles
from sipua.voice_settings import backend_of, own_instructions, text_config
from storage.dsn import redact
from storage.writer import LedgerWriter

CHATS_MAX = 64  # at once, on one database


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """``caller`` and ``line`` in E.164; ``locale`` "" = as for a call from and to them."""

    caller: str | None = None
    line: str | None = None
    locale: str = ""
    has_ledger: bool = True


async def run_chat(
    settings: Settings,
    texts: TextFiles,
    tool_files: ToolFiles,
    options: ChatOptions,
    view: View,
    read_line: ReadLine,
    stop: asyncio.Event,
) -> Ending:
    """Until it ends or ``stop`` is set. ConfigError for what ``serve`` would refuse too."""
    backend = backend_of(settings)
    text_config(settings, AudioFormat.PCMU)
    own_instructions(settings)
    clock = SystemClock()
    identity = Identity(f"{settings.node}-chat", 0)
    asks_consent = settings.recording.enabled or settings.consent.transcripts == "with_consent"
    async with AsyncExitStack() as stack:
        desk: Desk | None = None
        writer: LedgerWriter | None = None
        dsn: str | None = None
        metrics = _metrics(identity)
        if options.has_ledger:
            dsn = await stack.enter_async_context(open_database(settings))
            identity, sole = _identity(settings.node, redact(dsn))
            stack.callback(sole.release)
            metrics = _metrics(identity)
            writer = await stack.enter_async_context(ledger_writer(dsn, settings, identity))
            platform = await platform_catalogue(settings, dsn)
            desk = Desk(dsn, writer, settings.memory, clock, platform)
            await stack.enter_async_context(callback_notifier(settings.callbacks, desk, metrics, clock))
        tools, _ = await stack.enter_async_context(
            talk_tools(settings, texts, tool_files, desk, clock, asks_consent=asks_consent)
        )
        spend = await spent_today(settings, dsn)
        service = voice_service(
            settings, backend, texts, tools, desk, spend, clock, text_config, options.locale
        )
        screen = Screen(view, writer)
        talking = asyncio.create_task(
            chat(
                service,
                opening_of_chat(options.caller, options.line),
                Ledger(screen, screen, identity.as_dict(), settings.ledger.project_id),
                read_line,
                metrics,
                clock,
                withholds_transcripts=settings.consent.transcripts == "with_consent",
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({talking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            talking.cancel()
        return await talking


def _metrics(identity: Identity) -> Metrics:
    """Nobody asks for them."""
    return Metrics(
        node=identity.node, worker=identity.worker, instance=str(identity.instance), version=__version__
    )


def _identity(node: str, database: str) -> tuple[Identity, SoleWorker]:
    """One that no living process has: a start closes the rows of whoever had it before."""
    for worker in range(CHATS_MAX):
        try:
            return Identity(f"{node}-chat", worker), SoleWorker(f"{node}-chat", worker, database)
        except ConfigError:
            continue
    raise LocalError(f"{CHATS_MAX} chats are open on this database already")
