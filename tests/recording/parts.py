"""Recordings made in tests: sound that tells its place, a meter that counts, a ledger that remembers."""

from __future__ import annotations

import asyncio
import wave
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from rtp.codec import CODECS, Codec
from sipua.recorder import PART, Recorder, Tape, Trouble

PCMU = CODECS["PCMU"]
CALL, DAY = UUID(int=5), datetime(2026, 1, 2, 3, tzinfo=UTC)


class Counted:
    """``sipua.recorder.Meter``."""

    def __init__(self) -> None:
        self.active = 0
        self.outcomes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def recording_began(self) -> None:
        self.active += 1

    def recording_ended(self, outcome: str) -> None:
        self.active -= 1
        self.outcomes[outcome] += 1

    def recording_failed(self, reason: str) -> None:
        self.faults[reason] += 1


class Remembered:
    """``sipua.recording_keeper.KeptLedger``."""

    def __init__(self) -> None:
        self.kept: dict[UUID, str] = {}
        self.deleted: list[UUID] = []

    def recording_kept(self, consent_id: UUID, url: str) -> None:
        self.kept[consent_id] = url

    def recording_deleted(self, consent_id: UUID) -> None:
        self.deleted.append(consent_id)


def begun(recorder: Recorder, told: list[Trouble], codec: Codec = PCMU) -> Tape:
    tape = recorder.record(CALL, uuid4(), codec, 0.0, DAY, told.append)
    assert tape is not None
    return tape


def talk(tape: Tape, seconds: float) -> None:
    """Both sides of a PCMU call in frames of 20 ms, each side with a sound of its own."""
    for n in range(round(seconds * 50)):
        tape.heard(n * 0.02, b"\x80" * 160, made_up=False)
        tape.sent(n * 0.02, b"\x00" * 160)


def tone(codec: Codec, hertz: int, seconds: float) -> list[bytes]:
    """In frames of 20 ms."""
    at = np.arange(round(seconds * codec.sample_rate)) / codec.sample_rate
    sound, size = (
        codec.encode((8000 * np.sin(2 * np.pi * hertz * at)).astype(np.int16)),
        codec.frame_bytes(20),
    )
    return [sound[begin : begin + size] for begin in range(0, len(sound), size)]


def stereo(file: Path) -> tuple[int, NDArray[np.int16], NDArray[np.int16]]:
    """Rate, left and right, as the standard library reads them."""
    with wave.open(str(file)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (2, 2)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2)
        return sound.getframerate(), samples[:, 0], samples[:, 1]


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def finished(folder: Path, sound: bytes, name: str = "") -> tuple[UUID, Path]:
    """A file as the recorder leaves it."""
    consent = uuid4()
    file = folder / "2026-01-02" / (name or f"{CALL}_{consent}.wav{PART}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(sound)
    return consent, file


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for something that a task or thread does."""
    for _ in range(round(seconds * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")
