"""Keys that a caller presses, each way that they may travel: the voice service is told once, and answers once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from rtp.tones import RATE, tones_of
from tests.peers.agent import Agent
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone

pytestmark = pytest.mark.peer
HEARD_MS = 3500  # greeting and answer: about a second each


def told_once(agent: Agent, call: Mapping[str, Any], keys: str) -> None:
    """One text item and one answer to it, besides the greeting; no turn of speech, no error; the ledger's row."""
    rows = agent.select("SELECT type, payload FROM voice_events WHERE call_id = %s", call["id"])
    items = Counter(
        row["payload"]["role"] for row in rows if row["type"] == "openai_conversation_item_created"
    )
    assert items == {"assistant": 2, "system": 1}
    types = Counter(row["type"] for row in rows)
    assert (types["openai_response_created"], types["error"]) == (2, 0)
    said = agent.select("SELECT role, content FROM transcripts WHERE call_id = %s ORDER BY t", call["id"])
    assert [row["role"] for row in said if row["role"] != "assistant"] == ["system"]
    assert f"[keys pressed: {keys}]" in {row["content"] for row in said}


def test_telephone_events(agent: Agent, sipp: StartSipp) -> None:
    """RFC 4733, as sipp's recordings have it: an SSRC of their own."""
    if os.geteuid() != 0:
        pytest.skip("sipp plays recordings through a raw socket: run as root")
    caller = sipp(agent.sip, "keys_pcap", duration_ms=HEARD_MS).wait()
    told_once(agent, agent.closed_call(caller.call_id), "12#")


def test_tones(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    """In the sound, on a trunk without telephone events."""
    phone.say(tones_of("12#", RATE, duration_ms=100, pause_ms=100))
    caller = sipp(
        agent.sip, "call", source="127.0.0.6", rtp_port=phone.port, rtp_ip=phone.host, duration_ms=HEARD_MS
    ).wait()
    assert "RTP/AVP 0\n" in caller.received("200")[0].body
    told_once(agent, agent.closed_call(caller.call_id), "12#")
