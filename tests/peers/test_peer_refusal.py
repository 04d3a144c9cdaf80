"""The voice service refuses us for good, before or during a call: an apology, then a person or the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rtp.wav import read_wav
from sipua.languages import load_languages
from sipua.resources import shipped_conf
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import similarity

pytestmark = pytest.mark.peer

LANGUAGES = load_languages(shipped_conf())
SYSTEM = "SELECT content FROM transcripts WHERE call_id = %s AND role = 'system' ORDER BY sequence"
TRUNKS = {"plain": '["127.0.0.1/32"]\nrtp_timeout_s = 60'}
DEPARTMENTS = '[departments.support]\ntarget = "+250788000001"\n'
FRENCH, SWAHILI = "+33612345678", "+254712345678"
SCRIPT = '[greeting]\nsay = "Hello."\nfaults = ["quota"]\n'


def test_a_call_that_gets_no_session_is_answered_with_an_apology(
    start_emulator: Callable[..., Emulator], start_agent: Callable[..., Agent], sipp: StartSipp
) -> None:
    agent = start_agent(start_emulator("--fault", "http_401").base_url, trunks=TRUNKS)
    with Phone() as french, Phone() as other:
        calls = {
            "fr": sipp(agent.sip, "call_until_bye", caller=FRENCH, rtp_port=french.port),
            "sw": sipp(agent.sip, "call_until_bye", caller=SWAHILI, rtp_port=other.port),
        }
        rows = {code: agent.closed_call(caller.wait(20).call_id) for code, caller in calls.items()}
        for code, phone in (("fr", french), ("sw", other)):
            spoken = read_wav(shipped_conf() / "languages" / code / "service_error.wav")
            assert similarity(phone.audio(), spoken) > 0.9
    for code, row in rows.items():
        assert (row["status"], row["outcome"], row["locale"]) == ("failed", "realtime_refused", code)
        said = [each["content"] for each in agent.select(SYSTEM, row["id"])]
        assert said == [LANGUAGES.of(code).phrases.service_error]
        assert agent.events(row).count("error") == 1
        assert len(agent.sessions(row)) == 0  # nobody tries again
    assert agent.metric("sipua_realtime_alerts_total", reason="realtime_refused") == 2


def test_a_caller_whose_session_is_refused_during_the_call_is_handed_to_a_person(
    start_emulator: Callable[..., Emulator],
    start_agent: Callable[..., Agent],
    sipp: StartSipp,
    phone: Phone,
    tmp_path: Path,
) -> None:
    (tmp_path / "script.toml").write_text(SCRIPT)
    emulator = start_emulator("--script", str(tmp_path / "script.toml"))
    agent = start_agent(
        emulator.base_url, trunks=TRUNKS, departments=DEPARTMENTS, SIPUA_TRANSFER__ON_REFUSAL="support"
    )
    caller = sipp(agent.sip, "call_referred", caller="+12025550123", rtp_port=phone.port)
    row = agent.closed_call(caller.wait(20).call_id)
    assert (row["status"], row["outcome"]) == ("completed", "transferred")
    assert (row["handoff"], row["handoff_target"]) == (True, "support")
    phrases = LANGUAGES.of("en").phrases
    said = [each["content"] for each in agent.select(SYSTEM, row["id"])]
    assert said == [phrases.assistant_away, phrases.transferring]
    assert agent.events(row).count("error") == 1
    spoken = read_wav(shipped_conf() / "languages" / "en" / "assistant_away.wav")
    assert similarity(phone.audio(), spoken) > 0.9
    assert agent.metric("sipua_realtime_alerts_total", reason="realtime_refused") == 1
