"""Callers of four languages, and one who changes to another: what the session is told and the ledger says."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from rtp.wav import read_wav
from sipua.languages import load_languages
from sipua.resources import shipped_conf, shipped_speech
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import similarity, until

pytestmark = pytest.mark.peer

CALLERS = {"en": "+12025550123", "fr": "+33612345678", "rw": "+250788123456", "sw": "+254712345678"}
SCRIPT = """
user_prefix = ""
[greeting]
say = "Hello."
audio = "greeting_en.wav"
[[turn]]
user = "Naomba usafiri kwenda uwanja wa ndege kesho asubuhi"
lang = "sw"
say = "Ndiyo."
audio = "help_sw.wav"
"""


@pytest.fixture
def speaking(
    start_emulator: Callable[..., Emulator], start_agent: Callable[..., Agent], tmp_path: Path
) -> Agent:
    """An agent whose service does not take Kinyarwanda and hears Swahili."""
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)
    emulator = start_emulator("--script", str(script), "--fault", "refuse_language=rw")
    return start_agent(emulator.base_url, trunks={"plain": '["127.0.0.1/32"]'})


def test_each_caller_is_greeted_in_their_language(speaking: Agent, sipp: StartSipp) -> None:
    languages = load_languages(shipped_conf())
    with ExitStack() as stack:
        phones = {code: stack.enter_context(Phone()) for code in CALLERS}
        calls = {
            code: sipp(speaking.sip, "call", caller=number, rtp_port=phones[code].port, duration_ms=1500)
            for code, number in CALLERS.items()
        }
        rows = {code: speaking.closed_call(call.wait().call_id) for code, call in calls.items()}
    assert {code: (row["status"], row["locale"]) for code, row in rows.items()} == {
        code: ("completed", code) for code in CALLERS
    }
    for code, row in rows.items():
        (session,) = speaking.sessions(row)
        assert f"Speak {languages.of(code).english_name}" in session["instructions"]
        assert phones[code].is_hearing_sound()
        # of the refused hint the ledger has the service's own words; the call did not suffer
        assert ("error" in speaking.events(row)) is (code == "rw")


def test_each_caller_is_asked_for_consent_and_told_of_trouble_in_their_language(
    start_emulator: Callable[..., Emulator], start_agent: Callable[..., Agent], sipp: StartSipp
) -> None:
    """As the shipped recordings say it: they refuse to be recorded, and then the service fails twice."""
    agent = start_agent(
        start_emulator("--fault", "rate_limit=2").base_url,
        trunks={"plain": '["127.0.0.1/32"]'},
        SIPUA_RECORDING__ENABLED="true",
    )
    languages = load_languages(shipped_conf())
    with ExitStack() as stack:
        phones = {code: stack.enter_context(Phone()) for code in CALLERS}
        calls = {
            code: sipp(agent.sip, "call", caller=number, rtp_port=phones[code].port, duration_ms=9500)
            for code, number in CALLERS.items()
        }
        for code, phone in phones.items():
            until(lambda phone=phone: len(phone.heard) > 100, f"two seconds of the question in {code}")
            phone.press(2)
        rows = {code: agent.closed_call(call.wait().call_id) for code, call in calls.items()}
    for code, row in rows.items():
        phrases = languages.of(code).phrases
        query = "SELECT * FROM call_consents WHERE call_id = %s"
        (consent,) = agent.select(query, row["id"])
        assert (consent["consent_text"], consent["consent_result"]) == (phrases.consent_question, False)
        assert (row["status"], row["locale"], row["consent_channel"]) == ("completed", code, "dtmf")
        query = (
            "SELECT content, lang FROM transcripts WHERE call_id = %s AND role = 'system' ORDER BY sequence"
        )
        said = [(each["content"], each["lang"]) for each in agent.select(query, row["id"])]
        spoken = (phrases.consent_question, phrases.consent_no, phrases.service_error)
        assert [each for each in said if not each[0].startswith("[")] == [(text, code) for text in spoken]
        for name in ("consent_question", "service_error"):
            sound = read_wav(shipped_conf() / "languages" / code / f"{name}.wav", 8000)
            assert similarity(phones[code].audio(), sound[:12_000]) > 0.9, (code, name)


def test_instructions_are_read_again_for_the_next_call(speaking: Agent, sipp: StartSipp) -> None:
    folder = speaking.state.parent / "conf" / "instructions"
    folder.mkdir()
    (folder / "trunk-plain.md").write_text("You sell shoes on {{trunk}} to {{caller}}.")
    speaking.signal(signal.SIGHUP)
    until(lambda: "languages and instructions read again" in speaking.stderr, "the files are read")
    call = speaking.closed_call(sipp(speaking.sip, "call", caller=CALLERS["fr"]).wait().call_id)
    (session,) = speaking.sessions(call)
    assert session["instructions"].startswith(
        f"You sell shoes on plain to {CALLERS['fr']}.\n\n# Language\nSpeak Fr"
    )


def test_a_caller_who_speaks_another_language_is_followed(
    speaking: Agent, sipp: StartSipp, phone: Phone
) -> None:
    caller = sipp(speaking.sip, "call", caller=CALLERS["en"], rtp_port=phone.port, duration_ms=7000)
    until(lambda: phone.target, "the call is up")
    phone.say(read_wav(shipped_speech("question_en.wav")))
    call = speaking.closed_call(caller.wait().call_id)
    assert (call["locale"], call["metadata"]["language"]) == ("sw", "heard")
    said = speaking.select(
        "SELECT role, lang FROM transcripts WHERE call_id = %s ORDER BY sequence", call["id"]
    )
    assert [(each["role"], each["lang"]) for each in said][-2:] == [("user", "sw"), ("assistant", "sw")]
    assert "openai_session_updated" in speaking.events(call)
