"""A call that has cost what it may: the caller is told, the call ends in order, the ledger has the figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sipua.languages import load_languages
from sipua.resources import shipped_conf
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone

pytestmark = pytest.mark.peer


def test_a_cap_ends_the_call_with_a_word_and_the_next_one_at_once(
    emulator: Emulator, start_agent: Callable[..., Agent], sipp: StartSipp, phone: Phone
) -> None:
    agent = start_agent(
        emulator.base_url, trunks={"plain": '["127.0.0.1/32"]'}, SIPUA_SPEND__CALLER_DAY_USD="0.001"
    )
    texts = "SELECT content FROM transcripts WHERE call_id = %s AND role = 'system' ORDER BY t"
    first = agent.closed_call(sipp(agent.sip, "call_until_bye", rtp_port=phone.port).wait(20).call_id)
    assert (first["status"], first["outcome"]) == ("completed", "spend_cap")
    usage = first["metadata"]["usage"]
    assert usage["responses"] == 1
    assert usage["cost_usd"] == pytest.approx(usage["audio_out"] * 64e-6 + usage["text_out"] * 24e-6, rel=0.2)
    (done,) = agent.select(
        "SELECT payload FROM voice_events WHERE call_id = %s AND type = 'openai_response_done'", first["id"]
    )
    assert done["payload"]["cost_usd"] == usage["cost_usd"]
    phrases = load_languages(shipped_conf()).of(first["locale"]).phrases
    assert [row["content"] for row in agent.select(texts, first["id"])] == [phrases.time_is_up]
    agent.end()  # what was spent is read from the ledger by the process that follows
    following = start_agent(
        emulator.base_url,
        trunks={"plain": '["127.0.0.1/32"]'},
        SIPUA_SPEND__CALLER_DAY_USD="0.001",
    )
    with Phone() as other:
        second = following.closed_call(
            sipp(following.sip, "call_until_bye", rtp_port=other.port).wait(20).call_id
        )
        assert other.is_hearing_sound()
    assert second["outcome"] == "spend_cap"
    assert "usage" not in second["metadata"]  # nothing was asked of the service
    assert following.metric("sipua_spend_caps_reached_total", cap="caller") == 1
