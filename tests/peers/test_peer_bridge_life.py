"""Bridged calls that last: what becomes of the voice service meanwhile, who ends them, and what is left of many."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from rtp.wav import read_wav
from sipua.languages import load_languages
from sipua.realtime.floor import SILENT_S
from sipua.resources import shipped_conf, shipped_speech
from tests.peers import baresip
from tests.peers.agent import HAVE, Agent
from tests.peers.conftest import StartSipp, need
from tests.peers.desk import CALLER, CALLER_HEADER, SOUND, TRANSFERS, TWICE, Desk, is_heard, likeness
from tests.peers.phone import Phone
from tests.peers.processes import run, similarity, until
from tests.peers.wire import Wire

pytestmark = pytest.mark.peer

PHRASES = load_languages(shipped_conf()).of("en").phrases
STAYS = '["127.0.0.4/32"]\ntransfer_by = "refer"'
BRIEF = '["127.0.0.3/32"]\ntransfer_by = "bridge"\nmax_call_s = 24'
CAP_S = 28  # of a session: it is followed after 60 % of it, when nobody speaks
# The second question passes the cap of spending.
DEAR = {
    "SIPUA_SPEND__PRICES": json.dumps({"gpt-transcribe": {"minute": 60.0}}),
    "SIPUA_SPEND__CALL_USD": "3.5",
}
MOST_GROWTH_KB = 4_000
BRIDGED = "127.0.0.2"


def memory_kb(agent: Agent) -> int:
    status = Path(f"/proc/{agent.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+)", status, re.M)
    assert found is not None
    return int(found[1])


def cpu_s(agent: Agent) -> float:
    fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_the_bridge_goes_on_to_the_longest_call(start_desk: Callable[..., Desk], sipp: StartSipp) -> None:
    """While who listens is not taken for mute, is followed by another, and costs too much in the end."""
    desk = start_desk(
        "--session-cap", str(CAP_S), trunks={"brief": BRIEF}, SIPUA_TRANSFER__TRANSCRIBE_BRIDGED="true", **DEAR
    )  # fmt: skip
    agent = desk.agent
    question, answer = (read_wav(shipped_speech(each))[:SOUND] for each in TWICE)
    with Phone(host="127.0.0.3") as phone, Phone() as persons:
        person = desk.person(sipp, "uas", rtp_port=persons.port)
        caller = sipp(
            agent.sip, "call_until_bye", source="127.0.0.3", caller=CALLER, rtp_port=phone.port
        )  # fmt: skip
        until(lambda: persons.target, "the person's leg sends")
        call = desk.open_call()
        phone.say(question)
        until(lambda: desk.spoken(call, "caller"), "the caller's words")
        heard_at, since = len(phone.heard), (memory_kb(agent), agent.open_sockets(), cpu_s(agent))
        until(lambda: len(desk.sessions(call)) == 2, "another session")
        seconds = (len(phone.heard) - heard_at) / 50
        assert seconds > SILENT_S
        assert memory_kb(agent) - since[0] < MOST_GROWTH_KB
        assert agent.open_sockets() == since[1]
        more_kb, share = memory_kb(agent) - since[0], (cpu_s(agent) - since[2]) / seconds
        print(f"{seconds:.1f} s: {more_kb} kB more, {share:.2%} of a core")
        phone.say(question)
        until(lambda: agent.metric("sipua_spend_caps_reached_total", cap="call"), "the cap of spending")
        persons.say(answer)
        caller.wait()
        person.wait()
    assert is_heard(answer, phone)
    row = agent.closed_call(caller.call_id)
    assert (row["status"], row["outcome"], row["handoff"]) == ("completed", "max_duration", True)
    assert row["metadata"]["transfer"]["ended_by"] == "agent"
    assert desk.sessions(call) == [("first", "completed"), ("rotation", "completed")]
    assert agent.events(call).count("openai_response_created") == 1
    assert [len(desk.spoken(call, role)) for role in ("user", "caller")] == [0, 2]
    assert desk.spoken(call, "system") == [PHRASES.transferring]
    agent.idle()
    assert agent.open_sockets() == 1, "RTP sockets left over"


def test_a_caller_whom_the_service_refuses_is_dialled_for(
    start_desk: Callable[..., Desk], sipp: StartSipp
) -> None:
    """In the middle of the call, and the line takes no REFER."""
    script = '[greeting]\nsay = "Hello."\nfaults = ["quota"]\n'
    desk = start_desk(
        script=script, SIPUA_TRANSFER__ON_REFUSAL="support", SIPUA_TRANSFER__TRANSCRIBE_BRIDGED="true"
    )
    question, answer = (read_wav(shipped_speech(each))[:SOUND] for each in TWICE)
    with Phone() as phone, Phone(codec="PCMA") as persons:
        person = desk.person(sipp, "uas_hangs_up", rtp_port=persons.port, formats="8 101", duration_ms=3500)
        caller = sipp(
            desk.agent.sip, "call_bridged", rtp_port=phone.port, formats="0 101", code=405, caller=CALLER,
        )  # fmt: skip
        until(lambda: persons.target, "the person's leg sends")
        phone.say(question)
        persons.say(answer)
        caller.wait()
        person.wait()
    assert is_heard(question, persons)
    assert is_heard(answer, phone)
    assert (
        similarity(phone.audio(), read_wav(shipped_conf() / "languages" / "en" / "assistant_away.wav")) > 0.9
    )
    call = desk.agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"], call["handoff"]) == ("completed", "transferred", True)
    transfer = {"department": "support", "by": "bridge", "state": "over", "code": 0, "ended_by": "person"}
    assert call["metadata"]["transfer"] == transfer
    assert desk.spoken(call, "system") == [PHRASES.assistant_away, PHRASES.transferring]
    assert desk.spoken(call, "caller") == []
    assert desk.agent.events(call).count("error") == 1
    (session,) = desk.agent.sessions(call)
    assert call["ended_at"] - session["ended_at"] > timedelta(seconds=2), "it is closed as soon as they talk"
    desk.agent.idle()
    assert desk.agent.open_sockets() == 1, "RTP sockets left over"


@pytest.fixture(scope="module")
def wide(start_desk: Callable[..., Desk]) -> Desk:
    """Two carriers, and a trunk of callers in wideband."""
    lines = f'["127.0.0.3/32"]\ntransfer_by = "bridge"\ncodecs = {json.dumps(HAVE)}'
    return start_desk(carriers=("first", "second"), trunks={"wide": lines})


@pytest.mark.parametrize("codec", [name for name in ("G722", "OPUS") if name in HAVE])
def test_a_caller_in_wideband_by_the_second_carrier(
    codec: str, wide: Desk, sipp: StartSipp, tmp_path: Path
) -> None:
    """The first one refuses; the person has G.711."""
    need("baresip")
    question, answer = (read_wav(shipped_speech(each))[:SOUND] for each in TWICE)
    sound = np.concatenate([baresip.silence(2), question, baresip.silence(1)])
    refuses = wide.person(sipp, "uas_refuses", carrier="first", code=503)
    with Phone(codec="PCMA") as persons:
        person = wide.person(sipp, "uas", carrier="second", rtp_port=persons.port, formats="8 101")
        persons.say(answer)  # from the first packet on
        heard = baresip.talk(
            tmp_path / "baresip", f"sip:agent@{wide.agent.sip}", sound, codec,
            place=baresip.Place("127.0.0.3"),
        )  # fmt: skip
        refuses.wait()
        person.wait()
        assert is_heard(question, persons)
    (row,) = wide.agent.select("SELECT sip_session_id FROM voice_calls ORDER BY started_at DESC LIMIT 1")
    call = wide.agent.closed_call(row["sip_session_id"])
    assert call["metadata"]["codec"] == codec
    assert wide.attempts(call) == [("first", 503, "next"), ("second", 200, "answered")]
    assert likeness(answer, heard) > 0.8
    wide.agent.idle()
    assert wide.agent.open_sockets() == 1, "RTP sockets left over"


@pytest.fixture(scope="module")
def many(start_desk: Callable[..., Desk]) -> Desk:
    """For calls that two carriers would confuse: what one refuses counts against it."""
    return start_desk(script=TRANSFERS.replace("One moment.", "So."), trunks={"stays": STAYS})


def left(agent: Agent) -> tuple[int, int, int]:
    """Descriptors, sockets and tasks."""
    return len(agent.descriptors()), agent.open_sockets(), agent.tasks()


OUTCOMES = {"uas": "bridged", "uas_refuses": "failed", "uas_rings": "ringing"}  # and then the caller hangs up


def takes_four() -> bool:
    """PyPI's pjsua2."""
    return bool(json.loads(run(["version", "--json"]).stdout)["pjsua2"]["max_calls"] == 4)


