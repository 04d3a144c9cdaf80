"""TLS and SDES-SRTP with a telephone that is not ours, in both directions, and a human voice.

baresip's SRTP is libre's. The judge is the cross-correlation of test_peer_baresip.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import write_conf
from tests.peers.baresip import Secure, answering, be_refused, silence, talk
from tests.peers.conftest import need
from tests.peers.processes import run, similarity
from tests.peers.secure_line import SecureLine
from tests.peers.test_peer_baresip import ANSWER_S, GREETING_S, NOT_SAID, SAID
from tests.ports import free_port

pytestmark = pytest.mark.peer
SUITE_80, SUITE_32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
Media = Literal["srtp", "srtp-mand", ""]


def secure(line: SecureLine, media: Media) -> Secure:
    need("baresip")
    return Secure(line.identity, line.authority, media)


def test_a_human_voice_is_answered_under_srtp(line: SecureLine, human_speech: Path, tmp_path: Path) -> None:
    speech = read_wav(human_speech / "agent-newlocation.wav")
    sound = np.concatenate([silence(GREETING_S), speech, silence(ANSWER_S)])
    folder = tmp_path / "baresip"
    heard = talk(folder, line.uri("mandatory"), sound, "PCMU", secure=secure(line, "srtp-mand"))

    assert f"SRTP is Enabled (cryptosuite={SUITE_80})" in (folder / "baresip.log").read_text(errors="replace")
    likeness = {name: similarity(heard, read_wav(shipped_speech(name))) for name in SAID + NOT_SAID}
    assert all(likeness[name] > 0.9 for name in SAID), likeness
    assert all(likeness[name] < 0.4 for name in NOT_SAID), likeness
    query = "SELECT sip_session_id FROM voice_calls ORDER BY started_at DESC LIMIT 1"
    call = line.agent.closed_call(line.agent.select(query)[0]["sip_session_id"])
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert call["metadata"]["rtp"]["lost"] == 0
    assert call["metadata"]["srtp"] == SUITE_80
    assert line.agent.events(call).count("openai_input_audio_buffer_speech_started") == 1


@pytest.mark.parametrize(("media", "suite"), [("srtp", SUITE_80), ("srtp-mand", SUITE_80), ("", None)])
def test_what_an_optional_trunk_takes(
    line: SecureLine, tmp_path: Path, media: Media, suite: str | None
) -> None:
    heard = talk(
        tmp_path / "baresip", line.uri("optional"), silence(GREETING_S), "PCMU", secure=secure(line, media)
    )
    assert similarity(heard, read_wav(shipped_speech("greeting_en.wav"))) > 0.9
    query = "SELECT sip_session_id FROM voice_calls ORDER BY started_at DESC LIMIT 1"
    call = line.agent.closed_call(line.agent.select(query)[0]["sip_session_id"])
    assert call["metadata"].get("srtp") == suite


@pytest.mark.parametrize(("use", "media"), [("off", "srtp-mand"), ("mandatory", "srtp"), ("mandatory", "")])
def test_what_the_trunk_does_not_accept_is_a_488(
    line: SecureLine, tmp_path: Path, use: str, media: Media
) -> None:
    before = line.agent.metric("sipua_invites_rejected_total", code="488")
    story = be_refused(tmp_path / "baresip", line.uri(use), secure=secure(line, media))
    assert "488 Not Acceptable Here" in story
    assert line.agent.metric("sipua_invites_rejected_total", code="488") == before + 1


@pytest.fixture
def dial(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``sipua call`` through a TLS trunk of its own to a baresip on ``port``."""

    def call(line: SecureLine, port: int, lines: str, *flags: str, code: int = 0) -> dict[str, Any]:
        conf = write_conf(
            tmp_path / "conf",
            {"carrier": f'[]\ndirection = "outbound"\ndomain = "127.0.0.1:{port}"\ntransport = "tls"\n'
                        f'tls_ca = "{line.authority}"\ncaller_id = "+250788000001"\n{lines}'},
        )  # fmt: skip
        settings = f'[sip]\ntls_certificate = "{line.certificate}"\ntls_key = "{line.key}"\n'
        (conf / "sipua.toml").write_text(settings)
        result = run(["call", "0788999888", "--conf", str(conf), "--json", *flags])
        assert "Traceback" not in result.stderr, result.stderr
        assert result.returncode == code, (result.stdout, result.stderr)
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    return call


@pytest.mark.parametrize(
    ("lines", "media", "says"),
    [
        ('srtp = "mandatory"', "srtp-mand", f"SRTP is Enabled (cryptosuite={SUITE_80})"),
        (f'srtp = "mandatory"\nsrtp_suites = ["{SUITE_32}"]', "srtp-mand", f"SRTP is Enabled (cryptosuite={SUITE_32})"),
        ('srtp = "optional"', "srtp", f"SRTP is Enabled (cryptosuite={SUITE_80})"),
        ('srtp = "optional"', "", "Call established"),
    ],
    ids=["80 bits", "32 bits", "optional", "plain"],
)  # fmt: skip
def test_a_call_of_ours_talks_and_hears_under_srtp(
    line: SecureLine, dial: Callable[..., dict[str, Any]], tmp_path: Path, lines: str, media: Media, says: str
) -> None:
    question, answer = shipped_speech("greeting_en.wav"), shipped_speech("help_fr.wav")
    port, target = free_port(), tmp_path / "heard.wav"
    seconds = max(read_wav(each).size for each in (question, answer)) / 8000 + 1.5
    sound = np.concatenate(
        [read_wav(answer), silence(5.0)]
    )  # it hangs up when that is over: we are to be first
    with answering(tmp_path / "baresip", port, sound, "PCMU", secure(line, media)) as phone:
        document = dial(
            line,
            port,
            lines,
            "--play",
            str(question),
            "--record",
            str(target),
            "--duration",
            f"{seconds:.1f}",
        )
        heard = phone.heard()
        assert says in phone.story()
    assert document["status"] == "completed"
    assert document["rtp"]["lost"] == 0
    assert similarity(heard, read_wav(question)) > 0.9
    assert similarity(read_wav(target), read_wav(answer)) > 0.9
    assert similarity(read_wav(target), read_wav(question)) < 0.5  # the judge can say no


def test_the_far_end_hangs_up_on_a_connection_of_its_own(
    line: SecureLine, dial: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    port = free_port()
    with answering(tmp_path / "baresip", port, silence(1.0), "PCMU", secure(line, "srtp-mand")):
        document = dial(line, port, 'srtp = "mandatory"', "--duration", "20")
    assert (document["status"], document["reason"]) == ("completed", "far_end_hangup")


def test_a_phone_that_cannot_do_srtp_is_not_talked_to_in_clear(
    line: SecureLine, dial: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    port = free_port()
    with answering(tmp_path / "baresip", port, silence(1.0), "PCMU", secure(line, "")):
        document = dial(line, port, 'srtp = "mandatory"', "--duration", "1", code=1)
    assert document["status"] == "failed"
    assert document["rtp"]["sent"] == 0
