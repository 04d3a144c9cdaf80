"""Callers who are asked for consent in whole calls: what they hear, what is on disk and when, and what the rows say."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtp.g711 import Pcm, decode_pcmu
from rtp.wav import WavWriter, read_wav
from sipua.languages import load_languages
from sipua.recording import SLACK_MS
from sipua.resources import shipped_conf, shipped_speech
from tests.peers.agent import Agent, Emulator, write_conf
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import similarity, until
from tests.recording.moto import Moto

pytestmark = pytest.mark.peer

RATE = 8000
QUESTION_S = 0.5
ENGLISH = "+12025550123"
Track = NDArray[np.float64]

GREETING = """
user_prefix = ""
[greeting]
say = "Hello."
audio = "{greeting}"
"""
YES_THEN_NO = """
[[turn]]
user = "Yes, that is fine"
[[turn.tool]]
name = "record_consent"
arguments = { agreed = true, words = "Yes, that is fine" }
say = "Hello."
audio = "greeting_en.wav"
[[turn]]
user = "Stop recording, please"
[[turn.tool]]
name = "record_consent"
arguments = { agreed = false, words = "Stop recording, please" }
say = "Very well."
audio = "fallback_en.wav"
"""


def noise(seconds: float, seed: int, level: float = 4000.0) -> Pcm:
    """Like nothing else but itself."""
    samples = np.random.default_rng(seed).normal(0, level, round(seconds * RATE))
    return np.clip(samples, -32000, 32000).astype(np.int16)


class Desk:
    """An agent that asks a question of half a second and records who says yes."""

    def __init__(
        self, folder: Path, start_emulator: Callable[..., Emulator], start_agent: Callable[..., Agent]
    ) -> None:
        self.folder = folder
        self._start_emulator = start_emulator
        self._start_agent = start_agent

    def open(self, script: str, **settings: str) -> Agent:
        conf = write_conf(self.folder / "conf", {"plain": '["127.0.0.1/32"]'})
        spoken = conf / "languages" / "en"
        spoken.mkdir(parents=True)
        shutil.copy(shipped_conf() / "languages" / "en.toml", spoken.parent / "en.toml")
        for phrase, seconds in (("consent_question", QUESTION_S), ("consent_yes", 0.1), ("consent_no", 0.1)):
            with WavWriter(spoken / f"{phrase}.wav") as sound:
                sound.write(noise(seconds, 1))
        script_file = self.folder / "script.toml"
        script_file.write_text(script)
        emulator = self._start_emulator("--script", str(script_file))
        self.agent = self._start_agent(
            emulator.base_url,
            trunks={},
            SIPUA_CONF=str(conf),
            **{"SIPUA_RECORDING__ENABLED": "true", "SIPUA_RECORDING__MIN_FREE_MB": "0"} | settings,
        )
        return self.agent

    @property
    def files(self) -> list[Path]:
        return sorted(file for file in (self.agent.state / "recordings").rglob("*") if file.is_file())

    def consents(self, call: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self.agent.select("SELECT * FROM call_consents WHERE call_id = %s ORDER BY t", call["id"])

    def errors(self, call: Mapping[str, Any]) -> list[str]:
        query = (
            "SELECT payload ->> 'reason' AS reason FROM voice_events WHERE call_id = %s AND type = 'error'"
        )
        return [row["reason"] for row in self.agent.select(query, call["id"])]


@pytest.fixture
def desk(tmp_path: Path, start_emulator: Callable[..., Emulator], start_agent: Callable[..., Agent]) -> Desk:
    return Desk(tmp_path, start_emulator, start_agent)


def heard_the_question(phone: Phone) -> bool:
    return float(np.abs(phone.audio().astype(np.float64)).sum()) > 1000 * QUESTION_S * RATE


# ---- by key: both sides of the recording held against what was said -------------------------------------------


def laid_out(packets: list[tuple[float, int, bytes]], began: float, seconds: float) -> Track:
    """What passed: packets (time, RTP timestamp, payload) on the grid of their timestamps, at their median time."""
    first = packets[0][1]
    offsets = [(timestamp - first) % (1 << 32) for _, timestamp, _ in packets]
    anchor = float(
        np.median([at - offset / RATE for (at, _, _), offset in zip(packets, offsets, strict=True)])
    )
    track = np.zeros(round(seconds * RATE))
    for (_, _, payload), offset in zip(packets, offsets, strict=True):
        begin = round((anchor - began) * RATE) + offset
        if 0 <= begin < len(track) - len(payload):
            track[begin : begin + len(payload)] = decode_pcmu(payload)
    return track


def lag(kept: Track, passed: Track) -> int:
    """By how many samples ``kept`` stands later than in ``passed``, which must hold its sound."""
    size = 1 << (len(kept) + len(passed)).bit_length()
    product = np.fft.rfft(kept, size) * np.conj(np.fft.rfft(passed, size))
    likeness = np.fft.irfft(product, size)
    best = int(likeness.argmax())
    assert likeness[best] > 0.8 * (kept**2).sum()
    return best - size if best > size // 2 else best


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Moto]:
    server = Moto(tmp_path / "moto.log")
    server.start()
    until(lambda: server.makes("calls"), "the bucket")
    yield server
    server.stop()


def test_a_yes_by_key_is_recorded_with_both_sides_in_step(
    desk: Desk, sipp: StartSipp, phone: Phone, moto: Moto
) -> None:
    """And is moved to the bucket, where its address leads."""
    seconds = 6.0
    secret = desk.folder / "secret"
    secret.write_text("not-a-secret")
    with WavWriter(desk.folder / "long.wav") as sound:
        sound.write(noise(seconds, 2))
    agent = desk.open(
        GREETING.format(greeting=desk.folder / "long.wav"),
        SIPUA_TURNS__PROTECT_OPENING="true",
        SIPUA_RECORDING__S3_BUCKET="calls",
        SIPUA_RECORDING__S3_ENDPOINT=moto.url,
        SIPUA_RECORDING__S3_ACCESS_KEY_ID="key-of-the-tests",
        SIPUA_RECORDING__S3_SECRET_KEY_FILE=str(secret),
    )
    began = time.monotonic()
    caller = sipp(
        agent.sip, "call", rtp_port=phone.port, caller=ENGLISH, duration_ms=round((seconds + 2.5) * 1000)
    )
    until(lambda: heard_the_question(phone), "the question")
    assert desk.files == []  # nothing before a yes
    phone.press(1)
    until(lambda: desk.files, "the recording")
    phone.say(noise(seconds, 3))
    call = agent.closed_call(caller.wait().call_id)
    assert (call["consent_obtained"], call["consent_channel"]) == (True, "dtmf")
    until(lambda: desk.consents(call)[0]["audio_url"], "the address")
    (consent,) = desk.consents(call)
    assert (consent["consent_result"], consent["t"]) == (True, call["consent_recorded_at"])
    assert consent["consent_text"].startswith("To improve our service")
    (call,) = agent.calls(caller.call_id)
    assert call["consent_media_url"] == consent["audio_url"]
    assert desk.files == []
    with wave.open(io.BytesIO(moto.get(call["consent_media_url"]))) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (2, RATE)
        kept = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").reshape(-1, 2)
    length = time.monotonic() - began
    said = laid_out(list(phone.said), began, length)
    heard = laid_out([(each.at, each.timestamp, each.payload) for each in phone.heard], began, length)
    left, right = kept[:, 0].astype(np.float64), kept[:, 1].astype(np.float64)
    ahead = lag(left, said) - lag(right, heard)
    assert abs(ahead) <= (SLACK_MS + 20) * RATE / 1000, (
        f"the caller stands {ahead / 8} ms later than the agent"
    )
    # a busy machine may make the caller's first packet late: then there is one step, once
    for side, passed, step_ms in ((left, said, SLACK_MS + 5), (right, heard, 0)):
        third = len(side) // 3
        first, last = (
            lag(np.concatenate((np.zeros(at), side[at : at + third])), passed)
            for at in (third // 2, 2 * third)
        )
        assert abs(last - first) <= (step_ms + 2) * RATE / 1000, f"{(last - first) / 8} ms of drift"


# ---- by voice, and withdrawn ----------------------------------------------------------------------------------


def test_a_yes_by_voice_is_withdrawn_later(desk: Desk, sipp: StartSipp, phone: Phone) -> None:
    agent = desk.open(YES_THEN_NO)
    question = read_wav(shipped_speech("question_en.wav"))
    caller = sipp(agent.sip, "call", rtp_port=phone.port, caller=ENGLISH, duration_ms=13_000)
    until(lambda: heard_the_question(phone), "the question")
    phone.say(question)
    until(lambda: desk.files, "the recording", 15)
    until(lambda: agent.select("SELECT 1 FROM transcripts WHERE content = 'Hello.'"), "the greeting", 15)
    phone.say(question)
    until(lambda: not desk.files, "it is deleted", 15)
    call = agent.closed_call(caller.wait().call_id)
    rows = desk.consents(call)
    assert [(row["consent_result"], row["audio_url"]) for row in rows] == [(True, None), (False, None)]
    assert (call["consent_obtained"], call["consent_channel"], call["consent_media_url"]) == (
        False, "voice", None,
    )  # fmt: skip
    tools = agent.select(
        "SELECT result, success FROM mcp_tool_calls WHERE call_id = %s ORDER BY t", call["id"]
    )
    assert [(row["result"]["consent"], row["success"]) for row in tools] == [
        ("given", True), ("withdrawn", True),
    ]  # fmt: skip
    assert agent.metric("sipua_recordings_total", outcome="deleted") == 1


# ---- no answer, no room ---------------------------------------------------------------------------------------


def test_no_answer_is_a_row_and_no_recording(desk: Desk, sipp: StartSipp, phone: Phone) -> None:
    """Asked twice, then greeted."""
    agent = desk.open(
        GREETING.format(greeting="greeting_en.wav"),
        SIPUA_CONSENT__ANSWER_S="2",
        SIPUA_CONSENT__TRANSCRIPTS="with_consent",
    )
    caller = sipp(agent.sip, "call", rtp_port=phone.port, caller=ENGLISH, duration_ms=7500).wait()
    call = agent.closed_call(caller.call_id)
    (row,) = desk.consents(call)
    assert (row["consent_result"], row["audio_url"]) == (None, None)
    assert (call["consent_obtained"], call["consent_channel"], call["consent_recorded_at"]) == (
        False, None, row["t"],
    )  # fmt: skip
    assert desk.files == []
    assert agent.events(call).count("openai_response_created") == 1  # the greeting came all the same
    assert agent.select("SELECT 1 FROM transcripts WHERE call_id = %s", call["id"]) == []


def test_a_disk_without_room_costs_the_recording_and_not_the_call(
    desk: Desk, sipp: StartSipp, phone: Phone
) -> None:
    """Asked in Kinyarwanda, as the caller's number says."""
    agent = desk.open(GREETING.format(greeting="greeting_en.wav"), SIPUA_RECORDING__MIN_FREE_MB="1000000000")
    caller = sipp(agent.sip, "call", rtp_port=phone.port, caller="+250788123456", duration_ms=2500)
    until(lambda: heard_the_question(phone), "the question")
    phone.press(1)
    call = agent.closed_call(caller.wait().call_id)
    assert (call["status"], call["outcome"], call["consent_obtained"]) == ("completed", "caller_hangup", True)
    (row,) = desk.consents(call)
    asked = load_languages(shipped_conf()).of("rw").phrases.consent_question
    assert (call["locale"], row["consent_text"]) == ("rw", asked)
    assert desk.errors(call) == ["recording_disk_full"]
    assert agent.metric("sipua_recording_errors_total", reason="disk_full") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Of 64 kB: two seconds of both sides, less the rest of what a page holds."""
    if os.geteuid() != 0:
        pytest.skip("a file system of the test's own: run as root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_costs_the_rest_of_the_recording_and_not_the_call(
    desk: Desk, sipp: StartSipp, phone: Phone, small_disk: Path
) -> None:
    """Who says yes twice has said it once."""
    agent = desk.open(GREETING.format(greeting="greeting_en.wav"), SIPUA_RECORDING__DIR=str(small_disk))
    caller = sipp(agent.sip, "call", rtp_port=phone.port, caller=ENGLISH, duration_ms=6500)
    until(lambda: heard_the_question(phone), "the question")
    phone.press(1)
    phone.press(1)
    call = agent.closed_call(caller.wait().call_id)
    assert (call["status"], call["outcome"], call["consent_obtained"]) == ("completed", "caller_hangup", True)
    assert similarity(phone.audio(), read_wav(shipped_speech("greeting_en.wav"))) > 0.9
    assert len(desk.consents(call)) == 1
    assert desk.errors(call) == ["recording_disk_full"]
    assert agent.metric("sipua_recording_errors_total", reason="disk_full") == 1
    (part,) = [file for file in small_disk.rglob("*") if file.is_file()]
    with wave.open(str(part)) as recording:
        assert recording.getnframes() > RATE  # what there was room for can be heard


def test_a_killed_agent_leaves_a_recording_that_the_next_one_takes_over(
    desk: Desk, sipp: StartSipp, phone: Phone
) -> None:
    agent = desk.open(GREETING.format(greeting="greeting_en.wav"))
    caller = sipp(agent.sip, "call", rtp_port=phone.port, caller=ENGLISH, duration_ms=30_000)
    until(lambda: heard_the_question(phone), "the question")
    phone.press(1)
    until(lambda: any(file.stat().st_size > 2 * 4 * RATE for file in desk.files), "two seconds of it")
    agent.kill()
    (part,) = desk.files
    with wave.open(str(part)) as recording:
        assert recording.getnframes() >= RATE
    after = desk._start_agent(
        "http://127.0.0.1:9/v1", trunks={}, SIPUA_CONF=str(desk.folder / "conf"),
        SIPUA_STATE_DIR=str(agent.state), SIPUA_RECORDING__ENABLED="true",
    )  # fmt: skip
    (call,) = after.calls(caller.call_id)
    until(lambda: desk.consents(call)[0]["audio_url"], "the address")
    assert [file.as_uri() for file in desk.files] == [desk.consents(call)[0]["audio_url"]]
    assert desk.files == [part.with_suffix("")]
