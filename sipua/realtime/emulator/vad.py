"""The emulator's voice activity detection: turns come only from the audio that was received.

No I/O, no clock: time is the amount of audio written since the session began, as on the real service. The
grid is 32 ms: ``audio_start_ms + prefix_padding_ms`` and ``audio_end_ms`` are multiples of it and the end
includes the silence tail (observed in recordings).

A turn begins when, within 320 ms, four blocks are voiced *and* their spectrum moves; it is dated back to the
first of them. It goes on while blocks are voiced, or sound like speech to WebRTC's detector within 256 ms of
a voiced one (fricatives, plosives). Noise alone never has voiced blocks, so it neither begins nor prolongs a
turn, however loud it is: see :mod:`sipua.realtime.emulator.voicing` for why.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from .voicing import BLOCK, BLOCK_MS, RATE, Analyser, Block

_WEBRTC_MODE = 2
_WEBRTC_SAMPLES = RATE * 30 // 1000  # it takes 10, 20 or 30 ms; the last 30 of each 32 are shown to it
_ONSET_BLOCKS = 10  # looked at for a beginning (320 ms) ...
_ONSET_VOICED = 4  # ... of which so many must be voiced
_ONSET_FLUX_DB = 1.0  # and move at least so much from block to block; steady tones stay below 0.6
_ONSET_LEVEL_DB = 0.7  # and its level vary so much; hum under noise varies by 0.5
_ONSET_PERIODICITY = 0.47
_KEEP_PERIODICITY = 0.45
_BRIDGE_BLOCKS = 8  # unvoiced speech may stand alone for so long
_TONE_SHARE = 0.97  # more energy than this in two lines is a tone
_GATE_DB = -56.0  # at threshold 0.5; moves 5 dB for each 0.1
_SEMANTIC_TAIL_MS = {"low": 1200, "medium": 800, "auto": 800, "high": 500}


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class VadSettings:
    """What ``turn_detection`` says; ``semantic_vad`` is the same engine with a longer tail."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500

    @classmethod
    def from_turn_detection(cls, config: dict[str, object]) -> VadSettings:
        if config["type"] == "semantic_vad":
            return cls(silence_duration_ms=_SEMANTIC_TAIL_MS[str(config.get("eagerness") or "auto")])
        return cls(
            threshold=float(str(config["threshold"])),
            prefix_padding_ms=int(str(config["prefix_padding_ms"])),
            silence_duration_ms=int(str(config["silence_duration_ms"])),
        )


class Vad:
    """Feed 8 kHz samples, get the beginnings and ends of speech. ``speaking`` is true between the two."""

    def __init__(self, settings: VadSettings) -> None:
        self.settings = settings
        self.speaking = False
        self._webrtc = webrtcvad.Vad(_WEBRTC_MODE)
        self._analyser = Analyser()
        self._rest: NDArray[np.int16] = np.zeros(0, np.int16)
        self._blocks = 0  # analysed since the session began
        self._recent: deque[tuple[bool, Block]] = deque(maxlen=_ONSET_BLOCKS)
        self._last_active = 0  # index after the last block that counted as speech
        self._last_voiced = 0

    def push(self, samples: NDArray[np.int16]) -> list[SpeechStarted | SpeechStopped]:
        data = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        found: list[SpeechStarted | SpeechStopped] = []
        whole = len(data) // BLOCK * BLOCK
        for at in range(0, whole, BLOCK):
            event = self._block(data[at : at + BLOCK])
            if event is not None:
                found.append(event)
        self._rest = data[whole:].copy()
        return found

    def reset(self) -> None:
        """Forget a turn in progress (the buffer was cleared or committed by hand); the clock goes on."""
        self.speaking = False
        self._recent.clear()

    def _block(self, samples: NDArray[np.int16]) -> SpeechStarted | SpeechStopped | None:
        block = self._analyser.push(samples)
        self._blocks += 1
        loud = block.level_db >= _GATE_DB + 50.0 * (self.settings.threshold - 0.5)
        sounds = loud and self._webrtc.is_speech(samples[-_WEBRTC_SAMPLES:].astype("<i2").tobytes(), RATE)
        tone = block.line_share >= _TONE_SHARE
        if self.speaking:
            return self._speech_block(block, sounds and not tone)
        voiced = sounds and not tone and block.periodicity >= _ONSET_PERIODICITY
        self._recent.append((voiced, block))
        return self._onset() if voiced else None

    def _onset(self) -> SpeechStarted | None:
        candidates = [block for voiced, block in self._recent if voiced]
        if len(candidates) < _ONSET_VOICED:
            return None
        # The first block of a tone's beginning moves too: the lower quartile counts, and the lowest level does not.
        levels = sorted(block.level_db for block in candidates)
        if levels[-1] - levels[1] < _ONSET_LEVEL_DB:
            return None
        if sorted(block.flux_db for block in candidates)[len(candidates) // 4] < _ONSET_FLUX_DB:
            return None
        first = next(i for i, (voiced, _) in enumerate(self._recent) if voiced)
        start_block = self._blocks - len(self._recent) + first
        self.speaking = True
        self._last_active = self._last_voiced = self._blocks
        self._recent.clear()
        return SpeechStarted(max(0, start_block * BLOCK_MS - self.settings.prefix_padding_ms))

    def _speech_block(self, block: Block, sounds: bool) -> SpeechStopped | None:
        if sounds and block.periodicity >= _KEEP_PERIODICITY:
            self._last_voiced = self._last_active = self._blocks
        elif sounds and self._blocks - self._last_voiced <= _BRIDGE_BLOCKS:
            self._last_active = self._blocks
        if (self._blocks - self._last_active) * BLOCK_MS < self.settings.silence_duration_ms:
            return None
        self.speaking = False
        return SpeechStopped(self._blocks * BLOCK_MS)
