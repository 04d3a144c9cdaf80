"""The caller's transcripts: texts of the script, labelled, sent when the script says so.

No I/O, no clock. Streaming deltas and their place (after ``response.created``, mid-answer) are observed;
``early``, ``late``, out of order and ``failed`` are derived from the specification.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from .script import Turn
from .timeline import Steps
from .usage import transcription_usage
from .wire import Event, Ids, tokens

_FIRST_S = 0.12
_DELTA_S = 0.03
_WHOLE_ONLY = ("whisper-1",)  # models that do not stream


class Emit(Protocol):
    def __call__(self, kind: str, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """One utterance's transcript as the session's transcription model would deliver it."""

    item_id: str
    text: str
    lang: str
    audio_ms: int
    config: Event
    logprobs: bool

    def steps(self, emit: Emit, ids: Ids, *, first_s: float = _FIRST_S, failed: bool = False) -> Steps:
        """Deltas, then completed (or failed)."""
        yield first_s
        common: Event = {"item_id": self.item_id, "content_index": 0}
        if failed:
            error = {
                "type": "server_error",
                "code": "audio_unintelligible",
                "message": "The audio could not be transcribed.",
                "param": None,
            }
            emit("conversation.item.input_audio_transcription.failed", **common, error=error)
            return
        if self.config["model"] not in _WHOLE_ONLY:
            for word in tokens(" " + self.text):
                fields = {**common, "delta": word, "obfuscation": ids.obfuscation(word)}
                emit("conversation.item.input_audio_transcription.delta", **fields)
                yield _DELTA_S
        emit("conversation.item.input_audio_transcription.completed", **self._completed(common))

    def _completed(self, common: Event) -> Event:
        model = self.config["model"]
        body: Event = {
            **common,
            "transcript": self.text,
            "usage": transcription_usage(model, self.audio_ms, self.text),
        }
        if model == "gpt-transcribe":
            body["languages"] = [{"code": self.lang}]
        if self.logprobs:
            body["logprobs"] = [
                {"token": word, "bytes": list(word.encode()), "logprob": math.log(0.9)}
                for word in tokens(self.text)
            ]
        return body


def labelled(prefix: str, turn: Turn) -> str:
    return prefix + turn.user
