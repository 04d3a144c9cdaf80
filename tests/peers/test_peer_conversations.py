"""Conversations that the agent begins: who has answered, what a machine is left, when people may be called.

The called person is sipp's signalling and a telephone of the tests', which says what people and voicemail systems say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtp.g711 import Pcm, encode_pcmu
from rtp.wav import read_wav
from sipua.languages import load_languages
from sipua.locale import zones_of
from sipua.resources import shipped_conf
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import LOUD_RMS, Phone
from tests.peers.processes import until
from tests.peers.sipp import Sipp
from tests.peers.test_peer_dial import Office, flags

pytestmark = pytest.mark.peer
StartAgent = Callable[..., Agent]
MACHINE_EXIT = 3


def quiet(ms: int) -> Pcm:
    return np.zeros(ms * 8, np.int16)


def voicemail(speech: Path) -> Pcm:
    """A greeting of Debian's Allison and the beep behind it."""
    names = ("vm-nobodyavail", "vm-intro")
    words = [read_wav(speech / f"{name}.wav", 8000) for name in names]
    return np.concatenate([quiet(600), *words, quiet(300), read_wav(speech / "beep.wav", 8000)])


def hello(speech: Path) -> Pcm:
    return np.concatenate([quiet(400), read_wav(speech / "hello.wav", 8000)])


@pytest.fixture
def voice(start_emulator: Callable[..., Emulator], tmp_path: Path) -> Emulator:
    """One that keeps what it hears of this test alone."""
    (tmp_path / "heard").mkdir()
    emulator = start_emulator("--record", str(tmp_path / "heard"))
    emulator.recordings = tmp_path / "heard"
    return emulator


def office(start: StartAgent, voice: Emulator, way: str) -> Office:
    return Office(start, voice, SIPUA_OUTBOUND__ANSWERING_MACHINE=way)


def answering(
    sipp: StartSipp, place: Office, phone: Phone, sound: Pcm, scenario: str = "uas", **keys: Any
) -> Sipp:
    phone.say(sound)
    return sipp("", scenario, flags=flags(place.ports[0]), rtp_port=phone.port, **keys)


def said_at(phone: Phone, sound: Pcm) -> float:
    """When the last loud frame of what it says went out."""
    last = int(np.flatnonzero(np.abs(sound.astype(np.int32)) > 500)[-1]) // 160
    return phone.said[last][0]


def loud_since(phone: Phone) -> list[float]:
    """When each packet came that holds sound."""
    decode = phone.codec.decode
    return [
        p.at for p in phone.heard if np.sqrt(np.mean(decode(p.payload).astype(np.float64) ** 2)) > LOUD_RMS
    ]


def row_of(place: Office, told: Mapping[str, Any], outcome: str) -> dict[str, Any]:
    row = place.closed(told["call"])
    assert (row["status"], row["outcome"]) == ("completed", outcome), row
    return row


def test_a_person_is_greeted_when_they_have_said_hello(
    voice: Emulator, start_agent: StartAgent, sipp: StartSipp, phone: Phone, human_speech: Path
) -> None:
    """The greeting begins one pause after the hello, of which the model hears nothing."""
    place = office(start_agent, voice, "hang_up")
    sound = hello(human_speech)
    callee = answering(sipp, place, phone, sound, "uas_hangs_up", duration_ms=4500)
    told = place.dial("--language", "sw", "--purpose", "Their parcel has come.")
    assert (told["reason"], told["answered_by"]) == ("answered", "person")
    callee.wait()
    row = row_of(place, told, "callee_hangup")
    assert row["metadata"]["answered_by"] == "person"
    assert row["metadata"]["purpose"] == "Their parcel has come."
    assert row["locale"] == "sw"
    waited = loud_since(phone)[0] - said_at(phone, sound)
    assert 0.5 < waited < 2.0, waited
    heard = voice.last_heard().astype(np.float64)
    assert np.sqrt(np.mean(heard**2)) < LOUD_RMS, "the hello reached the model"
    (session,) = place.agent.sessions(row)
    assert "You have called this person" in session["instructions"]
    assert "Their parcel has come." in session["instructions"]
    query = "SELECT payload FROM voice_events WHERE call_id = %s AND type = 'answered' ORDER BY t"
    payloads = [each["payload"] for each in place.agent.select(query, row["id"])]
    assert [each.get("answered_by") for each in payloads] == [None, "person"]
    assert place.agent.metric("sipua_answered_by_total", by="person") == 1


