"""The last call slot but one: a call that is one too many is told when to come again, by us."""

from __future__ import annotations

import pytest

from tests.peers.conftest import StartSipp
from tests.peers.processes import until
from tests.peers.test_peer_faults import StartAgent, StartEmulator

SLOTS = 10
QUIET = {"quiet": '["127.0.0.1/32"]\nrtp_timeout_s = 120'}  # sipp sends no RTP


@pytest.mark.timeout(90)
def test_the_last_slot_says_when_to_come_again(
    own_build: None, start_agent: StartAgent, start_emulator: StartEmulator, sipp: StartSipp
) -> None:
    agent = start_agent(start_emulator().base_url, trunks=QUIET, SIPUA_SIP__MAX_CALLS=str(SLOTS))
    callers = sipp(
        agent.sip, "call", duration_ms=6000, calls=SLOTS - 1, flags=("-l", str(SLOTS), "-r", str(SLOTS))
    )
    until(lambda: agent.metric("sipua_calls_active") == SLOTS - 1, "all slots but one in use")
    (refusal,) = sipp(agent.sip, "refused").wait().received("503")
    assert refusal.header("retry-after") == "5"
    assert agent.metric("sipua_invites_rejected_total", code="503", by="us") == 1
    callers.wait()
    rows = agent.closed_calls(callers.call_id, SLOTS - 1)
    assert {(row["status"], row["outcome"]) for row in rows} == {("completed", "caller_hangup")}
    assert sipp(agent.sip, "call", duration_ms=100).wait().received("200")