def transfers(desk: Desk, sipp: StartSipp, scenario: str, count: int, at_once: int) -> None:
    person = desk.person(sipp, scenario, calls=count, code=486, formats="0")
    for _ in range(count // at_once):
        with ExitStack() as stack:
            wires = [
                stack.enter_context(Wire(desk.agent, CALLER_HEADER, source=BRIDGED)) for _ in range(at_once)
            ]
            for wire, tag in [(wire, begun(wire)) for wire in wires]:
                (call,) = until(lambda wire=wire: desk.agent.calls(wire.call_id), "its row")
                until(
                    lambda call=call: desk.transfer(call).get("state") == OUTCOMES[scenario],
                    OUTCOMES[scenario],
                )
                wire.end(tag)
    person.wait()
    desk.agent.idle()


def begun(wire: Wire) -> str:
    """A call that is answered; the agent's tag."""
    wire.send(wire.request("INVITE"))
    return wire.acknowledge(wire.receive("200"))


def test_nothing_is_left_of_twenty_transfers(many: Desk, sipp: StartSipp) -> None:
    at_once = (
        1 if takes_four() else 2
    )  # two slots each, and those of the calls before may wait for their BYE's 200
    for scenario in OUTCOMES:
        transfers(many, sipp, scenario, 2, at_once)
    before = left(many.agent)
    for scenario, count in zip(OUTCOMES, (8, 6, 6), strict=True):
        transfers(many, sipp, scenario, count, at_once)
    until(
        lambda: all(now <= then for now, then in zip(left(many.agent), before, strict=True)),
        f"not more than {before} of each",  # less by a request of our own that was ending then
    )
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(many.agent, source="127.0.0.4")) for _ in range(4)]
        for wire, tag in [(wire, begun(wire)) for wire in wires]:
            wire.end(tag)


