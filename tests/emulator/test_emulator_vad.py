"""Turns come only from speech: noise of every kind makes none, human and synthetic voices do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtp.g711 import decode_pcma, decode_pcmu
from sipua.realtime.emulator.formats import Decoder, Samples, resample
from sipua.realtime.emulator.speech import read_wav
from sipua.realtime.emulator.vad import SpeechStarted, SpeechStopped, Vad, VadSettings

from .driven import Driven, alaw, recorded, spoken, ulaw
from .sounds import KINDS, comfort_noise, sound

HUMAN = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
LEVELS_DB = (-60, -40, -30, -20, -10, -3)
SEEDS = (1, 2, 3)


def turns(samples: Samples, vad_settings: VadSettings | None = None) -> list[SpeechStarted | SpeechStopped]:
    return Vad(vad_settings or VadSettings()).push(samples)


@pytest.mark.parametrize("level_db", LEVELS_DB)
@pytest.mark.parametrize("kind", KINDS)
def test_noise_makes_no_turn(kind: str, level_db: float) -> None:
    for seed in SEEDS:
        samples = sound(kind, level_db, seed, 10.0)
        assert turns(decode_pcmu(ulaw(samples))) == []
        assert turns(decode_pcma(alaw(samples))) == []


@pytest.mark.parametrize("shaped", [False, True])
@pytest.mark.parametrize("level_db", LEVELS_DB)
def test_comfort_noise_makes_no_turn(level_db: float, shaped: bool) -> None:
    for seed in SEEDS:
        assert turns(decode_pcmu(ulaw(comfort_noise(level_db, seed, 5.0, shaped)))) == []


def test_idle_codes_of_g711_make_no_turn() -> None:
    for code in range(256):
        assert turns(decode_pcmu(bytes([code]) * 8000)) == []
        assert turns(decode_pcma(bytes([code, code ^ 0x80]) * 4000)) == []


def test_noise_does_not_keep_a_turn_open() -> None:
    noise = sound("white", -20, 1, 4.0)
    found = turns(np.concatenate((spoken(tail_ms=0), noise)))
    assert [type(event) for event in found] == [SpeechStarted, SpeechStopped]


@pytest.mark.parametrize("gain_db", [0, -10, -20])
@pytest.mark.parametrize("law", [ulaw, alaw])
def test_the_question_is_one_turn(gain_db: float, law: object) -> None:
    quiet = (spoken() * 10 ** (gain_db / 20)).astype(np.int16)
    heard = decode_pcmu(ulaw(quiet)) if law is ulaw else decode_pcma(alaw(quiet))
    assert [type(event) for event in turns(heard)] == [SpeechStarted, SpeechStopped]


@pytest.mark.parametrize(
    "name", ["greeting_en.wav", "taxi_en.wav", "booked_en.wav", "moto_en.wav", "help_fr.wav", "help_sw.wav"]
)
def test_synthetic_speech_makes_a_turn(name: str) -> None:
    samples = resample(recorded(name), 16000, 8000)
    assert turns(np.concatenate((samples, np.zeros(8000, np.int16))))


@pytest.mark.peer
def test_fresh_speech_of_espeak_makes_a_turn() -> None:
    program = shutil.which("espeak-ng")
    if program is None:
        pytest.skip("needs espeak-ng: apt-get install espeak-ng")
    for voice in ("en-us", "fr-fr", "sw", "de", "es"):
        for pitch in ("20", "50", "90"):
            command = [
                program,
                "-v",
                voice,
                "-p",
                pitch,
                "--stdout",
                "Banana seven alarm, hello my dear animal.",
            ]
            made = subprocess.run(command, capture_output=True, check=True).stdout
            rate = int.from_bytes(made[24:28], "little")
            samples = resample(np.frombuffer(made[44:], "<i2").astype(np.int16), rate, 8000)
            assert turns(decode_pcmu(ulaw(np.concatenate((samples, np.zeros(8000, np.int16))))))


@pytest.mark.peer
def test_human_prompts_make_turns_that_end() -> None:
    """Prompts of at least one second; tones and the recordings of silence are not speech."""
    prompts = [
        path for path in sorted(HUMAN.glob("*.wav")) if "tone" not in path.name and "beep" not in path.name
    ]
    if not prompts:
        pytest.skip("needs recorded prompts: apt-get install asterisk-core-sounds-en-wav")
    for path in prompts:
        clip = read_wav(path.read_bytes(), path.name)
        if clip.duration_ms < 1000:
            continue
        samples = np.concatenate((resample(clip.samples, clip.rate, 8000), np.zeros(8000, np.int16)))
        found = turns(decode_pcmu(ulaw(samples)))
        assert found, path.name
        assert isinstance(found[-1], SpeechStopped), path.name


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_how_the_audio_is_cut_into_appends_does_not_matter(cuts: list[int]) -> None:
    samples = spoken()
    vad, found, at = Vad(VadSettings()), [], 0
    for size in cuts:
        found += vad.push(samples[at : at + size])
        at += size
    found += vad.push(samples[at:])
    assert found == turns(samples)


def test_a_longer_silence_duration_joins_two_utterances() -> None:
    twice = np.concatenate((spoken(tail_ms=600), spoken(tail_ms=1500, lead_ms=0)))
    assert len(turns(twice, VadSettings(silence_duration_ms=300))) == 4
    assert len(turns(twice, VadSettings(silence_duration_ms=1200))) == 2


def test_prefix_padding_reaches_before_the_speech_but_not_before_the_session() -> None:
    near = turns(spoken(lead_ms=500), VadSettings(prefix_padding_ms=100))[0]
    far = turns(spoken(lead_ms=500), VadSettings(prefix_padding_ms=2000))[0]
    assert near == SpeechStarted(turns(spoken(lead_ms=500))[0].audio_start_ms + 200)  # type: ignore[union-attr]
    assert far == SpeechStarted(0)


@pytest.mark.parametrize("size", [2, 3, 960, 961, 48000])
def test_24_khz_audio_is_heard_alike_however_it_is_cut(size: int) -> None:
    wide = resample(spoken(), 8000, 24000).astype("<i2").tobytes()
    wide = wide[:60000] if size < 10 else wide
    decoder = Decoder({"type": "audio/pcm", "rate": 24000})
    parts = [decoder.push(wide[at : at + size]) for at in range(0, len(wide), size)]
    whole = Decoder({"type": "audio/pcm", "rate": 24000}).push(wide)
    assert np.array_equal(np.concatenate(parts), whole)
    if size >= 10:
        assert [type(event) for event in turns(whole)] == [SpeechStarted, SpeechStopped]


def test_the_clock_counts_audio_across_formats_and_settings() -> None:
    session = Driven('[[turn]]\nuser = "x"\nsay = "y"')
    session.hear(bytes(48000), frame=4800)  # one second of pcm24k
    session.listen()
    session.ask()
    start = session.of("input_audio_buffer.speech_started")[0]["audio_start_ms"]
    assert 1200 <= start <= 1500
