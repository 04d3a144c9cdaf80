"""Scripts: what may be written, what is refused and how, where the speech comes from."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from sipua.errors import ConfigError
from sipua.realtime.emulator.formats import Clip, encode, resample, silence
from sipua.realtime.emulator.script import Line, load_script, parse_script
from sipua.realtime.emulator.speech import load_speech, read_wav

PCMU = {"type": "audio/pcmu"}


def test_the_script_of_the_package_is_spoken_by_recordings_of_the_package() -> None:
    script = load_script(None)
    assert script.greeting is not None
    assert {turn.lang for turn in script.turns} == {"en", "fr", "sw"}
    assert all(line.audio for line in script.lines())
    clips = load_speech(script, None, "default.toml")
    assert all(2000 <= clip.duration_ms <= 10000 for clip in clips.values())


def test_a_script_may_say_anything() -> None:
    text = 'Ndiyo, "moto" \\ µ-law 🙂'
    script = parse_script(
        f"[[turn]]\nuser = '{text}'\nsay = '{text}'\naudio = 'x.wav'\nlang = 'rw'", "s.toml"
    )
    assert script.turns[0].lines == (Line(say=text, audio="x.wav", lang="rw"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[[turn]", ["not TOML"]),
        ("greting = 1", ["greting", "allowed: ", "greeting", "turn"]),
        ('[[turn]]\nsay = "x"', ["turn.0.user"]),
        ('[[turn]]\nuser = "x"\nsays = "y"', ["turn.0.says", "allowed: ", "say", "transcript"]),
        ('[[turn]]\nuser = "x"\nsay = 5', ["turn.0.say.0.say", "5"]),
        ('[[turn]]\nuser = "x"\ndelay_ms = -1', ["turn.0.delay_ms", "-1"]),
        ('[[turn]]\nuser = "x"\ntranscript = "later"', ["turn.0.transcript", "'later'", "'early'"]),
        ('[[turn]]\nuser = "x"\noutcome = "no"', ["turn.0.outcome", "'failed'"]),
        ('[[turn]]\nuser = "x"\nfaults = ["http_500"]', ["turn.0.faults", "allowed: ", "stall"]),
        ('[[turn]]\nuser = "x"\naudio = "y.wav"', ["turn.0.audio"]),
        ('[[turn]]\nuser = "x"\n[turn.tool]\nsay = "y"', ["turn.0.tools.0.name"]),
        ("turn = 3", ["turn"]),
        ("greeting = 3", ["greeting"]),
        ("[fallback]\nlanguage = 'x'", ["fallback.language", "allowed: "]),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_is_allowed(content: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_script(content, "s.toml")
    for word in ["s.toml", *words]:
        assert word in str(caught.value)


def test_a_script_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load_script(tmp_path / "missing.toml")


def _wav(path: Path, *, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(bytes(1600 * channels * width))
    return path


def test_speech_beside_the_script_comes_before_that_of_the_package(tmp_path: Path) -> None:
    _wav(tmp_path / "greeting_en.wav")
    script = parse_script('[greeting]\nsay = "x"\naudio = "greeting_en.wav"\n[fallback]', "s.toml")
    assert load_speech(script, tmp_path, "s.toml")[script.lines()[0]].duration_ms == 200


@pytest.mark.parametrize(("channels", "width"), [(2, 2), (1, 1)])
def test_a_wav_of_another_kind_is_refused(tmp_path: Path, channels: int, width: int) -> None:
    path = _wav(tmp_path / "a.wav", channels=channels, width=width)
    with pytest.raises(ConfigError, match="mono, 16 bits"):
        read_wav(path.read_bytes(), "a.wav")


def test_what_is_no_wav_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"x\.wav: not a WAV"):
        read_wav(b"ID3 not this", "x.wav")


def test_a_missing_recording_is_named_with_those_there_are() -> None:
    script = parse_script('[greeting]\nsay = "x"\naudio = "nope.wav"\n[fallback]', "s.toml")
    with pytest.raises(ConfigError, match=r"nope\.wav.*greeting_en\.wav"):
        load_speech(script, None, "s.toml")


def test_without_espeak_a_line_without_audio_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    script = parse_script('[greeting]\nsay = "Muraho"\n[fallback]', "s.toml")
    with pytest.raises(ConfigError, match=r"s\.toml: say = 'Muraho'.*espeak-ng"):
        load_speech(script, None, "s.toml")


def test_answers_keep_their_length_in_every_format() -> None:
    clip = Clip((np.sin(np.arange(16000) / 5) * 9000).astype(np.int16), 16000)
    assert len(encode(clip, PCMU)) == len(encode(clip, {"type": "audio/pcma"})) == 8000
    assert len(encode(clip, {"type": "audio/pcm", "rate": 24000})) == 48000
    assert silence(PCMU, 20) == b"\xff" * 160


@pytest.mark.parametrize(("source", "target"), [(22050, 8000), (22050, 24000), (16000, 24000), (8000, 24000)])
def test_resampling_keeps_a_tone(source: int, target: int) -> None:
    t = np.arange(source) / source
    tone = (8000 * np.sin(2 * np.pi * 1000 * t)).astype(np.int16)
    made = resample(tone, source, target)
    assert abs(len(made) - target) <= target // 100
    spectrum = np.abs(np.fft.rfft(made[:target] * np.hanning(len(made[:target]))))
    assert abs(int(spectrum.argmax()) * target / len(made) - 1000) < 3
