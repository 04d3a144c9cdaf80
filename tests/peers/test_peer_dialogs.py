"""What a trunk may ask for within a call: session timers, UPDATE, reliable provisional responses, early media, REFER.

Scenarios of sipp check what they get by themselves; a call that goes otherwise than written fails ``wait``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import run, similarity, until
from tests.peers.test_peer_failover import ANSWERED, Carriers, carriers, decisions
from tests.ports import free_port
from tests.postgres import create_database, drop_database

__all__ = ["carriers"]
pytestmark = pytest.mark.peer

StartAgent = Callable[..., Agent]
TRUNKS = {
    "plain": '["127.0.0.1/32"]',
    "reliable": '["127.0.0.2/32"]\nrel100 = "supported"',
    "strict": '["127.0.0.3/32"]\nrel100 = "required"\nsession_timer = "off"',
}


@pytest.fixture(scope="module")
def dialogs(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, postgres_server: str, template: str
) -> Iterator[Agent]:
    """An agent with trunks that differ in what they ask for."""
    dsn = create_database(postgres_server, template)
    process = Agent(tmp_path_factory.mktemp("dialogs") / "agent", dsn, emulator.base_url, trunks=TRUNKS)
    yield process
    process.end()
    drop_database(postgres_server, dsn)


def test_a_caller_refreshes_the_session(dialogs: Agent, sipp: StartSipp, phone: Phone) -> None:
    """422 with our minimum, then UPDATE without and with an offer and a re-INVITE, each answered with the timer."""
    caller = sipp(dialogs.sip, "timer", rtp_port=phone.port, duration_ms=300).wait()
    assert caller.received("422")
    assert len(caller.received("200")) == 5
    calls = dialogs.closed_calls(caller.call_id, 2)
    assert [each["outcome"] for each in calls] == ["sip_422", "caller_hangup"]


@pytest.mark.timeout(150)
def test_the_session_timer_runs_out(dialogs: Agent, sipp: StartSipp) -> None:
    """Where we are to refresh we do, where the caller is to and does not the call ends: RFC 4028 at its shortest."""
    ours = sipp(dialogs.sip, "timer_ours", direction="inactive", timeout_s=100)
    theirs = sipp(dialogs.sip, "timer_forgotten", direction="inactive", timeout_s=100)
    ours.wait(90)
    assert len(ours.received("UPDATE")) == 1
    theirs.wait(90)
    call = dialogs.closed_call(theirs.call_id)
    assert (call["status"], call["outcome"]) == ("failed", "session_expired")
    assert 55 < call["duration_seconds"] < 90


def test_a_callee_wants_a_longer_session(sipp: StartSipp, carriers: Carriers, phone: Phone) -> None:
    carriers.write("primary", "se = 1800")
    peer = carriers.is_("primary", "uas_timer", rtp_port=phone.port, formats="0 101")
    assert carriers.call()["status"] == "completed"
    first, second = peer.wait().received("INVITE")
    assert (first.header("session-expires"), first.header("min-se")) == ("1800", "90")
    assert second.header("min-se") == "2000"


@pytest.mark.parametrize("timer", ["off", "supported", "required"])
def test_what_we_say_about_session_timers(timer: str, carriers: Carriers) -> None:
    carriers.write("primary", f'session_timer = "{timer}"\nse = 600\nmin_se = 120')
    peer = carriers.is_("primary", "uas_refuses", code=486)
    carriers.call(code=1)
    invite = peer.wait().received("INVITE")[0]
    supported = "timer" in (invite.header("supported") or "")
    required = "timer" in (invite.header("require") or "")
    assert (supported, required) == (timer != "off", timer == "required")
    expected = (None, None) if timer == "off" else ("600", "120")
    assert (invite.header("session-expires"), invite.header("min-se")) == expected


@pytest.mark.parametrize(
    ("source", "header", "code", "answer"),
    [
        ("127.0.0.1", "Require: 100rel", 420, ("unsupported", "100rel")),
        ("127.0.0.3", "Supported: replaces", 421, ("require", "100rel")),
    ],
    ids=["off", "required"],
)
def test_extensions_that_do_not_go_together(
    dialogs: Agent, sipp: StartSipp, source: str, header: str, code: int, answer: tuple[str, str]
) -> None:
    caller = sipp(dialogs.sip, "asks", source=source, ask=header, code=code).wait()
    assert answer[1] in (caller.received(str(code))[0].header(answer[0]) or "")


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.3"])
def test_ringing_is_acknowledged_by_the_caller(dialogs: Agent, sipp: StartSipp, source: str) -> None:
    with Phone(host=source) as phone:
        caller = sipp(dialogs.sip, "rel100", source=source, code=180, rtp_port=phone.port, duration_ms=200)
        caller.wait()
    assert dialogs.closed_call(caller.call_id)["outcome"] == "caller_hangup"


def test_a_callees_ringing_is_acknowledged(carriers: Carriers, phone: Phone) -> None:
    carriers.write("primary", 'rel100 = "supported"')
    peer = carriers.is_("primary", "uas_prack", rtp_port=phone.port)
    assert carriers.call()["status"] == "completed"
    assert "100rel" in (peer.wait().received("INVITE")[0].header("supported") or "")


def test_a_caller_hears_the_ringing_before_the_answer(
    start_agent: StartAgent, start_emulator: Callable[..., Emulator], sipp: StartSipp, phone: Phone
) -> None:
    """183 with our SDP and a tone; the greeting waits for the 200, which never comes here."""
    emulator = start_emulator("--fault", "no_session_updated")
    agent = start_agent(emulator.base_url, trunks={"early": '["127.0.0.1/32"]\nearly_media = true'})
    caller = sipp(agent.sip, "early", rtp_port=phone.port)
    until(phone.is_hearing_sound, "the tone")
    assert caller.received("183")
    assert not caller.received("503")
    caller.wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["duration_seconds"]) == ("failed", 0)


def test_early_media_gives_way_to_the_greeting(
    start_agent: StartAgent, emulator: Emulator, sipp: StartSipp, phone: Phone
) -> None:
    agent = start_agent(emulator.base_url, trunks={"early": '["127.0.0.1/32"]\nearly_media = true'})
    caller = sipp(agent.sip, "call_early", rtp_port=phone.port, duration_ms=2500).wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert phone.is_hearing_sound()


def test_a_caller_without_an_offer_gets_no_early_media(
    start_agent: StartAgent, emulator: Emulator, sipp: StartSipp, phone: Phone
) -> None:
    """Ours would be the offer, which an unreliable 183 must not carry."""
    agent = start_agent(emulator.base_url, trunks={"early": '["127.0.0.1/32"]\nearly_media = true'})
    caller = sipp(agent.sip, "late_offer", rtp_port=phone.port, duration_ms=300).wait()
    assert (len(caller.received("180")), caller.received("183")) == (1, [])


def test_early_media_of_a_callee_is_heard(sipp: StartSipp, phone: Phone, tmp_path: Path) -> None:
    port = free_port()
    speech = read_wav(shipped_speech("moto_en.wav"))
    phone.say(speech)
    peer = sipp("", "uas_announces", flags=("-p", str(port)), rtp_port=phone.port, duration_ms=3000, code=486)
    target = tmp_path / "heard.wav"
    result = run(["call", f"sip:peer@127.0.0.1:{port}", "--json", "--record", str(target)])
    peer.wait()
    document = json.loads(result.stdout)
    assert (document["status"], document["sip_code"], document["duration_seconds"]) == ("busy", 486, 0)
    assert similarity(read_wav(target), speech[: 8000 * 2]) > 0.8


def test_early_media_on_the_way_to_a_number(sipp: StartSipp, phone: Phone, carriers: Carriers) -> None:
    """A dead primary, a secondary that speaks before it answers and goes on: one recording without a break."""
    speech = read_wav(shipped_speech("moto_en.wav"))[: 8000 * 3]
    phone.say(speech)
    peer = carriers.is_("secondary", "uas_announces_and_answers", rtp_port=phone.port, duration_ms=1500)
    target = carriers.conf / "heard.wav"
    document = carriers.call("--duration", "2.5", "--record", str(target))
    peer.wait()
    assert decisions(document) == [("primary", "no_response", "next"), ANSWERED]
    assert 2 < document["duration_seconds"] < 3.5
    assert similarity(read_wav(target), speech) > 0.8


def test_a_refusal_that_speaks_is_heard(phone: Phone, carriers: Carriers) -> None:
    speech = read_wav(shipped_speech("moto_en.wav"))
    phone.say(speech)
    peer = carriers.is_("primary", "uas_announces", rtp_port=phone.port, duration_ms=2500, code=486)
    target = carriers.conf / "heard.wav"
    document = carriers.call("--record", str(target), code=1)
    peer.wait()
    assert (document["status"], document["duration_seconds"]) == ("busy", 0)
    assert document["rtp"]["received"] > 50
    assert similarity(read_wav(target), speech[: 8000 * 2]) > 0.8


def test_a_refer_is_declined(dialogs: Agent, sipp: StartSipp, phone: Phone) -> None:
    sipp(dialogs.sip, "refer_in", rtp_port=phone.port, duration_ms=200, code=603).wait()


def test_headers_of_a_trunk(carriers: Carriers, phone: Phone) -> None:
    carriers.write(
        "primary",
        'user_agent = "As they say 1.0"\nextra_headers = { X-Line = "7" }\ncontact_user = "desk"\npai = "send"',
    )
    peer = carriers.is_("primary", "uas", rtp_port=phone.port)
    carriers.call()
    invite = peer.wait().received("INVITE")[0]
    port = carriers.ports["primary"]
    assert (invite.header("user-agent"), invite.header("x-line")) == ("As they say 1.0", "7")
    assert (invite.header("contact") or "").startswith("<sip:desk@127.0.0.1:")
    assert invite.header("p-asserted-identity") == f"<sip:+250788000001@127.0.0.1:{port}>"
    assert invite.header("privacy") is None
    assert (invite.header("from") or "").startswith("<sip:+250788000001@127.0.0.1>;tag=")


def test_a_number_that_the_callee_may_not_see(carriers: Carriers, phone: Phone) -> None:
    carriers.write("primary", 'pai = "send"\nprivacy = "id"')
    peer = carriers.is_("primary", "uas", rtp_port=phone.port)
    carriers.call()
    invite = peer.wait().received("INVITE")[0]
    assert (invite.header("from") or "").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>')
    assert "+250788000001" in (invite.header("p-asserted-identity") or "")
    assert invite.header("privacy") == "id"
