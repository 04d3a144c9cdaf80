"""Person or machine, from made-up sound for the rules and from recorded prompts for how often that is right.

``confusion`` is the table that docs/outbound.md shows; ``python -m tests.sipua.test_answering_machine`` prints it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from rtp.g711 import Pcm, decode_pcmu, encode_pcmu
from rtp.wav import read_wav
from sipua.answering_machine import AnsweringMachine, Finding, Found, MachineRules
from sipua.resources import shipped_conf
from tests.peers.conftest import SOUNDS
from tests.rtp.test_rtp_beep import quiet, tone

LEVELS = ((0.0, None), (0.0, -40.0), (-12.0, -50.0), (-20.0, -55.0))  # of the sound, of white noise: dB, dBov
PERSONS_MAX_S, MACHINES_MIN_S = 1.3, 3.5


def words(ms: int, *, db: float = -20.0) -> Pcm:
    """Something as loud and as uneven as speech, without a pause."""
    rng = np.random.default_rng(3)
    sound = rng.normal(0, 32768 * 10 ** (db / 20), ms * 8)
    return np.clip(sound, -32768, 32767).astype(np.int16)


def heard(*sounds: Pcm, db: float = 0.0, noise_db: float | None = None, piece: int = 160) -> list[Found]:
    """What is found in it, at that level on a line with that noise, through µ-law."""
    sound = np.concatenate(sounds) * 10 ** (db / 20)
    if noise_db is not None:
        sound = sound + np.random.default_rng(1).normal(0, 32768 * 10 ** (noise_db / 20), len(sound))
    line = decode_pcmu(encode_pcmu(np.clip(sound, -32768, 32767).astype(np.int16)))
    machine = AnsweringMachine(MachineRules())
    return [found for at in range(0, len(line), piece) for found in machine.receive(line[at : at + piece])]


def findings(found: Iterable[Found]) -> str:
    return " ".join(each.finding.value for each in found)


@pytest.mark.parametrize(
    ("name", "sounds", "expected"),
    [
        ("hello", [quiet(400), words(500), quiet(3000)], "person"),
        ("two words with a breath", [quiet(400), words(500), quiet(300), words(600), quiet(2000)], "person"),
        ("at once", [words(700), quiet(2000)], "person"),
        ("nobody speaks", [quiet(8000)], "unsure"),
        ("a click, and nobody speaks", [quiet(500), words(40), quiet(8000)], "unsure"),
        ("a long greeting", [quiet(400), words(4000)], "machine"),
        ("and a beep", [quiet(400), words(4000), quiet(300), tone(1000, 400), quiet(4000)], "machine beep"),
        ("and no beep", [quiet(400), words(4000), quiet(4000)], "machine silence"),
        (
            "a beep after the silence",
            [quiet(400), words(4000), quiet(4000), tone(1000, 400), quiet(4000)],
            "machine silence beep",
        ),
        ("a beep alone", [quiet(400), tone(1000, 400), quiet(6000)], "machine beep"),
        (
            "a short greeting of a machine",
            [quiet(400), words(900), quiet(1500), tone(1400, 300), quiet(4000)],
            "person machine beep",
        ),
        (
            "a machine that begins late",
            [quiet(2600), words(4000), tone(1400, 300), quiet(500)],
            "unsure machine beep",
        ),
    ],
)
@pytest.mark.parametrize("piece", [80, 160, 401])
def test_what_is_found(name: str, sounds: list[Pcm], expected: str, piece: int) -> None:
    assert findings(heard(*sounds, piece=piece)) == expected, name


def test_a_person_is_answered_one_pause_after_the_last_word() -> None:
    (found,) = heard(quiet(400), words(500), quiet(3000))
    assert found.at_ms == pytest.approx(400 + 500 + MachineRules().pause_ms, abs=40)


def test_a_loud_line_is_no_voice() -> None:
    assert findings(heard(quiet(8000), noise_db=-36.0)) == "unsure"


def test_a_beep_is_told_when_it_is_over() -> None:
    found = heard(quiet(400), words(4000), quiet(300), tone(1000, 400), quiet(1000))
    assert found[-1].at_ms == pytest.approx(400 + 4000 + 300 + 400, abs=80)


# ---- recorded prompts ----------------------------------------------------------------------------------------


def corpus() -> dict[str, list[list[Pcm]]]:
    """Short prompts stand for persons; long ones, with a beep behind them, are what voicemail systems say."""
    beep = read_wav(SOUNDS / "beep.wav", 8000)
    prompts = [
        read_wav(file, 8000)
        for file in sorted(SOUNDS.rglob("*.wav"))
        if "silence" not in file.parts and not {"beep", "tone"} & set(file.stem.replace("err", "").split("-"))
    ]
    prompts = [each for each in prompts if len(each)]
    spoken = sorted((shipped_conf() / "languages").rglob("*.wav"))
    return {
        "short": [[each] for each in prompts if len(each) / 8000 <= PERSONS_MAX_S],
        "between": [[each] for each in prompts if PERSONS_MAX_S < len(each) / 8000 < MACHINES_MIN_S],
        "long": [[each, quiet(200), beep] for each in prompts if len(each) / 8000 >= MACHINES_MIN_S],
        "four languages": [
            [sound, quiet(500), beep]
            for file in spoken
            if len(sound := read_wav(file, 8000)) / 8000 >= MACHINES_MIN_S
        ],
        "pieced together": [[*voicemail(digits), quiet(300), beep] for digits in ("12", "4711", "90210")],
    }


def voicemail(digits: str) -> list[Pcm]:
    """What Asterisk's voicemail says where nobody has recorded a greeting."""
    names = ["vm-theperson", *(f"digits/{each}" for each in digits), "vm-isunavail", "vm-intro"]
    return [read_wav(SOUNDS / f"{name}.wav", 8000) for name in names]


