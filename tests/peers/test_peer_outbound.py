"""`sipua call` against sipp: what it says about calls that come about and about those that do not."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtp.tones import ToneDetector
from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.conftest import StartSipp, need
from tests.peers.phone import Phone
from tests.peers.processes import arguments_of, clean_environment, run, similarity, until
from tests.ports import free_port

pytestmark = pytest.mark.peer
KEYS = {"status", "sip_code", "reason", "setup_ms", "codec", "duration_seconds", "rtp", "recording"}


@pytest.fixture
def uas_port() -> int:
    return free_port()


def call(port: int, *flags: str, code: int = 0) -> dict[str, Any]:
    result = run(["call", f"sip:peer@127.0.0.1:{port}", "--json", *flags])
    assert result.returncode == code, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_call_that_is_answered(sipp: StartSipp, uas_port: int, phone: Phone) -> None:
    peer = sipp("", "uas", flags=("-p", str(uas_port)), rtp_port=phone.port)
    document = call(uas_port, "--duration", "1.5")
    peer.wait()
    assert set(document) >= KEYS
    assert (document["status"], document["reason"]) == ("completed", "hangup")
    assert (document["sip_code"], document["codec"], document["recording"]) == (200, "PCMU", None)
    assert 0 < document["setup_ms"] < 2000
    assert 1.4 < document["duration_seconds"] < 2.5
    rtp = document["rtp"]
    assert rtp["quality"]["mos"] > 4.2
    assert rtp["buffer"]["put"] == rtp["buffer"]["get"] == rtp["received"]
    assert rtp["buffer"]["delay_ms_p99"] is not None
    assert rtp["far_end"] is None  # the phone sends no RTCP
    assert 50 <= rtp["sent"] <= 90
    assert rtp["received"] > 50
    assert rtp["lost"] == 0
    assert len(peer.received("BYE")) == 1


def test_what_is_played_is_heard_and_what_is_heard_is_recorded(
    sipp: StartSipp, uas_port: int, phone: Phone, tmp_path: Path
) -> None:
    question, answer = shipped_speech("question_en.wav"), shipped_speech("moto_en.wav")
    spoken = read_wav(answer)
    peer = sipp("", "uas", flags=("-p", str(uas_port)), rtp_port=phone.port)
    phone.say(spoken)
    seconds = max(read_wav(question).size, spoken.size) / 8000 + 1.0
    target = tmp_path / "heard.wav"
    document = call(
        uas_port, "--play", str(question), "--record", str(target), "--duration", f"{seconds:.1f}"
    )
    peer.wait()
    assert document["recording"] == str(target)
    assert similarity(phone.audio(), read_wav(question)) > 0.9
    assert similarity(read_wav(target), spoken) > 0.9
    assert similarity(read_wav(target), read_wav(question)) < 0.5  # the judge can say no


def test_keys_are_pressed(sipp: StartSipp, uas_port: int, phone: Phone) -> None:
    peer = sipp("", "uas", flags=("-p", str(uas_port)), rtp_port=phone.port)
    call(uas_port, "--dtmf", "12#a", "--duration", "2")
    peer.wait()
    pressed: dict[int, int] = {}
    for packet in phone.heard:
        if packet.payload_type == 101:
            event, _, _ = struct.unpack("!BBH", packet.payload)
            pressed.setdefault(packet.timestamp, event)
    assert list(pressed.values()) == [1, 2, 11, 12]


def test_keys_are_tones_for_a_far_end_that_takes_no_events(
    sipp: StartSipp, uas_port: int, phone: Phone
) -> None:
    peer = sipp("", "uas", flags=("-p", str(uas_port)), rtp_port=phone.port, formats="0")
    call(uas_port, "--dtmf", "12#a", "--duration", "2")
    peer.wait()
    assert phone.payload_types() == [0]
    assert [press.digit for press in ToneDetector().receive(phone.audio())] == ["1", "2", "#", "A"]


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (486, "busy", "busy"),
        (404, "failed", "sip_404"),
        (480, "no_answer", "temporarily_unavailable"),
        (503, "failed", "service_unavailable"),
        (603, "failed", "declined"),
    ],
)
def test_a_call_that_is_refused(sipp: StartSipp, uas_port: int, code: int, status: str, reason: str) -> None:
    peer = sipp("", "uas_refuses", flags=("-p", str(uas_port)), code=code)
    document = call(uas_port, code=1)
    peer.wait()
    assert (document["status"], document["reason"], document["sip_code"]) == (status, reason, code)
    assert (document["codec"], document["setup_ms"], document["duration_seconds"]) == (None, None, 0)


def test_nobody_answers(sipp: StartSipp, uas_port: int) -> None:
    peer = sipp("", "uas_rings", flags=("-p", str(uas_port)))
    document = call(uas_port, "--ring-timeout", "1", code=1)
    peer.wait()
    assert (document["status"], document["reason"]) == ("no_answer", "ring_timeout")


def test_nobody_is_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        begun = time.monotonic()
        document = call(silent.getsockname()[1], "--ring-timeout", "1", code=1)
    assert (document["status"], document["reason"]) == ("no_answer", "ring_timeout")
    assert time.monotonic() - begun < 30  # Timer B is 32 s


def test_the_far_end_hangs_up(sipp: StartSipp, uas_port: int, phone: Phone) -> None:
    peer = sipp("", "uas_hangs_up", flags=("-p", str(uas_port)), rtp_port=phone.port, duration_ms=700)
    document = call(uas_port)
    peer.wait()
    assert (document["status"], document["reason"]) == ("completed", "far_end_hangup")
    assert document["duration_seconds"] < 2


def test_the_far_end_vanishes(sipp: StartSipp, uas_port: int, phone: Phone) -> None:
    """A BYE that nobody answers does not hold up the command."""
    peer = sipp("", "uas", flags=("-p", str(uas_port)), rtp_port=phone.port)
    process = subprocess.Popen(
        arguments_of(["call", f"sip:peer@127.0.0.1:{uas_port}", "--json", "--duration", "2"]),
        env=clean_environment({}), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(peer.got("ACK"), "answered")
    peer.stop()
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 0
    assert json.loads(output)["status"] == "completed"


@pytest.mark.parametrize(("scenario", "status"), [("uas", "completed"), ("uas_rings", "no_answer")])
def test_the_user_stops_it(sipp: StartSipp, uas_port: int, phone: Phone, scenario: str, status: str) -> None:
    """Ctrl-C: BYE or CANCEL, and the result so far."""
    peer = sipp("", scenario, flags=("-p", str(uas_port)), rtp_port=phone.port)
    process = subprocess.Popen(
        arguments_of(["call", f"sip:peer@127.0.0.1:{uas_port}", "--json"]),
        env=clean_environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if scenario == "uas":
        until(lambda: phone.heard, "the call is up: it sends")
    else:
        until(lambda: [m for m in peer.messages() if m.start_line.startswith("SIP/2.0 180")], "it rings")
    process.send_signal(signal.SIGINT)
    output, said = process.communicate(timeout=15)
    peer.wait()
    assert json.loads(output)["status"] == status
    assert b"Traceback" not in said
    assert process.returncode == (0 if status == "completed" else 1)


def test_faults_of_the_command_line(tmp_path: Path) -> None:
    """Each names the thing, before any INVITE."""
    need("sipp")
    noise = tmp_path / "noise.wav"
    noise.write_bytes(np.random.default_rng(1).bytes(5000))
    target = "sip:peer@127.0.0.1:9"
    for arguments, code, words in (
        ([target, "--play", str(noise)], 1, "noise.wav"),
        ([target, "--play", str(tmp_path / "none.wav")], 1, "none.wav"),
        ([target, "--record", str(tmp_path / "no" / "such" / "folder.wav")], 1, "folder.wav"),
        ([target, "--dtmf", "12x"], 78, "'X' is no key"),
        (["sip:peer@no.such.host.invalid"], 1, "no.such.host.invalid"),
        (["peer"], 78, "sip:user@host"),
    ):
        result = run(["call", *arguments, "--json"])
        assert result.returncode == code, (arguments, result.stderr)
        assert words in json.loads(result.stdout)["error"]["message"]
        assert "Traceback" not in result.stderr