@pytest.mark.parametrize(
    "message", ["", "Please call us back, your parcel has come."], ids=["phrase", "words"]
)
def test_a_machine_is_left_a_message_behind_its_beep(
    message: str,
    voice: Emulator,
    start_agent: StartAgent,
    sipp: StartSipp,
    phone: Phone,
    human_speech: Path,
) -> None:
    place = office(start_agent, voice, "hang_up")
    sound = voicemail(human_speech)
    callee = answering(sipp, place, phone, sound)
    told = place.dial(
        "--machine", "leave_message", "--message", message, "--language", "fr", code=MACHINE_EXIT
    )
    assert told["answered_by"] == "machine"
    callee.wait()
    row_of(place, told, "message_left")
    assert loud_since(phone)[0] > said_at(phone, sound), "before the end of the beep"
    if not message:
        spoken = encode_pcmu(read_wav(shipped_conf() / "languages/fr/voicemail.wav", 8000))
        assert spoken in b"".join(each.payload for each in phone.heard), "heard whole"
    assert np.sqrt(np.mean(voice.last_heard().astype(np.float64) ** 2)) < LOUD_RMS, (
        "the model heard the machine"
    )


def test_a_machine_is_hung_up_on(
    voice: Emulator, start_agent: StartAgent, sipp: StartSipp, phone: Phone, human_speech: Path
) -> None:
    place = office(start_agent, voice, "hang_up")
    callee = answering(sipp, place, phone, voicemail(human_speech))
    told = place.dial("--wait", code=MACHINE_EXIT)
    assert (told["status"], told["reason"]) == ("completed", "answering_machine")
    callee.wait()
    assert callee.received("BYE")
    row_of(place, told, "answering_machine")
    assert not phone.is_hearing_sound()
    assert place.agent.sessions({"id": told["call"]})[0]["status"] == "completed"


def test_early_media_reaches_nobody(
    voice: Emulator, start_agent: StartAgent, sipp: StartSipp, phone: Phone, human_speech: Path
) -> None:
    """An announcement before the answer, as loud and long as a machine's: neither judged nor sent up."""
    place = office(start_agent, voice, "hang_up")
    announcement = read_wav(human_speech / "tt-allbusy.wav", 8000)[:16_000]
    callee = answering(sipp, place, phone, announcement, "uas_announces_and_answers", duration_ms=2300)
    asking = place.command("--json", "--wait")
    (invite,) = until(callee.got("INVITE"), "INVITE")
    line = next(each for each in invite.body.splitlines() if each.startswith("m=audio"))
    phone.target = ("127.0.0.1", int(line.split()[1]))
    until(lambda: loud_since(phone), "the greeting")
    assert np.sqrt(np.mean(voice.last_heard().astype(np.float64) ** 2)) < LOUD_RMS
    place.agent.end()
    callee.wait()
    output, _ = asking.communicate(timeout=20)
    told = json.loads(output)
    assert told.get("answered_by", "unsure") == "unsure", "who says nothing after the answer"


def test_who_calls_is_said_before_the_consent_question(
    voice: Emulator, start_agent: StartAgent, sipp: StartSipp, phone: Phone, human_speech: Path
) -> None:
    place = Office(
        start_agent, voice, SIPUA_OUTBOUND__ANSWERING_MACHINE="hang_up", SIPUA_RECORDING__ENABLED="true"
    )
    callee = answering(sipp, place, phone, hello(human_speech), "uas_hangs_up", duration_ms=5000)
    told = place.dial("--language", "rw")
    assert told["answered_by"] == "person"
    callee.wait()
    row = row_of(place, told, "callee_hangup")
    query = "SELECT content FROM transcripts WHERE call_id = %s AND role = 'system' ORDER BY t"
    phrases = load_languages(shipped_conf()).of("rw").phrases
    assert [each["content"] for each in place.agent.select(query, row["id"])] == [
        phrases.outbound_opening, phrases.consent_question,
    ]  # fmt: skip
    (consent,) = place.agent.select("SELECT consent_result FROM call_consents WHERE call_id = %s", row["id"])
    assert consent["consent_result"] is None


