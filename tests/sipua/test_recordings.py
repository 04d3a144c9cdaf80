"""The phrases as sound: shipped for every language, replaceable, checked when they are read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtp.codec import CODECS
from rtp.g711 import Pcm
from rtp.wav import read_wav
from sipua.errors import ConfigError
from sipua.espeak import ulaw_wav
from sipua.languages import load_languages
from sipua.recordings import PHRASES, Recordings, load_recordings
from sipua.resources import shipped_conf

TONE: Pcm = (8000 * np.sin(np.arange(8000) * 0.3)).astype(np.int16)


def load(conf: Path) -> Recordings:
    return load_recordings(conf, load_languages(conf))


def place(conf: Path, name: str, data: bytes) -> Path:
    file = conf / "languages" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def test_every_phrase_is_there_in_every_language_and_speaks_the_text(tmp_path: Path) -> None:
    recordings = load(tmp_path)
    assert recordings.notes == ()
    assert set(recordings.sounds) == {
        (code, phrase) for code in ("en", "fr", "rw", "sw") for phrase in PHRASES
    }
    lengths = {key: len(sound) / 8000 for key, sound in recordings.sounds.items()}
    assert all(0.5 < seconds < 15 for seconds in lengths.values())
    assert max(seconds for (_, phrase), seconds in lengths.items() if phrase == "service_error") < 8
    voice = json.loads((shipped_conf() / "languages" / "rw" / "spoken.json").read_text("utf-8"))["voice"]
    assert voice == "espeak-ng sw"  # there is no Kinyarwanda one, and it is said


def test_a_recording_of_ones_own_is_played_instead(tmp_path: Path) -> None:
    place(tmp_path, "rw/goodbye.wav", ulaw_wav(TONE))
    recordings = load(tmp_path)
    assert recordings.notes == ()
    assert np.abs(recordings.of("rw", "goodbye").astype(int) - TONE).max() < 300  # µ-law's step at that level
    assert len(recordings.of("rw", "closed")) > 8000


def test_a_text_that_was_changed_after_the_recording_is_told(tmp_path: Path) -> None:
    (tmp_path / "languages").mkdir()
    (tmp_path / "languages" / "sw.toml").write_text('[phrases]\ngoodbye = "Kwaheri ya kuonana."')
    (note,) = load(tmp_path).notes
    assert note.endswith(
        "sw/goodbye.wav: speaks other words than phrases.goodbye: 'Asante kwa kutupigia simu. Kwaheri.'"
    )


def test_a_language_without_recordings_plays_the_english_ones(tmp_path: Path) -> None:
    (tmp_path / "languages").mkdir()
    (tmp_path / "languages" / "lg.toml").write_text(
        'schema = 1\nname = "Luganda"\nenglish_name = "Luganda"\ninstructions = "Speak Luganda."'
    )
    recordings = load(tmp_path)
    assert len(recordings.notes) == len(PHRASES)
    assert recordings.notes[0].endswith("lg/consent_question.wav: missing; the English recording is played")
    assert recordings.of("lg", "goodbye") is recordings.of("en", "goodbye")


@pytest.mark.parametrize("name", CODECS)
def test_a_phrase_can_be_played_in_every_codec(name: str, tmp_path: Path) -> None:
    recordings = load(tmp_path)
    codec = CODECS[name].app_codec
    sound, played = recordings.of("rw", "goodbye"), recordings.encoded("rw", "goodbye", CODECS[name])
    assert abs(len(played) / codec.clock_rate - len(sound) / 8000) < 0.02
    level = np.abs(codec.decode(played).astype(float)).mean() / np.abs(sound.astype(float)).mean()
    assert 0.9 < level < 1.1


FAULTS = [
    pytest.param(b"no sound", r"goodbye\.wav: not a WAV file; accepted", id="no WAV"),
    pytest.param(ulaw_wav(TONE[:0]), r"goodbye\.wav: 0\.0 s; allowed: up to 30 s", id="empty"),
    pytest.param(ulaw_wav(np.tile(TONE, 31)), r"goodbye\.wav: 31\.0 s; allowed: up to 30 s", id="too long"),
    pytest.param(ulaw_wav(TONE * 0), r"goodbye\.wav: holds silence", id="silence"),
]


@pytest.mark.parametrize(("data", "said"), FAULTS)
def test_a_recording_that_cannot_be_used_is_named(data: bytes, said: str, tmp_path: Path) -> None:
    file = place(tmp_path, "rw/goodbye.wav", data)
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"texts": 5}'])
def test_a_broken_list_of_words_is_named(text: str, tmp_path: Path) -> None:
    place(tmp_path, "rw/goodbye.wav", ulaw_wav(TONE))
    file = place(tmp_path, "rw/spoken.json", text.encode())
    with pytest.raises(ConfigError, match=r"not as sipua\.espeak writes it") as caught:
        load(tmp_path)
    assert str(caught.value).startswith(str(file))


def test_a_wav_of_an_odd_number_of_samples_is_padded(tmp_path: Path) -> None:
    file = place(tmp_path, "x.wav", ulaw_wav(TONE[:7999]))
    assert file.stat().st_size % 2 == 0
    assert len(read_wav(file)) == 7999


@pytest.mark.peer
def test_the_machine_speaks_what_the_files_say(tmp_path: Path) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("apt-get install espeak-ng")
    (tmp_path / "languages").mkdir()
    (tmp_path / "languages" / "fr.toml").write_text('[phrases]\ngoodbye = "À bientôt, au revoir."')
    subprocess.run(
        [sys.executable, "-m", "sipua.espeak", str(tmp_path), "fr"], check=True, capture_output=True
    )
    assert not (tmp_path / "languages" / "en").exists()
    recordings = load(tmp_path)
    assert recordings.notes == ()
    assert len(recordings.of("fr", "goodbye")) != len(load(shipped_conf()).of("fr", "goodbye"))
    assert len(recordings.of("fr", "closed")) == len(load(shipped_conf()).of("fr", "closed"))
