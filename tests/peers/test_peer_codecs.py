"""`sipua call` and `sipua serve` in wideband: both ends are ours, the sound between them is G.722 or Opus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import HAVE, Agent, write_conf
from tests.peers.processes import run, similarity

pytestmark = pytest.mark.peer
WIDE = [name for name in ("G722", "OPUS") if name in HAVE]


@pytest.mark.parametrize("codec", WIDE)
def test_a_conversation_in_wideband(agent: Agent, human_speech: Path, tmp_path: Path, codec: str) -> None:
    """The greeting is heard and words are understood; the session has 24 kHz PCM, the ledger the codec of the wire."""
    conf = write_conf(tmp_path / "conf", {"wide": f'["127.0.0.1/32"]\ncodecs = ["{codec.lower()}"]'})
    record = tmp_path / "heard.wav"
    result = run(
        ["call", f"sip:agent@{agent.sip}", "--trunk", "wide", "--conf", str(conf), "--duration", "8", "--json",
         "--play", str(human_speech / "agent-newlocation.wav"), "--after-greeting", "--record", str(record)],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.strip().splitlines()[-1])
    assert (told["status"], told["codec"], told["rtp"]["lost"]) == ("completed", codec, 0)
    assert similarity(read_wav(record), read_wav(shipped_speech("greeting_en.wav"))) > 0.9
    row = agent.select("SELECT sip_session_id FROM voice_calls ORDER BY started_at DESC LIMIT 1")[0]
    call = agent.closed_call(row["sip_session_id"])
    assert call["metadata"]["codec"] == codec
    assert agent.sessions(call)[0]["input_audio_format"] == "audio/pcm"
    assert agent.events(call).count("openai_input_audio_buffer_speech_started") == 1