def confusion(
    kinds: dict[str, list[list[Pcm]]], lines: Sequence[tuple[float, float | None]] = LEVELS
) -> dict[tuple[str, float, float | None], Counter[str]]:
    """By kind and line: the first finding, and "corrected" for machines that only their beep gave away."""
    table = {}
    for kind, sounds in kinds.items():
        for db, noise_db in lines:
            counts: Counter[str] = Counter()
            for each in sounds:
                found = heard(quiet(400), *each, quiet(4000), db=db, noise_db=noise_db)
                first = found[0].finding if found else Finding.UNSURE
                counts[first.value] += 1
                told = {one.finding for one in found}
                counts["corrected"] += first is not Finding.MACHINE and Finding.MACHINE in told
            table[kind, db, noise_db] = counts
    return table


@pytest.mark.skipif(not SOUNDS.is_dir(), reason="install Debian package asterisk-core-sounds-en-wav")
def test_recorded_prompts() -> None:
    """Every twentieth of them: a floor below what docs/outbound.md shows for all."""
    kinds = {kind: sounds[::20] for kind, sounds in corpus().items()}
    assert {kind: len(sounds) > 0 for kind, sounds in kinds.items()} == dict.fromkeys(kinds, True)
    for (kind, db, noise_db), counts in confusion(kinds, LEVELS[1:3]).items():
        number = len(kinds[kind])
        if kind == "short":
            assert counts["person"] >= 0.95 * number, (kind, db, noise_db, counts)
        elif kind in ("long", "four languages"):
            assert counts["machine"] >= 0.95 * number, (kind, db, noise_db, counts)
        elif kind == "pieced together":
            assert counts["machine"] + counts["corrected"] == number, (kind, db, noise_db, counts)


if __name__ == "__main__":
    assert Path(SOUNDS).is_dir()
    everything = corpus()
    for (kind, db, noise_db), counts in confusion(everything).items():
        line = f"{db:+.0f} dB, noise {'none' if noise_db is None else f'{noise_db:.0f} dBov'}"
        print(f"| {kind} ({len(everything[kind])}) | {line} | {dict(counts)} |")
