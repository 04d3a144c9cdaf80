"""Token numbers of responses and transcriptions, from real durations and texts. No I/O, no clock.

Observed in the recordings: one token per 100 ms of caller audio, one per 50 ms of answer audio, transcription
usage in whole seconds rounded up. The number of text tokens is an estimate.
"""

from __future__ import annotations

from .conversation import Conversation
from .wire import Event, tokens

USER_AUDIO_TOKEN_MS = 100
ANSWER_AUDIO_TOKEN_MS = 50
_CACHE_STEP = 64  # cached tokens come in multiples of this


def context_tokens(conversation: Conversation, instructions: str) -> tuple[int, int]:
    """(text, audio) tokens of what a response reads."""
    text, audio = len(tokens(instructions)), 0
    for item in conversation:
        step = USER_AUDIO_TOKEN_MS if item.body.get("role") == "user" else ANSWER_AUDIO_TOKEN_MS
        audio += item.audio_ms // step
        for part in item.body.get("content", []):
            text += len(tokens(part.get("text") or part.get("transcript") or ""))
        text += len(tokens(str(item.body.get("arguments", "")) + str(item.body.get("output", ""))))
    return text, audio


def response_usage(read: tuple[int, int], written: tuple[int, int], cached: int) -> Event:
    """``usage`` of ``response.done``; ``read`` and ``written`` are (text, audio) tokens."""
    cached = min(cached, read[0]) // _CACHE_STEP * _CACHE_STEP
    return {
        "total_tokens": sum(read) + sum(written),
        "input_tokens": sum(read),
        "output_tokens": sum(written),
        "input_token_details": {
            "text_tokens": read[0],
            "audio_tokens": read[1],
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": written[0], "audio_tokens": written[1]},
    }


def transcription_usage(model: str, audio_ms: int, transcript: str) -> Event:
    if "whisper" in model:
        return {"type": "duration", "seconds": -(-audio_ms // 1000)}
    heard, said = audio_ms // USER_AUDIO_TOKEN_MS, len(tokens(transcript))
    return {
        "type": "tokens",
        "total_tokens": heard + said,
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": said,
    }
