"""The caller's transcripts: texts of the script, labelled, sent when the script says so.

No I/O, no clock. Streaming deltas and their place (after ``response.created``, mid-answer) are observed;
``early``, ``late``, out of order and ``failed`` are derived from the specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .faults import Injector
from .script import Script, Turn
from .timeline import Process, Steps
from .usage import transcription_usage
from .wire import Event, Ids, tokens

_FIRST_S = 0.12
_DELTA_S = 0.03
_WHOLE_ONLY = ("whisper-1",)  # models that do not stream
_KIND = "conversation.item.input_audio_transcription"


class Emit(Protocol):
    def __call__(self, kind: str, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """One utterance's transcript as the session's transcription model would deliver it."""

    item_id: str
    text: str
    lang: str
    config: Event
    logprobs: bool
    audio_ms: int = 0

    def deltas(self) -> list[str]:
        return [] if self.config["model"] in _WHOLE_ONLY else tokens(" " + self.text)

    def completed(self) -> Event:
        model = self.config["model"]
        usage = transcription_usage(model, self.audio_ms, self.text)
        body: Event = {"transcript": self.text, "usage": usage}
        if model == "gpt-transcribe":
            body["languages"] = [{"code": self.lang}]
        if self.logprobs:
            body["logprobs"] = [
                {"token": word, "bytes": list(word.encode()), "logprob": math.log(0.9)}
                for word in tokens(self.text)
            ]
        return body


class Transcriber:
    """Sends each utterance's transcript at the time its turn asks for."""

    def __init__(
        self, script: Script, faults: Injector, emit: Emit, ids: Ids, spawn: Callable[[Steps], Process]
    ) -> None:
        self._script = script
        self._faults = faults
        self._emit = emit
        self._ids = ids
        self._spawn = spawn
        self._begun: Process | None = None
        self._next_turn: list[Transcript] = []
        self._after_response: list[Transcript] = []

    def speaking(self, item_id: str, turn: Turn, session: Event) -> None:
        """Speech has begun: an ``early`` transcript streams while the caller still speaks."""
        transcript = self._transcript(item_id, 0, turn, session)
        if transcript is not None and turn.transcript == "early":
            self._begun = self._spawn(self._deltas(transcript))

    def ended(self, item_id: str, audio_ms: int, turn: Turn, session: Event) -> None:
        """Speech has ended and is not yet committed: an ``early`` transcript is complete."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.cancel()
        transcript = self._transcript(item_id, audio_ms, turn, session)
        if transcript is not None and turn.transcript == "early":
            self._complete(transcript)

    def spoken(self, item_id: str, audio_ms: int, turn: Turn, session: Event, *, answering: bool) -> None:
        """The utterance is complete and committed."""
        transcript = self._transcript(item_id, audio_ms, turn, session)
        if transcript is None or turn.transcript == "early":
            return
        if turn.transcript == "next_turn":
            self._next_turn.append(transcript)
        elif turn.transcript == "late" and answering:
            self._after_response.append(transcript)
        else:
            failed = turn.transcript == "failed" or self._faults.has("transcription_failed") is not None
            self._spawn(self._fail(transcript) if failed else self._whole(transcript))

    def answered(self) -> None:
        """A response has ended: the ``late`` transcripts follow."""
        late, self._after_response = self._after_response, []
        for transcript in late:
            self._spawn(self._whole(transcript))

    def _transcript(self, item_id: str, audio_ms: int, turn: Turn, session: Event) -> Transcript | None:
        config = session["audio"]["input"]["transcription"]
        if config is None or turn.transcript == "none" or self._faults.has("no_transcript"):
            return None
        text = self._script.user_prefix + turn.user
        lang = turn.lang or self._script.language
        return Transcript(item_id, text, lang, config, bool(session["include"]), audio_ms)

    def _whole(self, transcript: Transcript) -> Steps:
        yield _FIRST_S
        yield from self._deltas(transcript)
        self._complete(transcript)
        held, self._next_turn = self._next_turn, []
        for earlier in held:
            yield from self._deltas(earlier)
            self._complete(earlier)

    def _deltas(self, transcript: Transcript) -> Steps:
        for word in transcript.deltas():
            fields = {"delta": word, "obfuscation": self._ids.obfuscation(word)}
            self._emit(f"{_KIND}.delta", item_id=transcript.item_id, content_index=0, **fields)
            yield _DELTA_S

    def _complete(self, transcript: Transcript) -> None:
        self._emit(
            f"{_KIND}.completed", item_id=transcript.item_id, content_index=0, **transcript.completed()
        )

    def _fail(self, transcript: Transcript) -> Steps:
        yield _FIRST_S
        error = {
            "type": "server_error",
            "code": "audio_unintelligible",
            "message": "The audio could not be transcribed.",
            "param": None,
        }
        self._emit(f"{_KIND}.failed", item_id=transcript.item_id, content_index=0, error=error)
