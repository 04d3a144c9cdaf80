"""Calls that others hold, as the settings want them: how they are configured, where they are looked up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sipua.call_voice import VoiceService
from sipua.calls_up import CallsUp
from sipua.errors import RealtimeError
from sipua.fleet_view import TrunkView
from sipua.ingest.calls import Surroundings, ToldCalls
from sipua.ingest.charge import charge_of
from sipua.ingest.health import TrunkStanding, VoiceStanding
from sipua.ingest.openai import ClientSecret, OpenAIHttp
from sipua.ledger import Ledger
from sipua.openai_calls import OpenAICalls
from sipua.ports import CallOpening, Clock
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.settings import Settings
from sipua.texts import TextFiles
from sipua.trunk import Trunk
from sipua.voice_settings import language_of
from sipua.voice_standing import WatchedBackend
from storage.reading import ReadPool
from storage.told_reads import told_call
from storage.writer import LedgerWriter

FORMATS = {"pcm24": AudioFormat.PCM24, "pcmu": AudioFormat.PCMU, "pcma": AudioFormat.PCMA}


@dataclass(frozen=True, slots=True)
class _WatchedSecrets:
    """What becomes of keys is known of the voice service, as what becomes of sessions is."""

    openai: OpenAIHttp
    calls: OpenAICalls
    standing: WatchedBackend

    async def client_secret(self, config: SessionConfig, lifetime_s: int) -> ClientSecret:
        try:
            secret = await self.openai.client_secret(config, lifetime_s)
        except RealtimeError as error:
            self.standing.refused(error)
            raise
        self.standing.opened()
        return secret

    async def hang_up(self, call_id: str) -> None:
        await self.calls.hang_up(call_id)


@asynccontextmanager
async def told_calls(
    settings: Settings,
    backend: OpenAIBackend,
    standing: WatchedBackend,
    texts: TextFiles,
    voice: VoiceService,
    ledger: Ledger,
    writer: LedgerWriter,
    pool: ReadPool,
    calls_up: CallsUp,
    clock: Clock,
) -> AsyncIterator[ToldCalls]:
    """For as long as the process serves them."""
    chosen = settings.ingest

    def configured(opening: CallOpening) -> SessionConfig:
        """As a SIP call of that caller would be; in the language that was asked for, where it is offered."""
        wanted = opening.locale if opening.locale in texts.texts.languages.by_code else ""
        with voice.of_call("", opening.our_number) as service:
            language = language_of(settings, texts.texts, opening, clock.now(), wanted=wanted)
            return service.configured(language, FORMATS[chosen.audio])

    def hang_up(ids: Collection[UUID]) -> bool:
        ended = [calls_up.hang_up(id) for id in ids]
        return True in ended

    async with OpenAIHttp(backend, settings.realtime.model) as openai, OpenAICalls(backend) as calls:
        world = Surroundings(
            put=ledger.put,
            settle=writer.flush,
            look_up=lambda id: told_call(pool, id),
            configured=configured,
            hang_up=hang_up,
            secrets=_WatchedSecrets(openai, calls, standing),
            clock=clock,
            charge=lambda usage, model: charge_of(usage, model or settings.realtime.model, voice.spend.price),
        )
        yield ToldCalls(world, chosen.provider, chosen.key_s)


def voice_standing(settings: Settings, standing: WatchedBackend) -> VoiceStanding:
    return VoiceStanding(
        has_key=settings.openai_api_key is not None,
        model=settings.realtime.model,
        opened_at=standing.opened_at,
        refused_at=standing.refused_at,
        refused_why=standing.refused_why,
    )


def trunk_standings(views: Collection[TrunkView], trunks: Collection[Trunk]) -> list[TrunkStanding]:
    """Those that are up or down, and those of files that are not enabled."""
    seen = {view.trunk.name for view in views}
    return [
        *(TrunkStanding(view.trunk.name, view.trunk.provider, view.state, view.why) for view in views),
        *(
            TrunkStanding(trunk.name, trunk.provider, "disabled", "not enabled")
            for trunk in trunks
            if trunk.name not in seen
        ),
    ]
