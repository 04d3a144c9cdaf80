"""Faults on request: what can go wrong between a client and the service, by name.

No I/O, no clock. :class:`Injector` changes the stream of server events; the HTTP faults and ``slow_reader``
are performed by the adapter, the rest by the core, which asks :meth:`Injector.has`.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from sipua.errors import ConfigError

from .outputs import Abort, Close, Output, Send, SendText
from .wire import Event, Ids

_MOMENT = (
    "ARG: N events, or N.Ns seconds after the start; without it at the first audio of an answer (or text)"
)
FAULTS: dict[str, str] = {
    "call_error": "answers the first ARG requests about a call (default 1) with HTTP 500",
    "call_gone": "says of every call that there is no such one (404)",
    "close_1011": f"closes the WebSocket with 1011 keepalive ping timeout. {_MOMENT}",
    "delay_ms": "sends every event ARG milliseconds late (default 500)",
    "drop": f"breaks the TCP connection without a close frame. {_MOMENT}",
    "duplicate_delta": "sends every audio delta twice",
    "error_event": "sends an error event with code ARG (default insufficient_quota) after session.created",
    "expire": "ends the session with session_expired and close 1001 after ARG seconds (default 5)",
    "http_401": "refuses the upgrade with HTTP 401 invalid_api_key",
    "http_500": "refuses the upgrade with HTTP 500 server_error",
    "invalid_json": "sends a text frame that is not JSON after each response.created",
    "late_delta": "sends one more audio delta after response.done, and amid a barge-in after speech_started",
    "no_response": "answers neither turns nor response.create",
    "no_session_updated": "never sends session.updated",
    "no_transcript": "never sends transcripts of the caller",
    "quota": "the first ARG responses (default 1) end as failed with insufficient_quota",
    "rate_limit": "the first ARG responses (default 1) end as failed with rate_limit_exceeded",
    "refuse_language": "refuses the transcription language ARG (default rw), as a model that does not know it",
    "reject_session_update": "answers every session.update with an error and keeps the configuration",
    "server_error": "the first ARG responses (default 1) end as failed with server_error",
    "sideband_drop": "breaks the connection of a call's sideband after ARG events (default 10), once",
    "slow_reader": "waits ARG milliseconds (default 500) before it reads the next message",
    "stall": f"sends nothing any more, the connection stays open. {_MOMENT}",
    "transcription_failed": "every transcription of the caller fails",
    "unknown_event": "sends an event of an unknown type after session.updated and each response.created",
    "wrong_format_echo": "session.updated echoes other audio formats than those asked for",
}
_MOMENTS = ("close_1011", "drop", "stall")
_NUMBERS = {
    "call_error": 1.0, "delay_ms": 500.0, "expire": 5.0, "quota": 1.0, "rate_limit": 1.0, "server_error": 1.0,
    "sideband_drop": 10.0, "slow_reader": 500.0,
}  # fmt: skip
_WORDS = {"error_event": "insufficient_quota", "refuse_language": "rw"}


@dataclass(frozen=True, slots=True)
class Fault:
    """``session``: the number of the only one that it concerns, from 1."""

    name: str
    arg: str | None = None
    session: int | None = None

    @property
    def number(self) -> float:
        return float(self.arg) if self.arg is not None else _NUMBERS[self.name]

    @property
    def word(self) -> str:
        return self.arg if self.arg is not None else _WORDS[self.name]


def of_session(faults: list[Fault], number: int) -> list[Fault]:
    """Those that concern the session of this number."""
    return [fault for fault in faults if fault.session in (None, number)]


def parse_fault(text: str) -> Fault:
    """``[SESSION:]NAME[=ARG]``; raises :class:`ConfigError` naming what is allowed."""
    counted = re.fullmatch(r"([1-9][0-9]{0,5}):(.*)", text)
    session, (name, equals, arg) = int(counted[1]) if counted else None, text.partition("=")
    name = name.partition(":")[2] if counted else name
    if name not in FAULTS:
        raise ConfigError(f"--fault {text}: no fault {name!r}; allowed: {', '.join(FAULTS)}")
    if not equals:
        return Fault(name, None, session)
    number = arg[:-1] if name in _MOMENTS and arg.endswith("s") else arg
    if name in _WORDS and arg:
        return Fault(name, arg, session)
    if name not in _NUMBERS and name not in _MOMENTS:
        raise ConfigError(f"--fault {text}: {name} takes no argument; it {FAULTS[name]}")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1e6:
        raise ConfigError(f"--fault {text}: {arg!r} is not a number from 0 to 1000000; {name} {FAULTS[name]}")
    return Fault(name, arg, session)


class Injector:
    """Turns one event of the core into what really goes out."""

    def __init__(self, faults: list[Fault], ids: Ids) -> None:
        self._faults = {fault.name: fault for fault in faults}
        self._turn: frozenset[str] = frozenset()
        self._ids = ids
        self._sent = 0
        self._used: dict[str, int] = {}
        self._last_delta: Event | None = None
        self._silent = False

    def has(self, name: str) -> Fault | None:
        return self._faults.get(name) or (Fault(name) if name in self._turn else None)

    def take(self, name: str) -> bool:
        """For faults that happen a number of times: uses one up."""
        fault = self.has(name)
        if fault is None:
            return False
        if name in self._turn:
            return True
        self._used[name] = self._used.get(name, 0) + 1
        return self._used[name] <= fault.number

    def of_turn(self, names: tuple[str, ...]) -> None:
        """The faults of the script's current answer, until the next answer begins."""
        self._turn = frozenset(names)

    def seconds(self) -> list[tuple[float, str]]:
        """Faults whose moment is a time after the start."""
        moments = [(name, self._faults[name].arg or "") for name in _MOMENTS if name in self._faults]
        return [(float(arg[:-1]), name) for name, arg in moments if arg.endswith("s")]

    def strike(self, name: str) -> list[Output]:
        """Performs a fault whose moment has come."""
        if self._silent:
            return []
        self._silent = True
        if name == "drop":
            return [Abort()]
        return [Close(1011, "keepalive ping timeout")] if name == "close_1011" else []

    def outgoing(self, event: Event) -> list[Output]:
        if self._silent or (event["type"] == "session.updated" and self.has("no_session_updated")):
            return []
        found: list[Output] = [Send(self._changed(event))]
        found += self._additions(event)
        self._sent += 1
        for name in _MOMENTS:
            if self._struck_by(name, event):
                return found + self.strike(name)
        return found

    def _struck_by(self, name: str, event: Event) -> bool:
        fault = self.has(name)
        if fault is None:
            return False
        if fault.arg is None:
            return event["type"] in ("response.output_audio.delta", "response.output_text.delta")
        return not fault.arg.endswith("s") and self._sent >= float(fault.arg)

    def _changed(self, event: Event) -> Event:
        if event["type"] != "session.updated" or not self.has("wrong_format_echo"):
            return event
        event = copy.deepcopy(event)
        for side in ("input", "output"):
            asked = event["session"]["audio"][side]["format"]["type"]
            event["session"]["audio"][side]["format"] = (
                {"type": "audio/pcm", "rate": 24000} if asked != "audio/pcm" else {"type": "audio/pcmu"}
            )
        return event

    def _additions(self, event: Event) -> list[Output]:
        kind = event["type"]
        if kind == "response.output_audio.delta":
            self._last_delta = event
            return [Send(event)] if self.has("duplicate_delta") else []
        found: list[Output] = []
        if kind in ("session.updated", "response.created") and self.has("unknown_event"):
            found.append(
                Send({"type": "session.weather.changed", "event_id": self._ids.new("event"), "wind": 3})
            )
        if kind == "response.created" and self.has("invalid_json"):
            found.append(SendText('{"type": "response.output_audio.delta", "delta": "AAA'))
        # Under way when the response was cancelled: from others' logs and the specification, not observed.
        if kind in ("response.done", "input_audio_buffer.speech_started") and self._last_delta is not None:
            if self.has("late_delta"):
                found.append(Send({**self._last_delta, "event_id": self._ids.new("event")}))
            self._last_delta = self._last_delta if kind != "response.done" else None
        return found
