"""This machine's sound devices, by PortAudio. The only importer of ``sounddevice``, and only where it is asked for.

Microphone and speaker are two streams, as they may be two devices with two clocks. PortAudio calls back in threads of
its own, which must not wait for anything: all that happens there is a copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from rtp.g711 import Pcm
from sipua.errors import ConfigError, LocalError

BLOCK_MS = 20
NUMBERS = re.compile(r"(\d+)(?:,(\d+))?")

Kind = Literal["input", "output"]


class PortAudio:
    """A microphone and a speaker (``sipua.sound.talker.SoundDevice``)."""

    def __init__(self, name: str, rate: int) -> None:
        """``name`` is part of a name, a number, or two (microphone, speaker); "" is the default.

        ``rate`` is used where the device has it, else its own. ConfigError, LocalError: nothing that can be used.
        """
        self._library = _library()
        self.fault = ""
        self._is_closing = False
        self._streams: list[Any] = []
        self._microphone, self.microphone_rate = self._usable(name, "input", rate)
        self._speaker, self.speaker_rate = self._usable(name, "output", rate)

    def _usable(self, name: str, kind: Kind, rate: int) -> tuple[int | str | None, int]:
        """The device of this kind, and the rate that it has."""
        chosen = _chosen(name, kind)
        check = getattr(self._library, f"check_{kind}_settings")
        fault: Exception | None = None
        try:
            found = self._library.query_devices(chosen, kind)
            for each in (rate, int(found["default_samplerate"])):
                try:
                    check(device=chosen, channels=1, dtype="int16", samplerate=each)
                except self._library.PortAudioError as error:
                    fault = error
                else:
                    return chosen, each
        except (ValueError, self._library.PortAudioError) as error:
            fault = error
        what = "microphone" if kind == "input" else "speaker"
        shown = f"--device {name}: " if name else ""
        raise LocalError(
            f"{shown}no {what} that can be used ({fault}); see `sipua call --list-devices`"
        ) from None

    def start(self, on_microphone: Callable[[Pcm], None], for_speaker: Callable[[int], Pcm]) -> None:
        """Both streams run. LocalError if a device is taken."""

        def heard(block: Any, frames: int, when: Any, status: Any) -> None:
            on_microphone(block[:, 0].copy())

        def wanted(block: Any, frames: int, when: Any, status: Any) -> None:
            block[:, 0] = for_speaker(frames)

        library = self._library
        try:
            for make, device, rate, callback in (
                (library.InputStream, self._microphone, self.microphone_rate, heard),
                (library.OutputStream, self._speaker, self.speaker_rate, wanted),
            ):
                stream = make(
                    device=device, samplerate=rate, channels=1, dtype=np.int16, blocksize=rate * BLOCK_MS // 1000,
                    callback=callback, finished_callback=self._finished,
                )  # fmt: skip
                self._streams.append(stream)
                stream.start()
        except library.PortAudioError as error:
            self.close()
            raise LocalError(f"the sound device cannot be opened: {error}") from None

    def _finished(self) -> None:
        if not self._is_closing:
            self.fault = "the sound device has stopped (unplugged?)"

    def close(self) -> None:
        """May be called twice."""
        self._is_closing = True
        while self._streams:
            self._streams.pop().close()


def list_devices() -> str:
    """For people: number, name, channels; the default ones are marked."""
    library = _library()
    return str(library.query_devices()) if len(library.query_devices()) else "no sound devices"


def _chosen(name: str, kind: Kind) -> int | str | None:
    numbers = NUMBERS.fullmatch(name)
    if numbers is None:
        return name or None
    first, second = numbers.groups()
    return int(first if kind == "input" or second is None else second)


def _library() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise ConfigError('this needs the library sounddevice: pip install "sipua[mic]"') from None
    except OSError as error:  # it loads PortAudio when it is imported
        raise LocalError(f"this needs PortAudio ({error}): apt-get install libportaudio2") from None
    return sounddevice