def test_no_slot_is_left_for_the_second_leg(many: Desk, sipp: StartSipp) -> None:
    """With PyPI's pjsua2, which takes four calls; an own build dials all the same."""
    is_small = takes_four()
    person = many.person(sipp, "uas", calls=1 if is_small else 2, formats="0")
    with ExitStack() as stack:
        others = [stack.enter_context(Wire(many.agent, source="127.0.0.4")) for _ in range(3)]
        tags = [begun(wire) for wire in others]
        wire = stack.enter_context(Wire(many.agent, CALLER_HEADER, source=BRIDGED))
        tag = begun(wire)
        (call,) = until(lambda: many.agent.calls(wire.call_id), "its row")
        until(lambda: many.transfer(call).get("state") == ("failed" if is_small else "bridged"), "its end")
        if is_small:
            until(
                lambda: many.agent.events(call).count("openai_response_created") == 2,
                "the agent speaks again",
            )
            assert many.failed(call).startswith("they could not be reached (code 503)")
            assert many.attempts(call) == [("carrier", None, "final")]  # no INVITE went out
            assert many.spoken(call, "system") == [PHRASES.transferring, PHRASES.transfer_failed]
        wire.end(tag)
        for each, its in zip(others, tags, strict=True):
            each.end(its)
    many.agent.idle()
    with Wire(many.agent, CALLER_HEADER, source=BRIDGED) as wire:
        tag = begun(wire)
        (call,) = until(lambda: many.agent.calls(wire.call_id), "its row")
        until(lambda: many.transfer(call).get("state") == "bridged", "there is room again")
        wire.end(tag)
    person.wait()
    many.agent.idle()
    assert many.agent.open_sockets() == 1, "RTP sockets left over"
