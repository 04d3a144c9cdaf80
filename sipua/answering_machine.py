"""Has a person taken the call, or a machine? A decision from the first seconds of sound; no I/O, no clock.

Who takes a telephone says a word and waits; a machine goes on talking, beeps, and is silent. So of the sound since the
answer it is measured how long it is silent, how long the first words last without a pause, and how long the pause is:

    nothing for initial_silence_ms                   unsure: somebody may be listening; they are spoken to
    words, then a pause of pause_ms                  person
    words for greeting_ms without such a pause       machine
    a beep, also long after another finding          machine, and then: beep, once it has ended
    none of that for total_ms                        unsure

After ``machine``, ``silence`` says that nothing has come for message_silence_ms: where there is no beep, the message is
left then. Time is that of the sound. Figures of how often it is right: docs/outbound.md.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from rtp.beep import RATE, BeepDetector
from rtp.g711 import Pcm

FRAME_MS = 20
FRAME = RATE * FRAME_MS // 1000
LEAST_VOICE_MS = 80  # of sound before it counts as words: a click is none
NOISE_FRAMES = 50  # the quietest of the last second is the line's own noise
ABOVE_NOISE = 3.0  # voice is louder by 10 dB
NOISE_MAX = 580.0  # -35 dBov: what is louder is no noise of a line


class Finding(StrEnum):
    """What became known."""

    PERSON = "person"
    MACHINE = "machine"
    UNSURE = "unsure"
    BEEP = "beep"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Found:
    """``at_ms`` since the answer; ``why`` in words for the ledger."""

    finding: Finding
    at_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class MachineRules:
    """See above. ``voice_db`` is the least level of voice in dBov."""

    initial_silence_ms: int = 2000
    greeting_ms: int = 1800
    pause_ms: int = 700
    total_ms: int = 6000
    message_silence_ms: int = 2500
    beep_ms: int = 120
    voice_db: float = -42.0


class AnsweringMachine:
    """Of one call, from its answer on."""

    def __init__(self, rules: MachineRules) -> None:
        self._rules = rules
        self._least = 32768 * 10 ** (rules.voice_db / 20)
        self._beeps = BeepDetector(rules.beep_ms)
        self._rest: Pcm = np.zeros(0, dtype=np.int16)
        self._levels: deque[float] = deque(maxlen=NOISE_FRAMES)
        self._at_ms = 0
        self._began_ms: int | None = None  # of the words
        self._voice_ms = 0  # of sound in them
        self._last_ms = 0  # when something was loud last
        self._verdict: Finding | None = None
        self._is_silence_told = False

    @property
    def at_ms(self) -> int:
        """So much sound has been heard."""
        return self._at_ms

    def receive(self, pcm: Pcm) -> list[Found]:
        """More sound, 8 kHz; what became known by it."""
        sound = np.concatenate((self._rest, pcm))
        found: list[Found] = []
        for begin in range(0, len(sound) - FRAME + 1, FRAME):
            found += self._frame(sound[begin : begin + FRAME])
        self._rest = sound[len(sound) // FRAME * FRAME :]
        return found

    def is_person(self, why: str) -> list[Found]:
        """Somebody knows it otherwise; only a beep says something else then."""
        return [] if self._verdict is not None else self._decided(Finding.PERSON, why)

    def _frame(self, frame: Pcm) -> list[Found]:
        self._at_ms += FRAME_MS
        self._hear(frame.astype(np.float64))
        if self._beeps.receive(frame):
            machine = [] if self._verdict is Finding.MACHINE else [self._found(Finding.MACHINE, "a beep")]
            self._verdict, self._is_silence_told = Finding.MACHINE, True
            return [*machine, self._found(Finding.BEEP, "a beep")]
        if self._verdict is None:
            return self._judged()
        if self._verdict is Finding.MACHINE and not self._is_silence_told:
            self._is_silence_told = self._at_ms - self._last_ms >= self._rules.message_silence_ms
            return [self._found(Finding.SILENCE, "no beep")] if self._is_silence_told else []
        return []

    def _hear(self, frame: np.ndarray) -> None:
        level = math.sqrt(float(frame @ frame) / FRAME)
        self._levels.append(level)
        noise = min(NOISE_MAX, min(self._levels))
        if level <= max(self._least, ABOVE_NOISE * noise):
            if self._voice_ms < LEAST_VOICE_MS and self._at_ms - self._last_ms > 2 * LEAST_VOICE_MS:
                self._began_ms, self._voice_ms = None, 0  # it was a click
            return
        if self._began_ms is None:
            self._began_ms = self._at_ms - FRAME_MS
        self._voice_ms += FRAME_MS
        self._last_ms = self._at_ms

    def _judged(self) -> list[Found]:
        rules = self._rules
        if self._began_ms is None or self._voice_ms < LEAST_VOICE_MS:
            if self._at_ms >= rules.initial_silence_ms and self._began_ms is None:
                return self._decided(Finding.UNSURE, "silence")
        elif self._last_ms - self._began_ms >= rules.greeting_ms:
            return self._decided(Finding.MACHINE, "a long greeting")
        elif self._at_ms - self._last_ms >= rules.pause_ms:
            return self._decided(Finding.PERSON, "a short greeting")
        return self._decided(Finding.UNSURE, "time") if self._at_ms >= rules.total_ms else []

    def _decided(self, verdict: Finding, why: str) -> list[Found]:
        self._verdict = verdict
        return [self._found(verdict, why)]

    def _found(self, finding: Finding, why: str) -> Found:
        return Found(finding, self._at_ms, why)
