"""What a test call does and how it went; the caller's behaviour as a core without I/O.

``Script`` says when to speak, when to press keys and when to hang up, from what has been heard so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sipua.trunk import Trunk

LOUD_RMS = 100.0  # of 32768: -50 dBFS, well above G.711's idle noise and below any speech
GREETING_PAUSE_S = 0.7  # quiet for so long after somebody spoke: their sentence is over
GREETING_WAIT_S = 8.0  # nobody spoke at all: begin anyway


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What the caller does. ``until_quiet_s``: hang up when the answer to what was played is over.

    ``uri`` is a number if there are ``trunks`` to route it, on the trunk ``only`` if that is named. ``certificate`` and
    ``key`` are shown to the far end of a TLS trunk where it connects to us, for a BYE of its own.
    """

    uri: str
    trunks: tuple[Trunk, ...] = ()
    only: str = ""
    caller: str = ""
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    play: Path | None = None
    record: Path | None = None
    dtmf: str = ""  # keys, and W to wait
    dtmf_by: Literal["", "rfc4733", "info", "inband"] = ""  # "": as the trunk has it
    duration_s: float | None = None
    after_greeting: bool = False
    until_quiet_s: float | None = None
    ring_timeout_s: float | None = None  # None: the trunk's, or RING_TIMEOUT_S
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class CallResult:
    """How it went; times in milliseconds or seconds as named, None where it never came to that."""

    status: str
    sip_code: int
    reason: str
    setup_ms: float | None
    codec: str | None
    duration_seconds: float
    rtp: Mapping[str, Any]  # sipua.media_figures
    recording: str | None
    first_audio_ms: float | None
    reply_ms: float | None  # of sound heard after what was played
    device: Mapping[str, Any] | None  # how a person's sound device kept up
    attempts: Sequence[Mapping[str, Any]]  # of a routed number
    keys_heard: str

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Script:
    """The caller's behaviour. ``step`` says what to do now: "speak", "dial", "hang_up" or nothing."""

    def __init__(self, options: CallOptions, *, play_s: float, answered_at: float) -> None:
        self._options = options
        self._play_s = play_s
        self._answered_at = answered_at
        self._spoke_at: float | None = None
        self._dialled = not options.dtmf
        self._is_dialling = False
        self._loud_at: float | None = None
        self._loud_after_speech_at: float | None = None
        self.first_loud_at: float | None = None
        self.reply_ms = 0.0

    def heard(self, rms: float, now: float, length_ms: float) -> None:
        """One frame from the far end."""
        if rms < LOUD_RMS:
            return
        self._loud_at = now
        if self.first_loud_at is None:
            self.first_loud_at = now
        if self._spoke_at is not None and now > self._spoke_at + self._play_s:
            self._loud_after_speech_at = now
            self.reply_ms += length_ms

    def dialled(self) -> None:
        """The keys are out."""
        self._is_dialling = False

    def step(self, now: float) -> str | None:
        """What is due."""
        options = self._options
        if options.duration_s is not None and now - self._answered_at >= options.duration_s:
            return "hang_up"
        if not self._may_speak(now):
            return None
        if not self._dialled:
            self._dialled = self._is_dialling = True
            return "dial"
        if self._is_dialling:
            return None
        if self._spoke_at is None:
            self._spoke_at = now
            return "speak"
        quiet = options.until_quiet_s
        if quiet is not None and self._loud_after_speech_at is not None:
            return "hang_up" if now - self._loud_after_speech_at >= quiet else None
        return None

    def _may_speak(self, now: float) -> bool:
        if not self._options.after_greeting or self._spoke_at is not None:
            return True
        if self._loud_at is None:
            return now - self._answered_at >= GREETING_WAIT_S
        return now - self._loud_at >= GREETING_PAUSE_S
