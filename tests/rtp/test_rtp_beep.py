"""One steady sine that ends is a beep; what speaks, rings or is keyed is none."""

from __future__ import annotations

import numpy as np
import pytest

from rtp.beep import RATE, BeepDetector
from rtp.g711 import Pcm, decode_pcmu, encode_pcmu
from rtp.tones import tones_of


def tone(hz: float, ms: int, *, db: float = -15.0, to_hz: float = 0.0) -> Pcm:
    at = np.arange(RATE * ms // 1000) / RATE
    sweep = (to_hz - hz) / 2 * at**2 / (ms / 1000) if to_hz else 0.0
    wave = 32767 * 10 ** (db / 20) * np.sin(2 * np.pi * (hz * at + sweep))
    return np.rint(wave).astype(np.int16)


def quiet(ms: int) -> Pcm:
    return np.zeros(RATE * ms // 1000, np.int16)


def beeps(*sounds: Pcm, noise_db: float | None = None, piece: int = 160) -> list[tuple[float, int]]:
    """Of all that is heard through µ-law: the pitch to 10 Hz, the length in milliseconds."""
    sound = np.concatenate((quiet(100), *sounds, quiet(200))).astype(np.float64)
    if noise_db is not None:
        sound += np.random.default_rng(7).normal(0, 32768 * 10 ** (noise_db / 20), len(sound))
    heard = decode_pcmu(encode_pcmu(np.clip(np.rint(sound), -32768, 32767).astype(np.int16)))
    detector = BeepDetector()
    found = [beep for at in range(0, len(heard), piece) for beep in detector.receive(heard[at : at + piece])]
    return [(round(beep.hz, -1), beep.ms) for beep in found]


@pytest.mark.parametrize("hz", [520, 700, 1000, 1400, 2000])
@pytest.mark.parametrize("ms", [150, 430, 1500])
@pytest.mark.parametrize(("db", "noise_db"), [(-6.0, None), (-15.0, -40.0), (-30.0, -50.0)])
@pytest.mark.parametrize("piece", [80, 160, 481])
def test_a_beep(hz: int, ms: int, db: float, noise_db: float | None, piece: int) -> None:
    ((found_hz, found_ms),) = beeps(tone(hz, ms, db=db), noise_db=noise_db, piece=piece)
    assert found_hz == pytest.approx(hz, abs=10)
    assert found_ms == pytest.approx(ms, abs=40)


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("shorter than a beep", tone(1000, 60)),
        ("without an end", tone(1000, 4000)),
        ("ringing", tone(425, 1000)),
        ("ringing in America", tone(440, 500) + tone(480, 500)),
        ("ringing in Britain", tone(400, 400) + tone(450, 400)),
        ("too low", tone(300, 500)),
        ("too high", tone(2100, 500)),
        ("faint", tone(1000, 500, db=-45.0)),
        ("a sweep", tone(600, 500, to_hz=1600)),
        ("a chord", tone(600, 500) + tone(900, 500)),
        ("keys", tones_of("147#", RATE, duration_ms=200, pause_ms=100)),
        ("silence", quiet(500)),
    ],
)
def test_what_is_none(name: str, sound: Pcm) -> None:
    assert beeps(sound) == [], name


def test_noise_is_none() -> None:
    assert beeps(quiet(5000), noise_db=-25.0) == []


def test_two_of_them() -> None:
    assert [hz for hz, _ in beeps(tone(1400, 200), quiet(100), tone(1000, 300))] == [1400, 1000]
