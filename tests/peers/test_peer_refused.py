"""INVITEs that are not let in: by us, by pjsua itself, and what stands in the ledger and in the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.peers.agent import STRANGER, Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import run, until
from tests.peers.wire import Wire

pytestmark = pytest.mark.peer

SLOTS = 4  # of PyPI's wheel


def test_a_stranger(agent: Agent, sipp: StartSipp) -> None:
    """A source on no trunk's list: 403, a count and no row."""
    before = agent.metric("sipua_invites_rejected_total", code="403", by="us")
    caller = sipp(agent.sip, "refused", source=STRANGER).wait()
    assert caller.received("403")
    assert not caller.received("180")
    assert agent.metric("sipua_invites_rejected_total", code="403", by="us") == before + 1
    assert agent.calls(caller.call_id) == []


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH", "INFO", "REFER", "UPDATE", "PING"])
def test_a_stranger_who_does_not_call(agent: Agent, method: str) -> None:
    """Whatever it asks for: 403 and a count; the name of a method is of our choosing."""
    name = "sipua_requests_rejected_total"
    label = "other" if method == "PING" else method
    before = agent.metric(name, code="403", method=label)
    with Wire(agent, source=STRANGER) as wire:
        wire.send(wire.request(method))
        wire.receive("403", method)
    until(lambda: agent.metric(name, code="403", method=label) == before + 1, "the count")


@pytest.mark.parametrize(("source", "method"), [(STRANGER, "OPTIONS"), ("127.0.0.1", "MESSAGE")])
def test_what_is_no_call_and_answered_as_ever(agent: Agent, source: str, method: str) -> None:
    with Wire(agent, source=source) as wire:
        wire.send(wire.request(method))
        wire.receive("200", method)


def test_a_stranger_in_no_dialog_with_a_tag(agent: Agent) -> None:
    """Such a request is a dialog's, if it is anybody's."""
    with Wire(agent, source=STRANGER) as wire:
        wire.send(wire.request("INFO", tag=";tag=none"))
        wire.receive("481", "INFO")


def test_no_common_codec(agent: Agent, sipp: StartSipp) -> None:
    """pjsua refuses it before any callback; it is counted and stands in the ledger all the same."""
    before = agent.metric("sipua_invites_rejected_total", code="488")
    caller = sipp(agent.sip, "refused", formats="18").wait()
    assert caller.received("488")
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"], call["trunk"]) == ("failed", "no_common_codec", "plain")
    assert (call["from_e164"], call["metadata"]["sip_code"]) == ("+250788123456", 488)
    assert agent.metric("sipua_invites_rejected_total", code="488") == before + 1


def test_no_common_codec_of_a_stranger(agent: Agent, sipp: StartSipp) -> None:
    caller = sipp(agent.sip, "refused", source=STRANGER, formats="18").wait()
    assert agent.calls(caller.call_id) == []


def test_a_codec_that_only_other_trunks_allow(agent: Agent, sipp: StartSipp) -> None:
    """pjsua's list is one for the process: this refusal is ours, and says what is allowed."""
    caller = sipp(agent.sip, "refused", source="127.0.0.4", formats="0").wait()
    refusal = caller.received("488")[0]
    assert refusal.header("warning") == '399 sipua "no common codec: offered PCMU; allowed PCMA"'
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"], call["trunk"]) == ("failed", "no_common_codec", "alaw")


@pytest.mark.parametrize("address", ["239.1.2.3", "255.255.255.255", "media.example.org"])
def test_an_address_that_no_rtp_can_be_sent_to(agent: Agent, sipp: StartSipp, address: str) -> None:
    caller = sipp(agent.sip, "refused", rtp_ip=address).wait()
    assert address in (caller.received("488")[0].header("warning") or "")
    call = agent.closed_call(caller.call_id)
    assert call["status"] == "failed"
    assert address in call["metadata"]["end_detail"]


def test_four_calls_at_once_and_a_fifth(agent: Agent, sipp: StartSipp) -> None:
    """PyPI's pjsua2 takes four: the fifth gets 486 from pjsua itself. An own build takes it too."""
    limit = json.loads(run(["version", "--json"]).stdout)["pjsua2"]["max_calls"]
    with ExitStack() as stack:
        phones = [stack.enter_context(Phone()) for _ in range(4)]
        callers = [sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=5000) for phone in phones]
        for caller in callers:
            until(caller.got("200"), "answered")
        fifth = sipp(agent.sip, "refused" if limit == 4 else "call").wait()
        for caller in callers:
            caller.wait()
    last = agent.closed_call(fifth.call_id)
    assert (last["status"], last["outcome"]) == (
        ("busy", "busy") if limit == 4 else ("completed", "caller_hangup")
    )
    if limit == 4:
        assert fifth.received("486")
        assert agent.metric("sipua_invites_rejected_total", code="486", by="pjsua") >= 1
    for caller, phone in zip(callers, phones, strict=True):
        call = agent.closed_call(caller.call_id)
        assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
        assert phone.is_hearing_sound()
        assert call["metadata"]["rtp"]["lost"] == 0


def test_slots_are_given_back(agent: Agent, sipp: StartSipp) -> None:
    """Refusals and calls that ended hold none: more in a row than there are at once."""
    for _ in range(SLOTS + 1):
        assert sipp(agent.sip, "refused", source="127.0.0.4", formats="0").wait().received("488")
        assert sipp(agent.sip, "call", duration_ms=10).wait().received("200")


def test_no_channel_is_left(emulator: Emulator, sipp: StartSipp, start_agent: Callable[..., Agent]) -> None:
    agent = start_agent(emulator.base_url, trunks={"narrow": '["127.0.0.1/32"]\nmax_channels = 1'})
    first = sipp(agent.sip, "call", duration_ms=1500)
    until(first.got("200"), "answered")
    (refusal,) = sipp(agent.sip, "refused").wait().received("503")
    assert refusal.header("retry-after") == "5"
    first.wait()
    agent.idle()
    assert sipp(agent.sip, "call", duration_ms=100).wait().received("200")


def test_a_number_that_is_not_ours(
    emulator: Emulator, sipp: StartSipp, start_agent: Callable[..., Agent]
) -> None:
    agent = start_agent(emulator.base_url, trunks={"ours": '["127.0.0.1/32"]\ndid_ranges = ["+12025550100"]'})
    caller = sipp(agent.sip, "refused").wait()
    assert caller.received("404")
    assert agent.closed_call(caller.call_id)["metadata"]["sip_code"] == 404
