"""What the services charge: data with its date, and the cost of a ``usage`` object. No I/O, no clock.

US dollars a million tokens, as OpenAI's pages of the models had them. The settings may lay others over them, and have
to where the name is a deployment's or the service another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

PRICES_OF = "2026-11-22"
AUDIO_TOKEN_S = (
    0.1  # of the caller's audio (observed), where the usage is in tokens and the price by duration
)
AUDIO_OUT_TOKEN_S = 0.05  # of the agent's (observed)


@dataclass(frozen=True, slots=True)
class Price:
    """``minute`` is for transcription that is charged by duration."""

    text_in: float = 0.0
    text_cached: float = 0.0
    text_out: float = 0.0
    audio_in: float = 0.0
    audio_cached: float = 0.0
    audio_out: float = 0.0
    minute: float = 0.0


_LARGE = Price(4.0, 0.4, 16.0, 32.0, 0.4, 64.0)
_REASONING = Price(4.0, 0.4, 24.0, 32.0, 0.4, 64.0)
_MINI = Price(0.6, 0.06, 2.4, 10.0, 0.3, 20.0)
# The longest name that a model's begins with counts: snapshots carry their date behind it.
PRICES: Mapping[str, Price] = {
    "gpt-realtime": _LARGE,
    "gpt-realtime-1.5": _LARGE,
    "gpt-realtime-2": _REASONING,
    "gpt-realtime-20": _LARGE,  # gpt-realtime-2025-08-28
    "gpt-realtime-2.1-mini": _MINI,
    "gpt-realtime-mini": _MINI,
    "gpt-realtime-whisper": Price(minute=0.017),
    "gpt-transcribe": Price(minute=0.0045),
    "gpt-4o-transcribe": Price(text_in=2.5, text_out=10.0, audio_in=6.0),
    "gpt-4o-mini-transcribe": Price(text_in=1.25, text_out=5.0, audio_in=3.0),
    "whisper-1": Price(minute=0.006),
}
PRICE_KEYS = tuple(field.name for field in fields(Price))


def price_of(model: str, own: Mapping[str, Price] | None = None) -> Price | None:
    """None for a model whose price nobody has told us. ``own`` comes first, name for name."""
    known = {**PRICES, **(own or {})}
    names = [name for name in known if model.startswith(name)]
    return known[max(names, key=len)] if names else None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a ``usage`` says; cached tokens are not in the input ones."""

    text_in: int = 0
    text_cached: int = 0
    text_out: int = 0
    audio_in: int = 0
    audio_cached: int = 0
    audio_out: int = 0
    seconds: float = 0.0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Tokens)))

    def cost_usd(self, price: Price) -> float:
        million = (
            self.text_in * price.text_in
            + self.text_cached * price.text_cached
            + self.text_out * price.text_out
            + self.audio_in * price.audio_in
            + self.audio_cached * price.audio_cached
            + self.audio_out * price.audio_out
        )
        seconds = self.seconds or self.audio_in * AUDIO_TOKEN_S
        return million / 1e6 + seconds / 60 * price.minute


def tokens_of(usage: Mapping[str, Any] | None) -> Tokens:
    """Of ``response.done`` or of a transcription; what is missing or no number is 0."""
    if usage is None:
        return Tokens()
    read, written = _mapping(usage, "input_token_details"), _mapping(usage, "output_token_details")
    cached = _mapping(read, "cached_tokens_details")
    text_cached, audio_cached = _count(cached, "text_tokens"), _count(cached, "audio_tokens")
    is_detailed = "text_tokens" in written or "audio_tokens" in written
    return Tokens(
        text_in=max(0, _count(read, "text_tokens") - text_cached),
        text_cached=text_cached,
        text_out=_count(written, "text_tokens") if is_detailed else _count(usage, "output_tokens"),
        audio_in=max(0, _count(read, "audio_tokens") - audio_cached),
        audio_cached=audio_cached,
        audio_out=_count(written, "audio_tokens"),
        seconds=_number(usage, "seconds"),
    )


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _number(value: Mapping[str, Any], key: str) -> float:
    found = value.get(key)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return max(0.0, float(found)) if is_number and found is not None else 0.0


def _count(value: Mapping[str, Any], key: str) -> int:
    return int(_number(value, key))