def test_one_who_never_answers(voice: Emulator, start_agent: StartAgent, sipp: StartSipp) -> None:
    """The session that was opened while it rang is closed, with its row."""
    place = Office(start_agent, voice, "ring_timeout_s = 1.5")
    callee = sipp("", "uas_rings", flags=flags(place.ports[0]))
    told = place.dial(code=1)
    callee.wait()
    assert callee.received("CANCEL")
    row = place.closed(told["call"])
    assert (row["status"], row["outcome"]) == ("no_answer", told["reason"])
    (session,) = place.agent.sessions(row)
    assert session["ended_at"] is not None
    assert place.attempts(told["call"]) == [("primary", None, "final")]


def test_nobody_is_called_on_a_holiday_but_by_force(
    voice: Emulator, start_agent: StartAgent, sipp: StartSipp, tmp_path: Path
) -> None:
    (zone,) = zones_of("+250788123456")
    now = datetime.now(UTC).astimezone(zone)
    today, tomorrow = (str(datetime.fromtimestamp(now.timestamp() + n * 86400, zone).date()) for n in (0, 1))
    (tmp_path / "list").write_text("+250788999888\n")
    place = Office(
        start_agent, voice,
        SIPUA_OUTBOUND__HOLIDAYS=json.dumps([f"RW {today}", f"RW {tomorrow}"]),
        SIPUA_OUTBOUND__DO_NOT_CALL=str(tmp_path / "list"), SIPUA_OUTBOUND__ATTEMPTS_PER_DAY="1",
    )  # fmt: skip
    refused = place.dial(code=1)["error"]["message"]
    assert "outside the calling hours (Africa/Kigali, where it is" in refused
    assert "open again on" in refused
    assert place.agent.select("SELECT id FROM voice_calls") == []
    assert place.agent.metric("sipua_calls_total", reason="outside_calling_hours") == 1
    sipp("", "uas_refuses", flags=flags(place.ports[0]), code=486, calls=2)
    place.dial("--force", code=1)
    told = place.dial("--force", code=1)
    assert told["reason"] == "busy"
    forced = place.closed(told["call"])["metadata"]["forced"]
    assert forced.startswith("outside the calling hours")
    assert forced.endswith("called 1 times today, allowed are 1")
    query = "SELECT payload FROM voice_events WHERE call_id = %s AND type = 'call_started'"
    (event,) = place.agent.select(query, told["call"])
    assert event["payload"]["forced"] == forced
    (tmp_path / "told.md").write_text("Speak of {{nothing}}.")
    faulty = {"--language": "xx", "--instructions": str(tmp_path / "told.md"), "--machine": "shout"}
    for flag, value in faulty.items():
        message = place.dial(flag, value, code=78)["error"]["message"]
        assert message.startswith("dial: "), message
        assert "allowed" in message or "Input should be" in message
    refused = place.dial("--force", code=1, number="0788999888")["error"]["message"]
    assert "do-not-call list" in refused


def test_what_is_printed(
    voice: Emulator, start_agent: StartAgent, sipp: StartSipp, phone: Phone, human_speech: Path
) -> None:
    place = office(start_agent, voice, "off")
    callee = answering(sipp, place, phone, hello(human_speech), "uas_hangs_up", duration_ms=1500)
    shown, _ = place.command("--wait").communicate(timeout=60)
    callee.wait()
    lines = [line for line in shown.splitlines() if not line.startswith(("assistant: ", "user: "))]
    # the carrier answers in the moment in which it rings: the order of the two is chance
    assert sorted(re.sub(r"after \d+ ms", "after N ms", line) for line in lines[:-1]) == [
        "answered", f"primary at 127.0.0.1:{place.ports[0]};udp: answered, SIP 200 after N ms: answered", "ringing",
    ]  # fmt: skip
    assert lines[-1].startswith("completed (callee_hangup), SIP 0, call ")
    assert any(line.startswith("assistant: ") for line in shown.splitlines())
