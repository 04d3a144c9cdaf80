"""What callers hear and are heard in: the files' state, and each language tried with the transcription model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from rtp.g711 import encode_pcmu
from sipua.checks.report import Check, Status, listed
from sipua.departments import FILE as DEPARTMENTS
from sipua.errors import ConfigError, RealtimeError
from sipua.languages import UNREVIEWED
from sipua.realtime import events as ev
from sipua.realtime.backend import VoiceSession
from sipua.realtime.config import AudioFormat, Transcription
from sipua.realtime.hints import as_change, is_about_language, without_language
from sipua.settings import Settings
from sipua.texts import Texts, load_texts
from sipua.voice_settings import backend_of, own_instructions, session_config, unused_instructions

TRIAL_S = 20.0  # for all languages together; one takes about two
SPOKEN = "please_hold"  # two seconds that every language has
NOTED = 3  # of what is missing; the rest is counted


def texts(folder: Path, settings: Settings, trunks: list[str]) -> tuple[Check, Texts | None]:
    """Languages, recordings and instructions, as ``serve`` reads them."""
    try:
        found = load_texts(folder, trunks)
        own_instructions(settings)
    except ConfigError as error:
        name = "departments" if DEPARTMENTS in str(error) else "languages"
        return Check(name, "fail", str(error), "mend the file, or remove it", True), None
    status: Status = "ok"
    details, todos = [", ".join(found.languages.by_code)], []
    if unreviewed := found.languages.unreviewed():
        status = "warn"
        details.append(f"{', '.join(unreviewed)}: {UNREVIEWED}")
        todos.append("have them read, and put the name into reviewed_by of languages/CODE.toml")
    if notes := [*unused_instructions(settings, found), *found.notes]:
        status = "warn"
        more = f"; and {len(notes) - NOTED} more" if len(notes) > NOTED else ""
        details.append("; ".join(notes[:NOTED]) + more)
        todos.append("write or record what is missing (docs/languages.md)")
    return Check("languages", status, "; ".join(details), listed(todos)), found


@dataclass
class _Trial:
    """What became of one language; "" where nothing came."""

    hint: str = ""
    heard: str = ""

    @property
    def is_well(self) -> bool:
        return self.hint == "taken" and bool(self.heard) and not self.heard.startswith("failed")

    def __str__(self) -> str:
        return f"hint {self.hint or 'not answered'}, speech {self.heard or 'not answered'}"


@dataclass
class _Trials:
    by_code: dict[str, _Trial] = field(default_factory=dict)

    def check(self, model: str, trouble: str) -> Check:
        odd = [code for code, trial in self.by_code.items() if not trial.is_well]
        shown = "; ".join(f"{code}: {trial}" for code, trial in self.by_code.items())
        detail = f"{model}: {shown}" + (f"; {trouble}" if trouble else "")
        todo = f"{', '.join(odd)}: left to detection; another realtime.transcription_model may take it"
        return Check("voice service languages", "warn" if odd else "ok", detail, todo if odd else "")


async def transcription(settings: Settings, found: Texts) -> Check | None:
    """Every language's hint and its own recording, through one session. None if there is none: see voice service."""
    model = settings.realtime.transcription_model
    if not model:
        return Check(
            "voice service languages", "ok", "realtime.transcription_model is empty: nothing is written down"
        )
    config = replace(session_config(settings, AudioFormat.PCMU), turn_detection=None)
    trials = _Trials({code: _Trial() for code in found.languages.by_code})
    trouble = ""
    try:
        session = await backend_of(settings).open(config)
    except (ConfigError, RealtimeError):
        return None
    try:
        async with asyncio.timeout(TRIAL_S):
            events = session.events()
            async for event in events:  # that of the opening
                if isinstance(event, ev.SessionUpdated):
                    break
            for code, trial in trials.by_code.items():
                await _try(session, events, found, code, model, trial)
    except TimeoutError:
        trouble = f"no more answers within {TRIAL_S:g} s"
    except RealtimeError as error:
        trouble = str(error)
    finally:
        await session.close()
    return trials.check(model, trouble)


async def _try(
    session: VoiceSession, events: AsyncIterator[ev.Event], found: Texts, code: str, model: str, trial: _Trial
) -> None:
    """The hint as an update that is not required; then a phrase, said with what was accepted."""
    wanted = Transcription(model, code, language_prompt=found.languages.of(code).transcription_prompt or None)
    trial.hint = await _answer(session, events, wanted)
    if trial.hint != "taken":
        await _answer(session, events, without_language(wanted))
    session.append(encode_pcmu(found.recordings.of(code, SPOKEN)))
    session.commit()
    async for event in events:
        if isinstance(event, ev.UserTranscript):
            trial.heard = (
                f"heard as {'/'.join(event.languages) or 'text'}"
                if event.text.strip()
                else "failed: no words"
            )
            return
        if isinstance(event, ev.UserTranscriptFailed):
            why = "over the hint" if is_about_language(event) else event.code or "no reason given"
            trial.heard = f"failed: {why}"
            return


async def _answer(session: VoiceSession, events: AsyncIterator[ev.Event], wanted: Transcription) -> str:
    event_id = session.session_update(as_change(wanted), required=False)
    async for event in events:
        if isinstance(event, ev.SessionUpdated):
            return "taken"
        if isinstance(event, ev.ServiceError) and event.event_id == event_id:
            return f"refused ({event.code or 'error'})"
    return "not answered"
