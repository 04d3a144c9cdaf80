"""The echo guard on sound, in each format: what goes up is the caller or silence, and never shorter or longer."""

from __future__ import annotations

import numpy as np
import pytest

from rtp.codec import CODECS, PCM24, Codec
from rtp.g711 import Pcm
from rtp.resample import Resampler
from rtp.wav import read_wav
from sipua.echo_filter import EchoFilter, echo_filter, level_of
from sipua.echo_guard import EchoGuard, EchoRules
from sipua.realtime.config import AudioFormat
from sipua.resources import shipped_speech
from sipua.trunk import Trunk

FORMATS = [("PCMU", AudioFormat.PCMU), ("PCMA", AudioFormat.PCMA), ("G722", AudioFormat.PCM24)]
LAG_MS, LOSS_DB = 180, 25.0


def payloads(codec: Codec, sound: Pcm, ms: int) -> list[bytes]:
    data, size = codec.encode(sound), codec.frame_bytes(ms)
    return [data[at : at + size] for at in range(0, len(data) - size, size)]


def at_rate(sound: Pcm, rate: int) -> Pcm:
    return sound if rate == 8000 else Resampler(8000, rate).push(sound)


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "G722"])
def test_the_level_is_that_of_the_samples(name: str) -> None:
    codec = CODECS[name]
    tone = (8000 * np.sin(np.arange(codec.sample_rate) * 0.3)).astype(np.int16)
    levels = [level for level in map(level_of(codec), payloads(codec, tone, 20)) if level]
    assert np.median(levels) == pytest.approx(8000 / np.sqrt(2), rel=0.05)
    assert level_of(codec)(codec.silence * codec.frame_bytes(20)) < 30
    assert level_of(PCM24)(b"") == 0


@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
@pytest.mark.parametrize(("name", "format"), FORMATS)
def test_our_voice_goes_up_as_silence_and_the_caller_as_they_are(
    name: str, format: AudioFormat, ptime_ms: int
) -> None:
    """Two greetings; at 180 ms they come back 25 dB weaker. Then a caller speaks over the third."""
    greeting = read_wav(shipped_speech("greeting_en.wav"))
    ours = np.concatenate([greeting] * 3)
    late = np.concatenate([np.zeros(8 * LAG_MS, np.int16), ours])[: len(ours)]
    back = (late * 10 ** (-LOSS_DB / 20)).astype(np.int16)
    begins = 2 * len(greeting) + 1600
    caller = read_wav(shipped_speech("question_en.wav"))[: len(ours) - begins]
    mixed = back.copy()
    mixed[begins : begins + len(caller)] += caller
    codec = CODECS[name]
    up = PCM24 if format is AudioFormat.PCM24 else codec
    line = EchoFilter(EchoGuard(EchoRules()), codec, format)
    heard: list[bytes] = []
    for sent, came in zip(
        payloads(codec, at_rate(ours, codec.sample_rate), ptime_ms),
        payloads(up, at_rate(mixed, up.sample_rate), ptime_ms),
        strict=False,
    ):
        line.sent(sent, ptime_ms)
        heard.append(line.heard(came))
        assert len(heard[-1]) == len(came)
    sound = np.concatenate([up.decode(each) for each in heard]).astype(np.float64)
    scale = up.sample_rate // 8000
    before, after = sound[: begins * scale], sound[begins * scale :]
    alone = back[:begins].astype(np.float64)
    assert np.sum(before**2) < 0.02 * scale * np.sum(alone**2)
    spoken = caller.astype(np.float64)
    assert np.sum(after**2) > 0.85 * scale * np.sum(spoken**2)


def test_only_a_trunk_that_wants_it_has_one() -> None:
    trunk = {"schema": 1, "name": "t", "provider": "p", "inbound_acl": ["127.0.0.1/32"]}
    pcmu = CODECS["PCMU"]
    assert echo_filter(Trunk.model_validate(trunk), pcmu, AudioFormat.PCMU) is None
    wanted = Trunk.model_validate(trunk | {"echo_guard": True, "echo_loss_db": 40, "echo_margin_db": 0})
    line = echo_filter(wanted, pcmu, AudioFormat.PCMU)
    assert line is not None
    line.sent(pcmu.encode(np.full(160, 1000, np.int16)), 20)
    quiet, loud = (pcmu.encode(np.full(160, level, np.int16)) for level in (5, 40))
    assert (line.heard(quiet), line.heard(loud), line.heard(b"")) == (quiet, loud, b"")
