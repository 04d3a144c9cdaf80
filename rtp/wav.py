"""WAV files: reading whatever a user has, writing recordings that survive a kill.

Read: PCM of 8, 16, 24 and 32 bits, 32- and 64-bit float, µ-law and A-law; mono, or more channels mixed down;
any sample rate, converted. The RIFF chunks are walked here because the standard library's ``wave`` knows only
PCM. Written: 16-bit PCM; the header's lengths are brought up to date once per second of sound, so that
a file whose writer was killed is valid and lacks at most its last second.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from .errors import WavError
from .g711 import Pcm, decode_pcma, decode_pcmu
from .resample import Resampler

ACCEPTED = "PCM 8/16/24/32 bit, float 32/64 bit, µ-law and A-law, in a RIFF/WAVE file"
MAX_FILE_BYTES = 512 << 20
MAX_RATE = 384_000  # Hz
PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE  # RFC 2361
FMT_CHUNK = struct.Struct("<HHIIHH")
HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
RESAMPLE_CHUNK = 1 << 16  # samples


def read_wav(path: str | Path, rate: int = 8000) -> Pcm:
    """The file's sound as mono int16 at ``rate`` Hz (1-D). Raises WavError that names the file."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise WavError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as exc:
        raise WavError(f"{path}: {exc.strerror or exc}") from exc
    fmt, sound = _chunks(path, data)
    tag, channels, file_rate, _, _, bits = FMT_CHUNK.unpack_from(fmt)
    if tag == EXTENSIBLE and len(fmt) >= 26:
        tag = struct.unpack_from("<H", fmt, 24)[0]  # the first two bytes of the sub-format GUID
    if not 1 <= channels <= 32 or not 0 < file_rate <= MAX_RATE:
        raise WavError(f"{path}: {channels} channels at {file_rate} Hz make no sense")
    samples = _decode(path, tag, bits, sound[: len(sound) - len(sound) % max(1, channels * bits // 8)])
    if channels > 1:
        samples = samples.reshape(-1, channels).mean(axis=1)
    pcm = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return _resampled(pcm, file_rate, rate)


def _chunks(path: Path, data: bytes) -> tuple[bytes, bytes]:
    """The contents of ``fmt `` and ``data``; a killed writer's data length (0, 0xFFFFFFFF) means the rest."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError(f"{path}: not a WAV file; accepted: {ACCEPTED}")
    fmt: bytes | None = None
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if name == b"fmt ":
            fmt = body
        elif name == b"data":
            if fmt is None or len(fmt) < FMT_CHUNK.size:
                raise WavError(f"{path}: no usable 'fmt ' chunk before the sound")
            return fmt, body if length else data[position + 8 :]
        position += 8 + length + length % 2
    raise WavError(f"{path}: no 'data' chunk; accepted: {ACCEPTED}")


def _decode(path: Path, tag: int, bits: int, sound: bytes) -> np.typing.NDArray[np.float64]:
    """Samples of all channels, interleaved, on the 16-bit scale."""
    match tag, bits:
        case 0x0001, 8:
            return (np.frombuffer(sound, np.uint8).astype(np.float64) - 128) * 256
        case 0x0001, 16:
            return np.frombuffer(sound, "<i2").astype(np.float64)
        case 0x0001, 24:
            wide = np.zeros((len(sound) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(sound, np.uint8).reshape(-1, 3)
            return wide.reshape(-1).view("<i4").astype(np.float64) / 65536
        case 0x0001, 32:
            return np.frombuffer(sound, "<i4").astype(np.float64) / 65536
        case 0x0003, 32 | 64:
            floats = np.frombuffer(sound, "<f4" if bits == 32 else "<f8").astype(np.float64)
            return np.asarray(np.nan_to_num(floats, nan=0.0, posinf=1.0, neginf=-1.0) * 32767)
        case 0x0006, 8:
            return decode_pcma(sound).astype(np.float64)
        case 0x0007, 8:
            return decode_pcmu(sound).astype(np.float64)
        case _:
            raise WavError(f"{path}: format {tag:#06x} with {bits} bits; accepted: {ACCEPTED}")


def _resampled(pcm: Pcm, src_rate: int, dst_rate: int) -> Pcm:
    if src_rate == dst_rate:
        return pcm
    resampler = Resampler(src_rate, dst_rate)
    chunks = [resampler.push(pcm[at : at + RESAMPLE_CHUNK]) for at in range(0, len(pcm), RESAMPLE_CHUNK)]
    return np.concatenate([*chunks, resampler.flush()])


class WavWriter:
    """Writes int16 at ``rate`` Hz as it comes. A context manager; ``close`` may be called twice."""

    def __init__(self, path: str | Path, rate: int = 8000, *, channels: int = 1) -> None:
        """Creates the file. Raises WavError, and leaves nothing open, if that cannot be done."""
        self.path = Path(path)
        self.rate = rate
        self.channels = channels
        self.samples = 0  # of each channel
        self._told = 0
        self._file: BinaryIO | None = None
        try:
            self._file = self.path.open("wb")
            self._write_header()
        except OSError as exc:
            if self._file is not None:
                with contextlib.suppress(OSError):  # closing tries once more to write what is buffered
                    self._file.close()
            raise WavError(f"{self.path}: {exc.strerror or exc}") from exc

    def write(self, pcm: Pcm) -> None:
        """Append samples, channels interleaved. Raises WavError after ``close`` or when the disk refuses."""
        if self._file is None:
            raise WavError(f"{self.path}: already closed")
        try:
            self._file.write(pcm.astype("<i2", copy=False).tobytes())
            self.samples += pcm.size // self.channels
            if self.samples - self._told >= self.rate:
                self._write_header()
        except OSError as exc:
            raise WavError(f"{self.path}: {exc.strerror or exc}") from exc

    def _write_header(self) -> None:
        assert self._file is not None
        frame = 2 * self.channels
        size = min(self.samples * frame, 0xFFFFFFFF - 36)
        header = HEADER.pack(
            b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, PCM, self.channels, self.rate, self.rate * frame, frame,
            16, b"data", size,
        )  # fmt: skip
        self._file.flush()  # the sound first: a header never promises what is not there
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        self._file.seek(0, 2)
        self._told = self.samples

    def close(self) -> None:
        """Bring the header up to date and close the file. Raises WavError, closed all the same."""
        if self._file is None:
            return
        try:
            with self._file:  # closes it also when the header cannot be written
                self._write_header()
        except OSError as exc:
            raise WavError(f"{self.path}: {exc.strerror or exc}") from exc
        finally:
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
