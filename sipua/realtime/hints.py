"""What helps the transcription but may be refused: a language, a prompt, log probabilities. No I/O, no clock.

Theory: which languages a transcription model takes is nowhere said (Whisper's list has no Kinyarwanda; of the newer
models nobody knows), and a refused hint refuses the whole ``session.update``: the call would be lost over a nicety. So
each of them may be refused once. A refused language is left to detection, with a prompt in that language where the
model takes prompts; a refused prompt is left out. What was accepted in the end is remembered by the backend.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sipua.realtime.config import Transcription
from sipua.realtime.events import ServiceError, UserTranscriptFailed

PROMPTLESS_MODELS = ("gpt-realtime-whisper", "gpt-4o-transcribe-diarize")  # the SDK's own note


def without_refused(asked: Transcription | None, error: ServiceError) -> Transcription | None:
    """What to ask instead; None if the error is not about a hint that was sent."""
    if asked is None:
        return None
    param = error.param or ""
    if asked.has_logprobs and (_names(param, error.message, "include") or "logprobs" in error.message):
        return replace(asked, has_logprobs=False)
    about_it = "transcription" in param or not param
    if asked.language is not None and about_it and _names(param, error.message, "language"):
        return without_language(asked)
    if asked.prompt is not None and about_it and _names(param, error.message, "prompt"):
        return replace(asked, prompt=None)
    return None


def is_about_language(failed: UserTranscriptFailed) -> bool:
    """Whether one utterance could not be written down because of the hint: some models say so only then."""
    code = failed.code or ""
    return "language" in code or ("invalid" in code and "language" in failed.message.lower())


def without_language(asked: Transcription) -> Transcription:
    """The language is left to detection; its own prompt helps where the model takes one."""
    takes_prompt = asked.model not in PROMPTLESS_MODELS
    prompt = asked.prompt or asked.language_prompt
    return replace(asked, language=None, prompt=prompt if takes_prompt else None)


def as_change(wanted: Transcription) -> dict[str, Any]:
    """The ``session`` of an update that brings a running session there: what it had before is cleared by null."""
    return {"audio": {"input": {"transcription": {"language": None, "prompt": None} | wanted.wire()}}}


def _names(param: str, message: str, word: str) -> bool:
    """Whether ``word`` is meant: by the parameter's path, or by the text where the path stops short of it."""
    last = param.rpartition(".")[2].partition("[")[0]
    return last == word or (last in ("", "transcription") and word in message.lower())
