"""A sound device of the tests' own: speaks a WAV's samples and keeps what it is given, by a clock that is skewed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from rtp.g711 import Pcm

BLOCK_S = 0.02


class SkewedDevice:
    """``run_until`` plays by a clock of the caller's; ``RunningDevice`` by the real one, in a thread."""

    def __init__(self, sound: Pcm, *, rate: int = 8000, ppm: float = 0.0) -> None:
        """``sound`` is repeated; ``ppm``: how much faster than ours its clock is."""
        self.microphone_rate = self.speaker_rate = rate
        self.fault = ""
        self.is_closed = False
        self.heard: list[Pcm] = []
        self._sound = sound
        self._frames = round(rate * BLOCK_S)
        self._period_s = BLOCK_S / (1 + ppm / 1e6)
        self._blocks = 0
        self._at = 0

    def start(self, on_microphone: Callable[[Pcm], None], for_speaker: Callable[[int], Pcm]) -> None:
        self._on_microphone, self._for_speaker = on_microphone, for_speaker

    def run_until(self, seconds: float) -> None:
        """All blocks that its clock has completed by then."""
        while (self._blocks + 1) * self._period_s <= seconds:
            self._blocks += 1
            places = np.arange(self._at, self._at + self._frames) % self._sound.size
            self._at += self._frames
            self._on_microphone(self._sound[places])
            self.heard.append(self._for_speaker(self._frames))

    def close(self) -> None:
        self.is_closed = True


class RunningDevice(SkewedDevice):
    """With a thread of its own, as PortAudio's. ``breaks_after_s``: it is unplugged."""

    def __init__(self, sound: Pcm, *, ppm: float = 0.0, breaks_after_s: float | None = None) -> None:
        super().__init__(sound, ppm=ppm)
        self._stop = threading.Event()
        self._breaks_after_s = breaks_after_s
        self._thread = threading.Thread(target=self._run, name="sound card")

    def start(self, on_microphone: Callable[[Pcm], None], for_speaker: Callable[[int], Pcm]) -> None:
        super().start(on_microphone, for_speaker)
        self._thread.start()

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stop.wait(BLOCK_S / 2):
            at = time.monotonic() - begun
            if self._breaks_after_s is not None and at > self._breaks_after_s:
                self.fault = "the sound device has stopped (unplugged?)"
                return
            self.run_until(at)

    def close(self) -> None:
        super().close()
        self._stop.set()
        self._thread.join()
