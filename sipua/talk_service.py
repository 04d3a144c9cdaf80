"""What every conversation needs, by telephone or in writing: tools and the voice service, as the settings want them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from sipua.call_voice import VoiceService, nobody_known
from sipua.days import day_of
from sipua.desk import Desk, platform_tables
from sipua.desk_service import desk_tools, people_tools
from sipua.ports import Clock
from sipua.realtime.backend import VoiceBackend
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.settings import Settings
from sipua.spend import Spend
from sipua.texts import TextFiles
from sipua.tools.builtin import RecordConsent, control_tools
from sipua.tools.files import ToolFiles
from sipua.tools.kits import ToolKits, tool_kits
from sipua.tools.registry import Registry
from sipua.tracing import traceparent_of
from sipua.voice_settings import language_of, rules_of, session_config
from sipua.webhook import WhatsAppWebhook
from storage.platform import Platform

Configured = Callable[[Settings, AudioFormat], SessionConfig]


async def platform_catalogue(settings: Settings, dsn: str) -> Platform | None:
    """Where services are looked up; None: in our own catalogue."""
    return await platform_tables(dsn) if settings.tools.catalogue == "platform" else None


@asynccontextmanager
async def talk_tools(
    settings: Settings,
    texts: TextFiles,
    files: ToolFiles,
    desk: Desk | None,
    clock: Clock,
    *,
    asks_consent: bool,
) -> AsyncIterator[tuple[ToolKits, WhatsAppWebhook | None]]:
    """With the webhook, where there is one. ConfigError for a name that is taken, or a secret that cannot be read."""
    languages = texts.texts.languages.by_code
    tools = Registry(settings.tools.names_off)
    tools.add(*control_tools({code: each.english_name for code, each in languages.items()}))
    if asks_consent:
        tools.add(RecordConsent())
    async with AsyncExitStack() as stack:
        webhook = None
        if desk is not None:
            people_tools(tools, texts.texts.departments, desk, clock)
            texts.on_read = lambda read: people_tools(tools, read.departments, desk, clock)
            webhook = await stack.enter_async_context(desk_tools(settings, tools, desk, clock))
        yield await stack.enter_async_context(tool_kits(files, tools, clock)), webhook


def voice_service(
    settings: Settings,
    backend: VoiceBackend,
    texts: TextFiles,
    tools: ToolKits,
    desk: Desk | None,
    spend: Spend,
    clock: Clock,
    configured: Configured = session_config,
    locale: str = "",
) -> VoiceService:
    """``locale``: the language that is wanted, whoever calls; "" = that of the call."""
    return VoiceService(
        backend=backend,
        session_config=lambda format: configured(settings, format),
        language_of=lambda opening, now, remembered: language_of(
            settings, texts.texts, opening, now, remembered=remembered, wanted=locale
        ),
        open_timeout_s=settings.realtime.connect_timeout_s,
        offered=tools.of_call,
        recall=desk.recall if desk is not None else nobody_known,
        on_refusal=settings.transfer.on_refusal,
        rules=rules_of(settings),
        spend=spend,
        traceparent=traceparent_of(settings),
        today=lambda: day_of(clock.now().wall, settings.zone),
    )
