"""The language of one call's voice session: what it is told at first, and what changes when the caller changes. No I/O.

``on_event`` and ``asked`` return what is to be sent and recorded. Instructions and transcription go in updates of their
own, neither of them required: a model that does not take the new language's code must not keep the old instructions,
and a refused hint is followed by detection (``sipua.realtime.hints``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rtp.codec import Codec
from sipua.language_choice import Choice, LanguageTrack, Switch
from sipua.languages import Language, Languages
from sipua.realtime import events as ev
from sipua.realtime.config import SessionConfig, Transcription
from sipua.realtime.hints import as_change, is_about_language, without_language
from sipua.recordings import Recordings

GREETING = "{{greeting}}"  # in realtime.greeting: the words of the language
NO_HINT = "none"  # of realtime.transcription_language
PENDING_MAX = 8


@dataclass(frozen=True, slots=True)
class Change:
    """``session``: for an update that is not required. ``switch``: for the ledger, with the first change only."""

    session: Mapping[str, Any]
    transcription: Transcription | None = None
    switch: Switch | None = None


class CallLanguage:
    """``instructions`` gives what the model is told in a language; ``hint`` is realtime.transcription_language.

    ``is_closed``: the caller is greeted as outside opening hours.
    """

    def __init__(
        self,
        languages: Languages,
        choice: Choice,
        instructions: Callable[[str], str],
        *,
        greeting: str,
        hint: str,
        recordings: Recordings | None = None,
        is_closed: bool = False,
        is_outbound: bool = False,
    ) -> None:
        self._is_outbound = is_outbound
        self._recordings = recordings
        self._is_closed = is_closed
        self.choice = choice
        self._languages = languages
        self._instructions = instructions
        self._greeting = greeting
        self._hint = hint
        self._track = LanguageTrack(tuple(languages.by_code), choice.locale)
        self._transcription: Transcription | None = None
        self._pending: dict[str, Transcription] = {}  # event_id of an update → what it asked for

    @property
    def locale(self) -> str:
        return self._track.locale

    @property
    def language(self) -> Language:
        return self._languages.of(self.locale)

    @property
    def greeting(self) -> str:
        """Instructions for the first words; "" if the caller speaks first."""
        return self._greeting.replace(GREETING, f'"{self.first_words}"')

    @property
    def first_words(self) -> str:
        """Those of the language, for who has called us, now or out of hours, or whom we have called."""
        language = self.language
        if self._is_outbound:
            return language.greeting_outbound
        return language.greeting_closed if self._is_closed else language.greeting

    def spoken(self, phrase: str, codec: Codec) -> bytes:
        """The recording of a phrase for a playout in ``codec``."""
        return b"" if self._recordings is None else self._recordings.encoded(self.locale, phrase, codec)

    def configured(self, base: SessionConfig) -> SessionConfig:
        """The configuration of this call's session, from that of all."""
        hinted = self._hinted(base.transcription)
        return replace(base, instructions=self._instructions(self.locale), transcription=hinted)

    def opened(self, config: SessionConfig) -> None:
        """The session is ready, with this: a refused hint is no longer in it."""
        self._transcription = config.transcription

    def asked(self, wanted: str) -> list[Change]:
        """The caller asked for a language. ValueError, with those that there are, if it is not offered."""
        return self._changes(self._track.asked(wanted))

    def on_event(self, event: ev.Event) -> list[Change]:
        """What follows from an event of the session for the language."""
        match event:
            case ev.UserTranscript():
                return self._changes(self._track.heard(event.languages, event.text))
            case ev.UserTranscriptFailed() if is_about_language(event):
                return self._without_hint(self._transcription)
            case ev.ServiceError(event_id=event_id) if event_id is not None and event_id in self._pending:
                return self._without_hint(self._pending.pop(event_id))
            case _:
                return []

    def sent(self, change: Change, event_id: str) -> None:
        """The update of a change went out as ``event_id``."""
        if change.transcription is None:
            return
        self._transcription = self._pending[event_id] = change.transcription
        if len(self._pending) > PENDING_MAX:
            del self._pending[next(iter(self._pending))]

    def _changes(self, switch: Switch | None) -> list[Change]:
        if switch is None:
            return []
        told = Change({"instructions": self._instructions(switch.locale)}, switch=switch)
        wanted = self._hinted(self._transcription)
        if wanted is None or wanted == self._transcription:
            return [told]
        return [told, Change(as_change(wanted), wanted)]

    def _without_hint(self, asked: Transcription | None) -> list[Change]:
        if asked is None or asked.language is None:
            return []
        left = without_language(asked)
        return [Change(as_change(left), left)]

    def _hinted(self, base: Transcription | None) -> Transcription | None:
        """With the language of the call as its hint, unless the operator has fixed it or wants none."""
        if base is None or self._hint == NO_HINT:
            return base
        code = self._hint or self.locale
        spoken = self._languages.by_code.get(code)
        prompt = spoken.transcription_prompt or None if spoken is not None else None
        return replace(base, language=code, prompt=None, language_prompt=prompt)
