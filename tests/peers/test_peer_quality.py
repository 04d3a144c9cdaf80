"""How good a call was: what the ledger, the metrics and the caller are told after calls of known loss."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtp.quality import Losses, quality
from tests.peers.agent import Agent
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import run

pytestmark = pytest.mark.peer


def media_of(agent: Agent, call: dict[str, Any]) -> dict[str, Any]:
    (row,) = agent.select("SELECT * FROM sipua.call_media WHERE call_id = %s", call["id"])
    return row


def test_the_figure_follows_the_loss(agent: Agent, sipp: StartSipp) -> None:
    """One packet of ten is lost on the way to the agent: R is 95 · 10 / (10 + 25.1) less."""
    before = (
        agent.metric("sipua_call_mos_count", trunk="plain"),
        agent.metric("sipua_call_mos_sum", trunk="plain"),
    )
    with Phone(lose_every=10) as phone:
        caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=2500).wait()
    call = agent.closed_call(caller.call_id)
    row = media_of(agent, call)
    expected = row["received"] + row["lost"]
    assert expected > 90
    assert row["lost"] == pytest.approx(expected / 10, abs=2)
    assert row["buffer"]["lost"] == pytest.approx(float(row["lost"]), abs=1)
    told = quality(Losses(int(expected), int(row["lost"]), int(row["lost"])), float(row["delay_ms"]))
    assert float(row["r"]) == pytest.approx(told.r, abs=2)
    assert 55 < row["r"] < 75
    assert row["burst_ratio"] < 1.1
    assert (row["far_end_lost"], row["rtt_ms"]) == (None, None)  # the phone sends no RTCP
    agent.idle()
    assert agent.metric("sipua_call_mos_count", trunk="plain") == before[0] + 1
    of_this_call = agent.metric("sipua_call_mos_sum", trunk="plain") - before[1]
    assert of_this_call == pytest.approx(float(row["mos"]), abs=0.006)


def test_a_call_without_a_packet_has_no_quality(agent: Agent, sipp: StartSipp) -> None:
    with Phone(mute=True) as phone:
        caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=500).wait()
    row = media_of(agent, agent.closed_call(caller.call_id))
    assert row["sent"] > 10
    assert (row["received"], row["mos"], row["r"], row["jitter_ms"]) == (0, None, None, None)


def test_both_ends_tell_how_they_hear_each_other(agent: Agent) -> None:
    """By RTCP, whose first report comes after 1.3 to 3.8 s."""
    result = run(["call", f"sip:agent@{agent.sip}", "--duration", "4.2", "--json"])
    assert result.returncode == 0, result.stderr
    rtp = json.loads(result.stdout)["rtp"]
    assert rtp["quality"]["mos"] > 4.2
    assert rtp["quality"]["loss_percent"] == 0
    assert rtp["far_end"]["lost"] == 0
    assert rtp["far_end"]["jitter_ms"] < 20
    (call,) = agent.select("SELECT * FROM voice_calls ORDER BY started_at DESC LIMIT 1")
    row = media_of(agent, agent.closed_call(call["sip_session_id"]))
    assert row["mos"] > 4.2
    assert row["far_end_lost"] == 0
    assert row["rtt_ms"] is None or row["rtt_ms"] < 100
