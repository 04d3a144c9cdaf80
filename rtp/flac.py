"""FLAC files: recordings at about half the size of WAV, streamed to disk, readable after a kill.

libavformat fills in length and checksum when the file is closed; of a file that was not closed they are unknown, which
the format allows. Each frame (4,608 samples, 0.6 s at 8 kHz) reaches the disk as it is made.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.error import FFmpegError

from .errors import RtpError
from .g711 import Pcm

LAYOUTS = {1: "mono", 2: "stereo"}


class FlacError(RtpError):
    """A FLAC file cannot be written; the message names it."""


class FlacWriter:
    """Writes int16 at ``rate`` Hz as it comes; as ``rtp.wav.WavWriter``."""

    def __init__(self, path: str | Path, rate: int = 8000, *, channels: int = 1) -> None:
        """The file appears with its first sound. Raises FlacError."""
        self.path = Path(path)
        self.samples = 0  # of each channel
        self._rate = rate
        self._layout = LAYOUTS[channels]
        self._channels = channels
        try:
            self._file = av.open(str(path), "w", format="flac", options={"flush_packets": "1"})
            self._stream = self._file.add_stream("flac", rate=rate, layout=self._layout, format="s16")
        except (FFmpegError, OSError) as error:
            raise self._fault(error) from error
        self._is_open = True

    def write(self, pcm: Pcm) -> None:
        """Append samples, channels interleaved. Raises FlacError after ``close`` or when the disk refuses."""
        if not self._is_open:
            raise FlacError(f"{self.path}: already closed")
        if not pcm.size:
            return
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout=self._layout)
        frame.rate, frame.pts = self._rate, self.samples
        self._encode(frame)
        self.samples += pcm.size // self._channels

    def close(self) -> None:
        """Bring the header up to date and close the file. Raises FlacError, closed all the same."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self.samples:
                self._encode(None)
        finally:
            try:
                self._file.close()
            except (FFmpegError, OSError) as error:
                raise self._fault(error) from error

    def _encode(self, frame: av.AudioFrame | None) -> None:
        try:
            self._file.mux(self._stream.encode(frame))
        except (FFmpegError, OSError) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> FlacError:
        return FlacError(f"{self.path}: {getattr(error, 'strerror', None) or error}")
